"""r = max over steps of V before arrivals, on which V(k dt) does not depend; kinks at arrivals.

Where arrivals move V itself, V behind the arrivals of a step counts as well: then lambda_V jumps before D and weights
of that step are formed.
"""

from __future__ import annotations

import sympy as sp

from ..nodes import STEP, Add, Set, Statement, When, above, at_least, below, both, choose, either, equal, name
from ..step import pick
from .base import BetweenEvents, Readout

AT, SLOPE, KINK = name("w", "maximum_step"), name("w", "maximum_slope"), name("w", "maximum_kink")
BEFORE = name("w", "maximum_before")  # V before the arrivals of this step
BEHIND = name("w", "maximum_behind")  # 1 if the maximum is V behind the arrivals of its step
NEGATIVE = name("w", "negative")  # sum of the negative weights that arrive in this step


class Maximum(Readout):
    def declare(self) -> None:
        self.negative = self.s.adjoint
        self.s.each(AT, "int")
        self.s.each(SLOPE)
        self.s.each(KINK)
        if self.jumps:
            self.s.each(BEFORE)
            self.s.each(BEHIND, "int")

    def between_events(self) -> BetweenEvents:
        """At ends of segments and at the roots of dV/dt inside; behind arrivals, if any moves V."""
        return BetweenEvents("maximum", "ReadMaximum", more="true" if self.jumps else "false", extrema=True)

    @property
    def jumps(self) -> bool:
        """Whether arrivals move V itself."""
        return any(self.s.d.receptors[r][self.v] != 0 for r in self.s.fed())

    def _rise(self) -> sp.Expr:
        """dV/dt."""
        return self.s.expression(pick([m.f[self.v] for m in self.s.d.modes]))

    def before_arrivals(self) -> list[Statement]:
        # strictly above: of equal values the first is the maximum, as in the references
        head: list[Statement] = [Set(BEFORE, self.V)] if self.jumps and self.s.adjoint else []
        new = [Set(self.R, self.V)]
        if self.s.adjoint:
            new += [Set(AT, STEP), Set(SLOPE, self._rise()), Set(KINK, 0), *self._behind(0)]
        return [*head, When(either(equal(STEP, self.s.read_from), above(self.V, self.R)), new)]

    def _behind(self, value: int) -> list[Set]:
        return [Set(BEHIND, value)] if self.jumps else []

    def after_arrivals(self) -> list[Statement]:
        """At a kink the slope turns from positive to not positive by the arrivals, or V drops: Vdot(t*-) is shared
        among the negative weights of the step. Where V jumps to a maximum, Vdot(t*+) is shared in proportion to the
        jumps."""
        jumped: tuple[Statement, ...] = (Set(self.R, self.V),)
        if not self.s.adjoint:
            return [When(above(self.V, self.R), jumped)] if self.jumps else []
        # the rule of kinks of docs/equations.md, section 6: arrivals of one step have no order, so that those
        # with negative weights, which turn the slope, share the term in proportion to their weights
        falls = at_least(0, self._rise())
        falls = either(falls, below(self.V, self.R)) if self.jumps else falls
        turned = both(equal(AT, STEP), above(SLOPE, 0), falls, below(NEGATIVE, 0))
        kink = When(turned, (Set(KINK, SLOPE / NEGATIVE),))
        jumped += (Set(AT, STEP), Set(KINK, self._rise() / (self.V - BEFORE)), *self._behind(1))
        return [kink, When(above(self.V, self.R), jumped)] if self.jumps else [kink]

    def end(self) -> list[Statement]:
        # V(T) has no arrivals after it, so it has no kink
        last = (Set(AT, STEP), Set(KINK, 0), *self._behind(0)) if self.s.adjoint else ()
        return [When(above(self.V, self.R), (Set(self.R, self.V), *last))]

    def _at(self, step: sp.Expr, behind: int) -> sp.Expr:
        """Whether the maximum is at a step, behind its arrivals or before them."""
        here = equal(AT, step)
        return both(here, equal(BEHIND, behind)) if self.jumps else here

    def negative_arrival(self) -> sp.Expr:
        return choose(self._at(STEP, 0), KINK * self.DR, 0)

    def arrival(self, receptor: str) -> sp.Expr:
        moved = self.s.expression(self.s.d.receptors[receptor][self.v])
        return choose(self._at(STEP, 1), KINK * self.DR * moved, 0) if moved != 0 else sp.Integer(0)

    def sample(self) -> list[Statement]:
        return [When(self._at(STEP, 0), (Add(self.lam, self.DR),))]

    def source(self) -> list[Statement]:
        return [When(self._at(STEP - 1, 1), (Add(self.lam, self.DR),))] if self.jumps else []
