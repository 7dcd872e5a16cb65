"""C functions that several targets use."""

from __future__ import annotations

from importlib import resources


def shared(name: str, prefix: str) -> str:
    """Text of the file `name`; prefix: of function definitions in the language of the target."""
    return resources.files(__package__).joinpath(name).read_text().replace("FUNCTION", prefix)
