"""Long recordings as chunks, each the trial of a network that carries its state from one to the next."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import DataError
from ...plan import clock
from . import check
from .disk import Derived, OnDisk, Search
from .events import Events
from .samples import Samples


def chunks(
    events: Events, duration: float, dt: float, *, length: float | None = None, labels: Any = None,
    spike_times: Any = None, exact: bool = False, spans: Any = None,
) -> Events:  # fmt: skip
    """Recordings cut into chunks of `duration` ms, for `Trainer(..., carry=True)`.

    A spike goes to the chunk of its step floor(t / dt + 0.5), so that the chunks of a recording are one long trial on
    the grid; with `exact` to the chunk of its time, for a network with exact spike times.

    Args:
        events: S recordings, in memory or as `data.readers.recordings.open_recordings` leaves them in a file. duration:
            of a chunk in ms, a whole number of steps of `dt`. length: of all recordings in ms; None: each ends at its
            last spike. The last chunk is as long as the others.
        labels: (S, C) one per chunk with C chunks per recording; None: the label of the recording. -1: none, which only
            `Trainer.predict` takes. spike_times: (S, K, M) ms from the start of the recording, when the K outputs are
            to spike, nan for none; they become the targets of the chunks in which they are.
        exact: times are cut as they are, not by their steps.
        spans: in place of `labels`, for each recording a list of (start, end, label), ms: every chunk from start to end
            has that label, all others none. They begin and end between two chunks.

    Returns:
        The chunks of each recording in order; groups are the indices of the recordings. Targets of V(t), at every step
        of a recording (S, C steps + 1, K), are cut likewise.

    Raises:
        DataError: a chunk that is not a whole number of steps, labels or targets of another shape, a spike or target
            after `length`.
    """
    n = steps_of(duration, dt)
    shift = 0.0 if exact else 0.5

    def global_steps(times: np.ndarray) -> np.ndarray:
        steps = clock.input_steps(times, dt, shift, clock.LONGEST)[0]
        # the last step takes what comes within half a step of its end, as in any trial
        return steps if length is None else np.where(times <= length, np.minimum(steps, round(length / dt) - 1), steps)

    def local(times: np.ndarray) -> np.ndarray:
        chunk, step = np.divmod(global_steps(times), n)
        found = np.maximum(times - chunk * duration, 0.0)
        if exact:
            return np.minimum(found, np.nextafter(duration, 0.0))
        moved = clock.input_steps(found, dt, 0.5, clock.LONGEST)[0] != step
        return np.where(moved, step * dt, found)  # what rounding would put into another step

    filled = np.flatnonzero(events.counts)
    last = global_steps(np.asarray([events.times[k] for k in events.offsets[1:][filled] - 1], np.float64))
    counts = _numbers(len(events), last, filled, n, None if length is None else math.ceil(round(length / dt, 6) / n))
    first = np.concatenate([[0], np.cumsum(counts)])
    groups, place = np.repeat(np.arange(len(events)), counts), np.arange(first[-1]) - np.repeat(first[:-1], counts)
    if isinstance(events.times, OnDisk):
        steps = Search(Derived(events.times, global_steps, np.int64))
        bounds = (events.offsets[k : k + 2] for k in groups.tolist())
        offsets = [steps.find(c * n, int(a), int(b)) for c, (a, b) in zip(place.tolist(), bounds)]
        rows: Any = Derived(events.times, local, np.float64), events.channels, np.array([*offsets, len(events.times)])
        made: Any = Events.trusted
    else:
        chunk = first[events.sample_of_event] + global_steps(events.times) // n
        times = local(events.times)
        order = np.lexsort((times, chunk))
        sizes = np.bincount(chunk, minlength=first[-1])
        rows, made = (times[order], events.channels[order], np.concatenate([[0], np.cumsum(sizes)])), Events
    return made(*rows, events.n_channels, **chunk_annotations(events, counts, duration, dt, labels, spike_times, spans))


def steps_of(duration: float, dt: float) -> int:
    """Steps of a chunk.

    Raises:
        DataError: they are no whole number.
    """
    n = round(duration / dt)
    if n < 1 or abs(n * dt - duration) > 1e-9 * duration:
        raise DataError(f"a chunk of {duration:g} ms is not a whole number of steps of {dt:g} ms")
    return n


def chunk_annotations(
    data: Samples, counts: np.ndarray, duration: float, dt: float, labels: Any, spike_times: Any, spans: Any
) -> dict[str, Any]:
    """Those of the chunks of recordings, see `chunks`; counts: (S,) chunks of every recording."""
    n, first = steps_of(duration, dt), np.cumsum(counts) - counts
    groups, place = np.repeat(np.arange(len(data)), counts), np.arange(counts.sum()) - np.repeat(first, counts)
    chosen = _labels(data, labels, groups, counts) if spans is None else _of_spans(spans, counts, n, dt)
    chosen, n_classes = check.labels(chosen, len(groups), data.n_classes, data.name or "chunks")
    return {
        "labels": chosen, "groups": groups, "n_classes": n_classes, "name": data.name,
        "targets": _targets(data, groups, place, n) if spike_times is None else _late(spike_times, counts, duration),
    }  # fmt: skip


def timetable(cut: Samples, duration: float, answers: Any) -> np.ndarray:
    """What `Trainer.predict` says of chunks of `duration` ms, with their times in the recordings.

    Returns:
        (S,) records: `recording`, `start` and `end` in ms, `answer`, a class or as many numbers as a readout has.

    Example:
        >>> cut = chunks(Events.from_samples([([1.0, 12.0], [0, 1])], n_channels=2), 10.0, 1.0)
        >>> [tuple(map(float, row)) for row in timetable(cut, 10.0, [1, 0])]
        [(0.0, 0.0, 10.0, 1.0), (0.0, 10.0, 20.0, 0.0)]
    """
    on, answers = follows(cut), np.asarray(answers)
    if len(answers) != len(cut):
        raise DataError(f"{len(answers)} answers for {len(cut)} chunks; give what predict says of all of them")
    first = np.maximum.accumulate(np.where(on, 0, np.arange(len(cut))))
    kinds = [("recording", np.asarray(cut.groups).dtype), ("start", float), ("end", float)]
    table = np.empty(len(cut), [*kinds, ("answer", answers.dtype, answers.shape[1:])])
    table["recording"], table["answer"] = cut.groups, answers
    table["start"] = (np.arange(len(cut)) - first) * duration
    table["end"] = table["start"] + duration
    return table


def follows(events: Samples) -> np.ndarray:
    """(S,) bool: whether a sample has the group of the one before it, and so goes on from it.

    Raises:
        DataError: no groups, or a group whose samples do not stand together.
    """
    if events.groups is None:
        raise DataError(
            "carry=True needs recordings cut into chunks, with the recording of each in groups=; see data.events.chunks"
        )
    same = np.zeros(len(events), bool)
    same[1:] = events.groups[1:] == events.groups[:-1]
    if np.count_nonzero(~same) != len(np.unique(events.groups)):
        raise DataError("carry=True needs the chunks of each recording together and in order; the groups are mixed")
    return same


def _numbers(size: int, steps: np.ndarray, owner: np.ndarray, n: int, limit: int | None) -> np.ndarray:
    """(S,) chunks of every recording; steps: of the last spikes of those that have any."""
    last = np.zeros(size, np.int64)
    np.maximum.at(last, owner, steps // n)
    if limit is None:
        return last + 1
    if (last >= limit).any():
        bad = int(np.argmax(last >= limit))
        raise DataError(f"recording {bad} has spikes after its length of {limit} chunks")
    return np.full(size, limit)


def _labels(events: Samples, labels: Any, groups: np.ndarray, counts: np.ndarray) -> np.ndarray | None:
    if labels is None:
        return None if events.labels is None else events.labels[groups]
    labels = np.asarray(labels)
    if labels.ndim != 2 or len(labels) != len(counts) or (counts != labels.shape[1]).any():
        raise DataError(
            f"labels of chunks have shape {labels.shape}, the recordings have {sorted(set(counts.tolist()))} chunks"
        )
    return labels.ravel()


def _of_spans(spans: Any, counts: np.ndarray, n: int, dt: float) -> np.ndarray:
    """(chunks,) labels."""
    if len(spans) != len(counts):
        raise DataError(f"spans of {len(spans)} recordings for {len(counts)}; give a list for each, [] for none")
    labels = np.full(counts.sum(), -1, np.int64)
    steps = [round(t / dt) for mine in spans for start, end, _ in mine for t in (start, end)]
    for i, mine in enumerate(spans):
        first = counts[:i].sum()
        for start, end, label in mine:
            where = f"recording {i}: the span from {start:g} to {end:g} ms"
            a, b = round(start / dt), round(end / dt)
            if a % n or b % n or max(abs(a * dt - start), abs(b * dt - end)) > 1e-9 * max(end, dt):
                fits = f"those of {math.gcd(n, *steps) * dt:g} ms fit all spans"
                raise DataError(f"{where} does not begin and end between chunks of {n * dt:g} ms; {fits}")
            if not 0 <= a < b <= counts[i] * n:
                raise DataError(f"{where} is not within its {counts[i] * n * dt:g} ms")
            part = labels[first + a // n : first + b // n]
            if (part >= 0).any():
                raise DataError(f"{where} overlaps another; a chunk has one label")
            part[:] = label
    return labels


def _late(times: Any, counts: np.ndarray, duration: float) -> np.ndarray:
    """(S, K, M) times in recordings -> (chunks, K, M'), in chunks; a spike at the end of a chunk belongs to it."""
    times = np.asarray(times, np.float64)
    if times.ndim != 3 or len(times) != len(counts):
        raise DataError(
            f"spike_times have shape {times.shape}; they need ({len(counts)}, outputs, spikes), nan for none"
        )
    sample, output, _ = there = np.nonzero(~np.isnan(times))
    found = times[there]
    chunk = np.maximum(np.ceil(np.round(found / duration, 9)).astype(np.int64) - 1, 0)
    if (bad := (chunk >= counts[sample]) | (found < 0)).any():
        i = int(np.argmax(bad))
        raise DataError(
            f"spike_times: {found[i]:g} ms is not in recording {sample[i]} of {counts[sample[i]] * duration:g} ms"
        )
    row = (np.cumsum(counts) - counts)[sample] + chunk
    order = np.lexsort((found, output, row))
    place = row[order] * times.shape[1] + output[order]
    number = np.arange(len(place)) - np.searchsorted(place, place)  # of a spike among those of its output and chunk
    cut = np.full((counts.sum(), times.shape[1], max(int(number.max(initial=0)) + 1, 1)), np.nan)
    cut[row[order], output[order], number] = (found - chunk * duration)[order]
    return cut


def _targets(events: Samples, groups: np.ndarray, place: np.ndarray, n: int) -> np.ndarray | None:
    """(S, C n + 1, K) -> (chunks, n + 1, K); the value between two chunks belongs to both."""
    if events.targets is None:
        return None
    if events.targets.dtype.names:  # of whole recordings: every chunk has them
        return events.targets[groups]
    needed = (int(place.max(initial=0)) + 1) * n + 1
    if events.targets.ndim != 3 or events.targets.shape[1] != needed:
        raise DataError(f"targets have shape {events.targets.shape}, series of V(t) here have {needed} values")
    rows = place[:, None] * n + np.arange(n + 1)
    return events.targets[groups[:, None], rows]
