"""What arrivals change where that is no weight times an entry of a row: code run for every synapse of a spike.

See `program/operations.EVALUATED`. Such networks are rare, so these are plain loops, whatever the connection is, beside
the vectorised ones for all that is a product.
"""

from __future__ import annotations

import sympy as sp

from ....modelling.expressions import symbol
from ....plan import ConnectionRecord
from ....program.nodes import STEP, Access, Buffer, Kernel
from ....program.operations import EVALUATED
from ....program.population import WEIGHT, D
from ....program.readouts.integral import Integral
from ....program.trial import Feedback, FeedInput, GatherDelays, Trial
from ...printer import CPP
from ...statements import Spelling, Writer, indent
from ..context import Context, padded, windows_of
from .lanes import LoopExpressions, VectorLoopWriter
from .lists import Lists
from .memory import Memory


class FunctionWriter(Writer):
    """The text of code of one synapse."""

    expressions = LoopExpressions

    def __init__(self, spelling: Spelling, kernel: Kernel) -> None:
        super().__init__(spelling, kernel)
        self.dialect = CPP


class Evaluated:
    """Text for parts that are evaluated; lists: those of every spiking population."""

    def __init__(self, memory: Memory, names: Context, trial: Trial, lists: dict[str, Lists]) -> None:
        self.memory, self.names, self.trial, self.plan, self.lists = memory, names, trial, trial.plan, lists
        terms = [t for o in (*trial.feedback, *trial.end_back) if isinstance(o, (Feedback, FeedInput)) for t in o.terms]
        terms += [(o.connection, *t) for o in trial.end_back if isinstance(o, GatherDelays) for t in o.terms]
        through = {i for i, part, _ in terms if part == "loss"}
        late = (self.plan.connections[i] for i in sorted(through))
        self.widths = [padded(c.post) for c in late if c.delays and c.spread]  # of what arrives at different times

    def members(self) -> tuple[list[str], list[str]]:
        """Members of a thread's memory, and the lines that make room for them: what arrives of one spike at every step, and
        whether anything does."""
        if not self.widths:
            return [], []
        room = [f"arriving_rows.zero((args.ahead + 1) * {max(self.widths)});", "arriving_any.zero(args.ahead + 1);"]
        return ["Buffer<real> arriving_rows;", "Buffer<int32_t> arriving_any;"], room

    def functions(self) -> str:
        """The code of every connection with a part "change"."""
        return "".join(map(self._function, self.trial.changes))

    def _function(self, connection: int) -> str:
        text = FunctionWriter(Spelling(self.memory.element, lambda *_: ""), self.trial.changes[connection]).text()
        head = "[[maybe_unused]] const Args& args, [[maybe_unused]] Work& work, [[maybe_unused]] int64_t sample"
        arguments = f"{head}, [[maybe_unused]] int64_t step, int neuron, scalar {WEIGHT}"
        body = f"{self.memory.pointers()}{text}return {D};\n"
        return f"inline scalar change_{self._own(connection)}({arguments}) {{\n{indent(body)}}}\n"

    def _own(self, connection: int) -> str:
        return self.names.c(self.plan.connections[connection])

    def runs(self, c: ConnectionRecord, part: str) -> bool:
        """Whether a part is run here; "loss" of rows has a loop of its own."""
        return part in EVALUATED and not (part == "loss" and c.by_rows)

    # spikes

    def feedback(self, connection: int, part: str, row: Buffer) -> str:
        """Adds to `feedback` what the `count` spikes of `index` at `step` cause."""
        c = self.plan.connections[connection]
        each = self._loss(c, row, "feedback + r") if part == "loss" else self._sum(c, "feedback[r]")
        body = f"const int32_t source = index[r];\n{each}"
        return f"for (int64_t r = 0; r < count; ++r) {{\n{indent(body)}}}\n"

    def delays(self, o: GatherDelays) -> str:
        """Adds what depends on learned delays to their gradient, spike by spike; behind all that is gathered."""
        c, body = self.plan.connections[o.connection], ""
        delays = self.names.of_delays(c)
        for part, row in o.terms:
            if part == "change":
                body += self._synapses(c, f"({delays})[delay] += {self._call(c)};\n")
            elif part == "loss" and c.delays is not None and c.delays.kind == "axonal":
                body += self._loss(c, row, f"{delays} + source")
            elif part == "loss":
                body += self._synapses(c, self._loss_of_synapse(c, row, f"({delays})[delay]"))
        return self._every_spike(c, body) if body else ""

    def _every_spike(self, c: ConnectionRecord, body: str) -> str:
        """Code for every spike of a connection's source: `source`, `step`."""
        if c.source == self.plan.input.name:
            s = f"in_{c.channels[0]}_{c.channels[1]}_" if c.channels else ""
            head = f"const int64_t step = args.{s}steps[i];\nconst int32_t source = args.{s}channels[i];\n"
            return f"for (int64_t i = {s}from; i < {s}to; ++i) {{\n{indent(head + body)}}}\n"
        spikes = self.lists[c.source].spikes
        inner = f"const int32_t source = {spikes}.neuron[i];\n{body}"
        loop = f"for (int64_t i = {spikes}.start[step]; i < {spikes}.start[step + 1]; ++i) {{\n{indent(inner)}}}\n"
        return f"for (int64_t step = 1; step < n_steps; ++step) {{\n{indent(loop)}}}\n"

    # synapses

    def _synapses(self, c: ConnectionRecord, body: str) -> str:
        """Code for every synapse of `source` at which its spike of `step` arrives in the trial: `arrival`, `n` the target,
        `w` the weight, `delay` the place of a learned delay."""
        own, NP, N = f"args.{self.names.c(c)}", f"NP_{self.names.p(c.target)}", c.post
        row = f"int64_t(source) * {NP} + n"
        learned = "[delay]" in body
        in_time = f"if (arrival >= n_steps) continue;\n{body}"
        if c.windows is not None:
            rows = c.windows
            stride = rows.width * rows.groups
            each = f"const int n = places.target[k] + o;\nconst scalar w = own[places.weight[k] + o];\n{body}"
            text = f"""\
const int64_t arrival = step{self._delay(c)};
const auto windows = {windows_of(rows, own)};
{self._windows_type(c)}::Places places;
windows.find(source / {rows.depth}, places);
const scalar* own = windows.weight + source % {rows.depth} * {stride};
for (int k = 0; k < places.count && arrival < n_steps; ++k)
    for (int o = 0; o < {rows.width}; ++o) {{
{indent(each, 2)}    }}
"""
            return f"{{\n{indent(text)}}}\n"
        if c.form != "dense":
            place = f"const int64_t delay = {own}_delay_of[s];\n" if learned else ""
            each = f"""\
const int64_t arrival = step{self._delay(c)} + {own}_offset[s] / {NP};
const int n = {own}_offset[s] % {NP};
const scalar w = {own}_weight[s];
{place}{in_time}"""
            return f"for (int32_t s = {own}_start[source]; s < {own}_start[source + 1]; ++s) {{\n{indent(each)}}}\n"
        late, place = "", ""
        if c.delays is not None:
            at = {"axonal": "source", "dendritic": "n", "synaptic": row}[c.delays.kind]
            late, place = f" + {own}_delays[{at}]", f"const int64_t delay = {at};\n" if learned else ""
        each = f"""\
const int64_t arrival = step{self._delay(c)}{late};
const scalar w = scalar({own}_weight[{row}]);
{place}{in_time}"""
        return f"for (int n = 0; n < {N}; ++n) {{\n{indent(each)}}}\n"

    def _windows_type(self, c: ConnectionRecord) -> str:
        assert c.windows is not None
        return windows_of(c.windows, "").partition("{")[0]

    def _delay(self, c: ConnectionRecord) -> str:
        return f" + args.{self.names.c(c)}_delay" if c.delay > 0 else ""

    def _call(self, c: ConnectionRecord) -> str:
        return f"change_{self.names.c(c)}(args, work, sample, arrival, n, w)"

    def _sum(self, c: ConnectionRecord, into: str) -> str:
        return f"scalar total = 0;\n{self._synapses(c, f'total += {self._call(c)};{chr(10)}')}{into} += total;\n"

    # losses of V

    def _of_arrival(self, c: ConnectionRecord) -> tuple[str, str]:
        """At the step `arrival`: what a unit weight adds to V of output `neuron`, and by what l counts."""
        readout = self.trial.readout
        assert isinstance(readout, Integral)
        moved = {STEP: symbol("arrival")}
        table = {
            s: Access(a.buffer, tuple(i.xreplace(moved) for i in a.index)) for s, a in readout.s.table.items()
        }  # fmt: skip
        spelling = Spelling(self.memory.element, lambda *_: "")
        w = VectorLoopWriter(spelling, Kernel((), table), readout.s.index, rows=False)
        return w.expression(sp.sympify(readout.loss_of_arrival(c.receptor))), w.expression(readout.at())

    def losses(self, c: ConnectionRecord, before: str, base: str, index: str, count: str, into: str) -> str:
        """The changes of a loss of V by the arrivals of rows of weights at `arrival`; before: V before them."""
        if c.target != self.plan.output.name:  # of an auxiliary loss, see compare.py
            i, NP = self.names.c(c), f"NP_{self.names.p(c.target)}"
            each = f"""\
scalar moved[{NP}];
for (int n = 0; n < {NP}; ++n) moved[n] = scalar(({base})[int64_t(({index})[i]) * {NP} + n]);
({into})[i] += arrival_{i}(args, work, sample, arrival, {before}, moved);
"""
            return f"for (int64_t i = 0; i < {count}; ++i) {{\n{indent(each)}}}\n"
        amount, weight = self._of_arrival(c)
        return f"""\
losses_of_arrivals(args, sample, arrival, {before}, {base}, {index}, {count}, {into},
                   {weight}, [&]([[maybe_unused]] int neuron) {{ return scalar({amount}); }});
"""

    def _before(self, c: ConnectionRecord, row: Buffer) -> str:
        return f"{self.memory.pointer(row)} + arrival * NP_{self.names.p(c.target)}"

    def _loss(self, c: ConnectionRecord, row: Buffer, into: str) -> str:
        """What a spike of `source` at `step` does to the loss: all its synapses of one time together."""
        own, before, NP = f"args.{self.names.c(c)}", self._before(c, row), f"NP_{self.names.p(c.target)}"
        if c.axonal:
            call = self.losses(c, before, f"{own}_weight", "&source", "1", into)
            late = f"const int64_t arrival = step + {own}_delays[source]; arrival < n_steps"
            return f"if ({late}) {{\n{indent(call)}}}\n"
        if c.delays is None:
            call = self.losses(c, before, "row", "&first", "1", into)
            body = f"alignas(64) scalar row[{NP}] = {{}};\nconst int32_t first = 0;\n"
            body += self._synapses(c, "row[n] += w;\n") + call
            return f"if (const int64_t arrival = step{self._delay(c)}; arrival < n_steps) {{\n{indent(body)}}}\n"
        put = f"work.arriving_rows[(arrival - step) * {NP} + n] += w;\nwork.arriving_any[arrival - step] = 1;\n"
        call = self.losses(c, before, "row", "&first", "1", into)
        body = f"""\
if (!work.arriving_any[arrival - step]) continue;
scalar* row = work.arriving_rows + (arrival - step) * {NP};
const int32_t first = 0;
{call}std::memset(row, 0, {NP} * sizeof(scalar));
work.arriving_any[arrival - step] = 0;
"""
        loop = "for (int64_t arrival = step; arrival <= step + args.ahead && arrival < n_steps; ++arrival)"
        return f"{self._synapses(c, put)}{loop} {{\n{indent(body)}}}\n"

    def _loss_of_synapse(self, c: ConnectionRecord, row: Buffer, into: str) -> str:
        if c.target != self.plan.output.name:
            return f"{into} += synapse_{self.names.c(c)}(args, work, sample, arrival, n, {self._before(c, row)}, w);\n"
        amount, weight = self._of_arrival(c)
        return f"""\
const int neuron = n;
scalar* before = {self._before(c, row)};
const scalar V = before[neuron] + w * scalar({amount}), share = {weight} * scalar(args.sample_weight[sample]);
{into} += share * loss_change(args, sample, arrival, neuron, before, V);
"""
