"""A trained model that is fed as time goes by: spikes come in chunks, readouts are there at any moment."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..codegen.c99 import standalone
from ..engines import Spikes
from ..errors import DataError
from ..plan import Plan, clock
from ..toolchain.load import build


@dataclass(frozen=True, eq=False)
class Moment:
    """What a stream knows. time: ms, the end of the last step. readout: (K,), inf for a silent output. prediction: -1
    if no output decides. spikes: population -> its spikes since the trial began."""

    time: float
    readout: np.ndarray
    prediction: int
    spikes: dict[str, Spikes]


class Stream:
    """One trial of a network, a step at a time; the state stays between calls.

    However the spikes are cut into chunks, the result is that of one trial of the engine `c99` in the same precision.

    Args:
        plan: of a network with spikes on the grid. parameters: its values by name. dtype: "float32" or "float64".

    Raises:
        EngineError: exact spike times, or a model that cannot be written as C.
    """

    def __init__(self, plan: Plan, parameters: Mapping[str, np.ndarray], *, dtype: str = "float32") -> None:
        self.plan = plan
        self._library = build(standalone(plan, parameters, dtype=dtype).text, "c")
        self._library.model_size.restype = ctypes.c_ulong
        self._library.model_spikes_at.restype = ctypes.c_void_p
        self._memory = ctypes.create_string_buffer(int(self._library.model_size()))
        self._out = np.zeros(plan.output.size)
        self._rows: dict[int, np.ndarray] = {}  # address -> the row of bits there
        self._spiking = [(i, p) for i, p in enumerate(plan.populations) if p.spiking]
        self.reset()

    def reset(self) -> None:
        """Begin a new trial."""
        self._library.model_reset_at(self._memory)
        self.step = 0
        self._steps, self._channels = np.zeros(0, np.int32), np.zeros(0, np.int32)
        self._found: dict[str, list[tuple[int, np.ndarray]]] = {p.name: [] for _, p in self._spiking}

    def push(self, events: tuple[np.ndarray, np.ndarray], until: float) -> Moment:
        """Go on until a time.

        Args:
            events: (times in ms, channels) of the input spikes up to `until` that were not pushed before.
            until: ms; the steps of which all spikes are known by then are made. At the end of the trial: all.

        Raises:
            DataError: a spike of a step that is over, beyond `until`, or of a channel that the network does not have.
        """
        self.advance(events, until)
        return self.now()

    def advance(self, events: tuple[np.ndarray, np.ndarray], until: float) -> None:
        """`push` without looking: `now` says what is known. For short steps."""
        self._take(*events, until)
        dt, n = self.plan.dt, self.plan.n_steps
        # step k has the spikes from (k - 1/2) dt on; the last one also those of half a step more
        last = n if until >= self.plan.duration else min(int(clock.to_steps(until, dt)), n - 1)
        while self.step < last:
            here = self._steps == self.step
            channels = np.ascontiguousarray(self._channels[here], np.intc)
            status = self._library.model_step_at(self._memory, ctypes.c_void_p(channels.ctypes.data), len(channels))
            if status == -3:
                raise DataError(f"the network's dynamics diverged at {self.step * dt:g} ms; reset() begins a new trial")
            self.step += 1
            self._note()
            self._steps, self._channels = self._steps[~here], self._channels[~here]

    def now(self) -> Moment:
        """What is known at the end of the last step."""
        prediction = self._library.model_readout_at(self._memory, ctypes.c_void_p(self._out.ctypes.data))
        spikes = {}
        for name, found in self._found.items():
            neurons = [n for _, n in found]
            times = [np.full(len(n), k * self.plan.dt) for k, n in found]
            neuron = np.concatenate([np.zeros(0, np.int64), *neurons])
            spikes[name] = Spikes(np.zeros(len(neuron), np.int64), np.concatenate([np.zeros(0), *times]), neuron)
        return Moment(self.step * self.plan.dt, self._out.copy(), int(prediction), spikes)

    def _take(self, times: np.ndarray, channels: np.ndarray, until: float) -> None:
        times, channels = np.asarray(times, np.float64), np.asarray(channels, np.int64)
        if times.shape != channels.shape or times.ndim != 1:
            raise DataError(
                f"times and channels must be lists of the same length, got {times.shape} and {channels.shape}"
            )
        if channels.size and not (0 <= channels.min() and channels.max() < self.plan.input.size):
            raise DataError(
                f"channels must be 0 to {self.plan.input.size - 1}, got {channels.min()} to {channels.max()}"
            )
        if times.size and not (times.min() >= 0 and times.max() <= min(until, self.plan.duration)):
            raise DataError(
                f"spikes until {until:g} ms were expected, got times from {times.min():g} to {times.max():g} ms"
            )
        steps, _ = clock.input_steps(times, self.plan.dt, 0.5, self.plan.n_steps - 1)
        if steps.size and steps.min() < self.step:
            late = times[steps < self.step].min()
            raise DataError(
                f"a spike at {late:g} ms is too late: the stream has already computed the steps up to "
                f"{self.step * self.plan.dt:g} ms"
            )
        self._steps = np.concatenate([self._steps, steps])
        self._channels = np.concatenate([self._channels, channels.astype(np.int32)])

    def _note(self) -> None:
        """The spikes that ended the last step."""
        for i, p in self._spiking:
            address = self._library.model_spikes_at(self._memory, i)
            bits = self._rows.get(address)
            if bits is None:
                row = (ctypes.c_uint32 * ((p.size + 31) // 32)).from_address(address)
                bits = self._rows[address] = np.ctypeslib.as_array(row)
            if bits.any():
                flags = np.unpackbits(bits.view(np.uint8), bitorder="little")[: p.size]
                self._found[p.name].append((self.step, np.flatnonzero(flags)))
