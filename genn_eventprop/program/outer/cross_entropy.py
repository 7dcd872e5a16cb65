"""L = -log softmax(score(r))_y + term(r_y) over the outputs that count; an example whose right class is silent and
does not count contributes nothing."""

from __future__ import annotations

import sympy as sp

from ..nodes import Add, Let, Set, Statement, When, above, both, choose, equal, name, no
from ..readouts.base import SAMPLE_WEIGHT
from .base import LABEL, LOSS, Outer, n

TOP, TOTAL, SCORE = name("t", "top"), name("t", "total"), name("t", "score")


class CrossEntropy(Outer):
    def value(self) -> list[Statement]:
        (score, term), at, r, r_label = self.loss.expressions, self.function, self.r(n), self.r(LABEL)
        return [
            Let(TOP, -name("o", "infinity"), "double", changes=True),
            self.each_output([
                Let(SCORE, at(score, r), "double"),
                When(both(self.counts(n), above(SCORE, TOP)), (Set(TOP, SCORE),)),
            ]),
            Let(TOTAL, 0, "double", changes=True),
            self.each_output([Add(TOTAL, self._counted(self._part()))]),
            Set(LOSS, sp.log(TOTAL) + TOP - at(score, r_label) + at(term, r_label)),
        ]  # fmt: skip

    def _part(self) -> sp.Expr:
        """exp(score) of output n, over that of the largest."""
        return sp.exp(self.function(self.loss.expressions[0], self.r(n)) - TOP)

    def compare(self) -> list[Statement]:
        score_slope, term_slope = self.loss.derivatives
        at, r, right = self.function, self.r(n), equal(n, LABEL)
        slope = (self._counted(self._part() / TOTAL) - right) * at(score_slope, r)
        if term_slope != 0:
            slope = slope + choose(right, at(term_slope, r), 0)
        body = [*self.value(), self.each_output([Set(self.slope(n), slope * SAMPLE_WEIGHT)])]
        push = self.push(LABEL, at(term_slope, name("g", "duration")))
        if push:
            body.append(When(no(self.valid(LABEL)), push))
        counted = self.counts(LABEL)
        return body if counted == 1 else [When(counted, body)]

    def _counted(self, e: sp.Expr) -> sp.Expr:
        counts = self.counts(n)
        return e if counts == 1 else choose(counts, e, 0)
