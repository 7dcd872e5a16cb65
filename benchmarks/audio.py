"""The inner-ear model: its speed on one core, and how well its spikes agree with the published converter's.

    python benchmarks/audio.py --data-dir ../shared/data

Speed is CPU time of one process, single-threaded, after the filter bank has been made, so that a busy machine disturbs
little. The given spikes (FSDD through the converter behind SHD) are compared with ours of the same recordings by their
rates, recording by recording and channel by channel.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # before NumPy is loaded

import numpy as np  # noqa: E402
import tyro  # noqa: E402

from genn_eventprop.data import Events  # noqa: E402
from genn_eventprop.data.audio import inner_ear  # noqa: E402
from genn_eventprop.data.readers import fsdd, locate  # noqa: E402


def rates(events: Events, seconds: np.ndarray) -> np.ndarray:
    """(S, 700) spikes a second of every channel in every recording."""
    counts = np.zeros((len(events), events.n_channels))
    np.add.at(counts, (events.sample_of_event, events.channels), 1)
    return counts / seconds[:, None]


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(x.ravel(), y.ravel())[0, 1])


def given_spikes(path: Path, files: list[Path]) -> Events:
    """The given spikes of these recordings, DIGIT_SPEAKER_INDEX.wav."""
    with np.load(path, allow_pickle=False) as file:
        keys = list(zip(file["labels"].tolist(), file["speaker"].tolist(), file["index"].tolist(), strict=True))
    words = [file.stem.split("_") for file in files]
    return fsdd.load(path)[[keys.index((int(digit), speaker, int(index))) for digit, speaker, index in words]]


def main(data_dir: Path | None = None) -> int:
    """Print a line of speed for each folder of recordings, and the correlations."""
    folder = locate.locate(data_dir, "fsdd", source="the Free Spoken Digit Dataset")
    for wavs in (folder / "wav", folder.parent / "speech_commands_wav"):
        files = inner_ear.recordings(wavs)[0]
        sounds = [inner_ear.read_wav(path) for path in files]
        inner_ear.to_events(sounds[:1])  # the filter bank is made once a process
        began = time.process_time()
        ours = inner_ear.to_events(sounds)
        taken = time.process_time() - began
        seconds = np.array([len(sound) / rate for sound, rate in sounds])
        print(
            f"{wavs.name}: {len(files)} recordings of {sounds[0][1]} Hz, {seconds.sum():.1f} s of sound in "
            f"{taken:.1f} s of one core, {seconds.sum() / taken:.1f} times faster than real time"
        )
        again = inner_ear.to_events(sounds)
        print(f"  twice the same: {np.array_equal(ours.times, again.times) and len(ours.times)} spikes", flush=True)
        if wavs.parent == folder:
            compare(rates(ours, seconds), rates(given_spikes(folder / "fsdd_spikes_700ch.npz", files), seconds))
    return 0


def compare(ours: np.ndarray, given: np.ndarray) -> None:
    """Print how (S, 700) rates agree."""
    each = [correlation(a, b) for a, b in zip(ours, given, strict=True)]
    print(
        f"  rates of every channel and recording correlate at {correlation(ours, given):.3f}\n"
        f"  mean rates of the channels at {correlation(ours.mean(axis=0), given.mean(axis=0)):.3f}\n"
        f"  channels within a recording: mean {np.mean(each):.3f}, worst {min(each):.3f}\n"
        f"  spikes in all: {ours.sum() / given.sum():.3f} of the given ones",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(tyro.cli(main, description=__doc__))
