"""Lists of what happened to the neurons of a population: one for each kind of event, one for ends of timed modes.

An entry has the neuron and what the backward pass needs; those of step k are start[k] .. start[k + 1]. If a population
has a single event and always sends a spike with it, the list of that event is also the list of its spikes. A list of
maxima, with `program.births.BIRTH` and perhaps `KINK`, says from which of them a spike may be born.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sympy as sp

from ....modelling.expressions import symbol
from ....program.births import BIRTH, KINK
from ....program.nodes import Access, Buffer, Set, Statement, StoreEvent, Undo, name
from ....program.scope import Scope
from ...rare import symbols

ENTRY, AT = symbol("entry"), symbol("i")  # of a new entry, and of one that is there


@dataclass(frozen=True)
class Append:
    """Appends the neuron to a list; if `numbered`, `entry` is its index there."""

    into: str
    numbered: bool = True


class Lists:
    """The lists of one population; `undone`: the statements that undo what happened."""

    def __init__(self, scope: Scope, undone: Iterable[Statement]) -> None:
        self.prefix, p, self.size = f"p{scope.index}_", scope.p, scope.N
        self.n_events, self.spiking = len(scope.d.events), p.spiking
        self.born = [s for s in (BIRTH, KINK) if s in scope.table]
        self.alone = self.n_events == 1 and scope.d.events[0].emits and not (p.dropout > 0 and p.dropped_reset)
        self.timed = any(m.lasts for m in scope.d.modes)
        self.fields = {u.kind: _fields(u.changes) for u in undone if isinstance(u, Undo)}

    @property
    def kinds(self) -> list[int]:
        return [*range(self.n_events), *([self.n_events] if self.timed else [])]

    @property
    def spikes(self) -> str:
        return f"work.{self.prefix}spikes"

    @property
    def births(self) -> str:
        return f"work.{self.prefix}births"

    def name(self, kind: int) -> str:
        """The list for a kind of entry, in the memory of a thread."""
        if kind == self.n_events:
            return f"work.{self.prefix}ends"
        return self.spikes if self.alone else f"work.{self.prefix}event{kind}"

    def sizes(self) -> dict[str, int]:
        """For every list, name -> how many numbers an entry has."""
        sizes = {self.name(k): len(self.fields[k]) for k in self.kinds}
        sizes |= {self.births: len(self.born)} if self.born else {}
        return sizes | ({} if self.alone or not self.spiking else {self.spikes: 0})

    def table(self, kind: int) -> dict[sp.Symbol, Access]:
        """Fields of a new entry of a kind, and of one that is undone."""
        table = dict[sp.Symbol, Access]()
        for k, field in enumerate(self.fields[kind]):
            record = Buffer(f"{self.name(kind)}.record[{k}]", ("entries",))
            table |= {name("e", kind, field): Access(record, (ENTRY,)), name("b", field): Access(record, (AT,))}
        return table

    def append(self, entry: StoreEvent) -> list[Statement]:
        """A new entry."""
        fields = dict(entry.fields)
        values = [Set(name("e", entry.kind, f), fields[f]) for f in self.fields[entry.kind]]
        return [Append(self.name(entry.kind), bool(values)), *values]  # type: ignore[list-item]


def _fields(changes: Iterable[Statement]) -> list[str]:
    """What is needed of an entry."""
    return sorted(str(s)[2:] for s in symbols(changes) if str(s).startswith("b_"))
