"""Readouts of the output's spikes: the first one, all of them against targets, their number."""

from __future__ import annotations

import sympy as sp

from ...adjoint import DerivedEvent
from ..events import DL_DT
from ..nodes import NEURON, Add, Set, Statement, When, at_least, below, choose, either, equal, name
from ..scope import Scope
from .base import Readout

FIRST = name("w", "first")  # time of the first spike, -1 before it
COUNT = name("w", "count")
BEFORE = name("w", "count_before")  # spikes of earlier intervals of a recording
PUSH = name("w", "missing")  # lambda_V at T of a silent output (docs/equations.md, section 4)
M = name("g", "n_targets")


def count(s: Scope) -> sp.Expr:
    """Spikes of the trial, or of the interval of a recording."""
    return COUNT - s.each(BEFORE, "int") if s.pieces else COUNT


def begin_count(s: Scope) -> list[Statement]:
    return [Set(s.each(BEFORE, "int"), COUNT)] if s.pieces else []


class FirstSpike(Readout):
    """r = time of the first spike."""

    spikes = True

    def declare(self) -> None:
        self.s.each(FIRST, self.time_kind, "result")
        self.s.each(PUSH)
        self.s.host_value("step_ms", "double")

    def begin(self) -> list[Statement]:
        return [Set(FIRST, -1)]

    def spiked(self) -> list[Statement]:
        return [When(equal(FIRST, -1), (Set(FIRST, self.time()),))]

    def end(self) -> list[Statement]:
        return [Set(self.R, choose(at_least(FIRST, 0), self.ms(FIRST), name("g", "duration")))]

    def valid(self, i: sp.Symbol) -> sp.Expr:
        return at_least(self.s.alias(name("o", "first", i), FIRST, (i,)), 0)

    def born(self) -> tuple[sp.Expr, sp.Expr]:
        """It is the first one, if the output is silent or spikes later."""
        earlier, silent = below(self.time(back=True), FIRST), below(FIRST, 0)
        where = earlier if self.loss.silent == "exclude" else either(silent, earlier)
        return self.ms(self.time(back=True)) - self.R, where

    def last(self) -> sp.Expr:
        return PUSH if self.loss.silent == "end" else sp.Integer(0)

    def time_gradient(self, event: DerivedEvent, before: dict[sp.Symbol, sp.Symbol]) -> list[Statement]:
        return [When(equal(FIRST, self.time(back=True)), (Add(DL_DT, self.DR),))]


class SpikeTimes(FirstSpike):
    """Spike m of every output against target m; the outer loss writes dL/dt of every spike to ``w_slope``.

    Backwards spikes come last to first, so ``w_left`` counts down from their number to find the one at hand.
    """

    def declare(self) -> None:
        super().declare()
        s = self.s
        if not s.adjoint:
            return
        s.each(COUNT, "int", "result")
        s.each(name("w", "left"), "int")
        s.host_value_of_loss("n_targets", "int")
        axes = (s.N, f"{s.of_loss}n_targets")
        s.element(name("w", "spike_step"), axes, (NEURON, count(s)), self.time_kind, "stored")
        s.element(name("w", "slope"), axes, (NEURON, name("w", "left")), "real", "stored")

    def begin(self) -> list[Statement]:
        return [*super().begin(), *begin_count(self.s)]

    def spiked(self) -> list[Statement]:
        """COUNT includes this spike already."""
        if not self.s.adjoint:
            return super().spiked()
        n = count(self.s)
        rank = self.s.alias(name("w", "spike_step", "of"), name("w", "spike_step"), (NEURON, n - 1))
        return [*super().spiked(), When(at_least(M, n), (Set(rank, self.time()),))]

    def born(self) -> tuple[sp.Expr, sp.Expr]:
        return sp.Integer(0), sp.Integer(0)  # which spike would meet which target is not known

    def begin_back(self) -> list[Statement]:
        return [Set(name("w", "left"), count(self.s))]

    def time_gradient(self, event: DerivedEvent, before: dict[sp.Symbol, sp.Symbol]) -> list[Statement]:
        left = name("w", "left")
        return [Add(left, -1), When(below(left, M), (Add(DL_DT, name("w", "slope")),))]


class Count(Readout):
    """r = number of spikes, with the surrogate gradient of `losses.Loss`.

    A number of spikes has no derivative: dL/dr is added to lambda_V at every spike, and at T where there was none, so
    that a silent output can learn to spike.
    """

    def begin(self) -> list[Statement]:
        return [*super().begin(), *begin_count(self.s)]

    def end(self) -> list[Statement]:
        return [Set(self.R, count(self.s))]

    def born(self) -> tuple[sp.Expr, sp.Expr]:
        return sp.Integer(1), sp.Integer(1)

    def last(self) -> sp.Expr:
        return choose(equal(count(self.s), 0), self.DR, 0)

    def after(self) -> list[Statement]:
        return [Add(self.lam, self.DR)]
