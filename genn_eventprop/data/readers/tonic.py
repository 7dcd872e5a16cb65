"""Event data sets through tonic: SHD, SSC, N-MNIST, DVS gesture.

tonic (licence GPL-3, extra `data`) finds, downloads and reads the files; here they become Events, once, in the cache.
Files placed by hand are found without the archives that they came in.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...arguments import explain
from ...errors import DataError, suggest
from ...home import expanded
from ..cache import cached
from ..events.events import Events
from ..optional import require
from .download import fetch, unpack
from .structured import Sensor, from_map_dataset


@dataclass(frozen=True)
class Source:
    """What is known about one of tonic's data sets."""

    tonic_name: str
    parts: dict[str, dict[str, Any]]
    """Arguments of tonic's class for each part."""
    files: str
    """What must lie in the folder, for a part {part} (tonic's name of it)."""
    sensor: Sensor
    n_classes: int
    pool: int = 1
    """Default side of the pixel squares that share a channel."""


TRAIN_TEST: dict[str, dict[str, Any]] = {"train": {"train": True}, "test": {"train": False}}
SOURCES = {
    "shd": Source("SHD", TRAIN_TEST, "shd_{part}.h5", (700, 1, 1), 20),
    "ssc": Source(
        "SSC",
        {"train": {"split": "train"}, "validation": {"split": "valid"}, "test": {"split": "test"}},
        "ssc_{part}.h5",
        (700, 1, 1),
        35,
    ),
    "nmnist": Source("NMNIST", TRAIN_TEST, "{Part}/0/*.bin", (34, 34, 2), 10),
    # 128 x 128 x 2 dense inputs are too many: squares of 4 pixels share a channel
    "dvs_gesture": Source("DVSGesture", TRAIN_TEST, "ibmGesture{Part}/*/0.npy", (128, 128, 2), 11, pool=4),
}


class Ordered:
    """A map data set in an order that does not depend on the file system."""

    def __init__(self, dataset: Any, order: np.ndarray) -> None:
        self.dataset, self.order = dataset, order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, i: int) -> tuple[Any, Any]:
        try:
            return self.dataset[int(self.order[i])]
        except Exception as error:  # whatever tonic's reader meets in a damaged file
            files = source_files(self.dataset)
            file = files[int(self.order[i])] if len(files) > 1 else files[0]
            raise DataError(
                f"{file}: sample {i} cannot be read ({type(error).__name__}: {error}); "
                "the file is damaged, remove it and download it again"
            ) from error


def open_tonic(name: str, folder: Path, part: str, **options: Any) -> Any:
    """tonic's own data set object, downloaded if its files are not there.

    Raises:
        DataError: no such data set or part; no tonic; the download failed (with what to place where by hand).
    """
    if name not in SOURCES:
        raise DataError(f"no data set {name!r} through tonic; {suggest(name, SOURCES)}")
    source = SOURCES[name]
    if part not in source.parts:
        raise DataError(f"{name}: no part {part!r}; {suggest(part, source.parts)}")
    original = getattr(require("tonic.datasets", "event data sets"), source.tonic_name)
    arguments = source.parts[part]
    word = arguments.get("split", part)
    files = source.files.format(part=word, Part=word.capitalize())

    class Placed(original):  # type: ignore[misc, valid-type]
        """Also content with files that were placed by hand."""

        def _check_exists(self) -> bool:
            return any(Path(self.location_on_system).glob(files)) or super()._check_exists()

        def download(self) -> None:
            folder = Path(self.location_on_system)
            unpack(fetch(self.url, folder / self.filename, self.file_md5), folder)

    Placed.__name__ = original.__name__  # the name is the folder that tonic looks in
    place = folder / source.tonic_name
    new = not place.exists()
    try:
        return Placed(str(folder), **arguments, **options)
    except Exception as error:  # tonic lets through whatever the network, the archive and the file system raise
        if new and place.is_dir() and not any(place.iterdir()):
            place.rmdir()  # an empty folder would look like a data set that is damaged
        url = getattr(original, f"{part}_url", None) or getattr(original, "base_url", "see tonic")
        reason = str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
        raise DataError(
            f"{name}: {part} could not be fetched or opened ({reason}); "
            f"place {files} in {place} by hand (source: {url}), and delete damaged files there"
        ) from error


def load(
    name: str,
    folder: str | Path,
    part: str = "train",
    pool: int | None = None,
    progress: bool = True,
    cache: Path | None = None,
    **options: Any,
) -> Events:
    """Events of a part of "shd", "ssc", "nmnist" or "dvs_gesture", converted once and then read from the cache.

    Args:
        folder: folder of tonic's data sets, with e.g. FOLDER/SHD/shd_train.h5.
        part: "train", "test", and for ssc "validation".
        pool: side of the pixel squares that share a channel; default 1, for dvs_gesture 4.
        cache: cache folder, default that of data.cache.
        options: further arguments of tonic's class, e.g. first_saccade_only=True for nmnist.

    Speakers (SHD, SSC) and users (DVS gesture) become groups.
    """
    dataset = open_tonic(name, expanded(folder), part, **options)
    source = SOURCES[name]
    pool = source.pool if pool is None else pool
    plain = {key: value for key, value in options.items() if isinstance(value, (bool, int, float, str))}
    if len(plain) < len(options):
        raise DataError(
            f"{name}: only plain options can be cached; use data.readers.structured.from_map_dataset for transforms"
        )
    files = source_files(dataset)
    order = np.array(sorted(range(len(dataset)), key=lambda i: files[i])) if len(files) > 1 else np.arange(len(dataset))

    def build(path: Path) -> None:
        told: dict[str, Any] = {"pool": pool, "progress": progress, "sort": True, "name": f"{name} {part}"}
        ordered, groups = Ordered(dataset, order), groups_of(dataset, order)
        try:
            from_map_dataset(ordered, source.sensor, path, groups, source.n_classes, **told)
        except DataError as error:
            raise DataError(f"{error} (files of {dataset.location_on_system})") from error

    return cached(f"{name}-{part}", sorted(files), {"pool": pool, **plain}, build, cache).events


def source_files(dataset: Any) -> list[Path]:
    """The files that a data set is read from: one HDF5 file, or one file a sample."""
    if hasattr(dataset, "data_filename"):
        return [Path(dataset.location_on_system) / dataset.data_filename]
    if not len(dataset):
        raise DataError(
            f"{dataset}: no samples in {dataset.location_on_system}; remove the folder and download it again"
        )
    return [Path(p) for p in dataset.data]


def groups_of(dataset: Any, order: np.ndarray) -> np.ndarray | None:
    """Speakers or users, in `order`."""
    for name in ("_speaker", "users"):
        if hasattr(dataset, name):
            return np.asarray(getattr(dataset, name), np.int64)[order]
    return None


explain(globals(), ("load",), DataError)
