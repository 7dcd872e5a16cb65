"""The generated part of the exact engine: model structs, and a trial that goes from event to event (`exact.hpp`)."""

from __future__ import annotations

import re

from ...plan import ConnectionRecord, PopulationRecord
from ..exact_values import varying_threshold
from ..printer import CPP, DOUBLE, expression
from .context import RANGE, Context, indent, padded

READERS = {"first_spike": "ReadFirstSpike", "max": "ReadMaximum", "integral": "ReadIntegral"}


def exact_work(ctx: Context) -> str:
    """Per-thread memory."""
    fields, prepare = [], []
    for p in ctx.plan.populations:
        kind = f"Neurons<Model_{p.name}, {p.size}, {'true' if ctx.varies(p) else 'false'}>"
        fields.append(f"    typedef {kind} type_{p.name};\n    type_{p.name} p_{p.name};")
        prepare.append(f"        p_{p.name}.prepare();")
    out = ctx.plan.output
    v = out.derived.states.index(out.derived.model.readout) if out.derived.model.readout in out.derived.states else 0
    widest = max(padded(p.size) for p in ctx.plan.populations)
    return (
        "struct Work {\n" + "\n".join(fields) + "\n"
        f"    {READERS[ctx.plan.loss.readout]}<type_{out.name}, {v}, N_OUT> reader;\n"
        "    Buffer<double> readout;\n    Buffer<scalar> dr, drive;\n    Buffer<int32_t> first_step;\n"
        "    std::vector<LogEntry> log;\n    int64_t guarded = 0;\n    bool ready = false;\n"
        "    void prepare(int64_t) {\n        if (ready) return;\n" + "\n".join(prepare) + "\n"
        f"        readout.zero(NP_OUT);\n        dr.zero(NP_OUT);\n        drive.zero({widest});\n"
        "        first_step.zero(NP_OUT);\n        ready = true;\n    }\n};\n"
    )  # fmt: skip


def time_weight(ctx: Context) -> str:
    """w(t) of an integral readout as a function of t."""
    weight = ctx.plan.loss.weight.expr
    names = {"T": "args.duration", "t": "t"}
    text = re.sub(r"[A-Za-z_]\w*", lambda m: names.get(m.group(), m.group()), expression(weight, DOUBLE))
    return f"inline double time_weight(double t, const Args& args) {{ (void)t; (void)args; return {text}; }}\n"


def models(ctx: Context) -> str:
    """One struct a population: structure, reset and jump."""
    return "\n".join(_model(ctx, p) for p in ctx.plan.populations)


def _model(ctx: Context, p: PopulationRecord) -> str:
    d = p.derived
    n = len(d.states)
    rows = []
    for i in range(n):
        driven = any(d.coupling[i][j] and d.b[j] != 0 for j in range(n))
        rows.append("{" + ", ".join("true" if c else "false" for c in (*d.coupling[i], driven)) + "}")
    return (
        f"struct Model_{p.name} {{\n"
        f"    static constexpr int n = {n}, learned = {len(p.trainable)};\n"
        f"    static constexpr bool spiking = {_bool(p.spiking)}, varying_g = {_bool(varying_threshold(p))};\n"
        f"    static constexpr bool coupled[{n}][{n + 1}] = {{{', '.join(rows)}}};\n"
        + (_reset(ctx, p) + _jump(ctx, p) if p.spiking else "") + "};\n"
        f"constexpr bool Model_{p.name}::coupled[{n}][{n + 1}];\n"
    )  # fmt: skip


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _loads(ctx: Context, p: PopulationRecord, code: str, real: str) -> str:
    used = set(re.findall(r"[A-Za-z_]\w*", code))
    return "".join(
        f"const {real} {v} = {real}(args.p_{p.name}_{v}[{'neuron' if each else '0'}]);\n"
        for v, each in ctx.values[p.name].items() if v in used
    )  # fmt: skip


def _reset(ctx: Context, p: PopulationRecord) -> str:
    d = p.derived
    code = "".join(f"after[{i}] = {expression(h, DOUBLE)};\n" for i, h in enumerate(d.events[0].h))
    states = "".join(f"const double {s} = before[{i}]; (void){s};\n" for i, s in enumerate(d.states))
    body = indent(states + _loads(ctx, p, code, "double") + code, 2)
    return f"    static void reset(const Args& args, int neuron, const double* before, double* after) {{\n        (void)args; (void)neuron;\n{body}    }}\n"


def _jump(ctx: Context, p: PopulationRecord) -> str:
    """lambda and parameter gradients at an own spike; kept: the state before it."""
    snippet, d = ctx.snippets[p.name], p.derived
    code = "".join(
        f"grad[{i}].data[neuron] += {snippet.jump_gradients[n]};\n" for i, n in enumerate(p.trainable) if n in snippet.jump_gradients
    ) + snippet.adjoint_jump_code + "\n"  # fmt: skip
    states = "".join(f"const scalar {s} = kept[{i}]; (void){s};\n" for i, s in enumerate(d.states))
    lam = "".join(f"scalar lambda_{s} = lambda[{i}].data[neuron];\n" for i, s in enumerate(d.states))
    back = "".join(f"lambda[{i}].data[neuron] = lambda_{s};\n" for i, s in enumerate(d.states))
    body = indent(states + lam + _loads(ctx, p, code, "scalar") + code + back, 2)
    return (
        "    static void jump(const Args& args, int neuron, const scalar* kept, scalar dl_dt, scalar inv_gdot,\n"
        "                     Buffer<scalar>* lambda, Buffer<scalar>* grad) {\n"
        f"        (void)args; (void)grad; (void)dl_dt; (void)inv_gdot;\n{body}    }}\n"
    )  # fmt: skip


def bind(ctx: Context) -> str:
    """Hands the tables to a thread's populations."""
    lines = []
    for p in ctx.plan.populations:
        lines += [
            f"work.p_{p.name}.{n} = args.x_{p.name}_{n};" for n in ("taylor", "limit", "A", "dg", "slope", "curve")
        ]
        for i, n in enumerate(p.trainable):
            table = f"args.x_{p.name}_derivative_{n}" if n in ctx.learned_dynamics(p) else "nullptr"
            lines.append(f"work.p_{p.name}.derivative[{i}] = {table};")
    return "void bind(const Args& args, Work& work) {\n" + indent("\n".join(lines)) + "}\n"


# forwards


def forward_exact(ctx: Context) -> str:
    """The trial; returns 0, or 1 + the number of the population that ran away."""
    plan = ctx.plan
    pops = [p.name for p in plan.populations]
    queued = [c for c in plan.connections if c.source == plan.input.name or c.delay > 0]
    out = plan.output.name
    body = ["bind(args, work);", *_refs(ctx), *RANGE, "work.log.clear();"]
    body += [_initial(ctx, p) for p in plan.populations]
    body += [f"p_{n}.begin();" for n in pops]
    body += [f"work.reader.begin(p_{out});", "double t = 0;", "int64_t border = 1;"]
    body.append("const int64_t borders = int64_t(std::ceil(args.duration / args.longest - 1e-9));")
    body += [f"int64_t next_{c.name} = {'from' if c.source == plan.input.name else '0'};" for c in queued]
    body += [_spike(ctx, i, p) for i, p in enumerate(ctx.spiking)]
    body.append("for (;;) {")
    body.append("double next = border < borders ? args.duration * double(border) / double(borders) : args.duration;")
    body += [f"{{ const double at = {_due(ctx, c)}; if (at < next) next = at; }}" for c in queued]
    body.append(_move(ctx))
    body.append("bool arrived = false;")
    body += [_deliver_due(ctx, c) for c in queued]
    body.append(
        "if (arrived) continue;\nwork.log.push_back({t, segment, BORDER, 0, -1});\nif (t >= args.duration) break;"
    )
    body.append("if (next_is_border) ++border;")
    body += [f"p_{p.name}.spikes_in_step = 0;" for p in ctx.spiking]
    body += ["}", f"work.reader.finish(p_{out}, args, work.readout, work.first_step);"]
    body += [_count(p) for p in ctx.spiking]
    body.append("return 0;")
    text = "\n".join(body)
    return (
        "__attribute__((noinline)) int forward(const Args& args, Work& work, int64_t sample) {\n" + indent(text) + "}\n"
    )


def _refs(ctx: Context) -> list[str]:
    return [f"auto& p_{p.name} = work.p_{p.name}; (void)p_{p.name};" for p in ctx.plan.populations]


def _initial(ctx: Context, p: PopulationRecord) -> str:
    code = "".join(f"p_{p.name}.x[{i}].data[neuron] = {expression(e, CPP)};\n" for i, e in enumerate(p.derived.x0))
    return f"for (int neuron = 0; neuron < NP_p_{p.name}; ++neuron) {{\n{_loads(ctx, p, code, 'scalar')}{code}}}"


def _due(ctx: Context, c: ConnectionRecord) -> str:
    """Time of the next arrival of a connection that waits in a queue."""
    delay = f" + args.d_{c.name}" if c.delay > 0 else ""
    if c.source == ctx.plan.input.name:
        return f"next_{c.name} < to ? args.times[next_{c.name}]{delay} : 2 * args.duration"
    s = f"p_{c.source}"
    return f"next_{c.name} < {s}.spikes.count ? {s}.spike_time[next_{c.name}]{delay} : 2 * args.duration"


def _move(ctx: Context) -> str:
    """Advance to `next`, or to an own spike on the way."""
    pops = [p.name for p in ctx.plan.populations]
    out = ctx.plan.output.name
    look = "\n".join(f"p_{p.name}.look_ahead(t, next);" for p in ctx.spiking)
    search = "\n".join(
        f"if (const int found = p_{p.name}.earliest(until); found >= 0) {{\n"
        f"const double at = p_{p.name}.crossings[size_t(found)].time;\n"
        f"if (which < 0 || at < until) until = at, which = {i}, crossing = found; }}"
        for i, p in enumerate(ctx.spiking)
    )
    advance = "\n".join(f"p_{n}.advance(delta);" for n in pops)
    keep = "\n".join(f"p_{p.name}.keep_trace();" for p in ctx.plan.populations if p.stores_states)
    accept = "\n".join(f"p_{n}.accept();" for n in pops)
    spikes = "\n".join(
        f"case {i}: if (!spike_{p.name}(crossing, segment)) return {1 + i}; break;" for i, p in enumerate(ctx.spiking)
    )
    return f"""\
const bool next_is_border = border < borders && next >= args.duration * double(border) / double(borders);
int which = -1, crossing = -1;
double until = next, segment = 0;
if (next > t) {{
{indent(look)}
{indent(search)}
}}
if (until > t) {{
    const double delta = until - t;
{indent(advance)}
{indent(keep)}
    work.reader.segment(p_{out}, args, t, delta, int64_t(work.log.size()));
{indent(accept)}
    t = until;
    segment = delta;
}}
if (which >= 0) {{
    switch (which) {{
{indent(spikes)}
    }}
    continue;
}}
"""


def _spike(ctx: Context, i: int, p: PopulationRecord) -> str:
    """A function that makes one neuron spike at t and delivers what arrives at once; false if it ran away."""
    name, n = f"p_{p.name}", len(p.derived.states)
    direct = [c for c in ctx.plan.out_of(p.name) if c.delay == 0]
    deliver = "".join(_deliver(ctx, c, "neuron", "int64_t(work.log.size()) - 1") for c in direct)
    return f"""\
auto spike_{p.name} = [&](int which, double ended) -> bool {{
    const auto crossing = {name}.crossings[size_t(which)];
    const int neuron = crossing.neuron;
    const double* state = crossing.x;
    const int64_t index = {name}.spikes.count;
    {name}.spikes.reserve(1);
    {name}.spike_time.reserve(index + 1);
    {name}.spikes.neuron[index] = neuron;
    {name}.spike_time[index] = t;
    double gdot = {name}.gdot(neuron, state), after[{n}];
    if (!(gdot > 0) || gdot < args.slope_floor) {{ ++work.guarded; gdot = args.slope_floor; }}
    {name}.spikes.record[0][index] = gdot > 0 ? scalar(1 / gdot) : scalar(0);
    for (int i = 0; i < {n}; ++i) {name}.spikes.record[i + 1][index] = scalar(state[i]);
    Model_{p.name}::reset(args, neuron, state, after);
    for (int i = 0; i < {n}; ++i) {name}.x[i].data[neuron] = scalar(after[i]);
    ++{name}.spikes.count;
    {name}.happened(which, t);
    work.log.push_back({{t, ended, {-2 - i}, neuron, index}});
    if (t < args.duration) {{
{indent(deliver, 2)}
    }}
    return ++{name}.spikes_in_step <= RUNAWAY * N_{name};
}};"""


def _deliver(ctx: Context, c: ConnectionRecord, source: str, entry: str) -> str:
    """Adds one row of weights to the target; tells the reader, if the target is the output."""
    p = ctx.plan.population(c.target)
    number = ctx.plan.connections.index(c)
    reads = c.target == ctx.plan.output.name
    lines = [f"const int32_t row = {source};"]
    lines += [f"work.reader.before_arrival(p_{c.target});"] if reads else []
    e = p.derived.receptors[c.receptor]
    touched = [(i, v) for i, v in enumerate(e) if v != 0]
    if len(touched) == 1 and touched[0][1] == 1:
        lines.append(f"add_rows<NP_p_{p.name}>(p_{p.name}.x[{touched[0][0]}], args.c_{c.name}_weight, &row, 1);")
    else:
        lines.append(f"add_rows<NP_p_{p.name}, true>(work.drive, args.c_{c.name}_weight, &row, 1);")
        for i, v in touched:
            amount = "scalar(1)" if v == 1 else _value(ctx, p, f"e_{c.receptor}_{p.derived.states[i]}")
            lines.append(
                f"for (int neuron = 0; neuron < NP_p_{p.name}; ++neuron) p_{p.name}.x[{i}].data[neuron] += {amount} * work.drive[neuron];"
            )
    lines.append(f"p_{p.name}.touch();")
    lines += [f"work.reader.after_arrival(p_{c.target}, {entry}, {number});"] if reads else []
    return "{\n" + "\n".join(lines) + "\n}\n"


def _value(ctx: Context, p: PopulationRecord, name: str) -> str:
    return f"args.p_{p.name}_{name}[{'neuron' if ctx.values[p.name][name] else '0'}]"


def _deliver_due(ctx: Context, c: ConnectionRecord) -> str:
    number = ctx.plan.connections.index(c)
    is_input = c.source == ctx.plan.input.name
    source = f"args.channels[next_{c.name}]" if is_input else f"p_{c.source}.spikes.neuron[next_{c.name}]"
    index = "-1" if is_input else f"next_{c.name}"
    return f"""\
while (t < args.duration && ({_due(ctx, c)}) <= t) {{
    const int32_t sender = {source};
    work.log.push_back({{t, segment, {number}, sender, {index}}});
    segment = 0;
    arrived = true;
{indent(_deliver(ctx, c, "sender", "int64_t(work.log.size()) - 1"))}
    ++next_{c.name};
}}"""


def _count(p: PopulationRecord) -> str:
    name = f"p_{p.name}"
    return (
        f"{{\nint32_t* counts = args.p_{p.name}_counts + sample * N_{name};\nstd::memset(counts, 0, N_{name} * sizeof(int32_t));\n"
        f"for (int64_t i = 0; i < {name}.spikes.count; ++i) ++counts[{name}.spikes.neuron[i]];\n}}"
    )


# backwards


def backward_exact(ctx: Context) -> str:
    """The adjoint of the trial, event by event."""
    plan, out = ctx.plan, ctx.plan.output.name
    body = [
        "const scalar* dr = work.dr;",
        *_refs(ctx),
        "if (first) std::memset(slice, 0, GRADIENT_SIZE * sizeof(scalar));",
    ]
    for p in plan.populations:
        name = f"p_{p.name}"
        body.append(f"for (auto& b : {name}.lambda) b.zero(NP_{name});\nfor (auto& b : {name}.grad) b.zero(NP_{name});")
        if p.spiking:
            body.append(f"{name}.feedback.zero({name}.spikes.count);")
    body += [
        _push(ctx),
        "for (int64_t e = int64_t(work.log.size()) - 1; e >= 0; --e) {",
        "const LogEntry entry = work.log[size_t(e)];",
    ]
    body.append("switch (entry.kind) {")
    for number, c in enumerate(plan.connections):
        if c.source == plan.input.name or c.delay > 0:
            body.append(f"case {number}: {_arrival(ctx, c, number)} break;")
    body += [f"case {-2 - i}: {_own_spike(ctx, p)} break;" for i, p in enumerate(ctx.spiking)]
    body += ["default: break;", "}", "if (entry.delta > 0) {"]
    for p in plan.populations:
        body += [
            f"p_{p.name}.parameter_rate({i}, entry.delta);"
            for i, n in enumerate(p.trainable)
            if n in ctx.learned_dynamics(p)
        ]
        body.append(f"p_{p.name}.step(entry.delta);\np_{p.name}.retreat();")
    body.append(f"work.reader.source(p_{out}, args, dr, entry.time - entry.delta, entry.delta, e);")
    body += [f"--p_{p.name}.rows;" for p in plan.populations if p.stores_states]
    body += ["}", "}"]
    body += [_initial_gradient(ctx, p) for p in plan.populations]
    for p in plan.populations:
        for i, n in enumerate(p.trainable):
            offset = ctx.gradients[f"{p.name}.{n}"][0]
            body.append(
                f"for (int neuron = 0; neuron < N_p_{p.name}; ++neuron) slice[{offset} + neuron] += p_{p.name}.grad[{i}].data[neuron];"
            )
    text = "\n".join(body)
    head = "__attribute__((noinline)) void backward(const Args& args, Work& work, int64_t sample, scalar* slice, bool first) {\n    (void)sample;\n"
    return head + indent(text) + "}\n"


def _push(ctx: Context) -> str:
    if ctx.plan.loss.readout != "first_spike" or ctx.plan.loss.silent != "end":
        return ""
    p = ctx.plan.output
    v = p.derived.states.index(p.derived.model.readout)
    index = "label" if "tau_mem" in p.per_neuron else "0"
    return (
        "{ const int64_t label = args.labels[sample];\n"
        f"if (work.first_step[label] < 0) p_{p.name}.lambda[{v}].data[label] -= "
        f"args.p_{p.name}_tau_mem[{index}] * scalar(args.push / double(args.batch)); }}"
    )


def _arrival(ctx: Context, c: ConnectionRecord, number: int, index: str = "entry.index") -> str:
    """Weight gradient of one arrival, and D for the spike that sent it."""
    p, d = ctx.plan.population(c.target), ctx.plan.population(c.target).derived
    np_, snippet = f"NP_p_{p.name}", ctx.snippets[c.target]
    lam = {f"lambda_{s}": f"p_{p.name}.lambda[{i}].data[neuron]" for i, s in enumerate(d.states)}
    values = {v: _value(ctx, p, v) for v in ctx.values[p.name]}
    place = lambda code: re.sub(r"[A-Za-z_]\w*", lambda m: lam.get(m.group(), values.get(m.group(), m.group())), code)  # noqa: E731
    lines = []
    if c.trainable:
        offset = ctx.gradients[c.weight][0]
        lines.append(
            f"scalar* __restrict row = slice + {offset} + int64_t(entry.source) * {np_};\n"
            f"for (int neuron = 0; neuron < {np_}; ++neuron) row[neuron] += {place(snippet.direction[c.receptor])};"
        )
    if c.source != ctx.plan.input.name:
        lines.append(
            f"for (int neuron = 0; neuron < {np_}; ++neuron) work.drive[neuron] = {place(snippet.feedback[c.receptor])};\n"
            f"dot_rows<{np_}>(&p_{c.source}.feedback[{index}], args.c_{c.name}_weight, &entry.source, 1, work.drive);"
        )
        if c.target == ctx.plan.output.name:
            lines.append(f"p_{c.source}.feedback[{index}] += {_reader_arrival(ctx, c, number)};")
    return "{\n" + "\n".join(lines) + "\n}\n"


def _reader_arrival(ctx: Context, c: ConnectionRecord, number: int) -> str:
    d = ctx.plan.output.derived
    v = d.states.index(d.model.readout) if d.model.readout in d.states else 0
    change = "nullptr"
    if ctx.plan.loss.readout == "integral" and d.receptors[c.receptor][v] == 1:
        change = f"args.c_{c.name}_weight + int64_t(entry.source) * NP_p_{c.target}"
    return f"work.reader.arrival(args, dr, e, {number}, entry.time, {change})"


def _own_spike(ctx: Context, p: PopulationRecord) -> str:
    name, n = f"p_{p.name}", len(p.derived.states)
    direct = [c for c in ctx.plan.out_of(p.name) if c.delay == 0]
    arrivals = "".join(_arrival(ctx, c, ctx.plan.connections.index(c)) for c in direct)
    arrivals = f"if (entry.time < args.duration) {{\n{arrivals}}}\n" if direct else ""
    own = ""
    if p.name == ctx.plan.output.name:
        own = (
            f"double before[{n}], after[{n}]; scalar after_[{n}];\n"
            f"for (int i = 0; i < {n}; ++i) before[i] = double(x[i]);\n"
            f"Model_{p.name}::reset(args, entry.source, before, after);\n"
            f"for (int i = 0; i < {n}; ++i) after_[i] = scalar(after[i]);\n"
            "dl_dt += work.reader.own_spike(args, dr, entry.index, entry.source, entry.time, x, after_);\n"
        )
    return (
        "{\n" + arrivals + f"scalar x[{n}];\nfor (int i = 0; i < {n}; ++i) x[i] = {name}.spikes.record[i + 1][entry.index];\n"
        f"scalar dl_dt = {name}.feedback[entry.index];\n{own}"
        f"Model_{p.name}::jump(args, entry.source, x, dl_dt, {name}.spikes.record[0][entry.index], {name}.lambda, {name}.grad);\n}}\n"
    )  # fmt: skip


def _initial_gradient(ctx: Context, p: PopulationRecord) -> str:
    d, lines = p.derived, []
    for i, n in enumerate(p.trainable):
        terms = [
            f"p_{p.name}.lambda[{j}].data[neuron] * ({expression(d.dx0_dp[j, d.params.index(n)], CPP)})"
            for j in range(len(d.states)) if d.dx0_dp[j, d.params.index(n)] != 0
        ]  # fmt: skip
        if terms:
            code = f"p_{p.name}.grad[{i}].data[neuron] += {' + '.join(terms)};\n"
            loop = (
                f"for (int neuron = 0; neuron < NP_p_{p.name}; ++neuron) {{\n{_loads(ctx, p, code, 'scalar')}{code}}}"
            )
            lines.append(loop)
    return "\n".join(lines)


def keep_spikes_exact(ctx: Context) -> str:
    """Copies the spikes of a trial out of a thread's memory when they are asked for."""
    keep = "".join(
        f"    engine.recorded[{i}].keep(sample, work.p_{p.name}.spikes.neuron, work.p_{p.name}.spike_time, work.p_{p.name}.spikes.count);\n"
        for i, p in enumerate(ctx.spiking)
    )
    return f"void keep_spikes(Engine& engine, const Args& args, Work& work, int64_t sample) {{\n    (void)engine; (void)args; (void)work; (void)sample;\n{keep}}}\n"


__all__ = ["backward_exact", "bind", "exact_work", "forward_exact", "keep_spikes_exact", "models", "time_weight"]
