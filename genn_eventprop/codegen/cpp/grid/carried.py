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

    def given(self) -> list[Buffer]:
        """States that are carried from trial to trial, and spikes of the previous one."""
        if not self.names.carry:
            return []
        found = []
        for s in self.scopes:
            kinds = {"states": ("real", len(s.x)), "modes": ("int", len(modes(s)))}
            for what, (kind, n) in ((what, k) for what, k in kinds.items() if k[1]):
                found.append(Buffer(f"from_{what}_p{s.index}", ("batch", n, s.N), kind, "host"))
                found.append(Buffer(f"to_{what}_p{s.index}", ("batch", n, s.N), kind, "result"))
        for source in ("in", *(f"p{s.index}" for s in self.scopes if s.p.spiking)):
            found += [Buffer(f"before_{source}{tail}", ("rows",), "int", "host") for tail in ("", "_start")]
        return found

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
        found = []
        for s in self.scopes if self.names.carry else ():
            for kind, symbols in (("states", s.x), ("modes", modes(s))):
                for i, x in enumerate(symbols):
                    b = s.table[x].buffer
                    place = f"args.{way}_{kind}_p{s.index} + (sample * {len(symbols)} + {i}) * {s.N}"
                    found.append((b, place, f"{s.N} * sizeof *{self.memory.pointer(b)}"))
        return found

    def _reaches(self, c: ConnectionRecord) -> bool:
        """Whether spikes of the previous trial may arrive in this one."""
        return self.names.carry and (c.delay > 0 or c.source != self.names.plan.input.name)

    def _row(self, c: ConnectionRecord) -> str:
        rows = "sample * args.before_rows + args.before_rows - 1 + at"
        return f"const int32_t* start = args.before_{self._source(c)}_start + {rows};\n"

    def _source(self, c: ConnectionRecord) -> str:
        names = [p.name for p in self.names.plan.populations]
        return f"p{names.index(c.source)}" if c.source in names else "in"

    def count(self, c: ConnectionRecord) -> str:
        """The declaration of `count` in `own` of `earlier`."""
        return "int64_t count" if self._reaches(c) else "const int64_t count"

    def earlier(self, c: ConnectionRecord, own: str) -> str:
        """`index` and `count` of the spikes that arrive at `step`: those of `own`, or of the previous trial."""
        if not self._reaches(c):
            return own
        before, from_input = f"args.before_{self._source(c)}", self._source(c) == "in"
        at = f"const int64_t at = step - args.{self.names.c(c)}_delay;\n" if from_input else ""
        take = f"{self._row(c)}index = {before} + start[0], count = start[1] - start[0];\n"
        return f"{own}{at}if (at < {0 if from_input else 1}) {{\n{indent(take)}}}\n"

    def arrivals(self, c: ConnectionRecord) -> tuple[str, str, str]:
        """For `by`, arrivals from the previous trial: code that counts them, their number, code that adds them."""
        if not self._reaches(c):
            return "", "", ""
        before, delay = f"args.before_{self._source(c)}", f"args.{self.names.c(c)}_delay" if c.delay > 0 else "0"
        loop = f"for (int64_t at = -{delay}; at <= 0 && at + {delay} < n_steps; ++at) {{\n"
        count = f"by.count({before} + start[0], start[1] - start[0]);\nearlier += start[1] - start[0];\n"
        put = f"for (int32_t i = start[0]; i < start[1]; ++i) by.put({before}[i], int32_t(at + {delay}));\n"
        row = self._row(c)
        return (
            f"int64_t earlier = 0;\n{loop}{indent(row + count)}}}\n", " + earlier", f"{loop}{indent(row + put)}}}\n"
        )  # fmt: skip


def modes(s: Scope) -> list[sp.Symbol]:
    """The mode, and the step at which a timed mode ends."""
    return [name("w", n) for n in ("mode", "until") if name("w", n) in s.table]
