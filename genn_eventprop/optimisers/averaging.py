"""The exponential moving average of the parameters, which an optimiser keeps beside them in its state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import CheckpointError, SettingError

AVERAGING = "average = average + average_rate * (x - average)\n"
"""Stands before the step: it takes in what the last step left, with bounds applied and with changes by callbacks."""


class Averaging:
    """Average of the parameters x_1, x_2, ... after each of k steps, with rate r_k = max(1 - average, 1 / k):

    a_k = a_{k-1} + r_k (x_k - a_{k-1}).

    This is the plain mean at first, so that nothing is left of the initial values, and later an exponential moving
    average over some 1 / (1 - average) steps. It lies within constant bounds because all x do.

    Source: Polyak & Juditsky 1992, doi 10.1137/0330046; the rate as in `ExponentialMovingAverage` of TensorFlow, which
    starts with a similar mean.
    """

    average: float | None
    """Decay of the average, 0 < average < 1; None: no average."""
    averaged: int
    """k: steps since the average began."""
    state: dict[str, dict[str, np.ndarray]]
    name: str

    def _check_average(self) -> None:
        number = isinstance(self.average, (int, float, np.number))
        if self.average is not None and not (number and 0 < self.average < 1):
            raise SettingError(
                f"{self.name}: average must lie between 0 and 1, e.g. 0.99, or be None; got {self.average!r}"
            )

    def average_rate(self) -> float:
        """r_k for the parameters as they are now."""
        assert self.average is not None
        return max(1 - self.average, 1 / max(self.averaged, 1))

    def averages(self, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """a_k of the learned ones among the current `parameters`; empty if no average is kept."""
        if self.average is None:
            return {}
        if self.averaged == 0:
            return {name: np.array(parameters[name]) for name in self.state}
        rate, found = self.average_rate(), {}
        for name, state in self.state.items():
            x, before = np.asarray(parameters[name]), np.asarray(state["average"])
            found[name] = before + np.asarray(rate, x.dtype) * (x - before)
        return found

    def restart_average(self) -> None:
        """Forget what was averaged, after the parameters were replaced."""
        self.averaged = 0

    def _average_info(self) -> dict[str, Any]:
        return {} if self.average is None else {"average": self.average, "averaged": self.averaged}

    def _load_average(self, info: Mapping[str, Any]) -> None:
        if info.get("average") != self.average:
            raise CheckpointError(
                f"the checkpoint was written with average={info.get('average')} of optimiser {self.name}, this run has "
                f"average={self.average}"
            )
        self.averaged = int(info.get("averaged", 0))
