"""Births of spikes in trials by Taylor series: the calls of `births.hpp`."""

from __future__ import annotations

from collections.abc import Mapping

from ....plan import ConnectionRecord, PopulationRecord
from ..context import Context
from ..exact import births
from .program import GeneralProgram
from .synapses import reach, targets


def search(ctx: Context) -> list[str]:
    """Once a trial is over."""
    lines = [f"if (args.training) {births.births_of(ctx, p)}.search({ctx.p(p.name)}, args);" for p in births.born(ctx)]
    return lines + births.insert(ctx, "work.queue[{}]")


def turn(ctx: Context, program: GeneralProgram, group: list[PopulationRecord], readers: Mapping[str, str]) -> str:
    """See `births.turns`; readers: population -> its readers."""
    return births.turns(
        ctx,
        group,
        "0",
        "",
        lambda c: _arrival(ctx, c, readers[c.target]),
        lambda p: _birth(ctx, program, p, readers[p.name]),
    )


def _arrival(ctx: Context, c: ConnectionRecord, readers: str) -> str:
    """What the arrival of a spike that was not born would do: lambda . e times its weights."""
    p, own, source = ctx.p(c.target), ctx.p(c.source), ctx.plan.population(c.source)
    receptor = list(ctx.plan.population(c.target).derived.receptors).index(c.receptor)
    along, add = f"double(weight) * {p}.along(args, {receptor}, k, entry.s)", ""
    if births.moving(ctx, c):
        slope = f"work.{p}_w_dr[k]"
        add = f"if ({slope} != 0) work.moved_{own}_{p}[entry.index * NP_{p} + k] += scalar({along} / double({slope}));"
    else:
        add = f"{births.births_of(ctx, source)}.all[entry.index].change += {along};"
    lines = [
        targets(
            ctx,
            c,
            "entry.source",
            f"{p}.touch(k, {p}.of_arrival(work.unborn[{births.group_numbers(ctx)[c.target]}].left));",
        ).rstrip(),
        f"{p}.reach(args, entry.s, {readers});",
        targets(ctx, c, "entry.source", add).rstrip(),
    ]
    return "\n".join([*lines, ""])


def _birth(ctx: Context, program: GeneralProgram, p: PopulationRecord, readers: str) -> str:
    """The outer losses with the spike, then the jump of lambda."""
    name = ctx.p(p.name)
    here = f"{name}.of_candidate(entry.index)"
    lines = [
        f"{name}.touch(entry.source, {here});", f"{name}.retreat(args, {here}, {readers});",
        *births.change_of_losses(ctx, program, p), f"{births.births_of(ctx, p)}.jump({name}, args, b, change);",
    ]  # fmt: skip
    head = [
        f"const auto reach = {reach(ctx, p)};",
        f"const auto fall = [&](const Happening& a) {{ return {births.births_of(ctx, p)}.fall(args, b, a, reach); }};",
    ]
    # the arrivals of its instant are the next ones in the log
    at = "for (int64_t i = entry.position; i < log.count && log[i].at == entry.s; ++i)"
    lines.append(births.divided(ctx, p, head, at, "log[i]", "Happening", "double"))
    return "\n".join(lines)
