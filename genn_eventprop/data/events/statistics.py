"""Statistics of a data set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .check import BLOCK, Recordings

DENSE = 2**20
"""Channels up to which a number is stored for every one of them."""


@dataclass(frozen=True)
class Statistics:
    """Counts of a data set.

    Args:
        name, samples, empty_samples, events: of the data set: its name, and how many there are.
        events_per_sample: (minimum, median, maximum).
        mean_events: mean of it.
        duration, mean_duration: ms, the longest and the mean time of the last event of a sample.
        n_channels, silent_channels: how many channels there are, and how many without an event.
        events_per_channel: (n_channels,); None where there are too many channels to list.
        active_channels, events_per_active_channel: channels with events, and how many each has.
        class_counts: (n_classes,) samples of every class; None without labels.
        missing_classes: classes without a sample.
        unlabelled: samples without a label.
        group_counts: group -> samples.

    Example:
        >>> events.statistics().samples, events.statistics().class_counts
        (20, array([10, 10]))
    """

    name: str
    samples: int
    empty_samples: int
    events: int
    events_per_sample: tuple[float, float, float]
    mean_events: float
    duration: float
    """ms, last event of all."""
    mean_duration: float
    """ms, mean over samples of the last event."""
    n_channels: int
    silent_channels: int
    events_per_channel: np.ndarray | None
    """(n_channels,); None beyond `DENSE` channels, where active_channels and their events say the same"""
    active_channels: np.ndarray
    """(A,) channels with events, ascending"""
    events_per_active_channel: np.ndarray
    """(A,)"""
    class_counts: np.ndarray | None
    """(n_classes,) samples of each class, None without labels."""
    missing_classes: tuple[int, ...]
    unlabelled: int
    group_counts: dict[int | str, int]

    def __str__(self) -> str:
        low, median, high = self.events_per_sample
        lines = [
            f"{self.name or 'events'}: {self.samples} samples ({self.empty_samples} empty), {self.events} events",
            f"  events/sample    mean {self.mean_events:.1f}, min {low:.0f}, median {median:.0f}, max {high:.0f}",
            f"  duration         mean {self.mean_duration:.1f} ms, longest {self.duration:.1f} ms",
            f"  channels         {self.n_channels}, {self.silent_channels} of them silent",
        ]
        if self.mean_duration > 0:
            per_channel = self.samples * self.mean_duration / 1000  # s
            mean, most = self.events / self.n_channels / per_channel, self.events_per_active_channel.max() / per_channel
            lines.append(f"  rate             mean {mean:.3g} Hz a channel, {most:.3g} Hz in the busiest")
        if self.class_counts is not None:
            missing = f", without samples: {list(self.missing_classes)}" if self.missing_classes else ""
            unlabelled = f", {self.unlabelled} unlabelled" if self.unlabelled else ""
            low, high = self.class_counts.min(), self.class_counts.max()
            lines.append(
                f"  classes          {len(self.class_counts)}, {low} to {high} samples each{missing}{unlabelled}"
            )
        if self.group_counts:
            sizes = self.group_counts.values()
            names = ", ".join(str(name) for name in list(self.group_counts)[:8])
            more = ", ..." if len(sizes) > 8 else ""
            lines.append(f"  groups           {len(sizes)}, {min(sizes)} to {max(sizes)} samples each: {names}{more}")
        return "\n".join(lines)


def count_channels(events: Recordings) -> tuple[np.ndarray, np.ndarray]:
    """(channels with events, their numbers of events); memory for the active channels and one block of events."""
    blocks = (events.channels[start : start + BLOCK] for start in range(0, len(events.channels), BLOCK))
    if events.n_channels <= DENSE:
        total = np.zeros(events.n_channels, np.int64)
        for block in blocks:
            total += np.bincount(block, minlength=events.n_channels)
        active = np.flatnonzero(total)
        return active, total[active]
    active, counts = np.empty(0, np.int64), np.empty(0, np.int64)
    for block in blocks:
        channels, n = np.unique(block, return_counts=True)
        both, place = np.unique(np.concatenate([active, channels]), return_inverse=True)
        counts = np.bincount(place, np.concatenate([counts, n]), len(both)).astype(np.int64)
        active = both
    return active, counts


def statistics(events: Recordings) -> Statistics:
    """Statistics of a data set; reads its arrays block by block."""
    counts, durations = events.counts, events.durations
    active, of_active = count_channels(events)
    per_channel = None
    if events.n_channels <= DENSE:
        per_channel = np.zeros(events.n_channels, np.int64)
        per_channel[active] = of_active
    classes = None
    if events.labels is not None and events.n_classes is not None:
        classes = np.bincount(events.labels[events.labels >= 0], minlength=events.n_classes)
    groups: dict[int | str, int] = {}
    if events.groups is not None:
        names, sizes = np.unique(events.groups, return_counts=True)
        groups = dict(zip(names.tolist(), sizes.tolist(), strict=True))
    empty = len(events) == 0
    return Statistics(
        name=events.name,
        samples=len(events),
        empty_samples=int((counts == 0).sum()),
        events=len(events.times),
        events_per_sample=(0.0, 0.0, 0.0) if empty else (counts.min(), float(np.median(counts)), counts.max()),
        mean_events=0.0 if empty else float(counts.mean()),
        duration=events.duration,
        mean_duration=0.0 if empty else float(durations.mean()),
        n_channels=events.n_channels,
        silent_channels=events.n_channels - len(active),
        events_per_channel=per_channel,
        active_channels=active,
        events_per_active_channel=of_active,
        class_counts=classes,
        missing_classes=() if classes is None else tuple(np.flatnonzero(classes == 0).tolist()),
        unlabelled=0 if events.labels is None else int((events.labels < 0).sum()),
        group_counts=groups,
    )
