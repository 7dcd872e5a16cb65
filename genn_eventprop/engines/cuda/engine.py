"""The engine's host side: what is on the device, launches, gradients back.

A batch that does not fit the device's memory runs in groups, in order; their gradients add up to those of the batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ...codegen.cuda import generate
from ...errors import EngineError
from ...plan import Plan
from ...plan.tables import delay_numbers
from ...program.nodes import Buffer
from ..base import Availability, diverged
from ..program_engine import Arrays, ProgramEngine
from .device import Device, DeviceMemory, open_device, visible_devices
from .memory import Memory

NOTHING = np.uint64(2**64 - 1)  # no trial has left its dynamics


class CudaEngine(ProgramEngine):
    """See the module.

    Args:
        dtype: "float32" or "float64". device: its number among those that CUDA shows (`CUDA_VISIBLE_DEVICES`), or one
            that is open already. group: samples that run together at most, None: as many as fit its memory.

    Raises:
        EngineError: without a device or the extra [cuda]; for what the program does not run.
    """

    name = "cuda"

    @classmethod
    def availability(cls) -> Availability:
        found, missing = visible_devices()
        return Availability(cls.name, bool(found), ", ".join(found) or missing)

    def __init__(
        self,
        plan: Plan,
        parameters: Mapping[str, np.ndarray],
        *,
        slope_floor: float = 0.0,
        dtype: str = "float32",
        device: int | Device = 0,
        group: int | None = None,
    ) -> None:
        super().__init__(plan, parameters, slope_floor=slope_floor, dtype=dtype)
        self.source = generate(plan, dtype)
        self.trial = self.source.trial
        self.device = device if isinstance(device, Device) else open_device(device)
        self._number = None if isinstance(device, Device) else device
        if self.source.shared > self.device.shared_memory:
            raise EngineError(
                f"cuda: a trial of this network needs {self.source.shared} bytes of shared memory, the device has "
                f"{self.device.shared_memory} a block; use smaller populations, or native"
            )
        self._module = self.device.compile(self.source.text)
        self._memory = Memory(self.device)
        self.group = group

    def settle(self, number: int, processes: int) -> None:
        """A device of its own for every process, as far as there are so many."""
        found = max(len(visible_devices()[0]), 1)
        if processes > found:
            self.remarks.append(f"{processes} processes share {found} devices of this machine")
        if self._number is None or self._number == number % found:
            return
        self.close()
        self._number, self.device = number % found, open_device(number % found)
        self._module, self._memory = self.device.compile(self.source.text), Memory(self.device)

    def execute(self, given: Arrays, training: bool) -> Arrays:
        size, B = self.group or self._fitting(given), int(given["batch"])
        if size >= B:
            return self._execute(given, training)
        parts = [self._execute(self._part(given, k, min(k + size, B)), training) for k in range(0, B, size)]
        joined = {b.name: b.role for b in self.source.arrays}
        return {
            name: np.concatenate([p[name] for p in parts]) if joined[name] == "result" else sum(p[name] for p in parts)
            for name in parts[0]
        }

    def _fitting(self, given: Arrays) -> int:
        """How many samples fit the device's memory together."""
        each = {**given, "batch": 1}
        kept = [b for b in self.source.arrays if b.role in ("kept", "result", "gradient")]
        sample = sum(int(np.prod(self.shape(b, each))) * self.kind(b).itemsize for b in kept)
        fits = int(0.8 * self.device.available / max(sample, 1))
        if fits < 1:
            raise EngineError(
                f"cuda: a trial of {given['n_steps']} steps needs {sample / 2**20:.0f} MiB, the device has "
                f"{self.device.available / 2**20:.0f} MiB; use larger steps, a smaller network, or native"
            )
        return fits

    def _part(self, given: Arrays, start: int, stop: int) -> Arrays:
        """Samples start to stop of a batch."""
        of_samples = {b.name for b in self.source.arrays if b.axes[0] == "batch"} | {"samples", "numbers"}
        part = {k: v[start:stop] if k in of_samples and np.ndim(v) else v for k, v in given.items()}
        return part | {"batch": stop - start}

    def _execute(self, given: Arrays, training: bool) -> Arrays:
        """Samples that fit together."""
        given = given | {"training": training, "n_channels": self.plan.input.size + 1}
        given |= self._groups()
        memory = self._memory
        while True:
            places = self._places(given)
            fields = memory.value("fields", self._fields(places, given)).address
            places["trouble"].write(np.full(1, NOTHING))
            places["needed"].clear(places["needed"].bytes)
            self._module.launch("trial", given["batch"], self.source.threads, self.source.shared, fields)
            needed = places["needed"].read((len(self.plan.populations),), np.dtype(np.int32))
            if not needed.any():
                break
            for i, entries in enumerate(needed):
                if entries:
                    self.room[i] = 1 << int(entries - 1).bit_length()
                    given |= {f"p{i}_room": self.room[i]}
        self._check(places["trouble"].read((1,), np.dtype(np.uint64))[0], given)
        for kernel, blocks in self.source.gathers if training else ():
            self._module.launch(kernel, blocks, self.source.gather_threads, 0, fields)
        wanted = ("result", "gradient") if training else ("result",)
        return {b.name: self._read(b, places[b.name], given) for b in self.source.arrays if b.role in wanted}

    def _places(self, given: Arrays) -> dict[str, DeviceMemory]:
        """Where everything is on the device; copied there where it is not yet."""
        memory, data = self._memory, given["steps"]
        places = dict(memory.data_set(data, {} if memory.has_set(data) else self._data_set(given)))
        for b in self.source.arrays:
            if b.name in places:
                continue
            if b.role in ("number", "given"):
                value = np.ascontiguousarray(given.get(b.name, np.zeros(1)), self.kind(b))
                places[b.name] = memory.value(b.name, value)
            else:
                count = int(np.prod(self.shape(b, given))) * self.kind(b).itemsize
                places[b.name] = memory.work(b.name, count, zero=b.kind == "bits")  # no spikes before the first step
                if _of_neurons(b):
                    places[b.name].clear(count)
        return places

    def _groups(self) -> Arrays:
        """Which synapses share a weight or a delay, by the names of `codegen.cuda.synapses.group_buffers`."""
        wanted, found = {b.name for b in self.source.arrays}, Arrays()
        for i, c in enumerate(self.plan.connections):
            table = None if c.form == "dense" else self.tables.of(c, self.parameters)
            keys = {"w": None if table is None else table.weights, "d": delay_numbers(c, table) if c.delays else None}
            if table is not None:
                found[f"c{i}_source"] = table.source
            for kind, key in keys.items():
                if key is not None and f"c{i}_{kind}_start" in wanted:
                    size = math.prod(c.delays.shape if kind == "d" and c.delays else c.weight_shape)
                    found[f"c{i}_{kind}_synapse"] = np.argsort(key, kind="stable").astype(np.int32)
                    found[f"c{i}_{kind}_start"] = np.concatenate([[0], np.cumsum(np.bincount(key, minlength=size))])
        return found

    def _data_set(self, given: Arrays) -> dict[str, np.ndarray]:
        """A data set's spikes in the order of their times, and once more by channel, for the gathering of gradients."""
        n, offsets = self.plan.input.size, given["offsets"]
        steps, channels = (np.ascontiguousarray(given[k], np.int32) for k in ("steps", "channels"))
        start = np.zeros((len(offsets) - 1, n + 1), np.int64)
        by_channel = np.empty_like(steps)
        for i in range(len(offsets) - 1):
            part = slice(offsets[i], offsets[i + 1])
            start[i] = offsets[i] + np.concatenate([[0], np.cumsum(np.bincount(channels[part], minlength=n))])
            by_channel[part] = steps[part][np.argsort(channels[part], kind="stable")]
        return {
            "steps": steps, "channels": channels, "by_channel": by_channel, "channel_start": start,
            "offsets": np.ascontiguousarray(offsets, np.int64),
        }  # fmt: skip

    def _read(self, buffer: Buffer, place: DeviceMemory, given: Arrays) -> np.ndarray:
        """Back to the host; of gradients of neurons the sum over the samples, which stands first."""
        shape = self.shape(buffer, given)
        return place.read(shape[1:] if _of_neurons(buffer) else shape, self.kind(buffer))

    def shape(self, buffer: Buffer, given: Arrays) -> tuple[int, ...]:
        """What trials keep, and gradients of neurons, have a part for every sample."""
        shape = super().shape(buffer, given)
        of_sample = buffer.role == "kept" or _of_neurons(buffer)
        return (int(given["batch"]), *shape) if of_sample and "batch" not in buffer.axes else shape

    def _fields(self, places: Mapping[str, DeviceMemory], given: Arrays) -> np.ndarray:
        """The struct that kernels are given: addresses, doubles, 64-bit integers."""
        s = self.source
        parts = [
            np.array([places[b.name].address for b in s.arrays], np.uint64),
            np.array([float(given.get(b.name, 0.0)) for b in s.doubles], np.float64),
            np.array([int(given[n]) for n in s.integers], np.int64),
        ]
        return np.concatenate([p.view(np.uint64) for p in parts])

    def _check(self, place: np.uint64, given: Arrays) -> None:
        """Raise `EngineError` for dynamics that diverged; see note_diverged in runtime.cuh."""
        if place == NOTHING:
            return
        rest, parts = int(place), []
        for bits in (14, 4, 4, 21):
            parts.append(rest & ((1 << bits) - 1))
            rest >>= bits
        neuron, state, population, step = parts
        number = int(given["numbers"][rest])
        raise diverged(self.plan, self.plan.populations[population], number, step, state, neuron)

    def close(self) -> None:
        """Give the device's memory back."""
        self._memory.close()


def _of_neurons(buffer: Buffer) -> bool:
    """True for gradients of neuron parameters, which every sample adds to a part of its own."""
    return buffer.role == "gradient" and buffer.name.startswith("p")
