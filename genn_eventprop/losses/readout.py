"""Time weights of readouts that are integrals over the trial, and how they are cut into steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import sympy as sp

from ..errors import LossError, ModelError
from ..modelling.expressions import numpy_function, parse, symbol

NAMED_WEIGHTS = {
    "constant": "1",
    "linear": "1 - t / T",
    "exponential": "exp(-t / T)",
    "sigmoid": "1 / (1 + exp((t / T - 0.5) / 0.2))",
}


@dataclass(frozen=True)
class TimeWeight:
    """w(t) on [0, T], an expression in t and T (ms), or one of "constant", "linear", "exponential", "sigmoid".

    Args:
        expression: smooth in the trial (or the window).
        window: (a, b) in ms: w is zero outside. On a grid both are whole steps.
        input_tau: ms; if given, w is also multiplied by the sample's input activity a(t), a(0) = 0,
            input_tau da/dt = -a + input_gain sum of delta functions at its input spikes. a(t) counts as constant in
            the gradient with respect to input times.
        input_gain: ms.

    Over one step, w(t_k + s) = sum_j c_j(t_k) phi_j(s), times a(t_k). For sums of products of polynomials and
    exponentials the split is found symbolically, so the integral of w V over a step is exact; for any other weight
    phi_j is a Gauss-Legendre node: 6 a step up to 5 ms, 20 beyond. The decay of a(t) inside the step is in phi_j.

    Example:
        >>> TimeWeight("linear", window=(10.0, 50.0)).ends(60.0)
        (10.0, 50.0)

    Source: Nowotny, Turner, Knight 2025, doi 10.1088/2634-4386/ada852, section 2.3.

    Raises:
        LossError: for an unknown name or symbol, a window that is not one, a time constant that is not positive.
    """

    expression: str = "constant"
    window: tuple[float, float] | None = None
    input_tau: float | None = None
    input_gain: float = 0.01

    def __post_init__(self) -> None:
        _ = self.expr
        if self.window is not None:
            ends = tuple(self.window)
            if len(ends) != 2 or not all(math.isfinite(t) for t in ends) or not 0 <= ends[0] < ends[1]:
                raise LossError(f"window={self.window!r}: give two times in ms, 0 <= start < end")
        if self.input_tau is not None and not (math.isfinite(self.input_tau) and self.input_tau > 0):
            raise LossError(f"input_tau={self.input_tau!r}: give a positive time constant in ms")
        if not math.isfinite(self.input_gain):
            raise LossError(f"input_gain={self.input_gain!r}: give a finite number")

    @cached_property
    def expr(self) -> sp.Expr:
        """w as a sympy expression in t, T."""
        text = NAMED_WEIGHTS.get(self.expression, self.expression)
        try:
            return parse(text, {"t": symbol("t"), "T": symbol("T")}, "time weight")
        except ModelError as error:
            names = ", ".join(NAMED_WEIGHTS)
            raise LossError(f"{error}; write it in t and T, or use one of {names}") from None

    def ends(self, duration: float) -> tuple[float, float]:
        """The window in ms, (0, T) if there is none; `duration` is T in ms."""
        return self.window or (0.0, duration)

    def check(self, duration: float, dt: float | None) -> None:
        """Whether the weight fits a trial of `duration` ms, on steps of `dt` or, if None, with exact times.

        Raises:
            LossError: if the window does not fit, or a value is not finite.
        """
        start, end = self.ends(duration)
        if end > duration * (1 + 1e-12):
            raise LossError(f"the window of {start:g} to {end:g} ms does not fit a trial of {duration:g} ms")
        step = duration / 1000 if dt is None else dt
        times = np.append(np.arange(start, end, step), end)
        self(times, duration)
        self._check_poles(times, duration)

    def _check_poles(self, times: np.ndarray, duration: float) -> None:
        """A pole lies between two times if a denominator, or the argument of log |.|, has another sign at each."""
        expr = self.expr.replace(sp.tan, lambda x: sp.sin(x) / sp.cos(x))
        zeros = [p.base for p in expr.atoms(sp.Pow) if p.exp.could_extract_minus_sign()]
        zeros += [log.args[0] for log in expr.atoms(sp.log)]
        for zero in zeros:
            sign = np.sign(self.smooth(times, duration, zero.args[0] if isinstance(zero, sp.Abs) else zero))
            if (crossed := sign[1:] * sign[:-1] < 0).any():
                k = int(np.argmax(crossed))
                raise LossError(
                    f"the time weight {self.expression!r} is not finite between t = {times[k]:g} and "
                    f"{times[k + 1]:g} ms of {duration:g} ms"
                )

    def __call__(self, t: np.ndarray, duration: float) -> np.ndarray:
        """w at times t (ms) of a trial of `duration` ms, without a(t); the window is half open, [a, b), or [a, T].

        Raises:
            LossError: if a value is not finite.
        """
        t = np.asarray(t, dtype=np.float64)
        inside = np.ones(t.shape, bool)
        if self.window is not None:
            start, end = self.window
            inside = (t >= start) & ((t < end) | ((t >= duration) & (end >= duration)))
        w = self.smooth(np.where(inside, t, 0.5 * sum(self.ends(duration))), duration)
        if not np.all(np.isfinite(w)):
            bad = float(t[~np.isfinite(w)].flat[0])
            raise LossError(f"the time weight {self.expression!r} is not finite at t = {bad:g} ms of {duration:g} ms")
        return np.where(inside, w, 0.0)

    def smooth(self, t: np.ndarray, duration: float, expr: sp.Expr | None = None) -> np.ndarray:
        """w, or `expr`, at times `t` (ms) of a trial of `duration` ms, without its window; not finite at a pole."""
        with np.errstate(all="ignore"):
            w = _function((symbol("t"), symbol("T")), self.expr if expr is None else expr)(t, duration)
        return np.broadcast_to(np.asarray(w, dtype=np.float64), np.shape(t))

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

    def size(self, dt: float, nodal: bool = False) -> int:
        """J, the number of functions phi_j on a grid of step `dt` ms; `nodal` as for `basis`."""
        if nodal:
            return 3 if dt <= 1 else 6 if dt <= 5 else 20
        if self.split is not None:
            return len(self.split[0])
        return 6 if dt <= 5 else 20

    def basis(self, dt: float, n_steps: int, nodal: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The split on a grid of `n_steps` steps of `dt` ms; with `nodal` phi_j is Gauss-Legendre node j whatever the
        weight (3, 6 or 20 a step).

        Returns:
            c (T, J): coefficients of every step. s (Q,): nodes in a step, ms. phi (J, Q): quadrature weight times
            phi_j at the nodes, so that int_0^dt w(t_k + s) y(s) ds = sum_j c[k, j] sum_q phi[j, q] y(s_q).
        """
        duration = dt * n_steps
        self.check(duration, dt)
        start = np.arange(n_steps) * dt
        if nodal or self.split is None:
            nodes, weights = gauss_legendre(self.size(dt, nodal), dt)
            c, phi = self.smooth(start[:, None] + nodes, duration), np.diag(weights)
        else:
            nodes, weights = gauss_legendre(20, dt)
            t, s, T = symbol("t"), symbol("s"), symbol("T")
            c = np.stack([_evaluate(e, (t, T), start, duration) for e in self.split[0]], axis=1)
            phi = np.stack([_evaluate(e, (s, T), nodes, duration) for e in self.split[1]]) * weights
        return self._in_window(c, dt), nodes, self._decaying(phi, nodes)

    def trapezoid(self, dt: float, n_steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `basis`, for `n_steps` steps of `dt` ms in which y is known at both ends alone.

        J = Q = 2, and phi_j is half a step there. The integral has an error of the order of dt^2, that of a spike time
        on the grid is of the order of dt.
        """
        duration = dt * n_steps
        self.check(duration, dt)
        nodes = np.array([0.0, dt])
        c = self.smooth(np.arange(n_steps)[:, None] * dt + nodes, duration)
        return self._in_window(c, dt), nodes, self._decaying(np.diag([0.5 * dt, 0.5 * dt]), nodes)

    def _in_window(self, c: np.ndarray, dt: float) -> np.ndarray:
        """Coefficients (T, J), 0 in the steps outside of the window."""
        first, last = self.ends(dt * len(c))
        middle = (np.arange(len(c)) + 0.5) * dt
        return np.where(((middle > first) & (middle < last))[:, None], c, 0.0)

    def _decaying(self, phi: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """phi (J, Q) with the decay of the input's activity within a step."""
        return phi if self.input_tau is None else phi * np.exp(-nodes / self.input_tau)

    def activity(self, counts: np.ndarray, dt: float) -> tuple[np.ndarray, np.ndarray]:
        """a at k dt before and after the arrivals of step k, (T + 1, ...) each; counts (T + 1, ...) input spikes.

        Ones if the weight is not driven by the input.
        """
        before, after = np.ones(counts.shape), np.ones(counts.shape)
        if self.input_tau is not None:
            decay, jump, a = math.exp(-dt / self.input_tau), self.input_gain / self.input_tau, np.zeros(counts[0].shape)
            for k, n in enumerate(counts):
                before[k] = a
                after[k] = a + jump * n
                a = after[k] * decay
        return before, after

    def activity_at(self, t: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        """a(t) of input spikes at `inputs` (E,), ascending; before the spike where t is the time of one."""
        tau = self.input_tau or 1.0
        after = np.zeros(len(inputs) + 1)
        last = np.concatenate([[0.0], inputs])
        for i in range(1, len(last)):
            after[i] = after[i - 1] * np.exp(-(last[i] - last[i - 1]) / tau) + self.input_gain / tau
        seen = np.searchsorted(inputs, t, side="left")
        return after[seen] * np.exp(-(t - last[seen]) / tau)

    def describe(self) -> str:
        """One line for messages and run folders."""
        window = "" if self.window is None else f" in {self.window[0]:g} .. {self.window[1]:g} ms"
        tau, gain = self.input_tau, self.input_gain
        driven = "" if tau is None else f" x input activity (tau {tau:g}, gain {gain:g})"
        return f"{self.expression}{window}{driven}"


@lru_cache(maxsize=256)
def _function(symbols: tuple[sp.Symbol, sp.Symbol], expr: sp.Expr) -> Callable[..., Any]:
    """An expression as a NumPy function, compiled once."""
    return numpy_function(symbols, expr)


def _evaluate(expr: sp.Expr, symbols: tuple[sp.Symbol, sp.Symbol], t: np.ndarray, duration: float) -> np.ndarray:
    with np.errstate(all="ignore"):  # a window may leave out what is not finite; `check` looks at the rest
        value = _function(symbols, expr)(t, duration)
    return np.broadcast_to(np.asarray(value, dtype=np.float64), t.shape)


def gauss_legendre(n: int, length: float) -> tuple[np.ndarray, np.ndarray]:
    """n Gauss-Legendre nodes and weights on [0, length]."""
    x, w = np.polynomial.legendre.leggauss(n)
    return 0.5 * length * (x + 1.0), 0.5 * length * w
