"""V(k dt) before the arrivals of every step, for a loss in Python."""

from __future__ import annotations

from ..nodes import NEURON, STEP, Add, Set, Statement
from .base import BetweenEvents, Readout


class Trace(Readout):
    def declare_readout(self) -> None:
        axes, index = ("n_points", self.s.N), (STEP, NEURON)
        self.s.element(self.R, axes, index, "double" if self.exact else "real", "stored")
        self.s.element(self.DR, axes, index, "real", "stored")

    def between_events(self) -> BetweenEvents:
        """Whatever the steps in exact time are."""
        return BetweenEvents("voltage", "ReadVoltage", "Of::SAMPLES")

    def begin(self) -> list[Statement]:
        return []

    def before_arrivals(self) -> list[Statement]:
        return [Set(self.R, self.V)]

    def end(self) -> list[Statement]:
        return [Set(self.R, self.V)]

    def sample(self) -> list[Statement]:
        return [Add(self.lam, self.DR)]
