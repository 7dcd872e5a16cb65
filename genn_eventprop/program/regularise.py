"""Regularisers of spike counts: what every spike of a trial adds to the costate, by the formula of `regularisers`.

For every such regulariser the host hands over the strengths ``upper`` and ``lower`` of every neuron, divided by B, and
``target``; for a mean over the batch the excess itself.
"""

from __future__ import annotations

from ..regularisers import pushed_state
from .nodes import NEURON, Add, Let, Set, Statement, above, choose, name
from .scope import Scope

JUMP = name("w", "jump")
TOTAL = name("w", "total")  # spikes of the whole population


class Regularise:
    """The regularisers of one population."""

    def __init__(self, scope: Scope) -> None:
        self.s, self.terms = scope, scope.plan.spike_regularisers(scope.p.name)
        self.whole_layer = any(r.whole_layer and r.mean == "example" for r in self.terms)
        if self.whole_layer:
            scope.element(TOTAL, (), (), "int")
        if self.terms:
            scope.each(JUMP)

    def begin_back(self) -> list[Statement]:
        """JUMP from the spike counts of the trial, which are known only at its end."""
        out: list[Statement] = [Set(JUMP, 0)] if self.terms else []
        for i, r in enumerate(self.terms):
            upper, lower = (
                self.s.host_value(f"{side}{i}", "real", (self.s.N,), (NEURON,), of_population=True)
                for side in ("upper", "lower")
            )
            excess = name("t", "excess", i)
            if r.mean == "batch":
                value = self.s.host_value(f"excess{i}", "real", (self.s.N,), (NEURON,), of_population=True)
            else:
                z = TOTAL if r.whole_layer else name("w", "count")
                value = z - self.s.host_value(f"target{i}", "real", of_population=True)
            out += [Let(excess, value), Add(JUMP, r.push(excess, upper, lower, choose, above))]
        return out

    def after(self) -> list[Statement]:
        """Once lambda has jumped at a spike that was sent."""
        return [Add(name("l", pushed_state(self.s.d.model)), JUMP)] if self.terms else []
