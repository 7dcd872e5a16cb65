"""A data set larger than what may be held in memory: written, read and cut into batches piece by piece."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from genn_eventprop.data import Events
from genn_eventprop.data.augment import Shift
from genn_eventprop.data.augmented import Augmented
from genn_eventprop.data.storage import EventsWriter

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
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / "large")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "large" / "times.f8").stat().st_size == 8 * 40_000_000
    assert float(done.stdout) < 120.0
