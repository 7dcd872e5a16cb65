"""What memory is too small for is refused with numbers before it is allocated; what a run says it needs is enough."""

import subprocess
import sys
import time

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.errors import EngineError, NetworkError
from genn_eventprop.losses import FirstSpikeCrossEntropy
from genn_eventprop.modelling import memory
from genn_eventprop.models.lif import LIF
from genn_eventprop.optimisers import SGD, Adam
from genn_eventprop.training.runtime_estimate import peak_memory

GiB = 2**30


@pytest.fixture
def sixteen(monkeypatch):
    """A machine with 16 GiB."""
    monkeypatch.setattr(memory, "physical_memory", lambda: 16 * GiB)


def trainer_of(*sizes, **settings):
    net = Network()
    places = [net.input(sizes[0])] + [net.population(LIF(), n, name=f"p{i}") for i, n in enumerate(sizes[1:], 1)]
    for source, target in zip(places, places[1:]):
        net.connect(source, target, Dense(Normal(0.5, 0.1)))
    settings = {"duration": 20.0, "dt": 1.0, "spike_times": "grid", "progress": False} | settings
    return Trainer(net, FirstSpikeCrossEntropy(places[-1]), **settings)


def quickly(call, error, match):
    """The error comes within seconds, and nothing large was allocated before."""
    before, began = peak_memory(), time.process_time()
    with pytest.raises(error, match=match):
        call()
    assert time.process_time() - began < 20 and peak_memory() - before < 300 * 2**20


@pytest.mark.parametrize("engine", ["native", "c99", "reference_clock"])
def test_a_batch_that_memory_is_too_small_for(sixteen, engine):
    trainer = trainer_of(2, 60_000, 2, batch_size=100_000, engine=engine)
    n = 100_000
    events = Events(np.full(n, 1.0), np.zeros(n, np.int32), np.arange(n + 1), 2, np.zeros(n, np.int64))
    match = r"100,000 trials at once take [\d.]+ [GT]iB, this machine has 16 GiB of memory; use a smaller batch"
    quickly(lambda: trainer.predict(events), EngineError, match)
    quickly(lambda: trainer.fit(events, epochs=1), EngineError, match)
    assert len(trainer.predict(events[:2])) == 2


def test_weights_whose_training_memory_is_too_small_for(sixteen):
    match = r"1,200,[\d,]+ parameters, and for each that is learned 19 numbers of gradients and optimiser, take "
    quickly(lambda: trainer_of(20_000, 60_000), EngineError, match + r"[\d.]+ GiB, this machine has 16 GiB of memory")


def test_weights_that_are_too_many_together(sixteen):
    match = r"2,[\d,]+ weights of all connections take 16.\d GiB, this machine has 16 GiB of memory"
    net = Network()
    source, hidden = net.input(30_000), net.population(LIF(), 37_000, name="hidden")
    for _ in range(2):
        net.connect(source, hidden, Dense(Normal(0.5, 0.1)), name=f"c{_}")
    quickly(lambda: net.initial_parameters(1), NetworkError, match)


def test_what_fits_is_admitted(monkeypatch):
    """2 x 1000 and 1000 x 2 weights: one number of SGD for each, two of Adam; one trial, one copy."""
    numbers = sum(v.size for v in trainer_of(2, 1000, 2).engine.parameters.values())
    learned = 4000
    for optimiser, needed in ((SGD(0.1), 4 * numbers + 12 * learned), (Adam(0.1), 4 * numbers + 16 * learned)):
        needed = max(needed, 12 * numbers)
        for size in (needed, needed - 1):
            monkeypatch.setattr(memory, "physical_memory", lambda size=size: size)
            if size == needed:
                trainer_of(2, 1000, 2, batch_size=1, optimiser=optimiser)
            else:
                with pytest.raises(EngineError, match="numbers of gradients and optimiser"):
                    trainer_of(2, 1000, 2, batch_size=1, optimiser=optimiser)


MEASURE = """
import sys
from pathlib import Path
from genn_eventprop.cli import main
from genn_eventprop.training.runtime_estimate import RuntimeEstimate

told = []
words = RuntimeEstimate.__str__
RuntimeEstimate.__str__ = lambda self: told.append(self.peak_bytes) or words(self)
assert main(sys.argv[1:]) == 0
peak = next(int(n.split()[1]) for n in Path("/proc/self/status").read_text().splitlines() if n.startswith("VmHWM"))
print(peak * 1024, told[0])
"""
PAGE = '''
"""Thirty classes."""
from dataclasses import dataclass
from genn_eventprop import Events
from genn_eventprop.report.plots import standard
from genn_eventprop.experiment import LayeredConfig, layered

@dataclass(frozen=True)
class Config(LayeredConfig):
    hidden: tuple[int, ...] = (500,)
    duration: float = 60.0
    dt: float | None = 1.0
    spike_times: str = "grid"
    epochs: int = 1
    recurrent: bool = True

def build(config):
    samples = [([1.0, 4.0 + 0.1 * i], [i % 2, 1 - i % 2]) for i in range(90)]
    events = Events.from_samples(samples, 2, [i % 30 for i in range(90)])
    return layered(config, events[:30], events[30:60], events[60:], [str(i) for i in range(30)])

def plot(experiment, folder):
    standard(experiment, folder)
'''


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
@pytest.mark.ci
@pytest.mark.parametrize("hidden", [20, 1200])
def test_a_run_needs_no_more_than_it_says(tmp_path, hidden):
    """Of a small network most of it are figures, of a large one weights and checkpoints."""
    (tmp_path / "page.py").write_text(PAGE)
    command = [sys.executable, "-P", "-c", MEASURE, "train", "page.py", "--hidden", str(hidden), "--run-dir", "run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    peak, told = map(int, done.stdout.splitlines()[-1].split())
    assert peak <= told < 2 * peak, done.stdout
    assert f"up to {told / 2**20:.0f} MiB of memory" in done.stderr
