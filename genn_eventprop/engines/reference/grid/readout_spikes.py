"""Readouts of spikes on the grid: the first one, several spike times, the count."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .readout import Array, ClockReadout


class _OfSpikes(ClockReadout):
    """What happened when: self.spikes (T + 1, B, K), and self.rank, how many each neuron had before."""

    missing: Array  # dL of a right class that did not spike, of `Loss.push`

    def given(self, slope: Array, also: Mapping[str, Array]) -> None:
        super().given(slope, also)
        self.missing = np.zeros_like(slope)

    def end(self, x: Array, spikes: Array) -> None:
        self.spikes, self.missing = spikes, np.zeros(self.value.shape)  # until it is scored; another readout may be
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
