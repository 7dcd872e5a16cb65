"""An outer loss: from the readouts of one trial, or from V at one time, to a loss and its slopes.

A loss is code over all K outputs at once, in the order of their numbers. It reads ``r(i)`` of output i, whether it is
``valid(i)``, and what it is compared with; it writes `LOSS` and ``slope(i)``, both 0 before. Slopes include
`SAMPLE_WEIGHT`, the weight of the sample in the mean of the batch.
"""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp

from ...plan import Plan
from ..nodes import NEURON, SAMPLE, Add, Range, Statement, name
from ..readouts import Readout
from ..readouts.base import SAMPLE_WEIGHT
from ..readouts.voltage import NODES
from ..scope import Scope

n = name("o", "n")  # the output that a loop is at
LABEL = name("o", "label")
LOSS = name("o", "loss")
ROW, NODE = name("o", "row"), name("o", "node")  # step and node, where V is compared all the time
PART = name("o", "part")  # with exact spike times, how far a time is from target `ROW` to the next one


class Outer:
    """Base; `scope` is that of the output population."""

    def __init__(self, plan: Plan, scope: Scope, readout: Readout) -> None:
        self.plan, self.s, self.loss, self.readout = plan, scope, plan.loss, readout
        self.K = sp.Integer(scope.N)
        self.each_step = plan.loss.readout == "voltage"
        self.V: Callable[[sp.Symbol], sp.Expr] | None = None  # of output i, where `value` is not that of nodes
        scope.host_value_of_loss("sample_weight", "double", ("batch",), (SAMPLE,))
        for constant in self.loss.constants:
            scope.element(name("c", constant), (), (), "double", "host", f"{scope.of_loss}loss_{constant}")
        if self.loss.compares == "labels":
            scope.element(LABEL, ("batch",), (SAMPLE,), "long", "host", f"{scope.of_loss}labels")

    def compare(self) -> list[Statement]:
        """LOSS and slopes of one trial, or of one node of a step."""
        raise NotImplementedError

    def value(self) -> list[Statement]:
        """LOSS alone: of one time of a step, or of the readouts of a trial."""
        raise NotImplementedError

    def r(self, i: sp.Symbol) -> sp.Expr:
        """Readout of output i, or V there; its slope takes the place of V."""
        if self.V is not None:
            return self.V(i)
        if self.each_step:
            return self.s.alias(name("o", "V", i), name("w", NODES, 0), (ROW, NODE, i))
        return self.s.alias(name("o", "r", i), name("w", "r"), (i,))

    def slope(self, i: sp.Symbol) -> sp.Symbol:
        return self.r(i) if self.each_step else self.s.alias(name("o", "slope", i), name("w", "dr"), (i,))

    def valid(self, i: sp.Symbol) -> sp.Expr:
        return self.readout.valid(i)

    def counts(self, i: sp.Symbol) -> sp.Expr:
        """Whether output i counts, 1 if all do."""
        return self.valid(i) if self.loss.silent == "exclude" else sp.Integer(1)

    def push(self, i: sp.Symbol, slope: sp.Expr) -> list[Statement]:
        """Of a silent output: lambda_V at T gets -tau_mem dl/dr(T)."""
        if self.loss.silent != "end":
            return []
        tau = self.s.number("tau_mem")
        if self.s.table[tau].index == (NEURON,):
            tau = self.s.alias(name("o", "tau", i), tau, (i,))
        return [Add(self.s.alias(name("o", "push", i), name("w", "missing"), (i,)), -tau * slope * SAMPLE_WEIGHT)]

    def function(self, e: sp.Expr, r: sp.Expr) -> sp.Expr:
        """score, term or a slope of the loss at r."""
        names = {sp.Symbol("r", real=True): r, sp.Symbol("T", real=True): name("g", "duration")}
        names |= {sp.Symbol(c, real=True): name("c", c) for c in self.loss.constants}
        return sp.sympify(e).xreplace(names)

    def each_output(self, body: list[Statement]) -> Range:
        return Range(n, 0, self.K, body)
