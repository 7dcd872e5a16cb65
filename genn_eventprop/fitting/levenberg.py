"""Least squares within bounds from several starts at once, by the method of Levenberg and Marquardt.

    (J^T J + mu diag(J^T J)) step = -J^T r,      mu by Nielsen's rule (Madsen, Nielsen, Tingleff 2004, section 3.2)

Parameters that sit at a bound and would leave it are not moved; a step ends at the bounds.

Axis letters: M starts, R residuals, P parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Evaluate = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Points (M, P) -> residuals (M, R) and Jacobians (M, R, P)."""
SMALLEST_STEP = 1e-8
"""Of a parameter's range: a start that moves by less has converged."""
SMALLEST_GAIN = 1e-6
"""Of the cost: a start that gains less in two steps has converged."""
HOPELESS_COST, HOPELESS_GAIN, PATIENCE = 100.0, 0.02, 5
"""A start whose cost is as many times the best and falls by less than that in so many steps is left where it is."""
LARGEST_STEP = 0.25
"""Of a parameter's range, in one step: beyond it the linear model means nothing."""


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where the starts ended: points (M, P), cost (M,) half the sum of squares, residuals and Jacobians there."""

    points: np.ndarray
    cost: np.ndarray
    residuals: np.ndarray
    jacobian: np.ndarray
    converged: np.ndarray
    history: np.ndarray
    """(steps + 1, M) cost."""


def minimise(
    evaluate: Evaluate,
    points: np.ndarray,
    *,
    steps: int,
    progress: Callable[[int, np.ndarray], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Minimum:
    """Minimise half the sum of squared residuals of every start, within [0, 1].

    Args:
        points: (M, P). steps: at most. progress: called after each step with its number and the costs (M,).
        stop: called before each step; it ends there if this returns True.
    """
    x = points.copy()
    r, J = (np.array(part) for part in evaluate(x))
    cost = _cost(r, J)
    M, P = x.shape
    mu, growth = np.full(M, 1e-2), np.full(M, 2.0)
    stalled, history = np.zeros(M, int), [cost.copy()]
    done = np.isinf(cost)  # nothing leads away from what cannot be computed
    for number in range(1, steps + 1):
        if stop():
            break
        step = np.zeros((M, P))
        predicted = np.zeros(M)
        for m in np.flatnonzero(~done):
            step[m], predicted[m] = _step(x[m], r[m], J[m], mu[m])
        small = np.abs(step).max(axis=1) < SMALLEST_STEP
        done |= small
        if done.all():
            break
        r_new, J_new = evaluate(x + step)
        cost_new = _cost(r_new, J_new)
        gain = (cost - cost_new) / np.maximum(predicted, 1e-300)
        for m in np.flatnonzero(~done):
            if cost_new[m] < cost[m]:
                stalled[m] = stalled[m] + 1 if cost[m] - cost_new[m] < SMALLEST_GAIN * cost[m] else 0
                x[m], r[m], J[m], cost[m] = x[m] + step[m], r_new[m], J_new[m], cost_new[m]
                mu[m] *= max(1 / 5, 1 - (2 * min(gain[m], 2.0) - 1) ** 3)
                growth[m] = 2.0
            else:
                mu[m] *= growth[m]
                growth[m] *= 2
            done[m] |= stalled[m] >= 2 or mu[m] > 1e12
        history.append(cost.copy())
        if number > PATIENCE:
            slow = history[-1 - PATIENCE] - cost < HOPELESS_GAIN * cost
            done |= slow & (cost > HOPELESS_COST * cost.min())
        if progress is not None:
            progress(number, cost)
    return Minimum(x, cost, r, J, done, np.array(history))


def _cost(r: np.ndarray, J: np.ndarray) -> np.ndarray:
    """(M,) half the sum of squares; inf where residuals or derivatives cannot be computed."""
    cost = 0.5 * (r**2).sum(axis=1)
    return np.where(np.isfinite(cost) & np.isfinite(J).all(axis=(1, 2)), cost, np.inf)


def _step(x: np.ndarray, r: np.ndarray, J: np.ndarray, mu: float) -> tuple[np.ndarray, float]:
    """(P,) a step within the bounds, and by how much the linear model lowers the cost."""
    g = J.T @ r
    free = ~(((x <= 0) & (g > 0)) | ((x >= 1) & (g < 0)))
    step = np.zeros_like(x)
    A = J.T @ J
    if free.any():
        B = A[np.ix_(free, free)]
        scale = np.maximum(np.diag(B), 1e-12 * max(float(np.diag(A).max()), 1e-300))
        part = -np.linalg.lstsq(B + mu * np.diag(scale), g[free], rcond=None)[0]
        part *= min(1.0, LARGEST_STEP / max(float(np.abs(part).max()), 1e-300))
        step[free] = np.clip(x[free] + part, 0, 1) - x[free]
    change = r @ (J @ step) + 0.5 * float(((J @ step) ** 2).sum())
    return step, max(-change, 1e-300)
