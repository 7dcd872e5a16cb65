"""The engine's host side: what is on the device, launches, gradients back.

A batch that does not fit the device's memory runs in groups, in order; their gradients add up to those of the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...codegen.cuda import generate
from ...errors import EngineError
from ...plan import Plan
from ...program.nodes import Buffer
from ..base import endless
from ..program_engine import Arrays, ProgramEngine
from .device import Device, open_device

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
        if self.source.shared > self.device.shared_memory:
            raise EngineError(
                f"cuda: a trial of this network needs {self.source.shared} bytes of shared memory, the device has "
                f"{self.device.shared_memory} a block; use smaller populations, or native"
            )
        self._module = self.device.compile(self.source.text)
        self.group = group

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
        fits = int(0.8 * self.device.free / max(sample, 1))
        if fits < 1:
            raise EngineError(
                f"cuda: a trial of {given['n_steps']} steps needs {sample / 2**20:.0f} MiB, the device has "
                f"{self.device.free / 2**20:.0f} MiB; use larger steps, a smaller network, or native"
            )
        return fits

    def _part(self, given: Arrays, start: int, stop: int) -> Arrays:
        """Samples start to stop of a batch."""
        of_samples = {b.name for b in self.source.arrays if b.axes[0] == "batch"} | {"samples", "numbers"}
        part = {k: v[start:stop] if k in of_samples and np.ndim(v) else v for k, v in given.items()}
        return part | {"batch": stop - start}

    def _execute(self, given: Arrays, training: bool) -> Arrays:
        """Samples that fit together."""
        given = given | {"training": training}
        given |= self._by_channel(given)
        while True:
            arrays, out = self._upload(given)
            fields = self._fields(arrays, given)
            self._module.launch("trial", given["batch"], self.source.threads, self.source.shared, fields)
            needed = arrays["needed"].read()
            if not needed.any():
                break
            for i, entries in enumerate(needed):
                if entries:
                    self.room[i] = 1 << int(entries - 1).bit_length()
                    given |= {f"p{i}_room": self.room[i]}
        self._check(arrays["trouble"].read()[0], given)
        for kernel, blocks in self.source.gathers if training else ():
            self._module.launch(kernel, blocks, self.source.gather_threads, 0, fields)
        return {b.name: self._result(b, arrays[b.name].read()) for b in out if training or b.role == "result"}

    def _by_channel(self, given: Arrays) -> Arrays:
        """Input spikes of every sample sorted by channel, for the gathering of weight gradients."""
        n = self.plan.input.size
        offsets, samples = given["offsets"], given["samples"]
        start = np.zeros((len(samples), n + 1), np.int64)
        parts, total = [], 0
        for b, i in enumerate(samples):
            part = slice(offsets[i], offsets[i + 1])
            channels = given["channels"][part]
            start[b] = total + np.concatenate([[0], np.cumsum(np.bincount(channels, minlength=n))])
            parts.append(given["steps"][part][np.argsort(channels, kind="stable")])
            total += len(channels)
        by_channel = np.concatenate(parts) if parts else np.zeros(0, np.int32)
        return {
            "by_channel": by_channel, "channel_start": start, "n_channels": n + 1,
            "first": offsets[samples], "last": offsets[samples + 1],
        }  # fmt: skip

    def _upload(self, given: Arrays) -> tuple[dict[str, Any], list[Buffer]]:
        """Device arrays by name, and the buffers that come back."""
        special = {"trouble": np.full(1, NOTHING), "needed": np.zeros(len(self.plan.populations), np.int32)}
        arrays, out = {}, []
        for b in self.source.arrays:
            kind = self.kind(b)
            if b.name in special:
                arrays[b.name] = self.device.array(special[b.name])
            elif b.role in ("number", "given"):
                value = np.ascontiguousarray(given.get(b.name, np.zeros(1)), kind)
                arrays[b.name] = self.device.array(value)
            else:
                arrays[b.name] = self.device.zeros(self.shape(b, given), kind)
                out += [b] if b.role in ("result", "gradient") else []
        return arrays, out

    def shape(self, buffer: Buffer, given: Arrays) -> tuple[int, ...]:
        """What trials keep, and gradients of neurons, have a part for every sample."""
        shape = super().shape(buffer, given)
        of_sample = buffer.role == "kept" or (buffer.role == "gradient" and buffer.name.startswith("p"))
        return (int(given["batch"]), *shape) if of_sample and "batch" not in buffer.axes else shape

    def _fields(self, arrays: Mapping[str, Any], given: Arrays) -> bytes:
        """The struct that kernels are given: addresses, doubles, 64-bit integers."""
        s = self.source
        parts = [
            np.array([arrays[b.name].address for b in s.arrays], np.uint64),
            np.array([float(given.get(b.name, 0.0)) for b in s.doubles], np.float64),
            np.array([int(given[n]) for n in s.integers], np.int64),
        ]
        return b"".join(p.tobytes() for p in parts)

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
        raise endless(self.plan, self.plan.populations[population], number, step, state, neuron)

    def _result(self, buffer: Buffer, value: np.ndarray) -> np.ndarray:
        of_neurons = buffer.role == "gradient" and buffer.name.startswith("p")
        return value[0].copy() if of_neurons else value
