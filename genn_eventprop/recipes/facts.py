"""What a data set is like: the numbers that rules look at.

Axis letters: S samples, T steps, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..data import Currents, Events
from ..data.augment.encodings import encoded
from ..data.augment.steps import Crop
from ..data.target_scale import has_targets
from ..errors import DataError
from .shown import SAMPLES, shown

DAY = 86_400_000.0
"""ms"""
CLOCK = 10 * DAY
"""Time of the first event above which times are taken for those of a clock."""


@dataclass(frozen=True)
class Facts:
    """A labelled data set in numbers; prints as the words that `genn-eventprop train DATA` begins with.

    Args:
        kind: "spikes" or "currents".
        samples, channels, classes: numbers of them; no class for a regression.
        targets: numbers that a regression predicts of a sample, else 0.
        smallest_class: samples of the rarest class; all of a regression.
        groups: names of groups (speakers, subjects); none without.
        mixed: share of all pairs of a class and a group that have samples, 1 where every speaker says every word.
        tested: whether the data have a test set of their own.
        duration: ms, the end of the longest sample.
        time_scale: ms. Of currents the lag at which the autocorrelation falls below 1/e; of spikes the median
            interval between two spikes of a channel, or `duration` where channels spike once.
        steps, dt: of currents, values of a channel and ms of each; 0 of spikes.
        shown: encoding as text -> share of samples told apart by what it shows, or of the variance of targets, see
            `shown`.
        line: encoding as text -> that share for a straight line alone; `shown` has the better of line and curve.
        late: share of `shown` that is lost without the last fifth of the trial; 0 of currents.
        spikes: of a channel and sample on average, among channels that spike at all; 0 of currents.
        low, high, mean, deviation: of the values of currents; 0 of spikes.
    """

    kind: str
    samples: int
    channels: int
    classes: int
    smallest_class: int
    duration: float
    time_scale: float
    groups: tuple[str, ...] = ()
    mixed: float = 0.0
    tested: bool = False
    targets: int = 0
    shown: Mapping[str, float] = field(default_factory=dict)
    line: Mapping[str, float] = field(default_factory=dict)
    steps: int = 0
    dt: float = 0.0
    late: float = 0.0
    spikes: float = 0.0
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    deviation: float = 0.0

    def __str__(self) -> str:
        groups = f", {len(self.groups)} groups" if self.groups else ""
        channels = "1 channel" if self.channels == 1 else f"{self.channels} channels"
        goal = f"{self.classes} classes"
        if self.targets:
            goal = "1 target" if self.targets == 1 else f"{self.targets} targets"
        what = f"{self.samples} samples of {self.kind}, {channels}, {goal}{groups}"
        if self.kind == "spikes":
            rest = f"{self.spikes:.3g} spikes a channel, typically {self.time_scale:.3g} ms apart"
        else:
            rest = f"{self.steps} values of {self.dt:g} ms, {self.low:.4g} to {self.high:.4g}"
            rest += f", alike for {self.time_scale:.3g} ms" if self.steps > 1 else ""
        return f"{what}; up to {self.duration:.4g} ms, {rest}"


def facts_of(data: Events | Currents, tested: bool = False) -> Facts:
    """The facts of data with labels, or with targets (S, K): all of them, or, where they are `tested`, of the training
    set.

    Raises:
        DataError: no samples, neither labels nor targets, a single class, targets that are all alike, or an input of
            another kind.
    """
    if not isinstance(data, (Events, Currents)):
        raise DataError(f"recipes are for one input, Events or Currents; got {type(data).__name__}: write a page")
    name = data.name or "the data"
    if not len(data):
        raise DataError(f"{name}: no samples, so nothing can be learned")
    data, counts = _answered(data, name)
    few = data[_few(data.labels, len(data))]
    if isinstance(few, Events) and few.times.size and (first := float(few.times.min())) > CLOCK:
        raise DataError(
            f"{name}: the first event is at {first:.6g} ms, {first / DAY:.0f} days after the start of a recording: are "
            "the times those of a clock? Subtract the start of each recording"
        )
    special: dict[str, Any] = _of_spikes(few) if isinstance(few, Events) else _of_currents(few)
    shares = shown(few, len(data))
    if isinstance(few, Events):
        early = shown(encoded([Crop(0.0, 0.8 * data.duration)], few)[1], len(data))
        special["late"] = max(map(max, shares.values())) - max(map(max, early.values()))
    return Facts(
        kind="spikes" if isinstance(data, Events) else "currents", samples=len(data), channels=int(data.n_channels),
        classes=len(counts), smallest_class=int(counts[counts > 0].min(initial=len(data))),
        targets=data.targets.shape[1] if has_targets(data) else 0,
        duration=float(data.duration), tested=tested, shown={text: max(share) for text, share in shares.items()},
        line={text: share.line for text, share in shares.items()}, **_groups(data), **special,
    )  # fmt: skip


def _few(labels: np.ndarray | None, samples: int) -> np.ndarray:
    """At most SAMPLES samples, evenly spaced: many sets are sorted by class. Where that takes the classes too unevenly
    (of labels that alternate, every second one is of one class), at random."""
    even = np.unique(np.linspace(0, samples - 1, min(SAMPLES, samples)).astype(np.int64))
    if labels is None:
        return even
    classes, counts = np.unique(labels, return_counts=True)
    expected = counts * len(even) / samples
    taken = (labels[even, None] == classes).sum(axis=0)
    # chi square, whose mean is n and variance 2 n for n degrees of freedom
    n = len(classes) - 1
    if ((taken - expected) ** 2 / expected).sum() <= n + 5 * (2 * n) ** 0.5:
        return even
    return np.sort(np.random.default_rng(0).permutation(samples)[:SAMPLES])


def _answered(data: Any, name: str) -> tuple[Any, np.ndarray]:
    """The samples with a label, or with all targets, and how many each class has."""
    if has_targets(data):
        data = data[np.flatnonzero(np.isfinite(data.targets).all(axis=1))]
        if not len(data) or (np.ptp(data.targets, axis=0) == 0).all():
            raise DataError(f"{name}: the targets are all alike or missing, so there is nothing to predict")
        return data, np.zeros(0, np.int64)
    if data.labels is None:
        raise DataError(
            f"{name}: no labels and no targets (S, K); give labels, put the files of each class into a folder of "
            "their own, or write a page with its own loss"
        )
    counts = np.bincount(data.labels[data.labels >= 0], minlength=data.n_classes or 0)
    if np.count_nonzero(counts) < 2:
        raise DataError(f"{name}: all samples are of one class, so there is nothing to tell apart")
    return data[np.flatnonzero(data.labels >= 0)], counts


def _groups(data: Events | Currents) -> dict[str, Any]:
    if data.groups is None:
        return {}
    names, group = np.unique(data.groups, return_inverse=True)
    if data.labels is None:
        return {"groups": tuple(map(str, names.tolist())), "mixed": 1.0}
    pairs = len(np.unique(np.stack([data.labels, group]), axis=1).T)
    return {"groups": tuple(map(str, names.tolist())), "mixed": pairs / (len(names) * len(np.unique(data.labels)))}


def _of_spikes(events: Events) -> dict[str, float]:
    if not len(events.times):
        raise DataError(f"{events.name or 'the data'}: no sample has a spike")
    place = events.sample_of_event * events.n_channels + events.channels
    order = np.lexsort((events.times, place))
    place, times = place[order], events.times[order]
    same = place[1:] == place[:-1]
    intervals = np.diff(times)[same]
    active = len(np.unique(events.channels))
    spikes = len(times) / (active * len(events))
    # of channels that spike once in most samples a rare second spike says nothing about the time scale
    scale = float(np.median(intervals)) if len(intervals) > len(times) / 2 else events.duration
    return {"time_scale": scale, "spikes": spikes}


def _of_currents(currents: Currents) -> dict[str, float]:
    values = np.asarray(currents.values, np.float64)
    facts = {
        "steps": currents.n_steps, "dt": currents.dt, "low": float(values.min()), "high": float(values.max()),
        "mean": float(values.mean()), "deviation": float(values.std()),
    }  # fmt: skip
    if facts["low"] == facts["high"]:
        raise DataError(
            f"{currents.name or 'the data'}: all values are {facts['low']:g}, so nothing tells classes apart"
        )
    return facts | {"time_scale": currents.dt * _correlated(values)}


def _correlated(values: np.ndarray) -> int:
    """Steps until the autocorrelation of (S, T, C) values falls below 1/e of that of lag 0; all if it does not."""
    steps = values.shape[1]
    spread = values - values.mean(1, keepdims=True)
    spectrum = np.square(np.abs(np.fft.rfft(spread, 2 * steps, axis=1))).mean((0, 2))
    lags = np.fft.irfft(spectrum, 2 * steps)[:steps]
    below = np.flatnonzero(lags < lags[0] / np.e)
    return int(below[0]) if len(below) else steps
