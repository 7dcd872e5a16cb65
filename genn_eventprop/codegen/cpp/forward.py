"""One trial forwards, spikes on the grid."""

from __future__ import annotations

from typing import Any

from ...plan import ConnectionRecord, PopulationRecord
from ..printer import CPP, expression
from . import connections, events
from .context import RANGE, Context, indent
from .kinds import by_rows, by_synapses
from .replay import ROW, keep_start, keep_states, noise


def forward(ctx: Context) -> str:
    body = [ctx.pointers(backward=False)]
    body += [_initial(ctx, p) for p in ctx.plan.populations]
    body += [f"p_{p.name}.count = 0; p_{p.name}.start[0] = p_{p.name}.start[1] = 0;" for p in ctx.spiking]
    body += [events.begin(ctx, p) for p in ctx.spiking if ctx.eventful(p)]
    body.append(ctx.readout.begin())
    body.append(connections.begin(ctx, ctx.plan.populations))
    body += [connections.sum_known(ctx, c) for c in ctx.from_input if connections.known(ctx, c)]
    body += [f"int64_t next_{c.name} = from;" for c in ctx.from_input if not connections.known(ctx, c)]
    body.append("const scalar dt = scalar(args.dt), least_rise = scalar(args.slope_floor * args.dt);")
    body.append("(void)dt; (void)least_rise;")
    body.append("for (int64_t step = 0; step < n_steps; ++step) {")
    body += [ROW if ctx.stored else "", *(keep_start(p) for p in ctx.stored)]
    body += [events.before_arrivals(ctx, p) for p in ctx.spiking if ctx.eventful(p)]
    body.append(ctx.readout.before_arrivals())
    body += [arrivals(ctx, c) for c in ctx.plan.connections]
    body += [ring_arrivals(ctx, p) for p in ctx.plan.populations]
    body.append(ctx.readout.after_arrivals())
    body += [_advance(ctx, p) for p in ctx.plan.populations]
    body += ["}", *(_diverged(ctx, p) for p in ctx.plan.populations)]
    body += [ctx.readout.at_end(), *(_count(ctx, p) for p in ctx.spiking), "return 0;"]
    return (
        "__attribute__((noinline)) int forward(const Args& args, Work& work, int64_t sample) {\n"
        + indent("\n".join(body))
        + "}\n"
    )


def _initial(ctx: Context, p: PopulationRecord) -> str:
    d = p.derived
    code = "\n".join(f"{s} = {expression(e, CPP)};" for s, e in zip(d.states, d.x0))
    return ctx.loop(p, code)


def arrivals(ctx: Context, c: ConnectionRecord) -> str:
    """What arrives at `step` through a connection, but for what a ring is to hand over."""
    if by_rows(c):
        return "{\n" + spiked(ctx, c) + _add_rows(ctx, c) + "}\n"
    if connections.known(ctx, c):
        row = f"const scalar* __restrict row = work.c_{c.name}_rows + step * NP_p_{c.target};\n"
        return "{\n" + row + add_to_states(ctx, ctx.plan.population(c.target), c.receptor, "row") + "}\n"
    if by_synapses(c):
        return "{\n" + spiked(ctx, c) + connections.send(ctx, c) + "}\n"
    add = add_to_states(ctx, ctx.plan.population(c.target), c.receptor, "drive")
    take = connections.take(ctx, c) + f"if (arriving) {{\n{add}}}\n"
    return "{\n" + spiked(ctx, c) + connections.send(ctx, c) + take + "}\n"


def spiked(ctx: Context, c: ConnectionRecord) -> str:
    """`index` and `count` of the sources whose spikes arrive at `step`, or, with delays that are values, spiked then."""
    delay = f" + args.c_{c.name}_delay" if c.delay > 0 else ""
    if c.source == ctx.plan.input.name:
        lines = [
            f"const int64_t first = next_{c.name};",
            f"while (next_{c.name} < to && args.steps[next_{c.name}]{delay} == step) ++next_{c.name};",
            f"const int32_t* index = args.channels + first; const int64_t count = next_{c.name} - first;",
        ]
    else:
        at = f"step - args.c_{c.name}_delay" if c.delay > 0 else "step"
        lines = [
            f"const int64_t at = {at};",
            f"const int64_t first = at > 0 ? p_{c.source}.start[at] : 0;",
            f"const int64_t count = at > 0 ? p_{c.source}.start[at + 1] - first : 0;",
            f"const int32_t* index = p_{c.source}.neuron + first;",
        ]
    return "\n".join(lines) + "\n"


def _touched(p: PopulationRecord, receptor: str) -> list[tuple[str, Any]]:
    """(state, how much) that an arrival of unit weight adds to."""
    return [(s, v) for s, v in zip(p.derived.states, p.derived.receptors[receptor]) if v != 0]


def _add_rows(ctx: Context, c: ConnectionRecord) -> str:
    p = ctx.plan.population(c.target)
    touched = _touched(p, c.receptor)
    if len(touched) == 1 and touched[0][1] == 1:
        return f"add_rows<NP_p_{p.name}>(p_{p.name}_{touched[0][0]}, args.c_{c.name}_weight, index, count);\n"
    loop = add_to_states(ctx, p, c.receptor, "drive")
    return (
        f"if (count) {{\nadd_rows<NP_p_{p.name}, true>(drive, args.c_{c.name}_weight, index, count);\n{loop}}}\n"
    )  # fmt: skip


def add_to_states(ctx: Context, p: PopulationRecord, receptor: str, sums: str) -> str:
    """What the sums of the weights that arrive at a receptor, one a neuron, add to the states."""
    code = "\n".join(
        f"{s} += {'arrived' if v == 1 else f'e_{receptor}_{s} * arrived'};" for s, v in _touched(p, receptor)
    )
    return ctx.loop(p, f"const scalar arrived = {sums}[neuron];\n" + code)


def ring_arrivals(ctx: Context, p: PopulationRecord) -> str:
    """What arrives at `step` through the rings of a population."""
    return "".join(
        f"{{\nauto& ring = work.p_{p.name}_ring_{r};\nconst scalar* __restrict now = ring.now();\n"
        f"{add_to_states(ctx, p, r, 'now')}ring.next();\n}}\n"
        for r in connections.ringed(ctx, p)
    )


def _advance(ctx: Context, p: PopulationRecord) -> str:
    snippet = ctx.snippets[p.name]
    is_output = p.name == ctx.plan.output.name
    before = ctx.readout.in_step() if is_output else ""
    constants = ctx.readout.step_constants("step") if is_output else ""
    after = ctx.readout.after_step() if is_output else ""
    trace = keep_states(p) if p.stores_states else ""
    code = before + snippet.sim_code + "\n"
    if p.noise > 0:
        code += f"{p.noisy_state} += noise;\n"
        trace += noise(p)
    if not p.spiking:
        return trace + "{\n" + constants + ctx.loop(p, code, extra=ctx.event_arrays(p)) + after + "}\n"
    if ctx.eventful(p):
        loop = events.around_step(ctx, p, code)
        return trace + "{\n" + constants + loop + after + "}\n{\n" + events.found(ctx, p) + "}\n"
    code = f"g_before = {snippet.threshold};\n{code}g = {snippet.threshold};\n"
    loop = ctx.loop(p, code, extra=ctx.event_arrays(p))
    return trace + "{\n" + constants + loop + after + "}\n{\n" + _spikes(ctx, p) + "}\n"


def _diverged(ctx: Context, p: PopulationRecord) -> str:
    """A state that is infinite or NaN at the end of the trial: it stays so once it is."""
    number = 1 + ctx.plan.populations.index(p)
    return "".join(
        f"if (const int n = first_diverged<N_p_{p.name}>(p_{p.name}_{s}); n >= 0) {{ work.diverged_state = {i}; "
        f"work.diverged_neuron = n; return {number}; }}\n"
        for i, s in enumerate(p.derived.states)
    )


LOCATE = """\
// Halves the number of steps until the last one is the first that does harm.
void locate(const Args& args, Work& work, Trouble& trouble) {
    const NoDenormals fast;
    work.prepare(args);
    int64_t sound = 0, bad = args.n_steps;
    Args shorter = args;
    while (bad - sound > 1) {
        shorter.n_steps = (sound + bad) / 2;
        (forward(shorter, work, trouble.sample) ? bad : sound) = shorter.n_steps;
    }
    shorter.n_steps = trouble.step = bad;
    trouble.population = forward(shorter, work, trouble.sample);
    trouble.state = work.diverged_state;
    trouble.neuron = work.diverged_neuron;
}
"""


def _count(ctx: Context, p: PopulationRecord) -> str:
    return (
        f"{{\nint32_t* counts = args.p_{p.name}_counts + sample * N_p_{p.name};\n"
        f"std::memset(counts, 0, N_p_{p.name} * sizeof(int32_t));\n"
        f"for (int64_t i = 0; i < p_{p.name}.count; ++i) ++counts[p_{p.name}.neuron[i]];\n}}\n"
    )


def negative_arrivals(ctx: Context) -> str:
    """Sum of the negative weights that arrive at one output neuron at one step, for the kink rule."""
    if "max" not in ctx.plan.loss.readouts:
        return ""
    lines = [*RANGE]
    for c in ctx.plan.into(ctx.plan.output.name):
        at = f"arrival - args.c_{c.name}_delay" if c.delay > 0 else "arrival"
        weight = f"args.c_{c.name}_weight[int64_t(source) * NP_OUT + neuron]"
        if c.source == ctx.plan.input.name:
            each = "for (int64_t i = from; i < to; ++i) if (args.steps[i] == at) { const int32_t source = args.channels[i];"
        else:
            s = f"work.p_{c.source}_spikes"
            each = f"if (at > 0) for (int64_t i = {s}.start[at]; i < {s}.start[at + 1]; ++i) {{ const int32_t source = {s}.neuron[i];"
        lines.append(f"{{ const int64_t at = {at}; {each} total += {weight} < 0 ? {weight} : scalar(0); }} }}")
    return (
        "scalar negative_arrivals(const Args& args, Work& work, int64_t arrival, int neuron, int64_t sample) {\n"
        "    (void)work;\n    scalar total = 0;\n" + indent("\n".join(lines)) + "    return total;\n}\n"
    )  # fmt: skip


def _spikes(ctx: Context, p: PopulationRecord) -> str:
    snippet = ctx.snippets[p.name]
    name, np_ = f"p_{p.name}", f"NP_p_{p.name}"
    records = [f"{name}.record[{i + 1}][i] = {name}_{s}[neuron];" for i, s in enumerate(ctx.recorded_states(p))]
    reset = ctx.at_neuron(p, snippet.reset_code)
    is_output = p.name == ctx.plan.output.name
    before = ctx.readout.before_own_spikes() if is_output else ""
    after = ctx.readout.at_own_spike() if is_output else ""
    return f"""\
{name}.start[step + 1] = int32_t({name}.count);
{name}.reserve({np_});
const int64_t end = {name}.count + find_crossed<N_{name}>({name}.neuron + {name}.count, {name}_g);
{before}for (int64_t i = {name}.count; i < end; ++i) {{
    const int neuron = {name}.neuron[i];
    const scalar rise = {name}_g[neuron] - {name}_g_before[neuron];
    if (!(rise <= DIVERGED)) {events.diverged_at(ctx, p, "neuron")};
    {name}.record[0][i] = dt / rise;
    if (!(rise > 0) || rise < least_rise) {{
        ++work.guarded;
        {name}.record[0][i] = least_rise > 0 ? dt / least_rise : scalar(0);
    }}
{indent(chr(10).join(records))}
{indent(reset + after)}
}}
{name}.count = end;
{name}.start[step + 2] = int32_t({name}.count);
"""
