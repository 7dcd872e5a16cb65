"""An outer loss of one expression, L = sum_c term(r_c, y_c, r_label); its gradient is derived.

Axis letters: K outputs, before them any axes of samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import sympy as sp

from ...modelling.expressions import numpy_function, parse, symbol

R, Y, R_LABEL, T = symbol("r"), symbol("y"), symbol("r_label"), symbol("T")


@dataclass(frozen=True, eq=False)
class Sum:
    """A sum over the outputs that count and, with targets, have one.

    Args:
        term: expression in r (readout of the output), y, T and the constants. With "targets", y is the output's target.
            With "labels", y is 1 for the right output and 0 for the others, and r_label is the readout of the right
            one; a sample whose right output does not count contributes nothing.
        compares: "labels" or "targets".
        constants: name -> default, for `Loss.constants`.
    """

    term: str
    compares: str
    constants: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def expression(self) -> sp.Expr:
        names = ("r", "y", "T", *self.constants, *(("r_label",) if self.compares == "labels" else ()))
        return parse(self.term, {n: symbol(n) for n in names}, "outer loss")

    @cached_property
    def slopes(self) -> tuple[sp.Expr, sp.Expr]:
        """d term / dr, and d term / dr_label."""
        return sp.diff(self.expression, R), sp.diff(self.expression, R_LABEL)

    @cached_property
    def _function(self) -> Callable[..., list[np.ndarray]]:
        names = (R, Y, R_LABEL, T, *map(symbol, self.constants))
        return numpy_function(names, [self.expression, *self.slopes], cse=True)

    def evaluate(
        self, r: np.ndarray, used: np.ndarray, y: np.ndarray, duration: float, constants: Mapping[str, float]
    ) -> tuple[np.ndarray, np.ndarray]:
        """L (...,) and dL/dr (..., K).

        Args:
            r, used: (..., K), the readouts and which of them count. y: labels (...,) or targets (..., K), nan for none.
        """
        right, r_label = np.zeros(r.shape, bool), np.zeros(r.shape)
        if self.compares == "labels":
            right = np.arange(r.shape[-1]) == y[..., None]
            used = used & np.take_along_axis(used, y[..., None], -1)
            r_label = np.broadcast_to(np.take_along_axis(r, y[..., None], -1), r.shape)
            y = right.astype(np.float64)
        used = used & ~np.isnan(y)
        numbers = (constants[n] for n in self.constants)
        values = self._function(r, np.nan_to_num(y), r_label, duration, *numbers)
        term, slope, of_label = (np.where(used, v, 0.0) for v in values)
        return term.sum(-1), slope + right * of_label.sum(-1, keepdims=True)
