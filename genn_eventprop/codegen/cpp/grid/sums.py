"""Text for what connections keep of the sums of arrivals, of all weights and of those of one sign."""

from __future__ import annotations

from ....program.nodes import Buffer
from ...statements import indent


def delay_ring(sums: Buffer) -> str:
    """The ring that leads to sums."""
    return f"work.{sums.name}_ring"


def suffix_of(part: str) -> str:
    """Of names that belong to a part of the weights."""
    return "" if part == "all" else f"_{part}"


def if_trained(part: str, code: str) -> str:
    """Code for sums of a part of the weights."""
    if part == "all":
        return code
    return f"if (args.training) {code}" if code.count("\n") == 1 else f"if (args.training) {{\n{indent(code)}}}\n"


def add_row(np_: str, into: str, row: str) -> str:
    """Code that adds a row of `np_` numbers."""
    return f"add_row<{np_}>({into}, {row});\n"
