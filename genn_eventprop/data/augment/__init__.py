"""Augmentation: steps that change a batch of events or currents, and data sets that are changed anew in every epoch."""

from ...arguments import explain
from ...errors import DataError
from .augmented import Augmented, Blend
from .batchwise import CurrentStep, Step
from .currents import Gain, Noise, ShiftChannels, ShiftTime
from .steps import (
    Affine,
    Bin,
    ChannelsLast,
    CompressTime,
    Crop,
    CropChannels,
    DelayLine,
    Dilate,
    Dropout,
    FitTime,
    Jitter,
    MergeChannels,
    NormaliseCounts,
    Pad,
    Shift,
    Thin,
    TrimSilence,
    Warp,
)

__all__ = [
    "Affine",
    "Augmented",
    "Bin",
    "Blend",
    "ChannelsLast",
    "CompressTime",
    "Crop",
    "CropChannels",
    "CurrentStep",
    "DelayLine",
    "Dilate",
    "Dropout",
    "FitTime",
    "Gain",
    "Jitter",
    "MergeChannels",
    "Noise",
    "NormaliseCounts",
    "Pad",
    "Shift",
    "ShiftChannels",
    "ShiftTime",
    "Step",
    "Thin",
    "TrimSilence",
    "Warp",
]

explain(globals(), [name for name in __all__ if name not in ("CurrentStep", "Step")], DataError)
