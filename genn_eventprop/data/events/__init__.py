"""The container of spike trains, and what is asked of it: checks, statistics, splits, storage, chunks, encoding."""

from .events import Events
from .statistics import Statistics

__all__ = ["Events", "Statistics"]
