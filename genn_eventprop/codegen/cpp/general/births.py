"""Births of spikes in trials by Taylor series: the calls of `births.hpp`."""

from __future__ import annotations

from ....plan import ConnectionRecord, PopulationRecord
from ....plan.groups import groups
from ...statements import indent
from ..context import Context
from ..exact import births, routes
from .program import GeneralProgram
from .synapses import reach, targets


def members(ctx: Context) -> list[str]:
    """Declarations in the memory of a thread."""
    lines = [f"UnbornLog unborn[{len(groups(ctx.plan))}];"] if ctx.plan.spike_birth else []
    for p in births.born(ctx):
        own = ctx.p(p.name)
        lines.append(f"Births<type_{own}, N_{own}> births_{own};")
        # of every candidate the changes of the readouts
        lines += [f"Buffer<scalar> moved_{own}_{ctx.p(out)};" for out in births.moved_outputs(ctx, p)]
    return lines


def search(ctx: Context) -> list[str]:
    """Once a trial is over: finds candidates, and where they and the arrivals of their spikes belong."""
    if not ctx.plan.spike_birth:
        return []
    number = births.group_numbers(ctx)
    lines = ["for (UnbornLog& unborn : work.unborn) unborn.all.count = 0;"]
    for i, p in enumerate(births.born(ctx)):
        of, g = births.births_of(ctx, p), number[p.name]
        body = [
            f"const auto& b = {of}.all[index];",
            f"work.unborn[{g}].born(work.queue[{g}].log, b.at, BIRTH - {i}, b.neuron, index);",
            *(_send(ctx, c, number[c.target]) for c in ctx.plan.out_of(p.name)),
        ]
        lines.append(f"{of}.search({ctx.p(p.name)}, args);")
        lines.append(f"for (int64_t index = 0; index < {of}.all.count; ++index) {{\n{indent(chr(10).join(body))}}}")
    lines.append("for (UnbornLog& unborn : work.unborn) unborn.sort();")
    return ["if (args.training) {\n" + indent("\n".join(lines)) + "}"]


def _send(ctx: Context, c: ConnectionRecord, group: int) -> str:
    at = f"b.at + {routes.delay(ctx, c, 'route')}"
    kind = f"UNBORN + {ctx.plan.connections.index(c)}"
    return routes.each(
        ctx, c, "b.neuron", f"work.unborn[{group}].sent(work.queue[{group}].log, args, {at}, {kind}, route, index);"
    )


def begin_back(ctx: Context) -> list[str]:
    """The two halves of a batch may run the second one again."""
    lines = []
    for p in births.born(ctx):
        of = f"{births.births_of(ctx, p)}.all"
        lines.append(f"for (auto& b : {of}) b.change = 0;")
        for out in births.moved_outputs(ctx, p):
            lines.append(f"work.moved_{ctx.p(p.name)}_{ctx.p(out)}.zero({of}.count * NP_{ctx.p(out)});")
    return lines


def cases(ctx: Context, program: GeneralProgram, group: list[PopulationRecord], readers: dict[str, str]) -> str:
    """Of the switch over the `entry` number `u` of a group's `UnbornLog`; readers: population -> its readers."""
    into = (c for p in group for c in ctx.plan.into(p.name) if ctx.plan.births_through(c))
    lines = [
        f"case UNBORN + {ctx.plan.connections.index(c)}: {_arrival(ctx, c, readers[c.target])}break;" for c in into
    ]
    for i, p in enumerate(births.born(ctx)):
        if p in group:
            lines.append(f"case BIRTH - {i}: {_birth(ctx, program, p, readers[p.name])}break;")
    return "\n".join(lines)


def _arrival(ctx: Context, c: ConnectionRecord, readers: str) -> str:
    """What the arrival of a spike that was not born would do: lambda . e times its weights."""
    p, own, source = ctx.p(c.target), ctx.p(c.source), ctx.plan.population(c.source)
    receptor = list(ctx.plan.population(c.target).derived.receptors).index(c.receptor)
    along, add = f"double(weight) * {p}.along(args, {receptor}, k, entry.at)", ""
    if births.moving(ctx, c):
        slope = f"work.{p}_w_dr[k]"
        add = f"if ({slope} != 0) work.moved_{own}_{p}[entry.index * NP_{p} + k] += scalar({along} / double({slope}));"
    else:
        add = f"{births.births_of(ctx, source)}.all[entry.index].change += {along};"
    lines = [
        targets(ctx, c, "entry.source", f"{p}.touch(k, {p}.of_arrival(u));").rstrip(),
        f"{p}.reach(args, entry.at, {readers});",
        targets(ctx, c, "entry.source", add).rstrip(),
    ]
    return "{\n" + indent("\n".join(lines)) + "}\n"


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
    at = "for (int64_t i = e + 1; i < log.count && log[i].at == entry.at; ++i)"
    lines.append(births.divided(ctx, p, head, at, "log[i]", "Happening", "double"))
    return "{\n" + indent("\n".join(lines)) + "}\n"
