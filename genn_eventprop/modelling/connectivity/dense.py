"""All-to-all weights."""

from __future__ import annotations

import math

from .base import Connectivity, Shape


class Dense(Connectivity):
    """All-to-all weights.

    Args:
        weight: initialiser, number, or array of shape (M, N): row = one presynaptic neuron.
        bounds: (lower, upper), None for open; a number for all weights, or an array (M, N) with one for each.
    """

    form = "dense"

    def weight_shape(self, source: Shape, target: Shape) -> Shape:
        return (math.prod(source), math.prod(target))
