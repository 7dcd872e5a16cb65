"""Currents from files of arrays: .npy (mapped), .npz and HDF5, with arrays of any names.

Axis letters: S samples, T steps, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...arguments import explain
from ...errors import DataError
from ...modelling.memory import check_fits
from ..currents.currents import Currents
from ..events.events import Events
from ..events.storage import UNREADABLE, open_file, open_npz, read_arrays
from .hdf5 import open_hdf5, reading, texts_of
from .hdf5_inside import inside


def read_npy(path: str | Path, dt: float, mmap: bool = True, **annotations: Any) -> Currents:
    """Currents from one array (S, T, C) in a .npy file, which is mapped and not read if it is float32.

    Args:
        annotations: labels, groups, n_classes, targets, name.

    Raises:
        DataError: no such file, no array file, values that are no currents.
    """
    path = Path(path)
    open_file(path).close()
    try:
        array = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except UNREADABLE as error:
        raise DataError(f"{path}: not a readable .npy file ({error}); write it with numpy.save") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise DataError(f"{path}: several arrays, not one; read it with read_npz")
    return _in_file(path, lambda: Currents(array, dt, **({"name": path.stem} | annotations)))


def read_npz(
    path: str | Path, dt: float | None = None, values: str = "values", labels: str | None = "labels",
    groups: str | None = "groups", targets: str | None = "targets", name: str = "",
) -> Currents:  # fmt: skip
    """Currents from arrays of an .npz file.

    Args:
        dt: ms of a value; None: the number "dt" in the file. values, labels, groups, targets: names of the arrays; the
            last three may be missing in the file, unless you name them otherwise than by default.

    Raises:
        DataError: a missing or damaged array, values that are no currents.
    """
    path = Path(path)
    asked = {"labels": labels, "groups": groups, "targets": targets}
    with open_npz(path) as file:
        there = {k: n for k, n in asked.items() if n is not None and (n in file.files or n != k)}
        names = [values, *there.values(), *(["dt"] if dt is None else [])]
        arrays = read_arrays(file, names, path)
    found = {k: arrays[n] for k, n in there.items()}
    step = arrays["dt"].item() if dt is None and arrays["dt"].shape == () else dt
    return _in_file(path, lambda: Currents(arrays[values], step, name=name or path.stem, **found))  # type: ignore[arg-type]


def read_hdf5(
    path: str | Path, dt: float | None = None, values: str = "values", labels: str | None = "labels",
    groups: str | None = "groups", name: str = "",
) -> Currents:  # fmt: skip
    """Currents from tables of an HDF5 file.

    Args:
        dt: ms of a value; None: the attribute "dt" of the file or of the table of values. values, labels, groups: paths
            of the tables in the file, "a/b"; the last two may be missing, unless you name them otherwise than by
            default.

    Raises:
        DataError: a missing or damaged table, values that are no currents.
    """
    path = Path(path)
    with open_hdf5(path) as file, reading(path, "its tables"):
        table = inside(file, values, path)
        if table is None or not getattr(table, "shape", ()):
            raise DataError(f"{path}: no table {values!r}; it has {', '.join(file)}")
        found: dict[str, Any] = {}
        for key, of in {"labels": labels, "groups": groups}.items():
            column = None if of is None else inside(file, of, path)
            if column is None and of not in (None, key):
                raise DataError(f"{path}: no table {of!r} for the {key}; it has {', '.join(file)}")
            if column is not None:
                if not getattr(column, "shape", ()):
                    raise DataError(f"{path}: {of} must be an array with a row for each sample, to be the {key}")
                found[key] = np.array(texts_of(column, path)) if column.dtype.kind in "SO" else column[()]
        step = dt if dt is not None else table.attrs.get("dt", file.attrs.get("dt"))
        if isinstance(step, np.ndarray) and step.size == 1:
            step = step.item()
        if step is None:
            raise DataError(f"{path}: the file does not say how long a value holds: give dt= in ms, or an attribute dt")
        array = table[()]
    return _in_file(path, lambda: Currents(array, step, name=name or path.stem, **found))


def _in_file(path: Path, make: Callable[[], Currents]) -> Currents:
    """What `make` returns; its errors name the file."""
    try:
        return make()
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def from_spikes(events: Events, dt: float = 10.0, merge: int = 1, duration: float | None = None) -> Currents:
    """Firing rates as currents: spikes of `merge` neighbouring channels in bins of `dt` ms, per ms and channel.

    A spike at t is in bin floor(t / dt). Through the same weights these currents drive a neuron like the spikes do, but
    smoothed over a bin and over neighbours.

    Args:
        duration: ms, a whole number of bins, up to which spikes count; None: until the last one.

    Raises:
        DataError: bins that do not fit, or more values than the memory has room for.
    """
    if merge < 1 or not 0 < dt < np.inf:
        raise DataError(f"from_spikes needs dt > 0 and merge >= 1, got dt={dt!r} and merge={merge!r}")
    if duration is not None and not np.isfinite(duration):
        raise DataError(f"from_spikes: duration must be a finite number of ms, got {duration}")
    bins = int(events.duration // dt) + 1 if duration is None else round(duration / dt)
    if duration is not None and (bins < 1 or abs(bins * dt - duration) > 1e-6 * dt):
        raise DataError(f"from_spikes: a duration of {duration:g} ms is no whole number of bins of {dt:g} ms")
    width = -(-events.n_channels // merge)
    check_fits(
        4.0 * len(events) * bins * width, f"{len(events)} x {bins} x {width} currents",
        "use larger bins, or merge channels", DataError,
    )  # fmt: skip
    values = np.zeros((len(events), bins, width), np.float32)
    step = (events.times // dt).astype(np.int64)
    inside_trial = step < bins
    place = events.sample_of_event[inside_trial], step[inside_trial], events.channels[inside_trial] // merge
    np.add.at(values, place, np.float32(1))
    per_channel = np.minimum(merge, events.n_channels - merge * np.arange(width))  # the last group may be smaller
    values /= (dt * per_channel).astype(np.float32)
    return Currents(
        values, dt, events.labels, events.groups, events.n_classes, events.name, events.targets
    )  # fmt: skip


explain(globals(), ("read_npy", "read_npz", "read_hdf5", "from_spikes"), DataError)
