"""Engines: one contract (`base.py`), several ways to run it (`registry.py` says which run here)."""

from .contract.data import Data, quantise
from .contract.engine import Availability, Engine
from .contract.result import Result, Spikes
from .contract.split import Readouts
from .reference.grid.engine import ReferenceClock
from .registry import NAMES, availability, create, engine_class, solvable

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
