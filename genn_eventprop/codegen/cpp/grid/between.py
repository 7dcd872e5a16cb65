"""Operations between neurons: adding, multiplying and summing rows of weights, by the loops of `runtime.hpp`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ....plan import ConnectionRecord
from ....program.trial import Deliver, Gather, GatherDelays, Trial
from ...statements import indent
from ..context import Context, stream
from .carried import Carried
from .connections import Connections
from .lists import Lists
from .memory import FIRST, KNOWN, LAST, Memory


class ConnectionOps:
    """Operations of a trial on connections; lists: those of every spiking population."""

    def __init__(
        self, memory: Memory, names: Context, trial: Trial, lists: dict[str, Lists], others: Connections,
        carried: Carried,
    ) -> None:  # fmt: skip
        self.memory, self.names, self.trial, self.plan, self.lists = memory, names, trial, trial.plan, lists
        self.others, self.carried = others, carried

    def _delay(self, c: ConnectionRecord, sign: str = "+") -> str:
        return f" {sign} args.{self.names.c(c)}_delay" if c.delay > 0 else ""

    def _from_input(self, c: ConnectionRecord) -> bool:
        return c.source == self.plan.input.name

    def deliver(self, o: Deliver) -> str:
        c, sums = self.plan.connections[o.connection], [(part, self.memory.pointer(b)) for part, b in o.sums]
        take = self.others.take(c, sums)
        if self.others.known(c):
            return take
        return "{\n" + indent(self.spiked(c) + self.others.send(c, sums) + take) + "}\n"

    def first_arrivals(self, populations: Iterable[int], step: str) -> str:
        """Declares the places of the next spikes of the input to arrive at `step` (with individual delays: to be sent, the
        first that may still be on its way), for each connection to these populations."""
        text = ""
        for c in (c for c in self._into(populations) if self._from_input(c) and not self.others.known(c)):
            first = f"{step} - args.ahead" if c.delays else f"{step}{self._delay(c, '-')}"
            text += f"int64_t next_{self.names.c(c)} = {stream(c)}input.begin({first});\n"
        return text

    def _into(self, populations: Iterable[int]) -> list[ConnectionRecord]:
        return [c for i in populations for c in self.plan.into(self.plan.populations[i].name)]

    def on_the_way(self, populations: Sequence[int], first: str) -> str:
        """Before step `first`: what was sent before it to these populations through individual delays, and arrives later."""
        late = (c for c in self._into(populations) if c.delays and not self.others.known(c))
        sent = "".join(f"{{\n{indent(self.spiked(c) + self.others.send(c))}}}\n" for c in late)
        if not sent:
            return ""
        sent += "".join(map(self.others.next, populations))
        begin = f"{first} > args.ahead ? {first} - args.ahead : 0"
        return f"for (int64_t step = {begin}; step < {first}; ++step) {{\n{indent(sent)}}}\n"

    def spiked(self, c: ConnectionRecord) -> str:
        """`index` and `count` of the sources whose spikes arrive (with individual delays: are sent) at `step`."""
        return self._sources(c, f"at(%s, next_{self.names.c(c)})")

    def _sources(self, c: ConnectionRecord, of_input: str) -> str:
        """The same; of_input: the call that has them where they are spikes of the input, without its step."""
        sent = f"step{self._delay(c, '-')}"
        spikes = f"{self._spikes(c)}.{of_input if self._from_input(c) else 'at(%s)'}" % sent
        if before := self.carried.earlier(c):
            spikes = f"{sent} < {0 if self._from_input(c) else 1} ? {before}.at({sent}) : {spikes}"
        return f"const auto [index, count] = {spikes};\n"

    def _spikes(self, c: ConnectionRecord) -> str:
        """The spikes of the sources of a connection in this trial."""
        return f"{stream(c)}input" if self._from_input(c) else self.lists[c.source].spikes

    def gather(self, o: Gather | GatherDelays) -> str:
        """Weight gradients: rows are summed once per source. Gradients of delays come with those of the weights."""
        c = self.plan.connections[o.connection]
        if c.listed or (isinstance(o, GatherDelays) and c.trainable):
            return ""
        if isinstance(o, Gather) and c.by_rows:
            place, rows = self.names.of_weights(c), self.memory.pointer(o.rows)
            size, blocks, begins = f"NP_{self.names.p(c.target)}", self.others.blocks(c), self.others.begins(c)
            gather = f"gather_gradient<{size}>({place}, {rows}, by, {c.pre}, {begins});\n"
            if blocks:
                gather = f"gather_blocks<{size}>({place}, {blocks}, by, {c.pre}, n_steps, {begins});\n"
        elif c.by_synapses:
            several = self.others.together(c)
            if c is not several[0]:
                return ""
            spikes = "".join("{\n" + indent(self._by_source(k, FIRST)) + "}\n" for k in several)
            return spikes + self.others.gather_dense(several)
        else:
            gather = self.others.gather(c)
        by_source = self._by_source(c, FIRST if c.dendritic else "")
        return "{\n" + indent(by_source + gather) + "}\n"

    def gather_listed(self) -> str:
        """In a step backwards: gradients of listed synapses, while the rows of their targets are close in memory."""
        listed = (c for c in self.plan.connections if c.listed)
        return "".join(f"{{\n{indent(self._spiked_back(c) + self.others.gather_listed(c))}}}\n" for c in listed)

    def _spiked_back(self, c: ConnectionRecord) -> str:
        """`spiked` for a loop over steps in reverse."""
        return self._sources(c, f"at_in_reverse(%s, behind_{self.names.c(c)})")

    def sum_known(self) -> str:
        """Before the first step: sums arrivals of connections that are known then."""
        known = (c for c in self.names.from_input if self.others.known(c))
        spikes = ((c, self._by_source(c, KNOWN)) for c in known)
        return "".join(f"{{\n{indent(by + self.others.sum_known(c))}}}\n" for c, by in spikes)

    def _by_source(self, c: ConnectionRecord, begin: str = "") -> str:
        """`by`: the steps of arrivals, sorted by source; with individual delays the steps of spikes, from `begin` on."""
        last_first, before = str(c.by_rows).lower(), self.carried.earlier(c)
        delay, first, last = f"args.{self.names.c(c)}_delay" if c.delay > 0 else "0", FIRST, LAST
        if begin:
            delay, first, last = f"-{begin}", "0", f"{LAST} - {begin}"
        sort = f"sort_arrivals<{last_first}>(by, {c.pre}, {self._spikes(c)}, {first}, {last}, {delay}"
        return f"BySource& by = {self.others.by_source(c)};\n{sort}{f', {before}' if before else ''});\n"
