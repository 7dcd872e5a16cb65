"""L = -log softmax(score(r))_y + term(r_y) over the outputs that count; an example whose right class is silent and
does not count contributes nothing."""

from __future__ import annotations

import sympy as sp

from ..nodes import Add, Let, Set, Statement, When, above, both, choose, equal, name, no
from ..readouts.base import SAMPLE_WEIGHT
from .base import LABEL, LOSS, Outer, n

TOP, TOTAL, SCORE = name("t", "top"), name("t", "total"), name("t", "score")


class CrossEntropy(Outer):
    def compare(self) -> list[Statement]:
        (score, term), (score_slope, term_slope) = self.loss.expressions, self.loss.derivatives
        at, r, r_label, right = self.function, self.r(n), self.r(LABEL), equal(n, LABEL)
        e = sp.exp(at(score, r) - TOP)
        slope = (self._counted(e / TOTAL) - right) * at(score_slope, r)
        if term_slope != 0:
            slope = slope + choose(right, at(term_slope, r), 0)
        body: list[Statement] = [
            Let(TOP, -name("o", "infinity"), "double", changes=True),
            self.each_output([
                Let(SCORE, at(score, r), "double"),
                When(both(self.counts(n), above(SCORE, TOP)), (Set(TOP, SCORE),)),
            ]),
            Let(TOTAL, sp.Integer(0), "double", changes=True),
            self.each_output([Add(TOTAL, self._counted(e))]),
            Set(LOSS, sp.log(TOTAL) + TOP - at(score, r_label) + at(term, r_label)),
            self.each_output([Set(self.slope(n), slope * SAMPLE_WEIGHT)]),
        ]  # fmt: skip
        push = self.push(LABEL, at(term_slope, name("g", "duration")))
        if push:
            body.append(When(no(self.valid(LABEL)), tuple(push)))
        counted = self.counts(LABEL)
        return body if counted == 1 else [When(counted, tuple(body))]

    def _counted(self, e: sp.Expr) -> sp.Expr:
        counts = self.counts(n)
        return e if counts == 1 else choose(counts, e, 0)
