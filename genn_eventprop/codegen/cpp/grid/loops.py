"""Kernels as loops: over all neurons, which the compiler vectorises, and over the entries of lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sympy as sp

from ....program.births import BIRTH
from ....program.events import SENT
from ....program.nodes import (
    NEURON,
    Access,
    Add,
    Buffer,
    Diverged,
    Kernel,
    Let,
    Range,
    Set,
    Statement,
    StoreEvent,
    Undo,
    When,
    mapped,
    name,
    normal_number,
    walk,
)
from ....program.scope import Scope
from ...rare import EventSplit, live_statements, split, without_entry
from ...statements import Spelling, indent
from .lanes import VectorLoopWriter
from .lists import Append, Lists
from .memory import Memory

DRAWN = name("v", "noise")
HAPPENED, GUARDED = name("w", "happened"), name("w", "guarded")  # lists, and a counter of the trial, stand for these
Table = Mapping[sp.Symbol, Access]


class Loops:
    """Loops of one population; direct: sum of arrivals -> the state to which arrivals are added directly."""

    def __init__(self, memory: Memory, scope: Scope, lists: Lists, direct: Mapping[sp.Symbol, sp.Symbol]) -> None:
        self.memory, self.s, self.lists, self.direct = memory, scope, lists, direct
        self.N, self.NP, self.prefix = f"N_p{scope.index}", f"NP_p{scope.index}", f"p{scope.index}_"
        self.spelling = Spelling(memory.element, self._diverged)

    # forwards

    def forward(self, kernel: Kernel) -> str:
        """A loop over all neurons, then one over those with an event."""
        body = mapped(kernel.body, statement=self._on_grid)
        table = {**kernel.table, GUARDED: Access(Buffer(f"{self.prefix}w_guarded", ()), ())}
        out = self._noise(body) + "".join(self._part(part, table) for part in split(body))
        return out + (self._births(table) if any(isinstance(s, Set) and s.target == BIRTH for s in body) else "")

    def _births(self, table: Table) -> str:
        """Appends the neurons with a new largest maximum at the step to the list of maxima."""
        births, array = self.lists.births, self.memory.pointer(table[BIRTH].buffer)
        fields = [f"{births}.record[{i}][k] = {self.memory.pointer(table[s].buffer)}[{births}.neuron[k]]"
                  for i, s in enumerate(self.lists.born)]  # fmt: skip
        body = f"""\
const int64_t first = {births}.count;
{births}.reserve({self.NP});
{births}.count += find_crossed<{self.N}>({births}.neuron + first, {array});
for (int64_t k = first; k < {births}.count; ++k) {", ".join(fields)};
{births}.start[step + 1] = int32_t({births}.count);
"""
        return f"if (args.training) {{\n{indent(body)}}}\n"

    def _on_grid(self, s: Statement) -> list[Statement] | None:
        """What replaces a statement on this target, None to keep it."""
        if isinstance(s, When) and isinstance(s.body[0], Diverged) and s.condition.args[0] in self.s.x:
            return []  # states are looked at when the trial is over
        if isinstance(s, Set) and (s.target in self.direct or (s.target in (HAPPENED, GUARDED) and s.value == 0)):
            return []
        if isinstance(s, Add) and s.value in self.direct:
            return []
        if isinstance(s, Add) and s.value.atoms(normal_number):
            return [Add(s.target, DRAWN)]
        alone = self.lists.alone and isinstance(s, (Let, Set)) and s.target == SENT
        return [] if alone else None

    def _noise(self, body: list[Statement]) -> str:
        """Draws the noise of the step."""
        if not any(isinstance(s, Add) and s.value == DRAWN for s in body):
            return ""
        array, noise = self._array(DRAWN), f"args.{self.prefix}noise"
        return f"draw_noise<{self.NP}>({array}, scalar({noise}), args.quantiles, {noise}_key[sample], step + 1);\n"

    def _spill(self, s: sp.Symbol) -> Access:
        """A local variable that is kept in memory, for every neuron."""
        return Access(Buffer(f"{self.prefix}{s}", (self.s.N,)), (NEURON,))

    def _array(self, s: sp.Symbol) -> str:
        return self.memory.pointer(self._spill(s).buffer)

    def _part(self, part: EventSplit, table: Table) -> str:
        table = {**table, **{s: self._spill(s) for s in (*part.spilled, DRAWN)}}
        spilled = lambda s: isinstance(s, Let) and s.target in part.spilled  # noqa: E731
        hot = self.all([Set(s.target, s.value) if spilled(s) else s for s in part.vector_loop], table)  # type: ignore[union-attr]
        return hot if part.test is None else hot + "{\n" + indent(self._rare(part, table)) + "}\n"

    def all(self, body: Iterable[Statement], table: Table) -> str:
        """A loop over all neurons."""
        rows = [s for s in body if isinstance(s, Range)]  # inside which the loop over neurons is
        out = "".join(self._lanes((), table).loop(r, self.all(r.body, table)) for r in rows)
        straight = [s for s in body if not isinstance(s, Range)]
        if not straight:
            return out
        w = self._lanes(straight, table, rows=True)
        shared, each = w.shared(), w.each()
        loop = f"INDEPENDENT for (int neuron = 0; neuron < {self.NP}; ++neuron) {{\n{indent(each)}}}\n"
        return out + (f"{{\n{indent(shared + loop)}}}\n" if shared else loop)

    def _lanes(self, body: Iterable[Statement], table: Table, rows: bool = False) -> VectorLoopWriter:
        return VectorLoopWriter(self.spelling, Kernel(tuple(body), table), self.s.index, rows)

    def _rare(self, part: EventSplit, table: Table) -> str:
        """Handles the neurons whose test is not negative, and appends them to the lists of events."""
        lists, kinds = self.lists, [s.kind for s in walk(part.rare) if isinstance(s, StoreEvent)]
        ends = kinds == [lists.n_events]  # of modes, which belong to the step that begins
        body = mapped(part.rare, statement=lambda s: lists.append(s) if isinstance(s, StoreEvent) else None)
        names = [lists.name(k) for k in kinds]
        if not ends and not lists.alone and lists.spiking:
            names.append(lists.spikes)
            body.append(When(SENT, (Append(lists.spikes, False),)))  # type: ignore[arg-type]
        for kind in kinds:
            table = {**table, **lists.table(kind)}
        in_place = ends or lists.alone
        crossed, first = (
            (f"{names[0]}.neuron", f"{names[0]}.count") if in_place else (f"work.{self.prefix}crossed", "0")
        )
        # events happen at the end of a step, and belong to the next one; modes end as a step begins
        w, step = self._lanes(body, table), "step" if ends else "step + 1"
        text = "".join(f"{n}.start[{step}] = int32_t({n}.count);\n{n}.reserve({self.NP});\n" for n in names)
        text += f"const int64_t first = {first}, end = first + find_crossed<{self.N}>({crossed} + first, {self._array(part.test)});\n"
        text += w.shared()
        text += f"for (int64_t k = first; k < end; ++k) {{\n{indent(f'const int neuron = {crossed}[k];' + chr(10) + w.each())}}}\n"
        after = "step + 1" if ends else "step + 2"
        return text + "".join(f"{n}.start[{after}] = int32_t({n}.count);\n" for n in names)

    def _diverged(self, population: int, state: int) -> str:
        return f"return diverged(work, {population}, {state}, neuron);"

    # once more

    def replay(self, kernel: Kernel, live: set[sp.Symbol]) -> str:
        """`forward` again for the states alone; what happened is taken from the lists."""
        body, table = mapped(kernel.body, statement=self._on_grid), {**kernel.table, DRAWN: self._spill(DRAWN)}
        out = ""
        for part in reversed(split(body)):
            rare = "".join(self._again(case, table, live) for case in part.cases)
            hot = live_statements(part.vector_loop, live)
            out = self._noise(hot) + (self.all(hot, table) if hot else "") + rare + out
        return out

    def _again(self, body: Iterable[Statement], table: Table, live: set[sp.Symbol]) -> str:
        kind = next(s.kind for s in walk(body) if isinstance(s, StoreEvent))
        changes = live_statements([inner for s in body for inner in without_entry(s)], live)
        offset = 0 if kind == self.lists.n_events else 1
        return self._entries(kind, changes, table, ("step", "step + 1", "step + 2")[offset:]) if changes else ""

    # backwards

    def undo(self, kernel: Kernel) -> str:
        """A loop over all neurons, then loops that undo the entries of the step, kind by kind."""
        # neurons with an event are few: a test for one in the loop over all of them would keep it from being vectors
        straight = [s for s in kernel.body if not isinstance(s, Undo)]
        out = self.all(straight, kernel.table) if straight else ""
        for u in kernel.body:
            if isinstance(u, Undo):
                table = {**kernel.table, **self.lists.table(u.kind)}
                entries = self._entries(u.kind, u.changes, table, ("step", "step + 1"))
                out += self.undone(entries) if self.lists.alone and u.kind < self.lists.n_events else entries
        return out

    def undone(self, entries: str) -> str:
        """Text that undoes the entries of a list that is also that of the spikes."""
        return entries

    def _entries(self, kind: int, body: Iterable[Statement], table: Table, steps: tuple[str, ...]) -> str:
        """A loop over the entries of one step in a list."""
        entries, w = self.lists.name(kind), self._lanes(body, table)
        shared, each = w.shared(), w.each()
        head = f"const int64_t first = {entries}.start[{steps[0]}], end = {entries}.start[{steps[1]}];\n"
        each = f"const int neuron = {entries}.neuron[i];\n{each}"
        loop = f"for (int64_t i = first; i < end; ++i) {{\n{indent(each)}}}\n"
        inner = f"if (first < end) {{\n{indent(shared + loop)}}}\n" if shared else loop
        return f"{{\n{indent(head + inner)}}}\n"
