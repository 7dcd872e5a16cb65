"""Memory of an event camera's recording that does not fit: a file in EVT 2, opened for training on recordings.

    python benchmarks/camera_file.py [--gigabytes 1.5] [--folder FOLDER]

Random events of a sensor of 640 x 480 pixels are written as 32-bit words. Another process opens the file with
`open_recordings`, which converts it once, and reads the spikes of a second, then opens it again. It tells the peak of
its own memory (anonymous pages), with Python and everything that was imported.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from genn_eventprop.data.events.chunks import chunks
from genn_eventprop.data.readers.recordings import open_recordings

SIZE, POOL = (640, 480), 16
CHANNELS = 2 * (SIZE[0] // POOL) * (SIZE[1] // POOL)
HEADER = b"% evt 2.0\n% geometry 640x480\n% end\n"
TICKS, EVENTS = 1 << 14, 32
"""Words of time of a block, one each 64 us, and events behind each."""


def write(file: Path, gigabytes: float) -> int:
    """The number of events that were written."""
    rng, first, written = np.random.default_rng(1), 0, 0
    with open(file, "wb") as out:
        out.write(HEADER)
        while out.tell() < gigabytes * 1e9:
            words = np.empty((TICKS, 1 + EVENTS), np.uint32)
            words[:, 0] = 8 << 28 | np.arange(first, first + TICKS)
            fine = np.sort(rng.integers(0, 64, (TICKS, EVENTS), np.uint32))
            x, y, p = (rng.integers(0, n, (TICKS, EVENTS), np.uint32) for n in (*SIZE, 2))
            words[:, 1:] = p << 28 | fine << 22 | x << 11 | y
            out.write(words.data)
            first, written = first + TICKS, written + TICKS * EVENTS
    return written


def own_memory() -> float:
    """MB of anonymous pages."""
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) / 1000


def measure(file: Path) -> None:
    """In this process: conversion, a second of the recording, and the second time."""
    peak, done = [own_memory()], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], own_memory())

    threading.Thread(target=watch, daemon=True).start()
    for what in ("converted and opened", "opened again"):
        began = time.process_time()
        there = open_recordings(file, CHANNELS)
        cut = chunks(there, 1000.0, 1.0)
        last = len(cut[len(cut) // 2].times)
        print(
            f"{what}: {len(there.times):,} spikes, {len(cut)} chunks of a second ({last:,} spikes in one), "
            f"{time.process_time() - began:.0f} s of processor time; peak memory {peak[0]:.0f} MB",
            flush=True,
        )
    done.set()


def main() -> None:
    """Write the file, then measure in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        measure(args.child)
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        file = Path(folder) / "night.raw"
        events = write(file, args.gigabytes)
        print(f"{events:,} events, {file.stat().st_size / 1e9:.2f} GB", flush=True)
        own = os.environ | {"GENN_EVENTPROP_DATA_CACHE": str(Path(folder) / "cache")}
        subprocess.run([sys.executable, __file__, "--child", str(file)], check=True, env=own)


if __name__ == "__main__":
    main()
