"""Weights that keep their sign, or their value, as bounds: they hold in every engine, whatever the optimiser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..modelling.connection import sign_of_weights
from ..modelling.connectivity import Synapses
from .connection import ConnectionRecord

Limits = Mapping[str, tuple[Any, Any]]


def held(
    connections: Sequence[ConnectionRecord], limits: Limits, values: Mapping[str, np.ndarray]
) -> dict[str, tuple[Any, Any]]:
    """Bounds of the weights that `sign`, `learned` or a mask hold, tightened.

    Args:
        values: of the parameters now: what is not learned keeps them; signs of sources follow the pairs.
    """
    found = {}
    for c in connections:
        if c.trainable and c.weight in values and (c.sign is not None or c.learned is not None):
            found[c.weight] = _of(c, *limits.get(c.weight, (None, None)), values)
    return found


def _of(c: ConnectionRecord, low: Any, high: Any, values: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    lower = np.full(c.weight_shape, -np.inf if low is None else low)
    upper = np.full(c.weight_shape, np.inf if high is None else high)
    signs = sign_of_weights(c.sign, c.weight_shape, lambda: _sources(c, values))
    if signs is not None:
        lower, upper = (
            np.where(signs > 0, np.maximum(lower, 0), lower),
            np.where(signs < 0, np.minimum(upper, 0), upper),
        )
    if c.learned is not None:
        weight = np.asarray(values[c.weight], np.float64)
        lower, upper = np.where(c.learned, lower, weight), np.where(c.learned, upper, weight)
    return lower, upper


def _sources(c: ConnectionRecord, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """(S,) the source of every weight."""
    table = c.table if c.table is not None else Synapses.of_pairs(values[c.pairs], c.pre, c.post)
    found = np.empty(len(table), np.int64)
    found[table.weights] = table.source
    return found
