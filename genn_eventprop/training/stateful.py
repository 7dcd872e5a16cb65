"""Long recordings: with `carry=True` trials start from the final state of the one before, with `carry="exact"` all
trials of a recording are one; and the order of batches that this needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Protocol

import numpy as np

from ..data.events.chunks import follows
from ..data.events.events import Events
from ..data.inputs import Inputs
from ..engines import Data, Engine, Result
from ..engines.contract.data import batch_indices, mapped
from ..engines.contract.observed import Observed
from ..engines.contract.recordings import DEFAULT_STEPS, RecordingRunner, starts
from ..engines.contract.slices import BatchShard
from ..engines.contract.state import TrialState
from ..engines.contract.wrapper import EngineWrapper
from ..errors import CheckpointError, EngineError, SettingError
from ..losses import as_losses
from ..losses.kinds import READOUTS
from ..plan.clock import to_steps

MEMORY = "500 MB"
"""What the states of recordings may take, if nobody says."""
LEAST_STEPS = 4000
"""Of a piece, if nobody says: with 1000 steps, calls take as long as the network (256 neurons)."""
KINDS = tuple(field.name for field in fields(TrialState))
UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}


def in_bytes(text: str, name: str) -> float:
    """ "500 MB" in bytes; name: of the setting.

    Raises:
        SettingError: something else.
    """
    number, _, unit = str(text).strip().partition(" ")
    try:
        value = float(number) * UNITS[unit.strip()]
    except (ValueError, KeyError):
        value = math.nan
    if not 0 < value < math.inf:
        raise SettingError(f"{name}={text!r}: a number and one of {', '.join(UNITS)}, such as {MEMORY!r}")
    return value


def engine_of_recordings(loss: Any, spike_times: str) -> str:
    """The engine that runs whole recordings, if nobody says: `native`, or `c99` for losses that that refuses."""
    others = any(READOUTS[part.readout].in_trial for part in as_losses(loss)[1:])
    return "c99" if spike_times != "exact" and others else "native"


class StatefulEngine(EngineWrapper):
    """Wraps an engine so that consecutive chunks of a recording share state; for the trainer it is like any other.

    Truncated BPTT: no gradient flows across chunk boundaries.
    """

    def __init__(self, engine: Engine) -> None:
        if why := engine.why_stateless():
            raise EngineError(why)
        super().__init__(engine)
        # by whether it was training: an evaluation within a recording leaves that of the training alone
        self._ends: dict[bool, tuple[np.ndarray, TrialState]] = {}

    def load(self, events: Any) -> Data:
        return replace(self.inner.load(events), follows=follows(events))

    def run(
        self, data: Data, samples: Any, *, training: bool = False, record_spikes: bool = False,
        observed: Observed | None = None,
    ) -> Result:  # fmt: skip
        if observed:
            raise EngineError("trials that continue others take no observed spikes; use carry=False")
        samples = batch_indices(data, samples)
        state = self._before(data, samples, training)
        result, end = self.inner.run_from(
            data, samples, state, training=training, record_spikes=record_spikes
        )  # fmt: skip
        self._ends[training] = data.numbers_of(samples), end
        return result

    def _before(self, data: Data, samples: np.ndarray, training: bool) -> TrialState | None:
        """The final state of the trials that these continue; None where they start from the initial state."""
        assert data.follows is not None
        on = data.follows[samples]
        if not on.any():
            return None
        last, end = self._ends.get(training, (np.zeros(0, np.int64), None))
        place = {int(s): i for i, s in enumerate(last)}
        rows = [place.get(int(s) - 1, -1) for s in data.numbers_of(samples)]
        if not on.all() or min(rows) < 0 or end is None:
            raise EngineError("chunks of a recording must run one after the other, all of a batch the same chunk")
        return end.of(np.array(rows))

    def carried(self) -> dict[str, np.ndarray]:
        """What the next chunks of a training start from, as arrays for a checkpoint."""
        if True not in self._ends:
            return {}
        samples, end = self._ends[True]
        parts = {f"{kind}/{name}": x for kind in KINDS for name, x in getattr(end, kind).items()}
        return {"samples": samples, **parts}

    def carry_on(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Start from what `carried` told.

        Raises:
            CheckpointError: that is not a state of this network.
        """
        self._ends = {}
        if not arrays:
            return
        parts = {k: {n.partition("/")[2]: x for n, x in arrays.items() if n.startswith(f"{k}/")} for k in KINDS}
        found, samples = TrialState(**parts), arrays.get("samples", np.zeros(0))
        shapes = lambda state: {k: {n: x.shape for n, x in getattr(state, k).items()} for k in KINDS}  # noqa: E731
        if samples.ndim != 1 or shapes(found) != self._shapes(len(samples)):
            raise CheckpointError("the state of the recordings in the checkpoint is not one of this network")
        self._ends[True] = samples, found

    def _shapes(self, batch: int) -> dict[str, dict[str, tuple[int, ...]]]:
        """Those of a `TrialState` of so many trials: engines trust it."""
        plan = self.plan
        every: dict[str, tuple[int, ...]] = {p.name: (batch, p.size) for p in plan.populations}
        longest = (c.delay_steps if c.delays is None else to_steps(c.delays.limit, plan.dt) for c in plan.connections)
        rows = 1 + int(max(longest, default=0))
        sizes = {plan.input.name: plan.input.size} | {p.name: p.size for p in plan.populations if p.spiking}
        return {
            "states": {p.name: (batch, len(p.derived.states), p.size) for p in plan.populations},
            "modes": every, "until": every,
            "sent": {name: (rows, batch, size) for name, size in sizes.items()},
        }  # fmt: skip


class RecordingEngine(EngineWrapper):
    """Wraps an engine so that a batch are whole recordings, with exact gradients through all of their chunks.

    Args:
        chunk: ms of a piece; None: as many steps as the square root of those of the longest recording, so that pieces
            and the states between them need memory like it, but at least `LEAST_STEPS`, or `DEFAULT_STEPS` where
            `memory` is too little for that.
        memory: bytes that states and a piece may take.
    """

    def __init__(self, engine: Engine, chunk: float | None, memory: float) -> None:
        super().__init__(engine)
        self._asked = chunk, memory
        steps = None if chunk is None else round(chunk / engine.plan.dt)
        if chunk is not None and (steps is None or steps < 1 or abs(steps * engine.plan.dt - chunk) > 1e-9 * chunk):
            raise SettingError(f"chunk={chunk:g} ms is not a whole number of steps of {engine.plan.dt:g} ms")
        self._longest = 1
        self.runner = self._in_pieces() if steps is None else engine.recordings(steps, memory)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.inner, *self._asked)

    def load(self, events: Any) -> Data:
        on_disk = isinstance(events, (Events, Inputs)) and events.mapped
        data, parts = mapped(events, self.plan) if on_disk else self.inner.load(events), getattr(events, "groups", None)
        on = np.zeros(len(data), bool) if parts is None else follows(events)
        self.expect(on)
        return replace(data, follows=on, whole=True)

    def expect(self, on: np.ndarray) -> None:
        """Tell how long recordings are; on: whether samples follow others."""
        self._longest = max(self._longest, int(np.diff(np.append(np.flatnonzero(~on), len(on))).max(initial=1)))
        if self._asked[0] is None:
            self.runner = self._in_pieces()

    def _in_pieces(self) -> RecordingRunner:
        memory, root = self._asked[1], math.isqrt(self._longest * self.plan.n_steps)
        runner = self.inner.recordings(max(LEAST_STEPS, root), memory)
        try:
            runner.forecast(self._longest)
        except EngineError:
            return self.inner.recordings(DEFAULT_STEPS, memory)
        return runner

    def run(
        self, data: Data, samples: Any, *, training: bool = False, record_spikes: bool = False,
        observed: Observed | None = None,
    ) -> Result:  # fmt: skip
        if observed:
            raise EngineError("whole recordings take no observed spikes; use carry=False")
        result = self.runner.run(data, batch_indices(data, samples), training, record_spikes)
        return result

    # a batch on several ranks, see `distributed.engine`

    def units(self, data: Data, samples: np.ndarray) -> np.ndarray:
        return np.append(np.flatnonzero(starts(data, samples)), len(samples))

    def slices_of(self, batch: int) -> int:
        return self.inner.slices_of(batch)

    def subtrees_of(self, shard: BatchShard) -> list[int]:
        return self.inner.subtrees_of(shard)

    def run_shard(
        self, data: Data, samples: np.ndarray, shard: BatchShard, *, training: bool
    ) -> tuple[Result, dict[int, np.ndarray]]:
        result = self.runner.run_part(data, samples, shard, training)
        return result, self.runner.engine.recording_sums(self.runner.stored, shard) if training else {}

    def empty_gradient(self) -> np.ndarray:
        return self.inner.empty_gradient()

    def add_subtrees(self, sums: dict[int, np.ndarray], slices: int) -> np.ndarray:
        return self.inner.add_subtrees(sums, slices)

    def set_gradient(self, flat: np.ndarray) -> None:
        self.inner.set_gradient(flat)

    def notes(self, batch: int) -> list[str]:
        return [*self.inner.notes(batch), f"recordings run in {self.runner.forecast(self._longest)}"]


class Ordered(Protocol):
    """What is run in batches: `Data`, or a training set."""

    @property
    def follows(self) -> np.ndarray | None: ...
    @property
    def whole(self) -> bool: ...
    def __len__(self) -> int: ...


def in_order(data: Ordered, order: np.ndarray | None, size: int) -> list[np.ndarray]:
    """Batches of sample numbers: `size` recordings, whole or side by side, chunk after chunk; or `size` samples.

    Args:
        order: of recordings, or of samples; None: as is.
    """
    if data.follows is None:
        every = np.arange(len(data)) if order is None else order
        return [every[i : i + size] for i in range(0, len(data), size)]
    # Chunk c of every recording in a batch runs at the same time, so that the final states of one batch are the initial
    # ones of the next; recordings that are shorter drop out at the end of theirs.
    first = np.flatnonzero(~data.follows)
    length = np.diff(np.append(first, len(data)))
    every = np.arange(len(first)) if order is None else order
    batches: list[np.ndarray] = []
    for i in range(0, len(every), size):
        mine = every[i : i + size]
        if data.whole:
            batches.append(np.concatenate([np.arange(first[r], first[r] + length[r]) for r in mine]))
        else:
            batches += [first[mine[length[mine] > c]] + c for c in range(length[mine].max())]
    return batches


def count_recordings(data: Ordered) -> int:
    """Number of recordings, or of samples where none continues another: what an epoch shuffles."""
    return len(data) if data.follows is None else int(np.count_nonzero(~data.follows))
