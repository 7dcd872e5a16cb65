"""Losses of V at one time as functions of C and CUDA, where V jumps at spikes.

E of a spike contains l(x-) - l(x+) (docs/equations.md, section 2). Such a loss is no sum over outputs (a softmax), so it
needs l of all outputs, once with the V of one of them changed: too long to stand in every kernel.

``loss_change(t, sample, o_row, neuron, before, V)``: l at the beginning of step ``o_row`` minus l with V of one output
changed; before: V of all outputs. That of an auxiliary loss ends in the number of its population.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import sympy as sp

from ..program import loss_changes
from ..program.loss_changes import CHANGED, N
from ..program.lower import EFFECT
from ..program.nodes import Access, Buffer, Kernel, expressions, walk
from ..program.nodes import loss_change as node
from ..program.outer.base import ROW
from ..program.readouts.voltage import Voltage
from ..program.trial import Trial
from .birth_losses import setting
from .statements import Spelling, Writer, indent

Element = Callable[[Access, Callable[[sp.Expr], str]], str]
GIVEN = "const Trial *t, int64_t sample"


def voltage_losses(
    trial: Trial,
    mark: str,
    element: Element,
    constants: Mapping[str, str],
    given: str = GIVEN,
    main: bool = True,
    begin: Callable[[], str] = str,
    writer: Callable[..., Writer] = Writer,
) -> str:
    """The functions that a trial needs.

    Args:
        mark: what stands before them. given: their first arguments. main: whether the main loss has such a function, too.
            begin: what a function begins with, once its body is written. writer: of its text.
    """

    def inside(access: Access, write: Callable[[sp.Expr], str]) -> str:
        of_argument = access.buffer.role == "argument"
        return f"before[{write(access.index[0])}]" if of_argument else element(access, write)

    text = ""
    for number, readout in trial.readouts.items():
        if not isinstance(readout, Voltage) or (readout is trial.readout and not main):
            continue
        kernels = [o.kernel for o in trial.jumps if o.population == number]
        if any(e.atoms(node) for k in kernels for s in walk(k.body) for e in map(sp.sympify, expressions(s))):
            before = Access(Buffer("before", (readout.s.N,), "real", "argument"), (N,))
            change = loss_changes.of_spike(readout, before, ROW, EFFECT)
            spelling = Spelling(inside, lambda *_: "", constants)
            body = setting(writer(spelling, Kernel((), {}), double=True), change)
            tail = readout.s.of_loss and f"_p{number}"
            head = f"{mark} real loss_change{tail}({given}, int64_t {ROW}, int32_t neuron, const real *before, real {CHANGED})"
            text += f"{head} {{\n{indent(begin() + body)}}}\n"
    return text
