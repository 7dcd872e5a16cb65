"""Splits and protocols: samples for training, for choices, and for a test set that is read once, at the end."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias, TypeVar

import numpy as np

from ...errors import DataError, is_whole, suggest
from .samples import Samples

Set = TypeVar("Set", bound=Samples)


@dataclass(frozen=True, eq=False)
class Split:
    """Indices of a data set's samples; `name` says what was held out."""

    train: np.ndarray
    held_out: np.ndarray
    name: str = ""

    def __iter__(self) -> NoReturn:
        raise DataError("a split holds indices; for the samples write train, held_out = split.apply(events)")

    def apply(self, events: Set) -> tuple[Set, Set]:
        """(training, held-out) samples."""
        return events[self.train], events[self.held_out]


RNG: TypeAlias = int | np.random.Generator
"""A seed or a generator, as SPEC 7 of Scientific Python names it: ``rng=``."""


def rng_of(rng: RNG, purpose: str) -> np.random.Generator:
    """The generator itself, or one that depends on the seed and the purpose only."""
    if isinstance(rng, np.random.Generator):
        return rng
    if not is_whole(rng, 0):
        raise DataError(f"rng must be a non-negative integer (a seed) or a numpy.random.Generator, got {rng!r}")
    return np.random.default_rng([int(rng), zlib.crc32(purpose.encode())])


def _words(rng: RNG) -> str:
    """For the name of a split, which run folders keep."""
    return "a generator" if isinstance(rng, np.random.Generator) else f"seed {rng}"


def held_out_size(events: Samples, fraction: float) -> int:
    """Samples to hold out; at least one, and at least one is left to train on."""
    if not 0 < fraction < 1:
        raise DataError(f"the held-out fraction must lie between 0 and 1, got {fraction}")
    if len(events) < 2:
        raise DataError(f"{events.name or 'events'}: {len(events)} samples cannot be split; at least two are needed")
    return int(np.clip(round(fraction * len(events)), 1, len(events) - 1))


def random_split(events: Samples, fraction: float, rng: RNG = 0) -> Split:
    """Hold out a random fraction of the samples.

    Args:
        events: what is split. fraction: of the samples, in (0, 1), to hold out.
        rng: a seed, or a generator.
    """
    size = held_out_size(events, fraction)
    order = rng_of(rng, "random split").permutation(len(events))
    return Split(np.sort(order[size:]), np.sort(order[:size]), f"random {fraction:g}, {_words(rng)}")


def stratified_split(events: Samples, fraction: float, rng: RNG = 0) -> Split:
    """Hold out the same fraction of each class (rounded so that the total is right, and at least one of each class).

    Args:
        events: what is split. fraction: of each class, in (0, 1), to hold out.
        rng: a seed, or a generator.

    Raises:
        DataError: a sample without label, or a class with one sample only: it cannot be on both sides.
    """
    held_out_size(events, fraction)
    labels = all_labels(events, "a stratified split")
    stream = rng_of(rng, "stratified split")
    parts: list[np.ndarray] = []
    classes, counts = np.unique(labels, return_counts=True)
    owed = 0.0
    for label, count in zip(classes.tolist(), counts.tolist(), strict=True):
        if count < 2:
            raise DataError(
                f"{events.name or 'events'}: class {label} has one sample; a stratified split needs two of each class"
            )
        owed += fraction * count  # what rounding withheld from one class goes to the next: the total comes out right
        size = int(np.clip(round(owed), 1, count - 1))
        owed -= size
        parts.append(stream.permutation(np.flatnonzero(labels == label))[:size])
    chosen = np.sort(np.concatenate(parts))
    return Split(np.setdiff1d(np.arange(len(events)), chosen), chosen, f"stratified {fraction:g}, {_words(rng)}")


def group_split(events: Samples, group: int | str) -> Split:
    """Hold out all samples of one group (a speaker, a subject)."""
    groups = all_groups(events)
    known = np.unique(groups).tolist()
    if group not in known:
        raise DataError(
            f"{events.name or 'events'}: no group {group!r}; {suggest(str(group), [str(name) for name in known])}"
        )
    if len(known) == 1:
        raise DataError(f"{events.name or 'events'}: {group!r} is the only group; nothing would be left to train on")
    mask = groups == group
    return Split(np.flatnonzero(~mask), np.flatnonzero(mask), f"without {group}")


def leave_one_group_out(events: Samples) -> Iterator[Split]:
    """One split per group, in the order of their names: cross-validation over speakers."""
    for group in np.unique(all_groups(events)).tolist():
        yield group_split(events, group)


def folds(events: Samples, setting: str) -> dict[str, dict[str, int | str]]:
    """Leave-one-group-out as an experiment's `folds`: run name -> the setting that names the group to leave out."""
    return {f"without-{group}": {setting: group} for group in np.unique(all_groups(events)).tolist()}


def all_labels(events: Samples, purpose: str) -> np.ndarray:
    """(S,) labels, none missing."""
    if events.labels is None or (events.labels < 0).any():
        raise DataError(f"{events.name or 'events'}: {purpose} needs a label for every sample")
    return events.labels


def all_groups(events: Samples) -> np.ndarray:
    """(S,) groups."""
    if events.groups is None:
        raise DataError(f"{events.name or 'events'}: the samples have no groups (speakers); give groups to Events")
    return events.groups


class HeldOutTestSet:
    """A test set that can be opened only once, so that it cannot be used for choices.

    `Trainer.fit` opens it after the last epoch.
    """

    def __init__(self, events: Samples) -> None:
        self._events: Samples | None = events
        self.size = len(events)

    def __len__(self) -> int:
        return self.size

    def check(self, fits: Callable[[Any], object]) -> None:
        """Call `fits` for the errors that it raises; the test set stays closed."""
        fits(self._unread())

    def open(self) -> Any:
        """The data set; the second call is an error."""
        events, self._events = self._unread(), None
        return events

    def _unread(self) -> Any:
        if self._events is None:
            raise DataError(
                "the test set has already been opened: it is read only once, at the end; choose on the validation set"
            )
        return self._events
