"""(e^x - 1) / x and its derivatives, and the quotients of published models that are written with it.

The rates of Hodgkin and Huxley, x / (1 - exp(-x)), and the current of Goldman, Hodgkin and Katz are 0 / 0 at x = 0,
where they have a limit, and lose digits near it; their derivatives lose twice as many. With

    phi1(x) = (e^x - 1) / x = int_0^1 e^(s x) ds,        d^m phi1 / dx^m = int_0^1 s^m e^(s x) ds

they are quotients whose denominators never vanish: x / (1 - exp(-x)) = 1 / phi1(-x).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np
import sympy as sp


class phi1(sp.Function):  # noqa: N801  (a function's name in formulas)
    """phi1(x) = (e^x - 1) / x, 1 at x = 0; in equations ``exprel(x)``, as in SciPy and Brian."""

    nargs = 1
    is_positive = True

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return phi1_slope(self.args[0])


class phi1_slope(sp.Function):  # noqa: N801
    """The derivative of phi1, 1/2 at x = 0."""

    nargs = 1
    is_positive = True

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return phi1_bend(self.args[0])


class phi1_bend(sp.Function):  # noqa: N801
    """The second derivative of phi1, 1/3 at x = 0."""

    nargs = 1
    is_positive = True


MOMENTS = (phi1, phi1_slope, phi1_bend)
"""Number m is int_0^1 s^m e^(s x) ds."""


def _values(x: np.ndarray, m: int) -> np.ndarray:
    """int_0^1 s^m e^(s x) ds, by its power series near 0, where the closed form divides a difference by x."""
    x = np.asarray(x, dtype=np.float64)
    if m == 0:
        safe = np.where(x == 0, 1.0, x)
        return np.where(x == 0, 1.0, np.expm1(safe) / safe)
    small = np.abs(x) < 0.5
    near, far = np.where(small, x, 0.0), np.where(small, 1.0, x)
    series, term = np.zeros_like(x), np.ones_like(x)
    for k in range(18):  # sum_k x^k / (k! (k + m + 1))
        series = series + term / (k + m + 1)
        term = term * near / (k + 1)
    return np.where(small, series, (np.exp(far) - m * _values(far, m - 1)) / far)


NUMPY = {f.__name__: partial(_values, m=m) for m, f in enumerate(MOMENTS)}
"""The functions for NumPy, by their names in expressions."""


def without_removable(e: sp.Expr, states: Iterable[sp.Symbol]) -> sp.Expr:
    """An expression in which (e^w - 1) that vanishes together with a factor on the other side of a quotient is
    w phi1(w); all else is as it was.

    Args:
        states: what moves, so that w may come to vanish.
    """
    moving = set(states)
    if not e.has(sp.exp) or not e.free_symbols & moving:
        return e
    if not isinstance(e, sp.Mul):
        return e.func(*(without_removable(a, moving) for a in e.args))
    factors = [_power(without_removable(a, moving)) for a in e.args]
    for i, (a, p) in enumerate(factors):
        split = _vanishing(a)
        if split is None or not split[1].free_symbols & moving:
            continue
        outside, w = split
        for j, (b, q) in enumerate(factors):
            # a polynomial on the other side of the fraction bar; of anything else `cancel` may take for ever
            if p * q > 0 or not b.free_symbols & moving or not b.is_polynomial(*moving):
                continue
            ratio = sp.cancel(sp.nsimplify(b / w, rational=True))
            if q < 0:
                ratio = sp.cancel(1 / ratio)
            if sp.fraction(ratio)[1].free_symbols & moving:
                continue
            both = min(abs(p), abs(q)) * (1 if p > 0 else -1)  # a^p b^q has (a / b)^both
            rest = [f**n for k, (f, n) in enumerate(factors) if k not in (i, j)]
            made = (outside * phi1(w)) ** both * ratio ** abs(both)
            return without_removable(sp.Mul(*rest, a ** (p - both), b ** (q + both)), moving) * made
    return sp.Mul(*(f**n for f, n in factors))


def _power(e: sp.Expr) -> tuple[sp.Expr, int]:
    """(base, exponent) of a power with a whole exponent."""
    return (e.base, int(e.exp)) if isinstance(e, sp.Pow) and e.exp.is_Integer else (e, 1)


def _vanishing(e: sp.Expr) -> tuple[sp.Expr, sp.Expr] | None:
    """(outside, w) of outside (e^w - 1), None of anything else; outside does not vanish where w does."""
    if not isinstance(e, sp.Add) or len(e.args) != 2:
        return None
    (c, u), (d, v) = (_exponential(a) for a in e.args)
    if u == 0:
        (c, u), (d, v) = (d, v), (c, u)
    by = sp.cancel(-c / d)  # c e^u + d e^v = -d e^v (by e^(u - v) - 1)
    if not (by.is_number and by > 0):
        return None
    # sympy makes 0.00389 exp(-V / 10) of exp(-0.1 * (V + 55.5))
    shift = sp.nsimplify(sp.log(by), rational=True, tolerance=1e-13) if by != 1 else 0
    return -d * sp.exp(v), sp.expand(u - v) + shift


def _exponential(e: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """(c, u) of c e^u."""
    factors = sp.Mul.make_args(e)
    powers = [f.args[0] for f in factors if isinstance(f, sp.exp)]
    return sp.Mul(*(f for f in factors if not isinstance(f, sp.exp))), sp.Add(*powers)
