"""Where lambda and gradients change at one time: at an own event, and at the start; on the grid and in exact time."""

from __future__ import annotations

from collections.abc import Mapping

import sympy as sp

from ..adjoint import DerivedEvent
from .nodes import Add, Statement, choose, equal, name, together
from .scope import Scope


def along(s: Scope, event: DerivedEvent, before: Mapping[sp.Symbol, sp.Symbol], mode: sp.Symbol) -> sp.Expr:
    """lambda . a, what E has besides dL/dt; before: as for `gradients`. mode: right before the event."""
    own = sp.Matrix([sp.Symbol(f"lambda_{v}", real=True) for v in s.d.states])
    (_, picked), *rest = ((m, s.own(own.dot(a), before)) for m, a in event.jumps.items())
    for m, value in rest:
        if value != picked:
            picked = choose(equal(mode, m), value, picked)
    return picked


def gradients(s: Scope, event: DerivedEvent, rate: sp.Symbol, before: Mapping[sp.Symbol, sp.Symbol]) -> list[Statement]:
    """dL/dp += lambda . dh/dp - dg/dp E / gdot of every learned parameter; lambda from after the event.

    Args:
        rate: E / gdot. before: state -> its value right before the event; none: the symbols of the scope are that.
    """
    lam, out = sp.Matrix(s.lam), list[Statement]()
    for j, p in enumerate(s.d.params):
        change = lam.dot(event.dh_dp[:, j].applyfunc(lambda e: s.own(e, before))) - s.own(event.dg_dp[j], before) * rate
        if p in s.p.trainable and change != 0:
            out.append(Add(name("w", "grad", p), change))
    return out


def jump(
    s: Scope, event: DerivedEvent, rate: sp.Symbol, before: Mapping[sp.Symbol, sp.Symbol], prefix: str
) -> tuple[Statement, ...]:
    """lambda- = (dh/dx)^T lambda+ - (dg/dx)^T E / gdot; arguments as for `gradients`. prefix: of new locals."""
    at = lambda m: m.applyfunc(lambda e: s.own(e, before))  # noqa: E731
    return together(dict(zip(s.lam, at(event.dh_dx).T * sp.Matrix(s.lam) - at(event.dg_dx) * rate)), prefix)


def x0_slope(s: Scope, param: str) -> sp.Expr:
    """dL/dp by the states that a trial starts from: lambda(0) . dx0/dp."""
    return sp.Matrix(s.lam).dot(s.d.dx0_dp[:, s.d.params.index(param)].applyfunc(s.own))
