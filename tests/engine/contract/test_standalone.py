"""Networks as one C file that stands alone, and as streams: what they compute is what the grid engine computes."""

import ctypes
import dataclasses
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genn_eventprop import Dense, Events, Network, losses
from genn_eventprop.codegen.c99 import standalone, stream_source
from genn_eventprop.codegen.c99.standalone import quantised
from genn_eventprop.deploy.online import Stream
from genn_eventprop.engines.c99.engine import C99Engine
from genn_eventprop.engines.native.engine import NativeEngine
from genn_eventprop.errors import DataError, EngineError
from genn_eventprop.models.li import LI
from genn_eventprop.plan import make_plan
from support import connected
from support.clocked import build, random_events
from support.problems import every_problem
from support.sweeps import sweep

PROBLEMS = every_problem()
QUICK = (
    "loss: per step", "loss: integral, input-driven, of spiking", "loss: spike times", "neurons: bursting",
    "neurons: delta max", "inputs: two, tables and delays", "shape: skip, integral of spiking", "random: modes",
)  # fmt: skip
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2")


def compiled(made, folder):
    """The file built as a user would, with every warning an error."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    (folder / "model.c").write_text(made.text)
    command = [compiler, *STRICT, "-shared", "-fPIC", str(folder / "model.c"), "-o", str(folder / "model.so"), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    library = ctypes.CDLL(str(folder / "model.so"))
    library.model_size.restype = ctypes.c_ulong
    return library


def stepped(library, plan, steps, channels):
    """(class, readout) after one trial through model_step."""
    library.model_reset()
    for k in range(plan.n_steps):
        now = np.ascontiguousarray(channels[steps == k], np.intc)
        assert library.model_step(ctypes.c_void_p(now.ctypes.data), len(now)) == 0
    readout = np.zeros(plan.output.size)
    return library.model_readout(ctypes.c_void_p(readout.ctypes.data)), readout


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in PROBLEMS])
@pytest.mark.one_in(8)
def test_a_file_gives_the_bits_of_the_grid_engine(name, tmp_path):
    plan, events = PROBLEMS[name]()
    values = plan.network.initial_parameters(3)
    engine = C99Engine(plan, values)
    data = engine.load(events)
    want = engine.run(data, np.arange(len(events)))
    made = standalone(plan, values)
    library = compiled(made, tmp_path)
    assert 0 <= library.model_size() - made.ram < 64  # what the compiler adds to align fields
    for b in range(len(events)):
        part = slice(data.offsets[b], data.offsets[b + 1])
        prediction, readout = stepped(library, plan, data.steps[part], data.channels[part])
        np.testing.assert_array_equal(readout, want.readout[b])
        assert prediction == want.prediction[b]
    nothing = np.zeros(1, np.intc)
    assert library.model_step(ctypes.c_void_p(nothing.ctypes.data), 0) == -1  # the trial is over
    library.model_reset()
    nothing[0] = plan.input.size
    assert library.model_step(ctypes.c_void_p(nothing.ctypes.data), 1) == -2  # no such input


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    ("kind", "delays"),
    sweep(
        [(k, d) for k in connected.KINDS for d in connected.DELAYS],
        [("dense", "synaptic"), ("probability", "axonal"), ("conv", 1.5), ("channels", "dendritic")],
    ),
)
def test_tables_and_delays_that_are_values(kind, delays, tmp_path):
    """The bits of the grid engine; with 16 bits, those of rounded weights to the last digits."""
    net, loss = connected.network(kind, delays)
    plan, values = make_plan(net, loss, dt=0.5, duration=30.0), net.initial_parameters(3)
    rounded, events = dict(values), connected.events(net, 30.0)
    for c in plan.connections:
        whole, scale = quantised(values[c.weight].astype(np.float32), 16)
        rounded[c.weight] = np.float32(scale) * whole.astype(np.float32)
    for bits, used, close in ((None, values, 0.0), (16, rounded, 1e-5)):
        engine = C99Engine(plan, used)
        data = engine.load(events)
        want = engine.run(data, np.arange(len(events)))
        assert want.spike_counts["hidden"].sum() > 50
        made = standalone(plan, values, bits=bits)
        (tmp_path / str(bits)).mkdir()
        library = compiled(made, tmp_path / str(bits))
        assert 0 <= library.model_size() - made.ram < 64
        for b in range(len(events)):
            part = slice(data.offsets[b], data.offsets[b + 1])
            prediction, readout = stepped(library, plan, data.steps[part], data.channels[part])
            np.testing.assert_allclose(readout, want.readout[b], rtol=close, atol=close)
            assert prediction == want.prediction[b]


def test_many_spikes_of_an_input_in_one_step(tmp_path):
    """300 on their way along a delay: more than a byte counts."""
    net = Network()
    inp, output = net.input(2), net.population(LI(), 2, "output")
    net.connect(inp, output, Dense(np.array([[0.3, -0.1], [0.2, 0.5]])), delay=2.0)
    plan = make_plan(net, losses.MaxVoltageCrossEntropy(output), dt=1.0, duration=20.0)
    values = net.initial_parameters(1)
    engine, steps = C99Engine(plan, values), np.full(300, 3)
    want = engine.run(engine.load(Events.from_samples([(steps * 1.0, np.zeros(300, int))], 2)), [0])
    prediction, readout = stepped(compiled(standalone(plan, values), tmp_path), plan, steps, np.zeros(300, int))
    np.testing.assert_array_equal(readout, want.readout[0])
    assert prediction == want.prediction[0] == 0 and readout[0] > 9


def test_its_spikes_are_those_of_native():
    plan = build("recurrent", "integral exponential", "fixed", 1.5)
    values, events = plan.network.initial_parameters(3), random_events(plan)
    native = NativeEngine(plan, values, dtype="float64")
    want = native.run(native.load(events), np.arange(len(events)), record_spikes=True)
    stream = Stream(plan, values, dtype="float64")
    for b in range(len(events)):
        stream.reset()
        moment = stream.push(events.sample(b), plan.duration)
        mine = want.spikes["hidden"].sample == b
        np.testing.assert_array_equal(moment.spikes["hidden"].neuron, want.spikes["hidden"].neuron[mine])
        np.testing.assert_array_equal(moment.spikes["hidden"].time, want.spikes["hidden"].time[mine])
        assert moment.prediction == want.prediction[b]
    native.close()


@pytest.mark.parametrize("bits", [8, 16])
def test_weights_of_few_bits(bits, tmp_path):
    """The file computes with the rounded weights: what a grid engine gives for them."""
    plan = build("recurrent", "integral exponential", "fixed", 1.5)
    values, events = plan.network.initial_parameters(3), random_events(plan)
    rounded = dict(values)
    for c in plan.connections:
        whole, scale = quantised(values[c.weight].astype(np.float32), bits)
        assert np.abs(whole).max() == 2 ** (bits - 1) - 1
        rounded[c.weight] = np.float32(scale) * whole.astype(np.float32)
    engine = C99Engine(plan, rounded)
    data = engine.load(events)
    want = engine.run(data, np.arange(len(events)))
    made, full = standalone(plan, values, bits=bits), standalone(plan, values)
    assert made.constants < full.constants * (bits / 32 + 0.2)
    library = compiled(made, tmp_path)
    for b in range(len(events)):
        part = slice(data.offsets[b], data.offsets[b + 1])
        _, readout = stepped(library, plan, data.steps[part], data.channels[part])
        np.testing.assert_allclose(readout, want.readout[b], rtol=1e-6)


@pytest.fixture(scope="module")
def stream():
    plan = build("skip", "max", "fixed", 1.5)
    return Stream(plan, plan.network.initial_parameters(3)), random_events(plan)


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.floats(0.0, 50.0), max_size=8), sample=st.integers(0, 5))
def test_any_chunks_give_the_same(stream, cuts, sample):
    model, events = stream
    times, channels = events.sample(sample)
    model.reset()
    whole = model.push((times, channels), model.plan.duration)
    model.reset()
    seen = -1.0
    for until in [*sorted(cuts), model.plan.duration]:
        here = (times > seen) & (times <= until)
        moment = model.push((times[here], channels[here]), until)
        assert moment.time <= until + model.plan.dt / 2
        seen = until
    assert moment.time == whole.time == model.plan.duration
    np.testing.assert_array_equal(moment.readout, whole.readout)
    assert moment.prediction == whole.prediction
    for name, spikes in whole.spikes.items():
        np.testing.assert_array_equal(moment.spikes[name].time, spikes.time)
        np.testing.assert_array_equal(moment.spikes[name].neuron, spikes.neuron)


def test_lists_of_a_stream_grow(stream, monkeypatch, tmp_path):
    """Own and waiting spikes that do not fit their lists; the loop in C compiles without a warning."""
    model, events = stream
    times, channels = events.sample(1)
    model.reset()
    whole = model.push((times, channels), model.plan.duration)
    earlier = whole.spikes
    monkeypatch.setattr("genn_eventprop.deploy.online.ROOM", 1)
    model.reset()
    moments = [model.push((times[times <= 30.0], channels[times <= 30.0]), 30.0)]
    moments.append(model.push((times[times > 30.0], channels[times > 30.0]), model.plan.duration))
    assert moments[1].prediction == whole.prediction
    first = moments[0].spikes["hidden"]  # a moment stays what it was
    assert (first.time <= 30.0).all() and 0 < len(first.time) < len(earlier["hidden"].time)
    for name, spikes in earlier.items():
        np.testing.assert_array_equal(moments[1].spikes[name].time, spikes.time)
        np.testing.assert_array_equal(moments[1].spikes[name].neuron, spikes.neuron)
    made = standalone(model.plan, model.plan.network.initial_parameters(3))
    compiled(dataclasses.replace(made, text=stream_source(model.plan, made)), tmp_path)


def test_what_a_stream_refuses(stream):
    model, _ = stream
    model.reset()
    model.push(([1.0], [0]), 10.0)
    with pytest.raises(DataError, match="a spike at 2 ms is too late: .* up to 10 ms"):
        model.push(([2.0], [0]), 20.0)
    with pytest.raises(DataError, match="spikes until 20 ms were expected, got times from 30 to 30 ms"):
        model.push(([30.0], [0]), 20.0)
    with pytest.raises(DataError, match="channels must be 0 to 6, got 7 to 7"):
        model.push(([15.0], [7]), 20.0)
    network = model.plan.network
    loss = losses.MaxVoltageCrossEntropy(network.populations[-1])
    exact = make_plan(network, loss, dt=0.5, duration=50.0, spike_times="exact")
    with pytest.raises(EngineError, match="C files support only spikes on the grid"):
        Stream(exact, network.initial_parameters(3))
