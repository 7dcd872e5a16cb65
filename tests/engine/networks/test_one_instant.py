"""Crossings within rounding of each other are one instant: equal neurons stay equal, and arrivals come after them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genn_eventprop import Delay, Dense, Network, NeuronModel, Param, engines, losses
from genn_eventprop.data import Events
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.lif_refractory import LIFRefractory
from genn_eventprop.plan import make_plan
from genn_eventprop.verify.engines import Case
from genn_eventprop.verify.gradients.compare import Problem, settled
from support.engine_check import check
from support.sweeps import sweep

T = 60.0
EXACTLY = {"native": {"dtype": "float64", "threads": 1}}
JUMPS = NeuronModel(
    name="Jumps", state={"V": 0.0}, params={"tau": Param(20.0, "ms")}, dynamics={"V": "-V / tau"}, input="V"
)
SPIKES = NeuronModel(
    name="JumpsAndSpikes", state={"V": 0.0}, params={"tau": Param(20.0, "ms")}, dynamics={"V": "-V / tau"},
    threshold="V - 1", reset={"V": "0"}, input="V",
)  # fmt: skip


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


@pytest.mark.one_in(2)
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


@pytest.mark.ci
def test_equal_neurons_stay_equal_in_float32():
    net, loss = equal_neurons(-2.0)
    truth, _ = outcome(net, loss, drive(), "reference_event")
    result, _ = outcome(net, loss, drive(), "native", "float32")
    assert np.array_equal(result.spike_counts["hidden"], truth.spike_counts["hidden"])


@pytest.mark.one_in(2)
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


def delta_model(name: str = "Delta", reset: str = "0") -> NeuronModel:
    return NeuronModel(
        name=name, state={"V": 0.0}, params={"tau": Param(10.0, "ms", trainable=True)}, dynamics={"V": "-V / tau"},
        threshold="V - 1", reset={"V": reset}, input="V",
    )  # fmt: skip


def exactly(net: Network, loss: losses.Loss, events: Events, duration: float) -> tuple:
    """(readouts, gradients with those of input times) of `reference_event`."""
    plan = make_plan(net, loss, dt=duration, duration=duration, spike_times="exact")
    made = engines.create(plan, net.initial_parameters(0), engine="reference_event")
    read = made.forward(made.load(events), np.arange(len(events)), record_spikes=True)
    made.backward(np.cos(np.arange(read.value.size)).reshape(read.value.shape))
    return read, {k: np.array(v) for k, v in made.gradients.items()} | {"input": made.input_gradients}


def delta_network(
    weights: np.ndarray, recurrent: np.ndarray | None = None, model: NeuronModel | None = None
) -> tuple[Network, losses.Loss]:
    net = Network()
    inp, hidden = net.input(len(weights)), net.population(model or delta_model(), weights.shape[1], "hidden")
    output = net.population(LI(), 2, "output")
    net.connect(inp, hidden, Dense(weights))
    if recurrent is not None:
        net.connect(hidden, hidden, Dense(recurrent), delay=2.0)
    net.connect(hidden, output, Dense(np.tile([[0.3, -0.2]], (weights.shape[1], 1))), delay=1.0)
    return net, losses.IntegratedVoltageCrossEntropy(output)


@pytest.mark.parametrize(
    ("weights", "spikes"), [([1.2, -0.6], 0), ([-0.6, 1.2], 0), ([0.6, 0.7], 1), ([0.9, -0.2, 0.4], 1)]
)
@pytest.mark.parametrize("late", [0.0, 5.0 * 2.0**-52])
def test_what_arrives_at_once_is_added_first(weights, spikes, late):
    """Times within rounding are one instant, and the order of sources decides nothing."""
    net, loss = delta_network(np.array(weights)[:, None])
    times = 5.0 + late * np.arange(len(weights))
    sample = lambda by: Events.from_samples([(times + by, np.arange(len(weights)))], len(weights), labels=[0])  # noqa: E731
    read, gradients = exactly(net, loss, sample(0.0), 20.0)
    assert read.spike_counts["hidden"] == spikes
    value = [exactly(net, loss, sample(by), 20.0)[0].value[0] @ np.cos([0, 1]) for by in (1e-4, -1e-4)]
    assert gradients["input"].sum() == pytest.approx((value[0] - value[1]) / 2e-4, rel=1e-6, abs=1e-12)


def simulated(sample, weights: np.ndarray, recurrent: np.ndarray, steps: int) -> list[tuple[int, int]]:
    """(ms, neuron) of spikes where all events are at whole ms: decay, all arrivals, then the thresholds."""
    V, spikes, arriving = np.zeros(len(recurrent)), [], np.zeros((steps + 3, len(recurrent)))
    np.add.at(arriving, sample[0].astype(int), weights[sample[1]])
    for k in range(steps):
        V = V * np.exp(-1 / 10.0) + arriving[k]
        fired = V >= 1
        spikes += [(k, int(n)) for n in np.flatnonzero(fired)]
        arriving[k + 2] += fired @ recurrent
        V = np.where(fired, 0.0, V)
    return spikes


def test_recurrent_deltas_add_up_before_thresholds():
    rng = np.random.default_rng(3)
    weights, recurrent = rng.normal(0.3, 0.5, (4, 6)), rng.normal(0.0, 0.8, (6, 6))
    net, loss = delta_network(weights, recurrent)
    samples = [(np.sort(rng.integers(0, 35, 40)).astype(float), rng.integers(0, 4, 40)) for _ in range(8)]
    spikes = exactly(net, loss, Events.from_samples(samples, 4, labels=[0] * 8), 40.0)[0].spikes["hidden"]
    for i, sample in enumerate(samples):
        mine = spikes.sample == i
        wanted = simulated(sample, weights, recurrent, 40)
        assert len(wanted) > 20
        assert [(round(t, 9), n) for t, n in zip(spikes.time[mine], spikes.neuron[mine])] == wanted


def test_arrivals_that_cross_together_pass_the_gradient_check():
    rng = np.random.default_rng(3)
    net, loss = delta_network(rng.normal(0.3, 0.5, (4, 3)), rng.normal(0.0, 0.8, (3, 3)))
    samples = [(np.sort(rng.integers(0, 35, 30)).astype(float), rng.integers(0, 4, 30)) for _ in range(2)]
    events = Events.from_samples(samples, 4, labels=[0, 1])
    plan = make_plan(net, loss, dt=40.0, duration=40.0, spike_times="exact")
    problem = Problem(plan, net.initial_parameters(0), events)
    made = engines.create(plan, net.initial_parameters(0), engine="reference_event")
    made.run(made.load(events), [0, 1], training=True)
    names = [
        "hidden_output.weight",
        "hidden.tau",
        "hidden_output.delay",
    ]  # input times of one instant have no derivative
    for key, (difference, _) in settled(problem, names).items():
        assert made.full_gradients[key] == pytest.approx(difference, rel=1e-6, abs=1e-9), key


def test_a_dip_within_one_instant_arms_nothing():
    """A reset that ends above the threshold does not spike again before g has been below zero."""
    model = delta_model("Kept", reset="V - 0.1")
    for first in (-0.6, 0.6):
        net, loss = delta_network(np.array([[1.5], [first], [-first]]), model=model)
        events = Events.from_samples([([5.0, 6.0, 6.0], [0, 1, 2])], n_channels=3, labels=[0])
        assert exactly(net, loss, events, 20.0)[0].spike_counts["hidden"] == 1


@pytest.mark.parametrize("engine", ["reference_event", "native"])
def test_equal_outputs_that_are_read_at_all_times_stay_equal(engine):
    """A spike of one begins new pieces for all of them; g of the others is zero to rounding, and must not be lost."""
    net, rng = Network(), np.random.default_rng(1)
    out = net.population(LIF(), 3, "output")
    net.connect(net.input(8), out, Dense(np.repeat(rng.normal(1.5, 1.0, (8, 1)), 3, axis=1)))
    samples = [(np.sort(rng.uniform(0, 29, 20)), rng.integers(0, 8, 20)) for _ in range(6)]
    events = Events.from_samples(samples, 8, targets=np.zeros((6, 31, 3)))
    result, gradients = outcome(net, losses.VoltageSquaredError(out), events, engine, duration=30.0)
    counts = result.spike_counts["output"]
    assert counts.sum() >= 60 and (counts == counts[:, :1]).all()
    spikes = result.spikes["output"]
    order = np.lexsort((spikes.neuron, np.round(spikes.time, 9), spikes.sample))
    times = spikes.time[order].reshape(-1, 3)
    np.testing.assert_allclose(times, times[:, :1] * np.ones(3), atol=1e-12)
    weights = gradients["input_output.weight"]
    np.testing.assert_allclose(weights, weights[:, :1] * np.ones(3), rtol=1e-8)


@pytest.mark.parametrize("engine", ["reference_event", "native"])
@pytest.mark.parametrize("w", [0.7, -0.7])
def test_a_maximum_behind_an_arrival_at_the_end_of_the_trial(engine, w):
    """A spike in the last instant before T still belongs to the trial, as for V(T)."""
    net = Network()
    out = net.population(JUMPS(), 1, "output")
    net.connect(net.input(2), out, Dense(np.array([[0.5], [w]])))
    events = Events.from_samples([(np.array([3.0, np.nextafter(T, 0)]), np.array([0, 1]))], 2)
    decay = np.exp(-(T - 3.0) / 20.0)
    plan = make_plan(net, losses.Loss(out, "max", also=("end",)), dt=1.0, duration=T, spike_times="exact")
    made = engines.create(plan, net.initial_parameters(1), engine=engine, **EXACTLY.get(engine, {}))
    read = made.forward(made.load(events), [0])
    end, largest = 0.5 * decay + w, max(0.5, 0.5 * decay + w)
    np.testing.assert_allclose([read.value[0, 0], read.also["end"][0, 0]], [largest, end], rtol=1e-12)
    made.backward(np.ones((1, 1)))
    behind = w > 0  # the maximum is V right behind the last arrival, whose time moves it: dr/ds is V' before it
    np.testing.assert_allclose(made.gradients["input_output.weight"][:, 0], [decay, 1.0] if behind else [1.0, 0.0])
    np.testing.assert_allclose(
        made.input_gradients, [0.5 * decay / 20.0, -0.5 * decay / 20.0] if behind else [0.0, 0.0], atol=1e-12
    )
    made.close()


@pytest.mark.one_in(2)
@pytest.mark.parametrize("kind", ["synaptic", "axonal"])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_arrivals_of_one_instant_that_share_the_kink_of_a_maximum(kind, seed):
    """Which of their delays gets it is the engine's choice: they are compared as one."""
    rng, net = np.random.default_rng(seed), Network()
    delays = np.minimum(rng.uniform(0.0, 12.0, (4, 2)), 5.0)  # learned ones stay at their limit
    delays = delays if kind == "synaptic" else delays[:, 0]
    out = net.population(JUMPS(), 2, "output")
    net.connect(net.input(4), out, Dense(rng.uniform(-0.2, 1.0, (4, 2))), delay=Delay(delays, kind=kind, max=5.0))
    plan = make_plan(net, losses.MaxVoltageCrossEntropy(out), dt=1.0, duration=T, spike_times="exact")
    at = np.repeat(rng.uniform(0.0, 40.0, 3), 4)
    channels = np.concatenate([rng.permutation(4) for _ in range(3)])
    events = Events.from_samples([(np.sort(at), channels)], 4, labels=[1])
    case = Case("", plan, net.initial_parameters(1), events, tune=False, strict=True)
    (verdict,) = check(case, ["native float64"])
    assert verdict.kind == "right", verdict.reason


@pytest.mark.parametrize("engine", ["reference_event", "native"])
def test_an_arrival_far_beyond_the_threshold_is_a_spike_where_the_dynamics_diverge(engine):
    """The reset comes first: behind it V rises by 10^25 a ms."""
    model = NeuronModel(
        name="Exponential", state={"V": 0.0}, params={"tau": Param(20.0, "ms")},
        dynamics={"V": "(exp(V) - 1 - V) / tau"}, threshold="V - 1", reset={"V": "0"}, input="V",
    )  # fmt: skip
    net = Network()
    hidden, out = net.population(model(), 1, "hidden"), net.population(LI(), 1, "output")
    net.connect(net.input(1), hidden, Dense(np.array([[60.0]])))
    net.connect(hidden, out, Dense(np.array([[1.0]])))
    events = Events.from_samples([([0.0, 7.5], [0, 0])], 1, targets=np.zeros((1, 1)))
    result, gradients = outcome(net, losses.SquaredError(out, "integral"), events, engine, duration=20.0)
    np.testing.assert_array_equal(result.spikes["hidden"].time, [0.0, 7.5])
    assert gradients["input_hidden.weight"] == 0.0
    assert np.isfinite(gradients["hidden_output.weight"]).all() and gradients["hidden_output.weight"] > 0


@pytest.mark.one_in(2)
@pytest.mark.parametrize("engine", ["reference_event", "native"])
def test_spikes_sent_on_without_a_delay_arrive_before_the_reset_of_their_instant(engine):
    """The input drives both populations over threshold; the second also gets the spike of the first, at once."""
    net = Network()
    inp = net.input(1)
    spiking = SPIKES()
    first, second = net.population(spiking, 1, "first"), net.population(spiking, 2, "second")
    output = net.population(LI(), 1, "output")
    net.connect(inp, second, Dense(np.array([[1.5, 0.7]])))
    net.connect(inp, first, Dense(np.array([[1.5]])))
    net.connect(first, second, Dense(np.array([[0.4, 0.4]])))
    net.connect(second, output, Dense(np.array([[1.0], [0.5]])))
    events = Events.from_samples([([1.0, 3.0], [0, 0])], n_channels=1, targets=np.ones((1, 1)))
    plan = make_plan(net, losses.SquaredError(output), dt=1.0, duration=6.0, spike_times="exact")
    made = engines.create(plan, net.initial_parameters(1), engine=engine, dtype="float64", threads=1)
    data = made.load(events)
    V = made.record(data, [0], times=np.array([1.5, 2.5]), states=["V"], neurons={"second": [0, 1]})["second"]["V"]
    assert np.array_equal(V, np.zeros((1, 2, 2)))  # 0.4 has been added before both of them spiked
    assert made.run(data, [0], training=True).spike_counts["second"].tolist() == [[2, 2]]
