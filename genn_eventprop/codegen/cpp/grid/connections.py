"""Connections with tables of synapses, or with delays that are values: calls of connectivity.hpp and delays.hpp.

What is sent with delays of single synapses, or through a table with delays that are values, goes to a ring of sums that all
such connections of a receptor share. Backwards D of a unit weight that arrives is kept, a row a step.
"""

from __future__ import annotations

from collections.abc import Sequence

from ....plan import ConnectionRecord
from ....program.nodes import Buffer, name
from ....program.trial import Deliver, GatherDelays, Trial
from ...statements import indent
from ..context import Context, padded, unique
from ..kinds import axonal, by_synapses, dendritic, learned, listed, stream
from .memory import Memory

PARTS = {"all": "ALL", "positive": "POSITIVE", "negative": "NEGATIVE"}


class Connections:
    """Text for connections that are not run by rows; direct: name of sums of arrivals -> the state they are added to.

    Sums of weights of one sign, and what is gathered from them, are kept beside those of all under names with the part
    behind them; they are for the backward pass alone.
    """

    def __init__(self, memory: Memory, names: Context, trial: Trial, direct: dict[str, Buffer]) -> None:
        self.memory, self.names, self.plan, self.scopes, self.direct = memory, names, names.plan, trial.scopes, direct
        ops = (*trial.step, *trial.end_back)
        self.sums = {o.connection: o.sums for o in ops if isinstance(o, Deliver)}
        self.terms = {o.connection: o.terms for o in ops if isinstance(o, GatherDelays)}

    def _number(self, c: ConnectionRecord) -> int:
        return [p.name for p in self.plan.populations].index(c.target)

    def known(self, c: ConnectionRecord) -> bool:
        """Whether all that arrives is summed before the first step: spikes of the input, through dense rows."""
        return by_synapses(c) and c.form == "dense" and c.source == self.plan.input.name

    def ringed(self, population: int) -> list[tuple[str, Buffer]]:
        """(part, sums) of a population that a ring leads to."""
        into = self.plan.populations[population].name
        own = [(i, c) for i, c in enumerate(self.plan.connections) if c.target == into]
        late = (i for i, c in own if by_synapses(c) and c.delays is not None and not self.known(c))
        return unique(sums for i in late for sums in self.sums[i])

    def _parts(self, c: ConnectionRecord) -> list[str]:
        """Of the weights, of which sums are kept; "all" first."""
        return [part for part, _ in self.sums[self.plan.connections.index(c)]]

    def next(self, population: int) -> str:
        """The rings of a population go on to the next step."""
        return "".join(_if_trained(part, f"{_ring(sums)}.next();\n") for part, sums in self.ringed(population))

    def members(self) -> tuple[list[str], list[str], list[str], list[str]]:
        """Members of a thread's memory, the lines that make room for them, those that do so for a pass backwards, and
        the names of the members of these."""
        found: list[str] = []
        room: list[str] = []
        late: list[str] = []
        names: list[str] = []
        for i, p in enumerate(self.plan.populations):
            found += [f"Ring<NP_p_{p.name}> {_ring(sums).removeprefix('work.')};" for _, sums in self.ringed(i)]
            found += [f"Series<NP_p_{p.name}, {len(rows)}> {of};" for of, rows in self._serieses(i).items()]
            names += self._serieses(i)
            late += [f"{of}.prepare(n_steps, args.ahead);" for of in self._serieses(i)]
        for c in self.plan.connections:
            if self.known(c):
                rows = [f"c_{c.name}_rows{_tail(part)}" for part in self._parts(c)]
                found.append(f"Buffer<real> {', '.join(rows)}, c_{c.name}_sums;")
                room += [f"{row}.zero(n_steps * NP_p_{c.target});" for row in rows]
            elif axonal(c):
                found.append(f"Arrivals c_{c.name}_arrivals;")
            elif dendritic(c):
                tails = [_tail(part) for part in self._parts(c)]
                lengths = {f"sums{tail}": "n_steps + args.ahead" for tail in tails}
                lengths |= {f"arrived{tail}": "n_steps" for tail in tails} if c.learns_delays else {}
                room += [f"c_{c.name}_{tail}.zero(({count}) * NP_p_{c.target});" for tail, count in lengths.items()]
                found += [f"Buffer<real> c_{c.name}_{tail};" for tail in lengths]
                if c.trainable:
                    names.append(f"c_{c.name}_shifted")
                    found.append(f"Buffer<real> c_{c.name}_shifted;")
                    late.append(f"c_{c.name}_shifted.zero(n_steps * NP_p_{c.target});")
        if any(dendritic(c) for c in self.plan.connections):
            found.append("Buffer<real> drive;")
            room.append(f"drive.zero({max(padded(p.size) for p in self.plan.populations)});")
        return found, room, late, names

    # forwards

    def begin(self, populations: Sequence[int]) -> str:
        """Nothing is on the way to these populations."""
        begun = [(part, f"{_ring(sums)}.begin(args.ahead);\n") for i in populations for part, sums in self.ringed(i)]
        lines = [_if_trained(part, line) for part, line in begun]
        into = [c for i in populations for c in self.plan.into(self.plan.populations[i].name)]
        return "".join(lines + [f"work.c_{c.name}_arrivals.begin(n_steps);\n" for c in into if axonal(c)])

    def sum_known(self, c: ConnectionRecord) -> str:
        """All that arrives through a `known` connection, as rows; `by` has the spikes of every source."""
        text = ""
        for part in self._parts(c):
            given = f"work.c_{c.name}_rows{_tail(part)}, work.c_{c.name}_sums, {_synapses(c)}, by, {c.pre}"
            line = f"scatter_known<{PARTS[part]}, NP_p_{c.target}>({given}, n_steps, args.ahead);\n"
            text += _if_trained(part, line)
        return text

    def send(self, c: ConnectionRecord, sums: Sequence[tuple[str, str]] = ()) -> str:
        """The `count` sources in `index` spiked at `step`, or their spikes arrive then, at sums (part, array), if all have
        one delay."""
        if axonal(c):
            return f"work.c_{c.name}_arrivals.send(index, count, step, args.c_{c.name}_delay, n_steps);\n"
        if by_synapses(c):
            given = f"{_synapses(c)}, index, count"
            if c.delays is not None:
                sums = [(part, f"{_ring(b)}.now()") for part, b in self.sums[self.plan.connections.index(c)]]
            return "".join(
                _if_trained(part, f"scatter_rows<{_template(c, part)}>({into}, {given});\n") for part, into in sums
            )
        np_, given, text = f"NP_p_{c.target}", f"args.c_{c.name}_weight, index, count", ""
        for part in self._parts(c):
            row = f"work.c_{c.name}_sums{_tail(part)} + (args.ahead + step) * {np_}"
            line = f"add_rows<{np_}, true>({row}, {given});\n"
            if part != "all":
                line = f"std::memset({row}, 0, {np_} * sizeof(real)), add_part_rows<{PARTS[part]}, {np_}>({row}, {given});\n"
            text += _if_trained(part, line)
        return text

    def arriving(self, c: ConnectionRecord) -> str:
        """Behind `send`, with axonal delays: the `arriving` sources whose spikes arrive at `step` are in `taken`."""
        return f"const int64_t arriving = work.c_{c.name}_arrivals.take(step);\n"

    def take(self, c: ConnectionRecord, sums: list[tuple[str, str]]) -> str:
        """Behind `send`: what arrives at `step` goes to the sums (part, array); that of rings comes behind all
        connections."""
        name_, np_, text = f"c_{c.name}", f"NP_p_{c.target}", ""
        for part, into in sums:
            if self.known(c):
                text += _if_trained(part, _add_row(np_, into, f"work.{name_}_rows{_tail(part)} + step * {np_}"))
            elif dendritic(c):
                kept = f"work.{name_}_arrived{_tail(part)} + step * {np_}"
                keep = f"std::memcpy({kept}, work.drive, {np_} * sizeof(real));\n" if c.learns_delays else ""
                row = f"work.{name_}_sums{_tail(part)} + step * {np_}"
                gather = f"gather_row<{np_}>(work.drive, {row}, args.{name_}_back);\n"
                text += _if_trained(part, gather + keep + _add_row(np_, into, "work.drive"))
        return text

    def arrive(self, populations: Sequence[int]) -> str:
        """What arrives at `step` through the rings of these populations."""
        text = ""
        for i in populations:
            for part, sums in self.ringed(i):
                into = self.memory.pointer(self.direct.get(sums.name, sums))
                add = _add_row(f"NP_p_{self.plan.populations[i].name}", into, f"{_ring(sums)}.now()")
                text += _if_trained(part, f"{add}{_ring(sums)}.next();\n")
        return text

    # backwards

    def dots(self, c: ConnectionRecord, part: str, D: str) -> str:
        """Adds to `feedback` what the `count` spikes of `index` at `step` cause, for delays that are values.

        Args:
            part: of the weights. D: where the rows of all steps begin.
        """
        np_, weight = f"NP_p_{c.target}", f"args.c_{c.name}_weight"
        if axonal(c):
            return f"dot_axonal<{PARTS[part]}, {np_}>(feedback, {weight}, index, count, {D}, step, args.c_{c.name}_delay, n_steps);\n"
        now = f"{D} + step * {np_}"
        if by_synapses(c):
            return self.dot(c, part, now)
        gather = f"gather_row<{np_}>(work.drive, {now}, args.c_{c.name}_forth);\n"
        return f"{gather}dot_part<{PARTS[part]}, {np_}>(feedback, {weight}, index, count, work.drive);\n"

    def dot(self, c: ConnectionRecord, part: str, row: str) -> str:
        """The same for one delay of all and synapses of a table."""
        return f"gather_dots<{_template(c, part)}>(feedback, {_synapses(c)}, index, count, {row});\n"

    def _along(self, population: int, receptor: str) -> Buffer:
        return self.scopes[population].table[name("w", f"along_{receptor}")].buffer

    def one_row(self) -> set[str]:
        """Names of rows that nothing is gathered from but weights of tables with one delay, step by step."""
        found, more = set[str](), set[str]()
        for c in (c for c in self.plan.connections if c.trainable):
            rows = found if listed(c) and c.delays is None else more
            rows.add(self._along(self._number(c), c.receptor).name)
        return found - more

    def _rows(self, population: int, what: str, receptor: str) -> str:
        return self.memory.pointer(self.scopes[population].table[name("w", f"{what}_{receptor}")].buffer)

    def _serieses(self, population: int) -> dict[str, list[str]]:
        """Name -> the rows of the series that gradients of weights, delays or both are gathered from."""
        into = self.plan.into(self.plan.populations[population].name)
        found: dict[str, list[str]] = {}
        for c in (c for c in into if c.form == "dense" and by_synapses(c)):
            rows = [self._rows(population, "along" if n == "w" else "D", c.receptor) for n in _learned(c)]
            found |= {self._series(c): rows} if rows else {}
            found |= {f"{b.name}_series": [self.memory.pointer(b)] for part, b in self._terms(c) if part != "all"}
        return found

    def _series(self, c: ConnectionRecord) -> str:
        return f"p{self._number(c)}_series_{c.receptor}_{_learned(c)}"

    def _terms(self, c: ConnectionRecord) -> tuple[tuple[str, Buffer], ...]:
        """What the gradient of learned delays is made of: (part, row)."""
        return self.terms.get(self.plan.connections.index(c), ())

    def fill_series(self) -> str:
        """After the last step backwards."""
        lines = ""
        for i in range(len(self.plan.populations)):
            for of, rows in self._serieses(i).items():
                lines += f"work.{of}.fill({{{', '.join(rows)}}}, n_steps);\n"
        return lines

    def gather(self, c: ConnectionRecord) -> str:
        """Gradients of weights and delays; `by` has the spikes of every source, by their own steps."""
        (w, d), cleared = self._places(c), self._clear(c)
        if by_synapses(c):
            given = [("all", len(_learned(c)), f"{{{w}, {d}}}", self._series(c))]
            given += [(part, 1, f"{{nullptr, {d}}}", f"{b.name}_series") for part, b in self._terms(c) if part != "all"]
            for part, K, to, series in given:
                size = f"{PARTS[part]}, NP_p_{c.target}, {K}"
                cleared += f"gather_dense<{size}>(Learned{to}, {_synapses(c)}, work.{series}, by, {c.pre});\n"
            return cleared
        return cleared + (self._gather_axonal(c, w, d) if axonal(c) else self._gather_dendritic(c, w, d))

    def _places(self, c: ConnectionRecord) -> tuple[str, str]:
        """Where the gradients of the weights and of the delays stand, "nullptr" for what is not learned."""
        found = {n: f"slice + {offset}" for n, (offset, *_) in self.names.gradients.items()}
        return found.get(c.weight, "nullptr"), found.get(c.delays_name, "nullptr")

    def _clear(self, c: ConnectionRecord) -> str:
        """Gradients begin at zero in the first trial of a slice."""
        sizes = {n: rows * columns for n, (_, rows, columns) in self.names.gradients.items()}
        place = dict(zip((c.weight, c.delays_name), self._places(c)))
        return "".join(f"if (first) std::memset({place[n]}, 0, {sizes[n]} * sizeof(scalar));\n" for n, _ in learned(c))

    def begin_listed(self) -> str:
        """Before the first step backwards."""
        found = [c for c in self.plan.connections if listed(c)]
        behind = (c for c in found if c.source == self.plan.input.name)
        return "".join(map(self._clear, found)) + "".join(f"int64_t behind_{c.name} = {stream(c)}to;\n" for c in behind)

    def gather_listed(self, c: ConnectionRecord) -> str:
        """Gradients of listed synapses through the `count` sources in `index`, at a step backwards; as in `send`."""
        own, i, (w, d) = f"args.c_{c.name}", self._number(c), self._places(c)
        where, call, code = f"{own}_own ? nullptr : {own}", f"{_synapses(c)}, index, count", ""
        if c.trainable:
            along = self._along(i, c.receptor)
            row = f"{self.memory.pointer(along)} + {self.memory.row_of(along, 'step')} * NP_p_{c.target}"
            code += f"gather_listed<false>({w}, {where}_weight_of, {call}, {row});\n"
        for part, b in self._terms(c):
            row = f"{self.memory.pointer(b)} + step * NP_p_{c.target}"
            place = f"{where}_delay_of" if c.delays is not None and c.delays.kind == "synaptic" else f"{own}_delay_of"
            code += f"gather_listed<true, {PARTS[part]}>({d}, {place}, {call}, {row});\n"
        return code

    def _gather_axonal(self, c: ConnectionRecord, w: str, d: str) -> str:
        i, np_ = self._number(c), f"NP_p_{c.target}"
        code = f"delay_by_source(by, args.c_{c.name}_delay, {c.pre}, n_steps);\n"
        if c.trainable:
            code += f"gather_gradient<{np_}>({w}, {self._rows(i, 'along', c.receptor)}, by, {c.pre}, false);\n"
        for part, b in self._terms(c):
            given = f"args.c_{c.name}_weight, {self.memory.pointer(b)}"
            code += f"gather_axonal<{PARTS[part]}, {np_}>({d}, {given}, by, {c.pre});\n"
        return code

    def _gather_dendritic(self, c: ConnectionRecord, w: str, d: str) -> str:
        i, np_, code = self._number(c), f"NP_p_{c.target}", ""
        if c.trainable:
            shifted, along = f"work.c_{c.name}_shifted", self._rows(i, "along", c.receptor)
            row = f"gather_row<{np_}>({shifted} + at * {np_}, {along} + at * {np_}, args.c_{c.name}_forth);"
            code = f"for (int64_t at = 0; at < n_steps; ++at) {row}\n"
            code += f"gather_gradient<{np_}>({w}, {shifted}, by, {c.pre}, false);\n"
        for part, b in self._terms(c):
            arrived = f"work.c_{c.name}_arrived{_tail(part)}"
            code += f"gather_dendritic<{np_}>({d}, {arrived}, {self.memory.pointer(b)}, n_steps);\n"
        return code


def _learned(c: ConnectionRecord) -> str:
    return "w" * c.trainable + "d" * c.learns_delays


def _synapses(c: ConnectionRecord) -> str:
    own = f"args.c_{c.name}"
    if c.form == "dense":
        return f"Delayed{{{own}_delay, {own}_weight}}"
    return f"Synapses{{{own}_start, {own}_offset, {own}_weight}}"


def _template(c: ConnectionRecord, part: str) -> str:
    """The template arguments of what runs synapse by synapse; offsets of listed ones know the width themselves."""
    return PARTS[part] + (f", NP_p_{c.target}" if c.form == "dense" else "")


def _ring(sums: Buffer) -> str:
    return f"work.{sums.name}_ring"


def _tail(part: str) -> str:
    """Of names of what is kept of a part of the weights."""
    return "" if part == "all" else f"_{part}"


def _if_trained(part: str, code: str) -> str:
    """Code for sums of a part of the weights."""
    if part == "all":
        return code
    return f"if (args.training) {code}" if code.count("\n") == 1 else f"if (args.training) {{\n{indent(code)}}}\n"


def _add_row(np_: str, into: str, row: str) -> str:
    return f"add_row<{np_}>({into}, {row});\n"
