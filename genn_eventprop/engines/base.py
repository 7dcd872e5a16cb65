"""What every engine offers: load a data set, run a batch of trials, hand out gradients, apply an optimiser.

One test suite runs on all of them. Whatever the engine, nothing is lost silently: see `Result` and `Data`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..data import kernels
from ..errors import DataError, EngineError, suggest
from ..losses import LossRecord
from ..plan import Plan, PopulationRecord, clock
from ..plan.clock import BLOCK
from .carry import Carry
from .parts import Part
from .refuse import refuse
from .split import SplitForm
from .stochastic import keys

if TYPE_CHECKING:
    from ..data import Events


@dataclass(frozen=True, eq=False)
class Data:
    """A data set as an engine reads it; spikes of sample i are ``offsets[i]:offsets[i + 1]``.

    steps (E,) int32 and, in exact mode, times (E,) float64 ms; channels (E,) int32; offsets (S + 1,);
    labels (S,) int64, -1 without a label; clipped: how many spikes were moved back into the last step. targets
    (S, ...) float64 if the loss compares with them, in the shape of `Loss.target_shape`. weights (S,) float64: how much
    each sample counts in the mean of the loss over a batch, 1/B sum_b weight_b L_b; None: all the same, 1. numbers
    (S,) int64: of the samples in the set that these were taken from, which keys their noise; None: their own. follows
    (S,) bool: whether the trial of a sample goes on from that of the sample before it; None: it never does. answers:
    what auxiliary losses compare with, by the population that they read: (labels, targets) as above.
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
    answers: Mapping[str, tuple[np.ndarray, np.ndarray | None]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def seen_by(self, loss: LossRecord) -> Data:
        """The data with what this loss compares with as its labels and targets."""
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
        if training and not has.all():
            raise EngineError("training needs a label for every sample; some have none")
        return has


@dataclass(frozen=True, eq=False)
class Spikes:
    """Recorded spikes, sorted by sample, then time: sample (index into the batch), time (ms), neuron."""

    sample: np.ndarray
    time: np.ndarray
    neuron: np.ndarray

    @classmethod
    def in_order(cls, sample: np.ndarray, time: np.ndarray, neuron: np.ndarray) -> Spikes:
        """Sorted, spikes of one instant by neuron."""
        order = np.lexsort((neuron, time, sample))
        return cls(sample[order], time[order], neuron[order])


class Recorded(Mapping[str, Spikes]):
    """Spikes of populations, sorted when they are first looked at.

    Args:
        names: of the populations. read: number of one in `names` -> what `Spikes.in_order` takes.
    """

    def __init__(self, names: Sequence[str], read: Callable[[int], tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
        self._read, self._names, self._found = read, list(names), dict[str, Spikes]()
        self._raw: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def fetch(self) -> None:
        """Read all now, for a look after the engine has run again."""
        for i, name in enumerate(self._names):
            if name not in self._found and name not in self._raw:
                self._raw[name] = self._read(i)

    def __getitem__(self, name: str) -> Spikes:
        if name not in self._found:
            if name not in self._names:
                raise KeyError(name)
            raw = self._raw.pop(name) if name in self._raw else self._read(self._names.index(name))
            self._found[name] = Spikes.in_order(*raw)
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclass(frozen=True, eq=False)
class LossPart:
    """One of several losses on a batch: loss (B,), nan for a sample without anything to compare with, prediction (B,)
    and readout (B, K) as in `Result`."""

    loss: np.ndarray
    prediction: np.ndarray
    readout: np.ndarray


def summed(plan: Plan, parts: Mapping[str, LossPart]) -> np.ndarray:
    """(B,) the sum of losses times their factors; an auxiliary loss that has nothing to compare with adds nothing."""
    main, *others = plan.losses
    total = main.factor * parts[main.output].loss
    for loss in others:
        total = total + loss.factor * np.nan_to_num(parts[loss.output].loss)
    return total


@dataclass(frozen=True, eq=False)
class Result:
    """One batch of B trials.

    loss (B,) float64, nan without a label or target. prediction (B,) int64, -1 if no output decides (none spikes
    where spikes are read, or several have the largest score). readout (B, K) float64; first-spike readouts in ms, inf
    where silent. spike_counts: population -> (B, N) int64. guarded: how often the guard on 1 / gdot acted. spikes:
    population -> `Spikes`, if asked for. parts: of several losses, by the population that each reads: what it says,
    without its factor; `loss` is their sum, prediction and readout are those of the main one.
    """

    loss: np.ndarray
    prediction: np.ndarray
    readout: np.ndarray
    spike_counts: dict[str, np.ndarray]
    guarded: int
    spikes: Mapping[str, Spikes] | None
    parts: Mapping[str, LossPart] = field(default_factory=dict)


@dataclass(frozen=True)
class Availability:
    """Whether an engine runs on this machine, and why (not)."""

    name: str
    runs: bool
    detail: str


class Engine(SplitForm, ABC):
    """Runs one plan. `parameters` are live: write into them in place. `gradients` belong to the last training run.

    Args:
        plan: what to run.
        parameters: first values, by the names of `Network.initial_parameters`.
        slope_floor: lower bound of gdot in 1 / gdot, per ms; 0 clips nothing but a slope that is not positive.

    Gradients are those of the batch mean of the loss, scaled by the actual number of samples in the batch.
    """

    name: str = "engine"
    features: ClassVar[Mapping[str, frozenset[str]]] = {}
    """What it runs: "grid" and "exact", if it has such spike times, -> what it can do then, of `refuse.FEATURES`."""
    options: ClassVar[tuple[str, ...]] = ("slope_floor",)
    """The keyword arguments of `create` that it takes."""
    automatic: ClassVar[bool] = False
    """Whether engine="auto" may choose it; engines for verification run only when asked for by name."""
    own_differences: ClassVar[bool] = False
    """Whether gradcheck takes differences of its own losses, which resolve as much as those of `reference_event`."""

    @classmethod
    def availability(cls) -> Availability:
        """Whether it runs on this machine, and why (not)."""
        return Availability(cls.name, True, "")

    @classmethod
    def pays(cls, plan: Plan) -> bool:
        """Whether engine="auto" takes it for this plan, on this machine."""
        return cls.automatic

    def __init__(self, plan: Plan, parameters: Mapping[str, np.ndarray], *, slope_floor: float = 0.0) -> None:
        refuse(plan, self.name, self.features)
        self.plan = plan
        if not (np.isfinite(slope_floor) and slope_floor >= 0):
            raise EngineError(f"slope_floor must be a finite number >= 0, got {slope_floor}")
        self.slope_floor = float(slope_floor)
        self.seed, self.epoch = 0, 0  # what noise and dropout of training runs are drawn for
        self.reason = "asked for"
        self.remarks = _rounded_delays(plan)  # what a user should know of how it runs here
        expected = parameter_shapes(plan)
        for key in parameters:
            if key not in expected:
                raise EngineError(f"unknown parameter {key!r} ({suggest(key, expected)})")
        for key, shape in expected.items():
            if key not in parameters:
                raise EngineError(f"no value was given for parameter {key!r} of shape {shape}")
            if np.shape(parameters[key]) != shape:
                raise EngineError(
                    f"parameter {key!r} has shape {np.shape(parameters[key])}, this network needs {shape}"
                )
        plan.check_parameters({k: np.asarray(v) for k, v in parameters.items()})

    parameters: MutableMapping[str, np.ndarray]
    gradients: MutableMapping[str, np.ndarray]

    @abstractmethod
    def run(self, data: Data, samples: Any, *, training: bool = False, record_spikes: bool = False) -> Result:
        """Run the trials of `samples` (indices into the data set); with `training` also backwards."""

    def run_on(
        self, data: Data, samples: Any, carry: Carry | None, *, training: bool = False, record_spikes: bool = False
    ) -> tuple[Result, Carry]:
        """`run`, from the end of other trials, and how these end. Gradients take what was carried as given.

        Args:
            carry: of as many trials; None: from the beginning.
        """
        raise EngineError(self.cannot_carry())

    def cannot_carry(self) -> str:
        """Why trials of this plan cannot go on from the end of others; empty if they can."""
        return f"{self.name} carries no state from trial to trial; use engine='native' or 'reference_clock' on the grid"

    def notes(self, batch: int) -> list[str]:
        """Remarks on training with batches of this size."""
        return []

    def own(self, batch: int) -> slice:
        """Which samples of a batch of this size are run by this process: all, unless it shares them with others."""
        return slice(0, batch)

    def settle(self, number: int, processes: int) -> None:  # noqa: B027  (most engines take little room)
        """Make room for others: this is process `number` of `processes` with such an engine on this machine."""

    # batches shared by several processes (`training.distributed`)

    def slices_of(self, batch: int) -> int:
        """In how many slices a batch of this size is cut; a slice is run by one process. See `parts`."""
        return batch

    def run_part(
        self, data: Data, samples: np.ndarray, part: Part, *, training: bool
    ) -> tuple[Result, dict[int, np.ndarray]]:
        """One part, not empty, of the batch `samples`, as part of its mean: (result of its samples, root -> sum).

        The sums are flat gradients; those of all processes are added in order and go to `take_gradient`. An engine
        without slices of its own has one a process, so that its last bits depend on the number of processes.
        """
        result = self.run(data, samples[part.own], training=training)
        if not training:
            return result, {}
        scale = len(part) / part.batch
        return result, {part.first: np.concatenate([scale * self.gradients[k].ravel() for k in self.plan.trainable])}

    def room_for_gradient(self) -> np.ndarray:
        """(n,) room for a gradient in the layout of `run_part`."""
        learned = [self.parameters[k] for k in self.plan.trainable]
        return np.empty(sum(x.size for x in learned), learned[0].dtype if learned else np.float64)

    def add_sums(self, sums: dict[int, np.ndarray], slices: int) -> np.ndarray:
        """The sum over the whole batch, or a range of it, from the sums of all parts; they may be overwritten."""
        return np.add.reduce([sums[root] for root in sorted(sums)])

    def take_gradient(self, flat: np.ndarray) -> None:
        """Set `gradients` to the sum over all processes, in the layout of `run_part`."""
        start = 0
        for name in self.plan.trainable:
            gradient = self.gradients[name]
            gradient[...] = flat[start : start + gradient.size].reshape(gradient.shape)
            start += gradient.size

    def roots_of(self, part: Part) -> list[int]:
        """The keys of the sums that `run_part` gives for a part."""
        return [part.first] if len(part) else []

    def stochastic_keys(self, data: Data, samples: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
        """("noise" or "dropout", population) -> (B,) keys of the random numbers of these trials."""
        numbers = data.numbers_of(samples)
        kinds = [(k, p.name) for p in self.plan.populations for k in ("noise", "dropout") if getattr(p, k) > 0]
        return {(k, name): keys(k, name, self.seed, self.epoch, numbers) for k, name in kinds}

    def load(self, events: Events) -> Data:
        """Quantise a data set once for this plan's grid: the nearest step, at most T / dt - 1; see `plan/clock.py`.

        Raises:
            DataError: if channels, labels or times do not fit the network and the trial.
        """
        return quantise(events, self.plan)

    def finite(self, name: str) -> bool:
        """Whether a gradient of the last training run is finite everywhere."""
        return bool(np.isfinite(self.gradients[name]).all())

    def update(self, optimiser: Any) -> None:
        """One optimiser step on the trainable parameters with the gradients of the last training run."""
        names = self.plan.trainable
        self.use(optimiser)
        optimiser.update({k: self.parameters[k] for k in names}, {k: self.gradients[k] for k in names})

    def use(self, optimiser: Any) -> None:
        """Say which optimiser `update` will be given: an engine that compiles it in then does so only once.

        Settles parameters and bounds of an optimiser that is used for the first time.
        """
        if not optimiser.state:
            first = {k: self.parameters[k] for k in self.plan.trainable}
            optimiser.prepare(first, self.plan.bounds(self.parameters), self.plan.decay())

    def spike_jumps(self, counts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Population -> (B, N) what the regularisers add to the costate at its own spikes; counts: (B, N) each."""
        plan, jumps = self.plan, {}
        for p in plan.populations:
            terms = [
                r.jump(counts[p.name], plan.loss, plan.duration, self.parameters, self.whole_counts)
                for r in plan.spike_regularisers(p.name)
            ]
            if terms:
                jumps[p.name] = np.sum(terms, axis=0)
        return jumps

    def whole_counts(self, counts: np.ndarray) -> np.ndarray:
        """Counts (B, N) of the whole batch from those of the samples that are run here; replaced where those differ."""
        return counts

    def close(self) -> None:  # noqa: B027  (most engines hold nothing)
        """Free threads and memory; the engine cannot be used afterwards."""


DIVERGED = 1e30
"""A state beyond this has left the dynamics: it would be infinite or NaN next."""


def diverged(plan: Plan, p: PopulationRecord, sample: int, step: int, state: int, neuron: int) -> EngineError:
    """The error of dynamics that diverged: where and when, and what to do."""
    d = p.derived
    return EngineError(
        f"population {p.name!r}: {d.states[state]} of neuron {neuron} ({d.model.name}) diverged in sample "
        f"{sample} at {step * plan.dt:g} ms; weights and checkpoints are untouched. Use a smaller dt than {plan.dt:g} "
        "ms, smaller weights or learning rate, or a threshold that is reached earlier"
    )


def _rounded_delays(plan: Plan) -> list[str]:
    """A remark on the delays that the grid changes."""
    if plan.spike_times != "grid":
        return []
    moved = [c for c in plan.connections if abs(c.delay_steps * plan.dt - c.delay) > 1e-9 * plan.dt]
    changes = ", ".join(f"{c.name} {c.delay:g} -> {c.delay_steps * plan.dt:g} ms" for c in moved)
    return [f"delays rounded to whole steps: {changes}"] if moved else []


def parameter_shapes(plan: Plan) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter: those of connections, see `ConnectionRecord.values`; of neurons (N,) or (1,)."""
    shapes: dict[str, tuple[int, ...]] = {}
    for c in plan.connections:
        shapes |= c.values
    for p in plan.populations:
        for n in p.derived.params:
            shapes[f"{p.name}.{n}"] = (p.size,) if n in p.per_neuron else (1,)
    return shapes


def quantise(events: Events, plan: Plan) -> Data:
    """Events on the plan's grid; see `Engine.load`."""
    if events.n_channels != plan.input.size:
        raise DataError(
            f"the data has {events.n_channels} channels, but input {plan.input.name!r} has {plan.input.size}"
        )
    labels, targets = _answers(events, plan)
    others = {loss.output: _answers(events, plan.read_at(loss.output)) for loss in plan.auxiliary}
    exact = plan.spike_times == "exact"
    times = np.ascontiguousarray(events.times, np.float64) if exact else None
    steps, clipped = _steps(events.times, plan.dt, 0.0 if exact else 0.5, plan.n_steps - 1)
    if clipped or exact:  # else no spike is even near the end of the trial
        _check_times(events, plan.duration)
    channels = events.channels.astype(np.int32, copy=False)
    clipped = 0 if exact else clipped
    return Data(steps, times, channels, events.offsets, labels, clipped, targets, answers=others)


def _answers(events: Events, plan: Plan) -> tuple[np.ndarray, np.ndarray | None]:
    """(labels (S,), targets or None) of the plan's main loss."""
    loss, given = plan.loss, events.labels
    if loss.answer and loss.compares == "labels":
        given = named_answer(events, loss)
        if given.ndim != 1 or given.dtype.kind not in "iu":
            raise DataError(f"the loss of {loss.output!r} needs a class for each sample; {loss.answer!r} is no such")
    elif loss.answer and loss.answer != "label":  # the labels belong to another loss
        given = None
    labels = np.full(len(events), -1, np.int64) if given is None else np.asarray(given, np.int64)
    if labels.size and (labels.max() >= loss.n_classes or labels.min() < -1):
        bad = int(np.argmax((labels >= loss.n_classes) | (labels < -1)))
        raise DataError(
            f"sample {bad} has {loss.answer or 'label'} {labels[bad]}, but the output {loss.output!r} has "
            f"{loss.n_classes} classes"
        )
    return labels, _targets(events, plan)


def named_answer(events: Events, loss: LossRecord) -> np.ndarray:
    """What a data set calls `loss.answer`.

    Raises:
        DataError: it has no such target.
    """
    known = {} if events.labels is None else {"label": events.labels}
    known |= {n: events.targets[n] for n in (events.targets.dtype.names or ())} if events.targets is not None else {}
    if loss.answer not in known:
        raise DataError(
            f"the loss of {loss.output!r} is compared with {loss.answer!r}, and the data has no such target "
            f"({suggest(loss.answer, known)}); give Events targets={{{loss.answer!r}: ...}}"
        )
    return known[loss.answer]


def _check_times(events: Events, duration: float) -> None:
    """Raise `DataError` at the first spike that is not within the trial."""
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
            f"({late} such spikes in all); use a longer duration or crop the data"
        )


def _steps(times: np.ndarray, dt: float, shift: float, last: int) -> tuple[np.ndarray, int]:
    """`clock.input_steps`, compiled where that is possible."""
    if not kernels.usable(times):
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
            f"the data has several targets ({', '.join(targets.dtype.names)}); say which the loss of {loss.output!r} "
            "is compared with: loss.against(name)"
        )
    if targets is None:
        raise DataError(
            f"the loss compares the {loss.readout} of {plan.output.name!r} with targets, and the data has none; "
            f"give Events targets= of shape {wanted}"
        )
    found = targets.shape[1:]
    free = plan.spike_times == "exact" and loss.readout == "voltage" and len(found) == 2 and found[0] >= 2
    fits = len(found) == len(shape) and all(m == n or (n is None and m > 0) for n, m in zip(shape, found))
    if not (fits or (free and found[1] == shape[1])):
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
    outside = samples[(samples < 0) | (samples >= len(data))]
    if outside.size:
        raise DataError(f"sample {outside[0]} is not in a data set with {len(data)} samples (0 to {len(data) - 1})")
    return samples.astype(np.int64)
