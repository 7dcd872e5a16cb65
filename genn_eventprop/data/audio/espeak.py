"""Spoken digits without a download: a text-to-speech program says them, an inner-ear model hears them.

English and German digits as in the Spiking Heidelberg Digits, in any number of voices, speeds and pitches. The voices
are those of one program (espeak-ng, a formant synthesiser), which says a word always the same way. They stand in for
recordings where there are none, to learn with and to test with at full size; an accuracy on them says little about
speech.
"""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ...errors import DataError, suggest
from ...output import stderr
from ..readers.hdf5 import write_rows
from .inner_ear import Converted, Ear, read_wav, spikes_of_sounds

PROGRAM = "espeak-ng"
WORDS = {
    "en": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "de": ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"),
}
"""Language -> words of the digits; a class each, English first."""
VOICES = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f3", "f4", "f5")
QUIET = 0.01
"""Of the largest amplitude: what is quieter at either end of a word is cut off, but for 10 ms."""


@dataclass(frozen=True)
class Saying:
    """One word to be said: class, language, variant of the voice, words per minute, pitch from 0 to 99."""

    label: int
    word: str
    language: str
    voice: str
    speed: int
    pitch: int


def class_names() -> list[str]:
    """The words, in the order of their labels."""
    return [word for words in WORDS.values() for word in words]


def sayings(voices: Sequence[str], speeds: Sequence[int], pitches: Sequence[int], seed: int) -> list[Saying]:
    """Every word with every voice, speed and pitch, in random order."""
    words = [(language, word) for language, words in WORDS.items() for word in words]
    combinations = [
        Saying(label, word, language, *how)
        for label, (language, word) in enumerate(words)
        for how in itertools.product(voices, speeds, pitches)
    ]
    return [combinations[i] for i in np.random.default_rng(seed).permutation(len(combinations))]


def installed() -> str:
    """The path of the program.

    Raises:
        DataError: it is not installed.
    """
    path = shutil.which(PROGRAM)
    if path is None:
        raise DataError(
            f"{PROGRAM} is not installed: on Debian and Ubuntu, apt install espeak-ng (package espeak-ng); "
            "elsewhere see github.com/espeak-ng/espeak-ng"
        )
    return path


def check_voices(voices: Sequence[str]) -> None:
    """Raises `DataError` for a voice that the program does not have: without a message, it would use its own."""
    told = _run([installed(), "--voices=variant"]).stdout.decode(errors="replace")
    known = set(re.findall(r"!v/(\S+)", told))
    for voice in voices:
        if voice not in known:
            raise DataError(f"{PROGRAM} has no voice {voice!r} ({suggest(voice, sorted(known))})")
    if len(set(voices)) < len(voices):
        raise DataError("a voice is named twice")


def say(program: str, saying: Saying, file: Path) -> tuple[np.ndarray, int]:
    """(samples, rate in Hz) of a word, without the silence before and after it; `file` is overwritten.

    Raises:
        DataError: the program failed, or said nothing.
    """
    voice = f"{saying.language}+{saying.voice}"
    _run([program, "-v", voice, "-s", str(saying.speed), "-p", str(saying.pitch), "-w", str(file), saying.word])
    sound, rate = read_wav(file)
    loud = np.flatnonzero(np.abs(sound) > QUIET * np.abs(sound).max(initial=0.0))
    if not len(loud):
        raise DataError(f"{PROGRAM} produced no sound for {saying.word!r} with voice {voice}")
    margin = rate // 100
    return sound[max(0, loud[0] - margin) : loud[-1] + 1 + margin], rate


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, capture_output=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        told = getattr(error, "stderr", b"") or b""
        raise DataError(f"{PROGRAM} failed ({error}) {told.decode(errors='replace').strip()}".strip()) from error


def write_words(
    out: Path, words: Sequence[Saying], ear: Ear | None = None, seed: int = 0, progress: bool = True
) -> Converted:
    """Say and hear the words, and write them in the SHD layout; the voice is the speaker.

    Raises:
        DataError: the program is missing or fails, or the file cannot be written; then nothing is left behind.
    """
    from tqdm import tqdm

    ear, program, total = ear or Ear(), installed(), [0.0, 0]

    def sounds(folder: Path) -> Iterator[tuple[np.ndarray, int]]:
        for saying in tqdm(words, desc=out.name, unit="word", disable=not progress, dynamic_ncols=True, file=stderr()):
            sound, rate = say(program, saying, folder / "word.wav")
            total[0] += len(sound) / rate
            yield sound, rate

    def rows(folder: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for times, channels in spikes_of_sounds(sounds(folder), ear, seed):
            total[1] += len(times)
            yield times, channels

    labels, voices = np.array([s.label for s in words]), np.array([s.voice for s in words])
    with TemporaryDirectory() as folder:
        write_rows(out, rows(Path(folder)), ear.membrane.n_channels, labels, voices, class_names())
    speakers = tuple(np.unique(voices).tolist())
    return Converted(len(words), total[0], int(total[1]), tuple(class_names()), speakers)
