"""One segment of a trial forwards once more, of the populations whose trajectory the backward pass needs.

Spikes, events and ends of modes come from the lists of the forward pass; nothing is tested again.
"""

from __future__ import annotations

from ...plan import PopulationRecord
from . import events
from .context import Context, indent
from .forward import arrivals
from .replay import ROW, keep_states, kept_arrays, noise


def replay(ctx: Context) -> str:
    if not ctx.stored:
        return ""
    connections = [c for p in ctx.stored for c in ctx.plan.into(p.name)]
    body = [ctx.pointers(backward=False), "const scalar dt = scalar(args.dt); (void)dt;\n"]
    body += [_start(p) for p in ctx.stored]
    for c in connections:
        if c.source == ctx.plan.input.name:
            first = f"base - args.c_{c.name}_delay" if c.delay > 0 else "base"
            found = f"std::lower_bound(args.steps + from, args.steps + to, int32_t({first})) - args.steps"
            body.append(f"int64_t next_{c.name} = {found};\n")
    body.append("const int64_t stop = base + args.segment < n_steps ? base + args.segment : n_steps;")
    body.append("for (int64_t step = base; step < stop; ++step) {\n" + ROW)
    turns = {p.name: events.replayed(ctx, p) for p in ctx.stored if ctx.eventful(p)}
    body += [before for before, _ in turns.values()]
    body += [arrivals(ctx, c) for c in connections]
    body += [_step(ctx, p) + (turns[p.name][1] if p.name in turns else _resets(ctx, p)) for p in ctx.stored]
    body += ["}", *(_end(p) for p in ctx.stored)]
    head = "__attribute__((noinline)) void replay(const Args& args, Work& work, int64_t sample, int64_t base) {\n"
    return head + indent("\n".join(body)) + "}\n"


def _start(p: PopulationRecord) -> str:
    """The states at the start of the segment; the backward pass goes on with its own modes afterwards."""
    np_, name = f"NP_p_{p.name}", f"p_{p.name}"
    saved = f"scalar saved_{p.name}[{np_}];\nstd::memcpy(saved_{p.name}, {name}_mode, sizeof saved_{p.name});\n"
    until = f"int32_t* __restrict {name}_until = work.{name}_until; (void){name}_until;\n"
    return (saved + until if kept_arrays(p) else "") + "".join(
        f"std::memcpy({name}_{s}, work.{name}_kept_{s} + base / args.segment * {np_}, {np_} * sizeof(scalar));\n"
        for s in (*p.derived.states, *kept_arrays(p))
    )


def _end(p: PopulationRecord) -> str:
    return f"std::memcpy(p_{p.name}_mode, saved_{p.name}, sizeof saved_{p.name});\n" if kept_arrays(p) else ""


def _step(ctx: Context, p: PopulationRecord) -> str:
    code, before = ctx.snippets[p.name].sim_code + "\n", keep_states(p)
    if p.noise > 0:
        code += f"{p.noisy_state} += noise;\n"
        before += noise(p)
    return before + ctx.loop(p, code, extra=ctx.event_arrays(p))


def _resets(ctx: Context, p: PopulationRecord) -> str:
    if not p.spiking:
        return ""
    name, reset = f"p_{p.name}", ctx.at_neuron(p, ctx.snippets[p.name].reset_code)
    return (
        f"for (int64_t i = {name}.start[step + 1]; i < {name}.start[step + 2]; ++i) {{\n"
        f"const int neuron = {name}.neuron[i]; (void)neuron;\n{reset}}}\n"
    )
