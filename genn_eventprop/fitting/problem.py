"""Residuals of a fit and their derivatives by all parameters, at several points at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from ..engines import Engine
from .cells import Cells, forced_arrivals
from .differences import FINE, STEP, differences, run_or_inf, without_jumps
from .forced import FOREVER
from .rates import Rates
from .residuals import Residuals

COUPLED_WAIT = 2.0
"""ms: how long the model stays at its threshold while a measured V pulls it."""


class LeastSquares(ABC):
    """Residuals of parameters that lie in [0, 1] of their bounds.

    Args:
        names, low, high: (P,) the parameters that are fitted, and their bounds.
        priors: parameter -> (mean, standard deviation): a further residual each.
    """

    def __init__(
        self,
        residuals: Residuals,
        names: Sequence[str],
        low: np.ndarray,
        high: np.ndarray,
        priors: Mapping[str, tuple[float, float]] | None,
    ) -> None:
        self.residuals, self.names, self.low, self.high = residuals, list(names), low, high
        self.priors, self.runs = dict(priors or {}), 0

    @property
    @abstractmethod
    def n_data(self) -> int:
        """Residuals of measurements: all but those of priors."""

    @abstractmethod
    def of_measurements(self, values: np.ndarray) -> list[np.ndarray]:
        """Parts (C, R) of the residuals of measurements, of copies with these values (C, P)."""

    def parameters(self, points: np.ndarray) -> np.ndarray:
        """Values of points in [0, 1]."""
        return self.low + points * (self.high - self.low)

    def at_copies(self, copies: np.ndarray) -> np.ndarray:
        """(M, 1 + P, R) of points (M, 1 + P, P); inf where a trajectory cannot be computed."""
        return run_or_inf(self._run, copies, self.n_data + len(self.priors))

    def _run(self, copies: np.ndarray) -> np.ndarray:
        values = self.parameters(copies.reshape(-1, len(self.names)))
        parts = self.of_measurements(values)
        parts += [((values[:, self.names.index(n)] - mean) / std)[:, None] for n, (mean, std) in self.priors.items()]
        return np.concatenate(parts, axis=1).reshape(*copies.shape[:2], -1)


class Problem(LeastSquares):
    """Residuals and Jacobians of the forced model, of several starts at once.

    Args:
        residuals, names, low, high, priors: see `LeastSquares`.
        fixed: values of others, where they are not the model's.
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
        super().__init__(residuals, names, low, high, priors)
        self.copies, fitted = 1 + len(self.names), residuals.fitted
        self.fixed = {n: float(p.value) for n, p in fitted.forced.params.items()} | dict(fixed)
        rec, counts, samples = residuals.recording, residuals.counts, residuals.samples
        self.size = size = starts * self.copies
        self.cells, self.rates = None, None
        if residuals.size:
            arrivals = forced_arrivals(rec, residuals.every, counts, samples)
            self.cells = Cells(fitted, rec, size, names, self.fixed, arrivals, threads)
        if rate_noise is not None or not residuals.size:
            free = {n: v for n, v in self.fixed.items() if n in fitted.free.params}
            self.rates = Rates(residuals, size, names, free, rate_noise, threads)
        self.rest = residuals.distance_at_rest(self.fixed | dict(zip(self.names, (low + high) / 2)))
        self.coupling = 0.0

    @property
    def n_data(self) -> int:
        return self.residuals.size + (self.rates.size if self.rates else 0)

    @property
    def engines(self) -> list[Engine]:
        return [part.engine for part in (self.cells, self.rates and self.rates.cells) if part]

    def close(self) -> None:
        for engine in self.engines:
            engine.close()

    def __call__(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residuals (M, R) and Jacobians (M, R, P) at points (M, P); inf where a trajectory cannot be computed."""
        return differences(self.at_copies, points, size=FINE)

    def losses(self, copies: np.ndarray) -> np.ndarray:
        """(M, 1 + P) half the sum of squared residuals at points (M, 1 + P, P); inf as above."""
        losses: np.ndarray = 0.5 * (self.at_copies(copies) ** 2).sum(axis=2)
        return np.where(np.isfinite(losses), losses, np.inf)

    def slopes(self, point: np.ndarray) -> np.ndarray:
        """(R, P) the Jacobian at a point (P,) where the model is right: by the side on which a spike comes early, since
        one that is late counts less the later it is."""
        _, ahead, behind = self.sides(point)
        return np.where(ahead + behind < 0, ahead, behind)

    def smooth(self, point: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Residuals (R,) at a point (P,), their Jacobian (R, P) `without_jumps`, and the parameters that jump there."""
        r, ahead, behind = self.sides(point)
        jacobian, jumps = without_jumps(ahead, behind)
        return r, jacobian, [self.names[i] for i in jumps]

    def sides(self, point: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Residuals (R,) at a point (P,), and their differences (R, P) over a step up, and over one down."""
        starts = self.size // self.copies
        copies = np.repeat(np.repeat(point[None], self.copies, axis=0)[None], starts, axis=0)
        places, (up, down) = np.arange(len(self.names)), (copies.copy(), copies.copy())
        up[:, places + 1, places] += STEP
        down[:, places + 1, places] -= STEP
        above, below = (self.at_copies(moved)[0] for moved in (up, down))
        with np.errstate(invalid="ignore"):  # inf - inf, where neither can be computed
            return above[0], (above[1:] - above[0]).T / STEP, (below[0] - below[1:]).T / STEP

    def of_measurements(self, values: np.ndarray) -> list[np.ndarray]:
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
        return parts
