"""Every readout on the grid by its name, and several together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .connections import Lane
from .readout import Array, ClockReadout, Setting
from .readout_spikes import Count, FirstSpike, SpikeTimes
from .readout_v import End, Integral, Maximum, TraceOfV, Voltage

__all__ = ["ClockReadout", "Setting", "make_readout"]


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
