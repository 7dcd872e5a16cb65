"""Kinds of connectivity; one file each."""

from .dense import Dense, dense

__all__ = ["Dense", "dense"]
