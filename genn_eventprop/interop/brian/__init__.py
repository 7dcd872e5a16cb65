"""Models and networks of Brian 2 (extra ``[brian]``).

The package brian2 is imported when one of these is called.
"""

from importlib import import_module
from typing import Any

_FILES: dict[str, str] = {}


def __getattr__(name: str) -> Any:
    if name in _FILES:
        return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
