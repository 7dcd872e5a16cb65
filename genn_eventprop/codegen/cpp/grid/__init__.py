"""Spikes on the grid: the trial of `program.trial` as C++, whole or a piece of it."""

from .pieces import Piece
from .trial import Grid

__all__ = ["Grid", "Piece"]
