"""A data set as engines read it: quantised once, what losses compare with checked."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...data.augment import kernels
from ...data.events import disk
from ...data.inputs import split_inputs
from ...errors import DataError, EngineError, suggest
from ...losses import LossRecord
from ...plan import Plan, clock
from ...plan.clock import BLOCK

if TYPE_CHECKING:
    from ...data import Events
    from ...data.currents import Currents
    from ...data.inputs import DataSet, Inputs


NEARLY_ALL, FAR, SECONDS = 0.9, 20.0, 5.0
"""Spikes are in another unit than ms if this share of them is after the trial and the last by this factor; the duration
is in seconds, not the times in microseconds, up to this value."""
FEW = 2_000_000
"""Spikes of a data set that NumPy quantises by itself."""


@dataclass(frozen=True, eq=False)
class Data:
    """A data set as an engine reads it; spikes of sample i are ``offsets[i]:offsets[i + 1]``.

    Attributes:
        steps: (E,) int32. times: (E,) float64 ms, with exact spike times. channels: (E,) int32. offsets: (S + 1,).
        labels: (S,) int64, -1 without a label. targets: (S, ...) float64 if the loss compares with them, in the shape
            of `Loss.target_shape`. answers: labels and targets of auxiliary losses, by the population that they read.
        clipped: how many spikes were moved back into the last step.
        weights: (S,) float64, by which each sample counts in the mean of the loss over a batch, 1/B sum_b weight_b L_b;
            None: 1.
        numbers: (S,) int64 numbers of the samples in the whole data set, which key their noise; None: 0, 1, ...
        currents: of a network that has any, by their names.
        follows: (S,) bool, whether the trial of a sample continues that of the sample before; None: it never does.
        whole: whether a batch has all samples of its recordings, each the trial that `follows` makes of them.
        exchanged: whether the main loss is an auxiliary one of the user's plan, which needs no label in training.
    """

    steps: np.ndarray
    times: np.ndarray | None
    channels: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    clipped: int
    targets: np.ndarray | None = None
    weights: np.ndarray | None = None
    numbers: np.ndarray | None = None
    follows: np.ndarray | None = None
    whole: bool = False
    exchanged: bool = False
    answers: Mapping[str, tuple[np.ndarray, np.ndarray | None]] = field(default_factory=dict)
    currents: Mapping[str, Currents] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def first_spike(self, step: int, start: int, stop: int) -> int:
        """The first of spikes start .. stop - 1 of a sample at `step` or later."""
        steps: Any = self.steps
        there = isinstance(steps, StepsOnDisk)
        return steps.find(step, start, stop) if there else bisect_left(steps, step, start, stop)

    def for_loss(self, loss: LossRecord) -> Data:
        """The data with the labels and targets of this loss as the main ones."""
        if loss.output not in self.answers:
            return self
        labels, targets = self.answers[loss.output]
        return replace(self, labels=labels, targets=targets, answers={})

    def targets_of(self, samples: np.ndarray) -> np.ndarray:
        """What the readouts of `samples` are compared with: labels (B,) without -1, or targets (B, ...)."""
        return np.maximum(self.labels[samples], 0) if self.targets is None else self.targets[samples]

    def sample_weight(self, samples: np.ndarray) -> np.ndarray:
        """(B,) float64 weight_b / B, what the loss of each sample counts in the batch mean."""
        weights = self.weights_of(samples)
        return (np.ones(len(samples)) if weights is None else weights) / len(samples)

    def weights_of(self, samples: np.ndarray) -> np.ndarray | None:
        """(B,) weights of samples, None if all are 1."""
        return None if self.weights is None else self.weights[samples]

    def numbers_of(self, samples: np.ndarray) -> np.ndarray:
        """(B,) numbers of samples in the set that they come from."""
        return samples if self.numbers is None else self.numbers[samples]

    def scored(self, samples: np.ndarray, *, training: bool = False) -> np.ndarray:
        """(B,) whether a sample has something to compare with.

        Raises:
            EngineError: if one has not, and `training` needs it.
        """
        has = np.ones(len(samples), bool) if self.targets is not None else self.labels[samples] >= 0
        if training and not (self.exchanged or has.all()):
            raise EngineError("training needs a label for every sample; some have none")
        return has


class StepsOnDisk:
    """The steps of spikes whose times are mapped from a file, of a few spikes at a time; see `clock.input_steps`."""

    def __init__(self, times: np.ndarray, dt: float, shift: float, last: int) -> None:
        self._times, self._dt, self._shift, self._last = times, dt, shift, last

    def __len__(self) -> int:
        return len(self._times)

    def __getitem__(self, which: Any) -> Any:
        if isinstance(which, slice):
            return self._of(self._times[which])[0]
        return int(self._of(np.asarray(self._times[which]).reshape(1))[0][0])

    def _of(self, times: np.ndarray) -> tuple[np.ndarray, int]:
        return clock.input_steps(times, self._dt, self._shift, self._last)

    def find(self, step: int, start: int, stop: int) -> int:
        """The first of spikes start .. stop - 1 of a sample at `step` or later."""
        return self._search.find(step, start, stop)

    @cached_property
    def _search(self) -> disk.Search:
        return disk.Search(self)

    def clipped(self) -> int:
        """How many spikes are moved back into the last step."""
        starts = range(0, len(self), disk.BLOCK)
        parts = (self._times[k : k + disk.BLOCK] for k in starts)
        return sum(self._of(times)[1] for times in parts)


def mapped(data_set: Events | Inputs, plan: Plan) -> Data:
    """As `quantise`, but that events on the disk stay there: of their steps and channels, only slices can be taken."""
    events: Any
    events, currents = _inputs(data_set, plan)
    if not events.mapped:
        return _quantised(events, currents, plan)
    data = _quantised(events[:0], currents, plan)
    labels, targets = _answers(events, plan)
    others = {loss.output: _answers(events, plan.read_at(loss.output)) for loss in plan.auxiliary}
    exact = plan.spike_times == "exact"
    steps: Any = StepsOnDisk(events.times, plan.dt, 0.0 if exact else 0.5, plan.n_steps - 1)
    if clipped := steps.clipped():
        _check_times(events, plan.duration)
    return replace(
        data, steps=steps, times=events.times if exact else None, channels=events.channels, offsets=events.offsets,
        labels=labels, clipped=clipped, targets=targets, answers=others,
    )  # fmt: skip


def quantise(data: DataSet | Mapping[str, Events | Currents], plan: Plan) -> Data:
    """Events on the plan's grid, and currents; see `Engine.load`."""
    return _quantised(*_inputs(data, plan), plan)


def _inputs(data: DataSet | Mapping[str, Events | Currents], plan: Plan) -> tuple[Events, dict[str, Currents]]:
    """The spikes of all inputs, and the currents, which are checked."""
    events, currents = split_inputs(data, plan.input.sizes, {c.name: c.size for c in plan.currents})
    _check_currents(currents, plan)
    return events, currents


def _quantised(events: Events, currents: Mapping[str, Currents], plan: Plan) -> Data:
    if events.n_channels != plan.input.size:
        raise DataError(
            f"the data has {events.n_channels} channels, but input {plan.input.name!r} has {plan.input.size}; make the "
            f"network with net.input({events.n_channels}), or choose channels with data.augment.CropChannels"
        )
    labels, targets = _answers(events, plan)
    others = {loss.output: _answers(events, plan.read_at(loss.output)) for loss in plan.auxiliary}
    exact = plan.spike_times == "exact"
    # on the grid the nearest step, so that rounding has no bias; with exact times the step in which a spike is
    times = np.ascontiguousarray(events.times, np.float64) if exact else None
    steps, clipped = _steps(events.times, plan.dt, 0.0 if exact else 0.5, plan.n_steps - 1)
    if clipped or exact:  # else no spike is even near the end of the trial
        _check_times(events, plan.duration)
    channels = events.channels.astype(np.int32, copy=False)
    clipped = 0 if exact else clipped
    return Data(
        steps, times, channels, events.offsets, labels, clipped, targets, answers=others, currents=currents
    )  # fmt: skip


def _check_currents(currents: Mapping[str, Currents], plan: Plan) -> None:
    """Raise `DataError` for currents on another time grid than the network's, or that go on after the trial."""
    for c in plan.currents:
        values, dt = currents[c.name].values, currents[c.name].dt
        if abs(dt - c.dt) > 1e-9 * c.dt:
            raise DataError(
                f"current {c.name!r}: the data have a value every {dt:g} ms, the network has net.current(dt={c.dt:g}); "
                "make both the same"
            )
        last = math.ceil(plan.duration / dt - 1e-9)
        # sample by sample: the values may be mapped from a file larger than memory
        late = (i for i in range(len(values)) if values.shape[1] > last and np.any(values[i, last:]))
        if (sample := next(late, None)) is not None:
            raise DataError(
                f"current {c.name!r}: sample {sample} goes on after the trial of {plan.duration:g} ms; use a longer "
                f"duration, or currents.crop(0, {plan.duration:g})"
            )


def _answers(events: Events, plan: Plan) -> tuple[np.ndarray, np.ndarray | None]:
    """(labels (S,), targets or None) of the plan's main loss."""
    loss, classes = plan.loss, events.labels
    if loss.answer and loss.compares == "labels":
        classes = named_answer(events, loss)
        if classes.ndim != 1 or classes.dtype.kind not in "iu":
            raise DataError(f"the loss of {loss.output!r} needs a class for each sample; {loss.answer!r} has numbers")
    elif loss.answer and loss.answer != "label":  # the labels belong to another loss
        classes = None
    labels = np.full(len(events), -1, np.int64) if classes is None else np.asarray(classes, np.int64)
    if labels.size and (labels.max() >= loss.n_classes or labels.min() < -1):
        bad = int(np.argmax((labels >= loss.n_classes) | (labels < -1)))
        raise DataError(
            f"sample {bad} has {loss.answer or 'label'} {labels[bad]}, but the output {loss.output!r} has "
            f"{loss.n_classes} classes; count classes from 0, or make it a population of {labels.max() + 1} neurons"
        )
    return labels, _targets(events, plan)


def named_answer(events: Events, loss: LossRecord) -> np.ndarray:
    """The labels or targets of a data set that a loss asks for by name (`loss.answer`).

    Raises:
        DataError: it has no such target.
    """
    known = {} if events.labels is None else {"label": events.labels}
    known |= {n: events.targets[n] for n in (events.targets.dtype.names or ())} if events.targets is not None else {}
    if loss.answer not in known:
        raise DataError(
            f"the loss of {loss.output!r} is compared with {loss.answer!r}, but the data has no such target "
            f"({suggest(loss.answer, known)}); give Events targets={{{loss.answer!r}: ...}}"
        )
    return known[loss.answer]


def _check_times(events: Events, duration: float) -> None:
    """Raise `DataError` at the first spike that is not within the trial."""
    # block by block: the times may be mapped from a file larger than memory
    for start in range(0, len(events.times), BLOCK):
        block = events.times[start : start + BLOCK]
        if block.max() < duration:
            continue
        first = start + int(np.argmax(block >= duration))
        late = sum(
            int(np.count_nonzero(events.times[k : k + BLOCK] >= duration)) for k in range(0, len(events.times), BLOCK)
        )
        sample = int(np.searchsorted(events.offsets, first, side="right") - 1)
        raise DataError(
            f"sample {sample} has a spike at {events.times[first]:g} ms, outside the trial of {duration:g} ms "
            f"({late} such spikes in all); {_late_remedy(events, duration, late)}"
        )


def _late_remedy(events: Events, duration: float, late: int) -> str:
    """What to do about `late` spikes after the trial: another unit where nearly all are, and far outside."""
    latest = float(events.times.max())
    if late < NEARLY_ALL * len(events.times) or latest < FAR * duration:
        return "use a longer duration or crop the data"
    if duration <= SECONDS:
        return (
            f"is the duration in seconds? It is interpreted as ms: use duration={1000 * duration:g}, and dt in ms, or "
            "crop the data"
        )
    return (
        "are the times in microseconds? They are interpreted as ms: divide them by 1000, or use a longer duration or "
        "crop the data"
    )


def _steps(times: np.ndarray, dt: float, shift: float, last: int) -> tuple[np.ndarray, int]:
    """`clock.input_steps`, compiled where that is possible and worth while: compiling takes as long as NumPy needs for
    some ten million spikes."""
    if len(times) < FEW or not kernels.usable(times):
        return clock.input_steps(times, dt, shift, last)
    steps = np.empty(len(times), np.int32)
    return steps, kernels.to_steps(times, dt, shift, last, steps)


def _targets(events: Events, plan: Plan) -> np.ndarray | None:
    """The targets of a data set if the loss compares with them, checked against its shape.

    Raises:
        DataError: if they are missing or of the wrong shape.
    """
    loss = plan.loss
    if loss.compares != "targets":
        return None
    shape = loss.target_shape(plan.n_steps)
    wanted = "(" + ", ".join([str(len(events)), *("any number" if n is None else str(n) for n in shape)]) + ")"
    targets = named_answer(events, loss) if loss.answer else events.targets
    if targets is not None and targets.dtype.names:
        raise DataError(
            f"the data has several targets ({', '.join(targets.dtype.names)}); choose the one for the loss of "
            f"{loss.output!r} with loss.against(name)"
        )
    if targets is None:
        raise DataError(
            f"the loss compares the {loss.readout} of {plan.output.name!r} with targets, but the data has none; "
            f"give Events targets= of shape {wanted}"
        )
    got = targets.shape[1:]
    free = plan.spike_times == "exact" and loss.readout == "voltage" and len(got) == 2 and got[0] >= 2
    fits = len(got) == len(shape) and all(m == n or (n is None and m > 0) for n, m in zip(shape, got))
    if not (fits or (free and got[1] == shape[1])):
        meaning = {
            "voltage": f": V at k dt, k = 0 .. {plan.n_steps}, of every output",
            "spike_times": ": times in ms of every output's spikes, nan for none",
        }.get(loss.readout, ": a number for every output, nan for none")
        raise DataError(f"targets have shape {targets.shape}, but this loss needs {wanted}{meaning}")
    return np.asarray(targets, np.float64)


def batch_indices(data: Data, samples: Any) -> np.ndarray:
    """`samples` as an int64 array, checked against the data set."""
    samples = np.atleast_1d(np.asarray(samples))
    if samples.ndim != 1 or samples.size == 0:
        raise DataError(f"a batch needs a list of at least one sample, got an array of shape {samples.shape}")
    if samples.dtype.kind not in "iu":
        raise DataError(
            f"a batch is a list of sample indices, got {samples.dtype}; for a mask use np.flatnonzero(mask)"
        )
    if samples.min() < 0 or samples.max() >= len(data):
        outside = samples[(samples < 0) | (samples >= len(data))]
        raise DataError(f"sample {outside[0]} is not in a data set with {len(data)} samples (0 to {len(data) - 1})")
    return samples.astype(np.int64)
