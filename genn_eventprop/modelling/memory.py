"""How much memory this machine has: what needs more is refused with numbers, before it is allocated."""

from __future__ import annotations

import os
from functools import lru_cache

from ..errors import EventPropError

UNKNOWN = 1 << 46
"""Bytes assumed where the system does not tell: 64 TiB."""


@lru_cache(maxsize=1)
def physical_memory() -> int:
    """Bytes of memory of this machine."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return UNKNOWN


def check_fits(needed: float, what: str, advice: str, error: type[EventPropError]) -> None:
    """Raise `error` if `needed` bytes are more than this machine has; before any of it is allocated.

    Args:
        what: what needs them, in the plural, e.g. "2 x 3 weights".
    """
    if needed > physical_memory():
        raise error(
            f"{what} take {in_words(needed)}, this machine has {in_words(physical_memory())} of memory; {advice}"
        )


def in_words(size: float) -> str:
    """``"3.1 GiB"``."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} EiB"
