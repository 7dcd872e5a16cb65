"""Options of a fit: keywords of `fit`, and options of the command line."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import SettingError, shown
from .recording import is_number, is_pair


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """What counts in a fit, and how long it goes on; all are keywords of `fit`.

    Args:
        starts: Number of random starts.
        seed: Random seed of the starts.
        window: Time in ms before and after a measured spike in which V does not count: models have no action potential
            there. Default: as long as the recording's action potentials are, see `Recording.window`.
        skip: Time in ms at the start of every sweep that does not count.
        every: Time in ms between the samples of V that count, rounded to whole samples.
        voltage_noise: Standard deviation of errors of V, which weighs them against those of spikes; default: a third of
            the deviation of V, since a model's errors persist over many samples.
        spike_noise: Standard deviation of errors of spike times, in ms; with None in Python, spikes reset the model and
            do not count.
        rate_noise: Standard deviation of the rate of a sweep, in spikes a second. With it, rates of free runs count
            too; default: only where they are all that is known, with half a spike a sweep.
        steps: Largest number of steps of the last stage.
        time_limit: Seconds for a cell, after which the best fit so far is the result, which says so.
        threads: Number of threads on which sweeps run; default: all processors.
        progress: Show a progress bar.

    Raises:
        SettingError: values that cannot be used.

    Example:
        >>> from genn_eventprop.fitting import FitOptions
        >>> FitOptions(starts=3, skip=20.0).every
        0.5
    """

    starts: int = 5
    seed: int = 0
    window: tuple[float, float] | None = None
    skip: float = 0.0
    every: float = 0.5
    voltage_noise: float | None = None
    spike_noise: float | None = 0.5
    rate_noise: float | None = None
    steps: int = 60
    time_limit: float | None = None
    threads: int | None = None
    progress: bool = True

    def __post_init__(self) -> None:
        for name, least in (("starts", 1), ("steps", 1), ("seed", 0), ("threads", 1)):
            number = getattr(self, name)
            whole = isinstance(number, (int, np.integer)) and not isinstance(number, bool) and number >= least
            if not whole and not (name == "threads" and number is None):
                raise SettingError(f"{name} must be a whole number of at least {least}, got {shown(number)}")
        if not isinstance(self.progress, (bool, np.bool_)):
            raise SettingError(f"progress must be True or False, got {shown(self.progress)}")
        if not is_number(self.every) or self.every <= 0:
            raise SettingError(f"every must be a positive time in ms, got {shown(self.every)}")
        if not is_number(self.skip) or self.skip < 0:
            raise SettingError(f"skip must be a time in ms, at least 0, got {shown(self.skip)}")
        if self.time_limit is not None and not (is_number(self.time_limit) and self.time_limit > 0):
            raise SettingError(f"time_limit must be a positive number of seconds or None, got {shown(self.time_limit)}")
        window = self.window
        if window is not None and not (is_pair(window) and all(w >= 0 for w in window)):
            raise SettingError(f"window must be two times in ms, before and after a spike, got {shown(window)}")
        for name in ("voltage_noise", "spike_noise", "rate_noise"):
            noise = getattr(self, name)
            if noise is not None and not (is_number(noise) and noise > 0):
                raise SettingError(f"{name} must be a positive number or None, got {shown(noise)}")
