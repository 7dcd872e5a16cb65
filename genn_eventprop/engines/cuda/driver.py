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
from .device import Device, DeviceMemory, Module, OutOfMemory

WITHOUT_ASKING = 48 << 10  # bytes of shared memory that a block of any device may have
SHARED_MEMORY = cu.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
ALLOWED = cu.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES


def check(answer: tuple[Any, ...], what: str) -> Any:
    """The value of a driver call.

    Raises:
        EngineError: with the driver's name for what went wrong; OutOfMemory: if it was that.
    """
    status, *values = answer
    if status == cu.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
        raise OutOfMemory(f"cuda: {what} failed: {status.name}")
    if status != cu.CUresult.CUDA_SUCCESS:
        raise EngineError(f"cuda: {what} failed: {status.name}; after an error in a kernel start a new process")
    return values[0] if values else None


class CudaMemory(DeviceMemory):
    """Copies go through the device's own stream, in order with its kernels: they do not wait for the default one."""

    def __init__(self, device: CudaDevice, count: int) -> None:
        self._device, self.bytes = device, count
        device.use()
        what = f"allocating {count / 2**20:.1f} of {device.available / 2**20:.1f} MiB that are left on {device.name}"
        self.address = int(check(cu.cuMemAlloc(count), what))

    def write(self, value: np.ndarray, *, ahead: bool = False) -> None:
        if value.nbytes == 0:
            return
        self._device.use()
        value, stream = np.ascontiguousarray(value), self._device.uploads if ahead else self._device.queue
        check(cu.cuMemcpyHtoDAsync(self.address, value.ctypes.data, value.nbytes, stream), "copying to the device")
        if ahead:
            check(cu.cuStreamSynchronize(stream), "copying to the device")

    def read(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        self._device.use()
        value, stream = np.empty(shape, dtype), self._device.queue
        if value.nbytes:
            check(cu.cuMemcpyDtoHAsync(value.ctypes.data, self.address, value.nbytes, stream), "copying to the host")
        check(cu.cuStreamSynchronize(stream), f"running on {self._device.name}")
        return value

    def clear(self, count: int) -> None:
        self._device.use()
        check(cu.cuMemsetD8Async(self.address, 0, count, self._device.queue), "clearing memory")

    def free(self) -> None:
        if self.address:
            self._device.core.set_current()
            cu.cuMemFree(self.address)  # it fails after an error alone, which was raised then
        self.address = 0


class CudaModule(Module):
    def __init__(self, device: CudaDevice, text: str) -> None:
        try:
            options = ProgramOptions(arch=f"sm_{device.arch}", std="c++17")
            self._code = Program(text, "c++", options).compile("cubin")
        except Exception as error:  # a device that this NVRTC does not know, or none of its libraries
            raise EngineError(f"cuda: compiling for {device.name}, sm_{device.arch}, failed: {error}") from None
        self._device = device

    def launch(self, kernel: str, blocks: int, threads: int, shared: int, argument: int) -> None:
        device = self._device
        device.use()
        config = LaunchConfig(grid=blocks, block=threads, shmem_size=shared)
        try:
            found = self._code.get_kernel(kernel)
            if shared > WITHOUT_ASKING:
                check(
                    cu.cuKernelSetAttribute(ALLOWED, shared, found.handle, device.core.device_id), "asking for memory"
                )
            launch(device.stream, config, found, np.uint64(argument))
        except Exception as error:  # of any kind: an error of an earlier kernel may come out here
            raise EngineError(f"cuda: launching {kernel} on {device.name} failed: {error}") from None


class CudaDevice(Device):
    """A GPU by its number among those that are visible."""

    def __init__(self, number: int) -> None:
        try:
            self.core = CoreDevice(number)
            self.core.set_current()
            self.stream, self._beside = self.core.create_stream(), self.core.create_stream()
        except Exception as error:  # no driver, no such device
            raise EngineError(f"cuda: no device number {number} ({error}); native runs on the CPU") from None
        self.name, self.arch = self.core.name, self.core.arch
        self.queue, self.uploads = (cu.CUstream(int(s.handle)) for s in (self.stream, self._beside))
        self.shared_memory = int(check(cu.cuDeviceGetAttribute(SHARED_MEMORY, number), "asking for shared memory"))

    def use(self) -> None:
        """What this thread asks for next is for this device."""
        try:
            self.core.set_current()
        except Exception as error:
            raise EngineError(f"cuda: {self.name} cannot be used any more: {error}") from None

    @property
    def available(self) -> int:
        self.use()
        return int(check(cu.cuMemGetInfo(), "asking for free memory"))

    def compile(self, text: str) -> Module:
        return CudaModule(self, text)

    def allocate(self, count: int) -> CudaMemory:
        return CudaMemory(self, count)

    def close(self) -> None:
        self.stream.close()
        self._beside.close()


def devices() -> list[str]:
    """Name, compute capability and memory of every visible device; empty without a driver of NVRTC's version."""
    try:
        count = check(cu.cuInit(0), "starting the driver") or check(cu.cuDeviceGetCount(), "counting devices")
        if check(cu.cuDriverGetVersion(), "asking for its version") // 1000 < cu.CUDA_VERSION // 1000:
            return []
    except (EngineError, RuntimeError):
        return []
    found = []
    for i in range(int(count)):
        device = CoreDevice(i)
        memory = int(check(cu.cuDeviceTotalMem(i), "asking for memory")) / 2**30
        found.append(f"{device.name} (sm_{device.arch}, {memory:.0f} GiB)")
    return found
