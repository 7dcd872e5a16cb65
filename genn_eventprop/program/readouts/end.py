"""r = V(T), after a spike at T."""

from __future__ import annotations

import sympy as sp

from ..nodes import Set, Statement
from .base import Readout


class End(Readout):
    def end(self) -> list[Statement]:
        return [Set(self.R, self.V)]

    def last(self) -> sp.Expr:
        return self.DR
