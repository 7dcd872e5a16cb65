"""The CUDA engine on the CPU: `ShimDevice` compiles generated text with `shim.hpp` and runs it fiber by fiber."""

import ctypes
import re
from pathlib import Path

import numpy as np

from genn_eventprop.engines.cuda import CudaEngine
from genn_eventprop.engines.cuda.device import Device, DeviceArray, Module
from genn_eventprop.toolchain.load import build

HEADER = Path(__file__).with_name("shim.hpp")
ASCENDING, DESCENDING, SHUFFLED = 0, 1, 2


class ShimArray(DeviceArray):
    def __init__(self, value):
        self.value = value
        self.address = value.ctypes.data

    def read(self):
        return self.value.copy()


class ShimModule(Module):
    def __init__(self, text, device):
        kernels = re.findall(r'extern "C" __global__ void (?:__launch_bounds__\(\d+\) )?(\w+)\(', text)
        # types of runtime.cuh are those of <cstdint> here
        text = re.sub(r"typedef (unsigned )?(int|long long) u?int\d\d_t;\n", "", text)
        tail = "".join(
            f'extern "C" int run_{k}(int blocks, int threads, const void *t, int order, int seed, int mutate) {{\n'
            f"    return shim_launch((void (*)(const void *)){k}, blocks, threads, t, order, seed, mutate);\n}}\n"
            for k in kernels
        )
        tail += 'extern "C" const char *why() { return shim_message(); }\n'
        self.library = build(f"{HEADER.read_text()}\n{text}\n{tail}")
        self.library.why.restype = ctypes.c_char_p
        self.device = device

    def launch(self, kernel, blocks, threads, shared, fields):
        d = self.device
        d.seed += 1
        mutate = d.mutate if kernel == "trial" else 0
        run = getattr(self.library, f"run_{kernel}")
        if run(blocks, threads, ctypes.c_char_p(fields), d.order, d.seed, mutate):
            raise RuntimeError(f"{kernel}: {self.library.why().decode()}")


class ShimDevice(Device):
    """order: of threads and blocks. mutate: number of the arrival at a barrier to leave out, 0 for none. change: what
    to do to the text before it is compiled."""

    shared_memory = 1 << 18
    free = 1 << 32

    def __init__(self, order=ASCENDING, seed=0, mutate=0, change=None):
        self.order, self.seed, self.mutate, self.change = order, seed, mutate, change

    def compile(self, text):
        return ShimModule(self.change(text) if self.change else text, self)

    def array(self, value):
        return ShimArray(np.array(value, order="C"))

    def zeros(self, shape, dtype):
        return ShimArray(np.zeros(shape, dtype))


class ShimEngine(CudaEngine):
    """`cuda` on the shim, threads shuffled."""

    name = "cuda"

    def __init__(self, plan, values, *, order=SHUFFLED, seed=1, mutate=0, change=None, **settings):
        super().__init__(plan, values, device=ShimDevice(order, seed, mutate, change), **settings)
