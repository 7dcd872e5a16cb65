"""Preprocessing: steps applied to the spikes of a sample before they reach the network, the same for every sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, TypeVar

import numpy as np

from ..data import Currents, Events
from ..data.augment.counter import CounterRNG
from ..data.augment.steps import Step, fixed_steps
from ..errors import DescriptionError, suggest
from .safe import Guard

Set = TypeVar("Set", Events, Currents)
STEPS: dict[str, Any] = {step.__name__: step for step in fixed_steps}


def describe_steps(steps: Iterable[Step]) -> list[dict[str, Any]]:
    """Steps by name and numbers; infinite is None.

    Raises:
        DescriptionError: a step that is none of `fixed_steps`.
    """
    described = []
    for step in steps:
        kind, record = type(step).__name__, step if isinstance(step, fixed_steps) else None
        if record is None:
            raise DescriptionError(f"preprocessing by {kind} cannot be described; {suggest(kind, STEPS)}")
        described.append({"step": kind} | {k: v if np.isfinite(v) else None for k, v in asdict(record).items()})
    return described


def build_steps(records: Sequence[Mapping[str, Any]], guard: Guard) -> tuple[Step, ...]:
    """The reverse of `describe_steps`."""
    steps = []
    for record in records:
        numbers = dict(record)
        name = numbers.pop("step")
        if name not in STEPS:
            raise DescriptionError(f"preprocessing: unknown step {name!r}; {suggest(str(name), STEPS)}")
        known = {field.name for field in fields(STEPS[name])}
        if set(numbers) - known:
            raise DescriptionError(f"preprocessing: {name} has no setting {min(set(numbers) - known)!r}")
        settings = {k: v if isinstance(v, bool) else guard.number(v, name) for k, v in numbers.items() if v is not None}
        steps.append(STEPS[name](**settings))
    return tuple(steps)


def apply(steps: Iterable[Any], events: Set) -> Set:
    """All steps in order, of spikes or of currents; none of them draws random numbers."""
    for step in steps:
        events = step(events, CounterRNG(0, 0, np.arange(len(events))))
    return events
