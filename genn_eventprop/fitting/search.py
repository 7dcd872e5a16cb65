"""A search for the parameters with which a model by itself explains most, where it has not the spikes of the recording.

No neuron model is a cell. One that measured spikes reset may agree with V and spikes, and by itself go another way
after the first spike that it misses. So this maximises what the verdict is about, the mean of what a free run explains
of V and of spikes (`Score.mean`) in the sweeps that are fitted. That jumps with every spike and has many maxima: it
begins at the best of the points that the stages of the forced model have reached, and only the order of values counts.

    generation    x_i = m + sigma C^(1/2) normal(),       m = mean of the better half, the best with most weight

with sigma and C adapted to the steps that succeed: CMA-ES (Hansen, Ostermeier 2001, doi 10.1162/106365601750190398;
constants of Hansen 2016, arXiv 1604.00772). Points outside [0, 1] are moved to its edge.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

SIGMA = 0.05
"""Of a parameter's range, the deviation of the first generation."""
GENERATIONS = 75
SETTLED = 1e-3
"""Of a parameter's range: a search with such a deviation has ended."""


def search(
    values: Callable[[np.ndarray], np.ndarray],
    point: np.ndarray,
    rng: np.random.Generator,
    size: int,
    stop: Callable[[], bool] = lambda: False,
) -> np.ndarray:
    """The point (P,) with the largest value that was found.

    Args:
        values: of points (M, P) in [0, 1]. point: where it begins. size: of a generation. stop: called before each.
    """
    n, half = len(point), max(1, size // 2)
    weights = np.log(half + 0.5) - np.log(np.arange(1, half + 1))
    weights /= weights.sum()
    mass = 1 / float((weights**2).sum())
    for_path, for_sigma = (4 + mass / n) / (n + 4 + 2 * mass / n), (mass + 2) / (n + mass + 5)
    rank_1 = 2 / ((n + 1.3) ** 2 + mass)
    rank_mu = min(1 - rank_1, 2 * (mass - 2 + 1 / mass) / ((n + 2) ** 2 + mass))
    damping = 1 + 2 * max(0.0, float(np.sqrt((mass - 1) / (n + 1))) - 1) + for_sigma
    expected = np.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n))  # length of a normal vector
    mean, sigma, C = point, SIGMA, np.eye(n)
    path, path_of_sigma = np.zeros(n), np.zeros(n)
    best, highest = point, float(values(point[None])[0])
    for generation in range(1, GENERATIONS + 1):
        if sigma < SETTLED or stop():
            break
        variances, axes = np.linalg.eigh(C)
        scale = np.sqrt(np.maximum(variances, 1e-20))
        x = np.clip(mean + sigma * (rng.normal(size=(size, n)) * scale) @ axes.T, 0.0, 1.0)
        found = values(x)
        order = np.argsort(-found, kind="stable")
        if found[order[0]] > highest:
            best, highest = x[order[0]], float(found[order[0]])
        steps = (x[order[:half]] - mean) / sigma
        step = weights @ steps
        mean = mean + sigma * step
        path_of_sigma = (1 - for_sigma) * path_of_sigma + np.sqrt(for_sigma * (2 - for_sigma) * mass) * (
            axes @ (axes.T @ step / scale)
        )
        length = float(np.linalg.norm(path_of_sigma) / expected)
        # a path that is much too long would make C grow while sigma is still too small
        moves = length / np.sqrt(1 - (1 - for_sigma) ** (2 * generation)) < 1.4 + 2 / (n + 1)
        path = (1 - for_path) * path + moves * np.sqrt(for_path * (2 - for_path) * mass) * step
        old = rank_1 * (1 - moves) * for_path * (2 - for_path) * C
        C = (1 - rank_1 - rank_mu) * C + rank_1 * np.outer(path, path) + old + rank_mu * (steps.T * weights) @ steps
        sigma *= float(np.exp(for_sigma / damping * (length - 1)))
    return best
