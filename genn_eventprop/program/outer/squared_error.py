"""L = 1/2 sum_c (r_c - y_c)^2 where there is a target: of readouts, of V(t), of the time of every spike."""

from __future__ import annotations

import sympy as sp

from ..nodes import SAMPLE, Add, Let, Range, Set, Statement, When, above, below, both, choose, is_nan, name, no
from ..readouts.base import SAMPLE_WEIGHT
from ..readouts.spikes import BEFORE
from .base import LOSS, PART, ROW, Outer, n

TARGET, DIFFERENCE = name("o", "target"), name("t", "difference")
m = name("o", "m")  # the spike that a loop is at
AFTER = name("t", "after")  # the step after `ROW`, if there is one


class SquaredError(Outer):
    def compare(self) -> list[Statement]:
        self.s.element(TARGET, ("batch", self.s.N), (SAMPLE, n), "double", "host", f"{self.s.of_loss}targets")
        body: list[Statement] = [*self._difference(self.r(n)), Set(self.slope(n), DIFFERENCE * SAMPLE_WEIGHT)]
        push = self.push(n, DIFFERENCE)
        body += [When(no(self.valid(n)), push)] if push else []
        return [self.each_output([When(both(self.counts(n), no(is_nan(TARGET))), body)])]

    def value(self) -> list[Statement]:
        self.s.element(TARGET, ("batch", self.s.N), (SAMPLE, n), "double", "host", f"{self.s.of_loss}targets")
        counted = both(self.counts(n), no(is_nan(TARGET)))
        return [self.each_output([When(counted, (Add(LOSS, (self.r(n) - TARGET) ** 2 / 2),))])]

    def _difference(self, r: sp.Expr) -> list[Statement]:
        return [Let(DIFFERENCE, r - TARGET, "double"), Add(LOSS, DIFFERENCE**2 / 2)]


class VoltageSquaredError(SquaredError):
    """Of V(t) at the nodes of a step, against targets at k dt that are linear in between.

    With exact spike times, at any time: that of `ROW` and `PART`.
    """

    @property
    def _exact(self) -> bool:
        return self.plan.spike_times == "exact"

    def _targets(self, what: str, after: sp.Expr) -> tuple[sp.Symbol, sp.Symbol]:
        """At a step, and at the one after it, which is called `what`."""
        axes = ("batch", "target_rows" if self._exact else "n_points", self.s.N)
        low = self.s.element(name("o", "low"), axes, (SAMPLE, ROW, n), "double", "host", f"{self.s.of_loss}targets")
        return low, self.s.alias(name("o", what), low, (SAMPLE, after, n))

    def value(self) -> list[Statement]:
        """Nothing where the step that begins has no target."""
        if self._exact:
            there = When(no(is_nan(TARGET)), (Add(LOSS, (self.r(n) - TARGET) ** 2 / 2),))
            return [self.each_output([self._target(PART), there])]
        low, high = self._targets("after", AFTER)
        there = no(is_nan(low + high))
        after = Let(AFTER, choose(below(ROW, name("g", "n_steps")), ROW + 1, ROW), "long")
        return [after, self.each_output([When(there, (Add(LOSS, (self.r(n) - low) ** 2 / 2),))])]

    def compare(self) -> list[Statement]:
        part, V = PART, self.r(n)
        if not self._exact:
            nodes = (f"{self.s.of_loss}n_nodes",)
            part = self.s.host_value_of_loss("node_part", "double", nodes, (name("o", "node"),))
        body = [*self._difference(V), Set(V, DIFFERENCE * SAMPLE_WEIGHT)]
        nothing: tuple[Statement, ...] = (Set(V, 0),)
        return [self.each_output([self._target(part), When(no(is_nan(TARGET)), body, nothing)])]

    def _target(self, part: sp.Expr) -> Let:
        low, high = self._targets("high", ROW + 1)
        return Let(TARGET, low + (high - low) * part, "double")


class SpikeTimeError(SquaredError):
    """Spike m of every output against target m; spikes that did not happen as `Loss.silent` says."""

    def compare(self) -> list[Statement]:
        s = self.s
        axes = ("batch", s.N, f"{s.of_loss}n_targets")
        s.element(TARGET, axes, (SAMPLE, n, m), "double", "host", f"{s.of_loss}targets")
        spikes = s.alias(name("o", "count"), name("w", "count"), (n,))
        if s.pieces:
            spikes = spikes - s.alias(name("o", "count_before"), BEFORE, (n,))
        there = above(spikes, m)
        step = s.alias(name("o", "spike_step"), name("w", "spike_step"), (n, m))
        slope = s.alias(name("o", "spike_slope"), name("w", "slope"), (n, m))
        time = choose(there, self.readout.ms(step), name("g", "duration"))
        body: list[Statement] = [*self._difference(time), When(there, (Set(slope, DIFFERENCE * SAMPLE_WEIGHT),))]
        push = self.push(n, DIFFERENCE)
        body += [When(no(there), push)] if push else []
        counts = both(no(is_nan(TARGET)), there if self.loss.silent == "exclude" else sp.Integer(1))
        each: tuple[Statement, ...] = (Set(slope, 0), When(counts, body))
        return [self.each_output([Range(m, 0, name("g", "n_targets"), each)])]
