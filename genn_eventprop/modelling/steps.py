"""Times in ms as whole steps of a grid: in float64, the same for every engine; see `plan/clock.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

LONGEST = 1 << 30
"""Steps; what lasts longer never ends, and k + LONGEST still is an int32."""


def as_float64(times: Any) -> np.ndarray:
    """Times as float64; of float32 the shortest decimal numbers that have these float32 values."""
    times = np.asarray(times)
    return times.astype(str).astype(np.float64) if times.dtype == np.float32 else times.astype(np.float64)


def to_steps(times: Any, dt: float) -> np.ndarray:
    """int64 floor(t / dt + 0.5) of delays and durations (ms), at most `LONGEST`."""
    times = np.asarray(times)
    steps = np.asarray(times.astype(np.float64) / dt + 0.5)
    if times.dtype == np.float32:  # decimal numbers only where they could be on the other side of a whole number
        near = np.abs(steps - np.rint(steps)) <= 2**-23 * np.abs(steps)
        steps[near] = as_float64(times[near]) / dt + 0.5
    return np.minimum(np.floor(steps), LONGEST).astype(np.int64)
