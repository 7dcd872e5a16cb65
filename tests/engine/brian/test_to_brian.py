"""Networks and neurons as Brian runs them, beside the exact engines."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from genn_eventprop import Dense, Event, Mode, Network, NeuronModel, Normal, Param, Sparse, Uniform, fit, simulate
from genn_eventprop.compile import compile_network
from genn_eventprop.data import Currents, Events
from genn_eventprop.errors import DescriptionError
from genn_eventprop.losses import EndVoltageCrossEntropy
from genn_eventprop.modelling import Delay
from genn_eventprop.models import EIF, LI, LIF, ZOO, AdEx, LIFRefractory
from support.extras import needs
from support.sweeps import sweep

b2 = needs("brian2")
from brian2 import ms  # noqa: E402

from genn_eventprop.interop.brian import to_brian  # noqa: E402

T = 40.0
STRENGTH = {
    "AdEx": 500.0, "EIF": 15.0, "Izhikevich": 8.0, "IzhikevichFast": 6.0, "IzhikevichBursting": 8.0,
    "LIFConductance": 0.3, "LIFDelta": 0.4, "QIF": 2.0, "TwoCompartment": 0.58, "SEAdLIF": 2.0, "Theta": 1.2,
}  # fmt: skip
"""Of the input weights, where they are not 1."""


@pytest.fixture(autouse=True)
def _numpy_target():
    b2.prefs.codegen.target = "numpy"
    yield
    b2.defaultclock.dt = 0.1 * ms


def input_spikes():
    rng = np.random.default_rng(1)
    times = np.sort(np.round(rng.uniform(0, T - 8, 20), 1))
    return times, rng.integers(0, 4, 20)


def run_here(net, values, output, data, population):
    engine = compile_network(
        net, EndVoltageCrossEntropy(output), values, duration=T, dt=0.1, spike_times="exact", engine="reference_event"
    )
    result = engine.run(engine.load(data), [0], record_spikes=True)
    return [result.spikes[population].time[result.spikes[population].neuron == k] for k in range(3)]


def run_there(script, dt, population, **inputs):
    brian = script.build(dt=dt * ms, **inputs)
    brian.run(T * ms)
    trains = brian[f"{population}_spikes"].spike_trains()
    return [np.asarray(trains[k] / ms) for k in range(3)]


def assert_converges(net, values, output, population="cells"):
    """Spikes of Brian are those of the reference, up to a number of its steps that does not grow as these shrink."""
    times, channels = input_spikes()
    here = run_here(
        net, values, output, Events.from_samples([(times, channels)], 4, labels=[0], n_classes=2), population
    )
    assert sum(map(len, here)) > 2
    script, off = to_brian(net, values), []
    for dt in (0.01, 0.005):
        there = run_there(script, dt, population, input=(channels, times))
        assert [*map(len, there)] == [*map(len, here)]
        off.append(max(np.abs(a - b).max(initial=0.0) for a, b in zip(here, there)) / dt)
    assert off[0] < 100 and off[1] < 1.5 * off[0] + 1


def network_of(model, recurrent=True):
    strength = STRENGTH.get(model.name, 1.0)
    net = Network()
    spikes, cells = net.input(4), net.population(model, 3, name="cells")
    for receptor in model.receptors:
        weak = 0.1 if receptor == "inh" else 1.0
        weights = Normal(weak * strength, 0.2 * weak * strength)
        net.connect(spikes, cells, Dense(weights), delay=1.3, receptor=receptor, name=f"to_{receptor}")
    if recurrent:
        net.connect(cells, cells, Dense(Normal(0.0, 0.1 * strength)), receptor=next(iter(model.receptors)), delay=2.0)
    output = net.population(LI, 2, name="output")
    net.connect(cells, output, Dense(Normal(1.0, 0.1)))
    return net, output


SPIKING = [name for name, model in ZOO.items() if model.spiking]


@pytest.mark.parametrize("name", sweep(SPIKING, ["LIF", "AdEx", "LIFRefractory", "Izhikevich"]))
def test_spikes_of_each_neuron_converge_to_exact_ones(name):
    net, output = network_of(ZOO[name])
    assert_converges(net, net.initial_parameters(2), output)


BISTABLE = NeuronModel(
    name="bistable",
    state={"V": "v_start", "I": 0.0, "count": 0.0},
    params={"tau": Param(10.0, "ms"), "rest": Param(4.0, "ms"), "gain": Param(1.5), "v_start": Param(0.1)},
    dynamics={"V": "(I - V) / tau", "I": "-I / tau", "count": "0"},
    events=[
        Event("spike", "V - 1", {"V": "0", "I": "I / 2", "count": "count + I"}, modes=("free",), next_mode="fast"),
        Event("up", "I**2 - 4", {"count": "count + 1"}, emits=False),
    ],
    modes=[Mode("fast", {"V": "gain * (0.2 - V) / tau"}, lasts="rest", then="slow"), Mode("slow", {}, lasts="tau")],
    input="I",
)
RESONATOR = NeuronModel(  # spikes without a reset: crossings from below
    name="resonator",
    state={"V": 0.0, "W": 0.0},
    params={"tau": Param(5.0, "ms"), "omega": Param(0.7, "1/ms")},
    dynamics={"V": "-V / tau - omega * W", "W": "omega * V - W / tau"},
    threshold="V**2 * 2 - 0.1 * (1 + W**2)",
    reset={},
    input={"kick": {"V": "0.5", "W": "-tau * omega / 7"}},
)


@pytest.mark.parametrize("model", [BISTABLE, RESONATOR], ids=lambda m: m.name)
def test_modes_events_and_crossings_without_a_reset(model):
    net, output = network_of(model, recurrent=False)
    assert_converges(net, net.initial_parameters(2), output)


def test_parameters_delays_and_synapses_are_those_of_the_network():
    net = Network()
    spikes = net.input(4)
    cells = net.population(LIF(tau_mem=Uniform(8.0, 20.0), v_thresh=Param(0.9, trainable=True)), 3, name="cells")
    net.connect(spikes, cells, Sparse(Normal(2.0, 0.2), probability=0.6), delay=Delay(Uniform(0.5, 5.0)))
    net.connect(cells, cells, Dense(Normal(0.0, 0.3)), delay=Delay(Uniform(1.0, 5.0), kind="axonal"))
    output = net.population(LI, 2, name="output")
    net.connect(cells, output, Dense(1.0), delay=Delay(Uniform(1.0, 5.0), kind="dendritic"))
    values = net.initial_parameters(5)
    assert_converges(net, values, output)


def test_currents_drive_the_cells_with_their_weights_and_delays():
    net = Network()
    current, cells = net.current(2, dt=0.5, name="stim"), net.population(EIF, 3, name="cells")
    weights = np.array([[9.0, 8.0, 10.0], [1.0, 2.0, -1.0]])
    net.connect(current, cells, Dense(weights), delay=1.5)
    output = net.population(LI, 2, name="output")
    net.connect(cells, output, Dense(1.0))
    values, given = net.initial_parameters(1), np.random.default_rng(0).normal(1.5, 1.0, (60, 2))
    here = run_here(net, values, output, Currents(given[None], 0.5, labels=[0], n_classes=2), "cells")
    assert sum(map(len, here)) > 5
    there = run_there(to_brian(net, values), 0.01, "cells", stim=given)
    for a, b in zip(here, there):
        np.testing.assert_allclose(a, b, atol=0.2)


def test_the_script_runs_without_this_package(tmp_path):
    script = to_brian(LIFRefractory(tau_mem=10.0))
    script.save(tmp_path / "neuron.py")
    run = "import brian2; brian2.prefs.codegen.target = 'numpy'; import sys; sys.modules['genn_eventprop'] = None; " \
        "from neuron import build; net = build(I_ext=[[2.0]] * 50); net.run(60 * brian2.ms); " \
        "print(net['LIFRefractory_spikes'].num_spikes)"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", run], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout.split()[-1:] == ["4"], done.stderr


def test_many_numbers_lie_beside_the_script(tmp_path):
    net = Network()
    net.connect(net.input(100), net.population(LIF, 30, name="cells"), Dense(Normal(0.1, 0.1)))
    values = net.initial_parameters(1)
    script = to_brian(net, values)
    script.save(tmp_path / "net.py")
    with np.load(tmp_path / "net.npz") as file:
        np.testing.assert_array_equal(file["input_cells.weight"], values["input_cells.weight"])
    assert len((tmp_path / "net.py").read_text()) < 4000


def test_names_that_brian_reserves_are_replaced():
    model = NeuronModel(
        name="named",
        state={"N": 0.0, "w": 0.0, "x_pre": 0.0},
        params={"ms": Param(5.0, "ms"), "pi": Param(1.0), "i": Param(0.2, "1/ms")},
        dynamics={"N": "(w - N) / ms", "w": "-w * i", "x_pre": "(N - x_pre) / ms"},
        threshold="N - pi",
        reset={"N": 0.0},
        input="w",
        readout="N",
    )
    net, output = network_of(replace(model, threshold=None, reset=None, events=model.events))
    assert_converges(net, {**net.initial_parameters(2), "to_input.weight": np.full((4, 3), 1.6)}, output)


def test_units_are_those_of_the_equations():
    text = to_brian(ZOO["Izhikevich"]).text
    assert "dV/dt = 0.04 / ms / mV * V ** 2 + 5 / ms * V + 140 * mV / ms - U + I + 1 * I_ext : volt" in text
    assert "U = U + d" in text and "Izhikevich.d = 8.0*mV/ms" in text


def test_a_fitted_neuron_spikes_as_its_fit_says():
    step = np.repeat([0.0, 700.0, 0.0], 300)
    cell = simulate(AdEx(tau_w=100.0), step, dt=0.1)
    result = fit(AdEx, cell, only=["tau_w"], bounds={"tau_w": (60.0, 150.0)}, starts=1, progress=False)
    brian = to_brian(result).build(dt=0.01 * ms, I_ext=step)
    brian.run(90 * ms)
    np.testing.assert_allclose(brian["cell_spikes"].t / ms, result.free.spikes[0], atol=0.2)


@pytest.mark.parametrize(
    "what, values, message",
    [
        (LIF, {}, "values= is for a Network"),
        (3, None, "takes a Network, a neuron or the result of a fit"),
        (network_of(LIF)[0], None, "give values="),
        (network_of(LIF)[0], {}, "no value is given for to_input.weight"),
    ],
)
def test_what_cannot_be_written_is_named(what, values, message):
    with pytest.raises(DescriptionError, match=message):
        to_brian(what, values)


def test_a_linear_current_is_refused():
    net = Network()
    cells = net.population(LIF, 1, name="cells")
    net.connect(net.current(1, interpolation="linear"), cells, Dense(1.0))
    with pytest.raises(DescriptionError, match="linear between its values"):
        to_brian(net, net.initial_parameters(1))
