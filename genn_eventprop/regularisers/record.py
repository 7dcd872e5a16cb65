"""What a regulariser of spikes knows without its population: `SpikePush` is the part a plan holds.

Axis letters: B batch, N neurons.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..losses.record import LossFormulas
from .published import published_scale


class PushFormulas:
    """The mathematics of `SpikeRegulariser` and `SpikePush`; their fields say of what and how strong."""

    target: float
    upper: float
    lower: float
    mean: str
    published: bool
    whole_layer: bool

    @property
    def of(self) -> str:
        """Name of the population that is pushed."""
        raise NotImplementedError

    @property
    def size(self) -> int:
        """N, its neurons."""
        raise NotImplementedError

    @property
    def kind(self) -> str:
        """The regulariser's class, for messages."""
        return type(self).__name__

    def strengths(
        self, loss: LossFormulas, duration: float, parameters: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """(upper, lower), (N,) each, at the present parameter values.

        Args:
            loss: whose readout decides about published strengths. duration: T in ms. parameters: values by name.
        """
        size = self.size
        scale = np.ones(1)
        if self.published:
            regularised, output = (_values(p, parameters) for p in (self.of, loss.output))
            scale = published_scale(loss, duration, regularised, output, self.kind)
        scale = scale / size if self.whole_layer else scale
        return np.broadcast_to(self.upper * scale, size), np.broadcast_to(self.lower * scale, size)

    def excess(self, counts: np.ndarray) -> np.ndarray:
        """z - target from spike counts (B, N): (B, N), or (B, 1) for the whole layer, B = 1 for a batch mean."""
        z = counts.sum(axis=1, keepdims=True) if self.whole_layer else counts
        z = z.mean(axis=0, keepdims=True) if self.mean == "batch" else z
        return z - self.target

    @staticmethod
    def push(excess: Any, upper: Any, lower: Any, where: Callable[..., Any], above: Callable[..., Any]) -> Any:
        """What the costate jumps by at this `excess`, with strengths `upper` and `lower`, as in `regularisers.spikes`
        but for 1 / B: of NumPy arrays with `where` and `above` as ``np.where`` and ``np.greater``, of a program's
        expressions with those of `program.nodes`."""
        return where(above(excess, 0), upper, lower) * excess

    def jump(
        self,
        counts: np.ndarray,
        loss: LossFormulas,
        duration: float,
        parameters: Mapping[str, np.ndarray],
        whole: Callable[[np.ndarray], np.ndarray] = lambda counts: counts,
    ) -> np.ndarray:
        """(B, N) what every own spike adds to the costate, from the counts (B, N) of a batch.

        Args:
            loss, duration, parameters: as for `strengths`.
            whole: the counts of the whole batch from these, where these are a part of it.
        """
        upper, lower = self.strengths(loss, duration, parameters)
        excess = self.excess(whole(counts) if self.mean == "batch" else counts)
        return np.broadcast_to(self.push(excess, upper, lower, np.where, np.greater), counts.shape) / len(counts)


@dataclass(frozen=True, eq=False)
class SpikePush(PushFormulas):
    """A spike regulariser as a plan holds it: names instead of objects.

    Args:
        name: of the class that it was made of.
        population: name of the population that is pushed. neurons: N.
        target, upper, lower, mean, published: those of `SpikeRegulariser`.
        whole_layer: the target is that of all neurons together.
    """

    name: str
    population: str
    neurons: int
    target: float
    upper: float
    lower: float
    mean: str
    published: bool
    whole_layer: bool

    @property
    def of(self) -> str:
        return self.population

    @property
    def size(self) -> int:
        return self.neurons

    @property
    def kind(self) -> str:
        return self.name


def _values(population: str, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Parameter -> value of one population."""
    start = f"{population}."
    return {k.removeprefix(start): np.asarray(v, np.float64) for k, v in parameters.items() if k.startswith(start)}
