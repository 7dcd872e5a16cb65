"""`weight_rows="float16"`: the results of weights that were rounded beforehand, on every engine that has it."""

import ctypes
import os

import numpy as np
import pytest

from genn_eventprop import Conv2D, Delay, Dense, Events, Network, Normal, Sparse, Uniform, losses
from genn_eventprop.codegen.cpp import half
from genn_eventprop.engines import create, engine_class
from genn_eventprop.engines.contract.half_rows import rounded_weights
from genn_eventprop.engines.native import NativeEngine
from genn_eventprop.errors import EngineError, SettingError
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.optimisers import Adam
from genn_eventprop.plan import make_plan
from genn_eventprop.toolchain import build
from support import driven
from support.cuda_shim import ShimEngine
from support.flags import FLAGS
from support.problems import every_problem
from support.sweeps import sweep

HALF = {"weight_rows": "float16"}


def every_connection(spike_times="grid"):
    """Dense ones with one delay and with delays of all kinds, a table, windows of an image."""
    net = Network()
    image, touch = net.input(shape=(4, 5, 2), name="image"), net.input(6, name="touch")
    seen = net.population(LIF(), shape=(4, 5, 3), name="seen")
    hidden, output = net.population(LIF(), 37, name="hidden"), net.population(LI(), 3, name="output")
    net.connect(image, seen, Conv2D(Normal(0.7, 0.5), kernel=3, channels=3, padding=1))
    net.connect(seen, hidden, Sparse(Normal(0.8, 0.5), probability=0.5), delay=1.0)
    net.connect(touch, hidden, Dense(Normal(0.9, 0.6)))
    for kind in ("synaptic", "axonal", "dendritic"):
        delays = Delay(Uniform(0.0, 4.0), kind=kind, max=6.0, trainable=True)
        net.connect(touch, hidden, Dense(Normal(0.3, 0.3)), delay=delays, name=kind)
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.3)), delay=1.0)
    net.connect(hidden, output, Dense(Normal(0.1, 0.4)))
    plan = make_plan(net, losses.IntegratedVoltageCrossEntropy(output), dt=1.0, duration=25.0, spike_times=spike_times)
    rng = np.random.default_rng(5)
    samples = [(np.sort(rng.uniform(0, 24, 90)), rng.integers(0, 46, 90)) for _ in range(3)]
    return plan, Events.from_samples(samples, n_channels=46, labels=[0, 2, 1])


def wide(hidden=300):
    """Rows of several blocks of columns, and of an odd number of vectors."""
    net = Network()
    first, output = net.population(LIF(), hidden, name="hidden"), net.population(LI(), 3, name="output")
    net.connect(net.input(9), first, Dense(Normal(0.8, 0.5)))
    net.connect(first, first, Dense(Normal(0.0, 0.05)))
    net.connect(first, output, Dense(Normal(0.1, 0.4)))
    plan = make_plan(net, losses.MaxVoltageCrossEntropy(output), dt=1.0, duration=30.0)
    rng = np.random.default_rng(5)
    samples = [(np.sort(rng.uniform(0, 24, 60)), rng.integers(0, 9, 60)) for _ in range(3)]
    return plan, Events.from_samples(samples, n_channels=9, labels=[0, 2, 1])


def outcome(kind, plan, values, events, samples=None, **settings):
    engine = kind(plan, values, **settings)
    samples = np.arange(len(events)) if samples is None else samples
    result = engine.run(engine.load(events), samples, training=True)
    found = {"loss": result.loss, "readout": result.readout, **result.spike_counts}
    return found | {name: np.array(g) for name, g in engine.gradients.items()}


def check_same_bits(kind, plan, events, samples=None):
    values = plan.network.initial_parameters(3)
    half = outcome(kind, plan, values, events, samples, **HALF)
    assert half["readout"].any()
    for name, want in outcome(kind, plan, rounded_weights(plan, values), events, samples).items():
        np.testing.assert_array_equal(half[name], want, name)


@pytest.fixture
def uncontracted(monkeypatch):
    """Compilers contract products and sums of the two texts otherwise: in one a conversion stands between them."""
    monkeypatch.setenv(FLAGS, f"{os.environ.get(FLAGS, '')} -ffp-contract=off")


PROBLEMS = every_problem()
QUICK = ("neurons: delta max", "loss: per step of spiking, input-driven")


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", sweep(PROBLEMS, QUICK))
@pytest.mark.usefixtures("uncontracted")
def test_native_has_the_bits_of_rounded_weights(name):
    plan, events = PROBLEMS[name]()
    check_same_bits(NativeEngine, plan, events)


def test_conversions_are_those_of_ieee():
    """Without F16C: every float16 that is finite, numbers between two of them, ties, subnormal and large ones."""
    text = half() + (
        'extern "C" void both(const float* x, uint16_t* h, float* back, int64_t n) {\n'
        "    for (int64_t i = 0; i < n; ++i) h[i] = half_of(x[i]), back[i] = float_of(h[i]);\n}\n"
    )
    library = build(f"#include <cstdint>\n#include <cstring>\n{text}")
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    exact = halves[np.isfinite(halves)].astype(np.float32)
    steps = np.unique(exact)
    between = (steps[1:] + steps[:-1]) / 2
    near = [np.nextafter(between, side) for side in (np.float32(-np.inf), np.float32(np.inf))]
    x = np.concatenate([exact, between, *near, np.float32([0.0, -0.0, 1e-30, 65519.99, -65519.99, 3e-8])]).astype(
        np.float32
    )
    h, back = np.empty(len(x), np.uint16), np.empty(len(x), np.float32)
    library.both(*(ctypes.c_void_p(a.ctypes.data) for a in (x, h, back)), ctypes.c_int64(len(x)))
    np.testing.assert_array_equal(h, x.astype(np.float16).view(np.uint16))
    np.testing.assert_array_equal(back.view(np.uint32), x.astype(np.float16).astype(np.float32).view(np.uint32))


@pytest.mark.ci
@pytest.mark.parametrize("make", [every_connection, pytest.param(wide, marks=pytest.mark.ci)])
def test_native_rounds_every_weight(make):
    check_same_bits(NativeEngine, *make())


@pytest.mark.ci
def test_weights_of_currents_are_rounded():
    check_same_bits(NativeEngine, *driven.network(0), samples=[0, 1, 2])


@pytest.mark.ci
def test_exact_spike_times_of_rounded_weights():
    check_same_bits(NativeEngine, *every_connection("exact"))


@pytest.mark.ci
@pytest.mark.parametrize("name", sweep(PROBLEMS, QUICK[1:]))
@pytest.mark.usefixtures("uncontracted")
def test_cuda_has_the_bits_of_rounded_weights(name):
    plan, events = PROBLEMS[name]()
    check_same_bits(ShimEngine, plan, events)


@pytest.mark.parametrize(
    "make", [pytest.param(every_connection, marks=pytest.mark.ci), pytest.param(wide, marks=pytest.mark.slow)]
)
def test_cuda_rounds_every_weight(make):
    check_same_bits(ShimEngine, *make())


def small(weight=4.0):
    net = Network()
    hidden, output = net.population(LIF(), 5, name="hidden"), net.population(LI(), 2, name="output")
    net.connect(net.input(3), hidden, Dense(Normal(weight, weight / 2)))
    net.connect(hidden, output, Dense(Normal(0.0, 0.5)))
    plan = make_plan(net, losses.IntegratedVoltageCrossEntropy(output), dt=1.0, duration=20.0)
    samples = [([1.0, 2.0, 3.0, 5.0], [0, 1, 2, 0]), ([2.0, 2.5, 4.0], [1, 1, 2])]
    return plan, Events.from_samples(samples, n_channels=3, labels=[0, 1])


@pytest.mark.ci
@pytest.mark.parametrize("kind", [NativeEngine, pytest.param(ShimEngine, marks=pytest.mark.ci)])
def test_masters_learn_in_float32(kind):
    """Steps that are too small for float16 add up, a step reaches the next run, and halves of a batch round once."""
    plan, events = small()
    values = plan.network.initial_parameters(1)
    engine, name = kind(plan, values, **HALF), plan.connections[0].weight
    data, before = engine.load(events), np.array(engine.parameters[plan.connections[0].weight])
    assert before.dtype == np.float32
    np.testing.assert_array_equal(before, values[name].astype(np.float32))
    optimiser = Adam(1e-5)
    for _ in range(8):
        engine.run(data, [0, 1], training=True)
        engine.update(optimiser)
    after = np.array(engine.parameters[name])
    moved = np.abs(after - before)[np.array(engine.gradients[name]) != 0]
    assert moved.size and (moved > 3e-5).any() and (moved < 2e-4).all()
    last = engine.run(data, [0, 1]).loss
    again = kind(plan, rounded_weights(plan, {k: np.array(v) for k, v in engine.parameters.items()}))
    np.testing.assert_array_equal(last, again.run(again.load(events), [0, 1]).loss)
    readouts = engine.forward(data, [0, 1])
    engine.backward(np.ones_like(readouts.value))
    halves = np.array(engine.gradients[name])
    again.forward(again.load(events), [0, 1])
    again.backward(np.ones_like(readouts.value))
    np.testing.assert_array_equal(halves, np.array(again.gradients[name]))


@pytest.mark.parametrize("kind", [NativeEngine, ShimEngine])
def test_what_float16_cannot_hold_is_refused(kind):
    plan, events = small()
    values, name = plan.network.initial_parameters(1), plan.connections[0].weight
    engine = kind(plan, values, **HALF)
    data = engine.load(events)
    engine.parameters[name][1, 2] = -70000.0
    with pytest.raises(EngineError, match=f"{name}: the largest weight, 70000, is beyond the range of float16"):
        engine.run(data, [0, 1])
    engine.parameters[name][1, 2] = 65519.0  # rounds to the largest float16
    engine.run(data, [0])
    engine.parameters[name][...] = 2e-6
    with pytest.raises(EngineError, match=f"{name}: the largest weight, 2e-06, is so small that float16 .*float32'"):
        engine.run(data, [0, 1])
    engine.parameters[name][...] = 0.0
    assert engine.run(data, [0, 1]).spike_counts["hidden"].sum() == 0


@pytest.mark.parametrize("kind", [NativeEngine, ShimEngine])
def test_other_precisions_and_names_are_refused(kind):
    plan, _ = small()
    values = plan.network.initial_parameters(1)
    with pytest.raises(EngineError, match="weight_rows='float16' is for dtype='float32', not 'float64'"):
        kind(plan, values, dtype="float64", **HALF)
    with pytest.raises(EngineError, match="weight_rows='float8': unknown .*float16"):
        kind(plan, values, weight_rows="float8")


def test_engines_without_it_say_which_have_it():
    plan, _ = small()
    with pytest.raises(SettingError, match="weight_rows is an option of native, not of c99"):
        create(plan, plan.network.initial_parameters(1), engine="c99(weight_rows=float16)")
    for engine in ("native(weight_rows=float16)", "auto(weight_rows=float16)"):
        made = create(plan, plan.network.initial_parameters(1), engine=engine)
        assert (made.weight_rows, engine_class(engine)) == ("float16", engine_class(engine))
    assert create(plan, plan.network.initial_parameters(1), engine="native").weight_rows == "float32"
