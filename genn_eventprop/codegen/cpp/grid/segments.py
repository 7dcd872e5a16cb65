"""Trajectories in segments: what the forward pass keeps of the populations whose states the backward pass needs.

A trial of K steps is cut into segments of S. If all K steps fit the engine's limit, S = K. Else S is about the square
root of K: only the states at the start of every segment and the trajectory of one segment are kept, and the backward
pass runs each segment once more from what the forward pass has recorded; nothing is tested again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ....program.nodes import Buffer, name
from ....program.trial import Deliver, EachNeuron, Trial
from ...statements import indent
from ..context import Context
from .between import ConnectionOps
from .connections import Connections
from .loops import Loops
from .memory import FIRST, Memory

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
            return f"const int64_t row = step - {FIRST};\n"
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
        body += between.first_arrivals(self.stored, "base") + others.begin(self.stored)
        body += between.on_the_way(self.stored, "base")
        steps = self._replayed(self.trial.early) + "".join(map(deliver, filter(self._is_stored, self.trial.arrivals)))
        steps += others.arrive(self.stored) + self._replayed(self.trial.advance)
        body += "const int64_t stop = base + args.segment < n_steps ? base + args.segment : n_steps;\n"
        head = f"{ROW}[[maybe_unused]] const int32_t now = int32_t(step);\n"
        return f"{body}for (int64_t step = base; step < stop; ++step) {{\n{indent(head + steps)}}}\n{after}"

    def _is_stored(self, o: Deliver) -> bool:
        return self.plan.population(self.plan.connections[o.connection].target).stores_states

    def _replayed(self, operations: Iterable[EachNeuron]) -> str:
        return "".join(self._replay(o) for o in operations if o.population in self.stored)

    def _replay(self, o: EachNeuron) -> str:
        s = self.trial.scopes[o.population]
        live = {*s.x, MODE, *(name("w", "trace", v) for v in s.d.states), *(name("w", "arrived", r) for r in s.fed())}
        return self.loops[o.population].replay(o.kernel, live)
