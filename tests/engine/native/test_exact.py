"""`native` with exact spike times against `reference_event`: times, losses and gradients, whatever the step."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from genn_eventprop import Dense, Event, Network, NeuronModel, Normal, Param, engines, losses
from genn_eventprop.data import Events
from genn_eventprop.errors import EngineError
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.lif_refractory import LIFRefractory
from genn_eventprop.plan import make_plan
from support.exact import ADAPTIVE, network, spikes
from support.sweeps import sweep

CASES = [
    ("feed-forward", "first", "fixed", 0.0),
    ("feed-forward", "first", "trained", 0.0),
    ("feed-forward", "max", "heterogeneous", 1.3),
    ("feed-forward", "sigmoid_spiking", "trained", 0.0),
    ("recurrent", "first_inverse", "trained", 0.0),
    ("recurrent", "max", "trained", 0.0),
    ("recurrent", "exponential", "heterogeneous", 0.4),
    ("recurrent", "end", "trained", 0.0),
    ("feed-forward", "end_spiking", "heterogeneous", 0.0),
    ("deep", "first", "fixed", 1.3),
    ("deep", "exponential", "trained", 0.0),
    ("adaptive", "first", "trained", 0.0),
    ("adaptive", "max", "fixed", 0.0),
    ("feed-forward", "first", "refractory", 0.0),
    ("recurrent", "first_inverse", "refractory trained", 0.0),
    ("recurrent", "max", "refractory heterogeneous", 0.4),
    ("deep", "exponential", "refractory brief", 1.3),
    ("recurrent", "max", "reset learned", 0.0),
    ("recurrent", "max", "refractory reset learned", 0.0),
]
QUICK = [
    ("feed-forward", "first", "trained", 0.0),
    ("feed-forward", "max", "heterogeneous", 1.3),
    ("feed-forward", "sigmoid_spiking", "trained", 0.0),
    ("feed-forward", "end_spiking", "heterogeneous", 0.0),
    ("adaptive", "first", "trained", 0.0),
    ("recurrent", "first_inverse", "refractory trained", 0.0),
    ("deep", "exponential", "refractory brief", 1.3),
    ("recurrent", "max", "refractory reset learned", 0.0),
]


def run(net, loss, events, engine, dt=1.0, dtype="float64", threads=1, slope_floor=0.0):
    plan = make_plan(net, loss, dt=dt, duration=50.0, spike_times="exact")
    made = engines.create(plan, net.initial_parameters(3), engine=engine, dtype=dtype, threads=threads)
    result = made.run(made.load(events), np.arange(len(events)), training=True, record_spikes=True)
    gradients = {k: np.array(v, dtype=np.float64) for k, v in made.gradients.items()}
    made.close()
    return result, gradients


def distance(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    """Largest relative difference over blocks, which must not be zero; no period ends before a first spike."""
    assert all(np.linalg.norm(v) > 0 for k, v in a.items() if k != "output.t_ref")
    assert not np.any(b.get("output.t_ref", 0.0))
    return max(np.linalg.norm(a[k] - b[k]) / np.linalg.norm(a[k]) for k in a if k != "output.t_ref")


@pytest.mark.one_in(9)
@pytest.mark.parametrize(("topology", "loss", "kind", "delay"), sweep(CASES, QUICK))
def test_native_is_the_event_exact_reference_at_any_step(topology, loss, kind, delay):
    net, criterion = network(topology, loss, kind, delay)
    events = spikes()
    truth, gradients = run(net, criterion, events, "reference_event")
    assert truth.spike_counts["hidden"].sum() > 20
    for dt in (0.1, 1.0, 5.0):
        result, mine = run(net, criterion, events, "native", dt=dt)
        for name, expected in truth.spikes.items():
            assert np.array_equal(result.spikes[name].neuron, expected.neuron)
            np.testing.assert_allclose(result.spikes[name].time, expected.time, rtol=0, atol=1e-11)
        np.testing.assert_allclose(result.loss, truth.loss, rtol=1e-10)
        assert np.array_equal(result.prediction, truth.prediction)
        assert distance(gradients, mine) < 1e-8


@pytest.mark.ci
@pytest.mark.parametrize(
    ("topology", "loss"),
    sweep([("feed-forward", "first"), ("feed-forward", "max"), ("deep", "exponential")], [("feed-forward", "max")]),
)
def test_float32_keeps_spike_times_and_gradients(topology, loss):
    net, criterion = network(topology, loss, "fixed", 0.0)
    events = spikes()
    truth, gradients = run(net, criterion, events, "native", dtype="float64")
    result, mine = run(net, criterion, events, "native", dtype="float32")
    for name, expected in truth.spikes.items():
        assert np.array_equal(result.spikes[name].neuron, expected.neuron)
        np.testing.assert_allclose(result.spikes[name].time, expected.time, rtol=0, atol=1e-3)
    assert distance(gradients, mine) < 1e-3


@pytest.mark.ci
def test_central_differences_on_the_engine_itself():
    net, criterion = network("recurrent", "first", "fixed", 0.0)
    events = spikes()
    plan = make_plan(net, criterion, dt=1.0, duration=50.0, spike_times="exact")
    engine = engines.create(plan, net.initial_parameters(3), engine="native", dtype="float64", threads=1)
    data, samples, h = engine.load(events), np.arange(len(events)), 1e-6
    counts = engine.run(data, samples, training=True).spike_counts["hidden"]
    gradients = {k: v.copy() for k, v in engine.gradients.items()}
    for name, gradient in gradients.items():
        rows, columns = np.unravel_index(np.argsort(-np.abs(gradient), axis=None)[:6], gradient.shape)
        for at in zip(rows, columns):
            value, losses_at = engine.parameters[name][at], []
            for sign in (1, -1):
                engine.parameters[name][at] = value + sign * h
                result = engine.run(data, samples)
                assert np.array_equal(result.spike_counts["hidden"], counts)
                losses_at.append(result.loss.mean())
            engine.parameters[name][at] = value
            assert (losses_at[0] - losses_at[1]) / (2 * h) == pytest.approx(gradient[at], rel=1e-6)


@pytest.mark.ci
def test_bits_do_not_depend_on_threads():
    net, criterion = network("recurrent", "first", "trained", 0.0)
    events = spikes(9)
    (one, first), (three, second) = (run(net, criterion, events, "native", dtype="float32", threads=t) for t in (1, 3))
    assert one.loss.tobytes() == three.loss.tobytes()
    assert all(first[k].tobytes() == second[k].tobytes() for k in first)


def test_a_crossing_that_falls_back_within_the_step_is_found():
    # one strong input right after the start: V peaks above threshold and is below it again at the end of a 5 ms step
    net = Network()
    inp = net.input(1)
    hidden = net.population(LIF(tau_mem=2.0, tau_syn=0.5), 1, name="hidden")
    output = net.population(LI(), 2, name="output")
    net.connect(inp, hidden, Dense(7.0))
    net.connect(hidden, output, Dense(np.array([[0.5, -0.5]])))
    events = Events.from_samples([(np.array([0.3]), np.array([0]))], n_channels=1, labels=[0])
    criterion = losses.MaxVoltageCrossEntropy(output)
    truth, _ = run(net, criterion, events, "reference_event")
    result, _ = run(net, criterion, events, "native", dt=5.0)
    assert truth.spike_counts["hidden"].sum() == 1
    np.testing.assert_allclose(result.spikes["hidden"].time, truth.spikes["hidden"].time, atol=1e-11)


def test_simultaneous_input_spikes_and_samples_without_spikes():
    net, criterion = network("feed-forward", "max", "fixed", 0.0, scale=2.0)
    twice = (np.array([3.0, 3.0, 3.0, 9.0, 9.0]), np.array([0, 0, 4, 2, 6]))
    events = Events.from_samples([twice, (np.zeros(0), np.zeros(0, int)), twice], n_channels=7, labels=[0, 1, 2])
    truth, gradients = run(net, criterion, events, "reference_event")
    result, mine = run(net, criterion, events, "native")
    np.testing.assert_allclose(result.loss, truth.loss, rtol=1e-12)
    assert distance(gradients, mine) < 1e-8


def test_a_runaway_network_leaves_the_engine_usable():
    net = Network()
    inp = net.input(7)
    hidden = net.population(LIF(), 5, name="hidden")
    output = net.population(LI(), 4, name="output")
    net.connect(inp, hidden, Dense(50.0))
    net.connect(hidden, hidden, Dense(400.0))
    net.connect(hidden, output, Dense(0.1))
    plan = make_plan(net, losses.MaxVoltageCrossEntropy(output), dt=1.0, duration=50.0, spike_times="exact")
    engine = engines.create(plan, net.initial_parameters(1), engine="native")
    data = engine.load(spikes())
    with pytest.raises(EngineError, match="'hidden' diverged"):
        engine.run(data, [0])
    engine.parameters["hidden_hidden.weight"][...] = 0.0
    engine.parameters["input_hidden.weight"][...] = 0.5
    assert np.isfinite(engine.run(data, [0], training=True).loss).all()


@pytest.mark.ci
def test_a_change_of_step_or_values_compiles_nothing(monkeypatch):
    from genn_eventprop.toolchain import compiler

    net, criterion = network("feed-forward", "first", "fixed", 0.0)
    run(net, criterion, spikes(), "native", dt=1.0)
    compiled: list[object] = []
    monkeypatch.setattr(compiler.Compiler, "compile", lambda *arguments: compiled.append(arguments))
    for dt, scale in itertools.product((0.5, 2.0), (1.0, 1.1)):
        other, loss = network("feed-forward", "first", "fixed", 0.0, scale)
        run(other, loss, spikes(), "native", dt=dt)
    assert compiled == []


@pytest.mark.ci
def test_a_threshold_that_is_not_linear():
    model = NeuronModel(
        name="squared", state={"V": 0.0, "J": 0.0}, params={"tau": Param(10.0, "ms"), "v_thresh": Param(1.0)},
        dynamics={"V": "(J - V) / tau", "J": "-J / tau"}, threshold="V * V - v_thresh", reset={"V": 0.0}, input="J",
    )  # fmt: skip
    net = Network()
    inp = net.input(7)
    hidden = net.population(model, 3, name="hidden")
    output = net.population(LI(), 4, name="output")
    net.connect(inp, hidden, Dense(Normal(0.5, 0.3)))
    net.connect(hidden, output, Dense(Normal(0.0, 0.5)))
    assert not engines.solvable(net)
    loss = losses.MaxVoltageCrossEntropy(output)
    (truth, expected), (result, mine) = (run(net, loss, spikes(), e) for e in ("reference_event", "native"))
    assert truth.spike_counts["hidden"].sum() > 5
    np.testing.assert_allclose(result.spikes["hidden"].time, truth.spikes["hidden"].time, rtol=0, atol=1e-8)
    assert distance(expected, mine) < 1e-7


def test_short_names_do_not_clash_with_the_generated_code():
    names = ("x", "k", "state", "entry")
    model = NeuronModel(
        name="named", state={"V": 0.0, "I": 0.0}, params={n: Param(5.0, "ms", trainable=True) for n in names},
        dynamics={"V": f"(I - V) / ({' + '.join(names)})", "I": "-I / 5"}, threshold="V - 1", reset={"V": 0}, input="I",
    )  # fmt: skip
    net = Network()
    inp = net.input(7)
    hidden = net.population(model, 3, name="hidden")
    output = net.population(LI(), 4, name="output")
    net.connect(inp, hidden, Dense(1.0))
    net.connect(hidden, output, Dense(Normal(0.0, 0.5)))
    _, gradients = run(net, losses.MaxVoltageCrossEntropy(output), spikes(), "native")
    assert all(np.abs(gradients[f"hidden.{name}"]).sum() > 0 for name in names)


def test_experiments_take_the_grid_for_what_native_cannot_solve():
    def choice(model):
        net = Network()
        net.connect(net.input(7), net.population(model, 3, name="hidden"), Dense(0.1))
        return engines.solvable(net)

    adapted = NeuronModel(
        name="adapted", state={"V": 0.0, "I": 0.0, "B": 0.0}, params={"tau": Param(10.0, "ms")},
        dynamics={"V": "(I - V) / tau", "I": "-I / 5", "B": "-B / 100"}, input="I",
        events=(Event("late", "V - 1 - B", {"B": "B + 1"}, emits=False),),
    )  # fmt: skip
    assert choice(LIF()) and choice(LIFRefractory()) and choice(ADAPTIVE)
    assert not choice(adapted)
