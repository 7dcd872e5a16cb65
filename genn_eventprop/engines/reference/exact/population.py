"""One population of a trial in continuous time: its equations and flow for the current parameters."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from .equations import Compiled, Equations
from .records import Arrival, Cause, ModeEnd

SAME_INSTANT = 2.0**-46
"""Times closer than this fraction of the trial are one instant: rounding may not order events. As in `lanes.hpp`."""


class PopulationModel:
    """Equations and flow of one population, with numbers for the current parameters.

    Args:
        values: parameter -> (1,), (N,) or (L,). duration: of the trial, ms. copies: C.
    """

    def __init__(self, compiled: Compiled, values: Mapping[str, np.ndarray], duration: float, copies: int = 1) -> None:
        self.record, self.name, self.size = compiled.record, compiled.record.name, compiled.record.size
        self.lanes = copies * self.size
        self.equations = Equations(compiled, values, self.lanes)
        # pieces reach a little beyond T: an event within `SAME_INSTANT` after T counts as one at T
        self.flow = self.equations.flow(duration * (1 + 4 * SAME_INSTANT))
        self.spiking = compiled.record.spiking
        self.events = compiled.record.derived.events
        self.observed_event = next(
            (e for e, event in enumerate(self.events) if event.emits and compiled.record.observed), -1
        )
        self._own_modes = [event.modes for event in compiled.record.derived.model.events]

    @cached_property
    def pushed(self) -> bool:
        """Whether an observed spike may be caused by what happens at the same instant: an arrival that moves its
        threshold, or the end of a mode that it is none of."""
        d, e = self.record.derived, self.observed_event
        moved = any((d.events[e].dg_dx.T * direction)[0] != 0 for direction in d.receptors.values())
        return moved or any(self._own_modes[e]) or len(self.events) > 1

    def can_trigger(self, cause: Cause | None, event: int) -> bool:
        """Whether `cause` can make `event` happen in the same instant: it moves g, or its mode change allows the event.

        Such an event has no gdot: its E goes to the cause (docs/equations.md, section 2).
        """
        d, modes = self.record.derived, self._own_modes[event]
        if isinstance(cause, Arrival):
            return (d.events[event].dg_dx.T * d.receptors[cause.connection.receptor])[0] != 0
        if isinstance(cause, ModeEnd):
            return bool(modes) and d.modes[cause.mode].name not in modes
        return cause is not None
