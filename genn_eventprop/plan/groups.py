"""Which populations must go through a step together."""

from __future__ import annotations

from .connection import ConnectionRecord
from .records import Plan, PopulationRecord
from .series import FINEST


def groups(plan: Plan) -> list[list[PopulationRecord]]:
    """Groups of populations that reach each other through connections, each after the groups that send to it.

    Delays are ignored, since one that is shorter than the step acts within it.
    """
    names = [p.name for p in plan.populations]
    reach = {a: {c.target for c in plan.out_of(a)} for a in names}
    for k in names:
        for a in names:
            if k in reach[a]:
                reach[a] |= reach[k]
    found: list[list[PopulationRecord]] = []
    for p in plan.populations:
        for group in found:
            if p.name in reach[group[0].name] and group[0].name in reach[p.name]:
                group.append(p)
                break
        else:
            found.append([p])
    ordered: list[list[PopulationRecord]] = []
    while found:
        first = next(g for g in found if not any(g is not o and g[0].name in reach[o[0].name] for o in found))
        found.remove(first)
        ordered.append(first)
    return ordered


def walk_order(plan: Plan) -> list[PopulationRecord]:
    """Populations in an order in which each can go through a step alone, once those before it have; see `back`."""
    return [p for group in groups(plan) for p in group]


def back(plan: Plan) -> ConnectionRecord | None:
    """A connection against `walk_order` whose spikes may arrive within the step in which they are sent, if any.

    Steps last up to the plan's dt, or `FINEST` where that is shorter.
    """
    order = {p.name: k for k, p in enumerate(walk_order(plan))}
    against = (c for c in plan.connections if order.get(c.source, -1) >= order[c.target])
    return next((c for c in against if c.delay < max(plan.dt, FINEST)), None)
