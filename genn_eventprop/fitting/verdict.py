"""How much a fitted model explains of a recording, beside a null model and the cell itself.

    V         1 - sum (V_model - V)^2 / sum (V - mean of V in its sweep)^2, over the samples of all sweeps outside the
              windows around spikes, those of the cell and those of the model, where models have no action potential
              (Pozzorini et al. 2015, doi 10.1371/journal.pcbi.1004275, whose model has the cell's spikes; here it has
              its own, so that a reset at the wrong time counts)
    spikes    the coincidence factor of `compare.gamma` (Kistler, Gerstner, van Hemmen 1997; Jolivet, Lewis, Gerstner
              2004, doi 10.1152/jn.00190.2004), all sweeps together
    rates     1 - sum (rate_model - rate)^2 / sum (rate - mean rate)^2 over sweeps, where nothing else was measured

The null model is fitted to the same sweeps as the model: a passive membrane, V = E + R (current, filtered by one time
constant), and evenly spaced spikes at the cell's mean rate. The cell itself is known where sweeps repeat a stimulus:
half the mean squared difference of two of them is what no function of the stimulus explains, and the coincidence factor
of pairs is its reliability (Jolivet et al. 2008, doi 10.1016/j.jneumeth.2007.11.006).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from .compare import PRECISION, FreeRun, coincidences, gamma
from .rates import measured_rates
from .recording import Recording
from .residuals import Residuals, outside

LITTLE = 0.8
"""Of the variance or of coincidences: a model that explains less explains little."""
REPEATED = 1e-3
"""Stimuli whose mean squared difference is less than this part of their variance are one, recorded twice."""
CONSTANT = 1e-12
"""Variance, relative to the mean square, of what only rounding changes."""
BLOCK = 64
"""Samples that are filtered at once."""
PAIRS = 300
"""Of repeated sweeps that are compared, at most, evenly chosen among all."""
TIME_CONSTANTS = np.geomspace(0.5, 300.0, 60)
"""ms, of the passive membranes of which the null model is the best."""

Spikes = Sequence[np.ndarray]


@dataclass(frozen=True)
class Score:
    """What something explains, see the module; 1 is all, None is what was not measured or does not vary.

    Attributes:
        voltage: part of the variance of V. spikes: the coincidence factor. rates: part of the variance of rates.
    """

    voltage: float | None = None
    spikes: float | None = None
    rates: float | None = None

    @property
    def little(self) -> bool:
        """Whether it is less than 80 % of something that was measured."""
        return any(x is not None and x < LITTLE for x in (self.voltage, self.spikes, self.rates))

    @property
    def mean(self) -> float:
        """Over V and spikes, as far as they were measured; -inf where they were not, or could not be computed."""
        known = [x for x in (self.voltage, self.spikes) if x is not None]
        return sum(known) / len(known) if known else -np.inf

    def __str__(self) -> str:
        parts = (
            (self.voltage, "% of the variance of V"),
            (self.spikes, "% of coincidences"),
            (self.rates, "% of the variance of rates"),
        )
        return " and ".join(f"{100 * value:.3g} {of}" for value, of in parts if value is not None)


@dataclass(frozen=True)
class Verdict:
    """See the module.

    Attributes:
        sweeps: how many were judged. held_out: whether the model was not fitted to them.
        precision: ms within which spikes coincide: 4, or a quarter of the mean interval where that is shorter, since
            chance alone would make most of such spikes coincide.
        model, null, cell: what each explains. failure: why the model could not be computed; empty if it was.
    """

    sweeps: int
    held_out: bool
    precision: float
    model: Score
    null: Score
    cell: Score
    failure: str = ""

    @property
    def little(self) -> bool:
        """Whether the model explains less than 80 % of something that was measured."""
        return bool(self.failure) or self.model.little

    def __str__(self) -> str:
        sweeps = "sweep" if self.sweeps == 1 else f"{self.sweeps} sweeps"
        of = f"the {sweeps} held out" if self.held_out else f"the {sweeps} it was fitted to, as none was held out"
        if self.failure:
            return f"explains nothing of {of}: by itself the model cannot be computed ({self.failure})"
        if not str(self.model):
            return f"nothing varies in {of}, so that there is nothing to explain"
        within = "" if self.model.spikes is None else f" within {self.precision:.3g} ms"
        text = f"{'explains little: only ' if self.little else 'explains '}{self.model}{within} of {of}"
        if str(self.null):
            text += f"; a passive membrane with evenly spaced spikes {self.null}"
        if str(self.cell):
            text += f"; the cell, where it repeats itself, {self.cell}"
        return text


def judge(fitted: Residuals, held_out: Residuals | None, run: FreeRun) -> Verdict:
    """The verdict on the free run of the sweeps that were held out, or else of those that were fitted."""
    judged = fitted if held_out is None else held_out
    rec, spikes = judged.recording, judged.recording.spikes
    ours, theirs = (_from(trains, judged.skip) for trains in (run.spikes, spikes or ()))
    if spikes is None:
        rates = explained(run.rates[None], run.measured_rates[None], np.ones((1, len(rec)), bool))
        model, null = Score(rates=rates), Score()
    else:
        null_voltage, null_spikes = null_model(fitted, judged)
        model, null = (
            score(judged, v, trains)
            for v, trains in ((run.voltage[:, judged.samples], run.spikes), (null_voltage, null_spikes))
        )
    within = precision(ours, theirs, _duration(judged, range(len(rec))))
    return Verdict(len(rec), held_out is not None, within, model, null, reliability(judged), run.failure)


def score(judged: Residuals, v: np.ndarray, spikes: Spikes, sweeps: Sequence[int] | None = None) -> Score:
    """What V (S, R) at the samples of `judged`, and spikes, explain of it, or of some sweeps."""
    of = range(len(judged.recording)) if sweeps is None else sweeps
    trains = [_from(trains, judged.skip) for trains in (spikes, judged.recording.spikes or ())]
    ours, theirs = ([train[s] for s in of] for train in trains)
    return Score(_voltage(judged, v, spikes, of), coincidence(ours, theirs, _duration(judged, of)))


def explained(predicted: np.ndarray, measured: np.ndarray, counts: np.ndarray) -> float | None:
    """The part of the variance within rows (N, R) that is explained, where `counts` (N, R); None without a variance."""
    number = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    known = np.where(counts, measured, 0.0)
    variation = np.where(counts, measured - known.sum(axis=1, keepdims=True) / number, 0.0)
    total = float((variation**2).sum())
    if total <= CONSTANT * float((known**2).sum()):
        return None
    return 1.0 - float(((predicted - measured)[counts] ** 2).sum()) / total


def precision(ours: Spikes, theirs: Spikes, duration: float) -> float:
    """ms within which spikes coincide, see `Verdict`."""
    return min(PRECISION, duration / (4 * max(1, *(sum(map(len, trains)) for trains in (ours, theirs)))))


def coincidence(ours: Spikes, theirs: Spikes, duration: float) -> float | None:
    """The coincidence factor of sweeps of `duration` ms together; None without a spike."""
    within = precision(ours, theirs, duration)
    n = sum(len(coincidences(a, b, within)) for a, b in zip(ours, theirs, strict=True))
    return gamma(n, sum(map(len, ours)), sum(map(len, theirs)), duration, within)


def null_model(fitted: Residuals, judged: Residuals) -> tuple[np.ndarray, Spikes]:
    """V (S, R) at the samples of `judged` (nan where V was not measured), and spikes, see the module."""
    rec = fitted.recording
    voltage = np.full(judged.counts.shape, np.nan)
    if fitted.n_voltage and rec.voltage is not None:
        target, best = rec.voltage[:, fitted.samples][fitted.counts], np.inf
        for tau in TIME_CONSTANTS:
            filtered = _filtered(fitted, tau)[fitted.counts]
            columns = np.stack([np.ones_like(filtered), filtered], axis=1)
            coefficients, *_ = np.linalg.lstsq(columns, target, rcond=None)
            if (error := float(((columns @ coefficients - target) ** 2).sum())) < best:
                best, voltage = error, coefficients[0] + coefficients[1] * _filtered(judged, tau)
    rate = measured_rates(rec) @ rec.durations / rec.durations.sum() / 1000.0  # a ms
    spikes = [
        (np.arange(int(rate * duration)) + 0.5) / rate if rate else np.empty(0)
        for duration in judged.recording.durations
    ]
    return voltage, spikes


def reliability(judged: Residuals) -> Score:
    """What the cell explains of itself, from pairs of sweeps with one stimulus; nothing without such pairs."""
    rec, spikes = judged.recording, judged.recording.spikes
    pairs = [(i, j) for i, j in permutations(range(len(rec)), 2) if _repeats(rec, i, j)]
    if not pairs or spikes is None:
        return Score()
    i, j = np.transpose(pairs[:: len(pairs) // PAIRS + 1])
    duration = float(np.maximum(rec.durations[i] - judged.skip, 0.0).sum())
    trains = _from(spikes, judged.skip)
    together = coincidence([trains[k] for k in i], [trains[k] for k in j], duration)
    if rec.voltage is None:
        return Score(None, together)
    v = rec.voltage[:, judged.samples]
    other = explained(v[i], v[j], judged.counts[i] & judged.counts[j])
    return Score(None if other is None else (1 + other) / 2, together)


def _repeats(recording: Recording, i: int, j: int) -> bool:
    """Whether two sweeps have one stimulus."""
    if (length := recording.samples[i]) != recording.samples[j]:
        return False
    a, b = recording.current[i, :length], recording.current[j, :length]
    return bool(((a - b) ** 2).mean() <= REPEATED * min(a.var(), b.var()))


def _voltage(judged: Residuals, v: np.ndarray, spikes: Spikes, sweeps: Sequence[int]) -> float | None:
    """What V (S, R) of something that spikes explains of sweeps."""
    measured, counts = judged.recording.voltage, np.zeros_like(judged.counts)
    counts[sweeps] = judged.counts[sweeps]
    if measured is None or np.isnan(v[counts]).any():
        return None
    for row, times in zip(counts, spikes):
        row &= outside(judged.grid, times, judged.window)
    return explained(v, measured[:, judged.samples], counts)


def _filtered(residuals: Residuals, tau: float) -> np.ndarray:
    """(S, R) the current between samples, filtered with tau ms, which each sweep begins at rest."""
    stride = residuals.samples[1] if len(residuals.samples) > 1 else 1
    current = np.add.reduceat(residuals.recording.current, residuals.samples, axis=1)
    current /= np.diff(np.append(residuals.samples, residuals.recording.current.shape[1]))
    # blocks of samples, since a loop over each sample takes longer than many a fit
    k = np.arange(BLOCK + 1)
    decay = np.exp(-stride * residuals.recording.dt / tau)
    kernel = np.where(k[:-1, None] < k, (1 - decay) * decay ** np.maximum(k - 1 - k[:-1, None], 0), 0.0)
    filtered, state = np.empty_like(current), current[:, 0]
    for start in range(0, current.shape[1], BLOCK):
        block = current[:, start : start + BLOCK]
        n = block.shape[1]
        rows = state[:, None] * decay ** k[: n + 1] + block @ kernel[:n, : n + 1]
        filtered[:, start : start + n], state = rows[:, :n], rows[:, n]
    return filtered


def _duration(judged: Residuals, sweeps: Sequence[int]) -> float:
    """ms that count, these sweeps together."""
    return float(np.maximum(judged.recording.durations[sweeps] - judged.skip, 0.0).sum())


def _from(spikes: Spikes, skip: float) -> list[np.ndarray]:
    return [times[times >= skip] for times in spikes]
