"""Readouts of an output population and the time weight of integrals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import sympy as sp

from ..errors import LossError, ModelError
from ..modelling.expressions import parse, symbol

KINDS = ("integral", "max", "first_spike")
NAMED_WEIGHTS = {
    "constant": "1",
    "linear": "1 - t / T",
    "exponential": "exp(-t / T)",
    "sigmoid": "1 / (1 + exp((t / T - 0.5) / 0.2))",
}


@dataclass(frozen=True)
class TimeWeight:
    """w(t) on [0, T], an expression in t and T (ms), or one of "constant", "linear", "exponential", "sigmoid".

    Over one step, w(t_k + s) = sum_j c_j(t_k) phi_j(s). For sums of products of polynomials and exponentials the
    split is found symbolically, so the integral of w V over a step is exact; for any other weight phi_j is a
    Gauss-Legendre node: 6 a step up to 5 ms, 20 beyond.

    Source: Nowotny, Turner, Knight 2025, doi 10.1088/2634-4386/ada852, section 2.3.

    Raises:
        LossError: for an unknown name or symbol.
    """

    expression: str = "constant"

    def __post_init__(self) -> None:
        _ = self.expr

    @cached_property
    def expr(self) -> sp.Expr:
        """w as a sympy expression in t, T."""
        text = NAMED_WEIGHTS.get(self.expression, self.expression)
        try:
            return parse(text, {"t": symbol("t"), "T": symbol("T")}, "time weight")
        except ModelError as error:
            names = ", ".join(NAMED_WEIGHTS)
            raise LossError(f"{error}; write it in t and T, or use one of {names}") from None

    def __call__(self, t: np.ndarray, duration: float) -> np.ndarray:
        """w at times t (ms) of a trial of `duration` ms.

        Raises:
            LossError: if a value is not finite.
        """
        with np.errstate(all="ignore"):
            w = sp.lambdify([symbol("t"), symbol("T")], self.expr, "numpy")(np.asarray(t, dtype=np.float64), duration)
        w = np.broadcast_to(np.asarray(w, dtype=np.float64), np.shape(t))
        if not np.all(np.isfinite(w)):
            bad = float(np.asarray(t)[~np.isfinite(w)].flat[0])
            raise LossError(f"the time weight {self.expression!r} is not finite at t = {bad:g} ms of {duration:g} ms")
        return w

    @cached_property
    def split(self) -> tuple[tuple[sp.Expr, ...], tuple[sp.Expr, ...]] | None:
        """(c_j(t), phi_j(s)) with w(t + s) = sum_j c_j(t) phi_j(s), or None if no such split is found."""
        t, s = symbol("t"), symbol("s")
        terms = sp.Add.make_args(sp.expand(self.expr.subs(t, t + s)))
        basis: dict[sp.Expr, sp.Expr] = {}
        for term in terms:
            c, phi = term.as_independent(s, as_Add=False)
            if phi.has(t):
                return None
            basis[phi] = basis.get(phi, sp.Integer(0)) + c
        return tuple(basis.values()), tuple(basis)

    def size(self, dt: float) -> int:
        """J, the number of functions phi_j on a grid of step dt."""
        if self.split is not None:
            return len(self.split[0])
        return 6 if dt <= 5 else 20

    def basis(self, dt: float, n_steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The split on a grid.

        Returns:
            c (T, J): coefficients of every step. s (Q,): nodes in a step, ms. phi (J, Q): quadrature weight times
            phi_j at the nodes, so that int_0^dt w(t_k + s) y(s) ds = sum_j c[k, j] sum_q phi[j, q] y(s_q).
        """
        duration = dt * n_steps
        start = np.arange(n_steps) * dt
        self(np.append(start, duration), duration)  # raises where the weight is not finite
        if self.split is None:
            nodes, weights = gauss_legendre(self.size(dt), dt)
            return self(start[:, None] + nodes, duration), nodes, np.diag(weights)
        nodes, weights = gauss_legendre(20, dt)
        t, s, T = symbol("t"), symbol("s"), symbol("T")
        c = np.stack([_evaluate(e, (t, T), start, duration) for e in self.split[0]], axis=1)
        phi = np.stack([_evaluate(e, (s, T), nodes, duration) for e in self.split[1]])
        return c, nodes, phi * weights


def _evaluate(expr: sp.Expr, symbols: tuple[sp.Symbol, sp.Symbol], t: np.ndarray, duration: float) -> np.ndarray:
    value = sp.lambdify(symbols, expr, "numpy")(t, duration)
    return np.broadcast_to(np.asarray(value, dtype=np.float64), t.shape)


def gauss_legendre(n: int, length: float) -> tuple[np.ndarray, np.ndarray]:
    """n Gauss-Legendre nodes and weights on [0, length]."""
    x, w = np.polynomial.legendre.leggauss(n)
    return 0.5 * length * (x + 1.0), 0.5 * length * w
