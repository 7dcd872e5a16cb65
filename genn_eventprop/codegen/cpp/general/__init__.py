"""Exact spike times of populations whose equations may be any, by Taylor series: see `pieces.hpp`."""

from .program import GeneralProgram

__all__ = ["GeneralProgram"]
