"""`gradcheck --engine native --spike-times exact`: differences taken on the engine itself, and that they can fail."""

import numpy as np
import pytest

from genn_eventprop.cli import main as command_line
from genn_eventprop.codegen import cpp
from genn_eventprop.errors import EngineError
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.lif_snippets import LIFSnippets
from genn_eventprop.models.qif import QIF
from genn_eventprop.verify.gradients import check
from genn_eventprop.verify.gradients.compare import compare
from genn_eventprop.verify.gradients.draw import Layout, draw

LOSSES = ("per_step", "integral_input", "spike_times", "integral_window", "voltage_error", "own_formula", "end")


def case(loss="first_spike", output=False):
    plan, parameters, events = draw(LIF, Layout(1, True, output, loss), np.random.default_rng([0, 1]))
    return compare("recurrent", plan, parameters, events, engine="native")


@pytest.mark.ci
def test_the_engine_differentiates_what_it_computed():
    found = case()
    assert not found.failures, found.text()
    assert {b.name for b in found.blocks} >= {"hidden1_hidden1_input.weight", "hidden1.tau_mem", "output.v_thresh"}
    assert found.worst < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
def test_under_other_losses(loss):
    found = case(loss, output=True)
    assert not found.failures, found.text()


def test_a_wrong_sign_in_the_engine_is_found(monkeypatch):
    right = cpp.read
    assert "flow.jumped(args, entry, dl_dt, extra)" in right("exact/trial.hpp")
    monkeypatch.setattr(cpp, "read", lambda name: right(name).replace("entry, dl_dt, extra", "entry, -dl_dt, extra"))
    assert any("relative error" in f for f in case().failures)


def test_an_unsuitable_engine_names_another():
    with pytest.raises(EngineError, match="'hidden1'.*hand-written snippets.*engine='reference_event'"):
        check(LIFSnippets, loss="max", engine="native")


@pytest.mark.ci
def test_neurons_without_a_closed_form():
    report = check(QIF, loss="max", engine="native", quick=True)
    assert report.passed, report.text()


@pytest.mark.ci
def test_on_a_grid_its_steps_are_checked(capsys):
    assert command_line(["gradcheck", "lif", "--engine", "native", "--spike-times", "grid", "--quick"]) == 0
    assert "grid of 1 ms" in capsys.readouterr().out
