"""Connections with tables of synapses or windows, or with individual delays: calls of connectivity.hpp, windows.hpp
and delays.hpp.

What is sent with delays of single synapses, or through a table with individual delays, goes to a ring of sums that all
such connections of a receptor share. Backwards D of a unit weight that arrives is kept, a row a step.
"""

from __future__ import annotations

from collections.abc import Sequence

from ....plan import ConnectionRecord
from ....program.nodes import Buffer, name
from ....program.operations import EVALUATED
from ....program.trial import Deliver, GatherDelays, Trial
from ...statements import indent
from ..context import Context, padded, stream, unique, windows_of
from .memory import FIRST, GATHERED, KNOWN, LAST, Memory
from .work import Member

MANY_COLUMNS = 128  # of dense weights, from which on rows for their gradient are cut into blocks: at least two of them
PARTS = {n: n.upper() for n in ("all", "positive", "negative", "square", "cube", "fourth")}


class Connections:
    """Text for connections that are not run by rows; direct: name of sums of arrivals -> the state they are added to.

    Sums of weights of one sign, and what is gathered from them, are kept beside those of all under names with the part
    behind them; they are for the backward pass alone.
    """

    def __init__(self, memory: Memory, names: Context, trial: Trial, direct: dict[str, Buffer]) -> None:
        self.memory, self.names, self.plan, self.scopes, self.direct = memory, names, names.plan, trial.scopes, direct
        ops = (*trial.step, *trial.end_back)
        self.sums = {o.connection: o.sums for o in ops if isinstance(o, Deliver)}
        # what is no product of a weight and a row is run by `Evaluated`
        delays = [o for o in ops if isinstance(o, GatherDelays)]
        self.terms = {o.connection: tuple(t for t in o.terms if t[0] not in EVALUATED) for o in delays}
        self.births = trial.births
        # weights that connections share of which some are gathered in the loop over steps, and others behind it
        shared = [
            c for c in self.plan.connections if any(c.weight == k.weight for k in self.plan.connections if k is not c)
        ]
        self.mixed = {c.weight for c in shared if not c.by_rows}
        # connections of neurons, parts of their weights, rows of D
        self.fed = [
            (self.plan.connections[c], part, row)
            for o in trial.feedback for c, part, row in o.terms if part not in EVALUATED
        ]  # fmt: skip

    def known(self, c: ConnectionRecord) -> bool:
        """Whether all that arrives is summed before the first step: spikes of the input, through dense rows."""
        # such a sum goes from target to target, whose sums of all steps stay in the first cache; rings of single steps
        # are as long as the longest delay, and every spike writes into all of their rows
        return c.by_synapses and c.form == "dense" and c.source == self.plan.input.name

    def ringed(self, population: int) -> list[tuple[str, Buffer]]:
        """(part, sums) of a population that a ring leads to."""
        into = self.plan.populations[population].name
        late = (c for c in self.plan.into(into) if c.by_synapses and c.delays is not None and not self.known(c))
        return unique(sums for c in late for sums in self._sums_of(c))

    def _sums_of(self, c: ConnectionRecord) -> tuple[tuple[str, Buffer], ...]:
        """(part of the weights, what they are added to); "all" first."""
        return self.sums[self.plan.connections.index(c)]

    def _parts(self, c: ConnectionRecord) -> list[str]:
        """Of the weights, each with sums of its own; "all" first."""
        return [part for part, _ in self._sums_of(c)]

    def next(self, population: int) -> str:
        """What arrives at `step` in a population is over."""
        into = self.plan.into(self.plan.populations[population].name)
        lists = "".join(f"work.{self._name(c)}_arrivals.take(step);\n" for c in into if c.axonal)
        return lists + "".join(
            if_trained(part, f"{delay_ring(sums)}.next();\n") for part, sums in self.ringed(population)
        )

    def members(self) -> list[Member]:
        """Members of a thread's memory."""
        members = [Member(kind, name) for _, kind, name in self._on_their_way(range(len(self.plan.populations)))]
        members += [
            Member(f"Window<{self._width(c)}>", window, late=True) for window, (c, _) in self._windows().items()
        ]
        for c in self.plan.connections:
            prefix, width, steps = self._name(c), self._width(c), self.memory.steps
            if self.known(c):
                for row in (f"{prefix}_rows{suffix_of(part)}" for part in self._parts(c)):
                    members.append(Member("Buffer<real>", row, f"{row}.zero(({steps} + args.ahead) * {width});"))
            if self._keeps(c):
                for tail in map(suffix_of, self._parts(c)):
                    arrived, rows = f"{prefix}_arrived{tail}", "1" if c.name in self._lent() and not tail else steps
                    members.append(Member("Buffer<real>", arrived, f"{arrived}.zero({rows} * {width});"))
            elif c.dendritic and self._summed(c):
                names = ("caused", *(f"dots{suffix_of(part)}" for part, _ in self._terms(c)))
                members += [Member("Buffer<real>", f"{prefix}_{what}", late=True) for what in names]
            if c.form == "dense" and c.by_synapses:
                members.append(Member("BySource", f"{prefix}_by", late=True))
        windows = (self._dots_of_windows(*fed).removeprefix("work.") for fed in self.fed if fed[0].windows)
        members += [Member("Buffer<real>", dots, late=True) for dots in unique(windows)]
        blocks = [block.removeprefix("work.") for block in self._all_blocks()]
        dense = any(c.form == "dense" and (c.by_synapses or c.dendritic) for c in self.plan.connections)
        blocks += ["series", "waiting"] if dense else []
        return members + [Member("Buffer<real>", name, late=True) for name in blocks]

    def _on_their_way(self, populations: Sequence[int]) -> list[tuple[str, str, str]]:
        """(part of the weights, type, name) of members that hold what is on its way to populations."""
        members = [
            (part, f"Ring<NP_p{i}>", delay_ring(sums).removeprefix("work."))
            for i in populations for part, sums in self.ringed(i)
        ]  # fmt: skip
        for c in (c for i in populations for c in self.plan.into(self.plan.populations[i].name)):
            if c.axonal:
                members.append(("all", "Arrivals", f"{self._name(c)}_arrivals"))
            elif c.dendritic:
                sums = ((part, f"{self._name(c)}_sums{suffix_of(part)}") for part in self._parts(c))
                members += [(part, f"Window<{self._width(c)}>", name) for part, name in sums]
        return members

    # forwards

    def begin(self, populations: Sequence[int]) -> str:
        """Nothing is on the way to these populations."""
        members = self._on_their_way(populations)
        return "".join(if_trained(part, f"work.{name}.begin(args.ahead);\n") for part, _, name in members)

    def sum_known(self, c: ConnectionRecord) -> str:
        """All that arrives through a `known` connection, as rows; `by` has the spikes of every source."""
        text = ""
        for part in self._parts(c):
            rows = f"work.{self._name(c)}_rows{suffix_of(part)}"
            arguments = f"{rows}, work.series, {self._synapses(c)}, by, {c.pre}, {LAST} - {KNOWN}, args.ahead"
            line = f"scatter_known<{PARTS[part]}, {self._width(c)}>({arguments});\n"
            text += if_trained(part, line)
        return text

    def send(self, c: ConnectionRecord, sums: Sequence[tuple[str, str]] = ()) -> str:
        """The `count` sources in `index` spiked at `step`, or, if all have one delay, their spikes arrive then at sums (part,
        array)."""
        if c.axonal:
            return f"work.{self._name(c)}_arrivals.send(index, count, step, args.{self._name(c)}_delays);\n"
        if c.dendritic:
            sums = [(part, f"work.{self._name(c)}_sums{suffix_of(part)}.empty()") for part in self._parts(c)]
        elif c.delays:
            sums = [(part, f"{delay_ring(b)}.now()") for part, b in self._sums_of(c)]
        return self._add(c, sums, "index, count")

    def _add(self, c: ConnectionRecord, sums: Sequence[tuple[str, str]], sources: str) -> str:
        """Adds the weights of some sources to sums; those of a part are needed only by the backward pass."""
        if c.windows is not None:
            add = f"{windows_of(c.windows, f'args.{self._name(c)}')}.add<%s>(%s, {sources});\n"
        else:
            add = f"scatter_rows<%s>(%s, {self._synapses(c)}, {sources});\n"
        lines = [(part, add % (self._template(c, part), into)) for part, into in sums]
        if not (c.by_rows or c.axonal) or len(sums) == 1:
            return "".join(if_trained(part, line) for part, line in lines)
        (_, into), (part, row), *_ = sums  # with the sum of all in one go
        both = f"add_rows_and_part<{self._template(c, part)}>({into}, {row}, {self._synapses(c)}, {sources});\n"
        return f"{if_trained(part, both)}else {lines[0][1]}" + "".join(if_trained(*line) for line in lines[2:])

    def take(self, c: ConnectionRecord, sums: list[tuple[str, str]]) -> str:
        """Behind `send`: what arrives at `step` goes to the sums (part, array); that of rings comes behind all
        connections."""
        prefix, np_, text = self._name(c), self._width(c), ""
        if c.axonal:
            arrivals = f"work.{prefix}_arrivals"
            add = self._add(c, sums, f"{arrivals}.due, arriving")
            return f"const int64_t arriving = {arrivals}.take(step);\n{add}"
        for part, into in sums:
            if self.known(c):
                row = f"work.{prefix}_rows{suffix_of(part)} + (step - {KNOWN}) * {np_}"
                text += if_trained(part, add_row(np_, into, row))
            elif c.dendritic:
                copy = self._kept(c, part) if self._keeps(c) else "nullptr"
                arguments = f"{into}, {copy}, work.{prefix}_sums{suffix_of(part)}, args.{prefix}_back"
                text += if_trained(part, f"gather_and_add<{np_}>({arguments});\n")
        return text

    def arrive(self, populations: Sequence[int]) -> str:
        """What arrives at `step` through the rings of these populations."""
        text = ""
        for i in populations:
            for part, sums in self.ringed(i):
                into = self.memory.pointer(self.direct.get(sums.name, sums))
                add = add_row(f"NP_p{i}", into, f"{delay_ring(sums)}.now()")
                text += if_trained(part, f"{add}{delay_ring(sums)}.next();\n")
        return text

    # backwards

    def _summed(self, c: ConnectionRecord) -> bool:
        """Whether the gradient of delays of sources or targets is summed from what the spikes of neurons cause."""
        return (c.axonal or c.dendritic) and c.learns_delays and c.source != self.plan.input.name

    def _keeps(self, c: ConnectionRecord) -> bool:
        """Whether what arrives is kept, for the gradient of dendritic delays of the input."""
        return c.dendritic and c.learns_delays and c.source == self.plan.input.name

    def _lent(self) -> dict[str, Buffer]:
        """Name of a connection -> rows of lambda . e that hold what arrives until they are written, so that a trial goes
        through less memory."""
        keeping = [c for c in self.plan.connections if self._keeps(c) and c.trainable]
        rows = [(c.name, self._row(c, "along")) for c in keeping]
        return dict({along.name: (owner, along) for owner, along in reversed(rows)}.values())

    def _kept(self, c: ConnectionRecord, part: str) -> str:
        """Where what arrives at `step` is kept."""
        lent = self._lent().get(c.name) if part == "all" else None
        if lent:
            return f"{self.memory.pointer(lent)} + step * {self._width(c)}"
        return f"work.{self._name(c)}_arrived{suffix_of(part)} + (step - {FIRST}) * {self._width(c)}"

    def take_kept(self) -> str:
        """At the beginning of a step backwards: saves what arrived from rows that are about to be written."""
        text, lent = "", self._lent()
        for c in (c for owner in lent for c in self.plan.connections if c.name == owner):
            row, width = self.memory.pointer(lent[c.name]), self._width(c)
            text += f"std::memcpy(work.{self._name(c)}_arrived, {row} + step * {width}, {width} * sizeof(real));\n"
        return text

    def dot(self, connection: int, part: str, rows: Buffer, happened: bool) -> tuple[str, str]:
        """(code that all spikes of a step need once, code that adds to `feedback` what the spike of `row` caused).

        That is the product of its weights with `rows`, in which it arrives at `arrival`; with individual delays that is
        the step of the spike itself.

        Args:
            part: of the weights. rows: D of an arrival, or lambda . e; of every step, unless one is enough. happened:
                whether this is a spike of the trial, from which delays learn, and not one that could be born.
        """
        c = self.plan.connections[connection]
        learns, np_, name, q = happened and self._summed(c), self._width(c), self._name(c), self.memory.pointer(rows)
        if c.axonal:
            gradient = self._places(c)[1] if learns else "nullptr"
            arguments = f"args.{name}_weight, index, 1, {q}, arrival, args.{name}_delays, n_steps, {gradient}"
            return "", f"dot_axonal<{PARTS[part]}, {np_}>(feedback, {arguments});\n"
        q += f" + {self.memory.row_of(rows, 'arrival')} * {np_}" if len(rows.axes) == 2 else ""
        once = test = ""
        if part != "all" and c.by_rows:  # of most steps all are 0
            some = f"some_{name}_{part}"
            once, test = f"const bool {some} = arrival < n_steps && any<{np_}>({q});\n", f"if ({some}) "
        elif c.dendritic:
            window, drive = f"{name}_{rows.name}", f"drive_{name}_{rows.name}"
            near = f"work.{window}, args.{name}_late" if window in self._windows() else f"{q}, args.{name}_forth"
            once = f"alignas(64) scalar {drive}[{np_}] = {{}};\nif (arrival < n_steps) gather_row<{np_}>({drive}, {near});\n"
            q = drive
        dots, spikes = "", f"work.p{self.plan.numbers.get(c.source)}_spikes"
        if c.windows is not None:
            dot = f"{windows_of(c.windows, f'args.{name}')}.dot<{PARTS[part]}>"
            if not happened:
                return "", f"{dot}(feedback, index, 1, {q});\n"
            dots = self._dots_of_windows(c, part, rows)
            every = f"{dot}({dots}, index, count, {q});\n"  # sources of one pixel share the places that they reach
        elif learns:  # of all at once, whose weights are summed
            dots, each = f"work.{name}_dots{suffix_of(part)}", f"{self._synapses(c)}, index, count, {q}"
            every = f"dot_dendritic<{PARTS[part]}, {np_}>({dots}, work.{name}_caused, {each});\n"
        if dots:
            every = f"{dots}.zero(count);\n{every}"
            once += f"if (const auto [index, count] = {spikes}.at(step); arrival < n_steps) {{\n{indent(every)}}}\n"
            return once, f"*feedback += {dots}[k - {spikes}.start[step]];\n"
        spike = f"{self._synapses(c)}, index, 1, {q}"
        return once, f"{test}gather_dots<{self._template(c, part)}>(feedback, {spike});\n"

    def _dots_of_windows(self, c: ConnectionRecord, part: str, rows: Buffer) -> str:
        """What each spike of a step caused."""
        return f"work.{self._name(c)}_dots_{rows.name}{suffix_of(part)}"

    def one_row(self) -> set[str]:
        """Names of rows that nothing is gathered from but weights of tables with one delay, step by step; and of those of
        D that dendritic delays alone look back to, through a window."""
        # a row that is used up at the step that makes it needs no history: the same line of the cache is written again
        single, more = set[str](), set[str]()
        for c in (c for c in self.plan.connections if c.trainable):
            rows = single if c.delays is None and (c.listed or self._cut(c)) else more
            rows.add(self._row(c, "along").name)
        more |= {b.name for o in self.births for b in (*(b for _, _, b in o.terms), *(b for _, b in o.moving))}
        late = [(self.plan.connections[i], b) for i, terms in self.terms.items() for _, b in terms]
        for c, b in (*((c, row) for c, _, row in self.fed), *late):
            ahead = c.dendritic and not (self.names.split or self.names.pieces) and len(b.axes) == 2
            (single if ahead else more).add(b.name)
        return single - more

    def _cut(self, c: ConnectionRecord) -> bool:
        """Whether rows for the gradient of dense weights are worth cutting into blocks of columns."""
        # the sums of a source go through rows of many steps: whole rows of all steps do not fit the second-level cache
        return c.by_rows and padded(c.post) >= MANY_COLUMNS and not self.names.pieces

    def blocks(self, c: ConnectionRecord) -> str:
        """Where the rows for the gradient of a connection stand in blocks of columns; "" if they stand as they are."""
        along = self._row(c, "along").name if c.trainable else ""
        return f"work.{along}_blocks" if self._cut(c) and along in self.memory.one_row else ""

    def _all_blocks(self) -> dict[str, ConnectionRecord]:
        """Blocks -> a connection that is gathered from them."""
        return {blocks: c for c in self.plan.connections if (blocks := self.blocks(c))}

    def keep_blocks(self) -> str:
        """At a step backwards, appends its rows to the blocks."""
        text = ""
        for blocks, c in self._all_blocks().items():
            row = self._rows(c, "along")
            text += f"store_blocks<{self._width(c)}>({blocks}, {row}, step, n_steps);\n"
        return text

    def _windows(self) -> dict[str, tuple[ConnectionRecord, Buffer]]:
        """Of rows of D, of which there is one: name of the window -> its connection with dendritic delays, the row. Targets
        are in the order of their delays, as forwards."""
        near = [(c, b) for c, _, b in self.fed if c.dendritic and b.name in self.memory.one_row]
        return {f"{self._name(c)}_{b.name}": (c, b) for c, b in near}

    def keep_late(self) -> str:
        """At a step backwards, rows of D for spikes of earlier steps."""
        text = ""
        for window, (c, b) in self._windows().items():
            arguments = f"work.{window}.next(), {self.memory.pointer(b)}, args.{self._name(c)}_order"
            text += f"gather_row<{self._width(c)}>({arguments});\n"
        return text

    def _row(self, c: ConnectionRecord, what: str) -> Buffer:
        """A row of the targets of a connection, of its receptor: "along", lambda . e, or "D"."""
        return self.scopes[self.plan.numbers[c.target]].table[name("w", f"{what}_{c.receptor}")].buffer

    def _rows(self, c: ConnectionRecord, what: str) -> str:
        return self.memory.pointer(self._row(c, what))

    def _terms(self, c: ConnectionRecord) -> tuple[tuple[str, Buffer], ...]:
        """What the gradient of learned delays is made of: (part, row)."""
        return self.terms.get(self.plan.connections.index(c), ())

    def gather(self, c: ConnectionRecord) -> str:
        """Gradients of weights and delays; `by` has the spikes of every source, by their own steps."""
        w, d = self._places(c)
        if c.dendritic:
            return self._gather_dendritic(c, w, d)
        return self._clear(c, [c.weight] if self._summed(c) else None) + self._gather_axonal(c, w, d)

    def _worth(self, c: ConnectionRecord) -> list[tuple[str, list[str]]]:
        """Of a dense connection with delays of single synapses, (part of the weights, rows that gradients are sums of)."""
        rows = [self._rows(c, "along" if n == "w" else "D") for n in _learned(c)]
        others = [(part, [self.memory.pointer(b)]) for part, b in self._terms(c) if part != "all"]
        return [("all", rows), *others]

    def together(self, c: ConnectionRecord) -> list[ConnectionRecord]:
        """The connections with dense weights, a delay each, whose gradients are summed in one go with those of this one."""
        dense = (k for k in self.plan.connections if k.by_synapses and k.form == "dense" and _learned(k) == _learned(c))
        return [k for k in dense if k.target == c.target and self._worth(k) == self._worth(c)]

    def gather_dense(self, connections: Sequence[ConnectionRecord]) -> str:
        """Gradients of `together`; the spikes of every source are in a `BySource` for each."""
        text = ""
        for part, rows in self._worth(connections[0]):
            every, rows = [], [self._from_begin(row, connections[0]) for row in rows]
            for c in connections:
                w, d = self._places(c)
                to = f"{{{w}, {d}, {self.begins(c)}}}" if part == "all" else f"{{nullptr, {d}, false}}"
                every.append(f"{{{to}, {self._synapses(c)}, {self.by_source(c)}, {c.pre}}}")
            size = f"{PARTS[part]}, {self._width(connections[0])}, {len(rows)}"
            both = f"{{{', '.join(every)}}}, {{{', '.join(rows)}}}"
            text += f"gather_dense<{size}>({both}, work.series, {GATHERED}, args.ahead);\n"
        return text

    def _from_begin(self, rows: str, c: ConnectionRecord) -> str:
        return f"{rows} + {FIRST} * {self._width(c)}"

    def _places(self, c: ConnectionRecord) -> tuple[str, str]:
        """Where the gradients of the weights and of the delays stand, "nullptr" for what is not learned."""
        return self.names.of_weights(c), self.names.of_delays(c)

    def begins(self, c: ConnectionRecord) -> str:
        """Whether the gradients of a connection are written, not added to what is there, in the first trial of a slice."""
        # a connection that shares weights adds to what their owner has left, or to zeros of `begin_back`
        return "false" if c.shares or c.weight in self.mixed else "first"

    def _clear(self, c: ConnectionRecord, parameters: Sequence[str] | None = None) -> str:
        """Gradients, all or of these parameters, begin at zero in the first trial of a slice."""
        cleared = (n for n in c.learns if (parameters is None or n in parameters) and n not in self.mixed)
        return "".join(self._zero(c, n) for n in cleared)

    def _zero(self, c: ConnectionRecord, parameter: str) -> str:
        _, rows, columns = self.names.gradients[parameter]
        place = dict(zip((c.weight, c.delays_name), self._places(c)))[parameter]
        return f"if (first) std::memset({place}, 0, {rows * columns} * sizeof(scalar));\n"

    def begin_back(self) -> str:
        """Before the first step backwards."""
        owners = [c for c in self.plan.connections if c.weight in self.mixed]
        clear = "".join(self._zero(c, c.weight) for c in owners if c.trainable and not c.shares)
        # those of delays that are written together with the weights
        together = [c for c in owners if c.form == "dense" and c.by_synapses and c.learns_delays]
        clear += "".join(self._zero(c, c.delays_name) for c in together)
        listed = [c for c in self.plan.connections if c.listed]
        behind = (c for c in listed if c.source == self.plan.input.name)
        clear += "".join(map(self._clear, listed))
        clear += "".join(
            self._clear(c, [c.delays_name]) for c in self.plan.connections if self._summed(c) or self._keeps(c)
        )
        clear += "".join(f"work.{window}.begin(args.ahead);\n" for window in self._windows())
        clear += "".join(f"{blocks}.reserve(n_steps * {self._width(c)});\n" for blocks, c in self._all_blocks().items())
        late = (c for c in self.plan.connections if c.dendritic and self._summed(c))
        clear += "".join(f"work.{self._name(c)}_caused.zero({self._width(c)});\n" for c in late)
        return clear + "".join(f"int64_t behind_{self._name(c)} = {stream(c)}to;\n" for c in behind)

    def gather_kept(self) -> str:
        """At a step backwards, gradients of delays from what arrived through connections that keep it."""
        text = ""
        for c in filter(self._keeps, self.plan.connections):
            for part, b in self._terms(c):
                np_, D = self._width(c), f"{self.memory.pointer(b)} + {self.memory.row_of(b, 'step')}"
                saved = part == "all" and c.name in self._lent()
                arrived = f"work.{self._name(c)}_arrived" if saved else self._kept(c, part)
                text += f"add_products<{np_}>({self._places(c)[1]}, {arrived}, {D} * {np_});\n"
        return text

    def gather_listed(self, c: ConnectionRecord) -> str:
        """Gradients of listed synapses through the `count` sources in `index`, at a step backwards; as in `send`."""
        table, (w, d) = f"args.{self._name(c)}", self._places(c)
        where, call, code = f"{table}_own ? nullptr : {table}", f"{self._synapses(c)}, index, count", ""
        if c.trainable:
            along = self._row(c, "along")
            row = f"{self.memory.pointer(along)} + {self.memory.row_of(along, 'step')} * {self._width(c)}"
            if c.windows is not None:
                return f"{windows_of(c.windows, table)}.gather({w}, index, count, {row});\n"
            code += f"gather_listed<false>({w}, {where}_weight_of, {call}, {row});\n"
        for part, b in self._terms(c):
            row = f"{self.memory.pointer(b)} + step * {self._width(c)}"
            place = f"{where}_delay_of" if c.delays is not None and c.delays.kind == "synaptic" else f"{table}_delay_of"
            code += f"gather_listed<true, {PARTS[part]}>({d}, {place}, {call}, {row});\n"
        return code

    def _gather_axonal(self, c: ConnectionRecord, w: str, d: str) -> str:
        """Gradients at `w` and `d`: a spike whose source has a delay counts at the step of its arrival."""
        np_ = self._width(c)
        code = f"delay_by_source(by, args.{self._name(c)}_delays, {c.pre}, n_steps);\n"
        if c.trainable:
            code += f"gather_gradient<{np_}>({w}, {self._rows(c, 'along')}, by, {c.pre}, false);\n"
        for part, b in () if self._summed(c) else self._terms(c):
            arguments = f"{d}, args.{self._name(c)}_weight, {self.memory.pointer(b)}, by, {c.pre}"
            code += f"gather_axonal<{PARTS[part]}, {np_}>({arguments});\n"
        return code

    def _gather_dendritic(self, c: ConnectionRecord, w: str, d: str) -> str:
        """Gradients at `w` and `d`: targets look back from each step to the spikes that reach them there."""
        np_, text = self._width(c), ""
        if self._summed(c):
            text = f"add_to_places<{np_}>({d}, work.{self._name(c)}_caused, args.{self._name(c)}_order);\n"
        if c.trainable:
            rows = f"{w}, {self._from_begin(self._rows(c, 'along'), c)}, work.series, work.waiting"
            spikes = f"args.{self._name(c)}_delays, by, {c.pre}, {GATHERED}, args.ahead"
            text += f"gather_dendritic<{np_}>({rows}, {spikes}, {self.begins(c)});\n"
        return text

    def _name(self, c: ConnectionRecord) -> str:
        return self.names.c(c)

    def _width(self, c: ConnectionRecord) -> str:
        """The padded number of targets."""
        return f"NP_{self.names.p(c.target)}"

    def by_source(self, c: ConnectionRecord) -> str:
        """Where the spikes of a connection's sources are sorted."""
        return f"work.{self._name(c)}_by" if c.by_synapses and c.form == "dense" else "work.by_source"

    def _synapses(self, c: ConnectionRecord) -> str:
        table = f"args.{self._name(c)}"
        if c.form == "dense":
            rows = f"{table}_sorted" if c.dendritic else f"{table}_weight"
            return f"Delayed{{{table}_delays, {table}_weight}}" if c.by_synapses else rows
        return f"Synapses{{{table}_start, {table}_offset, {table}_weight}}"

    def _template(self, c: ConnectionRecord, part: str) -> str:
        """The template arguments of what runs synapse by synapse; offsets of listed ones know the width themselves."""
        return PARTS[part] + (f", {self._width(c)}" if c.form == "dense" else "")


def _learned(c: ConnectionRecord) -> str:
    return "w" * c.trainable + "d" * c.learns_delays


def tables(c: ConnectionRecord, prefix: str) -> list[Buffer]:
    """The arrays that `engines/native/tables.py` makes of the values of a connection, besides its weights.

    delays: steps. dendritic: targets in the order of their delays, `sorted` weights; `back`, `late`, `forth`: where they
    stand in rows of several steps. Tables: offset: steps * NP + target; weight_of, delay_of: places of parameters.
    """
    width, tails = padded(c.post), dict[str, tuple[int | str, ...]]()
    if c.axonal:
        tails = {"delays": (c.pre,)}
    elif c.dendritic:
        tails = dict.fromkeys(("delays", "order", "back", "late", "forth"), (width,))
    elif c.form != "dense":
        tails = {"start": (c.pre + 1,), "offset": (c.synapses,)}
        tails |= {"weight_of": (c.synapses,)} if c.learns else {}
        tails |= {"delay_of": (c.synapses,)} if c.learns_delays else {}
    arrays = [Buffer(f"{prefix}_{tail}", axes, "int", "host") for tail, axes in tails.items()]
    if c.dendritic:
        arrays.append(Buffer(f"{prefix}_sorted", (c.pre, width), "real", "host"))
    if c.form == "dense" and c.by_synapses:
        arrays.append(Buffer(f"{prefix}_delays", (c.pre, width), "short", "host"))
    return arrays


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
