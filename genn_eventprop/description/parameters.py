"""Parameters and the initialisers that they start from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DescriptionError, NetworkError, suggest
from ..modelling.parameters import Array, Constant, FanIn, Gamma, Normal, Param, Uniform
from .safe import Guard

INITIALISERS: dict[str, type[Any]] = {kind.__name__: kind for kind in (Constant, Uniform, Normal, FanIn, Gamma)}
STORED = "Stored"


@dataclass(frozen=True)
class Stored:
    """Values that are stored next to the description: given arrays, and draws of a user's own initialiser."""

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> np.ndarray:
        raise NetworkError("these values are not drawn; they are stored next to the description of the model")


def describe_value(value: Any) -> Any:
    """A number as it is; an initialiser by name and numbers, inf as None; anything else as `Stored`."""
    if np.ndim(value) == 0 and not hasattr(value, "sample"):
        return value.item() if hasattr(value, "item") else value
    if type(value).__name__ not in INITIALISERS or type(value) is not INITIALISERS[type(value).__name__]:
        return {"initialiser": STORED}
    numbers = dataclasses.asdict(value)
    return {"initialiser": type(value).__name__, **{k: v if np.isfinite(v) else None for k, v in numbers.items()}}


def build_value(found: Any, values: np.ndarray | None, guard: Guard, where: str) -> Any:
    """The reverse of `describe_value`; `values` are the stored ones, None if there are none at hand."""
    if not isinstance(found, Mapping):
        return guard.number(found, where)
    numbers = dict(found)
    kind = numbers.pop("initialiser", None)
    if kind == STORED:
        return Stored() if values is None else Array(np.asarray(values, np.float64))
    if kind not in INITIALISERS:
        raise DescriptionError(f"{where}: unknown initialiser {kind!r}; {suggest(str(kind), INITIALISERS)}")
    known = {field.name for field in dataclasses.fields(INITIALISERS[kind])}
    if set(numbers) - known:
        raise DescriptionError(f"{where}: {kind} has no number {min(set(numbers) - known)!r}")
    return INITIALISERS[kind](**{k: np.inf if v is None else guard.number(v, where) for k, v in numbers.items()})


def describe_bounds(bounds: Any) -> list[Any]:
    """(lower, upper): numbers, arrays as lists, None for open."""
    return [None if b is None else _finite(np.asarray(b, float).tolist()) for b in bounds]


def _finite(value: Any) -> Any:
    """Infinite numbers as None, in lists within lists."""
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return value if np.isfinite(value) else None


def build_bounds(found: Any, guard: Guard, where: str) -> tuple[Any, Any]:
    if not isinstance(found, list) or len(found) != 2:
        raise DescriptionError(f"{where}: bounds are a pair, got {found!r}")
    lower, upper = (_bound(b, open_, guard, where) for b, open_ in zip(found, (-np.inf, np.inf), strict=True))
    return lower, upper


def _bound(found: Any, open_: float, guard: Guard, where: str) -> Any:
    if isinstance(found, list):
        return np.array(_filled(found, open_), np.float64)
    return found if found is None else guard.number(found, where)


def _filled(value: Any, open_: float) -> Any:
    """None as `open_`, in lists within lists."""
    if isinstance(value, list):
        return [_filled(v, open_) for v in value]
    return open_ if value is None else value


def describe_param(param: Param) -> dict[str, Any]:
    """`Param` as numbers and texts."""
    return {
        "value": describe_value(param.value),
        "unit": param.unit,
        "trainable": param.trainable,
        "shared": param.shared,
        "bounds": describe_bounds(param.bounds),
    }


def build_param(found: Mapping[str, Any], values: np.ndarray | None, guard: Guard, where: str) -> Param:
    """The reverse of `describe_param`."""
    return Param(
        build_value(found["value"], values, guard, where),
        guard.label(found["unit"], f"{where}: unit"),
        trainable=bool(found["trainable"]),
        shared=bool(found["shared"]),
        bounds=build_bounds(found["bounds"], guard, where),
    )
