"""Exact spike times of populations whose equations may be any, by Taylor series: see `pieces.hpp`."""

from .program import GeneralProgram
from .trial import backward_general, forward_general, general_work, keep_spikes_general, models

__all__ = [
    "GeneralProgram",
    "backward_general",
    "forward_general",
    "general_work",
    "keep_spikes_general",
    "models",
]
