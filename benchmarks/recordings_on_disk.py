"""Memory of an epoch with exact gradients on a recording that does not fit: an HDF5 file, read piece by piece.

    python benchmarks/recordings_on_disk.py [--minutes 60] [--channels 700] [--rate 50] [--file FILE]

Poisson spikes (Hz a channel) are written to the file second by second; another process then trains 64 recurrent LIF
neurons and 10 outputs on it, a label for every second, in steps of 1 ms. Memory is the peak of that process (VmHWM),
with Python and everything that was imported.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from genn_eventprop import Dense, Network, Normal, Trainer
from genn_eventprop.data.events.chunks import chunks
from genn_eventprop.data.readers.recordings import open_recordings
from genn_eventprop.losses import IntegratedVoltageCrossEntropy
from genn_eventprop.models import LI, LIF

SECOND = 1000.0


def write(file: Path, seconds: int, channels: int, rate: float) -> int:
    """The number of spikes that were written."""
    rng = np.random.default_rng(1)
    with h5py.File(file, "w") as out:
        rows = {
            name: out.create_dataset(name, (0,), kind, maxshape=(None,), chunks=(1 << 16,))
            for name, kind in (("times", np.float64), ("channels", np.int16))
        }
        for second in range(seconds):
            size = rng.poisson(channels * rate)
            new = {"times": second + np.sort(rng.random(size)), "channels": rng.integers(0, channels, size)}
            for name, values in new.items():
                rows[name].resize(len(rows[name]) + size, 0)
                rows[name][-size:] = values
        return len(rows["times"])


def train(file: Path, seconds: int, channels: int, memory: str) -> None:
    """An epoch, and what it took."""
    began = time.process_time()
    labels = np.random.default_rng(2).integers(0, 10, (1, seconds))
    cut = chunks(open_recordings(file, channels, unit="s"), SECOND, 1.0, length=seconds * SECOND, labels=labels)
    print(f"{len(cut.times):,} spikes, {len(cut)} chunks: opened in {time.process_time() - began:.0f} s")
    net = Network()
    source, hidden = net.input(channels), net.population(LIF(tau_mem=20.0, tau_syn=5.0), 64, name="hidden")
    output = net.population(LI(tau_mem=20.0), 10, name="output")
    net.connect(source, hidden, Dense(Normal(0.01, 0.05)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.1)), delay=1.0)
    net.connect(hidden, output, Dense(Normal(0.0, 0.2)))
    trainer = Trainer(
        net, IntegratedVoltageCrossEntropy(output), duration=SECOND, dt=1.0, carry="exact", memory=memory, batch_size=1
    )
    began = time.process_time()
    trainer.fit(cut, epochs=1)
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) / 1000
    print(f"an epoch: {time.process_time() - began:.0f} s of processor time; peak memory {peak:.0f} MB")


def main() -> None:
    """Write the file, then train in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--channels", type=int, default=700)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--memory", default="200 MB")
    parser.add_argument("--file", type=Path)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    seconds = round(60 * args.minutes)
    if args.child:
        train(args.file, seconds, args.channels, args.memory)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = args.file or Path(folder) / "recording.h5"
        spikes = write(file, seconds, args.channels, args.rate)
        print(f"{spikes:,} spikes, {file.stat().st_size / 1e6:.0f} MB", flush=True)
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--file", str(file), "--child"], check=True)


if __name__ == "__main__":
    main()
