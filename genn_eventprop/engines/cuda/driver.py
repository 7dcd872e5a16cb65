"""The real device: `cuda-core` for compilation and launches, the driver's copies for memory.

Not run on a GPU yet: see docs/engines.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from cuda.bindings import driver as cu
from cuda.core import Device as CoreDevice
from cuda.core import LaunchConfig, Program, ProgramOptions, launch

from ...errors import EngineError
from .device import Device, DeviceArray, Module

OPTIONS: dict[str, Any] = {"std": "c++17"}
SHARED_MEMORY = 48 << 10  # bytes a block of any device may have without asking


def check(answer: tuple[Any, ...], what: str) -> Any:
    """The value of a driver call.

    Raises:
        EngineError: with the driver's name for what went wrong.
    """
    status, *values = answer
    if status != cu.CUresult.CUDA_SUCCESS:
        raise EngineError(f"cuda: {what} failed: {status.name}")
    return values[0] if values else None


class CudaArray(DeviceArray):
    def __init__(self, device: CudaDevice, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.bytes = max(1, int(np.prod(shape, dtype=np.int64)) * self.dtype.itemsize)
        self.address = int(check(cu.cuMemAlloc(self.bytes), f"allocating {self.bytes / 2**20:.1f} MiB"))
        self._device = device

    def read(self) -> np.ndarray:
        value = np.empty(self.shape, self.dtype)
        if value.nbytes:
            check(cu.cuMemcpyDtoH(value.ctypes.data, self.address, value.nbytes), "copying to the host")
        return value

    def __del__(self) -> None:
        if getattr(self, "address", 0):
            cu.cuMemFree(self.address)


class CudaModule(Module):
    def __init__(self, device: CudaDevice, text: str) -> None:
        options = ProgramOptions(arch=f"sm_{device.arch}", **OPTIONS)
        self._code = Program(text, "c++", options).compile("cubin")
        self._device = device

    def launch(self, kernel: str, blocks: int, threads: int, shared: int, fields: bytes) -> None:
        device = self._device
        device.core.set_current()
        given = device.array(np.frombuffer(fields, np.uint8))
        config = LaunchConfig(grid=blocks, block=threads, shmem_size=shared)
        launch(device.stream, config, self._code.get_kernel(kernel), np.uint64(given.address))
        try:
            device.stream.sync()
        except Exception as error:  # of any kind: the driver reports what a kernel did when it is waited for
            raise EngineError(f"cuda: kernel {kernel} failed on {device.name}: {error}") from None


class CudaDevice(Device):
    """A GPU by its number among those that are visible."""

    shared_memory = SHARED_MEMORY

    def __init__(self, number: int) -> None:
        try:
            self.core = CoreDevice(number)
            self.core.set_current()
        except Exception as error:  # no driver, no such device
            raise EngineError(f"cuda: no device number {number} ({error}); native runs on the CPU") from None
        self.name, self.arch = self.core.name, self.core.arch
        self.stream = self.core.create_stream()

    @property
    def free(self) -> int:
        return int(check(cu.cuMemGetInfo(), "asking for free memory"))

    def compile(self, text: str) -> Module:
        return CudaModule(self, text)

    def array(self, value: np.ndarray) -> CudaArray:
        value = np.ascontiguousarray(value)
        made = CudaArray(self, value.shape, value.dtype)
        if value.nbytes:
            check(cu.cuMemcpyHtoD(made.address, value.ctypes.data, value.nbytes), "copying to the device")
        return made

    def zeros(self, shape: tuple[int, ...], dtype: np.dtype) -> CudaArray:
        made = CudaArray(self, shape, dtype)
        check(cu.cuMemsetD8(made.address, 0, made.bytes), "clearing memory")
        return made


def devices() -> list[str]:
    """Name, compute capability and memory of every visible device; empty without a driver."""
    try:
        count = check(cu.cuInit(0), "starting the driver") or check(cu.cuDeviceGetCount(), "counting devices")
    except (EngineError, RuntimeError):
        return []
    found = []
    for i in range(int(count)):
        device = CoreDevice(i)
        memory = int(check(cu.cuDeviceTotalMem(i), "asking for memory")) / 2**30
        found.append(f"{device.name} (sm_{device.arch}, {memory:.0f} GiB)")
    return found
