"""Small faults in the CUDA text, one at a time: the shim, or a comparison with the text as it is, notices each."""

import re

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, losses
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


BARRIER = r"__syncthreads\(\);\n"
MUTANTS = {
    "no barrier after the lists": (dense, rf"(\*p0_sent = before;\n\s*\}}\n[^\n]*\n(?:.*\n)*?)\s*{BARRIER}", r"\1"),
    "a window moves too far": (dense, r"next0 \+= 32;", "next0 += 33;"),
    "channels of the old window": (dense, r"channel0 = channel0_after;\n", ""),
    "a row too many": (dense, r"at < count0 \?", "at <= count0 ?"),
    "rows that are left out": (dense, r"k < count0; k \+= 8", "k < count0; k += 9"),
    "spikes of a list that are left out": (dense, r"k < p0_count; k \+= 8", "k < p0_count; k += 9"),
    "a scan of half a warp": (dense, r"offset < 32; offset \*= 2", "offset < 16; offset *= 2"),
    "a spike of another sample": (dense, r"(whose \+ half - 1\)) <= k", r"\1 < k"),
    "a gather past the trial": (dense, r"at \+ t->c2_delay < t->n_steps", "at + t->c2_delay <= t->n_steps"),
    "an event is not loaded": (dense, r"p0_e_inv_newest\[i\] = t->p0_e_inv[^;]*;\n(?=(?:.*\n)*?.*step == 0)", ""),
    "bits of the wrong step": (dense, r"\(sample \* t->n_points \+ step - 1\)", "(sample * t->n_points + step)"),
    "bits in the row of the last step": (dense, r"p0_now\[\(step \+ 1\) % 2", "p0_now[step % 2"),
    "a spike a step early": (dense, r"\(int32_t\)\(step \+ 1\);", "(int32_t)step;"),
    "a list that begins too late": (dense, r"t->p0_room \+ w_count - 1\]", "t->p0_room + w_count]"),
    "a lane without a vote": (dense, r"ballot_sync\(EVERY, emitted\)", "ballot_sync(EVERY, emitted && lane > 0)"),
    "a sum over half a warp": (dense, r"offset = 16; offset > 0", "offset = 8; offset > 0"),
    "warps beyond the last source": (dense, r"if \(item >= \d+\) return;\n", ""),
    "a slice that is left out": (convolution, r"slice < (\d+); \+\+slice", r"slice + 1 < \1; ++slice"),
    "no barrier between pixels": (convolution, r"if \(seen0 >= 0 && [^)]*\) __syncthreads\(\);\n", ""),
    "places outside of the image": (convolution, r"if \(y < 0 .*\) continue;\n", ""),
    "sums of slices over each other": (
        convolution,
        r"(_parts\[\(int64_t\)\w+ \* \d+) \+ slice\] = total",
        r"\1] = total",
    ),
    "a sum of lanes that is left out": (delayed, r"total = warp_sum\(total\);\n", ""),
    "a ring that is not cleared": (delayed, r"(t->c0_arriving_all\[[^;=]*\]) = 0;\n(?!.*for)", ""),
    "a delay that is left out": (delayed, r"\(row \+ delay\)", "(row)"),
}


def outcome(problem, change=None):
    plan, values, events = problem
    engine = ShimEngine(plan, values, dtype="float64", change=change)
    result = engine.run(engine.load(events), np.arange(len(events)), training=True)
    return {"loss": result.loss, **{k: np.array(g) for k, g in engine.gradients.items()}}


@pytest.fixture(scope="module")
def right():
    """problem -> what the text as it is computes."""
    return {make: outcome(make()) for make in (dense, convolution, delayed)}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_fault_is_noticed(mutant, right):
    make, pattern, by = MUTANTS[mutant]
    count = 0

    def change(text):
        nonlocal count
        text, found = re.subn(pattern, by, text)
        count += found
        return text

    try:
        got = outcome(make(), change)
    except RuntimeError as error:
        assert re.search(r"race|outside|barrier|shared memory", str(error))
    else:
        assert any(not relative(got[k], want) < 1e-9 for k, want in right[make].items())
    assert count
