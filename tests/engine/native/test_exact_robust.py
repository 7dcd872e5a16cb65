"""Exact spike times of `native` on hostile input: weights and spikes at random against `reference_event`, hard cases.

Hypothesis draws weights and spikes alone, of three networks that are compiled once: a thousand examples take the time
of three networks of `support.random_networks`.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from genn_eventprop import Delay, Dense, Network, NeuronModel, Normal, Param, Uniform, engines, losses
from genn_eventprop.data import Events
from genn_eventprop.errors import EngineError
from genn_eventprop.losses import TimeWeight
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.lif_refractory import LIFRefractory
from genn_eventprop.plan import make_plan
from support.flags import fused_multiply_add
from support.sweeps import sweep

T = 20.0
TINY = float(np.nextafter(0.0, 1.0))
STEPS = st.sampled_from([0.1, 0.5, 1.0, 2.0, 5.0])
TIMES = st.one_of(
    st.floats(0.0, T, exclude_max=True, allow_subnormal=True),
    st.sampled_from([0.0, TINY, 1e-310, 1.0, 5.0, 5.0 + 1e-15, 10.0, T - 1e-12, float(np.nextafter(T, 0.0))]),
)
QUICKLY = settings(  # no shrinking: minutes
    deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # how it is compiled, the same for every example
)  # fmt: skip
SPIKES = st.lists(st.tuples(TIMES, st.integers(0, 2)), max_size=10)
FLOAT32_MS = 1e-5 if fused_multiply_add() else 2e-5


LOSSES = {
    "first": losses.FirstSpikeCrossEntropy,
    "max": losses.MaxVoltageCrossEntropy,
    "driven": lambda o: losses.IntegratedVoltageCrossEntropy(o, TimeWeight("linear", (1.0, 10.0), 4.0, 20.0)),
    "voltage": lambda o: losses.PerStepCrossEntropy(o, window=(5.0, T)),
}


@functools.cache
def plans(topology: str, dt: float, duration: float = T, loss: str = ""):
    net = Network()
    inp = net.input(3)
    neuron = LIFRefractory if topology == "refractory" else LIF
    period = {"t_ref": 1.7} if topology == "refractory" else {}
    hidden = net.population(neuron(tau_mem=10.0, tau_syn=4.0, **period), 5, name="hidden")
    net.connect(inp, hidden, Dense(1.0))
    if topology != "feed-forward":
        net.connect(hidden, hidden, Dense(0.1))
    spiking = topology == "feed-forward"
    output = net.population(LIF(tau_mem=10.0, tau_syn=4.0) if spiking else LI(), 2, name="output")
    net.connect(hidden, output, Dense(1.0))
    criterion = LOSSES[loss or ("first" if spiking else "max")](output)
    return net, make_plan(net, criterion, dt=dt, duration=duration, spike_times="exact")


def events_of(spikes) -> Events:
    spikes = sorted(spikes)
    times, channels = (np.array([s[i] for s in spikes]) for i in (0, 1))
    return Events.from_samples([(times.astype(float), channels.astype(int))], n_channels=3, labels=[0], n_classes=2)


def weights(net: Network, seed: int, scale: float) -> dict[str, np.ndarray]:
    rng, values = np.random.default_rng(seed), net.initial_parameters(0)
    values["input_hidden.weight"] = scale * rng.normal(3.0, 3.0, (3, 5))
    values["hidden_output.weight"] = rng.normal(2.0, 2.0, (5, 2))
    if "hidden_hidden.weight" in values:
        values["hidden_hidden.weight"] = rng.normal(0.0, 1.0, (5, 5))
    return values


def run(plan, values, events, name, **options):
    engine = engines.create(plan, values, engine=name, **options)
    result = engine.run(engine.load(events), [0], training=True, record_spikes=True)
    return result, {k: np.array(v, np.float64) for k, v in engine.gradients.items()}, engine


def by_neuron(result, population):
    s = result.spikes[population]
    order = np.lexsort((s.time, s.neuron))
    return s.neuron[order], s.time[order]


def closest(*times: np.ndarray) -> float:
    """Smallest distance of two different moments: closer ones can change order by rounding."""
    every = np.sort(np.concatenate(times))
    return float(np.diff(every).min(initial=np.inf))


RANDOM = given(
    topology=st.sampled_from(["feed-forward", "recurrent", "refractory"]), dt=STEPS, spikes=SPIKES,
    seed=st.integers(0, 10_000), scale=st.sampled_from([0.3, 1.0, 3.0, 10.0]),
    loss=st.sampled_from(["", "driven", "voltage"]),
)  # fmt: skip


@settings(QUICKLY, max_examples=12)
@RANDOM
@example(
    topology="recurrent", dt=5.0, seed=147, scale=3.0, loss="driven",
    spikes=[(5.619224490864245, 2), (5.000000000000001, 1), (9.81536508884124, 0), (19.999999999999, 0),
            (7.133789679534486, 0), (0.3, 2), (1e-310, 0), (1e-310, 1), (1.0, 0), (14.873672717549184, 2)],
)  # fmt: skip
@pytest.mark.ci
def test_random_networks_are_the_reference(topology, dt, spikes, seed, scale, loss):
    are_the_reference(topology, dt, spikes, seed, scale, loss)


@pytest.mark.slow
@settings(QUICKLY, max_examples=90)
@RANDOM
def test_more_random_networks_are_the_reference(topology, dt, spikes, seed, scale, loss):
    are_the_reference(topology, dt, spikes, seed, scale, loss)


def are_the_reference(topology, dt, spikes, seed, scale, loss):
    net, plan = plans(topology, dt, loss=loss)
    values, events = weights(net, seed, scale), events_of(spikes)
    truth, expected, reference = run(plan, values, events, "reference_event")
    result, gradients, _ = run(plan, values, events, "native", dtype="float64")
    slope = min(reference.smallest_slope, 0.05)
    own = [s.time for s in truth.spikes.values()]
    if topology != "feed-forward" and closest(*own, np.unique(events.times)) < 1e-10:
        return  # the order of two spikes is up to rounding
    for name in truth.spikes:
        (neuron, time), (also, at) = by_neuron(truth, name), by_neuron(result, name)
        assert np.array_equal(neuron, also)
        np.testing.assert_allclose(at, time, rtol=0, atol=1e-11 * 0.05 / slope)
    # the loss of a class that is certain is 0 up to the rounding of the readouts
    np.testing.assert_allclose(result.loss, truth.loss, rtol=1e-9 * 0.05 / slope, atol=1e-12)
    for k, g in expected.items():
        assert np.linalg.norm(gradients[k] - g) <= 1e-8 * (0.05 / slope) ** 2 * np.linalg.norm(g) + 1e-12


TEN = given(spikes=SPIKES, seed=st.integers(0, 10_000), dt=STEPS)


@pytest.mark.ci
@pytest.mark.usefixtures("contracted")
@settings(QUICKLY, max_examples=20)
@TEN
@example(
    spikes=[(19.999999999999, 2), (19.999999999999, 2), (1.4e-45, 2), (1.5, 2), (1.5, 2), (1.9, 2), (0.0, 1),
            (5.000000000000001, 1), (2.2e-311, 1)],
    seed=242, dt=5.0,
)  # fmt: skip
def test_float32_keeps_its_bounds(spikes, seed, dt):
    keeps_its_bounds(spikes, seed, dt)


@pytest.mark.slow
@settings(QUICKLY, max_examples=40)
@TEN
def test_float32_keeps_its_bounds_in_more(spikes, seed, dt):
    keeps_its_bounds(spikes, seed, dt)


def keeps_its_bounds(spikes, seed, dt):
    """FLOAT32_MS up to ten spikes of a neuron, and as many times more as it has more spikes: what
    docs/exact_spike_times.md measures with a hundred."""
    net, plan = plans("feed-forward", dt)
    values = {k: v.astype(np.float32) for k, v in weights(net, seed, 0.3).items()}  # some 10 spikes per neuron
    events = events_of(spikes)
    truth, expected, reference = run(plan, values, events, "reference_event")
    result, gradients, _ = run(plan, values, events, "native", dtype="float32")
    bound = max(1.0, 0.05 / reference.smallest_slope)
    if bound > 20:
        return  # nearly tangential: float32 may see another number of spikes
    for name in truth.spikes:
        (neuron, time), (also, at) = by_neuron(truth, name), by_neuron(result, name)
        assert np.array_equal(neuron, also)
        many = max(1.0, truth.spike_counts[name].max() / 10)
        np.testing.assert_allclose(at, time, rtol=0, atol=FLOAT32_MS * bound * many)
    for k, g in expected.items():
        assert np.linalg.norm(gradients[k] - g) <= 1e-3 * bound * np.linalg.norm(g) + 1e-6


INTEGRATOR = NeuronModel(
    name="Integrator", state={"V": 0.0, "I": 0.0}, params={"tau_syn": Param(5.0, "ms")},
    dynamics={"V": "I / 20", "I": "-I / tau_syn"}, threshold="V - 1", reset={"V": "V - 1"}, input="I",
)  # fmt: skip


HUNDREDS = [(model, dt) for model in (LIF, INTEGRATOR, LIFRefractory) for dt in (1.0, 5.0)]


@pytest.mark.ci
@pytest.mark.usefixtures("contracted")
@pytest.mark.parametrize(
    "model, dt",
    sweep(HUNDREDS, [(LIF, 5.0), (INTEGRATOR, 1.0), (LIFRefractory, 1.0)]),
    ids=lambda v: getattr(v, "name", v),
)
def test_float32_keeps_its_bounds_over_a_hundred_spikes(model, dt):
    duration, rng = 300.0, np.random.default_rng(0)
    net = Network()
    inp, hidden, output = (
        net.input(20),
        net.population(model(), 4, name="hidden"),
        net.population(LI(), 2, name="output"),
    )
    net.connect(inp, hidden, Dense(Normal(0.6, 0.15)))
    net.connect(hidden, output, Dense(Normal(0.0, 0.1)))
    plan = make_plan(net, losses.MaxVoltageCrossEntropy(output), dt=dt, duration=duration, spike_times="exact")
    values = {k: v.astype(np.float32) for k, v in net.initial_parameters(1).items()}
    sample = (np.sort(rng.uniform(0.0, duration - 1, 900)), rng.integers(0, 20, 900))
    events = Events.from_samples([sample], n_channels=20, labels=[0], n_classes=2)
    truth, expected, reference = run(plan, values, events, "reference_event")
    result, gradients, _ = run(plan, values, events, "native", dtype="float32")
    bound = max(1.0, 0.05 / reference.smallest_slope)
    assert truth.spike_counts["hidden"].mean() > (35 if model is LIFRefractory else 100) and bound < 2
    (neuron, time), (also, at) = by_neuron(truth, "hidden"), by_neuron(result, "hidden")
    assert np.array_equal(neuron, also)
    np.testing.assert_allclose(at, time, rtol=0, atol=FLOAT32_MS * bound)
    for k, g in expected.items():
        assert np.linalg.norm(gradients[k] - g) <= 1e-3 * bound * np.linalg.norm(g) + 1e-6


def single(weight: float, dt: float = 1.0, duration: float = T, extra=()):
    """One neuron that counts, driven by one spike at 0.3 ms."""
    net, plan = plans("feed-forward", dt, duration)
    values = net.initial_parameters(0)
    for key in ("input_hidden.weight", "hidden_output.weight"):
        values[key][...] = 0.0
    values["input_hidden.weight"][0, 0] = weight
    events = events_of([(0.3, 0), *extra])
    return run(plan, values, events, "reference_event")[0], run(plan, values, events, "native", dtype="float64")[0]


PEAK_TIME = np.log(10.0 / 4.0) * 10.0 * 4.0 / 6.0
PEAK = 4.0 / 6.0 * (np.exp(-PEAK_TIME / 10.0) - np.exp(-PEAK_TIME / 4.0))  # of V after a spike of weight 1


ABOVE, STEP = (1e-3, 1e-6, 1e-9, 1e-12, -1e-12, -1e-9), (0.1, 1.0, 5.0)


@pytest.mark.parametrize(
    ("above", "dt"),
    sweep([(a, dt) for a in ABOVE for dt in STEP], [(a, STEP[i % 3]) for i, a in enumerate(ABOVE)]),
)
@pytest.mark.one_in(2)
def test_a_crossing_that_hardly_touches_the_threshold(above, dt):
    truth, result = single((1 + above) / PEAK, dt)
    assert truth.spike_counts["hidden"][0, 0] == result.spike_counts["hidden"][0, 0] == (above > 0)
    # V - 1 = above - curve (t - peak)^2 / 2: the time is as good as rounding of V divided by the slope there
    slope = np.sqrt(2 * max(above, 1e-15) / 40.0)
    np.testing.assert_allclose(result.spikes["hidden"].time, truth.spikes["hidden"].time, rtol=0, atol=4e-15 / slope)


@pytest.mark.parametrize("after", [-1e-9, -1e-13, 1e-13, 1e-9])
def test_a_spike_at_the_very_end_of_the_trial(after):
    crossing = float(single(2.0 / PEAK)[0].spikes["hidden"].time[0])
    truth, result = single(2.0 / PEAK, crossing - after, crossing - after)
    assert truth.spike_counts["hidden"][0, 0] == result.spike_counts["hidden"][0, 0] == (after < 0)


@pytest.mark.parametrize("weight", [2.0, -40.0])
def test_an_input_at_the_moment_of_an_own_spike(weight):
    crossing = float(single(2.0 / PEAK)[0].spikes["hidden"].time[0])
    net, plan = plans("feed-forward", 1.0)
    values = net.initial_parameters(0)
    values["hidden_output.weight"][...] = 3.0
    values["input_hidden.weight"][...] = 0.0
    values["input_hidden.weight"][0], values["input_hidden.weight"][1] = 2.0 / PEAK, weight
    events = events_of([(0.3, 0), (crossing, 1), (crossing, 1)])
    truth, result = (
        run(plan, values, events, "reference_event")[0],
        run(plan, values, events, "native", dtype="float64")[0],
    )
    for name in truth.spikes:
        (neuron, time), (also, at) = by_neuron(truth, name), by_neuron(result, name)
        assert np.array_equal(neuron, also)
        np.testing.assert_allclose(at, time, rtol=0, atol=1e-11)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_hundreds_of_spikes_in_a_step_then_an_error(dtype):
    net, plan = plans("feed-forward", 1.0)
    values = net.initial_parameters(0)
    values["hidden_output.weight"][...] = 0.0
    values["input_hidden.weight"][...] = 1800.0  # threshold is reached again after 1 / 180 ms
    result, _, _ = run(plan, values, events_of([(3.0, 0)]), "native", dtype=dtype)
    assert 500 < result.spike_counts["hidden"][0, 0] < 10_000
    values["input_hidden.weight"][...] = 1e5
    with pytest.raises(EngineError, match="'hidden' diverged.*more than 1000 spikes of its 5 neurons"):
        run(plan, values, events_of([(3.0, 0)]), "native", dtype=dtype)


@pytest.mark.ci
def test_the_activity_of_many_neurons_runs_away():
    """The work of a step grows with the square of its spikes: 200 of each of 40 neurons took minutes."""
    net = Network()
    inp, hidden = net.input(3), net.population(LIF(tau_mem=10.0, tau_syn=4.0), 40, name="hidden")
    net.connect(inp, hidden, Dense(20.0))
    net.connect(hidden, hidden, Dense(5.0), delay=Delay(Uniform(0.0, 0.5)))
    plan = make_plan(net, losses.SpikeCountCrossEntropy(hidden), dt=1.0, duration=T, spike_times="exact")
    with pytest.raises(
        EngineError, match="'hidden' diverged in sample 0: more than 1000 spikes of its 40 neurons in 1 ms"
    ):
        run(plan, net.initial_parameters(0), events_of([(3.0, 0)]), "native")


@pytest.mark.one_in(2)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_and_times_below_the_normal_numbers(dtype):
    net, plan = plans("recurrent", 1.0)
    values, events = weights(net, 3, 1.0), events_of([(TINY, 0), (1e-310, 1), (5.0, 2), (5.0, 2)])
    plain, _, _ = run(plan, values, events_of([(0.0, 0), (0.0, 1), (5.0, 2), (5.0, 2)]), "native", dtype=dtype)
    values["hidden_hidden.weight"][:, 0] = 1e-40 if dtype == "float32" else 1e-310
    tiny, gradients, _ = run(plan, values, events, "native", dtype=dtype)
    values["hidden_hidden.weight"][:, 0] = 0.0
    none, also, _ = run(plan, values, events, "native", dtype=dtype)
    assert plain.spike_counts["hidden"].sum() > 0
    assert tiny.loss == none.loss
    assert all(np.isfinite(g).all() and np.array_equal(g, also[k]) for k, g in gradients.items())
