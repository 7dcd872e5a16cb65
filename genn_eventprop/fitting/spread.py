"""Deviations where the loss is no parabola: those of the density exp(-loss) around a minimum.

Next to a jump of the loss a crossing only just touches the threshold. Its time changes with the root of the distance,
so that the slopes at the minimum are those of a narrow gorge, and a little farther away the loss hardly rises. Where
a look along the principal axes of the covariance finds that, the covariance becomes the second moment about the
minimum of points drawn from exp(-loss), by importance sampling in rounds (Cappe, Guillin, Marin, Robert 2004, doi
10.1198/106186004X12803): each draws from what the last has found.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

FLAT = 1.4
"""At two deviations the loss rises by 2; where it rises by less than this, the deviations are too small."""
LOWER = 0.5
"""By so much lower a loss that a draw has found is no rounding."""
DOUBLINGS, HALVINGS = 8, 4
"""Of the steps along an axis until the loss has risen by 2."""
ROUNDS, DRAWS, MORE, WIDER, TAILS = 3, 100, 30, 1.2, 5
"""Rounds, draws in each and for every parameter more, deviation and degrees of freedom of their t distribution."""
LEAST = 0.2
"""Of the draws, the effective number that a round must have; else it is made with a flatter density."""
Losses = Callable[[np.ndarray], np.ndarray]
"""Points (M, P) -> losses (M,), inf where there is none."""


def spread(
    losses: Losses, point: np.ndarray, covariance: np.ndarray, rng: np.random.Generator, settled: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """(P, P) the covariance at a minimum (P,) of `losses`, in which deviations are 1; the same where it is right.

    Args:
        settled: whether the slopes at the point are those of a minimum; if not, it looks farther around in any case.

    Returns:
        The covariance, and the minimum; or, where the loss was found to be lower by `LOWER`, a point (P,) from which
        the descent has to go on: the steps had ended before a jump.
    """
    variance, axes = np.linalg.eigh(covariance)
    variance = np.maximum(variance, 1e-30)
    steps = 2 * np.sqrt(variance) * axes  # a column for each axis
    steps = np.hstack([steps, -steps]).T
    lowest = losses(point[None])[0]
    rise = losses(point + steps) - lowest
    if rise.min() < -LOWER:
        return covariance, point + steps[np.argmin(rise)]
    if settled and not (rise < FLAT).any():
        return covariance, point
    lengths = _lengths(lambda factors: losses(point + factors[:, None] * steps) - lowest, rise)
    # of both ways along an axis, the mean of the squares
    variance *= (lengths.reshape(2, -1) ** 2).mean(axis=0)
    covariance = (axes * variance) @ axes.T
    P, count = len(point), DRAWS + MORE * len(point)
    for _ in range(ROUNDS):
        root = np.linalg.cholesky(covariance + 1e-12 * np.trace(covariance) * np.eye(P))
        normal, scale = rng.normal(size=(count, P)), np.sqrt(rng.chisquare(TAILS, count) / TAILS)
        draws = WIDER * (normal / scale[:, None]) @ root.T
        log_density = -(TAILS + P) / 2 * np.log1p(((normal / scale[:, None]) ** 2).sum(axis=1) / TAILS)
        rise = losses(point + draws) - lowest
        if rise.min() < -LOWER:
            return covariance, point + draws[np.argmin(rise)]
        if not np.isfinite(rise).any():
            break
        weight = _weights(-rise - log_density, LEAST * count)
        covariance = (draws * weight[:, None]).T @ draws
    return covariance, point


def _lengths(rise_at: Callable[[np.ndarray], np.ndarray], rise: np.ndarray) -> np.ndarray:
    """(2 P,) factors of the steps with which the loss rises by 2, by doublings and then bisection."""
    length: np.ndarray = np.ones(len(rise))
    for _ in range(DOUBLINGS):
        flat = rise < FLAT
        if not flat.any():
            break
        length[flat] *= 2
        rise = np.where(flat, rise_at(length), rise)
    low: np.ndarray = np.zeros(len(rise))
    high = length.copy()
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        below = rise_at(middle) < 2
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


def _weights(log_weight: np.ndarray, least: float) -> np.ndarray:
    """(M,) weights with the sum 1, flattened by an exponent until their effective number is at least `least`."""
    exponent = 1.0
    while True:
        weight = np.exp(exponent * (log_weight - log_weight.max()))
        weight /= weight.sum()
        if 1 / (weight**2).sum() >= least or exponent < 1e-3:
            return weight
        exponent *= 0.8
