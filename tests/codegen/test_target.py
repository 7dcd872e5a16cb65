"""The protocol of a target: every target has every operation, and the order of a step is that of the walker."""

import importlib
import inspect
import pkgutil
from dataclasses import replace
from typing import get_args

import pytest

from genn_eventprop import codegen
from genn_eventprop.codegen.target import (
    Target,
    compared,
    finished,
    gathered,
    heading,
    step_backwards,
    step_forwards,
    write,
)
from genn_eventprop.program.operations import Operation
from genn_eventprop.program.trial import make_trial
from support.pinned import golden_plan

OPERATIONS = {
    "EachNeuron": "each_neuron", "Deliver": "deliver", "Feedback": "feedback", "Gather": "gather",
    "GatherDelays": "gather_delays", "FeedInput": "feed_input", "Total": "total", "Once": "once",
    "EachStep": "each_step", "Record": "record", "Birth": "birth",
}  # fmt: skip


def targets():
    """Every class of `codegen` that derives from Target."""
    for module in pkgutil.walk_packages(codegen.__path__, f"{codegen.__name__}."):
        importlib.import_module(module.name)
    found, new = [], [Target]
    while new:
        new = [kind for base in new for kind in base.__subclasses__() if kind.__module__.startswith(codegen.__name__)]
        found += new
    return found


TARGETS = targets()


def test_the_targets_are_found():
    of = {kind.__module__.removeprefix(f"{codegen.__name__}.").rpartition(".")[0] for kind in TARGETS}
    assert of == {"cpp.grid", "cuda"}


@pytest.mark.parametrize("kind", TARGETS, ids=lambda kind: kind.__module__.split("codegen.")[1])
def test_every_target_has_every_operation(kind):
    assert not kind.__abstractmethods__
    for method in Target.__dict__.values():
        if inspect.isfunction(method):
            own = getattr(kind, method.__name__)
            assert list(inspect.signature(own).parameters) == list(inspect.signature(method).parameters)


def noting(method):
    return lambda self, *operations: f"{method}\n"


class Walked(Target):
    """Notes what the walker asks for."""

    last = "K"

    def __init__(self, trial):
        self.trial = trial

    def head(self, o, stage=""):
        return ""


Recorder = type("Recorder", (Walked,), {
    name: noting(name) for name in (*OPERATIONS.values(), "undo", "barrier", "gather_early", "restore")
})  # fmt: skip


@pytest.fixture(scope="module")
def trial():
    return make_trial(golden_plan(), split=True)


def test_a_target_without_an_operation_cannot_be_made():
    with pytest.raises(TypeError, match="abstract.*deliver"):
        type("Half", (Recorder,), {"deliver": Target.deliver})(None)


def test_every_kind_of_operation_has_a_method_of_its_own():
    assert {kind.__name__ for kind in get_args(Operation)} == set(OPERATIONS)
    assert set(OPERATIONS.values()) == {*Target.__abstractmethods__, "record"}  # which is `each_neuron` under an if
    for kind in get_args(Operation):
        assert write(Recorder(None), [object.__new__(kind)]) == f"{OPERATIONS[kind.__name__]}\n"


def test_a_step_forwards(trial):
    """Two populations: nothing ends, the arrivals, the step."""
    assert step_forwards(Recorder(trial)).split() == ["deliver", "each_neuron", "each_neuron", "barrier"]


def test_a_step_backwards(trial):
    """All feedback comes before any jump, and step K has nothing to leave."""
    assert step_backwards(Recorder(trial)) == (
        "if (step < K) {\n    each_neuron\n    each_neuron\n    gather_early\n}\n"
        "feedback\nbarrier\nundo\nif (step == 0) break;\nrestore\neach_neuron\neach_neuron\n"
    )  # fmt: skip


def test_records_are_of_the_step_behind_its_arrivals():
    """Forwards before the neurons step, backwards before any jump."""
    recorded = make_trial(golden_plan(), record=True)
    assert step_forwards(Recorder(recorded)).split()[:3] == ["deliver", "record", "record"]
    assert "each_neuron\n    record\n    record\n    gather_early\n" in step_backwards(Recorder(recorded))
    assert not make_trial(golden_plan()).record


def test_after_the_steps(trial):
    """Gradients of input times read rows that all threads have written."""
    neurons, gathers = ["each_neuron"], ["gather"] * 3
    assert finished(Recorder(trial)).split() == [*neurons, *gathers, "barrier", "feed_input"]
    assert finished(Recorder(trial), apart=True).split() == [*neurons, "barrier", "feed_input"]
    assert gathered(Recorder(trial)) == ["gather\n"] * 3
    assert compared(Recorder(trial)).split() == ["once", "barrier"]


def test_nothing_is_asked_for_without_operations(trial):
    """Where no neuron sends spikes there is no feedback, and its barrier would only cost time."""
    none = replace(trial, feedback=(), before_jumps=())
    silent = type("Silent", (Recorder,), {"gather_early": lambda self: ""})
    assert step_backwards(silent(none)).startswith("undo\n")


def test_every_operation_has_a_head(trial):
    heads = [heading(trial, o, stage="step of") for o in (*trial.forwards, *trial.backwards)]
    assert "arrivals input -> hidden; adds to p0_w_arrived_input" in heads
    assert any(h.startswith("dL/dw of hidden -> output; reads ") for h in heads)
    assert all("Buffer(" not in h and "\n" not in h for h in heads)
