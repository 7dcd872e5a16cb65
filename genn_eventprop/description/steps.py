"""Preprocessing: steps applied to the spikes of a sample before they reach the network, the same for every sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, cast

import numpy as np

from ..data.augment.encodings import ENCODINGS
from ..data.augment.steps import Step, fixed_steps
from ..errors import DescriptionError, check_known, suggest
from .safe import Guard

STEPS: dict[str, Any] = {step.__name__: step for step in fixed_steps} | ENCODINGS


def describe_steps(steps: Iterable[Step]) -> list[dict[str, Any]]:
    """Steps by name and numbers, or lists of numbers; infinite is None.

    Raises:
        DescriptionError: a step that is none of `STEPS`.
    """
    described = []
    for step in steps:
        kind, record = type(step).__name__, cast(Any, step)
        if not isinstance(step, tuple(STEPS.values())):
            raise DescriptionError(f"preprocessing by {kind} cannot be described; {suggest(kind, STEPS)}")
        described.append({"step": kind} | {k: v if np.isfinite(v).all() else None for k, v in asdict(record).items()})
    return described


def build_steps(records: Sequence[Mapping[str, Any]], guard: Guard) -> tuple[Step, ...]:
    """The reverse of `describe_steps`."""
    steps = []
    for record in records:
        numbers = dict(record)
        name = numbers.pop("step")
        check_known(name, STEPS, DescriptionError, f"preprocessing: unknown step {name!r}; ")
        known = {field.name for field in fields(STEPS[name])}
        if set(numbers) - known:
            raise DescriptionError(f"preprocessing: {name} has no setting {min(set(numbers) - known)!r}")
        settings = {k: _value(v, guard, name) for k, v in numbers.items() if v is not None}
        steps.append(STEPS[name](**settings))
    return tuple(steps)


def _value(value: Any, guard: Guard, where: str) -> Any:
    """A setting of a step: true or false, a number, or numbers."""
    if isinstance(value, (list, tuple)):
        return tuple(guard.number(each, where) for each in value)
    return value if isinstance(value, bool) else guard.number(value, where)
