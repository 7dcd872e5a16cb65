"""Models and networks of Brian, run by Brian and by the reference of this package.

Brian finds a spike at the end of the step in which it happens: in a run with a small dt it is late by up to a step.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from genn_eventprop import Inputs
from genn_eventprop.compile import compile_network
from genn_eventprop.errors import EventPropError
from genn_eventprop.losses import EndVoltageCrossEntropy, SquaredError
from genn_eventprop.verify.gradients import check_network
from support.extras import needs

b2 = needs("brian2")
from brian2 import ms, mV, nA, nS, pF  # noqa: E402

from genn_eventprop.interop.brian import from_brian, to_brian  # noqa: E402


@pytest.fixture(autouse=True)
def _numpy_target():
    b2.prefs.codegen.target = "numpy"
    b2.defaultclock.dt = 0.1 * ms
    b2.seed(3)
    yield
    b2.defaultclock.dt = 0.1 * ms


def labelled(data):
    return Inputs({name: replace(part, labels=np.zeros(len(part), int)) for name, part in data.parts.items()})


def spikes_here(imported, duration, population):
    output = imported.network.populations[-1]
    engine = compile_network(
        imported.network, EndVoltageCrossEntropy(output), imported.values, duration=duration, dt=duration,
        spike_times="exact", engine="reference_event",
    )  # fmt: skip
    found = engine.run(engine.load(labelled(imported.inputs(duration))), [0], record_spikes=True).spikes[population]
    order = np.lexsort((found.time, found.neuron))
    return found.neuron[order], found.time[order]


def compare(network, group, duration, dt):
    """Spikes of a group in Brian with a step of dt ms and here; how many there are."""
    b2.defaultclock.dt = dt * ms
    monitor, start = b2.SpikeMonitor(group), float(network.t / ms)
    network.add(monitor)
    imported = from_brian(network, namespace={})
    network.run(duration * ms, namespace={})
    neuron, time = spikes_here(imported, duration, group.name)
    i, t = np.asarray(monitor.i), np.asarray(monitor.t / ms) - start
    order = np.lexsort((t, i))
    np.testing.assert_array_equal(neuron, i[order])
    # recorded at the beginning of the step after which V is above the threshold, later by up to a step for each before
    number = np.arange(len(i)) - np.searchsorted(i[order], i[order])
    assert (np.abs(time - t[order]) < (2 + 1.5 * number) * dt).all()
    return len(neuron)


LIF = """
dv/dt = (I - v + ge + gi) / tau : volt (unless refractory)
dge/dt = -ge / (3 * ms) : volt
dgi/dt = -gi / tau_gi : volt
I : volt
tau_gi : second (shared, constant)
"""


def lif(name="cells", **more):
    names = {"tau": 10 * ms, "vt": 10 * mV}
    settings = {"threshold": "v > vt", "reset": "v = 0 * mV", "refractory": 2 * ms, "method": "exact"} | more
    cells = b2.NeuronGroup(5, LIF, namespace=names, name=name, **settings)
    cells.I, cells.tau_gi = "(8 + i) * mV", 8 * ms
    return cells


def test_a_recurrent_network():
    cells = lif()
    source = b2.SpikeGeneratorGroup(3, [0, 1, 2, 0, 1], [1, 3, 5, 10, 20] * ms, name="source")
    inward = b2.Synapses(source, cells, "w : volt", on_pre="ge += w", name="inward")
    inward.connect()
    inward.w = "(i + j) * 1.5 * mV"
    back = b2.Synapses(cells, cells[2:], on_pre="v -= 0.5 * mV; gi -= 1 * mV", delay=1.5 * ms, name="back")
    back.connect(i=[0, 1, 2, 3, 0], j=[0, 1, 2, 0, 0])  # one pair twice
    network = b2.Network(cells, source, inward, back)
    assert compare(network, cells, 35.0, 0.01) >= 5


def test_names_units_and_values():
    cells = lif()
    source = b2.PoissonGroup(2, rates=[100, 300] * b2.Hz, name="source")
    synapses = b2.Synapses(source, cells, "w : volt", on_pre="ge += w", delay=2 * ms, name="synapses")
    synapses.connect(i=[0, 1, 1], j=[4, 0, 3])
    synapses.w = [1, 2, 3] * mV
    imported = from_brian(b2.Network(cells, source, synapses), trainable=["cells.tau", "synapses.weight"])
    network, values = imported
    assert network.trainable() == ("synapses.weight", "cells.tau")
    params = network.populations[0].neuron.params
    assert {n: str(p) for n, p in params.items()} == {
        "refractory": "2 ms", "I": "8 to 12 mV", "tau": "10 ms (learned)", "tau_gi": "8 ms", "vt": "10 mV",
    }  # fmt: skip
    np.testing.assert_allclose(values["cells.I"], [8, 9, 10, 11, 12], rtol=1e-15)
    assert values["synapses.weight"].tolist() == [1.0, 2.0, 3.0]
    assert values["synapses.pairs"].tolist() == [[0, 4], [1, 0], [1, 3]]
    assert network.connections[0].delay == 2.0
    drawn = imported.inputs(2000.0, samples=3, seed=1)["source"]
    rates = np.bincount(drawn.channels, minlength=2) / 6.0  # of 6 s
    np.testing.assert_allclose(rates, [100, 300], rtol=0.15)


def test_the_gradient_is_exact():
    cells = lif()
    cells.I = "(20 + i) * mV"
    source = b2.SpikeGeneratorGroup(2, [0, 1, 0], [1, 3, 7] * ms, name="source")
    inward = b2.Synapses(source, cells, "w : volt", on_pre="ge += w; gi -= w / 4", name="inward")
    inward.connect()
    inward.w = "(3 + i + j) * mV"
    imported = from_brian(b2.Network(cells, source, inward), trainable=["inward.weight", "cells.tau", "cells.I"])
    receptors = imported.model.receptors
    assert receptors == {"ge_gi": {"ge": 1.0, "gi": -0.25}}
    loss = EndVoltageCrossEntropy(imported.network.populations[0])
    report = check_network(imported.network, loss, events=labelled(imported.inputs(40.0)), duration=40.0)
    assert report.passed, report.text()


CURRENTS = """dv/dt = (I - v + 2 * Is + g * (E - v)) / tau : 1 (unless refractory)
Is : 1
g : 1
I : 1
E : 1 (shared)"""


def summing(**more):
    """Two kinds of synapses that have equations: a double exponential current, and a conductance with a time constant
    of the target neuron."""
    cells = b2.NeuronGroup(4, CURRENTS, threshold="v > 1", reset="v = 0", refractory=2 * ms, method="rk4", name="cells",
                           namespace={"tau": 10 * ms})  # fmt: skip
    cells.I, cells.E = "0.9 + 0.2 * i", 3.0
    source = b2.SpikeGeneratorGroup(3, [0, 1, 2, 0], [2, 3, 4.5, 7] * ms, name="source")
    model = """ds/dt = (-s + h) / tau : 1 (clock-driven)
    dh/dt = -h / tau_h : 1 (clock-driven)
    w : 1
    gain = 2 : 1
    tau_h : second (shared)
    Is_post = w * gain * (s - 0.2 * h) : 1 (summed)"""
    inward = b2.Synapses(source, cells, model, on_pre="h += exp(1)", delay=1 * ms, method="rk4", name="inward",
                         namespace={"tau": 5 * ms})  # fmt: skip
    inward.connect()
    inward.w, inward.tau_h, inward.h = "0.1 + 0.02 * i + 0.03 * j", 4 * ms, 0.1
    model = """dx/dt = -x / tx : 1 (clock-driven)
    w : 1
    tx : second
    g_post = -w * x : 1 (summed)"""
    back = b2.Synapses(cells, cells, model, on_pre="x += 0.5", method="rk4", name="back")
    back.connect(condition="i != j")
    back.w, back.tx = "0.2 + 0.05 * i", "(4 + j) * ms"
    return cells, b2.Network(cells, source, inward, back)


def test_sums_over_synapses():
    """The states of all synapses of a neuron as one, whose jumps are the weights."""
    cells, network = summing()
    imported = from_brian(network)
    assert {c.name: c.receptor for c in imported.network.connections} == {"back": "x_back", "inward": "h_inward"}
    assert imported.model.dynamics["x_back"] == "-x_back / tx_back"
    np.testing.assert_allclose(imported.values["cells.tx_back"], [4, 5, 6, 7], rtol=1e-14)
    np.testing.assert_allclose(imported.values["cells.tau_"], 10)  # the other one is of the synapses
    assert compare(network, cells, 30.0, 0.01) >= 8


def test_the_gradient_of_sums_over_synapses_is_exact():
    names = ["inward.weight", "back.weight", "cells.tau_h_inward", "cells.tx_back", "cells.E"]
    cells, network = summing()
    cells.I = "1.8 + 0.3 * i"
    imported = from_brian(network, trainable=names)
    loss = EndVoltageCrossEntropy(imported.network.populations[0])
    report = check_network(imported.network, loss, events=labelled(imported.inputs(50.0)), duration=50.0)
    assert report.passed, report.text()


def test_currents_and_a_nonlinear_neuron():
    """AdEx with a TimedArray and equations in t; subexpressions and the group's own namespace."""
    names = {"C": 281 * pF, "gL": 30 * nS, "EL": -70.6 * mV, "VT": -50.4 * mV, "DeltaT": 2 * mV, "a": 4 * nS,
             "tauw": 144 * ms, "stim": b2.TimedArray([[0.8, 1.0], [1.5, 0.2]] * nA, dt=13 * ms)}  # fmt: skip
    cells = b2.NeuronGroup(
        2,
        """dvm/dt = (leak + gL * DeltaT * exp((vm - VT) / DeltaT) + stim(t, i) - w) / C : volt
        dw/dt = (a * (vm - EL) - w) / tauw : amp
        leak = gL * (EL - vm) + 0.1 * nA * sin(2 * pi * t / (10 * ms)) : amp""",
        threshold="vm > VT + 5 * DeltaT", reset="vm = EL; w += 0.0805 * nA", namespace=names, name="cells",
        method="rk4",
    )  # fmt: skip
    cells.vm = [-70.6, -60] * mV
    assert compare(b2.Network(cells), cells, 30.0, 0.01) >= 3


@pytest.mark.parametrize("refractory", ["v > 12 * mV", "tau_ref", "(1 + 0.5 * i) * ms"])
def test_refractory_periods(refractory):
    cells = b2.NeuronGroup(
        2, "dv/dt = (20 * mV - v) / (10 * ms) + int(not_refractory) * mV / ms : volt", threshold="v > 10 * mV",
        reset="v -= 4 * mV" if "v" not in refractory else "v += 5 * mV", refractory=refractory, name="cells",
        namespace={"tau_ref": 3 * ms}, method="rk4",
    )  # fmt: skip
    assert compare(b2.Network(cells), cells, 20.0, 0.01) >= 2


@pytest.mark.parametrize("refractory", [False, "v > 0.5"])
def test_no_reset(refractory):
    """As in neurons of Hodgkin and Huxley; without a refractory period Brian repeats a spike in every step above."""
    cells = b2.NeuronGroup(
        2, "dv/dt = cos(2 * pi * t / (10 * ms)) * f / ms : 1\nf : 1", threshold="v > 0.5", refractory=refractory,
        name="cells", method="rk4",
    )  # fmt: skip
    cells.f = [0.4, 0.5]
    if refractory:
        assert compare(b2.Network(cells), cells, 40.0, 0.01) == 8
    imported = from_brian(cells)
    assert len(spikes_here(imported, 40.0, "cells")[0]) == 8
    assert len(imported.lost) == (not refractory)


@pytest.mark.parametrize("refractory", [False, 2 * ms])
def test_two_conditions(refractory):
    """As in Diehl and Cook 2015: a spike needs V above the threshold, and a time since the last one."""
    cells = b2.NeuronGroup(
        2, "dv/dt = (J - v) / (10 * ms) : 1\ndtimer/dt = 1 : second\nJ : 1", reset="v = 0; timer = 0 * ms",
        threshold="v > 1 and timer > 7 * ms", refractory=refractory, name="cells", method="rk4",
    )  # fmt: skip
    cells.J = [1.5, 3]  # the threshold comes last, and the time
    assert compare(b2.Network(cells), cells, 40.0, 0.01) == 8


def test_several_pathways_and_an_event_of_ones_own():
    cells = lif(events={"low": "gi > 2 * mV"})
    cells.run_on_event("low", "gi = 0 * mV; ge += 0.1 * mV")
    source = b2.SpikeGeneratorGroup(1, [0, 0], [1, 9] * ms, period=15 * ms, name="source")
    both = b2.Synapses(source, cells, on_pre={"up": "ge += 9 * mV", "down": "gi += 1.5 * mV"},
                       delay={"up": 0 * ms, "down": 2 * ms}, name="both")  # fmt: skip
    both.connect()
    assert compare(b2.Network(cells, source, both), cells, 40.0, 0.01) > 5


def test_inputs_that_are_drawn():
    rate = b2.TimedArray([100, 300] * b2.Hz, dt=500 * ms)
    cells = lif()
    groups = {
        "poisson": b2.PoissonGroup(2, rates="rate(t) * (1 + i)", name="poisson"),
        "neurons": b2.NeuronGroup(3, "f : Hz", threshold="rand() < f * dt", name="neurons"),
    }
    groups["neurons"].f = [100, 200, 0] * b2.Hz
    many = b2.PoissonInput(cells[1:3], "ge", 50, 4 * b2.Hz, weight=0.1 * mV)
    synapses = [b2.Synapses(g, cells, on_pre="ge += mV") for g in groups.values()]
    for s in synapses:
        s.connect()
    imported = from_brian(b2.Network(cells, many, *groups.values(), *synapses), namespace={"rate": rate})
    into = next(c for c in imported.network.connections if c.source.name == many.name)
    assert imported.values[f"{into.name}.pairs"].tolist() == [[0, 1], [1, 2]] and not into.trainable
    drawn = imported.inputs(1000.0, samples=4, seed=2)
    for name, expected in {"poisson": [200, 400], "neurons": [100, 200, 0], many.name: [200, 200]}.items():
        counts = np.bincount(drawn[name].channels, minlength=len(expected)) / 4
        np.testing.assert_allclose(counts, expected, rtol=0.15, err_msg=name)
    late = drawn["poisson"].times > 500.0
    assert late.mean() == pytest.approx(0.75, abs=0.03)


@pytest.mark.ci
def test_rates_may_have_conditions():
    source = b2.PoissonGroup(3, rates="int(t >= 50 * ms and i != 1) * floor(1.5 + i) * kHz", name="source")
    cells = lif()
    synapses = b2.Synapses(source, cells, on_pre="ge += 1 * mV", name="synapses")
    synapses.connect()
    drawn = from_brian(b2.Network(source, cells, synapses)).inputs(1050.0, samples=2)["source"]
    assert drawn.times.min() >= 50
    np.testing.assert_allclose(np.bincount(drawn.channels, minlength=3) / 2000.0, [1, 0, 3], rtol=0.1)


def test_a_network_that_has_run_goes_on():
    """Spikes that are still to come, values of a TimedArray and t count from where it stands."""
    names = {"tau": 10 * ms, "stim": b2.TimedArray([1.2, 0.0, 2.0, 1.4, 3.0], dt=7 * ms)}
    cells = b2.NeuronGroup(
        2, "dv/dt = (stim(t) + 0.5 * sin(2 * pi * t / (9 * ms)) - v) / tau : 1", threshold="v > 1", reset="v = 0.1 * i",
        namespace=names, name="cells", method="rk4",
    )  # fmt: skip
    source = b2.SpikeGeneratorGroup(2, [0, 1, 0], [3, 16, 25] * ms, name="source")
    again = b2.SpikeGeneratorGroup(1, [0], [2] * ms, period=5 * ms, name="again")
    synapses = b2.Synapses(source, cells, on_pre="v += 0.4", name="synapses")
    more = b2.Synapses(again, cells, on_pre="v += 0.1", name="more")
    synapses.connect()
    more.connect()
    network = b2.Network(cells, source, synapses, again, more)
    network.run(14 * ms)
    assert any("read at 14 ms" in line for line in from_brian(network).lost)
    assert compare(network, cells, 20.0, 0.01) >= 4
    with pytest.raises(EventPropError, match="its network stands at 34 ms, between two values of stim"):
        from_brian(network)


def test_equations_alone():
    """No threshold, and nothing arrives: the gradient of the voltage."""
    cells = b2.NeuronGroup(2, "dv/dt = (a - v**3) / tau : 1\na : 1", namespace={"tau": 5 * ms}, name="cells")
    cells.v, cells.a = 0.1, [0.2, 1.0]
    imported = from_brian(cells, trainable=["cells.a", "cells.tau"])
    data = imported.inputs(20.0)
    data = Inputs({"input": replace(data["input"], targets=np.zeros((1, 2)))})
    loss = SquaredError(imported.network.populations[0])
    report = check_network(
        imported.network, loss, events=data, duration=20.0, engine="native", spike_times="exact"
    )  # fmt: skip
    assert report.worst < 1e-8, report.text()


def test_there_and_back():
    cells = lif()
    cells.I = "(20 + i) * mV"
    source = b2.SpikeGeneratorGroup(2, [0, 1], [1, 3] * ms, name="source")
    inward = b2.Synapses(source, cells, "w : volt", on_pre="ge += w", name="inward")
    inward.connect(condition="i + j < 4")
    inward.w, inward.delay = "(5 + i + j) * mV", "(1 + i) * ms"
    first = from_brian(b2.Network(cells, source, inward))
    script = to_brian(first.network, first.values)
    again = from_brian(script.build(source=([0, 1], [1.0, 3.0])), namespace={})
    one, other = (spikes_here(imported, 30.0, "cells") for imported in (first, again))
    assert len(one[0]) > 5
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_allclose(one[1], other[1], rtol=0, atol=1e-12)
