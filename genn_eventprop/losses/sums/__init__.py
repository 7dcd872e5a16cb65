"""Outer losses that are a sum over outputs; one file each, and a line here. Every engine runs them."""

from .absolute_error import ABSOLUTE_ERROR
from .base import Sum

SUMS: dict[str, Sum] = {
    "absolute_error": ABSOLUTE_ERROR,
}

__all__ = ["SUMS", "Sum"]
