"""An outer loss that the host computes between two calls: a forward one, and one with what it has found."""

from __future__ import annotations

from ..nodes import SAMPLE, Add, Set, Statement, When, above, name
from .base import LOSS, Outer, n


class Given(Outer):
    def compare(self) -> list[Statement]:
        s = self.s
        s.given("given", "int")
        loss = s.given("given_loss", "double", ("batch",), (SAMPLE,))
        slope = s.given("given_dr", "double", ("batch", s.N), (SAMPLE, n))
        body: list[Statement] = [Set(self.slope(n), slope)]
        if self.loss.silent == "end":
            last = s.given("given_last", "double", ("batch", s.N), (SAMPLE, n))
            body.append(Add(s.alias(name("o", "push", n), name("w", "missing"), (n,)), last))
        return [When(above(name("g", "given"), 0), (Set(LOSS, loss), self.each_output(body)))]
