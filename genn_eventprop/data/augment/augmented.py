"""Augmented: the batches of a data set, augmented anew each epoch; and blend, which makes new samples of a class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import DataError, shown
from ..currents.currents import Currents
from ..events import check
from ..events.events import Events
from ..inputs import DataSet, Inputs, require_data
from . import kernels
from .batchwise import CurrentStep, Step, channel_in_range, check_range, concatenate, replace_events, sort_by_time
from .counter import CounterRNG
from .currents import CURRENT_STEPS
from .steps import STEPS

Steps = Sequence[Step | CurrentStep] | Mapping[str, Sequence[Step | CurrentStep]]


@dataclass(frozen=True)
class Blend:
    """New samples, each mixed from recordings of one class.

    The recordings' centres of mass are aligned in channel and time (at their mean), then each event of recording i is
    retained with probability keep[i]. Source: Nowotny, Turner, Knight 2025, doi 10.1088/2634-4386/ada852.

    Args:
        keep: one probability for each recording that is mixed.
        times: factor by which the data set grows; the published value is 2.
    """

    keep: tuple[float, ...] = (0.5, 0.5)
    times: float = 2.0

    def __post_init__(self) -> None:
        if len(self.keep) < 2:
            raise DataError(f"Blend: keep needs a probability for each of two or more recordings, got {self.keep!r}")
        for p in self.keep:
            check_range("Blend: keep", p, 0, 1)
        check_range("Blend: times", self.times, 1, 1000)

    def partners(self, labels: np.ndarray, rng: CounterRNG) -> np.ndarray:
        """(B, k) indices of the recordings of each new sample.

        New sample S + j starts from recording j mod S, so that classes keep their shares; the others are drawn from its
        class (another recording where there is one).
        """
        first = rng.samples % len(labels)
        order = np.argsort(labels, kind="stable")
        sizes = np.bincount(labels)
        start = (np.cumsum(sizes) - sizes)[labels[first]]
        size = sizes[labels[first]]
        rank = np.empty(len(labels), np.int64)
        rank[order] = np.arange(len(labels))
        chosen = [first]
        for k in range(1, len(self.keep)):
            away = 1 + np.floor(rng.per_sample(f"blend partner {k}") * np.maximum(size - 1, 1)).astype(np.int64)
            chosen.append(order[start + (rank[first] - start + away) % size])
        return np.stack(chosen, axis=1)

    def __call__(self, events: Events, rng: CounterRNG, centres: np.ndarray | None = None) -> Events:
        """(B,) samples of the extended data set: numbers below S are the recordings of `events` themselves.

        Args:
            rng: its samples are the numbers, 0 .. times S - 1.
            centres: (2, S) centres of mass, nan where not known yet; filled as they are needed.
        """
        new = rng.samples >= len(events)
        if not new.any():
            return events[rng.samples]
        if events.labels is None or (events.labels < 0).any():
            raise DataError(
                f"{events.name or 'events'}: Blend mixes recordings of one class: every sample needs a label"
            )
        partners = self.partners(events.labels, rng)
        if len(self.keep) == 2 and kernels.usable(events.times, events.channels):
            if centres is None:
                centres = np.full((2, len(events)), np.nan)
            return self._compiled(events, partners, new, rng, centres)
        made = self._mixed(events, partners[new], CounterRNG(rng.seed, rng.epoch, rng.samples[new], rng.prefix))
        return interleaved(events, partners[:, 0], made, new)

    def _mixed(self, events: Events, partners: np.ndarray, rng: CounterRNG) -> Events:
        """New samples of these recordings (B, k)."""
        parts = [events[partners[:, k]] for k in range(len(self.keep))]
        centres = [centre_of_mass(part) for part in parts]
        target = np.mean(centres, axis=0)  # (2, B)
        moved = []
        for k, (part, centre) in enumerate(zip(parts, centres, strict=True)):
            by = target - centre
            keep = rng.per_event(f"blend keep {k}", part.counts) < self.keep[k]
            channels = part.channels + np.repeat(np.floor(by[1] + 0.5).astype(np.int32), part.counts)
            times = part.times + np.repeat(by[0], part.counts)
            keep &= channel_in_range(channels, events.n_channels) & (times >= 0)
            moved.append(replace_events(part, times, channels, keep))
        mixed = []
        for b in range(len(partners)):
            times, channels = zip(*(part.sample(b) for part in moved), strict=True)
            mixed.append(sort_by_time(np.concatenate(times), np.concatenate(channels)))
        return concatenate(mixed, parts[0], events.n_channels)

    def _compiled(
        self, events: Events, partners: np.ndarray, new: np.ndarray, rng: CounterRNG, centres: np.ndarray
    ) -> Events:
        """All samples, mixed of two recordings where `new`, by `kernels`, straight from the arrays of the set."""
        chosen = partners.T
        complete_centres(centres, events, np.unique(partners[new]))
        target = np.mean([centres[:, k] for k in chosen], axis=0)
        parts = []
        for k, of_part in enumerate(chosen):
            n = events.counts[of_part] if k == 0 else np.where(new, events.counts[of_part], -1)
            batch = kernels.Batch(events.times, events.channels, events.offsets[of_part], n)
            by = np.where(new, target - centres[:, of_part], 0.0)
            keys, keep = rng.keys(f"blend keep {k}"), np.full(len(partners), self.keep[k])
            parts.append((batch, by[0], np.floor(by[1] + 0.5).astype(np.int32), keys, keep))
        return Events.trusted(
            *kernels.blend(parts, events.n_channels), events.n_channels, **events.annotations_of(chosen[0])
        )


def complete_centres(centres: np.ndarray, events: Events, wanted: np.ndarray) -> None:
    """Fills in centres (2, S) of the samples `wanted` (B,) that are not there yet."""
    missing = wanted[np.isnan(centres[0, wanted])]
    if len(missing):
        batch = kernels.Batch(events.times, events.channels, events.offsets[missing], events.counts[missing])
        centres[:, missing] = kernels.sums(batch) / np.maximum(batch.n, 1)


def centre_of_mass(events: Events) -> np.ndarray:
    """(2, B) mean time (ms) and mean channel of each sample; 0 for an empty one."""
    owner, size = events.sample_of_event, np.maximum(events.counts, 1)
    return np.stack([np.bincount(owner, x, len(events)) / size for x in (events.times, events.channels)])


def interleaved(events: Events, chosen: np.ndarray, made: Events, new: np.ndarray) -> Events:
    """Samples chosen[~new] of `events` and all of `made`, in the order that new (B,) tells, copied once."""
    source = np.where(new, 0, chosen)  # 0: any sample that exists, since `made` has the new ones
    counts = events.offsets[source + 1] - events.offsets[source]
    counts[new] = made.counts
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    times, channels = np.empty(offsets[-1]), np.empty(offsets[-1], np.int32)
    position = 0
    for b, (is_new, i) in enumerate(zip(new.tolist(), source.tolist(), strict=True)):
        t, c = made.sample(position) if is_new else events.sample(i)
        position += is_new
        times[offsets[b] : offsets[b + 1]], channels[offsets[b] : offsets[b + 1]] = t, c
    annotations = events.annotations_of(source)
    for field in ("labels", "groups", "targets"):
        if annotations[field] is not None:
            annotations[field][new] = getattr(made, field)
    return Events.trusted(times, channels, offsets, events.n_channels, **annotations)


class Augmented:
    """A data set whose batches are augmented, the same for the same (seed, epoch, sample).

    Args:
        events: the data set: `Events`, `Currents`, or several inputs (`Inputs` or a dictionary).
        steps: augmentations, applied in order; of several inputs a dictionary by their names, of which each draws its
            own random numbers.
        blend: extends a data set of spikes with blended samples, with indices from len(events) on.
        seed: random seed of the run.

    Raises:
        DataError: a step for spikes among those for currents, or the other way round; steps for an input that is not
            there.

    Example:
        >>> train = Augmented(events, [Shift(40), Crop(0, 1000)], Blend(), seed=1)
        >>> batch = train.batch([3, 17, 9000], epoch=5)      # Events
        >>> Augmented({"touch": events, "stim": currents}, {"stim": [Noise(0.1)]})
    """

    def __init__(
        self, events: Any, steps: Steps = (), blend: Blend | None = None, seed: int = 0
    ) -> None:  # fmt: skip
        self.events: DataSet = require_data(events, "data set to augment")
        if isinstance(steps, str) or not isinstance(steps, Iterable):
            raise DataError(f"Augmented: steps are a list such as [Shift(4), Jitter(1.0)], got {shown(steps)}")
        self.steps: Any = dict(steps) if isinstance(steps, Mapping) else tuple(steps)
        self.blend, self.seed = blend, seed
        if blend is not None and not isinstance(self.events, Events):
            raise DataError("Blend mixes recordings of spikes; of currents and several inputs give steps alone")
        for part, chain in self._chains():
            _check_steps(part, chain)
        self.size = len(self.events) if blend is None else round(blend.times * len(self.events))
        self._centres = np.full((2, len(self.events)), np.nan)
        first = self.batch([], epoch=0)
        self.n_channels = None if isinstance(first, Inputs) else first.n_channels

    def __len__(self) -> int:
        return self.size

    def _chains(self) -> list[tuple[Events | Currents, Sequence[Any]]]:
        """The inputs that are augmented, with their steps."""
        if isinstance(self.events, Inputs) != isinstance(self.steps, dict) and self.steps:
            raise DataError(
                "Augmented: of several inputs give a dictionary of steps, {name of the input: [step, ...]}; of one, a "
                "list"
            )
        if isinstance(self.events, Inputs):
            return [(self.events[name], chain) for name, chain in dict(self.steps).items()]
        return [(self.events, self.steps)]

    def batch(self, indices: Sequence[int] | np.ndarray, epoch: int) -> Any:
        """The samples of that epoch, in the order asked for."""
        chosen = check.sample_indices(indices, self.size, self.events.name or "events")
        rng = CounterRNG(self.seed, epoch, chosen)
        if isinstance(self.events, Inputs):
            parts = self.events[chosen]
            return parts.with_parts(
                {n: apply_steps(chain, parts[n], rng.for_input(n)) for n, chain in dict(self.steps).items()}
            )
        blend = self.blend if isinstance(self.events, Events) else None
        batch: Any = self.events[chosen] if blend is None else blend(self.events, rng, self._centres)  # type: ignore[arg-type]
        return apply_steps(self.steps, batch, rng)

    def labels_of(self, indices: np.ndarray) -> np.ndarray:
        """(B,) int64 labels of samples, -1 without one, without making them; blends have that of their first part."""
        labels = self.events.labels
        return np.full(len(indices), -1) if labels is None else np.asarray(labels, np.int64)[indices % len(labels)]

    def epoch(self, epoch: int) -> Any:
        """All samples of that epoch at once."""
        return self.batch(np.arange(self.size), epoch)


def apply_steps(steps: Sequence[Any], batch: Any, rng: CounterRNG) -> Any:
    """A batch after a chain of steps."""
    for position, step in enumerate(steps):
        batch = step(batch, rng.for_step(position))
    return batch


def _check_steps(part: Events | Currents, steps: Sequence[Any]) -> None:
    """Raise `DataError` for a step of the wrong kind; functions of one's own are not looked at."""
    for step in steps:
        if not callable(step) or isinstance(step, type):
            raise DataError(f"Augmented: a step is an object such as Shift(4), got {shown(step)}")
    for step in steps:
        of_currents, of_spikes = isinstance(step, CurrentStep), type(step) in STEPS.values()
        if of_currents if isinstance(part, Events) else of_spikes:
            given, known = ("spikes", STEPS) if isinstance(part, Events) else ("currents", CURRENT_STEPS)
            raise DataError(
                f"{type(step).__name__} is no augmentation of {given}; for these there are {', '.join(sorted(known))}"
            )
