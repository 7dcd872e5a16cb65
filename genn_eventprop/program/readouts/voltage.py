"""L = 1/T int w l(V) dt, l the outer loss: V at the nodes of every step; the outer loss puts dL/dV in its place."""

from __future__ import annotations

import sympy as sp

from ...adjoint import DerivedEvent
from ..events import DL_DT
from ..nodes import NEURON, SAMPLE, STEP, Add, Set, Statement, loss_change, name
from .base import SAMPLE_WEIGHT, BetweenEvents
from .integral import Integral

NODES = "nodes"  # the buffer (n_steps, J, K)


BEFORE = name("w", "before")  # V before the arrivals of a step


class Voltage(Integral):
    def declare(self) -> None:
        super().declare()
        s = self.s
        self.states = ()
        self.moved = any(self.loss_of_arrival(r) != 0 for r in s.fed())
        if self.moved:
            s.element(BEFORE, ("n_steps", s.N), (STEP, NEURON), "real", "kept")
        s.alias(name("g", "integrand_weight", "next"), name("g", "integrand_weight"), (STEP + 1,))
        if self.driven:
            s.alias(name("g", "activity_before", "next"), name("g", "activity_before"), (SAMPLE, STEP + 1))
        for j in range(self.size):
            axes = ("n_steps", self.size, s.N)
            node = s.element(name("w", NODES, j), axes, (STEP, j, NEURON), "real", "kept", NODES)
            s.alias(name("w", NODES, "before", j), node, (STEP - 1, j, NEURON))
            s.given("node_scale", "real", (self.size,), (j,), j=j)

    def between_events(self) -> BetweenEvents:
        return BetweenEvents("voltage", "ReadVoltage", nodes=True)

    def before_arrivals(self) -> list[Statement]:
        return [Set(BEFORE, self.V)] if self.moved else []

    def after_arrivals(self) -> list[Statement]:
        scale = [name("g", "node_scale", j) for j in range(self.size)]
        nodes: list[Statement] = [Set(name("w", NODES, j), scale[j] * self.piece(j)) for j in range(self.size)]
        return super().after_arrivals() + (nodes if self.s.adjoint else [])

    def density(self, j: int) -> sp.Expr:
        return name("w", NODES, "before", j)

    def arrival(self, receptor: str) -> sp.Expr:
        return sp.Integer(0)

    def loss_of_arrival(self, receptor: str) -> sp.Expr:
        return self.s.own(self.s.d.receptors[receptor][self.v])

    def keep(self, event: DerivedEvent) -> dict[str, sp.Expr]:
        change = loss_change(STEP + 1, NEURON, self.s.own(event.h[self.v]))
        return {"own_loss": self.at("next") * SAMPLE_WEIGHT * change}

    def own(self, event: DerivedEvent, before: dict[sp.Symbol, sp.Symbol]) -> list[Statement]:
        return [Add(DL_DT, name("b", "own_loss"))]
