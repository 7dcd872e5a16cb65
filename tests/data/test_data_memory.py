"""A data set larger than what may be held in memory: written, read and cut into batches piece by piece."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("contracted")  # trainings: code that is not optimised would take longer

SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from genn_eventprop.data import Events
from genn_eventprop.data.augment import Shift
from genn_eventprop.data.augment.augmented import Augmented
from genn_eventprop.data.events.storage import EventsWriter

def anonymous():
    (line,) = [l for l in open("/proc/self/status") if l.startswith("RssAnon")]
    return int(line.split()[1]) / 1024

folder, samples, n = Path(sys.argv[1]), 5000, 8000
rng = np.random.default_rng(0)
start, peak = anonymous(), 0.0
with EventsWriter(folder, 700, 20, "large") as writer:
    for i in range(samples):
        writer.append(np.sort(rng.uniform(0, 1000, n)), rng.integers(0, 700, n))
    writer.finish(None, np.arange(samples) % 20)
events = Events.load(folder)
assert len(events.times) == samples * n
train = Augmented(events, [Shift(40)], seed=1)
peak = max(peak, anonymous())
for k in range(0, samples, 500):
    train.batch(rng.permutation(samples)[:32], epoch=0)
    peak = max(peak, anonymous())
print(peak - start)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc (Linux)")
def test_memory_mapped_events_stay_on_disk(tmp_path: Path) -> None:
    """40 million events, 480 MB on disk; the process's own memory grows by less than a quarter of that."""
    done = subprocess.run([sys.executable, "-P", "-c", SCRIPT, str(tmp_path / "large")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "large" / "times.f8").stat().st_size == 8 * 40_000_000
    assert float(done.stdout) < 120.0


PEAK = """
import sys
import numpy as np
from genn_eventprop.training.runtime_estimate import peak_memory

before = peak_memory()
mapped = np.memmap(sys.argv[1], np.uint8, "r")
mapped.sum()
own = np.ones(1 << 27, np.uint8)
print((peak_memory() - before) / 2**20)
"""


@pytest.mark.ci
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc (Linux)")
def test_the_expected_memory_leaves_mapped_files_out(tmp_path: Path) -> None:
    """300 MB of a mapped file and 128 MiB of the process's own."""
    (tmp_path / "mapped").write_bytes(bytes(300_000_000))
    done = subprocess.run([sys.executable, "-P", "-c", PEAK, str(tmp_path / "mapped")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 100 < float(done.stdout) < 160


TRAIN = """
import sys
from pathlib import Path
import numpy as np
from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.data.events.storage import EventsWriter
from genn_eventprop.losses import IntegratedVoltageCrossEntropy
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF

def memory(name):
    (line,) = [l for l in open("/proc/self/status") if l.startswith(name)]
    return int(line.split()[1]) * 1024

def fit(events):
    net = Network()
    inp, hidden = net.input(700), net.population(LIF(), 8, name="hidden")
    out = net.population(LI(), 4, name="output")
    net.connect(inp, hidden, Dense(Normal(0.02, 0.01)))
    net.connect(hidden, out, Dense(Normal(0.0, 0.3)))
    trainer = Trainer(net, IntegratedVoltageCrossEntropy(out), duration=100.0, dt=1.0, engine="native", threads=1,
                      progress=False, spike_times=sys.argv[3])
    trainer.fit(events, epochs=1)
    trainer.close()

folder, kind, n, samples = Path(sys.argv[1]), sys.argv[2], 10_000, 800
times, channels = np.sort(np.random.default_rng(0).uniform(0, 99, n)), np.arange(n, dtype=np.int32) % 700
fit(Events.from_samples([(times, channels)] * 40, 700, np.arange(40) % 4))  # compiled and warm
start = memory("VmRSS:") if kind == "held" else memory("RssAnon:")
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
if kind == "held":
    events = Events(np.tile(times, samples), np.tile(channels, samples), np.arange(samples + 1) * n, 700,
                    np.arange(samples) % 4)
else:
    with EventsWriter(folder, 700, 4, "large") as writer:
        for _ in range(samples):
            writer.append(times, channels)
        writer.finish(None, np.arange(samples) % 4)
    events = Events.load(folder)
fit(events)
size = 12 * n * samples
# what is mapped belongs to the page cache: only the memory of the process itself counts then
print((memory("VmHWM:") - start) / size if kind == "held" else (memory("RssAnon:") - start) / size)
"""


@pytest.mark.ci
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs /proc (Linux)")
@pytest.mark.parametrize(
    ("kind", "spike_times", "most"), [("held", "grid", 1.5), ("held", "exact", 1.5), ("mapped", "grid", 0.3)]
)
def test_training_needs_little_more_than_the_events(tmp_path: Path, kind: str, spike_times: str, most: float) -> None:
    """96 MB of events: a training holds them and one step a spike; of a mapped set it holds some batches only."""
    command = [sys.executable, "-P", "-c", TRAIN, str(tmp_path / "large"), kind, spike_times]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < most
