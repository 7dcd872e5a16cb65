"""A network with all that a comparison of engines needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ...data import Currents, Events
from ...plan import Plan


@dataclass(frozen=True, eq=False)
class Case:
    """A network to run: a plan, initial values and data with a weight a sample (None: all the same).

    strict: an exact tie in it has one right answer, so that rounding is no excuse. class_weights: weights of samples
    are those of their classes. probe: the same network with a loss that runs in two halves, where that of the plan does
    not, for the gradients of input times. mirrors: whether all neurons can be numbered backwards (`mirror`). beside:
    data of further inputs and of currents by their names; where these are all, only the labels and targets of `events`
    count.
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
    beside: Mapping[str, Events | Currents] = field(default_factory=dict)

    @property
    def data(self) -> Events | dict[str, Events | Currents]:
        """What an engine loads."""
        if self.plan.input.size:
            return {next(iter(self.plan.input.sizes)): self.events, **self.beside} if self.beside else self.events
        answers = {n: getattr(self.events, n) for n in ("labels", "targets", "n_classes")}
        return {name: replace(data, **answers) for name, data in self.beside.items()}
