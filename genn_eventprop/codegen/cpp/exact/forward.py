"""One trial forwards in exact time: step by step, group by group; events of a step in order of time."""

from __future__ import annotations

from ....plan import ConnectionRecord, PopulationRecord
from ....plan.groups import groups
from ....program.population import RECORD
from ...statements import indent
from ..context import POLL, RANGE, Context
from . import births, routes
from .models import refs
from .program import ExactProgram
from .readings import each, reads
from .recorders import recorder, recorders

HEAD = "__attribute__((noinline)) int forward(const Args& args, Work& work, int64_t sample) {\n"


def forward_exact(ctx: Context, program: ExactProgram) -> str:
    """The trial; returns 0, or 1 + the number of the population that ran away."""
    plan = ctx.plan
    found = groups(plan)
    body = ["bind(args, work);", *refs(ctx), *RANGE]
    body += [program.initial(p) for p in plan.populations]
    keeps = {p.name: f"{'true' if p.stores_states else 'false'} && args.training" for p in plan.populations}
    body += [f"{ctx.p(p.name)}.begin(args.exact_steps, {keeps[p.name]});" for p in plan.populations]
    body += [f"work.log[{i}].clear(args.exact_steps);" for i in range(len(found))]
    body += each(program.readers, lambda r: f"begin(p{r.scope.index}, args, sample)")
    body += recorders(ctx, lambda p: f"begin(args, args.{p}_{RECORD}, sample, false)")
    body += births.begin(ctx)
    body += [f"int64_t next_{ctx.c(c)} = {'from' if c.source == plan.input.name else '0'};" for c in plan.connections]
    body += [f"work.way_{ctx.c(c)}.clear(args.exact_steps, args.duration);" for c in plan.connections if c.delays]
    body += [
        "for (int64_t step = 0; step < args.exact_steps; ++step) {",
        POLL,
        "const double t_k = args.duration * double(step) / double(args.exact_steps);",
        "const double t_end = step + 1 < args.exact_steps ? args.duration * double(step + 1) / double(args.exact_steps) : args.duration;",
        *each(program.readers, lambda r: f"enter(p{r.scope.index}, args, step, false)"),
        *recorders(ctx, lambda _: "enter(args, step)"),
        *(_group(ctx, program, i, g) for i, g in enumerate(found)),
        "}",
        *recorders(ctx, lambda p: f"advance({p}, std::numeric_limits<double>::infinity())"),  # what rounding leaves
    ]
    body += births.finish(ctx)
    body += [
        f"if (args.training) {ctx.p(p.name)}.keep_state(args.exact_steps);" for p in plan.populations if p.stores_states
    ]
    body.append("read_trial(args, work, sample);\nreturn 0;")
    return HEAD + indent("\n".join(body)) + "}\n"


def _group(ctx: Context, program: ExactProgram, number: int, group: list[PopulationRecord]) -> str:
    lines = ["{", f"auto& log = work.log[{number}];"]
    for p in group:
        lines.append(f"{ctx.p(p.name)}.start(t_k);")
        if p.stores_states:
            lines.append(f"if (args.training) {ctx.p(p.name)}.keep_state(step);")
        lines += [f"work.rows_{ctx.p(p.name)}.used = 0;"] if p.name in routes.spread_to(ctx) else []
        lines += [_due(ctx, c) for c in ctx.plan.into(p.name)]
        lines.append(f"{ctx.p(p.name)}.absorb();")
        for r in reads(program.readers, p):
            pending = f"{ctx.p(p.name)}.pending"
            lines.append(f"{r.name}.start({ctx.p(p.name)});")
            lines.append(f"{r.name}.absorb({ctx.p(p.name)}, {pending}.begin(), {pending}.count, log.count);")
    lines += recorders(ctx, lambda p: f"start({p})", group)
    lines += births.start(ctx, group)
    lines += [_events(ctx, program, group)] if group[0].spiking else [_log_all(ctx, p) for p in group]
    read = [r for p in group for r in reads(program.readers, p)]
    for r in (r for r in read if r.form and r.form.nodes):
        lines += [
            _follow(ctx, r.scope.p, r.name),
            f"{r.name}.advance({ctx.p(r.population)}, args, args.delta, log.count);",
        ]
    lines += ["if (args.recorded) {"]
    for p in group:
        lines += [_follow(ctx, p, recorder(ctx, p)), f"{recorder(ctx, p)}.advance({ctx.p(p.name)}, args.delta);"]
    lines += ["}"]
    lines += births.scan(ctx, group)
    lines += [f"{ctx.p(p.name)}.finish();" for p in group]
    return "\n".join([*lines, "log.steps[size_t(step) + 1] = log.count;", "}"])


def _follow(ctx: Context, out: PopulationRecord, reader: str) -> str:
    """Takes a reader of a population through a completed step, by its log."""
    name, cases = ctx.p(out.name), []
    for i, c in enumerate(ctx.plan.connections):
        if c.target == out.name:
            row = routes.row_now(ctx, c, "entry.source")
            receptor = list(out.derived.receptors).index(c.receptor)
            cases.append(f"case {i}: {reader}.arrived({name}, args, {receptor}, {row}, entry.s, e); break;")
    if out.spiking:
        spiked = f"{reader}.spiked({name}, args, entry.source, entry.index, entry.s, e)"
        cases.append(f"case {-1 - ctx.spiking.index(out)}: {spiked}; break;")
    if len(out.derived.modes) > 1:
        ended = f"{reader}.ended({name}, args, entry.source, entry.s, e)"
        cases.append(f"case END_OF_PERIOD - {ctx.spiking.index(out)}: {ended}; break;")
    head = [
        "for (int64_t e = log.steps[size_t(step)]; e < log.count; ++e) {",
        "const LogEntry& entry = log.entries[e];",
    ]
    switch = ["switch (entry.kind) {", *cases, "}", "}"]
    return "\n".join([*head, *switch])


def _arrives(ctx: Context, c: ConnectionRecord, index: str) -> str:
    """Time of an arrival, given the number of the spike that causes it."""
    delay = f" + args.d_{ctx.c(c)}" if c.delay > 0 else ""
    times = "args.times" if c.source == ctx.plan.input.name else f"{ctx.p(c.source)}.spike_time"
    return f"{times}[{index}]{delay}"


def _take(ctx: Context, c: ConnectionRecord, place: str, due: str, route: str, index: str) -> str:
    """Sets the fields of an arrival except for its factors."""
    p = ctx.plan.population(c.target)
    receptor = list(p.derived.receptors).index(c.receptor)
    row, number = routes.row(ctx, c, route), ctx.plan.connections.index(c)
    rows = f"work.rows_{ctx.p(p.name)}.last()"
    within = f".within({rows}.from, {rows}.to)" if c.spread else ""
    return f"{place}.set({due}, {row}, {number}, {receptor}, {route}, {index}){within};"


def _due(ctx: Context, c: ConnectionRecord) -> str:
    """Arrivals within this step of spikes known at its start."""
    is_input = c.source == ctx.plan.input.name
    end = "to" if is_input else f"{ctx.p(c.source)}.spikes.count"
    sender = f"const int32_t sender = {ctx.p(c.source)}.spikes.neuron[next_{ctx.c(c)}];\n"
    if is_input:
        first, others = (
            (f" - {c.channels[0]}", f"if (sender < 0 || sender >= {c.pre}) continue;\n") if c.channels else ("", "")
        )
        sender = f"const int32_t sender = args.channels[next_{ctx.c(c)}]{first};\n{others}"
    index = f"next_{ctx.c(c)}" if not is_input else f"next_{ctx.c(c)} - from" if ctx.split else "-1"
    pending, way = f"{ctx.p(c.target)}.pending.push()", f"work.way_{ctx.c(c)}"
    if c.delays:
        sent = _arrives(ctx, c, f"next_{ctx.c(c)}")
        push = f"{way}.push({sent} + {routes.delay(ctx, c, 'route')}, {index}, route);"
        return (
            f"{way}.now = step;\nfor (; next_{ctx.c(c)} < {end} && {sent} < t_end; ++next_{ctx.c(c)}) {{\n"
            f"{sender}{routes.each(ctx, c, 'sender', push)}}}\n"
            f"for (const auto& due : {way}.take(step)) {{\nconst double after = due.at - t_k;\n"
            f"{_take(ctx, c, pending, 'after > 0 ? after : 0.0', 'due.route', 'due.index')}\n}}"
        )
    take = (pending, "after > 0 ? after : 0.0", "route" if c.spread else "sender", index)
    body = _take(ctx, c, *take)
    return (
        f"for (; next_{ctx.c(c)} < {end} && {_arrives(ctx, c, f'next_{ctx.c(c)}')} < t_end; ++next_{ctx.c(c)}) {{\n"
        f"{sender}"
        f"const double after = {_arrives(ctx, c, f'next_{ctx.c(c)}')} - t_k;\n"
        f"{routes.each(ctx, c, 'sender', body) if c.spread else body}\n}}"
    )


def _log_all(ctx: Context, p: PopulationRecord) -> str:
    return f"for (const auto& a : {ctx.p(p.name)}.pending) log.push(a.s, a.connection, a.source, a.index);"


def _events(ctx: Context, program: ExactProgram, group: list[PopulationRecord]) -> str:
    """The loop over events of a group in order of time; at equal times crossings come before arrivals."""
    look, act = [], []
    for i, p in enumerate(group):
        name = ctx.p(p.name)
        look.append(f"""\
{name}.look_ahead();
{{
    const int64_t hit = {name}.first_hit();
    if (hit >= 0) {{
        const double at = {name}.hits[hit].s;
        if (at < when || (at == when && which < 0)) when = at, who = {i}, which = hit;
    }} else if ({name}.known_at() < when) {{
        when = {name}.known_at(), who = {i}, which = -1;
    }}
}}""")
        act.append(f"""\
case {i}:
{_release(ctx, p)}    if (which < 0) {{
        const auto& a = {name}.pending[{name}.cursor];
        log.push(a.s, a.connection, a.source, a.index);
        {name}.take_arrival();
    }} else {{
{indent(_spike(ctx, program, p, group), 2)}    }}
    break;""")
    loop = "\n".join([
        "double when = std::numeric_limits<double>::infinity();", "int who = -1;", "int64_t which = -1;", *look,
        "if (who < 0) break;", "switch (who) {", *act, "}",
    ])  # fmt: skip
    return f"for (;;) {{\n{loop}\n}}"


def _release(ctx: Context, p: PopulationRecord) -> str:
    """The end of a refractory period."""
    name, number = ctx.p(p.name), ctx.spiking.index(p)
    if len(p.derived.modes) == 1:
        return ""
    return f"""\
    if (which < 0 && {name}.period_ends_first()) {{
        const int neuron = {name}.release();
        log.push({name}.now, END_OF_PERIOD - {number}, neuron, {name}.ends.count - 1);
        break;
    }}
"""


def _spike(ctx: Context, program: ExactProgram, p: PopulationRecord, group: list[PopulationRecord]) -> str:
    """An own spike, and its arrivals at its own group within this step."""
    name, n = ctx.p(p.name), len(p.derived.states)
    number = ctx.spiking.index(p)
    lines = [
        f"double before[{n}], after[{n}];",
        f"const int neuron = {name}.emit(args, which, t_k, work.guarded, before, after);",
        f"const int64_t index = {name}.spikes.count - 1;",
        f"log.push({name}.now, {-1 - number}, neuron, index);",
        f"if ({name}.spikes_in_step > runaway(N_{name})) return {1 + number};",
    ]
    lines += each(reads(program.readers, p), lambda r: f"jump({name}, neuron, {name}.now, before, after)")
    for c in ctx.plan.out_of(p.name):
        if c.target in {q.name for q in group}:
            lines.append(_at_once(ctx, program, c, name))
    return "\n".join(lines)


def _at_once(ctx: Context, program: ExactProgram, c: ConnectionRecord, sender: str) -> str:
    """An arrival within the step at a population of the same group."""
    if not c.delays:
        at = f"{sender}.now" + (f" + args.d_{ctx.c(c)}" if c.delay > 0 else "")
        body = _inserted(ctx, program, c, at, "route" if c.spread else "neuron")
        body = routes.each(ctx, c, "neuron", body) if c.spread else body
        return f"if ({_arrives(ctx, c, 'index')} < t_end) {{\n++next_{ctx.c(c)};\n{body}\n}}"
    lines = [
        f"const double late = {routes.delay(ctx, c, 'route')}, at = {_arrives(ctx, c, 'index')} + late;",
        f"if (at >= t_end) {{\nwork.way_{ctx.c(c)}.push(at, index, route);\n}} else {{",
        _inserted(ctx, program, c, f"{sender}.now + late", "route"), "}",
    ]  # fmt: skip
    return f"++next_{ctx.c(c)};\n" + routes.each(ctx, c, "neuron", "\n".join(lines))


def _inserted(ctx: Context, program: ExactProgram, c: ConnectionRecord, at: str, route: str) -> str:
    target, states = ctx.p(c.target), len(ctx.plan.population(c.target).derived.states)
    lines = [f"Arrival<{states}> a;", _take(ctx, c, "a", at, route, "index")]
    readers = (r for r in program.readers if r.population == c.target)
    lines += [f"{r.name}.absorb({target}, &a, 1, log.count);" for r in readers]
    return "\n".join([*lines, f"{target}.insert(a);"])
