"""A network with all that a comparison of engines needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ...data import Currents, Events
from ...plan import Plan


@dataclass(frozen=True, eq=False)
class Case:
    """A network to run: a plan, initial values and data with a weight a sample (None: all the same).

    strict: an exact tie in it has one right answer, so that rounding is no excuse. class_weights: weights of samples
    are those of their classes. probe: the same network with a loss that runs in two halves, where that of the plan does
    not, for the gradients of input times. mirrors: whether all neurons can be numbered backwards (`mirror`). currents:
    those of the network by the names of their sources.
    """

    text: str
    plan: Plan
    parameters: dict[str, np.ndarray]
    events: Events
    weights: np.ndarray | None = None
    tune: bool = True
    strict: bool = False
    class_weights: bool = False
    probe: Plan | None = None
    mirrors: bool = False
    currents: Mapping[str, Currents] = field(default_factory=dict)

    @property
    def data(self) -> Events | dict[str, Events | Currents]:
        """What an engine loads."""
        return {self.plan.input.name: self.events, **self.currents} if self.currents else self.events
