"""How a loss changes if V of an output, or a readout, were another: statements that set a local to it.

E of a spike and D of an arrival contain l(x-) - l(x+) (docs/equations.md, section 2). A loss of V at one time is no sum
over outputs (a softmax), so both need l of all outputs, once with V of some of them changed. A spike that could be born
(docs/spike_birth.md) asks the same of the loss of readouts.

In an index of an array, `N` stands for the output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import sympy as sp

from ..modelling.expressions import symbol
from .compare import CHANGE, OTHER, changed_loss, loss_change
from .nodes import NEURON, STEP, Access, Block, Kernel, Let, Set, Statement, both, choose, equal, name
from .outer.base import ROW
from .readouts import Readout
from .readouts.base import SAMPLE_WEIGHT
from .readouts.voltage import Voltage

N = symbol("n")
CHANGED, BY = name("t", "changed"), name("t", "by")
"""V of the output `NEURON` as it would be; what its readout would change by."""


def of_spike(readout: Voltage, before: Access, row: sp.Expr, into: sp.Symbol) -> list[Statement]:
    """l at the beginning of step `row` minus l with V of output `NEURON` changed to `CHANGED`; before: V of outputs."""
    names = dict[sp.Symbol, Access]()

    def V(i: sp.Symbol) -> sp.Expr:
        return choose(both(OTHER, equal(i, NEURON)), CHANGED, _of_output(names, "before", before, i))

    return _of_voltages(readout, V, names, row, into)


def of_arrival(
    readout: Voltage, receptor: str, before: Access, weight: Access, row: sp.Expr, into: sp.Symbol,
    only: sp.Symbol | None = None,
) -> list[Statement]:  # fmt: skip
    """What arrivals of weights at the outputs add to dL/dt at step `row`.

    Args:
        before: V of outputs before them. only: the single output with an arrival, if not all.
    """
    names = {s: moved_index(a, {STEP: ROW}) for s, a in readout.at_arrivals().items()}

    def V(i: sp.Symbol) -> sp.Expr:
        there = OTHER if only is None else both(OTHER, equal(i, only))
        V_before, arrived = _of_output(names, "before", before, i), _of_output(names, "row", weight, i)
        return choose(there, V_before + readout.moved_by_arrival(receptor, i) * arrived, V_before)

    return _of_voltages(readout, V, names, row, into, readout.at() * SAMPLE_WEIGHT)


def of_readouts(readout: Readout, moved: Access, into: sp.Symbol) -> list[Statement]:
    """The loss with every readout changed by an element of `moved`, minus the loss, times the weight of the sample."""
    names = dict[sp.Symbol, Access]()
    kernel = changed_loss(readout.s, readout, lambda i: _of_output(names, "moved", moved, i), None)
    return [_setting(into, CHANGE * SAMPLE_WEIGHT, kernel, readout.s.table | names)]


def of_readout(readout: Readout, into: sp.Symbol) -> list[Statement]:
    """The same with that of output `NEURON` changed by `BY`, and there if it was not."""
    kernel = changed_loss(readout.s, readout, lambda i: choose(equal(i, NEURON), BY, 0), NEURON)
    return [_setting(into, CHANGE * SAMPLE_WEIGHT, kernel, readout.s.table)]


def _of_voltages(
    readout: Voltage, V: Callable[[sp.Symbol], sp.Expr], names: Mapping[sp.Symbol, Access], row: sp.Expr,
    into: sp.Symbol, factor: sp.Expr = sp.S.One,
) -> list[Statement]:  # fmt: skip
    """`factor` times l minus l with V(i) of output i; V: with `OTHER` 0 or 1; names: what is in it."""
    kernel = loss_change(readout.s, readout, V)
    at_row = {s: moved_index(a, {STEP: ROW}) for s, a in readout.s.table.items()}
    setting = _setting(into, factor * CHANGE, kernel, at_row | dict(names))
    return [setting] if row == ROW else [Block((Let(ROW, row, "long"), setting))]


def _setting(into: sp.Symbol, value: sp.Expr, kernel: Kernel, table: Mapping[sp.Symbol, Access]) -> Statement:
    """Runs a kernel of a loss, then sets `into` to a value that follows from its variables."""
    whole = Kernel((*kernel.body, Set(into, value)), table)
    return Block(whole.body, {s: table[s] for s in whole.named}, double=True)


def _of_output(names: dict[sp.Symbol, Access], what: str, array: Access, i: sp.Symbol) -> sp.Symbol:
    """The symbol of the element of output i."""
    element = name("o", what, i)
    names[element] = moved_index(array, {N: i})
    return element


def moved_index(a: Access, to: Mapping[sp.Symbol, sp.Symbol]) -> Access:
    """An element whose index has other names."""
    return Access(a.buffer, tuple(sp.sympify(k).xreplace(dict(to)) for k in a.index))
