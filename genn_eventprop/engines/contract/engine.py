"""What every engine offers: load a data set, run a batch of trials, return gradients, apply an optimiser.

One test suite runs on all of them. Whatever the engine, nothing is lost silently: see `Result` and `Data`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...errors import EngineError, suggest
from ...plan import Plan, PopulationRecord
from .data import Data, batch_indices, quantise
from .features import refuse
from .lock import EngineLock, mark_overrides, one_at_a_time
from .memory import check_batch, trial_bytes
from .noise import keys
from .parameters import parameter_shapes
from .result import Result
from .slices import Part
from .split import SplitForm
from .state import Carry

if TYPE_CHECKING:
    from ...data import Events


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
        parameters: initial values, by the names of `Network.initial_parameters`.
        slope_floor: lower bound of gdot in 1 / gdot, per ms; 0 clips nothing but a slope that is not positive.

    Gradients are those of the batch mean of the loss, scaled by the actual number of samples in the batch; 0 where a
    mask has no synapse. Threads may share an engine: its runs and steps wait for each other, and ``with engine.lock:``
    keeps several calls together.
    """

    name: str = "engine"
    features: ClassVar[Mapping[str, frozenset[str]]] = {}
    """What it runs: "grid" and "exact", if it has such spike times, -> what it can do then, of `refuse.FEATURES`."""
    options: ClassVar[tuple[str, ...]] = ("slope_floor",)
    """The keyword arguments of `create` that it takes."""
    automatic: ClassVar[bool] = False
    """Whether engine="auto" may choose it; engines for verification run only when asked for by name."""
    generates: ClassVar[bool] = True
    """Whether it generates code, which `program` shows."""
    own_differences: ClassVar[bool] = False
    """Whether gradcheck takes differences of its own losses, which resolve as much as those of `reference_event`."""

    lock: EngineLock

    def __new__(cls, *args: Any, **settings: Any) -> Engine:
        self = super().__new__(cls)
        self.lock, self._displaced = EngineLock(), set()
        return self

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        mark_overrides(cls)

    @classmethod
    def availability(cls) -> Availability:
        """Whether it runs on this machine, and why (not)."""
        return Availability(cls.name, True, "")

    @classmethod
    def pays(cls, plan: Plan) -> bool:
        """Whether engine="auto" takes it for this plan, on this machine."""
        return cls.automatic

    @classmethod
    def program(cls, plan: Plan, dtype: str = "float32") -> list[tuple[str, str]]:
        """(title, code) of all text that this engine generates to train `plan`; nothing is compiled.

        Raises:
            EngineError: it cannot run the plan, or interprets the plan instead of generating code.
        """
        raise EngineError(f"{cls.name} interprets the plan and generates no code")

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

    def clear_masked(self) -> None:
        """Set gradients to 0 where a mask has no synapse; every engine calls it once gradients are complete."""
        for c in self.plan.connections:
            if c.mask is not None and c.weight in self.gradients:
                self.gradients[c.weight][~c.mask] = 0

    @abstractmethod
    @one_at_a_time
    def run(self, data: Data, samples: Any, *, training: bool = False, record_spikes: bool = False) -> Result:
        """Run the trials of `samples` (indices into the data set); with `training` also backwards."""

    @one_at_a_time
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

    @one_at_a_time
    def settle(self, number: int, processes: int) -> None:  # noqa: B027  (most engines take little room)
        """Make room for others: this is process `number` of `processes` with such an engine on this machine."""

    def batch(self, data: Data, samples: Any) -> np.ndarray:
        """(B,) int64 indices of a batch, checked against the data set and the memory of this machine.

        Raises:
            DataError: samples that are not there. EngineError: more of them than memory is for.
        """
        samples = batch_indices(data, samples)
        check_batch(len(samples), self.trial_bytes())
        return samples

    def trial_bytes(self) -> int:
        """Bytes that each trial of a batch takes at least."""
        return trial_bytes(self.plan)

    @classmethod
    def gradient_copies(cls, batch: int) -> int:
        """Of the gradient, beside itself, that a batch of this size needs at least."""
        return 0

    # batches shared by several processes (`distributed`)

    def slices_of(self, batch: int) -> int:
        """In how many slices a batch of this size is cut; a slice is run by one process. See `parts`."""
        return batch

    @one_at_a_time
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

    @one_at_a_time
    def take_gradient(self, flat: np.ndarray) -> None:
        """Set `gradients` to the sum over all processes, in the layout of `run_part`."""
        start = 0
        for name in self.plan.trainable:
            gradient = self.gradients[name]
            gradient[...] = flat[start : start + gradient.size].reshape(gradient.shape)
            start += gradient.size
        self.clear_masked()

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

    @one_at_a_time
    def finite(self, name: str) -> bool:
        """Whether a gradient of the last training run is finite everywhere."""
        return bool(np.isfinite(self.gradients[name]).all())

    @one_at_a_time
    def update(self, optimiser: Any) -> None:
        """One optimiser step on the trainable parameters with the gradients of the last training run."""
        names = self.plan.trainable
        self.use(optimiser)
        optimiser.update({k: self.parameters[k] for k in names}, {k: self.gradients[k] for k in names})

    @one_at_a_time
    def use(self, optimiser: Any) -> None:
        """Say which optimiser `update` will be given: an engine that compiles it in then does so only once.

        Settles parameters and bounds of an optimiser that is used for the first time.
        """
        if not optimiser.state:
            first = {k: self.parameters[k] for k in self.plan.trainable}
            held = self.plan.held(self.parameters)
            optimiser.prepare(first, self.plan.bounds(self.parameters), self.plan.decay(), held)

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

    @one_at_a_time
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
