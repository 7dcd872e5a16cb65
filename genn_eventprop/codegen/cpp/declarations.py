"""Sizes and arguments of a network."""

from __future__ import annotations

from .context import Context, padded


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


def record(ctx: Context) -> str:
    """Hands the spikes of a trial to the host if they are recorded."""
    lists = [f"work.p{ctx.plan.populations.index(p)}_spikes" for p in ctx.spiking]
    keep = "".join(
        f"    if (!host.keep_steps(host, {i}, sample, {s}.neuron, {s}.start, args.n_steps, args.dt)) return false;\n"
        for i, s in enumerate(lists)
    )
    return f"bool keep_spikes(Host& host, const Args& args, Work& work, int64_t sample) {{\n    (void)host; (void)args; (void)work; (void)sample;\n{keep}    return true;\n}}\n"
