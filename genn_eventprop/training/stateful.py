"""`carry=True`: trials that start from the final state of the one before, and the order of batches that this needs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..data.events.chunks import follows
from ..engines import Data, Engine, Result
from ..engines.contract.data import batch_indices
from ..engines.contract.observed import Observed
from ..engines.contract.state import TrialState
from ..engines.contract.wrapper import EngineWrapper
from ..errors import EngineError


class StatefulEngine(EngineWrapper):
    """Wraps an engine so that consecutive chunks of a recording share state; for the trainer it is like any other.

    Truncated BPTT: no gradient flows across chunk boundaries.
    """

    def __init__(self, engine: Engine) -> None:
        if why := engine.why_stateless():
            raise EngineError(why)
        super().__init__(engine)
        self._last = np.zeros(0, np.int64)
        self._end: TrialState | None = None

    def load(self, events: Any) -> Data:
        return replace(self.inner.load(events), follows=follows(events))

    def run(
        self, data: Data, samples: Any, *, training: bool = False, record_spikes: bool = False,
        observed: Observed | None = None,
    ) -> Result:  # fmt: skip
        if observed:
            raise EngineError("trials that continue others take no observed spikes; use carry=False")
        samples = batch_indices(data, samples)
        self.inner.seed, self.inner.epoch = self.seed, self.epoch
        state = self._before(data, samples)
        result, self._end = self.inner.run_from(
            data, samples, state, training=training, record_spikes=record_spikes
        )  # fmt: skip
        self._last, self.gradients = samples, self.inner.gradients
        return result

    def _before(self, data: Data, samples: np.ndarray) -> TrialState | None:
        """The final state of the trials that these continue; None where they start from the initial state."""
        assert data.follows is not None
        on = data.follows[samples]
        if not on.any():
            return None
        place = {int(s): i for i, s in enumerate(self._last)}
        rows = [place.get(int(s) - 1, -1) for s in samples]
        if not on.all() or min(rows) < 0 or self._end is None:
            raise EngineError("chunks of a recording must run one after the other, all of a batch the same chunk")
        return self._end.of(np.array(rows))


def in_order(follows: np.ndarray | None, order: np.ndarray | None, samples: int, size: int) -> list[np.ndarray]:
    """Batches of sample numbers: `size` recordings side by side, chunk after chunk, or `size` samples.

    Args:
        follows: (S,) of the data, None for samples of their own. order: of recordings, or of samples; None: as is.
    """
    if follows is None:
        every = np.arange(samples) if order is None else order
        return [every[i : i + size] for i in range(0, samples, size)]
    # Chunk c of every recording in a batch runs at the same time, so that the final states of one batch are the initial
    # ones of the next; recordings that are shorter drop out at the end of theirs.
    first = np.flatnonzero(~follows)
    length = np.diff(np.append(first, samples))
    every = np.arange(len(first)) if order is None else order
    batches = []
    for i in range(0, len(every), size):
        mine = every[i : i + size]
        batches += [first[mine[length[mine] > c]] + c for c in range(length[mine].max())]
    return batches


def count_recordings(follows: np.ndarray | None, samples: int) -> int:
    """Number of recordings, or of samples where none continues another: what an epoch shuffles."""
    return samples if follows is None else int(np.count_nonzero(~follows))


def is_fresh(follows: np.ndarray | None, samples: np.ndarray) -> bool:
    """Whether a batch starts from the initial state: none of its trials continues another one."""
    return follows is None or not follows[samples].any()
