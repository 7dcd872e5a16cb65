"""What a trial leaves to one that follows it: states, modes and their ends, and spikes that are still on their way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Carry:
    """The end of B trials, from which B others go on.

    Args:
        states: population -> (B, n, N). modes: population -> (B, N), and until (B, N), the step at which a timed mode
            ends, counted from the end of the trial; -1: none. sent: source -> (D + 1, B, M) spikes of the last steps,
            the last row those found at the end of the trial, which the input has none of; D: the longest delay.
    """

    states: Arrays
    modes: Arrays
    until: Arrays
    sent: Arrays

    def of(self, rows: np.ndarray) -> Carry:
        """That of some of the trials."""
        take = lambda part: {name: x[rows] for name, x in part.items()}  # noqa: E731
        sent = {name: x[:, rows] for name, x in self.sent.items()}
        return Carry(take(self.states), take(self.modes), take(self.until), sent)
