"""Spikes on the grid: the trial of `program.trial` as C++."""

from .trial import Grid

__all__ = ["Grid"]
