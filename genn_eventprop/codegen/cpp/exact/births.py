"""Births of spikes in exact time: the calls of `births.hpp`, and what a birth does to the outer losses.

Forwards every spiking population has a search for candidates. Backwards these, and the arrivals of their spikes, have their
turns between the entries of the log. What closed forms and Taylor series share stands first.
"""

from __future__ import annotations

from collections.abc import Callable

from ....adjoint.birth import FARTHEST
from ....plan import ConnectionRecord, PopulationRecord
from ....plan.groups import groups
from ...statements import indent
from ..context import Context
from . import routes
from .program import ExactProgram
from .readings import each

BIRTH_CONSTANTS = f"constexpr double FARTHEST = {FARTHEST};  // maxima farther below the threshold, in widths of the noise, are none\n"


def births_of(ctx: Context, p: PopulationRecord) -> str:
    """The candidates of a population, in the memory of a thread."""
    return f"work.births_{ctx.p(p.name)}"


def moving(ctx: Context, c: ConnectionRecord) -> bool:
    """Whether an arrival through a connection changes a readout by a known amount, so that the outer loss is evaluated again."""
    return not ctx.split and ctx.plan.adds_up(c.target)


def moved_outputs(ctx: Context, p: PopulationRecord) -> list[str]:
    """The outputs whose readouts a spike of a population changes so."""
    return list(dict.fromkeys(c.target for c in ctx.plan.out_of(p.name) if moving(ctx, c)))


def members(ctx: Context) -> list[str]:
    """Declarations in the memory of a thread."""
    if not ctx.plan.spike_birth:
        return []
    lines = [f"UnbornLog unborn[{len(groups(ctx.plan))}];"]
    for p in ctx.spiking:
        own = ctx.p(p.name)
        lines.append(f"Births<type_{own}, N_{own}> births_{own};")
        # of every candidate the changes of the readouts
        lines += [f"Buffer<scalar> moved_{own}_{ctx.p(out)};" for out in moved_outputs(ctx, p)]
    return lines


def group_numbers(ctx: Context) -> dict[str, int]:
    """Population -> number of its group."""
    return {p.name: i for i, group in enumerate(groups(ctx.plan)) for p in group}


def born(ctx: Context) -> list[PopulationRecord]:
    """The populations whose spikes may be born."""
    return [p for p in ctx.spiking if ctx.plan.spike_birth]


def insert(ctx: Context, log: str) -> list[str]:
    """Once a trial is over: puts candidates, and the arrivals of their spikes, between the entries of the logs; log: of group ``{}``."""
    if not ctx.plan.spike_birth:
        return []
    number = group_numbers(ctx)
    lines = ["for (UnbornLog& unborn : work.unborn) unborn.all.count = 0;"]
    for i, p in enumerate(born(ctx)):
        all_, g = f"{births_of(ctx, p)}.all", number[p.name]
        body = [f"work.unborn[{g}].born({log.format(g)}, {all_}[index], BIRTH - {i}, index);"]
        for c in ctx.plan.out_of(p.name):
            g, kind = number[c.target], f"UNBORN + {ctx.plan.connections.index(c)}"
            sent = f"{log.format(g)}, args, {all_}[index], {routes.delay(ctx, c, 'route')}, {ctx.p(c.target)}.together, {kind}"
            sent = f"work.unborn[{g}].sent({sent}, route, index);"
            body.append(routes.each(ctx, c, f"{all_}[index].neuron", sent))
        lines.append(f"for (int64_t index = 0; index < {all_}.count; ++index) {{\n{indent(chr(10).join(body))}}}")
    lines.append("for (UnbornLog& unborn : work.unborn) std::sort(unborn.all.begin(), unborn.all.end());")
    return ["if (args.training) {\n" + indent("\n".join(lines)) + "}"]


def begin_back(ctx: Context) -> list[str]:
    """The two halves of a batch may run the second one again."""
    if not ctx.plan.spike_birth:
        return []
    lines = ["for (UnbornLog& unborn : work.unborn) unborn.left = unborn.all.count;"]
    for p in born(ctx):
        all_ = f"{births_of(ctx, p)}.all"
        lines.append(f"for (auto& b : {all_}) b.change = 0;")
        for out in moved_outputs(ctx, p):
            lines.append(f"work.moved_{ctx.p(p.name)}_{ctx.p(out)}.zero({all_}.count * NP_{ctx.p(out)});")
    return lines


def turns(
    ctx: Context, group: list[PopulationRecord], step: str, head: str,
    arrival: Callable[[ConnectionRecord], str], birth: Callable[[PopulationRecord], str],
) -> str:  # fmt: skip
    """What comes behind entry ``e`` of the log of a group: a ``candidate``, or the arrival of a spike that was not born.

    Args:
        head: what stands before them. arrival, birth: their texts.
    """
    if not ctx.plan.spike_birth:
        return ""
    into = (c for p in group for c in ctx.plan.into(p.name) if ctx.plan.births_through(c))
    cases = [(f"UNBORN + {ctx.plan.connections.index(c)}", arrival(c)) for c in into]
    cases += [(f"BIRTH - {ctx.spiking.index(p)}", birth(p)) for p in born(ctx) if p in group]
    text = "".join(f"case {kind}: {{\n{indent(body)}    break;\n}}\n" for kind, body in cases)
    next_ = f"work.unborn[{group_numbers(ctx)[group[0].name]}].next({step}, e)"
    body = f"const Unborn& entry = *unborn;\n{head}\nswitch (entry.kind) {{\n{text}}}\n"
    return f"while (const Unborn* unborn = {next_}) {{\n{indent(body)}}}\n"


# by closed forms


def begin(ctx: Context) -> list[str]:
    return [f"if (args.training) {births_of(ctx, p)}.begin(args);" for p in born(ctx)]


def start(ctx: Context, group: list[PopulationRecord]) -> list[str]:
    return [f"if (args.training) {births_of(ctx, p)}.start({ctx.p(p.name)});" for p in born(ctx) if p in group]


def scan(ctx: Context, group: list[PopulationRecord]) -> list[str]:
    """Once a step is over, and before its end becomes the start of the next one."""
    lines = []
    for p in (p for p in born(ctx) if p in group):
        end = f"END_OF_PERIOD - {ctx.spiking.index(p)}"
        lines.append(f"if (args.training) {births_of(ctx, p)}.scan({ctx.p(p.name)}, args, log, step, {end});")
    return lines


def finish(ctx: Context) -> list[str]:
    return [f"if (args.training) {births_of(ctx, p)}.finish();" for p in born(ctx)] + insert(ctx, "work.log[{}]")


# backwards


def turn(ctx: Context, program: ExactProgram, group: list[PopulationRecord], head: str) -> str:
    """See `turns`."""
    return turns(ctx, group, "step", head, lambda c: _arrival(ctx, program, c), lambda p: _birth(ctx, program, p))


def _arrival(ctx: Context, program: ExactProgram, c: ConnectionRecord) -> str:
    """What the arrival of a spike that was not born would do: lambda . e times its weights."""
    p, source, own = ctx.p(c.target), ctx.plan.population(c.source), ctx.p(c.source)
    receptor = list(ctx.plan.population(c.target).derived.receptors).index(c.receptor)
    read = [r for r in program.readers if r.population == c.target]
    adds = next((r for r in read if r.adds), None)
    lines = each(read, lambda r: f"lend({p}, {r.slopes}, step, entry.s)")
    lines += each(read, lambda r: f"at({p}, args, {receptor}, entry.s, -1)")
    row, reached = routes.row(ctx, c, "entry.source"), ""
    if c.spread:
        lines += [f"const auto table = {routes.table(ctx, c)};", "const Range reached = table.reached(entry.source);"]
        lines.append(f"const scalar* row = table.row_in(reached, entry.source, work.row_{p});")
        row, reached = "row", ", reached.from, reached.to"
    reader, dr = (adds.name, adds.slopes) if adds else (f"NoSource<Work::type_{p}>()", "nullptr")
    to = f"work.moved_{own}_{p} + entry.index * NP_{p}, work.{p}_w_dr" if moving(ctx, c) else "nullptr, nullptr"
    call = f"{p}.unborn({row}, {receptor}, entry.s, {reader}, {dr}, {to}{reached});"
    change = "" if moving(ctx, c) else f"{births_of(ctx, source)}.all[entry.index].change += "
    return "\n".join([*lines, change + call, *each(read, lambda r: f"give_back({p})"), ""])


def _birth(ctx: Context, program: ExactProgram, p: PopulationRecord) -> str:
    """The outer losses with the spike, then the jump of lambda."""
    lines = [*change_of_losses(ctx, program, p), f"{births_of(ctx, p)}.jump({ctx.p(p.name)}, args, b, change);"]
    return "\n".join([*lines, _move_kink(ctx, p)])


def _move_kink(ctx: Context, p: PopulationRecord) -> str:
    """Of a maximum that is a kink: D of the arrivals that end the rise."""
    name, cases = ctx.p(p.name), []
    for c in ctx.plan.into(p.name):
        receptor = list(p.derived.receptors).index(c.receptor)
        weight = f"double(({routes.row_now(ctx, c, 'a.source')})[b.neuron])"
        fall = f"return {births_of(ctx, p)}.fall({name}, b.neuron, {receptor}, {weight}, a.s);"
        cases.append(f"case {ctx.plan.connections.index(c)}: {fall}")
    at = f"for (int64_t i = entry.position; i < begin + events && log.entries.data[i].s <= b.s + {name}.together; ++i)"
    fall = "const auto fall = [&](const LogEntry& a) {\nswitch (a.kind) {\n" + "\n".join(cases) + "\n}\nreturn 0.0;\n};"
    return divided(ctx, p, [fall], at, "log.entries.data[i]", "LogEntry", "scalar")


def divided(ctx: Context, p: PopulationRecord, head: list[str], each_: str, arrival: str, kind: str, real: str) -> str:
    """Divides D of a kink among the arrivals of its instant, in proportion to how much each changes the slope of g: the mean
    over all orders that they might have.

    Args:
        head: declares ``fall``. each_: goes through the entries of the instant, `arrival`, with the number i.
    """
    hands = [(i, routes.hand_back(ctx, c, "a")) for i, c in enumerate(ctx.plan.connections) if c.target == p.name]
    cases = [f"case {i}: {{ {' '.join(lines)} break; }}" for i, lines in hands if lines]
    if not cases:
        return ""
    give = [
        f"const {kind}& a = {arrival};", f"const {real} D = {real}(b.hazard * change * b.rise * fall(a) / total);",
        "switch (a.kind) {", *cases, "}",
    ]  # fmt: skip
    lines = [*head, "double total = 0;", f"{each_} total += fall({arrival});"]
    lines.append(f"if (total < 0) {each_} {{\n{indent(chr(10).join(give))}}}")
    return "if (b.rise > 0) {\n" + indent("\n".join(lines)) + "}"


def change_of_losses(ctx: Context, program: ExactProgram, p: PopulationRecord) -> list[str]:
    """Declares `change`, that of L by the spike of the candidate `b` at a log's `entry`."""
    own = ctx.p(p.name)
    lines = [f"const auto& b = {births_of(ctx, p)}.all[entry.index];", "double change = b.change;"]
    for out in moved_outputs(ctx, p):
        q = ctx.p(out)
        lines.append(
            f"change += double(birth_moved_{q}(args, work, sample, work.moved_{own}_{q} + entry.index * NP_{q}));"
        )
    return [*lines, program.born(p)]
