"""Whether the flow between events is known in closed form: then exact spike times need no Taylor series."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from ..adjoint import Derived
from .records import Plan


def only_refractory(d: Derived) -> bool:
    """True without modes, or with one: a period of fixed length after every spike, during which g does not change."""
    if len(d.modes) == 1:
        return True
    return (
        len(d.modes) == 2 and d.modes[1].lasts is not None and d.modes[1].then == 0
        and all(0 in e.modes and e.next_mode == 1 and (e.dg_dx.T * d.modes[1].f)[0] == 0 for e in d.events)
    )  # fmt: skip


SPIKELESS = "no event that sends a spike"
NO_CLOSED_FORM: dict[str, Callable[[Derived], bool]] = {
    "dynamics that are not linear in the state": lambda d: not d.linear,
    "a threshold that is not linear in the state": lambda d: any(g.has(*d.x) for e in d.events for g in e.dg_dx),
    "modes other than a refractory period": lambda d: not only_refractory(d),
    "several events": lambda d: len(d.events) > 1,
    "an event that sends no spike": lambda d: any(not e.emits for e in d.events),
    SPIKELESS: lambda d: bool(d.events) and not d.model.spiking,
}
"""What a neuron model may have that needs more than one linear flow and one refractory period."""


def moves_threshold(d: Derived, receptor: str) -> bool:
    """Whether an arrival changes a threshold function at once (delta synapses): dg/dx . e is not 0."""
    return any((event.dg_dx.T * d.receptors[receptor])[0] != 0 for event in d.events)


@lru_cache(maxsize=64)
def why_no_closed_form(plan: Plan) -> str:
    """Why exact spike times of a plan need Taylor series; empty if every population is linear between spikes, with one
    kind of event and at most a refractory period, and no arrival moves a threshold at once or adds a learned amount;
    and if no currents drive it."""
    for c in plan.currents_into:
        return f"currents drive {c.target!r}"
    for p in plan.populations:
        for what, needs in NO_CLOSED_FORM.items():
            if needs(p.derived):
                return f"{p.name!r} has {what}"
    for c in plan.connections:
        p = plan.population(c.target)
        learned = [s for n, s in zip(p.derived.params, p.derived.p) if n in p.trainable]
        if moves_threshold(p.derived, c.receptor):
            return f"an arrival moves the threshold of {p.name!r} at once"
        if p.derived.receptors[c.receptor].has(*learned):
            return f"a learned parameter of {p.name!r} scales its input"
    return ""


def closed_form(plan: Plan) -> bool:
    """With exact spike times: by closed forms, or by Taylor series if some population has none."""
    return not why_no_closed_form(plan)
