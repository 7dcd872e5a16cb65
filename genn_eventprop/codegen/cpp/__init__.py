"""A plan as one C++ file: a fused trial, forwards and backwards; samples over threads, neurons over SIMD lanes.

Input: a `Plan` (structure only). Output: `Source`, the text and the order in which Python hands over pointers and
numbers. The text is a pure function of the plan; dt, the duration, parameter values and the batch are run-time
arguments. Sizes are compiled in, so that the state of a population can stay in registers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...errors import Refusal
from ...plan import Plan
from ...plan.closed_form import closed_form
from ...program.nodes import Buffer
from ...program.pieces import Crossing
from ..equations import equations
from ..layout import Layout
from ..shared import shared
from .context import Context, exists, padded, read, runs_in_halves
from .declarations import args, keep_spikes, sizes
from .exact import BIRTH_CONSTANTS, ExactProgram, bind, keep, models, passes, structs, work
from .exact.arguments import BACK, READ, STATE
from .general import GeneralProgram
from .grid import Grid, Piece
from .outer import outer, outer_loss

__all__ = ["Source", "generate", "generate_pieces", "host_source", "padded", "runs_in_halves"]


@dataclass(frozen=True)
class Source:
    """Generated code and its calling convention.

    arrays, doubles, integers: what the host hands over, in order. gradients: parameter -> (offset, rows, padded columns)
    in the flat gradient; gradient_size: its length. split, halves: see `Context`.
    """

    text: str
    arrays: tuple[Buffer, ...]
    doubles: tuple[Buffer, ...]
    integers: tuple[str, ...]
    gradients: dict[str, tuple[int, int, int]]
    gradient_size: int
    split: bool
    halves: bool = False


def noise() -> str:
    """The text that networks with noise or dropout need."""
    return "namespace {\n\n" + shared("stochastic.h", "inline") + "\n" + read("stochastic.hpp")


def phi1_in_double() -> str:
    """phi1 and its derivatives for what a trial computes in double precision, whatever `scalar` is."""
    text = "namespace {\nnamespace in_double {\ntypedef double real;\n" + shared("phi1.h", "inline") + "}\n"
    return text + "using in_double::phi1, in_double::phi1_slope, in_double::phi1_bend;\n}  // namespace\n\n"


def functions_of(text: Sequence[str]) -> str:
    """The functions of functions.hpp, if some of these parts of a file call one; most networks need none."""
    called = any(re.search(r"\b(fn_|phi1)", part) for part in text)
    return phi1_in_double() + read("functions.hpp") if called else ""


def crossings() -> str:
    """The search for crossings of exact spike times, and the time weights of losses."""
    weights = shared("weights.h", "inline") + read("exact/weighing.hpp")
    return shared("crossings.h", "inline", "__attribute__((noinline))") + weights


def half() -> str:
    """The text of conversions to and from float16."""
    return "namespace {\n\n" + shared("half.h", "inline") + "\n}  // namespace\n"


def host_source() -> str:
    """C++ of the library that all networks share: threads, and the store of recorded spikes."""
    return "\n".join([read("host.hpp"), "#include <cstring>\n", half(), read("host.cpp")])


@dataclass(frozen=True)
class _Trial:
    """Text of one kind of trial, and of what surrounds it.

    arguments: what the host hands over. body: types, memory and the passes, between `outer` and `batch.hpp`. compare, others:
    the main loss and auxiliary ones. silent: whether outputs without a spike have no readout. keep: hands spikes over to
    the host. includes: files that only some trials need. moved, running: of pieces, see `grid/pieces.py`.
    """

    arguments: Layout
    body: list[str]
    compare: str
    others: str
    silent: bool
    keep: str
    includes: list[str]
    moved: list[str] = field(default_factory=list)
    running: str = ""


def generate(plan: Plan, dtype: str, split: bool = False, carry: bool = False, halves: bool = False) -> Source:
    """C++ for a plan; dtype "float32" or "float64"; split, carry, halves: see `Context`."""
    ctx = Context(plan, dtype, split, carry, halves)
    return _source(ctx, exact_trial(ctx) if ctx.exact else _on_grid(ctx, Grid(ctx)))


def generate_pieces(plan: Plan, dtype: str, halves: bool = False) -> tuple[Source, Crossing]:
    """C++ for a piece of a recording, see `grid/pieces.py` and `exact/piece.hpp`, and what crosses from piece to piece."""
    ctx = Context(plan, dtype, halves=halves, pieces=True)
    if ctx.exact:
        return _source(ctx, exact_trial(ctx)), Crossing((STATE,), (BACK,), (READ,), ())
    piece = Piece(ctx)
    source = _source(ctx, _on_grid(ctx, piece))
    return source, piece.crossing()


def _source(ctx: Context, trial: _Trial) -> Source:
    head = [equations(ctx.plan, "//"), f"typedef {ctx.real} scalar;\ntypedef scalar real;\n"]
    head += [read("host.hpp"), read("runtime.hpp"), noise() if ctx.stochastic else ""]
    head += [half(), read("half_rows.hpp")] if ctx.halves else []
    after = outer_loss(ctx, trial.compare, trial.others, trial.silent, trial.running)
    parts = ["namespace {\n", sizes(ctx), args(trial.arguments, trial.moved), outer(ctx), *trial.body]
    parts += ["}  // namespace\n", read("batch.hpp"), after, trial.keep, "}  // namespace\n"]
    parts = [*head, *trial.includes, functions_of(parts), *parts]
    text, order = "\n".join(part for part in parts if part), trial.arguments
    return Source(
        text, order.arrays, order.doubles, order.integers, ctx.gradients, ctx.gradient_size, ctx.split, ctx.halves
    )


def _outside(*files: str) -> list[str]:
    """Texts of files among those of the network: each opens the unnamed namespace itself, in which the others stand."""
    return ["}  // namespace\n", *files, "namespace {\n"]


def exact_trial(ctx: Context) -> _Trial:
    """With exact spike times: by closed forms, or by Taylor series if some population has none."""
    plan = ctx.plan
    closed = closed_form(plan)
    program = ExactProgram(ctx) if closed else GeneralProgram(ctx)
    forms = dict.fromkeys(r.form.file for r in program.readers if r.form)  # two readouts may share a reader
    windows = any(c.windows for c in plan.connections)
    flow = "exact" if closed else "general"
    span = ["exact/piece_span"] if ctx.pieces else [*(["exact/span"] if closed else []), "exact/heard"]
    for unknown in (form for form in forms if not exists(f"{flow}/{form}.hpp")):
        raise Refusal(
            f"native has no reader {unknown!r} for neurons without a closed form between events (codegen/cpp/general); use "
            "spike_times='grid', or neurons that are linear between spikes"
        )
    files = ["exact/events", *span, "exact/routes", *(["exact/window_routes"] if windows else [])]
    files += ["exact/on_the_way"] if any(c.delays for c in plan.connections) else []
    if closed:
        files += [
            f"exact/{f}"
            for f in ("neurons", "lanes", "spiking", "costates", "weights", "trajectory", "record", "steps")
        ]
    else:
        files += ["general/taylor", "general/pieces", "general/whole"]
    files += ["exact/stationary"] if plan.spike_birth or (not closed and "maximum" in forms) else []
    files += ["exact/candidates", f"{flow}/births"] if plan.spike_birth else []
    files += [f"{flow}/readouts"] if closed or forms else []
    # by Taylor series the reader of V at every step builds on that of integrals
    files += [
        f"{flow}/{form}" for form in (forms if closed or "voltage" not in forms else sorted({*forms, "integral"}))
    ]
    one = ["#define UNROLL_POWERS\n#define CLOSED_FORMS\n", shared("neuron.h", "inline")] if closed else []
    one += [shared("maximum.h", "inline")] if closed and "maximum" in forms else []  # that `cuda` shares
    library = _outside(read("exact/series.hpp"), crossings(), *one, *(read(f"{name}.hpp") for name in files))
    births = [BIRTH_CONSTANTS] if plan.spike_birth else []
    trial = [program.functions(), program.birth_losses(), *([bind(ctx)] if closed else []), structs(ctx, program)]
    piece = [program.crossing(), *_outside(read("exact/piece.hpp"))] if ctx.pieces else []
    trial += [*_outside(read("exact/trial.hpp")), *piece, passes(program)]
    described = program.models() if isinstance(program, GeneralProgram) else models(ctx, program)
    return _Trial(
        arguments=program.memory,
        body=[program.time_weights(), *births, *library, described, work(ctx, program), *trial],
        compare="" if ctx.split or plan.loss.readout == "voltage" else program.compare(),
        others=program.auxiliary() + ("leave_interval(args, work, sample);\n" if ctx.pieces else ""), silent=program.readout.spikes, keep="" if ctx.device else keep(ctx),
        includes=[read(f"{name}.hpp") for name in ("parts", "windows")] if windows else [],
    )  # fmt: skip


def _on_grid(ctx: Context, grid: Grid) -> _Trial:
    """With spikes on the grid."""
    plan = ctx.plan
    memory, *passes = grid.text()
    voltage = _outside(read("grid/voltage.hpp"))
    windows = ["windows"] if any(c.windows for c in plan.connections) else []
    files = ["signs", *(["connectivity", "delays"] if ctx.ahead else [])]
    files += [*windows, *(["pieces"] if ctx.pieces else [])]
    lists = ((i, f"work.{ctx.p(p.name)}_spikes") for i, p in enumerate(ctx.spiking))
    calls = [
        f"host.keep_steps(host, {i}, sample, {s}.neuron, {s}.start, args.n_steps, args.dt)"
        for i, s in lists
        if not ctx.pieces
    ]
    return _Trial(
        arguments=grid.memory, body=[memory, *(voltage if plan.loss.readout == "voltage" else []), *passes],
        compare=grid.compare(), others=grid.auxiliary(), silent=grid.trial.readout.spikes,
        keep=keep_spikes(calls) + grid.locate, **grid.more(),
        includes=[read(f"{file}.hpp") for file in files],
    )  # fmt: skip
