"""Some of all pairs of neurons, drawn at random or listed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import NetworkError, is_number, whole
from .base import Connectivity, Shape
from .synapses import Synapses


class Sparse(Connectivity):
    """S of the M N possible synapses, each with its own weight.

    Give exactly one of `probability`, `fan_in` and `pairs`. Random pairs are a parameter, "name.pairs", with its own
    random stream; memory and time are proportional to S.

    Args:
        weight: initialiser, number, or array (S,): weight k is that of pair k; None: scaled from data.
        probability: S = round(probability M N) synapses, uniform over all pairs (never two between the same neurons).
        fan_in: number of synapses of each target, from different sources: S = fan_in N.
        pairs: (S, 2) indices of neurons (source, target), in any order, none twice.
        bounds: (lower, upper), None for open; a number, or an array (S,) with one for each.

    Example:
        >>> net.connect(inp, hidden, Sparse(FanIn(gain=2.0), probability=0.25), name="some").weight_shape
        (8,)
    """

    arguments = ("probability", "fan_in")  # which pairs there are is among the parameter values

    def __init__(
        self,
        weight: Any = None,
        *,
        probability: float | None = None,
        fan_in: int | None = None,
        pairs: Any = None,
        bounds: tuple[Any, Any] = (None, None),
    ) -> None:
        super().__init__(weight, bounds)
        chosen = [n for n, v in (("probability", probability), ("fan_in", fan_in), ("pairs", pairs)) if v is not None]
        if len(chosen) != 1:
            raise NetworkError(
                f"Sparse: give one of probability=, fan_in= and pairs=, got {' and '.join(chosen) or 'none'}"
            )
        if probability is not None and not (is_number(probability) and 0 < probability <= 1):
            raise NetworkError(f"Sparse: probability must be a number > 0 and <= 1, got {probability!r}")
        if fan_in is not None:
            whole(fan_in, "Sparse: fan_in", NetworkError)
        self.probability, self.per_target = probability, fan_in
        self.pairs = None if pairs is None else np.array(pairs)

    def check(self, source: Shape, target: Shape) -> None:
        M, N = math.prod(source), math.prod(target)
        if self.per_target is not None and self.per_target > M:
            raise NetworkError(f"Sparse: fan_in={self.per_target}, but there are {M} sources")
        if self.pairs is not None:
            Synapses.of_pairs(self.pairs, M, N)
        if self.count(source, target) < 1:
            raise NetworkError(f"Sparse: probability={self.probability:g} of {M} x {N} pairs gives no synapses")

    def count(self, source: Shape, target: Shape) -> int:
        M, N = math.prod(source), math.prod(target)
        if self.pairs is not None:
            return len(self.pairs)
        return self.per_target * N if self.per_target is not None else math.floor((self.probability or 0) * M * N + 0.5)

    def weight_shape(self, source: Shape, target: Shape) -> Shape:
        return (self.count(source, target),)

    def draw_pairs(self, rng: np.random.Generator, source: Shape, target: Shape) -> np.ndarray:
        M, N = math.prod(source), math.prod(target)
        if self.pairs is not None:
            return self.pairs.astype(np.int32)
        if self.per_target is not None:
            sources = [np.sort(rng.choice(M, self.per_target, replace=False)) for _ in range(N)]
            pairs = np.stack([np.concatenate(sources), np.repeat(np.arange(N), self.per_target)], axis=1)
            return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].astype(np.int32)
        # rows first: how many synapses each source has, if S of all pairs are drawn; memory is that of S
        rows = rng.multivariate_hypergeometric(np.full(M, N), self.count(source, target), method="marginals")
        targets = [np.sort(rng.choice(N, int(k), replace=False)) for k in rows]
        return np.stack([np.repeat(np.arange(M), rows), np.concatenate(targets)], axis=1).astype(np.int32)

    def options(self) -> dict[str, Any]:
        return {"probability": self.probability, "fan_in": self.per_target}
