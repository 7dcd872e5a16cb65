"""Data sets of spike trains and currents: the containers, loaders, encoders, augmentation, splits."""

from .currents import Currents
from .events import Events, Statistics, splits
from .inputs import Inputs

__all__ = ["Currents", "Events", "Inputs", "Statistics", "splits"]
