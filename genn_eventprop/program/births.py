"""Spikes that are about to be born, as statements; docs/spike_birth.md has the mathematics.

Forwards every step stores in ``w_birth`` by how much a new largest maximum of the interval is nearer than `FARTHEST` s
to the threshold, and a negative number where there is none. Backwards the last one of an interval is met first; then
``w_birth_open`` is 0 until the spike before it is undone. What its spike would change L by is `trial.Birth`'s to find;
`jump` adds it, times the hazard, to lambda.

At a kink the arrivals of the step turn dg/dt from r > 0 to q <= 0, and the maximum moves with them: their D are those
of a lambda that has made the part r / (r - q) of its jump, which is `KINK`. They add up to r h Delta L, and each has
its share in proportion to how much it changes dg/dt.
"""

from __future__ import annotations

import math

import sympy as sp

from ..adjoint.birth import FARTHEST, rest_distance, rest_terms
from .nodes import (
    NEURON,
    STEP,
    Add,
    Let,
    Set,
    Statement,
    When,
    above,
    at_least,
    birth_change,
    both,
    choose,
    either,
    equal,
    name,
)
from .readouts import Readout
from .scope import Scope
from .step import pick

BIRTH, OPEN, CHANGE = name("w", "birth"), name("w", "birth_open"), name("w", "birth_change")
BEST, RISE = name("w", "birth_best"), name("w", "birth_rise")
KINK, JUMP = name("w", "birth_kink"), name("t", "birth_jump")
SLOPE, BEHIND = name("w", "birth_slope"), name("t", "birth_behind")  # dg/dt before the arrivals of the step, and behind
LOWEST = sp.Float(-1e30)


class Births:
    """Of one population with one event, whose threshold is linear in the state.

    moves: whether D of its arrivals is needed. drawn: by how much its threshold lies above its mean, an expression of
    states; hazards are those of the means.
    """

    def __init__(self, scope: Scope, moves: bool, drawn: sp.Expr = sp.S.Zero) -> None:
        self.s, self.event, self.moves = scope, scope.d.events[0], moves
        s = scope
        s.element(BIRTH, ("n_steps", s.N), (STEP, NEURON), "real", "stored")
        if moves:
            s.element(KINK, ("n_steps", s.N), (STEP, NEURON), "real", "stored")
        for each in (OPEN, CHANGE, BEST, RISE, *([SLOPE] if moves else [])):
            s.each(each)
        at_start = drawn.subs(dict(zip(s.d.x, s.d.x0)))
        self.drawn = s.expression(drawn)
        self.width = s.host_value("spike_birth") * s.expression(rest_distance(s.d) - at_start)
        self.rounding = s.host_value("birth_rounding") * s.expression(rest_terms(s.d))

    # forwards

    def begin(self) -> list[Statement]:
        return self.spiked()

    def before_arrivals(self) -> list[Statement]:
        return [Set(SLOPE, self._slope())] if self.moves else []

    def after_arrivals(self) -> list[Statement]:
        return [Let(BEHIND, self._slope())] if self.moves else []

    def _slope(self) -> sp.Expr:
        return self.s.expression(pick([self.event.dg_dx.dot(m.f) for m in self.s.d.modes]))

    def look(self, start: sp.Expr, end: sp.Expr) -> list[Statement]:
        """g at the start and the end of a step: a maximum at its start, if g rose to it and does not rise from it."""
        # one comparison after the other, and nothing loaded behind one: so compilers make vectors of it
        peak, reach, least = name("t", "birth_peak"), name("t", "birth_reach"), name("t", "birth_least")
        rises = choose(above(end - start, least), 1, choose(above(start - end, least), 0, RISE))
        if len(self.event.modes) < len(self.s.d.modes):
            rises = choose(either(*(equal(name("w", "mode"), m) for m in self.event.modes)), rises, 0)
        kink = choose(above(SLOPE, 0), choose(above(BEHIND, 0), 0, SLOPE / (SLOPE - BEHIND)), 0)
        return [
            *([Set(KINK, kink)] if self.moves else []),
            Let(least, self.rounding),
            Let(reach, FARTHEST * self.width),
            Let(peak, choose(above(RISE, 0), choose(above(rises, 0), LOWEST, start), LOWEST)),
            Set(BIRTH, choose(above(peak, BEST), peak + self.drawn + reach, -1)),
            Set(BEST, choose(above(peak, BEST), peak, BEST)),
            Set(RISE, rises),
        ]

    def spiked(self) -> list[Statement]:
        """Another interval begins."""
        return [Set(BEST, LOWEST), Set(RISE, 0)]

    # backwards

    def begin_back(self) -> list[Statement]:
        return [Set(OPEN, 1)]

    def undone(self) -> list[Statement]:
        """A spike: the interval before it has not had its candidate yet."""
        return [Set(OPEN, 1)]

    def here(self) -> sp.Expr:
        """Whether the neuron has a candidate at `step`."""
        return both(at_least(BIRTH, 0), above(OPEN, 0))

    def jump(self) -> list[Statement]:
        """Of a neuron that has, once `CHANGE` is there."""
        s, g, u = self.s, name("t", "birth_g"), name("t", "birth_u")
        twice_Phi = 2 - sp.erfc(u * sp.Float(math.sqrt(0.5)))
        h = sp.Float(math.sqrt(2 / math.pi)) * sp.exp(-(u**2) / 2) / (self.width * twice_Phi)
        out: list[Statement] = [
            Let(g, BIRTH - FARTHEST * self.width), Let(u, -g / self.width), Let(JUMP, h * CHANGE),
        ]  # fmt: skip
        out += [Add(v, s.expression(e) * JUMP) for v, e in zip(s.lam, self.event.dg_dx) if e != 0]
        for j, p in enumerate(s.d.params):
            if p in s.p.trainable and self.event.dg_dp[j] != 0:
                out.append(Add(name("w", "grad", p), s.expression(self.event.dg_dp[j]) * JUMP))
        return [*out, Set(OPEN, 0)]


def birth_is_read(readout: Readout, split: bool) -> list[Statement]:
    """Adds to `CHANGE` what the loss changes by as a spike of the output that is read would be born.

    Args:
        split: the outer loss is the host's, so that only its slope is known.
    """
    by, where = readout.born()
    exact = not (split or readout.loss.host)
    change = birth_change(sp.Integer(readout.s.index), NEURON, by) if exact else by * readout.DR
    if where == 0:
        return []
    return [When(where, (Add(CHANGE, change),)) if where != 1 else Add(CHANGE, change)]
