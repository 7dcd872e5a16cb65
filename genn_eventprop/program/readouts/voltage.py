"""L = 1/T int w l(V) dt, l the outer loss: V at the nodes of every step; the outer loss puts dL/dV in its place."""

from __future__ import annotations

import sympy as sp

from ..nodes import NEURON, STEP, Set, Statement, name
from .integral import Integral

NODES = "nodes"  # the buffer (n_steps, J, K)


class Voltage(Integral):
    def declare(self) -> None:
        super().declare()
        s = self.s
        for j in range(self.size):
            axes = ("n_steps", self.size, s.N)
            node = s.element(name("w", NODES, j), axes, (STEP, j, NEURON), "real", "kept", NODES)
            s.alias(name("w", NODES, "before", j), node, (STEP - 1, j, NEURON))
            s.given("node_scale", "real", (self.size,), (j,), j=j)

    def after_arrivals(self) -> list[Statement]:
        scale = [name("g", "node_scale", j) for j in range(self.size)]
        nodes: list[Statement] = [Set(name("w", NODES, j), scale[j] * self.piece(j)) for j in range(self.size)]
        return super().after_arrivals() + (nodes if self.s.adjoint else [])

    def density(self, j: int) -> sp.Expr:
        return name("w", NODES, "before", j)

    def arrival(self, receptor: str) -> sp.Expr:
        return sp.Integer(0)  # arrivals that move V are refused
