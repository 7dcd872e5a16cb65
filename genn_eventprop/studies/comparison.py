"""How sure the mean over seeds and folds is, and whether one setting beats another on the same ones."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, stdev

import numpy as np

EXACT = 12
"""Pairs up to which all signs are tried."""
DRAWS = 20000


@lru_cache(maxsize=256)
def t_quantile(p: float, degrees: int) -> float:
    """Quantile p > 1/2 of Student's t distribution.

    With t = tan(a) sqrt(n) the density becomes cos(a)^(n - 1), which is integrated by Simpson's rule and inverted.
    """
    angles = np.linspace(0.0, math.pi / 2, 20001)
    density = np.cos(angles) ** (degrees - 1)
    parts = (density[:-2:2] + 4 * density[1:-1:2] + density[2::2]) * (angles[1] / 3)
    cumulated = np.concatenate([[0.0], np.cumsum(parts)])
    angle = np.interp((2 * p - 1) * cumulated[-1], cumulated, angles[::2])
    return float(math.tan(angle) * math.sqrt(degrees))


def interval(
    values: Sequence[float], confidence: float = 0.95, limits: tuple[float, float] = (-math.inf, math.inf)
) -> tuple[float, float] | None:
    """Student's confidence interval of the mean: mean +- t s / sqrt(n), cut off at `limits`; None for fewer than two
    values.

    Runs differ by more than their test samples do, which Wilson's interval of one accuracy takes into account
    (`training.metrics`); so Student's it is, and since no accuracy lies outside 0 to 1, its ends need not either.
    """
    n = len(values)
    if n < 2:
        return None
    half = t_quantile((1 + confidence) / 2, n - 1) * stdev(values) / math.sqrt(n)
    low, high = limits
    return max(low, fmean(values) - half), min(high, fmean(values) + half)


@dataclass(frozen=True)
class Paired:
    """Second minus first over n pairs: mean, its 95 % interval (None for one pair), p of the test of signs."""

    pairs: int
    mean: float
    interval: tuple[float, float] | None
    p: float


def paired(
    first: Mapping[object, float], second: Mapping[object, float], seed: int = 0, limit: float = math.inf
) -> Paired | None:
    """Compare two settings on the seeds and folds that both have; None if there are none.

    limit: of a difference, at which its interval is cut off: 1 for accuracies, 100 in per cent.

    p is the share of all assignments of signs to the differences whose mean is as far from 0 as the one found (Fisher's
    randomisation test): all 2^n of up to 12 pairs, else 20000 that are drawn. Sums that rounding alone tells apart tie:
    accuracies are fractions, whose differences are rarely exact.
    """
    keys = [key for key in first if key in second]
    if not keys:
        return None
    differences = np.array([second[key] - first[key] for key in keys])
    n = len(keys)
    if n <= EXACT:
        signs = np.array(list(itertools.product((1, -1), repeat=n)))
    else:
        signs = np.random.default_rng(seed).choice((1, -1), (DRAWS, n))
        signs[0] = 1  # the assignment that was found counts as one of them
    rounding = 1e-9 * np.abs(differences).sum() + 1e-14 * sum(abs(first[key]) + abs(second[key]) for key in keys)
    p = float(np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - rounding))
    return Paired(n, float(differences.mean()), interval(differences.tolist(), limits=(-limit, limit)), p)
