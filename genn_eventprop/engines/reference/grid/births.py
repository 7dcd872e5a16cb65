"""Births of spikes on the grid, for `reference_clock`; docs/spike_birth.md has the mathematics.

A candidate is a local maximum of g at a step, below zero and higher than those before it in the same interval between
own spikes. Backwards the first that is met in an interval, the largest, is a spike that did not happen: h times what L
would change by it is added to the adjoint of g there. At a kink the arrivals of the step turn dg/dt from r > 0 to
q <= 0; their D see the part r / (r - q) of that jump.

Axis letters: B samples, N neurons, M neurons of a source, K steps, C outputs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ....adjoint.birth import hazard


class Candidates:
    """Of one population in a batch.

    Args:
        width: (N,) or (1,) s of the noise of g. noise: see `ReferenceClock.threshold_noise`.

    Attributes:
        hazards: (K, B, N) of candidates, 0 elsewhere. kinks: (K, B, N) the part r / (r - q), 0 where there is no kink.
        open: (B, N) backwards, whether the interval has not had its candidate yet.
    """

    def __init__(
        self, width: np.ndarray, K: int, B: int, N: int, noise: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> None:
        self.noise = noise
        self.width, self.hazards, self.kinks = width, np.zeros((K, B, N)), np.zeros((K, B, N))
        self.best, self.rising = np.full((B, N), -np.inf), np.zeros((B, N), bool)
        self.open = np.ones((B, N), bool)

    def look(self, k: int, x: np.ndarray, start: np.ndarray, end: np.ndarray, possible: np.ndarray) -> None:
        """g (B, N) at the start and the end of step k, states at its start; possible: whether the mode has spikes."""
        rises = (end > start) & possible
        peak = self.rising & ~rises & (start > self.best)
        of_mean = start if self.noise is None else start + self.noise(x)
        self.hazards[k] = np.where(peak, hazard(of_mean, self.width), 0.0)
        self.best, self.rising = np.where(peak, start, self.best), rises

    def turn(self, k: int, before: np.ndarray, behind: np.ndarray) -> None:
        """dg/dt (B, N) before and behind the arrivals of step k."""
        turns = (before > 0) & (behind <= 0)
        self.kinks[k] = np.where(turns, before / np.where(turns, before - behind, 1.0), 0.0)

    def spiked(self, spikes: np.ndarray) -> None:
        """Own spikes (B, N) at the end of the step that was looked at."""
        self.best, self.rising = np.where(spikes, -np.inf, self.best), self.rising & ~spikes

    def take(self, k: int) -> np.ndarray:
        """(B, N) hazards of the candidates of step k, backwards."""
        h = np.where(self.open, self.hazards[k], 0.0)
        self.open &= self.hazards[k] == 0
        return h

    def undo(self, spikes: np.ndarray) -> None:
        """Before these spikes (B, N) another interval ends."""
        self.open |= spikes
