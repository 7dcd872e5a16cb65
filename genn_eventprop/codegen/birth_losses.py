"""The outer loss of readouts that a spike would change, as functions; see `program/operations.Birth`.

``birth_moved_p<i>(t, sample, moved)``: the loss of the readouts of population i plus ``moved``, minus the loss.
``birth_read_p<i>(t, sample, neuron, by)``: the same with the readout of one neuron changed by ``by``, and there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import sympy as sp

from ..program.loss_changes import BY, N, of_readout, of_readouts
from ..program.lower import EFFECT
from ..program.nodes import Access, Buffer, Kernel, Let, Statement, birth_change, expressions, walk
from ..program.readouts import Readout
from .statements import Spelling, Writer, indent

Element = Callable[[Access, Callable[[sp.Expr], str]], str]


def reads_change(body: Iterable[Statement], of: type[sp.Basic] = birth_change) -> bool:
    """Whether statements ask for the change of a loss by the readout of one output, or by its V."""
    return any(sp.sympify(e).has(of) for s in walk(body) for e in expressions(s))


def loss_functions(
    moved: Iterable[int], read: Iterable[int], head: str, parameters: str, body: Callable[[int, bool], str]
) -> str:
    """The functions of the first kind, and of the second, by the numbers of populations.

    Args:
        head: what stands before their names. parameters: the first ones, declared. body: (population, read) -> as `changed`.
    """
    text = ""
    for i in moved:
        text += f"{head} birth_moved_p{i}({parameters}, const real *moved) {{\n{indent(body(i, False))}}}\n"
    for i in read:
        text += f"{head} birth_read_p{i}({parameters}, int32_t neuron, real {BY}) {{\n{indent(body(i, True))}}}\n"
    return text


def changed(
    readout: Readout,
    element: Element,
    constants: Mapping[str, str],
    *,
    read: bool,
    writer: Callable[..., Writer] = Writer,
) -> str:
    """The body of a function; read: of the second kind."""

    def inside(access: Access, write: Callable[[sp.Expr], str]) -> str:
        of_argument = access.buffer.role == "argument"
        return f"moved[{write(access.index[0])}]" if of_argument else element(access, write)

    moved = Access(Buffer("moved", (readout.s.N,), "real", "argument"), (N,))
    change = of_readout(readout, EFFECT) if read else of_readouts(readout, moved, EFFECT)
    return setting(writer(Spelling(inside, lambda *_: "", constants), Kernel((), {}), double=True), change)


def setting(writer: Writer, change: Sequence[Statement]) -> str:
    """The body of a function that returns what statements set `EFFECT` to."""
    return writer.block([Let(EFFECT, 0, changes=True), *change]) + f"return {EFFECT};\n"
