"""Forward and backward as two calls: losses in Python, gradients of parameters and of input times."""

import numpy as np
import pytest

from genn_eventprop import Delay, Dense, Events, Network, Normal, Param, Sparse, losses
from genn_eventprop.engines import create
from genn_eventprop.errors import EngineError
from genn_eventprop.losses import Loss
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from genn_eventprop.regularisers import SpikeCount
from support.cuda_shim import ShimEngine
from support.genn_harness import HarnessEngine
from support.sweeps import sweep

READOUTS = ["integral", "end", "max", "first_spike", "count"]
ENGINES = [
    ("reference_event", "exact"), ("reference_clock", "grid"), ("native", "exact"), ("native", "grid"),
    ("c99", "grid"), ("cuda", "grid"), ("genn", "grid"),
]  # fmt: skip

TWICE = [(*engine, readout) for engine in ENGINES for readout in READOUTS]
COMPILED = {  # two readouts of each engine whose text takes a compiler a while
    "native": (("exact", "integral"), ("exact", "first_spike"), ("grid", "max"), ("grid", "count")),
    "cuda": (("grid", "end"), ("grid", "first_spike")),
    "genn": (("grid", "end"), ("grid", "first_spike")),
}


def plan_of(readout, spike_times, *, dt=0.5, delay=1.0, regularised="", duration=25.0, learned=True):
    net = Network()
    inp = net.input(4)
    hidden = net.population(LIF(tau_mem=Param(12.0, "ms", trainable=learned)), 5, name="hidden")
    output = net.population(LIF() if readout in ("first_spike", "count") else LI(), 3, name="output")
    net.connect(inp, hidden, Dense(Normal(1.6, 0.8)), delay=delay)
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.4)), delay=0.5)
    net.connect(hidden, output, Dense(Normal(1.2 if output.model.spiking else 0.4, 0.6)))
    net.connect(inp, output, Dense(Normal(0.2, 0.1)))
    more = [SpikeCount(hidden, 2.0, 0.01, mean=regularised)] if regularised else []
    return make_plan(net, Loss(output, readout), dt=dt, duration=duration, spike_times=spike_times, regularisers=more)


def events(seed=3, labels=None):
    rng = np.random.default_rng(seed)
    samples = [(np.sort(rng.uniform(0.2, 20.0, 14)), rng.integers(0, 4, 14)) for _ in range(3)]
    return Events.from_samples(samples, n_channels=4, labels=labels)


def made(engine, plan):
    """`cuda` runs on the CPU here, `genn` without GeNN."""
    if engine in ("cuda", "genn"):
        kind = {"cuda": ShimEngine, "genn": HarnessEngine}[engine]
        return kind(plan, plan.network.initial_parameters(2), dtype="float64")
    return create(plan, plan.network.initial_parameters(2), engine=engine, dtype="float64")


@pytest.mark.one_in(25)
@pytest.mark.parametrize(
    "engine, spike_times, readout", sweep(TWICE, [c for c in TWICE if c[0] not in COMPILED or c[1:] in COMPILED[c[0]]])
)
def test_two_calls_are_the_training_run(engine, spike_times, readout):
    """With dL/dr of the plan's own loss."""
    plan = plan_of(readout, spike_times, regularised="batch" if readout == "end" else "example")
    running, labels = made(engine, plan), np.array([0, 2, 1])
    data = running.load(events(labels=labels))
    whole = running.run(data, [0, 1, 2], training=True)
    wanted = {k: np.array(v) for k, v in running.gradients.items()}
    read = running.forward(data, [0, 1, 2], record_spikes=True)
    np.testing.assert_allclose(read.value, whole.readout, rtol=1e-12)
    assert all(np.array_equal(read.spike_counts[k], v) for k, v in whole.spike_counts.items())
    assert read.spikes is not None and len(read.spikes["hidden"].time) == read.spike_counts["hidden"].sum() > 20
    _, slope = plan.loss.evaluate(read.value, read.valid, labels, plan.duration)
    for g in running.gradients.values():
        g[...] = 0.0
    running.backward(slope / 3)
    for k, g in wanted.items():
        assert np.abs(g).max() > 0, k
        np.testing.assert_allclose(running.gradients[k], g, rtol=1e-9, atol=1e-12 * np.abs(g).max(), err_msg=k)


@pytest.mark.parametrize("spike_times, mean", [("grid", "example"), ("exact", "example"), ("grid", "batch")])
def test_a_loss_in_python_costs_one_forward_pass(spike_times, mean):
    """It is called once a batch, and the gradient is that of the same loss in C++."""
    plan, labels, calls = plan_of("integral", spike_times, regularised=mean), np.array([0, 2, 1]), []

    def evaluate(r, y):
        calls.append(r.shape)
        return plan.loss.evaluate(r, np.ones(r.shape, bool), y, plan.duration)

    function = losses.Function(evaluate, "labels")
    own = Loss(plan.network.populations[-1], "integral", outer=function)
    second = make_plan(
        plan.network, own, dt=plan.dt, duration=plan.duration, spike_times=spike_times,
        regularisers=plan.regularisers,
    )  # fmt: skip
    found = []
    for p in (plan, second):
        running = made("native", p)
        running.run(running.load(events(labels=labels)), [0, 1, 2], training=True)
        found.append({k: np.array(v) for k, v in running.gradients.items()})
    assert calls == [(3, 3)]
    for k, g in found[0].items():
        np.testing.assert_allclose(found[1][k], g, rtol=1e-9, atol=1e-12 * np.abs(g).max(), err_msg=k)


def value(running, data, c):
    r = running.forward(data, np.arange(len(data)), keep=False)
    return float((c * np.where(r.valid, r.value, 0.0)).sum() + 0.5 * (np.where(r.valid, r.value, 0.0) ** 2).sum())


def slope_of(running, data, c):
    r = running.forward(data, np.arange(len(data)))
    running.backward(np.where(r.valid, c + np.where(r.valid, r.value, 0.0), 0.0))


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "engine, readout",
    sweep(
        [(engine, readout) for engine in ("native", "reference_event") for readout in READOUTS[:4]],
        [("reference_event", "first_spike"), ("native", "max"), ("native", "end")],
    ),
)
def test_differences_of_weights_and_input_times(engine, readout):
    plan = plan_of(readout, "exact")
    running, given = made(engine, plan), events()
    c = np.random.default_rng(5).normal(size=(3, 3))
    slope_of(running, running.load(given), c)
    gradient, times = np.array(running.gradients["input_hidden.weight"]), running.input_gradients.copy()
    h, w = 1e-5, running.parameters["input_hidden.weight"]
    for index in [(0, 1), (2, 3), (3, 4)]:
        both = []
        for sign in (1, -1):
            w[index] += sign * h
            both.append(value(running, running.load(given), c))
            w[index] -= sign * h
        assert gradient[index] == pytest.approx((both[0] - both[1]) / (2 * h), rel=2e-5, abs=2e-7)
    for spike in range(0, 42, 5):
        both = []
        for sign in (1, -1):
            moved = np.array(given.times)
            moved[spike] += sign * h
            shifted = Events(moved, given.channels, given.offsets, n_channels=4)
            both.append(value(running, running.load(shifted), c))
        assert times[spike] == pytest.approx((both[0] - both[1]) / (2 * h), rel=2e-5, abs=2e-7), spike
    assert np.abs(times).max() > 1e-3


@pytest.mark.one_in(2)
@pytest.mark.parametrize("readout", sweep(READOUTS, ["max", "first_spike"]))
def test_input_gradients_of_the_grid(readout):
    """Every engine equals `reference_clock`."""
    c = np.random.default_rng(5).normal(size=(3, 3))
    found = []
    for engine in ("reference_clock", "native", "c99", "cuda", "genn"):
        plan = plan_of(readout, "grid", learned=False)
        running = made(engine, plan)
        slope_of(running, running.load(events()), c)
        found.append(running.input_gradients)
    assert found[0].shape == (42,) and np.count_nonzero(found[0]) > 20
    for gradients in found[1:]:
        np.testing.assert_allclose(gradients, found[0], rtol=1e-9, atol=1e-12 * np.abs(found[0]).max())


@pytest.mark.ci
def test_tables_and_learned_delays_in_two_halves():
    """Sparse synapses with a delay each, dense ones with a delay per source: engines that have both."""
    net = Network()
    hidden, output = net.population(LIF(), 8, name="hidden"), net.population(LI(), 3, name="output")
    delay = {kind: Delay(2.0, kind=kind, trainable=True, max=5.0) for kind in ("synaptic", "axonal")}
    net.connect(net.input(4), hidden, Sparse(Normal(2.5, 0.8), probability=0.7), delay=delay["synaptic"])
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.4)), delay=delay["axonal"])
    net.connect(hidden, output, Dense(Normal(0.4, 0.6)))
    plan, found = make_plan(net, Loss(output, "integral"), dt=0.5, duration=25.0), []
    c = np.random.default_rng(5).normal(size=(3, 3))
    for engine in ("reference_clock", "c99", "cuda", "genn"):
        running = made(engine, plan)
        slope_of(running, running.load(events()), c)
        found.append([running.input_gradients, *map(np.array, running.gradients.values())])
    for gradients in found[1:]:
        for got, want in zip(gradients, found[0]):
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12 * np.abs(want).max())
    assert all(g.any() for g in found[0])


def test_input_gradients_of_a_fine_grid_approach_the_exact_ones():
    c, found = np.random.default_rng(5).normal(size=(3, 3)), []
    for engine, spike_times, dt in (("reference_event", "exact", 0.5), ("reference_clock", "grid", 0.0125)):
        running = made(engine, plan_of("integral", spike_times, dt=dt))
        slope_of(running, running.load(events()), c)
        found.append(running.input_gradients)
    assert np.abs(found[1] - found[0]).max() < 0.05 * np.abs(found[0]).max()


def test_what_cannot_be_is_said():
    plan = plan_of("integral", "grid")
    running = made("reference_clock", plan)
    data = running.load(events())
    with pytest.raises(EngineError, match="no gradients of input times; run forward and backward first"):
        _ = running.input_gradients
    with pytest.raises(EngineError, match="backward needs a forward run with keep=True"):
        running.backward(np.zeros((3, 3)))
    running.forward(data, [0, 1], keep=False)
    with pytest.raises(EngineError, match="backward needs a forward run with keep=True"):
        running.backward(np.zeros((2, 3)))
    running.forward(data, [0, 1])
    with pytest.raises(EngineError, match=r"dL/dr has shape \(3, 3\), the readouts have \(2, 3\)"):
        running.backward(np.zeros((3, 3)))
    with pytest.raises(EngineError, match="dL/dr is not finite"):
        running.backward(np.full((2, 3), np.nan))
    running.backward(np.ones((2, 3)))
    with pytest.raises(EngineError, match="backward needs a forward run with keep=True"):
        running.backward(np.ones((2, 3)))
    net = plan.network
    per_step = make_plan(net, losses.PerStepCrossEntropy(net.populations[-1]), dt=0.5, duration=25.0)
    with pytest.raises(EngineError, match="the readout 'voltage' has its outer loss in the trial"):
        made("reference_clock", per_step).forward(data, [0])
    whole = made("reference_clock", plan)
    whole.splits = False
    with pytest.raises(
        EngineError,
        match="reference_clock cannot run the forward and backward passes separately; use engine='cuda', 'native', '",
    ):
        whole.forward(data, [0])


@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    ("engine", "spike_times"), [pytest.param(*e, marks=[pytest.mark.ci] * (e[0] in ("c99", "genn"))) for e in ENGINES]
)
def test_parameters_that_change_between_the_calls_are_named(engine, spike_times):
    """A gradient of states of one network with the weights of another is that of none."""
    run = made(engine, plan_of("integral", spike_times))
    slope = np.ones((3, 3))
    data = run.load(events())
    run.forward(data, range(3))
    run.backward(slope)
    expected = {name: gradient.copy() for name, gradient in run.gradients.items()}
    run.forward(data, range(3))
    run.parameters["hidden.tau_mem"][...] *= 1.1
    run.parameters["input_hidden.weight"][0, 0] += 0.1
    with pytest.raises(EngineError, match="input_hidden.weight, hidden.tau_mem changed between forward and backward"):
        run.backward(slope)
    run.forward(data, range(3))
    run.backward(slope)
    assert np.abs(run.gradients["hidden.tau_mem"] - expected["hidden.tau_mem"]).max() > 0
