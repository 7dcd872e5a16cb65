"""The CUDA text, run on the CPU by `support/cuda_shim`: orders of threads, races, groups; and what NVRTC says of it.

`contract/test_program_targets` runs every problem on it. Nothing here needs a GPU or shows its memory and speed.
"""

import io
import re
from dataclasses import replace

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, losses
from genn_eventprop.codegen.cuda import generate
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.engines.c99.engine import C99Engine
from genn_eventprop.engines.cuda import CudaEngine
from genn_eventprop.errors import EngineError
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.qif import QIF
from genn_eventprop.plan import make_plan
from genn_eventprop.verify.engines.representative import Shape
from support.clocked import relative
from support.cuda_shim import ASCENDING, DESCENDING, SHUFFLED, ShimEngine
from support.exact import recurrent
from support.extras import needs

BARRIER = "__syncthreads();"


@pytest.fixture(scope="module")
def problem():
    """Three warps of hidden neurons, recurrent without delay, a maximum whose kinks feed back."""
    net = Network()
    hidden, out = net.population(LIF(), 70, name="hidden"), net.population(LI(), 5, name="output")
    net.connect(net.input(9), hidden, Dense(Normal(1.2, 0.8)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.3)))
    net.connect(hidden, out, Dense(Normal(0.0, 0.5)))
    plan = make_plan(net, losses.MaxVoltageCrossEntropy(out), dt=1.0, duration=12.0)
    rng = np.random.default_rng(4)
    samples = [(np.sort(rng.uniform(0, 9, 20)), rng.integers(0, 9, 20)) for _ in range(3)]
    events = Events.from_samples(samples, n_channels=9, labels=[0, 3, 4])
    return plan, net.initial_parameters(3), events


def outcome(problem, dtype="float32", **settings):
    plan, values, events = problem
    engine = ShimEngine(plan, values, dtype=dtype, **settings)
    result = engine.run(engine.load(events), np.arange(len(events)), training=True)
    return [result.loss, result.readout, *engine.gradients.values()]


def same_bits(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b))


def test_the_order_of_threads_changes_no_bit(problem):
    first = outcome(problem, order=ASCENDING)
    assert all(np.isfinite(x).all() and x.any() for x in first)
    for settings in ({"order": DESCENDING}, {"order": SHUFFLED, "seed": 5}, {"order": SHUFFLED, "seed": 6}):
        assert same_bits(outcome(problem, **settings), first)


def test_groups_that_fit_the_memory_give_the_same(problem):
    plan, values, events = problem
    assert same_bits(outcome(problem, group=2), outcome(problem))
    engine = ShimEngine(plan, values)
    engine.device.memory = engine.device.allocated + 1000
    with pytest.raises(
        EngineError, match="a trial of 12 steps needs .* MiB, the device has 0.00 MiB; use larger steps"
    ):
        engine.run(engine.load(events), np.arange(3), training=True)


def test_what_is_on_the_device_stays_there(problem):
    """A second batch copies what has changed; other samples, other weights, another data set are seen; close frees."""
    plan, values, events = problem
    engine = ShimEngine(plan, values)
    data = engine.load(events)
    first = [engine.run(data, [0, 1, 2], training=True).loss, *(g.copy() for g in engine.gradients.values())]
    before = engine.device.copied
    again = [engine.run(data, [0, 1, 2], training=True).loss, *engine.gradients.values()]
    assert same_bits(first, again)
    assert engine.device.copied - before == 8  # the mark that no trial has diverged
    assert np.array_equal(engine.run(data, [2, 0]).loss, first[0][[2, 0]])
    weights = plan.connections[0].weight
    engine.parameters[weights][:] *= 0.5
    changed = engine.run(data, [0, 1, 2]).loss
    assert not np.array_equal(changed, first[0])
    engine.parameters[weights][:] *= 2.0
    other = engine.load(Events.from_samples([events.sample(2)], 9, labels=[4]))
    assert np.array_equal(engine.run(other, [0]).loss, first[0][2:])
    live = engine.device.live
    del other, data
    engine.run(engine.load(events), [0])
    assert engine.device.live == live  # a data set has come in the place of two
    engine.close()
    assert engine.device.live == 0


@pytest.mark.one_in(2)
@pytest.mark.parametrize("threads", [32, 64])
def test_several_neurons_a_thread(problem, monkeypatch, threads):
    """As of more than 512 neurons; the last thread has fewer of them."""
    each = outcome(problem)
    monkeypatch.setattr("genn_eventprop.codegen.cuda.target.MOST_THREADS", threads)
    assert f"i < {-(-70 // threads)}" in generate(problem[0], "float32").text
    assert same_bits(outcome(problem), each)


@pytest.mark.ci
def test_lists_of_more_words_than_a_warp_has_lanes():
    """Of more than 1,024 neurons, in both directions."""
    net = Network()
    hidden, out = net.population(LIF(), 1100, name="hidden"), net.population(LI(), 40, name="output")
    net.connect(net.input(3), hidden, Dense(Normal(6.0, 4.0)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.05)), trainable=False)
    net.connect(hidden, out, Dense(Normal(0.0, 0.1)))
    plan = make_plan(net, losses.EndVoltageCrossEntropy(out), dt=1.0, duration=6.0)
    events = Events.from_samples([([0.2, 0.9, 1.1, 2.0, 2.2], [0, 1, 2, 0, 1])], n_channels=3, labels=[3])
    values = net.initial_parameters(3)
    clock = ReferenceClock(plan, values)
    want = clock.run(clock.load(events), [0], training=True)
    engine = ShimEngine(plan, values, dtype="float64")
    result = engine.run(engine.load(events), [0], training=True)
    assert result.spike_counts["hidden"].sum() > 500
    np.testing.assert_allclose(result.loss, want.loss, rtol=1e-9)
    for name, gradient in clock.gradients.items():
        if name != "hidden_hidden.weight":
            assert relative(engine.gradients[name], gradient) < 1e-9 and gradient.any(), name


@pytest.mark.one_in(4)
@pytest.mark.parametrize("spikes", [70, 8, 9, 7, 32, 33, 64, 31])
def test_many_input_spikes_in_one_step(spikes):
    """Windows of 32, rows eight at a time."""
    net = Network()
    hidden, out = net.population(LIF(), 20, name="hidden"), net.population(LI(), 3, name="output")
    net.connect(net.input(5), hidden, Dense(Normal(0.2, 0.1)), delay=1.0)
    net.connect(hidden, out, Dense(Normal(0.0, 0.5)))
    plan = make_plan(net, losses.EndVoltageCrossEntropy(out), dt=1.0, duration=8.0)
    rng = np.random.default_rng(spikes)
    times = np.concatenate([[0.0, 1.0], np.full(spikes, 2.0), np.full(spikes, 4.0)])
    samples = [(times, rng.integers(0, 5, len(times))), ([3.0], [2]), ([], [])]
    events = Events.from_samples(samples, n_channels=5, labels=[0, 1, 2])
    values = net.initial_parameters(1)
    clock = ReferenceClock(plan, values)
    want = clock.run(clock.load(events), [0, 1, 2], training=True)
    engine = ShimEngine(plan, values, dtype="float64")
    result = engine.run(engine.load(events), [0, 1, 2], training=True)
    np.testing.assert_allclose(result.loss, want.loss, rtol=1e-9)
    assert np.array_equal(result.spike_counts["hidden"], want.spike_counts["hidden"])
    for name, gradient in clock.gradients.items():
        assert relative(engine.gradients[name], gradient) < 1e-9, name


def test_a_struct_too_large_for_parameters(problem, monkeypatch):
    """Of hundreds of populations: kernels take its address."""
    by_value = outcome(problem)
    monkeypatch.setattr("genn_eventprop.codegen.cuda.target.MOST_BYTES", 100)
    assert "const Trial *__restrict__ t)" in generate(problem[0], "float32").text
    assert same_bits(outcome(problem), by_value)


def without(text, number):
    """The text with one barrier less."""
    parts = text.split(BARRIER)
    return BARRIER.join(parts[: number + 1]) + ";" + BARRIER.join(parts[number + 1 :])


@pytest.mark.one_in(4)
@pytest.mark.parametrize("which", ["after the lists", "end of a step", "before feedback", "after feedback"])
def test_a_barrier_that_is_missing_is_seen(problem, which):
    """The shim proves itself: each barrier of the two loops is needed, and its absence is a race."""
    plan = problem[0]
    text = generate(plan, "float32").text
    place = {"after the lists": 5, "end of a step": 4, "before feedback": 2, "after feedback": 1}[which]
    number = text.count(BARRIER) - place
    with pytest.raises(RuntimeError, match="race on shared memory"):
        outcome(problem, change=lambda t: without(t, number))


def test_a_thread_that_misses_a_barrier_is_seen(problem):
    with pytest.raises(RuntimeError, match="wait at different barriers, or some have left|race on shared memory"):
        outcome(problem, mutate=100)


def test_a_row_beside_a_piece_of_global_memory_is_seen(problem):
    def change(text):
        place = "t->c1_gradient[k];"
        assert place in text
        return text.replace(place, place.replace("k", "k + 70"))

    with pytest.raises(RuntimeError, match="gather: wrote outside of a piece of global memory"):
        outcome(problem, change=change)


def test_a_sum_in_the_order_of_arrival_is_seen(problem):
    """Not the fixed tree of lanes, but whoever comes first."""

    def change(text):
        call = "total = warp_sum(total);"
        assert call in text
        text = text.replace("if (lane == 0) p0_w_feedback[source] = total;", "")
        return text.replace(call, "p0_w_feedback[source] = p0_w_feedback[source] + total;", 1)

    with pytest.raises(RuntimeError, match="race on shared memory"):
        outcome(problem, change=change)


def test_float32_agrees_with_the_reference(problem):
    plan, values, events = problem
    clock = ReferenceClock(plan, values)
    want = clock.run(clock.load(events), np.arange(len(events)), training=True)
    loss, _, *gradients = outcome(problem)
    np.testing.assert_allclose(loss, want.loss, rtol=1e-4)
    for gradient, right in zip(gradients, clock.gradients.values()):
        assert relative(gradient, right) < 1e-4


@pytest.mark.ci
def test_where_dynamics_were_left_among_many_populations():
    """The place is one number for all: the message is that of C99, however many populations there are."""
    net = Network()
    layers = [net.population(QIF() if i == 17 else LIF(), 2 + i % 2, name=f"layer{i}") for i in range(18)]
    source = net.input(3)
    for i, layer in enumerate(layers):
        net.connect(source, layer, Dense(Normal(1e30 if i == 17 else 0.5, 0.0)))
    out = net.population(LI(), 2, name="output")
    net.connect(layers[-1], out, Dense(Normal(1.0, 0.0)))
    plan = make_plan(net, losses.MaxVoltageCrossEntropy(out), dt=1.0, duration=10.0)
    events = Events.from_samples([([], []), ([3.0], [1])], n_channels=3, labels=[0, 1])
    messages = []
    for kind in (C99Engine, ShimEngine):
        engine = kind(plan, net.initial_parameters(1), dtype="float64")
        with pytest.raises(EngineError, match="population 'layer17': V of neuron 0 .* diverged in sample 1") as error:
            engine.run(engine.load(events), np.arange(2))
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def test_without_a_device_the_error_says_what_to_do(problem):
    plan, values, _ = problem
    with pytest.raises(EngineError, match=r"extra \[cuda\]|^cuda: .*; native runs on the CPU"):
        CudaEngine(plan, values)


def resources(text, architecture):
    """kernel -> (registers, bytes of spills, bytes of stack, spills among them), as ptxas reports them."""
    core = needs("cuda.core")
    from genn_eventprop.engines.cuda.driver import options_for

    log, options = io.StringIO(), replace(options_for(text, architecture), ptxas_options=["-v"])
    core.Program(text, "c++", options).compile("cubin", logs=log)
    found = re.findall(
        r"entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores.*?Used (\d+) registers",
        log.getvalue(),
        re.S,
    )
    return {name: (int(registers), int(spills), int(stack)) for name, stack, spills, registers in found}


@pytest.mark.parametrize(
    "architecture", ["sm_80", *(pytest.param(a, marks=pytest.mark.ci) for a in ("sm_90", "sm_100"))]
)
@pytest.mark.parametrize("hidden", [256, *(pytest.param(n, marks=pytest.mark.ci) for n in (1024, 4096))])
def test_nvrtc_compiles_it_within_the_registers(architecture, hidden):
    """At the shape of spoken digits: no spills, and room for as many blocks of a trial on a multiprocessor as fit."""
    net = Network()
    population, out = net.population(LIF(), hidden, name="hidden"), net.population(LI(), 20, name="output")
    net.connect(net.input(700), population, Dense(Normal(0.03, 0.01)))
    net.connect(population, population, Dense(Normal(0.0, 0.02)), delay=1.0)
    net.connect(population, out, Dense(Normal(0.0, 0.03)))
    loss = losses.IntegratedVoltageCrossEntropy(out, "exponential")
    plan = make_plan(net, loss, dt=1.0, duration=1000.0)
    source = generate(plan, "float32")
    found = resources(source.text, architecture)
    halves = resources(generate(plan, "float32", halves=True).text, architecture) if hidden == 256 else {}
    assert all(spills == stack == 0 and registers <= 64 for registers, spills, stack in halves.values())
    assert not halves or "round_weights" in halves
    assert set(found) == {"trial", "gather"} == {"trial", *(name for name, _ in source.gathers)}
    for name, (registers, spills, stack) in found.items():
        assert spills == stack == 0, name
        assert registers <= (64 if hidden <= 1024 else 128), (name, registers)
    assert source.shared < 12 * hidden + 1024


@pytest.mark.ci
def test_nvrtc_compiles_exact_spike_times():
    """The search for a crossing has its intervals on the stack, in local memory; 1,024 neurons fit any card."""
    net = Network()
    population, out = net.population(LIF(), 1024, name="hidden"), net.population(LI(), 20, name="output")
    net.connect(net.input(700), population, Dense(Normal(0.03, 0.01)))
    net.connect(population, population, Dense(Normal(0.0, 0.02)), delay=1.0)
    net.connect(population, out, Dense(Normal(0.0, 0.03)))
    loss = losses.IntegratedVoltageCrossEntropy(out, "exponential")
    plan = make_plan(net, loss, dt=1.0, duration=1000.0, spike_times="exact")
    for split, kernels in ((False, {"trial", "gather"}), (True, {"forwards", "backwards", "gather"})):
        source = generate(plan, "float32", split=split)
        found = resources(source.text, "sm_90")
        assert set(found) == kernels and source.shared < 8 * 1024
        assert all(registers <= 128 and stack <= 800 for registers, _, stack in found.values()), found


@pytest.mark.ci
def test_nvrtc_compiles_a_trial_event_by_event():
    """It takes the text of `native`. What waits for the leader needs few registers; his calls have a stack."""
    plan = recurrent("births")
    for split, kernels in ((False, {"trial", "gather"}), (True, {"forwards", "backwards", "gather"})):
        source = generate(plan, "float32", split=split, events=True)
        found = resources(source.text, "sm_90")
        assert set(found) == kernels and source.shared < 8 * 1024
        assert all(stack <= 512 for _, _, stack in found.values()), found  # unrolled loops need over 1,000


def test_a_block_has_the_shared_memory_for_4096_neurons():
    source = generate(Shape(hidden=4096, steps=10, spikes=80).network()[0], "float32")
    assert 40 << 10 < source.shared <= 48 << 10
