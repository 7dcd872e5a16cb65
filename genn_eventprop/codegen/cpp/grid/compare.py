"""The outer loss of readouts, from its statements; on the grid and with exact spike times."""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp

from ....program.nodes import Access, Kernel
from ...statements import Target
from .lanes import OnceText
from .memory import Memory

CONSTANTS = {
    "o_infinity": "std::numeric_limits<double>::infinity()", "o_nan": "std::numeric_limits<double>::quiet_NaN()"
}  # fmt: skip


def compared(memory: Memory, kernel: Kernel) -> str:
    """The code of a loss; the readouts of the main one are in double precision in ``r``."""
    main = f"p{memory.plan.populations.index(memory.plan.output)}_w_r"

    def element(access: Access, write: Callable[[sp.Expr], str]) -> str:
        read = access.buffer.name == main
        return f"r[{write(access.index[0])}]" if read else memory.element(access, write)

    text = OnceText(Target(element, lambda *_: "", CONSTANTS), kernel).text()
    return memory.pointers() + text
