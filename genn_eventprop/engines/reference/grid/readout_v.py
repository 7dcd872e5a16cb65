"""Readouts of V on the grid: at T, integrals over time, losses of V at every step, the maximum, the trace."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ....plan.coefficients import has_exact_step, integrand_weight, node_part, node_scale, weight_coefficients
from .connections import DelayGroup
from .readout import Array, ClockReadout, Setting


class End(ClockReadout):
    """r = V(T), after a spike at T."""

    def end(self, x: Array, spikes: Array) -> None:
        self.value = x[:, self.v].copy()

    def scale(self, factor: Array, scored: Array, tau_mem: Array | None) -> None:
        super().scale(factor, scored, tau_mem)
        self.last = self.dr


class Integral(ClockReadout):
    """r = 1/T int w V dt: step k adds sum_j w_j[k] (u_j . x + u0_j), x the state at its start.

    Of steps that are not exact propagators it is a trapezoid, and x of the second of two pieces is that at the end.
    """

    def __init__(self, s: Setting) -> None:
        super().__init__(s)
        J = len(s.coef.u)
        self.at_start = slice(0, J if has_exact_step(s.plan.output.derived) else 1)
        self.at_end = slice(self.at_start.stop, J)
        before, after = self.loss_of.weight.activity(s.counts, s.plan.dt)
        self.w = weight_coefficients(s.plan)[:, None] * after[:-1, :, None]
        self.at = integrand_weight(s.plan)[:, None] * before

    def after_arrivals(self, k: int, x: Array) -> None:
        self.add(k, x, self.at_start)

    def after_step(self, k: int, x: Array) -> None:
        self.add(k, x, self.at_end)

    def add(self, k: int, x: Array, j: slice) -> None:
        """The pieces j of step k."""
        self.value += np.einsum("bj,bjc->bc", self.w[k][:, j], self.pieces(x, j))

    def pieces(self, x: Array, j: slice) -> Array:
        """(B, J, K): u_j . x + u0_j."""
        return np.einsum("jci,bic->bjc", self.wide(j), x) + self.s.coef.u0[j]

    def wide(self, j: slice) -> Array:
        """(J, K, n): u_j of every output."""
        u = self.s.coef.u[j]
        return np.broadcast_to(u, (len(u), self.plan.output.size, u.shape[2]))

    def density(self, k: int) -> Array:
        """(B, J, K): the factor of u_j . x + u0_j in dL."""
        return self.w[k][:, :, None] * self.dr[:, None]

    def spike_term(self, k: int, event: int, before: Array) -> Array:
        return self.at[k][:, None] * self.dr * (before - self.s.after(event, before))[:, self.v]

    def silent_term(self, k: int, event: int, before: Array) -> Array:
        return self.spike_term(k, event, before)

    def arrival_term(self, c: DelayGroup, k: int) -> Array | float:
        return -(self.at[k][:, None] * self.dr * self.s.direction(c)) @ c.weight.T

    def arrival_term_by_synapse(self, c: DelayGroup, k: int) -> Array | float:
        return -(self.at[k][:, None] * self.dr * self.s.direction(c))[:, None] * c.weight

    def end_source(self, k: int) -> Array | float:
        return np.einsum("bjc,jci->bic", self.density(k)[:, self.at_end], self.wide(self.at_end))[:, self.v]

    def step_source(self, k: int) -> Array | float:
        return np.einsum("bjc,jci->bic", self.density(k)[:, self.at_start], self.wide(self.at_start))

    def parameter_term(self, k: int, param: str, x: Array) -> Array | float:
        if param not in self.s.coef.du:  # no parameter is in a trapezoid
            return 0.0
        u, K = self.s.coef.du[param], self.plan.output.size
        wide = np.broadcast_to(u, (u.shape[0], K, u.shape[2]))
        return np.einsum("bjc,bjc->bc", self.density(k), np.einsum("jci,bic->bjc", wide, x) + self.s.coef.du0[param])


class Voltage(Integral):
    """L = 1/T int w(t) l(V(t)) dt, l the outer loss, V at 3 to 20 Gauss-Legendre nodes a step; r as `Integral`.

    With a step's nodes as basis functions, V_j = scale_j (u_j . x + u0_j) and dL = w_j[k] / scale_j l(V_j).
    """

    def __init__(self, s: Setting) -> None:
        super().__init__(s)
        J, T, K = len(s.coef.u), s.plan.n_steps, s.plan.output.size
        self.nodes, self.before = np.zeros((T, s.B, J, K)), np.zeros((T + 1, s.B, K))
        self.node_scale = node_scale(s.plan)

    def before_arrivals(self, k: int, x: Array) -> None:
        self.before[k] = x[:, self.v]

    def add(self, k: int, x: Array, j: slice) -> None:
        super().add(k, x, j)
        self.nodes[k][:, j] = self.pieces(x, j) * self.node_scale[j, None]

    def score(self, y: Array) -> Array:
        self.y, T, J = y, self.plan.n_steps, len(self.node_scale)
        if self.loss_of.compares == "labels":
            at_nodes = np.broadcast_to(y[None, :, None], (T, self.s.B, J))
        else:
            part = node_part(self.plan)[:, None]
            series = np.moveaxis(y, 1, 0)[:, :, None]
            at_nodes = series[:-1] * (1 - part) + series[1:] * part
        loss, slope = self.loss_of.pointwise(self.nodes, at_nodes, self.plan.duration)
        # the loss is weighted by w / scale; its slope by u_j . x + u0_j has w, since dV_j is scale times that
        share = self.w / self.node_scale
        self.slope = self.w[..., None] * slope
        return (share * loss).sum((0, 2))

    def scale(self, factor: Array, scored: Array, tau_mem: Array | None) -> None:
        self.factor = np.where(scored, factor, 0.0)
        self.slope = self.slope * self.factor[:, None, None]

    def density(self, k: int) -> Array:
        return self.slope[k]

    def _l(self, k: int, V: Array) -> Array:
        """w(t) / T l(V) at k dt, times 1 / B; V (B, ..., K) -> (B, ...).

        Weight and targets are those of the step that begins there: none where that step has none.
        """
        y = self.y
        # nan: no target. Between two samples of which one is missing the step has no loss, so neither have its edges
        if self.loss_of.compares == "targets":
            y = np.where(np.isnan(self.y[:, min(k + 1, self.plan.n_steps)]), np.nan, self.y[:, k])
        middle = (1,) * (V.ndim - 2)
        y = np.broadcast_to(y.reshape(self.s.B, *middle, *y.shape[1:]), (*V.shape[:-1], *y.shape[1:]))
        loss = self.loss_of.pointwise(V, y, self.plan.duration)[0]
        return loss * (self.at[k] * self.factor).reshape(self.s.B, *middle)

    def spike_term(self, k: int, event: int, before: Array) -> Array:
        """Each spike of a step against the other outputs before any reset of that step: they have no order."""
        V, after = before[:, self.v], self.s.after(event, before)[:, self.v]
        K = V.shape[1]
        # l depends on all outputs together: one row for each spike, in which only that output is reset
        changed = np.where(np.eye(K, dtype=bool), after[:, None], V[:, None])
        return self._l(k, V)[:, None] - self._l(k, changed)

    def arrival_term(self, c: DelayGroup, k: int) -> Array | float:
        """Each arrival of a step against V before any of them."""
        e = self.s.direction(c)
        if not np.any(e):
            return 0.0
        V = self.before[k]
        return self._l(k, V)[:, None] - self._l(k, V[:, None] + c.weight * e)

    def arrival_term_by_synapse(self, c: DelayGroup, k: int) -> Array | float:
        e = self.s.direction(c)
        if not np.any(e):
            return 0.0
        V, K = self.before[k], c.weight.shape[1]
        moved = (c.weight * e)[:, :, None] * np.eye(K)
        return self._l(k, V)[:, None, None] - self._l(k, V[:, None, None] + moved)


class Maximum(ClockReadout):
    """r = max over the steps of V before the arrivals, and after those that move V itself; kinks at arrivals.

    On the grid the arrivals of a step have no order, so the term of a kink is divided among them: among those with
    negative weight where they end the rise of V, in proportion to the jumps where V itself jumps up (docs/equations.md,
    section 6). The whole term for each arrival would count the kink several times.
    """

    def __init__(self, s: Setting) -> None:
        super().__init__(s)
        self.step, self.kink = np.zeros(self.value.shape, int), np.zeros(self.value.shape)
        self.behind = np.zeros(self.value.shape, bool)  # whether the maximum is after the arrivals of its step
        self.per_jump = np.zeros(self.value.shape)  # Vdot(t*+) there, by the jump of V

    def before_arrivals(self, k: int, x: Array) -> None:
        # strictly larger: of equal values the first counts, as in every engine
        self._larger = np.full_like(self.valid, k == 0) | (x[:, self.v] > self.value)
        self.value = np.where(self._larger, x[:, self.v], self.value)
        self.step = np.where(self._larger, k, self.step)
        self.behind &= ~self._larger
        self._slope, self._before = self.s.slope(x), x[:, self.v]  # Vdot(t*-), V(t*-) if step k is a kink

    def after_arrivals(self, k: int, x: Array) -> None:
        """At a kink the arrivals turn the slope from positive to not positive, or lower V; Vdot(t*-) is stored."""
        V, slope = x[:, self.v], self.s.slope(x)
        kink = np.where((self._slope > 0) & ((slope <= 0) | (V < self._before)), self._slope, 0.0)
        self.kink = np.where(self._larger, kink, self.kink)
        # V after the arrivals is a candidate only where it jumped up; a continuous V was compared before them
        jumped = V > self.value
        self.per_jump = np.where(jumped, slope / np.where(jumped, V - self._before, 1.0), self.per_jump)
        self.value, self.step = np.where(jumped, V, self.value), np.where(jumped, k, self.step)
        self.behind |= jumped

    def arrival_term(self, c: DelayGroup, k: int) -> Array | float:
        """The kink rule, see the class: dL/dr Vdot(t*-) among the inhibitory arrivals, dL/dr Vdot(t*+) at a jump."""
        return self._share(k, c.target) @ np.minimum(c.weight, 0.0).T + self._jump_share(c, k) @ c.weight.T

    def arrival_term_by_synapse(self, c: DelayGroup, k: int) -> Array | float:
        return (
            self._share(k, c.target)[:, None] * np.minimum(c.weight, 0.0) + self._jump_share(c, k)[:, None] * c.weight
        )

    def _jump_share(self, c: DelayGroup, k: int) -> Array:
        """(B, K) the term of a unit weight at a jump of V."""
        return (self.step == k) * self.behind * self.per_jump * self.dr * self.s.direction(c)

    def _share(self, k: int, output: str) -> Array:
        """(B, K) the term of a kink over the sum of all negative weights that arrived; 0 where there is none."""
        here = (self.step == k) * ~self.behind * self.kink * self.dr
        total = np.zeros_like(here)
        for other in self.s.into(output):
            total += self.s.arrived(other, k) @ np.minimum(other.weight, 0.0)
        return np.where(total < 0, here / np.where(total < 0, total, 1.0), 0.0)

    def jump_at_step(self, k: int) -> Array | float:
        # before the arrivals of step k: D of these is formed without the jump
        return np.where((self.step == k) & ~self.behind, self.dr, 0.0)

    def step_source(self, k: int) -> Array | float:
        # after the arrivals of step k: lambda at the start of step k includes the jump, and so does their D
        added = np.zeros((self.s.B, len(self.s.plan.output.derived.states), self.value.shape[1]))
        added[:, self.v] = np.where((self.step == k) & self.behind, self.dr, 0.0)
        return added


class TraceOfV(ClockReadout):
    """V(k dt) after own spikes and before the arrivals of step k, on which it does not depend; (T + 1, B, K)."""

    def __init__(self, s: Setting) -> None:
        super().__init__(s)
        self.series = np.zeros((s.plan.n_steps + 1, s.B, s.plan.output.size))
        self.slope = np.zeros_like(self.series)

    def before_arrivals(self, k: int, x: Array) -> None:
        self.series[k] = x[:, self.v]

    def readout(self) -> Array:
        return np.ascontiguousarray(self.series.swapaxes(0, 1))

    def set_slope(self, slope: Array, also: Mapping[str, Array]) -> None:
        self.slope = slope.swapaxes(0, 1)

    def jump_at_step(self, k: int) -> Array | float:
        return self.slope[k]
