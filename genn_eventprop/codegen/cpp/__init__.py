"""A plan as one C++ file: a fused trial, forwards and backwards; samples over threads, neurons over SIMD lanes.

Input: a `Plan` (structure only). Output: `Source`, the text and the order in which Python hands over pointers and
numbers. The text is a pure function of the plan; dt, the duration, parameter values and the batch are run-time
arguments. Sizes are compiled in, so that the state of a population can stay in registers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...plan import Plan
from ..equations import equations
from ..shared import shared
from .context import Context, padded, read, regulariser_names
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


def noise() -> str:
    """The text that networks with noise or dropout need."""
    return "namespace {\n\n" + shared("stochastic.h", "inline") + "\n" + read("stochastic.hpp")


def host_source() -> str:
    """C++ of the library that all networks share: threads, and the store of recorded spikes."""
    return read("host.hpp") + "\n" + read("host.cpp")


@dataclass(frozen=True)
class _Trial:
    """Text of one kind of trial, and of what surrounds it.

    body: types, memory and the passes, between `outer` and `batch.hpp`. compare, others: the main loss and auxiliary ones.
    silent: whether outputs without a spike have no readout. keep: hands spikes over to the host. includes: files that
    only some trials need.
    """

    body: list[str]
    compare: str
    others: str
    silent: bool
    keep: str
    includes: list[str]


def generate(plan: Plan, dtype: str, split: bool = False, carry: bool = False) -> Source:
    """C++ for a plan; dtype "float32" or "float64"; split, carry: see `Context`."""
    ctx = Context(plan, dtype, split, carry)
    common = ["namespace {\n", sizes(ctx), args(ctx), outer(ctx)]
    trial = _exact(ctx) if ctx.exact else _on_grid(ctx)
    head = [equations(plan, "//"), f"typedef {ctx.real} scalar;\ntypedef scalar real;\n"]
    head += [read("host.hpp"), read("runtime.hpp"), noise() if ctx.stochastic else ""]
    after = outer_loss(ctx, trial.compare, trial.others, trial.silent)
    rest = [*common, *trial.body, "}  // namespace\n", read("batch.hpp"), after, trial.keep, "}  // namespace\n"]
    functions = any(re.search(r"\b(fn_\w+|pow|sqrt)\(", part) for part in rest)
    parts = [*head, *trial.includes, read("functions.hpp") if functions else "", *rest]
    text = "\n".join(part for part in parts if part)
    return Source(
        text, tuple(ctx.arrays()), tuple(ctx.numbers), tuple(ctx.integers), ctx.gradients, ctx.gradient_size
    )  # fmt: skip


def _exact(ctx: Context) -> _Trial:
    """With exact spike times."""
    plan, program = ctx.plan, ExactProgram(ctx)
    passes = [program.functions(), bind(ctx), forward_exact(ctx, program), backward_exact(ctx, program)]
    files = ["series", "events", "neurons", "lanes", "spiking", "costates", "weights", "readouts"]
    files += dict.fromkeys(r.form.file for r in program.readers if r.form)
    files += ["routes"] if any(c.spread or c.delays for c in plan.connections) else []
    library = ["}  // namespace\n", *(read(f"exact/{name}.hpp") for name in files), "namespace {\n"]
    return _Trial(
        body=[program.time_weights(), *library, models(ctx, program), exact_work(ctx, program), *passes],
        compare="" if ctx.split or plan.loss.readout == "voltage" else program.compare(),
        others=program.auxiliary(), silent=program.readout.spikes,
        keep=keep_spikes_exact(ctx) + "void locate(const Args&, Work&, Trouble&) {}\n", includes=[],
    )  # fmt: skip


def _on_grid(ctx: Context) -> _Trial:
    """With spikes on the grid."""
    plan, grid = ctx.plan, Grid(ctx)
    memory, *passes = grid.text()
    voltage = ["}  // namespace\n", read("grid/voltage.hpp"), "namespace {\n"]
    tables = not all(c.by_rows for c in plan.connections)
    files = ["signs", "connectivity", "delays"] if tables else ["signs"] if grid.signed else []
    searched = any(re.search(r"\bstd::\w+_bound\(", part) for part in passes)
    return _Trial(
        body=[memory, *(voltage if plan.loss.readout == "voltage" else []), *passes],
        compare=grid.compare(), others=grid.auxiliary(), silent=grid.trial.readout.spikes,
        keep=record(ctx) + read("grid/locate.hpp"),
        includes=["#include <algorithm>\n" if searched else "", *(read(f"{file}.hpp") for file in files)],
    )  # fmt: skip
