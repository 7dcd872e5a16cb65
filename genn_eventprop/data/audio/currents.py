"""Sound as currents: the wave itself, a mel spectrogram, or what the hair cells of the inner-ear model let through.

All three take (samples, rate in Hz) pairs, as `inner_ear.read_wav` reads them, and `read_folder` takes a folder of wav
files in the layouts of `inner_ear.recordings`. They are deterministic, unlike the spikes of the inner-ear model.

Axis letters: T steps, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from ...output import stderr
from ..currents.currents import Currents
from . import cochlea, hair_cell
from .inner_ear import Ear, permeability, prepare, read_wav, recordings

Sounds = Iterable[tuple[np.ndarray, int]]


def wave(sounds: Sounds, name: str = "", **annotations: Any) -> Currents:
    """The sound as it is, one channel whose dt is that of the recording: 0.125 ms at 8 kHz.

    16-bit recordings have values from -32768 to 32767, as in the file: scale them by the weights, or with
    ``currents.replace(currents.values / 32768)``.

    Raises:
        DataError: recordings of different rates.
    """
    arrays, rates = list[np.ndarray](), list[int]()
    for i, (sound, rate) in enumerate(sounds):
        if rates and rate != rates[0]:
            raise DataError(f"sound {i} has {rate} Hz, sound 0 has {rates[0]} Hz; resample one of them")
        arrays.append(np.asarray(sound)[:, None])
        rates.append(rate)
    return Currents.from_samples(arrays, 1000.0 / rates[0] if rates else 1.0, name, **annotations)


def mel(
    sounds: Sounds, name: str = "", *, bands: int = 40, dt: float = 10.0, window: float = 25.0, lowest: float = 60.0,
    highest: float = 4000.0, range_db: float = 60.0, **annotations: Any,
) -> Currents:  # fmt: skip
    """Log-mel spectrograms, from 0 (`range_db` below the loudest band and time of the recording) to 1 (the loudest).

    The power of frames of `window` ms (Hann), one every `dt` ms and centred in its value, in triangular bands that are
    equally wide on the mel scale, 2595 log10(1 + f / 700) (O'Shaughnessy 1987); then, at least 0,
    1 + 10 log10(P / max P) / range_db. Frequencies above half the rate of a recording are silent.

    Raises:
        DataError: settings out of range.
    """
    if bands < 1 or not 0 < dt or not 0 < window or not 0 <= lowest < highest or not range_db > 0:
        raise DataError(
            f"mel needs bands >= 1, dt, window and range_db > 0, 0 <= lowest < highest; got bands={bands}, dt={dt}, "
            f"window={window}, range_db={range_db}, lowest={lowest}, highest={highest}"
        )
    arrays = [_mel(np.asarray(s, np.float64), r, bands, dt, window, lowest, highest, range_db) for s, r in sounds]
    return Currents.from_samples(arrays, dt, name, **annotations)


def _mel(
    sound: np.ndarray, rate: int, bands: int, dt: float, window: float, lowest: float, highest: float, range_db: float
) -> np.ndarray:
    """(T, bands) of one recording."""
    width = max(2, round(window * rate / 1000))
    steps = int(np.ceil(1000 * len(sound) / rate / dt))
    middle = np.round((np.arange(steps) + 0.5) * dt * rate / 1000).astype(np.int64)
    padded = np.concatenate([np.zeros(width), sound, np.zeros(2 * width + int(dt * rate / 1000))])
    frames = padded[(middle + width - width // 2)[:, None] + np.arange(width)]
    power = np.abs(np.fft.rfft(frames * np.hanning(width + 2)[1:-1], axis=1)) ** 2
    energy = power @ _filters(bands, width, rate, lowest, highest).T
    loudest = energy.max(initial=0.0)
    if loudest == 0:
        return np.zeros((steps, bands), np.float32)
    with np.errstate(divide="ignore"):
        level = 1 + 10 * np.log10(energy / loudest) / range_db
    return np.maximum(level, 0.0).astype(np.float32)


@lru_cache(maxsize=8)
def _filters(bands: int, width: int, rate: int, lowest: float, highest: float) -> np.ndarray:
    """(bands, width // 2 + 1) weights of frequencies; those of a band add up to 1."""
    mel_of = lambda f: 2595 * np.log10(1 + np.asarray(f) / 700)  # noqa: E731
    edges = 700 * (10 ** (np.linspace(mel_of(lowest), mel_of(highest), bands + 2) / 2595) - 1)
    f = np.fft.rfftfreq(width, 1 / rate)
    rising = (f - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - f) / (edges[2:] - edges[1:-1])[:, None]
    weights = np.maximum(np.minimum(rising, falling), 0.0)
    narrow = (weights.sum(1) == 0) & (edges[1:-1] <= rate / 2)  # no frequency of the transform lies in the band
    weights[narrow, np.abs(f - edges[1:-1, None]).argmin(1)[narrow]] = 1.0
    total = weights.sum(1, keepdims=True)
    return np.asarray(weights / np.where(total > 0, total, 1.0))


def hair_cells(
    sounds: Sounds, name: str = "", *, dt: float = 10.0, merge: int = 10, ear: Ear | None = None, **annotations: Any
) -> Currents:
    """What the hair cells of the inner-ear model let through: half-wave rectified and compressed, before adaptation
    and spikes.

    Permeability k(t) of `hair_cell` over that in silence, less 1, as the mean over `merge` neighbouring places of the
    700 and over `dt` ms: 0 in silence, about 2 at the loudest places of speech. Channel 0 is the highest frequency.

    Args:
        dt: ms, a whole number of steps of 1/4 ms. ear: settings of the inner ear.

    Raises:
        DataError: a dt or merge that does not fit.
    """
    ear = ear or Ear()
    each = dt * hair_cell.RATE / 1000
    if not each >= 1 or abs(each - round(each)) > 1e-9:
        raise DataError(f"hair_cells: dt must be a whole number of steps of {1000 / hair_cell.RATE:g} ms, got {dt!r}")
    if not 1 <= merge <= ear.membrane.n_channels or ear.membrane.n_channels % merge:
        raise DataError(f"hair_cells: merge must divide {ear.membrane.n_channels} channels, got {merge!r}")
    arrays = [_hair_cells(s, r, round(each), merge, ear, f"sound {i}") for i, (s, r) in enumerate(sounds)]
    return Currents.from_samples(arrays, dt, name, **annotations)


def _hair_cells(sound: np.ndarray, rate: int, each: int, merge: int, ear: Ear, where: str) -> np.ndarray:
    """(T, C) of one recording."""
    prepared = prepare(sound, rate, ear, where)
    rest = ear.cell.gain * ear.cell.a / (ear.cell.a + ear.cell.b)
    relative = permeability(prepared, ear, min(rate, cochlea.RATE) / 2) / np.float32(rest) - 1
    steps = -(-len(relative) // each)
    padded = np.zeros((steps * each, relative.shape[1]), np.float32)
    padded[: len(relative)] = relative
    return np.maximum(padded.reshape(steps, each, -1, merge).mean(axis=(1, 3)), 0.0)


def read_folder(
    folder: str | Path, encode: Callable[..., Currents] = mel, progress: bool = False, **settings: Any
) -> tuple[Currents, list[str]]:
    """(Currents, class names) of a folder of wav files; see `inner_ear.recordings` for classes and speakers (groups).

    Args:
        encode: `wave`, `mel` or `hair_cells`, with `settings` of it.

    Example:
        >>> digits, names = read_folder("free-spoken-digit-dataset/recordings", mel, bands=40, dt=10.0)
    """
    from tqdm import tqdm

    files, labels, speakers, names = recordings(folder)
    sounds = (read_wav(path) for path in tqdm(files, desc="listening", disable=not progress, file=stderr()))
    annotations = {"labels": labels, "groups": speakers, "n_classes": len(names)}
    return encode(sounds, Path(folder).name, **annotations, **settings), names
