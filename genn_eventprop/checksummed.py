"""JSON records with a checksum: each holds the SHA-256 of the rest of itself.

A bad disk or an interrupted copy may change 0.97 to 0.93 unnoticed; here that is an error. A record
without a checksum (from an older version, or edited on purpose) is accepted as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

KEY = "sha256"


def with_checksum(record: Mapping[str, Any]) -> dict[str, Any]:
    """`record`, which JSON can write, with its checksum."""
    rest = {name: value for name, value in record.items() if name != KEY}
    return {**rest, KEY: _digest(rest)}


def verified(text: str | bytes) -> dict[str, Any]:
    """The record in `text`, without its checksum.

    Raises:
        ValueError: not UTF-8, not JSON, not a record, or changed since it was written.
    """
    try:
        record = json.loads(text)
    except RecursionError:
        raise ValueError("its brackets are nested too deeply") from None
    if not isinstance(record, dict):
        raise ValueError(f"expected a record, got a {type(record).__name__}")
    digest = record.pop(KEY, None)
    if digest is not None and digest != _digest(record):
        raise ValueError(f'its contents do not match its checksum; if you edited it on purpose, remove "{KEY}"')
    return record


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
