"""Long recordings of currents as chunks; see `data.events.chunks`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import DataError
from ..events.chunks import chunk_annotations
from .currents import Currents


def chunks(
    currents: Currents, duration: float, dt: float, *, length: float | None = None, labels: Any = None,
    spike_times: Any = None, spans: Any = None,
) -> Currents:  # fmt: skip
    """Recordings of currents cut into chunks of `duration` ms, for `Trainer(..., carry="exact")`.

    Of a network with spikes besides, the spikes are cut likewise, with the same `length`.

    Args:
        currents: S recordings. Where they are mapped and chunks fill them, the values stay on the disk.
        duration: of a chunk in ms, a whole number of steps of `dt`, the network's, and of the currents. length: of all
            recordings in ms; None: that of the currents. Behind these the last chunk is 0.
        labels, spike_times, spans: see `data.events.chunks`.

    Returns:
        The chunks of each recording in order; groups are the indices of the recordings.

    Raises:
        DataError: a chunk that is not a whole number of steps of the currents, currents after `length`, or see
            `data.events.chunks`.

    Example:
        >>> night = Currents(np.ones((1, 3000, 8)), dt=4.0)                # 12 s of 8 channels
        >>> chunks(night, 1000.0, 1.0, labels=[[0, 1] * 6])
        Currents(12 samples, 250 steps of 4 ms, 8 channels, 2 classes)
    """
    each = round(duration / currents.dt)
    if each < 1 or abs(each * currents.dt - duration) > 1e-9 * duration:
        raise DataError(
            f"a chunk of {duration:g} ms is not a whole number of steps of the currents, of {currents.dt:g} ms"
        )
    S, V, M = currents.values.shape
    number = math.ceil(round((currents.duration if length is None else length) / duration, 6))
    values = currents.values
    if V > number * each:
        if np.any(values[:, number * each :]):
            raise DataError(f"the currents go on after their length of {number} chunks; crop them")
        values = values[:, : number * each]
    elif V < number * each:
        values = np.concatenate([values, np.zeros((S, number * each - V, M), values.dtype)], axis=1)
    more = chunk_annotations(currents, np.full(S, number), duration, dt, labels, spike_times, spans)
    return Currents.trusted(values.reshape(S * number, each, M), currents.dt, **more)
