"""Augmentation: steps that change a batch of events, and data sets that are changed anew in every epoch."""

from .augmented import Augmented, Blend
from .batchwise import Step
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
    "DelayLine",
    "Dilate",
    "Dropout",
    "FitTime",
    "Jitter",
    "MergeChannels",
    "NormaliseCounts",
    "Pad",
    "Shift",
    "Step",
    "Thin",
    "TrimSilence",
    "Warp",
]
