"""The fitted model by itself beside the recording: V, spikes that coincide, are missing or surplus, rates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from ..engines import Engine
from ..errors import EngineError, ModelError
from .cells import Cells
from .forced import FittedModel
from .rates import measured_rates, rates_of
from .recording import Recording
from .residuals import Residuals

PRECISION = 4.0
"""ms within which a spike of the model is that of the cell."""


@dataclass(frozen=True, eq=False)
class FreeRun:
    """A run of the fitted model that no measured spike resets.

    Attributes:
        voltage: (S, K) at the samples of the recording. spikes: of every sweep, ms.
        error: root mean square of V outside the windows around measured spikes; None without a voltage.
        coincident, missing, surplus: numbers of spikes; those that coincide do so within 4 ms, one to one, in order.
            None where only rates were measured.
        jitter: root mean square of the time between those that coincide, ms; None without any.
        gamma: the coincidence factor, 1 for all spikes and 0 for as many as chance would give; None without spikes
            (Kistler, Gerstner, van Hemmen 1997, doi 10.1162/neco.1997.9.5.1015).
        failure: why the run could not be computed (V is then nan, and there are no spikes); empty if it was.
        rates, measured_rates: (S,) spikes a second of the whole sweep. rate, measured_rate: means over sweeps.
    """

    voltage: np.ndarray
    spikes: tuple[np.ndarray, ...]
    error: float | None
    coincident: int | None
    missing: int | None
    surplus: int | None
    jitter: float | None
    gamma: float | None
    rates: np.ndarray
    measured_rates: np.ndarray
    failure: str = ""

    @property
    def rate(self) -> float:
        """Spikes a second of the model, mean over sweeps."""
        return float(self.rates.mean())

    @property
    def measured_rate(self) -> float:
        """Spikes a second of the cell, mean over sweeps."""
        return float(self.measured_rates.mean())


def free_run(
    fitted: FittedModel,
    recording: Recording,
    values: Mapping[str, float],
    residuals: Residuals,
    threads: int | None,
    within: Callable[[Engine], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> FreeRun:
    """Run the model freely with these values of its parameters.

    Args:
        within: what ends a run of the engine that takes too long, by an `EngineError`.
    """
    values = {n: values[n] for n in fitted.free.params}
    cells = Cells(fitted, recording, 1, [], values, threads=threads)
    grid = np.arange(recording.current.shape[1]) * recording.dt
    failure = ""
    try:
        with within(cells.engine):
            v = cells.states(grid, [fitted.free.readout])[fitted.free.readout][:, :, 0]
            spikes = tuple(sweep[0] for sweep in cells.spikes())
    except (EngineError, ModelError) as trouble:  # a reset above the threshold, dynamics that diverge
        failure = str(trouble)
        v, spikes = np.full(recording.current.shape, np.nan), tuple(np.empty(0) for _ in range(len(recording)))
    finally:
        cells.close()
    error = None
    if residuals.n_voltage and recording.voltage is not None and not failure:
        difference = (v - recording.voltage)[:, residuals.samples][residuals.counts]
        error = float(np.sqrt((difference**2).mean()))
    v = np.where(np.arange(v.shape[1]) < recording.samples[:, None], v, np.nan)
    rates = rates_of(spikes, recording.durations), measured_rates(recording)
    if recording.spikes is None:
        return FreeRun(v, spikes, error, None, None, None, None, None, *rates, failure)
    pairs = [coincidences(ours, theirs) for ours, theirs in zip(spikes, recording.spikes)]
    differences = np.concatenate(pairs)
    n_ours, n_theirs = (sum(map(len, trains)) for trains in (spikes, recording.spikes))
    n = len(differences)
    jitter = float(np.sqrt((differences**2).mean())) if n else None
    together = gamma(n, n_ours, n_theirs, float(recording.durations.sum()))
    return FreeRun(v, spikes, error, n, n_theirs - n, n_ours - n, jitter, together, *rates, failure)


def coincidences(ours: np.ndarray, theirs: np.ndarray, precision: float = PRECISION) -> np.ndarray:
    """Differences in ms of the spikes that coincide, each at most once, the earliest pairs first."""
    found, i, j = [], 0, 0
    while i < len(ours) and j < len(theirs):
        difference = ours[i] - theirs[j]
        if abs(difference) <= precision:
            found.append(difference)
        i, j = i + (difference <= precision), j + (difference >= -precision)
    return np.array(found)


def gamma(coincident: int, ours: int, theirs: int, duration: float, precision: float = PRECISION) -> float | None:
    """(N_coincident - N_chance) / ((N_ours + N_theirs) / 2 (1 - 2 nu precision)), N_chance = 2 nu precision N_theirs.

    nu is the rate of the model. None where it is not defined.
    """
    by_chance = 2 * precision * ours / duration
    if ours + theirs == 0 or by_chance >= 1:
        return None
    return (coincident - by_chance * theirs) / (0.5 * (ours + theirs) * (1 - by_chance))
