"""The last stage of a fit: from the forced model to one that runs by itself, see `own_run`.

Where that has the spikes of the recording, a minimum of its loss is the result. Spikes depend on all before them, and
the loss has many minima: a descent is made with the beginnings of the sweeps, up to the first spike that is lost or far
off, then to the next one. It begins at the forced model, and where that leaves more than noise, at what a search over
free runs finds. Where no descent has the spikes, what the search found is the result if it explains more (`search`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..errors import Stopped
from .clock import Clock
from .compare import PRECISION
from .levenberg import Minimum, follow
from .options import FitOptions
from .own_run import OwnRun
from .problem import Problem
from .result import alike, uncertainty, variances
from .search import search
from .spread import LOWER, spread

WINDOWS = 3
"""How often a descent is made, with windows around the own spikes of where it began."""
DRAWS = 64
"""Points around the end of the forced model of which one may have the spikes of the recording."""
SPREAD = 30
"""Steps that deviations from the likelihood take at most, see `spread`."""
DESCENTS = 8
"""How often the own run's descent goes on where points around its end have a lower loss."""
PREFIX_STEPS, OFF = 10, 8.0
"""Steps with the beginnings of the sweeps, up to the first spike that is not that of the recording, or is off by more
than so many `spike_noise`: of later ones, which depend on all before, the loss has many minima until these agree."""
HELD = 10.0
"""Deviations of the forced model by which parameters leave it easily meanwhile: it is off by several of its own."""
SETTLED = 1e-3
"""Of a parameter's range: windows around spikes of such a point are those of its end."""
TOGETHER = 1.5
"""Root mean square of residuals of own spikes up to which the model by itself has the spikes of the recording."""


@dataclass(frozen=True)
class Alone:
    """Where the last stage ended: point (P,) in [0, 1], covariance (P, P), parameters at which the loss jumps there,
    which errors are no noise (`alike`); the loss, None where it is the end of a search."""

    point: np.ndarray
    covariance: np.ndarray
    jumps: list[str]
    alike: dict[str, float]
    loss: float | None = None


class LastStage:
    """See the module.

    Args:
        minimum: of the forced model. ends: (N, P) where all of its stages have ended.
    """

    def __init__(self, problem: Problem, minimum: Minimum, ends: np.ndarray, options: FitOptions, clock: Clock) -> None:
        self.problem, self.minimum, self.options, self.clock = problem, minimum, options, clock
        self.own = OwnRun(
            problem.residuals, problem.names, problem.low, problem.high, problem.fixed, problem.priors, options.threads
        )
        self.forced = minimum.points[np.argmin(minimum.cost)]
        self.candidates = np.concatenate([self.forced[None], ends])
        self.rng = np.random.default_rng(options.seed)
        self._searched: dict[tuple[int, ...], np.ndarray] = {}

    def run(self, best: dict[str, Any]) -> Alone | None:
        """The end; None if the forced model explains enough or nothing explains more.

        Args:
            best: gets the best parameters so far, and their loss.
        """
        alone = None
        with contextlib.closing(self.own):
            try:
                with self.clock.ends([self.own.cells.engine]):
                    for alone in self._minima():
                        values = self.own.parameters(alone.point).tolist()
                        best.update(parameters=dict(zip(self.own.names, values)), loss=alone.loss)
                    if alone is None and not self.problem.priors:  # what sweeps do not tell is no part of a score
                        alone = self._most_explained()
            except Stopped:
                if not self.clock.late:
                    raise
        self.problem.runs += self.own.runs
        return alone

    def _minima(self) -> Iterator[Alone]:
        """Minima of the own run, each lower than those before; none without the spikes of the recording."""
        own, found = self.own, self._settled()
        for _ in range(DESCENTS if found is not None else 0):
            assert found is not None
            point, r, jacobian = found.points[0], found.residuals[0], found.jacobian[0]
            covariance = covariance_at(point, r, jacobian, own.n_data, own.n_voltage)
            size = variances(r, jacobian, own.n_data, own.n_voltage)
            settled = _way_left(point, r, jacobian)[1] < LOWER
            lowest = point
            if not self.clock(SPREAD):
                losses = partial(own.losses, variances=size)
                covariance, lowest = spread(losses, point, covariance, self.rng, settled)
            if np.sqrt((r[own.n_voltage : own.n_data] ** 2).mean()) <= TOGETHER:
                no_noise = no_noise_of(r, own.n_voltage, own.n_data)
                yield Alone(point, covariance, own.jumps(point), no_noise, float(found.cost[0]))
            if lowest is point or self.clock.late:
                return
            own.look_around(lowest)
            further = follow(own, own.at, lowest, steps=self.options.steps, stop=self.clock)
            if not further.cost[0] < found.cost[0]:
                return
            found = further

    def _most_explained(self) -> Alone | None:
        """See `run`. With few sweeps a search fits their noise: what it finds in one half of them must explain more of
        the other half than the forced model, and of both halves it is the point that does by more."""
        own, problem, forced, n = self.own, self.problem, self.forced, len(self.own.measured)
        (of_forced,) = own.scores(forced[None])
        if not of_forced.little and np.isfinite(of_forced.mean):
            return None
        halves = [range(0, n, 2), range(1, n, 2)] if n > 1 else [range(n)]
        points = [self._search(half) for half in halves]
        gains = [
            own.scores(point[None], other)[0].mean - own.scores(forced[None], other)[0].mean
            for point, other in zip(points, halves[::-1])
        ]
        if not sum(gains) > 0:
            return None
        point = points[int(np.argmax(gains))]
        r, jacobian, jumps = problem.smooth(point)
        n_voltage = problem.residuals.n_voltage
        covariance = covariance_at(point, r, jacobian, problem.n_data, n_voltage)
        return Alone(point, covariance, jumps, no_noise_of(r, n_voltage, problem.n_data))

    def _search(self, sweeps: range) -> np.ndarray:
        """The point (P,) whose free run explains most of these sweeps; the same when it is asked again."""
        if (key := tuple(sweeps)) in self._searched:
            return self._searched[key]

        def values(points: np.ndarray) -> np.ndarray:
            return np.array([s.mean for s in self.own.scores(points, sweeps)])

        copies = self.own.cells.size
        size = copies * int(np.ceil((4 + 3 * np.log(len(self.forced))) / copies))
        begin = self.candidates[int(np.argmax(values(self.candidates)))]
        found = search(values, begin, np.random.default_rng(self.options.seed), size, self.clock)
        return self._searched.setdefault(key, found)

    def _settled(self) -> Minimum | None:
        """The minimum of the own run next to that of the forced model; None where spikes are not those measured.

        Of several ways there it is the first that leaves nothing but noise, or else the one to the lowest loss.
        """
        own, best = self.own, None
        compared = own.counts, own.leading
        for begin, held in self._ways():
            found = self._descended(self._spike_by_spike(begin, held))
            if found is not None and (best is None or found.cost[0] < best.cost[0]):
                best, compared = found, (own.counts, own.leading)
                if not no_noise_of(found.residuals[0], own.n_voltage, own.n_data):
                    break
            if self.clock.late:
                break
        own.counts, own.leading = compared
        return best

    def _ways(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Points (P,) from which the own run is fitted spike by spike, and what `_spike_by_spike` holds.

        The errors of the forced model are larger, and may lose a spike that only just happens: look around it. In
        bursts, where spikes leave it little time of its own, it may be far away: at last, begin at what free runs say.
        """
        i, forced, problem = int(np.argmin(self.minimum.cost)), self.forced, self.problem
        r, jacobian = self.minimum.residuals[i], self.minimum.jacobian[i]
        covariance = uncertainty(r, jacobian, problem.n_data, problem.residuals.n_voltage)
        variance, axes = np.linalg.eigh(covariance)
        held = (axes / (HELD * np.sqrt(np.maximum(variance, 1e-30)))).T
        yield forced, held
        yield forced, 0 * held
        rng, middle = np.random.default_rng(self.options.seed), np.zeros(len(forced))
        draws = rng.multivariate_normal(middle, covariance, DRAWS, check_valid="ignore")
        draws *= np.linspace(0.0, 2.0, DRAWS)[:, None]
        yield self.own.nearest(np.clip(forced + draws, 0.0, 1.0)), held
        yield self._search(range(len(self.own.measured))), 0 * held

    def _spike_by_spike(self, point: np.ndarray, held: np.ndarray) -> np.ndarray:
        """Where a descent ends with the sweeps up to the first spike that is lost, surplus or off, then to the next.

        Args:
            held: (P, P) A: A (point - forced point) are further residuals, since the first spikes alone do not tell all
                parameters.
        """
        own, forced = self.own, self.forced
        assert own.residuals.spike_noise is not None

        def residuals(points: np.ndarray) -> np.ndarray:
            return np.concatenate([own.at(points), (points - forced) @ held.T], axis=1)

        def evaluate(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            r, J = own(points)
            return np.concatenate([r, (points - forced) @ held.T], axis=1), np.concatenate([J, held[None]], axis=1)

        precision, reached = min(PRECISION, OFF * own.residuals.spike_noise), -1
        while not own.look_around(point, precision) and sum(own.leading) > reached:
            reached = sum(own.leading)
            point = follow(evaluate, residuals, point, steps=PREFIX_STEPS, stop=self.clock).points[0]
        return point

    def _descended(self, point: np.ndarray) -> Minimum | None:
        """The minimum next to a point (P,), with windows around the own spikes of its end; None where spikes are
        lost."""
        own, found = self.own, None
        for _ in range(WINDOWS if own.look_around(point) else 0):
            own.look_around(point)
            found = follow(own, own.at, point, steps=self.options.steps, stop=self.clock)
            if not np.isfinite(found.cost[0]):
                return None
            moved, point = np.abs(found.points[0] - point).max(), found.points[0]
            if moved < SETTLED:
                break
        return found


def no_noise_of(r: np.ndarray, n_voltage: int, n_data: int) -> dict[str, float]:
    """Of residuals (R,) of V and of spikes, where they are no noise, the correlation of neighbours."""
    kinds = {"V": r[:n_voltage], "spikes": r[n_voltage:n_data]}
    return {kind: rho for kind, errors in kinds.items() if (rho := alike(errors)) is not None}


def covariance_at(point: np.ndarray, r: np.ndarray, jacobian: np.ndarray, n_data: int, n_voltage: int) -> np.ndarray:
    """(P, P) that of `uncertainty`, and the way that is left where the steps ended before a jump of the loss.

    Beyond the jump a spike is another one. Without it the steps would go on as far as the smooth part of the loss
    falls, and the truth may be as far away. Residuals that cannot be computed, where a time limit has ended the steps
    early, tell nothing.
    """
    known = np.isfinite(r) & np.isfinite(jacobian).all(axis=1)
    r, jacobian = np.where(known, r, 0.0), np.where(known[:, None], jacobian, 0.0)
    left = np.clip(_way_left(point, r, jacobian)[0], -1.0, 1.0)
    return uncertainty(r, jacobian, n_data, n_voltage) + np.outer(left, left)


def _way_left(point: np.ndarray, r: np.ndarray, jacobian: np.ndarray) -> tuple[np.ndarray, float]:
    """(P,) the step to the minimum of the smooth part of the loss, and by how much that is lower."""
    inside = (point > 0) & (point < 1)
    g, J = jacobian.T @ r * inside, jacobian * inside
    left = np.linalg.lstsq(J.T @ J + 1e-12 * np.trace(J.T @ J) * np.eye(len(g)), g, rcond=None)[0]
    return left, 0.5 * float(g @ left)
