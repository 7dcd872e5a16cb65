"""Every readout in continuous time by its name, several together, and where a readout is not smooth by itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....plan import Plan
from .population import PopulationModel
from .readout import Readout, Sources
from .readout_spikes import Count, FirstSpike, SpikeTimes
from .readout_v import End, Integral, Maximum, TraceOfV, Voltage
from .records import Arrival, Recording, Spike


class Several(Readout):
    """Several readouts of one recording, the loss's own first; dr: a tuple of theirs, or the first one's alone."""

    def __init__(self, plan: Plan, model: PopulationModel, recording: Recording, inputs: np.ndarray) -> None:
        self.parts = [KINDS[name](plan, model, recording, inputs) for name in plan.loss.readouts]
        super().__init__(plan, model, recording, inputs)

    def evaluate(self) -> None:
        self.value, self.valid = self.parts[0].value, self.parts[0].valid

    def signature(self) -> tuple:
        return tuple(part.signature() for part in self.parts)

    def changed(self) -> np.ndarray:
        return np.any([part.changed() for part in self.parts], axis=0)

    def missing(self, y: np.ndarray) -> np.ndarray:
        return self.parts[0].missing(y)

    def _each(self, dr: Any) -> list[tuple[Readout, np.ndarray]]:
        return list(zip(self.parts, dr)) if isinstance(dr, tuple) else [(self.parts[0], dr)]

    def sources(self, dr: Any) -> Sources:
        found = [part.sources(each) for part, each in self._each(dr)]
        density = [s.density for s in found if s.density is not None]
        points = (np.concatenate([getattr(s, name) for s in found]) for name in ("segment", "offset", "size"))
        return Sources(np.sum(density, axis=0) if density else None, *points)

    def own(self, spike: Spike, after: np.ndarray, dr: Any) -> float:
        return sum(part.own(spike, after, each) for part, each in self._each(dr))

    def arrival(self, arrival: Arrival, jump: np.ndarray, dr: Any) -> float:
        return sum(part.arrival(arrival, jump, each) for part, each in self._each(dr))


KINDS: dict[str, type[Readout]] = {
    "integral": Integral, "voltage": Voltage, "end": End, "max": Maximum, "first_spike": FirstSpike,
    "spike_times": SpikeTimes, "count": Count, "trace": TraceOfV,
}  # fmt: skip


def make_readout(plan: Plan, model: PopulationModel, recording: Recording, inputs: np.ndarray) -> Readout:
    """What a plan's loss reads."""
    return (Several if plan.loss.also else KINDS[plan.loss.readout])(plan, model, recording, inputs)


def breaks(plan: Plan, inputs: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Times at which the readout of a trial is not smooth by itself: its window, the input that its weight follows,
    samples of a target series."""
    loss, times = plan.loss, [np.zeros(0)]
    if loss.integrates:
        times += [np.array(loss.weight.window or ())]
        times += [inputs] if loss.weight.input_tau is not None else []
    if loss.readout == "voltage" and loss.compares == "targets":
        times += [np.linspace(0.0, plan.duration, len(y))]
    return np.concatenate(times)
