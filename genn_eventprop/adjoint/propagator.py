"""The numeric part for linear models: exact propagators x(t + s) = P(s) x(t) + c(s) and their parameter derivatives.

P and c are read off expm([[A, b], [0, 0]] s); their derivative by a parameter is the Frechet derivative
expm([[M, dM], [0, M]] s) (Higham 2008, "Functions of Matrices", equation 3.16). Nothing here divides by a difference
of rates, so tau_mem = tau_syn is no special case.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import sympy as sp

if TYPE_CHECKING:
    from .derive import Derived
    from .scheme import LinearPart

_TERMS = 14  # of the Taylor series at norm <= 1/4: the remainder is below 1e-22


def expm(matrix: np.ndarray) -> np.ndarray:
    """Matrix exponential of a stack of small matrices, shape (..., n, n), by scaling and squaring.

    The Taylor series is summed at norm <= 1/4 (float64 rounding, no divisions); Moler & Van Loan 2003, method 3.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    norm = np.abs(matrix).sum(-1).max(initial=0.0)
    squarings = max(0, math.ceil(math.log2(norm / 0.25))) if norm > 0 else 0
    scaled = matrix / 2.0**squarings
    identity = np.broadcast_to(np.eye(matrix.shape[-1]), matrix.shape)
    result = identity + scaled / _TERMS
    for k in range(_TERMS - 1, 0, -1):
        result = identity + (scaled / k) @ result
    for _ in range(squarings):
        result = result @ result
    return result


def without_deltas(e: sp.Expr) -> sp.Expr:
    """A second derivative of abs without its Dirac delta at the kink."""
    return e.replace(sp.DiracDelta, lambda *_: sp.Integer(0)) if e.has(sp.DiracDelta) else e


def numeric(entries: Sequence[sp.Expr] | sp.Matrix, symbols: Sequence[sp.Symbol]) -> Callable[..., np.ndarray]:
    """A NumPy function of `symbols` that evaluates all entries of a vector or matrix, stacked on the last axes.

    Arguments may be numbers or arrays that broadcast; for a (r, c) matrix the result has shape (..., r, c).
    """
    matrix = entries if isinstance(entries, sp.MatrixBase) else sp.Matrix(list(entries))
    rows, cols = matrix.shape
    function = sp.lambdify(list(symbols), [without_deltas(e) for e in matrix], "numpy", cse=True)

    def evaluate(*values: np.ndarray) -> np.ndarray:
        parts = np.broadcast_arrays(*function(*values), *values) if values else [np.asarray(v) for v in function()]
        shape = parts[0].shape if parts else ()
        flat = (
            np.stack([np.asarray(v, dtype=np.float64) for v in parts[: rows * cols]], axis=-1) if rows * cols else None
        )
        return np.zeros((*shape, rows, cols)) if flat is None else flat.reshape(*shape, rows, cols)

    return evaluate


class Propagator:
    """Exact propagation of a linear model for given parameter values.

    Args:
        derived: the model, or the linear part of one.
        values: parameter -> array of shape (1,) or (N,).

    Attributes:
        M: (S, n+1, n+1) generator [[A, b], [0, 0]], S = 1 if all neurons share it, else N.
    """

    def __init__(self, derived: Derived | LinearPart, values: Mapping[str, np.ndarray]) -> None:
        self.derived = derived
        self.n = len(derived.states)
        used = [np.asarray(values[n], dtype=np.float64) for n in derived.dynamic_params]
        self.shape = np.broadcast_shapes((1,), *(v.shape for v in used))
        self.values = [np.broadcast_to(v, self.shape) for v in used]
        self.M = self._evaluate(self._generator(derived.A, derived.b))

    def _generator(self, A: sp.Matrix, b: sp.Matrix) -> sp.Matrix:
        return sp.Matrix(sp.BlockMatrix([[A, b], [sp.zeros(1, self.n), sp.zeros(1, 1)]]))

    def _evaluate(self, matrix: sp.Matrix) -> np.ndarray:
        symbols = [self.derived.p[self.derived.params.index(n)] for n in self.derived.dynamic_params]
        if not symbols:
            return np.array(matrix.tolist(), dtype=np.float64)[None]
        return numeric(matrix, symbols)(*self.values)

    def __call__(self, s: float) -> np.ndarray:
        """expm(M s), shape (S, n+1, n+1): P = [:, :n, :n] and c = [:, :n, n]."""
        return expm(self.M * s)

    def derivative(self, param: str) -> np.ndarray:
        """dM/dparam, shape (S, n+1, n+1)."""
        s = self.derived.p[self.derived.params.index(param)]
        return self._evaluate(self._generator(self.derived.A.diff(s), self.derived.b.diff(s)))

    def step_derivative(self, param: str, s: float) -> np.ndarray:
        """d expm(M s) / dparam, shape (S, n+1, n+1)."""
        k = self.n + 1
        block = np.zeros((*self.M.shape[:-2], 2 * k, 2 * k))
        block[..., :k, :k] = block[..., k:, k:] = self.M
        block[..., :k, k:] = self.derivative(param)
        return expm(block * s)[..., :k, k:]
