"""Connections in exact time other than dense weights with a single delay, as C++; see `routes.hpp`.

A route is the synapses of one source that share a delay. For connections that are `spread`, every arrival expands a row of
weights from the table of synapses; otherwise a route is a source, and its row is a row of the matrix. For those that are
`delayed`, spikes on their way are kept in order of arrival.
"""

from __future__ import annotations

from ....plan import ConnectionRecord
from ...statements import indent
from ..context import Context, windows_of


def members(ctx: Context) -> list[str]:
    """Declarations in the memory of a thread."""
    found = [f"OnTheWay way_{ctx.c(c)};" for c in ctx.plan.connections if c.delays]
    for name in spread_to(ctx):
        found += [
            f"Rows<NP_{ctx.p(name)}> rows_{ctx.p(name)};",
            f"Buffer<scalar> row_{ctx.p(name)}, along_{ctx.p(name)};",
        ]
    return found


def spread_to(ctx: Context) -> list[str]:
    """Populations for which rows are expanded."""
    return list(dict.fromkeys(c.target for c in ctx.plan.connections if c.spread))


def table(ctx: Context, c: ConnectionRecord) -> str:
    if c.windows is not None:
        return f"windows({windows_of(c.windows, f'args.{ctx.c(c)}')})"
    return f"Table{{{', '.join(f'args.{ctx.c(c)}_{n}' for n in ('first', 'target', 'place', 'weight'))}}}"


def row(ctx: Context, c: ConnectionRecord, route: str) -> str:
    """The weights of an arrival, valid until the end of the step."""
    if c.spread:
        return f"{table(ctx, c)}.row({route}, work.rows_{ctx.p(c.target)}.take({table(ctx, c)}.reached({route})))"
    return f"args.{ctx.c(c)}_weight + int64_t({route}) * NP_{ctx.p(c.target)}"


def row_now(ctx: Context, c: ConnectionRecord, route: str) -> str:
    """The same, valid until the next row is asked for."""
    if c.spread:
        return f"{table(ctx, c)}.row({route}, cleared<NP_{ctx.p(c.target)}>(work.row_{ctx.p(c.target)}))"
    return row(ctx, c, route)


def delay(ctx: Context, c: ConnectionRecord, route: str) -> str:
    """The delay of a route in ms."""
    if not c.delays:
        return f"args.d_{ctx.c(c)}" if c.delay > 0 else "0.0"
    return f"double(args.{ctx.c(c)}_delays[{delay_place(ctx, c, route)}])"


def delay_place(ctx: Context, c: ConnectionRecord, route: str) -> str:
    return f"args.{ctx.c(c)}_delay_of[{route}]" if c.spread else route


def hand_back(ctx: Context, c: ConnectionRecord, arrival: str) -> list[str]:
    """``D`` of an arrival goes to its delay, and to the spike or the input that arrived."""
    lines = []
    if c.learns_delays:
        place = delay_place(ctx, c, f"{arrival}.source")
        lines.append(f"slice[AT_{ctx.c(c)}_delay_gradient + {place}] += scalar(D);")
    if c.source != ctx.plan.input.name:
        lines.append(f"{ctx.p(c.source)}.feedback[{arrival}.index] += D;")
    elif ctx.split:
        lines.append(f"args.input_gradient[args.input_start[sample] + {arrival}.index] += scalar(D);")
    return lines


def each(ctx: Context, c: ConnectionRecord, source: str, body: str) -> str:
    """Code for every route of a source; behind windows it is the source itself, if any of them is over it."""
    if c.windows is not None:
        head = f"if ({table(ctx, c)}.any({source})) {{\n    const int32_t route = {source};\n"
        return head + indent(body) + "}\n"
    start = f"args.{ctx.c(c)}_start"
    head = f"for (int32_t route = {start}[{source}]; route < {start}[{source} + 1]; ++route) {{\n"
    return (head if c.spread else f"{{\n    const int32_t route = {source};\n") + indent(body) + "}\n"
