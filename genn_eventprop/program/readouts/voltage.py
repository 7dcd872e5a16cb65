"""L = 1/T int w l(V) dt, l the outer loss: V at the Gauss nodes of every step, in a buffer (n_steps, J, K).

Between the passes the outer loss, which needs V of all outputs at once, overwrites V with dL/dV there. Backwards the
nodes then are to lambda what the time weight is in `Integral`.
"""

from __future__ import annotations

import sympy as sp

from ...adjoint import DerivedEvent
from ...modelling.expressions import symbol
from ..events import DL_DT
from ..nodes import NEURON, STEP, Access, Add, Set, Statement, loss_change, name
from .base import SAMPLE_WEIGHT, BetweenEvents
from .integral import Integral

NODES = "nodes"  # the buffer (n_steps, J, K)


BEFORE = name("w", "before")  # V before the arrivals of a step
OF_ARRIVALS = "arrival_"  # what the names of buffers begin with that have a row for the arrivals of every step


class Voltage(Integral):
    def declare(self) -> None:
        super().declare()
        s = self.s
        jumps = [(i, e) for i, e in enumerate(s.d.events) if e.emits or self.moved_by(e)]
        after = {str(x) for _, e in jumps for x in e.h[self.v].free_symbols}
        self.states = tuple(v for v in s.d.states if v in after)
        for i, _ in jumps if s.adjoint else ():
            row = s.element(name("w", "unspiked", i), ("n_points", s.N), (STEP + 1, NEURON), "real", "stored")
            s.alias(name("w", "unspiked", i, "back"), row, (STEP, NEURON))
        # an arrival that moves V has l(x-) - l(x+) in its D: l is not linear, so the row V before it is stored
        self.moved = any(self.loss_of_arrival(r) != 0 for r in s.fed())
        if self.moved:
            s.element(BEFORE, ("n_steps", s.N), (STEP, NEURON), "real", "stored")
        for what, (kind, outputs) in self._of_arrivals().items():
            index = (STEP, *(name("o", "n") for _ in outputs))
            s.host_value_of_loss(f"{OF_ARRIVALS}{what}", kind, ("n_steps", *outputs), index)
        for j in range(self.size):
            axes = ("n_steps", self.size, s.N)
            node = s.element(name("w", NODES, j), axes, (STEP, j, NEURON), "real", "stored", f"{s.of_loss}{NODES}")
            s.alias(name("w", NODES, "before", j), node, (STEP - 1, j, NEURON))
            s.host_value_of_loss("node_scale", "real", (self.size,), (j,), j=j)

    def _of_arrivals(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Of a recording, what the loss at an arrival depends on, which may be in a later interval: (kind, axes)."""
        if self.exact or not (self.moved and self.s.pieces):
            return {}
        wanted = {"targets": ("double", (self.s.N,))} if self.loss.compares == "targets" else {"labels": ("long", ())}
        return {"sample_weight": ("double", ()), "integrand_weight": ("real", ()), **wanted}

    def at_arrivals(self) -> dict[sp.Symbol, Access]:
        """Symbols of the loss -> what they stand for at the arrivals of `step`, if that is not the same."""
        stands_for = {
            "sample_weight": ("g_sample_weight",), "integrand_weight": ("g_integrand_weight",),
            "labels": ("o_label",), "targets": ("o_low", "o_after"),
        }  # fmt: skip
        return {
            symbol(s): self.s.table[name("g", f"{OF_ARRIVALS}{what}")]
            for what in self._of_arrivals() for s in stands_for[what]
        }  # fmt: skip

    def between_events(self) -> BetweenEvents:
        return BetweenEvents("voltage", "ReadVoltage")

    def before_arrivals(self) -> list[Statement]:
        return [Set(BEFORE, self.V)] if self.moved else []

    def _add(self, pieces: range) -> list[Statement]:
        node = [Set(name("w", NODES, j), name("g", "node_scale", j) * self.piece(j)) for j in pieces]
        return [*super()._add(pieces), *(node if self.s.adjoint else [])]

    def density(self, j: int) -> sp.Expr:
        return name("w", NODES, "before", j)

    def arrival(self, receptor: str) -> sp.Expr:
        return sp.Integer(0)

    def loss_of_arrival(self, receptor: str) -> sp.Expr:
        return self.s.expression(self.s.d.receptors[receptor][self.v])

    def moved_by_arrival(self, receptor: str, i: sp.Symbol) -> sp.Expr:
        """What an arrival of weight 1 adds to V of output i."""
        s, moved = self.s, sp.sympify(self.loss_of_arrival(receptor))
        each = (v for v in moved.free_symbols if v in s.table and s.table[v].index == (NEURON,))
        return moved.xreplace({v: s.alias(name("o", v, i), v, (i,)) for v in each})

    def before_spikes(self, event: int) -> list[Statement]:
        happens = self.s.d.events[event]
        return [Set(name("w", "unspiked", event), self.V)] if happens.emits or self.moved_by(happens) else []

    def time_gradient(self, event: DerivedEvent, before: dict[sp.Symbol, sp.Symbol]) -> list[Statement]:
        # V of all outputs before they spike: l is no sum over outputs, so that V of the others matters as well
        unspiked = name("w", "unspiked", self.s.d.events.index(event), "back")
        of_loss = (sp.Integer(self.s.index),) if self.s.of_loss else ()  # the main loss has no number
        change = loss_change(STEP, NEURON, unspiked, self.s.expression(event.h[self.v], before), *of_loss)
        return [Add(DL_DT, self.at() * SAMPLE_WEIGHT * change)]
