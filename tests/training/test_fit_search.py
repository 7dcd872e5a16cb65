"""Fits of models to cells that are no such models: what a search over free runs adds."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from genn_eventprop import fit, simulate
from genn_eventprop.fitting import FitOptions
from genn_eventprop.fitting.fit import SEARCHED, prepare
from genn_eventprop.fitting.last_stage import LastStage
from genn_eventprop.fitting.saved import load_stage, save_stage
from genn_eventprop.fitting.verdict import Score
from genn_eventprop.models import ALIF, LIF

SETTINGS = {
    "bounds": {"tau_mem": (3.0, 50.0), "v_thresh": (0.5, 2.5), "v_reset": (-1.0, 0.4)}, "starts": 2, "progress": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def adapting():
    """Its threshold rises by a half with each spike; a LIF has no such thing."""
    current = np.repeat(np.random.default_rng(5).normal(1.5, 0.9, (3, 40)), 10, axis=1)
    return simulate(ALIF(tau_B=60.0, b_jump=0.5), current, dt=0.5)


@pytest.mark.ci
def test_a_model_that_is_no_such_cell_explains_more_than_the_forced_one(adapting, monkeypatch):
    monkeypatch.setenv("GENN_EVENTPROP_CXXFLAGS", "-O2")  # runs more than it compiles
    searched = fit(LIF, adapting, **SETTINGS)
    assert SEARCHED in searched.remarks
    monkeypatch.setattr(LastStage, "_most_explained", lambda _: None)
    forced = fit(LIF, adapting, **SETTINGS)
    assert SEARCHED not in forced.remarks and any("those of the forced model" in remark for remark in forced.remarks)
    assert searched.verdict.model.mean > forced.verdict.model.mean + 0.02
    # whoever compares the two finds them as far apart as the deviations say
    assert (np.abs(searched.values - forced.values) <= 3 * searched.deviations).all()


def most_explained(even, odd, monkeypatch):
    """Of four sweeps with one parameter, where the forced model is at 0.5; scores of sweeps by its distance."""

    def scores(points, sweeps=range(4)):
        every = [(odd if s % 2 else even) for s in sweeps]
        return [Score(voltage=0.5 + 0.1 * sum(of(x) for of in every)) for x in points[:, 0] - 0.5]

    own = SimpleNamespace(scores=scores, measured=[None] * 4, cells=SimpleNamespace(size=4))
    problem = SimpleNamespace(
        smooth=lambda point: (np.full(3, np.inf), np.ones((3, 1)), []), names=["x"], n_data=3,
        residuals=SimpleNamespace(n_voltage=3), low=0, high=1, fixed={}, priors={},
    )  # fmt: skip
    minimum = SimpleNamespace(points=np.array([[0.5]]), cost=np.array([1.0]))
    monkeypatch.setattr("genn_eventprop.fitting.last_stage.OwnRun", lambda *_: own)
    return LastStage(problem, minimum, np.empty((0, 1)), FitOptions(), lambda: False)._most_explained()


@pytest.mark.parametrize(
    "even, odd, taken",
    [((1.0, 1.0), (-1.0, -1.0), False), ((0.5, 1.0), (-2.0, 0.1), False), ((1.0, 1.0), (0.2, 0.2), True)],
)
def test_what_fits_the_noise_of_some_sweeps_is_not_taken(even, odd, taken, monkeypatch):
    """A score has slopes below and above the forced value; what is found in a half must add to the others."""
    alone = most_explained(*(lambda x, s=slopes: x * s[int(x > 0)] for slopes in (even, odd)), monkeypatch)
    if not taken:
        assert alone is None
    else:  # where no residual can be computed nothing is known of x: a hundred ranges
        assert alone.point > 0.9 and alone.covariance == pytest.approx(1e4)


@pytest.mark.parametrize("steep", [2.0, 5.0])
def test_what_is_taken_was_tried_in_sweeps_of_which_the_search_knew_nothing(steep, monkeypatch):
    """Of all sweeps a search would find 0.75, where the odd ones are best, and the even ones worse than before."""
    alone = most_explained(lambda x: -abs(x - 0.1), lambda x: -steep * abs(x - 0.25), monkeypatch)
    assert alone.point == pytest.approx(0.6, abs=0.01)


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
