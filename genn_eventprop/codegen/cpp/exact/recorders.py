"""Calls of the recorders, `record.hpp`: copies of states and adjoints for the host, where it has asked for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ....plan import PopulationRecord
from ..context import Context


def recorder(ctx: Context, p: PopulationRecord) -> str:
    """The recorder of a population, in the memory of a thread."""
    return f"work.record_{ctx.p(p.name)}"


def recorders(
    ctx: Context, call: Callable[[str], str], populations: Iterable[PopulationRecord] | None = None
) -> list[str]:
    """A call of a function of every recorder, or of those of some populations; call: population -> the call."""
    every = ctx.plan.populations if populations is None else populations
    calls = (f"{recorder(ctx, p)}.{call(ctx.p(p.name))};" for p in every)
    return [f"if (args.recorded) {{ {' '.join(calls)} }}"]
