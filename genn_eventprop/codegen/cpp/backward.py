"""One trial backwards, spikes on the grid: the adjoint of `forward.py`, step by step."""

from __future__ import annotations

import re

from ...modelling.expressions import symbol
from ...plan import ConnectionRecord, PopulationRecord
from ..printer import CPP, expression
from . import connections, events
from .context import Context, indent
from .kinds import by_rows, learned
from .regularise import jump_at_spike, jump_from_counts


def backward(ctx: Context) -> str:
    body = [ctx.pointers(backward=True)]
    for p in ctx.plan.populations:
        names = [f"lambda_{s}" for s in p.derived.states] + [f"grad_{n}" for n in p.trainable]
        body += [f"std::memset(p_{p.name}_{n}, 0, NP_p_{p.name} * sizeof(scalar));" for n in names]
    body += [jump_from_counts(ctx, p) for p in ctx.spiking]
    body.append(_last(ctx))
    body += [events.begin_backward(ctx, p) for p in ctx.spiking if ctx.eventful(p)]
    if ctx.stored:
        body.append(
            "int64_t base = (n_steps - 1) / args.segment * args.segment;  // of the segment in the trajectory\n"
        )
    if ctx.split:
        body += [f"int64_t late_{c.name} = to;  // input spikes before this arrive by now" for c in ctx.from_input]
    body.append("for (int64_t step = n_steps; step >= 0; --step) {")
    body.append("if (step < n_steps) {")
    body += [_keep(ctx, p) for p in ctx.plan.populations]
    body += [events.share_pushes(ctx, p) for p in ctx.spiking if ctx.eventful(p)]
    body.append("}")
    body += [_feedback(ctx, p) for p in ctx.spiking]
    if ctx.split:
        body.append("if (step < n_steps && args.input_gradients) {")
        body += [_input_feedback(ctx, c) for c in ctx.from_input]
        body.append("}")
    body.append(ctx.readout.sample())
    body += [events.ends_backward(ctx, p) for p in ctx.spiking if ctx.eventful(p)]
    body += [_jump(ctx, p) for p in ctx.spiking]
    body.append("if (step == 0) break;")
    if ctx.stored:
        body.append("if (step - 1 < base) { base -= args.segment; replay(args, work, sample, base); }")
    body += [_retreat(ctx, p) for p in ctx.plan.populations]
    body.append("}")
    body += [_initial_gradient(ctx, p) for p in ctx.plan.populations]
    body += [connections.fill_series(ctx, p) for p in ctx.plan.populations]
    body += [_gather(ctx, c) for c in ctx.plan.connections if learned(c)]
    body += [_hand_over(ctx, p, n) for p in ctx.plan.populations for n in p.trainable]
    head = "__attribute__((noinline)) void backward(const Args& args, Work& work, int64_t sample, scalar* slice, bool first) {\n"
    return head + indent("\n".join(body)) + "}\n"


def _last(ctx: Context) -> str:
    """lambda at T: what the outer loss has put there."""
    if not ctx.has_last:
        return ""
    lam = f"p_{ctx.plan.output.name}_lambda_{ctx.readout.v}"
    return f"for (int neuron = 0; neuron < N_OUT; ++neuron) {lam}[neuron] += work.last[neuron];\n"


def _keep(ctx: Context, p: PopulationRecord) -> str:
    """What step `step` of the adjoint leaves for others: weight-gradient rows and feedback vectors."""
    snippet, out = ctx.snippets[p.name], []
    for r in ctx.learned_receptors(p):
        code = f"row[neuron] = {snippet.direction[r]};"
        out.append(
            f"{{ scalar* __restrict row = work.p_{p.name}_history_{r} + step * NP_p_{p.name};\n{ctx.loop(p, code)}}}"
        )
    for r in ctx.fed(p):
        reads, code = _from_trace(p, snippet.feedback[r], "step")
        code = ctx.loop(p, f"p_{p.name}_Q_{r}[neuron] = {code};")
        out.append("{\n" + reads + code + "}" if "trace_" in code else code)
    for r in ctx.delayed_receptors(p):
        out.append(
            f"std::memcpy(work.p_{p.name}_Q_history_{r} + step * NP_p_{p.name}, p_{p.name}_Q_{r}, NP_p_{p.name} * sizeof(scalar));"
        )
    out.append(connections.keep_worth(ctx, p))
    return "\n".join(out)


def _feedback(ctx: Context, p: PopulationRecord) -> str:
    name = f"p_{p.name}"
    out = [
        "{", f"const int64_t start = step > 0 ? {name}.start[step] : 0;",
        f"const int64_t count = step > 0 ? {name}.start[step + 1] - start : 0;",
        "if (count) {", f"const int32_t* index = {name}.neuron + start; (void)index;",
        f"work.p_{p.name}_feedback.zero(count);",
        f"scalar* __restrict feedback = work.p_{p.name}_feedback; (void)feedback;",
    ]  # fmt: skip
    for c in ctx.plan.out_of(p.name):
        if c.delays is not None:
            out.append(f"if (step < n_steps) {{\n{connections.dots(ctx, c)}}}")
            continue
        target = f"NP_p_{c.target}"
        delay = f" + args.c_{c.name}_delay" if c.delay > 0 else ""
        q = (
            f"work.p_{c.target}_Q_history_{c.receptor} + arrival * {target}"
            if c.delay > 0
            else f"p_{c.target}_Q_{c.receptor}"
        )
        out.append(f"{{ const int64_t arrival = step{delay};\nif (arrival < n_steps) {{")
        out.append(connections.dot(c, q))
        out.append(events.feedback_of_pushes(ctx, c))
        if c.target == ctx.plan.output.name:
            out.append(ctx.readout.feedback(c.name, p.name, target))
        out.append("} }")
    return "\n".join([*out, "}", "}"]) + "\n"


def _input_feedback(ctx: Context, c: ConnectionRecord) -> str:
    """D of the input spikes that arrive through `c` at this step: gradients of their times."""
    target, late = f"NP_p_{c.target}", f"late_{c.name}"
    delay = f" + args.c_{c.name}_delay" if c.delay > 0 else ""
    if c.delays is not None:
        dots = connections.dots(ctx, c)
    else:
        dots = connections.dot(c, f"p_{c.target}_Q_{c.receptor}") + events.feedback_of_pushes(ctx, c)
        dots += ctx.readout.feedback(c.name, "input", target) if c.target == ctx.plan.output.name else ""
    return f"""\
while ({late} > from && args.steps[{late} - 1]{delay} > step) --{late};
{{
int64_t first = {late};
while (first > from && args.steps[first - 1]{delay} == step) --first;
const int64_t count = {late} - first, arrival = step; (void)arrival;
if (count) {{
const int32_t* index = args.channels + first;
scalar* __restrict feedback = args.input_slope + args.input_start[sample] + first - from;
{dots}}}
{late} = first;
}}
"""


def _own_spike(ctx: Context, p: PopulationRecord) -> str:
    """The readout's own term at an output spike; an integral needs its state before and after the reset."""
    code, v = ctx.readout.own_spike(), ctx.readout.v
    if f"{v}_before" not in code:
        return code
    event = p.derived.events[0]
    after = expression(event.h[p.derived.states.index(v)], CPP)
    names = {n: f"args.p_{p.name}_{n}[{'neuron' if n in p.per_neuron else '0'}]" for n in p.derived.params}
    after = re.sub(r"[A-Za-z_]\w*", lambda m: names.get(m.group(), m.group()), after)
    return f"const scalar {v}_before = {v}, {v}_after = {after};\n{code}"


def _retreat(ctx: Context, p: PopulationRecord) -> str:
    """lambda from the end of step `step - 1` to its start, with parameter integrals and the readout's source."""
    snippet, is_output = ctx.snippets[p.name], p.name == ctx.plan.output.name
    rates = ""
    for n in p.trainable:
        if n in snippet.parameter_rates:
            extra = ctx.readout.parameter_rate(n) if is_output else ""
            rates += f"p_{p.name}_grad_{n}[neuron] += {snippet.parameter_rates[n]}{extra};\n"
    source = ctx.readout.source() if is_output else ""
    constants, reads = ctx.readout.step_constants("(step - 1)") if is_output else "", ""
    if snippet.stages:
        rates = snippet.stages + "\n" + rates
    if rates:
        reads, rates = _from_trace(p, rates, "(step - 1)")
    return "{\n" + constants + reads + ctx.loop(p, rates + snippet.adjoint_sim_code + "\n" + source) + "}\n"


def _from_trace(p: PopulationRecord, code: str, step: str) -> tuple[str, str]:
    """(pointers, code): the states in the code are those at the start of a step, from the kept trajectory."""
    name = lambda m: f"trace_{m.group()}[neuron]" if m.group() in p.derived.states else m.group()  # noqa: E731
    code = re.sub(r"[A-Za-z_]\w*", name, code)
    reads = "".join(
        f"const scalar* __restrict trace_{s} = work.p_{p.name}_trace_{s} + ({step} - base) * NP_p_{p.name};\n"
        for s in p.derived.states
        if f"trace_{s}[" in code
    )
    return reads, code


def _initial_gradient(ctx: Context, p: PopulationRecord) -> str:
    d, lines = p.derived, []
    lam = [symbol(f"lambda_{s}") for s in d.states]
    for n in p.trainable:
        change = sum(v * d.dx0_dp[i, d.params.index(n)] for i, v in enumerate(lam))
        if change != 0:
            lines.append(f"p_{p.name}_grad_{n}[neuron] += {expression(change, CPP)};\n")
    return ctx.loop(p, "".join(lines)) if lines else ""


def _gather(ctx: Context, c: ConnectionRecord) -> str:
    """Weight gradients: history rows summed once per presynaptic neuron instead of a row update per spike."""
    if by_rows(c):
        place = f"slice + {ctx.gradients[c.weight][0]}"
        history = f"work.p_{c.target}_history_{c.receptor}"
        tail = f"gather_gradient<NP_p_{c.target}>({place}, {history}, by, {c.pre}, first);\n}}\n"
    else:
        tail = connections.gather(ctx, c) + "}\n"
    return "{\n" + connections.spikes_by_source(ctx, c) + tail


def _hand_over(ctx: Context, p: PopulationRecord, param: str) -> str:
    offset = ctx.gradients[f"{p.name}.{param}"][0]
    return (
        f"for (int neuron = 0; neuron < NP_p_{p.name}; ++neuron)\n"
        f"    slice[{offset} + neuron] = (first ? scalar(0) : slice[{offset} + neuron]) + p_{p.name}_grad_{param}[neuron];\n"
    )


def _jump(ctx: Context, p: PopulationRecord) -> str:
    snippet, name = ctx.snippets[p.name], f"p_{p.name}"
    own, after, given = "", "", ctx.recorded(p)
    if p.name == ctx.plan.output.name:
        own, after = _own_spike(ctx, p), ctx.readout.after_own_spike()
    if ctx.eventful(p):
        return events.jumps(ctx, p, own, after)
    records = [f"const scalar {s} = {name}.record[{i + 1}][i]; (void){s};" for i, s in enumerate(given)]
    gradients = "".join(f"{name}_grad_{n}[neuron] += {code};\n" for n, code in snippet.jump_gradients.items())
    regularised = jump_at_spike(ctx, p)
    text = gradients + snippet.adjoint_jump_code + regularised
    code = ctx.at_neuron(p, text, given=given, shared=False)
    return f"""\
if (step > 0 && {name}.start[step] < {name}.start[step + 1]) {{
{ctx.shared_values(p, text)}for (int64_t i = {name}.start[step]; i < {name}.start[step + 1]; ++i) {{
    const int neuron = {name}.neuron[i];
    scalar dl_dt = work.{name}_feedback[i - {name}.start[step]];
    const scalar inv_gdot = {name}.record[0][i];
{indent(chr(10).join(records))}
{indent(own)}
{indent(code + after)}
}}
}}
"""
