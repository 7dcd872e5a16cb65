"""r = V(T), after a spike at T."""

from __future__ import annotations

import sympy as sp

from ..nodes import Set, Statement
from .base import DR, R, Readout


class End(Readout):
    def end(self) -> list[Statement]:
        return [Set(R, self.V)]

    def last(self) -> sp.Expr:
        return DR
