"""Spoken words from audio: wav files to spikes of an inner-ear model, as in the Spiking Heidelberg Digits.

sound -> 48 kHz, one loudness, soft ends -> basilar membrane (cochlea) -> hair cells, fibres, bushy cells (hair_cell).
The same model and parameters as the published converter (Cramer et al. 2020), in steps of 1/4 ms and vectorised over
channels and recordings. Channel 0 is the highest frequency.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np

from ...errors import DataError
from ...output import stderr
from ..events.events import Events
from ..optional import require
from ..readers.hdf5 import write_rows
from . import cochlea, hair_cell

LOWEST_RATE, HIGHEST_RATE = 1000, 400_000
"""Hz of a recording."""
RECORDINGS_AT_ONCE = 8
"""Recordings that go through the hair cells side by side (memory: about 120 MB for one second each)."""


@dataclass(frozen=True)
class Ear:
    """Settings of the whole chain."""

    membrane: cochlea.Membrane = cochlea.Membrane()
    cell: hair_cell.HairCell = hair_cell.HairCell()
    level: float = 0.3
    """Root mean square that every recording is scaled to."""
    ramp: float = 30.0
    """ms of fade-in and fade-out."""


def read_wav(path: str | Path) -> tuple[np.ndarray, int]:
    """(samples as float64, channels averaged; rate in Hz) of a PCM or float wav file.

    Raises:
        DataError: absent, not a wav file, cut short, or of another encoding.
    """
    wavfile = require("scipy.io.wavfile", "wav files")
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        _check_form(path)
        with warnings.catch_warnings():
            warnings.simplefilter("error", wavfile.WavFileWarning)
            warnings.filterwarnings("ignore", "Chunk \\(non-data\\)", wavfile.WavFileWarning)
            rate, data = wavfile.read(path)
    except (
        ValueError, TypeError, OSError, EOFError, ArithmeticError, LookupError, MemoryError, UnboundLocalError,
        struct.error, wavfile.WavFileWarning,
    ) as error:  # fmt: skip
        raise DataError(
            f"{path}: not a readable wav file ({error}); download it again, or convert it to 16-bit PCM"
        ) from error
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise DataError(f"{path}: a sampling rate of {rate} Hz is implausible for speech; give the true rate")
    if data.dtype == np.uint8:
        data = data.astype(np.float64) - 128.0
    samples = np.asarray(data, np.float64)
    if not np.isfinite(samples).all():
        raise DataError(
            f"{path}: sample {int(np.argwhere(~np.isfinite(samples))[0][0])} is not finite; record it again"
        )
    return (samples.mean(axis=1) if samples.ndim == 2 else samples), int(rate)


def _check_form(path: Path) -> None:
    """Raise `ValueError` for a wav file without channels or bits, which its reader would take for something."""
    with open(path, "rb") as file:
        file.seek(12)  # RIFF, size, WAVE
        while len(head := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", head)
            if name == b"fmt ":
                channels, bits = struct.unpack("<2xH10xH", file.read(16))
                if not channels or not bits:
                    raise ValueError(f"it has {channels} channels of {bits} bits")
                return
            file.seek(size + size % 2, 1)


def prepare(sound: np.ndarray, rate: int, ear: Ear, where: str) -> np.ndarray:
    """The sound at cochlea.RATE with the ear's loudness and soft ends; silence stays silence."""
    signal = require("scipy.signal", "inner-ear models")
    sound = np.asarray(sound, np.float64)
    if sound.ndim != 1 or not np.isfinite(sound).all():
        raise DataError(f"{where}: sound must be one-dimensional and finite")
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise DataError(f"{where}: a sampling rate of {rate} Hz is implausible for speech; give the true rate")
    common = gcd(int(rate), cochlea.RATE)
    sound = signal.resample_poly(sound, cochlea.RATE // common, int(rate) // common) if len(sound) else sound
    loudness = np.sqrt(np.mean(sound**2)) if len(sound) else 0.0
    if loudness == 0:
        return np.zeros(len(sound))
    ends = min(int(ear.ramp * 1e-3 * cochlea.RATE), len(sound) // 2)
    window = np.ones(len(sound))
    window[:ends] = 0.5 - 0.5 * np.cos(np.pi * np.arange(ends) / max(ends, 1))
    window[len(sound) - ends :] = window[:ends][::-1]
    return sound * (ear.level / loudness) * window


def permeability(sound: np.ndarray, ear: Ear, highest: float) -> np.ndarray:
    """(T, C) hair-cell permeability of a prepared sound without frequencies above `highest` (Hz)."""
    steps = len(sound) // (cochlea.RATE // hair_cell.RATE)
    k = np.empty((steps, ear.membrane.n_channels), np.float32)
    for band in cochlea.bands(ear.membrane, hair_cell.RATE, highest):
        speed = cochlea.velocity(band, sound)
        k[:, band.channels] = hair_cell.permeability(ear.cell, speed, band.rate)[:, :steps].T
    return k


def spikes_of_sounds(
    sounds: Iterable[tuple[np.ndarray, int]], ear: Ear, seed: int, first: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(times in ms, channels) of each (samples, rate); random numbers belong to (seed, first + position) alone."""
    waiting: list[np.ndarray] = []
    position = first
    for n, (sound, rate) in enumerate(sounds):
        prepared = prepare(sound, rate, ear, f"sound {first + n}")
        waiting.append(permeability(prepared, ear, min(rate, cochlea.RATE) / 2))
        if len(waiting) == RECORDINGS_AT_ONCE:
            yield from spikes_of_nerve(waiting, ear, seed, position)
            position += len(waiting)
            waiting = []
    if waiting:
        yield from spikes_of_nerve(waiting, ear, seed, position)


def spikes_of_nerve(
    parts: list[np.ndarray], ear: Ear, seed: int, first: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(times in ms, channels) of some recordings at once, from their hair-cell permeabilities (T, C), in their order.

    The longest comes first, so that what is still running at a step is a prefix of all (see `hair_cell.spikes`); the
    random numbers of a recording are a stream of its own, so that its spikes do not depend on the others.
    """
    order = sorted(range(len(parts)), key=lambda b: -len(parts[b]))
    lengths = [len(parts[b]) for b in order]
    k = np.zeros((lengths[0], len(parts), ear.membrane.n_channels), np.float32)
    uniform = np.zeros(k.shape, np.uint16)
    for place, b in enumerate(order):
        k[: lengths[place], place] = parts[b]
        rng = np.random.default_rng([seed, first + b])
        uniform[: lengths[place], place] = rng.integers(0, hair_cell.LEVELS, parts[b].shape, np.uint16)
    fired = hair_cell.spikes(ear.cell, k, uniform, lengths)
    for b, part in enumerate(parts):
        step, channel = np.nonzero(fired[: len(part), order.index(b)])
        yield step * (1000.0 / hair_cell.RATE), channel.astype(np.int32)


def to_events(
    sounds: Iterable[tuple[np.ndarray, int]],
    labels: object = None,
    groups: object = None,
    n_classes: int | None = None,
    ear: Ear | None = None,
    seed: int = 0,
    name: str = "",
) -> Events:
    """Events of (samples, rate in Hz) pairs, one sample each."""
    ear = ear or Ear()
    return Events.from_samples(
        spikes_of_sounds(sounds, ear, seed), ear.membrane.n_channels, labels, groups, n_classes, name
    )


def recordings(folder: str | Path) -> tuple[list[Path], np.ndarray, np.ndarray | None, list[str]]:
    """(files, labels, speakers or None, class names) of a folder of wav files, in a fixed order.

    Two layouts, not both: a sub-folder for each class (CLASS/*.wav, or CLASS/SPEAKER_nohash_NUMBER.wav), or files
    CLASS_SPEAKER_NUMBER.wav or CLASS_NUMBER.wav. Speakers are known for all recordings or for none. Classes are
    numbered in the order of their names (numbers by value).
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    flat = sorted(p for p in folder.iterdir() if p.suffix.lower() == ".wav")
    nested = sorted(
        p for p in folder.glob("*/*") if p.suffix.lower() == ".wav" and not p.parent.name.startswith(("_", "."))
    )
    files = nested or flat
    if not files:
        raise DataError(f"{folder}: no wav files; expected CLASS/*.wav or CLASS_SPEAKER_NUMBER.wav")
    if nested and flat:
        raise DataError(f"{flat[0]}: is next to folders of wav files; move it into the folder of its class")
    words = [p.stem.split("_") for p in files]
    if not nested and min(map(len, words)) < 2:
        bad = next(p for p, w in zip(files, words, strict=True) if len(w) < 2)
        raise DataError(
            f"{bad}: cannot determine the class; name it CLASS_SPEAKER_NUMBER.wav or use a folder for each class"
        )
    classes = [p.parent.name if nested else w[0] for p, w in zip(files, words, strict=True)]
    names = sorted(set(classes), key=lambda c: (not c.isdecimal(), int(c) if c.isdecimal() else 0, c))
    labels = np.array([names.index(c) for c in classes])
    return files, labels, speakers_of(files, bool(nested)), names


def speakers_of(files: list[Path], nested: bool) -> np.ndarray | None:
    """(S,) speakers by the names of the recordings; None if no name tells one."""
    if nested:
        speakers = [p.stem.split("_nohash_")[0] if "_nohash_" in p.stem else "" for p in files]
    else:
        speakers = [words[1] if len(words) > 2 else "" for words in (p.stem.split("_") for p in files)]
    if any(speakers) and not all(speakers):
        bad, good = files[speakers.index("")], next(p for p, s in zip(files, speakers, strict=True) if s)
        raise DataError(
            f"{bad}: cannot determine the speaker, unlike in {good.name}; name all recordings in the same way"
        )
    return np.array(speakers) if all(speakers) else None


def convert_folder(
    folder: str | Path, ear: Ear | None = None, seed: int = 0, progress: bool = False
) -> tuple[Events, list[str]]:
    """(Events, class names) of a folder of wav files; see `recordings` for how classes and speakers are determined."""
    from tqdm import tqdm

    files, labels, speakers, names = recordings(folder)
    sounds = (read_wav(path) for path in tqdm(files, desc="listening", disable=not progress, file=stderr()))
    return to_events(sounds, labels, speakers, len(names), ear, seed, Path(folder).name), names


@dataclass(frozen=True)
class Converted:
    """What `convert_audio` wrote: number of recordings, their length in all (s), spikes, class names, speakers."""

    recordings: int
    seconds: float
    spikes: int
    class_names: tuple[str, ...]
    speakers: tuple[str, ...]


def convert_audio(
    folder: str | Path, out: str | Path, ear: Ear | None = None, seed: int = 0, progress: bool = True
) -> Converted:
    """Convert a folder of wav files to a file in the SHD layout, a few recordings at a time.

    Raises:
        DataError: no or unreadable recordings, or a file that cannot be written; then nothing is left behind.
    """
    from tqdm import tqdm

    require("h5py", "HDF5 files")  # before the work, not after it
    ear = ear or Ear()
    files, labels, speakers, names = recordings(folder)
    total = [0.0, 0]

    def sounds() -> Iterator[tuple[np.ndarray, int]]:
        for path in tqdm(files, desc="listening", unit="wav", disable=not progress, dynamic_ncols=True, file=stderr()):
            sound, rate = read_wav(path)
            total[0] += len(sound) / rate
            yield sound, rate

    def rows() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for times, channels in spikes_of_sounds(sounds(), ear, seed):
            total[1] += len(times)
            yield times, channels

    write_rows(out, rows(), ear.membrane.n_channels, labels, speakers, names)
    known = () if speakers is None else tuple(np.unique(speakers).tolist())
    return Converted(len(files), total[0], int(total[1]), tuple(names), known)
