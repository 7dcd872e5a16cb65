"""Engines: one contract (`base.py`), several ways to run it."""

from .base import Data, Engine, Result, Spikes, quantise
from .reference_clock import ReferenceClock

__all__ = ["Data", "Engine", "ReferenceClock", "Result", "Spikes", "quantise"]
