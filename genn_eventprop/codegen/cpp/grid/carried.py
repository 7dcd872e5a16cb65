"""Trials that continue others: loading and storing states, and spikes on their way from the previous trial.

For every source with connections the arguments have the spikes at the end of the previous trial: those of sample b at step
r - D (r = 0 ... D) begin at start[b * (D + 1) + r]; see `engines/contract/state.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp

from ....plan import ConnectionRecord
from ....program.nodes import Buffer, name
from ....program.scope import Scope
from ...statements import indent
from ..context import Context
from .memory import Memory


class Carried:
    """Text for a context with `carry`; empty without."""

    memory: Memory

    def __init__(self, names: Context, scopes: Sequence[Scope]) -> None:
        self.names, self.scopes = names, scopes

    def buffers(self) -> list[Buffer]:
        """States that are carried from trial to trial, and spikes of the previous one."""
        if not self.names.carry:
            return []
        buffers = []
        for s in self.scopes:
            kinds = {"states": ("real", len(s.x)), "modes": ("int", len(modes(s)))}
            for what, (kind, n) in ((what, k) for what, k in kinds.items() if k[1]):
                buffers.append(Buffer(f"from_{what}_p{s.index}", ("batch", n, s.N), kind, "host"))
                buffers.append(Buffer(f"to_{what}_p{s.index}", ("batch", n, s.N), kind, "result"))
        for source in ("in", *(f"p{s.index}" for s in self.scopes if s.p.spiking)):
            buffers += [Buffer(f"before_{source}{tail}", ("rows",), "int", "host") for tail in ("", "_start")]
        return buffers

    def begin(self) -> str:
        """Loads states, after a trial from rest has been set up."""
        copies = "".join(
            f"std::memcpy({self.memory.pointer(b)}, {where}, {size});\n" for b, where, size in self._parts("from")
        )
        return f"if (!args.fresh) {{\n{indent(copies)}}}\n" if copies else ""

    def end(self) -> str:
        return "".join(
            f"std::memcpy({where}, {self.memory.pointer(b)}, {size});\n" for b, where, size in self._parts("to")
        )

    def _parts(self, way: str) -> list[tuple[Buffer, str, str]]:
        """(buffer, pointer among the arguments, bytes)."""
        parts = []
        for s in self.scopes if self.names.carry else ():
            for kind, symbols in (("states", s.x), ("modes", modes(s))):
                for i, x in enumerate(symbols):
                    b = s.table[x].buffer
                    place = f"args.{way}_{kind}_p{s.index} + (sample * {len(symbols)} + {i}) * {s.N}"
                    parts.append((b, place, f"{s.N} * sizeof *{self.memory.pointer(b)}"))
        return parts

    def earlier(self, c: ConnectionRecord) -> str:
        """The spikes of the previous trial that may arrive in this one; "" if none can."""
        from_input = c.source == self.names.plan.input.name
        if not self.names.carry or (from_input and c.delay == 0):
            return ""
        spikes = f"args.before_{self.names.p(c.source)}"
        return f"EarlierSpikes{{{spikes}, {spikes}_start + (sample + 1) * args.before_rows - 1}}"


def modes(s: Scope) -> list[sp.Symbol]:
    """The mode, and the step at which a timed mode ends."""
    return [name("w", n) for n in ("mode", "until") if name("w", n) in s.table]
