"""The real device's code (`engines/cuda/driver.py`) on a driver that is stood in for: its memory is the host's, its
kernels run on the shim. What the driver itself does, no test here can show."""

import ctypes
from types import SimpleNamespace

import numpy as np
import pytest

from genn_eventprop.engines.cuda.device import OutOfMemory
from genn_eventprop.engines.cuda.engine import CudaEngine
from genn_eventprop.errors import EngineError
from support.clocked import build, random_events
from support.cuda_shim import SHUFFLED, ShimDevice, ShimEngine, ShimMemory, ShimModule
from support.engines import run

driver = pytest.importorskip("genn_eventprop.engines.cuda.driver", reason="the extra [cuda] is not installed")
STATUS = driver.cu.CUresult
FINE = STATUS.CUDA_SUCCESS


class Driver:
    """As much of the CUDA driver as the engine calls. fails: function -> the status that it answers from now on."""

    CUresult, CUstream = STATUS, staticmethod(int)
    shared, CUDA_VERSION, version = 200 << 10, 13050, 13000

    def __init__(self, devices=2, memory=1 << 30):
        self.count, self.memory, self.fails, self.pieces, self.synchronised = devices, memory, {}, {}, []
        self.shim = ShimDevice(SHUFFLED)

    @property
    def taken(self):
        return sum(piece.bytes for piece in self.pieces.values())

    def _answer(self, name, *values):
        status = self.fails.get(name, FINE)
        return (status, *values) if status == FINE else (status, *(None for _ in values))

    def cuInit(self, flags):
        return self._answer("cuInit")

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
        assert "MAX_DYNAMIC_SHARED_SIZE" in attribute.name and kernel == "trial" and number in (0, 1)
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
        self.pieces.pop(address).free()
        return self._answer("cuMemFree")

    def _copy(self, to, source, count, name):
        ctypes.memmove(to, source, count)
        return self._answer(name)

    def cuMemcpyHtoDAsync(self, to, source, count, stream):
        return self._copy(to, source, count, "cuMemcpyHtoDAsync")

    def cuMemcpyDtoHAsync(self, to, source, count, stream):
        return self._copy(to, source, count, "cuMemcpyDtoHAsync")

    def cuMemsetD8Async(self, to, value, count, stream):
        ctypes.memset(to, value, count)
        return self._answer("cuMemsetD8Async")

    def cuStreamSynchronize(self, stream):
        self.synchronised.append(stream)
        return self._answer("cuStreamSynchronize")


class Stream:
    handle = 7

    def close(self):
        self.handle = None


class Core:
    """cuda.core's Device."""

    name, arch = "Stand-in", "90"

    def __init__(self, number):
        if number not in (0, 1):
            raise ValueError(f"device_id must be within [0, 2), got {number}")
        self.device_id = number

    def set_current(self):
        pass

    def create_stream(self):
        return Stream()


class Program:
    """cuda.core's Program and what it compiles to: kernels of the shim."""

    shim: ShimDevice  # whose memory they use

    def __init__(self, text, kind, options):
        assert kind == "c++" and options.arch == "sm_90"
        self._module = ShimModule(text, self.shim)

    def compile(self, kind):
        assert kind == "cubin"
        return self

    def get_kernel(self, name):
        return lambda config, argument: self._module.launch(
            name, config.grid[0], config.block[0], config.shmem_size, int(argument)
        )


@pytest.fixture
def found(monkeypatch):
    stand_in = Driver()
    monkeypatch.setattr(driver, "cu", stand_in)
    monkeypatch.setattr(driver, "CoreDevice", Core)
    monkeypatch.setattr(driver, "Program", type("Program", (Program,), {"shim": stand_in.shim}))
    monkeypatch.setattr(driver, "launch", lambda stream, config, kernel, argument: kernel(config, argument))
    return stand_in


@pytest.fixture(scope="module")
def problem():
    plan = build("recurrent", "integral", "fixed", 0.0)
    return plan, plan.network.initial_parameters(3), random_events(plan)


def test_a_batch_is_that_of_the_shim_and_all_memory_comes_back(found, problem):
    plan, values, events = problem
    engine, shim = CudaEngine(plan, values, device=1), ShimEngine(plan, values)
    got, want = run(engine, events), run(shim, events)
    assert np.array_equal(got.loss, want.loss) and np.array_equal(got.readout, want.readout)
    assert all(np.array_equal(engine.gradients[k], g) and g.any() for k, g in shim.gradients.items())
    assert found.pieces
    engine.close()
    assert not found.pieces


def test_devices_and_their_numbers(found, problem):
    assert driver.devices() == ["Stand-in (sm_90, 80 GiB)"] * 2
    with pytest.raises(EngineError, match=r"cuda: no device number 2 \(device_id must be within .*native runs on the"):
        CudaEngine(*problem[:2], device=2)
    found.version = 12080  # which does not load what NVRTC 13 makes
    assert driver.devices() == []
    found.fails, found.version = {"cuInit": STATUS.CUDA_ERROR_NO_DEVICE}, 13000
    assert driver.devices() == []


@pytest.mark.parametrize(
    "call, status, message",
    [
        (
            "cuStreamSynchronize",
            "CUDA_ERROR_ILLEGAL_ADDRESS",
            "cuda: running on Stand-in failed: CUDA_ERROR_ILLEGAL_ADD",
        ),
        ("cuMemcpyHtoDAsync", "CUDA_ERROR_UNKNOWN", "cuda: copying to the device failed: CUDA_ERROR_UNKNOWN"),
        ("cuMemcpyDtoHAsync", "CUDA_ERROR_UNKNOWN", "cuda: copying to the host failed: CUDA_ERROR_UNKNOWN"),
        ("cuMemGetInfo", "CUDA_ERROR_UNKNOWN", "cuda: asking for free memory failed: CUDA_ERROR_UNKNOWN"),
    ],
)
def test_an_error_of_the_driver_says_what_failed(found, problem, call, status, message):
    plan, values, events = problem
    engine = CudaEngine(plan, values)
    data = engine.load(events)
    found.fails = {call: getattr(STATUS, status)}
    with pytest.raises(EngineError, match=f"{message}.*; after an error in a kernel start a new process"):
        engine.run(data, [0, 1])
    found.fails = {}
    assert np.isfinite(engine.run(data, [0, 1]).loss).all()  # this process is alive


def test_a_launch_that_fails_names_the_kernel(found, problem, monkeypatch):
    def refuse(*_):
        raise RuntimeError("CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES")

    monkeypatch.setattr(driver, "launch", refuse)
    plan, values, events = problem
    engine = CudaEngine(plan, values)
    with pytest.raises(EngineError, match="launching trial on Stand-in failed: CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"):
        engine.run(engine.load(events), [0, 1])


def test_more_shared_memory_than_every_device_has_is_asked_for(found, monkeypatch):
    """Of large populations; a refusal of the driver is an error of the launch."""
    kernel = SimpleNamespace(handle="trial")
    code = SimpleNamespace(get_kernel=lambda name: kernel)
    monkeypatch.setattr(driver, "Program", lambda *_: SimpleNamespace(compile=lambda kind: code))
    launched = []
    monkeypatch.setattr(driver, "launch", lambda stream, config, kernel, argument: launched.append(config.shmem_size))
    device = driver.CudaDevice(1)
    assert device.shared_memory == found.shared
    module = device.compile("")
    for wanted in (48 << 10, 100 << 10):
        module.launch("trial", 1, 32, wanted, 0)
    assert launched == [48 << 10, 100 << 10] and found.allowed == 100 << 10
    found.fails = {"cuKernelSetAttribute": STATUS.CUDA_ERROR_INVALID_VALUE}
    with pytest.raises(EngineError, match="launching trial on Stand-in failed: .*CUDA_ERROR_INVALID_VALUE"):
        module.launch("trial", 1, 32, 100 << 10, 0)


def test_text_that_does_not_compile_for_a_device(found, problem, monkeypatch):
    """Such as one that is older than what NVRTC knows."""

    def fails(*_):
        raise RuntimeError("nvrtc: error: invalid value for --gpu-architecture")

    monkeypatch.setattr(driver, "Program", fails)
    with pytest.raises(
        EngineError, match="compiling for Stand-in, sm_90, failed: nvrtc: error: invalid value for --gpu"
    ):
        CudaEngine(*problem[:2])


def test_after_an_error_close_gives_back_what_there_is(found, problem):
    plan, values, events = problem
    engine = CudaEngine(plan, values)
    engine.run(engine.load(events), [0, 1], training=True)
    found.fails = dict.fromkeys(("cuStreamSynchronize", "cuMemFree"), STATUS.CUDA_ERROR_ILLEGAL_ADDRESS)
    with pytest.raises(EngineError, match="running on Stand-in failed: CUDA_ERROR_ILLEGAL_ADDRESS"):
        engine.close()
    assert not found.pieces


def test_memory_that_is_not_there(found, problem):
    """A piece that is too large says how large, and how much is left; of a batch, how many samples fit."""
    plan, values, events = problem
    device = driver.CudaDevice(0)
    with pytest.raises(OutOfMemory, match=r"allocating 2048.0 of 1024.0 MiB that are left on Stand-in failed"):
        device.allocate(2 << 30)
    engine = CudaEngine(plan, values, group=4)
    data = engine.load(events)
    engine.run(data, [0])
    one = sum(m.bytes for m in engine._memory._work.values())
    found.memory = found.taken + one  # of two
    with pytest.raises(
        EngineError,
        match=r"MiB that are left on Stand-in failed: CUDA_ERROR_OUT_OF_MEMORY; [12] samples? fits? .*use group=",
    ):
        engine.run(data, [0, 1, 2, 3], training=True)
