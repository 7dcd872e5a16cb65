"""Readouts on the grid for `reference_clock`: what each takes from a batch, and what it adds to the adjoint.

A readout answers for itself. Forward it sees the output population at every step; `score` is the outer loss; backward
it gives jumps and sources of lambda and the loss terms in E and D (docs/equations.md).

Axis letters: B samples, K outputs, n states, J basis functions of the time weight, M neurons of a source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ..plan import Plan, PopulationCoefficients
from ..plan.coefficients import integrand_weight, node_part, node_scale, weight_coefficients
from .clock_connections import Lane

Array = np.ndarray


@dataclass(frozen=True)
class Setting:
    """A batch as a readout sees it.

    coef: of the output. slope: states (B, n, K) -> dV/dt (B, K). after: states before an own spike -> after it.
    arrived: (lane, step) -> (B, M) spikes that arrive then. direction: lane -> change of V by a unit weight, (K,).
    into: population -> lanes that lead there. counts: (T + 1, B) input spikes of every step.
    """

    plan: Plan
    B: int
    coef: PopulationCoefficients
    slope: Callable[[Array], Array]
    after: Callable[[Array], Array]
    arrived: Callable[[Lane, int], Array]
    direction: Callable[[Lane], Array]
    into: Callable[[str], tuple[Lane, ...]]
    counts: Array


class ClockReadout:
    """Base: nothing is read. value and valid (B, K) are the readout; last (B, K) is lambda_V at T."""

    def __init__(self, s: Setting) -> None:
        self.s, self.plan, self.loss_of = s, s.plan, s.plan.loss
        output, K = s.plan.output, s.plan.output.size
        self.v = output.derived.states.index(output.derived.model.readout) if _reads_state(s.plan) else 0
        self.value, self.valid = np.zeros((s.B, K)), np.ones((s.B, K), bool)
        self.last, self.dr = np.zeros((s.B, K)), np.zeros((s.B, K))

    # forwards

    def before_arrivals(self, k: int, x: Array) -> None:
        """x (B, n, K) at k dt, before the arrivals of step k; also for k = T/dt."""

    def after_arrivals(self, k: int, x: Array) -> None:
        """The same after them: where step k starts from."""

    def spiked(self, k: int, before: Array, spikes: Array) -> None:
        """Own spikes (B, K) at step k; before: (B, n, K) states at k dt before any reset."""

    def end(self, x: Array, spikes: Array) -> None:
        """After the last step; spikes (T + 1, B, K)."""

    def found(self) -> Array:
        """The readout, inf where an output has none."""
        return np.where(self.valid, self.value, np.inf)

    def also(self) -> dict[str, Array]:
        """What else was read, by its name."""
        return {}

    def score(self, y: Array) -> Array:
        """Outer loss (B,); y: labels (B,) or targets. Keeps dL/dr for the way back."""
        loss, self.dr = self.loss_of.evaluate(self.value, self.valid, y, self.plan.duration)
        return loss

    def given(self, slope: Array, also: Mapping[str, Array]) -> None:
        """dL/dr (B, K) of a loss that is taken elsewhere, instead of `score`; also: of what else was read."""
        self.dr = slope

    # backwards

    def scale(self, factor: Array, scored: Array, tau_mem: Array | None) -> None:
        """Gradients times `factor` (B,), weight / B, and none for samples without anything to compare with."""
        self.dr = np.where(scored[:, None], self.dr, 0.0) * factor[:, None]

    def own(self, k: int, before: Array) -> Array:
        """(B, K) dl_p/dt_k + l(x-) - l(x+) of own spikes at step k."""
        return np.zeros((self.s.B, self.plan.output.size))

    def arrival(self, c: Lane, k: int) -> Array | float:
        """(B, M) l(x-) - l(x+), and kinks, of a spike that arrives through c at step k."""
        return 0.0

    def arrival_each(self, c: Lane, k: int) -> Array | float:
        """(B, M, K) the same of every synapse by itself, for delays of their own."""
        return 0.0

    def sample(self, k: int) -> Array | float:
        """(B, K) jump of lambda_V at k dt, before (in reverse time) own spikes."""
        return 0.0

    def at_spike(self, k: int) -> Array | float:
        """(B, K) added to lambda_V right before an own spike at step k."""
        return 0.0

    def source(self, k: int) -> Array | float:
        """(B, n, K) that step k adds to lambda at its start."""
        return 0.0

    def rate(self, k: int, param: str, x: Array) -> Array | float:
        """(B, K) that step k adds to the gradient of a parameter through the readout itself."""
        return 0.0


def _reads_state(plan: Plan) -> bool:
    return plan.output.derived.model.readout in plan.output.derived.states


class End(ClockReadout):
    """r = V(T), after a spike at T."""

    def end(self, x: Array, spikes: Array) -> None:
        self.value = x[:, self.v].copy()

    def scale(self, factor: Array, scored: Array, tau_mem: Array | None) -> None:
        super().scale(factor, scored, tau_mem)
        self.last = self.dr


class Integral(ClockReadout):
    """r = 1/T int w V dt: step k adds sum_j w_j[k] (u_j . x + u0_j)."""

    def __init__(self, s: Setting) -> None:
        super().__init__(s)
        before, after = self.loss_of.weight.activity(s.counts, s.plan.dt)
        self.w = weight_coefficients(s.plan)[:, None] * after[:-1, :, None]
        self.at = integrand_weight(s.plan)[:, None] * before

    def after_arrivals(self, k: int, x: Array) -> None:
        self.value += np.einsum("bj,bjc->bc", self.w[k], self.pieces(x))

    def pieces(self, x: Array) -> Array:
        """(B, J, K): u_j . x + u0_j."""
        u, K = self.s.coef.u, self.plan.output.size
        wide = np.broadcast_to(u, (u.shape[0], K, u.shape[2]))
        return np.einsum("jci,bic->bjc", wide, x) + self.s.coef.u0

    def density(self, k: int) -> Array:
        """(B, J, K): the factor of u_j . x + u0_j in dL."""
        return self.w[k][:, :, None] * self.dr[:, None]

    def own(self, k: int, before: Array) -> Array:
        return self.at[k][:, None] * self.dr * (before - self.s.after(before))[:, self.v]

    def arrival(self, c: Lane, k: int) -> Array | float:
        return -(self.at[k][:, None] * self.dr * self.s.direction(c)) @ c.weight.T

    def arrival_each(self, c: Lane, k: int) -> Array | float:
        return -(self.at[k][:, None] * self.dr * self.s.direction(c))[:, None] * c.weight

    def source(self, k: int) -> Array | float:
        u, K = self.s.coef.u, self.plan.output.size
        wide = np.broadcast_to(u, (u.shape[0], K, u.shape[2]))
        return np.einsum("bjc,jci->bic", self.density(k), wide)

    def rate(self, k: int, param: str, x: Array) -> Array | float:
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

    def after_arrivals(self, k: int, x: Array) -> None:
        super().after_arrivals(k, x)
        self.nodes[k] = self.pieces(x) * self.node_scale[:, None]

    def score(self, y: Array) -> Array:
        self.y, T, J = y, self.plan.n_steps, len(self.node_scale)
        if self.loss_of.compares == "labels":
            at_nodes = np.broadcast_to(y[None, :, None], (T, self.s.B, J))
        else:
            part = node_part(self.plan)[:, None]
            series = np.moveaxis(y, 1, 0)[:, :, None]
            at_nodes = series[:-1] * (1 - part) + series[1:] * part
        loss, slope = self.loss_of.pointwise(self.nodes, at_nodes, self.plan.duration)
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
        if self.loss_of.compares == "targets":
            y = np.where(np.isnan(self.y[:, min(k + 1, self.plan.n_steps)]), np.nan, self.y[:, k])
        middle = (1,) * (V.ndim - 2)
        y = np.broadcast_to(y.reshape(self.s.B, *middle, *y.shape[1:]), (*V.shape[:-1], *y.shape[1:]))
        loss = self.loss_of.pointwise(V, y, self.plan.duration)[0]
        return loss * (self.at[k] * self.factor).reshape(self.s.B, *middle)

    def own(self, k: int, before: Array) -> Array:
        """Each spike of a step against the other outputs before any reset of that step."""
        V, after = before[:, self.v], self.s.after(before)[:, self.v]
        K = V.shape[1]
        changed = np.where(np.eye(K, dtype=bool), after[:, None], V[:, None])
        return self._l(k, V)[:, None] - self._l(k, changed)

    def arrival(self, c: Lane, k: int) -> Array | float:
        """Each arrival of a step against V before any of them."""
        e = self.s.direction(c)
        if not np.any(e):
            return 0.0
        V = self.before[k]
        return self._l(k, V)[:, None] - self._l(k, V[:, None] + c.weight * e)

    def arrival_each(self, c: Lane, k: int) -> Array | float:
        e = self.s.direction(c)
        if not np.any(e):
            return 0.0
        V, K = self.before[k], c.weight.shape[1]
        moved = (c.weight * e)[:, :, None] * np.eye(K)
        return self._l(k, V)[:, None, None] - self._l(k, V[:, None, None] + moved)


class Maximum(ClockReadout):
    """r = max over steps of V before arrivals, on which V(k dt) does not depend; kinks at arrivals."""

    def __init__(self, s: Setting) -> None:
        super().__init__(s)
        self.step, self.kink = np.zeros(self.value.shape, int), np.zeros(self.value.shape)

    def before_arrivals(self, k: int, x: Array) -> None:
        self._larger = np.full_like(self.valid, k == 0) | (x[:, self.v] > self.value)
        self.value = np.where(self._larger, x[:, self.v], self.value)
        self.step = np.where(self._larger, k, self.step)
        self._slope = self.s.slope(x)

    def after_arrivals(self, k: int, x: Array) -> None:
        """At a kink the slope turns from positive to not positive by the arrivals; keep Vdot(t*-)."""
        kink = np.where((self._slope > 0) & (self.s.slope(x) <= 0), self._slope, 0.0)
        self.kink = np.where(self._larger, kink, self.kink)

    def arrival(self, c: Lane, k: int) -> Array | float:
        """The kink rule: dL/dr Vdot(t*-), shared by the inhibitory arrivals of the step in proportion to weight."""
        return self._share(k, c.target) @ np.minimum(c.weight, 0.0).T

    def arrival_each(self, c: Lane, k: int) -> Array | float:
        return self._share(k, c.target)[:, None] * np.minimum(c.weight, 0.0)

    def _share(self, k: int, output: str) -> Array:
        """(B, K) of a unit weight."""
        here = (self.step == k) * self.kink * self.dr
        total = np.zeros_like(here)
        for other in self.s.into(output):
            total += self.s.arrived(other, k) @ np.minimum(other.weight, 0.0)
        return np.where(total < 0, here / np.where(total < 0, total, 1.0), 0.0)

    def sample(self, k: int) -> Array | float:
        return np.where(self.step == k, self.dr, 0.0)


class _OfSpikes(ClockReadout):
    """What happened when: self.spikes (T + 1, B, K), and self.rank, how many each neuron had before."""

    missing: Array  # dL of a right class that did not spike, of `Loss.push`

    def given(self, slope: Array, also: Mapping[str, Array]) -> None:
        super().given(slope, also)
        self.missing = np.zeros_like(slope)

    def end(self, x: Array, spikes: Array) -> None:
        self.spikes = spikes
        self.rank = np.cumsum(spikes, axis=0) - spikes

    def times(self, n: int) -> tuple[Array, Array]:
        """(B, K, n) times in ms of the first n spikes of every output, and which of them there are."""
        found = np.full((*self.value.shape, n), self.plan.duration)
        there = np.zeros(found.shape, bool)
        for k, b, c in zip(*np.nonzero(self.spikes)):
            m = self.rank[k, b, c]
            if m < n:
                found[b, c, m], there[b, c, m] = k * self.plan.dt, True
        return found, there

    def _push(self, factor: Array, scored: Array, tau_mem: Array | None) -> None:
        """lambda_V at T for spikes that did not happen (`Loss.silent`)."""
        if tau_mem is not None:
            self.last = -np.where(scored[:, None], self.missing, 0.0) * tau_mem * factor[:, None]


class FirstSpike(_OfSpikes):
    """r = time of the first spike."""

    def end(self, x: Array, spikes: Array) -> None:
        super().end(x, spikes)
        times, there = self.times(1)
        self.value, self.valid = times[..., 0], there[..., 0]

    def score(self, y: Array) -> Array:
        self.missing = self.loss_of.push(self.value, self.valid, y, self.plan.duration)
        return super().score(y)

    def scale(self, factor: Array, scored: Array, tau_mem: Array | None) -> None:
        super().scale(factor, scored, tau_mem)
        self._push(factor, scored, tau_mem)

    def own(self, k: int, before: Array) -> Array:
        return np.where(self.spikes[k] & (self.rank[k] == 0), self.dr, 0.0)


class SpikeTimes(FirstSpike):
    """Spike m of every output against target m; r, for the prediction, is the first spike."""

    def score(self, y: Array) -> Array:
        found, there = self.times(y.shape[2])
        self.missing = self.loss_of.push(found, there, y, self.plan.duration)
        loss, self.each = self.loss_of.evaluate(found, there, y, self.plan.duration)
        self.each = np.where(there, self.each, 0.0)
        return loss

    def scale(self, factor: Array, scored: Array, tau_mem: Array | None) -> None:
        self.each = self.each * factor[:, None, None]
        self._push(factor, scored, tau_mem)

    def own(self, k: int, before: Array) -> Array:
        M = self.each.shape[2]
        rank = self.rank[k]
        mine = np.take_along_axis(self.each, np.minimum(rank, M - 1)[..., None], 2)[..., 0]
        return np.where(self.spikes[k] & (rank < M), mine, 0.0)


class Count(_OfSpikes):
    """r = number of spikes, with the surrogate gradient of `Loss`."""

    def end(self, x: Array, spikes: Array) -> None:
        super().end(x, spikes)
        self.value = spikes.sum(0).astype(np.float64)

    def scale(self, factor: Array, scored: Array, tau_mem: Array | None) -> None:
        super().scale(factor, scored, tau_mem)
        self.last = np.where(self.value == 0, self.dr, 0.0)

    def at_spike(self, k: int) -> Array | float:
        return np.where(self.spikes[k], self.dr, 0.0)


class TraceOfV(ClockReadout):
    """V(k dt) before the arrivals of step k, on which it does not depend, and after own spikes; (T + 1, B, K)."""

    def __init__(self, s: Setting) -> None:
        super().__init__(s)
        self.series = np.zeros((s.plan.n_steps + 1, s.B, s.plan.output.size))
        self.slope = np.zeros_like(self.series)

    def before_arrivals(self, k: int, x: Array) -> None:
        self.series[k] = x[:, self.v]

    def found(self) -> Array:
        return np.ascontiguousarray(self.series.swapaxes(0, 1))

    def given(self, slope: Array, also: Mapping[str, Array]) -> None:
        self.slope = slope.swapaxes(0, 1)

    def sample(self, k: int) -> Array | float:
        return self.slope[k]


class Several(ClockReadout):
    """Several readouts of one output in one pass, the loss's own first; what they add to the adjoint adds up."""

    def __init__(self, s: Setting) -> None:
        super().__init__(s)
        self.parts = [CLOCK_READOUTS[name](s) for name in s.plan.loss.readouts]

    def before_arrivals(self, k: int, x: Array) -> None:
        for part in self.parts:
            part.before_arrivals(k, x)

    def after_arrivals(self, k: int, x: Array) -> None:
        for part in self.parts:
            part.after_arrivals(k, x)

    def spiked(self, k: int, before: Array, spikes: Array) -> None:
        for part in self.parts:
            part.spiked(k, before, spikes)

    def end(self, x: Array, spikes: Array) -> None:
        for part in self.parts:
            part.end(x, spikes)
        self.value, self.valid = self.parts[0].value, self.parts[0].valid

    def also(self) -> dict[str, Array]:
        return {name: part.found() for name, part in zip(self.loss_of.also, self.parts[1:])}

    def score(self, y: Array) -> Array:
        return self.parts[0].score(y)

    def given(self, slope: Array, also: Mapping[str, Array]) -> None:
        for part, each in zip(self.parts, (slope, *(also[name] for name in self.loss_of.also))):
            part.given(each, {})

    def scale(self, factor: Array, scored: Array, tau_mem: Array | None) -> None:
        for part in self.parts:
            part.scale(factor, scored, tau_mem)
        self.last = sum((part.last for part in self.parts), np.zeros_like(self.last))

    def own(self, k: int, before: Array) -> Array:
        return sum((part.own(k, before) for part in self.parts), np.zeros_like(self.last))

    def arrival(self, c: Lane, k: int) -> Array | float:
        return sum(part.arrival(c, k) for part in self.parts)

    def arrival_each(self, c: Lane, k: int) -> Array | float:
        return sum(part.arrival_each(c, k) for part in self.parts)

    def sample(self, k: int) -> Array | float:
        return sum(part.sample(k) for part in self.parts)

    def at_spike(self, k: int) -> Array | float:
        return sum(part.at_spike(k) for part in self.parts)

    def source(self, k: int) -> Array | float:
        return sum(part.source(k) for part in self.parts)

    def rate(self, k: int, param: str, x: Array) -> Array | float:
        return sum(part.rate(k, param, x) for part in self.parts)


CLOCK_READOUTS: dict[str, type[ClockReadout]] = {
    "integral": Integral, "voltage": Voltage, "end": End, "max": Maximum, "first_spike": FirstSpike,
    "spike_times": SpikeTimes, "count": Count, "trace": TraceOfV,
}  # fmt: skip


def make_readout(s: Setting) -> ClockReadout:
    """The readouts that a plan's loss uses."""
    return Several(s) if s.plan.loss.also else CLOCK_READOUTS[s.plan.loss.readout](s)
