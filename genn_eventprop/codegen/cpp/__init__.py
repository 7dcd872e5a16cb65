"""A plan as one C++ file: a whole trial forwards and backwards, fused, samples over threads, neurons over SIMD lanes.

Input: a `Plan` (structure only). Output: `Source`, the text and the order in which Python hands over pointers and
numbers. The text is a pure function of the plan; dt, the duration, parameter values and the batch are run-time
arguments, sizes are compiled in (they let a population's state stay in registers).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources

from ...plan import Plan
from ..equations import equations
from ..shared import shared
from . import kinds
from .context import Context, padded, regulariser_names
from .declarations import args, record, sizes
from .exact import ExactProgram, backward_exact, bind, exact_work, forward_exact, keep_spikes_exact, models
from .grid import Grid
from .hygiene import coded
from .outer import outer, outer_loss

__all__ = ["Source", "coded", "generate", "host_source", "padded", "regulariser_names"]


@dataclass(frozen=True)
class Source:
    """Generated code and its calling convention.

    arrays: (C type, name) of every pointer; numbers: names of the doubles; integers: names of the int64s; in order.
    gradients: parameter -> (offset, rows, padded columns) in the flat gradient; gradient_size: its length.
    """

    text: str
    arrays: tuple[tuple[str, str], ...]
    numbers: tuple[str, ...]
    integers: tuple[str, ...]
    gradients: dict[str, tuple[int, int, int]]
    gradient_size: int


def read(name: str) -> str:
    """A file of fixed C++ beside this one."""
    return resources.files(__package__).joinpath(name).read_text()


def noise() -> str:
    """What networks with noise or dropout need."""
    return "namespace {\n\n" + shared("stochastic.h", "inline") + "\n" + read("stochastic.hpp")


def host_source() -> str:
    """C++ of the library that all networks share: threads, and the store of recorded spikes."""
    return read("host.hpp") + "\n" + read("host.cpp")


def generate(plan: Plan, dtype: str, split: bool = False, carry: bool = False) -> Source:
    """C++ for a plan; dtype "float32" or "float64"; split, carry: see `Context`."""
    ctx = Context(plan, dtype, split, carry)
    head = [
        equations(plan, "//"),
        f"typedef {ctx.real} scalar;\ntypedef scalar real;\n",
        read("host.hpp"),
        read("runtime.hpp"),
    ]
    common = ["namespace {\n", sizes(ctx), args(ctx), outer(ctx)]
    if ctx.exact:
        program = ExactProgram(ctx)
        passes = [program.functions(), bind(ctx), forward_exact(ctx, program), backward_exact(ctx, program)]
        compare = "" if ctx.split or plan.loss.readout == "voltage" else program.compare()
        trial = [models(ctx, program), exact_work(ctx, program), *passes]
        library = ["series", "events", "neurons", "lanes", "spiking", "costates", "weights", "readouts"]
        library += dict.fromkeys(r.form.file for r in program.readers if r.form)
        library += ["routes"] if any(kinds.spread(c) or kinds.delayed(c) for c in plan.connections) else []
        library = [read(f"exact/{name}.hpp") for name in library]
        parts = [*head, *common, program.time_weights(), "}  // namespace\n", *library, "namespace {\n", *trial]
        keep = keep_spikes_exact(ctx) + "void locate(const Args&, Work&, Trouble&) {}\n"
        others, silent = program.auxiliary(), program.readout.spikes
    else:
        grid = Grid(ctx)
        memory, *trial = grid.text()
        compare, others, silent = grid.compare(), grid.auxiliary(), grid.trial.readout.spikes
        voltage = (
            ["}  // namespace\n", read("grid/voltage.hpp"), "namespace {\n"] if plan.loss.readout == "voltage" else []
        )
        parts = [*head, *common, memory, *voltage, *trial]
        keep = record(ctx) + read("grid/locate.hpp")
    parts += [
        "}  // namespace\n",
        read("batch.hpp"),
        outer_loss(ctx, compare, others, silent),
        keep,
        "}  // namespace\n",
    ]
    if not ctx.exact and any(re.search(r"\bstd::\w+_bound\(", part) for part in parts):
        parts.insert(len(head), "#include <algorithm>\n")
    if any(re.search(r"\b(fn_\w+|pow|sqrt)\(", part) for part in parts[len(head) :]):
        parts.insert(len(head), read("functions.hpp"))
    tables = not ctx.exact and not all(kinds.by_rows(c) for c in plan.connections)
    if tables or (not ctx.exact and grid.signed):
        files = ("signs", "connectivity", "delays") if tables else ("signs",)
        parts[len(head) : len(head)] = [read(f"{file}.hpp") for file in files]
    if ctx.stochastic:
        parts.insert(len(head), noise())
    return Source(
        "\n".join(part for part in parts if part),
        tuple(ctx.arrays()),
        tuple(ctx.numbers),
        tuple(ctx.integers),
        ctx.gradients,
        ctx.gradient_size,
    )
