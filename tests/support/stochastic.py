"""Networks with noise and dropout, and the comparison of two engines that run them."""

import numpy as np

from genn_eventprop import Dense, Events, Network, Normal, losses
from genn_eventprop.models import ZOO
from genn_eventprop.plan import make_plan
from genn_eventprop.regularisers import SpikeCount


def network(model="LIF", output="LI", scale=1.0, regularised=None, spike_times="grid", **random):
    net = Network()
    inp = net.input(9)
    hidden = net.population(ZOO[model], 37, name="hidden", **random)
    out = net.population(ZOO[output], 4, name="output", noise=0.05 if random.get("noise") else 0.0)
    net.connect(inp, hidden, Dense(Normal(0.9 * scale, 0.5 * scale)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.1 * scale)), delay=1.0)
    net.connect(hidden, out, Dense(Normal(0.2, 0.4)))
    loss = losses.IntegratedVoltageCrossEntropy(out, "exponential")
    terms = [SpikeCount(hidden, target=2.0, strength=1e-2, mean=regularised)] if regularised else []
    return make_plan(net, loss, dt=0.5, duration=40.0, spike_times=spike_times, regularisers=terms)


def random_events(n=7, seed=2):
    rng = np.random.default_rng(seed)
    samples = [(np.sort(rng.uniform(0, 38, 50)), rng.integers(0, 9, 50)) for _ in range(n)]
    return Events.from_samples(samples, n_channels=9, labels=rng.integers(0, 4, n))


def compare(results, engines):
    """float64 to 1e-10, on the same spikes."""
    want, got = results
    for p in want.spikes:
        np.testing.assert_array_equal(got.spike_counts[p], want.spike_counts[p])
        np.testing.assert_array_equal(got.spikes[p].neuron, want.spikes[p].neuron)
    np.testing.assert_allclose(got.loss, want.loss, rtol=1e-10)
    assert got.guarded == want.guarded and want.spike_counts["hidden"].sum() > 100
    for key, gradient in engines[0].gradients.items():
        error = np.abs(engines[1].gradients[key] - gradient).max()
        assert error <= 1e-10 * np.abs(gradient).max(), key
        # spikes of delta synapses are where arrivals are: only the rest depends on weights
        assert gradient.any() or engines[0].plan.population("hidden").derived.model.name == "LIFDelta", key


CASES = {
    "noise": {"noise": 0.05},
    "dropout": {"dropout": 0.4},
    "dropout with reset": {"dropout": 0.4, "dropped_reset": True},
    "both": {"noise": 0.08, "dropout": 0.2},
    "both with reset, mean counts": {"noise": 0.08, "dropout": 0.2, "dropped_reset": True, "regularised": "batch"},
    "counts of a sample, reset": {"dropout": 0.5, "dropped_reset": True, "regularised": "example"},
    "delta synapses": {"model": "LIFDelta", "scale": 0.3, "dropout": 0.4, "dropped_reset": True},
    "delta synapses, no reset": {"model": "LIFDelta", "scale": 0.3, "dropout": 0.4, "noise": 0.02},
    "modes": {"model": "LIFRefractory", "noise": 0.1, "dropout": 0.3, "dropped_reset": True},
    "nonlinear": {"model": "QIF", "scale": 2.0, "noise": 0.1, "dropout": 0.3},
}
