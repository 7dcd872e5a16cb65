"""Signals in the middle of a long batch: heard within two seconds, in every kind of trial and on the way back."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, engines
from genn_eventprop.cli import main
from genn_eventprop.errors import EngineError, Stopped
from genn_eventprop.losses import FirstSpikeCrossEntropy, IntegratedVoltageCrossEntropy
from genn_eventprop.models import LI, LIF, AdEx
from genn_eventprop.optimisers import Adam
from genn_eventprop.plan import make_plan
from genn_eventprop.runs import load_checkpoint

KINDS = ["grid", "exact", "series", "c99"]
LENGTH = {"grid": 3000.0, "exact": 4000.0, "series": 300.0, "c99": 1000.0}  # ms of a trial; of each, under a second


def engine_of(kind, threads=2):
    net = Network()
    source = net.input(20)
    hidden = net.population(AdEx() if kind == "series" else LIF(), 100, name="hidden")
    output = net.population(LIF() if kind == "series" else LI(), 3, name="output")
    net.connect(source, hidden, Dense(Normal(0.2, 0.1)))
    net.connect(hidden, output, Dense(Normal(0.02, 0.02)))
    loss = FirstSpikeCrossEntropy(output) if kind == "series" else IntegratedVoltageCrossEntropy(output)
    spike_times = "grid" if kind in ("grid", "c99") else "exact"
    plan = make_plan(net, loss, dt=0.1, duration=LENGTH[kind], spike_times=spike_times)
    settings = {"engine": "c99"} if kind == "c99" else {"engine": "native", "threads": threads}
    return engines.create(plan, net.initial_parameters(2), dtype="float64", **settings)


def load(engine):
    """One sample, which a batch may have many times."""
    rng, duration = np.random.default_rng(4), engine.plan.duration
    spikes = np.sort(rng.uniform(0, duration, int(2 * duration))), rng.integers(0, 20, int(2 * duration))
    return engine.load(Events.from_samples([spikes], n_channels=20, labels=[0]))


@contextlib.contextmanager
def handled(handler):
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def later(seconds, action, *arguments):
    """Something is done after some seconds; on exit those that have passed since."""
    passed, timer, began = [], threading.Timer(seconds, action, arguments), time.monotonic()
    timer.start()
    try:
        yield passed
    finally:
        timer.cancel()
        passed.append(time.monotonic() - began - seconds)


def crowd():
    """Processes for each processor that wait for it, among them ours."""
    return max(1.0, os.getloadavg()[0] / os.cpu_count())


def press():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.one_in(4)
def test_ctrl_c_is_heard_within_two_seconds(kind):
    engine = engine_of(kind)
    data, few, many = load(engine), np.zeros(3, int), np.zeros(3000, int)
    before = engine.run(data, few, training=True)
    gradients = {name: g.copy() for name, g in engine.gradients.items()}
    interrupted = handled(signal.default_int_handler), later(0.5, press), pytest.raises(KeyboardInterrupt)
    with interrupted[0], interrupted[1] as since, interrupted[2]:
        engine.run(data, many, training=True)
    assert since[0] < 2 * crowd(), since
    again = engine.run(data, few, training=True)
    np.testing.assert_array_equal(before.loss, again.loss)
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, engine.gradients[name], err_msg=name)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("kind", KINDS[:3])
def test_a_single_trial_is_left_in_its_middle_forwards_and_backwards(kind):
    """By a fraction of what the pass takes, which machines and compilers do not change."""
    engine, one, slope = engine_of(kind), np.zeros(1, int), np.ones((1, 3))
    data = load(engine)

    def forward():
        engine.forward(data, one)

    def backward():
        engine.backward(slope)

    def seconds(run):
        begins = time.monotonic()
        run()
        return time.monotonic() - begins

    def stopped(run, whole):
        with later(0.2 * whole, engine.stop) as since, pytest.raises(Stopped):
            run()
        engine.stop(False)
        assert since[0] < 0.5 * whole, (since, whole)

    forward()
    backward()
    there, back = seconds(forward), seconds(backward)
    stopped(forward, there)
    forward()
    stopped(backward, back)
    with pytest.raises(EngineError, match="backward needs a forward run"):
        backward()


def test_a_stopped_engine_begins_no_other_batch():
    """A signal may come while a batch is prepared, or its code compiled."""
    engine = engine_of("grid")
    data = load(engine)
    engine.stop()
    with pytest.raises(Stopped):
        engine.run(data, [0])
    engine.stop(False)
    engine.run(data, [0])


@pytest.mark.ci
def test_a_batch_goes_on_after_a_handler_that_raises_nothing():
    engine = engine_of("grid")
    data, many, heard = load(engine), np.zeros(40, int), []
    plain = engine.run(data, many, training=True)
    gradients = {name: g.copy() for name, g in engine.gradients.items()}
    with handled(lambda *_: heard.append(time.monotonic())), later(0.1, press):
        noted = engine.run(data, many, training=True)
        ended = time.monotonic()
    assert heard[0] < ended - 0.2, "in the middle of the batch"
    np.testing.assert_array_equal(plain.loss, noted.loss)
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, engine.gradients[name], err_msg=name)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("use", ["run", "update", "close"])
def test_a_handler_may_not_use_the_engine_in_the_middle_of_a_batch(use):
    engine, many = engine_of("grid"), np.zeros(3000, int)
    data, optimiser = load(engine), Adam()
    engine.run(data, many[:1], training=True)
    optimiser.prepare(engine.parameters)
    uses = {
        "run": lambda: engine.run(data, many[:1]),
        "update": lambda: engine.update(optimiser),
        "close": engine.close,
    }
    with handled(lambda *_: uses[use]()), later(0.1, press), pytest.raises(EngineError, match="let it set a flag"):
        engine.run(data, many)
    engine.run(data, many[:1])


PAGE = '''
"""Two batches of many seconds."""
import os
import threading
from dataclasses import dataclass
import numpy as np
from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.experiment import Experiment, ExperimentConfig
from genn_eventprop.losses import MaxVoltageCrossEntropy
from genn_eventprop.models import LI, LIF
from genn_eventprop.training import Callback

class Mark(Callback):
    def start_epoch(self, trainer, epoch):
        open("began", "w").close()

    def end_batch(self, trainer, epoch, batch, statistics):
        if batch == 2 and os.path.exists("press"):
            # In the middle of the next one. Not by a signal: a batch shorter than half a second does not look for it.
            threading.Timer(0.02, trainer.interrupt).start()

@dataclass(frozen=True)
class Config(ExperimentConfig):
    epochs: int = 1
    duration: float = 20000.0
    spike_times: str = "grid"
    dt: float = 0.1

def build(config):
    net = Network()
    source, hidden = net.input(2), net.population(LIF(), 100, name="hidden")
    output = net.population(LI(), 2, name="output")
    net.connect(source, hidden, Dense(Normal(2.0, 1.0)))
    net.connect(hidden, output, Dense(Normal(0.2, 0.3)))
    spike_times, dt = config.time_grid()
    trainer = Trainer(net, MaxVoltageCrossEntropy(output), duration=config.duration, dt=dt, spike_times=spike_times,
                      engine="native", batch_size=16, seed=config.seed, threads=1, callbacks=[Mark()], progress=False)
    times = np.sort(np.random.default_rng(1).uniform(0, config.duration, 1000))
    events = Events.from_samples([(times, np.arange(1000) % 2)] * 32, n_channels=2, labels=[i % 2 for i in range(32)])
    return Experiment(trainer, events, events[:1], events[:1])
'''


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts a command, and waits until it is in the middle of its first batch."""
    monkeypatch.chdir(tmp_path)
    Path("page.py").write_text(PAGE)
    started = []

    def start(*command):
        Path("began").unlink(missing_ok=True)
        command = [sys.executable, "-m", "genn_eventprop", *command]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        while not Path("began").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        time.sleep(0.3)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ends(process, *signals):
    """stderr of a process that ends within two seconds of signals, if it has the machine for itself."""
    began = time.monotonic()
    for number in signals:
        process.send_signal(number)
        time.sleep(0.1)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 2 * crowd(), err
    assert "Traceback" not in err
    return err


@pytest.mark.ci
def test_a_training_ends_within_two_seconds_and_goes_on(start):
    process = start("train", "page.py", "--run-dir", "run")
    err = ends(process, signal.SIGINT)
    assert process.returncode == 130
    assert "stopping with a checkpoint; press Ctrl-C again to stop at once" in err
    assert err.rstrip().endswith(
        f"interrupted; continue with: genn-eventprop resume run --page {Path('page.py').resolve()}"
    )
    assert load_checkpoint("run/checkpoints/last.safetensors").info["position"]["updates"] == 0
    process = start("resume", "run", "--page", "page.py")
    err = ends(process, signal.SIGTERM)
    assert process.returncode == 143 and "terminated; continue with: genn-eventprop resume run" in err
    process = start("resume", "run", "--page", "page.py")
    ends(process, signal.SIGINT, signal.SIGINT)
    assert process.returncode == 130


@pytest.mark.ci
def test_a_batch_that_was_left_is_done_again_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("page.py").write_text(PAGE.replace("20000.0", "2000.0").replace("batch_size=16", "batch_size=8"))
    assert main(["train", "page.py", "--run-dir", "whole"]) == 0
    Path("press").touch()
    assert main(["train", "page.py", "--run-dir", "left"]) == 130
    Path("press").unlink()
    assert load_checkpoint("left/checkpoints/last.safetensors").info["position"]["batch"] == 3
    assert main(["resume", "left", "--page", "page.py"]) == 0
    whole, left = (load_checkpoint(f"{run}/checkpoints/last.safetensors").arrays for run in ("whole", "left"))
    assert whole.keys() == left.keys()
    for name, values in whole.items():
        np.testing.assert_array_equal(values, left[name], err_msg=name)
