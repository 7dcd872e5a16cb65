"""Readouts of spikes on the grid, several readouts together, and all of them by name."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .connections import DelayGroup
from .readout import Array, ClockReadout, Setting
from .readout_v import End, Integral, Maximum, TraceOfV, Voltage

__all__ = ["ClockReadout", "Setting", "make_readout"]


class _OfSpikes(ClockReadout):
    """Stores spikes (T + 1, B, K), and rank (T + 1, B, K): how many spikes of the neuron came before."""

    silent_push: Array  # (B, K) `Loss.push` for spikes that did not happen

    def set_slope(self, slope: Array, also: Mapping[str, Array]) -> None:
        super().set_slope(slope, also)
        self.silent_push = np.zeros_like(slope)

    def end(self, x: Array, spikes: Array) -> None:
        # 0 until `score`: where it is read beside the readout of the loss it is never scored
        self.spikes, self.silent_push = spikes, np.zeros(self.value.shape)
        self.rank = np.cumsum(spikes, axis=0) - spikes

    def times(self, n: int) -> tuple[Array, Array]:
        """(B, K, n) times in ms of the first n spikes of every output, and which of them there are."""
        times = np.full((*self.value.shape, n), self.plan.duration)
        there = np.zeros(times.shape, bool)
        for k, b, c in zip(*np.nonzero(self.spikes)):
            m = self.rank[k, b, c]
            if m < n:
                times[b, c, m], there[b, c, m] = k * self.plan.dt, True
        return times, there

    def read_changed(self, by: Array, where: Array) -> Array:
        """(B, K) change of L if the readout of one output changes by `by`, and there is one."""
        change = np.zeros(self.value.shape)
        if self.loss_of.silent == "exclude":  # a silent output has no loss that could be compared with
            where = where & self.valid
        b, c = np.nonzero(where)
        if self.factor is None or not len(b):
            return change
        if not hasattr(self, "y") or self.loss_of.host:  # the loss is known by its slope alone
            return np.where(where, self.dr * by, 0.0)
        moved, valid = np.zeros((len(b), self.value.shape[1])), self.valid[b].copy()
        moved[np.arange(len(b)), c], valid[np.arange(len(b)), c] = by[b, c], True
        change[b, c] = self.change_of_loss(b, moved, valid)
        return change

    def _push(self, factor: Array, scored: Array, tau_mem: Array | None) -> None:
        """lambda_V at T for spikes that did not happen (`Loss.silent`)."""
        if tau_mem is not None:
            self.last = -np.where(scored[:, None], self.silent_push, 0.0) * tau_mem * factor[:, None]


class FirstSpike(_OfSpikes):
    """r = time of the first spike."""

    def end(self, x: Array, spikes: Array) -> None:
        super().end(x, spikes)
        times, there = self.times(1)
        self.value, self.valid = times[..., 0], there[..., 0]

    def score(self, y: Array) -> Array:
        self.silent_push = self.loss_of.push(self.value, self.valid, y, self.plan.duration)
        return super().score(y)

    def scale(self, factor: Array, scored: Array, tau_mem: Array | None) -> None:
        super().scale(factor, scored, tau_mem)
        self._push(factor, scored, tau_mem)

    def spike_term(self, k: int, event: int, before: Array) -> Array:
        return np.where(self.spikes[k] & (self.rank[k] == 0), self.dr, 0.0)

    def birth(self, k: int) -> Array | float:
        """A spike before the first one, or of a silent output, is the first one."""
        return self.read_changed(k * self.plan.dt - self.value, ~self.valid | (k * self.plan.dt < self.value))


class SpikeTimes(FirstSpike):
    """Spike m of every output against target m; r, for the prediction, is the first spike."""

    def score(self, y: Array) -> Array:
        times, there = self.times(y.shape[2])
        self.silent_push = self.loss_of.push(times, there, y, self.plan.duration)
        loss, self.each = self.loss_of.evaluate(times, there, y, self.plan.duration)
        self.each = np.where(there, self.each, 0.0)
        return loss

    def scale(self, factor: Array, scored: Array, tau_mem: Array | None) -> None:
        self.each = self.each * factor[:, None, None]
        self._push(factor, scored, tau_mem)

    def birth(self, k: int) -> Array | float:
        return 0.0  # which spike would meet which target is not known

    def spike_term(self, k: int, event: int, before: Array) -> Array:
        M = self.each.shape[2]
        rank = self.rank[k]
        slope = np.take_along_axis(self.each, np.minimum(rank, M - 1)[..., None], 2)[..., 0]
        return np.where(self.spikes[k] & (rank < M), slope, 0.0)


class Count(_OfSpikes):
    """r = number of spikes, with the surrogate gradient of `Loss`."""

    def end(self, x: Array, spikes: Array) -> None:
        super().end(x, spikes)
        self.value = spikes.sum(0).astype(np.float64)

    def scale(self, factor: Array, scored: Array, tau_mem: Array | None) -> None:
        super().scale(factor, scored, tau_mem)
        # a silent output has no spike at which the surrogate could act, so it acts at T
        self.last = np.where(self.value == 0, self.dr, 0.0)

    def jump_at_spike(self, k: int) -> Array | float:
        return np.where(self.spikes[k], self.dr, 0.0)

    def birth(self, k: int) -> Array | float:
        return self.read_changed(np.ones(self.value.shape), np.ones(self.value.shape, bool))


class Several(ClockReadout):
    """Several readouts of one output in one pass, that of the loss first; their terms in the adjoint add up."""

    def __init__(self, s: Setting) -> None:
        super().__init__(s)
        self.parts = [CLOCK_READOUTS[name](s) for name in s.plan.loss.readouts]

    def before_arrivals(self, k: int, x: Array) -> None:
        for part in self.parts:
            part.before_arrivals(k, x)

    def after_arrivals(self, k: int, x: Array) -> None:
        for part in self.parts:
            part.after_arrivals(k, x)

    def after_step(self, k: int, x: Array) -> None:
        for part in self.parts:
            part.after_step(k, x)

    def spiked(self, k: int, before: Array, spikes: Array) -> None:
        for part in self.parts:
            part.spiked(k, before, spikes)

    def end(self, x: Array, spikes: Array) -> None:
        for part in self.parts:
            part.end(x, spikes)
        self.value, self.valid = self.parts[0].value, self.parts[0].valid

    def also(self) -> dict[str, Array]:
        return {name: part.readout() for name, part in zip(self.loss_of.also, self.parts[1:])}

    def score(self, y: Array) -> Array:
        return self.parts[0].score(y)

    def set_slope(self, slope: Array, also: Mapping[str, Array]) -> None:
        for part, each in zip(self.parts, (slope, *(also[name] for name in self.loss_of.also))):
            part.set_slope(each, {})

    def scale(self, factor: Array, scored: Array, tau_mem: Array | None) -> None:
        for part in self.parts:
            part.scale(factor, scored, tau_mem)
        self.last = sum((part.last for part in self.parts), np.zeros_like(self.last))

    def spike_term(self, k: int, event: int, before: Array) -> Array:
        return sum((part.spike_term(k, event, before) for part in self.parts), np.zeros_like(self.last))

    def silent_term(self, k: int, event: int, before: Array) -> Array:
        return sum((part.silent_term(k, event, before) for part in self.parts), np.zeros_like(self.last))

    def arrival_term(self, c: DelayGroup, k: int) -> Array | float:
        return sum(part.arrival_term(c, k) for part in self.parts)

    def arrival_term_by_synapse(self, c: DelayGroup, k: int) -> Array | float:
        return sum(part.arrival_term_by_synapse(c, k) for part in self.parts)

    def jump_at_step(self, k: int) -> Array | float:
        return sum(part.jump_at_step(k) for part in self.parts)

    def jump_at_spike(self, k: int) -> Array | float:
        return sum(part.jump_at_spike(k) for part in self.parts)

    def end_source(self, k: int) -> Array | float:
        return sum(part.end_source(k) for part in self.parts)

    def step_source(self, k: int) -> Array | float:
        return sum(part.step_source(k) for part in self.parts)

    def parameter_term(self, k: int, param: str, x: Array) -> Array | float:
        return sum(part.parameter_term(k, param, x) for part in self.parts)


CLOCK_READOUTS: dict[str, type[ClockReadout]] = {
    "integral": Integral, "voltage": Voltage, "end": End, "max": Maximum, "first_spike": FirstSpike,
    "spike_times": SpikeTimes, "count": Count, "trace": TraceOfV,
}  # fmt: skip


def make_readout(s: Setting) -> ClockReadout:
    """The readouts that a plan's loss uses."""
    return Several(s) if s.plan.loss.also else CLOCK_READOUTS[s.plan.loss.readout](s)
