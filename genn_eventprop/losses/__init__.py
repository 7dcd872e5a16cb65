"""Losses: a readout of one population, a weight in time, and an outer loss. `Loss` in `loss.py` is the only class.

A new loss is a function in `library.py` that returns a `Loss`: choose a readout, write the score and the extra term.
"""

from ..arguments import explain
from ..errors import LossError
from .library import (
    LOSSES,
    EndVoltageCrossEntropy,
    FirstSpikeCrossEntropy,
    IntegratedVoltageCrossEntropy,
    MaxVoltageCrossEntropy,
    OwnLoss,
    PerStepCrossEntropy,
    SpikeCountCrossEntropy,
    SpikeTimeError,
    SquaredError,
    StepLabelCrossEntropy,
    VoltageSquaredError,
    make_loss,
)
from .loss import Loss, as_losses
from .outer import Function, formula
from .readout import TimeWeight
from .record import LossRecord

__all__ = [
    "LOSSES",
    "EndVoltageCrossEntropy",
    "FirstSpikeCrossEntropy",
    "Function",
    "IntegratedVoltageCrossEntropy",
    "Loss",
    "LossRecord",
    "MaxVoltageCrossEntropy",
    "OwnLoss",
    "PerStepCrossEntropy",
    "SpikeCountCrossEntropy",
    "SpikeTimeError",
    "SquaredError",
    "StepLabelCrossEntropy",
    "TimeWeight",
    "VoltageSquaredError",
    "as_losses",
    "formula",
    "make_loss",
]

explain(globals(), __all__, LossError)
