"""Own events of a model with modes, several events, or thresholds that arrivals move, as code of one neuron.

Names besides those of `snippets`: ``mode``, the number of the neuron's mode (in a jump, of the mode before the event).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sympy as sp

from ..adjoint import Derived, DerivedEvent
from ..modelling.expressions import symbol
from .printer import Dialect, assignments, expression
from .step_text import MODE


@dataclass(frozen=True)
class EventText:
    """One event.

    threshold: g. possible: g where the mode allows the event, else -1. reset, jump: assignments. gradients: parameter
    -> what the jump adds. E: the sum that is divided by gdot. states: needed from right before the event.
    """

    threshold: str
    possible: str
    reset: str
    jump: str
    gradients: dict[str, str]
    E: str
    states: tuple[str, ...]


def event_text(d: Derived, event: DerivedEvent, dialect: Dialect, learned: tuple[str, ...]) -> EventText:
    """The code of one event; `learned`: parameters to write gradients for."""
    lam = sp.Matrix([symbol(f"lambda_{s}") for s in d.states])
    g = expression(event.g, dialect)
    # the coefficient of lambda+ in E differs with the mode before; a placeholder stands for the choice
    along = by_mode({m: lam.dot(a) for m, a in event.jumps.items()}, dialect)
    E = symbol("dl_dt") + symbol("along")
    rate = E * symbol("inv_gdot")
    after = event.dh_dx.T * lam - event.dg_dx * rate
    jump = assignments(dict(zip((str(v) for v in lam), after)), dialect)
    gradients = {}
    for i, n in enumerate(d.params):
        change = lam.dot(event.dh_dp[:, i]) - event.dg_dp[i] * rate
        if n in learned and change != 0:
            gradients[n] = expression(change, dialect)
    possible = g
    if len(event.modes) < len(d.modes):
        allowed = " || ".join(f"{MODE} == {expression(sp.Integer(m), dialect)}" for m in event.modes)
        possible = f"({allowed}) ? {g} : {expression(sp.Integer(-1), dialect)}"
    head = f"{dialect.declare} along = {along};\n"
    return EventText(
        threshold=g, possible=possible, reset=assignments(dict(zip(d.states, event.h)), dialect), jump=head + jump,
        gradients=gradients, E=f"dl_dt + ({along})", states=tuple(str(s) for s in event.jump_states(d.x)),
    )  # fmt: skip


def end_text(d: Derived, mode: int, dialect: Dialect) -> tuple[str, tuple[str, ...]]:
    """D of the end of a timed mode, lambda . (f in the mode - f after it), and the states that it needs."""
    lam = sp.Matrix([symbol(f"lambda_{s}") for s in d.states])
    D = lam.dot((d.modes[mode].f - d.modes[d.modes[mode].then].f).applyfunc(sp.simplify))
    return expression(D, dialect), tuple(str(s) for s in d.x if D.has(s))


def by_mode(values: Mapping[int, sp.Expr], dialect: Dialect) -> str:
    """The value of the neuron's mode, among the modes given."""
    (_, first), *rest = values.items()
    text = expression(first, dialect)
    for m, value in rest:
        if value != first:
            text = f"({MODE} == {expression(sp.Integer(m), dialect)} ? {expression(value, dialect)} : {text})"
    return text
