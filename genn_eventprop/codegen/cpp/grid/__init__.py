"""Spikes on the grid: the trial of `program.trial` as C++."""

from .compare import compared_exact
from .trial import Grid

__all__ = ["Grid", "compared_exact"]
