"""Weights that keep their sign, or their value, as bounds: they hold in every engine, whatever the optimiser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..modelling.connection import sign_of_weights
from ..modelling.connectivity import Synapses
from .connection import ConnectionRecord


def held(connections: Sequence[ConnectionRecord], values: Mapping[str, np.ndarray]) -> dict[str, tuple[Any, Any]]:
    """Bounds that hold whatever an optimiser is told: of delays, and of weights that `sign`, `learned` or a mask hold.

    Args:
        values: of the parameters now: what is not learned keeps them; signs of sources follow the pairs.
    """
    found: dict[str, tuple[Any, Any]] = {}
    for c in connections:
        if c.delays is not None:
            found[c.delays_name] = (0.0, c.delays.limit)
        if c.trainable and not c.shares and c.weight in values and (c.sign is not None or c.learned is not None):
            found[c.weight] = _of(c, values)
    return found


def _of(c: ConnectionRecord, values: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    lower, upper = np.full(c.weight_shape, -np.inf), np.full(c.weight_shape, np.inf)
    by_source = c.drawn and c.sign is not None and c.sign.shape == (c.pre,)
    signs = sign_of_weights(c.sign, c.weight_shape, lambda: _sources(c, values), by_source)
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
