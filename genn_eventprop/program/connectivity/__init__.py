"""Kinds of connectivity; one file each."""

from .delays import Delays, delays
from .dense import Dense, dense
from .synapses import Table, table

__all__ = ["Delays", "Dense", "Table", "delays", "dense", "table"]
