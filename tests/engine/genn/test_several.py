"""`genn`: several inputs, several losses, and several readouts in one pass, with dL/dr given from outside."""

from functools import partial

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, losses
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.engines.genn.phases import Phases
from genn_eventprop.errors import EngineError
from genn_eventprop.interop.layer import Runner
from genn_eventprop.losses import Loss
from genn_eventprop.models import LI, LIF
from genn_eventprop.plan import make_plan
from genn_eventprop.regularisers import SpikeCount
from support import stochastic
from support.clocked import relative
from support.engines import compare
from support.genn_harness import HarnessEngine
from support.on_genn import on_genn
from support.problems import inputs, several

in_pairs, side_by_side = partial(HarnessEngine, batch_size=2), partial(HarnessEngine, batch_size=None)
KINDS = {"harness": HarnessEngine, "in pairs": in_pairs, "side by side": side_by_side, "pygenn": on_genn}
READOUTS = {"LI": ("integral", "max", "end", "trace"), "LIF": ("first_spike", "count", "end", "trace")}


@pytest.fixture(params=[pytest.param(k, marks=[pytest.mark.needs_genn] * (k == "pygenn")) for k in KINDS])
def kind(request):
    """What makes an engine of a plan and values."""
    return KINDS[request.param]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("valued", [False, True], ids=["dense", "tables and delays"])
def test_several_inputs(kind, valued):
    compare(kind, *inputs(valued))


def test_data_sets_of_several_inputs_that_grow():
    """And a channel without any spike, an input that leads nowhere, and spikes of one input alone."""
    net = Network()
    audio, _, touch = net.input(3, name="audio"), net.input(2, name="nowhere"), net.input(2, name="touch")
    output = net.population(LI(), 2, name="output")
    net.connect(touch, output, Dense(Normal(0.3, 0.3)))
    net.connect(audio, output, Dense(Normal(0.3, 0.3)), delay=1.0)
    plan = make_plan(net, losses.IntegratedVoltageCrossEntropy(output), dt=0.5, duration=20.0)
    values = net.initial_parameters(1)
    engine, clock = in_pairs(plan, values, dtype="float64"), ReferenceClock(plan, values)
    for n, channels in ((2, [0, 2, 3, 5, 6]), (30, [0, 2, 3, 5, 6]), (5, [0, 2, 3, 5, 6]), (4, [5, 6]), (4, [0, 1])):
        rng = np.random.default_rng(n)
        samples = [(np.sort(rng.uniform(0, 18, n)), rng.choice(channels, n)) for _ in range(3)]
        events = Events.from_samples(samples, 7, labels=[0, 1, 0])
        found = [e.run(e.load(events), [2, 0, 1], training=True).loss for e in (engine, clock)]
        np.testing.assert_allclose(*found, rtol=1e-10)
        for name, gradient in clock.gradients.items():
            np.testing.assert_allclose(engine.gradients[name], gradient, rtol=1e-9, atol=1e-13)


@pytest.mark.one_in(9)
@pytest.mark.parametrize("in_python", [False, True])
def test_several_losses(kind, in_python):
    compare(kind, *several(in_python))


def halves_of(model, regularised="example", also=True):
    net = Network()
    inp, hidden = net.input(4), net.population(LIF(), 5, name="hidden")
    output = net.population(LIF() if model == "LIF" else LI(), 3, name="output")
    net.connect(inp, hidden, Dense(Normal(1.6, 0.8)), delay=1.0)
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.4)), delay=0.5)
    net.connect(hidden, output, Dense(Normal(1.2 if model == "LIF" else 0.4, 0.6)))
    net.connect(inp, output, Dense(Normal(0.2, 0.1)))
    first, *others = READOUTS[model]
    terms = [SpikeCount(hidden, 2.0, 0.01, mean=regularised)]
    loss = Loss(output, first, also=tuple(others) if also else ())
    return make_plan(net, loss, dt=0.5, duration=25.0, regularisers=terms)


def events_of(labels=None, seed=3):
    rng = np.random.default_rng(seed)
    samples = [(np.sort(rng.uniform(0.2, 20.0, 14)), rng.integers(0, 4, 14)) for _ in range(3)]
    return Events.from_samples(samples, n_channels=4, labels=labels)


def slopes_of(read, seed=5):
    rng = np.random.default_rng(seed)
    draw = lambda r: np.where(np.isfinite(r), rng.normal(size=r.shape) / r[0].size, 0.0)  # noqa: E731
    return draw(read.value), {name: draw(r) for name, r in read.also.items()}


def both_ways(engine, events, samples=(0, 1, 2)):
    """Readouts, and gradients of some dL/dr."""
    read = engine.forward(engine.load(events), list(samples), record_spikes=True)
    engine.backward(*slopes_of(read))
    return read, {k: np.array(v) for k, v in engine.gradients.items()} | {"times": engine.input_gradients}


@pytest.mark.one_in(18)
@pytest.mark.parametrize("regularised", ["example", "batch"])
@pytest.mark.parametrize("model", READOUTS)
def test_several_readouts_in_one_pass(kind, model, regularised):
    plan, events = halves_of(model, regularised), events_of()
    values = plan.network.initial_parameters(2)
    engine, clock = kind(plan, values, dtype="float64"), ReferenceClock(plan, values)
    (read, gradients), (want, wanted) = both_ways(engine, events), both_ways(clock, events)
    assert read.also["trace"].shape == (3, 51, 3) and list(read.also) == list(READOUTS[model][1:])
    for name in ("hidden", *(["output"] if model == "LIF" else [])):
        np.testing.assert_array_equal(read.spikes[name].time, want.spikes[name].time)
        assert want.spikes[name].time.size > 5
    np.testing.assert_allclose(read.value, want.value, rtol=1e-10)
    for name, r in want.also.items():
        np.testing.assert_allclose(read.also[name], r, rtol=1e-9, atol=1e-12, err_msg=name)
    for name, gradient in wanted.items():
        assert gradient.any() and relative(gradients[name], gradient) < 1e-9, name
    engine.close()


@pytest.mark.one_in(8)
@pytest.mark.parametrize("valued", [False, True], ids=["dense", "tables and delays"])
def test_times_of_the_spikes_of_several_inputs(kind, valued):
    """Of samples that come twice, with spikes of a channel that share a step."""
    plan, events = inputs(valued)
    at, channels, twice = events.times, events.channels, np.arange(len(events.times)) % 3 == 0
    repeats = 1 + twice.astype(int)
    offsets = np.concatenate([[0], np.cumsum(repeats)])[events.offsets]
    events = Events(np.repeat(at, repeats), np.repeat(channels, repeats), offsets, 9, events.labels)
    values = plan.network.initial_parameters(3)
    engine, clock = kind(plan, values, dtype="float64"), ReferenceClock(plan, values)
    (_, gradients), (_, wanted) = (both_ways(e, events, (3, 0, 3, 1)) for e in (engine, clock))
    assert np.count_nonzero(wanted["times"]) > 40
    for name, gradient in wanted.items():
        assert gradient.any() and relative(gradients[name], gradient) < 1e-9, name
    engine.close()


@pytest.mark.one_in(6)
def test_two_calls_are_the_training_run(kind):
    """With dL/dr of the plan's own loss, noise and dropout; whole batches and halves by turns on one engine."""
    plan = stochastic.network(**stochastic.CASES["both with reset, mean counts"])
    events = stochastic.random_events()
    engine, samples = kind(plan, plan.network.initial_parameters(3), dtype="float64"), np.arange(len(events))
    data = engine.load(events)
    for _ in range(2):
        whole = engine.run(data, samples, training=True)
        wanted = {k: np.array(v) for k, v in engine.gradients.items()}
        read = engine.forward(data, samples, stochastic=True)
        np.testing.assert_allclose(read.value, whole.readout, rtol=1e-12)
        _, slope = plan.loss.evaluate(read.value, read.valid, events.labels, plan.duration)
        engine.backward(slope / len(samples), inputs=False)
        with pytest.raises(EngineError, match="no gradients of input times"):
            _ = engine.input_gradients
        for name, gradient in wanted.items():
            assert relative(engine.gradients[name], gradient) < 1e-10, name
    alone = engine.forward(data, samples, keep=False)
    np.testing.assert_allclose(alone.value, engine.run(data, samples).readout, rtol=1e-12)
    engine.close()


def test_a_batch_of_one_group_runs_forwards_once(monkeypatch):
    passes, forward = [], Phases.forward
    monkeypatch.setattr(Phases, "forward", lambda self, group: passes.append(1) or forward(self, group))
    for kind, n in ((side_by_side, 1), (in_pairs, 4), (HarnessEngine, 6)):
        plan = halves_of("LI")
        both_ways(kind(plan, plan.network.initial_parameters(2), dtype="float64"), events_of())
        assert len(passes) == n
        passes.clear()


def test_a_loss_in_python_leaves_other_readouts_out():
    """`run` trains on the loss's own readout, here and where the loss is compiled in."""
    labels, found = np.array([0, 2, 1]), []
    for also in (False, True):
        plan = halves_of("LI", also=also)
        taken = losses.Function(lambda r, y, p=plan: p.loss.evaluate(r, r == r, y, p.duration), "labels")
        own = Loss(plan.network.populations[-1], "integral", outer=taken, also=plan.loss.also)
        for p in (plan, make_plan(plan.network, own, dt=0.5, duration=25.0, regularisers=plan.regularisers)):
            engine = in_pairs(p, plan.network.initial_parameters(2), dtype="float64")
            engine.run(engine.load(events_of(labels)), [0, 1, 2], training=True)
            found.append({k: np.array(v) for k, v in engine.gradients.items()})
    for other in found[1:]:
        for name, gradient in found[0].items():
            assert relative(other[name], gradient) < 1e-10, name


def test_another_run_lets_go_of_a_half():
    plan = halves_of("LI")
    engine = HarnessEngine(plan, plan.network.initial_parameters(2), dtype="float64")
    data = engine.load(events_of(np.array([0, 2, 1])))
    slope, also = slopes_of(engine.forward(data, [0, 1, 2]))
    engine.run(data, [0], training=True)
    with pytest.raises(EngineError, match="backward needs a forward run with keep=True before it"):
        engine.backward(slope, also, inputs=False)


def test_it_runs_layers_of_other_libraries(kind):
    """Each call has a data set and parameters of its own."""
    plan = halves_of("LI")
    names = tuple(plan.network.initial_parameters(2))
    makers = (lambda *a: kind(*a, dtype="float64"), ReferenceClock)
    runners = [Runner(make(plan, plan.network.initial_parameters(2)), names) for make in makers]
    for seed in (3, 4):
        events, values = events_of(seed=seed), plan.network.initial_parameters(seed)
        found = []
        for runner in runners:
            spikes = events.times, events.channels, events.offsets
            read = runner.forward(spikes, [values[n] for n in names], None)
            slope, also = slopes_of(read)
            found.append(runner.backward([slope, *also.values()], inputs=True))
        for got, want in zip([found[0][0], *found[0][1]], [found[1][0], *found[1][1]]):
            if want is not None:
                assert want.any() and relative(got, want) < 1e-9
    runners[0].engine.close()
