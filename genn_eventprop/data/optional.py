"""Optional libraries, imported where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType

from ..errors import DataError


def require(module: str, purpose: str, extra: str = "data") -> ModuleType:
    """The module, or an error that says how to install it: with the `extra` of this package."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(
            f'{purpose} need {module}, which cannot be imported ({error}); pip install "genn_eventprop[{extra}]"'
        ) from error
