"""The outer losses of readouts, from their statements; on the grid and with exact spike times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import sympy as sp

from ....losses.kinds import READOUTS
from ....program.host_values import auxiliary
from ....program.nodes import Access, Buffer, Kernel, Statement
from ....program.trial import Trial
from ...birth_losses import birth_losses, changed
from ...statements import Spelling, indent
from ...voltage_losses import voltage_losses
from .lanes import ScalarWriter
from .memory import Memory

CONSTANTS = {
    "o_infinity": "std::numeric_limits<double>::infinity()", "o_nan": "std::numeric_limits<double>::quiet_NaN()"
}  # fmt: skip


GIVEN = "[[maybe_unused]] const Args& args, [[maybe_unused]] Work& work, int64_t sample"


def compared(memory: Memory, kernel: Kernel) -> str:
    """The code of a loss; the readouts of the main one are in double precision in ``r``."""
    main = f"p{memory.plan.populations.index(memory.plan.output)}_w_r"

    def element(access: Access, write: Callable[[sp.Expr], str]) -> str:
        read = access.buffer.name == main
        return f"r[{write(access.index[0])}]" if read else memory.element(access, write)

    text = ScalarWriter(Spelling(element, lambda *_: "", CONSTANTS), kernel).text()
    return memory.pointers() + text


def birth_functions(memory: Memory, trial: Trial) -> str:
    """Outer losses of readouts that a spike would change, see `codegen/birth_losses.py`."""

    def body(population: int, read: bool) -> str:
        def write(spelling: Spelling, kernel: Kernel, double: bool) -> ScalarWriter:
            return ScalarWriter(spelling, kernel)

        text = changed(trial.readouts[population], memory.element, CONSTANTS, read=read, writer=write)
        return memory.pointers() + text

    return birth_losses(trial, "__attribute__((noinline)) scalar", GIVEN, body)


def loss_functions(memory: Memory, trial: Trial) -> str:
    """Of auxiliary losses of V where it jumps, see `codegen/voltage_losses.py`; the main loss has those of voltage.hpp."""

    def write(spelling: Spelling, kernel: Kernel, double: bool) -> ScalarWriter:
        return ScalarWriter(spelling, kernel)

    return voltage_losses(
        trial, "inline", memory.element, CONSTANTS, GIVEN, main=False, begin=lambda: begin(memory), writer=write
    )  # fmt: skip


def printed(memory: Memory, buffers: Mapping[str, Buffer], body: Iterable[Statement]) -> str:
    """Loops over `buffers`, in double precision."""
    return ScalarWriter(Spelling(memory.element, lambda *_: "", CONSTANTS, buffers=buffers), Kernel((), {})).block(body)


def begin(memory: Memory) -> str:
    """What the body of a function begins with, once all else of it is written."""
    return f"{memory.pointers()}[[maybe_unused]] const int64_t n_steps = args.n_steps;\n"


def auxiliary_losses(memory: Memory, losses: Sequence[str]) -> str:
    """Auxiliary losses, as code, and their readouts for the host; of halves, with what the host has found."""
    took = "".join(f"{{\n{indent(text)}}}\n" for text in losses)
    took = f"if (args.half == BACKWARDS) {{\n{indent(took)}}}\n" if took and memory.names.split else took
    said = ""
    for prefix, loss in auxiliary(memory.plan):
        valid = f"work.{prefix}w_first[n] >= 0 ? r : std::numeric_limits<double>::infinity()"
        read = valid if READOUTS[loss.readout].spikes and loss.readout != "count" else "r"
        each = f"const double r = double(work.{prefix}w_r[n]);\nargs.{prefix}w_r[sample * {loss.n_classes} + n] = {read};\n"
        said += f"for (int n = 0; n < {loss.n_classes}; ++n) {{\n{indent(each)}}}\n"
    return took + said
