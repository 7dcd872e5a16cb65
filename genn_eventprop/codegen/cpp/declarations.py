"""Sizes, arguments and offsets of a network, and how its spikes go to the host."""

from __future__ import annotations

from collections.abc import Sequence

from ..layout import Layout
from ..safe_text import in_comment
from ..statements import TYPES, indent
from .context import Context, padded


def sizes(ctx: Context) -> str:
    """Sizes of populations, with and without padding, and where gradients stand in a slice."""
    out, at = ctx.p(ctx.plan.output.name), _offsets(ctx)
    lines = ["constexpr int64_t WHOLE = 0, FORWARDS = 1, BACKWARDS = 2;  // what a call runs of a batch"]
    lines += [
        f"constexpr int N_p{i} = {p.size}, NP_p{i} = {padded(p.size)};  // {in_comment(p.name)}"
        for i, p in enumerate(ctx.plan.populations)
    ]
    lines.append(f"constexpr bool PIECES = {str(ctx.pieces).lower()};  // a call runs a piece of a recording one way")
    lines.append(f"constexpr int N_OUT = N_{out}, NP_OUT = NP_{out};")
    lines += [
        f"[[maybe_unused]] constexpr int64_t AT_{name} = {offset};  // {in_comment(of)}" for name, offset, of in at
    ]
    return "\n".join([*lines, f"constexpr int64_t GRADIENT_SIZE = {ctx.gradient_size};\n"])


def _offsets(ctx: Context) -> list[tuple[str, int, str]]:
    """(buffer of a gradient, its offset, the parameter)."""
    gradients = []
    for i, c in enumerate(ctx.plan.connections):
        gradients += [(f"c{i}_gradient", c.weight)] if c.trainable else []
        gradients += [(f"c{i}_delay_gradient", c.delays_name)] if c.learns_delays else []
    for i, p in enumerate(ctx.plan.populations):
        gradients += [(f"p{i}_G_{n}", f"{p.name}.{n}") for n in p.trainable]
    return [(name, ctx.gradients[of][0], of) for name, of in gradients]


def args(arguments: Layout, moved: Sequence[str] = ()) -> str:
    """The struct `Args` of what the host hands over or takes back, and `unpack`, which fills it.

    Args:
        moved: more lines of `unpack`: arrays of a piece of a recording, moved so that steps of the trial index them.
    """
    const = {"number": "const ", "host": "const "}
    types = {b.name: f"{const.get(b.role, '')}{TYPES[b.kind]}*" for b in arguments.arrays}
    fields = ["Host* host;", *(f"{t} {n};" for n, t in types.items())]
    fields += [f"double {b.name};" for b in arguments.doubles] + [f"int64_t {n};" for n in arguments.integers]
    fields += [] if "slot" in arguments.integers else ["static constexpr int64_t slot = 0;"]
    read = [f"args.{n} = static_cast<{t}>(arrays[{i}]);" for i, (n, t) in enumerate(types.items())]
    read += [f"args.{b.name} = numbers[{i}];" for i, b in enumerate(arguments.doubles)]
    read += [f"args.{n} = integers[{i}];" for i, n in enumerate(arguments.integers)]
    body = indent("\n".join(["Args args;", *read, *moved, "return args;"]))
    head = "inline Args unpack(void* const* arrays, const double* numbers, const int64_t* integers)"
    return "struct Args {\n" + indent("\n".join(fields)) + f"}};\n\n{head} {{\n{body}}}\n"


def keep_spikes(calls: list[str]) -> str:
    """Hands the spikes of a trial to the host if they are recorded; calls: one for each population."""
    body = "".join(f"if (!{call}) return false;\n" for call in calls)
    head = "bool keep_spikes([[maybe_unused]] Host& host, [[maybe_unused]] const Args& args,\n"
    head += "                 [[maybe_unused]] Work& work, [[maybe_unused]] int64_t sample)"
    return f"{head} {{\n{indent(f'{body}return true;')}}}\n"
