"""r = 1/T int w V dt: each step adds sum_j weight[k, j] (u_j . x + u_j1).

Within a step the time weight is a combination of basis functions j with coefficients weight[k, j], and V is linear in
the state x at the start of the step. So their integral is exact, with u_j from `plan.coefficients`, and its adjoint is
a source weight[k, j] u_j at that state: no quadrature error makes gradient and loss differ.

Where a step is not one exact propagator (nonlinear dynamics, modes), the integral is a trapezoid: u_0 and u_1 are half
of dt / T each, of V at the start of the step, behind its arrivals, and at its end, before the events there.
"""

from __future__ import annotations

import sympy as sp

from ...adjoint import DerivedEvent
from ...plan.coefficients import basis_size, has_exact_step, integral_terms
from ..events import DL_DT
from ..nodes import SAMPLE, STEP, Add, Statement, name
from .base import BetweenEvents, Readout


class Integral(Readout):
    def declare(self) -> None:
        s, self.size = self.s, basis_size(self.plan, self.s.p)
        # pieces whose x is that at the start of the step, and at its end
        self.at_start = range(self.size) if has_exact_step(s.d) else range(1)
        self.at_end = range(len(self.at_start), self.size)
        self.driven = self.loss.weight.input_tau is not None
        jumps = [e for e in s.d.events if e.emits or self.moved_by(e)]
        if jumps:  # V jumps at a reset: l(x-) - l(x+) needs V from before it, and what the reset is made of
            after = set().union(*(e.h[self.v].free_symbols for e in jumps))
            self.states = (s.d.model.readout, *(v for v in s.d.states if sp.Symbol(v, real=True) in after))
        for j in range(self.size):
            row = s.host_value_of_loss("time_weight", "real", ("n_steps", self.size), (STEP, j), j=j)
            s.alias(name("g", "time_weight", "back", j), row, (STEP - 1, j))
        s.host_value_of_loss("integrand_weight", "real", ("n_points",), (STEP,))
        if self.driven:
            after = s.host_value_of_loss("activity", "real", ("batch", "n_points"), (SAMPLE, STEP))
            s.alias(name("g", "activity_back"), after, (SAMPLE, STEP - 1))
            s.host_value_of_loss("activity_before", "real", ("batch", "n_points"), (SAMPLE, STEP))

    def between_events(self) -> BetweenEvents:
        """By series in the time to the end of an interval; where modes change in between, by nodes."""
        if len(self.s.d.modes) == 1:
            return BetweenEvents("integral", "ReadIntegral")
        return BetweenEvents("voltage", "ReadVoltage", "Of::INTEGRAL")

    def moved_by(self, event: DerivedEvent) -> bool:
        """Whether an event changes V."""
        return event.h[self.v] != self.s.d.x[self.v]

    def piece(self, j: int, prefix: str = "") -> sp.Expr:
        """u_j . x + u_j1."""
        total = sp.Integer(0)
        for tail in integral_terms(self.s.p):
            u = self.s.number(f"{prefix}u{j}_{tail}")
            total += u if tail == "1" else u * name("x", tail)
        return total

    def weight(self, j: int, back: bool = False) -> sp.Expr:
        """Of piece j of step `step`, or of the one before."""
        weight = name("g", "time_weight", "back", j) if back else name("g", "time_weight", j)
        return weight * (name("g", "activity_back" if back else "activity") if self.driven else 1)

    def at(self) -> sp.Expr:
        """w / T at `step`, before its arrivals."""
        return name("g", "integrand_weight") * (name("g", "activity_before") if self.driven else 1)

    def after_arrivals(self) -> list[Statement]:
        return self._add(self.at_start)

    def after_step(self) -> list[Statement]:
        return self._add(self.at_end)

    def _add(self, pieces: range) -> list[Statement]:
        total = sum((self.weight(j) * self.piece(j) for j in pieces), sp.Integer(0))
        return [Add(self.R, total)] if pieces else []

    def density(self, j: int) -> sp.Expr:
        """The factor of u_j . x + u_j1 in dL, of step `step` - 1; `Voltage` has another one at every node."""
        return self.DR * self.weight(j, back=True)

    def source(self) -> list[Statement]:
        return self._source(self.at_start)

    def source_at_end(self) -> list[Statement]:
        return self._source(self.at_end)

    def _source(self, pieces: range) -> list[Statement]:
        out: list[Statement] = []
        for tail in integral_terms(self.s.p) if pieces else ():
            if tail != "1":
                terms = (self.density(j) * self.s.number(f"u{j}_{tail}") for j in pieces)
                out.append(Add(name("l", tail), sum(terms, sp.Integer(0))))
        return out

    def rate(self, param: str) -> sp.Expr:
        if self.at_end:  # no parameter is in a trapezoid
            return sp.Integer(0)
        return sum((self.density(j) * self.piece(j, f"d{param}_") for j in self.at_start), sp.Integer(0))

    def time_gradient(self, event: DerivedEvent, before: dict[sp.Symbol, sp.Symbol]) -> list[Statement]:
        # E gets l(x-) - l(x+), l = w V / T: a later spike keeps V before the reset for longer
        drop = before[self.V] - self.s.expression(event.h[self.v], before)
        return [Add(DL_DT, self.at() * self.DR * drop)]

    def silent_event(self, event: DerivedEvent, before: dict[sp.Symbol, sp.Symbol]) -> list[Statement]:
        return self.time_gradient(event, before) if self.moved_by(event) else []

    def arrival(self, receptor: str) -> sp.Expr:
        # D gets l(x-) - l(x+) of an arrival that moves V itself (a delta synapse); 0 otherwise
        moved = self.s.d.receptors[receptor][self.v]
        return -self.at() * self.DR * self.s.expression(moved)
