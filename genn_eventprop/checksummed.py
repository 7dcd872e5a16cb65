"""JSON records with a checksum: each holds the SHA-256 of the rest of itself.

A bad disk or an interrupted copy may change 0.97 to 0.93 unnoticed; here that is an error. A record
without a checksum (from an older version, or edited on purpose) is accepted as it is.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

KEY = "sha256"
DEEPEST = 100
"""Brackets within brackets of a JSON text: nothing here has ten."""


def parsed(text: str | bytes) -> Any:
    """The value of a JSON text from anywhere.

    Raises:
        ValueError: not UTF-8, not JSON, nested deeper than `DEEPEST`, a number that is not finite (1e999, NaN).
    """
    try:
        value = json.loads(text, parse_constant=_finite, parse_float=_finite)
    except RecursionError:
        raise ValueError("its brackets are nested too deeply") from None
    return shallow(value)


def shallow(value: Any) -> Any:
    """`value`, if its lists and records are nested no deeper than `DEEPEST`.

    Raises:
        ValueError: they are.
    """
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(DEEPEST):
        if not level:
            return value
        parts = (part for each in level for part in (each.values() if isinstance(each, dict) else each))
        level = [part for part in parts if isinstance(part, (dict, list))]
    raise ValueError("its brackets are nested too deeply")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is not a finite number")
    return value


def with_checksum(record: Mapping[str, Any]) -> dict[str, Any]:
    """`record`, which JSON can write, with its checksum."""
    rest = {name: value for name, value in record.items() if name != KEY}
    return {**rest, KEY: _digest(rest)}


def verified(text: str | bytes) -> dict[str, Any]:
    """The record in `text`, without its checksum.

    Raises:
        ValueError: not a JSON text that `parsed` reads, not a record, or changed since it was written.
    """
    record = parsed(text)
    if not isinstance(record, dict):
        raise ValueError(f"expected a record, got a {type(record).__name__}")
    digest = record.pop(KEY, None)
    if digest is not None and digest != _digest(record):
        raise ValueError(f'its contents do not match its checksum; if you edited it on purpose, remove "{KEY}"')
    return record


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
