"""The flow of a linear model between events, as power series whose remainder is below rounding.

A trajectory is kept in pieces of at most `LinearFlow.span` ms. On a piece every state is the polynomial
x(t0 + u span) = sum_k C_k u^k, 0 <= u <= 1, with C_0 = x and C_k = A^(k-1) (A x + b) span^k / k!. So states,
thresholds, slopes and integrals at many times cost one small matrix product, tau_mem = tau_syn or complex eigenvalues
are no special case, and a crossing cannot be missed: the Bernstein coefficients of a polynomial bound it (Farouki 2012,
doi 10.1016/j.cagd.2012.03.001). A nonlinear flow would offer the same methods.

Axis letters: n states, N neurons, G pieces (each of one neuron), S = 1 if all neurons share the dynamics, else N.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

ORDER = 20  # 1 / 21! = 2e-20: the remainder where norm(A) span <= 1


class LinearFlow:
    """dx/dt = A x + b of one population.

    Args:
        M: (S, n + 1, n + 1) generator [[A, b], [0, 0]]. duration: ms; no piece is longer.

    Attributes:
        span: ms, the longest piece.
    """

    def __init__(self, M: np.ndarray, duration: float) -> None:
        self.M, self.n, self.shared = M, M.shape[-1] - 1, len(M) == 1
        self.A, self.b = M[:, : self.n, : self.n], M[:, : self.n, self.n]
        self.span = self._longest_piece(duration)
        self._series = self._powers()

    def _longest_piece(self, duration: float) -> float:
        """1 / r with r = max_k norm(A^k)^(1/k), so that the terms of the series fall like 1 / k!."""
        rate, power = 0.0, np.linalg.matrix_power(self.A, 7)
        for k in range(8, ORDER + 1):
            power = power @ self.A
            rate = max(rate, float(np.abs(power).sum(-1).max()) ** (1.0 / k))
        return min(duration, 1.0 / rate) if rate > 0 else duration

    def _powers(self) -> np.ndarray:
        """(S, ORDER + 1, n, n + 1): [A^k, A^(k-1) b] span^k / k!."""
        term = np.broadcast_to(np.eye(self.n + 1), self.M.shape).copy()
        terms = [term]
        for k in range(1, ORDER + 1):
            term = term @ self.M * (self.span / k)
            terms.append(term)
        return np.stack(terms, axis=1)[:, :, : self.n]

    def series(self, x: np.ndarray, neurons: np.ndarray) -> np.ndarray:
        """C (ORDER + 1, n, G) of the pieces that start at x (n, G)."""
        powers = self._series
        if self.shared:
            return np.tensordot(powers[0, :, :, :-1], x, axes=(2, 0)) + powers[0, :, :, -1:]
        mine = powers[neurons]
        return np.einsum("gkij,jg->kig", mine[..., :-1], x) + mine[..., -1].transpose(1, 2, 0)

    def at(self, series: np.ndarray, s: np.ndarray) -> np.ndarray:
        """States at s (G,) ms after the start of pieces with coefficients (ORDER + 1, n, G): (n, G)."""
        return np.einsum("kig,kg->ig", series, powers_of(s / self.span).T)

    def nodes(self, series: np.ndarray, s: np.ndarray) -> np.ndarray:
        """States at s (G, Q) ms after the start: (G, Q, n)."""
        return np.einsum("kig,gqk->gqi", series, powers_of(s / self.span), optimize=True)

    def transition(self, s: np.ndarray, neurons: np.ndarray) -> np.ndarray:
        """dx(t0 + s)/dx(t0) for s (G, ...) ms, |s| <= span: (G, ..., n, n). Negative s is the inverse."""
        u = powers_of(s / self.span)
        if self.shared:
            return np.tensordot(u, self._series[0, :, :, :-1], axes=(-1, 0))
        return np.einsum("g...k,gkij->g...ij", u, self._series[neurons][..., :-1], optimize=True)

    def field(self, x: np.ndarray, neurons: np.ndarray | None = None) -> np.ndarray:
        """dx/dt at x (..., n, N); `neurons` (N,) says whose, all in order if left out."""
        pick = slice(None) if self.shared or neurons is None else neurons
        A, b = self.A[pick], self.b[pick]
        if self.shared:
            return np.einsum("ij,...jn->...in", A[0], x) + b[0][:, None]
        return np.einsum("nij,...jn->...in", A, x) + b.T


def powers_of(u: np.ndarray) -> np.ndarray:
    """(..., ORDER + 1): 1, u, u^2, ..."""
    return np.asarray(u)[..., None] ** np.arange(ORDER + 1)


@lru_cache(maxsize=1)
def bernstein_matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(power to Bernstein coefficients on [0, 1], the same to the left half, to the right half)."""
    K = ORDER
    to = np.array([[math.comb(i, k) / math.comb(K, k) for k in range(K + 1)] for i in range(K + 1)])
    left = np.array([[math.comb(i, j) / 2.0**i for j in range(K + 1)] for i in range(K + 1)])
    return to, left, left[::-1, ::-1].copy()


def bernstein(coefficients: np.ndarray) -> np.ndarray:
    """Bernstein coefficients on [0, 1] of power coefficients (ORDER + 1, ...): they bound the polynomial."""
    return bernstein_matrices()[0] @ coefficients


def first_upward_root(coefficients: np.ndarray, bounds: np.ndarray) -> float | None:
    """The first u in [0, 1] where a polynomial goes from below to zero or above, or None.

    Args:
        coefficients: (ORDER + 1,) in powers of u. bounds: its `bernstein` coefficients.

    One change of sign among the Bernstein coefficients means exactly one root, none means no root; else the interval
    is halved, left half first. A touch within rounding, 2^-40 of the piece, is no crossing.
    """
    _, left, right = bernstein_matrices()
    stack = [(0.0, 1.0, bounds)]
    while stack:
        low, high, b = stack.pop()
        positive = b >= 0
        changes = np.count_nonzero(positive[1:] != positive[:-1])
        if changes == 0 or (changes == 1 and positive[0]):
            continue
        if changes == 1 or high - low < 2.0**-40:
            if not positive[0] and positive[-1]:
                return solve(coefficients, low, high)
            continue
        middle = 0.5 * (low + high)
        stack.append((middle, high, right @ b))
        stack.append((low, middle, left @ b))
    return None


def solve(coefficients: np.ndarray, low: float, high: float) -> float:
    """The root of a polynomial that is < 0 at `low` and >= 0 at `high`: Newton, held in the bracket by bisection."""
    c = coefficients[::-1].tolist()
    u = 0.5 * (low + high)
    for _ in range(200):
        value = slope = 0.0
        for a in c:
            slope = slope * u + value
            value = value * u + a
        if value >= 0:
            high = u
        else:
            low = u
        new = u - value / slope if slope > 0 else low - 1.0
        if not low <= new <= high:
            new = 0.5 * (low + high)
        if abs(new - u) <= 4e-17 or new == u:
            return new
        u = new
    return u
