"""What a trial leaves to one that follows it: states, modes and their ends, and spikes that are still on their way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class TrialState:
    """The end of B trials, from which B others go on (`Engine.run_from`).

    Args:
        states: population -> (B, n, N). modes: population -> (B, N), and until (B, N), the step at which a timed mode
            ends, counted from the end of the trial; -1: none. sent: source -> (D + 1, B, M) spikes of the last steps,
            D the longest delay. Its last row are the spikes at the end of the trial, step T / dt, which have not
            arrived anywhere yet; input spikes have none there, since they come before the last step ends.
    """

    states: Arrays
    modes: Arrays
    until: Arrays
    sent: Arrays

    def of(self, rows: np.ndarray) -> TrialState:
        """The state of some of the trials."""
        select = lambda arrays: {name: x[rows] for name, x in arrays.items()}  # noqa: E731
        sent = {name: x[:, rows] for name, x in self.sent.items()}
        return TrialState(select(self.states), select(self.modes), select(self.until), sent)
