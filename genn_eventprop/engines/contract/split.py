"""A trial in two halves, for losses that are written in Python: forwards, then backwards from dL/d(readout).

    readouts = engine.forward(data, samples)        # r of every sample and output
    engine.backward(slope)                          # dL/dr (B, K), of any loss of r
    engine.gradients, engine.input_gradients        # dL/d(parameter), and dL/d(time of every input spike)

A loss with `also=` reads more in the same pass: readouts.also["trace"], engine.backward(slope, {"trace": dL_dtrace}).

One forward and one backward pass, whatever the loss. L is the whole loss: a mean over the batch has its 1/B in dL/dr.
The loss of the plan says what is read; its outer loss is not used, the regularisers of spikes are not.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import EngineError
from ...losses.kinds import READOUTS
from .device_arrays import DeviceArrays

if TYPE_CHECKING:
    from .result import Spikes


READ = tuple(name for name, kind in READOUTS.items() if not kind.in_trial)
"""Readouts that are one number of every output."""


@dataclass(frozen=True, eq=False)
class Readouts:
    """The readouts of a forward pass.

    value: (B, K) float64, inf for the first spike of a silent output. valid: (B, K) whether an output has a readout.
    spike_counts: population -> (B, N) int64. spikes: population -> `Spikes`, if recorded. also: other readouts by
    the names in `Loss.also`, "trace" (B, T + 1, K) being V at k dt before the arrivals of step k.
    """

    value: np.ndarray
    valid: np.ndarray
    spike_counts: dict[str, np.ndarray]
    spikes: Mapping[str, Spikes] | None = None
    also: dict[str, np.ndarray] = field(default_factory=dict)


class PendingPass:
    """The forward pass that the next `Engine.backward` continues: one an engine, dropped by every other run.

    What a pass leaves for the way back is in the engine's memory, which another run overwrites. A thread whose pass
    was dropped by another thread's run must not go on with the wrong one: its `backward` says what happened.
    """

    def __init__(self) -> None:
        self._pass: tuple[Readouts, Any] | None = None
        self._parameters: Mapping[str, np.ndarray] = {}  # copies of those that it ran with
        self._thread = 0  # that ran it
        self._displaced: set[int] = set()  # threads whose pass another thread's run dropped

    def store(self, readouts: Readouts, saved: Any, parameters: Mapping[str, np.ndarray]) -> None:
        """saved: what the engine needs on the way back."""
        self._pass, self._thread = (readouts, saved), threading.get_ident()
        # of those on a device it is known which are written
        copied = parameters.only_on_host() if isinstance(parameters, DeviceArrays) else parameters
        self._parameters = {name: parameters[name].copy() for name in copied}

    def check(self, parameters: Mapping[str, np.ndarray]) -> None:
        """Raise `EngineError` if parameters have other values than in the pass."""
        changed = parameters.written() if isinstance(parameters, DeviceArrays) else []
        changed += [name for name, v in self._parameters.items() if v.tobytes() != parameters[name].tobytes()]
        if changed:
            raise EngineError(
                f"{', '.join(changed)} changed between forward and backward, so the gradient would belong to neither "
                "network; change parameters after backward, or run forward again"
            )

    def get(self) -> tuple[Readouts, Any]:
        """What `store` stored.

        Raises:
            EngineError: there is none.
        """
        me = threading.get_ident()
        if me in self._displaced:
            self._displaced.discard(me)
            raise EngineError(
                "another thread ran the engine between forward and backward; hold its lock around both: "
                "with engine.lock: ..."
            )
        if self._pass is None:
            raise EngineError("backward needs a forward run with keep=True before it, once for each call")
        return self._pass

    def drop(self) -> None:
        """Free it: it has been used, or nobody will."""
        self._pass, self._parameters = None, {}

    def begin_run(self) -> None:
        """Another run overwrites it."""
        me = threading.get_ident()
        if self._pass is not None and self._thread != me:
            self._displaced.add(self._thread)
        self._displaced.discard(me)
        self.drop()


def check_slope(slope: Any, value: np.ndarray, what: str) -> np.ndarray:
    """dL/dr as float64, zero where an output has no readout.

    Raises:
        EngineError: a wrong shape, or numbers that are not finite.
    """
    slope = np.asarray(slope, dtype=np.float64)
    if slope.shape != value.shape:
        raise EngineError(f"dL/dr{what} has shape {slope.shape}, the readouts have {value.shape}")
    # a loss that divides by or subtracts an infinite readout has nan there, which must not stop the others
    slope = np.where(np.isfinite(value), slope, 0.0)
    if not np.isfinite(slope).all():
        raise EngineError(f"dL/dr{what} is not finite")
    return slope


def spike_numbers(offsets: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(index of every spike of `samples` in the data, index of its sample in the batch), sample by sample.

    Args:
        offsets: of the data.
    """
    spikes = [np.arange(offsets[i], offsets[i + 1]) for i in samples]
    return np.concatenate(spikes), np.repeat(np.arange(len(samples)), [len(s) for s in spikes])
