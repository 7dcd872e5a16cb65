"""The package brian2, imported when it is needed."""

from __future__ import annotations

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
