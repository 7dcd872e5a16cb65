"""Readouts, one file each; `losses.kinds` has a line for each, which names its class."""

from importlib import import_module

from ...losses.kinds import READOUTS
from .base import Readout


def readout_class(name: str) -> type[Readout]:
    """The class of the readout called `name`."""
    file, _, found = READOUTS[name].code.rpartition(".")
    return getattr(import_module(f".{file}", __package__), found)


__all__ = ["Readout", "readout_class"]
