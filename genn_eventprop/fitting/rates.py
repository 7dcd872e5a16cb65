"""Rates as a loss: how many spikes a free run has in every sweep, as a number that changes with every parameter.

The number of spikes is a whole one, and its derivative says nothing. Here it also counts how far the next spike is on
its way at the time t:

    n(t) = N(t) + e / (e + r),    e  the time since the last spike, or since the beginning
                                  r  the time that V still needs to the threshold, see `Residuals.time_to_threshold`

Where a spike happens just before t, e is 0, and where one is just about to happen, r is 0, so that n is continuous when
a spike is born or dies at t; and a silent neuron is drawn to the threshold. A sweep in which N spikes were counted is
one with N + 1/2 on average, with an error of up to a half; one without spikes is right for any n below 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .cells import Cells
from .forced import FittedModel
from .recording import Recording
from .residuals import Residuals, Values


class Rates:
    """The residuals of the rates of copies of the free model.

    Args:
        residuals: of the same recording, whose `skip` is not counted. size, varied, fixed, threads: as for `Cells`.
        noise: standard deviation of a rate, in spikes a second; None: half a spike a sweep.
    """

    def __init__(
        self,
        residuals: Residuals,
        size: int,
        varied: Sequence[str],
        fixed: Mapping[str, float],
        noise: float | None,
        threads: int | None,
    ) -> None:
        recording, self.residuals = residuals.recording, residuals
        self.fitted: FittedModel = residuals.fitted
        self.cells = Cells(self.fitted, recording, size, varied, fixed, threads=threads)
        self.times = np.unique([residuals.skip, *recording.durations])
        self.ends = np.searchsorted(self.times, recording.durations)
        seconds = (recording.durations - residuals.skip) / 1000
        self.measured = measured_rates(recording, residuals.skip) * seconds
        self.deviation = 0.5 if noise is None else noise * seconds

    @property
    def size(self) -> int:
        """Number of residuals."""
        return len(self.measured)

    def of(self, values: np.ndarray, params: Mapping[str, np.ndarray | float], rest: float) -> np.ndarray:
        """(copies, S): those of copies with these `values` (copies, varied); params, rest: as for `Residuals.of`."""
        self.cells.set(values)
        states = self.cells.states(self.times, [*self.fitted.free.state])
        begins = np.zeros(len(self.ends), int)
        counts = self._count(self.ends, states, params, rest) - self._count(begins, states, params, rest)
        aim = self.measured[:, None]
        off = np.where(aim > 0, counts - aim - 0.5, np.maximum(counts - 1.0, 0.0))
        return off.T / self.deviation

    def _count(self, at: np.ndarray, states: Mapping[str, np.ndarray], params: Values, rest: float) -> np.ndarray:
        """(S, copies) n at the times with these numbers (S,), see the module."""
        t = self.times[at]
        before = [[times[times < end] for times in sweep] for sweep, end in zip(self.cells.spikes(), t)]
        number = np.array([[len(times) for times in sweep] for sweep in before])
        elapsed = t[:, None] - np.array([[times[-1] if len(times) else 0.0 for times in sweep] for sweep in before])
        # at rest, as long as the sweep: half a spike
        least = rest / self.residuals.recording.durations
        remaining = np.array([
            self.residuals.time_to_threshold({n: x[sweep, at[sweep]] for n, x in states.items()}, params, least[sweep])
            for sweep in range(len(number))
        ])  # fmt: skip
        return number + elapsed / np.maximum(elapsed + np.maximum(remaining, 0.0), 1e-300)


def measured_rates(recording: Recording, skip: float = 0.0) -> np.ndarray:
    """(S,) spikes a second after `skip` ms: those that were counted, or the rates that are given."""
    if recording.spikes is None:
        assert recording.rates is not None
        return recording.rates
    return rates_of(recording.spikes, recording.durations, skip)


def rates_of(spikes: Sequence[np.ndarray], durations: np.ndarray, skip: float = 0.0) -> np.ndarray:
    """(S,) spikes a second of spike times, after `skip` ms."""
    return np.array([(times >= skip).sum() for times in spikes]) / ((durations - skip) / 1000)
