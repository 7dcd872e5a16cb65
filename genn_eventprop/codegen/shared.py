"""Functions in C that several targets need, each written once."""

from __future__ import annotations

from importlib import resources


def shared(name: str, prefix: str) -> str:
    """Text of the file `name`; prefix: what stands before a function in the target's language."""
    return resources.files(__package__).joinpath(name).read_text().replace("FUNCTION", prefix)
