"""Populations cut into groups of neurons that follow each other; dense weights within each group."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import NetworkError, whole
from .base import Connectivity, Shape
from .synapses import Synapses


class Grouped(Connectivity):
    """All-to-all connections from the sources of group g to the targets of group g: weights (G, M / G, N / G).

    Args:
        weight: initialiser, number, or array of that shape.
        bounds: (lower, upper), None for open; a number, or an array with one for each weight.
        groups: G; both sizes are multiples of it. Neurons j of group g are those from g M / G on.

    Example:
        >>> net.connect(inp, hidden, Grouped(FanIn(), groups=2), name="halves").weight_shape
        (2, 2, 4)
    """

    arguments = ("groups",)

    def __init__(self, weight: Any, groups: int, *, bounds: tuple[Any, Any] = (None, None)) -> None:
        super().__init__(weight, bounds)
        self.groups = whole(groups, "Grouped: the number of groups", NetworkError)

    def check(self, source: Shape, target: Shape) -> None:
        M, N = math.prod(source), math.prod(target)
        if M % self.groups or N % self.groups:
            raise NetworkError(
                f"Grouped: {M} sources and {N} targets cannot be divided into {self.groups} equal groups"
            )

    def weight_shape(self, source: Shape, target: Shape) -> Shape:
        return (self.groups, math.prod(source) // self.groups, math.prod(target) // self.groups)

    def synapses(self, source: Shape, target: Shape) -> Synapses:
        _, m, n = self.weight_shape(source, target)
        M, N = math.prod(source), math.prod(target)
        start = np.arange(M + 1, dtype=np.int32) * n
        targets = np.arange(M, dtype=np.int32)[:, None] // m * n + np.arange(n, dtype=np.int32)
        return Synapses(M, N, start.astype(np.int32), targets.ravel().astype(np.int32))

    def options(self) -> dict[str, Any]:
        return {"groups": self.groups}
