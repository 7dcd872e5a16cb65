"""Memory and time of a data set of the size of Spiking Speech Commands, from its HDF5 file to a trained epoch.

    python benchmarks/large_set.py --folder /tmp/large            # 75,466 samples, hundreds of millions of events
    python benchmarks/large_set.py --folder /tmp/large --samples 2000

Writes a synthetic file in the SHD layout (kept, so that a second call begins with the conversion), converts it through
the cache into memory-mapped events, counts statistics, and trains one epoch with shift 40 in batches of 32 on a small
recurrent network. Every stage runs in a process of its own, which tells the peak of its own memory (anonymous pages,
what cannot be given back) and of all that was resident (with pages of mapped files, which the system takes back when
it needs them).
"""

from __future__ import annotations

import multiprocessing
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.data.augment.augmented import Augmented
from genn_eventprop.data.augment.steps import Shift
from genn_eventprop.data.open import open_events
from genn_eventprop.data.readers import hdf5
from genn_eventprop.losses import IntegratedVoltageCrossEntropy
from genn_eventprop.models import LI, LIF
from genn_eventprop.optimisers import Adam


@dataclass(frozen=True)
class Settings:
    """Size of the set.

    Args:
        folder: Where the file and its conversion go (12 bytes an event, and 4 in the file).
        samples: Recordings; SSC's training set has 75,466.
        events: Mean number of spikes of a recording.
        hidden: Recurrent neurons of the network.
        threads: Of the engine.
    """

    folder: Path
    samples: int = 75_466
    events: int = 6000
    hidden: int = 64
    threads: int = 1

    @property
    def file(self) -> Path:
        return self.folder / f"synthetic_{self.samples}_{self.events}.h5"

    def events_of_file(self) -> Events:
        return open_events(self.file, progress=False, cache=self.folder / "cache")[0]


def write(s: Settings) -> str:
    """Random spikes, 700 channels, 35 classes."""
    if s.file.exists():
        return "the file is there already"
    rng = np.random.default_rng(0)

    def rows() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for n in rng.poisson(s.events, s.samples):
            yield np.sort(rng.integers(0, 1000, n)) * 1.0, rng.integers(0, 700, n)

    labels = np.arange(s.samples) % 35
    s.folder.mkdir(parents=True, exist_ok=True)
    hdf5.write_rows(s.file, rows(), 700, labels, None, [str(k) for k in range(35)], np.float16)
    return f"{s.file.stat().st_size / 1e9:.2f} GB"


def convert(s: Settings) -> str:
    events = s.events_of_file()
    return f"{events}, mapped: {events.mapped}, {12 * len(events.times) / 1e9:.2f} GB"


def count(s: Settings) -> str:
    return str(s.events_of_file().statistics()).splitlines()[0]


def train(s: Settings) -> str:
    events = s.events_of_file()
    net = Network()
    source, hidden = net.input(700), net.population(LIF(), s.hidden, name="hidden")
    output = net.population(LI(), 35, name="output")
    net.connect(source, hidden, Dense(Normal(0.03, 0.01)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.02)))
    net.connect(hidden, output, Dense(Normal(0.0, 0.1)))
    loss = IntegratedVoltageCrossEntropy(output)
    trainer = Trainer(net, loss, duration=1000.0, dt=1.0, engine="native", threads=s.threads, optimiser=Adam(1e-3))
    trainer.fit(Augmented(events, [Shift(40)], seed=1), epochs=1)
    return f"{trainer.state.seconds:.0f} s per epoch"


def watched(stage: Callable[[Settings], str], s: Settings) -> str:
    """Run one stage and tell its time and peak memory."""
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            peak[0] = max(peak[0], memory("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    try:
        told = stage(s)
    finally:
        done.set()
        watcher.join()
    seconds = time.perf_counter() - began
    own, resident = peak[0], memory("VmHWM")
    return f"{stage.__name__:8} {seconds:6.0f} s  own memory {own:.2f} GB, resident {resident:.2f} GB  {told}"


def memory(name: str) -> float:
    """GB; Linux only."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) * 1024 / 1e9


def main() -> int:
    s = tyro.cli(Settings, description=__doc__)
    for stage in (write, convert, count, train):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            print(pool.submit(watched, stage, s).result(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
