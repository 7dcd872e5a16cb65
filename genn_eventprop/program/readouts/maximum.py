"""r = max over steps of V before arrivals, on which V(k dt) does not depend; kinks at arrivals."""

from __future__ import annotations

import sympy as sp

from ..nodes import STEP, Add, Set, Statement, When, above, at_least, below, both, choose, either, equal, name
from ..step import pick
from .base import BetweenEvents, Readout

AT, SLOPE, KINK = name("w", "maximum_step"), name("w", "maximum_slope"), name("w", "maximum_kink")
NEGATIVE = name("w", "negative")  # sum of the negative weights that arrive in this step


class Maximum(Readout):
    def declare(self) -> None:
        self.negative = self.s.adjoint
        self.s.each(AT, "int")
        self.s.each(SLOPE)
        self.s.each(KINK)

    def between_events(self) -> BetweenEvents:
        """At ends of segments and at the roots of dV/dt inside."""
        return BetweenEvents("maximum", "ReadMaximum", extrema=True)

    def _rise(self) -> sp.Expr:
        """dV/dt."""
        return self.s.own(pick([m.f[self.v] for m in self.s.d.modes]))

    def before_arrivals(self) -> list[Statement]:
        if not self.s.adjoint:
            return [When(either(equal(STEP, 0), above(self.V, self.R)), (Set(self.R, self.V),))]
        new = (Set(self.R, self.V), Set(AT, STEP), Set(SLOPE, self._rise()), Set(KINK, sp.Integer(0)))
        return [When(either(equal(STEP, 0), above(self.V, self.R)), new)]

    def after_arrivals(self) -> list[Statement]:
        """At a kink the slope turns from positive to not positive by the arrivals: Vdot(t*-) is shared among the
        negative weights of the step."""
        if not self.s.adjoint:
            return []
        turned = both(equal(AT, STEP), above(SLOPE, 0), at_least(0, self._rise()), below(NEGATIVE, 0))
        return [When(turned, (Set(KINK, SLOPE / NEGATIVE),))]

    def end(self) -> list[Statement]:
        last = (Set(AT, STEP), Set(KINK, sp.Integer(0))) if self.s.adjoint else ()
        return [When(above(self.V, self.R), (Set(self.R, self.V), *last))]

    def negative_arrival(self) -> sp.Expr:
        return choose(equal(AT, STEP), KINK * self.DR, 0)

    def sample(self) -> list[Statement]:
        return [When(equal(AT, STEP), (Add(self.lam, self.DR),))]
