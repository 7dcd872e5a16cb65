"""Engines: one contract (`base.py`), several ways to run it (`registry.py` says which run here)."""

from .base import Availability, Engine
from .dataset import Data, quantise
from .reference_clock import ReferenceClock
from .registry import NAMES, availability, create, engine_class, solvable
from .result import Result, Spikes
from .split import Readouts

__all__ = [
    "NAMES",
    "Availability",
    "Data",
    "Engine",
    "Readouts",
    "ReferenceClock",
    "Result",
    "Spikes",
    "availability",
    "create",
    "engine_class",
    "quantise",
    "solvable",
]
