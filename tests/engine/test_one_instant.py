"""Crossings within rounding of each other are one instant: equal neurons stay equal, and arrivals come after them."""

from __future__ import annotations

import numpy as np
import pytest

from genn_eventprop import Dense, Network, engines, losses
from genn_eventprop.data import Events
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.lif_refractory import LIFRefractory
from genn_eventprop.plan import make_plan
from support.sweeps import sweep

T = 60.0


def equal_neurons(w: float, model: object = LIF, size: int = 8) -> tuple[Network, losses.Loss]:
    """Equal neurons that hear the same input and, without delay, each other."""
    net = Network()
    inp = net.input(3)
    hidden, output = net.population(model(), size, "hidden"), net.population(LI(), 2, "output")
    net.connect(inp, hidden, Dense(np.repeat([[2.4], [1.3], [1.9]], size, axis=1)))
    net.connect(hidden, hidden, Dense(np.full((size, size), w)))
    net.connect(hidden, output, Dense(np.tile([[0.3, -0.2]], (size, 1))))
    return net, losses.MaxVoltageCrossEntropy(output)


def drive(n: int = 40) -> Events:
    rng = np.random.default_rng(2)
    samples = [(np.sort(rng.uniform(0, 50, n)), rng.integers(0, 3, n)) for _ in range(3)]
    return Events.from_samples(samples, n_channels=3, labels=[0, 1, 1])


def outcome(net, loss, events, engine, dtype="float64", duration=T, dt=1.0):
    plan = make_plan(net, loss, dt=dt, duration=duration, spike_times="exact")
    made = engines.create(plan, net.initial_parameters(1), engine=engine, dtype=dtype, threads=1)
    result = made.run(made.load(events), np.arange(len(events)), training=True, record_spikes=True)
    gradients = {k: np.array(v, float) for k, v in made.gradients.items()}
    made.close()
    return result, gradients


@pytest.mark.parametrize(
    ("w", "model"),
    sweep(
        [(w, model) for model in (LIF, LIFRefractory) for w in (-1.0, -2.0, -3.0, 0.4)],
        [(-2.0, LIF), (0.4, LIFRefractory)],
    ),
)
def test_equal_neurons_stay_equal(w, model):
    net, loss = equal_neurons(w, model)
    truth, expected = outcome(net, loss, drive(), "reference_event")
    result, gradients = outcome(net, loss, drive(), "native")
    for found in (truth, result):
        counts = found.spike_counts["hidden"]
        assert (counts == counts[:, :1]).all() and counts.sum() >= 24
    assert np.array_equal(result.spike_counts["hidden"], truth.spike_counts["hidden"])
    assert np.array_equal(result.spikes["hidden"].neuron, truth.spikes["hidden"].neuron)
    np.testing.assert_allclose(result.spikes["hidden"].time, truth.spikes["hidden"].time, rtol=0, atol=1e-10)
    np.testing.assert_allclose(result.loss, truth.loss, rtol=1e-9)
    for name, gradient in expected.items():
        np.testing.assert_allclose(gradients[name], gradient, rtol=1e-6, atol=1e-9, err_msg=name)


def test_equal_neurons_stay_equal_in_float32():
    net, loss = equal_neurons(-2.0)
    truth, _ = outcome(net, loss, drive(), "reference_event")
    result, _ = outcome(net, loss, drive(), "native", "float32")
    assert np.array_equal(result.spike_counts["hidden"], truth.spike_counts["hidden"])


@pytest.mark.parametrize("dt", [0.25, 0.5])
def test_a_spike_at_the_end_of_the_trial_counts(dt):
    """One neuron, one input; the trial ends at the double nearest to its spike, and one to either side of it."""
    net = Network()
    out = net.population(LIF(), 1, "output")
    net.connect(net.input(1), out, Dense(9.0))
    loss = losses.SquaredError(out, "first_spike")
    events = Events.from_samples([([0.0], [0])], n_channels=1, targets=[[1.0]])
    exact = outcome(net, loss, events, "reference_event", dt=dt)[0].readout[0, 0]
    assert 0 < exact < T
    for duration in (np.nextafter(exact, 0), exact, np.nextafter(exact, 10)):
        for engine in ("reference_event", "native"):
            for steps in (1, 3, 8):
                result, gradients = outcome(net, loss, events, engine, duration=duration, dt=duration / steps)
                assert result.spike_counts["output"].tolist() == [[1]] and result.readout[0, 0] <= duration
                assert gradients["input_output.weight"][0, 0] != 0
    for duration in (exact * (1 - 1e-9), exact * (1 + 1e-9)):
        for engine in ("reference_event", "native"):
            result, _ = outcome(net, loss, events, engine, duration=duration, dt=duration / 3)
            assert result.spike_counts["output"][0, 0] == (duration > exact)
