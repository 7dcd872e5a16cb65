"""r = 1/T int w V dt: each step adds sum_j weight[k, j] (u_j . x + u_j1).

Within a step the time weight is a combination of basis functions j with coefficients weight[k, j], and V is linear in
the state x at the start of the step. So their integral is exact, with u_j from `plan.coefficients`, and its adjoint is
a source weight[k, j] u_j at that state: no quadrature error makes gradient and loss differ.
"""

from __future__ import annotations

import sympy as sp

from ...adjoint import DerivedEvent
from ...plan.coefficients import basis_size, integral_terms
from ..events import DL_DT
from ..nodes import SAMPLE, STEP, Add, Statement, name
from .base import BetweenEvents, Readout


class Integral(Readout):
    def declare(self) -> None:
        s, self.size = self.s, basis_size(self.plan, self.s.p)
        self.driven = self.loss.weight.input_tau is not None
        if s.p.spiking:  # V jumps at a reset: l(x-) - l(x+) needs V from before it, and what the reset is made of
            event = s.d.events[0]
            after = event.h[self.v].free_symbols
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
        return BetweenEvents("voltage", "ReadVoltage", "Of::INTEGRAL", nodes=True)

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
        return [Add(self.R, sum((self.weight(j) * self.piece(j) for j in range(self.size)), sp.Integer(0)))]

    def density(self, j: int) -> sp.Expr:
        """The factor of u_j . x + u_j1 in dL, of step `step` - 1; `Voltage` has another one at every node."""
        return self.DR * self.weight(j, back=True)

    def source(self) -> list[Statement]:
        out: list[Statement] = []
        for tail in integral_terms(self.s.p):
            if tail != "1":
                pieces = (self.density(j) * self.s.number(f"u{j}_{tail}") for j in range(self.size))
                out.append(Add(name("l", tail), sum(pieces, sp.Integer(0))))
        return out

    def rate(self, param: str) -> sp.Expr:
        return sum((self.density(j) * self.piece(j, f"d{param}_") for j in range(self.size)), sp.Integer(0))

    def time_gradient(self, event: DerivedEvent, before: dict[sp.Symbol, sp.Symbol]) -> list[Statement]:
        # E gets l(x-) - l(x+), l = w V / T: a later spike keeps V before the reset for longer
        drop = before[self.V] - self.s.expression(event.h[self.v], before)
        return [Add(DL_DT, self.at() * self.DR * drop)]

    def arrival(self, receptor: str) -> sp.Expr:
        # D gets l(x-) - l(x+) of an arrival that moves V itself (a delta synapse); 0 otherwise
        moved = self.s.d.receptors[receptor][self.v]
        return -self.at() * self.DR * self.s.expression(moved)
