"""The synapses of a route, as a loop in C++."""

from __future__ import annotations

from ....plan import ConnectionRecord, PopulationRecord
from ...statements import indent
from ..context import Context
from ..exact import routes


def targets(ctx: Context, c: ConnectionRecord, route: str, body: str) -> str:
    """Code for every target ``k`` of a route, with its ``weight``; ``place`` is that of the weight, and of its gradient."""
    x = ctx.c(c)
    if c.windows is not None:  # the row is expanded; neurons of its range that no window reaches get a weight of 0
        row, size = f"work.row_{ctx.p(c.target)}", f"N_{ctx.p(c.target)}"
        return (
            f"{{\n    const auto over = {routes.table(ctx, c)};\n    const Range reached = over.reached({route});\n"
            f"    const scalar* row = over.row_in(reached, {route}, {row});\n"
            f"    for (int k = reached.from; k < reached.to && k < {size}; ++k) {{\n"
            f"        [[maybe_unused]] const scalar weight = row[k];\n{indent(body, 2)}    }}\n}}\n"
        )
    if c.spread:
        return (
            f"for (int32_t s = args.{x}_first[{route}]; s < args.{x}_first[{route} + 1]; ++s) {{\n"
            f"    const int32_t k = args.{x}_target[s];\n    const int64_t place = args.{x}_place[s];\n"
            f"    [[maybe_unused]] const scalar weight = args.{x}_weight[place];\n{indent(body)}}}\n"
        )
    size = ctx.p(c.target)
    return (
        f"for (int k = 0; k < N_{size}; ++k) {{\n    const int64_t place = int64_t({route}) * NP_{size} + k;\n"
        f"    [[maybe_unused]] const scalar weight = args.{x}_weight[place];\n{indent(body)}}}\n"
    )


def reach(ctx: Context, p: PopulationRecord) -> str:
    """A function: which weight an arrival has at a neuron."""
    cases = []
    for i, c in enumerate(ctx.plan.connections):
        if c.target == p.name:
            receptor = list(p.derived.receptors).index(c.receptor)
            add = f"if (k == neuron) w += double(weight), receptor = {receptor}, hit = true;"
            cases.append(f"case {i}: {{\n{indent(targets(ctx, c, 'h.source', add))}    break;\n}}")
    body = ["bool hit = false;", "switch (h.kind) {", *cases, "}", "return hit;"]
    return "[&](const Happening& h, int neuron, int& receptor, double& w) {\n" + indent("\n".join(body)) + "}"
