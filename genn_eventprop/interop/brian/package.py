"""The package brian2, imported when it is needed."""

from __future__ import annotations

import inspect
from typing import Any

from ...errors import DescriptionError


def brian_package() -> Any:
    """The module brian2.

    Raises:
        DescriptionError: it is not installed.
    """
    try:
        import brian2
    except (ImportError, AttributeError) as error:  # the latter: Brian 2.9 with NumPy 2.4
        raise DescriptionError(
            f"models of Brian need brian2, which cannot be imported ({error}): pip install 'genn_eventprop[brian]'"
        ) from None
    return brian2


def names_outside(level: int = 0) -> dict[str, Any]:
    """The names where this package was called; `level` calls further out."""
    package, frame = __name__.partition(".")[0], inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame = frame.f_back
    for _ in range(level):
        frame = frame and frame.f_back
    return {} if frame is None else {**frame.f_globals, **frame.f_locals}
