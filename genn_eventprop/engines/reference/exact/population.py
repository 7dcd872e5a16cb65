"""One population of a trial in continuous time: its equations and flow for the current parameters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .equations import Compiled, Equations
from .records import Arrival, Cause, ModeEnd

TOGETHER = 2.0**-46  # of the trial; as in lanes.hpp for float64


class PopulationModel:
    """Numbers of one population for the current parameters: equations and flow. values: parameter -> (1,), (N,) or
    (L,). copies: C."""

    def __init__(self, compiled: Compiled, values: Mapping[str, np.ndarray], duration: float, copies: int = 1) -> None:
        self.record, self.name, self.size = compiled.record, compiled.record.name, compiled.record.size
        self.lanes = copies * self.size
        self.equations = Equations(compiled, values, self.lanes)
        self.flow = self.equations.flow(duration * (1 + 4 * TOGETHER))  # pieces reach beyond the last instant
        self.spiking = compiled.record.spiking
        self.events = compiled.record.derived.events

    def puts_across(self, cause: Cause | None, event: int) -> bool:
        """Whether `cause` can make `event` happen at once: it moves the threshold, or a new mode allows the event."""
        d = self.record.derived
        if isinstance(cause, Arrival):
            return (d.events[event].dg_dx.T * d.receptors[cause.connection.receptor])[0] != 0
        if isinstance(cause, ModeEnd):
            return cause.mode not in d.events[event].modes
        return cause is not None
