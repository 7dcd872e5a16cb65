"""The real device's code (`engines/cuda/driver.py`) on a driver that is stood in for: its memory is the host's, its
kernels run on the shim. What the driver itself does, no test here can show."""

import ctypes
import gc
import itertools
import os
import re
import traceback
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from genn_eventprop.engines import create
from genn_eventprop.engines.cuda import engine as cuda
from genn_eventprop.engines.cuda.device import OutOfMemory
from genn_eventprop.engines.cuda.engine import CudaEngine
from genn_eventprop.engines.cuda.visible import visible_devices
from genn_eventprop.errors import EngineError
from genn_eventprop.optimisers import Adam
from genn_eventprop.verify.engines.representative import Shape
from support.clocked import build, random_events
from support.cuda_shim import SHUFFLED, ShimDevice, ShimEngine, ShimMemory, ShimModule
from support.engines import run
from support.extras import needs

needs("cuda.core")
from genn_eventprop.engines.cuda import driver  # noqa: E402

STATUS = driver.cu.CUresult
FINE = STATUS.CUDA_SUCCESS


class Driver:
    """As much of the CUDA driver as the engine calls. fails: function -> the status that it answers from now on."""

    CUresult, CUstream, CUfunction = STATUS, staticmethod(int), staticmethod(int)
    shared, CUDA_VERSION, version = 200 << 10, 13050, 13000

    def __init__(self, devices=2, memory=1 << 30):
        self.count, self.memory, self.fails, self.pieces, self.synchronised = devices, memory, {}, {}, []
        self.process, self.context, self.waiting = os.getpid(), 0, []  # waiting: (stream, what a copy will do)
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

    def cuMemcpyHtoDAsync(self, to, source, count, stream):
        self.waiting.append((stream, lambda: ctypes.memmove(to, source, count)))
        return self._answer("cuMemcpyHtoDAsync")

    def cuMemcpyDtoHAsync(self, to, source, count, stream):
        self.waiting.append((stream, lambda: ctypes.memmove(to, source, count)))
        return self._answer("cuMemcpyDtoHAsync")

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


@pytest.fixture
def found(monkeypatch, tmp_path):
    stand_in = Driver()
    monkeypatch.setattr(driver, "cu", stand_in)
    monkeypatch.setattr(driver, "CoreDevice", type("Core", (Core,), {"driver": stand_in}))
    stand_in.made = []
    monkeypatch.setattr(driver, "Program", type("Program", (Program,), {"made": stand_in.made}))
    monkeypatch.setattr(driver, "ObjectCode", type("Code", (Code,), {"shim": stand_in.shim}))
    monkeypatch.setattr(driver, "nvrtc", SimpleNamespace(nvrtcVersion=lambda: (0, 13, 0)))
    monkeypatch.setattr(driver, "_started", set())
    monkeypatch.setenv("GENN_EVENTPROP_CACHE", str(tmp_path / "cache"))
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


def no_library(flags):
    raise RuntimeError('"cuda" is an NVIDIA driver library and can only be found via system search')


NO_DEVICE = {"cuInit": STATUS.CUDA_ERROR_NO_DEVICE}
ABSENT = {
    "no driver": ({"cuInit": no_library}, None, "no NVIDIA driver is on this machine: .* install driver 580 or newer"),
    "an old driver": (
        {"version": 12080},
        None,
        r"the NVIDIA driver is for CUDA 12.8, and the engine compiles for CUDA 13: install driver 580 or newer",
    ),
    "no card": ({"fails": NO_DEVICE}, None, "an NVIDIA driver is there, but no GPU: .*`nvidia-smi -L`.*--gpus all"),
    "no visible card": ({"fails": NO_DEVICE}, "", "CUDA_VISIBLE_DEVICES='' shows no GPU of this machine: unset it, or"),
    "no such card": ({"count": 0}, "7", "CUDA_VISIBLE_DEVICES='7' shows no GPU of this machine: unset it, or"),
}


@pytest.mark.parametrize("case", ABSENT)
def test_what_is_missing_is_named(found, problem, monkeypatch, case):
    """By name it is an error that says what to do, and `engines` says the same. "auto" speaks only of a driver that
    is old: there is a card that could be used."""
    changes, visible, message = ABSENT[case]
    for name, value in changes.items():
        monkeypatch.setattr(found, name, value)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(cuda, "available_processors", lambda: 1)
    with pytest.raises(EngineError, match=f"^cuda: {message}.*; native runs on the CPU") as error:
        create(*problem[:2], engine="cuda")
    here = CudaEngine.availability()
    assert not here.runs and str(error.value).endswith(here.detail)
    engine = create(*Shape(spikes=20).network())
    assert engine.name == "native" and any("does not start" in r for r in engine.remarks) == (case == "an old driver")
    engine.close()


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


def test_a_launch_that_fails_names_the_kernel(found, problem):
    found.fails = {"cuLaunchKernel": STATUS.CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES}
    plan, values, events = problem
    engine = CudaEngine(plan, values)
    with pytest.raises(EngineError, match="launching trial on Stand-in failed: .*CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"):
        engine.run(engine.load(events), [0, 1])


def test_machine_code_is_made_once(found, problem):
    """By text and architecture: another engine, and another process, read it from the code cache."""
    plan, values, events = problem
    first = run(CudaEngine(plan, values), events)
    made = list(found.made)
    assert made and len(set(made)) == len(made)
    assert np.array_equal(run(CudaEngine(plan, values), events).loss, first.loss)
    assert found.made == made
    (folder,) = {p.parent for p in Path(os.environ["GENN_EVENTPROP_CACHE"]).glob("*.cubin")}
    assert len(list(folder.glob("*.cubin"))) == len(list(folder.glob("*.cu"))) == len(made)
    next(folder.glob("*.cubin")).write_bytes(b"damaged")
    run(CudaEngine(plan, values), events)
    assert len(found.made) == len(made) + 1


def test_more_shared_memory_than_every_device_has_is_asked_for(found, monkeypatch):
    """Of large populations; a refusal of the driver is an error of the launch."""
    kernel = SimpleNamespace(handle=Handle(0))
    code = SimpleNamespace(get_kernel=lambda name: kernel)
    monkeypatch.setattr(driver, "ObjectCode", SimpleNamespace(from_cubin=lambda _: code))
    launched, argument = [], np.zeros(1, np.uint64)
    monkeypatch.setattr(found, "cuLaunchKernel", lambda *where: launched.append(where[7]) or (FINE,), raising=False)
    device = driver.CudaDevice(1)
    assert device.shared_memory == found.shared
    module = device.compile("")
    for wanted in (48 << 10, 100 << 10):
        module.launch("trial", 1, 32, wanted, argument)
    assert launched == [48 << 10, 100 << 10] and found.allowed == 100 << 10
    found.fails = {"cuKernelSetAttribute": STATUS.CUDA_ERROR_INVALID_VALUE}
    with pytest.raises(EngineError, match="launching other on Stand-in failed: .*CUDA_ERROR_INVALID_VALUE"):
        module.launch("other", 1, 32, 100 << 10, argument)


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


# memory


def test_an_array_may_change_while_it_is_copied(found):
    """Copies from pageable memory may happen later: what stood there at the call counts, also of temporary arrays."""
    device = driver.CudaDevice(0)
    memory, value = device.allocate(80), np.arange(10.0)
    memory.write(value)
    value[:] = -1.0
    assert found.waiting and np.array_equal(memory.read((10,), value.dtype), np.arange(10.0))
    memory.write(np.arange(20.0)[::2])
    assert device.copying  # until it has arrived
    assert np.array_equal(memory.read((10,), value.dtype), np.arange(0.0, 20.0, 2.0))
    memory.write(np.arange(10.0), ahead=True)
    assert not device.copying and not found.waiting


def test_memory_of_a_dropped_engine_is_freed(found, problem):
    """Without `close`; what somebody still holds stays there, and another device stays the current one."""
    plan, values, events = problem
    engine = CudaEngine(plan, values, device=1)
    run(engine, events)
    engine.update(Adam(0.01))
    parameters, weight = engine.parameters, plan.connections[0].weight
    before = len(found.pieces)
    found.context = 1
    del engine
    gc.collect()
    assert 0 < len(found.pieces) < before and found.context == 1
    assert np.isfinite(parameters[weight]).all()
    found.context = 1
    del parameters
    gc.collect()
    assert not found.pieces and found.context == 1


# where "auto" may not take it


class Busy(Core):
    def set_current(self):
        raise RuntimeError("CUDA_ERROR_DEVICE_UNAVAILABLE: exclusive-process")


class Exhausted(Core):
    def set_current(self):
        pass

    def create_stream(self):
        raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY")


def _old_card(*_):
    raise RuntimeError("nvrtc: error:\n invalid value for --gpu-architecture (-arch)")


FAILURES = {
    "an old card": (
        "Program",
        _old_card,
        "compiling for Stand-in, sm_90, failed: nvrtc: error: invalid value for --gpu",
    ),
    "a busy card": ("CoreDevice", Busy, "device number 0 cannot be used .CUDA_ERROR_DEVICE_UNAVAILABLE"),
    "a full card": ("CoreDevice", Exhausted, "device number 0 cannot be used .CUDA_ERROR_OUT_OF_MEMORY"),
    "shared memory": ("shared", 1000, "needs 2788 bytes of shared memory, the device has 1000 per block"),
    "attribute": ("fails", {"cuDeviceGetAttribute": STATUS.CUDA_ERROR_UNKNOWN}, "asking for shared memory failed"),
    "memory": ("fails", {"cuDeviceTotalMem": STATUS.CUDA_ERROR_UNKNOWN}, "asking for memory failed: CUDA_ERROR_UNK"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_auto_takes_native_where_it_does_not_start(found, monkeypatch, failure):
    """And the remarks say why; asked for by name it is an error."""
    what, by, message = FAILURES[failure]
    monkeypatch.setattr(cuda, "available_processors", lambda: 1)
    large = Shape(spikes=20).network()
    monkeypatch.setattr(found if what in ("shared", "fails") else driver, what, by)
    engine = create(*large)
    assert engine.name == "native" and "cuda is expected to be faster, but does not start: cuda:" in engine.reason
    assert any(re.search(message, remark) for remark in engine.remarks) and re.search(message, engine.reason)
    engine.close()
    if failure != "memory":  # which only the list of devices asks for
        with pytest.raises(EngineError, match=re.sub("error: invalid", "error:\\\\n invalid", message)):
            create(*large, engine="cuda")


def test_after_a_fork_it_says_so(found, problem, monkeypatch, tmp_path):
    """CUDA works in neither process: "auto" takes native and says why, a name is an error, an engine of before too."""
    plan, values, events = problem
    monkeypatch.setattr(cuda, "available_processors", lambda: 1)
    before, large = CudaEngine(plan, values), Shape(spikes=20).network()
    data = before.load(events)

    def child():
        assert visible_devices()[0] == [] and "was forked from one that had started CUDA" in visible_devices()[1]
        engine = create(*large)
        assert engine.name == "native" and "forked from one that had started CUDA" in engine.remarks[-1]
        for act in (lambda: create(*large, engine="cuda"), lambda: before.run(data, [0])):
            with pytest.raises(EngineError, match="was forked .* start processes with"):
                act()
        driver._started.clear()  # another library had started it
        with pytest.raises(EngineError, match="was forked"):
            create(*large, engine="cuda")

    assert exit_status(child, tmp_path / "error.txt") == 0, (tmp_path / "error.txt").read_text()
    assert np.isfinite(before.run(data, [0, 1]).loss).all()


def exit_status(work, log):
    """Of a forked child that does it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks of processes with threads
        pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            log.write_text(traceback.format_exc())
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
