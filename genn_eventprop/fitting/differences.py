"""Derivatives as differences, and runs that cannot be computed as residuals of inf.

A copy of the neuron for every parameter, all in one run of the engine with exact spike times, whose rounding is far
below the step. For ten parameters and thousands of residuals that is one run forwards, where an adjoint would need one
for every residual.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import EngineError, ModelError

STEP = 1e-5
"""Of a difference, as a fraction of the parameter's range; the error of V is a thousandth of the change, or less."""
FINE = 1e-7
"""The same for a descent, and for free runs. Of a spike that only just happens, a difference over `STEP` is off by per
cent, with which a descent to clean data converges linearly; and where each spike depends on all before it, later ones
depend on parameters so steeply that such a difference may have any value. Deviations and jumps of the forced model are
looked for over the longer one."""
JUMP = 0.01
"""Standard deviations of a residual: a larger difference over such a step may be a jump."""
Run = Callable[[np.ndarray], np.ndarray]
"""Copies of points (M, 1 + P, P) -> their residuals (M, 1 + P, R)."""


def differences(run: Run, points: np.ndarray, sign: float = 1.0, size: float = STEP) -> tuple[np.ndarray, np.ndarray]:
    """Residuals (M, R) and Jacobians (M, R, P) at points (M, P) in [0, 1], upwards unless that leads out of it."""
    step = np.where(np.abs(points + sign * size - 0.5) > 0.5, -sign * size, sign * size)
    P = points.shape[1]
    copies = np.repeat(points[:, None], 1 + P, axis=1)
    places = np.arange(P)
    copies[:, places + 1, places] += step
    r = run(copies)
    with np.errstate(invalid="ignore"):
        return r[:, 0], ((r[:, 1:] - r[:, :1]) / step[:, :, None]).transpose(0, 2, 1)


def may_jump(jacobian: np.ndarray, size: float = STEP) -> bool:
    """Whether a difference is so large that the other side has to be looked at, too."""
    return not (np.abs(jacobian) * size <= JUMP).all()


def without_jumps(ahead: np.ndarray, behind: np.ndarray, size: float = STEP) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of the differences upwards and downwards (..., R, P), their mean, and numbers of parameters of jumps.

    Where a crossing appears or vanishes a residual jumps from early to late, or is no more (inf), and its difference
    over a step is not a derivative: it is then taken on the other side.
    """
    up, down = (np.where(np.isfinite(J), np.abs(J), np.inf) for J in (ahead, behind))
    large, small = np.maximum(up, down), np.minimum(up, down)
    jumps = (large > 10 * small) & (large * size > JUMP)
    with np.errstate(invalid="ignore"):  # inf - inf, where neither can be computed
        middle = (ahead + behind) / 2
    return np.where(jumps, np.where(down < up, behind, ahead), middle), np.unique(np.nonzero(jumps)[-1])


def run_or_inf(run: Run, copies: np.ndarray, size: int) -> np.ndarray:
    """What `run` returns; `size` times inf for points whose trajectories cannot be computed."""
    try:
        return run(copies)
    except (EngineError, ModelError):  # a dynamics that diverges, a start above the threshold
        if len(copies) == 1 or np.ptp(copies, axis=0).max() == 0:
            # it alone: what cannot be followed is a step that will not be taken
            return np.full((*copies.shape[:2], size), np.inf)
    # one start whose dynamics diverge must not end the others: each by itself, in all places
    return np.concatenate([run_or_inf(run, np.repeat(one[None], len(copies), axis=0), size)[:1] for one in copies])
