"""Kinds of connectivity; one file each."""

from .delays import Delays, delays
from .dense import Dense, dense
from .synapses import Table, table
from .windows import Windows, windows

__all__ = ["Delays", "Dense", "Table", "Windows", "delays", "dense", "table", "windows"]
