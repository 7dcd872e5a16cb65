"""Which populations must go through a step together."""

from __future__ import annotations

from ....plan import Plan, PopulationRecord


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
