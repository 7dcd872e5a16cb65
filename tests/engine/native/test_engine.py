"""What the native engine promises for every network: bits, batches, forks, growing storage, errors, no recompiling."""

import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, losses
from genn_eventprop.engines import ReferenceClock, create
from genn_eventprop.engines.native.engine import NativeEngine
from genn_eventprop.errors import DataError, EngineError, NetworkError, SettingError
from genn_eventprop.models.li import LI
from genn_eventprop.optimisers import SGD, Adam
from genn_eventprop.plan import make_plan
from support.compiled import as_in_a_new_process
from support.promises import engine_of, make, random_events

pytestmark = pytest.mark.usefixtures("optimised")


def bits(engine, data, samples, n=1):
    """Every number of the last of `n` equal training runs, as bytes."""
    for _ in range(n):
        result = engine.run(data, samples, training=True, record_spikes=True)
    parts = [result.loss, result.readout, result.prediction, *result.spike_counts.values()]
    parts += [getattr(s, field) for s in result.spikes.values() for field in ("sample", "time", "neuron")]
    parts += [engine.gradients[k] for k in sorted(engine.gradients)]
    return b"".join(np.ascontiguousarray(p).tobytes() for p in parts)


@pytest.fixture(scope="module")
def plan():
    return make()


@pytest.mark.one_in(2)
@pytest.mark.parametrize("n", [37, 5])
def test_the_bits_do_not_depend_on_threads_or_run(plan, n):
    """float32, batches of more and of fewer samples than slices; three runs each on 1, 2, 3 threads."""
    events, samples = random_events(), np.arange(n)[::-1].copy()
    found = set()
    for threads in (1, 2, 3):
        engine = engine_of(plan, "float32", threads)
        data = engine.load(events)
        found |= {bits(engine, data, samples, runs) for runs in (1, 2)}
        engine.close()
    assert len(found) == 1
    other = engine_of(plan, "float32", 2, slices=3)
    assert bits(other, other.load(events), np.arange(n)) not in found  # the sum runs in another order


@pytest.mark.ci
def test_an_incomplete_batch_is_the_mean_of_its_samples(plan):
    engine = engine_of(plan)
    data = engine.load(random_events())
    total = {k: np.zeros_like(g) for k, g in engine.gradients.items()}
    loss = []
    for s in (4, 9, 30):
        loss.append(engine.run(data, [s], training=True).loss[0])
        for k in total:
            total[k] += engine.gradients[k] / 3
    result = engine.run(data, [4, 9, 30], training=True)
    np.testing.assert_allclose(result.loss, loss, rtol=1e-14)
    for k, wanted in total.items():
        np.testing.assert_allclose(engine.gradients[k], wanted, rtol=1e-11, atol=1e-16, err_msg=k)


def test_a_result_outlives_later_batches(plan):
    """Arrays are used again by the next batch of the same size, but not those that were handed out."""
    engine = engine_of(plan)
    data = engine.load(random_events())
    first = engine.run(data, np.arange(5), training=True)
    parts = [first.loss, first.readout, first.prediction, *first.spike_counts.values()]
    before = [p.copy() for p in parts]
    engine.run(data, np.arange(5, 10), training=True)
    for part, wanted in zip(parts, before, strict=True):
        np.testing.assert_array_equal(part, wanted)


def test_a_bound_that_changes_holds_in_the_next_step(plan):
    engine = engine_of(plan)
    data, optimiser = engine.load(random_events()), SGD(0.1)
    engine.run(data, np.arange(5), training=True)
    name = "input_hidden.weight"
    for bound in (1e-3, 1e-4, np.full(engine.parameters[name].shape, 1e-5)):
        engine.use(optimiser)
        optimiser.settle_bounds({name: (None, bound)})
        engine.update(optimiser)
        assert engine.parameters[name].max() <= np.max(bound) * 1.001
    bound[:] = 1e-6
    engine.update(optimiser)
    assert engine.parameters[name].max() <= 1.001e-6


def test_gradients_are_those_of_the_last_training_batch(plan):
    engine = engine_of(plan)
    data = engine.load(random_events())
    engine.run(data, np.arange(20), training=True)
    first = bits(engine, data, [3])
    kept = engine.gradients["input_hidden.weight"].copy()
    result = engine.run(data, np.arange(37))
    assert result.guarded == 0 and result.spikes is None
    np.testing.assert_array_equal(engine.gradients["input_hidden.weight"], kept)
    assert bits(engine, data, [3]) == first


def test_parameters_are_live(plan):
    """Writing into the arrays changes the next run: weights at once, time constants through their coefficients."""
    engine, events = engine_of(plan), random_events()
    data = engine.load(events)
    before = engine.run(data, [0, 1]).readout
    engine.parameters["hidden.tau_mem"][...] *= 0.5
    engine.parameters["hidden_output.weight"][...] += 0.25
    after = engine.run(data, [0, 1]).readout
    clock = ReferenceClock(plan, {k: np.array(v) for k, v in engine.parameters.items()})
    np.testing.assert_allclose(after, clock.run(clock.load(events), [0, 1]).readout, rtol=1e-12)
    assert np.abs(after - before).max() > 1e-3
    assert engine.parameters["hidden_output.weight"].shape == (21, 4)


@pytest.mark.ci
def test_a_change_of_dt_duration_or_values_compiles_nothing(monkeypatch, tmp_path):
    """Times and parameters are arguments of the generated code; another size is another network."""
    compiled = lambda: {p.name: p.stat().st_ino for p in tmp_path.glob("*.so")}  # noqa: E731
    as_in_a_new_process(monkeypatch)
    monkeypatch.setenv("GENN_EVENTPROP_CACHE", str(tmp_path))
    events = random_events(4)
    for plan in (make(), make(dt=0.25), make(duration=60.0), make(hidden_values={"tau_syn": 7.0}), make(weight=0.5)):
        engine = engine_of(plan)
        result = engine.run(engine.load(events), np.arange(4), training=True)
        assert np.isfinite(result.loss).all()
        engine.parameters["hidden.tau_mem"][...] = 11.0
        engine.run(engine.load(events), np.arange(3))
    libraries = compiled()
    assert len(libraries) == 2  # the network, and what all networks share
    as_in_a_new_process(monkeypatch)
    engine = engine_of(make())
    engine.run(engine.load(events), [0])
    assert compiled() == libraries


def test_spike_storage_grows_with_a_runaway_population():
    """Every neuron fires in every step of one sample: nothing is lost, and the next sample is not disturbed."""
    plan = make(hidden_values={"tau_syn": 1000.0, "v_thresh": 0.01})
    values = plan.network.initial_parameters(3)
    values["input_hidden.weight"][...] = 50.0
    values["hidden_hidden.weight"][...] = 0.0
    events = Events.from_samples([([0.0], [0]), ([], []), ([29.5], [6])], n_channels=7, labels=[0, 1, 2])
    native, clock = NativeEngine(plan, values, dtype="float64", threads=1), ReferenceClock(plan, values)
    got = native.run(native.load(events), [0, 1, 2], training=True, record_spikes=True)
    want = clock.run(clock.load(events), [0, 1, 2], training=True, record_spikes=True)
    assert got.spike_counts["hidden"].sum(1).tolist() == [21 * 60, 0, 21]
    np.testing.assert_array_equal(got.spikes["hidden"].time, want.spikes["hidden"].time)
    for k, gradient in clock.gradients.items():
        np.testing.assert_allclose(native.gradients[k], gradient, rtol=1e-9, atol=1e-14, err_msg=k)


def test_recorded_spikes_are_sorted_and_counted(plan):
    engine = engine_of(plan)
    result = engine.run(engine.load(random_events()), [5, 2, 8], record_spikes=True)
    spikes = result.spikes["hidden"]
    order = np.lexsort((spikes.neuron, spikes.time, spikes.sample))
    np.testing.assert_array_equal(order, np.arange(len(order)))
    counts = np.zeros((3, 21), int)
    np.add.at(counts, (spikes.sample, spikes.neuron), 1)
    np.testing.assert_array_equal(counts, result.spike_counts["hidden"])
    assert set(result.spikes) == {"hidden"} and spikes.time.max() <= 30.0 and len(order) > 40


def test_a_forked_child_runs_with_threads_of_its_own(plan):
    """A data loader or a server may fork: threads do not survive that, so the child starts its own."""
    engine = engine_of(plan, "float32", 3)
    data = engine.load(random_events())
    parent = bits(engine, data, np.arange(20))
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks of processes with threads
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if bits(engine, data, np.arange(20), 2) == parent else 2
            engine.close()
        finally:
            os.write(write, bytes([status]))
            os._exit(0)
    os.close(write)
    assert os.read(read, 1) == b"\0"
    os.close(read)
    os.waitpid(pid, 0)
    assert bits(engine, data, np.arange(20)) == parent


@pytest.mark.parametrize("make_optimiser", [lambda: Adam(1e-2), lambda: SGD(0.1)], ids=["Adam", "SGD"])
def test_the_compiled_optimiser_is_the_numpy_one(make_optimiser):
    """Three steps, with bounds that act, on weights whose rows are padded and on neuron parameters."""
    plan = make(bounds=(0.5, 1.2))
    engine, events = engine_of(plan), random_events()
    data = engine.load(events)
    native, numpy = make_optimiser(), make_optimiser()
    copies = {k: np.array(engine.parameters[k]) for k in plan.trainable}
    for optimiser, parameters in ((native, engine.parameters), (numpy, copies)):
        optimiser.prepare({k: parameters[k] for k in plan.trainable}, plan.network.bounds())
    for batch in range(3):
        engine.run(data, np.arange(10 * batch, 10 * batch + 10), training=True)
        engine.update(native)
        numpy.update(copies, {k: np.array(engine.gradients[k]) for k in plan.trainable})
        for k in plan.trainable:
            np.testing.assert_allclose(engine.parameters[k], copies[k], rtol=1e-13, atol=1e-15, err_msg=k)
    weights = engine.parameters["input_hidden.weight"]
    assert weights.min() == 0.5 and weights.max() == 1.2 and ((weights > 0.5) & (weights < 1.2)).any()
    assert np.ptp(engine._memory.padded["hidden_output.weight"][:, 4:]) == 0.0, "padding must stay zero"


def test_a_new_optimiser_keeps_the_bounds():
    """Without prepare() the engine settles parameters and bounds itself; an update that does nothing is no update."""
    plan = make(bounds=(0.5, 1.2))
    for engine in (engine_of(plan), ReferenceClock(plan, plan.network.initial_parameters(3))):
        engine.run(engine.load(random_events()), np.arange(10), training=True)
        before = np.array(engine.parameters["hidden_output.weight"])
        engine.update(Adam(1e-2))
        assert np.abs(engine.parameters["hidden_output.weight"] - before).max() == pytest.approx(1e-2, rel=1e-3)
        assert engine.parameters["input_hidden.weight"].max() == 1.2


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], r"a batch needs a list of at least one sample, got an array of shape \(0,\)"),
        ([[0, 1]], r"a batch needs a list of at least one sample, got an array of shape \(1, 2\)"),
        ([0, 37], r"sample 37 is not in a data set with 37 samples \(0 to 36\)"),
        ([5, -1], r"sample -1 is not in a data set with 37 samples"),
        ([0.0, 1.5], r"a batch is a list of sample indices, got float64"),
        ([True, False], r"a batch is a list of sample indices, got bool; for a mask use np.flatnonzero\(mask\)"),
    ],
)
def test_wrong_batches_are_refused_and_the_engine_stays_usable(plan, samples, message):
    for engine in (engine_of(plan), ReferenceClock(plan, plan.network.initial_parameters(3))):
        data = engine.load(random_events())
        with pytest.raises(DataError, match=message):
            engine.run(data, samples, training=True)
        assert np.isfinite(engine.run(data, [36], training=True).loss[0])


def test_missing_labels_leave_the_engine_usable(plan):
    unlabelled = Events.from_samples([([1.0], [0]), ([2.0], [3])], n_channels=7)
    for engine in (engine_of(plan), ReferenceClock(plan, plan.network.initial_parameters(3))):
        data = engine.load(unlabelled)
        with pytest.raises(EngineError, match="training needs a label for every sample; some have none"):
            engine.run(data, [0, 1], training=True)
        result = engine.run(data, [0, 1])
        assert np.isnan(result.loss).all() and np.isfinite(result.readout).all()


def test_data_that_does_not_fit_is_refused(plan):
    engine = ReferenceClock(plan, plan.network.initial_parameters(3))
    cases = [
        (Events.from_samples([([1.0], [0])], n_channels=6), r"the data has 6 channels, but input 'input' has 7"),
        (
            Events.from_samples([([1.0], [0]), ([30.0, 31.0], [0, 1])], n_channels=7),
            r"sample 1 has a spike at 30 ms, outside the trial of 30 ms \(2 such spikes in all\)",
        ),
        (
            Events.from_samples([([1e3, 25e3], [0, 1])], n_channels=7),
            r"outside the trial of 30 ms \(2 such .*; are the times in microseconds\? .* divide them by 1000",
        ),
        (
            Events.from_samples([([1.0], [0])] * 2, n_channels=7, labels=[1, 4]),
            r"sample 1 has label 4, but the output 'output' has 4 classes",
        ),
    ]
    for events, message in cases:
        with pytest.raises(DataError, match=message):
            engine.load(events)
    late = engine.load(Events.from_samples([([29.74, 29.76, 29.9], [0, 1, 2])], n_channels=7))
    assert late.steps.tolist() == [59, 59, 59] and late.clipped == 2


def test_wrong_settings_and_parameters_are_refused(plan):
    values = plan.network.initial_parameters(3)
    cases = [
        ({"dtype": "float16"}, SettingError, r"dtype must be 'float32' or 'float64', got 'float16'"),
        ({"threads": 0}, EngineError, r"threads=0: must be at least 1"),
        ({"slices": 0}, EngineError, r"slices=0: must be at least 1"),
        ({"slope_floor": -1.0}, EngineError, r"slope_floor must be a finite number >= 0, got -1.0"),
    ]
    for settings, kind, message in cases:
        with pytest.raises(kind, match=message):
            NativeEngine(plan, values, **settings)
    weights = values["input_hidden.weight"]
    wrong = [
        (values | {"input_hiden.weight": weights}, EngineError, r"'input_hiden.weight' \(did you mean 'input_hidden.w"),
        ({k: v for k, v in values.items() if k != "hidden.tau_mem"}, EngineError, r"'hidden.tau_mem' of shape \(21,\)"),
        (values | {"input_hidden.weight": weights.T}, EngineError, r"has shape \(21, 7\), this network needs"),
        (values | {"hidden.tau_mem": -values["hidden.tau_mem"]}, NetworkError, r"hidden.tau_mem: a time constant must"),
        (values | {"input_hidden.weight": weights * np.nan}, NetworkError, r"input_hidden.weight: .* be finite"),
    ]  # fmt: skip
    for parameters, kind, message in wrong:
        with pytest.raises(kind, match=message):
            NativeEngine(plan, parameters)
    with pytest.raises(SettingError, match=r"unknown engine 'nativ' \(did you mean 'native'"):
        create(plan, values, engine="nativ")
    assert create(plan, values, engine="native", threads=1).reason == "asked for"


def test_negative_time_constants_stop_the_run(plan):
    engine = engine_of(plan)
    data = engine.load(random_events())
    engine.parameters["hidden.tau_mem"][4] = -2.0
    with pytest.raises(NetworkError, match="hidden.tau_mem: a time constant must be positive, got -2 ms"):
        engine.run(data, [0])
    engine.parameters["hidden.tau_mem"][4] = 12.0
    assert np.isfinite(engine.run(data, [0]).loss).all()


LIMITED = """
    import resource, sys
    import numpy as np
    sys.path.append({folder!r})
    from genn_eventprop.errors import EngineError
    from support.promises import engine_of, make, random_events

    def limit(extra):
        pages = int(open("/proc/self/statm").read().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + extra, resource.RLIM_INFINITY))

    {body}
"""


def run_limited(body):
    """Python code in a process whose address space is limited, since no limit can be taken back in this one."""
    code = textwrap.dedent(LIMITED).format(folder=str(Path(__file__).parents[2]), body=textwrap.dedent(body))
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.ci
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="limits of memory are read from /proc")
def test_threads_that_cannot_start_are_an_error(plan):
    engine_of(plan)  # into the cache
    out = run_limited("""
engine = engine_of(make(), threads=1500)
data = engine.load(random_events())
limit(400 * 2**20)
try:
    engine.run(data, [0, 1])
except EngineError as error:
    print(error)
small = engine_of(make(), threads=2)
print(np.isfinite(small.run(small.load(random_events()), [0, 1]).loss).all())
""")
    assert "could not start 1500 threads; ask for fewer with threads=" in out and "True" in out


@pytest.mark.ci
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="limits of memory are read from /proc")
def test_the_engine_recovers_from_exhausted_memory(plan):
    engine_of(plan)
    out = run_limited("""
plan = make(duration=100000.0)
engine = engine_of(plan, threads=1)
data = engine.load(random_events(2))
limit(150 * 2**20)
try:
    engine.run(data, [0, 1], training=True)
except EngineError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(np.isfinite(engine.run(data, [0], training=True).loss).all())
""")
    assert "out of memory while running 2 trials of 200000 steps on 1 threads" in out and "True" in out


def test_idle_threads_are_reported():
    net = Network()
    inp = net.input(2)
    output = net.population(LI(), 2, name="output")
    net.connect(inp, output, Dense(0.1))
    plan = make_plan(net, losses.MaxVoltageCrossEntropy(output), dt=1.0, duration=10.0)
    engine = create(plan, net.initial_parameters(0), engine="native", threads=18)
    assert engine.notes(32) == ["2 of 18 threads stay idle: a batch has 16 slices"]
    assert engine.notes(4) == ["14 of 18 threads stay idle: a batch has 4 slices"]
    assert engine.notes(128) == [] and engine.slices_of(128) == 32  # more slices for larger batches


def test_slices_grow_with_the_batch_within_memory():
    def slices(hidden, batch):
        net = Network()
        inp, output = net.input(hidden), net.population(LI(), hidden, name="output")
        net.connect(inp, output, Dense(0.1))
        plan = make_plan(net, losses.MaxVoltageCrossEntropy(output), dt=1.0, duration=10.0)
        return create(plan, net.initial_parameters(0), engine="native").slices_of(batch)

    assert [slices(16, n) for n in (1, 9, 32, 127, 128, 256, 1024, 5000)] == [1, 9, 16, 16, 32, 64, 256, 256]
    assert slices(2048, 1024) == 32  # of 16 MiB each


def test_delays_that_the_grid_changes_are_told():
    net = Network()
    inp = net.input(2)
    output = net.population(LI(), 2, name="output")
    net.connect(inp, output, Dense(0.1), delay=0.3)
    loss = losses.MaxVoltageCrossEntropy(output)
    told = {
        mode: create(make_plan(net, loss, dt=1.0, duration=10.0, spike_times=mode), net.initial_parameters(0)).reason
        for mode in ("grid", "exact")
    }
    assert told["grid"].endswith("delays rounded to whole steps: input_output 0.3 -> 0 ms")
    assert "delays" not in told["exact"]
