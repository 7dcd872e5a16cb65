"""Engines that run their batches through another engine: the base class, and the one that exchanges two losses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ...losses.kinds import READOUTS
from ...plan import Plan
from .data import Data, batch_indices
from .engine import Engine
from .observed import Observed
from .result import Result, summed


class _OfInner:
    """An attribute of a wrapper that is that of its inner engine, whichever array or number this has now."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, wrapper: EngineWrapper, owner: type) -> Any:
        return getattr(wrapper.inner, self.name)

    def __set__(self, wrapper: EngineWrapper, value: Any) -> None:
        setattr(wrapper.inner, self.name, value)


class EngineWrapper(Engine):
    """Shares parameters, gradients and settings with `inner`; a class derived from it adds `run`."""

    gradients: Any = _OfInner()
    seed: Any = _OfInner()
    epoch: Any = _OfInner()

    def __init__(self, engine: Engine) -> None:
        self.lock = engine.lock
        self.inner, self.plan, self.name, self.reason = engine, engine.plan, engine.name, engine.reason
        self.slope_floor, self.remarks, self.weight_rows = engine.slope_floor, engine.remarks, engine.weight_rows
        self.parameters = engine.parameters

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.inner,)

    def load(self, events: Any) -> Data:
        return self.inner.load(events)

    @property
    def records(self) -> bool:  # type: ignore[override]
        return self.inner.records

    def _record(self, data: Data, samples: np.ndarray, times: np.ndarray, adjoint: bool) -> dict[str, np.ndarray]:
        with self.inner.observing(self._observed):
            return self.inner._record(data, samples, times, adjoint)

    def use(self, optimiser: Any) -> None:
        self.inner.use(optimiser)

    def update(self, optimiser: Any) -> None:
        self.inner.update(optimiser)

    def share_machine(self, number: int, processes: int) -> None:
        self.inner.share_machine(number, processes)

    def stop(self, stopping: bool = True) -> None:
        self.inner.stop(stopping)

    def close(self) -> None:
        self.inner.close()


def with_trajectory_loss_first(plan: Plan) -> Plan | None:
    """The same plan with its trajectory loss (one that needs V over the whole trial) as the main loss.

    None if there is nothing to exchange: no trajectory loss or several, or it is the main one already. None also where
    regularisers have published strengths, since these depend on which loss is the main one.
    """
    trajectory = [loss for loss in plan.losses if READOUTS[loss.readout].in_trial]
    if len(trajectory) != 1 or trajectory[0] is plan.loss or any(r.published for r in plan.pushes):
        return None
    others = tuple(loss for loss in plan.losses if loss is not trajectory[0])
    return replace(plan, loss=trajectory[0], auxiliary=others)


class SwappedLosses(EngineWrapper):
    """Compiles the trajectory loss as the main one and swaps the results back.

    Engines that run a loss inside the trial do so for the main loss only; the sum of losses is the same either way.

    Args:
        engine: runs `with_trajectory_loss_first(plan)`. plan: as the user made it.
    """

    def __init__(self, engine: Engine, plan: Plan) -> None:
        super().__init__(engine)
        self.plan = plan
        self._swapped: WeakKeyDictionary[Data, Data] = WeakKeyDictionary()  # data of `plan` -> that of `inner`

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.inner, self.plan)

    def load(self, events: Any) -> Data:
        swapped = replace(self.inner.load(events), exchanged=True)
        data = replace(_relabel_data(swapped, self.inner.plan, self.plan), exchanged=False)
        self._swapped[data] = swapped
        return data

    def run(
        self, data: Data, samples: Any, *, training: bool = False, record_spikes: bool = False,
        observed: Observed | None = None,
    ) -> Result:  # fmt: skip
        samples = batch_indices(data, samples)
        data.scored(samples, training=training)
        swapped = self._of_inner(data)
        result = self.inner.run(swapped, samples, training=training, record_spikes=record_spikes, observed=observed)
        parts = {loss.output: result.parts[loss.output] for loss in self.plan.losses}
        main = parts[self.plan.loss.output]
        return replace(
            result, loss=summed(self.plan, parts), prediction=main.prediction, readout=main.readout, parts=parts
        )

    def _of_inner(self, data: Data) -> Data:
        if data not in self._swapped:
            self._swapped[data] = replace(_relabel_data(data, self.plan, self.inner.plan), exchanged=True)
        return self._swapped[data]

    def _record(self, data: Data, samples: np.ndarray, times: np.ndarray, adjoint: bool) -> dict[str, np.ndarray]:
        return super()._record(self._of_inner(data), samples, times, adjoint)

    def why_stateless(self) -> str:
        return f"{self.name} carries nothing beside an auxiliary loss over the trial; use engine='reference_clock'"

    def notes(self, batch: int) -> list[str]:
        return self.inner.notes(batch)

    def finite(self, name: str) -> bool:
        return self.inner.finite(name)


def _relabel_data(data: Data, plan: Plan, other: Plan) -> Data:
    """Data of `plan` as that of `other`, whose main loss is another one: its targets become the main ones."""
    answers = {**data.answers, plan.loss.output: (data.labels, data.targets)}
    labels, targets = answers.pop(other.loss.output)
    return replace(data, labels=labels, targets=targets, answers=answers)
