"""Events: one container for a data set of spike trains.

All samples lie one after the other in flat arrays; sample i is the slice offsets[i]:offsets[i+1]. The arrays may be
memory-mapped files, so that a data set larger than the memory trains: nothing here copies more than is asked for.

Axis letters: S samples, E events of all samples together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import DataError, shown
from . import check
from .samples import Samples, joined_annotations

if TYPE_CHECKING:
    from .statistics import Statistics

Index = int | np.integer | slice | Sequence[int] | np.ndarray


@dataclass(frozen=True, eq=False)
class Events(Samples):
    """A data set of spike trains. The arrays are checked once, here, and are read-only afterwards.

    Args:
        times: (E,) ms from the start of the trial, ascending within each sample, finite and not negative.
        channels: (E,) input channel of each event, 0 .. n_channels - 1 (n_channels up to 2^31).
        offsets: (S + 1,) sample i holds events offsets[i] .. offsets[i + 1] - 1; an empty sample is allowed and kept.
        n_channels: number of input channels.
        labels: (S,) class 0 .. n_classes - 1, or -1 for a sample without label; None if no sample has one.
        groups: (S,) group of each sample, e.g. its speaker or subject, integers or strings; None if not known.
        n_classes: number of classes; default: the largest label + 1.
        name: name of this data set in messages and plots.
        targets: (S, ...) numbers with which a loss compares, see `losses`; nan for no target; None if no sample has
            any. Several named targets, ``{"speaker": (S,) classes, "position": (S, 2) numbers}``, are kept as one
            structured array; the one named "label" becomes `labels`. A loss selects one with `Loss.against`.

    ``events[3]``, ``events[:10]`` and ``events[array]`` are data sets of those samples.

    Example:
        >>> two = Events.from_samples([([1.0, 4.5], [0, 1]), ([2.0], [2])], n_channels=3, labels=[0, 1])
        >>> len(two), two.times, two.offsets
        (2, array([1. , 4.5, 2. ]), array([0, 2, 3]))
        >>> two[1].labels
        array([1])

    Raises:
        DataError: NaN, negative or unsorted times, channels or labels out of range, lengths that do not match.
    """

    times: np.ndarray
    channels: np.ndarray
    offsets: np.ndarray
    n_channels: int
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None
    n_classes: int | None = None
    name: str = ""
    targets: Any = None

    def __post_init__(self) -> None:
        where = self.name or "events"
        times = check.as_vector(self.times, np.float64, f"{where}: times")
        channels = check.as_vector(self.channels, np.int32, f"{where}: channels")
        offsets = check.as_vector(self.offsets, np.int64, f"{where}: offsets")
        n_channels = check.n_channels(self.n_channels, where)
        check.offsets(offsets, len(times), len(channels), where)
        check.events(times, channels, offsets, n_channels, where)
        values = {"times": times, "channels": channels, "offsets": offsets, "n_channels": n_channels}
        self._set(values | self._checked_annotations(len(offsets) - 1, where))

    @classmethod
    def from_samples(
        cls,
        samples: Iterable[tuple[Any, Any]],
        n_channels: int,
        labels: Any = None,
        groups: Any = None,
        n_classes: int | None = None,
        name: str = "",
        sort: bool = False,
        targets: Any = None,
    ) -> Events:
        """Events from one (times in ms, channels) pair per sample.

        Args:
            samples: the pairs.
            sort: sort each sample by time (stable).
            n_channels, labels, groups, n_classes, name, targets: as for the class.
        """
        times, channels = [], []
        for i, sample in enumerate(samples):
            where = f"{name or 'events'}: sample {i}"
            t, c = check.pair(sample, where)
            t = check.as_vector(t, np.float64, f"{where}: times")
            c = check.as_vector(c, np.int32, f"{where} (times first): channels")
            if len(t) != len(c):
                raise DataError(f"{where}: {len(t)} times but {len(c)} channels; give one channel for each time")
            order = np.argsort(t, kind="stable") if sort else slice(None)
            times.append(t[order])
            channels.append(c[order])
        flat_times = np.concatenate(times) if times else np.empty(0)
        flat_channels = np.concatenate(channels) if channels else np.empty(0, np.int32)
        offsets = np.concatenate([[0], np.cumsum([len(t) for t in times])]).astype(np.int64)
        return cls(flat_times, flat_channels, offsets, n_channels, labels, groups, n_classes, name, targets)

    @classmethod
    def from_folder(
        cls,
        path: str | Path,
        reader: str | Callable[[Path], Any] | None = None,
        *,
        n_channels: int | None = None,
        name: str = "",
        **options: Any,
    ) -> Events:
        """Events from files in a folder for each class, ``path/CLASS/...``; class k is the k-th name in alphabetical
        order. Files that lie in `path` itself have the labels that they hold, or none.

        Args:
            path: the folder. reader: "camera" (AEDAT, EVT, DAT), "csv", "npz", "hdf5", "nmnist" (see
                `data.readers.files`); or a function (file, options) -> Events, or -> (times in ms, channels) of one
                sample; None: by the suffix of each file, others are left out.
            n_channels: for files that do not say it; default: the largest of all. name: of the data set.
            options: of the reader, such as ``pool=4`` or ``size=(128, 128)``.

        Raises:
            DataError: no such folder, no such reader, no files, files that cannot be read or do not fit together.

        Example:
            >>> gestures = Events.from_folder("recordings", "camera", pool=4)      # doctest: +SKIP
        """
        from .folder import read_folder

        events: Events = read_folder(cls, path, reader, n_channels, name, **options)[0]
        return events

    @classmethod
    def concatenate(cls, parts: Iterable[Events], name: str = "") -> Events:
        """All samples of `parts`, in order; channels must agree, labels, groups, targets be in all parts or in none.
        `name` is that of the result."""
        parts = list(parts)
        check.same_layout(parts)
        shifts = np.cumsum([0] + [len(p.times) for p in parts])
        return cls.trusted(
            np.concatenate([p.times for p in parts]),
            np.concatenate([p.channels for p in parts]),
            np.concatenate([[0]] + [p.offsets[1:] - p.offsets[0] + s for p, s in zip(parts, shifts, strict=False)]),
            parts[0].n_channels,
            **joined_annotations(parts, name),
        )

    @classmethod
    def side_by_side(cls, parts: Iterable[Events], name: str = "") -> Events:
        """Join several recordings of the same samples: the channels of each part follow those of the previous one, for
        a network with one input per part (`Network.input`). `name` is that of the result. Labels, groups and named
        targets come from the parts that have them.

        Raises:
            DataError: parts with other numbers of samples, or that contradict each other.
        """
        parts = list(parts)
        if not parts or any(len(p) != len(parts[0]) for p in parts):
            raise DataError(f"side_by_side needs parts with the same samples, got {[len(p) for p in parts]} samples")
        widths = np.cumsum([0] + [p.n_channels for p in parts])
        times = np.concatenate([p.times for p in parts])
        channels = np.concatenate([np.asarray(p.channels) + w for p, w in zip(parts, widths, strict=False)])
        sample = np.concatenate([p.sample_of_event for p in parts])
        order = np.lexsort((times, sample))
        offsets = np.concatenate([[0], np.cumsum(np.bincount(sample, minlength=len(parts[0])))]).astype(np.int64)
        name = name or parts[0].name
        return cls(times[order], channels[order], offsets, int(widths[-1]), name=name, **merge_annotations(parts))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: Index) -> Events:
        """The chosen samples, in the order given: an index, a slice, indices (repeats allowed) or a boolean mask (S,).

        Samples that lie side by side are a view; others are gathered into new arrays.
        """
        chosen = check.sample_indices(index, len(self), self.name or "events")
        starts, counts = self.offsets[chosen], self.counts[chosen]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        times, channels = (gather(a, starts, counts, offsets) for a in (self.times, self.channels))
        return Events.trusted(times, channels, offsets, self.n_channels, **self.annotations_of(chosen))

    def sample(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """(times in ms, channels) of sample `i`, as views."""
        i = int(check.sample_indices(i, len(self), self.name or "events")[0])
        where = slice(int(self.offsets[i]), int(self.offsets[i + 1]))
        return self.times[where], self.channels[where]

    @property
    def counts(self) -> np.ndarray:
        """(S,) number of events of each sample."""
        return np.diff(self.offsets)

    @property
    def mapped(self) -> bool:
        """Whether the times are memory-mapped from disk."""
        return check.is_mapped(self.times)

    @property
    def sample_of_event(self) -> np.ndarray:
        """(E,) sample that each event belongs to."""
        return np.repeat(np.arange(len(self)), self.counts)

    @property
    def durations(self) -> np.ndarray:
        """(S,) ms: time of the last event of each sample, 0 for an empty one."""
        last = np.zeros(len(self))
        filled = self.counts > 0
        last[filled] = self.times[self.offsets[1:][filled] - 1]
        return last

    @property
    def duration(self) -> float:
        """ms: time of the last event of the data set, 0 if there is none; a trial must be longer."""
        return float(self.durations.max(initial=0.0))

    def statistics(self) -> Statistics:
        """Counts, rates and class sizes of this data set; prints as a short table."""
        from .statistics import statistics

        return statistics(self)

    def save(self, path: str | Path) -> None:
        """Write to `path`: one compressed file if it ends in .npz, else a folder for memory-mapping. Atomic."""
        from . import storage

        storage.save(self, Path(path), storage.EventsWriter(Path(path), self.n_channels))

    @classmethod
    def load(cls, path: str | Path, mmap: bool = True) -> Events:
        """Read what `save` wrote; the times and channels of a folder `path` are memory-mapped unless `mmap` is
        False."""
        from . import storage

        return storage.load(cls, storage.EVENTS, Path(path), mmap)

    def plot(self, samples: Index = 0, path: str | Path | None = None, **options: Any) -> Any:
        """Raster of one or more samples; returns the matplotlib figure.

        Args:
            samples: number of a sample, a slice or a list of numbers.
            path: an image to write.
            options: of `report.plots`, such as ``title``.
        """
        from .raster import plot

        return plot(self, samples, path, **options)

    def __repr__(self) -> str:
        labels = f", {self.n_classes} classes" if self.labels is not None else ""
        name = f"{self.name!r}, " if self.name else ""
        return f"Events({name}{len(self)} samples, {len(self.times)} events, {self.n_channels} channels{labels})"


def gather(flat: np.ndarray, starts: np.ndarray, counts: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The parts starts[i] : starts[i] + counts[i] of a flat array in one; a view if they lie side by side already."""
    if len(starts) and np.array_equal(starts[1:], starts[:-1] + counts[:-1]):
        return flat[starts[0] : starts[0] + offsets[-1]]
    if offsets[-1] > 32 * len(starts):  # long parts: copying each is faster than an index for every event
        return np.concatenate([flat[a : a + n] for a, n in zip(starts.tolist(), counts.tolist(), strict=True)])
    return flat[np.repeat(starts - offsets[:-1], counts) + np.arange(offsets[-1])]


def require_events(value: Any, what: str) -> Events:
    """`value`, which is named `what` in the message, if it is a data set.

    Raises:
        DataError: it is something else; says how to make one of it.
    """
    if isinstance(value, Events):
        return value
    raise DataError(
        f"the {what} must be Events, got {shown(value)}; make them with "
        f"Events.from_samples([(times, channels), ...], n_channels, labels=...){check.how_to_read(value)}"
    )


def as_events(value: Any, n_channels: int) -> Events:
    """A data set, or a list of samples (times in ms, channels), as a data set.

    Raises:
        DataError: neither.
    """
    if isinstance(value, (str, bytes)) or hasattr(value, "shape") or not isinstance(value, Iterable):
        return require_events(value, "data")
    return value if isinstance(value, Events) else Events.from_samples(value, n_channels)


def merge_annotations(parts: Sequence[Any], where: str = "side_by_side") -> dict[str, Any]:
    """Labels, groups, classes and targets for a data set, from whichever parts (`Events`, `Currents`) have them.

    Args:
        where: of the message.

    Raises:
        DataError: two parts contradict each other.
    """
    named: dict[str, list[np.ndarray | None]] = {}
    for part in parts:
        for name in (part.targets.dtype.names or ()) if part.targets is not None else ():
            named.setdefault(name, []).append(part.targets[name])
    plain = _agreed(
        [None if p.targets is None or p.targets.dtype.names else p.targets for p in parts], "targets", where
    )
    if named and plain is not None:
        raise DataError(f"{where}: only some of the parts name their targets; name all: targets={{name: ...}}")
    return {
        "labels": _agreed([p.labels for p in parts], "labels", where),
        "groups": _agreed([p.groups for p in parts], "groups", where),
        "n_classes": max((p.n_classes for p in parts if p.n_classes is not None), default=None),
        "targets": {n: _agreed(values, f"targets {n!r}", where) for n, values in named.items()} or plain,
    }


def _agreed(values: Sequence[np.ndarray | None], what: str, where: str) -> np.ndarray | None:
    """The one value that there is, or that all of several are."""
    known = [v for v in values if v is not None]
    for other in known[1:]:
        if not np.array_equal(known[0], other, equal_nan=other.dtype.kind == "f"):
            raise DataError(
                f"{where}: the parts have different {what}; are their samples in the same order? Classes that "
                "mean something else are named targets, Events(..., targets={name: ...})"
            )
    return known[0] if known else None
