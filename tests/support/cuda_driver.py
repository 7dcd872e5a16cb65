"""A stand-in for the CUDA driver under `engines/cuda/driver.py`: its memory is the host's, its kernels run on the shim,
and what is asked of a stream is done as late as a device may. Needs the extra [cuda]."""

import ctypes
import itertools
import os
from functools import partialmethod
from types import SimpleNamespace

from genn_eventprop.engines.cuda import driver
from support.cuda_shim import SHUFFLED, ShimDevice, ShimMemory, ShimModule

STATUS = driver.cu.CUresult
FINE = STATUS.CUDA_SUCCESS


class Driver:
    """As much of the CUDA driver as the engine calls. fails: function -> the status that it answers from now on.
    copied: (function, bytes) of every copy."""

    CUresult, CUstream, CUfunction = STATUS, staticmethod(int), staticmethod(int)
    shared, CUDA_VERSION, version = 200 << 10, 13050, 13000

    def __init__(self, devices=2, memory=1 << 30):
        self.count, self.memory, self.fails, self.pieces, self.synchronised = devices, memory, {}, {}, []
        self.process, self.context, self.waiting = os.getpid(), 0, []  # waiting: (stream, what a copy will do)
        self.copied = []
        self.shim = ShimDevice(SHUFFLED)

    @property
    def taken(self):
        return sum(piece.bytes for piece in self.pieces.values())

    def _answer(self, name, *values):
        status = self.fails.get(name, FINE)
        return (status, *values) if status == FINE else (status, *(None for _ in values))

    def cuInit(self, flags):
        if os.getpid() != self.process:
            return (STATUS.CUDA_ERROR_NOT_INITIALIZED,)
        return self._answer("cuInit")

    def cuCtxGetCurrent(self):
        return self._answer("cuCtxGetCurrent", self.context)

    def cuCtxSetCurrent(self, context):
        self.context = context
        return self._answer("cuCtxSetCurrent")

    def cuDeviceGetCount(self):
        return self._answer("cuDeviceGetCount", self.count)

    def cuDeviceTotalMem(self, number):
        return self._answer("cuDeviceTotalMem", 80 << 30)

    def cuDriverGetVersion(self):
        return self._answer("cuDriverGetVersion", self.version)

    def cuDeviceGetAttribute(self, attribute, number):
        assert "SHARED_MEMORY_PER_BLOCK_OPTIN" in attribute.name and number in (0, 1)
        return self._answer("cuDeviceGetAttribute", self.shared)

    def cuKernelSetAttribute(self, attribute, value, kernel, number):
        assert "MAX_DYNAMIC_SHARED_SIZE" in attribute.name and number in (0, 1)
        assert isinstance(kernel, Handle)
        self.allowed = value
        return self._answer("cuKernelSetAttribute")

    def cuMemGetInfo(self):
        return self._answer("cuMemGetInfo", self.memory - self.taken, self.memory)

    def cuMemAlloc(self, count):
        if count > self.cuMemGetInfo()[1]:
            return STATUS.CUDA_ERROR_OUT_OF_MEMORY, None
        piece = ShimMemory(self.shim, count)
        self.pieces[piece.address] = piece
        return self._answer("cuMemAlloc", piece.address)

    def cuMemFree(self, address):
        assert os.getpid() == self.process
        self.catch_up()
        self.pieces.pop(address).free()
        return self._answer("cuMemFree")

    def catch_up(self, stream=None):
        """Do what waits: as late as a device may."""
        for queue, act in self.waiting:
            if stream in (None, queue):
                act()
        self.waiting = [w for w in self.waiting if stream not in (None, w[0])]

    def _copy(self, name, to, source, count, stream):
        self.copied.append((name, count))
        self.waiting.append((stream, lambda: ctypes.memmove(to, source, count)))
        return self._answer(name)

    cuMemcpyHtoDAsync = partialmethod(_copy, "cuMemcpyHtoDAsync")
    cuMemcpyDtoHAsync = partialmethod(_copy, "cuMemcpyDtoHAsync")
    cuMemcpyDtoDAsync = partialmethod(_copy, "cuMemcpyDtoDAsync")

    def cuMemsetD8Async(self, to, value, count, stream):
        self.waiting.append((stream, lambda: ctypes.memset(to, value, count)))
        return self._answer("cuMemsetD8Async")

    def cuStreamSynchronize(self, stream):
        self.synchronised.append(stream)
        self.catch_up(stream)
        return self._answer("cuStreamSynchronize")

    def cuLaunchKernel(self, function, *where):
        blocks, by, bz, threads, ty, tz, shared, stream, parameters, extra = where
        assert (by, bz, ty, tz, extra) == (1, 1, 1, 1, 0)
        answer = self._answer("cuLaunchKernel")
        if answer[0] == FINE:
            self.catch_up(stream)
            module, kernel = KERNELS[function]
            struct = ctypes.c_uint64.from_address(parameters).value  # its address
            module.launch(kernel, blocks, threads, shared, SimpleNamespace(ctypes=SimpleNamespace(data=struct)))
        return answer


KERNELS = []  # (module, name) of those that were looked up


class Handle(int):
    """A kernel of cuda.core."""


class Stream:
    def __init__(self, handle):
        self.handle = handle

    def close(self):
        self.handle = None


class Core:
    """cuda.core's Device."""

    name, arch = "Stand-in", "90"

    def __init__(self, number):
        if number not in (0, 1):
            raise ValueError(f"device_id must be within [0, 2), got {number}")
        self.device_id = number

    driver: Driver
    numbers = itertools.count(7)

    def set_current(self):
        self.driver.context = self.device_id + 1

    def create_stream(self):
        return Stream(next(self.numbers))


class Program:
    """cuda.core's Program; its "cubin" is the text."""

    made: list[str]

    def __init__(self, text, kind, options):
        assert kind == "c++" and options.arch == "sm_90"
        self._text = text

    def compile(self, kind):
        assert kind == "cubin"
        self.made.append(self._text)
        return SimpleNamespace(code=self._text.encode())


class Code:
    """cuda.core's ObjectCode: kernels of the shim."""

    shim: ShimDevice  # whose memory they use

    def __init__(self, text):
        self._module = ShimModule(text, self.shim)

    @classmethod
    def from_cubin(cls, code):
        return cls(code.decode())

    def get_kernel(self, name):
        KERNELS.append((self._module, name))
        return SimpleNamespace(handle=Handle(len(KERNELS) - 1))


def stand_in_driver(monkeypatch, cache):
    """A `Driver` in the place of the real one, and an empty code cache."""
    stand_in = Driver()
    monkeypatch.setattr(driver, "cu", stand_in)
    monkeypatch.setattr(driver, "CoreDevice", type("Core", (Core,), {"driver": stand_in}))
    stand_in.made = []
    monkeypatch.setattr(driver, "Program", type("Program", (Program,), {"made": stand_in.made}))
    monkeypatch.setattr(driver, "ObjectCode", type("Code", (Code,), {"shim": stand_in.shim}))
    monkeypatch.setattr(driver, "nvrtc", SimpleNamespace(nvrtcVersion=lambda: (0, 13, 0)))
    monkeypatch.setattr(driver, "_started", set())
    monkeypatch.setenv("GENN_EVENTPROP_CACHE", str(cache))
    return stand_in
