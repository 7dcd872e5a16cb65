"""Connections in exact time other than dense weights with a single delay, as C++; see `routes.hpp`.

A route is the synapses of one source that share a delay. For connections that are `spread`, every arrival expands a row of
weights from the table of synapses; otherwise a route is a source, and its row is a row of the matrix. For those that are
`delayed`, spikes on their way are kept in order of arrival.
"""

from __future__ import annotations

from ....plan import ConnectionRecord
from ..context import Context, indent


def members(ctx: Context) -> list[str]:
    """Declarations in the memory of a thread."""
    found = [f"OnTheWay way_{c.name};" for c in ctx.plan.connections if c.delays]
    for name in spread_to(ctx):
        found += [f"Rows<NP_p_{name}> rows_{name};", f"Buffer<scalar> row_{name}, along_{name};"]
    return found


def spread_to(ctx: Context) -> list[str]:
    """Populations for which rows are expanded."""
    return list(dict.fromkeys(c.target for c in ctx.plan.connections if c.spread))


def table(c: ConnectionRecord) -> str:
    return f"Table{{{', '.join(f'args.c_{c.name}_{n}' for n in ('first', 'target', 'place', 'weight'))}}}"


def row(c: ConnectionRecord, route: str) -> str:
    """The weights of an arrival, valid until the end of the step."""
    if c.spread:
        return f"{table(c)}.row({route}, work.rows_{c.target}.take({table(c)}.reached({route})))"
    return f"args.c_{c.name}_weight + int64_t({route}) * NP_p_{c.target}"


def row_now(c: ConnectionRecord, route: str) -> str:
    """The same, valid until the next row is asked for."""
    if c.spread:
        return f"{table(c)}.row({route}, cleared<NP_p_{c.target}>(work.row_{c.target}))"
    return row(c, route)


def delay(c: ConnectionRecord, route: str) -> str:
    """The delay of a route in ms."""
    if not c.delays:
        return f"args.d_{c.name}" if c.delay > 0 else "0.0"
    return f"double(args.c_{c.name}_delays[{delay_place(c, route)}])"


def delay_place(c: ConnectionRecord, route: str) -> str:
    return f"args.c_{c.name}_delay_of[{route}]" if c.spread else route


def each(c: ConnectionRecord, source: str, body: str) -> str:
    """Code for every route of a source."""
    start = f"args.c_{c.name}_start"
    head = f"for (int32_t route = {start}[{source}]; route < {start}[{source} + 1]; ++route) {{\n"
    return (head if c.spread else f"{{\n    const int32_t route = {source};\n") + indent(body) + "}\n"
