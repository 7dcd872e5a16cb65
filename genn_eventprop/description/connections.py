"""Kinds of connectivity and delays, by their names and arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import DescriptionError, suggest
from ..modelling.connectivity import Connectivity, Conv2D, Dense, Grouped, OneToOne, Pool2D, Sparse
from ..modelling.delay import Delay
from ..modelling.network import Connection
from .parameters import build_bounds, build_value, describe_bounds, describe_value
from .safe import Guard

KINDS: dict[str, type[Connectivity]] = {
    kind.__name__: kind for kind in (Dense, Sparse, OneToOne, Conv2D, Pool2D, Grouped)
}
Values = Mapping[str, np.ndarray]


def describe_connection(c: Connection) -> dict[str, Any]:
    """What `connect` was given.

    Raises:
        DescriptionError: a kind that this format does not have.
    """
    return {
        "name": c.name,
        "source": c.source.name,
        "target": c.target.name,
        "receptor": c.receptor,
        "delay": c.delay if c.delays is None else _describe_delays(c.delays),
        "trainable": c.trainable if c.learned is None else c.learned.astype(int).tolist(),
        **({} if c.sign is None or c.share else {"sign": c.sign.tolist()}),
        **({"share": c.share.name} if c.share else {}),
        "connectivity": _describe_connectivity(c.connectivity, c.name),
    }


def build_connectivity(found: Mapping[str, Any], values: Values, guard: Guard, name: str) -> Connectivity:
    """The reverse; values: stored parameters by name."""
    arguments = dict(found)
    kind, weight, bounds = (arguments.pop(k) for k in ("kind", "weight", "bounds"))
    if kind not in KINDS:
        raise DescriptionError(f"connection {name!r} is of kind {kind!r}, which this version does not know")
    given: dict[str, Any] = {"bounds": build_bounds(bounds, guard, name)}
    if KINDS[kind] is not Pool2D:  # its weight follows from its scale
        given["weight"] = build_value(weight, values.get(f"{name}.weight"), guard, name)
    known = KINDS[kind].arguments
    for argument, value in arguments.items():
        if argument not in known:
            raise DescriptionError(f"connection {name!r}: unknown {argument!r} of {kind}; {suggest(argument, known)}")
        given[argument] = _argument(value, guard, f"{name}: {argument}")
    if kind == "Sparse" and given.get("probability") is given.get("fan_in") is None:
        pairs = values.get(f"{name}.pairs")
        if pairs is None:
            raise DescriptionError(f"connection {name!r}: its pairs, stored next to the description, are missing")
        given["pairs"] = pairs
    return KINDS[kind](**given)


def build_delay(found: Any, values: Values, guard: Guard, name: str) -> Any:
    """What `connect` takes as delay."""
    if not isinstance(found, Mapping):
        return found
    initial = build_value(found["initial"], values.get(f"{name}.delay"), guard, f"{name}.delay")
    kind, limit = guard.name(found["kind"], name), guard.number(found["max"], f"{name}: max")
    return Delay(initial, kind=kind, trainable=bool(found["trainable"]), max=limit)


def _describe_delays(delays: Delay) -> dict[str, Any]:
    initial = describe_value(delays.initial)
    return {"initial": initial, "kind": delays.kind, "trainable": delays.trainable, "max": delays.max}


def _describe_connectivity(connectivity: Connectivity, name: str) -> dict[str, Any]:
    kind = type(connectivity).__name__
    if type(connectivity) is not KINDS.get(kind):
        raise DescriptionError(f"connection {name!r} is {kind}, which model descriptions do not support yet")
    weight, bounds = describe_value(connectivity.weight), describe_bounds(connectivity.bounds)
    options = {k: list(v) if isinstance(v, tuple) else v for k, v in connectivity.options().items()}
    return {"kind": kind, "weight": weight, "bounds": bounds, **options}


def _argument(value: Any, guard: Guard, where: str) -> Any:
    """A number, two whole numbers, True or False, or None."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, list) and value and isinstance(value[0], list):
        return np.array(value, np.int64)  # a mask
    if isinstance(value, list):
        return tuple(int(guard.number(v, where)) for v in value)
    return guard.number(value, where)
