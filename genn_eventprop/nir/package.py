"""The package nir, imported when it is needed."""

from __future__ import annotations

from typing import Any

from ..errors import DescriptionError


def nir_package() -> Any:
    """The module nir.

    Raises:
        DescriptionError: it is not installed.
    """
    try:
        import nir
    except ImportError:
        raise DescriptionError("NIR graphs need the package nir: pip install 'genn_eventprop[nir]'") from None
    return nir
