"""The numeric part for linear models: exact propagators x(t + s) = P(s) x(t) + c(s) and their parameter derivatives.

P and c are read off expm([[A, b], [0, 0]] s); their derivative by a parameter is the Frechet derivative
expm([[M, dM], [0, M]] s) (Higham 2008, "Functions of Matrices", equation 3.16). Nothing here divides by a difference
of rates, so tau_mem = tau_syn is no special case.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
import sympy as sp

from ..modelling.expressions import numpy_function
from .series import PropagatorSeries

if TYPE_CHECKING:
    from .derive import Derived
    from .scheme import LinearPart

_TERMS = 14  # of the Taylor series at norm <= 1/4: the remainder is below 1e-22
_LARGE = 64.0  # a norm at which squarings begin to cost digits, if it is only one of units


def expm(matrix: np.ndarray) -> np.ndarray:
    """Matrix exponential of a stack of small matrices, shape (..., n, n), by scaling and squaring.

    The Taylor series is summed at norm <= 1/4 (float64 rounding, no divisions); Moler & Van Loan 2003, method 3.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    norm = np.abs(matrix).sum(-1).max(initial=0.0)
    if np.isfinite(norm) and norm > _LARGE:
        d = units(matrix, 1.0)
        ratio = d[..., None, :] / d[..., :, None]
        return _expm(matrix * ratio) / ratio
    return _expm(matrix)


def units(rates: np.ndarray, least: float) -> np.ndarray:
    """Units d of the states, powers of 2, (..., n), in which rates (..., n, n) are no larger than they need be.

    The row sums of |A_ij| d_j / d_i depend on the units: currents of 1e-10 A beside potentials in mV make them huge.
    d = (1 - |A| / r)^-1 1 has |A| d <= r d, for any r above the Perron root of |A|; r: four times that, or `least`.
    """
    size = np.abs(rates)
    r = np.maximum(4 * np.abs(np.linalg.eigvals(size)).max(-1), least)
    d = np.linalg.solve(np.eye(size.shape[-1]) - size / r[..., None, None], np.ones((*size.shape[:-1], 1)))[..., 0]
    return 2.0 ** np.round(np.log2(d))


def _expm(matrix: np.ndarray) -> np.ndarray:
    norm = np.abs(matrix).sum(-1).max(initial=0.0)
    # one number of squarings for the whole stack, that of its largest norm
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
    """A second derivative of abs without its Dirac delta at the kink.

    A state is at the kink for no time at all; lambdify and C have no such function.
    """
    return e.replace(sp.DiracDelta, lambda *_: sp.Integer(0)) if e.has(sp.DiracDelta) else e


def numeric(entries: Sequence[sp.Expr] | sp.Matrix, symbols: Sequence[sp.Symbol]) -> Callable[..., np.ndarray]:
    """A NumPy function of `symbols` that evaluates all entries of a vector or matrix, stacked on the last axes.

    Arguments may be numbers or arrays that broadcast; for a (r, c) matrix the result has shape (..., r, c).
    """
    matrix = entries if isinstance(entries, sp.MatrixBase) else sp.Matrix(list(entries))
    rows, cols = matrix.shape
    # entries that are 0 are left out: most are, and lambdify would make arrays of them
    moving = [(i, e) for i, e in enumerate(map(without_deltas, matrix)) if e != 0]
    function = numpy_function(list(symbols), [e for _, e in moving], cse=True)

    def evaluate(*values: np.ndarray) -> np.ndarray:
        few = len(values) <= 32  # as many as `np.broadcast` takes, which is ten times as quick
        shape = np.broadcast(*values).shape if few else np.broadcast_shapes(*map(np.shape, values))
        flat = np.zeros((*shape, rows * cols))
        for (i, _), value in zip(moving, function(*values)):
            flat[..., i] = value
        return flat.reshape(*flat.shape[:-1], rows, cols)

    return evaluate


class Generator:
    """M(p) = [[A, b], [0, 0]] of a linear model and its derivatives, compiled once: see `generator`.

    params: those in A or b. pattern: (n+1, n+1) bool, where M is not zero.
    """

    def __init__(self, source: Derived | LinearPart) -> None:
        n = len(source.states)
        matrix = sp.zeros(n + 1, n + 1)
        matrix[:n, :n], matrix[:n, n] = source.A, source.b
        self.params = source.dynamic_params
        symbols = [source.p[source.params.index(name)] for name in self.params]
        self.pattern = np.array([[e != 0 for e in matrix.row(i)] for i in range(n + 1)])
        self._matrix = numeric(matrix, symbols)
        self._derivatives = numeric([e.diff(s) for s in symbols for e in matrix], symbols)

    def matrix(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """M, (S, n+1, n+1); values: of `params`, (S,) each."""
        M = self._matrix(*values)
        return M if values else M[None]

    def derivatives(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """dM/dp, (D, S, n+1, n+1) in the order of `params`."""
        flat, k = self._derivatives(*values), len(self.pattern)
        return np.moveaxis(flat.reshape(*flat.shape[:-2], len(self.params), k, k), -3, 0)


@lru_cache(maxsize=256)
def generator(source: Derived | LinearPart) -> Generator:
    """The compiled generator of a derived model or of a linear part; the same object for the same source."""
    return Generator(source)


class Propagator:
    """Exact propagation of a linear model at some values of its parameters.

    Args:
        derived: the model, or the linear part of one.
        values: parameter -> array of shape (1,) or (N,).

    Attributes:
        M: (S, n+1, n+1) generator [[A, b], [0, 0]], S = 1 if all neurons share it, else N.
    """

    def __init__(self, derived: Derived | LinearPart, values: Mapping[str, np.ndarray]) -> None:
        self.generator = generator(derived)
        self.n = len(derived.states)
        used = [np.asarray(values[n], dtype=np.float64) for n in self.generator.params]
        self.shape = np.broadcast_shapes((1,), *(v.shape for v in used))
        self.values = [np.broadcast_to(v, self.shape) for v in used]
        self.M = self.generator.matrix(self.values)

    @cached_property
    def _derivatives(self) -> dict[str, np.ndarray]:
        return dict(zip(self.generator.params, self.generator.derivatives(self.values)))

    def __call__(self, s: float) -> np.ndarray:
        """expm(M s), shape (S, n+1, n+1): P = [:, :n, :n] and c = [:, :n, n]."""
        return expm(self.M * s)

    def derivative(self, param: str) -> np.ndarray:
        """dM/dparam, shape (S, n+1, n+1); zero for a parameter that is not in M, as in a mode without it."""
        return self._derivatives[param] if param in self._derivatives else np.zeros_like(self.M)

    def series(self, learned: Sequence[str], longest: float) -> PropagatorSeries:
        """P(s) and its derivatives by `learned` for all s <= `longest`, faster than one by one."""
        return PropagatorSeries(self.generator.pattern, self.M, [self.derivative(p) for p in learned], longest)
