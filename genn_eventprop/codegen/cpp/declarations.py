"""Sizes, arguments and per-thread memory of a network."""

from __future__ import annotations

from . import connections, events
from .context import Context, padded
from .replay import SEGMENTS, kept_arrays


def sizes(ctx: Context) -> str:
    populations = [
        f"constexpr int N_p_{p.name} = {p.size}, NP_p_{p.name} = {padded(p.size)};" for p in ctx.plan.populations
    ]
    halves = "constexpr int64_t WHOLE = 0, FORWARDS = 1, BACKWARDS = 2;  // what a call runs of a batch"
    return (
        "\n".join(
            [halves, *populations, f"[[maybe_unused]] constexpr int N_INPUT = {ctx.plan.input.size};", *_aliases(ctx)]
        )
        + "\n"
    )


def _aliases(ctx: Context) -> list[str]:
    out = ctx.plan.output.name
    return [
        f"constexpr int N_OUT = N_p_{out}, NP_OUT = NP_p_{out};",
        f"constexpr int64_t GRADIENT_SIZE = {ctx.gradient_size};",
    ]


def args(ctx: Context) -> str:
    arrays, numbers, integers = ctx.arrays(), ctx.numbers, ctx.integers
    fields = [f"    {t} {n};" for t, n in arrays]
    fields += [f"    double {n};" for n in numbers] + [f"    int64_t {n};" for n in integers]
    read = [f"    args.{n} = static_cast<{t}>(arrays[{i}]);" for i, (t, n) in enumerate(arrays)]
    read += [f"    args.{n} = numbers[{i}];" for i, n in enumerate(numbers)]
    read += [f"    args.{n} = integers[{i}];" for i, n in enumerate(integers)]
    return (
        "struct Args {\n" + "\n".join(fields) + "\n};\n\n"
        "inline Args unpack(void* const* arrays, const double* numbers, const int64_t* integers) {\n    Args args;\n"
        + "\n".join(read) + "\n    return args;\n}\n"
    )  # fmt: skip


def work(ctx: Context) -> str:
    """Per-thread memory of one trial."""
    fields, sizes, backward = [], [], list[str]()
    rows = "(n_steps + args.ahead)" if "ahead" in ctx.integers else "n_steps"
    for p in ctx.plan.populations:
        names = [
            *p.derived.states,
            *(f"lambda_{s}" for s in p.derived.states),
            *ctx.event_arrays(p),
        ]
        names += [f"grad_{n}" for n in p.trainable] + [f"Q_{r}" for r in ctx.fed(p)]
        names += ["jump"] if ctx.plan.spike_regularisers(p.name) else []
        for n in names:
            fields.append(f"p_{p.name}_{n}")
            sizes.append((f"p_{p.name}_{n}", f"NP_p_{p.name}"))
        histories = [f"history_{r}" for r in ctx.learned_receptors(p)] + [
            f"Q_history_{r}" for r in ctx.delayed_receptors(p)
        ]
        histories += [f"worth_{r}" for r in connections.with_worth(ctx, p)]
        if p.stores_states:
            kept = [(f"trace_{s}", "segment") for s in p.derived.states]
            kept += [(f"kept_{s}", "kept") for s in (*p.derived.states, *kept_arrays(p))]
            fields += [f"p_{p.name}_{n}" for n, _ in kept]
            sizes += [(f"p_{p.name}_{n}", f"{count} * NP_p_{p.name}") for n, count in kept]
        for n in histories:
            fields.append(f"p_{p.name}_{n}")
            sizes.append((f"p_{p.name}_{n}", f"{rows} * NP_p_{p.name}"))
            backward.append(f"p_{p.name}_{n}")
    widest = max(padded(p.size) for p in ctx.plan.populations)
    read = ctx.readout
    buffers = [*fields, *read.buffers, *read.arrays, *read.slopes, "last", "drive"]
    sizes += [(b, "NP_OUT") for b in (*read.buffers, *read.slopes, "last")] + [("drive", str(widest))]
    sizes += list(ctx.readout.arrays.items())
    spikes = [f"    Spikes<{1 + len(ctx.recorded(p))}> p_{p.name}_spikes;" for p in ctx.spiking]
    reserve = [f"        {n}.zero({s});" for n, s in sizes]
    reserve += [f"        p_{p.name}_spikes.start.reserve(n_steps + 2);" for p in ctx.spiking]
    feedback = [f"    Buffer<scalar> p_{p.name}_feedback;" for p in ctx.spiking]
    for p in ctx.spiking:
        if ctx.eventful(p):
            members, room = events.fields(ctx, p)
            feedback += [f"    {m}" for m in members]
            reserve += [f"        {r}" for r in room]
    more, room = connections.members(ctx)
    feedback += [f"    {m}" for m in more]
    reserve += [f"        {r}" for r in room]
    return (
        "struct Work {\n    Buffer<scalar> " + ", ".join(buffers) + ";\n" + "\n".join(feedback + spikes) + "\n"
        "    Buffer<int32_t> maximum_step, first_step;\n    BySource by_source;\n    int64_t guarded = 0, diverged_state = -1, diverged_neuron = -1;\n    double running = 0;\n"
        "    int64_t ready = -1;\n"
        "    void prepare(const Args& args) {\n        const int64_t n_steps = args.n_steps;\n        if (ready == n_steps) return;\n"
        + (SEGMENTS if ctx.stored else "") + "\n".join(reserve) + "\n"
        "        maximum_step.zero(NP_OUT);\n        first_step.zero(NP_OUT);\n        ready = n_steps;\n    }\n"
        + trade(backward) + "};\n"
    )  # fmt: skip


def trade(names: list[str]) -> str:
    """A method that gives another Work what only a backward pass needs, and takes the other's."""
    swaps = "".join(f"        {n}.trade(other.{n});\n" for n in names)
    return f"    void trade(Work& other) {{\n        (void)other;\n{swaps}    }}\n"


def record(ctx: Context) -> str:
    """Copies the spikes of a trial out of a thread's memory when they are asked for."""
    keep = "".join(
        f"    if (!host.keep_steps(host, {i}, sample, work.p_{p.name}_spikes.neuron, work.p_{p.name}_spikes.start, args.n_steps, args.dt)) return false;\n"
        for i, p in enumerate(ctx.spiking)
    )
    return f"bool keep_spikes(Host& host, const Args& args, Work& work, int64_t sample) {{\n    (void)host; (void)args; (void)work; (void)sample;\n{keep}    return true;\n}}\n"
