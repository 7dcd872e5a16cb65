"""Data sets of spike trains: the container, loaders, encoders, augmentation, splits."""

from genn_eventprop.data.events import Events
from genn_eventprop.data.statistics import Statistics

__all__ = ["Events", "Statistics"]
