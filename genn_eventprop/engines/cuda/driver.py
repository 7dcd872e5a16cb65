"""The real device: `cuda-core` for compilation and launches, the driver's copies for memory.

Not run on a GPU yet: see docs/cuda.md.
"""

from __future__ import annotations

import contextlib
import math
import os
import weakref
from typing import Any

import numpy as np
from cuda.bindings import driver as cu
from cuda.bindings import nvrtc
from cuda.core import Device as CoreDevice
from cuda.core import ObjectCode, Program, ProgramOptions
from cuda.core.utils import StridedMemoryView

from ...codegen.cuda import ON_DEVICE
from ...errors import EngineError, ToolchainError
from ...toolchain.load import device_code
from .device import Device, DeviceMemory, Forked, Module, NoDevice, OutOfMemory

WITHOUT_ASKING = 48 << 10  # bytes of shared memory that a block of any device may have
SHARED_MEMORY = cu.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
ALLOWED = cu.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
DRIVER = "580 or newer"  # for CUDA 13, which the extra [cuda] installs
VISIBLE = "CUDA_VISIBLE_DEVICES"
DLPACK, NOTHING_WAITS = 2, -1  # kDLCUDA, a GPU's own memory; in the place of a stream
_started: set[int] = set()  # the process in which CUDA was started, and of which it was forked


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


def start() -> int:
    """Start the driver; how many devices are visible, at least one.

    Raises:
        Forked: this process has inherited a started one. NoDevice: no driver, or no device. EngineError: anything else.
    """
    if _started and os.getpid() not in _started:
        raise Forked
    try:
        answer = cu.cuInit(0)
    except RuntimeError as error:  # of the library that looks for it
        text = f"cuda: no NVIDIA driver is on this machine: for an NVIDIA GPU install driver {DRIVER}"
        raise NoDevice(f"{text}; native runs on the CPU") from error
    if answer[0] == cu.CUresult.CUDA_ERROR_NOT_INITIALIZED:  # something else had started it before the fork
        raise Forked
    count = 0
    if answer[0] != cu.CUresult.CUDA_ERROR_NO_DEVICE:
        if answer[0] != cu.CUresult.CUDA_SUCCESS:
            raise EngineError(
                f"cuda: the NVIDIA driver does not start ({answer[0].name}): see what `nvidia-smi` says of it, which a "
                "restart of the machine mends after an update of the driver; native runs on the CPU"
            )
        _started.add(os.getpid())
        count = int(check(cu.cuDeviceGetCount(), "counting devices"))
    if not count:
        raise NoDevice(f"cuda: {_no_device()}; native runs on the CPU")
    version, runtime = int(check(cu.cuDriverGetVersion(), "asking for the driver's version")), cu.CUDA_VERSION // 1000
    if version // 1000 < runtime:  # it loads nothing that this NVRTC makes
        raise EngineError(
            f"cuda: the NVIDIA driver is for CUDA {version // 1000}.{version % 1000 // 10}, and the engine compiles "
            f"for CUDA {runtime}: install driver {DRIVER}, or packages for the driver's CUDA (docs/cuda.md, The first "
            "run on a GPU); native runs on the CPU"
        )
    return count


def _no_device() -> str:
    """Why the driver shows none, and what to do."""
    if VISIBLE in os.environ:
        return (
            f"{VISIBLE}={os.environ[VISIBLE]!r} shows no GPU of this machine: unset it, or give it numbers as "
            "`nvidia-smi -L` lists them"
        )
    return (
        "an NVIDIA driver is there, but no GPU: see whether `nvidia-smi -L` lists one (a container is started with "
        "--gpus all, a SLURM job with --gres=gpu:1)"
    )


class CudaMemory(DeviceMemory):
    """Copies go through the device's own stream, in order with its kernels: they do not wait for the default one."""

    def __init__(self, device: CudaDevice, count: int) -> None:
        self._device, self.bytes = device, count
        device.use()
        what = f"allocating {count / 2**20:.1f} of {device.available / 2**20:.1f} MiB that are left on {device.name}"
        self.address = int(check(cu.cuMemAlloc(count), what))
        self._finalizer = weakref.finalize(self, _free, device, self.address)
        self._finalizer.atexit = False

    def write(self, value: np.ndarray, *, ahead: bool = False) -> None:
        """Copies an array to the device, behind what was asked of it before; ahead: at once, beside its kernels."""
        if value.nbytes == 0:
            return
        self._device.use()
        stream = self._device.uploads if ahead else self._device.queue
        value = np.ascontiguousarray(value) if ahead else np.array(value, order="C")  # its owner may change it
        self._device.copying[id(value)] = value  # until it has arrived: the driver may read it later
        check(cu.cuMemcpyHtoDAsync(self.address, value.ctypes.data, value.nbytes, stream), "copying to the device")
        if ahead:
            check(cu.cuStreamSynchronize(stream), "copying to the device")
            del self._device.copying[id(value)]

    def read(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        self._device.use()
        value, stream = np.empty(shape, dtype), self._device.queue
        if value.nbytes:
            check(cu.cuMemcpyDtoHAsync(value.ctypes.data, self.address, value.nbytes, stream), "copying to the host")
        copying = list(self._device.copying)  # before the wait: what another thread writes meanwhile may not be done
        check(cu.cuStreamSynchronize(stream), f"running on {self._device.name}")
        for key in copying:
            self._device.copying.pop(key, None)
        return value

    def beside(self, array: Any, shape: tuple[int, ...], dtype: np.dtype) -> bool:
        if array.__dlpack_device__() != (DLPACK, self._device.core.device_id):
            return False
        try:
            view = self._device.view(array, NOTHING_WAITS)
        except BufferError:  # such as a view that conjugates
            return False
        rows = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
        return view.shape == shape and view.dtype == dtype and view.strides in (None, rows)

    def take(self, array: Any) -> None:
        view = self._device.view(array, int(self._device.queue))
        self._copy(self.address, view.ptr, view)

    def give(self, array: Any) -> None:
        view = self._device.view(array, int(self._device.queue))
        self._copy(view.ptr, self.address, view)

    def _copy(self, to: int, source: int, view: StridedMemoryView) -> None:
        """Copy on the device. The host waits: what knows nothing of this stream may free or read the array next."""
        count = view.size * view.dtype.itemsize
        if count:
            check(cu.cuMemcpyDtoDAsync(to, source, count, self._device.queue), "copying on the device")
            check(cu.cuStreamSynchronize(self._device.queue), f"running on {self._device.name}")

    def clear(self, count: int) -> None:
        self._device.use()
        check(cu.cuMemsetD8Async(self.address, 0, count, self._device.queue), "clearing memory")

    def free(self) -> None:
        self._finalizer()
        self.address = 0


def _free(device: CudaDevice, address: int) -> None:
    """Free memory. Python may ask for it in the middle of what this thread does on another device."""
    if os.getpid() != device.process:
        return
    with contextlib.suppress(Exception):  # after an error alone, which was raised then
        current = check(cu.cuCtxGetCurrent(), "asking for the context")
        device.core.set_current()
        cu.cuMemFree(address)  # waits for what runs
        cu.cuCtxSetCurrent(current)


def options_for(text: str, architecture: str) -> ProgramOptions:
    """How NVRTC compiles a text.

    Event by event a trial is a deep tree of functions that one thread runs. NVRTC unrolls their loops by itself, which
    makes much more machine code and takes several times as long. So here it unrolls only what the text asks for.
    """
    if not text.startswith(ON_DEVICE):
        return ProgramOptions(arch=architecture, std="c++17")
    return ProgramOptions(arch=architecture, std="c++17", device_as_default_execution_space=True, ofast_compile="min")


def compiled(text: str, architecture: str) -> bytes:
    """The cubin of a text, from the code cache if it has it: NVRTC takes seconds for a wide network."""
    version = ".".join(map(str, nvrtc.nvrtcVersion()[1:]))
    options = options_for(text, architecture)
    key = ("nvrtc", version, architecture, str(options.std), str(options.ofast_compile))
    return device_code(text, key, lambda: Program(text, "c++", options).compile("cubin").code)


class CudaModule(Module):
    """Kernels are looked up, and given their shared memory, once each."""

    def __init__(self, device: CudaDevice, text: str) -> None:
        try:
            self._code = ObjectCode.from_cubin(compiled(text, f"sm_{device.arch}"))
        except ToolchainError:
            raise
        except Exception as error:  # a device that this NVRTC does not know, or none of its libraries
            raise EngineError(f"cuda: compiling for {device.name}, sm_{device.arch}, failed: {error}") from None
        self._device, self._kernels = device, dict[tuple[str, int], Any]()

    def launch(self, kernel: str, blocks: int, threads: int, shared: int, argument: np.ndarray) -> None:
        device = self._device
        device.use()
        place = np.array([argument.ctypes.data], np.uint64)  # of the only parameter, which the call copies
        try:
            function = self._kernel(kernel, shared)
            launched = cu.cuLaunchKernel(
                function, blocks, 1, 1, threads, 1, 1, shared, device.queue, place.ctypes.data, 0
            )  # fmt: skip
            check(launched, "the launch")
        except Exception as error:  # of any kind: an error of an earlier kernel may come out here
            raise EngineError(f"cuda: launching {kernel} on {device.name} failed: {error}") from None

    def _kernel(self, name: str, shared: int) -> Any:
        """A kernel that may have so much shared memory."""
        if (name, shared) not in self._kernels:
            handle = self._code.get_kernel(name).handle
            if shared > WITHOUT_ASKING:
                attribute = cu.cuKernelSetAttribute(ALLOWED, shared, handle, self._device.core.device_id)
                check(attribute, "asking for memory")
            self._kernels[name, shared] = cu.CUfunction(int(handle))
        return self._kernels[name, shared]


class CudaDevice(Device):
    """A GPU by its number among those that are visible."""

    def __init__(self, number: int) -> None:
        self.process, self.copying = os.getpid(), dict[int, np.ndarray]()  # copying: to the device, by `id`
        try:
            start()
            self.core = CoreDevice(number)
        except EngineError:
            raise
        except Exception as error:  # no such device
            raise EngineError(f"cuda: no device number {number} ({error}); native runs on the CPU") from None
        try:
            self.name, self.arch = self.core.name, self.core.arch
            self.core.set_current()
            self.stream, self._beside = self.core.create_stream(), self.core.create_stream()
            self.queue, self.uploads = (cu.CUstream(int(s.handle)) for s in (self.stream, self._beside))
            self.shared_memory = int(check(cu.cuDeviceGetAttribute(SHARED_MEMORY, number), "asking for shared memory"))
        except Exception as error:  # such as one that another process has for itself
            text = f"cuda: device number {number} cannot be used ({error}); native runs on the CPU"
            raise EngineError(text) from None

    def use(self) -> None:
        """What this thread asks for next is for this device."""
        if os.getpid() != self.process:
            raise Forked
        try:
            self.core.set_current()
        except Exception as error:
            raise EngineError(f"cuda: {self.name} cannot be used any more: {error}") from None

    @property
    def available(self) -> int:
        self.use()
        return int(check(cu.cuMemGetInfo(), "asking for free memory"))

    def view(self, array: Any, stream: int) -> StridedMemoryView:
        """Where an array of another library is; that library lets the stream wait for what it does with the array."""
        self.use()  # torch hands over arrays of the current device alone
        return StridedMemoryView.from_dlpack(array, stream_ptr=stream)

    def compile(self, text: str) -> Module:
        return CudaModule(self, text)

    def allocate(self, count: int) -> CudaMemory:
        return CudaMemory(self, count)

    def close(self) -> None:
        self.stream.close()
        self._beside.close()


def devices() -> list[str]:
    """Name, compute capability and memory of every visible device.

    Raises:
        EngineError: as of `start`.
    """
    names = []
    for i in range(start()):
        device = CoreDevice(i)
        memory = int(check(cu.cuDeviceTotalMem(i), "asking for memory")) / 2**30
        names.append(f"{device.name} (sm_{device.arch}, {memory:.0f} GiB)")
    return names
