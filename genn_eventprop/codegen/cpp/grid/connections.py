"""Connections with tables of synapses, or with delays that are values: calls of connectivity.hpp and delays.hpp.

What arrives through a table of synapses goes to a ring of sums that all such connections of a receptor share, whatever
their delays. Backwards D of a unit weight that arrives is kept, a row a step.
"""

from __future__ import annotations

from collections.abc import Sequence

from ....plan import ConnectionRecord
from ....program.nodes import Buffer, name
from ....program.scope import Scope
from ..context import Context, padded, unique
from ..kinds import axonal, by_synapses, dendritic, learned, listed, stream
from .memory import Memory


class Connections:
    """Text for connections that are not run by rows; direct: name of sums of arrivals -> the state they are added to."""

    def __init__(self, memory: Memory, names: Context, scopes: Sequence[Scope], direct: dict[str, Buffer]) -> None:
        self.memory, self.names, self.plan, self.scopes, self.direct = memory, names, names.plan, scopes, direct

    def _number(self, c: ConnectionRecord) -> int:
        return [p.name for p in self.plan.populations].index(c.target)

    def known(self, c: ConnectionRecord) -> bool:
        """Whether all that arrives is summed before the first step: spikes of the input, through dense rows."""
        return by_synapses(c) and c.form == "dense" and c.source == self.plan.input.name

    def ringed(self, population: int) -> list[str]:
        """Receptors of a population that a ring of sums leads to."""
        into = self.plan.into(self.plan.populations[population].name)
        return unique(c.receptor for c in into if by_synapses(c) and not self.known(c))

    def members(self) -> tuple[list[str], list[str], list[str], list[str]]:
        """Members of a thread's memory, the lines that make room for them, those that do so for a pass backwards, and
        the names of the members of these."""
        found, room, late, names = [], [], [], []
        for i, p in enumerate(self.plan.populations):
            found += [f"Ring<NP_p_{p.name}> p{i}_ring_{r};" for r in self.ringed(i)]
            found += [f"Series<NP_p_{p.name}, {len(w)}> p{i}_series_{r}_{w};" for r, w in self._serieses(i)]
            names += [f"p{i}_series_{r}_{w}" for r, w in self._serieses(i)]
            late += [f"p{i}_series_{r}_{w}.prepare(n_steps, args.ahead);" for r, w in self._serieses(i)]
        for c in self.plan.connections:
            if self.known(c):
                found.append(f"Buffer<real> c_{c.name}_rows, c_{c.name}_sums;")
                room.append(f"c_{c.name}_rows.zero(n_steps * NP_p_{c.target});")
            elif axonal(c):
                found.append(f"Arrivals c_{c.name}_arrivals;")
            elif dendritic(c):
                rows = [("sums", "n_steps + args.ahead")]
                rows += [("arrived", "n_steps")] if c.learns_delays else []
                room += [f"c_{c.name}_{tail}.zero(({count}) * NP_p_{c.target});" for tail, count in rows]
                found += [f"Buffer<real> c_{c.name}_{tail};" for tail, _ in rows]
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
        lines = [f"work.p{i}_ring_{r}.begin(args.ahead);\n" for i in populations for r in self.ringed(i)]
        into = [c for i in populations for c in self.plan.into(self.plan.populations[i].name)]
        return "".join(lines + [f"work.c_{c.name}_arrivals.begin(n_steps);\n" for c in into if axonal(c)])

    def sum_known(self, c: ConnectionRecord) -> str:
        """All that arrives through a `known` connection, as rows; `by` has the spikes of every source."""
        sums = f"work.c_{c.name}_rows, work.c_{c.name}_sums, {_synapses(c)}"
        return f"scatter_known<NP_p_{c.target}>({sums}, by, {c.pre}, n_steps, args.ahead);\n"

    def send(self, c: ConnectionRecord) -> str:
        """The `count` sources in `index` spiked at `step`, or their spikes arrive then if all have one delay."""
        if axonal(c):
            return f"work.c_{c.name}_arrivals.send(index, count, step, args.c_{c.name}_delay, n_steps);\n"
        if by_synapses(c):
            ring = f"work.p{self._number(c)}_ring_{c.receptor}"
            return f"scatter_rows{_width(c)}({ring}.now(), {_synapses(c)}, index, count);\n"
        row = f"work.c_{c.name}_sums + (args.ahead + step) * NP_p_{c.target}"
        return f"add_rows<NP_p_{c.target}, true>({row}, args.c_{c.name}_weight, index, count);\n"

    def take(self, c: ConnectionRecord, into: str) -> str:
        """Behind `send`: what arrives at `step`; that of rings comes behind all connections."""
        name_, np_ = f"c_{c.name}", f"NP_p_{c.target}"
        if self.known(c):
            return _add_row(np_, into, f"work.{name_}_rows + step * {np_}")
        if axonal(c):
            count = f"const int64_t arriving = work.{name_}_arrivals.take(step);\n"
            return f"{count}add_rows<{np_}>({into}, args.{name_}_weight, work.{name_}_arrivals.taken, arriving);\n"
        if not dendritic(c):
            return ""
        keep = f"std::memcpy(work.{name_}_arrived + step * {np_}, work.drive, {np_} * sizeof(real));\n"
        gather = f"gather_row<{np_}>(work.drive, work.{name_}_sums + step * {np_}, args.{name_}_back);\n"
        return gather + (keep if c.learns_delays else "") + _add_row(np_, into, "work.drive")

    def arrive(self, populations: Sequence[int]) -> str:
        """What arrives at `step` through the rings of these populations."""
        text = ""
        for i in populations:
            for r in self.ringed(i):
                sums = self.scopes[i].table[name("w", "arrived", r)].buffer
                into = self.memory.pointer(self.direct.get(sums.name, sums))
                ring = f"work.p{i}_ring_{r}"
                text += _add_row(f"NP_p_{self.plan.populations[i].name}", into, f"{ring}.now()") + f"{ring}.next();\n"
        return text

    # backwards

    def dots(self, c: ConnectionRecord, D: str) -> str:
        """Adds to `feedback` what the `count` spikes of `index` at `step` cause, for delays that are values.

        Args:
            D: where the rows of all steps begin.
        """
        np_, weight = f"NP_p_{c.target}", f"args.c_{c.name}_weight"
        if axonal(c):
            return f"dot_axonal<{np_}>(feedback, {weight}, index, count, {D}, step, args.c_{c.name}_delay, n_steps);\n"
        now = f"{D} + step * {np_}"
        if by_synapses(c):
            return self.dot(c, now)
        gather = f"gather_row<{np_}>(work.drive, {now}, args.c_{c.name}_forth);\n"
        return f"{gather}dot_rows<{np_}>(feedback, {weight}, index, count, work.drive);\n"

    def dot(self, c: ConnectionRecord, row: str) -> str:
        """The same for one delay of all and synapses of a table."""
        return f"gather_dots{_width(c)}(feedback, {_synapses(c)}, index, count, {row});\n"

    def _rows(self, population: int, what: str, receptor: str) -> str:
        return self.memory.pointer(self.scopes[population].table[name("w", f"{what}_{receptor}")].buffer)

    def _serieses(self, population: int) -> list[tuple[str, str]]:
        """(receptor, what) of the series that gradients of "w", "d" or both are gathered from."""
        into = self.plan.into(self.plan.populations[population].name)
        return list(
            dict.fromkeys(
                (c.receptor, _learned(c)) for c in into if c.form == "dense" and by_synapses(c) and _learned(c)
            )
        )

    def fill_series(self) -> str:
        """After the last step backwards."""
        lines = ""
        for i in range(len(self.plan.populations)):
            for r, what in self._serieses(i):
                rows = ", ".join(self._rows(i, "along" if n == "w" else "D", r) for n in what)
                lines += f"work.p{i}_series_{r}_{what}.fill({{{rows}}}, n_steps);\n"
        return lines

    def gather(self, c: ConnectionRecord) -> str:
        """Gradients of weights and delays; `by` has the spikes of every source, by their own steps."""
        (w, d), cleared = self._places(c), self._clear(c)
        if by_synapses(c):
            size = f"<NP_p_{c.target}, {len(_learned(c))}>"
            series = f"work.p{self._number(c)}_series_{c.receptor}_{_learned(c)}"
            return f"{cleared}gather_dense{size}(Learned{{{w}, {d}}}, {_synapses(c)}, {series}, by, {c.pre});\n"
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
            row = f"{self._rows(i, 'along', c.receptor)} + step * NP_p_{c.target}"
            code += f"gather_listed<false>({w}, {where}_weight_of, {call}, {row});\n"
        if c.delays is not None and c.delays.trainable:
            row = f"{self._rows(i, 'D', c.receptor)} + step * NP_p_{c.target}"
            place = f"{where}_delay_of" if c.delays.kind == "synaptic" else f"{own}_delay_of"
            code += f"gather_listed<true>({d}, {place}, {call}, {row});\n"
        return code

    def _gather_axonal(self, c: ConnectionRecord, w: str, d: str) -> str:
        i, np_ = self._number(c), f"NP_p_{c.target}"
        code = f"delay_by_source(by, args.c_{c.name}_delay, {c.pre}, n_steps);\n"
        if c.trainable:
            code += f"gather_gradient<{np_}>({w}, {self._rows(i, 'along', c.receptor)}, by, {c.pre}, false);\n"
        if c.learns_delays:
            D = self._rows(i, "D", c.receptor)
            code += f"gather_axonal<{np_}>({d}, args.c_{c.name}_weight, {D}, by, {c.pre});\n"
        return code

    def _gather_dendritic(self, c: ConnectionRecord, w: str, d: str) -> str:
        i, np_, code = self._number(c), f"NP_p_{c.target}", ""
        if c.trainable:
            shifted, along = f"work.c_{c.name}_shifted", self._rows(i, "along", c.receptor)
            row = f"gather_row<{np_}>({shifted} + at * {np_}, {along} + at * {np_}, args.c_{c.name}_forth);"
            code = f"for (int64_t at = 0; at < n_steps; ++at) {row}\n"
            code += f"gather_gradient<{np_}>({w}, {shifted}, by, {c.pre}, false);\n"
        if c.learns_delays:
            code += (
                f"gather_dendritic<{np_}>({d}, work.c_{c.name}_arrived, {self._rows(i, 'D', c.receptor)}, n_steps);\n"
            )
        return code


def _learned(c: ConnectionRecord) -> str:
    return "w" * c.trainable + "d" * c.learns_delays


def _synapses(c: ConnectionRecord) -> str:
    own = f"args.c_{c.name}"
    if c.form == "dense":
        return f"Delayed{{{own}_delay, {own}_weight}}"
    return f"Synapses{{{own}_start, {own}_offset, {own}_weight}}"


def _width(c: ConnectionRecord) -> str:
    """The template argument of what runs synapse by synapse; offsets of listed ones know the width themselves."""
    return f"<NP_p_{c.target}>" if c.form == "dense" else ""


def _add_row(np_: str, into: str, row: str) -> str:
    return f"add_row<{np_}>({into}, {row});\n"
