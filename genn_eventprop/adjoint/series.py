"""Power series of P(s) = expm(M s) and of its derivatives, for many s and all neurons at once.

    P(s) = sum_m T_m s^m,  T_m = T_(m-1) M / m,      dP/dp: dT_m = (dT_(m-1) M + T_(m-1) dM) / m

Only entries that one state's influence on another can reach are computed, each for all neurons at once. Where
|M| s > 1 the sums are taken at s / 2^q and squared q times (Higham 2008, section 10.3).

Axis letters: S neurons (1 if all are alike), k = n + 1 (n states and the constant), E entries, D derivatives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

_REMAINDER = 2.0**-58


@lru_cache(maxsize=256)
def _products(pattern: bytes, k: int) -> tuple[np.ndarray, ...]:
    """Entries (i, j) of M's powers, and the products that make the entries of T M.

    Returns:
        i, j (E,); of every product its factors, `left` (entry of T), row and column of M; and (E, products) `adds`, 1
        where a product adds to an entry.
    """
    nonzero = np.frombuffer(pattern, dtype=bool).reshape(k, k)
    reach = nonzero | np.eye(k, dtype=bool)
    for _ in range(k):  # the transitive closure: no power of M has entries elsewhere
        reach = reach | (reach.astype(int) @ reach.astype(int) > 0)
    i, j = np.nonzero(reach)
    number = {pair: e for e, pair in enumerate(zip(i.tolist(), j.tolist()))}
    triples = [(e, number[a, c], c, b) for (a, b), e in number.items() for c in range(k) if reach[a, c] & nonzero[c, b]]
    made, left, row, column = np.array(triples, dtype=int).reshape(-1, 4).T
    return i, j, left, row, column, (made == np.arange(len(i))[:, None]).astype(np.float64)


class PropagatorSeries:
    """The series of one population at some values of its parameters.

    Args:
        pattern: (k, k) bool, where M can be non-zero. M: (S, k, k). dM: derivatives, (S, k, k) each.
        longest: largest s that is asked for, ms.
    """

    def __init__(self, pattern: np.ndarray, M: np.ndarray, dM: Sequence[np.ndarray], longest: float) -> None:
        self.k, self.size, self.n_derivatives = M.shape[-1], len(M), len(dM)
        norm = float(np.abs(M).sum(-1).max(initial=0.0)) * longest
        # |M| s <= 1: the terms fall from the first on, so that nothing cancels and a fixed degree suffices for all s
        self.squarings = max(0, math.ceil(math.log2(norm))) if norm > 1 else 0
        self._scale = 0.5**self.squarings
        degree = _degree(norm * self._scale)
        self._i, self._j, left, row, column, adds = _products(pattern.tobytes(), self.k)
        factor = np.ascontiguousarray(M[:, row, column].T)
        factors = np.stack([d[:, row, column].T for d in dM]) if dM else np.zeros((0, *factor.shape))
        # (m, 1 + D, E, S): T, then its derivatives; S last, so that neurons are side by side in memory
        terms = np.zeros((degree + 1, 1 + len(dM), len(self._i), self.size))
        terms[0, 0, self._i == self._j] = 1.0
        for m in range(1, degree + 1):
            before = terms[m - 1][:, left]
            products = before * factor
            products[1:] += before[0] * factors
            np.matmul(adds, products, out=terms[m])
            terms[m] /= m
        self._terms = terms

    def __call__(self, s: float) -> tuple[np.ndarray, np.ndarray]:
        """P(s) (S, k, k) and its derivatives (D, S, k, k)."""
        powers = (s * self._scale) ** np.arange(len(self._terms))
        matrices = self._matrices(np.tensordot(powers, self._terms, 1))
        for _ in range(self.squarings):  # P(2s) = P(s) P(s), and its product rule
            P, dP = matrices[0], matrices[1:]
            matrices = np.concatenate([(P @ P)[None], dP @ P + P @ dP])
        return matrices[0], matrices[1:]

    def rows(self, state: int, nodes: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """sum_q weights[j, q] P(nodes[q])[state], (J, S, k), and its derivatives (D, J, S, k)."""
        if self.squarings:
            at_nodes = [np.concatenate([P[None], dP])[:, :, state] for P, dP in map(self, nodes.tolist())]
            rows = np.einsum("jq,qdsi->djsi", weights, np.stack(at_nodes))
            return rows[0], rows[1:]
        # without squarings sum_q weights P(nodes) is one sum over moments: no matrix at any node is formed
        moments = weights @ nodes[:, None] ** np.arange(len(self._terms))
        rows = np.zeros((1 + self.n_derivatives, len(weights), self.size, self.k))
        here = np.flatnonzero(self._i == state)
        rows[..., self._j[here]] = np.einsum("jm,mdes->djse", moments, self._terms[:, :, here])
        return rows[0], rows[1:]

    def _matrices(self, entries: np.ndarray) -> np.ndarray:
        """(1 + D, S, k, k) of entries (1 + D, E, S)."""
        out = np.zeros((len(entries), self.size, self.k, self.k))
        out[:, :, self._i, self._j] = np.swapaxes(entries, 1, 2)
        return out


def _degree(norm: float) -> int:
    """The least m such that norm^m / m!, a bound on what is left out of the derivatives, is below rounding."""
    m, term = 1, norm
    while term > _REMAINDER:
        m += 1
        term *= norm / m
    return m
