"""Files to predict from: one way in for recordings and data sets, with a name for each sample."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from ..errors import DataError
from ..home import expanded
from ..output import say
from .audio import inner_ear
from .events.events import Events
from .events.storage import open_npz
from .readers import fsdd, hdf5
from .sources import KINDS

PATIENCE = 2.0
"""Seconds after which a search for samples is told."""
RECORDINGS = 32
"""Recordings that are handed on together."""
HDF5 = (".h5", ".hdf5")
DATA_SETS = (*HDF5, ".npz")


def open_samples(paths: Iterable[str | Path], n_channels: int) -> Iterator[tuple[list[str], Events]]:
    """(names, Events) of the samples of all files, in the order given; recordings a few at a time.

    A recording goes through the inner-ear model alone, with random numbers of its own: its spikes are the same whatever
    lies beside it.

    Args:
        paths: wav files, HDF5 files in the SHD layout, npz files, folders of events, and folders (however deep) of wav
            files or, where there are none, of HDF5 and npz files.
        n_channels: of the data, for the files that do not say it.

    Raises:
        DataError: a file that is absent, damaged or of another kind.
    """
    recordings: list[Path] = []
    for path in (f for p in paths for f in files_of(expanded(p))):
        if path.suffix.lower() == ".wav":
            recordings.append(path)
            continue
        yield from heard(recordings)
        recordings = []
        events = opened(path, n_channels)
        yield [f"{path.name}[{i}]" for i in range(len(events))], events
    yield from heard(recordings)


def files_of(path: Path) -> list[Path]:
    """What to read of a folder that holds no events itself: recordings, or else the data sets in it; anything else
    stays itself.

    Raises:
        DataError: a folder with neither.
    """
    if not path.is_dir() or (path / "events.json").is_file():
        return [path]
    _refuse_home(path)
    there = _files_below(path)
    for suffixes in ((".wav",), DATA_SETS):
        if found := [p for p in there if p.suffix.lower() in suffixes]:
            return found
    raise DataError(f"{path}: no wav, HDF5 or npz files in it, and it is not a folder of events")


def _refuse_home(path: Path) -> None:
    """Raise `DataError` for a home folder and the root: nobody means all that is in there."""
    places = [Path("/")]
    with contextlib.suppress(RuntimeError):  # no home folder
        places.append(Path.home())
    if path.resolve() in [place.resolve() for place in places]:
        raise DataError(f"{path}: a whole home folder or file system; name the folder of the samples in it")


def _files_below(path: Path) -> list[Path]:
    """All files, in order; a search that takes long is told."""
    found, began, told = list[Path](), time.monotonic(), False
    for p in path.rglob("*"):
        if p.is_file():
            found.append(p)
        if not told and time.monotonic() - began > PATIENCE:
            told = True
            say(f"note: looking for samples in all folders below {path}, {len(found):,} files so far")
    return sorted(found)


def heard(files: list[Path]) -> Iterator[tuple[list[str], Events]]:
    """Recordings as spikes of the inner-ear model."""
    rest = iter(files)
    while part := list(islice(rest, RECORDINGS)):
        yield [p.name for p in part], Events.concatenate([inner_ear.to_events([inner_ear.read_wav(p)]) for p in part])


def opened(path: Path, n_channels: int) -> Events:
    """A data set in one file, or a folder of events."""
    if path.suffix.lower() in HDF5:
        return hdf5.read_shd(path, n_channels)
    if path.suffix == ".npz":
        with open_npz(path) as file:
            is_fsdd = "ticks" in file.files
        return fsdd.load(path) if is_fsdd else Events.load(path)
    if path.is_dir():
        return Events.load(path)
    what = "not a known kind of data" if path.exists() else "does not exist"
    raise DataError(f"{path}: {what}; give wav files, {'; '.join(KINDS)}")
