"""What arrivals change where that is no weight times an entry of a row: loops of `program.lower`, printed.

See `program/operations.EVALUATED`. Such networks are rare, so these are plain loops, whatever the connection is, beside
the vectorised ones for all that is a product.
"""

from __future__ import annotations

import sympy as sp

from ....modelling.expressions import symbol
from ....plan import ConnectionRecord
from ....program.connectivity import Table
from ....program.loss_changes import N, moved_index
from ....program.lower import ARRIVAL, INPUT, NOW, SOURCE, TOTAL, Body, Lowering, W
from ....program.nodes import (
    NEURON,
    STEP,
    Add,
    Block,
    Buffer,
    Code,
    Kernel,
    Let,
    Range,
    Set,
    When,
    above,
    below,
    choose,
    quotient,
    remainder,
)
from ....program.operations import EVALUATED
from ....program.passes import lists
from ....program.readouts.voltage import Voltage
from ....program.trial import Birth, Feedback, FeedInput, GatherDelays, Trial
from ...statements import Spelling
from ..context import Context, padded, stream
from .compare import CONSTANTS
from .connections import tables
from .lanes import ScalarWriter, VectorLoopWriter
from .memory import Memory

AHEAD, COUNT, SPIKE = symbol("args.ahead"), symbol("count"), symbol("r")


class Synapses(Lowering):
    """Loops over synapses by the arrays of `connections.tables`: a weight for each, its delay and target in one number."""

    def __init__(self, trial: Trial) -> None:
        super().__init__(trial)
        for i, c in enumerate(self.plan.connections):
            for b in tables(c, f"c{i}"):
                self.buffers[b.name] = self.list(f"args.{b.name}", b.kind)
            if c.form == "dense":
                self.buffers[f"c{i}_weight"] = self.list(f"args.c{i}_weight")

    def list(self, name: str, kind: str = "real") -> Buffer:
        """Memory that the text around these loops calls `name`."""
        return self.buffers.setdefault(name, Buffer(name, ("entries",), kind))

    def width(self, i: int) -> int:
        return padded(self.plan.connections[i].post)

    def _offset(self, i: int) -> sp.Expr:
        return self.buffers[f"c{i}_offset"].at(W)

    def _place(self, i: int) -> tuple[sp.Expr, ...]:
        return (SOURCE * self.width(i) + N,) if self.plan.connections[i].form == "dense" else (W,)

    def _each_synapse(self, i: int, body: Body) -> Body:
        at = self.trial.connections[i]
        if not isinstance(at, Table):
            return super()._each_synapse(i, body)
        target = Let(N, remainder(self._offset(i), self.width(i)), "int")
        return [Range(W, at.start.at(SOURCE), at.start.at(SOURCE + 1), (target, *body))]

    def delay(self, i: int) -> sp.Expr:
        return super().delay(i) if self.plan.connections[i].delay > 0 else sp.Integer(0)

    def _ring(self, i: int) -> sp.Expr:
        return AHEAD + 1  # of the longest delay: rings of this target have one length

    def delay_of(self, i: int) -> sp.Expr:
        c = self.plan.connections[i]
        return quotient(self._offset(i), self.width(i)) if c.delays and c.form != "dense" else super().delay_of(i)

    def delay_place(self, i: int) -> sp.Expr:
        dense = self.plan.connections[i].form == "dense"
        return super().delay_place(i) if dense else self.list(f"args.c{i}_delay_of", "int").at(W)

    def each_sent(self, i: int, body: Body) -> Body:
        if not self._from_input(i):
            return super().each_sent(i, body)
        s = stream(self.plan.connections[i])
        steps, channels = (self.list(f"args.{s}{n}", "int").at(INPUT) for n in ("steps", "channels"))
        spike = (Let(NOW, steps, "long"), Let(SOURCE, channels, "long"), *body)
        return [Range(INPUT, symbol(f"{s}from"), symbol(f"{s}to"), spike, kind="long")]


class Evaluated:
    """Text for parts that are evaluated."""

    def __init__(self, memory: Memory, names: Context, trial: Trial) -> None:
        self.memory, self.names, self.trial, self.plan = memory, names, trial, trial.plan
        self.loops = Synapses(trial)
        terms = [t for o in (*trial.feedback, *trial.end_back) if isinstance(o, (Feedback, FeedInput)) for t in o.terms]
        terms += [(o.connection, *t) for o in trial.end_back if isinstance(o, GatherDelays) for t in o.terms]
        through = (self.plan.connections[i] for i in sorted({i for i, part, _ in terms if part == "loss"}))
        self.widths = [padded(c.post) for c in through if not (c.by_rows or c.axonal)]

    def members(self) -> tuple[list[str], list[str]]:
        """Members of a thread's memory, and the lines that make room for them: what arrives of one spike at every step, and
        whether anything does."""
        if not self.widths:
            return [], []
        steps = "args.ahead + 1" if self.names.ahead else "1"
        room = [f"arriving_rows.zero(({steps}) * {max(self.widths)});", f"arriving_any.zero({steps});"]
        return ["Buffer<real> arriving_rows;", "Buffer<int32_t> arriving_any;"], room

    def runs(self, c: ConnectionRecord, part: str) -> bool:
        """Whether a part is run here; the main loss by rows has a loop of its own."""
        return part in EVALUATED and not (part == "loss" and c.by_rows and c.target == self.plan.output.name)

    def _text(self, body: Body) -> str:
        def of(b: Buffer) -> tuple[Buffer, Buffer]:
            return self.loops.list(f"work.{b.name}.start", "int"), self.loops.list(f"work.{b.name}.neuron", "int")

        spelling = Spelling(self.memory.element, lambda *_: "", CONSTANTS, buffers=self.loops.buffers)
        return ScalarWriter(spelling, Kernel((), {}), double=False).block(lists(body, of))

    # spikes

    def moved(self, o: Birth) -> str:
        """Adds to `total` the changes of outer losses by readouts that a spike of `neuron` at `step` would move."""
        spike: Body = [Let(SOURCE, NEURON, "long"), Let(NOW, STEP, "long")]
        return self._text([Block((*spike, *self.loops.moved(o)))]) if o.moving else ""

    def feedback(self, i: int, part: str, row: Buffer) -> str:
        """Adds to `feedback` what the `count` spikes of `index` at `step` cause."""
        if part == "loss":
            each = self._loss(i, row, "feedback", SPIKE)
        else:
            each = [Let(TOTAL, 0, changes=True), *self._caused(i, part, row, TOTAL)]
            each.append(Add(self.loops.list("feedback").at(SPIKE), TOTAL))
        source = Let(SOURCE, self.loops.list("index", "int").at(SPIKE), "long")
        return self._text([Range(SPIKE, 0, COUNT, (source, Let(NOW, STEP, "long"), *each), kind="long")])

    def delays(self, o: GatherDelays) -> str:
        """Adds what depends on learned delays to their gradient, spike by spike; behind all that is gathered."""
        i, c, body = o.connection, self.plan.connections[o.connection], []
        into = f"({self.names.of_delays(c)})"
        for part, row in (t for t in o.terms if t[0] in EVALUATED):
            if part == "loss" and c.delays and c.delays.kind == "axonal":  # V of all targets moves at once
                body += self._loss(i, row, into, SOURCE)
            else:
                body += self._caused(i, part, row, self.loops.list(into).at(self.loops.delay_place(i)))
        return self._text(self.loops.each_sent(i, body)) if body else ""

    def _caused(self, i: int, part: str, row: Buffer, into: sp.Expr) -> Body:
        return self.loops.in_time(i, self.loops.caused(i, part, row, into))

    # losses of V

    def _of_arrival(self, c: ConnectionRecord) -> tuple[str, str]:
        """At the step `arrival`: what a unit weight adds to V of output `neuron`, and by what l counts."""
        readout = self.trial.readout
        assert isinstance(readout, Voltage)
        table = readout.s.table | readout.at_arrivals()
        table = {s: moved_index(a, {STEP: symbol("arrival")}) for s, a in table.items()}
        spelling = Spelling(self.memory.element, lambda *_: "")
        w = VectorLoopWriter(spelling, Kernel((), table), readout.s.index, rows=False)
        return w.expression(sp.sympify(readout.loss_of_arrival(c.receptor))), w.expression(readout.at())

    def losses(self, c: ConnectionRecord, before: str, base: str, index: str, count: str, into: str) -> str:
        """The changes of a loss of V by the arrivals of rows of weights at `arrival`; before: V before them."""
        amount, weight = self._of_arrival(c)
        return f"""\
losses_of_arrivals(args, sample, arrival, {before}, {base}, {index}, {count}, {into},
                   {weight}, [&]([[maybe_unused]] int neuron) {{ return scalar({amount}); }});
"""

    def _loss(self, i: int, row: Buffer, array: str, place: sp.Symbol) -> Body:
        """Adds to an element what a spike of `SOURCE` at `NOW` does to the loss: all its synapses of one time together."""
        c, width, into = self.plan.connections[i], self.loops.width(i), f"{array} + {place}"
        if c.target != self.plan.output.name:
            return self.loops.of_spike(i, row, self.loops.list(array).at(place))
        before = f"{self.memory.pointer(row)} + {ARRIVAL} * {width}"
        late = Let(ARRIVAL, NOW + self.loops.delay_of(i), "long")
        if c.axonal:
            call = f"const int32_t row = int32_t({SOURCE});\n"
            call += self.losses(c, before, f"args.{self.names.c(c)}_weight", "&row", "1", into)
            return [Block((late, When(below(ARRIVAL, self.loops.n_steps), (Code(call, (), ()),))))]
        first = NOW if c.delays else NOW + self.loops.delay(i)
        last = first + (self.loops._ring(i) if c.delays else 1)
        rows, some = self.loops.list("work.arriving_rows"), self.loops.list("work.arriving_any", "int")
        place = (ARRIVAL - first) if c.delays else sp.Integer(0)
        put: Body = [Add(rows.at(place * width + N), self.loops.weight(i)), Set(some.at(place), 1)]
        base = f"work.arriving_rows + {f'({ARRIVAL} - {NOW})' if c.delays else 0} * {width}"
        call = f"const int32_t first = 0;\n{self.losses(c, before, base, '&first', '1', into)}"
        zero = Range(N, 0, width, (Set(rows.at(place * width + N), 0),), "lanes")
        one = When(above(some.at(place), 0), (Code(call, (), ()), zero, Set(some.at(place), 0)))
        stop = choose(below(last, self.loops.n_steps), last, self.loops.n_steps)
        return [*self.loops.in_time(i, put), Range(ARRIVAL, first, stop, (one,), kind="long")]
