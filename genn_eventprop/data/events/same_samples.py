"""What several recordings of the same samples say about them together: labels, groups and targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import DataError

if TYPE_CHECKING:
    from .events import Events


def about(parts: Sequence[Events]) -> dict[str, Any]:
    """Labels, groups, classes and targets for `Events`, from whichever parts have them.

    Raises:
        DataError: two parts contradict each other.
    """
    named: dict[str, list[np.ndarray | None]] = {}
    for part in parts:
        for name in (part.targets.dtype.names or ()) if part.targets is not None else ():
            named.setdefault(name, []).append(part.targets[name])
    plain = _agreed([None if p.targets is None or p.targets.dtype.names else p.targets for p in parts], "targets")
    if named and plain is not None:
        raise DataError("side_by_side: only some of the parts name their targets; name all: targets={name: ...}")
    return {
        "labels": _agreed([p.labels for p in parts], "labels"),
        "groups": _agreed([p.groups for p in parts], "groups"),
        "n_classes": max((p.n_classes for p in parts if p.n_classes is not None), default=None),
        "targets": {n: _agreed(found, f"targets {n!r}") for n, found in named.items()} or plain,
    }


def _agreed(values: Sequence[np.ndarray | None], what: str) -> np.ndarray | None:
    """The one value that there is, or that all of several are."""
    known = [v for v in values if v is not None]
    for other in known[1:]:
        if not np.array_equal(known[0], other, equal_nan=other.dtype.kind == "f"):
            raise DataError(
                f"side_by_side: the parts have different {what}; are their samples in the same order? Classes that "
                "mean something else are named targets, Events(..., targets={name: ...})"
            )
    return known[0] if known else None
