"""The readout of the loss and others in one pass, which a split trial (PyTorch, JAX) may ask for together.

Statements of each stand one after the other; what enters lambda or D is added up, since both are linear in dL/dr.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sympy as sp

from ...adjoint import DerivedEvent
from ...plan import Plan
from ..nodes import Statement
from ..scope import Scope
from .base import Readout


class Several(Readout):
    """Several readouts of one population.

    Args:
        parts: readouts, that of the loss first.
    """

    def __init__(self, plan: Plan, scope: Scope, parts: Sequence[Readout]) -> None:
        self.parts = parts
        self.R, self.DR, self.which = parts[0].R, parts[0].DR, ""
        self.plan, self.s, self.v, self.V, self.lam = plan, scope, parts[0].v, parts[0].V, parts[0].lam
        self.loss, self.K = plan.loss, scope.N
        self.spikes, self.negative = parts[0].spikes, any(p.negative for p in parts)
        self.states = tuple(dict.fromkeys(s for p in parts for s in p.states))

    def _statements(self, method: str, *arguments: Any) -> list[Statement]:
        return [s for part in self.parts for s in getattr(part, method)(*arguments)]

    def _sum(self, method: str, *arguments: Any) -> sp.Expr:
        return sum((getattr(part, method)(*arguments) for part in self.parts), sp.Integer(0))

    def begin(self) -> list[Statement]:
        return self._statements("begin")

    def before_arrivals(self) -> list[Statement]:
        return self._statements("before_arrivals")

    def after_arrivals(self) -> list[Statement]:
        return self._statements("after_arrivals")

    def after_step(self) -> list[Statement]:
        return self._statements("after_step")

    def spiked(self) -> list[Statement]:
        return self._statements("spiked")

    def before_spikes(self, event: int) -> list[Statement]:
        return self._statements("before_spikes", event)

    def end(self) -> list[Statement]:
        return self._statements("end")

    def valid(self, i: sp.Symbol) -> sp.Expr:
        return self.parts[0].valid(i)

    def begin_back(self) -> list[Statement]:
        return self._statements("begin_back")

    def last(self) -> sp.Expr:
        return self._sum("last")

    def arrival(self, receptor: str) -> sp.Expr:
        return self._sum("arrival", receptor)

    def negative_arrival(self) -> sp.Expr:
        return self._sum("negative_arrival")

    def sample(self) -> list[Statement]:
        return self._statements("sample")

    def time_gradient(self, event: DerivedEvent, before: dict[sp.Symbol, sp.Symbol]) -> list[Statement]:
        return self._statements("time_gradient", event, before)

    def silent_event(self, event: DerivedEvent, before: dict[sp.Symbol, sp.Symbol]) -> list[Statement]:
        return self._statements("silent_event", event, before)

    def after(self) -> list[Statement]:
        return self._statements("after")

    def source_at_end(self) -> list[Statement]:
        return self._statements("source_at_end")

    def source(self) -> list[Statement]:
        return self._statements("source")

    def rate(self, param: str) -> sp.Expr:
        return self._sum("rate", param)
