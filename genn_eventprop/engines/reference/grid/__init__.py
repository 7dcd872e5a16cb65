"""`reference_clock`: NumPy float64, step by step; defines what grid engines do."""

from .engine import ReferenceClock

__all__ = ["ReferenceClock"]
