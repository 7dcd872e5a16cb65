"""Where lambda and gradients change at one time: at an event of the neuron, and at the start of the trial.

The formulas are those of docs/equations.md, section 2, and the same on the grid and in exact time; only gdot differs, a
secant over the step or the slope at the crossing, and comes in through ``rate`` = E / gdot. The states before the event
have to be stored: the reset destroys them, so that the backward pass cannot recompute them.
"""

from __future__ import annotations

from collections.abc import Mapping

import sympy as sp

from ..adjoint import DerivedEvent
from .nodes import Add, Statement, choose, equal, name, together
from .scope import Scope


def jump_term(s: Scope, event: DerivedEvent, before: Mapping[sp.Symbol, sp.Symbol], mode: sp.Symbol) -> sp.Expr:
    """lambda+ . a, a = dh/dx f(x-) - f(x+): what E has besides dL/dt of the spike and D of its arrivals.

    A shift of the event moves the state after it along a.

    Args:
        before: as for `gradients`. mode: the neuron's right before the event, which f(x-) depends on.
    """
    lam = sp.Matrix([sp.Symbol(f"lambda_{v}", real=True) for v in s.d.states])
    (_, term), *rest = ((m, s.expression(lam.dot(a), before)) for m, a in event.jumps.items())
    for m, value in rest:
        if value != term:
            term = choose(equal(mode, m), value, term)
    return term


def gradients(s: Scope, event: DerivedEvent, rate: sp.Symbol, before: Mapping[sp.Symbol, sp.Symbol]) -> list[Statement]:
    """dL/dp += lambda . dh/dp - dg/dp E / gdot of every learned parameter; lambda from after the event.

    Args:
        rate: E / gdot. before: state -> its value right before the event; empty where the states themselves are that.
    """
    lam, out = sp.Matrix(s.lam), list[Statement]()
    for j, p in enumerate(s.d.params):
        dh_dp = event.dh_dp[:, j].applyfunc(lambda e: s.expression(e, before))
        change = lam.dot(dh_dp) - s.expression(event.dg_dp[j], before) * rate
        if p in s.p.trainable and change != 0:
            out.append(Add(name("w", "grad", p), change))
    return out


def jump(
    s: Scope, event: DerivedEvent, rate: sp.Symbol, before: Mapping[sp.Symbol, sp.Symbol], prefix: str
) -> tuple[Statement, ...]:
    """lambda- = (dh/dx)^T lambda+ - (dg/dx)^T E / gdot; arguments as for `gradients`. prefix: of new locals.

    All components at once (`together`): every one of lambda- needs all of lambda+.
    """
    at = lambda m: m.applyfunc(lambda e: s.expression(e, before))  # noqa: E731
    return together(dict(zip(s.lam, at(event.dh_dx).T * sp.Matrix(s.lam) - at(event.dg_dx) * rate)), prefix)


def x0_slope(s: Scope, param: str) -> sp.Expr:
    """dL/dp by the states that a trial starts from: lambda(0) . dx0/dp."""
    return sp.Matrix(s.lam).dot(s.d.dx0_dp[:, s.d.params.index(param)].applyfunc(s.expression))
