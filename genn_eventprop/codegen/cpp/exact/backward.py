"""The adjoint of a trial in exact time: goes through the logged events of every step in reverse."""

from __future__ import annotations

from ....plan import ConnectionRecord, PopulationRecord
from ....plan.groups import groups
from ....program.population import RECORD
from ...statements import indent
from ..context import POLL, Context
from . import births, routes
from .models import refs
from .program import ExactProgram
from .readings import each, reads
from .recorders import recorder, recorders

HEAD = "__attribute__((noinline)) void backward(const Args& args, Work& work, [[maybe_unused]] int64_t sample, scalar* slice, bool first) {\n"


def backward_exact(ctx: Context, program: ExactProgram) -> str:
    plan = ctx.plan
    found = groups(plan)
    body = [*(f"const scalar* {r.slopes} = {r.dr};" for r in program.readers), *refs(ctx)]
    body.append("if (first) std::memset(slice, 0, GRADIENT_SIZE * sizeof(scalar));")
    for p in plan.populations:
        name = ctx.p(p.name)
        body += [f"for (auto& b : {name}.{which}) b.zero(NP_{name});" for which in ("mu", "held_mu", "grad")]
        if p.spiking:
            body.append(f"{name}.feedback.zero({name}.spikes.count);")
    body += births.begin_back(ctx)
    body.append("begin_back(args, work, sample);")
    body += each(program.readers, lambda r: f"begin_back(p{r.scope.index}, {r.slopes})")
    body += recorders(ctx, lambda p: f"begin(args, args.{p}_{RECORD}, sample, true)")
    body += [
        "for (int64_t step = args.exact_steps - 1; step >= 0; --step) {",
        POLL,
        *each(program.readers, lambda r: f"enter(p{r.scope.index}, args, step, true)"),
        *recorders(ctx, lambda _: "enter(args, step)"),
        *(_group(ctx, program, len(found) - 1 - i, g) for i, g in enumerate(reversed(found))),
        "}",
    ]
    body += [program.initial_gradient(p) for p in plan.populations]
    for p in plan.populations:
        for i, n in enumerate(p.trainable):
            at = f"AT_{ctx.p(p.name)}_G_{n}"
            body.append(
                f"for (int neuron = 0; neuron < N_{ctx.p(p.name)}; ++neuron) slice[{at} + neuron] += {ctx.p(p.name)}.grad[{i}].data[neuron];"
            )
    return HEAD + indent("\n".join(body)) + "}\n"


def _group(ctx: Context, program: ExactProgram, number: int, group: list[PopulationRecord]) -> str:
    read = [r for p in group for r in reads(program.readers, p)]
    lines = [
        "{",
        f"const auto& log = work.log[{number}];",
        "const int64_t begin = log.steps[size_t(step)];",
    ]
    lines.append("const int64_t events = log.steps[size_t(step) + 1] - begin;")
    for p in group:
        lines += [f"{ctx.p(p.name)}.retreat(step);", f"{ctx.p(p.name)}.open_step(log.entries.data + begin, events);"]
    lines += each(read, lambda r: f"open_step(p{r.scope.index}, log.entries.data + begin, events)")
    record = _record(ctx, program, group, "entry.s")
    lines.append("for (int64_t e = begin + events - 1;; --e) {")
    lines += [births.turn(ctx, program, group, record), "if (e < begin) break;"]
    lines += ["const LogEntry& entry = log.entries.data[e];", record]
    lines += each(read, lambda r: f"before(p{r.scope.index}, {r.slopes}, step, e)")
    lines.append("switch (entry.kind) {")
    names = {p.name for p in group}
    lines += [
        f"case {i}: {_arrival(ctx, program, c)} break;" for i, c in enumerate(ctx.plan.connections) if c.target in names
    ]
    lines += [f"case {-1 - i}: {_own_spike(ctx, program, p)} break;" for i, p in enumerate(ctx.spiking) if p in group]
    lines += [
        f"case END_OF_PERIOD - {i}: {ctx.p(p.name)}.ended(entry.source, entry.index, entry.s); break;"
        for i, p in enumerate(ctx.spiking) if p in group and len(p.derived.modes) > 1
    ]  # fmt: skip
    lines += ["}", "}"]
    lines.append(_record(ctx, program, group, "-1.0"))
    lines += each(read, lambda r: f"before(p{r.scope.index}, {r.slopes}, step, begin - 1)")
    lines += each(read, lambda r: f"leave(p{r.scope.index}, {r.slopes}, step)")
    return "\n".join([*lines, "}"])


def _record(ctx: Context, program: ExactProgram, group: list[PopulationRecord], after: str) -> str:
    """Records the adjoints at all times of the step behind `after`; what else adds to them has its turn before."""
    adjoints = (line for p in group for line in _record_adjoints(ctx, program, p, after))
    return "\n".join(["if (args.recorded) {", *adjoints, "}"])


def _record_adjoints(ctx: Context, program: ExactProgram, p: PopulationRecord, after: str) -> list[str]:
    own, name, read = recorder(ctx, p), ctx.p(p.name), reads(program.readers, p)
    down = each(read, lambda r: f"down_to({name}, {r.slopes}, step, {own}.s)")
    add = each(read, lambda r: f"add_to({name}, {r.slopes}, {own}.s, {own}.row({own}.n))")
    return [f"for (; {own}.behind({after}); --{own}.next) {{", *down, f"{own}.adjoints({name});", *add, "}"]


def _arrival(ctx: Context, program: ExactProgram, c: ConnectionRecord) -> str:
    """The weight gradient of an arrival, and its D, which goes to the spike that caused it and to its delay."""
    p, listed, hands = ctx.p(c.target), c.spread, routes.hand_back(ctx, c, "entry")
    receptor = list(ctx.plan.population(c.target).derived.receptors).index(c.receptor)
    read = [r for r in program.readers if r.population == c.target]
    adds = next((r for r in read if r.adds), None)
    slice_ = ctx.of_weights(c)
    lines = each(read, lambda r: f"at({p}, args, {receptor}, entry.s, e - begin)")
    gradient, row = (
        f"{slice_} + int64_t(entry.source) * NP_{p}" if c.trainable else slice_,
        routes.row(ctx, c, "entry.source"),
    )
    if listed:
        gradient = "along" if c.trainable else "nullptr"
        lines += [f"const auto table = {routes.table(ctx, c)};", "const Range reached = table.reached(entry.source);"]
        lines += [f"scalar* along = work.along_{ctx.p(c.target)};", "reached.clear(along);"] if c.trainable else []
        lines.append(f"const scalar* row = table.row_in(reached, entry.source, work.row_{ctx.p(c.target)});")
        row = "row"
    reader, dr = (adds.name, adds.slopes) if adds else (f"NoSource<Work::type_{ctx.p(c.target)}>()", "nullptr")
    call = (
        f"{p}.arrived<{'true' if c.trainable else 'false'}, {'true' if hands else 'false'}>({gradient}, "
        f"{row}, {receptor}, entry.s, e - begin, {reader}, {dr}{', reached.from, reached.to' if listed else ''})"
    )
    kink = "".join(f" + {r.name}.kink({r.slopes}, e)" for r in read)
    lines += [f"const scalar D = {call}{kink};", *hands] if hands else [f"{call};"]
    if listed and c.trainable:
        lines.append(f"table.gather(entry.source, along, {slice_});")
    return "{\n" + "\n".join(lines) + "\n}\n"


def _own_spike(ctx: Context, program: ExactProgram, p: PopulationRecord) -> str:
    name = ctx.p(p.name)
    lines = [
        f"double extra[{len(p.derived.states)}] = {{}};",
        f"scalar dl_dt = {name}.feedback[entry.index];",
    ]
    lines.append(program.own_spike(p))
    lines.append(f"{name}.jumped(args, entry.source, entry.index, entry.s, dl_dt, extra);")
    return "{\n" + "\n".join(lines) + "\n}\n"
