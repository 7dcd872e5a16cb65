"""Kinds of connectivity, one file each, and what all but `Dense` come to: rows of weights, or a table of synapses."""

from .base import Connectivity, Shape
from .conv import Conv1D, Conv2D
from .dense import Dense
from .grouped import Grouped
from .one_to_one import OneToOne
from .pool import Pool2D
from .sparse import Sparse
from .synapses import Synapses
from .window_rows import WindowRows

__all__ = [
    "Connectivity", "Conv1D", "Conv2D", "Dense", "Grouped", "OneToOne", "Pool2D", "Shape", "Sparse", "Synapses",
    "WindowRows",
]  # fmt: skip
