"""What every engine offers: load a data set, run a batch of trials, return gradients, apply an optimiser.

One test suite runs on all of them. Whatever the engine, nothing is lost silently: see `Result` and `Data`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...errors import EngineError, suggest
from ...plan import Plan, PopulationRecord
from ...plan.coefficients import has_exact_step
from .currents import CurrentBatch
from .data import Data, batch_indices, quantise
from .features import engines_that, no_input_times, refuse
from .lock import EngineLock, mark_overrides, one_at_a_time
from .memory import check_batch, trial_bytes
from .noise import keys
from .observed import Observed, checked
from .options import EngineOption
from .parameters import parameter_shapes
from .recording import request
from .result import Result, Spikes
from .slices import BatchShard
from .split import READ, PendingPass, Readouts, check_slope
from .state import TrialState

if TYPE_CHECKING:
    from ...data import Events
    from ...data.currents import Currents
    from ...data.inputs import DataSet


@dataclass(frozen=True)
class Availability:
    """Whether an engine runs on this machine.

    Args:
        name: of the engine. runs: whether it does. detail: on what, or why not.

    Example:
        >>> from genn_eventprop.engines import availability
        >>> [engine.name for engine in availability() if engine.runs][-1]
        'reference_event'
    """

    name: str
    runs: bool
    detail: str


class Engine(ABC):
    """Runs one plan. `parameters` are live: write into them in place. `gradients` belong to the last training run.

    Args:
        plan: what to run.
        parameters: initial values, by the names of `Network.initial_parameters`.
        slope_floor: lower bound of gdot in 1 / gdot, per ms; 0 clips nothing but a slope that is not positive. With
            exact spike times it is for observed spikes alone.

    Gradients are those of the batch mean of the loss, scaled by the actual number of samples in the batch; 0 where a
    mask has no synapse. Threads may share an engine: its runs and steps wait for each other, and ``with engine.lock:``
    keeps several calls together.
    """

    name: str = "engine"
    features: ClassVar[Mapping[str, frozenset[str]]] = {}
    """What it runs: "grid" and "exact", if it has such spike times, -> what it can do then, of `features.FEATURES`."""
    options: ClassVar[tuple[str, ...]] = ("slope_floor",)
    """Which of dtype, threads and slope_floor it takes, which `create` has for all engines."""
    special_options: ClassVar[Mapping[str, EngineOption]] = {}
    """Further arguments, which only this engine has; users write them behind its name: "cuda(device=1)"."""
    when_compared: ClassVar[Mapping[str, Any]] = {}
    """Special options with which `verify` runs it: no result depends on the machine or a loose tolerance."""
    trajectory_loss_first: ClassVar[frozenset[str]] = frozenset()
    """Spike times with which a loss over the trial changes places with the main one for speed, though it need not."""
    automatic: ClassVar[bool] = False
    """Whether engine="auto" may choose it; engines for verification run only when asked for by name."""
    exact_by_itself: ClassVar[bool] = True
    """Whether spike_times="auto" may choose exact ones on it, if it has them."""
    generates: ClassVar[bool] = True
    """Whether it generates code, which `program` shows."""
    own_differences: ClassVar[bool] = False
    """Whether gradcheck can difference its losses: they resolve as much as those of `reference_event`."""

    runs_recordings: ClassVar[frozenset[str]] = frozenset()
    """The spike times with which it can run whole recordings in pieces, see `contract/recordings.py`."""

    splits: ClassVar[bool] = False
    """Whether it can run the forward and the backward pass of a batch in two calls, see `contract/split.py`."""

    weight_rows: str = "float32"
    """How weights are run; "float16": see `contract/half_rows.py`."""

    lock: EngineLock
    plan: Plan
    _inputs: np.ndarray | None = None
    _currents: CurrentBatch | None = None
    _pending: PendingPass
    _settings: dict[str, Any]

    def __new__(cls, *args: Any, **settings: Any) -> Engine:
        # here, not in __init__: a subclass may use the lock, or run the engine, before it calls that of the base class
        self = super().__new__(cls)
        self.lock, self._pending = EngineLock(), PendingPass()
        self._settings = {name: value for name, value in settings.items() if name not in ("plan", "parameters")}
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickle holds the plan, the settings and the parameters; the copy compiles or loads its own code."""
        state = {name: getattr(self, name) for name in ("seed", "epoch", "reason", "remarks")}
        parameters = {name: np.array(value) for name, value in self.parameters.items()}
        return _made, (type(self), self.plan, parameters, self._settings), state

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        mark_overrides(cls)

    @classmethod
    def availability(cls) -> Availability:
        """Whether it runs on this machine, and why (not)."""
        return Availability(cls.name, True, "")

    @classmethod
    def is_fastest_for(cls, plan: Plan) -> bool:
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
        self.seed, self.epoch = 0, 0  # these, and the sample, key the noise and dropout of training runs
        self.reason = "asked for"
        self.remarks = _rounded_delays(plan)  # shown to the user: how it runs here
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
        for c in self.plan.weighted:
            # engines compute the dense gradient; a weight that is no synapse must not learn, nor count in norms
            if c.mask is not None and c.weight in self.gradients:
                self.gradients[c.weight][~c.mask] = 0

    observes: ClassVar[frozenset[str]] = frozenset()
    """Spike times with which `run` takes spikes that others computed."""
    _observed: Mapping[str, Spikes] = {}  # population -> spikes that the run is given

    records: ClassVar[bool] = False
    """Whether it can `record` states and adjoints."""

    @one_at_a_time
    def record(
        self,
        data: Data,
        samples: Any,
        *,
        neurons: Mapping[str, Any] | Iterable[str] | None = None,
        states: Iterable[str] | None = None,
        adjoint: bool = True,
        times: Any = None,
        observed: Observed | None = None,
    ) -> dict[str, dict[str, np.ndarray]]:
        """States and adjoints over time of a batch, e.g. ``record(data, [0])["hidden"]["V"]``.

        They are those of the trials that `run` runs, but for noise and dropout, which do not act. Gradients stay.

        Args:
            neurons: population -> numbers of its neurons, None for all; or names of populations; None: all of them.
            states: names such as "V" and "lambda_V"; None: all states, and with `adjoint` their adjoints.
            times: (R,) ms, ascending, with exact spike times; None: the start of every step. At the time of an event
                both are those before it.
            observed: as for `run`.

        Returns:
            population -> name of the state -> (B, R, n) float64. On the grid the states are those behind the arrivals
            of the step, and adjoints those before its jumps; they belong to the mean loss of the batch, so that the
            samples need labels.

        Raises:
            EngineError: the engine records nothing, or there is no such population, neuron, state or time; and what
            `run` raises of observed spikes.
        """
        if not self.records:
            raise EngineError(
                f"{self.name} records no states; use {engines_that(lambda kind: kind.records)}, or "
                "training.record_trial, which runs the trial again on native"
            )
        asked = request(self.plan, neurons, states, adjoint, times)
        samples = self.batch(data, samples)
        data.scored(samples, training=asked.adjoint)
        with self.observing(self.take_observed(data, samples, observed)):
            return asked.choose(self.plan, self._record(data, samples, asked.times, asked.adjoint))

    def _record(self, data: Data, samples: np.ndarray, times: np.ndarray, adjoint: bool) -> dict[str, np.ndarray]:
        """Population -> (B, R, variables, N), the variables as in `recording.variables`; adjoints only if `adjoint`."""
        raise NotImplementedError

    @abstractmethod
    @one_at_a_time
    def run(
        self, data: Data, samples: Any, *, training: bool = False, record_spikes: bool = False,
        observed: Observed | None = None,
    ) -> Result:  # fmt: skip
        """Run the trials of `samples` (indices into the data set); with `training` also backwards.

        Args:
            observed: population -> its spikes, computed by others (docs/observed.md): a pair (times in ms, neurons)
                for every sample of the batch, times in ascending order, or `Spikes` as in a `Result`. They reset the
                population as its own would, which it has none of then; everything else runs by the model.

        Raises:
            DataError: spikes out of order, of a neuron that is not there, before 0, after the end, or two of one
                neuron at once; it names the sample. EngineError: an engine or a population that takes none.
        """

    def take_observed(self, data: Data, samples: np.ndarray, observed: Observed | None) -> dict[str, Spikes]:
        """Population -> spikes that `run` is given, checked; `samples`: of the batch.

        Raises:
            see `run`.
        """
        if observed and self.plan.spike_times not in self.observes:
            others = engines_that(lambda kind: self.plan.spike_times in kind.observes)
            raise EngineError(
                f"{self.name} takes no observed spikes with spike_times={self.plan.spike_times!r}"
                + (f"; use {others}" if others else "; use spike_times='grid'")
            )
        return checked(self.plan, data.numbers_of(samples), observed or {})

    @contextmanager
    def observing(self, spikes: Mapping[str, Spikes]) -> Iterator[None]:
        """What runs here is given these spikes, which `take_observed` has checked."""
        self._observed = spikes
        try:
            yield
        finally:
            self._observed = {}

    @one_at_a_time
    def run_from(
        self, data: Data, samples: Any, state: TrialState | None, *, training: bool = False, record_spikes: bool = False
    ) -> tuple[Result, TrialState]:
        """`run`, continuing other trials from their end, and the state at the end of these.

        Truncated BPTT: no gradient flows through the state into the trials before.

        Args:
            state: the state at the end of as many trials; None: begin at rest, as `run` does.
        """
        raise EngineError(self.why_stateless())

    def why_stateless(self) -> str:
        """Why `run_from` cannot run this plan; empty if it can."""
        return f"{self.name} carries no state from trial to trial; use engine='native' or 'reference_clock' on the grid"

    def recordings(self, chunk: int | None, memory: float) -> Any:
        """What runs whole recordings of this plan: a `RecordingRunner` of `contract/recordings.py`.

        Args:
            chunk: steps of a piece; None: 1000, or an interval if it is shorter. memory: bytes it may take.

        Raises:
            EngineError: the engine, or any engine with this plan, runs none.
        """
        raise EngineError(self.why_no_recordings())

    def why_no_recordings(self) -> str:
        """Why `recordings` runs none of this plan; empty if it does."""
        return f"{self.name} runs no whole recordings in pieces; use engine='native', or 'c99' on the grid"

    def notes(self, batch: int) -> list[str]:
        """Remarks on training with batches of this size."""
        return []

    def local_samples(self, batch: int) -> slice:
        """Which samples of a batch of this size this process runs: all, unless other ranks run some of them."""
        return slice(0, batch)

    @one_at_a_time  # noqa: B027  (most engines need nothing)
    def share_machine(self, number: int, processes: int) -> None:
        """Leave threads and devices to others: this is process `number` of `processes` that run such an engine here."""

    def batch(self, data: Data, samples: Any) -> np.ndarray:
        """(B,) int64 indices of a batch, checked against the data set and the memory of this machine.

        Raises:
            DataError: samples that are not there. EngineError: more of them than memory is for.
        """
        samples = batch_indices(data, samples)
        check_batch(len(samples), self._trial_bytes)
        return samples

    @cached_property
    def _trial_bytes(self) -> int:
        return self.trial_bytes()

    def trial_bytes(self) -> int:
        """Bytes that each trial of a batch needs at least."""
        return trial_bytes(self.plan)

    @classmethod
    def gradient_copies(cls, batch: int) -> int:
        """How many further copies of the gradient a batch of this size needs at least, e.g. one a slice."""
        return 0

    # a batch in two calls, see `contract/split.py`

    @one_at_a_time
    def forward(
        self, data: Data, samples: Any, *, keep: bool = True, stochastic: bool = False, record_spikes: bool = False,
        observed: Observed | None = None,
    ) -> Readouts:  # fmt: skip
        """Run the trials of `samples` forwards.

        Args:
            keep: what `backward` needs. It goes with the next run; until `backward`, parameters must stay as they are.
                Threads that share an engine hold its lock from `forward` to `backward`: ``with engine.lock:``.
            stochastic: noise and dropout act, as in training.
            record_spikes: may be read until the engine runs again.
            observed: as for `run`; `backward` takes the same.

        Raises:
            EngineError: the engine has no halves, or the loss does not read one number of every output; and what `run`
            raises of observed spikes.
        """
        if not self.splits:
            raise EngineError(
                f"{self.name} cannot run the forward and backward passes separately; use "
                f"{engines_that(lambda kind: kind.splits)}"
            )
        if self.plan.auxiliary:
            raise EngineError("a loss in Python reads only one population; make the plan with one loss")
        if self.plan.loss.readout not in READ:
            raise EngineError(
                f"the readout {self.plan.loss.readout!r} has its outer loss in the trial; a loss in Python needs one "
                f"of {', '.join(READ)}"
            )
        self.displace()
        self._inputs = None
        spikes = self.take_observed(data, self.batch(data, samples), observed)
        with self.observing(spikes):
            readouts, saved = self._forward_half(data, samples, keep, stochastic, record_spikes)
        if keep:
            self._pending.store(readouts, (saved, spikes), self.parameters)
        return readouts

    @one_at_a_time
    def backward(self, slope: Any, also: Mapping[str, Any] | None = None, *, inputs: bool = True) -> None:
        """Run the trials of the last `forward` backwards; sets `gradients` and `input_gradients`.

        Args:
            slope: dL/dr (B, K); where an output has no readout, it does not count. also: the same of readouts in
                `Readouts.also`, in their shapes; those that are left out do not count. inputs: whether
                `input_gradients` are wanted; without, it is quicker on some engines.

        Raises:
            EngineError: no forward run is stored, parameters have changed since, a wrong shape, or numbers that are
                not finite.
        """
        readouts, (saved, spikes) = self._pending.get()
        self._pending.check(self.parameters)
        if inputs and (why := no_input_times(self.plan, self.features)):
            raise EngineError(f"{self.name} {why}; or call backward with inputs=False")
        slope, others = check_slope(slope, readouts.value, ""), dict(also or {})
        slopes = {
            name: check_slope(others.pop(name, np.zeros_like(r)), r, f" of {name}") for name, r in readouts.also.items()
        }
        if others:
            raise EngineError(f"dL/dr is given for {', '.join(others)}, which the loss does not list in also=")
        self._pending.drop()
        with self.observing(spikes):
            of_inputs = self._backward_half(saved, slope, slopes, inputs)
        self._inputs = of_inputs if inputs else None

    @one_at_a_time
    def forget(self) -> None:
        """Free what the last `forward` left for `backward`."""
        self._pending.drop()

    def stop(self, stopping: bool = True) -> None:  # noqa: B027  (most engines let a batch end)
        """End the batch that runs, and every other until ``stop(False)``, with `Stopped`; for signal handlers.

        Most engines let a batch end. One that does not leaves gradients as they were before it.
        """

    def displace(self) -> None:
        """A run begins that overwrites what the last `forward` left; `backward` of another thread will say so."""
        self._pending.begin_run()

    @property
    def input_gradients(self) -> np.ndarray:
        """(E,) float64 dL/d(time) per ms of every input spike of the last `backward`, in the order of the data.

        On the grid it is D at the step of the arrival.
        """
        if self._inputs is None:
            raise EngineError("there are no gradients of input times; run forward and backward first, with inputs=True")
        return self._inputs

    def _forward_half(
        self, data: Data, samples: Any, keep: bool, stochastic: bool, record_spikes: bool
    ) -> tuple[Readouts, Any]:
        """(readouts, what `_backward_half` needs)."""
        raise NotImplementedError

    def _backward_half(self, saved: Any, slope: np.ndarray, also: dict[str, np.ndarray], inputs: bool) -> np.ndarray:
        """Sets gradients, returns those of input times, anything if `inputs` is False."""
        raise NotImplementedError

    # batches shared by several processes (`distributed`)

    def slices_of(self, batch: int) -> int:
        """In how many slices a batch of this size is cut; a slice is run by one process (`contract/slices.py`)."""
        return batch

    @one_at_a_time
    def run_shard(
        self, data: Data, samples: np.ndarray, shard: BatchShard, *, training: bool
    ) -> tuple[Result, dict[int, np.ndarray]]:
        """One shard, not empty, of the batch `samples`: (result of its samples, subtree -> sum of its gradients).

        The sums are flat gradients of the mean over the whole batch. Those of all processes are added in order by
        `add_subtrees` and go to `set_gradient`. Here a shard is one subtree, so that the last bits of a gradient depend
        on the number of processes; an engine with slices (`native`) overrides this.
        """
        result = self.run(data, samples[shard.samples], training=training)
        if not training:
            return result, {}
        scale = len(shard) / shard.batch  # from the mean over the shard to its part in that over the batch
        return result, {shard.first: np.concatenate([scale * self.gradients[k].ravel() for k in self.plan.trainable])}

    def units(self, data: Data, samples: np.ndarray) -> np.ndarray:
        """(U + 1,) where in a batch each of the U parts begins that no shard cuts: every sample is one."""
        return np.arange(len(samples) + 1)

    def empty_gradient(self) -> np.ndarray:
        """(n,) uninitialised gradient in the layout of `run_shard`."""
        learned = [self.parameters[k] for k in self.plan.trainable]
        return np.empty(sum(x.size for x in learned), learned[0].dtype if learned else np.float64)

    def add_subtrees(self, sums: dict[int, np.ndarray], slices: int) -> np.ndarray:
        """The sum over the whole batch, of all numbers or a range of them, from the sums of all shards.

        Args:
            sums: first slice of a subtree -> (n,) its sum; may be overwritten.
        """
        return np.add.reduce([sums[first] for first in sorted(sums)])

    @one_at_a_time
    def set_gradient(self, flat: np.ndarray) -> None:
        """Set `gradients` to the sum over all processes, in the layout of `run_shard`."""
        start = 0
        for name in self.plan.trainable:
            gradient = self.gradients[name]
            gradient[...] = flat[start : start + gradient.size].reshape(gradient.shape)
            start += gradient.size
        self.clear_masked()

    def subtrees_of(self, shard: BatchShard) -> list[int]:
        """The keys of the sums that `run_shard` returns for a shard."""
        return [shard.first] if len(shard) else []

    def stochastic_keys(self, data: Data, samples: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
        """("noise" or "dropout", population) -> (B,) keys of the random numbers of these trials."""
        numbers = data.numbers_of(samples)
        return {(k, name): keys(k, name, self.seed, self.epoch, numbers) for k, name in self._random}

    @cached_property
    def _random(self) -> list[tuple[str, str]]:
        """("noise" or "dropout", population) of all that is random in training."""
        return [(k, p.name) for p in self.plan.populations for k in ("noise", "dropout") if getattr(p, k) > 0]

    @property
    def current_gradients(self) -> Mapping[str, np.ndarray]:
        """Current -> (B, V, M) dL/dc of every value of the last training run, or `backward`, in the order of its batch.

        They belong to the mean loss of the batch, like `gradients`.
        """
        if self._currents is None:
            raise EngineError("there are no gradients of currents; run with training=True a network that has currents")
        return self._currents.of_currents

    def load(self, events: DataSet | Mapping[str, Events | Currents]) -> Data:
        """Quantise a data set once for this plan's grid: the nearest step, at most T / dt - 1; see `plan/clock.py`.

        Args:
            events: `Events`; of a network with several inputs also a dictionary of `Events` and `Currents` by their
                names; `Currents` alone if a current is the only input.

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
        """Announce the optimiser of `update`, so that an engine that compiles it in does so only once.

        Prepares an optimiser that is used for the first time: its state and bounds.
        """
        if not optimiser.state:
            first = {k: self.parameters[k] for k in self.plan.trainable}
            enforced = self.plan.enforced_bounds(self.parameters)
            optimiser.prepare(first, self.plan.bounds(self.parameters), self.plan.decay(), enforced)

    def spike_jumps(self, counts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Population -> (B, N) jump of lambda at each of its spikes by the regularisers; counts: (B, N) each."""
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
        """Spike counts (B, N) of the whole batch from those of the samples run here; ranks replace this."""
        return counts

    @one_at_a_time  # noqa: B027  (most engines have nothing to free)
    def close(self) -> None:
        """Free threads and memory; the engine cannot be used afterwards."""


DIVERGED = 1e30
"""A state beyond this has left the dynamics: it would be infinite or NaN next."""


def diverged(plan: Plan, p: PopulationRecord, sample: int, step: int, state: int, neuron: int) -> EngineError:
    """The error of dynamics that diverged: where and when, and what to do."""
    d = p.derived
    remedies = ["smaller weights", "a smaller learning rate"]
    if not has_exact_step(d):
        remedies = [f"a smaller dt than {plan.dt:g} ms", *remedies, *(["a lower threshold"] if p.spiking else [])]
    return EngineError(
        f"population {p.name!r}: {d.states[state]} of neuron {neuron} ({d.model.name}) diverged in sample "
        f"{sample} at {step * plan.dt:g} ms; weights and checkpoints are untouched. Use {', '.join(remedies[:-1])} or "
        f"{remedies[-1]}"
    )


def _rounded_delays(plan: Plan) -> list[str]:
    """A remark on the delays that the grid changes."""
    if plan.spike_times != "grid":
        return []
    moved = [c for c in plan.connections if abs(c.delay_steps * plan.dt - c.delay) > 1e-9 * plan.dt]
    changes = ", ".join(f"{c.name} {c.delay:g} -> {c.delay_steps * plan.dt:g} ms" for c in moved)
    return [f"delays rounded to whole steps: {changes}"] if moved else []


def _made(kind: type[Engine], plan: Plan, parameters: Mapping[str, np.ndarray], settings: dict[str, Any]) -> Engine:
    """Of a pickle."""
    return kind(plan, parameters, **settings)
