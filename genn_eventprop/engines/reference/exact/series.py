"""Polynomials of degree `ORDER` on [0, 1] in the Chebyshev basis: trajectories, thresholds, their roots and maxima.

p(u) = sum_k c_k T_k(2 u - 1), 0 <= u <= 1. The basis keeps values at the 21 Chebyshev points and coefficients
interchangeable to rounding. The Bernstein coefficients of a polynomial bound it, so a crossing cannot be missed
(Farouki 2012, doi 10.1016/j.cagd.2012.03.001).
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.polynomial import chebyshev

ORDER = 20
POINTS = 0.5 - 0.5 * np.cos(np.pi * np.arange(ORDER + 1) / ORDER)  # Chebyshev points of the second kind on [0, 1]

DOUBLING = (1, 2, 4, 8, 16)  # `basis` computes degrees m + 1 .. 2 m from those up to m, for these m

NEWTON_TOLERANCE = 1e-10  # steps this short shrink quadratically, unless they are rounding already

LEAST_CHANGE = 1e-14  # of a polynomial in relation to its coefficients: what it changes by less is rounding

PROBES_BEFORE_ROOT = np.linspace(0.05, 0.95, 16)  # fractions of a root where a copy must be below zero


def basis(u: np.ndarray) -> np.ndarray:
    """(..., ORDER + 1): T_k(2 u - 1), from T_m+j = 2 T_m T_j - T_m-j for all j of 1 .. m at once."""
    out = np.empty((ORDER + 1, *np.shape(u)))
    out[0] = 1.0
    np.multiply(u, 2.0, out=out[1])
    out[1] -= 1.0
    for m in DOUBLING:
        new, j = out[m + 1 : 2 * m + 1], min(m, ORDER - m)
        np.multiply(2.0 * out[m], out[1 : j + 1], out=new)
        new -= out[m - j : m][::-1]
    return out.transpose(*range(1, out.ndim), 0)


def at(coefficients: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Values at u (G,) of polynomials with coefficients (ORDER + 1, ..., G): (..., G)."""
    return np.einsum("k...g,gk->...g", coefficients, basis(u))


@lru_cache(maxsize=1)
def to_coefficients() -> np.ndarray:
    """(ORDER + 1, ORDER + 1): values at `POINTS` to coefficients."""
    return np.linalg.inv(basis(POINTS))


@lru_cache(maxsize=1)
def integration() -> tuple[np.ndarray, np.ndarray]:
    """Values of p at `POINTS` to (coefficients, values at `POINTS`) of int_0^u p."""
    columns = [0.5 * chebyshev.chebint(row, lbnd=-1)[: ORDER + 1] for row in np.eye(ORDER + 1)]
    integral = np.stack(columns, axis=1) @ to_coefficients()
    integral[0] -= (basis(np.zeros(1)) @ integral)[0]  # what truncation took away at u = 0
    return integral, basis(POINTS) @ integral


@lru_cache(maxsize=1)
def from_powers() -> np.ndarray:
    """(ORDER + 1, ORDER + 1): coefficients of powers of u to Chebyshev coefficients; no cancellation."""
    out = np.zeros((ORDER + 1, ORDER + 1))
    for k in range(ORDER + 1):  # u^k = 2^(1 - 2k) sum_j binomial(2k, k - j) T_j, the term j = 0 halved
        for j in range(k + 1):
            out[j, k] = math.comb(2 * k, k - j) * 2.0 ** (1 - 2 * k) * (0.5 if j == 0 else 1.0)
    return out


@lru_cache(maxsize=1)
def _bernstein() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(Chebyshev to Bernstein coefficients on [0, 1], those to the left half, to the right half), exact rationals."""
    K = ORDER
    powers = [[Fraction(1)] + [Fraction(0)] * K, [Fraction(-1), Fraction(2)] + [Fraction(0)] * (K - 1)]
    for _ in range(2, K + 1):  # T_k+1(y) = 2 y T_k - T_k-1, y = 2 u - 1
        last, before = powers[-1], powers[-2]
        powers.append([4 * (last[i - 1] if i else 0) - 2 * last[i] - before[i] for i in range(K + 1)])
    elevate = [[Fraction(math.comb(i, j), math.comb(K, j)) for j in range(K + 1)] for i in range(K + 1)]
    to = [[float(sum(e * p for e, p in zip(elevate[i], row))) for row in powers] for i in range(K + 1)]
    left = np.array([[math.comb(i, j) / 2.0**i for j in range(K + 1)] for i in range(K + 1)])
    return np.array(to), left, left[::-1, ::-1].copy()


def bernstein(coefficients: np.ndarray) -> np.ndarray:
    """Bernstein coefficients on [0, 1] of Chebyshev coefficients (ORDER + 1, ...): they bound the polynomial.

    Coefficients at rounding count as zero: the conversion would make 10^6 times more of their noise.
    """
    # Where a piece is nearly a polynomial of low degree, noise in c_20 would make false sign changes, each of which
    # costs a subdivision down to 2^-40
    size = np.abs(coefficients)
    return _bernstein()[0] @ np.where(size > 1e-15 * size.max(axis=0), coefficients, 0.0)


@lru_cache(maxsize=1)
def _derivative() -> np.ndarray:
    return np.stack([np.append(2.0 * chebyshev.chebder(row), 0.0) for row in np.eye(ORDER + 1)], axis=1)


def derivative(coefficients: np.ndarray) -> np.ndarray:
    """Coefficients of dp/du."""
    return _derivative() @ coefficients


def stretch(coefficients: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Coefficients of p(factor u), for (ORDER + 1, G) coefficients and factors (G,): a piece that was cut short."""
    values = np.einsum("kg,gqk->qg", coefficients, basis(factor[:, None] * POINTS))
    return to_coefficients() @ values


def first_upward_root(coefficients: np.ndarray, bounds: np.ndarray) -> float | None:
    """The first u in [0, 1] where a polynomial goes from below to zero or above, or None.

    Args:
        coefficients: (ORDER + 1,). bounds: its `bernstein` coefficients.

    One change of sign among the Bernstein coefficients means exactly one root, none means no root; else the interval
    is halved, left half first. A touch within rounding, 2^-40 of the piece, is no crossing.
    """
    _, left, right = _bernstein()
    stack = [(0.0, 1.0, bounds)]  # the left half is pushed last, so that the search goes from left to right
    while stack:
        low, high, b = stack.pop()
        positive = b >= 0
        changes = np.count_nonzero(positive[1:] != positive[:-1])
        if changes == 0 or (changes == 1 and positive[0]):
            continue  # no root, or one downward: no event happens there
        if changes == 1 or high - low < 2.0**-40:
            if not positive[0] and positive[-1]:
                return solve(coefficients, low, high)
            continue
        middle = 0.5 * (low + high)
        stack.append((middle, high, right @ b))
        stack.append((low, middle, left @ b))
    return None


def solve(coefficients: np.ndarray, low: float, high: float) -> float:
    """The root of a polynomial that is < 0 at `low` and >= 0 at `high`: Newton within the bracket, else bisection.

    It ends when a step is rounding: the first short step that is not less than half the one before, since Newton's
    steps otherwise shrink quadratically.
    """
    c = coefficients[::-1].tolist()
    u, step = 0.5 * (low + high), np.inf
    for _ in range(200):
        value, slope = _value_and_slope(c, u)
        if value >= 0:
            high = u
        else:
            low = u
        new = u - value / slope if slope > 0 else low - 1.0  # not rising: out of the bracket, so bisect
        if not low <= new <= high:
            new = 0.5 * (low + high)
        last, step = step, abs(new - u)
        if step <= 4e-17 or new == u or (step < NEWTON_TOLERANCE and step >= 0.5 * last):
            return new
        u = new
    return u


def _value_and_slope(c: list[float], u: float) -> tuple[float, float]:
    """p(u) and dp/du by Clenshaw's recurrence and its derivative; c from the highest degree down."""
    y2 = 4.0 * u - 2.0
    b1 = b2 = d1 = d2 = 0.0
    for a in c[:-1]:
        d1, d2 = y2 * d1 - d2 + 4.0 * b1, d1
        b1, b2 = y2 * b1 - b2 + a, b1
    return 0.5 * y2 * b1 - b2 + c[-1], 0.5 * y2 * d1 - d2 + 2.0 * b1


def follow_root(coefficients: np.ndarray, u: float) -> np.ndarray:
    """The first upward roots of polynomials (ORDER + 1, G) that differ little from one whose first root is u.

    Newton's method for all at once; nan where it leaves the neighbourhood, or the polynomial is not below zero before
    the root, so that this is not its first one.
    """
    slope = derivative(coefficients)
    roots, size = np.full(coefficients.shape[1], u), np.inf
    with np.errstate(all="ignore"):
        for _ in range(7):
            T = basis(roots)
            step = np.einsum("kg,gk->g", coefficients, T) / np.einsum("kg,gk->g", slope, T)
            roots = np.clip(roots - step, -0.1, 1.1)
            last, size = size, np.abs(step)
            if np.all((size < 1e-16) | ((size < NEWTON_TOLERANCE) & (size >= 0.5 * last))):
                break
        before = basis(PROBES_BEFORE_ROOT * u) @ coefficients
    good = (np.abs(roots - u) < 0.05) & (np.abs(step) < 1e-10) & np.all(before < 0, axis=0)
    return np.where(good & (at(slope, roots) > 0), roots, np.nan)


def largest_inside(
    coefficients: np.ndarray, bounds: np.ndarray, best: float, rises: bool = False
) -> tuple[float | None, float]:
    """The stationary maximum of a polynomial on [0, 1] above `best`: (u, value), u None if there is none.

    Branch and bound on Bernstein coefficients: their maximum bounds the polynomial, and where their differences change
    sign once there is one stationary point. A polynomial that is level but for rounding goes on as before.

    Args:
        rises: whether it does before 0.
    """
    _, left, right = _bernstein()
    falling, tiny = -derivative(coefficients), LEAST_CHANGE * float(np.abs(coefficients).max())
    stack, place = [(0.0, 1.0, bounds)], None
    while stack:
        low, high, b = stack.pop()
        change = np.diff(b)
        level = np.abs(change) <= tiny * (high - low)
        up = np.append([rises] if level[0] else [], change[~level] > 0).astype(bool)
        changes = np.count_nonzero(up[1:] != up[:-1])
        if b.max() <= best + tiny or changes == 0 or (changes == 1 and not up[0]):
            pass  # better by rounding only, or monotonous, or a minimum: the larger end has been compared already
        elif changes == 1:
            u = solve(falling, low, high)
            value = _value_and_slope(coefficients[::-1].tolist(), u)[0]
            if value > best:
                best, place = value, u
        elif high - low > 2.0**-40:
            middle = 0.5 * (low + high)
            stack += [(middle, high, right @ b), (low, middle, left @ b)]
            continue
        rises = bool(up[-1])
    return place, best
