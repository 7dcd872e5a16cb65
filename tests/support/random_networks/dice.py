"""What decides about a random network: a seed here, hypothesis in the tests, which then finds the smallest bad one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np

T = TypeVar("T")


class Dice(Protocol):
    """Decisions, one after the other. The first option is the simplest."""

    def pick(self, options: Sequence[T]) -> T: ...

    def bernoulli(self, probability: float) -> bool: ...

    def numbers(self) -> np.random.Generator:
        """A generator for arrays whose entries need not be shrunk one by one."""
        ...


class Random:
    """Decisions by a seed."""

    def __init__(self, *seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self._rng.integers(len(options)))]

    def bernoulli(self, probability: float) -> bool:
        return bool(self._rng.random() < probability)

    def numbers(self) -> np.random.Generator:
        return np.random.default_rng(int(self._rng.integers(2**32)))
