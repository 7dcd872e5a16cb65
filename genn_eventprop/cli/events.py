"""``events IN OUT``: look at recordings of any known kind, cut them, and write them in one format."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from ..data import Events
from ..data.augment.encodings import apply
from ..data.augment.steps import Crop, CropChannels
from ..data.events.folder import in_pieces
from ..data.events.storage import save_pieces
from ..data.open import open_events
from ..data.readers import hdf5
from ..data.readers.structured import Pieces
from ..errors import SettingError
from .options import operand

HDF5 = (".h5", ".hdf5")
PANELS = 6
"""Samples in a picture, spread over the classes."""


def events(
    source: Annotated[Path, *operand("IN")],
    out: Annotated[Path | None, *operand("OUT")] = None,
    start: Annotated[float, tyro.conf.arg(name="from")] = 0.0,
    to: float = math.inf,
    channels: str = "",
    reader: str = "",
    size: tuple[int, int] | None = None,
    pool: int | None = None,
    unit: str | None = None,
    sort: bool = False,
    picture: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Look at recordings, cut and convert them: events in.raw out.h5 --from 100 --to 600.

    Describe recordings (samples, channels, duration, rates), cut and draw them, and write them to OUT.

    IN is a recording of an event camera (AEDAT 2 to 4, EVT 2 and 3, DAT), a CSV file of events, an HDF5 file in the SHD
    layout, an npz file, a folder of events, or a folder of any of these with a folder for each class.

    Args:
        source: A file or folder.
        out: NAME.h5 (the SHD layout, with class -1 where there is none), NAME.npz, or a folder for memory-mapping, to
            which recordings of any size go piece by piece. By default nothing is written.
        start: Keep events from this time on, in ms; it becomes 0.
        to: Keep events before this time, in ms.
        channels: Keep these channels, e.g. 0-127; the first becomes 0.
        reader: How to read the files of a folder: camera, csv, npz, hdf5 or nmnist; by default by their suffix.
        size: Width and height of the camera, for files that do not say.
        pool: Side of the square of pixels that share a channel.
        unit: Unit of the times in CSV files: s, ms, us or ns.
        sort: Sort events that are out of order.
        picture: File for a raster of some samples, e.g. samples.png.
        overwrite: Replace OUT if it exists.
    """
    if out is not None and out.exists() and not overwrite:
        raise SettingError(f"{out} exists; give another name, or --overwrite")
    options: dict[str, Any] = {"size": size, "pool": pool, "unit": unit, "sort": sort or None}
    options = {name: value for name, value in options.items() if value is not None}
    to_folder = out is not None and out.suffix.lower() not in (*HDF5, ".npz") and source.is_file() and not sort
    found = in_pieces(source, reader or None, **options) if to_folder else None
    if found is not None and out is not None:
        data, names = _piece_by_piece(*found, source.stem, out, start, to, channels), list[str]()
    else:
        data, names = open_events(source, reader=reader or None, **options)
        data = _cut(data, start, to, channels)
    if data.labels is not None and (data.labels < 0).all():  # of a file whose format needs some
        data = Events.trusted(
            data.times, data.channels, data.offsets, data.n_channels, None, data.groups, name=data.name
        )
    print(data.statistics())
    if names and data.labels is not None and len(names) <= 20:
        counts = data.statistics().class_counts
        print(f"  class names      {', '.join(f'{n} {c}' for n, c in zip(names, [] if counts is None else counts))}")
    if picture is not None:
        data.plot(_spread(data), picture, class_names=names or None)
        print(f"picture: {picture}")
    if out is None:
        return
    if out.suffix.lower() in HDF5:
        labels = np.full(len(data), -1) if data.labels is None else data.labels
        hdf5.write_rows(out, map(data.sample, range(len(data))), data.n_channels, labels, data.groups, names)
    elif found is None:
        data.save(out)
    print(f"{out}: {len(data)} samples, {len(data.times)} events, {data.n_channels} channels")


def _piece_by_piece(
    width: int, pieces: Pieces, name: str, out: Path, start: float, to: float, channels: str
) -> Events:  # fmt: skip
    """A recording of any size, cut and written to a folder."""

    def cut(times: np.ndarray, places: np.ndarray) -> Events:
        return _cut(Events.trusted(times, places, np.array([0, len(times)]), width), start, to, channels)

    n_channels = cut(np.empty(0), np.empty(0, np.int32)).n_channels
    parts = (cut(*piece) for piece in pieces)
    save_pieces(out, n_channels, ((part.times, part.channels) for part in parts), name)
    return Events.load(out)


def _cut(data: Events, start: float, to: float, channels: str) -> Events:
    """The events of a time and of some channels; every sample stays.

    Raises:
        SettingError: an interval that is none.
    """
    if not 0 <= start < to:
        raise SettingError(f"--from {start:g} --to {to:g}: nothing lies between; give 0 <= from < to, in ms")
    steps: list[Any] = [Crop(start, to)] if (start, to) != (0.0, math.inf) else []
    if channels:
        first, dash, last = channels.partition("-")
        if not (first.isdecimal() and (last.isdecimal() if dash else True)) or int(last or first) < int(first):
            raise SettingError(f"--channels {channels!r}: give the first and the last channel, e.g. 0-127")
        if int(last or first) >= data.n_channels:
            raise SettingError(
                f"--channels {channels}: there are {data.n_channels} channels, 0 to {data.n_channels - 1}"
            )
        steps.append(CropChannels(int(first), int(last or first) + 1))
    return apply(steps, data)


def _spread(data: Events) -> np.ndarray:
    """Numbers of a few samples, of as many classes as possible."""
    if data.labels is None:
        return np.arange(min(PANELS, len(data)))
    first = np.unique(data.labels, return_index=True)[1]
    rest = np.setdiff1d(np.arange(len(data)), first)
    return np.sort(np.concatenate([first, rest])[:PANELS])
