"""Neuron j to neuron j."""

from __future__ import annotations

import math

import numpy as np

from ...errors import NetworkError
from .base import Connectivity, Shape
from .synapses import Synapses


class OneToOne(Connectivity):
    """One synapse from each neuron to the one with the same index in a population of equal size; weights (N,).

    Args:
        weight: initialiser, number, or array (N,); None: scaled from data.
        bounds: (lower, upper), None for open; a number, or an array (N,) with one for each.

    Example:
        >>> copy = net.population(LIF(), 8, name="copy")
        >>> net.connect(hidden, copy, OneToOne(1.2)).weight_shape
        (8,)
    """

    def check(self, source: Shape, target: Shape) -> None:
        M, N = math.prod(source), math.prod(target)
        if M != N:
            raise NetworkError(f"OneToOne connects populations of equal size, these have {M} and {N} neurons")

    def weight_shape(self, source: Shape, target: Shape) -> Shape:
        return (math.prod(target),)

    def synapses(self, source: Shape, target: Shape) -> Synapses:
        N = math.prod(target)
        return Synapses(N, N, np.arange(N + 1, dtype=np.int32), np.arange(N, dtype=np.int32))
