"""Fits of models to cells that are no such models: what a search over free runs adds."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from genn_eventprop import fit, simulate
from genn_eventprop.fitting.fit import SEARCHED, prepare
from genn_eventprop.fitting.saved import load_stage, save_stage
from genn_eventprop.models import ALIF, LIF

SETTINGS = {
    "bounds": {"tau_mem": (3.0, 50.0), "v_thresh": (0.5, 2.5), "v_reset": (-1.0, 0.4)}, "starts": 2, "progress": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def adapting():
    """Its threshold rises by a half with each spike; a LIF has no such thing."""
    current = np.repeat(np.random.default_rng(5).normal(1.5, 0.9, (3, 40)), 10, axis=1)
    return simulate(ALIF(tau_B=60.0, b_jump=0.5), current, dt=0.5)


def test_a_model_that_is_no_such_cell_explains_more_than_the_forced_one(adapting, monkeypatch):
    monkeypatch.setenv("GENN_EVENTPROP_CXXFLAGS", "-O2")  # runs more than it compiles
    searched = fit(LIF, adapting, **SETTINGS)
    assert SEARCHED in searched.remarks
    monkeypatch.setattr(sys.modules["genn_eventprop.fitting.fit"], "_searched", lambda *_: None)
    forced = fit(LIF, adapting, **SETTINGS)
    assert SEARCHED not in forced.remarks and any("those of the forced model" in remark for remark in forced.remarks)
    assert searched.verdict.model.mean > forced.verdict.model.mean + 0.02
    # whoever compares the two finds them as far apart as the deviations say
    assert (np.abs(searched.values - forced.values) <= 3 * searched.deviations).all()


@pytest.mark.ci
def test_a_search_is_the_same_after_a_stop(adapting, tmp_path):
    stages = []
    whole = prepare(LIF, [adapting], **SETTINGS)[0].run(keep=stages.append)
    save_stage(stages[-2], tmp_path / "stage.npz")
    again = prepare(LIF, [adapting], **SETTINGS)[0].run(load_stage(tmp_path / "stage.npz"))
    assert SEARCHED in whole.remarks and (again.values == whole.values).all() and again.simulations == whole.simulations


@pytest.mark.ci
def test_with_priors_there_is_no_search(adapting):
    result = fit(LIF, adapting, priors={"tau_mem": (20.0, 5.0)}, **SETTINGS)
    assert SEARCHED not in result.remarks
