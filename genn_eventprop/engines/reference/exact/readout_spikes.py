"""Readouts of spikes in continuous time: the first one, several spike times, the count."""

from __future__ import annotations

import numpy as np

from .readout import Readout
from .records import Spike


class FirstSpike(Readout):
    """r_c = time of the first own spike of output c."""

    def evaluate(self) -> None:
        self.value[:], self.valid[:] = self.plan.duration, False
        self.first: dict[int, Spike] = {}
        for spike in self.recording.spikes[self.model.name]:
            if spike.neuron not in self.first:
                self.first[spike.neuron] = spike
                self.value[spike.neuron :: self.model.size] = spike.times
                self.valid[spike.neuron :: self.model.size] = True

    def signature(self) -> tuple:
        return tuple(self.valid.tolist())

    def own(self, spike: Spike, after: np.ndarray, dr: np.ndarray) -> float:
        return float(dr[spike.neuron]) if self.first.get(spike.neuron) is spike else 0.0


class SpikeTimes(FirstSpike):
    """The m-th own spike of output c against a target of its own; r_c is the first."""

    scores = True

    def _table(self, M: int) -> tuple[np.ndarray, np.ndarray]:
        """(C, K, M) times and whether they are there."""
        shape = (self.copies, self.model.size, M)
        times, there = np.full(shape, self.plan.duration), np.zeros(shape, bool)
        self.rank, count = {}, np.zeros(self.model.size, np.int64)
        for spike in self.recording.spikes[self.model.name]:
            m = self.rank[spike.index] = int(count[spike.neuron])
            count[spike.neuron] += 1
            if m < M:
                times[:, spike.neuron, m], there[:, spike.neuron, m] = spike.times, True
        return times, there

    def score(self, y: np.ndarray) -> np.ndarray:
        times, there = self._table(y.shape[1])
        loss, slope = self.plan.loss.evaluate(times, there, np.repeat(y[None], len(times), 0), self.plan.duration)
        self.slope = np.where(there, slope, 0.0)[0]
        return loss

    def missing(self, y: np.ndarray) -> np.ndarray:
        times, there = self._table(y.shape[1])
        return self.plan.loss.push(times[:1], there[:1], y[None], self.plan.duration)[0]

    def own(self, spike: Spike, after: np.ndarray, dr: np.ndarray) -> float:
        m = self.rank.get(spike.index)
        inside = m is not None and m < self.slope.shape[1]
        return float(self.slope[spike.neuron, m] * dr[spike.neuron]) if inside else 0.0


class Count(Readout):
    """r_c = number of own spikes of output c; the engine adds the surrogate gradient as jumps at own spikes."""

    def evaluate(self) -> None:
        for spike in self.recording.spikes[self.model.name]:
            self.value[spike.neuron :: self.model.size] += 1
