"""A trial of general populations as C++: group by group, event by event.

Groups of populations that reach each other run through the whole trial one after the other, each after those that send to it; so
all arrivals from outside a group are known when it begins. Order of events, and what is simultaneous: docs/exact_spike_times.md.
"""

from __future__ import annotations

from ....plan import ConnectionRecord, PopulationRecord
from ....plan.groups import groups
from ....program.population import RECORD
from ...statements import indent
from ..context import RANGE, Context, by_drive
from ..exact import routes
from ..exact.births import begin_back as begin_births_back
from ..exact.births import members as birth_members
from ..exact.models import UNUSED, keep_spikes_exact, refs, work_struct
from ..exact.readings import reads
from . import births
from .program import GeneralProgram
from .synapses import reach, targets

FORWARD = "__attribute__((noinline)) int forward(const Args& args, Work& work, int64_t sample) {\n"
BACKWARD = "__attribute__((noinline)) void backward(const Args& args, Work& work, int64_t sample, scalar* slice, bool first) {\n"
NEXT_EVENT = """\
const double due = queue.due();
[[maybe_unused]] const int through = queue.through();
double when = std::numeric_limits<double>::infinity();
[[maybe_unused]] double at;
[[maybe_unused]] int who = -1, which = -1;
"""


def general_work(ctx: Context, program: GeneralProgram) -> str:
    """Per-thread memory."""
    fields = []
    for p in ctx.plan.populations:
        name = ctx.p(p.name)
        fields += [f"typedef Pieces<Model_{name}, {p.size}> type_{name};", f"type_{name} {name};"]
        fields += [f"Path path_{name};"] if reads(program.readers, p) else []
    own = [f"{ctx.p(p.name)}.prepare();" for p in ctx.plan.populations]
    members, room = program.memory.members()
    for name in dict.fromkeys(ctx.p(c.target) for c in ctx.plan.connections if c.windows):
        fields.append(f"Buffer<scalar> row_{name}, along_{name};  // an expanded row of weights, and its gradient")
        room.append(f"row_{name}.zero(NP_{name}), along_{name}.zero(NP_{name});")
    fields += birth_members(ctx)
    fields += [*(r.member() for r in program.readers), *members, f"Queue queue[{len(groups(ctx.plan))}];"]
    fields += ["std::vector<Due> now;  // arrivals of one instant", "Lost lost;"]
    return work_struct(ctx, fields, [*own, *room])


def models(ctx: Context, program: GeneralProgram) -> str:
    """A struct for each population."""
    text = []
    for p in ctx.plan.populations:
        read = [r.readout.v for r in reads(program.readers, p)]
        text.append(program.model(p, read[0] if read else -1))
    return UNUSED + "\n".join(text)


def forward_general(ctx: Context, program: GeneralProgram) -> str:
    """The trial; returns 0, or 1 + the number of the population that could not go on."""
    body = [*refs(ctx), *RANGE, "const double together = args.duration * 0x1p-46;  // times this near are one instant"]
    body += [program.initial(p) for p in ctx.plan.populations]
    body += [_group(ctx, program, i, g) for i, g in enumerate(groups(ctx.plan))]
    body += births.search(ctx)
    body += [_read(ctx, program, p) for p in ctx.plan.populations if reads(program.readers, p)]
    body += [
        f"if (args.recorded) {_recorded(ctx, p)}, {ctx.p(p.name)}.record_states(args);" for p in ctx.plan.populations
    ]
    body.append("read_trial(args, work, sample);\nreturn 0;")
    return HELPERS + FORWARD + indent("\n".join(body)) + "}\n"


def _recorded(ctx: Context, p: PopulationRecord) -> str:
    name = ctx.p(p.name)
    return f"{name}.record(args, args.{name}_{RECORD}, sample)"


def _read(ctx: Context, program: GeneralProgram, p: PopulationRecord) -> str:
    """Reads V between the events of a completed trial."""
    name, read = ctx.p(p.name), reads(program.readers, p)
    arguments = f"{name}, args, sample, work.path_{name}"
    lines = [f"work.path_{name}.clear(N_{name});", f"{name}.find_path(work.path_{name});"]
    lines += [f"{r.name}.look({arguments});" for r in read]
    lines += ["for (bool again = true; again;) {", f"{name}.split(args, work.path_{name});", "again = false;"]
    return "\n".join([*lines, *(f"again |= {r.name}.read({arguments});" for r in read), "}"])


HELPERS = """\
// Remembers where a trial could not go on; the result of `forward`.
inline int give_up(Work& work, const Lost& lost, int population) {
    work.lost = lost;
    return 1 + population;
}

"""


def _group(ctx: Context, program: GeneralProgram, number: int, group: list[PopulationRecord]) -> str:
    names = ", ".join(p.name for p in group)
    inner = [c for p in group for c in ctx.plan.into(p.name) if c.source in {q.name for q in group}]
    outer = [c for p in group for c in ctx.plan.into(p.name) if c not in inner]
    lines = [f"{{  // {names}", f"Queue& queue = work.queue[{number}];", "queue.clear(args.duration);"]
    changes = [_changes(ctx, p) for p in group if p.drives]
    lines += ["int64_t instant = 0;", *(_outside(ctx, c) for c in outer), *changes, "queue.sort();"]
    lines += [f"{ctx.p(p.name)}.begin(args);" for p in group]
    events = [NEXT_EVENT.rstrip()]
    for p in group:
        name, i = ctx.p(p.name), ctx.plan.populations.index(p)
        events.append(f"if (!{name}.advance(args, due, {_ends(ctx, p)})) return give_up(work, {name}.lost, {i});")
    for p in group:
        if p.derived.events:
            name, i = ctx.p(p.name), ctx.plan.populations.index(p)
            events.append(f"if (const int k = {name}.first(at); k >= 0 && at < when) when = at, who = {i}, which = k;")
    events += ["if (who < 0 || when > due + together) break;", "at = when < due ? when : due;", "switch (who) {"]
    events += [_own_event(ctx, p, inner) for p in group if p.derived.events]
    events += ["}", "++instant;"]
    arrivals = [
        "const double at = queue.due();", "work.now.clear();",
        "while (!queue.empty() && queue.due() <= at + together) work.now.push_back(queue.take());",
        _for_arrivals([*(_touch(ctx, c) for c in (*outer, *inner)), *(_touch_all(ctx, p) for p in group if p.drives)]),
        *(f"{ctx.p(p.name)}.cut_touched(args, at);" for p in group),
        _for_arrivals([*(_add(ctx, c) for c in (*outer, *inner)), *(_set(ctx, p) for p in group if p.drives)], "queue.log.push() = {at, d.connection, d.route, d.index, instant};"),
        *(f"{ctx.p(p.name)}.start_touched(at, instant);" for p in group), "++instant;",
    ]  # fmt: skip
    lines += ["for (;;) {", "for (;;) {", *events, "}", "if (queue.empty()) break;", *arrivals, "}"]
    lines += [f"{ctx.p(p.name)}.finish(args);" for p in group]
    return "\n".join([*lines, "}"])


def _ends(ctx: Context, p: PopulationRecord) -> str:
    """Whether the next arrival reaches every neuron of a population, or is the end of the trial."""
    every = [i for i, c in enumerate(ctx.plan.connections) if c.target == p.name and c.by_rows]
    every += [_change(ctx, p)] if p.drives else []
    return " || ".join(f"through == {i}" for i in (-1, *every))


def _due(ctx: Context, c: ConnectionRecord, at: str, source: str, route: str, index: str) -> str:
    target = ctx.plan.populations.index(ctx.plan.population(c.target))
    return f"{{{at}, {target}, {ctx.plan.connections.index(c)}, {source}, {route}, {index}, 0}}"


def _routes(ctx: Context, c: ConnectionRecord, source: str, body: str) -> str:
    return routes.each(ctx, c, source, body)


def _outside(ctx: Context, c: ConnectionRecord) -> str:
    """All arrivals of a connection from outside the group."""
    if c.source == ctx.plan.input.name:
        first, others = (
            (f" - {c.channels[0]}", f"if (sender < 0 || sender >= {c.pre}) continue;\n") if c.channels else ("", "")
        )
        head = (
            "for (int64_t i = from; i < to; ++i) {\n"
            + f"    const int32_t sender = args.channels[i]{first};\n{indent(others)}"
        )
        time, index = "args.times[i]", "i - from"
    else:
        name = ctx.p(c.source)
        head = f"for (int64_t i = 0; i < {name}.own.count; ++i) {{\n    if ({name}.own[i].spike < 0) continue;\n"
        head += f"    const int32_t sender = {name}.own[i].neuron;\n"
        time, index = f"{name}.own[i].at", "i"
    at = f"{time} + {routes.delay(ctx, c, 'route')}"
    add = f"queue.add({_due(ctx, c, at, 'sender', 'route', index)});"
    return head + indent(_routes(ctx, c, "sender", add)) + "}"


def _own_event(ctx: Context, p: PopulationRecord, inner: list[ConnectionRecord]) -> str:
    name, i = ctx.p(p.name), ctx.plan.populations.index(p)
    lines = [
        f"const int64_t number = {name}.fire(args, which, at, instant, work.guarded);",
        f"queue.log.push() = {{at, {-1 - i}, which, number, instant}};",
    ]
    if any((e.dg_dx.T * r)[0] != 0 for e in p.derived.events for r in p.derived.receptors.values()):
        lines.append(f"if ({name}.own[number].why == ARRIVAL) {name}.divide(args, number, queue.log, {reach(ctx, p)});")
    lines.append(f"if ({name}.runs_away()) return give_up(work, {{which, -1, at}}, {i});")
    sends = []
    for c in (c for c in inner if c.source == p.name):
        due = _due(ctx, c, f"at + {routes.delay(ctx, c, 'route')}", "which", "route", "number")
        sends.append(_routes(ctx, c, "which", f"queue.push({due});"))
    if sends:
        lines += [f"if ({name}.own[number].spike >= 0) {{", *sends, "}"]
    return f"case {i}: {{\n" + indent("\n".join([*lines, "break;"])) + "}"


def _for_arrivals(cases: list[str], after: str = "") -> str:
    lines = ["for (const Due& d : work.now) {", "switch (d.connection) {", *cases, "}", after, "}"]
    return "\n".join(line for line in lines if line)


def _touch(ctx: Context, c: ConnectionRecord) -> str:
    body = targets(ctx, c, "d.route", f"{ctx.p(c.target)}.touch(k, instant);")
    return f"case {ctx.plan.connections.index(c)}:\n{indent(body)}    break;"


def _add(ctx: Context, c: ConnectionRecord) -> str:
    receptor = list(ctx.plan.population(c.target).derived.receptors).index(c.receptor)
    body = targets(ctx, c, "d.route", f"{ctx.p(c.target)}.add(args, {receptor}, k, double(weight));")
    return f"case {ctx.plan.connections.index(c)}:\n{indent(body)}    break;"


# changes of currents: like arrivals at all neurons of a population, number of connections + number of the population


def _change(ctx: Context, p: PopulationRecord) -> int:
    """What stands in the place of the number of a connection."""
    return len(ctx.plan.connections) + ctx.plan.populations.index(p)


def _changes(ctx: Context, p: PopulationRecord) -> str:
    """All changes of the currents into a population; before the arrivals of their instants."""
    name, i = ctx.p(p.name), ctx.plan.populations.index(p)
    due = f"{{args.{name}_change_times[i], {i}, {_change(ctx, p)}, -1, int32_t(i), i, 0}}"
    return f"for (int64_t i = 0; i < args.{name}_changes; ++i) queue.add({due});"


def _touch_all(ctx: Context, p: PopulationRecord) -> str:
    name = ctx.p(p.name)
    return f"case {_change(ctx, p)}:\n    for (int k = 0; k < N_{name}; ++k) {name}.touch(k, instant);\n    break;"


def _set(ctx: Context, p: PopulationRecord) -> str:
    """The states that stand for currents take the values that these change to."""
    name, states = ctx.p(p.name), p.derived.states
    lines = [_row_of_change(name, "d.route")]
    for n, state in ctx.drives(p).items():
        to = f"{name}.now_x[{states.index(state)}][k]"
        lines.append(f"for (int k = 0; k < N_{name}; ++k) {to} = double(args.{name}_{n}[row + k]);")
    return f"case {_change(ctx, p)}: {{\n" + indent("\n".join([*lines, "break;"])) + "}"


def _row_of_change(name: str, number: str) -> str:
    return f"const int64_t row = (sample * args.{name}_changes + {number}) * NP_{name};"


def _change_back(ctx: Context, program: GeneralProgram, p: PopulationRecord) -> str:
    """dL/du is lambda_u where u is set; nothing that happened before has an influence on it."""
    name, states = ctx.p(p.name), p.derived.states
    lines = [f"for (int k = 0; k < N_{name}; ++k) {name}.touch(k, h.instant);"]
    lines += [f"{name}.retreat(args, h.instant, {_reader(program, p)});", _row_of_change(name, "h.source")]
    for n, state in ctx.drives(p).items():
        lam = f"{name}.lambda[{states.index(state)}][k]"
        body = f"args.{by_drive(name, n)}[row + k] = scalar({lam}), {lam} = 0;"
        lines.append(f"for (int k = 0; k < N_{name}; ++k) {body}")
    return f"case {_change(ctx, p)}: {{\n" + indent("\n".join([*lines, "break;"])) + "}"


# backwards


def backward_general(ctx: Context, program: GeneralProgram) -> str:
    """The adjoint: goes through what happened in reverse."""
    plan, order = ctx.plan, groups(ctx.plan)
    body = [*(f"const scalar* {r.slopes} = {r.dr};" for r in program.readers), *refs(ctx)]
    body += ["if (first) std::memset(slice, 0, GRADIENT_SIZE * sizeof(scalar));"]
    for p in plan.populations:
        name = ctx.p(p.name)
        body += _readers(program, p)
        body += [f"for (auto& b : {name}.{which}) b.zero(NP_{name});" for which in ("mu", "grad")]
    body += begin_births_back(ctx)
    body.append("begin_back(args, work, sample);")
    body += [f"{ctx.p(p.name)}.begin_back();" for p in plan.populations]
    body += [f"if (args.recorded) {_recorded(ctx, p)};" for p in plan.populations]
    body += [f"{r.name}.begin_back(p{r.scope.index}, {r.slopes});" for r in program.readers]
    body += [_group_back(ctx, program, i, g) for i, g in reversed(list(enumerate(order)))]
    body += [program.initial_gradient(p) for p in plan.populations]
    for p in plan.populations:
        name = ctx.p(p.name)
        for i, n in enumerate(p.trainable):
            body.append(f"for (int k = 0; k < N_{name}; ++k) slice[AT_{name}_G_{n} + k] += {name}.grad[{i}].data[k];")
    return BACKWARD + indent("\n".join(body)) + "}\n"


def _reader(program: GeneralProgram, p: PopulationRecord) -> str:
    read = reads(program.readers, p)
    return f"readers_p{read[0].scope.index}" if read else "NoReader()"


def _readers(program: GeneralProgram, p: PopulationRecord) -> list[str]:
    """Declares all readers of a population, as one."""
    kinds, value = "", ""
    for r in reversed(reads(program.readers, p)):
        kinds = f"decltype({r.name})" + (f", {kinds}" if kinds else "")
        value = f"{{{r.name}, {r.slopes}, {value or '{}'}}}"
    return [f"Several<{kinds}> {_reader(program, p)}{value};"] if kinds else []


def _group_back(ctx: Context, program: GeneralProgram, number: int, group: list[PopulationRecord]) -> str:
    lines = [f"{{  // {', '.join(p.name for p in group)}", f"const auto& log = work.queue[{number}].log;"]
    lines += [f"{ctx.p(p.name)}.arrival_extra.zero(log.count + 1);" for p in group]
    inside = {p.name for p in group}
    lines += ["for (int64_t e = log.count - 1;; --e) {"]
    lines += [births.turn(ctx, program, group, {p.name: _reader(program, p) for p in group}), "if (e < 0) break;"]
    lines += ["const Happening& h = log[e];", "switch (h.kind) {"]
    lines += [_arrival(ctx, program, c) for c in ctx.plan.connections if c.target in inside]
    lines += [_change_back(ctx, program, p) for p in group if p.drives]
    lines += [_own_event_back(ctx, program, p) for p in group if p.derived.events]
    lines += ["}", "}"]
    for p in group:
        name = ctx.p(p.name)
        lines.append(f"for (int k = 0; k < N_{name}; ++k) {name}.touch(k, -3);")
        lines.append(f"{name}.retreat(args, -3, {_reader(program, p)});\n{name}.finish_back();")
    return "\n".join([*lines, "}"])


def _arrival(ctx: Context, program: GeneralProgram, c: ConnectionRecord) -> str:
    """The weight gradient of an arrival, and its D, which goes to the spike that caused it and to its delay."""
    p, target = ctx.p(c.target), ctx.plan.population(c.target)
    hands = routes.hand_back(ctx, c, "h")
    receptor = list(target.derived.receptors).index(c.receptor)
    lines = [targets(ctx, c, "h.source", f"{p}.touch(k, h.instant);").rstrip()]
    lines.append(f"{p}.retreat(args, h.instant, {_reader(program, target)});")
    lines.append(f"[[maybe_unused]] double D = {p}.arrival_extra[e];")
    reader = _reader(program, target)
    along = f"{p}.arrived<{'true' if hands else 'false'}>(args, {receptor}, k, double(weight), h, {reader}, D)"
    learns = f"slice[AT_{ctx.c(c)}_gradient + place] += scalar({along});" if c.trainable else f"{along};"
    if c.windows is not None and c.trainable:
        learns = f"work.along_{p}[k] = scalar({along});"
        lines.append(f"work.along_{p}.zero(NP_{p});")
    lines.append(targets(ctx, c, "h.source", learns).rstrip())
    if c.windows is not None and c.trainable:
        lines.append(f"{routes.table(ctx, c)}.gather(h.source, work.along_{p}, slice + AT_{ctx.c(c)}_gradient);")
    if hands and reads(program.readers, target):
        lines.append(f"D += {reader}.arrivals({p}, args, h);")
    lines += hands
    return f"case {ctx.plan.connections.index(c)}: {{\n" + indent("\n".join([*lines, "break;"])) + "}"


def _own_event_back(ctx: Context, program: GeneralProgram, p: PopulationRecord) -> str:
    name, i = ctx.p(p.name), ctx.plan.populations.index(p)
    lines = [
        f"{name}.touch(h.source, h.instant);", f"{name}.retreat(args, h.instant, {_reader(program, p)});",
        "scalar dl_dt = 0;", f"[[maybe_unused]] const auto& own = {name}.own[h.index];",
    ]  # fmt: skip
    if reads(program.readers, p):
        lines.append(f"dl_dt += scalar({_reader(program, p)}.own_event({name}, args, h));")
    if said := program.own_event(p):
        lines += [
            "if (own.spike >= 0) {",
            "const Happening entry{h.at, h.kind, h.source, own.spike, h.instant};",
            said,
            "}",
        ]
    lines += [f"{name}.jumped(args, h.index, double(dl_dt));", "break;"]
    return f"case {-1 - i}: {{\n" + indent("\n".join(lines)) + "}"


def keep_spikes_general(ctx: Context) -> str:
    """Hands the spikes of a trial to the host if they are recorded; and where a trial could not go on."""
    return keep_spikes_exact(ctx) + LOCATE


LOCATE = """\
// `step` is the time, in 2^-50 of the trial.
void locate(const Args& args, Work& work, Trouble& trouble) {
    work.prepare(args);
    if (!forward(args, work, trouble.sample)) return;
    trouble.step = int64_t(work.lost.at / args.duration * 0x1p50), trouble.state = work.lost.state, trouble.neuron = work.lost.neuron;
}
"""
