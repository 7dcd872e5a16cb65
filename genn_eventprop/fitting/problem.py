"""Residuals of a fit and their derivatives by all parameters, at several points at once.

Derivatives are differences: a copy of the neuron for every parameter, all in one run of the engine with exact spike
times, whose rounding is far below the step. For ten parameters and thousands of residuals that is one run forwards,
where an adjoint would need one for every residual.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import EngineError
from .cells import Cells, forced_arrivals
from .forced import FOREVER
from .rates import Rates
from .residuals import Residuals

STEP = 1e-5
"""Of a difference, as a fraction of the parameter's range; the error of V is a thousandth of the change, or less."""
COUPLED_WAIT = 2.0
"""ms: how long the model stays at its threshold while a measured V pulls it."""


class Problem:
    """Residuals and Jacobians of several starts at once, of parameters that lie in [0, 1] of their bounds.

    Args:
        names, low, high: (P,) the parameters that are fitted, and their bounds.
        fixed: values of others, where they are not the model's.
        priors: parameter -> (mean, standard deviation): a further residual each.
        starts: number of points in a call.
        rate_noise: see `FitOptions`; None: rates count only where nothing else is known.
    """

    def __init__(
        self,
        residuals: Residuals,
        names: Sequence[str],
        low: np.ndarray,
        high: np.ndarray,
        fixed: Mapping[str, float],
        starts: int,
        priors: Mapping[str, tuple[float, float]] | None = None,
        threads: int | None = None,
        rate_noise: float | None = None,
    ) -> None:
        self.residuals, self.names, self.low, self.high = residuals, list(names), low, high
        self.priors = dict(priors or {})
        self.copies, fitted = 1 + len(self.names), residuals.fitted
        self.fixed = {n: float(p.value) for n, p in fitted.forced.params.items()} | dict(fixed)
        rec, counts, samples = residuals.recording, residuals.counts, residuals.samples
        size = starts * self.copies
        self.cells, self.rates = None, None
        if residuals.size:
            arrivals = forced_arrivals(rec, residuals.every, counts, samples)
            self.cells = Cells(fitted, rec, size, names, self.fixed, arrivals, threads)
        if rate_noise is not None or not residuals.size:
            free = {n: v for n, v in self.fixed.items() if n in fitted.free.params}
            self.rates = Rates(residuals, size, names, free, rate_noise, threads)
        self.rest = residuals.distance_at_rest(self.fixed | dict(zip(self.names, (low + high) / 2)))
        self.coupling, self.runs = 0.0, 0

    @property
    def n_data(self) -> int:
        """Residuals of measurements: all but those of priors."""
        return self.residuals.size + (self.rates.size if self.rates else 0)

    def close(self) -> None:
        for part in (self.cells, self.rates and self.rates.cells):
            if part:
                part.close()

    def parameters(self, points: np.ndarray) -> np.ndarray:
        """Values of points in [0, 1]."""
        return self.low + points * (self.high - self.low)

    def __call__(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residuals (M, R) and Jacobians (M, R, P) at points (M, P); inf where a trajectory cannot be computed."""
        step = np.where(points + STEP > 1, -STEP, STEP)
        copies = np.repeat(points[:, None], self.copies, axis=1)
        places = np.arange(len(self.names))
        copies[:, places + 1, places] += step
        r = self._residuals(copies)
        with np.errstate(invalid="ignore"):
            return r[:, 0], ((r[:, 1:] - r[:, :1]) / step[:, :, None]).transpose(0, 2, 1)

    def slopes(self, point: np.ndarray) -> np.ndarray:
        """(R, P) the Jacobian at a point (P,) where the model is right, for one start.

        Where a step makes a spike late, its residual is the time that is left until the threshold, with a bound for
        models that stay at rest, which makes it rise more slowly. So each derivative is taken on the side on which the
        spike comes early, by its lead.
        """
        copies = np.repeat(point[None], self.copies, axis=0)[None]
        places, (up, down) = np.arange(len(self.names)), (copies.copy(), copies.copy())
        up[0, places + 1, places] += STEP
        down[0, places + 1, places] -= STEP
        ahead, behind = (self._residuals(moved)[0] for moved in (up, down))
        slopes = np.where(
            ahead[1:] < behind[1:], (ahead[1:] - ahead[:1]) / STEP, (behind[:1] - behind[1:]) / STEP
        )  # fmt: skip
        return slopes.T

    def _residuals(self, copies: np.ndarray) -> np.ndarray:
        """(M, 1 + P, R) of points (M, 1 + P, P)."""
        try:
            return self._run(copies)
        except EngineError:
            if len(copies) == 1 or np.ptp(copies, axis=0).max() == 0:
                # it alone: what cannot be followed is a step that will not be taken
                return np.full((*copies.shape[:2], self.n_data + len(self.priors)), np.inf)
        # one start whose dynamics diverge must not end the others: each by itself, in all places
        return np.concatenate([self._residuals(np.repeat(one[None], len(copies), axis=0))[:1] for one in copies])

    def _run(self, copies: np.ndarray) -> np.ndarray:
        values = self.parameters(copies.reshape(-1, len(self.names)))
        coupled, fitted = self.coupling > 0, self.residuals.fitted
        self.runs += len(values)
        params = self.fixed | {n: values[:, i] for i, n in enumerate(self.names)}
        parts = []
        if self.cells is not None:
            self.cells.set(
                values, **{fitted.coupling: self.coupling, fitted.patience: COUPLED_WAIT if coupled else FOREVER}
            )
            states = self.cells.states(self.residuals.times, self.residuals.names, coupled)
            parts.append(self.residuals.of(states, params, self.rest, self.coupling))
        if self.rates is not None:
            # a measured V that pulls is not in free runs; they count when it has let go
            parts.append(
                np.zeros((len(values), self.rates.size)) if coupled else self.rates.of(values, params, self.rest)
            )
        parts += [((values[:, self.names.index(n)] - mean) / std)[:, None] for n, (mean, std) in self.priors.items()]
        return np.concatenate(parts, axis=1).reshape(*copies.shape[:2], -1)
