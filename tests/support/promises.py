"""A small recurrent network with every kind of gradient, random input and an engine for it."""

import numpy as np

from genn_eventprop import Dense, Events, Gamma, Network, Normal, Param, losses
from genn_eventprop.engines.native.engine import NativeEngine
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan


def make(dt=0.5, duration=30.0, weight=0.8, hidden_values=None, bounds=(None, None)):
    """7 - 21 recurrent - 4, with a learned time constant: every kind of gradient there is."""
    net = Network()
    inp = net.input(7)
    values = {"tau_mem": Param(Gamma(18.0, 40.0), "ms", trainable=True, bounds=(3.0, None)), "tau_syn": 4.0}
    hidden = net.population(LIF(**(values | (hidden_values or {}))), 21, name="hidden")
    output = net.population(LI(tau_mem=15.0), 4, name="output")
    net.connect(inp, hidden, Dense(Normal(weight, 0.6), bounds=bounds))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.3)), delay=1.0)
    net.connect(hidden, output, Dense(Normal(0.3, 0.4)))
    return make_plan(net, losses.IntegratedVoltageCrossEntropy(output, "exponential"), dt=dt, duration=duration)


def random_events(n_samples=37, seed=1, duration=30.0, spikes=30):
    rng = np.random.default_rng(seed)
    samples = [
        (np.sort(rng.uniform(0, duration - 1, n)), rng.integers(0, 7, n)) for n in rng.integers(1, spikes, n_samples)
    ]
    return Events.from_samples(samples, n_channels=7, labels=rng.integers(0, 4, n_samples))


def engine_of(plan, dtype="float64", threads=2, **settings):
    return NativeEngine(plan, plan.network.initial_parameters(3), dtype=dtype, threads=threads, **settings)
