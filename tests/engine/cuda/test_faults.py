"""Text of the cuda engine with a fault in it: races on global memory, gathers that should not run, indices that
overflow. The shim or a comparison notices each of them, and finds none in the text as it is."""

import re

import numpy as np
import pytest

from genn_eventprop import Delay, Dense, Events, Network, Normal, Param, Uniform, losses
from genn_eventprop.codegen.cuda import generate
from genn_eventprop.codegen.cuda.update import update_text
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.errors import EngineError
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.optimisers import Adam
from genn_eventprop.plan import make_plan
from genn_eventprop.regularisers import LayerRate
from support.clocked import relative
from support.connected import events as events_of
from support.connected import network as connected
from support.cuda_shim import ShimEngine
from support.cuda_shim.indices import narrow_products


def replaced(pattern, by, text):
    """The text with a fault; an error if it has no such place."""
    text, count = re.subn(pattern, by, text)
    assert count, pattern
    return text


def problem(learned=False, regularisers=()):
    """Two warps of hidden neurons; the later a sample, the more its neurons spike."""
    net = Network()
    hidden = net.population(LIF(tau_mem=Param(15.0, "ms", trainable=learned)), 40, name="hidden")
    out = net.population(LI(), 5, name="output")
    net.connect(net.input(9), hidden, Dense(Normal(1.2, 0.8)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.3)))
    net.connect(hidden, out, Dense(Normal(0.0, 0.5)))
    terms = [term(hidden) for term in regularisers]
    plan = make_plan(net, losses.IntegratedVoltageCrossEntropy(out), dt=1.0, duration=30.0, regularisers=terms)
    rng = np.random.default_rng(4)
    samples = [(np.sort(rng.uniform(0, 29, n)), rng.integers(0, 9, n)) for n in (3, 12, 80)]
    return plan, net.initial_parameters(3), Events.from_samples(samples, n_channels=9, labels=[0, 3, 4])


def outcome(plan, values, events, weights=None, **settings):
    engine = ShimEngine(plan, values, dtype="float64", **settings)
    data = engine.load(events)
    if weights is not None:
        data = type(data)(**{**data.__dict__, "weights": weights})
    result = engine.run(data, np.arange(len(events)), training=True)
    return engine, result


# races on global memory


@pytest.mark.parametrize(
    "kernel, place", [("gather", r"return t->c1_gradient\[k\];"), ("trial", r"t->loss\[.*\] = o_")]
)
def test_blocks_that_write_to_one_place_are_noticed(kernel, place):
    """Without atomic operations; on the shim, where blocks take turns, even the sum is right."""

    def change(text):
        return replaced(place, lambda m: re.sub(r"\[.*?\]", "[0]", m[0], count=1), text)

    with pytest.raises(RuntimeError, match=f"{kernel}: race on global memory, a write"):
        outcome(*problem(), change=change)


def test_a_block_that_reads_what_another_writes_is_noticed():
    def change(text):
        return replaced(
            r"(t->loss\[)sample(\] = o_loss);", r"\1sample\2 + 0 * (sample > 0 ? t->loss[sample - 1] : 0);", text
        )

    with pytest.raises(RuntimeError, match="trial: race on global memory"):
        outcome(*problem(), change=change)


@pytest.mark.parametrize("connection", ["c0", "c1"])
def test_spikes_into_a_ring_without_a_barrier_are_noticed(connection):
    """Of an input, and of a population: two of them may arrive at one neuron through threads of their own."""
    net, loss = connected("probability", "synaptic")
    plan = make_plan(net, loss, dt=1.0, duration=30.0)
    values, events = net.initial_parameters(3), events_of(net, 30.0)
    pattern = rf"(t->{connection}_arriving_all\[[^;]* \+= t->[^;]*;\n(?:\s*\}}\n){{2}})\s*__syncthreads\(\);\n"
    with pytest.raises(RuntimeError, match="trial: race on global memory"):
        outcome(plan, values, events, change=lambda text: replaced(pattern, r"\1", text))


def test_spikes_into_sums_without_a_barrier_are_noticed():
    """The same in shared memory, where a table has no delays of its own."""
    net, loss = connected("probability")
    plan = make_plan(net, loss, dt=1.0, duration=30.0)
    pattern = r"(p0_w_arrived_input\[n\] \+= t->[^;]*;\n\s*\}\n)\s*__syncthreads\(\);\n"
    with pytest.raises(RuntimeError, match="trial: race on shared memory"):
        change = lambda text: replaced(pattern, r"\1", text)  # noqa: E731
        outcome(plan, net.initial_parameters(3), events_of(net, 30.0), change=change)


COUNTERS = {
    "needed": r"atomicMax\((?P<at>t->needed) \+ (?P<i>\d+), (?P<v>.*)\);",
    "unfinite": r"atomicMax\((?P<at>t->unfinite) \+ (?P<i>place), (?P<v>.*)\);",
    "trouble": r"atomicMin\((?P<at>t->trouble)(?P<i>), (?P<v>.*)\);",
    "total": r"atomicAdd\((?P<at>p0_w_total)(?P<i>), (?P<v>.*)\);",
}


@pytest.mark.one_in(4)
@pytest.mark.parametrize("counter", COUNTERS)
def test_a_counter_without_atomic_operations_is_noticed(counter):
    """Each is first reached by several threads, and raises nothing."""
    terms = [lambda p: LayerRate(p, 1.0, 1e-3)] if counter == "total" else []
    plan, values, events = problem(regularisers=terms)
    weights = np.array([1.0, np.inf, np.inf]) if counter == "unfinite" else None
    room = 1 if counter == "needed" else None
    if counter == "trouble":
        values = {**values, "input_hidden.weight": values["input_hidden.weight"] * 1e31}

    def change(text):
        sign = {"trouble": "<", "total": "+"}.get(counter, ">")
        now = r"\g<at>[\g<i>]" if counter not in ("trouble", "total") else r"*\g<at>"
        plain = rf"{now} = {now} + \g<v>;" if sign == "+" else rf"if (\g<v> {sign} {now}) {now} = \g<v>;"
        return replaced(COUNTERS[counter], plain, text)

    if counter == "trouble":
        with pytest.raises(EngineError, match="diverged in sample"):
            outcome(plan, values, events)
    else:
        outcome(plan, values, events, weights, room=room)
    memory = "shared" if counter == "total" else "global"
    with pytest.raises(RuntimeError, match=f"race on {memory} memory"):
        outcome(plan, values, events, weights, room=room, change=change)


def test_the_squares_of_a_gradient_need_their_barriers():
    """The only shared memory of an optimiser's kernels."""

    def trained(change):
        engine, _ = outcome(*problem(), change=change)
        optimiser = Adam(0.01, clip_norm=0.01)
        engine.update(optimiser)
        return optimiser.clipped_steps

    assert trained(None) == 1
    with pytest.raises(RuntimeError, match="squares: race on shared memory"):
        trained(lambda t: t if "squares" not in t else replaced(r"(half /= 2\) \{\n)\s*__syncthreads\(\);", r"\1", t))


def test_more_shared_memory_than_the_launch_asks_for_is_noticed():
    with pytest.raises(RuntimeError, match="trial: more shared memory than the launch has asked for"):
        outcome(*problem(), change=lambda text: replaced(r"memory \+ (\d+), ", r"memory + \1 + 4096, ", text))


# gathers, groups and lists that overflow


@pytest.mark.one_in(3)
@pytest.mark.parametrize("group", [1, 2, None])
def test_lists_that_overflow_in_a_later_group(group):
    """Gradients go on from group to group, and a group whose lists were too short leaves nothing in them."""
    plan, values, events = problem(learned=True)
    engine, result = outcome(plan, values, events, group=group, room=1)
    groups = 1 if group is None else -(-len(events) // group)
    assert engine.device.launches.count("trial") >= groups + (2 if group == 1 else 1)  # one of them in a later group
    clock = ReferenceClock(plan, values)
    want = clock.run(clock.load(events), np.arange(len(events)), training=True)
    np.testing.assert_allclose(result.loss, want.loss, rtol=1e-9)
    for name, gradient in clock.gradients.items():
        assert relative(engine.gradients[name], gradient) < 1e-9 and gradient.any(), name


def test_a_gather_that_runs_although_lists_overflowed():
    """It reads more spikes of a neuron than its list has, and adds to the gradient of the groups before."""
    plan, values, events = problem()
    right, _ = outcome(plan, values, events, group=1, room=1)
    assert all(np.any(g) for g in right.gradients.values())
    with pytest.raises(RuntimeError, match="gather: wrote outside of a piece of global memory"):
        outcome(
            plan, values, events, group=1, room=1, change=lambda t: replaced(r"if \(t->needed\[p\]\) return;", ";", t)
        )


# indices


def examples():
    """name -> text and blocks: every kind of connection and delay, and populations with billions of synapses."""
    net = Network()
    hidden, out = net.population(LIF(), 60_000, name="hidden"), net.population(LI(), 20, name="output")
    delays = {k: Delay(Uniform(0.0, 6.0), kind=k, max=8.0) for k in ("synaptic", "axonal")}
    net.connect(net.input(60_000), hidden, Dense(Normal(0.0, 1.0)), delay=delays["synaptic"])
    net.connect(hidden, hidden, Dense(Normal(0.0, 1.0)), delay=1.0)
    net.connect(hidden, out, Dense(Normal(0.0, 1.0)), delay=delays["axonal"])
    plans = {"large": make_plan(net, losses.MaxVoltageCrossEntropy(out), dt=1.0, duration=1000.0)}
    for kind, delay in (("probability", None), ("conv", "synaptic"), ("pool", "dendritic"), ("grouped", 1.5)):
        net, loss = connected(kind, delay, loss="max" if delay else "voltage")
        plans[kind] = make_plan(net, loss, dt=1.0, duration=30.0)
    for name, plan in plans.items():
        source = generate(plan, "float32")
        yield name, source.text, max(blocks for _, blocks in source.gathers)
    yield "optimiser", update_text(Adam(), "float32"), 1 << 31


def test_indices_into_global_memory_have_64_bits():
    assert {name: narrow_products(text, blocks) for name, text, blocks in examples()} == dict.fromkeys(
        ("large", "probability", "conv", "pool", "grouped", "optimiser"), []
    )


def test_more_synapses_than_32_bits_count_are_refused():
    """In a table, whose entries are numbers of synapses; dense weights have 64-bit indices, see above."""
    net = Network()
    hidden, out = net.population(LIF(), 50_000, name="hidden"), net.population(LI(), 20, name="output")
    axonal = Delay(Uniform(0.0, 6.0), kind="axonal", max=8.0)
    net.connect(net.input(50_000), hidden, Dense(Normal(0.0, 1.0)), delay=axonal)
    net.connect(hidden, out, Dense(Normal(0.0, 1.0)))
    plan = make_plan(net, losses.MaxVoltageCrossEntropy(out), dt=1.0, duration=100.0)
    with pytest.raises(EngineError, match="'input_hidden' has 2500000000 synapses in a table, which holds 2147482624"):
        generate(plan, "float32")


@pytest.mark.parametrize(
    "name, wide, narrow",
    [
        ("large", "(int64_t)source *", "source *"),
        ("large", "const int64_t sample = blockIdx.x", "const int32_t sample = blockIdx.x"),
        ("large", "const int64_t w = ", "const int32_t w = "),
        ("large", "t->n_points + step) * ", "t->n_points + (int)(sample * step)) * "),
        ("large", "(uint64_t)((sample * ", "(uint64_t)((int)(sample * "),
        ("probability", "const int64_t sample = blockIdx.x", "const int sample = blockIdx.x"),
        ("optimiser", "(int64_t)blockIdx.x", "blockIdx.x"),
    ],
)
def test_an_index_of_32_bits_is_noticed(name, wide, narrow):
    text, blocks = next((text, blocks) for found, text, blocks in examples() if found == name)
    assert wide in text and narrow_products(text.replace(wide, narrow), blocks)
