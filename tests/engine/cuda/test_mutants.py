"""Small faults in the CUDA text, one at a time: the shim, or a comparison with the text as it is, notices each."""

import re

import numpy as np
import pytest

from genn_eventprop import Delay, Dense, Events, Network, Normal, Uniform, losses
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.engines.cuda.memory import Memory
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from support.clocked import relative
from support.connected import events as events_of
from support.connected import network as connected
from support.cuda_shim import ShimEngine

pytestmark = pytest.mark.ci


def dense():
    """Three warps of hidden neurons, recurrent and with a delay; more spikes in one step than a window has."""
    net = Network()
    hidden, out = net.population(LIF(), 70, name="hidden"), net.population(LI(), 40, name="output")
    net.connect(net.input(9), hidden, Dense(Normal(0.5, 0.4)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.2)))
    net.connect(hidden, out, Dense(Normal(0.0, 0.5)), delay=2.0)
    plan = make_plan(net, losses.MaxVoltageCrossEntropy(out), dt=1.0, duration=30.0)
    rng = np.random.default_rng(4)
    times = [np.sort(np.append(rng.uniform(0, 29, 60), np.full(n, 5.0))) for n in (43, 5, 43)]
    samples = [(t, rng.integers(0, 9, len(t))) for t in times]
    return plan, net.initial_parameters(3), Events.from_samples(samples, n_channels=9, labels=[0, 3, 4])


def convolution():
    net, loss = connected("conv", shape=(6, 7, 2))
    return make_plan(net, loss, dt=1.0, duration=30.0), net.initial_parameters(3), events_of(net, 30.0)


def delayed():
    """Delays of sources: several synapses have one."""
    net, loss = connected("dense", "axonal")
    return make_plan(net, loss, dt=1.0, duration=30.0), net.initial_parameters(3), events_of(net, 30.0)


def large():
    """More samples than a warp has lanes, two inputs, and learned delays of synapses, sources and targets."""
    net, delay = Network(), lambda kind: Delay(Uniform(0.0, 3.0), kind=kind, max=4.0, trainable=True)
    hidden, out = net.population(LIF(), 6, name="hidden"), net.population(LI(), 3, name="output")
    net.connect(net.input(5, name="sound"), hidden, Dense(Normal(1.5, 0.8)), delay=delay("synaptic"))
    net.connect(net.input(4, name="touch"), hidden, Dense(Normal(1.5, 0.8)), delay=delay("axonal"))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.3)))
    net.connect(hidden, out, Dense(Normal(0.0, 0.5)), delay=delay("dendritic"))
    plan = make_plan(net, losses.IntegratedVoltageCrossEntropy(out), dt=1.0, duration=12.0)
    rng = np.random.default_rng(4)
    samples = [(np.sort(rng.uniform(0, 6, n)), rng.integers(0, 9, n)) for n in rng.integers(6, 14, 34)]
    labels = rng.integers(0, 3, len(samples))
    return plan, net.initial_parameters(3), Events.from_samples(samples, n_channels=9, labels=labels)


BARRIER = r"__syncthreads\(\);\n"
MUTANTS = {
    "no barrier after the lists": (dense, rf"(list_bits<3>\(c2_list.*\n.*\n\s*\}}\);\n)\s*{BARRIER}", r"\1"),
    "a window moves too far": (dense, r"next \+= 32;", "next += 33;"),
    "channels of the old window": (dense, r"channel = channel_after;\n", ""),
    "a row too many": (dense, r"start \+ j < count;", "start + j <= count;"),
    "rows that are left out": (dense, r"k \+= R::ROWS", "k += R::ROWS + 1"),
    "spikes of a list that are left out": (dense, r"return k < p0_count", "return k + 1 < p0_count"),
    "rows in the next window that are left out": (dense, r"add_from\(0, input\.count", "add_from(1, input.count"),
    "a scan of half a warp": (dense, r"offset < 32; offset \*= 2", "offset < 16; offset *= 2"),
    "a spike of another sample": (dense, r"(whose \+ half - 1\)) <= k", r"\1 < k"),
    "a gather past the trial": (dense, r"at \+ delay < ((?:g\.t->)?n_steps)", r"at + delay <= \1"),
    "an event is not loaded": (dense, r"p0_e_inv_newest\[i\] = t->p0_e_inv[^;]*;\n(?=(?:.*\n)*?.*step == 0)", ""),
    "bits of the wrong step": (dense, r"\(sample \* t->n_points \+ step - 1\)", "(sample * t->n_points + step)"),
    "bits in the row of the last step": (dense, r"p0_now\[\(step \+ 1\) % 2", "p0_now[step % 2"),
    "a spike a step early": (dense, r"\(int32_t\)\(step \+ 1\);", "(int32_t)step;"),
    "a list that begins too late": (dense, r"t->p0_room \+ w_count - 1\]", "t->p0_room + w_count]"),
    "a lane without a vote": (dense, r"ballot_sync\(EVERY, emitted\)", "ballot_sync(EVERY, emitted && lane > 0)"),
    "a sum over half a warp": (dense, r"offset = 16; offset > 0", "offset = 8; offset > 0"),
    "warps beyond the last source": (dense, r"if \(item < \d+\) ", ""),
    "a slice that is left out": (convolution, r"slice < (G::SLICES); \+\+slice", r"slice + 1 < \1; ++slice"),
    "no barrier between pixels": (convolution, r"if \(seen0 >= 0 && [^)]*\) __syncthreads\(\);\n", ""),
    "places outside of the image": (convolution, r"if \(y < 0 .*\) continue;\n", ""),
    "sums of slices over each other": (
        convolution,
        r"(parts\(\)\[k \* G::SLICES) \+ slice\] = total",
        r"\1] = total",
    ),
    "a sum of lanes that is left out": (delayed, r"total = warp_sum\(total\);\n", ""),
    "a ring that is not cleared": (delayed, r"(t->c0_arriving_all\[[^;=]*\]) = 0;\n(?!.*for)", ""),
    "a delay that is left out": (delayed, r"value\(row \+ delay,", "value(row,"),
    "spikes of the last of 32 samples": (
        large,
        r"every = __shfl_sync\(EVERY, last, 31\)",
        "every = __shfl_sync(EVERY, last, 30)",
    ),
    "the last of 32 samples": (large, r"(first \+ lane < g\.t->batch)\)", r"\1 && lane < 31)"),
    "samples beyond the first 32": (large, r"first < g\.t->batch; first \+= 32", "first < 1; first += 32"),
    "the channel of another input": (large, r"t->n_channels \+ source \+ 5", "t->n_channels + source"),
    "a weight of another input": (large, r"source = channel - 5", "source = channel"),
}
BEGUN_ANEW = {
    "delays of synapses": "GatherDelays_c0",
    "delays of sources": "GatherDelays_c1",
    "delays of targets": "GatherDelays_c3",
    "weights": "Gather_c1",
}


def outcome(problem, change=None, **settings):
    plan, values, events = problem
    engine = ShimEngine(plan, values, dtype="float64", change=change, **settings)
    return of_run(engine, engine.load(events), np.arange(len(events)))


def of_run(engine, data, samples):
    result = engine.run(data, samples, training=True)
    return {"loss": result.loss, **{k: np.array(g) for k, g in engine.gradients.items()}}


def same(got, want):
    return all(relative(got[k], value) < 1e-9 for k, value in want.items())


def changing(pattern, by, counts):
    """A change of the text, which appends to `counts` how many places it has found."""

    def change(text):
        text, found = re.subn(pattern, by, text)
        counts.append(found)
        return text

    return change


@pytest.fixture(scope="module")
def right():
    """problem -> what the text as it is computes."""
    return {make: outcome(make()) for make in (dense, convolution, delayed, large)}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_fault_is_noticed(mutant, right):
    make, pattern, by = MUTANTS[mutant]
    counts = []
    try:
        got = outcome(make(), changing(pattern, by, counts))
    except RuntimeError as error:
        assert re.search(r"race|outside|barrier|shared memory", str(error))
    else:
        assert not same(got, right[make])
    assert sum(counts)


def test_a_large_batch_is_that_of_the_reference(right):
    """Two inputs, more samples than lanes; in groups, too, gradients of weights and delays go on."""
    plan, values, events = large()
    clock = ReferenceClock(plan, values)
    want = of_run(clock, clock.load(events), np.arange(len(events)))
    assert all(np.all(value.any(axis=-1)) for value in want.values())
    assert same(right[large], want) and same(outcome(large(), group=20), want)


@pytest.mark.parametrize("what", BEGUN_ANEW)
def test_gradients_that_begin_anew_in_each_group_are_noticed(what, right):
    counts = []
    adding = rf"(struct {BEGUN_ANEW[what]} {{\n(?:    .*\n)*?.* adding\(\) const {{\n\s*return) t->adding;"
    got = outcome(large(), changing(adding, r"\1 0;", counts), group=20)
    assert sum(counts) and not same(got, right[large])


def moved():
    """A small batch, and again after memory has moved: for a larger one, and because it was given back."""
    plan, values, events = large()
    engine = ShimEngine(plan, values, dtype="float64")
    data = engine.load(events)
    for act in (lambda: None, lambda: of_run(engine, data, np.arange(5)), engine._memory.release):
        act()
        yield of_run(engine, data, np.arange(2))


def test_memory_may_move_between_batches():
    before, *after = moved()
    assert all(np.array_equal(found[k], value) for found in after for k, value in before.items())


def test_addresses_from_before_memory_moved_are_noticed(monkeypatch):
    """The number that changes with every allocation stays what it is."""
    monkeypatch.setattr(Memory, "generation", property(lambda _: 0, lambda *_: None), raising=False)
    batches = moved()
    before = next(batches)
    with pytest.raises((RuntimeError, AssertionError)):  # memory that was freed is used, or the numbers are others
        for after in batches:
            assert same(after, before)
