"""The host's time for a training batch of the cuda engine: kernels that do nothing, so it needs no GPU.

    python benchmarks/gpu_host.py [--profile]

Everything the engine's Python does for `run(training=True)` and the optimiser's step, at the shape of spoken digits;
what the driver takes for launches and copies (some microseconds each) comes on top. The median of many batches with
other samples each time, in CPU time, so that a busy machine counts little.
"""

from __future__ import annotations

import cProfile
import pstats
import statistics
import time

import numpy as np
import tyro

from genn_eventprop.engines.cuda import CudaEngine
from genn_eventprop.engines.cuda.device import Device, DeviceMemory, Module
from genn_eventprop.optimisers import Adam
from genn_eventprop.verify.engines.representative import Shape

AIM = 0.3
"""ms a batch."""


class NullMemory(DeviceMemory):
    """Memory of the host."""

    def __init__(self, count: int) -> None:
        self._bytes, self.bytes = np.zeros(count, np.uint8), count
        self.address = self._bytes.ctypes.data

    def write(self, value: np.ndarray, *, ahead: bool = False) -> None:
        self._bytes[: value.nbytes] = np.ascontiguousarray(value).reshape(-1).view(np.uint8)

    def read(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        count = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self._bytes[:count].copy().view(dtype).reshape(shape)

    def clear(self, count: int) -> None:
        self._bytes[:count] = 0

    def free(self) -> None:
        self._bytes = np.zeros(0, np.uint8)


class NullModule(Module):
    """Kernels that do nothing."""

    def launch(self, kernel: str, blocks: int, threads: int, shared: int, argument: np.ndarray) -> None:
        pass


class NullDevice(Device):
    name, shared_memory, available = "null", 227 << 10, 1 << 36

    def compile(self, text: str) -> Module:
        return NullModule()

    def allocate(self, count: int) -> DeviceMemory:
        return NullMemory(count)

    def close(self) -> None:
        pass


def batches(hidden: int, batch: int, repeats: int) -> tuple[list[float], list[float]]:
    """ms of each batch: of the engine's run, and of the optimiser's step."""
    shape = Shape(hidden=hidden)
    plan, values = shape.network()
    engine = CudaEngine(plan, values, device=NullDevice())
    data, optimiser = engine.load(shape.events(2 * batch)), Adam(1e-3)
    rng, run, step = np.random.default_rng(1), list[float](), list[float]()
    for _ in range(repeats + 20):
        samples = rng.permutation(2 * batch)[:batch]
        start = time.thread_time()
        engine.run(data, samples, training=True)
        between = time.thread_time()
        engine.update(optimiser)
        run.append(1e3 * (between - start))
        step.append(1e3 * (time.thread_time() - between))
    return run[20:], step[20:]


def main(repeats: int = 200, profile: bool = False) -> None:
    """Print a table; with `profile`, where the time goes.

    Args:
        repeats: Batches that are timed.
        profile: Profile 256 hidden neurons at batch 32.
    """
    if profile:
        with cProfile.Profile() as profiler:
            batches(256, 32, repeats)
        pstats.Stats(profiler).sort_stats("tottime").print_stats(30)
        return
    print("| hidden | batch | run | optimiser | together, ms |\n|---|---|---|---|---|")
    for hidden in (256, 1024):
        for batch in (32, 256):
            run, step = (statistics.median(x) for x in batches(hidden, batch, repeats))
            print(f"| {hidden} | {batch} | {run:.3f} | {step:.3f} | {run + step:.3f} |")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
