"""Populations whose neurons have modes, several events, or thresholds that arrivals move (delta synapses), on the grid.

The definition is `engines/clock_events.py`. Every event has a list of its own beside the population's list of spikes:
neuron, 1 / gdot, the states that the jump needs, the mode before it, whether arrivals alone put the neuron across. Ends
of timed modes have a list too. Backwards the lists undo the modes, so that each step knows the modes it ran in.
"""

from __future__ import annotations

from ...adjoint import DerivedEvent
from ...plan import ConnectionRecord, PopulationRecord
from ..event_text import EventText, end_text, event_text
from ..printer import CPP, expression
from .context import Context, indent, unique
from .regularise import jump_at_spike


def texts(ctx: Context, p: PopulationRecord) -> list[tuple[DerivedEvent, EventText]]:
    return [(e, event_text(p.derived, e, CPP, p.trainable)) for e in p.derived.events]


def tail(i: int) -> str:
    """What event i puts behind the names of its arrays."""
    return str(i) if i else ""


def timed(p: PopulationRecord) -> list[int]:
    """Modes that end by themselves."""
    return [m for m, mode in enumerate(p.derived.modes) if mode.lasts]


def end_states(p: PopulationRecord) -> list[str]:
    """States kept at the end of a timed mode."""
    return unique(s for m in timed(p) for s in end_text(p.derived, m, CPP)[1])


def upward(ctx: Context, c: ConnectionRecord) -> str:
    """How much a unit weight adds to the first threshold that it moves, as an expression; empty if it moves none."""
    d = ctx.plan.population(c.target).derived
    for event in d.events:
        up = (event.dg_dx.T * d.receptors[c.receptor])[0]
        if up != 0:
            return expression(up, CPP)
    return ""


def fields(ctx: Context, p: PopulationRecord) -> tuple[list[str], list[str]]:
    """Further members of a thread's memory and the lines that make room for them."""
    name, members, reserve = (
        f"p_{p.name}",
        [f"Buffer<int32_t> p_{p.name}_until;"],
        [f"p_{p.name}_until.zero(NP_p_{p.name});"],
    )
    lists = [(f"event{i}", 3 + len(t.states)) for i, (_, t) in enumerate(texts(ctx, p))]
    lists += [("ends", 1 + len(end_states(p)))] if timed(p) else []
    for which, records in lists:
        members.append(f"Spikes<{records}> {name}_{which};")
        reserve.append(f"{name}_{which}.start.reserve(n_steps + 2);")
    if ctx.pushed(p):
        members += [f"Buffer<scalar> {name}_push;", f"Buffer<int32_t> {name}_any_push;"]
        reserve += [f"{name}_push.zero(n_steps * NP_{name});", f"{name}_any_push.zero(n_steps);"]
    return members, reserve


# forwards


def begin(ctx: Context, p: PopulationRecord) -> str:
    """Before the first step."""
    name, lists = f"p_{p.name}", [f"event{i}" for i in range(len(p.derived.events))]
    lists += ["ends"] if timed(p) else []
    code = "".join(
        f"work.{name}_{w}.count = 0; work.{name}_{w}.start[0] = work.{name}_{w}.start[1] = 0;\n" for w in lists
    )
    code += f"int32_t* __restrict {name}_until = work.{name}_until; (void){name}_until;\n"
    modes = f"{name}_mode[neuron] = 0; " if len(p.derived.modes) > 1 else ""
    return code + f"for (int neuron = 0; neuron < NP_{name}; ++neuron) {{ {modes}{name}_until[neuron] = -1; }}\n"


def before_arrivals(ctx: Context, p: PopulationRecord) -> str:
    """Timed modes that end now; thresholds before the arrivals, where those can move them."""
    return (_ends(ctx, p) if timed(p) else "") + (_early(ctx, p) if ctx.pushed(p) else "")


def _ends(ctx: Context, p: PopulationRecord) -> str:
    name = f"p_{p.name}"
    keep = [f"ends.record[{j + 1}][i] = {name}_{s}[neuron];" for j, s in enumerate(end_states(p))]
    change = "".join(
        f"if (ended == scalar({m})) {{ {_enter(ctx, p, p.derived.modes[m].then, 'step')} }}\n" for m in timed(p)
    )
    return f"""\
{{
auto& ends = work.{name}_ends;
ends.start[step] = int32_t(ends.count);
int32_t over = 0;
for (int neuron = 0; neuron < N_{name}; ++neuron) over |= int32_t({name}_until[neuron] == step);
if (over) {{
    ends.reserve(NP_{name});
    for (int neuron = 0; neuron < N_{name}; ++neuron) if ({name}_until[neuron] == step) {{
        const int64_t i = ends.count++;
        const scalar ended = {name}_mode[neuron];
        ends.neuron[i] = neuron;
        ends.record[0][i] = ended;
{indent(chr(10).join(keep), 2)}{indent(change, 2)}
    }}
}}
ends.start[step + 1] = int32_t(ends.count);
}}
"""


def _enter(ctx: Context, p: PopulationRecord, mode: int, step: str) -> str:
    """A neuron enters a mode at a step."""
    name, lasts = f"p_{p.name}", p.derived.modes[mode].lasts
    until = "-1"
    if lasts:
        index = "neuron" if lasts in p.per_neuron else "0"
        until = f"int32_t({step}) + args.{name}_steps_{lasts}[{index}]"
    return f"{name}_mode[neuron] = scalar({mode}); {name}_until[neuron] = {until};"


def _early(ctx: Context, p: PopulationRecord) -> str:
    code = "".join(f"g_early{tail(i)} = {t.threshold};\n" for i, (_, t) in enumerate(texts(ctx, p)))
    return ctx.loop(p, code, extra=ctx.event_arrays(p))


def around_step(ctx: Context, p: PopulationRecord, code: str) -> str:
    """The loop over neurons of a step with the thresholds before and after it."""
    before = "".join(f"g_before{tail(i)} = {t.threshold};\n" for i, (_, t) in enumerate(texts(ctx, p)))
    after = "".join(f"g{tail(i)} = {t.possible};\n" for i, (_, t) in enumerate(texts(ctx, p)))
    return ctx.loop(p, before + code + after, extra=ctx.event_arrays(p))


def found(ctx: Context, p: PopulationRecord) -> str:
    """The events of a step, in the model's order."""
    name = f"p_{p.name}"
    body = "".join(_found(ctx, p, i) for i in range(len(p.derived.events)))
    several = sum(e.emits for e in p.derived.events) > 1 and not ctx.recorded(p)
    order = (
        f"std::sort({name}.neuron.data + {name}.start[step + 1], {name}.neuron.data + {name}.count);\n"
        if several
        else ""
    )
    return (
        f"{name}.start[step + 1] = int32_t({name}.count);\n{name}.reserve(NP_{name});\n{body}{order}"
        f"{name}.start[step + 2] = int32_t({name}.count);\n"
    )


def _found(ctx: Context, p: PopulationRecord, i: int) -> str:
    all_texts = texts(ctx, p)
    (event, text), name = all_texts[i], f"p_{p.name}"
    keep = [f"list.record[{j + 3}][i] = {name}_{s}[neuron];" for j, s in enumerate(text.states)]
    keep.append(f"list.record[1][i] = {f'{name}_mode[neuron]' if len(p.derived.modes) > 1 else 'scalar(0)'};")
    pushed = (
        f"{name}_g_before{tail(i)}[neuron] >= 0 && {name}_g_early{tail(i)}[neuron] < 0" if ctx.pushed(p) else "false"
    )
    change = f"{_enter(ctx, p, event.next_mode, 'step + 1')}\n" if event.next_mode is not None else ""
    dropping, unsent, emit = "", "", _emit(ctx, p) if event.emits else ""
    if event.emits and p.dropout > 0:
        dropping = f"const StepKey draw = step_key(args.dropout_key_{p.name}[sample], step + 1);\n"
        lost = f"int64_t(random_bits(draw, uint32_t(neuron))) < args.dropout_{p.name}"
        if p.dropped_reset:
            unsent, emit = f" + scalar({lost} ? 2 : 0)", f"if (!({lost})) {{\n{emit}}}\n"
        else:
            dropping += (
                "{ int64_t kept = list.count;\nfor (int64_t i = list.count; i < end; ++i) {\n"
                f"const int32_t neuron = list.neuron[i];\nif (!({lost})) list.neuron[kept++] = neuron;\n}}\nend = kept; }}\n"
            )
    again = ""
    for j, (later, later_text) in enumerate(all_texts[i + 1 :], i + 1):
        value = "scalar(-1)" if event.emits and later.emits else later_text.possible
        again += ctx.at_neuron(p, f"p_{p.name}_g{tail(j)}[neuron] = {value};")
    diverged, after = diverged_at(ctx, p, "neuron"), ""
    if event.emits and p.name == ctx.plan.output.name:  # the readout's index is that of the list of spikes
        dropping += ctx.readout.before_own_spikes().replace(f"{name}.count", "list.count")
        after = ctx.readout.at_own_spike().replace("[i]", f"[{name}.count - 1]")
    return f"""\
{{
auto& list = work.{name}_event{i};
list.start[step + 1] = int32_t(list.count);
list.reserve(NP_{name});
int64_t end = list.count + find_crossed<N_{name}>(list.neuron + list.count, {name}_g{tail(i)});
{dropping}for (int64_t i = list.count; i < end; ++i) {{
    const int neuron = list.neuron[i];
    const scalar rise = {name}_g{tail(i)}[neuron] - {name}_g_before{tail(i)}[neuron];
    const bool pushed = {pushed};
    if (!(rise <= DIVERGED)) {diverged};
    list.record[0][i] = pushed ? scalar(0) : dt / rise;
    list.record[2][i] = scalar(pushed){unsent};
    if (!pushed && (!(rise > 0) || rise < least_rise)) {{
        ++work.guarded;
        list.record[0][i] = least_rise > 0 ? dt / least_rise : scalar(0);
    }}
{indent(chr(10).join(keep))}{indent(emit)}{indent(ctx.at_neuron(p, text.reset) + after)}
{indent(change)}{indent(again)}
}}
list.count = end;
list.start[step + 2] = int32_t(list.count);
}}
"""


def diverged_at(ctx: Context, p: PopulationRecord, neuron: str) -> str:
    """Leave the forward pass: V of a neuron of `p` is beyond all limits."""
    v = p.derived.states.index(p.noisy_state)
    number = 1 + ctx.plan.populations.index(p)
    return f"{{ work.diverged_state = {v}; work.diverged_neuron = {neuron}; return {number}; }}"


def replayed(ctx: Context, p: PopulationRecord) -> tuple[str, str]:
    """(before the arrivals, after the step): ends of modes and events of `step` once more, from their lists."""
    name, change = f"p_{p.name}", ""
    for m in timed(p):
        change += f"if (ended == scalar({m})) {{ {_enter(ctx, p, p.derived.modes[m].then, 'step')} }}\n"
    ends = f"""\
{{
auto& ends = work.{name}_ends;
for (int64_t i = ends.start[step]; i < ends.start[step + 1]; ++i) {{
    const int neuron = ends.neuron[i];
    const scalar ended = ends.record[0][i];
{indent(change)}}}
}}
"""
    body = ""
    for i, (event, text) in enumerate(texts(ctx, p)):
        enter = f"{_enter(ctx, p, event.next_mode, 'step + 1')}\n" if event.next_mode is not None else ""
        body += f"""\
{{
auto& list = work.{name}_event{i};
for (int64_t i = list.start[step + 1]; i < list.start[step + 2]; ++i) {{
    const int neuron = list.neuron[i]; (void)neuron;
{indent(ctx.at_neuron(p, text.reset) + enter)}}}
}}
"""
    return (ends if timed(p) else ""), body


def _emit(ctx: Context, p: PopulationRecord) -> str:
    name = f"p_{p.name}"
    keep = "".join(
        f"{name}.record[{j + 1}][{name}.count] = {name}_{s}[neuron];\n" for j, s in enumerate(ctx.recorded_states(p))
    )
    return f"{keep}{name}.neuron[{name}.count++] = neuron;\n"


# backwards


def begin_backward(ctx: Context, p: PopulationRecord) -> str:
    code = f"std::memset(work.p_{p.name}_pending, 0, NP_p_{p.name} * sizeof(scalar));\n"
    if ctx.pushed(p):
        code += f"work.p_{p.name}_push.zero(n_steps * NP_p_{p.name});\nwork.p_{p.name}_any_push.zero(n_steps);\n"
    return code


def share_pushes(ctx: Context, p: PopulationRecord) -> str:
    """E of the events that the arrivals of `step` caused, divided by what all of them added to g."""
    if not ctx.pushed(p):
        return ""
    name, code = f"p_{p.name}", ""
    for c in ctx.plan.into(p.name):
        up = upward(ctx, c)
        if not up:
            continue
        delay = f" - int32_t(args.c_{c.name}_delay)" if c.delay > 0 else ""
        if c.source == ctx.plan.input.name:
            find = (
                "const int32_t* begin = std::lower_bound(args.steps + from, args.steps + to, at);\n"
                "const int32_t* end = std::upper_bound(begin, args.steps + to, at);\n"
                "const int32_t* index = args.channels + (begin - args.steps); const int64_t count = end - begin;\n"
            )
        else:
            s = f"p_{c.source}"
            find = (
                f"const int64_t first = at > 0 ? {s}.start[at] : 0, count = at > 0 ? {s}.start[at + 1] - first : 0;\n"
                f"const int32_t* index = {s}.neuron + first;\n"
            )
        add = ctx.loop(
            p, f"const scalar raise_by = {up};\ntotal[neuron] += raise_by > 0 ? raise_by * drive[neuron] : scalar(0);"
        )
        code += (
            f"{{\nconst int32_t at = int32_t(step){delay};\n{find}std::memset(drive, 0, NP_{name} * sizeof(scalar));\n"
            f"add_positive_rows<NP_{name}>(drive, args.c_{c.name}_weight, index, count);\n{add}}}\n"
        )
    return f"""\
if (work.{name}_any_push[step]) {{
scalar total[NP_{name}] = {{}};
{code}scalar* push = work.{name}_push + step * NP_{name};
for (int neuron = 0; neuron < NP_{name}; ++neuron) push[neuron] = total[neuron] > 0 ? push[neuron] / total[neuron] : scalar(0);
}}
"""


def feedback_of_pushes(ctx: Context, c: ConnectionRecord) -> str:
    """What an arrival at step `arrival` gets of the E of events that it helped to cause."""
    p = ctx.plan.population(c.target)
    up = upward(ctx, c) if ctx.pushed(p) else ""
    if not up:
        return ""
    name = f"p_{p.name}"
    code = f"const scalar raise_by = {up};\ndrive[neuron] = raise_by > 0 ? raise_by * push[neuron] : scalar(0);"
    return (
        f"if (work.{name}_any_push[arrival]) {{\nconst scalar* push = work.{name}_push + arrival * NP_{name};\n"
        f"{ctx.loop(p, code)}dot_positive_rows<NP_{name}>(feedback, args.c_{c.name}_weight, index, count, drive);\n}}\n"
    )


def ends_backward(ctx: Context, p: PopulationRecord) -> str:
    """D of modes that ended at `step`: to the duration and to the event that began the mode."""
    if not timed(p):
        return ""
    name, code = f"p_{p.name}", ""
    keep = "".join(f"const scalar {s} = ends.record[{j + 1}][i]; (void){s};\n" for j, s in enumerate(end_states(p)))
    for m in timed(p):
        D, lasts = end_text(p.derived, m, CPP)[0], p.derived.modes[m].lasts
        learn = f"{name}_grad_{lasts}[neuron] += end_term;\n" if lasts in p.trainable else ""
        inner = f"const scalar end_term = {D};\n{name}_pending[neuron] += end_term;\n{learn}"
        code += f"if (ended == scalar({m})) {ctx.at_neuron(p, inner, given=tuple(end_states(p)))}"
    return f"""\
if (step < n_steps) {{
auto& ends = work.{name}_ends;
for (int64_t i = ends.start[step]; i < ends.start[step + 1]; ++i) {{
    const int neuron = ends.neuron[i];
    const scalar ended = ends.record[0][i];
{indent(keep + code)}
    {name}_mode[neuron] = ended;
}}
}}
"""


def jumps(ctx: Context, p: PopulationRecord, own: str, after: str) -> str:
    """The events of `step`, last to first.

    Args:
        own: the readout's code that adds to dl_dt of an output spike. after: what it adds to lambda after the jump.
    """
    name = f"p_{p.name}"
    records = "".join(
        f"const scalar {s} = {name}.record[{j + 1}][i]; (void){s};\n" for j, s in enumerate(ctx.recorded(p))
    )
    spikes = ""
    if any(e.emits for e in p.derived.events):
        spikes = f"""\
for (int64_t i = {name}.start[step]; i < {name}.start[step + 1]; ++i) {{
    const int neuron = {name}.neuron[i];
    scalar dl_dt = work.{name}_feedback[i - {name}.start[step]];
{indent(records + own)}
    {name}_dl[neuron] = dl_dt;
}}
"""
    body = "".join(_jump(ctx, p, i, after) for i in reversed(range(len(p.derived.events))))
    return f"if (step > 0) {{\n{spikes}{body}}}\n"


def _jump(ctx: Context, p: PopulationRecord, i: int, after: str) -> str:
    (event, text), name = texts(ctx, p)[i], f"p_{p.name}"
    keep = "".join(f"const scalar {s} = list.record[{j + 3}][i]; (void){s};\n" for j, s in enumerate(text.states))
    code = "".join(f"{name}_grad_{n}[neuron] += {change};\n" for n, change in text.gradients.items())
    if ctx.pushed(p):
        code = (
            f"if (int(list.record[2][i]) & 1) {{ work.{name}_push[(step - 1) * NP_{name} + neuron] += {text.E}; "
            f"work.{name}_any_push[step - 1] = 1; }}\n{code}"
        )
    regularised = jump_at_spike(ctx, p) if event.emits else ""
    if regularised and p.dropout > 0:
        regularised = f"\nif (list.record[2][i] < 2) {{{regularised}\n}}"
    code += text.jump + regularised
    # gradients use E too, so what `jump` declares first has to stand before them
    head, _, rest = text.jump.partition("\n")
    code = head + "\n" + code.replace(text.jump, rest)
    start = f"{name}_dl[neuron]" if event.emits else "scalar(0)"
    begun = ""
    if event.next_mode is not None and p.derived.modes[event.next_mode].lasts:
        begun = f"dl_dt += {name}_pending[neuron]; {name}_pending[neuron] = 0;\n"
    undo = f"{name}_mode[neuron] = mode;\n" if len(p.derived.modes) > 1 else ""
    if event.emits and p.dropout > 0:
        undo += f"{name}_dl[neuron] = 0;\n"
    return f"""\
{{
auto& list = work.{name}_event{i};
for (int64_t i = list.start[step]; i < list.start[step + 1]; ++i) {{
    const int neuron = list.neuron[i];
    scalar dl_dt = {start};
    const scalar inv_gdot = list.record[0][i], mode = list.record[1][i]; (void)mode;
{indent(begun + keep + ctx.at_neuron(p, code, given=(*text.states, "mode")) + (after if event.emits else "") + undo)}
}}
}}
"""
