"""The real device's code (`engines/cuda/driver.py`) on a driver that is stood in for: its memory is the host's, its
kernels run on the shim. What the driver itself does, no test here can show."""

import gc
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
from genn_eventprop.errors import EngineError, Stopped
from genn_eventprop.optimisers import Adam
from genn_eventprop.verify.engines.representative import Shape
from support.clocked import build, random_events
from support.cuda_shim import ShimEngine
from support.engines import run
from support.extras import needs
from support.gpu_arrays import GpuArray

needs("cuda.core")
from genn_eventprop.engines.cuda import driver  # noqa: E402
from support.cuda_driver import FINE, KERNELS, STATUS, Core, Handle, stand_in_driver  # noqa: E402


@pytest.fixture
def found(monkeypatch, tmp_path):
    return stand_in_driver(monkeypatch, tmp_path / "cache")


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
    "an update without a restart": (
        {"fails": {"cuInit": STATUS.CUDA_ERROR_SYSTEM_DRIVER_MISMATCH}},
        None,
        r"the NVIDIA driver does not start \(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH\): see what `nvidia-smi` says of it",
    ),
    "no card": ({"fails": NO_DEVICE}, None, "an NVIDIA driver is there, but no GPU: .*`nvidia-smi -L`.*--gpus all"),
    "no visible card": ({"fails": NO_DEVICE}, "", "CUDA_VISIBLE_DEVICES='' shows no GPU of this machine: unset it, or"),
    "no such card": ({"count": 0}, "7", "CUDA_VISIBLE_DEVICES='7' shows no GPU of this machine: unset it, or"),
}


@pytest.mark.parametrize("case", ABSENT)
def test_what_is_missing_is_named(found, problem, monkeypatch, case):
    """By name it is an error that says what to do, and `engines` says the same. "auto" speaks only of a driver that
    is old or does not start: there is a card that could be used."""
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
    assert engine.name == "native" and any("does not start" in r for r in engine.remarks) == (
        case in ("an old driver", "an update without a restart")
    )
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


@pytest.mark.parametrize("halves", [False, True])
def test_a_batch_that_is_stopped_between_groups_leaves_no_trace(found, problem, halves):
    plan, values, events = problem
    engine, fresh = (CudaEngine(plan, values, group=1) for _ in range(2))
    data, launches, launch = engine.load(events), [], found.cuLaunchKernel

    def batch(engine, samples):
        if not halves:
            return engine.run(data, samples, training=True).loss
        read = engine.forward(data, samples)
        engine.backward(np.cos(read.value))
        return read.value

    def stopping(function, *where):
        launches.append(KERNELS[function][1])
        if launches.count("backwards" if halves else "trial") == 2:
            engine.stop()
        return launch(function, *where)

    batch(engine, [2, 3])
    host, name = engine.gradients["input_hidden.weight"], "hidden_output.weight"
    before = {n: np.array(g) for n, g in engine.gradients.items()}
    found.cuLaunchKernel = stopping
    with pytest.raises(Stopped):
        batch(engine, [0, 1, 2, 3])
    assert launches.count("backwards" if halves else "trial") == 2, "not in the middle"
    assert not engine.gradients.on_host(name) and np.array_equal(engine.gradients[name], before[name])
    assert host is engine.gradients["input_hidden.weight"]
    with pytest.raises(Stopped):
        batch(engine, [0])
    assert all(np.array_equal(engine.gradients[n], g) for n, g in before.items())
    found.cuLaunchKernel = launch
    engine.stop(False)
    assert np.array_equal(batch(engine, [0, 1, 2, 3]), batch(fresh, [0, 1, 2, 3]))
    assert all(np.array_equal(engine.gradients[n], g) and g.any() for n, g in fresh.gradients.items())


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


def test_arrays_of_other_libraries_are_copied_on_the_device(found):
    """In order with what they do with them, and done at once: their memory may be anybody's next."""
    device, kind = driver.CudaDevice(0), np.dtype(np.float32)
    memory, array = device.allocate(48), GpuArray(np.arange(12, dtype=kind).reshape(3, 4))
    assert memory.beside(array, (3, 4), kind) and array.streams == [-1]
    assert not memory.beside(array, (4, 3), kind) and not memory.beside(array, (3, 4), np.dtype(np.int32))
    assert not memory.beside(array.values, (3, 4), kind) and not memory.beside(GpuArray(array.values, 1), (3, 4), kind)
    assert not memory.beside(GpuArray(np.zeros((4, 3), kind).T), (3, 4), kind)
    frozen = np.zeros((3, 4), kind)
    frozen.flags.writeable = False  # which NumPy does not export: BufferError
    assert not memory.beside(GpuArray(frozen), (3, 4), kind)
    array.streams.clear()
    memory.take(array)
    array.values[:] = -1.0
    assert np.array_equal(memory.read((12,), kind), np.arange(12))
    memory.write(np.arange(12, dtype=kind)[::-1])
    memory.give(array)
    assert np.array_equal(array.values.reshape(-1), np.arange(12)[::-1]) and array.streams == [device.queue] * 2
    assert [n for n, _ in found.copied].count("cuMemcpyDtoDAsync") == 2
    nothing = GpuArray(np.zeros((0, 4), kind))
    memory.take(nothing)
    memory.give(nothing)


def test_what_is_copied_on_the_device_and_what_the_host_writes(found, problem):
    """The last one counts, and arrays of the host that somebody refers to stay current."""
    plan, values, events = problem
    engine = CudaEngine(plan, values)
    data = engine.load(events)
    engine.run(data, [0, 1], training=True)
    first, second = (c.weight for c in plan.connections[:2])
    held, new = engine.parameters[first], np.array(engine.parameters[first]) + 0.25
    engine.parameters[second][...] = 0.125
    engine.parameters.take(first, GpuArray(new))
    assert np.array_equal(held, new) and (engine.parameters[second] == 0.125).all()
    again = CudaEngine(plan, values | {first: new, second: np.full_like(values[second], 0.125, np.float32)})
    wanted = again.run(again.load(events), [0, 1], training=True)
    assert np.array_equal(engine.run(data, [0, 1], training=True).loss, wanted.loss)
    gradient = GpuArray(np.zeros_like(new))
    engine.gradients.give(first, gradient)
    assert np.array_equal(gradient.values, again.gradients[first]) and gradient.values.any()
    engine.gradients[first][...] = 3.0
    engine.gradients.give(first, gradient)
    assert (gradient.values == 3.0).all()
    assert not engine.parameters.beside("hidden.tau_mem", gradient)  # on the host


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
