"""The last stage of a fit: the model by itself beside the recording, where it has the measured spikes.

A measured spike time has an error, and the forced model is reset with that error: its V is off until the next spike,
and so is the next crossing. Where the model without any forcing has the spikes of the recording, one for each, its own
run has neither: V and its own spike times differ from the measured ones by the errors of measurement alone,

    (V(t) - measured V(t)) / voltage_noise,     (own time - measured time) / spike_noise

whose sum of squares is the likelihood. A cell that is no such model has noise of its own, and the errors of a free run
add up; then the forced model is the better one, and its values, or what `search` finds from there, are the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import EngineError, ModelError
from .cells import Cells
from .compare import PRECISION
from .differences import FINE, differences, may_jump, without_jumps
from .problem import LeastSquares
from .residuals import Residuals, outside
from .verdict import Score, score

LAST = 3.0
"""Deviations of a spike time before the end of a sweep in which a spike may as well be after it."""


class OwnRun(LeastSquares):
    """Residuals and Jacobians of free runs: V, spikes, priors.

    Args:
        residuals: of the forced model, whose windows around measured spikes do not count here either.
        names, low, high, priors: see `LeastSquares`. fixed, threads: as for `Problem`.
    """

    def __init__(
        self,
        residuals: Residuals,
        names: Sequence[str],
        low: np.ndarray,
        high: np.ndarray,
        fixed: Mapping[str, float],
        priors: Mapping[str, tuple[float, float]],
        threads: int | None,
    ) -> None:
        super().__init__(residuals, names, low, high, priors)
        known = {n: v for n, v in fixed.items() if n in residuals.fitted.free.params}
        self.cells = Cells(residuals.fitted, residuals.recording, 1 + len(names), names, known, threads=threads)
        self.counts = residuals.counts
        assert residuals.recording.spikes is not None and residuals.spike_noise is not None
        self.measured = [times[times >= residuals.skip] for times in residuals.recording.spikes]
        self.leading = [*map(len, self.measured)]
        """Of each sweep, how many spikes count, see `look_around`."""

    def nearest(self, points: np.ndarray) -> np.ndarray:
        """(P,) that of the points (M, P) with most leading spikes that coincide, of those the one nearest to them."""
        size, found = self.cells.size, list[tuple[int, float]]()
        for start in range(0, len(points), size):
            some = points[start : start + size]
            for every in self._own(self.parameters(np.resize(some, (size, len(self.names)))))[: len(some)]:
                own = self._compared(every)
                leading = [*map(_leading, own, self.measured)]
                off = sum(((a[:n] - b[:n]) ** 2).sum() for a, b, n in zip(own, self.measured, leading))
                found.append((-sum(leading), float(off)))
        return points[min(range(len(points)), key=found.__getitem__)]

    def losses(self, points: np.ndarray, variances: np.ndarray) -> np.ndarray:
        """(M,) half the sum of squared residuals over their variances (R,) at points (M, P); inf where spikes are lost
        and outside [0, 1]."""
        losses = 0.5 * (self.at(np.clip(points, 0, 1)) ** 2 / variances).sum(axis=1)
        return np.where(((points >= 0) & (points <= 1)).all(axis=1), losses, np.inf)

    def at(self, points: np.ndarray) -> np.ndarray:
        """(M, R) residuals at points (M, P); inf where spikes are not those measured."""
        size = self.cells.size
        found = [
            self.at_copies(np.resize(points[i : i + size], (1, size, points.shape[1])))[0]
            for i in range(0, len(points), size)
        ]
        return np.concatenate(found)[: len(points)]

    def scores(self, points: np.ndarray, sweeps: Sequence[int] | None = None) -> list[Score]:
        """What free runs of points (M, P) explain of the sweeps, or of some; nothing where one cannot be computed."""
        size, found = self.cells.size, list[Score]()
        for start in range(0, len(points), size):
            some = points[start : start + size]
            found += self._scores(np.resize(some, (size, len(self.names))), sweeps)[: len(some)]
        return found

    def _scores(self, points: np.ndarray, of: Sequence[int] | None) -> list[Score]:
        self.cells.set(self.parameters(points))
        self.runs += 2 * len(points)
        name, judged = self.residuals.fitted.free.readout, self.residuals
        try:
            spikes, v = self.cells.spikes(), self.cells.states(judged.grid, [name])[name]
        except (EngineError, ModelError):
            if np.ptp(points, axis=0).max(initial=0.0) > 0:
                return [self._scores(np.repeat(point[None], len(points), axis=0), of)[0] for point in points]
            return [Score()] * len(points)
        return [score(judged, v[:, :, i], [sweep[i] for sweep in spikes], of) for i in range(len(points))]

    def _own(self, values: np.ndarray) -> list[list[np.ndarray]]:
        """The own spikes of copies with these values (size, P) of each sweep; none where it cannot be computed."""
        self.cells.set(values)
        self.runs += len(values)
        try:
            spikes = self.cells.spikes()
        except (EngineError, ModelError):  # one of them diverges, or starts above the threshold
            if np.ptp(values, axis=0).max(initial=0.0) > 0:  # nobody knows which: each by itself, in all copies
                return [self._own(np.repeat(each[None], len(values), axis=0))[0] for each in values]
            return [[np.empty(0)] * len(self.measured)] * len(values)
        return [[sweep[i][sweep[i] >= self.residuals.skip] for sweep in spikes] for i in range(len(values))]

    def _compared(self, own: list[np.ndarray]) -> list[np.ndarray]:
        """Of own spikes of each sweep those that are compared with the measured ones.

        Next to the end of a sweep an error of `spike_noise` decides which of them is in the recording: a surplus one
        there is none, and where one has been measured, the own one has just not come yet.
        """
        assert self.residuals.spike_noise is not None
        near, compared = LAST * self.residuals.spike_noise, list[np.ndarray]()
        for ours, theirs, end in zip(own, self.measured, self.residuals.recording.durations):
            if len(ours) == len(theirs) + 1 and ours[-1] > end - near:
                ours = ours[:-1]
            elif len(ours) == len(theirs) - 1 and theirs[-1] > end - near:
                ours = np.append(ours, end)
            compared.append(ours)
        return compared

    def look_around(self, point: np.ndarray, precision: float = PRECISION) -> bool:
        """Compare what goes with this point (P,), and return whether that is everything.

        V counts outside windows around its own spikes, besides those around the measured ones; and where a spike is
        lost or surplus, or off by more than the precision, a sweep counts up to there.
        """
        every = self._own(self.parameters(np.repeat(point[None], self.cells.size, axis=0)))[0]
        own = self._compared(every)
        grid = self.residuals.grid
        self.counts = self.residuals.counts.copy()
        self.leading = [_leading(a, b, precision) for a, b in zip(own, self.measured)]
        for sweep, (times, measured, n) in enumerate(zip(own, self.measured, self.leading)):
            self.counts[sweep] &= outside(grid, every[sweep], self.residuals.window)
            following = np.concatenate([times[n:], measured[n:]])
            self.counts[sweep] &= grid < following.min(initial=np.inf) - PRECISION
        return all(len(a) == len(b) == n for a, b, n in zip(own, self.measured, self.leading))

    @property
    def n_voltage(self) -> int:
        return int(self.counts.sum())

    @property
    def n_data(self) -> int:
        return self.n_voltage + sum(self.leading)

    def __call__(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residuals (1, R) and Jacobian (1, R, P) at one point (1, P); inf where spikes are not those measured."""
        r, J = differences(self.at_copies, points, size=FINE)
        if may_jump(J, FINE) and np.isfinite(r).all():
            J, _ = without_jumps(J, differences(self.at_copies, points, -1.0, FINE)[1], FINE)
        return r, J

    def jumps(self, point: np.ndarray) -> list[str]:
        """Parameters a small change of which, from a point (P,), makes a residual jump."""
        ahead, behind = (differences(self.at_copies, point[None], sign)[1] for sign in (1.0, -1.0))
        return [self.names[i] for i in without_jumps(ahead, behind)[1]]

    def of_measurements(self, values: np.ndarray) -> list[np.ndarray]:
        residuals, rec = self.residuals, self.residuals.recording
        own = [self._compared(every) for every in self._own(values)]
        parts = []
        if self.n_voltage:
            assert rec.voltage is not None and residuals.voltage_noise is not None
            self.runs += len(values)  # once for the spikes, and once for V at the times of samples
            used = np.flatnonzero(self.counts.any(axis=0))
            name = residuals.fitted.free.readout
            v = self.cells.states(residuals.samples[used] * rec.dt, [name])[name]
            error = (v - rec.voltage[:, residuals.samples[used], None]) / residuals.voltage_noise
            parts.append(error[self.counts[:, used]].T)
        for sweep, (measured, n) in enumerate(zip(self.measured, self.leading)):
            lost = np.full(n, np.inf)
            rows = [each[sweep][:n] - measured[:n] if self._has(each[sweep], measured, n) else lost for each in own]
            parts.append(np.array(rows) / residuals.spike_noise)
        return parts

    def _has(self, own: np.ndarray, measured: np.ndarray, n: int) -> bool:
        """Whether the first n spikes coincide; no more than those measured where they are all."""
        return _leading(own, measured) >= n and (n < len(measured) or len(own) == n)

    def close(self) -> None:
        self.cells.close()


def _leading(ours: np.ndarray, measured: np.ndarray, precision: float = PRECISION) -> int:
    """How many of the first spikes coincide with the measured ones, one to one."""
    n = min(len(ours), len(measured))
    off = np.flatnonzero(np.abs(ours[:n] - measured[:n]) > precision)
    return int(off[0]) if len(off) else n
