"""A trained model that takes spikes and currents as they arrive: in chunks of any size, with readouts at any time."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..codegen.c99 import standalone, stream_source
from ..engines import Spikes
from ..engines.contract.currents import Pieces
from ..engines.contract.lock import EngineLock, one_at_a_time
from ..errors import DataError, check_known
from ..plan import CurrentRecord, Plan, clock
from ..toolchain.load import build

ROOM = 4096
"""Of the first lists of spikes, in spikes."""
FULL, DIVERGED, REFUSED = 1, -3, -4  # what `stream_advance` returns, as in stream.h


@dataclass(frozen=True, eq=False)
class Moment:
    """What a stream knows. time: ms, the end of the last step. readout: (K,), inf for a silent output. prediction: -1
    if no output decides. spikes: population -> its spikes since the trial began."""

    time: float
    readout: np.ndarray
    prediction: int
    _plan: Plan = field(repr=False)
    _rows: tuple[np.ndarray, ...] = field(repr=False)  # (n, 3) of step, population, neuron

    @cached_property
    def spikes(self) -> dict[str, Spikes]:
        rows = np.concatenate(self._rows)
        spikes = {}
        for i, p in enumerate(self._plan.populations):
            if p.spiking:
                step, _, neuron = rows[rows[:, 1] == i].T.astype(np.int64)
                spikes[p.name] = Spikes(np.zeros(len(step), np.int64), step * self._plan.dt, neuron)
        return spikes


class _Lists(ctypes.Structure):
    """`Stream` of stream.h."""

    _fields_ = [
        ("dt", ctypes.c_double), ("duration", ctypes.c_double), ("step", ctypes.c_int64), ("steps", ctypes.c_void_p),
        ("channels", ctypes.c_void_p), ("now", ctypes.c_void_p), ("waiting", ctypes.c_int64),
        ("recorded", ctypes.c_void_p), ("count", ctypes.c_int64), ("room", ctypes.c_int64),
        ("currents", ctypes.c_void_p), ("first", ctypes.c_int64),
    ]  # fmt: skip


class _Flow:
    """A current of a stream: the values that steps to come need.

    Attributes:
        values: (n, M) from value number `first` on.
    """

    def __init__(self, current: CurrentRecord, plan: Plan) -> None:
        self.current, self.plan, self.first = current, plan, 0
        self.values = np.zeros((0, current.size))

    def with_further(self, values: Any) -> _Flow:
        """The same with values after those that there are; this one stays as it is.

        Raises:
            DataError: values of another shape, not finite, or after the end of the trial.
        """
        c, new = self.current, _Flow(self.current, self.plan)
        try:
            further = np.asarray(values, np.float64)
        except (TypeError, ValueError):
            raise DataError(f"current {c.name!r}: values must be numbers (steps, {c.size})") from None
        if further.ndim != 2 or further.shape[1] != c.size:
            raise DataError(f"current {c.name!r}: values must be (steps, {c.size}), got shape {further.shape}")
        if not np.isfinite(further).all():
            k, channel = np.argwhere(~np.isfinite(further))[0]
            raise DataError(f"current {c.name!r}: value {k} of channel {channel} is {further[k, channel]}")
        room = math.ceil(self.plan.duration / c.dt - 1e-9) - self.known
        if np.any(further[room:]):
            raise DataError(f"current {c.name!r} goes on after the trial of {self.plan.duration:g} ms; reset() first")
        # as the engines see them
        new.values = np.concatenate([self.values, further[:room].astype(np.float32)])
        new.first = self.first
        return new

    @property
    def known(self) -> int:
        """How many values there have been."""
        return self.first + len(self.values)

    def means(self, start: int, end: int) -> np.ndarray:
        """(end - start, M) over steps; forgets values that no later step needs.

        Raises:
            DataError: these need further values.
        """
        c, dt = self.current, self.plan.dt
        every = math.ceil(self.plan.duration / c.dt - 1e-9)
        needed = min(math.ceil(end * dt / c.dt - 1e-9) + c.linear, every)
        if start < end and self.known < needed:
            line = ", and one more, to which the line leads" if c.linear else ""
            raise DataError(
                f"current {c.name!r}: {needed - self.known} more values are needed until {end * dt:g} ms (one every "
                f"{c.dt:g} ms{line}); push zeros where it is silent"
            )
        edges = dt * np.arange(start, end + 1)
        means = Pieces(c, self.first, len(self.values), 0.0, edges).mean(self.values[None])[0]
        past = min(math.floor(end * dt / c.dt + 1e-9), self.known) - self.first
        self.values, self.first = self.values[past:], self.first + past
        return means


class Stream:
    """One trial of a network, step by step; the state is kept between calls.

    However spikes and currents are cut into chunks, the result is that of one trial of the engine `c99` in the same
    precision, for currents up to rounding of their means over steps.
    Threads may share a stream, which is one trial for all of them: their calls wait for each other.

    Args:
        plan: of a network with spikes on the grid. parameters: its values by name. dtype: "float32" or "float64".

    Raises:
        EngineError: exact spike times, or a model that cannot be written as C.
    """

    def __init__(self, plan: Plan, parameters: Mapping[str, np.ndarray], *, dtype: str = "float32") -> None:
        self.plan, self.lock = plan, EngineLock()
        self._library = _declare(build(stream_source(plan, standalone(plan, parameters, dtype=dtype)), "c"))
        self._memory = ctypes.create_string_buffer(int(self._library.model_size()))
        self._out = np.zeros(plan.output.size)
        self._neurons = sum(p.size for p in plan.populations if p.spiking)
        self.reset()

    @property
    def step(self) -> int:
        """How many steps were made."""
        return int(self._lists.step)

    @one_at_a_time
    def reset(self) -> None:
        """Begin a new trial."""
        self._library.model_reset_at(self._memory)
        self._lists = _Lists(dt=self.plan.dt, duration=self.plan.duration)
        self._flows = {c.name: _Flow(c, self.plan) for c in self.plan.currents}
        self._done: list[np.ndarray] = []
        self._waiting = np.zeros((3, 0), np.int32)
        self._hold(ROOM)
        self._empty()

    def push(self, events: tuple[Any, Any], until: float, currents: Mapping[str, Any] | None = None) -> Moment:
        """Continue until a given time.

        Args:
            events: (times in ms, channels) of the input spikes up to `until` that were not pushed before.
            until: ms; computes the steps whose spikes are all known by then; at the end of the trial, all steps.
            currents: of a network with currents, by name: (n, M) values that follow those which were pushed before, one
                for each dt of the current. They must reach until the last step; a current that is linear needs one
                value more.

        Raises:
            DataError: a spike for a step already computed, after `until`, or of a channel the network does not have;
                currents that the network does not have, or that do not reach far enough. The stream is then what it
                was.
        """
        with self.lock:
            self._advance(events, until, currents)
            return self._now()

    @one_at_a_time
    def advance(self, events: tuple[Any, Any], until: float, currents: Mapping[str, Any] | None = None) -> None:
        """`push` without looking: `now` says what is known."""
        self._advance(events, until, currents)

    @one_at_a_time
    def now(self) -> Moment:
        """What is known at the end of the last step."""
        return self._now()

    def _advance(self, events: tuple[Any, Any], until: float, currents: Mapping[str, Any] | None) -> None:
        times, channels = np.asarray(events[0], np.float64), np.asarray(events[1], np.int64)
        if times.shape != channels.shape or times.ndim != 1:
            raise DataError(
                f"times and channels must be lists of the same length, got {times.shape} and {channels.shape}"
            )
        if not (times.flags.c_contiguous and channels.flags.c_contiguous):
            times, channels = np.ascontiguousarray(times), np.ascontiguousarray(channels)
        count = len(times)
        flows, rows = self._flowing(currents or {}, until)
        self._lists.currents, self._lists.first = rows.ctypes.data, self.step
        if self._lists.waiting + count > self._waiting.shape[1]:
            self._hold(2 * (self._lists.waiting + count))
        state = self._lists, self._memory, times.ctypes.data, channels.ctypes.data
        status = self._library.stream_advance(*state, count, until)
        while status == FULL:
            self._empty()
            status = self._library.stream_advance(*state, 0, until)
        if status == REFUSED:
            raise self._refused(times, channels, until)
        self._flows = flows
        if status == DIVERGED:
            at = self.step * self.plan.dt
            raise DataError(f"the network's dynamics diverged at {at:g} ms; reset() begins a new trial")

    def _flowing(self, currents: Mapping[str, Any], until: float) -> tuple[dict[str, _Flow], np.ndarray]:
        """The currents with further values, and their means over the steps until `until`."""
        if not self._flows and not currents:
            return {}, np.empty(0)
        for name in currents:
            check_known(name, self._flows, DataError, f"the network has no current {name!r} (")
        plan = self.plan
        end = plan.n_steps
        if until < plan.duration:
            end = max(self.step, int(clock.input_steps(np.array([until]), plan.dt, 0.5, plan.n_steps - 1)[0][0]))
        flows = {n: f.with_further(currents.get(n, np.zeros((0, f.current.size)))) for n, f in self._flows.items()}
        rows = [f.means(self.step, end) for f in flows.values()]
        return flows, np.ascontiguousarray(np.concatenate(rows, axis=1))

    def _now(self) -> Moment:
        prediction = self._library.model_readout_at(self._memory, self._out.ctypes.data)
        rows = (*self._done, self._recorded[: self._lists.count])
        return Moment(self.step * self.plan.dt, self._out.copy(), prediction, self.plan, rows)

    def _hold(self, room: int) -> None:
        """Room for input spikes that wait."""
        wider = np.zeros((3, room), np.int32)
        wider[:, : self._waiting.shape[1]] = self._waiting
        self._waiting = wider
        self._lists.steps, self._lists.channels, self._lists.now = (row.ctypes.data for row in wider)

    def _empty(self) -> None:
        """A new list of recorded spikes; moments that were handed out have views of the old one."""
        if self._lists.count:
            self._done.append(self._recorded[: self._lists.count])
        self._recorded: np.ndarray = np.empty((ROOM + self._neurons, 3), np.int32)
        self._lists.recorded, self._lists.room = self._recorded.ctypes.data, len(self._recorded)
        self._lists.count = 0

    def _refused(self, times: np.ndarray, channels: np.ndarray, until: float) -> DataError:
        """Why spikes were refused."""
        plan = self.plan
        if not (0 <= channels.min() and channels.max() < plan.input.size):
            return DataError(f"channels must be 0 to {plan.input.size - 1}, got {channels.min()} to {channels.max()}")
        if not (times.min() >= 0 and times.max() <= min(until, plan.duration)):
            return DataError(
                f"spikes until {until:g} ms were expected, got times from {times.min():g} to {times.max():g} ms"
            )
        late = times[clock.input_steps(times, plan.dt, 0.5, plan.n_steps - 1)[0] < self.step].min()
        return DataError(
            f"a spike at {late:g} ms is too late: the stream has already computed the steps up to "
            f"{self.step * plan.dt:g} ms"
        )


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    c = ctypes
    library.model_size.restype = c.c_ulong
    library.model_readout_at.argtypes = [c.c_void_p, c.c_void_p]
    pointers: list[Any] = [c.POINTER(_Lists), c.c_void_p, c.c_void_p, c.c_void_p]
    library.stream_advance.argtypes = [*pointers, c.c_int64, c.c_double]
    return library
