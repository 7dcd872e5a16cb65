"""Loops of `program.lower` over the synapses of a spike, as CUDA text: threads share them, since their targets differ."""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp

from ...modelling.connectivity import WindowRows
from ...modelling.expressions import symbol
from ...program.connectivity import Windows
from ...program.loss_changes import N
from ...program.lower import ARRIVAL, NOW, SOURCE, TOTAL, Body, Lowering, W
from ...program.nodes import Access, Block, Buffer, Diverged, Kernel, Leave, Let, Range, quotient, remainder
from ...program.operations import EVALUATED, GatherDelays
from ...program.passes import buffers_of, shared, without_unused
from ...program.trial import Trial
from ..statements import Spelling, Writer, indent

CONSTANTS = {"o_infinity": "INFINITE", "o_nan": "NOT_A_NUMBER", "quantiles": "t->quantiles"}
Element = Callable[[Access, Callable[[sp.Expr], str]], str]


class Synapses(Lowering):
    """The loops of a trial; element: of what a thread sees of others."""

    def __init__(self, trial: Trial, element: Element) -> None:
        super().__init__(trial)
        self._outside = element

    def _element(self, access: Access, write: Callable[[sp.Expr], str]) -> str:
        """Scratch rows belong to the thread alone (see `alone`); where all else is, the kernels know."""
        b = access.buffer
        return f"{b.name}[{write(access.index[0])}]" if b.role == "scratch" else self._outside(access, write)

    def text(self, body: Body, lane: str, lanes: int) -> str:
        """Loops that `lanes` threads share, of which this one is number `lane`."""
        return self.alone(shared(body, symbol(lane), lanes))

    def alone(self, body: Body) -> str:
        """Loops of one thread, with the rows that they need."""
        rows = (self.buffers[n] for n in sorted(buffers_of(body)))
        scratch = "".join(f"real {b.name}[{b.axes[0]}];\n" for b in rows if b.role == "scratch")
        spelling = Spelling(self._element, lambda *_: "", CONSTANTS, buffers=self.buffers)
        return scratch + Writer(spelling, Kernel((), {})).block(without_unused(body))

    def stop(self, population: int, state: int) -> Body:
        return [Diverged(state)]

    def whole(self, kernel: Kernel) -> Kernel:
        """A kernel with the losses in its expressions as loops."""
        return Kernel(self._replaced(kernel), kernel.table)

    def stored_weight(self, i: int, place: str) -> str:
        """A weight, by its place in those of a connection."""
        element = f"t->c{i}_weight[{place}]"
        return f"float_of({element})" if self.trial.buffers[f"c{i}_weight"].kind == "half" else element

    def _each_of_windows(self, at: Windows, rows: WindowRows, body: Body) -> Body:
        """One loop over the targets of all rows: k counts channels of a row first, then its columns, then its lines, so that
        neighbouring threads have neighbouring targets."""
        _, width, channels = rows.source
        y, x, block, columns, a, b, k, o = map(symbol, ("y", "x", "block", "columns", "a", "b", "k", "o"))
        place = symbol("place")  # of the source, in 32 bits, which divide faster
        pixel, row = quotient(place, channels), quotient(k, rows.width)
        weight = at.down_weight.at(a) + at.across_weight.at(b) + remainder(place, rows.depth) * rows.target[2]
        each = (
            Let(a, at.down.at(y) + quotient(row, columns), "int"), Let(b, at.across.at(x) + remainder(row, columns), "int"),
            Let(o, block + remainder(k, rows.width), "int"), Let(W, weight + o, "int"),
            Let(N, at.down_target.at(a) + at.across_target.at(b) + o, "int"), *body,
        )  # fmt: skip
        return [
            Let(place, SOURCE, "int"), Let(y, quotient(pixel, width), "int"), Let(x, remainder(pixel, width), "int"),
            Let(block, quotient(remainder(place, channels), rows.depth) * rows.width, "int"),
            Let(columns, at.across.at(x + 1) - at.across.at(x), "int"),
            Range(k, 0, (at.down.at(y + 1) - at.down.at(y)) * columns * rows.width, each, over="lanes"),
        ]  # fmt: skip

    # what is no sum of products, as functions of one thread

    def spikes(self, mark: str) -> str:
        """``spike_c<i>``: what the spike of ``source`` at step ``now`` does to a loss of V, by all its synapses."""
        losses = {i: b for i, part, b in self._terms() if part == "loss"}
        parameters = f"int64_t {NOW}, int64_t {SOURCE}"
        return "".join(
            self._function(f"{mark} real spike_c{i}", parameters, TOTAL, self.of_spike(i, rows, TOTAL))
            for i, rows in sorted(losses.items())
        )

    def arrivals(self, mark: str) -> str:
        """``arrival_c<i>``: what an arrival through a synapse caused that learns its delay."""
        text, parameters = "", f"int64_t {ARRIVAL}, int64_t {SOURCE}, int32_t {N}, int64_t {W}"
        for o in (o for o in self.trial.end_back if isinstance(o, GatherDelays)):
            i, terms = o.connection, [t for t in o.terms if t[0] in EVALUATED and not self.at_once(o.connection, t[0])]
            caused = [s for which, rows in terms for s in self.caused(i, which, rows, TOTAL)]
            text += self._function(f"{mark} real arrival_c{i}", parameters, TOTAL, caused) if caused else ""
        return text

    def at_once(self, i: int, part: str) -> bool:
        """Whether all synapses of a source have one delay, so that its spike moves V of all targets at once."""
        delays = self.plan.connections[i].delays
        return part == "loss" and delays is not None and delays.kind == "axonal"

    def _terms(self) -> list[tuple[int, str, Buffer]]:
        late = [o for o in self.trial.end_back if isinstance(o, GatherDelays)]
        terms = [t for o in self.trial.feedback for t in o.terms]
        return terms + [(o.connection, *t) for o in late for t in o.terms if self.at_once(o.connection, t[0])]

    def _function(self, head: str, parameters: str, into: sp.Symbol, body: Body) -> str:
        text = self.alone([Let(into, 0, changes=True), Block(body), Leave(into)])
        return f"{head}(const Trial *t, int64_t sample, {parameters}) {{\n{indent(text)}}}\n"
