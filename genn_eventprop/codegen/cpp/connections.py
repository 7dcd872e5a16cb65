"""Connections with tables of synapses, or with delays that are values, on the grid: calls of connectivity.hpp and delays.hpp.

What arrives through a table of synapses goes to a ring of sums that all such connections of a receptor share, whatever
their delays. Backwards `worth` keeps, a row a step, D of a unit weight that arrives then.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...plan import ConnectionRecord, PopulationRecord
from .context import Context, unique
from .kinds import axonal, by_synapses, dendritic, learned, learns_delays


def known(ctx: Context, c: ConnectionRecord) -> bool:
    """Whether all that arrives is summed before the first step: spikes are those of the input, and rows are dense."""
    return by_synapses(c) and c.form == "dense" and c.source == ctx.plan.input.name


def ringed(ctx: Context, p: PopulationRecord) -> list[str]:
    """Receptors of `p` that a ring of sums leads to."""
    return unique(c.receptor for c in ctx.plan.into(p.name) if by_synapses(c) and not known(ctx, c))


def with_worth(ctx: Context, p: PopulationRecord) -> list[str]:
    """Receptors of `p` for which D of all steps is kept."""
    return unique(c.receptor for c in ctx.plan.into(p.name) if c.delays is not None and _asks(ctx, c))


def _asks(ctx: Context, c: ConnectionRecord) -> bool:
    return learns_delays(c) or ctx.split or c.source != ctx.plan.input.name


def members(ctx: Context) -> tuple[list[str], list[str]]:
    """Members of a thread's memory, and the lines that make room for them."""
    found, room = [], []
    for p in ctx.plan.populations:
        np_ = f"NP_p_{p.name}"
        found += [f"Ring<{np_}> p_{p.name}_ring_{r};" for r in ringed(ctx, p)]
        names = [(f"p_{p.name}_series_{r}_{what}", len(what)) for r, what in serieses(ctx, p)]
        found += [f"Series<{np_}, {K}> {name};" for name, K in names]
        room += [f"{name}.prepare(n_steps, args.ahead);" for name, _ in names]
    for c in ctx.plan.connections:
        np_ = f"NP_p_{c.target}"
        if known(ctx, c):
            found.append(f"Buffer<scalar> c_{c.name}_rows, c_{c.name}_sums;")
            room.append(f"c_{c.name}_rows.zero(n_steps * {np_});")
        elif axonal(c):
            found.append(f"Arrivals c_{c.name}_arrivals;")
        elif dendritic(c):
            rows = [("sums", "n_steps + args.ahead")]
            rows += [("arrived", "n_steps")] if learns_delays(c) else []
            rows += [("shifted", "n_steps")] if c.trainable else []
            found += [f"Buffer<scalar> c_{c.name}_{tail};" for tail, _ in rows]
            room += [f"c_{c.name}_{tail}.zero(({count}) * {np_});" for tail, count in rows]
    return found, room


# forwards


def begin(ctx: Context, populations: Sequence[PopulationRecord]) -> str:
    """Nothing is on the way to these populations."""
    lines = [f"work.p_{p.name}_ring_{r}.begin(args.ahead);\n" for p in populations for r in ringed(ctx, p)]
    into = [c for p in populations for c in ctx.plan.into(p.name)]
    return "".join(lines + [f"work.c_{c.name}_arrivals.begin(n_steps);\n" for c in into if axonal(c)])


def sum_known(ctx: Context, c: ConnectionRecord) -> str:
    """All that arrives through a `known` connection, as rows."""
    name = f"c_{c.name}"
    sums = f"work.{name}_rows, work.{name}_sums, {synapses(c)}"
    call = f"scatter_known<NP_p_{c.target}>({sums}, by, {c.pre}, n_steps, args.ahead);\n"
    return "{\n" + spikes_by_source(ctx, c) + call + "}\n"


def send(ctx: Context, c: ConnectionRecord) -> str:
    """The `count` sources in `index` spiked at `step`, or their spikes arrive then if all have one delay."""
    if axonal(c):
        return f"work.c_{c.name}_arrivals.send(index, count, step, args.c_{c.name}_delay, n_steps);\n"
    if by_synapses(c):
        return f"scatter_rows{_width(c)}(work.p_{c.target}_ring_{c.receptor}.now(), {synapses(c)}, index, count);\n"
    row = f"work.c_{c.name}_sums + (args.ahead + step) * NP_p_{c.target}"
    return f"add_rows<NP_p_{c.target}, true>({row}, args.c_{c.name}_weight, index, count);\n"


def take(ctx: Context, c: ConnectionRecord) -> str:
    """Behind `send`: sums of what arrives at `step` to `drive`, and `count`, 0 where nothing does. Not for synapses, whose
    ring is emptied behind all connections."""
    name, np_ = f"c_{c.name}", f"NP_p_{c.target}"
    if axonal(c):
        taken = f"add_rows<{np_}, true>(drive, args.{name}_weight, work.{name}_arrivals.taken, arriving);"
        return f"const int64_t arriving = work.{name}_arrivals.take(step);\nif (arriving) {taken}\n"
    keep = f"std::memcpy(work.{name}_arrived + step * {np_}, drive, {np_} * sizeof(scalar));\n"
    gather = f"gather_row<{np_}>(drive, work.{name}_sums + step * {np_}, args.{name}_back);\n"
    return "const int64_t arriving = 1;\n" + gather + (keep if learns_delays(c) else "")


def synapses(c: ConnectionRecord) -> str:
    name = f"args.c_{c.name}"
    if c.form == "dense":
        return f"Delayed{{{name}_delay, {name}_weight}}"
    return f"Synapses{{{name}_start, {name}_offset, {name}_weight}}"


def _width(c: ConnectionRecord) -> str:
    """The template argument of what runs synapse by synapse; offsets of listed ones know the width themselves."""
    return f"<NP_p_{c.target}>" if c.form == "dense" else ""


# backwards


def spikes_by_source(ctx: Context, c: ConnectionRecord) -> str:
    """`by`: the steps of all spikes that arrive through a connection, of every source; with delays that are values the
    steps of the spikes themselves, of all of them."""
    delay = f" + args.c_{c.name}_delay" if c.delay > 0 else ""
    head = f"BySource& by = work.by_source;\nby.reset({c.pre});\n"
    if c.source == ctx.plan.input.name:
        end = f"int64_t end = to;\nwhile (end > from && args.steps[end - 1]{delay} >= n_steps) --end;\n"
        fill = f"for (int64_t i = from; i < end; ++i) by.put(args.channels[i], args.steps[i]{delay});\n"
        return f"{head}{end}by.count(args.channels + from, end - from);\nby.prepare({c.pre}, end - from);\n{fill}"
    s = f"p_{c.source}"
    last = f"n_steps{delay.replace('+', '-')}"
    end = f"const int64_t last = {last};\nconst int64_t end = last > 0 ? {s}.start[last] : 0;\n"
    fill = (
        f"for (int64_t at = 1; at < last; ++at) for (int64_t i = {s}.start[at]; i < {s}.start[at + 1]; ++i)\n"
        f"    by.put({s}.neuron[i], int32_t(at{delay}));\n"
    )
    return f"{head}{end}by.count({s}.neuron, end);\nby.prepare({c.pre}, end);\n{fill}"


def keep_worth(ctx: Context, p: PopulationRecord) -> str:
    """D of the arrivals of `step`, after it is known."""
    np_ = f"NP_p_{p.name}"
    return "".join(
        f"std::memcpy(work.p_{p.name}_worth_{r} + step * {np_}, p_{p.name}_Q_{r}, {np_} * sizeof(scalar));\n"
        for r in with_worth(ctx, p)
    )


def dot(c: ConnectionRecord, row: str) -> str:
    """Adds to `feedback` the weights of the `count` sources in `index` times a row, for one delay of all."""
    if by_synapses(c):
        return f"gather_dots{_width(c)}(feedback, {synapses(c)}, index, count, {row});\n"
    return f"dot_rows<NP_p_{c.target}>(feedback, args.c_{c.name}_weight, index, count, {row});\n"


def dots(ctx: Context, c: ConnectionRecord) -> str:
    """Adds to `feedback` what the `count` spikes of `index` at `step` cause, for delays that are values."""
    np_, weight = f"NP_p_{c.target}", f"args.c_{c.name}_weight"
    worth = f"work.p_{c.target}_worth_{c.receptor}"
    if axonal(c):
        return f"dot_axonal<{np_}>(feedback, {weight}, index, count, {worth}, step, args.c_{c.name}_delay, n_steps);\n"
    now = f"{worth} + step * {np_}"
    if by_synapses(c):
        return f"gather_dots{_width(c)}(feedback, {synapses(c)}, index, count, {now});\n"
    return (
        f"gather_row<{np_}>(drive, {now}, args.c_{c.name}_forth);\n"
        f"dot_rows<{np_}>(feedback, {weight}, index, count, drive);\n"
    )


def serieses(ctx: Context, p: PopulationRecord) -> list[tuple[str, str]]:
    """(receptor, what) of the series of `p` that gradients of "w", "d" or both are gathered from."""
    into = [c for c in ctx.plan.into(p.name) if by_synapses(c) and _learned(c)]
    return list(dict.fromkeys((c.receptor, _learned(c)) for c in into))


def _learned(c: ConnectionRecord) -> str:
    return "w" * c.trainable + "d" * learns_delays(c)


def fill_series(ctx: Context, p: PopulationRecord) -> str:
    """After the last step backwards."""
    lines = ""
    for r, what in serieses(ctx, p):
        rows = ", ".join(f"work.p_{p.name}_{'history' if n == 'w' else 'worth'}_{r}.data" for n in what)
        lines += f"work.p_{p.name}_series_{r}_{what}.fill({{{rows}}}, n_steps);\n"
    return lines


def gather(ctx: Context, c: ConnectionRecord) -> str:
    """Gradients of weights and delays; `by` has the spikes of every source, by their own steps."""
    place = {n: f"slice + {offset}" for n, (offset, *_) in ctx.gradients.items()}
    sizes = {n: rows * columns for n, (_, rows, columns) in ctx.gradients.items()}
    clear = "".join(f"if (first) std::memset({place[n]}, 0, {sizes[n]} * sizeof(scalar));\n" for n, _ in learned(c))
    w, d = (place.get(n, "nullptr") for n in (c.weight, c.delays_name))
    if by_synapses(c):
        return clear + _gather_synapses(c, w, d)
    name, np_ = f"c_{c.name}", f"NP_p_{c.target}"
    worth, history = (f"work.p_{c.target}_{kind}_{c.receptor}" for kind in ("worth", "history"))
    if axonal(c):
        code = f"delay_by_source(by, args.{name}_delay, {c.pre}, n_steps);\n"
        code += f"gather_gradient<{np_}>({w}, {history}, by, {c.pre}, false);\n" if c.trainable else ""
        code += f"gather_axonal<{np_}>({d}, args.{name}_weight, {worth}, by, {c.pre});\n" if learns_delays(c) else ""
        return clear + code
    row = f"gather_row<{np_}>(work.{name}_shifted + at * {np_}, {history} + at * {np_}, args.{name}_forth);"
    code = (
        f"for (int64_t at = 0; at < n_steps; ++at) {row}\n"
        f"gather_gradient<{np_}>({w}, work.{name}_shifted, by, {c.pre}, false);\n"
        if c.trainable else ""
    )  # fmt: skip
    code += f"gather_dendritic<{np_}>({d}, work.{name}_arrived, {worth}, n_steps);\n" if learns_delays(c) else ""
    return clear + code


def _gather_synapses(c: ConnectionRecord, w: str, d: str) -> str:
    name, np_, K = f"args.c_{c.name}", f"NP_p_{c.target}", len(_learned(c))
    series = f"work.p_{c.target}_series_{c.receptor}_{_learned(c)}"
    into, delay = f"Learned{{{w}, {d}}}", f"{name}_delay" if c.delays is not None else "nullptr"
    if c.form == "dense":
        return f"gather_dense<{np_}, {K}>({into}, {synapses(c)}, {series}, by, {c.pre});\n"
    tails = (f"{name}_{t}" for t in ("by_start", "by_synapse", "by_source"))
    table = f"ByTarget{{{', '.join(tails)}, {delay}, {name}_weight_of, {name}_delay_of}}"
    return f"gather_listed<{np_}, {K}>({into}, {name}_weight, {table}, {series}, by, {c.post});\n"
