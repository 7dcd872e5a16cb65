"""All rounding of times to steps of the grid: in float64, on the host, here and in `modelling/steps.py`, nowhere else.

A time of t ms lies on step floor(t / dt + 0.5), where t is the float64 nearest to the decimal number that was meant: a
parameter kept in float32 is read as the shortest decimal number that has this float32. So 0.3 ms on steps of 0.2 ms is
the same number of steps in every engine, whatever it computes in. Engines are handed whole numbers of steps.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..adjoint import Derived
from ..errors import LossError, PlanError
from ..modelling.memory import in_words, physical_memory
from ..modelling.steps import LONGEST, as_float64, to_steps

__all__ = [
    "LONGEST",
    "as_float64",
    "input_steps",
    "mode_steps",
    "number_of_steps",
    "to_steps",
    "window_steps",
]

BLOCK = 1 << 20
"""Spikes quantised together: the temporary arrays of a large data set stay small."""


def number_of_steps(duration: float, dt: float) -> int:
    """Steps of a trial of `duration` ms.

    Raises:
        PlanError: if it is not a whole number of steps, or more than this machine can remember.
    """
    n_steps = round(min(duration / dt, 1e300))
    if 8 * n_steps > physical_memory():
        raise PlanError(
            f"{duration:g} ms in steps of {dt:g} ms are {n_steps:.3g} steps: one number per step takes "
            f"{in_words(8 * n_steps)}, this machine has {in_words(physical_memory())} of memory; use a larger dt (with "
            "exact spike times 1 ms is as good) or a shorter trial"
        )
    if n_steps < 1 or abs(n_steps * dt - duration) > 1e-9 * duration:
        nearest = max(1, n_steps)
        raise PlanError(
            f"duration {duration:g} ms is not a whole number of steps of {dt:g} ms; "
            f"use duration={nearest * dt:.12g} or dt={duration / nearest!r}"
        )
    return n_steps


def input_steps(times: np.ndarray, dt: float, shift: float, last: int) -> tuple[np.ndarray, int]:
    """(E,) int32 min(floor(t / dt + shift), last) of times that are not negative, and how many were beyond `last`.

    shift: 0.5 for the nearest step, 0 for the step that a time is in. `data.augment.kernels.to_steps` is it, compiled.
    """
    steps, clipped = np.empty(len(times), np.int32), 0
    for start in range(0, len(times), BLOCK):
        scaled = times[start : start + BLOCK] / dt
        scaled += shift
        clipped += int(np.count_nonzero(scaled >= last + 1))
        # before the cast: a time may be beyond int32; cutting the fraction off is floor for what is not negative
        steps[start : start + BLOCK] = np.minimum(scaled, last)
    return steps, clipped


def mode_steps(d: Derived, values: Mapping[str, np.ndarray], dt: float) -> dict[str, np.ndarray]:
    """Parameter -> steps that a timed mode lasts, (1,) or (N,), for every parameter that is such a duration."""
    return {n: to_steps(values[n], dt) for n in d.durations}


def window_steps(window: tuple[float, float], dt: float) -> tuple[int, int]:
    """First step of a readout's window (ms), and the first step behind it.

    Raises:
        LossError: if it does not begin and end at whole steps.
    """
    first, last = (round(t / dt) for t in window)
    if any(abs(t / dt - k) > 1e-6 for t, k in zip(window, (first, last))):
        raise LossError(
            f"the window of {window[0]:g} to {window[1]:g} ms does not begin and end at whole steps of {dt:g} ms; "
            f"use window=({first * dt:g}, {max(last, first + 1) * dt:g})"
        )
    return first, last
