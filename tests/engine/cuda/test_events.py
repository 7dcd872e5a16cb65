"""Exact spike times that `cuda` takes event by event (codegen/cuda/events.py): the trial of `native`, on the shim."""

from dataclasses import replace

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Param, losses
from genn_eventprop.engines import create
from genn_eventprop.engines.cuda import engine as cuda_engine
from genn_eventprop.engines.cuda.engine import by_events
from genn_eventprop.errors import EngineError
from genn_eventprop.models.adex import AdEx
from genn_eventprop.models.li import LI
from genn_eventprop.models.qif import QIF
from genn_eventprop.plan import make_plan
from support.cuda_shim import ASCENDING, DESCENDING, ShimEngine
from support.engine_check import check
from support.exact import network, recurrent, spikes
from support.random_networks import draw


def plan_of(net, loss, **how):
    return make_plan(net, loss, dt=1.0, duration=50.0, spike_times="exact", **how)


def nonlinear(criterion=losses.MaxVoltageCrossEntropy):
    net = Network()
    hidden = net.population(AdEx(tau_w=Param(144.0, trainable=True), a=Param(4.0, trainable=True)), 12, "hidden")
    output = net.population(LI(tau_mem=Param(20.0, trainable=True)), 4, "output")
    net.connect(net.input(7), hidden, Dense(Normal(300.0, 100.0)))
    net.connect(hidden, output, Dense(Normal(0.5, 0.3)))
    return plan_of(net, criterion(output))


def results(engine, events, **how):
    result = engine.run(engine.load(events), np.arange(len(events)), training=True, record_spikes=True, **how)
    found = {"loss": result.loss, "readout": result.readout} | {n: np.array(g) for n, g in engine.gradients.items()}
    return found | {f"{n} {k}": getattr(s, k) for n, s in result.spikes.items() for k in ("sample", "time", "neuron")}


def agree(found, want, tolerance):
    for name, expected in want.items():
        largest = np.abs(expected[np.isfinite(expected)]).max(initial=1e-30)
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=tolerance * largest, err_msg=name)


def same(plan, events=None, tolerance=1e-12, dtype="float64", **settings):
    """Numbers of `cuda` are those of `native`."""
    values, events = plan.network.initial_parameters(3), spikes() if events is None else events
    native = create(plan, values, engine="native", dtype=dtype, threads=1)
    want, engine = results(native, events), ShimEngine(plan, values, dtype=dtype, **settings)
    native.close()
    agree(results(engine, events), want, tolerance)
    assert sum(len(v) for n, v in want.items() if n.endswith("time")) > 20
    return engine


@pytest.mark.ci
@pytest.mark.parametrize("change", ["births", *(pytest.param(c, marks=pytest.mark.ci) for c in ("feedback", "delays"))])
def test_what_a_thread_a_neuron_does_not_do(change):
    plan = recurrent(change)
    assert by_events(plan)
    same(plan)


@pytest.mark.ci
def test_neurons_without_a_closed_form():
    for criterion in (losses.MaxVoltageCrossEntropy, losses.VoltageSquaredError, losses.IntegratedVoltageCrossEntropy):
        plan, events = nonlinear(criterion), spikes()
        if criterion is losses.VoltageSquaredError:
            events = replace(events, targets=np.random.default_rng(1).normal(size=(3, 51, 4)))
        same(plan, events, tolerance=1e-9)


@pytest.mark.ci
@pytest.mark.parametrize(
    "case", [("recurrent", "first_inverse", "refractory trained", 1.3), ("adaptive", "first", "trained", 0.0)]
)
def test_what_both_ways_run_is_the_same(case, monkeypatch):
    """The two programs of `cuda` share nothing but the functions of one neuron."""
    net, loss = network(*case)
    plan, values = plan_of(net, loss), net.initial_parameters(3)
    assert not by_events(plan)
    one = results(ShimEngine(plan, values, dtype="float64"), spikes())
    monkeypatch.setattr(cuda_engine, "by_events", lambda plan: True)
    other = results(ShimEngine(plan, values, dtype="float64"), spikes())
    agree(other, one, 1e-11)


@pytest.mark.ci
def test_no_order_changes_a_bit_and_memory_grows():
    """Blocks and threads in any order; a batch in groups; lists and memory that begin too short."""
    plan, events = recurrent("births"), spikes()
    values, first = plan.network.initial_parameters(3), None
    for order, group, room, arena in ((ASCENDING, None, 32, 1 << 15), (DESCENDING, 1, 1, 1 << 11)):
        engine = ShimEngine(plan, values, dtype="float64", order=order, group=group, room=room)
        engine._arena = arena
        found = results(engine, events)
        assert engine._arena >= 1 << 13
        first = found if first is None else first
        assert all(np.array_equal(first[n], found[n]) for n in first)
        engine.close()
        assert engine.device.live == 0


@pytest.mark.ci
def test_memory_that_the_way_back_lacks():
    """The forward pass runs again, since what it has kept is where there was too little."""
    plan, events = recurrent("feedback"), spikes()
    values, slope, grown, want = plan.network.initial_parameters(3), np.random.default_rng(1).normal(size=(3, 4)), 0, {}
    for room in range(1 << 13, 1 << 14, 1 << 9):
        engine = ShimEngine(plan, values, dtype="float64")
        engine._arena = room
        engine.forward(engine.load(events), np.arange(3))
        before = engine._arena
        engine.backward(slope)
        grown += engine._arena > before
        found = {n: np.array(g) for n, g in engine.gradients.items()} | {"times": engine.input_gradients}
        want = want or found
        assert all(np.array_equal(found[n], want[n]) for n in want)
    assert grown


@pytest.mark.ci
def test_float32_keeps_spike_times_and_gradients():
    same(recurrent("feedback"), dtype="float32", tolerance=2e-5)


@pytest.mark.ci
def test_observed_spikes_in_groups():
    plan, events = recurrent("feedback"), spikes()
    values = plan.network.initial_parameters(3)
    want = results(ShimEngine(plan, values, dtype="float64"), events)
    of_sample = [want["hidden sample"] == b for b in range(3)]
    times = {"hidden": [(want["hidden time"][own], want["hidden neuron"][own]) for own in of_sample]}
    for group in (None, 2):
        engine = ShimEngine(plan, values, dtype="float64", group=group)
        agree(results(engine, events, observed=times), want, 1e-10)


@pytest.mark.ci
def test_the_first_trial_that_cannot_go_on_is_named():
    """With the message of `native`."""
    net = Network()
    out = net.population(QIF(), 2, "output")
    net.connect(net.input(1), out, Dense(Normal(1e5, 0.0)))
    plan = make_plan(net, losses.FirstSpikeCrossEntropy(out), dt=1.0, duration=5.0, spike_times="exact")
    events = Events.from_samples([([], []), ([3.0], [0]), ([1.0], [0])], n_channels=1, labels=[0, 1, 0])
    values, said = net.initial_parameters(1), []
    for engine in (create(plan, values, engine="native", dtype="float64"), ShimEngine(plan, values, dtype="float64")):
        with pytest.raises(EngineError, match="sample 1") as error:
            engine.run(engine.load(events), [0, 1, 2])
        said.append(str(error.value))
    assert said[0] == said[1]


@pytest.mark.ci
@pytest.mark.parametrize("structure", range(8))
def test_random_networks(structure):
    """With currents, births, modes and several inputs, and what `native` runs besides, in halves too."""
    case = draw("exact", 29, structure, also=("currents", "births", "modes", "inputs"))
    settings = {"dtype": "float64", "tolerance": 1e-13}
    (verdict,) = check(case, ["cuda float64"], make=lambda _, c: ShimEngine(c.plan, c.parameters, **settings))
    assert verdict.kind in ("right", "undecided"), verdict


@pytest.mark.parametrize("structure", [23, pytest.param(28, marks=pytest.mark.ci)])
def test_random_networks_of_currents_alone(structure):
    """In halves too: no input spike has a gradient, and the text asks for the array all the same."""
    case = draw("exact", 65, structure, also=("alone",))
    settings = {"dtype": "float64", "tolerance": 1e-13}
    (verdict,) = check(case, ["cuda float64"], make=lambda _, c: ShimEngine(c.plan, c.parameters, **settings))
    assert verdict.kind == "right", verdict
