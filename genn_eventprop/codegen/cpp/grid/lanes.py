"""Kernels as C++ text: the code of one neuron with its loads and stores, after loads of shared numbers."""

from __future__ import annotations

import sympy as sp

from ....modelling.expressions import symbol
from ....program.nodes import BY_NAME, NEURON, SAMPLE, STEP, Kernel, Statement
from ...printer import CPP
from ...statements import TYPES, Expressions, Spelling, Writer
from .lists import AT, Append

NOW = symbol("now")  # the step in 32 bits, for comparisons in vectors


class LoopExpressions(Expressions):
    def _print_equal(self, e: sp.Expr) -> str:
        return super()._print_equal(e.xreplace({STEP: NOW}))

    def _print_diverged(self, e: sp.Expr) -> str:
        return f"!({self._all(e)[0]} <= DIVERGED)"

    def _print_loss_change(self, e: sp.Expr) -> str:
        step, neuron, before, V, *of_loss = self._all(e)
        if of_loss:
            return f"loss_change_p{of_loss[0]}(args, work, sample, {step}, {neuron}, &{before} - {neuron}, {V})"
        return f"loss_change(args, sample, {step}, {neuron}, &{before} - {neuron}, {V})"

    def _print_birth_change(self, e: sp.Expr) -> str:  # with exact spike times; see `codegen/birth_losses.py`
        population, neuron, by = self._all(e)
        return f"birth_read_p{population}(args, work, sample, {neuron}, {by})"

    def _print_Pow(self, e: sp.Pow) -> str:
        base, exponent = e.as_base_exp()
        if exponent.is_Integer and abs(int(exponent)) > 4:
            return f"pow({self._print(base)}, {self.dialect.literal.format(f'{int(exponent)}.0')})"
        return super()._print_Pow(e)


class VectorLoopWriter(Writer):
    """The text of a kernel in a loop over neurons.

    Args:
        rows: whether elements of the rows of the step are loaded and stored too, as in loops over all neurons; else they
            are accessed where they are used.
    """

    expressions = LoopExpressions

    def __init__(self, spelling: Spelling, kernel: Kernel, population: int, rows: bool) -> None:
        super().__init__(spelling, kernel, population)
        self.dialect, self.rows = CPP, rows
        self.loaded = {s for s in kernel.named if self._can_be_loaded(s)}

    def _can_be_loaded(self, s: sp.Symbol) -> bool:
        access = self.kernel.table[s]
        used = set().union(*(i.free_symbols for i in access.index)) if access.index else set()
        if not access.buffer.axes or not used <= {NEURON, STEP, SAMPLE, AT}:
            return False
        return self.rows or NEURON not in used or access.index == (NEURON,)

    def shared(self) -> str:
        """Loads of numbers that all neurons share."""
        return "".join(f"const {self._type(s)} {s} = {self._element(s)};\n" for s in self._sorted() if not self._own(s))

    def each(self) -> str:
        """The code of one neuron."""
        written, fresh = set(self.kernel.written), self._set_first()
        text = ""
        for s in self._sorted():
            if self._own(s):
                value = "" if s in fresh else f" = {self._element(s)}"
                text += f"{'' if s in written else 'const '}{self._type(s)} {s}{value};\n"
        text += self.block(self.kernel.body)
        return text + "".join(f"{self._element(s)} = {s};\n" for s in self._sorted() if s in written)

    def _sorted(self) -> list[sp.Symbol]:
        return sorted(self.loaded, key=BY_NAME)

    def _own(self, s: sp.Symbol) -> bool:
        return any(i.has(NEURON, AT) for i in self.kernel.table[s].index)

    def _type(self, s: sp.Symbol) -> str:
        return TYPES[self.kernel.table[s].buffer.kind]

    def statement(self, s: Statement) -> str:
        if isinstance(s, Append):
            if not s.numbered:
                return f"{s.into}.neuron[{s.into}.count++] = neuron;\n"
            return f"const int64_t entry = {s.into}.count++;\n{s.into}.neuron[entry] = neuron;\n"
        return super().statement(s)


class ScalarWriter(Writer):
    """The text of plain code, in the precision of the network or, as of what runs once a trial, in double precision."""

    expressions = LoopExpressions

    def __init__(self, spelling: Spelling, kernel: Kernel, double: bool = True) -> None:
        super().__init__(spelling, kernel, double=double)
        self.dialect = self.dialect if double else CPP
