"""Bounds that hold in every engine, whatever the optimiser: weights that keep their sign or their value, and delays.

A weight that is not learned is a weight whose bounds are equal. So an update needs no list of weights to leave out, and
no moment or decay of an optimiser can move it: every engine clips after its step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..modelling.connection import sign_of_weights
from ..modelling.connectivity import Synapses
from .connection import ConnectionRecord


def enforced_bounds(
    connections: Sequence[ConnectionRecord], values: Mapping[str, np.ndarray]
) -> dict[str, tuple[Any, Any]]:
    """Parameter -> (lower, upper), of delays and of weights with `sign`, `learned` or a mask.

    Args:
        values: of the parameters now: those that are not learned stay there; signs of sources follow the pairs.
    """
    bounds: dict[str, tuple[Any, Any]] = {}
    for c in connections:
        if c.delays is not None:
            bounds[c.delays_name] = (0.0, c.delays.limit)
        if c.trainable and not c.shares and c.weight in values and (c.sign is not None or c.learned is not None):
            bounds[c.weight] = _bounds_of_weights(c, values)
    return bounds


def _bounds_of_weights(c: ConnectionRecord, values: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
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
    sources = np.empty(len(table), np.int64)
    sources[table.weights] = table.source
    return sources
