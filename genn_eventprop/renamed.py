"""Names of the previous version, which work for one more version with a `DeprecationWarning`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def renamed(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module some of whose names have changed.

    Args:
        module: its ``__name__``. names: old name -> new name in the same module.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        _warn(f"{module}.{name}", f"{module}.{names[name]}", 3)
        return getattr(import_module(module), names[name])

    return get


class RenamedAttribute:
    """An attribute under its old name, for reading.

    Args:
        name: the new one.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __set_name__(self, owner: type, name: str) -> None:
        self.old, self.new = f"{owner.__name__}.{name}", f"{owner.__name__}.{self.name}"

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        _warn(self.old, self.new, 3)
        return getattr(instance, self.name)


def _warn(old: str, new: str, level: int) -> None:
    message = f"{old} is now {new}; the old name will be removed in the next version"
    warnings.warn(message, DeprecationWarning, stacklevel=level)
