"""`c99`: plain C99 from the same program as `cuda`; for checking, and the source of the C export."""

from .engine import C99Engine

__all__ = ["C99Engine"]
