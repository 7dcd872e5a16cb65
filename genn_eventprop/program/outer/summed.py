"""A sum over outputs, L = sum_c term(r_c, y_c, r_label), from the expression in `losses.sums`."""

from __future__ import annotations

import sympy as sp

from ...losses.sums import SUMS
from ...losses.sums.base import R_LABEL, Y
from ..nodes import SAMPLE, Add, Let, Set, Statement, When, both, equal, is_nan, name, no
from ..readouts.base import SAMPLE_WEIGHT
from .base import LABEL, LOSS, Outer, n

TARGET, OF_LABEL = name("o", "target"), name("t", "of_label")


class Summed(Outer):
    def compare(self) -> list[Statement]:
        term = SUMS[str(self.loss.outer)]
        labels = self.loss.compares == "labels"
        if not labels:
            self.s.element(TARGET, ("batch", self.s.N), (SAMPLE, n), "double", "host", f"{self.s.of_loss}targets")
        value, slope, of_label = (self._at(e) for e in (term.expression, *term.slopes))
        body: list[Statement] = [Add(LOSS, value), Set(self.slope(n), slope * SAMPLE_WEIGHT)]
        if not labels:
            return [self.each_output([When(both(self.counts(n), no(is_nan(TARGET))), body)])]
        body.append(Add(OF_LABEL, of_label))
        counted = self.counts(n)
        each = self.each_output(body if counted == 1 else [When(counted, body)])
        total: list[Statement] = [
            Let(OF_LABEL, 0, "double", changes=True), each,
            Add(self.slope(LABEL), OF_LABEL * SAMPLE_WEIGHT),
        ]  # fmt: skip
        right = self.counts(LABEL)
        return total if right == 1 else [When(right, total)]

    def _at(self, e: sp.Expr) -> sp.Expr:
        """An expression of `Sum`, of output n."""
        labels = self.loss.compares == "labels"
        r_label = self.r(LABEL) if labels else sp.Integer(0)
        return self.function(e, self.r(n)).xreplace({Y: equal(n, LABEL) if labels else TARGET, R_LABEL: r_label})
