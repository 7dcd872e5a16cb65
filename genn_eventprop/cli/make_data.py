"""``make-data spoken_words FOLDER``: a data set in the layout of SHD, made here by a text-to-speech program."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from ..atomic import write_errors, write_text
from ..errors import SettingError, UsageError, check_known
from .options import operand, parse, show_usage


def make_data(arguments: Sequence[str], program: str) -> None:
    """Generate spoken digits by text-to-speech, as spikes in the SHD layout: make-data spoken_words words."""
    kinds = {"spoken_words": _spoken_words}
    if not arguments or arguments[0] in ("-h", "--help"):
        show_usage(
            f"usage: {program} KIND FOLDER [OPTIONS]\n\nKinds: {', '.join(kinds)}\n"
            f"{program} KIND --help lists the options.",
            arguments,
        )
    check_known(arguments[0], kinds, UsageError, f"unknown kind of data {arguments[0]!r} (")
    parse(kinds[arguments[0]], arguments[1:], f"{program} {arguments[0]}")


def _spoken_words(
    folder: Annotated[Path, *operand("FOLDER")],
    voices: tuple[str, ...] = (),
    test_voices: tuple[str, ...] = (),
    speeds: tuple[int, ...] = (130, 160, 190),
    pitches: tuple[int, ...] = (35, 50, 65),
    seed: int = 0,
    as_shd: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> None:
    """Of `make-data spoken_words`.

    Digits in English and German, spoken by espeak-ng and converted by the inner-ear model of SHD: 20 classes.

    Writes spoken_words_train.h5 and spoken_words_test.h5, in which each voice is a speaker. Every word is spoken with
    every voice, speed and pitch; 12 voices, 7 speeds and 6 pitches give as many recordings as SHD has. This is
    synthetic speech, a substitute for learning and testing: accuracies on it cannot be compared with those on SHD.

    Args:
        folder: Folder for the files.
        voices: Voice variants; default: m1 to m7 and f1 to f5. espeak-ng --voices=variant lists more.
        test_voices: Voices that occur only in the test set; default: m7 and f5, the last male and female ones.
        speeds: Words per minute, from 80 to 450.
        pitches: Pitches from 0 to 99.
        seed: Random seed for the order of the words and the release of the hair cells.
        as_shd: Also link the files as SHD/shd_train.h5 and SHD/shd_test.h5, for train shd --data-dir FOLDER.
        overwrite: Replace existing files.
        progress: Show a progress bar.
    """
    from ..data.audio import espeak

    voices = voices or espeak.VOICES
    held_out = test_voices or tuple(v for v in ("m7", "f5") if v in voices)
    _check(voices, held_out, speeds, pitches, seed)
    espeak.check_voices(voices)
    parts = {"train": [v for v in voices if v not in held_out], "test": list(held_out)}
    paths = {part: folder / f"spoken_words_{part}.h5" for part in parts}
    for path in paths.values():
        if path.exists() and not overwrite:
            raise SettingError(f"{path} exists; give another folder, or --overwrite")
    if as_shd:
        check_links(folder)
    for number, (part, said_by) in enumerate(parts.items()):
        began = time.perf_counter()
        words = espeak.sayings(said_by, speeds, pitches, seed + number)
        done = espeak.write_words(paths[part], words, None, seed + number, progress)
        seconds = time.perf_counter() - began
        print(
            f"{paths[part]}: {done.recordings} recordings, {len(done.class_names)} classes, voices "
            f"{' '.join(done.speakers)}, {done.spikes} spikes; {done.seconds:.0f} s of sound in {seconds:.0f} s",
            flush=True,
        )
    if as_shd:
        link_as_shd(folder, paths)


def _check(
    voices: Sequence[str], held_out: Sequence[str], speeds: Sequence[int], pitches: Sequence[int], seed: int
) -> None:
    missing = [voice for voice in held_out if voice not in voices]
    if missing:
        raise SettingError(f"--test-voices: {missing[0]!r} is not among the voices {', '.join(voices)}")
    if not held_out or len(held_out) == len(voices):
        raise SettingError("--test-voices: name at least one of the voices, and leave one for the training set")
    for name, values, low, high in (("speeds", speeds, 80, 450), ("pitches", pitches, 0, 99)):
        if not values or not all(low <= value <= high for value in values):
            raise SettingError(f"--{name}: whole numbers from {low} to {high}, got {' '.join(map(str, values))}")
    if seed < 0:
        raise SettingError(f"--seed must be at least 0, got {seed}")


NOTE = "These are not the Spiking Heidelberg Digits but synthetic speech in their layout (genn-eventprop make-data\n"
NOTE += "spoken_words): links to ../spoken_words_*.h5.\n"


def check_links(folder: Path) -> None:
    """Raise `SettingError` if another file, link or note is where --as-shd writes: the real data set, say."""
    place = folder / "SHD"
    for part in ("train", "test"):
        link = place / f"shd_{part}.h5"
        if os.path.lexists(link) and not (link.is_symlink() and os.readlink(link) == f"../spoken_words_{part}.h5"):
            raise SettingError(f"{link} exists and is no link that make-data made; it is not replaced")
    note = place / "README.txt"
    if os.path.lexists(note) and (not note.is_file() or note.read_bytes() != NOTE.encode()):
        raise SettingError(f"{note} exists and was not written by make-data; it is not replaced")


def link_as_shd(folder: Path, paths: dict[str, Path]) -> None:
    """Under the names that loaders of SHD look for, with a note of what they are."""
    place = folder / "SHD"
    check_links(folder)  # once more: the recordings have taken their time
    with write_errors(place):
        place.mkdir(exist_ok=True)
        for part, path in paths.items():
            link = place / f"shd_{part}.h5"
            link.unlink(missing_ok=True)
            os.symlink(os.path.relpath(path, place), link)
    write_text(place / "README.txt", NOTE)
    print(f"{place}: links to these files for loaders of SHD")
