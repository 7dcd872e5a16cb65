"""Kinds of connectivity, one file each, and the table of synapses that all but `Dense` come to."""

from .base import Connectivity, Shape
from .conv import Conv2D
from .dense import Dense
from .grouped import Grouped
from .one_to_one import OneToOne
from .pool import Pool2D
from .sparse import Sparse
from .synapses import Synapses

__all__ = ["Connectivity", "Conv2D", "Dense", "Grouped", "OneToOne", "Pool2D", "Shape", "Sparse", "Synapses"]
