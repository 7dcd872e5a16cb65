"""An auxiliary loss that is taken over the whole trial, on engines that compile such a loss only as the main one: there
the losses change places, and outside they are what they were."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from ...errors import EngineError
from ...losses.kinds import READOUTS
from ...plan import Plan
from .data import Data, batch_indices
from .engine import Engine
from .result import Result, summed
from .wrapper import Around


def over_the_trial_first(plan: Plan) -> Plan | None:
    """The plan with its only loss over the whole trial as the main one; None if that is so, or would not be the same.

    Published strengths of regularisers depend on the main loss.
    """
    along = [loss for loss in plan.losses if READOUTS[loss.readout].in_trial]
    if len(along) != 1 or along[0] is plan.loss or any(r.published for r in plan.pushes):
        return None
    others = tuple(loss for loss in plan.losses if loss is not along[0])
    return replace(plan, loss=along[0], auxiliary=others)


class Reordered(Around):
    """An engine that runs `plan`, by one that runs `over_the_trial_first(plan)`."""

    def __init__(self, engine: Engine, plan: Plan) -> None:
        super().__init__(engine)
        self.plan = plan
        self._inside: WeakKeyDictionary[Data, Data] = WeakKeyDictionary()

    def load(self, events: Any) -> Data:
        inside = self.inner.load(events)
        data = _led_by(inside, self.inner.plan, self.plan)
        self._inside[data] = inside
        return data

    def run(self, data: Data, samples: Any, *, training: bool = False, record_spikes: bool = False) -> Result:
        samples = batch_indices(data, samples)
        data.scored(samples, training=training)
        if data not in self._inside:
            self._inside[data] = _led_by(data, self.plan, self.inner.plan)
        inside, along = self._inside[data], self.inner.plan.loss
        if training and not inside.scored(samples).all():
            raise EngineError(
                f"{self.name} takes the loss of {along.output!r} over the whole trial and needs its target for every "
                "sample; leave such samples out, or use a reference engine"
            )
        self.inner.seed, self.inner.epoch = self.seed, self.epoch
        result = self.inner.run(inside, samples, training=training, record_spikes=record_spikes)
        self.gradients = self.inner.gradients
        parts = {loss.output: result.parts[loss.output] for loss in self.plan.losses}
        main = parts[self.plan.loss.output]
        return replace(
            result, loss=summed(self.plan, parts), prediction=main.prediction, readout=main.readout, parts=parts
        )

    def cannot_carry(self) -> str:
        return f"{self.name} carries nothing beside an auxiliary loss over the trial; use engine='reference_clock'"

    def notes(self, batch: int) -> list[str]:
        return self.inner.notes(batch)

    def finite(self, name: str) -> bool:
        return self.inner.finite(name)


def _led_by(data: Data, plan: Plan, other: Plan) -> Data:
    """Data of a plan as that of another, of which another loss is the main one."""
    answers = {**data.answers, plan.loss.output: (data.labels, data.targets)}
    labels, targets = answers.pop(other.loss.output)
    return replace(data, labels=labels, targets=targets, answers=answers)
