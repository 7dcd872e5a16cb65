"""Least squares within bounds from several starts at once, by the method of Levenberg and Marquardt.

    (J^T J + mu diag(J^T J)) step = -J^T r,      mu by Nielsen's rule (Madsen, Nielsen, Tingleff 2004, section 3.2)

Parameters that sit at a bound and would leave it are not moved; a step ends at the bounds.

Where a narrow valley of the loss bends, straight steps leave it unless they are short. `follow` adds half the
acceleration with which the bend is followed (Transtrum, Sethna 2012, arXiv 1201.5885), of one start:

    (J^T J + mu diag(J^T J)) a = -J^T r'',      r'' the second derivative of r along the step

Axis letters: M starts, R residuals, P parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import Stopped

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
DAMPINGS, FEWEST = (-2.0, 2.5), 5
"""Logarithms of the smallest and the largest factor of mu that `follow` tries at once, and how many at the least."""
ALONG, BENT = 0.1, 0.75
"""Part of a step after which its second derivative is taken; of the step's length, what half the acceleration may add
is a half of this."""


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
        stop: called before each step; it ends there if this returns True, and where a step ended with `Stopped`.
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
        try:
            r_new, J_new = evaluate(x + step)
        except Stopped:
            if not stop():
                raise
            break
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


def follow(
    evaluate: Evaluate,
    residuals: Callable[[np.ndarray], np.ndarray],
    point: np.ndarray,
    *,
    steps: int,
    stop: Callable[[], bool] = lambda: False,
) -> Minimum:
    """Minimise from one point (P,) along a bent valley, see the module. Each step is the best of several dampings.

    Args:
        residuals: points (M, P) -> (M, R). steps, stop: as for `minimise`.
    """
    x = point[None]
    r, J = evaluate(x)
    cost, mu, stalled = _cost(r, J), 1e-2, 0
    history, done = [cost], bool(np.isinf(cost[0]))
    factors = np.logspace(*DAMPINGS, max(FEWEST, 1 + len(point)))
    for _ in range(steps):
        if done or stop():
            break
        every = mu * factors
        straight = np.array([_step(x[0], r[0], J[0], m)[0] for m in every])
        if done := bool(np.abs(straight).max() < SMALLEST_STEP):
            break
        with np.errstate(invalid="ignore", over="ignore"):  # where no residual can be computed
            second = 2 / ALONG * ((residuals(x + ALONG * straight) - r) / ALONG - straight @ J[0].T)
        bends = np.array([_bend(x[0], r[0], J[0], m, s, v) for m, s, v in zip(every, second, straight)])
        tried = np.clip(x + straight + bends, 0.0, 1.0)
        costs = 0.5 * (residuals(tried) ** 2).sum(axis=1)
        best = int(np.argmin(np.where(np.isfinite(costs), costs, np.inf)))
        r_new, J_new = evaluate(tried[best][None]) if costs[best] < cost[0] else (r, np.full_like(J, np.inf))
        if (lower := _cost(r_new, J_new))[0] < cost[0]:
            stalled = stalled + 1 if cost[0] - lower[0] < SMALLEST_GAIN * cost[0] else 0
            x, r, J, cost, mu = tried[best][None], r_new, J_new, lower, every[best]
        else:
            mu = 10 * every[-1]
        history.append(cost)
        done = stalled >= 2 or mu > 1e12
    return Minimum(x, cost, r, J, np.array([done]), np.array(history))


def _bend(x: np.ndarray, r: np.ndarray, J: np.ndarray, mu: float, second: np.ndarray, step: np.ndarray) -> np.ndarray:
    """(P,) half the acceleration; nothing where it is unknown, or so large that the valley is lost from sight."""
    if not np.isfinite(second).all():
        return np.zeros_like(x)
    free = _free(x, J.T @ r)
    half = 0.5 * _solved(J.T @ J, J.T @ second, free, mu)
    return half if np.linalg.norm(half) <= 0.5 * BENT * np.linalg.norm(step) else np.zeros_like(x)


def _cost(r: np.ndarray, J: np.ndarray) -> np.ndarray:
    """(M,) half the sum of squares; inf where residuals or derivatives cannot be computed."""
    cost = 0.5 * (r**2).sum(axis=1)
    return np.where(np.isfinite(cost) & np.isfinite(J).all(axis=(1, 2)), cost, np.inf)


def _step(x: np.ndarray, r: np.ndarray, J: np.ndarray, mu: float) -> tuple[np.ndarray, float]:
    """(P,) a step within the bounds, and by how much the linear model lowers the cost."""
    g = J.T @ r
    step = _solved(J.T @ J, g, _free(x, g), mu)
    step *= min(1.0, LARGEST_STEP / max(float(np.abs(step).max()), 1e-300))
    step = np.clip(x + step, 0, 1) - x
    change = r @ (J @ step) + 0.5 * float(((J @ step) ** 2).sum())
    return step, max(-change, 1e-300)


def _free(x: np.ndarray, g: np.ndarray) -> np.ndarray:
    """(P,) whether a parameter is not at a bound beyond which the loss falls."""
    return ~(((x <= 0) & (g > 0)) | ((x >= 1) & (g < 0)))


def _solved(A: np.ndarray, g: np.ndarray, free: np.ndarray, mu: float) -> np.ndarray:
    """(P,) -(A + mu diag(A))^-1 g of the parameters that are free, 0 of others."""
    step = np.zeros_like(g)
    if free.any():
        B = A[np.ix_(free, free)]
        scale = np.maximum(np.diag(B), 1e-12 * max(float(np.diag(A).max()), 1e-300))
        step[free] = -np.linalg.lstsq(B + mu * np.diag(scale), g[free], rcond=None)[0]
    return step
