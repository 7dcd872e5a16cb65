"""C functions that several targets use."""

from __future__ import annotations

from importlib import resources


def shared(name: str, prefix: str, out_of_line: str = "") -> str:
    """Text of the file `name`; prefix: of function definitions in the language of the target; out_of_line: of those that
    are too long to be put into their callers, if the target says that in another way."""
    text = resources.files(__package__).joinpath(name).read_text()
    return text.replace("FUNCTION", prefix).replace("OUT_OF_LINE", out_of_line or prefix)
