"""What a data set holds, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genn_eventprop.data.check import BLOCK
from genn_eventprop.data.events import Events


@dataclass(frozen=True)
class Statistics:
    """Counts of a data set; `per_sample` quantiles are (minimum, median, maximum)."""

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
    events_per_channel: np.ndarray
    """(n_channels,)"""
    class_counts: np.ndarray | None
    """(n_classes,) samples of each class, None without labels."""
    missing_classes: tuple[int, ...]
    unlabelled: int
    group_counts: dict[int | str, int]

    def __str__(self) -> str:
        low, median, high = self.events_per_sample
        lines = [
            f"{self.name or 'events'}: {self.samples} samples ({self.empty_samples} empty), {self.events} events",
            f"  events a sample  mean {self.mean_events:.1f}, min {low:.0f}, median {median:.0f}, max {high:.0f}",
            f"  duration         mean {self.mean_duration:.1f} ms, longest {self.duration:.1f} ms",
            f"  channels         {self.n_channels}, {self.silent_channels} of them silent",
        ]
        if self.class_counts is not None:
            missing = f", without samples: {list(self.missing_classes)}" if self.missing_classes else ""
            unlabelled = f", {self.unlabelled} unlabelled" if self.unlabelled else ""
            low, high = self.class_counts.min(), self.class_counts.max()
            lines.append(f"  classes          {len(self.class_counts)} of {low} to {high} samples{missing}{unlabelled}")
        if self.group_counts:
            sizes = self.group_counts.values()
            names = ", ".join(str(name) for name in list(self.group_counts)[:8])
            more = ", ..." if len(sizes) > 8 else ""
            lines.append(f"  groups           {len(sizes)} of {min(sizes)} to {max(sizes)} samples: {names}{more}")
        return "\n".join(lines)


def statistics(events: Events) -> Statistics:
    """Statistics of a data set; reads its arrays block by block."""
    counts, durations = events.counts, events.durations
    per_channel = np.zeros(events.n_channels, np.int64)
    for start in range(0, len(events.channels), BLOCK):
        block = events.channels[start : start + BLOCK]
        per_channel += np.bincount(block, minlength=events.n_channels)
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
        silent_channels=int((per_channel == 0).sum()),
        events_per_channel=per_channel,
        class_counts=classes,
        missing_classes=() if classes is None else tuple(np.flatnonzero(classes == 0).tolist()),
        unlabelled=0 if events.labels is None else int((events.labels < 0).sum()),
        group_counts=groups,
    )
