"""Readouts of spikes in continuous time, several readouts together, and all of them by name."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....plan import Plan
from .population import PopulationModel
from .readout import Readout, Sources
from .readout_v import End, Integral, Maximum, TraceOfV, Voltage
from .records import Arrival, Recording, Spike


class FirstSpike(Readout):
    """r_c = time of the first own spike of output c."""

    def evaluate(self) -> None:
        self.value[:], self.valid[:] = self.plan.duration, False
        self.first: dict[int, Spike] = {}
        for spike in self.recording.spikes[self.model.name]:  # in order of time
            if spike.neuron not in self.first:
                self.first[spike.neuron] = spike
                # `::size`: the lanes of this neuron in all copies, each with its time
                self.value[spike.neuron :: self.model.size] = spike.times
                self.valid[spike.neuron :: self.model.size] = True

    def signature(self) -> tuple[object, ...]:
        return tuple(self.valid.tolist())

    def spike_term(self, spike: Spike, after: np.ndarray, dr: np.ndarray) -> float:
        return float(dr[spike.neuron]) if self.first.get(spike.neuron) is spike else 0.0

    def birth(self, neuron: int, time: float, dr: np.ndarray) -> float:
        """A spike before the first one, or of a silent output, is the first one."""
        by = time - float(self.value[neuron])
        return self.read_changed(neuron, by, dr) if by < 0 or not self.valid[neuron] else 0.0


class SpikeTimes(FirstSpike):
    """The m-th own spike of output c against target m of that output; r_c is the first spike."""

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

    def silent_push(self, y: np.ndarray) -> np.ndarray:
        times, there = self._table(y.shape[1])
        return self.plan.loss.push(times[:1], there[:1], y[None], self.plan.duration)[0]

    def birth(self, neuron: int, time: float, dr: np.ndarray) -> float:
        return 0.0  # which spike would meet which target is not known

    def spike_term(self, spike: Spike, after: np.ndarray, dr: np.ndarray) -> float:
        m = self.rank.get(spike.index)  # spikes beyond the targets have no term
        inside = m is not None and m < self.slope.shape[1]
        return float(self.slope[spike.neuron, m] * dr[spike.neuron]) if inside else 0.0


class Count(Readout):
    """r_c = number of own spikes of output c.

    A count has no derivative; its surrogate gradient is a jump at every own spike, which the engine adds.
    """

    def evaluate(self) -> None:
        for spike in self.recording.spikes[self.model.name]:
            self.value[spike.neuron :: self.model.size] += 1

    def birth(self, neuron: int, time: float, dr: np.ndarray) -> float:
        return self.read_changed(neuron, 1.0, dr)


class Several(Readout):
    """Several readouts of one recording, that of the loss first; dr: one for each, or of the first alone."""

    def __init__(self, plan: Plan, model: PopulationModel, recording: Recording, inputs: np.ndarray) -> None:
        self.parts = [KINDS[name](plan, model, recording, inputs) for name in plan.loss.readouts]
        super().__init__(plan, model, recording, inputs)

    def evaluate(self) -> None:
        self.value, self.valid = self.parts[0].value, self.parts[0].valid

    def halves(self, y: np.ndarray | None) -> np.ndarray:
        return np.concatenate([part.halves(y) for part in self.parts])

    def signature(self) -> tuple[object, ...]:
        return tuple(part.signature() for part in self.parts)

    def changed(self) -> np.ndarray:
        return np.any([part.changed() for part in self.parts], axis=0)

    def silent_push(self, y: np.ndarray) -> np.ndarray:
        return self.parts[0].silent_push(y)

    def _each(self, dr: Any) -> list[tuple[Readout, np.ndarray]]:
        return list(zip(self.parts, dr)) if isinstance(dr, tuple) else [(self.parts[0], dr)]

    def sources(self, dr: Any) -> Sources:
        each = [part.sources(slope) for part, slope in self._each(dr)]
        density = [s.density for s in each if s.density is not None]
        points = (np.concatenate([getattr(s, name) for s in each]) for name in ("segment", "offset", "size"))
        return Sources(np.sum(density, axis=0) if density else None, *points)

    def spike_term(self, spike: Spike, after: np.ndarray, dr: Any) -> float:
        return sum(part.spike_term(spike, after, each) for part, each in self._each(dr))

    def arrival_term(self, arrival: Arrival, jump: np.ndarray, dr: Any) -> float:
        return sum(part.arrival_term(arrival, jump, each) for part, each in self._each(dr))


KINDS: dict[str, type[Readout]] = {
    "integral": Integral, "voltage": Voltage, "end": End, "max": Maximum, "first_spike": FirstSpike,
    "spike_times": SpikeTimes, "count": Count, "trace": TraceOfV,
}  # fmt: skip


def make_readout(plan: Plan, model: PopulationModel, recording: Recording, inputs: np.ndarray) -> Readout:
    """What a plan's loss reads."""
    return (Several if plan.loss.also else KINDS[plan.loss.readout])(plan, model, recording, inputs)


def breaks(plan: Plan, inputs: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Times at which the integrand of a readout is not smooth, so that a segment must end there for its quadrature.

    The window of a time weight, the input spikes that a weight follows, the samples of a target series.
    """
    loss, times = plan.loss, [np.zeros(0)]
    if loss.integrates:
        times += [np.array(loss.weight.window or ())]
        times += [inputs] if loss.weight.input_tau is not None else []
    if loss.readout == "voltage" and loss.compares == "targets":
        times += [np.linspace(0.0, plan.duration, len(y))]
    return np.concatenate(times)
