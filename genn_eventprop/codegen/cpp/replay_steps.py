"""One segment of a trial forwards once more, of the populations whose trajectory the backward pass needs.

Spikes, events and ends of modes come from the lists of the forward pass; nothing is tested again.
"""

from __future__ import annotations

from ...plan import ConnectionRecord, PopulationRecord
from . import connections, events
from .context import Context, indent
from .forward import arrivals, ring_arrivals, spiked
from .kinds import dendritic
from .replay import ROW, keep_states, kept_arrays, noise


def replay(ctx: Context) -> str:
    if not ctx.stored:
        return ""
    connections_into = [c for p in ctx.stored for c in ctx.plan.into(p.name)]
    body = [ctx.pointers(backward=False), "const scalar dt = scalar(args.dt); (void)dt;\n"]
    body += [_start(p) for p in ctx.stored]
    for c in connections_into:
        if c.source == ctx.plan.input.name and not connections.known(ctx, c):
            first = f"base - args.c_{c.name}_delay" if c.delay > 0 else "base"
            first = "base - args.ahead" if _comes_late(ctx, c) else first
            found = f"std::lower_bound(args.steps + from, args.steps + to, int32_t({first})) - args.steps"
            body.append(f"int64_t next_{c.name} = {found};\n")
    body.append(_on_the_way(ctx, connections_into))
    body.append("const int64_t stop = base + args.segment < n_steps ? base + args.segment : n_steps;")
    body.append("for (int64_t step = base; step < stop; ++step) {\n" + ROW)
    turns = {p.name: events.replayed(ctx, p) for p in ctx.stored if ctx.eventful(p)}
    body += [before for before, _ in turns.values()]
    body += [arrivals(ctx, c) for c in connections_into]
    body += [ring_arrivals(ctx, p) for p in ctx.stored]
    body += [_step(ctx, p) + (turns[p.name][1] if p.name in turns else _resets(ctx, p)) for p in ctx.stored]
    body += ["}", *(_end(p) for p in ctx.stored)]
    head = "__attribute__((noinline)) void replay(const Args& args, Work& work, int64_t sample, int64_t base) {\n"
    return head + indent("\n".join(body)) + "}\n"


def _comes_late(ctx: Context, c: ConnectionRecord) -> bool:
    """Whether what it sends before a segment is needed again; of others all sums are kept."""
    return c.delays is not None and not dendritic(c) and not connections.known(ctx, c)


def _on_the_way(ctx: Context, into: list[ConnectionRecord]) -> str:
    """What was sent before the segment and arrives in it, through delays that are values."""
    begin, sent = connections.begin(ctx, ctx.stored), ""
    for c in into:
        if _comes_late(ctx, c):
            sent += "{\n" + spiked(ctx, c) + connections.send(ctx, c) + "}\n"
    if not sent:
        return begin
    rings = "".join(f"work.p_{p.name}_ring_{r}.next();\n" for p in ctx.stored for r in connections.ringed(ctx, p))
    first = "base > args.ahead ? base - args.ahead : 0"
    return f"{begin}for (int64_t step = {first}; step < base; ++step) {{\n{sent}{rings}}}\n"


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
