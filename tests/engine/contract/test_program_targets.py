"""The trial that is written once: what its targets have beyond `contract/test_engines`."""

import shutil
import subprocess

import pytest

from genn_eventprop import Dense, Network, NeuronModel, Normal, Param, Sparse, losses
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.engines.c99.engine import C99Engine
from genn_eventprop.engines.native.engine import NativeEngine
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from support import eventful as E
from support.clocked import build, random_events
from support.cuda_shim import ShimEngine
from support.engines import check_same, run
from support.problems import every_problem

TARGETS = {"c99": C99Engine, "cuda": ShimEngine}
PROBLEMS = every_problem()


@pytest.mark.parametrize("target", TARGETS)
def test_lists_of_events_grow_and_a_second_run_is_the_same(target):
    plan = build("recurrent", "max", "fixed", 0.0)
    values, events = plan.network.initial_parameters(3), random_events(plan)
    engine, clock = TARGETS[target](plan, values, dtype="float64"), ReferenceClock(plan, values)
    engine.room[:] = [1] * len(engine.room)
    want = run(clock, events)
    for _ in range(2):
        check_same(run(engine, events), want, engine, clock, 1e-9)
    assert max(engine.room) > 1


@pytest.mark.parametrize("target", [*TARGETS.values(), NativeEngine])
def test_v_that_jumps_through_tables(target):
    """From neurons, and from the input, where nobody asks for the gradient of the time of a spike."""
    net = Network()
    source, out = net.input(7), net.population(E.DELTA_LI(), 3, name="output")
    hidden = net.population(LIF(), 9, name="hidden")
    net.connect(source, hidden, Dense(Normal(1.5, 0.6)))
    net.connect(hidden, out, Sparse(Normal(0.3, 0.4), probability=0.5), delay=1.0)
    net.connect(source, out, Sparse(Normal(0.3, 0.4), probability=0.5), delay=1.0)
    plan = make_plan(net, losses.PerStepCrossEntropy(out), dt=0.5, duration=30.0)
    values, events = net.initial_parameters(3), random_events(plan)
    engine, clock = target(plan, values, dtype="float64"), ReferenceClock(plan, values)
    check_same(run(engine, events), run(clock, events), engine, clock, 1e-9)


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
    check_same(run(engine, events), run(clock, events), engine, clock, 1e-9)


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
