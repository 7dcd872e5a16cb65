"""Trajectories in segments: what the forward pass keeps of the populations whose states the backward pass needs.

A trial of K steps is cut into segments of S. If all K steps fit the engine's limit, S = K. Else S is about the square
root of K: only the states at the start of every segment and the trajectory of one segment are kept, and the backward
pass runs each segment once more from what the forward pass has recorded; nothing is tested again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ....plan import ConnectionRecord
from ....program.nodes import Buffer, name
from ....program.trial import Deliver, EachNeuron, Trial
from ...statements import indent
from ..context import Context, stream
from .between import ConnectionOps
from .connections import Connections
from .loops import Loops
from .memory import Memory

ROW = "const int64_t row = step % args.segment;\n"
MODE = name("w", "mode")


class Segments:
    """The text of segments; `stored`: numbers of the populations."""

    def __init__(self, trial: Trial, names: Context, memory: Memory, loops: dict[int, Loops]) -> None:
        self.trial, self.names, self.plan, self.memory, self.loops = trial, names, trial.plan, memory, loops
        self.stored = [i for i, p in enumerate(self.plan.populations) if p.stores_states]

    def starts(self) -> dict[str, Buffer]:
        """Name -> buffer of what a segment starts from."""
        buffers = {}
        for i in self.stored:
            s = self.trial.scopes[i]
            for x in (*s.x, *([MODE] if s.several_modes else [])):
                buffers[f"p{i}_kept_{x}"] = s.table[x].buffer
        return buffers

    def keep(self) -> str:
        """In a step forwards: its row, and what a segment that begins with it starts from."""
        if not self.stored:
            return ""
        if self.names.pieces:
            return f"const int64_t row = step - {self.memory.first};\n"
        copies = "".join(self._copy(self._start(n, b, "step"), "", b) for n, b in self.starts().items())
        return f"{ROW}if (row == 0 && args.segment < n_steps) {{\n{indent(copies)}}}\n"

    def _copy(self, to: str, source: str, b: Buffer) -> str:
        """Copies a buffer, or to it; empty: the buffer itself."""
        pointer, size = self.memory.pointer(b), self.memory.padded(b)
        return f"std::memcpy({to or pointer}, {source or pointer}, {size} * sizeof *{pointer});\n"

    def _start(self, name: str, b: Buffer, step: str) -> str:
        """Where what a segment starts from is kept."""
        return f"work.{name} + {step} / args.segment * {self.memory.padded(b)}"

    def again(self, deliver: Callable[[Deliver], str], between: ConnectionOps, others: Connections) -> str:
        """The body of `replay`; deliver: the text of arrivals."""
        body, after = "[[maybe_unused]] const scalar dt = scalar(args.dt);\n", ""
        for i in self.stored:
            if self.trial.scopes[i].several_modes:  # the backward pass goes on with its own modes afterwards
                mode = self.trial.scopes[i].table[MODE].buffer
                body += f"int32_t saved_{i}[{self.memory.padded(mode)}];\n" + self._copy(f"saved_{i}", "", mode)
                after += self._copy("", f"saved_{i}", mode)
        body += "".join(self._copy("", self._start(n, b, "base"), b) for n, b in self.starts().items())
        for c in self.names.from_input:
            if self.plan.population(c.target).stores_states and not others.known(c):
                first = f"base - args.{self.names.c(c)}_delay" if c.delay > 0 else "base"
                first = "base - args.ahead" if _comes_late(others, c) else first
                body += f"int64_t next_{self.names.c(c)} = {stream(c)}input.begin({first});\n"
        body += self._on_the_way(between, others)
        steps = self._replayed(self.trial.early) + "".join(map(deliver, filter(self._is_stored, self.trial.arrivals)))
        steps += others.arrive(self.stored) + self._replayed(self.trial.advance)
        body += "const int64_t stop = base + args.segment < n_steps ? base + args.segment : n_steps;\n"
        head = f"{ROW}[[maybe_unused]] const int32_t now = int32_t(step);\n"
        return f"{body}for (int64_t step = base; step < stop; ++step) {{\n{indent(head + steps)}}}\n{after}"

    def _on_the_way(self, between: ConnectionOps, others: Connections) -> str:
        """What was sent before the segment and arrives in it, through individual delays."""
        into = [c for i in self.stored for c in self.plan.into(self.plan.populations[i].name)]
        late = (between.spiked(c) + others.send(c) for c in into if _comes_late(others, c))
        sent, begin = "".join(f"{{\n{indent(text)}}}\n" for text in late), others.begin(self.stored)
        if not sent:
            return begin
        sent += "".join(map(others.next, self.stored))
        first = "base > args.ahead ? base - args.ahead : 0"
        return f"{begin}for (int64_t step = {first}; step < base; ++step) {{\n{indent(sent)}}}\n"

    def _is_stored(self, o: Deliver) -> bool:
        return self.plan.population(self.plan.connections[o.connection].target).stores_states

    def _replayed(self, operations: Iterable[EachNeuron]) -> str:
        return "".join(self._replay(o) for o in operations if o.population in self.stored)

    def _replay(self, o: EachNeuron) -> str:
        s = self.trial.scopes[o.population]
        live = {*s.x, MODE, *(name("w", "trace", v) for v in s.d.states), *(name("w", "arrived", r) for r in s.fed())}
        return self.loops[o.population].replay(o.kernel, live)


def _comes_late(others: Connections, c: ConnectionRecord) -> bool:
    """Whether what it sends before a segment is needed again; of others all sums are kept."""
    return c.delays is not None and not others.known(c)
