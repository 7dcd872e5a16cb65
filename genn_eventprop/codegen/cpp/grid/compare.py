"""The outer losses of readouts, from their statements; on the grid and with exact spike times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import sympy as sp

from ....losses.kinds import READOUTS
from ....program.host_values import auxiliary
from ....program.loss_changes import CHANGED, N, of_spike
from ....program.lower import EFFECT
from ....program.nodes import Access, Buffer, Kernel, Statement, loss_change
from ....program.outer.base import ROW
from ....program.readouts.voltage import Voltage
from ....program.trial import Trial
from ...birth_losses import reads_change, setting
from ...statements import Spelling, indent
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


def loss_functions(memory: Memory, trial: Trial) -> str:
    """What a spike does to losses, too long to stand in every kernel: ``loss_change_p<i>`` of an auxiliary loss of V, l at the
    beginning of step ``o_row`` minus l with V of one output changed; before: V of all outputs. The main loss has that of
    voltage.hpp.
    """
    text = ""

    def element(access: Access, write: Callable[[sp.Expr], str]) -> str:
        of_argument = access.buffer.role == "argument"
        return f"before[{write(access.index[0])}]" if of_argument else memory.element(access, write)

    for o in trial.jumps:
        readout = trial.readouts.get(o.population)
        if isinstance(readout, Voltage) and readout is not trial.readout and reads_change(o.kernel.body, loss_change):
            before = Access(Buffer("before", (readout.s.N,), "real", "argument"), (N,))
            change = of_spike(readout, before, ROW, EFFECT)
            body = begin(
                memory, setting(ScalarWriter(Spelling(element, lambda *_: "", CONSTANTS), Kernel((), {})), change)
            )
            given = f"{GIVEN}, int64_t {ROW}, int32_t neuron, const real *before, real {CHANGED}"
            text += f"inline real loss_change_p{o.population}({given}) {{\n{indent(body)}}}\n"
    return text


def printed(memory: Memory, buffers: Mapping[str, Buffer], body: Iterable[Statement]) -> str:
    """Loops over `buffers`, in double precision."""
    return ScalarWriter(Spelling(memory.element, lambda *_: "", CONSTANTS, buffers=buffers), Kernel((), {})).block(body)


def begin(memory: Memory, body: str) -> str:
    """The body of a function, with what it begins with."""
    return f"{memory.pointers()}[[maybe_unused]] const int64_t n_steps = args.n_steps;\n{body}"


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
