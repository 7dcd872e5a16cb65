"""`spike_birth` on every engine that has it, against the reference of its spike times."""

from __future__ import annotations

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Param, losses
from genn_eventprop.compile import create, make_plan
from genn_eventprop.modelling.connectivity import Sparse
from genn_eventprop.models.alif import ALIF
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.lif_refractory import LIFRefractory
from support.cuda_shim import ShimEngine

LEARNED = {"tau_mem": Param(20.0, "ms", trainable=True), "v_thresh": Param(1.0, trainable=True)}


def feed_forward(loss=losses.IntegratedVoltageCrossEntropy, **settings):
    net = Network()
    hidden = net.population(LIF(**LEARNED), 9, name="hidden")
    output = net.population(LI(), 3, name="output")
    net.connect(net.input(5), hidden, Dense(Normal(1.0, 0.5)))
    net.connect(hidden, output, Dense(Normal(0.0, 0.7)), delay=1.0)
    return net, loss(output, **settings)


def recurrent():
    net = Network()
    hidden, deep = net.population(ALIF(), 9, name="hidden"), net.population(LIFRefractory(), 7, name="deep")
    output = net.population(LI(), 3, name="output")
    net.connect(net.input(5), hidden, Dense(Normal(1.2, 0.5)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.5)), delay=1.0)
    net.connect(hidden, deep, Sparse(Normal(1.0, 0.5), fan_in=5))
    net.connect(deep, output, Dense(Normal(0.0, 0.7)))
    return net, losses.EndVoltageCrossEntropy(output)


def of_spikes(loss, **settings):
    net = Network()
    hidden, output = net.population(LIF(), 9, name="hidden"), net.population(LIF(), 3, name="output")
    net.connect(net.input(5), hidden, Dense(Normal(1.3, 0.5)))
    net.connect(hidden, output, Dense(Normal(0.5, 0.3)))
    return net, loss(output, **settings)


NETWORKS = {
    "integral": feed_forward,
    "end": lambda: feed_forward(losses.SquaredError, readout="end"),
    "max": lambda: feed_forward(losses.MaxVoltageCrossEntropy),
    "recurrent": recurrent,
    "first_spike": lambda: of_spikes(losses.FirstSpikeCrossEntropy, silent="end"),
    "first_spike_exclude": lambda: of_spikes(losses.FirstSpikeCrossEntropy, silent="exclude"),
    "count": lambda: of_spikes(losses.SpikeCountCrossEntropy),
}


def trial(which, engine, spike_times, **settings):
    net, loss = NETWORKS[which]()
    rng = np.random.default_rng(4)
    samples = [(np.sort(rng.uniform(0, 20, 8)), rng.integers(0, 5, 8)) for _ in range(6)]
    targets = {"targets": rng.normal(0, 0.1, (6, 3))} if which == "end" else {"labels": [0, 1, 2, 2, 1, 0]}
    plan = make_plan(net, loss, dt=0.5, duration=40.0, spike_times=spike_times, spike_birth=0.15)
    values = net.initial_parameters(3)
    made = ShimEngine(plan, values, **settings) if engine == "cuda" else create(plan, values, engine=engine, **settings)
    data = made.load(Events.from_samples(samples, n_channels=5, **targets))
    return made, made.run(data, range(6), training=True)


@pytest.mark.parametrize("which", list(NETWORKS))
@pytest.mark.parametrize("engine", ["native", "c99", "cuda"])
def test_engines_equal_the_reference_on_the_grid(engine, which):
    reference, expected = trial(which, "reference_clock", "grid")
    made, result = trial(which, engine, "grid", dtype="float64")
    np.testing.assert_allclose(result.loss, expected.loss, rtol=1e-9)
    for name, gradient in reference.gradients.items():
        scale = np.abs(gradient).max()
        assert scale > 0
        np.testing.assert_allclose(made.gradients[name], gradient, rtol=1e-7, atol=1e-9 * scale, err_msg=name)
