"""One way in for data that a user points at: the kind of file or folder is detected from its contents."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..home import expanded
from .audio import inner_ear
from .cache import cached
from .events.events import Events
from .events.storage import open_npz, read_array
from .readers import fsdd, hdf5

KINDS = (
    "a folder of wav files (CLASS/*.wav or CLASS_SPEAKER_NUMBER.wav)",
    "an HDF5 file in the SHD layout (.h5, .hdf5)",
    "an npz file of FSDD spikes",
    "a file or folder written by Events.save",
)


def open_events(
    path: str | Path, seed: int = 0, progress: bool = True, cache: Path | None = None
) -> tuple[Events, list[str]]:
    """(Events, class names) of the data at `path`; recordings and HDF5 files are converted once, into the cache.

    Args:
        path: see KINDS.
        seed: random seed of the inner-ear model, for wav files.

    Raises:
        DataError: `path` does not exist, or is not a known kind of data.
    """
    path = expanded(path)
    if path.is_dir() and not (path / "events.json").is_file():
        return _recordings(path, seed, progress, cache)
    if path.suffix.lower() in (".h5", ".hdf5") and path.is_file():
        events = cached(path.stem, [path], {}, lambda folder: hdf5.convert_shd(path, folder), cache)
        return events, numbered(events, hdf5.class_names(path))
    if path.suffix == ".npz" and path.is_file():
        with open_npz(path) as file:
            is_fsdd = "ticks" in file.files
        events = fsdd.load(path) if is_fsdd else Events.load(path)
        return events, numbered(events, [])
    if path.is_dir():
        events = Events.load(path)
        return events, numbered(events, [])
    raise DataError(
        f"{path}: {'not a known kind of data' if path.exists() else 'does not exist'}; give {'; '.join(KINDS)}"
    )


def numbered(events: Events, names: list[str]) -> list[str]:
    """Class names, completed by numbers where the data set has more classes."""
    return names + [str(k) for k in range(len(names), events.n_classes or 0)]


def _recordings(folder: Path, seed: int, progress: bool, cache: Path | None) -> tuple[Events, list[str]]:
    files, _, _, names = inner_ear.recordings(folder)
    ear = inner_ear.Ear()

    def build(path: Path) -> None:
        inner_ear.convert_folder(folder, ear, seed, progress)[0].save(path)

    return cached(folder.name, files, {"ear": asdict(ear), "seed": seed}, build, cache), names


def official_test(path: str | Path) -> np.ndarray | None:
    """(S,) whether a recording belongs to the official test set; None if the file does not say (only FSDD does)."""
    path = expanded(path)
    if path.suffix != ".npz" or not path.is_file():
        return None
    with open_npz(path) as file:
        return np.asarray(read_array(file, "is_test", path), bool) if "is_test" in file.files else None
