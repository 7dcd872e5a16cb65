"""Events from and to tonic's structured arrays, PyTorch-style map data sets, and dense rasters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...arguments import explain
from ...errors import DataError, shown
from ...output import stderr
from ..events import check
from ..events.events import Events
from ..events.storage import EventsWriter

Sensor = tuple[int, int, int]
"""(width, height, polarities), tonic's sensor_size."""
Pieces = Iterator[tuple[np.ndarray, np.ndarray]]
"""Of a recording, in order: times in ms and channels."""


def flatten(
    array: np.ndarray, sensor: Sensor, where: str, unit: float = 1e-3, pool: int = 1, first: int = 0
) -> tuple[Any, Any]:  # fmt: skip
    """(times in ms, channels) of one structured array with fields t, x, and where the sensor has them y, p.

    channel = (p H' + y') W' + x' with x' = x // pool, y' = y // pool, W' = ceil(W / pool), H' = ceil(H / pool).
    A sensor with one polarity ignores p (tonic gives audio p = 1 throughout).

    Args:
        unit: ms per count of t (tonic: microseconds).
        pool: side of the square of pixels that share a channel.
        first: number of the first event, for messages.
    """
    width, height, polarities = sensor
    names = np.asarray(array).dtype.names or ()
    wanted = ["t", "x"] + ["y"] * (height > 1) + ["p"] * (polarities > 1)
    if missing := [n for n in wanted if n not in names]:
        raise DataError(f"{where}: no field {', '.join(missing)}; a sensor {sensor} needs {', '.join(wanted)}")
    place = {"x": array["x"], "y": array["y"] if height > 1 else 0, "p": array["p"] if polarities > 1 else 0}
    for name, size in zip("xyp", sensor, strict=True):
        values = np.asarray(place[name])
        outside = (values < 0) | (values >= size)
        if outside.any():
            k = int(np.argmax(outside))
            raise DataError(
                f"{where}: event {first + k}: {name} = {values[k]} is beyond the sensor {sensor}; give its true size"
            )
    across, down = -(-width // pool), -(-height // pool)
    x, y = (np.asarray(place[name], np.int64) // pool for name in "xy")
    channels = (np.asarray(place["p"], np.int64) * down + y) * across + x
    return array["t"] * float(unit), np.broadcast_to(channels, len(array)).astype(np.int32)


def in_order(path: str | Path, pieces: Pieces, from_first: bool = True) -> Pieces:
    """Pieces of a recording, checked; `from_first`: its first event is at 0.

    Raises:
        DataError: an event is earlier than the one before it.
    """
    number, first, last = 0, None if from_first else 0.0, -np.inf
    for times, channels in pieces:
        late = np.flatnonzero(np.diff(times, prepend=last) < 0)
        if len(late):
            raise DataError(
                f"{path}: event {number + late[0]} is earlier than the one before it; the clock was reset, or the file "
                "is damaged (genn-eventprop events IN OUT --sort puts events in order, all of them in memory)"
            )
        if len(times):
            number, first, last = number + len(times), times[0] if first is None else first, times[-1]
            yield times - first, channels


def n_channels(sensor: Sensor, pool: int = 1) -> int:
    """Channels of a sensor after pooling."""
    if len(sensor) != 3 or min(sensor) < 1 or pool < 1:
        raise DataError(f"sensor must be (width, height, polarities) and pool at least 1, got {sensor}, {pool}")
    return -(-sensor[0] // pool) * -(-sensor[1] // pool) * sensor[2]


def from_structured(
    arrays: Iterable[np.ndarray],
    sensor: Sensor,
    labels: Any = None,
    groups: Any = None,
    n_classes: int | None = None,
    name: str = "",
    unit: float = 1e-3,
    pool: int = 1,
    sort: bool = False,
) -> Events:
    """Events from structured arrays, one per sample; see `flatten` for fields and channels."""
    where = name or "events"
    pairs = (flatten(a, sensor, f"{where}: sample {i}", unit, pool) for i, a in enumerate(arrays))
    return Events.from_samples(pairs, n_channels(sensor, pool), labels, groups, n_classes, name, sort)


def from_map_dataset(
    dataset: Any,
    sensor: Sensor,
    folder: str | Path | None = None,
    groups: Any = None,
    n_classes: int | None = None,
    name: str = "",
    unit: float = 1e-3,
    pool: int = 1,
    dt: float = 1.0,
    progress: bool = False,
    sort: bool = False,
) -> Events:
    """Events from a data set with __len__ and __getitem__ -> (events, label): tonic (with transforms) or PyTorch.

    An item is a structured array, or a dense raster (steps, ...) of spike counts, dt ms per step, whose other axes are
    flattened to channels. With `folder` the samples go to disk one by one and are memory-mapped. `sort` puts events of
    a sample that are out of order in order.
    """
    from tqdm import tqdm

    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise DataError(f"dataset must have __len__ and __getitem__ -> (events, label), got {shown(dataset)}")
    labels = []
    width = n_channels(sensor, pool)
    name = name or type(dataset).__name__

    def pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for i in tqdm(range(len(dataset)), desc=f"reading {name}", disable=not progress, file=stderr()):
            where = f"{name}: sample {i}"
            try:
                sample = dataset[i]
            except DataError:
                raise
            except Exception as error:  # whatever a data set's own code and its files come to
                raise DataError(f"{where} cannot be read: {type(error).__name__}: {error}") from error
            item, label = _pair(sample, where)
            labels.append(label)
            array = np.asarray(item)
            t, c = flatten(array, sensor, where, unit, pool) if array.dtype.names else raster_events(array, dt, where)
            if sort and (np.diff(t) < 0).any():
                order = np.argsort(t, kind="stable")
                t, c = t[order], c[order]
            check.events(t, c, np.array([0, len(t)]), width, where)
            yield t, c

    if folder is None:
        flat = list(pairs())
        return Events.from_samples(flat, width, labels, groups, n_classes, name)
    with EventsWriter(Path(folder), width, n_classes, name) as writer:
        for t, c in pairs():
            writer.append(t, c)
        checked, classes = check.labels(labels, len(labels), n_classes, name)
        writer.n_classes = classes
        writer.finish(None, checked, check.groups(groups, len(labels), name))
    return Events.load(folder)


def _pair(sample: Any, where: str) -> tuple[Any, int]:
    """(events, label) of an item of a map data set."""
    if not isinstance(sample, (tuple, list)) or len(sample) != 2:
        raise DataError(f"{where}: expected a pair (events, label), got {type(sample).__name__}")
    try:
        return sample[0], int(check.as_vector(np.ravel(sample[1]), np.int64, f"{where}: label").item())
    except (TypeError, ValueError) as error:  # DataError is a ValueError
        raise DataError(f"{where}: label {sample[1]!r} is not an integer; number the classes first") from error


def raster_events(raster: np.ndarray, dt: float, where: str) -> tuple[np.ndarray, np.ndarray]:
    """(times in ms, channels) of one raster (steps, ...) of spike counts; a count of n gives n events."""
    counts = np.asarray(raster)
    if counts.ndim < 2:
        raise DataError(f"{where}: a raster has the axes (steps, channels ...), got shape {counts.shape}")
    if counts.dtype.kind not in "biuf" or not np.isfinite(counts).all() or (counts < 0).any():
        raise DataError(f"{where}: a raster holds spike counts, which are not negative")
    if (counts != np.floor(counts)).any():
        raise DataError(
            f"{where}: a raster holds whole spike counts; encode analogue values first (data.events.encode)"
        )
    flat = counts.reshape(len(counts), -1)
    step, channel = np.nonzero(flat)
    repeats = flat[step, channel].astype(np.int64)
    return np.repeat(step * float(dt), repeats), np.repeat(channel, repeats).astype(np.int32)


def from_dense(
    rasters: Sequence[np.ndarray] | np.ndarray,
    dt: float = 1.0,
    labels: Any = None,
    groups: Any = None,
    n_classes: int | None = None,
    name: str = "",
) -> Events:
    """Events from rasters (S, steps, channels ...) of spike counts: count n at step k is n events at k dt (ms)."""
    if len(rasters) == 0:
        raise DataError(f"{name or 'events'}: no rasters; the number of channels is unknown")
    width = int(np.prod(np.shape(rasters[0])[1:]))
    pairs = (raster_events(r, dt, f"{name or 'events'}: sample {i}") for i, r in enumerate(rasters))
    return Events.from_samples(pairs, width, labels, groups, n_classes, name)


LARGEST_RASTER = 16 * 2**30
"""bytes"""


def to_dense(events: Events, dt: float = 1.0, steps: int | None = None) -> np.ndarray:
    """(S, steps, n_channels) uint16 spike counts; step = floor(t / dt + 0.5); later events are an error."""
    if not 0 < dt < np.inf:
        raise DataError(f"dt must be a number of ms above 0, got {shown(dt)}")
    step = np.floor(events.times / dt + 0.5).astype(np.int64)
    needed = int(step.max(initial=-1)) + 1
    steps = needed if steps is None else steps
    if needed > steps:
        raise DataError(
            f"{events.name or 'events'}: the last event is in step {needed - 1}, the raster has {steps} steps"
        )
    size = 2 * len(events) * steps * events.n_channels
    if size > LARGEST_RASTER:
        raise DataError(
            f"{events.name or 'events'}: a raster of {len(events)} x {steps} x {events.n_channels} needs "
            f"{size / 1e9:.1f} GB; take fewer samples, a larger dt, or merge channels"
        )
    raster = np.zeros((len(events), steps, events.n_channels), np.uint16)
    np.add.at(raster, (events.sample_of_event, step, events.channels), 1)
    return raster


explain(
    globals(),
    ("flatten", "n_channels", "from_structured", "from_map_dataset", "from_dense", "to_dense"),
    DataError,
)
