"""The training set as the trainer sees it: fixed and loaded once, or augmented afresh each epoch."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.augment.recordings import AugmentedRecordings
from ..data.inputs import DataSet, require_data
from ..distributed.engine import RankedEngine
from ..engines import Data, Engine
from ..engines.contract.data import StepsOnDisk, quantise
from ..runs.fingerprint import describe_data
from .checks import check_labels
from .class_weights import ClassWeights
from .stateful import RecordingEngine, StatefulEngine

if TYPE_CHECKING:
    from ..data.augment.augmented import Augmented

Batch = tuple[Data, np.ndarray, int]
"""(data, samples of it that form the batch, input spikes clipped that `Batches.clipped` does not count)."""


class Batches:
    """Batches of a fixed data set, quantised once for the engine's grid.

    `events` are the samples as they were given. `clipped` counts the input spikes of the whole set that were moved back
    into the trial's last step; `description` tells two sets apart.
    """

    def __init__(self, events: DataSet, engine: Engine, weights: ClassWeights) -> None:
        self.events, self.engine = events, engine
        data = engine.load(events)
        check_labels(data.labels, "training", needed=data.targets is None and not data.whole)
        weights.settle(data.labels)
        self.data = weights.apply(data)
        self.clipped = self.data.clipped
        self.description = describe_data(events)

    def __len__(self) -> int:
        return len(self.data)

    @property
    def follows(self) -> np.ndarray | None:
        """(S,) whether samples go on from those before them, see `engines.Data`."""
        return self.data.follows

    @property
    def whole(self) -> bool:
        """Whether batches are whole recordings, see `engines.Data`."""
        return self.data.whole

    def first(self, n: int) -> DataSet:
        """The first n samples as the network gets them in the first epoch."""
        return self.events[:n]

    def some(self, samples: np.ndarray) -> tuple[Data, np.ndarray]:
        """A few samples as the network gets them in the first epoch, and their numbers in these data."""
        if isinstance(self.data.steps, StepsOnDisk):
            return quantise(self.events[samples], self.engine.plan), np.arange(len(samples))
        return self.data, samples

    def of(self, order: list[np.ndarray], epoch: int) -> Iterator[Batch]:
        """The batches of `order`, lists of sample numbers."""
        for samples in order:
            yield self.data, samples, 0


class AugmentedBatches(Batches):
    """Batches of a set that is augmented; the next one is prepared while the engine runs the one before."""

    def __init__(self, augmented: Augmented, engine: Engine, weights: ClassWeights) -> None:
        inner = _without_ranks(engine)
        grouped = augmented.events.groups is not None
        self.recordings: AugmentedRecordings | None = None
        if isinstance(inner, StatefulEngine) or (isinstance(inner, RecordingEngine) and grouped):
            plan = engine.plan
            self.recordings = AugmentedRecordings(augmented, plan.duration, plan.dt, plan.spike_times == "exact")
        self._whole = isinstance(inner, RecordingEngine) and self.recordings is not None
        if isinstance(inner, RecordingEngine) and self.recordings is not None:
            inner.expect(self.recordings.follows)
        self.augmented, self.engine, self.weights = augmented, engine, weights
        self.events = augmented.events
        labels = augmented.events.labels
        labels = np.full(len(augmented.events), -1) if labels is None else np.asarray(labels)
        check_labels(labels, "training", needed=engine.plan.loss.compares == "labels" and not self._whole)
        weights.settle(labels)
        self.clipped = 0
        self.description = describe_data(augmented.events)
        if augmented.steps or augmented.blend:
            steps = augmented.steps if isinstance(augmented.steps, dict) else (*augmented.steps, augmented.blend)
            self.description += f", augmented by {steps}, seed {augmented.seed}"

    def __len__(self) -> int:
        return len(self.augmented)

    @property
    def follows(self) -> np.ndarray | None:
        return None if self.recordings is None else self.recordings.follows

    @property
    def whole(self) -> bool:
        return self._whole

    def _made(self, samples: np.ndarray, epoch: int) -> Any:
        return (self.recordings or self.augmented).batch(samples, epoch)

    def first(self, n: int) -> DataSet:
        return self._made(np.arange(min(n, len(self))), 0)

    def some(self, samples: np.ndarray) -> tuple[Data, np.ndarray]:
        made = self._made(samples, 0)
        load = self.engine.load if self.recordings is None else partial(quantise, plan=self.engine.plan)
        return load(made), np.arange(len(samples))

    def of(self, order: list[np.ndarray], epoch: int) -> Iterator[Batch]:
        if not order:  # an epoch that was interrupted after its last batch
            return
        with ThreadPoolExecutor(max_workers=1) as worker:
            waiting = [worker.submit(self._prepare, samples, epoch) for samples in order[:1]]
            for following in [*order[1:], None]:
                batch = waiting.pop().result()
                if following is not None:
                    waiting.append(worker.submit(self._prepare, following, epoch))
                yield batch

    def _prepare(self, samples: np.ndarray, epoch: int) -> Batch:
        if self.recordings is not None:
            made = self.weights.apply(quantise(self.recordings.batch(samples, epoch), self.engine.plan))
            on = self.recordings.follows[samples]
            data = replace(made, numbers=np.asarray(samples), follows=on, whole=self._whole)
            return data, np.arange(len(data)), data.clipped
        share = self.engine.local_samples(len(samples))  # what other ranks run of the batch, they prepare
        data = self.engine.load(self.augmented.batch(samples[share], epoch))
        clipped = data.clipped
        if len(data) < len(samples):
            data = embed_share(data, share, self.augmented.labels_of(samples))
        data = replace(self.weights.apply(data), numbers=np.asarray(samples))
        return data, np.arange(len(data)), clipped


def embed_share(data: Data, share: slice, labels: np.ndarray) -> Data:
    """`data` as the samples `share` of a batch with these labels (B,); the others have no inputs and targets."""
    before, after = share.start, len(labels) - share.stop
    offsets = np.concatenate([np.zeros(before, np.int64), data.offsets, np.full(after, data.offsets[-1])])

    def wide(values: np.ndarray, nothing: float) -> np.ndarray:
        rows = np.full((len(labels), *values.shape[1:]), nothing, values.dtype)
        rows[share] = values
        return rows

    def wide_targets(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else wide(values, np.nan)

    answers = {n: (wide(classes, -1), wide_targets(t)) for n, (classes, t) in data.answers.items()}
    currents = {name: c.replace(wide(c.values, 0.0)) for name, c in data.currents.items()}
    return replace(
        data, offsets=offsets, labels=labels, targets=wide_targets(data.targets), answers=answers, currents=currents
    )  # fmt: skip


def _without_ranks(engine: Engine) -> Engine:
    return engine.inner if isinstance(engine, RankedEngine) else engine


def batches_of(train: Any, engine: Engine, weights: ClassWeights) -> Batches:
    """The batches of either kind of training set; one that is mapped from disk is never loaded as a whole."""
    from ..data.augment.augmented import Augmented

    if isinstance(train, Augmented):
        return AugmentedBatches(train, engine, weights)
    train = require_data(train, "training set")
    if train.mapped and not isinstance(_without_ranks(engine), RecordingEngine):  # which reads what a piece needs
        return AugmentedBatches(Augmented(train), engine, weights)
    return Batches(train, engine, weights)
