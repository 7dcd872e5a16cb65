"""Data sets of spike trains: the container, loaders, encoders, augmentation, splits."""

from .events import Events, Statistics, splits

__all__ = ["Events", "Statistics", "splits"]
