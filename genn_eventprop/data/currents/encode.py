"""Encoders: analogue values to currents.

Axis letters: S samples, C values (pixels, sensors) of a sample.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..events.encode import unit_range
from .currents import Currents


def constant(
    values: np.ndarray, labels: Any = None, duration: float = 20.0, gain: float = 1.0, **annotations: Any
) -> Currents:
    """A constant current gain x per channel for `duration` ms: images for `mnist.load_events(path, split, constant)`.

    Args:
        values: (S, ...) x from 0 to 1, or unsigned integers, which are divided by the largest of their type.
        annotations: groups, n_classes, name, targets.
    """
    scaled = (gain * unit_range(values)).astype(np.float32)
    return Currents.constant(scaled, duration, labels=labels, **annotations)
