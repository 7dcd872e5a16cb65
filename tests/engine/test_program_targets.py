"""The trial that is written once: every target of `program.trial` runs it as `reference_clock` does."""

import shutil
import subprocess

import numpy as np
import pytest

from genn_eventprop import Dense, Network, NeuronModel, Normal, Param, losses, regularisers
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.engines.c99 import C99Engine
from genn_eventprop.errors import EngineError
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif_snippets import LIFSnippets
from genn_eventprop.plan import make_plan
from support.clocked import build, random_events, relative
from support.cuda_shim import ShimEngine
from support.problems import every_problem

TARGETS = {"c99": C99Engine, "cuda": ShimEngine}
PROBLEMS = every_problem()
REFUSED = ("loss: per step of spiking, input-driven", "loss: squared error of V of spiking")
QUICK = (
    "loss: per step", "loss: integral, input-driven, of spiking", "loss: spike times, missing ones count",
    "loss: own formula of first spikes", "loss: spike count", "neurons: bursting", "neurons: delta max",
    "neurons: refractory output", "neurons: every function, Euler", "neurons: conductance", "neurons: two spikes",
    "shape: recurrent, first inverse end", "shape: skip, integral of spiking",
    "random: both with reset, mean counts", "random: delta synapses",
)  # fmt: skip


def run(engine, events):
    return engine.run(engine.load(events), np.arange(len(events)), training=True, record_spikes=True)


def check_same(got, want, engine, clock, tolerance=1e-9):
    for name, spikes in want.spikes.items():
        assert spikes.time.size > 5, f"{name} is silent: the comparison would be empty"
        np.testing.assert_array_equal(got.spike_counts[name], want.spike_counts[name])
        for field in ("sample", "time", "neuron"):
            np.testing.assert_array_equal(getattr(got.spikes[name], field), getattr(spikes, field))
    np.testing.assert_allclose(got.loss, want.loss, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(got.readout, want.readout, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(got.prediction, want.prediction)
    assert got.guarded == want.guarded
    assert set(engine.gradients) == set(clock.gradients)
    for key, gradient in clock.gradients.items():
        assert engine.gradients[key].shape == gradient.shape
        assert relative(engine.gradients[key], gradient) < tolerance, key


def cases():
    """A part of the problems by default, fewer of them on the shim."""
    for target, quick in (("c99", QUICK), ("cuda", QUICK[1::3])):
        for name in PROBLEMS:
            if name not in REFUSED:
                yield pytest.param(target, name, marks=[] if name in quick else [pytest.mark.slow])


@pytest.mark.parametrize(("target", "name"), list(cases()))
def test_every_problem_is_as_on_the_clocked_reference(target, name):
    plan, events = PROBLEMS[name]()
    values = plan.network.initial_parameters(3)
    engine, clock = TARGETS[target](plan, values, dtype="float64"), ReferenceClock(plan, values)
    check_same(run(engine, events), run(clock, events), engine, clock)


@pytest.mark.parametrize("target", TARGETS)
def test_float32(target):
    plan = build("recurrent", "integral exponential", "learned", 1.5)
    values, events = plan.network.initial_parameters(3), random_events(plan)
    engine, clock = TARGETS[target](plan, values, dtype="float32"), ReferenceClock(plan, values)
    got, want = run(engine, events), run(clock, events)
    np.testing.assert_array_equal(got.spike_counts["hidden"], want.spike_counts["hidden"])
    for key, gradient in clock.gradients.items():
        assert relative(engine.gradients[key], gradient) < 1e-4, key


@pytest.mark.parametrize("target", TARGETS)
def test_regularisers_of_counts_and_of_the_layer(target):
    plan = build("recurrent", "integral", "fixed", 1.5)
    hidden = plan.network.populations[0]
    terms = [
        regularisers.SpikeCount(hidden, target=1.0, strength=1e-2),
        regularisers.LayerRate(hidden, most=5.0, strength=1e-2),
        regularisers.SpikeCount(hidden, target=1.0, strength=1e-2, mean="batch"),
    ]
    plan = make_plan(plan.network, plan.asked, dt=plan.dt, duration=plan.duration, regularisers=terms)
    values, events = plan.network.initial_parameters(3), random_events(plan)
    engine, clock = TARGETS[target](plan, values, dtype="float64"), ReferenceClock(plan, values)
    check_same(run(engine, events), run(clock, events), engine, clock)


@pytest.mark.parametrize("target", TARGETS)
def test_lists_of_events_grow_and_a_second_run_is_the_same(target, monkeypatch):
    monkeypatch.setattr("genn_eventprop.engines.program_engine.FIRST_ROOM", 1)
    plan = build("recurrent", "max", "fixed", 0.0)
    values, events = plan.network.initial_parameters(3), random_events(plan)
    engine, clock = TARGETS[target](plan, values, dtype="float64"), ReferenceClock(plan, values)
    want = run(clock, events)
    for _ in range(2):
        check_same(run(engine, events), want, engine, clock)
    assert max(engine.room) > 1


@pytest.mark.parametrize("target", TARGETS)
def test_dynamics_that_diverge_are_an_error_that_says_where(target):
    plan, events = PROBLEMS["neurons: quadratic"]()
    values = plan.network.initial_parameters(3)
    values["input_hidden0.weight" if "input_hidden0.weight" in values else plan.connections[0].weight][:] = 1e30
    messages = []
    for engine in (ReferenceClock(plan, values), TARGETS[target](plan, values, dtype="float64")):
        with pytest.raises(EngineError, match="sample 0 at") as error:
            run(engine, events)
        messages.append(str(error.value))
    assert messages[0].split("(")[0] == messages[1].split("(")[0]


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_refused_by_name(target):
    for name in REFUSED:
        plan, _ = PROBLEMS[name]()
        with pytest.raises(EngineError, match=f"{target} cannot run a loss of V.t. on population 'output'"):
            TARGETS[target](plan, plan.network.initial_parameters(3))
    net = Network()
    hidden, out = net.population(LIFSnippets(), 3, name="hidden"), net.population(LI(), 2, name="output")
    net.connect(net.input(2), hidden, Dense(Normal(1.0, 0.1)))
    net.connect(hidden, out, Dense(Normal(1.0, 0.1)))
    plan = make_plan(net, losses.MaxVoltageCrossEntropy(out), dt=1.0, duration=10.0)
    with pytest.raises(EngineError, match=f"{target} runs equations, .*'hidden' is made of LIFSnippets"):
        TARGETS[target](plan, net.initial_parameters(1))


MODEL = NeuronModel(
    name="Collisions",
    state={"n": 0.0, "D": 0.0},
    params={"sent": Param(20.0, "ms", trainable=True), "real": Param(5.0, "ms"), "word": Param(1.0, trainable=True)},
    dynamics={"n": "(D - n) / sent", "D": "-D / real"},
    threshold="n - word",
    reset={"n": 0.0},
    input="D",
)


@pytest.mark.parametrize("target", TARGETS)
def test_names_of_users_cannot_meet_generated_ones(target):
    """States and parameters called like things in the generated code, populations whose names join alike."""
    net = Network()
    hidden, second = net.population(MODEL(), 4, name="h"), net.population(MODEL(), 6, name="h_n")
    out = net.population(LI(), 2, name="step")
    net.connect(net.input(7), hidden, Dense(Normal(2.0, 1.0)), name="c0")
    net.connect(hidden, second, Dense(Normal(2.0, 1.0)), name="loss")
    net.connect(second, out, Dense(Normal(1.0, 1.0)), name="offsets")
    plan = make_plan(net, losses.MaxVoltageCrossEntropy(out), dt=0.5, duration=50.0)
    values, events = net.initial_parameters(1), random_events(plan)
    engine, clock = TARGETS[target](plan, values, dtype="float64"), ReferenceClock(plan, values)
    check_same(run(engine, events), run(clock, events), engine, clock)


@pytest.mark.parametrize("name", ["loss: per step", "neurons: bursting", "random: both with reset, mean counts"])
def test_c99_text_compiles_without_a_warning(name, tmp_path):
    """Plain C99, as a microcontroller's compiler takes it."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    plan, _ = PROBLEMS[name]()
    source = tmp_path / "network.c"
    source.write_text(C99Engine(plan, plan.network.initial_parameters(3)).source.text)
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-c", str(source), "-o", str(tmp_path / "n.o")]
    done = subprocess.run([compiler, *flags], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
