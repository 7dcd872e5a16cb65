"""Engines: one contract (`base.py`), several ways to run it (`registry.py` says which run here)."""

from .base import Data, Engine, Result, Spikes, quantise, solvable
from .reference_clock import ReferenceClock
from .registry import NAMES, Availability, availability, create

__all__ = [
    "NAMES",
    "Availability",
    "Data",
    "Engine",
    "ReferenceClock",
    "Result",
    "Spikes",
    "availability",
    "create",
    "quantise",
    "solvable",
]
