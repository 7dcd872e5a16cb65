"""Small networks of LIF and LI neurons on the time grid, and `native` compared with `reference_clock`."""

import numpy as np

from genn_eventprop import Dense, Events, Gamma, Network, Normal, Param, Uniform, losses
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.engines.native.engine import NativeEngine
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan

TOLERANCE = 1e-10
LIF_VALUES = {"tau_mem": 18.0, "tau_syn": 4.0, "v_thresh": 0.9, "v_reset": -0.1}
LI_VALUES = {"tau_mem": 15.0, "tau_syn": 5.0}
SPIKING_OUTPUT = ("first", "first end", "first inverse end", "integral of spiking")


def parameters(kind, values):
    """Parameter values of a population by how they vary and whether they are learned."""
    units = {n: "ms" if n.startswith("tau") else "" for n in values}
    spread = {n: Gamma(v, 40.0, 0.8 * v, 1.2 * v) if v > 0 else Uniform(v, 0.0) for n, v in values.items()}
    return {
        "fixed": values,
        "learned": {n: Param(v, units[n], trainable=True) for n, v in values.items()},
        "shared": {n: Param(v, units[n], trainable=True, shared=True) for n, v in values.items()},
        "spread": spread,
        "spread learned": {n: Param(v, units[n], trainable=True) for n, v in spread.items()},
    }[kind]


def make_loss(name, output):
    return {
        "first": lambda: losses.FirstSpikeCrossEntropy(output),
        "first end": lambda: losses.FirstSpikeCrossEntropy(output, tau0=2.0, tau1=20.0, alpha=0.1, silent="end"),
        "first inverse end": lambda: losses.FirstSpikeCrossEntropy(output, form="inverse", alpha=3.0, silent="end"),
        "max": lambda: losses.MaxVoltageCrossEntropy(output),
        "integral": lambda: losses.IntegratedVoltageCrossEntropy(output),
        "integral exponential": lambda: losses.IntegratedVoltageCrossEntropy(output, "exponential"),
        "integral sigmoid": lambda: losses.IntegratedVoltageCrossEntropy(output, "sigmoid"),
        "integral of spiking": lambda: losses.IntegratedVoltageCrossEntropy(output, "linear"),
    }[name]()


def build(topology, loss_name, kind, delay, hidden_model=None, duration=50.0, dt=0.5):
    """A small network of the wanted shape; every population fires and no size is a multiple of the vector width."""
    net = Network()
    inp = net.input(7)
    lif = lambda: LIF(**parameters(kind, LIF_VALUES))  # noqa: E731
    hidden = net.population(hidden_model or lif(), 21, name="hidden")
    net.connect(inp, hidden, Dense(Normal(0.8, 0.6)), delay=delay)
    last = hidden
    if topology == "recurrent":
        net.connect(hidden, hidden, Dense(Normal(0.0, 0.3)), delay=delay)
    if topology in ("deep", "skip"):
        last = net.population(lif(), 18, name="second")
        net.connect(hidden, last, Dense(Normal(0.3, 0.3)))
    spiking = loss_name in SPIKING_OUTPUT
    output = net.population(lif() if spiking else LI(**parameters(kind, LI_VALUES)), 4, name="output")
    net.connect(last, output, Dense(Normal(0.3, 0.4)), delay=delay)
    if topology == "skip":
        net.connect(hidden, output, Dense(Normal(0.1, 0.2)), delay=2 * delay)
        net.connect(inp, output, Dense(Normal(0.1, 0.2)), delay=delay)
    return make_plan(net, make_loss(loss_name, output), dt=dt, duration=duration)


def random_events(plan, n_samples=6, seed=5, spikes=(8, 40)):
    """Uniform spike times; the first sample ends with a spike in the last step and another one doubled."""
    rng = np.random.default_rng(seed)
    samples = []
    for s in range(n_samples):
        n = int(rng.integers(*spikes))
        times, channels = np.sort(rng.uniform(0, plan.duration - 1, n)), rng.integers(0, plan.input.size, n)
        if s == 0:  # three spikes on one channel in one step, one in the last step
            times = np.sort(np.concatenate([times, np.full(3, 4.0), [plan.duration - plan.dt]]))
            channels = np.concatenate([channels, [2, 2, 2, 1]])
        samples.append((times, channels))
    labels = rng.integers(0, plan.loss.n_classes, n_samples)
    return Events.from_samples(samples, n_channels=plan.input.size, labels=labels)


def relative(a, b):
    return np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30)


def check_same(plan, events, tolerance=TOLERANCE, threads=2, values=None):
    """Run both engines and compare everything they return; gives back the reference's result and gradients."""
    values = plan.network.initial_parameters(3) if values is None else values
    clock, native = ReferenceClock(plan, values), NativeEngine(plan, values, dtype="float64", threads=threads)
    every = np.arange(len(events))
    want = clock.run(clock.load(events), every, training=True, record_spikes=True)
    got = native.run(native.load(events), every, training=True, record_spikes=True)
    native.close()
    assert set(got.spikes) == set(want.spikes)
    for name in want.spikes:
        assert want.spike_counts[name].sum() > 5, f"{name} is silent: the comparison would be empty"
        for field in ("sample", "time", "neuron"):
            np.testing.assert_array_equal(getattr(got.spikes[name], field), getattr(want.spikes[name], field))
        np.testing.assert_array_equal(got.spike_counts[name], want.spike_counts[name])
    np.testing.assert_allclose(got.loss, want.loss, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(got.readout, want.readout, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(got.prediction, want.prediction)
    assert got.guarded == want.guarded
    assert set(native.gradients) == set(clock.gradients) == set(plan.trainable)
    for key, gradient in clock.gradients.items():
        assert native.gradients[key].shape == gradient.shape
        assert gradient.any(), f"the gradient of {key} is zero: the comparison would be empty"
        assert relative(native.gradients[key], gradient) < tolerance, key
    return want, clock.gradients
