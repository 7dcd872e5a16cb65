"""A trial in two halves, for losses that are written in Python: forwards, then backwards from dL/d(readout).

    readouts = engine.forward(data, samples)        # r of every sample and output
    engine.backward(slope)                          # dL/dr (B, K), of any loss of r
    engine.gradients, engine.input_gradients        # dL/d(parameter), and dL/d(time of every input spike)

A loss with `also=` reads more in the same pass: readouts.also["trace"], engine.backward(slope, {"trace": dL_dtrace}).

One forward and one backward pass, whatever the loss. L is the whole loss: a mean over the batch has its 1/B in dL/dr.
The loss of the plan says what is read; its own outer loss is not used, the regularisers of spikes are not.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...errors import EngineError
from ...losses.kinds import READOUTS
from .features import no_input_times
from .lock import EngineLock, one_at_a_time

if TYPE_CHECKING:
    from ...plan import Plan
    from .data import Data
    from .result import Spikes


READ = tuple(name for name, kind in READOUTS.items() if not kind.in_trial)
"""Readouts that are one number of every output."""


@dataclass(frozen=True, eq=False)
class Readouts:
    """What a forward pass reads: value (B, K) float64, inf for the first spike of a silent output, and valid (B, K),
    where it is there; spike_counts: population -> (B, N) int64; spikes: population -> `Spikes`, if asked for; also:
    other readouts by the names in `Loss.also`, "trace" (B, T + 1, K) being V at k dt before the arrivals of step k."""

    value: np.ndarray
    valid: np.ndarray
    spike_counts: dict[str, np.ndarray]
    spikes: Mapping[str, Spikes] | None = None
    also: dict[str, np.ndarray] = field(default_factory=dict)


class SplitForm:
    """The two halves of an engine that has them; see the module.

    Attributes:
        input_gradients: (E,) float64 dL/d(time) per ms of every input spike of the last backward pass, sample by sample
            in the order of the data. On the grid it is D at the step of the arrival.
    """

    splits: ClassVar[bool] = False
    """Whether it has the two halves."""
    plan: Plan
    name: str
    lock: EngineLock
    features: ClassVar[Mapping[str, frozenset[str]]]
    _kept: Any = None
    _kept_by: int = 0  # the thread that ran it
    _displaced: set[int]  # threads whose pass has gone because another thread ran the engine
    _inputs: np.ndarray | None = None

    @one_at_a_time
    def forward(
        self, data: Data, samples: Any, *, keep: bool = True, stochastic: bool = False, record_spikes: bool = False
    ) -> Readouts:
        """Run the trials of `samples` forwards.

        Args:
            keep: what `backward` needs. It goes with the next run, or with a change of parameters. Threads that share
                an engine hold its lock from `forward` to `backward`: ``with engine.lock:``.
            stochastic: noise and dropout act, as in training.
            record_spikes: may be read until the engine runs again.

        Raises:
            EngineError: the engine has no halves, or the loss does not read one number of every output.
        """
        if not self.splits:
            raise EngineError(
                f"{self.name} cannot run the forward and backward passes separately; use native, reference_clock or "
                "reference_event"
            )
        if self.plan.auxiliary:
            raise EngineError("a loss in Python reads only one population; make the plan with one loss")
        if self.plan.loss.readout not in READ:
            raise EngineError(
                f"the readout {self.plan.loss.readout!r} has its outer loss in the trial; a loss in Python needs one "
                f"of {', '.join(READ)}"
            )
        self.displace()
        self._inputs = None
        readouts, kept = self._forward_half(data, samples, keep, stochastic, record_spikes)
        self._kept, self._kept_by = (readouts, kept) if keep else None, threading.get_ident()
        return readouts

    @one_at_a_time
    def backward(self, slope: Any, also: Mapping[str, Any] | None = None, *, inputs: bool = True) -> None:
        """Run the kept trials backwards; sets `gradients` and `input_gradients`.

        Args:
            slope: dL/dr (B, K); where an output has no readout, it does not count. also: the same of readouts in
                `Readouts.also`, in their shapes; those that are left out do not count. inputs: whether
                `input_gradients` are wanted; without, it is quicker on some engines.

        Raises:
            EngineError: nothing is kept, a wrong shape, or numbers that are not finite.
        """
        if threading.get_ident() in self._displaced:
            self._displaced.discard(threading.get_ident())
            raise EngineError(
                "another thread ran the engine between forward and backward; hold its lock around both: "
                "with engine.lock: ..."
            )
        if self._kept is None:
            raise EngineError("backward needs a forward run with keep=True before it, once for each call")
        if inputs and (why := no_input_times(self.plan, self.features)):
            raise EngineError(f"{self.name} {why}; or call backward with inputs=False")
        readouts, kept = self._kept
        slope, given = _checked(slope, readouts.value, ""), dict(also or {})
        more = {
            name: _checked(given.pop(name, np.zeros_like(r)), r, f" of {name}") for name, r in readouts.also.items()
        }
        if given:
            raise EngineError(f"dL/dr is given for {', '.join(given)}, which the loss does not list in also=")
        self._kept = None
        found = self._backward_half(kept, slope, more, inputs)
        self._inputs = found if inputs else None

    @one_at_a_time
    def forget(self) -> None:
        """Let go of the pass that is kept."""
        self._kept = None

    def displace(self) -> None:
        """Another run begins: the pass that is kept goes, and if another thread ran it, its `backward` will say so."""
        me = threading.get_ident()
        if self._kept is not None and self._kept_by != me:
            self._displaced.add(self._kept_by)
        self._displaced.discard(me)
        self._kept = None

    @property
    def input_gradients(self) -> np.ndarray:
        if self._inputs is None:
            raise EngineError("there are no gradients of input times; run forward and backward first, with inputs=True")
        return self._inputs

    def _forward_half(
        self, data: Data, samples: Any, keep: bool, stochastic: bool, record_spikes: bool
    ) -> tuple[Readouts, Any]:
        """(readouts, what `_backward_half` needs)."""
        raise NotImplementedError

    def _backward_half(self, kept: Any, slope: np.ndarray, also: dict[str, np.ndarray], inputs: bool) -> np.ndarray:
        """Sets gradients, returns those of input times, anything if `inputs` is False."""
        raise NotImplementedError


def _checked(slope: Any, value: np.ndarray, what: str) -> np.ndarray:
    """dL/dr, zero where an output has no readout."""
    slope = np.asarray(slope, dtype=np.float64)
    if slope.shape != value.shape:
        raise EngineError(f"dL/dr{what} has shape {slope.shape}, the readouts have {value.shape}")
    slope = np.where(np.isfinite(value), slope, 0.0)
    if not np.isfinite(slope).all():
        raise EngineError(f"dL/dr{what} is not finite")
    return slope


def spike_numbers(offsets: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(numbers in the data of all spikes of `samples`, index into the batch of each), sample by sample; offsets: of
    the data."""
    parts = [np.arange(offsets[i], offsets[i + 1]) for i in samples]
    return np.concatenate(parts), np.repeat(np.arange(len(samples)), [len(p) for p in parts])
