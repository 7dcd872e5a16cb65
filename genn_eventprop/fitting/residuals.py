"""What a fit makes small: differences between recording and forced model.

Residuals, each over its standard deviation:

    voltage   V(t) - measured V(t), at samples outside the windows around measured spikes. In an upstroke a small error
              of time is a large one of V, so the variance is voltage_noise^2 + (spike_noise dV/dt)^2, measured dV/dt
    spikes    by how much the own crossing is off the measured spike: -lead if it came too early; if it has not come,
              the time that V still needs to the threshold where g = 0, the other states as they are:

                  x = integral from V to V_threshold of dV / (d/2 + sqrt(d^2/4 + s^2)),
                  d = dV/dt, s = |g at rest| / 10 s,

              which is dV / (dV/dt) wherever V rises, and of which 10 ms asinh(x / 10 ms) counts. So a spike that is a
              little late counts like one that is as early, and a model that is silent is pushed; an early crossing
              without a spike (a surplus one) counts by its lead at the next spike, or at the end of the sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import sympy as sp

from ..modelling.expressions import numpy_function, parse
from .forced import FittedModel
from .recording import Recording

SLOWEST = 1e4
"""ms in which V goes from rest to the threshold, at the least speed that counts."""
LATE = 10.0
"""ms: a spike that is later counts by the logarithm of its lateness."""
NODES, WEIGHTS = (0.5 * (x + y) for x, y in zip(np.polynomial.legendre.leggauss(12), (1.0, 0.0)))
"""Of Gauss and Legendre, for integrals from 0 to 1."""


class Residuals:
    """The residuals of copies of the forced model, see the module.

    Args:
        window: ms before and after a measured spike in which V does not count. skip: ms at the beginning of a sweep.
        every: ms between the samples of V that count, rounded to whole samples. voltage_noise, spike_noise: standard
            deviations, in the unit of V and in ms; None leaves that part out.
    """

    def __init__(
        self,
        fitted: FittedModel,
        recording: Recording,
        *,
        window: tuple[float, float],
        skip: float,
        every: float,
        voltage_noise: float | None,
        spike_noise: float | None,
    ) -> None:
        rec, spikes = recording, recording.spikes or ()
        if recording.spikes is None:  # rates alone: nothing resets the model, see `fitting.rates`
            voltage_noise = spike_noise = None
        self.fitted, self.recording, self.skip, self.window = fitted, recording, skip, window
        self.voltage_noise, self.spike_noise = voltage_noise, spike_noise
        stride = max(1, round(every / rec.dt))
        self.every, self.samples = stride * rec.dt, np.arange(0, rec.current.shape[1], stride)
        self.grid = grid = self.samples * rec.dt
        self.counts = np.zeros((len(rec), len(grid)), bool)
        if rec.voltage is not None and voltage_noise is not None:
            self.counts = np.isfinite(rec.voltage[:, self.samples]) & (grid >= skip)
            for sweep, times in enumerate(spikes):
                self.counts[sweep] &= outside(grid, times, window)
        # each measured spike, and the end of the sweep, before which a surplus crossing counts too
        self.ends = (
            [np.append(times[times >= skip], end) for times, end in zip(spikes, rec.durations)]
            if spike_noise is not None
            else []
        )
        self.times = np.unique(np.concatenate([grid[self.counts.any(axis=0)], *self.ends]))
        self.at_grid = np.minimum(np.searchsorted(self.times, grid), max(len(self.times) - 1, 0))
        self.at_ends = [np.searchsorted(self.times, ends) for ends in self.ends]
        self._threshold = _threshold_of(fitted)
        self.names = [*fitted.forced.state] if self.ends else [fitted.forced.readout]
        self.n_voltage = int(self.counts.sum())
        self._deviation = self._deviations() if self.n_voltage else np.ones(self.counts.shape)

    def _deviations(self) -> np.ndarray:
        """(S, R) standard deviations of V, see the module."""
        assert self.recording.voltage is not None and self.voltage_noise is not None
        rises = np.abs(np.nan_to_num(np.diff(self.recording.voltage[:, self.samples], axis=1))) / self.every
        edge = np.zeros((len(rises), 1))
        steepest = np.maximum(np.hstack([edge, rises]), np.hstack([rises, edge]))
        return np.hypot(self.voltage_noise, (self.spike_noise or 0.0) * steepest)

    @property
    def size(self) -> int:
        """Number of residuals."""
        return self.n_voltage + sum(map(len, self.ends))

    @property
    def n_spikes(self) -> int:
        """Measured spikes that count."""
        return sum(len(ends) - 1 for ends in self.ends)

    def distance_at_rest(self, params: Mapping[str, float]) -> float:
        """|g| of the initial state, in the unit of the threshold; 1 if it is 0."""
        model = self.fitted.free
        symbols = model.symbols()
        given = {symbols[n]: params[n] for n in model.params}
        initial = {s: float(parse(x, symbols, model.name).subs(given)) for s, x in model.state.items()}
        return abs(float(self._threshold({**params, **initial})[0])) or 1.0

    def time_to_threshold(self, states: Mapping[str, np.ndarray], params: Values, least: float) -> np.ndarray:
        """(..., copies) ms, see the module; negative beyond the threshold. least: speed where dV/dt is 0."""
        readout = self.fitted.free.readout
        g, slope, _ = self._threshold({**params, **states})
        distance = -g / np.where(slope == 0, 1.0, slope)  # of V; thresholds are linear in it
        time = np.zeros(g.shape)
        for node, weight in zip(NODES, WEIGHTS):
            at = {**params, **states, readout: states[readout] + node * distance}
            half = self._threshold(at)[2] / 2
            # half + hypot(half, least), without the difference of nearly equal numbers where V falls
            rise = np.hypot(half, least) + np.abs(half)
            time += weight / np.where(half > 0, rise, least**2 / rise)
        return distance * time

    def of(
        self, states: Mapping[str, np.ndarray], params: Mapping[str, np.ndarray | float], rest: float, coupling: float
    ) -> np.ndarray:
        """(copies, residuals): those of V, sweep by sweep, then those of spikes.

        With a coupling, V hardly differs from the measured one, and its residual is multiplied by 1 + coupling times
        1 ms; spikes then count by how far the threshold is at the measured times, however often it was crossed
        before, and not at all where V diverges.

        Args:
            states: at `times`, as `Cells.states` gives them. params: (copies,) or a number each. rest: see
                `distance_at_rest`.
        """
        parts = []
        if self.n_voltage:
            assert self.recording.voltage is not None and self.voltage_noise is not None
            v = states[self.fitted.forced.readout][:, self.at_grid]
            error = (v - self.recording.voltage[:, self.samples, None]) * ((1 + coupling) / self._deviation)[:, :, None]
            parts.append(error[self.counts])
        for sweep, at in enumerate(self.at_ends):
            assert self.spike_noise is not None
            here = {n: x[sweep, at] for n, x in states.items()}
            lead = here[self.fitted.lead]
            needed = LATE * np.arcsinh(self.time_to_threshold(here, params, rest / SLOWEST) / LATE)
            if coupling > 0:
                off = np.zeros_like(needed) if self.fitted.diverges else needed
            else:
                off = np.where(lead > 0, -lead, np.maximum(needed, 0.0))
            # a sweep ends without a spike
            off[-1] = 0.0 if coupling > 0 else -lead[-1]
            parts.append(off / self.spike_noise)
        return np.concatenate(parts).T


Values = Mapping[str, np.ndarray | float]


def outside(grid: np.ndarray, spikes: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """(R,) whether a time of `grid` is outside the windows around all spikes, ms before and after each."""
    far = np.ones(len(grid), bool)
    for t in spikes:
        far &= (grid < t - window[0]) | (grid > t + window[1])
    return far


def _threshold_of(fitted: FittedModel) -> Callable[[Values], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """A function of the values of states and parameters that gives g, dg/dV and dV/dt of the model without spikes."""
    model, symbols = fitted.free, fitted.free.symbols()
    g = parse(fitted.spike.threshold, symbols, model.name)
    rate = parse(model.dynamics[model.readout], symbols, model.name)
    names = [*model.state, *model.params]
    compiled = numpy_function([symbols[n] for n in names], [g, sp.diff(g, symbols[model.readout]), rate])

    def evaluate(values: Values) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        shape = np.shape(values[model.readout])
        value, slope, rate = (np.broadcast_to(x, shape) for x in compiled(*(values[n] for n in names)))
        return value, slope, rate

    return evaluate
