"""One way in for data that a user points at: the kind of a file or folder is detected from its contents.

`open_events` opens a data set to train on, with its class names; `open_samples` opens whatever a trained model is to
predict from, with a name for each sample. Both read a file of a known kind in the same way (`open_dataset`); they
differ in sound, which the former converts as a whole, with labels from the names of files and folders, and the latter
one recording at a time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..home import expanded
from ..output import say
from .audio import inner_ear
from .cache import cached
from .currents.currents import Currents
from .events.events import Events
from .events.folder import class_folders, read_file, read_folder, reader_of
from .events.storage import CURRENTS, EVENTS, open_npz, read_array
from .inputs import Inputs, load_data
from .readers import arrays, fsdd, hdf5, text, ts

KINDS = (
    "a folder of wav files (CLASS/*.wav or CLASS_SPEAKER_NUMBER.wav)",
    "a folder of event files for each class (CLASS/*.aedat4, .raw, .dat, .csv, ...), or such a file",
    "a folder of CSV files of curves for each class, a line a step",
    "an npz file with X and y (numpy.savez)",
    "an HDF5 file in the SHD layout (.h5, .hdf5)",
    "an npz file of FSDD spikes",
    "a file or folder written by Events.save",
)
TRAIN, TEST = "_TRAIN", "_TEST"
"""In the names of the two files of a data set of the archives."""
SOUND, HDF5, NPZ, CSV = (".wav",), (".h5", ".hdf5"), (".npz",), (".csv",)
"""Suffixes, in lower case."""
EVENT_ARRAYS = ("times", "channels", "offsets")
"""Of an npz file of events."""
BATCH = 32
"""Recordings that `open_samples` hands on together."""
PATIENCE = 2.0
"""Seconds after which a search for samples is reported."""


def open_events(
    path: str | Path, seed: int = 0, progress: bool = True, cache: Path | None = None, reader: str | None = None,
    **options: Any,
) -> tuple[Events, list[str]]:  # fmt: skip
    """(Events, class names) of the data at `path`; recordings and HDF5 files are converted once, into the cache.

    Args:
        path: see KINDS.
        seed: random seed of the inner-ear model, for wav files.
        reader, options: how files of events are read, see `Events.from_folder`.

    Raises:
        DataError: `path` does not exist, or is not a known kind of data.
    """
    path = expanded(path)
    if path.is_dir() and not EVENTS.is_in(path):
        if reader is None and any(file.suffix.lower() in SOUND for file in files_of(path)):
            return _open_recordings(path, seed, progress, cache)
        events, names, _ = read_folder(Events, path, reader, **options)
        return events, names or [str(k) for k in range(events.n_classes or 0)]
    if path.is_file() and (options or reader):
        return read_file(Events, path, reader, **options), []
    if path.suffix.lower() == ts.SUFFIX or _holds_currents(path):
        raise DataError(f"{path}: numbers at every step, which are currents and no events; open_data reads them, and "
                        "genn-eventprop train takes them")  # fmt: skip
    events = open_dataset(
        path,
        lambda file: (
            cached(
                file.stem, [file], {}, lambda folder: hdf5.convert_shd(file, folder, hdf5.channels_shown(file)), cache
            ).events
        ),
    )
    names = hdf5.class_names(path) if path.suffix.lower() in HDF5 and path.is_file() else []
    return events, names + [str(k) for k in range(len(names), events.n_classes or 0)]


def open_data(path: str | Path) -> tuple[Events | Currents, Events | Currents | None, list[str]]:
    """(all samples or the training set, the test set if the data have one, class names) of labelled spikes or currents.

    A test set of their own have NAME_TRAIN.ts with NAME_TEST.ts beside it, npz files with x_train and x_test, and the
    npz file of FSDD spikes.

    Args:
        path: see KINDS; also a `.ts` file or the folder of one, or what `save` of `Currents` wrote.

    Raises:
        DataError: `path` does not exist, is not a known kind of data, or has several inputs.
    """
    path = expanded(path)
    if found := _open_currents(path):
        return found
    events, names = open_events(path)
    is_test = official_test(path)
    return (events, None, names) if is_test is None else (events[~is_test], events[is_test], names)


def _open_currents(path: Path) -> tuple[Currents, Currents | None, list[str]] | None:
    """The same of currents; None where `path` is something else."""
    archive = sorted(path.glob(f"*{TRAIN}*{ts.SUFFIX}")) if path.is_dir() else []
    if len(archive) > 1:
        raise DataError(
            f"{path}: several data sets ({', '.join(file.name for file in archive)}); name one of the files"
        )
    if archive:
        path = archive[0]  # as archives of UCR and UEA unpack
    if path.suffix.lower() == ts.SUFFIX:
        train, names = ts.read_ts(path)
        beside = path.with_name(path.name.replace(TRAIN, TEST))
        return train, ts.read_ts(beside)[0] if TRAIN in path.name and beside.is_file() else None, names
    if _is_file(path, NPZ) and arrays.holds_arrays(path):
        return arrays.read_xy(path)
    if files := _curves(path):
        names = class_folders(path, files) if path.is_dir() else []
        labels = [names.index(file.relative_to(path).parts[0]) for file in files] if names else None
        if path.is_dir():
            columns = ", ".join(text.curve_names(files[0]))[:100]
            say(f"note: {len(files)} CSV files of curves, {columns}; events would have a time and a channel")
        return _read_curves(files, labels=labels, n_classes=len(names) or None), None, names
    if _holds_currents(path):
        data = load_data(path)
        if isinstance(data, Inputs):
            raise DataError(f"{path}: several inputs ({', '.join(data.parts)}); write a page, see docs/experiments.md")
        assert isinstance(data, Currents)
        return data, None, [str(k) for k in range(data.n_classes or 0)]
    return None


def _is_file(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.suffix.lower() in suffixes and path.is_file()


def _curves(path: Path) -> list[Path]:
    """The CSV files of curves that `path` is, or has below it; none if it is, or the first of them has, another kind of
    data."""
    files = files_of(path)
    return files if all(_is_file(file, CSV) for file in files) and text.curve_names(files[0]) else []


def _read_curves(files: list[Path], **annotations: Any) -> Currents:
    """A sample a file; steps may differ by the jitter of clocks, the median counts."""
    read = [text.read_curve(file) for file in files]
    dt = float(np.median([dt for _, dt in read]))
    for file, (values, own) in zip(files, read):
        if abs(own - dt) > text.UNEVEN * dt:
            raise DataError(f"{file}: a step of {own:g} ms, the others have {dt:g} ms; sample all alike")
        if values.shape[1] != read[0][0].shape[1]:
            raise DataError(f"{file} has {values.shape[1]} columns of values, but {files[0]} has "
                            f"{read[0][0].shape[1]}; all files must have the same columns")  # fmt: skip
    return Currents.from_samples([values for values, _ in read], dt, files[0].parent.name, **annotations)


def _holds_currents(path: Path) -> bool:
    """Whether `save` of `Currents`, or of several inputs, wrote it."""
    if path.is_dir():
        return CURRENTS.is_in(path)
    if not _is_file(path, NPZ):
        return False
    with open_npz(path) as file:
        return any(name == "values" or "/" in name for name in file.files)


def open_samples(paths: Iterable[str | Path], n_channels: int) -> Iterator[tuple[list[str], Events | Currents]]:
    """(names, samples) of all files, in the order of `paths`; recordings a few at a time. A name is the
    path of the file, with ``[i]`` where it holds several samples.

    A recording goes through the inner-ear model alone, with random numbers of its own: its spikes are the same whatever
    lies beside it.

    Args:
        paths: wav files, HDF5 files in the SHD layout, npz files, files of event cameras, CSV files, folders of events,
            and folders (however deep) of wav files or, where there are none, of the others.
        n_channels: of the data, for the files that do not say it.

    Raises:
        DataError: a file that is absent, damaged or of another kind.
    """
    recordings: list[Path] = []
    for path in (file for p in paths for file in files_of(expanded(p))):
        if path.suffix.lower() in SOUND:
            recordings.append(path)
            continue
        yield from encode_recordings(recordings)
        recordings = []
        if found := _open_currents(path):
            currents = found[0]
            yield [f"{path}[{i}]" for i in range(len(currents))], currents
            continue
        events = open_dataset(path, lambda file: hdf5.read_shd(file, n_channels), "wav files, ", n_channels)
        yield [f"{path}[{i}]" for i in range(len(events))], events
    yield from encode_recordings(recordings)


def open_dataset(
    path: Path, read_hdf5: Callable[[Path], Events], also: str = "", n_channels: int | None = None
) -> Events:
    """A data set in one file, or in a folder of events.

    Args:
        read_hdf5: reads a file in the SHD layout: into memory, or through the cache.
        also: kinds beside `KINDS` that the caller takes, for the message. n_channels: for files that do not say it.

    Raises:
        DataError: `path` does not exist, or is not a known kind of data.
    """
    suffix = path.suffix.lower() if path.is_file() else ""
    if suffix in HDF5:
        return read_hdf5(path)
    if suffix in NPZ:
        with open_npz(path) as file:
            is_fsdd, known = "ticks" in file.files, {*file.files}
        if known.isdisjoint({"ticks", *EVENT_ARRAYS}):
            raise DataError(
                f"{path}: none of its arrays is known ({', '.join(sorted(known))[:100]}); name the values X and the "
                "labels y, or let save of Events or Currents write it"
            )
        return fsdd.load(path) if is_fsdd else Events.load(path)
    if path.is_dir():
        return Events.load(path)
    if suffix and reader_of(path):
        events: Events = read_file(Events, path, n_channels=n_channels)
        return events
    problem = "not a known kind of data" if path.exists() else "does not exist"
    raise DataError(f"{path}: {problem}; give {also}{'; '.join(KINDS)}")


def official_test(path: str | Path) -> np.ndarray | None:
    """(S,) whether a recording belongs to the official test set; None if there is none (only FSDD has one)."""
    path = expanded(path)
    if path.is_dir() and fsdd.is_upstream(path):
        numbers = [int(file.stem.rpartition("_")[2]) for file in inner_ear.recordings(path)[0]]
        return np.array(numbers) < fsdd.TEST_NUMBERS
    if path.suffix.lower() not in NPZ or not path.is_file():
        return None
    with open_npz(path) as file:
        return np.asarray(read_array(file, "is_test", path), bool) if "is_test" in file.files else None


def _open_recordings(folder: Path, seed: int, progress: bool, cache: Path | None) -> tuple[Events, list[str]]:
    files, _, _, names = inner_ear.recordings(folder)
    ear = inner_ear.Ear()

    def build(path: Path) -> None:
        inner_ear.convert_folder(folder, ear, seed, progress)[0].save(path)

    return cached(folder.name, files, {"ear": asdict(ear), "seed": seed}, build, cache).events, names


def encode_recordings(files: Iterable[Path]) -> Iterator[tuple[list[str], Events]]:
    """Recordings as spikes of the inner-ear model."""
    rest = iter(files)
    while batch := list(islice(rest, BATCH)):
        spikes = [inner_ear.to_events([inner_ear.read_wav(path)]) for path in batch]
        yield [str(path) for path in batch], Events.concatenate(spikes)


def files_of(path: Path) -> list[Path]:
    """What to read of a folder that holds no events itself: recordings, or else the data sets in it; anything else
    stays itself.

    Raises:
        DataError: a folder with neither.
    """
    if not path.is_dir() or EVENTS.is_in(path) or CURRENTS.is_in(path):
        return [path]
    _refuse_home(path)
    files = _files_below(path)
    sounds = [file for file in files if file.suffix.lower() in SOUND]
    if matches := sounds or [file for file in files if reader_of(file) or file.suffix.lower() == ts.SUFFIX]:
        return matches
    raise DataError(f"{path}: no recordings in it, and it is not a folder of events; give {'; '.join(KINDS)}")


def _refuse_home(path: Path) -> None:
    """Raise `DataError` for a home folder and the root: nobody means all that is in there."""
    places = [Path("/")]
    with contextlib.suppress(RuntimeError):  # no home folder
        places.append(Path.home())
    if path.resolve() in [place.resolve() for place in places]:
        raise DataError(f"{path}: a whole home folder or file system; name the folder of the samples in it")


def _files_below(path: Path) -> list[Path]:
    """All files that are not hidden, sorted; a search that takes long is reported."""
    files, start, reported = list[Path](), time.monotonic(), False
    for entry in path.rglob("*"):
        if entry.is_file() and not any(part.startswith(".") for part in entry.relative_to(path).parts):
            files.append(entry)
        if not reported and time.monotonic() - start > PATIENCE:
            reported = True
            say(f"note: looking for samples in all folders below {path}, {len(files):,} files so far")
    return sorted(files)
