"""The container of input currents, and their storage."""

from .currents import Currents

__all__ = ["Currents"]
