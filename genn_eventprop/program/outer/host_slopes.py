"""An outer loss that the host computes between the two passes; it hands over dL/dr times the weight of the sample."""

from __future__ import annotations

from ..nodes import SAMPLE, Add, Set, Statement, name
from .base import Outer, n


class HostSlopes(Outer):
    def compare(self) -> list[Statement]:
        s = self.s
        slope = s.host_value_of_loss("dL_dr", "double", ("batch", s.N), (SAMPLE, n))
        body: list[Statement] = [Set(self.slope(n), slope)]
        if self.loss.silent == "end":
            last = s.host_value_of_loss("lambda_V_end", "double", ("batch", s.N), (SAMPLE, n))
            body.append(Add(s.alias(name("o", "push", n), name("w", "missing"), (n,)), last))
        return [self.each_output(body)]
