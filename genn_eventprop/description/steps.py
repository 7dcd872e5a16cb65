"""Preprocessing: steps applied to the spikes of a sample before they reach the network, the same for every sample."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..data import Events
from ..data.augment.counter import Draw
from ..data.augment.steps import FIXED, Step
from ..errors import DescriptionError, suggest
from .safe import Guard

STEPS: dict[str, Any] = {step.__name__: step for step in FIXED}


def describe_steps(steps: Iterable[Step]) -> list[dict[str, Any]]:
    """Steps by name and numbers; infinite is None.

    Raises:
        DescriptionError: a step that is none of `data.augment.FIXED`.
    """
    described = []
    for step in steps:
        if not isinstance(step, FIXED) or not dataclasses.is_dataclass(step):
            kind = type(step).__name__
            raise DescriptionError(f"preprocessing by {kind} cannot be described; {suggest(kind, STEPS)}")
        numbers = {k: v if np.isfinite(v) else None for k, v in dataclasses.asdict(step).items()}
        described.append({"step": type(step).__name__, **numbers})
    return described


def build_steps(found: Sequence[Mapping[str, Any]], guard: Guard) -> tuple[Step, ...]:
    """The reverse of `describe_steps`."""
    steps = []
    for each in found:
        numbers = dict(each)
        name = numbers.pop("step")
        if name not in STEPS:
            raise DescriptionError(f"preprocessing: unknown step {name!r}; {suggest(str(name), STEPS)}")
        known = {field.name for field in dataclasses.fields(STEPS[name])}
        if set(numbers) - known:
            raise DescriptionError(f"preprocessing: {name} has no setting {min(set(numbers) - known)!r}")
        given = {k: v if isinstance(v, bool) else guard.number(v, name) for k, v in numbers.items() if v is not None}
        steps.append(STEPS[name](**given))
    return tuple(steps)


def apply(steps: Iterable[Step], events: Events) -> Events:
    """All steps in order; none of them draws random numbers."""
    for step in steps:
        events = step(events, Draw(0, 0, np.arange(len(events))))
    return events
