"""Losses: a readout of one population, a weight in time, and an outer loss. `Loss` in `loss.py` is the only class.

A new loss is a function here that returns a `Loss`: choose a readout, write the score and the extra term.
"""

from .library import FirstSpikeCrossEntropy, IntegratedVoltageCrossEntropy, MaxVoltageCrossEntropy
from .loss import Loss
from .readout import TimeWeight

__all__ = [
    "FirstSpikeCrossEntropy",
    "IntegratedVoltageCrossEntropy",
    "Loss",
    "MaxVoltageCrossEntropy",
    "TimeWeight",
]
