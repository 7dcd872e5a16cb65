"""`cuda` with exact spike times, on the shim: spikes, losses, gradients are those of `reference_event` and `native`."""

import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from genn_eventprop import (
    Conv2D,
    Delay,
    Dense,
    Events,
    Gamma,
    Network,
    NeuronModel,
    Normal,
    Param,
    Sparse,
    Uniform,
    losses,
)
from genn_eventprop.engines import create
from genn_eventprop.engines.spike_times import choose_spike_times
from genn_eventprop.errors import EngineError
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.lif_refractory import LIFRefractory
from genn_eventprop.plan import make_plan
from genn_eventprop.regularisers import SpikeCount
from support.cuda_shim import ASCENDING, DESCENDING, ShimEngine
from support.exact import network, spikes
from support.random_networks import draw

CASES = [
    ("recurrent", "first_inverse", 1.3),
    ("feed-forward", "end_spiking", 0.4),
    ("feed-forward", "sigmoid_spiking", 0.0),
    ("adaptive", "first", 0.0),
    # exponential and end: in float32, and in halves
    *(pytest.param(*c, marks=pytest.mark.slow) for c in (("recurrent", "exponential", 1.3), ("deep", "end", 0.0))),
]
TWO_RECEPTORS = NeuronModel(
    name="two receptors", state={"V": 0.0, "I": 0.0, "J": 0.0},
    params={"tau": Param(15.0, "ms"), "tau_fast": Param(3.0, "ms"), "tau_slow": Param(8.0, "ms")},
    dynamics={"V": "(I + J - V) / tau", "I": "-I / tau_fast", "J": "-J / tau_slow"},
    threshold="V - 1", reset={"V": 0.0}, input={"fast": "I", "slow": {"J": "2"}},
)  # fmt: skip


DRIVEN = losses.TimeWeight("linear", (5.2, 40.0), 15.0, 20.0)


def learned(**values):
    return {n: Param(v, trainable=True) for n, v in values.items()}


def mixed():
    """Two inputs; a layer with refractory periods and one whose neurons differ, both learned and read; outputs that are
    read all along the trial and at their maximum."""
    net = Network()
    left, right = net.input(4, "left"), net.input(3, "right")
    first = net.population(LIFRefractory(**learned(tau_mem=18.0, tau_syn=4.0, t_ref=2.3, v_reset=-0.1)), 9, "first")
    unlike = Param(Gamma(15.0, low=8.0, high=30.0), trainable=True)
    second = net.population(LIF(tau_mem=unlike, **learned(v_thresh=0.9)), 5, "second")
    output = net.population(LI(**learned(tau_syn=4.0)), 4, "output")
    other = net.population(LI(tau_mem=unlike, **learned(tau_syn=4.0)), 3, "other")
    late = Delay(Uniform(0.5, 4.0), kind="synaptic", trainable=True, max=9.0)
    net.connect(left, first, Sparse(Normal(0.9, 0.6), probability=0.8), delay=late)
    net.connect(right, first, Dense(Normal(0.9, 0.6)), delay=0.7)
    net.connect(right, other, Dense(Normal(0.3, 0.3)))
    net.connect(first, second, Dense(Normal(0.6, 0.4)), delay=0.3)
    net.connect(second, first, Dense(Normal(0.2, 0.2)), delay=2.6)
    net.connect(first, output, Dense(Normal(0.3, 0.4)))
    net.connect(second, other, Dense(Normal(0.3, 0.4)), delay=0.7)
    asked = [
        losses.PerStepCrossEntropy(output), 0.5 * losses.SquaredError(first, weight=DRIVEN).against("first"),
        2 * losses.SpikeCountCrossEntropy(second).against("second"), losses.SquaredError(other, "max").against("other"),
    ]  # fmt: skip
    rng = np.random.default_rng(4)
    answers = {"first": rng.normal(size=(2, 9)), "second": rng.integers(0, 5, 2), "other": rng.normal(size=(2, 3))}
    return plan_of(net, asked, dt=2.5), replace(spikes(2), targets=answers)


def plan_of(net, loss, dt=1.0, **how):
    return make_plan(net, loss, dt=dt, duration=50.0, spike_times="exact", **how)


def compare(plan, events, *, truth="reference_event", tolerance=1e-8, at=1e-10, **settings):
    """Run both; returns the engine and its result."""
    values, samples = plan.network.initial_parameters(3), np.arange(len(events))
    how = {"dtype": "float64", "threads": 1} if truth == "native" else {}
    right = create(plan, values, engine=truth, **how)
    want = right.run(right.load(events), samples, training=True, record_spikes=True)
    engine = ShimEngine(plan, values, **{"dtype": "float64", **settings})
    got = engine.run(engine.load(events), samples, training=True, record_spikes=True)
    for name, expected in want.spikes.items():
        assert expected.time.size > 5, name
        assert np.array_equal(got.spikes[name].sample, expected.sample)
        assert np.array_equal(got.spikes[name].neuron, expected.neuron)
        np.testing.assert_allclose(got.spikes[name].time, expected.time, rtol=0, atol=at)
        assert np.array_equal(got.spike_counts[name], want.spike_counts[name])
    np.testing.assert_allclose(got.loss, want.loss, rtol=tolerance)
    np.testing.assert_allclose(got.readout, want.readout, rtol=tolerance)
    assert engine.gradients.keys() == right.gradients.keys()
    for name, gradient in right.gradients.items():
        assert np.linalg.norm(gradient) > 0, name
        assert np.linalg.norm(engine.gradients[name] - gradient) < tolerance * np.linalg.norm(gradient), name
    right.close()
    return engine, got


@pytest.mark.ci
def test_every_kind_of_neuron_and_readout_and_no_order_changes_a_bit():
    """Blocks and threads in any order; a batch in groups, with gradients that go on; lists that grow."""
    plan, events = mixed()
    engine, result = compare(plan, events)
    values, first = plan.network.initial_parameters(3), [result.loss, *(g.copy() for g in engine.gradients.values())]
    for order, group, room in ((ASCENDING, None, 1), (DESCENDING, 1, 32)):
        engine = ShimEngine(plan, values, dtype="float64", room=room, order=order, group=group)
        data = engine.load(events)
        for _ in range(1 + (room > 1)):
            result = engine.run(data, [0, 1], training=True)
        assert all(map(np.array_equal, first, [result.loss, *engine.gradients.values()]))
        assert max(engine.room) > 1
        engine.close()
        assert engine.device.live == 0


FAULTS = {
    "a refractory period does not end": (
        r"s = due, ends = END_OF_PERIOD;",
        "(void)due;",
    ),
    "its end has no D": (r"p\.by\[event\] \+= \(real\)D;", "p.by[event] += (real)0;"),
    "arrivals keep no order": (r"rank \+= other < s \|\| \(other == s && b < a\);", "rank += b < a;"),
    "a kink has no D": (r"\? of\.dr\(cell\.number\) \* of\.turn\[at\] : 0\.0", "? 0.0 : 0.0"),
    "one node for every stretch": (r"return 1 \+ \(int\)\(0\.5 \* digits.*;", "return 1;"),
    "what is behind a jump is not taken off a learned parameter": (
        "after, right, -1, learn",
        "after, right, -0.0, learn",
    ),
    "an arrival is looked up one target further": (
        r"return from < first\[route \+ 1\] && target\[from\] == neuron \? from : -1;",
        "return from + 1 < first[route + 1] && target[from] == neuron ? from + 1 : -1;",
    ),
    "delays are added up side by side": (
        r"if \(threadIdx\.x == 0\)(?=\n\s+for \(int e = 0; e < m; \+\+e\))",
        "if (threadIdx.x < 2)",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_text_is_noticed(fault):
    plan, events = mixed()
    old, new = FAULTS[fault]

    def change(text):
        changed, count = re.subn(old, new, text)
        assert count, f"{fault}: nothing to change"
        return changed

    with pytest.raises((AssertionError, EngineError, RuntimeError)) as noticed:
        compare(plan, events, change=change)
    assert "nothing to change" not in str(noticed.value)


@pytest.mark.ci
@pytest.mark.parametrize(("topology", "loss", "delay"), CASES)
def test_a_trial_is_that_of_the_reference(topology, loss, delay):
    net, criterion = network(topology, loss, "fixed", delay)
    compare(plan_of(net, criterion), spikes())


@pytest.mark.ci
def test_many_arrivals_in_a_step_and_several_neurons_a_thread(monkeypatch):
    """More than a chunk of them, at one instant too, through two receptors; a count that is regularised."""
    monkeypatch.setattr("genn_eventprop.codegen.cuda.target.MOST_THREADS", 32)
    net = Network()
    source, hidden = net.input(7), net.population(TWO_RECEPTORS(), 35, "hidden")
    out = net.population(LIF(), 3, "output")
    net.connect(source, hidden, Dense(Normal(0.1, 0.1)), receptor="fast", name="fast")
    net.connect(source, hidden, Dense(Normal(0.05, 0.1)), receptor="slow", delay=0.5, name="slow")
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.1)), receptor="fast", delay=2.0)
    net.connect(hidden, out, Dense(Normal(0.4, 0.4)))
    terms = [SpikeCount(hidden, target=3, strength=1e-2)]
    plan = plan_of(net, losses.SpikeCountCrossEntropy(out), dt=2.0, regularisers=terms)
    rng = np.random.default_rng(2)
    samples = [(np.sort(np.append(rng.uniform(3, 6, n), [4.0] * 9)), rng.integers(0, 7, n + 9)) for n in (80, 20)]
    compare(plan, Events.from_samples(samples, n_channels=7, labels=[0, 2]))


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("dendritic", marks=pytest.mark.ci),
        *(pytest.param(k, marks=pytest.mark.slow) for k in ("axonal", "one")),
    ],
)
def test_tables_convolutions_shared_weights_and_individual_delays(kind):
    net = Network()
    delay = 0.6 if kind == "one" else Delay(Uniform(0.5, 4.0), kind=kind, trainable=True, max=9.0)
    image, late = net.input(shape=(3, 4, 2)), Delay(Uniform(0.0, 2.0), kind="synaptic", trainable=True, max=3.0)
    conv = Conv2D(Normal(1.5, 0.8), kernel=(2, 3), channels=3, stride=(1, 2), padding=(0, 1))
    hidden = net.population(LIF(), name="hidden", shape=conv.output_shape((3, 4, 2)))
    second, third = (net.population(LIF(), hidden.size, name) for name in ("second", "third"))
    out = net.population(LI(), 3, "output")
    net.connect(image, hidden, conv, delay=delay)
    net.connect(hidden, hidden, Sparse(Normal(0.0, 0.3), probability=0.4), delay=1.5)
    owner = net.connect(hidden, second, Dense(Normal(0.6, 0.4)), delay=late)
    net.connect(second, third, share=owner, delay=0.5)
    net.connect(second, out, Dense(Normal(0.4, 0.4)), delay=late)
    net.connect(third, out, Dense(Normal(0.4, 0.4)))
    rng = np.random.default_rng(3)
    samples = [(np.sort(rng.uniform(0, 30, n)), rng.integers(0, 24, n)) for n in (35, 15)]
    loss = losses.PerStepCrossEntropy if kind == "one" else losses.MaxVoltageCrossEntropy
    compare(plan_of(net, loss(out)), Events.from_samples(samples, n_channels=24, labels=[0, 2]))


@pytest.mark.ci
def test_a_window_of_the_time_weight_cuts_steps():
    net = Network()
    hidden, out = net.population(LIF(), 12, "hidden"), net.population(LI(), 4, "output")
    net.connect(net.input(7), hidden, Dense(Normal(0.8, 0.5)))
    net.connect(hidden, out, Dense(Normal(0.3, 0.3)))
    loss = losses.IntegratedVoltageCrossEntropy(out, "exponential", window=(7.3, 41.9))
    compare(plan_of(net, loss), spikes())


@pytest.mark.parametrize(
    "loss",
    [
        lambda out: losses.IntegratedVoltageCrossEntropy(out, "exponential"),
        *(
            pytest.param(loss, marks=pytest.mark.ci)
            for loss in (losses.PerStepCrossEntropy, losses.VoltageSquaredError, losses.MaxVoltageCrossEntropy)
        ),
    ],
)
def test_steps_without_arrivals(loss):
    """Nothing else makes the threads of a block wait for each other in them; the shim finds races."""
    net = Network()
    out = net.population(LI(), 16, "output")
    net.connect(net.input(7), out, Dense(Normal(0.3, 0.3)))
    samples = [(np.array([3.2, 3.2, 31.7]), np.array([0, 4, 2])), (np.array([]), np.array([], int))]
    targets = np.random.default_rng(1).normal(size=(2, 51, 16))
    targets[0, 20:30, 3] = np.nan
    answers = {"targets": targets} if loss is losses.VoltageSquaredError else {"labels": [3, 0], "n_classes": 16}
    compare(plan_of(net, loss(out)), Events.from_samples(samples, 7, **answers))


@pytest.mark.ci
def test_the_activity_of_input_spikes_at_the_ends_of_steps():
    """The time of a node may be rounded to that of the spike, whose activity was unknown then: not a number."""
    case = draw("exact", 6, 3, 0)  # a weight that follows the input, no hidden layer, 20 steps of 1 ms
    assert case.plan.loss.weight.expression == "constant" and case.plan.loss.weight.input_gain > 0
    read = []
    for make in (ShimEngine, partial(create, engine="native")):
        engine = make(case.plan, case.parameters, dtype="float64")
        read.append(engine.run(engine.load(case.events), np.arange(len(case.events)), training=True).readout)
    np.testing.assert_allclose(*read, rtol=1e-8)


@pytest.mark.ci
def test_halves_and_the_gradients_of_input_times():
    net, criterion = network("recurrent", "end", "fixed", 1.3)
    plan, events = plan_of(net, criterion), spikes()
    values, found = plan.network.initial_parameters(3), []
    for engine in (create(plan, values, engine="reference_event"), ShimEngine(plan, values, dtype="float64")):
        data = engine.load(events)
        read = engine.forward(data, [2, 0])
        engine.backward(read.value - 0.3)
        found.append([read.value, engine.input_gradients, *(g.copy() for g in engine.gradients.values())])
    for a, b in zip(*found):
        assert np.abs(a).max() > 0
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-9 * np.abs(a).max())


@pytest.mark.ci
def test_float32_keeps_spike_times_and_gradients():
    net, criterion = network("deep", "exponential", "fixed", 1.3)
    compare(plan_of(net, criterion), spikes(), truth="native", dtype="float32", tolerance=2e-5, at=2e-5)


@pytest.mark.ci
def test_a_neuron_that_runs_away_is_named():
    net = Network()
    out = net.population(LIF(tau_mem=0.1, tau_syn=5.0), 2, "output")
    net.connect(net.input(1), out, Dense(Normal(1e5, 0.0)))
    plan = make_plan(net, losses.FirstSpikeCrossEntropy(out), dt=1.0, duration=5.0, spike_times="exact")
    engine = ShimEngine(plan, net.initial_parameters(1))
    data = engine.load(Events.from_samples([([], []), ([3.0], [0])], n_channels=1, labels=[0, 1]))
    with pytest.raises(EngineError, match="'output' diverged in sample 1: more than 200 spikes of a neuron"):
        engine.run(data, [0, 1])


def test_half_rows_are_refused():
    net, criterion = network("feed-forward", "end", "fixed", 0.0)
    with pytest.raises(EngineError, match="no weight_rows='float16' with exact spike times; use native"):
        ShimEngine(plan_of(net, criterion), net.initial_parameters(1), weight_rows="float16")


def test_a_card_has_exact_spike_times_only_if_asked():
    net, criterion = network("feed-forward", "first", "fixed", 0.0)
    choice = choose_spike_times(net, criterion, dt=1.0, duration=50.0, engine="cuda")
    assert choice.name == "grid" and "only on request, spike_times='exact'" in choice.reason
