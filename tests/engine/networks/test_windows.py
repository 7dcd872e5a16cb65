"""Convolutions as rows on every engine that has them, against the references, which run tables of the same synapses."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from genn_eventprop import Conv2D, Dense, FanIn, Network, Normal, losses
from genn_eventprop.engines import create
from genn_eventprop.engines.c99 import C99Engine
from genn_eventprop.engines.native import NativeEngine
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.lif_refractory import LIFRefractory
from genn_eventprop.plan import make_plan
from support import connected as C
from support.cuda_shim import ShimEngine
from support.sweeps import sweep

IMAGE = (5, 4, 6)
SHAPES = {
    "plain": {"kernel": 3, "channels": 8},
    "one channel": {"kernel": (1, 2), "channels": 1, "padding": 1},
    "strides": {"kernel": (3, 2), "channels": 21, "stride": (2, 3), "padding": (2, 1)},
    "dilation": {"kernel": 2, "channels": 5, "dilation": (2, 1), "padding": 1},
    "groups": {"kernel": 3, "channels": 9, "groups": 3, "stride": 2, "padding": 1},
    "depthwise": {"kernel": 2, "channels": 6, "groups": 6},
    "wide": {"kernel": 2, "channels": 150, "stride": 3},
}


def network(options, delay=0.0, shared=False):
    """Image -> hidden -> output, and hidden to itself through the same kind of windows; shared: input twice."""
    net = Network()
    inp, conv = net.input(shape=IMAGE), Conv2D(FanIn(3.0, 12.0), **options)
    hidden = net.population(LIF(), name="hidden", shape=conv.output_shape(IMAGE))
    output = net.population(LI(), 3, name="output")
    first = net.connect(inp, hidden, conv, delay=delay)
    if shared:
        net.connect(inp, hidden, share=first, delay=2.0, name="again")
    near = 3 if options["channels"] < 100 else 1
    loop = Conv2D(Normal(0.0, 0.1), near, options["channels"], padding=near // 2, groups=options.get("groups", 1))
    net.connect(hidden, hidden, loop, delay=1.0 + delay)
    net.connect(hidden, output, Dense(Normal(0.1, 0.3)))
    return net, losses.IntegratedVoltageCrossEntropy(output)


def run(plan, values, data, engine, **options):
    make = ENGINES.get(engine, partial(create, engine=engine))
    running = make(plan, values, **options)
    result = running.run(running.load(data), np.arange(len(data)), training=True, record_spikes=True)
    gradients = {k: np.array(v, np.float64) for k, v in running.gradients.items()}
    getattr(running, "close", lambda: None)()
    return result, gradients


def assert_same(got, want, tolerance):
    (result, gradients), (reference, wanted) = got, want
    assert reference.spike_counts["hidden"].sum() > 20
    for name, spikes in reference.spikes.items():
        np.testing.assert_array_equal(result.spikes[name].neuron, spikes.neuron)
        np.testing.assert_allclose(result.spikes[name].time, spikes.time, rtol=tolerance)
    np.testing.assert_allclose(result.loss, reference.loss, rtol=tolerance)
    for key, gradient in wanted.items():
        assert gradient.any()
        np.testing.assert_allclose(gradients[key], gradient, atol=tolerance * np.abs(gradient).max(), err_msg=key)


ENGINES = {"native": partial(NativeEngine, threads=1), "c99": C99Engine, "cuda": ShimEngine}
CASES = [(e, s, d) for e in ENGINES for s in SHAPES for d in (0.0, 1.5)]
QUICK = [("native", s, 0.0) for s in ("strides", "wide")] + [(e, "groups", 1.5) for e in ENGINES]


@pytest.mark.one_in(5)
@pytest.mark.parametrize(("engine", "shape", "delay"), sweep(CASES, QUICK))
def test_rows_on_the_grid(engine, shape, delay):
    net, loss = network(SHAPES[shape], delay)
    plan, values = make_plan(net, loss, dt=0.5, duration=20.0), net.initial_parameters(1)
    assert all(c.form == "windows" for c in plan.connections[:-1])
    data = C.events(net, 20.0)
    want = run(plan, values, data, "reference_clock")
    assert_same(run(plan, values, data, engine, dtype="float64"), want, 1e-9)


EXACT = [(s, d) for s in SHAPES for d in (0.0, 1.5)]


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("shape", "delay"), sweep(EXACT, [("strides", 0.0), ("groups", 1.5)]))
def test_rows_in_exact_time(shape, delay):
    net, loss = network(SHAPES[shape], delay, shared=shape == "groups")
    plan, values = make_plan(net, loss, dt=0.5, duration=20.0, spike_times="exact"), net.initial_parameters(1)
    data = C.events(net, 20.0)
    want = run(plan, values, data, "reference_event")
    assert_same(run(plan, values, data, "native", dtype="float64"), want, 1e-8)


@pytest.mark.ci
def test_arrivals_in_exact_time_that_reach_few_neurons():
    """Others are passed over, within a step and in refractory periods too."""
    net = Network()
    image = net.input(shape=(12, 2, 2))
    conv = Conv2D(FanIn(3.0, 12.0), kernel=3, channels=4, padding=1)
    hidden = net.population(LIFRefractory(t_ref=1.0), name="hidden", shape=conv.output_shape((12, 2, 2)))
    output = net.population(LI(), 3, name="output")
    net.connect(image, hidden, conv)
    net.connect(hidden, hidden, Conv2D(Normal(0.0, 0.1), 3, 4, padding=1), delay=0.1)
    net.connect(hidden, output, Dense(Normal(0.1, 0.3)))
    loss = losses.IntegratedVoltageCrossEntropy(output)
    plan, values = make_plan(net, loss, dt=0.5, duration=20.0, spike_times="exact"), net.initial_parameters(1)
    data = C.events(net, 20.0)
    want = run(plan, values, data, "reference_event")
    for dtype, tolerance in (("float64", 1e-8), ("float32", 1e-3)):
        assert_same(run(plan, values, data, "native", dtype=dtype), want, tolerance)


@pytest.mark.parametrize("engine", ["native", *(pytest.param(e, marks=pytest.mark.ci) for e in ("c99", "cuda"))])
def test_rows_that_share_their_weights(engine):
    net, loss = network(SHAPES["groups"], shared=True)
    plan, values, data = make_plan(net, loss, dt=0.5, duration=20.0), net.initial_parameters(1), C.events(net, 20.0)
    want = run(plan, values, data, "reference_clock")
    assert_same(run(plan, values, data, engine, dtype="float64"), want, 1e-9)


def as_table(plan):
    """The same plan with tables of synapses instead of rows."""
    tables = (
        replace(c, form="synapses", windows=None, table=c.windows.synapses()) if c.windows else c
        for c in plan.connections
    )
    return replace(plan, connections=tuple(tables))


@pytest.mark.parametrize("shape", ["strides", "groups"])
def test_rows_are_the_table_in_float32(shape):
    """Sums of arrivals have the same order, and spikes the same bits."""
    net, loss = network(SHAPES[shape])
    plan, values, data = make_plan(net, loss, dt=0.5, duration=20.0), net.initial_parameters(1), C.events(net, 20.0)
    rows, table = (run(p, values, data, "native") for p in (plan, as_table(plan)))
    np.testing.assert_array_equal(rows[0].loss, table[0].loss)
    assert_same(rows, table, 2e-5)
