"""The flow of a population between events, as polynomials whose error is at rounding (`series.py`).

A trajectory is a sequence of pieces. On a piece of `span` ms every state is a polynomial of degree 20 in u = s / span.
In a mode with linear dynamics it is the power series of expm, in any other mode the solution of the collocation
equations x(u) = x + span int_0^u f(x(v)) dv at 21 Chebyshev points, a Runge-Kutta method of order above 20 with dense
output (Hairer, Norsett, Wanner 1993, "Solving Ordinary Differential Equations I", II.7 and II.6); the span is halved
until iteration converges and the last coefficients have fallen to rounding. So nothing divides by a difference of
rates, and the adjoint of the flow, psi = dx(s)/dx(0), comes from the same equations: dpsi/ds = df/dx psi along the
trajectory.

Axis letters: n states, N neurons, L = C N lanes (C copies of the network with slightly different numbers, run together;
lane = copy N + neuron), K = ORDER + 1, G pieces (each of one lane), Q nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from ....errors import EngineError
from .series import ORDER, POINTS, at, basis, from_powers, integration

LONGEST = 3.0  # of a piece, by `CurvedMode._change_rate`: exp(3 u) is a polynomial of degree 20 on [0, 1] to rounding
SHORTEST = 1e-200  # of the trial: a piece that would have to be shorter means that the dynamics diverge
MIDDLE = 3e-8  # coefficient 10 of a piece whose coefficient 20 is at rounding
Fields = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (x (n, ..., G), lanes (G,)) -> (rows, ..., G)


class ModeFlow(Protocol):
    """One mode's flow. `start` chooses the spans of new pieces; `series` and `psi` are for known spans (G,) ms.

    Backwards, pieces are computed anew instead of stored: a segment remembers its start and its span only.
    """

    def start(self, x: np.ndarray, lanes: np.ndarray, left: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...
    def series(self, x: np.ndarray, lanes: np.ndarray, span: np.ndarray) -> np.ndarray: ...
    def psi(self, series: np.ndarray, lanes: np.ndarray, span: np.ndarray) -> np.ndarray: ...


class LinearMode:
    """dx/dt = A x + b; M (S, n + 1, n + 1) is the generator [[A, b], [0, 0]], S = 1 if all lanes share it, else L."""

    def __init__(self, M: np.ndarray, duration: float) -> None:
        self.M, self.n, self.shared = M, M.shape[-1] - 1, len(M) == 1
        self.span = self._longest_piece(duration)
        self.series_matrix = np.einsum("ck,skij->scij", from_powers(), self._powers())

    def _longest_piece(self, duration: float) -> float:
        """1 / r with r = max_k norm(A^k)^(1/k), so that the terms of the series fall like 1 / k!: 1 / 21! = 2e-20."""
        A = self.M[:, : self.n, : self.n]
        # only high powers decide the size of the remainder; of a matrix that is not normal norm(A^k)^(1/k) of low ones
        # is far larger, and pieces would be needlessly short
        rate, power = 0.0, np.linalg.matrix_power(A, 7)
        for k in range(8, ORDER + 1):
            power = power @ A
            rate = max(rate, float(np.abs(power).sum(-1).max()) ** (1.0 / k))
        return min(duration, 1.0 / rate) if rate > 0 else duration

    def _powers(self) -> np.ndarray:
        """(S, K, n, n + 1): [A^k, A^(k-1) b] span^k / k!."""
        term = np.broadcast_to(np.eye(self.n + 1), self.M.shape).copy()
        terms = [term]
        for k in range(1, ORDER + 1):
            term = term @ self.M * (self.span / k)
            terms.append(term)
        return np.stack(terms, axis=1)[:, :, : self.n]

    def start(self, x: np.ndarray, lanes: np.ndarray, left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        span = np.full(len(lanes), self.span)
        return self.series(x, lanes, span), span

    def series(self, x: np.ndarray, lanes: np.ndarray, span: np.ndarray) -> np.ndarray:
        if self.shared:
            return np.tensordot(self.series_matrix[0, ..., :-1], x, axes=(2, 0)) + self.series_matrix[0, ..., -1:]
        matrix = self.series_matrix[lanes]
        return np.einsum("gkij,jg->kig", matrix[..., :-1], x) + matrix[..., -1].transpose(1, 2, 0)

    def psi(self, series: np.ndarray, lanes: np.ndarray, span: np.ndarray) -> np.ndarray:
        if self.shared:
            return np.broadcast_to(
                self.series_matrix[0, ..., :-1, None], (ORDER + 1, self.n, self.n, len(lanes))
            )  # fmt: skip
        return self.series_matrix[lanes][..., :-1].transpose(1, 2, 3, 0)


class CurvedMode:
    """dx/dt = f(x), by collocation.

    Args:
        f: (x (n, ..., G), lanes) -> (n, ..., G). df_dx: likewise, (n, n, ..., G). size: N. duration: ms.
    """

    ITERATIONS = 60

    def __init__(self, f: Fields, df_dx: Fields, n: int, size: int, duration: float) -> None:
        self.f, self.df_dx, self.n, self.size, self.duration = f, df_dx, n, size, duration
        self.shortest = SHORTEST * duration
        self.guess = np.full(size, 0.05 * duration)  # span of the next piece of every neuron, by its last one
        self.largest = np.zeros((n, 1))  # |x| of every state so far: what rounding is measured against
        self.to_series, self.to_values = integration()

    def start(self, x: np.ndarray, lanes: np.ndarray, left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Copies have the span of their neuron in the first copy: other pieces would make other rounding errors.

        left: of which lanes (G,) an own event leaves x at once. Where the dynamics diverge there, x is held instead:
        nothing reads more of such a piece than its start.
        """
        first = lanes < self.size
        series, span = self._choose_spans(x[:, first], lanes[first], left[first])
        if first.all():
            return series, span
        every = np.zeros(self.size)
        every[lanes[first]] = span
        span = every[lanes % self.size]
        return self.series(x, lanes, span), span

    def _choose_spans(self, x: np.ndarray, lanes: np.ndarray, left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients and spans of new pieces: as the last piece suggests, shortened by 0.6 until a piece is good."""
        longest = LONGEST / self._change_rate(x, lanes)
        # the last piece of an upstroke says nothing of the first one after it
        guess = np.minimum(np.maximum(self.guess[lanes], 1e-3 * longest), longest)
        span = np.clip(guess, 2 * self.shortest, self.duration)
        series, pending = np.zeros((ORDER + 1, *x.shape)), np.ones(len(lanes), bool)
        while pending.any():
            i = np.flatnonzero(pending)
            series[..., i], good = self._solve(x[:, i], lanes[i], span[i])
            pending[i] = ~good
            span[i[~good]] *= 0.6
            short = pending & (span <= self.shortest)
            if np.any(short & ~left):
                raise BlowUp(int(lanes[np.flatnonzero(short & ~left)[0]]))
            series[..., short], span[short], pending[short] = held(x[:, short]), self.shortest, False
        lasts = span > self.shortest
        self.guess[lanes[lasts]] = (span * self._growth(series))[lasts]
        self.largest = np.maximum(self.largest, np.abs(x[:, lasts]).max(axis=1, initial=0.0, keepdims=True))
        return series, span

    def _growth(self, series: np.ndarray) -> np.ndarray:
        """(G,) by how much a piece could have been longer. Its last coefficients are at rounding and tell nothing;
        those in the middle, a, say how fast they fall: c_20 is about a^2, and grows with the span to the power 20."""
        scale = np.maximum(np.abs(series[:2]).max(axis=0), 1e-3 * self.largest) + 1e-290
        middle = (np.abs(series[ORDER // 2 - 1 : ORDER // 2 + 2]).max(axis=0) / scale).max(axis=0)
        return np.clip(0.9 * (MIDDLE / np.maximum(middle, 1e-290)) ** (2 / ORDER), 0.3, 1.6)

    def series(self, x: np.ndarray, lanes: np.ndarray, span: np.ndarray) -> np.ndarray:
        series, short = self._solve(x, lanes, span)[0], span <= self.shortest
        series[..., short] = held(x[:, short])
        return series

    def _change_rate(self, x: np.ndarray, lanes: np.ndarray) -> np.ndarray:
        """(G,) how fast a small change of the states changes: max_i |J_ii| + sum_j sqrt |J_ij J_ji| of J = df/dx, a
        bound that no units of the states alter. At rest a series of the states lasts for ever, that of psi does not."""
        with np.errstate(all="ignore"):
            J = self.df_dx(x[:, None], lanes)[:, :, 0]
            mixed = np.sqrt(np.abs(J * J.swapaxes(0, 1)))
            rate = mixed.sum(axis=1).max(axis=0)
        return np.where(np.isfinite(rate), np.maximum(rate, 1e-300), 1e-300)

    def _solve(self, x: np.ndarray, lanes: np.ndarray, span: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (K, n, G) and whether they are good, by iterating x <- x0 + span int f(x)."""
        with np.errstate(all="ignore"):
            values = np.broadcast_to(x[:, None], (self.n, ORDER + 1, x.shape[1]))
            # A state near zero cannot be known to 1e-15 of its size: rounding of the other states reaches it
            # through df/dx. Without this floor such a piece would never converge, and its span shrink to nothing.
            floor = np.maximum(self._rounding_scale(x, lanes, span), 1e-3 * self.largest) + 1e-290
            change, settled = np.full(x.shape[1], np.inf), np.zeros(x.shape[1], bool)
            for _ in range(self.ITERATIONS):
                f = self.f(values, lanes)
                new = x[:, None] + span * (self.to_values @ f)
                scale = np.maximum(np.abs(new).max(axis=1), floor)
                last, change = change, (np.abs(new - values).max(axis=1) / scale).max(axis=0)
                values = new
                # at rounding, or near it and no longer shrinking: f itself is rounded
                settled |= (change < 1e-15) | ((change < 1e-13) & (change >= 0.5 * last))
                if np.all(settled | ~np.isfinite(change) | (change > 1e6)):
                    break
            series = (span * (self.to_series @ self.f(values, lanes))).swapaxes(0, 1)
            series[0] += x
            # converged to the collocation polynomial; that this is the solution its last coefficients tell, three of
            # them since those of even or odd functions vanish
            tail = (np.abs(series[-3:]).max(axis=0) / scale).max(axis=0)
        return series, settled & (tail < 1e-15)

    def _rounding_scale(self, x: np.ndarray, lanes: np.ndarray, span: np.ndarray) -> np.ndarray:
        """(n, G): span sum_j |df_i/dx_j x_j|, by which rounding of the states is passed on to a state near zero."""
        return span * np.einsum("ijqg,jg->ig", np.abs(self.df_dx(x[:, None], lanes)), np.abs(x))

    def psi(self, series: np.ndarray, lanes: np.ndarray, span: np.ndarray) -> np.ndarray:
        """Coefficients (K, n, n, G) of dx(s)/dx(0), by iterating psi <- 1 + span int df/dx psi."""
        x = np.einsum("qk,kng->nqg", basis(POINTS), series)
        short = span <= self.shortest  # x is held there, and df/dx may be no number
        J = np.where(short, 0.0, self.df_dx(x, lanes))
        one = np.eye(self.n)[:, :, None, None]
        values = np.broadcast_to(one, J.shape)
        for _ in range(self.ITERATIONS):
            rate = np.einsum("ijqg,jmqg->imqg", J, values)
            new = one + span * (self.to_values @ rate)
            change, values = np.abs(new - values).max(), new
            if change < 1e-15 * np.abs(new).max():
                break
        rate = np.einsum("ijqg,jmqg->imqg", J, values)
        out = np.moveaxis(span * (self.to_series @ rate), 2, 0)
        out[0] += np.eye(self.n)[:, :, None]
        return out


def held(x: np.ndarray) -> np.ndarray:
    """Coefficients (K, n, G) of pieces along which x stays what it is."""
    return np.concatenate([x[None], np.zeros((ORDER, *x.shape))])


class BlowUp(EngineError):
    """The dynamics of lane `lane` leave every bound; `Forward` says where and when."""

    def __init__(self, lane: int) -> None:
        super().__init__("the dynamics diverge")
        self.lane = lane


class Flow:
    """The flow of a population in all its modes: pieces (G,) with their lanes and modes, handled mode by mode.

    Args:
        modes: in the order of `Derived.modes`.
    """

    def __init__(self, modes: list[ModeFlow], n: int) -> None:
        self.modes, self.n = modes, n

    def start(
        self, x: np.ndarray, lanes: np.ndarray, mode: np.ndarray, left: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """New pieces from x (n, G): coefficients (K, n, G) and spans (G,) in ms. left: see `CurvedMode.start`."""
        if len(self.modes) == 1:
            return self.modes[0].start(x, lanes, left)
        series, span = np.zeros((ORDER + 1, self.n, len(lanes))), np.zeros(len(lanes))
        for m, i in apart(mode):
            series[..., i], span[i] = self.modes[m].start(x[:, i], lanes[i], left[i])
        return series, span

    def series(self, x: np.ndarray, lanes: np.ndarray, mode: np.ndarray, span: np.ndarray) -> np.ndarray:
        """Coefficients (K, n, G) of pieces whose span is known."""
        series = np.zeros((ORDER + 1, self.n, len(lanes)))
        for m, i in apart(mode):
            series[..., i] = self.modes[m].series(x[:, i], lanes[i], span[i])
        return series

    def psi(self, series: np.ndarray, lanes: np.ndarray, mode: np.ndarray, span: np.ndarray) -> np.ndarray:
        """Coefficients (K, n, n, G) of dx(s)/dx(0) on pieces."""
        out = np.zeros((ORDER + 1, self.n, self.n, len(lanes)))
        for m, i in apart(mode):
            out[..., i] = self.modes[m].psi(series[..., i], lanes[i], span[i])
        return out


def apart(mode: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Every mode, with the numbers of those in it."""
    return [(m, np.flatnonzero(mode == m)) for m in np.unique(mode)]


def nodes(coefficients: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Values at u (G, Q) of coefficients (K, ..., G): (..., G, Q)."""
    return np.einsum("k...g,gqk->...gq", coefficients, basis(u), optimize=True)


__all__ = ["apart", "BlowUp", "CurvedMode", "Flow", "LinearMode", "at", "nodes"]
