"""Threads that share an engine or a model: what they get is what one thread gets, and nothing waits for ever."""

import contextlib
import os
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Trainer, engines
from genn_eventprop.deploy.online import Stream
from genn_eventprop.engines.contract import lock
from genn_eventprop.engines.contract.engine import Engine
from genn_eventprop.errors import EngineError
from genn_eventprop.losses import Function, Loss
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.optimisers import Adam
from genn_eventprop.plan import make_plan
from support.cuda_shim import ShimEngine
from support.genn_harness import HarnessEngine

KINDS = ["native", "native exact", "c99", "cuda", "genn", "reference_clock", "reference_event"]
N = 24  # samples


def cross_entropy(r, y):
    p = np.exp(r - r.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    rows = np.arange(len(y))
    slope = p.copy()
    slope[rows, y] -= 1
    return -np.log(p[rows, y]), slope


def plan_of(spike_times="grid", outer="cross_entropy", readout="max"):
    net = Network()
    source = net.input(6)
    hidden = net.population(LIF(), 8, name="hidden")
    output = net.population(LI(), 3, name="output")
    net.connect(source, hidden, Dense(Normal(1.2, 0.8)), delay=1.0)
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.4)), delay=1.0)
    net.connect(hidden, output, Dense(Normal(0.3, 0.6)))
    return make_plan(net, Loss(output, readout, outer=outer), dt=1.0, duration=20.0, spike_times=spike_times)


def events():
    rng = np.random.default_rng(4)
    samples = [(np.sort(rng.uniform(0.2, 18.0, n)), rng.integers(0, 6, n)) for n in rng.integers(3, 25, N)]
    return Events.from_samples(samples, n_channels=6, labels=rng.integers(0, 3, N))


def engine_of(kind, outer="cross_entropy", readout="max"):
    exact = kind.endswith("exact") or kind == "reference_event"
    plan = plan_of("exact" if exact else "grid", outer, readout)
    values = plan.network.initial_parameters(2)
    if kind in ("cuda", "genn"):
        return {"cuda": ShimEngine, "genn": HarnessEngine}[kind](plan, values, dtype="float64")
    return engines.create(plan, values, engine=kind.split()[0], dtype="float64", threads=2)


def batches(kind):
    """Of different sizes, so that arrays grow and shrink."""
    slow = kind in ("cuda", "genn", "reference_event")
    return [np.arange(first, last) for first, last in [(0, 1), (3, 9), (9, 11), (2, N)][: 3 if slow else 4]]


def bits(result):
    spikes = {f"{n} {f}": getattr(s, f) for n, s in result.spikes.items() for f in ("sample", "time", "neuron")}
    counts = {f"{n} counts": c for n, c in result.spike_counts.items()}
    return {"loss": result.loss, "readout": result.readout, "class": result.prediction, **spikes, **counts}


def same(got, want):
    assert got.keys() == want.keys()
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)


def together(works):
    """The results of functions that start at one instant on a thread each."""
    start = threading.Barrier(len(works))

    def begin(work):
        start.wait(60)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result(120) for future in [pool.submit(begin, work) for work in works]]


@pytest.mark.one_in(18)
@pytest.mark.parametrize("outer", ["named", "function"])
@pytest.mark.parametrize("kind", KINDS)
def test_runs_of_threads_are_those_of_one(kind, outer):
    """Before, two threads in `run` of one native engine ended the process."""
    engine = engine_of(kind, "cross_entropy" if outer == "named" else Function(cross_entropy))
    data = engine.load(events())

    def train(samples):
        with engine.lock:
            found = bits(engine.run(data, samples, training=True, record_spikes=True))
            return found | {k: np.array(v) for k, v in engine.gradients.items()}

    def look(samples):
        return bits(engine.run(data, samples, record_spikes=True))

    tasks = [(do, samples) for samples in batches(kind) for do in (train, look)]
    want = [do(samples) for do, samples in tasks]
    for threads in (2, 4):

        def work(first, tasks=tasks, threads=threads):
            return [(i, tasks[i][0](tasks[i][1])) for i in range(first, len(tasks), threads)]

        for found in together([lambda first=first: work(first) for first in range(threads)]):
            for i, got in found:
                same(got, want[i])
    engine.close()


@pytest.mark.one_in(8)
@pytest.mark.parametrize("kind", KINDS)
def test_halves_of_threads_never_mix(kind):
    """With the lock each gets its own gradient; without, an error, not another thread's."""
    engine = engine_of(kind, readout="end")
    data, halves = engine.load(events()), [np.arange(2), np.arange(5, 9)]

    def gradient(samples):
        with engine.lock:
            read = engine.forward(data, samples)
            time.sleep(0.01)
            engine.backward(np.ones_like(read.value))
            return {k: np.array(v) for k, v in engine.gradients.items()} | {"times": engine.input_gradients.copy()}

    want = [gradient(samples) for samples in halves]
    for got, right in zip(together([lambda s=s: gradient(s) for s in halves]), want):
        same(got, right)
    read = engine.forward(data, halves[0])
    together([lambda: engine.forward(data, halves[1])])
    with pytest.raises(EngineError, match="another thread ran the engine .* with engine.lock"):
        engine.backward(np.ones_like(read.value))
    same(gradient(halves[0]), want[0])
    engine.close()


def test_a_run_ends_a_pass_it_overwrites():
    """On `native` with a loss in Python: the gradient was that of the trials of the run between, without a word."""
    engine = engine_of("native", Function(cross_entropy))
    data = engine.load(events())
    read = engine.forward(data, np.arange(4))
    engine.run(data, np.arange(4, 12), training=True)
    with pytest.raises(EngineError, match="backward needs a forward run"):
        engine.backward(np.ones_like(read.value))


@pytest.mark.parametrize("keep", [True, False])
def test_spikes_of_a_pass_outlive_another_threads(keep):
    """The thread that looks at them cannot know that another one ran."""
    engine = engine_of("native", readout="end")
    data, samples = engine.load(events()), np.arange(6)
    want = bits(engine.run(data, samples, record_spikes=True))
    read = engine.forward(data, samples, keep=keep, record_spikes=True)
    together([lambda: engine.forward(data, np.arange(6, N), keep=keep, record_spikes=True)] * 2)
    for name, spikes in read.spikes.items():
        np.testing.assert_array_equal(spikes.time, want[f"{name} time"])


@pytest.mark.one_in(2)
@pytest.mark.parametrize("kind", [k for k in KINDS if k != "native exact"])
def test_a_loss_that_runs_its_engine_is_refused(kind):
    """It would overwrite the trials that the gradient is of; with a second engine it may."""
    inside = []

    def loss(r, y):
        inside[0]()
        return cross_entropy(r, y)

    engine, other = engine_of(kind, Function(loss)), engine_of(kind)
    data, samples = engine.load(events()), np.arange(3)
    inside.append(lambda: other.run(other.load(events()), samples))
    want = bits(engine.run(data, samples, training=True, record_spikes=True))
    inside[0] = lambda: engine.run(data, samples)
    with pytest.raises(EngineError, match="the outer loss called .*run in the middle of a batch .* another engine"):
        engine.run(data, samples, training=True)
    inside[0] = lambda: None
    same(together([lambda: bits(engine.run(data, samples, training=True, record_spikes=True))])[0], want)


def test_an_exception_lets_other_threads_on():
    wrong = threading.Event()

    def loss(r, y):
        if wrong.is_set():
            wrong.clear()
            raise KeyError("user's own mistake")
        return cross_entropy(r, y)

    engine = engine_of("native", Function(loss))
    data = engine.load(events())
    want = bits(engine.run(data, np.arange(N), training=True, record_spikes=True))
    wrong.set()
    with pytest.raises(KeyError):
        engine.run(data, np.arange(N), training=True)
    same(together([lambda: bits(engine.run(data, np.arange(N), training=True, record_spikes=True))])[0], want)


def test_an_optimiser_may_run_the_engine():
    """A line search runs trials between its steps, in the call that holds the lock."""
    engine, data = engine_of("native"), None
    data = engine.load(events())

    class Searching(Adam):
        def next_step(self, *given, **settings):
            engine.run(data, np.arange(3))
            return super().next_step(*given, **settings)

    engine.run(data, np.arange(5), training=True)
    together([lambda: engine.update(Searching(0.01))])


def child_of(work):
    """Exit status of a forked child that runs `work`, which must end within a minute."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of threads
        pid = os.fork()
    if pid == 0:
        status = 1
        with contextlib.suppress(BaseException):
            status = work()
        os._exit(status)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return "hung"


@pytest.mark.one_in(3)
@pytest.mark.parametrize("kind", ["native", "c99", "reference_clock"])
def test_a_fork_beside_a_running_thread(kind):
    """The child can use the engine, although no thread of the parent is there to end a batch."""
    engine, over = engine_of(kind), threading.Event()
    data = engine.load(events())
    want = bits(engine.run(data, np.arange(N), record_spikes=True))

    def run():
        same(bits(engine.run(data, np.arange(N), record_spikes=True)), want)
        return 0

    def go_on():
        while not over.is_set():
            engine.run(data, np.arange(N), training=True)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        assert [child_of(run) for _ in range(5)] == [0] * 5
    finally:
        over.set()
        thread.join()
    run()


def test_a_fork_does_not_wait_for_ever(monkeypatch):
    """Of an engine that another thread does not let go, the child says that it is half done."""
    monkeypatch.setattr(lock, "PATIENCE", 0.2)
    engine, over, held = engine_of("reference_clock"), threading.Event(), threading.Event()
    data = engine.load(events())

    def hold():
        with engine.lock:
            held.set()
            over.wait(60)

    def run():
        with pytest.raises(EngineError, match="forked while another thread was running .* load"):
            engine.run(data, np.arange(2))
        assert len(engine_of("reference_clock").run(data, np.arange(2)).loss) == 2
        return 0

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(60)
    try:
        assert child_of(run) == 0
    finally:
        over.set()
        thread.join()
    engine.run(data, np.arange(2))


def test_every_engine_holds_its_lock():
    """Whoever writes an engine cannot forget it."""
    names = {n for n, f in vars(Engine).items() if getattr(f, "one_at_a_time", False)} | {"forward", "backward"}
    assert {"run", "run_from", "run_shard", "update", "use", "close"} <= names
    for kind in map(engines.engine_class, engines.NAMES):
        assert all(getattr(getattr(kind, name), "one_at_a_time", False) for name in names), kind


def test_a_stream_is_one_trial_for_all_threads():
    plan = plan_of()
    stream = Stream(plan, plan.network.initial_parameters(2), dtype="float64")
    want = stream.push(([3.0, 7.0], [1, 2]), until=20.0)
    for _ in range(20):
        stream.reset()
        moments = together([lambda at=at: stream.push(([], []), until=float(at)) for at in (4, 9, 14, 20)])
        assert stream.step == 20 and {m.time for m in moments} <= {4.0, 9.0, 14.0, 20.0}
    stream.reset()
    same({"readout": stream.push(([3.0, 7.0], [1, 2]), until=20.0).readout}, {"readout": want.readout})


def test_averaged_weights_of_a_trainer_and_threads():
    """While one thread evaluates, its weights stand in the engine; another one may not find them gone half-way."""
    plan, data = plan_of(), events()
    trainer = Trainer(
        plan.network, Loss(plan.network.populations[-1], "max"), duration=20.0, dt=1.0, seed=3, batch_size=2,
        optimiser=Adam(0.05, average=0.9), engine="reference_clock", progress=False,
    )  # fmt: skip
    trainer.fit(data, epochs=1)
    want, now = trainer.evaluate(data), {k: np.array(v) for k, v in trainer.engine.parameters.items()}
    for found in together([lambda: trainer.evaluate(data)] * 4):
        same({"readout": found.readout, "loss": found.loss}, {"readout": want.readout, "loss": want.loss})
    same(dict(trainer.engine.parameters), now)
