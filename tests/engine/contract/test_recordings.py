"""Whole recordings in pieces are one long trial, bit for bit: networks, cuts and numbers of states kept are drawn.

The long trial shares the loops of a step with the pieces, and nothing of what crosses from one to the next.
"""

import os
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import count

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from genn_eventprop import Currents, Delay, Dense, Events, Network, Normal, Param, Sparse, Uniform
from genn_eventprop.data.currents.chunks import chunks as chunks_of_currents
from genn_eventprop.data.events.chunks import chunks, follows
from genn_eventprop.engines import create
from genn_eventprop.engines.c99.engine import C99Engine
from genn_eventprop.engines.contract.checkpoints import Advance, Drop, Keep, Reverse, actions, runs
from genn_eventprop.engines.contract.recordings import Forecast, why_no_recordings
from genn_eventprop.engines.cuda import CudaEngine
from genn_eventprop.engines.native import changes
from genn_eventprop.engines.native.engine import NativeEngine
from genn_eventprop.engines.native.exact_pieces import BESIDES, why_no_exact_pieces
from genn_eventprop.errors import EngineError, EventPropError
from genn_eventprop.losses import (
    FirstSpikeCrossEntropy,
    Loss,
    SpikeCountCrossEntropy,
    SpikeTimeError,
    TimeWeight,
    VoltageSquaredError,
)
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.lif_delta import LIFDelta
from genn_eventprop.models.lif_refractory import LIFRefractory
from genn_eventprop.models.qif import QIF
from genn_eventprop.plan import make_plan
from genn_eventprop.regularisers import SpikeCount
from genn_eventprop.verify.engines.check import loaded
from support.cuda_shim import ShimEngine
from support.engine_check import tuned
from support.flags import FLAGS, UNOPTIMISED
from support.random_networks import draw
from support.random_networks.layout import EIF_DELTA

FEW = settings(
    max_examples=4, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
DT = 0.5
CUDA = {"marks": pytest.mark.ci, "id": "cuda"}
TIMES = pytest.mark.parametrize("times", ["grid", "exact", pytest.param("cuda", **CUDA)])


def in_pieces(engine, data, samples, chunk, states, training=True):
    """A run with pieces of `chunk` steps, and no more than so many states, and half as many pieces, kept."""
    runner = engine.recordings(chunk, 1e12)
    forecast, runner._room = runner.forecast, lambda: len(runner._sizes) <= states // 2

    def few(*arguments):
        known = forecast(*arguments)
        return replace(known, states=min(states, known.states))

    runner.forecast = few
    return runner.run(data, np.asarray(samples), training, True)


def same(got, want, engine, gradients):
    """The same bits; of networks with currents, whose products with weights are sums of other parts, nearly, and so the
    gradients of connections with individual delays on native, and all on cuda, see `rounding`, where losses of V(t) and
    gradients of shared weights and delays are sums in another order.

    With currents and exact spike times the trial goes through Taylor series: ties, and what is 0, have other rounding.
    """
    close = 1e-11 if engine.plan.currents else 1e-12 if isinstance(engine, CudaEngine) else 0.0
    assert_equal = partial(np.testing.assert_allclose, rtol=close, atol=close)
    native = isinstance(engine, NativeEngine) and engine.plan.spike_times == "grid"
    delayed = {n for c in engine.plan.connections if native and c.delays for n in c.learns}
    series = engine.plan.spike_times == "exact" and engine.plan.currents
    for name in ("loss", "readout", *([] if series else ["prediction"])):
        assert_equal(getattr(got, name), getattr(want, name), err_msg=name)
    for name, spikes in want.spikes.items():
        np.testing.assert_array_equal(got.spike_counts[name], want.spike_counts[name])
        for part in ("sample", "time", "neuron"):
            compare = assert_equal if series else np.testing.assert_array_equal
            compare(getattr(got.spikes[name], part), getattr(spikes, part), err_msg=name)
    assert got.guarded == want.guarded
    most = max((np.abs(g).max(initial=1e-24) for g in gradients.values()), default=1e-24)
    least = 1e-6 * most if series else 1e-30
    for name, gradient in gradients.items():
        size, near = np.abs(gradient).max(initial=least), 1e4 * np.finfo(engine.dtype).eps if name in delayed else close
        np.testing.assert_allclose(engine.gradients[name] / size, gradient / size, rtol=near, atol=near, err_msg=name)


def rounding():
    """Compilers contract products and sums in the CUDA text of a piece otherwise than in that of a trial."""
    return 0.0 if os.environ.get(FLAGS) == UNOPTIMISED else 1e-12


def assert_one_trial(structure, cuts, also=(), seed=77, kind=C99Engine, dtype="float64", times="grid"):
    """Compares a random network in pieces with one trial; returns whether it ran, with gradients that are not 0."""
    try:
        case = tuned(draw(times, seed, structure, also=also))
        series = {"tolerance": 1e-13} if times == "exact" and case.plan.currents else {}  # of the trial, not of pieces
        engine = kind(case.plan, case.parameters, dtype=dtype, **series)
        data = loaded(engine, case)
        samples = range(len(data))
        want = engine.run(data, samples, training=True, record_spikes=True)
    except EventPropError:  # refused by name, or diverged
        return False
    if why := engine.why_no_recordings():
        with pytest.raises(EngineError, match=why.split("(")[0]):
            engine.recordings(None, 1e9)
        return False
    gradients = {name: value.copy() for name, value in engine.gradients.items()}
    for share, states in cuts:
        chunk = max(1, round(share * case.plan.n_steps), -(-case.plan.n_steps // 60))
        same(in_pieces(engine, data, samples, chunk, states), want, engine, gradients)
    return any(np.abs(g).max(initial=0) > 0 for g in gradients.values())


CUTS = st.lists(st.tuples(st.floats(0.01, 1.0), st.integers(0, 5)), min_size=2, max_size=2)


def kinds(of_cuda):
    """of_cuda: when to run it, which takes a minute for a network."""
    cases = [
        pytest.param(C99Engine, "float64", id="c99"),
        pytest.param(NativeEngine, "float64", id="native"),
        pytest.param(NativeEngine, "float32", id="native float32"),
        pytest.param(ShimEngine, "float64", id="cuda", marks=of_cuda),
    ]
    return pytest.mark.parametrize(("kind", "dtype"), cases)


@kinds(pytest.mark.slow)
@pytest.mark.parametrize("also", [(), pytest.param(("modes", "inputs", "births"), marks=pytest.mark.ci)])
@FEW
@given(st.integers(0, 10**6), CUTS)
@pytest.mark.one_in(3)
def test_random_networks_in_pieces_are_one_trial(kind, dtype, also, structure, cuts):
    assert_one_trial(structure, cuts, also, kind=kind, dtype=dtype)


@pytest.mark.slow
@kinds(pytest.mark.slow)
@pytest.mark.parametrize("also", [(), ("modes",), ("inputs",), ("births",), ("sharp",), ("currents",), ("alone",)])
@settings(FEW, max_examples=60, derandomize=False, phases=[Phase.generate, Phase.shrink])
@given(st.integers(0, 10**6), CUTS)
def test_many_random_networks_in_pieces(kind, dtype, also, structure, cuts):
    assume(dtype == "float64" or not {"currents", "alone"} & set(also))
    assert_one_trial(structure, cuts, also, kind=kind, dtype=dtype)


@kinds(pytest.mark.ci)
@pytest.mark.one_in(3)
def test_the_drawn_networks_learn(kind, dtype):
    """What is compared above is not 0."""
    assert any(assert_one_trial(k, [(0.3, 1)], kind=kind, dtype=dtype) for k in (5, 8, 14))


@pytest.mark.ci
def test_the_drawn_networks_learn_in_exact_time():
    """And so do spikes that are about to be born, whose arrivals and intervals cross the cuts."""
    born = exact_structure(0, ("births",))
    assert assert_one_trial(born, [(0.3, 1), (0.1, 6)], ("births",), kind=NativeEngine, times="exact")


def exact_structure(structure, also):
    """The first structure from here on that has pieces in exact time."""
    for k in count(structure):
        try:
            plan = draw("exact", 77, k, also=also).plan
        except EventPropError:
            continue
        if not (why_no_recordings(plan) or why_no_exact_pieces(plan)):
            return k


@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.ci)])
@settings(FEW, max_examples=2)
@given(st.integers(0, 10**6), CUTS)
def test_random_networks_in_exact_time_are_one_trial(dtype, structure, cuts):
    also = [(), ("inputs",), ("births",)][structure % 3]
    assert_one_trial(exact_structure(structure, also), cuts, also, kind=NativeEngine, dtype=dtype, times="exact")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@settings(FEW, max_examples=60, derandomize=False)
@given(st.integers(0, 10**6), CUTS)
def test_many_random_networks_in_exact_time(dtype, structure, cuts):
    # with currents the trial goes through Taylor series, which are as exact as the pieces in float64 alone
    driven = [("currents",), ("births", "currents"), ("alone",)] if dtype == "float64" else []
    also = [(), ("inputs",), ("births",), *driven][structure % (3 + len(driven))]
    assert_one_trial(exact_structure(structure, also), cuts, also, kind=NativeEngine, dtype=dtype, times="exact")


@pytest.mark.ci
@pytest.mark.parametrize(("loss", "dtype"), [("integral", "float64"), ("first", "float64"), ("max", "float32")])
def test_births_in_exact_time_are_those_of_one_trial(loss, dtype):
    """Through delays beyond a piece, out of refractory periods, and of outputs that are read at spikes."""
    net, whole, gradients = network(outputs=LIF if loss == "first" else LI, t_ref=3.0), recordings(60.0, 2, seed=5), []
    output, rng = net.populations[-1], np.random.default_rng(0)
    start = net.initial_parameters(3)
    start["input_hidden.weight"] *= 0.2
    read = FirstSpikeCrossEntropy(output, silent="end") if loss == "first" else Loss(output, loss)
    for birth in (0.1, 0.3):
        plan = make_plan(net, read, dt=DT, duration=60.0, spike_times="exact", spike_birth=birth)
        engine = create(plan, start, engine="native", dtype=dtype)
        data = engine.load(whole)
        want = engine.run(data, [0, 1], training=True, record_spikes=True)
        gradients.append({name: g.copy() for name, g in engine.gradients.items()})
        for chunk in (1, 2, 120, *rng.integers(3, 60, 6)):
            got = in_pieces(engine, data, [0, 1], int(chunk), int(rng.integers(0, 12)))
            same(got, want, engine, gradients[-1])
    assert not np.allclose(gradients[0]["input_hidden.weight"], gradients[1]["input_hidden.weight"], rtol=1e-3)


def labels_add_up(structure, chunk, also, kind=C99Engine, times="grid", seed=77):
    """Of a random recording of several intervals, the gradient of all losses is the sum of those of each.

    Returns whether it ran, with gradients that are not 0.
    """
    case, found = draw(times, seed, structure, also=also), list[dict[str, np.ndarray]]()
    if case.plan.pushes or why_no_recordings(case.plan, several=True):
        return False
    try:
        case = tuned(case)
        engine = kind(case.plan, case.parameters, dtype="float64")
        data = loaded(engine, replace(case, events=case.events[[*range(len(case.events))] * 2], weights=None))
        data = replace(data, follows=np.arange(len(data)) > 0)
        chunk = max(1, round(chunk * case.plan.n_steps))
        for weights in (np.ones(len(data)), *np.eye(len(data))):
            in_pieces(engine, replace(data, weights=weights), range(len(data)), chunk, 3)
            found.append({name: g.copy() for name, g in engine.gradients.items()})
    except EventPropError:  # refused by name, or diverged
        return False
    every, *each = found
    for name, gradient in every.items():
        size = np.abs([one[name] for one in each]).max(initial=0)
        total = sum(one[name] for one in each)
        np.testing.assert_allclose(gradient, total, rtol=1e-11, atol=1e-11 * size + 1e-14, err_msg=name)
    return any(np.abs(g).max(initial=0) > 0 for g in every.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "times"), [(C99Engine, "grid"), (NativeEngine, "grid"), (NativeEngine, "exact")],
    ids=["c99", "native", "exact"],
)  # fmt: skip
@pytest.mark.parametrize("also", [(), ("births",)])
@settings(FEW, max_examples=40, derandomize=False)
@given(structure=st.integers(0, 10**6), chunk=st.floats(0.05, 1.0))
def test_labels_of_many_random_recordings_add_up(kind, times, also, structure, chunk):
    structure = exact_structure(structure, also) if times == "exact" else structure
    assume(labels_add_up(structure, chunk, also, kind, times))  # of those that are refused there are others


def differences_agree(structure, chunk, states):
    """Of the losses of the intervals of a random recording, its gradient and central differences along a direction of
    each parameter; where two steps do not give the same, a spike appears or goes. Returns how many were compared."""
    case = draw("exact", 77, structure)
    surrogate = any(loss.readout == "count" or loss.silent == "end" for loss in case.plan.losses)
    if case.plan.pushes or surrogate or why_no_recordings(case.plan, several=True):
        return 0
    try:
        case = tuned(case)
        engine = NativeEngine(case.plan, case.parameters, dtype="float64")
        data = loaded(engine, replace(case, events=case.events[[*range(len(case.events))] * 2], weights=None))
        data = replace(data, follows=np.arange(len(data)) > 0)
        samples, compared = np.arange(len(data)), 0
        chunk = max(1, round(chunk * case.plan.n_steps))
        in_pieces(engine, data, samples, chunk, states)
        gradients, rng = {k: v.copy() for k, v in engine.gradients.items()}, np.random.default_rng(structure)
        for name, gradient in gradients.items():
            values, found = engine.parameters[name], []
            first = values.copy()
            along = rng.normal(size=values.shape) * np.where(values, abs(values), 0.1) * (gradient != 0)
            for h in (1e-6, 1e-6 / 3):
                both = []
                for sign in (1, -1):
                    values[...] = first + sign * h * along
                    loss = in_pieces(engine, data, samples, chunk, 0, training=False).loss
                    both.append(np.nanmean(loss) * np.isfinite(loss).mean())
                found.append((both[0] - both[1]) / (2 * h))
            values[...] = first
            if found[0] == pytest.approx(found[1], rel=1e-4, abs=1e-7):
                assert (gradient * along).sum() == pytest.approx(found[0], rel=1e-4, abs=1e-7), (structure, name)
                compared += bool(gradient.any())
    except EventPropError:
        return 0
    return compared


@pytest.mark.ci
def test_differences_of_random_recordings_in_exact_time():
    assert sum(differences_agree(k, 0.4, 1) for k in (1, 31, 66)) > 5


@pytest.mark.slow
def test_differences_of_many_random_recordings_in_exact_time():
    assert sum(differences_agree(exact_structure(7 * k, ()), 0.3 + 0.01 * k, k % 3) for k in range(60)) > 100


@pytest.mark.parametrize("kind", ["c99", "native", pytest.param("cuda", **CUDA)])
@pytest.mark.parametrize(("loss", "delay"), [(partial(Loss, readout="voltage"), 9.5), (VoltageSquaredError, 3.0)])
@pytest.mark.one_in(4)
def test_intervals_of_losses_of_voltage_are_parts_of_one_long_trial(kind, loss, delay):
    """Where V jumps at arrivals, some of them of spikes of the interval before."""
    net, whole, rng = Network(), recordings(40.0, 1), np.random.default_rng(3)
    source, hidden = net.input(4), net.population(LIF(), 6, name="hidden")
    output = net.population(LIFDelta(tau_mem=Param(15.0, "ms", trainable=True), v_thresh=1e9), 3, name="output")
    net.connect(source, hidden, Dense(Normal(2.4, 0.8)), delay=1.0)
    net.connect(hidden, hidden, Dense(Normal(0.2, 0.5)), delay=2.5)
    net.connect(hidden, output, Dense(Normal(0.4, 0.6)), delay=delay)
    series = rng.normal(0, 1, (1, 81, 3)) if loss is VoltageSquaredError else None
    engine = created(kind, make_plan(net, loss(output), dt=DT, duration=10.0), net)
    for j in (1, 2):
        labels, at = np.where(np.arange(4) == j, whole.labels[0], -1)[None], np.arange(81)
        wanted = None if series is None else np.where(((at < 20 * j) | (at > 20 * j + 20))[:, None], np.nan, series)
        recording = Events(
            whole.times, whole.channels, whole.offsets, 4, labels=whole.labels, n_classes=3, targets=wanted
        )
        data = of_intervals(engine, recording, 10.0, labels)
        got = in_pieces(engine, data, range(4), 7, 3)
        part = TimeWeight("1", window=(10.0 * j, 10.0 * (j + 1)))
        plan = make_plan(net, loss(output, weight=part), dt=DT, duration=40.0)
        for reference, close, also in (("native", 1e-13, {"dtype": "float64"}), ("reference_clock", 1e-12, {})):
            long = create(plan, net.initial_parameters(3), engine=reference, **also)
            want = long.run(long.load(recording), [0], training=True)
            np.testing.assert_allclose(got.loss[j], 4 * want.loss[0], rtol=close)
            for name, gradient in long.gradients.items():
                assert np.abs(gradient).max() > 0
                np.testing.assert_allclose(engine.gradients[name], gradient, rtol=close, atol=close, err_msg=name)


@pytest.mark.parametrize("birth", [0.0, 0.3])
@pytest.mark.ci
def test_intervals_in_exact_time_are_windows_of_one_long_trial(birth):
    """Of `reference_event` too, which shares no code with the pieces."""
    net, whole = network(), recordings(40.0, 1)
    output, label = net.populations[-1], int(whole.labels[0])
    engine = made(net, Loss(output, "integral"), 10.0, "exact", spike_birth=birth)
    for j in (0, 2):
        data = of_intervals(engine, whole, 10.0, np.where(np.arange(4) == j, label, -1)[None])
        got = in_pieces(engine, replace(data, weights=np.full(4, 4.0)), range(4), 7, 1)
        weight = TimeWeight("4", window=(10.0 * j, 10.0 * (j + 1)))  # of a mean over 40 ms
        long = made(net, Loss(output, "integral", weight=weight), 40.0, "exact", spike_birth=birth)
        for kind, close, also in (("native", 1e-12, {"dtype": "float64"}), ("reference_event", 1e-10, {})):
            long = create(long.plan, net.initial_parameters(3), engine=kind, **also)
            want = long.run(long.load(whole), [0], training=True)
            np.testing.assert_allclose(got.loss[j], want.loss[0], rtol=close)
            for name, gradient in long.gradients.items():
                assert np.abs(gradient).max() > 0
                np.testing.assert_allclose(engine.gradients[name], gradient, rtol=close, atol=close, err_msg=name)


LATE = Delay(Uniform(0.0, 3.0), trainable=True)


def network(delay=2.5, outputs=LI, t_ref=1.7, late=LATE):
    net = Network()
    source = net.input(4)
    hidden = net.population(LIFRefractory(t_ref=t_ref), 6, name="hidden")
    output = net.population(outputs(tau_mem=Param(15.0, "ms", trainable=True)), 3, name="output")
    net.connect(source, hidden, Dense(Normal(2.4, 0.8)), delay=1.0)
    net.connect(hidden, hidden, Dense(Normal(0.2, 0.5)), delay=delay)
    net.connect(hidden, output, Dense(Normal(0.4, 0.6)), delay=late)
    return net


def recordings(length, n=2, seed=1, channels=4, rate=1):
    rng, size = np.random.default_rng(seed), int(rate * length)
    samples = [(np.sort(rng.uniform(0, length, size)), rng.integers(0, channels, size)) for _ in range(n)]
    return Events.from_samples(samples, n_channels=channels, labels=np.arange(n) % 3, n_classes=3)


def made(net, loss, duration, times, **more):
    """`c99` on the grid, or `cuda`, `native` with exact spike times."""
    kind = {"exact": "native", "grid": "c99"}.get(times, times)
    plan = make_plan(net, loss, dt=DT, duration=duration, spike_times="exact" if times == "exact" else "grid", **more)
    return created(kind, plan, net)


def created(kind, plan, net):
    """An engine by its name; `cuda` on the shim, with lists of events that become longer."""
    values = net.initial_parameters(3)
    if kind == "cuda":
        return ShimEngine(plan, values, dtype="float64", room=1)
    return create(plan, values, engine=kind, dtype="float64")


def of_intervals(engine, events, duration, labels):
    """The events in intervals with these labels, as the trainer loads them."""
    exact = engine.plan.spike_times == "exact"
    cut = chunks(events, duration, DT, length=duration * labels.shape[1], labels=labels, exact=exact)
    return replace(engine.load(cut), follows=follows(cut))


@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    ("times", "batch", "birth"),
    [
        *((times, *of) for times in ("grid", "exact") for of in (([0], 0.0), ([0, 1], 0.3))), ("cuda", [0], 0.0),
        pytest.param("cuda", [0, 1], 0.3, marks=pytest.mark.ci),
    ],
)  # fmt: skip
def test_the_gradient_of_a_label_is_that_of_a_trial_that_ends_with_its_interval(times, batch, birth):
    """Of V at the end, which knows nothing of where an interval began: the intervals before have no label.

    Of several intervals births are of first order, as through individual delays in a trial.
    """
    net = network(late=1.0) if birth else network()
    engine = made(net, Loss(net.populations[-1], "end"), 20.0, times, spike_birth=birth)
    for last in (2,) if times == "cuda" else (0, 1, 2):
        labels = np.full((2, last + 1), -1)
        labels[:, last] = [0, 1]
        whole = recordings(20.0 * (last + 1))
        data = of_intervals(engine, whole, 20.0, labels)
        data = replace(data, weights=np.full(len(data), last + 1.0))  # of a mean over all intervals
        samples = np.concatenate([np.arange(last + 1) + (last + 1) * b for b in batch])
        got = in_pieces(engine, data, samples, 13, 2)
        if birth and last:
            net = network(late=Delay(1.0, trainable=False))
        long = made(net, Loss(net.populations[-1], "end"), 20.0 * (last + 1), times, spike_birth=birth)
        want = long.run(long.load(whole), batch, training=True)
        assert np.isnan(got.loss).sum() == len(batch) * last
        np.testing.assert_array_equal(got.loss[last :: last + 1], want.loss)
        for name, gradient in long.gradients.items():
            assert np.abs(gradient).max() > 0
            close = max(1e-13 if birth else 0.0, rounding() if times == "cuda" else 0.0)
            np.testing.assert_allclose(engine.gradients[name], gradient, rtol=close, atol=close, err_msg=name)


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("other", "cuts"), [("native", ((3, 2), (8, 0))), pytest.param("cuda", ((5, 1),), **CUDA)])
@pytest.mark.parametrize(
    ("model", "readout"), [(LI(), "max"), (LIFDelta(v_thresh=1e9), "voltage"), (EIF_DELTA(), "end")]
)
def test_individual_delays_are_those_of_c99(other, cuts, model, readout):
    """Of each kind, longer than pieces and intervals; a spike may arrive two intervals after its own. What arrives is a
    sum of weights, moves V of a loss of V(t), or is evaluated."""
    net, found = Network(), []
    source, hidden = net.input(4), net.population(LIF(), 6, name="hidden")
    output, delay = net.population(model, 3, name="output"), Uniform(0.0, 9.0)
    some = np.argwhere(np.random.default_rng(1).random((6, 3)) < 0.7)
    net.connect(source, hidden, Dense(Normal(2.0, 0.8)), delay=Delay(delay, max=12.0))
    net.connect(hidden, hidden, Dense(Normal(0.2, 0.5)), delay=Delay(delay, kind="axonal", max=12.0))
    net.connect(source, output, Dense(Normal(0.2, 0.5)), delay=Delay(delay, kind="dendritic", max=12.0))
    net.connect(hidden, output, Sparse(Normal(0.4, 0.6), pairs=some), delay=Delay(delay, max=12.0))
    for kind, chunk, states in (("c99", 20, 4), *((other, *cut) for cut in cuts)):
        engine = created(kind, make_plan(net, Loss(output, readout), dt=DT, duration=4.0), net)
        data = of_intervals(engine, recordings(24.0, 1, rate=4), 4.0, np.array([[0, -1, 1, 2, -1, 0]]))
        found.append((in_pieces(engine, data, range(6), chunk, states), engine.gradients))
    (want, gradients), *others = found
    for got, by_other in others:
        np.testing.assert_allclose(got.loss, want.loss, rtol=1e-13, atol=1e-15)
        for name, gradient in gradients.items():
            assert np.abs(gradient).max() > 0
            np.testing.assert_allclose(by_other[name], gradient, rtol=1e-10, atol=1e-14, err_msg=name)


def driven(interpolation, delay, noise=0.0):
    """A network with spikes and two currents: one on the grid of the network, one on another."""
    net = Network()
    source, fast, slow = (
        net.input(4, name="spikes"), net.current(2, dt=DT, name="fast"),
        net.current(3, dt=2.5, name="slow", interpolation=interpolation),
    )  # fmt: skip
    hidden = net.population(LIF(), 6, name="hidden", noise=noise)
    output = net.population(LI(tau_mem=Param(15.0, "ms", trainable=True)), 3, name="output")
    net.connect(source, hidden, Dense(Normal(1.0, 0.8)))
    net.connect(fast, hidden, Dense(Normal(0.1, 0.2)))
    net.connect(slow, hidden, Dense(Normal(0.3, 0.2)), delay=delay)
    net.connect(slow, output, Dense(Normal(0.1, 0.2)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.5)), delay=2.5)
    net.connect(hidden, output, Dense(Normal(0.4, 0.6)))
    return net, output


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("kind", "times", "interpolation", "delay"),
    [("c99", "grid", "constant", 18.3), ("native", "grid", "linear", 3.7), ("native", "exact", "linear", 18.3),
     pytest.param("native", "exact", "constant", 3.7, marks=pytest.mark.ci),
     pytest.param("cuda", "grid", "linear", 18.3, **CUDA)],
)  # fmt: skip
def test_currents_of_recordings_are_those_of_one_trial(kind, times, interpolation, delay, monkeypatch):
    """In chunks and pieces of these, with delays beyond these; the labels are those of the last chunk.

    With exact spike times the trial goes through Taylor series, the pieces have a closed form.
    """
    exact = times == "exact"
    net, output = driven(interpolation, delay, 0.0 if exact else 0.01)
    loss = of_long = Loss(output, "end")
    if exact:
        last = TimeWeight("3", window=(40.0, 60.0))  # of a mean over 60 ms
        loss, of_long = Loss(output, "integral"), Loss(output, "integral", weight=last)
    engine = created(kind, make_plan(net, loss, dt=DT, duration=20.0, spike_times=times), net)
    rng, labels = np.random.default_rng(2), np.array([[-1, -1, 0], [-1, -1, 2]])
    spikes = recordings(60.0)
    fast, slow = Currents(rng.normal(1, 1, (2, 120, 2)), dt=DT), Currents(rng.normal(1, 1, (2, 24, 3)), dt=2.5)
    parts = {
        "spikes": chunks(spikes, 20.0, DT, length=60.0, labels=labels, exact=exact),
        **{n: chunks_of_currents(c, 20.0, DT) for n, c in (("fast", fast), ("slow", slow))},
    }  # fmt: skip
    data = replace(engine.load(parts), follows=follows(parts["slow"]), weights=np.full(6, 3.0))
    data = replace(data, numbers=np.array([0, 1, 2, 1, 4, 5]))  # noise is that of the number of the first chunk
    long = created(kind, make_plan(net, of_long, dt=DT, duration=60.0, spike_times=times), net)
    if exact:
        long = create(long.plan, net.initial_parameters(3), engine=kind, dtype="float64", tolerance=1e-13)
    whole = Events(spikes.times, spikes.channels, spikes.offsets, 4, labels=[0, 2], n_classes=3)
    want = long.run(long.load({"spikes": whole, "fast": fast, "slow": slow}), [0, 1], training=True)
    for chunk, states in ((13, 2), (40, 0)):
        got = in_pieces(engine, data, range(6), chunk, states)
        np.testing.assert_allclose(got.loss[2::3], want.loss, rtol=1e-12)
        for name, gradient in long.gradients.items():
            assert np.abs(gradient).max() > 0
            np.testing.assert_allclose(engine.gradients[name], gradient, rtol=1e-11, atol=1e-14, err_msg=name)
    with monkeypatch.context() as m:
        m.setattr(changes, "ROOM", 3)
        told = "currents into 'hidden' change more than 3 times in a piece of a recording from 0 ms to"
        with pytest.raises(EngineError, match=told) if exact else nullcontext():
            in_pieces(engine, data, range(6), 13, 2)
    parts["slow"] = Currents(parts["slow"].values[:, :-1], 2.5)
    data = replace(engine.load(parts), follows=data.follows)
    told = "current 'slow' has 17.5 ms in every chunk of 20 ms; cut it with data.currents.chunks"
    with pytest.raises(EngineError, match=told):
        in_pieces(engine, data, range(6), 13, 2)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("seed", range(3))
def test_no_crossing_of_a_current_that_jumps_up_is_missed(seed):
    """The bound of g in a step of a piece has to be that of its own currents: by those of the step before, which may
    be far below, neurons were left out that spike in the step."""
    net, rng = Network(), np.random.default_rng(seed)
    hidden, output = net.population(LIF(), 60, name="hidden"), net.population(LI(), 2, name="output")
    net.connect(net.current(1, dt=2.0, name="current"), hidden, Dense(1.0))
    net.connect(net.input(1, name="spikes"), hidden, Dense(1.0))
    net.connect(hidden, output, Dense(0.3))
    values = net.initial_parameters(1) | {"spikes_hidden.weight": np.linspace(3.0, 9.0, 60)[None]}
    plan = make_plan(net, Loss(output, "end"), dt=1.0, duration=20.0, spike_times="exact")
    engine = create(plan, values, engine="native", dtype="float64", tolerance=1e-13)
    current = np.where(rng.random(10) < 0.3, rng.uniform(-8.0, -4.0, 10), 0.0).reshape(1, 10, 1)
    spikes = Events.from_samples([(np.sort(rng.uniform(4.0, 9.0, 3)), [0, 0, 0])], 1, labels=[0], n_classes=2)
    data = engine.load({"current": Currents(current, dt=2.0), "spikes": spikes})
    want = engine.run(data, [0], training=True, record_spikes=True)
    gradients = {n: g.copy() for n, g in engine.gradients.items()}
    got = in_pieces(engine, data, [0], 5, 2)
    ours, theirs = (r.spikes["hidden"] for r in (got, want))
    assert len(ours.time) == len(theirs.time) > 40
    np.testing.assert_allclose(np.sort(ours.time), np.sort(theirs.time), rtol=1e-11)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(engine.gradients[name], gradient, rtol=1e-9, atol=1e-13, err_msg=name)


@TIMES
@pytest.mark.parametrize(
    ("loss", "birth"),
    [
        ("integral", 0.3),
        ("max", 0.0),
        ("end", 0.0),
        ("voltage", 0.0),
        (FirstSpikeCrossEntropy, 0.3),
        (SpikeCountCrossEntropy, 0.0),
    ],
)
@pytest.mark.one_in(18)
def test_intervals_add_up(loss, birth, times):
    """The gradient of all labels is the sum of those of each, and the losses are those of `run_from`."""
    net = network(outputs=LI if isinstance(loss, str) else LIF)
    output, number = net.populations[-1], 4
    engine = made(net, Loss(output, loss) if isinstance(loss, str) else loss(output), 10.0, times, spike_birth=birth)
    every = np.array([[0, 1, 2, 1]])
    total = dict[str, np.ndarray]()
    for j in range(number):
        alone = np.where(np.arange(number) == j, every, -1)
        in_pieces(engine, of_intervals(engine, recordings(40.0, 1), 10.0, alone), range(number), 7, 3)
        total = {name: total.get(name, 0) + value for name, value in engine.gradients.items()}
    data = of_intervals(engine, recordings(40.0, 1), 10.0, every)
    got = in_pieces(engine, data, range(number), 7, 3)
    for name, gradient in total.items():
        assert np.abs(gradient).max() > 0
        np.testing.assert_allclose(engine.gradients[name], gradient, rtol=1e-11, atol=1e-14)
    if times == "exact":
        return
    truncated = create(engine.plan, net.initial_parameters(3), engine="reference_clock")
    state, losses, counts = None, [], []
    for j in range(number):
        result, state = truncated.run_from(data, [j], state)
        losses.append(result.loss[0])
        counts.append(result.spike_counts["hidden"][0])
    np.testing.assert_allclose(got.loss, losses, rtol=1e-12)
    np.testing.assert_array_equal(got.spike_counts["hidden"], counts)


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("kind", "times"),
    [("c99", "grid"), ("native", "grid"), ("native", "exact"), pytest.param("cuda", "grid", **CUDA)],
)
def test_target_spike_times_of_intervals(kind, times):
    """The loss of each interval is that of `run_from`; the gradient of all targets is the sum of those of each."""
    rng, net = np.random.default_rng(5), Network()
    source, output = net.input(4), net.population(LIF(tau_mem=15.0), 3, name="output")
    net.connect(source, output, Dense(Normal(2.4, 0.8)), delay=1.0)
    net.connect(output, output, Dense(Normal(0.2, 0.5)), delay=2.5)
    plan = make_plan(net, SpikeTimeError(output), dt=DT, duration=10.0, spike_times=times)
    engine = created(kind, plan, net)
    wanted, whole = np.sort(rng.uniform(0, 40, (1, 3, 5))), recordings(40.0, 1)
    cut = chunks(whole, 10.0, DT, length=40.0, spike_times=wanted)
    again = [np.sort(np.concatenate([cut.targets[j, k] + 10 * j for j in range(4)]))[:5] for k in range(3)]
    np.testing.assert_allclose(again, wanted[0], rtol=1e-14)
    data, total = replace(engine.load(cut), follows=follows(cut)), dict[str, np.ndarray]()
    for j in range(4):
        alone = replace(data, targets=np.where(np.arange(4)[:, None, None] == j, data.targets, np.nan))
        in_pieces(engine, alone, range(4), 7, 1)
        total = {name: total.get(name, 0) + value for name, value in engine.gradients.items()}
    got = in_pieces(engine, data, range(4), 7, 1)
    for name, gradient in total.items():
        assert np.abs(gradient).max() > 0
        np.testing.assert_allclose(engine.gradients[name], gradient, rtol=1e-11, atol=1e-14)
    if times == "exact":
        return
    truncated, state = create(plan, net.initial_parameters(3), engine="reference_clock"), None
    for j in range(4):
        result, state = truncated.run_from(data, [j], state)
        np.testing.assert_allclose(got.loss[j], result.loss[0], rtol=1e-12)


@TIMES
@pytest.mark.parametrize("loss", [FirstSpikeCrossEntropy, SpikeCountCrossEntropy])
@pytest.mark.one_in(4)
def test_an_interval_that_begins_at_rest_is_a_trial(loss, times):
    """Times of spikes are those of their interval, of those too that are about to be born."""
    net, whole = network(outputs=LIF), recordings(20.0, 1)
    engine = made(net, loss(net.populations[-1]), 20.0, times, spike_birth=0.3)
    want = engine.run(engine.load(whole), [0], training=True)
    gradients = {name: g.copy() for name, g in engine.gradients.items()}
    later = Events(whole.times + 20.0, whole.channels, whole.offsets, 4)
    data = of_intervals(engine, later, 20.0, np.array([[-1, whole.labels[0]]]))
    got = in_pieces(engine, replace(data, weights=np.full(2, 2.0)), range(2), 7, 3)
    np.testing.assert_allclose(got.loss[1:], want.loss, rtol=1e-14)
    for name, gradient in gradients.items():
        assert np.abs(gradient).max() > 0
        np.testing.assert_allclose(engine.gradients[name], gradient, rtol=1e-11, atol=1e-14, err_msg=name)


@TIMES
@pytest.mark.parametrize("readout", ["integral", "max", "end", "voltage"])
@pytest.mark.one_in(8)
def test_differences_of_the_loss_of_all_intervals(readout, times):
    """Where no spike moves: V and I of the outputs, and arrivals, cross the ends of intervals."""
    net = Network()
    source, output = net.input(4), net.population(LI(tau_mem=Param(15.0, "ms", trainable=True)), 3, name="output")
    net.connect(source, output, Dense(Normal(0.4, 0.6)), delay=3.0)
    engine = made(net, Loss(output, readout), 10.0, times)
    data = of_intervals(engine, recordings(40.0), 10.0, np.array([[0, 1, 2, 0], [1, 0, 2, 2]]))
    in_pieces(engine, data, range(8), 7, 1)
    gradients, h = {k: v.copy() for k, v in engine.gradients.items()}, 1e-6
    for name, gradient in gradients.items():
        values = engine.parameters[name]
        for place in np.ndindex(values.shape):
            both = []
            for sign in (1, -1):
                values[place] += sign * h
                both.append(in_pieces(engine, data, range(8), 7, 1, training=False).loss.mean())
                values[place] -= sign * h
            assert gradient[place] == pytest.approx((both[0] - both[1]) / (2 * h), rel=1e-6, abs=1e-9), (name, place)


@TIMES
@pytest.mark.parametrize("mean", ["example", "batch"])
@pytest.mark.one_in(4)
def test_regularisers_count_over_the_whole_recording(mean, times):
    net = network()
    terms = [SpikeCount(net.populations[0], 2.0, 1e-2, mean=mean)]
    loss = Loss(net.populations[-1], "end")
    long = made(net, loss, 40.0, times, regularisers=terms)
    long.run(long.load(recordings(40.0)), [0, 1], training=True)
    engine = made(net, loss, 10.0, times, regularisers=terms)
    labels = np.full((2, 4), -1)
    labels[:, 3] = [0, 1]
    data = of_intervals(engine, recordings(40.0), 10.0, labels)
    # the mean of all intervals makes the loss a quarter, not the regulariser
    data = replace(data, weights=np.full(8, 4.0))
    in_pieces(engine, data, range(8), 6, 2)
    for name, gradient in long.gradients.items():
        np.testing.assert_allclose(engine.gradients[name], gradient, rtol=1e-12, atol=1e-15)


@given(st.integers(1, 80), st.integers(0, 12))
def test_the_order_of_pieces(pieces, states):
    kept, reached, back, ran, most = {0}, None, [], 0, 0
    for action in actions(pieces, states):
        if isinstance(action, Advance):
            assert action.start in kept
            ran, reached = ran + action.stop - action.start, action.stop
        elif isinstance(action, Keep):
            assert reached == action.piece
            kept.add(action.piece)
        elif isinstance(action, Drop):
            kept.remove(action.piece)
        else:
            assert isinstance(action, Reverse)
            assert reached == action.piece + 1
            back.append(action.piece)
        most = max(most, len(kept) - 1)
    assert back == list(range(pieces))[::-1]
    assert most <= states
    assert ran == runs(pieces, states)


def test_no_order_needs_fewer_runs():
    """By dynamic programming over all of them."""
    best = {(1, s): 1 for s in range(8)}
    for n in range(2, 40):
        best[n, 0] = n * (n + 1) // 2
        for s in range(1, 8):
            best[n, s] = min(m + best[n - m, s - 1] + best[m, s] for m in range(1, n))
    assert all(runs(n, s) == least for (n, s), least in best.items())


def test_memory_says_how_many_states_are_kept():
    net = network()
    engine = create(make_plan(net, Loss(net.populations[-1], "end"), dt=DT, duration=400.0),
                    net.initial_parameters(3), engine="c99")  # fmt: skip
    most = engine.recordings(20, 1e9).forecast(1)
    assert (most.pieces, most.states) == (40, 39)
    assert most.runs == pytest.approx(79 / 40)
    less = engine.recordings(20, most.bytes * 0.7).forecast(1)
    assert less.bytes <= most.bytes * 0.7
    assert 0 < less.states < 39
    assert most.runs < less.runs < 6
    assert str(less).startswith("40 pieces of up to 20 steps")
    assert isinstance(less, Forecast)
    with pytest.raises(EngineError, match=r"memory=0.001 MB is too little for pieces of 20 steps: they need "):
        engine.recordings(20, 1e3).forecast(1)


def test_memory_in_exact_time():
    """What is kept is about what the forecast says, and less memory means more runs and the same bits."""
    net = network()
    engine = made(net, Loss(net.populations[-1], "integral"), 400.0, "exact")
    data = engine.load(recordings(400.0, 1))

    def run(memory):
        runner = engine.recordings(20, memory)
        forecast = runner.forecast(1)
        runner.run(data, np.array([0]), True, False)
        return forecast, {name: g.copy() for name, g in engine.gradients.items()}, 8 * runner.room

    all_held, *_ = run(1e9)
    most, want, room = run(BESIDES)
    less, got, _ = run(0.7 * most.bytes)
    assert (most.pieces, most.states, most.held, all_held.held, all_held.runs) == (40, 39, 1, 40, 1.0)
    assert 0 < less.states < 39
    assert 79 / 40 == most.runs < less.runs < 6
    assert 39 * room < 2 * most.bytes < 8 * 39 * room
    for name, gradient in want.items():
        np.testing.assert_array_equal(got[name], gradient)


def test_what_is_refused():
    net = network()
    loss = Loss(net.populations[-1], "end")
    plan = make_plan(net, loss, dt=DT, duration=20.0)
    clock = create(plan, net.initial_parameters(3), engine="reference_clock")
    with pytest.raises(EngineError, match="no whole recordings in pieces; use engine='native', or 'c99' on the grid"):
        clock.recordings(None, 1e9)
    curved = Network()
    curved.connect(curved.input(4), curved.population(QIF(), 5, name="curved"), Dense(1.0))
    plans = make_plan(curved, FirstSpikeCrossEntropy(curved.populations[0]), dt=DT, duration=20.0, spike_times="exact")
    with pytest.raises(
        EngineError, match="whole recordings need .* 'curved' has dynamics that are not linear .* use spike_t"
    ):
        create(plans, curved.initial_parameters(3), engine="native").recordings(None, 1e9)
    jumps = Network()
    source, hidden = jumps.input(4), jumps.population(LIF(), 5, name="hidden")
    output = jumps.population(LIFDelta(v_thresh=1e9), 2, name="output")
    jumps.connect(source, hidden, Dense(1.0))
    jumps.connect(hidden, output, Dense(1.0))
    heard = TimeWeight("1", input_tau=5.0)
    of_time = make_plan(jumps, Loss(output, "voltage", weight=heard), dt=DT, duration=20.0)
    assert why_no_recordings(of_time) == ""
    assert why_no_recordings(of_time, several=True).startswith(
        "V of output 'output' jumps at arrivals through 'hidden_o"
    )
    engine = create(plan, net.initial_parameters(3), engine="c99")
    data = of_intervals(engine, recordings(40.0), 20.0, np.array([[0, 1], [1, 2]]))
    with pytest.raises(EngineError, match="a batch of recordings needs all chunks of each, one after the other"):
        engine.recordings(None, 1e9).run(data, np.array([0, 2]), True, False)
