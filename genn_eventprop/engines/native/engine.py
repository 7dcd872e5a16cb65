"""`native`: generated C++ for this network, a whole batch forwards and backwards in one call.

Samples of a batch go to threads in slices; a slice is processed whole by one thread and the slices' gradients are
summed in a fixed tree (`parts`), so the bits of a result depend neither on the number of threads or processes nor on
the run (on one kind of CPU). dt, the duration and all parameter values are run-time arguments.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from ...codegen.cpp import coded, generate, host_source
from ...codegen.cpp.context import streams
from ...errors import EngineError, ToolchainError
from ...plan import Plan
from ...program.host_values import auxiliary
from ...program.outer import on_host
from ...toolchain import find_compiler, require
from ..contract.data import Data
from ..contract.engine import Availability
from ..contract.features import (
    ALL,
    INEXACT_INTEGRALS,
    LEARNED_RECEPTOR_GAIN,
    MODEL_FEATURES,
    NONLINEAR_RECEPTOR_PATH,
    SHARED_TABLE_WEIGHTS,
    STEPWISE_READOUTS,
    THRESHOLD_JUMPS,
    TRAJECTORY_AUXILIARY_LOSS,
    VOLTAGE_LOSS_AFTER_TABLES,
    refuse,
)
from ..contract.host_losses import evaluate_outer_loss, prefixed_losses
from ..contract.noise import quantiles
from ..contract.result import LossPart, Result, summed
from ..contract.slices import BatchShard, add_in_tree
from ..contract.split import Readouts
from ..contract.state import TrialState
from .arrays import aligned
from .calls import BACKWARDS, FORWARDS, WHOLE, NativeCalls
from .carry import Carrying
from .memory import NativeMemory
from .routes import NativeRoutes
from .tables import NativeTables
from .threads import NativeThreads
from .values import NativeValues, segments

FEW_SLICES, MANY_SLICES = 16, 256
SAMPLES_A_SLICE = 4  # of batches with more than FEW_SLICES
SLICE_MEMORY = 512 * 2**20  # bytes that more than FEW_SLICES may take
TRAJECTORY_LIMIT = 256.0  # MiB a thread


class NativeEngine(NativeCalls):
    """See the module.

    Args:
        dtype: "float32" or "float64", of everything in the trial.
        threads: samples run on this many threads; None: all processors this process may use, but no more than slices.
        slices: gradients are summed in min(B, slices) slices; part of what defines a result's bits. None: 16, and from
            B = 128 on the power of 2 that leaves 4 to 7 samples a slice, so that many cores have work; at most 256, and
            no more than fit 512 MiB.
        trajectory_limit: MiB a thread may use for the states of a trial where the backward pass needs them (dynamics
            that are not linear, or learned); beyond it the trial is run twice, in segments. `trajectory` tells the MiB.
    """

    name = "native"
    features = {
        "grid": ALL
        - {
            LEARNED_RECEPTOR_GAIN,
            INEXACT_INTEGRALS,
            NONLINEAR_RECEPTOR_PATH,
            VOLTAGE_LOSS_AFTER_TABLES,
            TRAJECTORY_AUXILIARY_LOSS,
            SHARED_TABLE_WEIGHTS,
        },
        "exact": ALL
        - {
            *MODEL_FEATURES,
            THRESHOLD_JUMPS,
            LEARNED_RECEPTOR_GAIN,
            NONLINEAR_RECEPTOR_PATH,
            STEPWISE_READOUTS,
            TRAJECTORY_AUXILIARY_LOSS,
        },
    }
    options = ("slope_floor", "dtype", "threads")
    automatic = True
    own_differences = True

    @classmethod
    def availability(cls) -> Availability:
        try:
            compiler = find_compiler()
        except ToolchainError as error:
            return Availability(cls.name, False, str(error))
        return Availability(cls.name, True, f"{compiler.version} ({' '.join(compiler.command)})")

    @classmethod
    def program(cls, plan: Plan, dtype: str = "float32") -> list[tuple[str, str]]:
        refuse(plan, cls.name, cls.features)
        return [("C++ of the trial", generate(coded(plan).plan, dtype, split=on_host(plan)).text)]

    def __init__(
        self,
        plan: Plan,
        parameters: Mapping[str, np.ndarray],
        *,
        slope_floor: float = 0.0,
        dtype: str = "float32",
        threads: int | None = None,
        slices: int | None = None,
        trajectory_limit: float = TRAJECTORY_LIMIT,
        split: bool = False,
        carry: bool = False,
    ) -> None:
        super().__init__(plan, parameters, slope_floor=slope_floor)
        if dtype not in ("float32", "float64"):
            raise EngineError(f"dtype={dtype!r}: the native engine runs 'float32' or 'float64'")
        for name, number in (("threads", threads), ("slices", slices)):
            if number is not None and number < 1:
                raise EngineError(f"{name}={number}: must be at least 1")
        self.dtype, self.slices = np.dtype(dtype), slices
        self.threads = threads or min(available_processors(), MANY_SLICES if slices is None else slices)
        self._threads_given = threads is not None
        self.segment, self.trajectory = segments(plan, self.dtype.itemsize, trajectory_limit)
        if self.segment < plan.n_steps:
            self.remarks.append(f"trajectories are kept in segments of {self.segment} steps and run twice")
        self._on_host = on_host(plan)  # the outer losses
        self._split = split or self._on_host  # a batch is run in two halves
        self._trajectory_limit = trajectory_limit
        self._coded = coded(plan)  # what generated code calls things
        self._carry = Carrying(plan, None, 0, self.dtype) if carry else None  # of the run that comes
        self.source = generate(self._coded.plan, dtype, self._split, carry)
        for text in (self.source.text, host_source()):
            require(text)
        self._spiking = [p.name for p in plan.populations if p.spiking]
        self._passed: list[np.ndarray | None] = [None] * len(self.source.arrays)
        self._pointers = (ctypes.c_void_p * len(self.source.arrays))()
        self._threads = NativeThreads(self.source.text, self.threads, len(self._spiking))
        self._kept_arrays: dict[str, np.ndarray] = {}
        self._split_inputs: tuple[np.ndarray | None, dict[str, np.ndarray]] = (None, {})
        self._wants_inputs = False  # whether the next pass backwards takes gradients of input times
        self._records = 0  # runs that recorded spikes
        self._recorder = 0  # the thread of the last one
        self._also: dict[str, np.ndarray] = {}  # of the last pass, what `Loss.also` names
        self._memory = NativeMemory(plan, self._coded, self.source, parameters, self.dtype)
        self._share_memory()
        self._values = NativeValues(plan, self._coded, self._memory, self.dtype)
        self._slices = aligned((0, self.source.gradient_size), self.dtype)
        self._connections = NativeTables(plan) if plan.spike_times == "grid" else NativeRoutes(plan)
        self._quantiles, self._stochastic, self._numbers = quantiles().astype(self.dtype), False, np.zeros(0, np.int64)

    def _share_memory(self) -> None:
        self.parameters, self.gradients = self._memory.parameters, self._memory.gradients

    # running

    def run(self, data: Data, samples: Any, *, training: bool = False, record_spikes: bool = False) -> Result:
        samples = self.batch(data, samples)
        if self._split:  # trials that a forward pass has left are overwritten
            self.displace()
        whole = BatchShard.whole(len(samples), self.slices_of(len(samples)))
        result = self._run(data, samples, whole, training, record_spikes, stochastic=training)
        if training:
            self._complete()
        return replace(result, spikes=dict(result.spikes)) if result.spikes is not None else result

    splits = True

    @cached_property
    def _halves(self) -> NativeEngine:
        """This engine compiled for batches in two halves, with the same parameters and gradients."""
        return self if self._split else self._variant(split=True)

    @cached_property
    def _carrying(self) -> NativeEngine:
        """The same for trials that go on from the end of others."""
        return self._variant(carry=True)

    def _variant(self, **how: bool) -> NativeEngine:
        other = NativeEngine(
            self.plan, self.parameters, slope_floor=self.slope_floor, dtype=self.dtype.name, threads=self.threads,
            slices=self.slices, trajectory_limit=self._trajectory_limit, **how,
        )  # fmt: skip
        other.lock = self.lock  # they write the same arrays
        other._memory = other._values.memory = self._memory
        other._share_memory()
        return other

    def why_stateless(self) -> str:
        if self.plan.spike_times == "exact":
            return "exact spike times carry no state from trial to trial; use spike_times='grid'"
        if streams(self.plan):
            return "native carries no state of networks with several inputs; use engine='reference_clock'"
        valued = [c.name for c in self.plan.connections if c.delays is not None]
        if valued:
            return f"native carries no spikes along individual delays ({valued[0]}); use engine='reference_clock'"
        return ""

    def run_from(
        self, data: Data, samples: Any, state: TrialState | None, *, training: bool = False, record_spikes: bool = False
    ) -> tuple[Result, TrialState]:
        if why := self.why_stateless():
            raise EngineError(why)
        samples, other = self.batch(data, samples), self._carrying
        other.seed, other.epoch = self.seed, self.epoch
        other._carry = carrying = Carrying(self.plan, state, len(samples), self.dtype)
        result = other.run(data, samples, training=training, record_spikes=True)
        return replace(result, spikes=result.spikes if record_spikes else None), carrying.after(data, samples, result)

    def _forward_half(
        self, data: Data, samples: Any, keep: bool, stochastic: bool, record_spikes: bool
    ) -> tuple[Readouts, tuple[dict[str, np.ndarray], BatchShard, dict[str, np.ndarray]]]:
        samples, other = self.batch(data, samples), self._halves
        other.seed, other.epoch = self.seed, self.epoch
        part = BatchShard.whole(len(samples), self.slices_of(len(samples)))
        half = FORWARDS if keep else WHOLE
        result = other._run(data, samples, part, keep, record_spikes and not keep, stochastic, half)
        spikes = other._recorded(len(samples), part) if keep and record_spikes else result.spikes
        valid = np.isfinite(result.readout)
        also = {name: array.copy() for name, array in other._also.items()}
        readouts = Readouts(result.readout, valid, result.spike_counts, spikes, also)
        return readouts, (other._kept_arrays if keep else {}, part, result.spike_counts)

    def _backward_half(
        self, kept: tuple[dict[str, np.ndarray], BatchShard, dict[str, np.ndarray]], slope: np.ndarray,
        also: dict[str, np.ndarray], inputs: bool,
    ) -> np.ndarray:  # fmt: skip
        arrays, part, counts = kept
        self._halves._wants_inputs = inputs
        arrays["given_dr"][:] = slope
        if inputs:
            arrays["input_slope"] = np.zeros(arrays["input_start"][-1], self.dtype)
        arrays |= {f"given_{name}": np.ascontiguousarray(value) for name, value in also.items()}
        arrays |= self._pushes(counts, part)
        self._halves._call(arrays, part, True, False, BACKWARDS)
        self._complete()
        return self._in_order_of_data(arrays) if inputs else arrays["input_slope"]

    @classmethod
    def gradient_copies(cls, batch: int) -> int:
        return min(batch, FEW_SLICES)  # more of them only where they are small

    def slices_of(self, batch: int) -> int:
        if self.slices is not None:
            return min(batch, self.slices)
        fitting = SLICE_MEMORY // max(self.source.gradient_size * self.dtype.itemsize, 1)
        many = min(batch // SAMPLES_A_SLICE, MANY_SLICES, fitting)
        return min(batch, max(FEW_SLICES, 1 << many.bit_length() >> 1))

    def notes(self, batch: int) -> list[str]:
        slices = self.slices_of(batch)
        idle = self.threads - slices
        return [f"{idle} of {self.threads} threads stay idle: a batch has {slices} slices"] if idle > 0 else []

    def share_machine(self, number: int, processes: int) -> None:
        if not self._threads_given:
            self.close()
            self.threads = self._threads.count = max(1, self.threads // processes)

    def subtrees_of(self, part: BatchShard) -> list[int]:
        return part.subtrees

    def run_shard(
        self, data: Data, samples: np.ndarray, part: BatchShard, *, training: bool
    ) -> tuple[Result, dict[int, np.ndarray]]:
        result = self._run(data, samples, part, training, False, stochastic=training)
        return result, {root: self._slices[root - part.first] for root in part.subtrees} if training else {}

    def empty_gradient(self) -> np.ndarray:
        return np.empty_like(self._memory.gradient)

    def add_subtrees(self, sums: dict[int, np.ndarray], slices: int) -> np.ndarray:
        return add_in_tree(sums, slices)

    def set_gradient(self, flat: np.ndarray) -> None:
        self._memory.gradient[...] = flat
        self._complete()

    def _complete(self) -> None:
        """What is left to do once the gradients of all slices are added up."""
        self._memory.sum_shared()
        self.clear_masked()

    def _run(
        self, data: Data, batch: np.ndarray, part: BatchShard, training: bool, record_spikes: bool, stochastic: bool,
        half: int = WHOLE,
    ) -> Result:  # fmt: skip
        """`run` of a part of a batch; stochastic: whether noise and dropout act."""
        samples = batch[part.samples]
        scored = data.scored(samples, training=training and half == WHOLE)
        self._values.refresh()
        given = self._regulariser_values(data, batch, part, training)  # which may be a run of its own
        given |= self._read_arrays(data, batch, part)
        out = self._written_arrays(len(samples), part, training)
        if self._split:
            given |= self._between_halves(data, samples)
        self._stochastic, self._numbers = stochastic, data.numbers_of(samples)
        arrays = {**given, **self._values.arrays, **out}
        if half == FORWARDS:
            self._call(arrays, part, training, record_spikes, FORWARDS)
            self._kept_arrays = arrays
        elif not self._on_host:
            self._call(arrays, part, training, record_spikes)
        else:
            self._call_around(arrays, data, samples, part, training, record_spikes)
        parts = self._loss_parts(out, data, samples, scored)
        inside = self._coded.populations
        return Result(
            loss=summed(self.plan, parts), prediction=out["prediction"], readout=out["readout"],
            spike_counts={p: out[f"p_{inside[p]}_counts"].astype(np.int64) for p in self._spiking},
            guarded=int(out["guarded"].sum()) if training else 0,
            spikes=self._recorded(len(samples)) if record_spikes else None,
            parts=parts if self.plan.auxiliary else {},
        )  # fmt: skip

    def _loss_parts(
        self, out: dict[str, np.ndarray], data: Data, samples: np.ndarray, scored: np.ndarray
    ) -> dict[str, LossPart]:
        """What each loss says, by its population; the main one first."""
        plan = self.plan
        parts = {plan.loss.output: LossPart(np.where(scored, out["loss"], np.nan), out["prediction"], out["readout"])}
        for prefix, loss in auxiliary(plan):
            value, readout = (out[prefix + n] for n in ("loss", "readout"))
            value = np.where(data.for_loss(loss).scored(samples), value, np.nan)
            decided = loss.predict(readout, np.isfinite(readout), plan.duration)
            parts[loss.output] = LossPart(value, decided, readout)
        return parts

    def _regulariser_values(
        self, data: Data, batch: np.ndarray, part: BatchShard, training: bool
    ) -> dict[str, np.ndarray]:
        """Strengths and targets of regularisers of spikes; a mean over the batch needs a forward run of its own."""
        means = (r.mean == "batch" for p in self._spiking for r in self.plan.spike_regularisers(p))
        counts = None
        if training and not self._split and any(means):
            counts = self._run(data, batch, part, False, False, stochastic=True).spike_counts
        return self._pushes(counts, part)

    def _call_around(
        self,
        arrays: dict[str, np.ndarray],
        data: Data,
        samples: np.ndarray,
        part: BatchShard,
        training: bool,
        record: bool,
    ) -> None:
        """A batch with a Python outer loss: forwards, the losses here, then backwards with their gradients."""
        self._call(arrays, part, training, record, FORWARDS if training else WHOLE)
        losses = {}
        for prefix, loss in prefixed_losses(self.plan):
            weight, tau = arrays[f"{prefix}sample_weight"], self.parameters.get(f"{loss.output}.tau_mem")
            with self.lock.running_loss():
                found = evaluate_outer_loss(
                    loss, arrays[f"{prefix}readout"], data, samples, self.plan.duration, tau, weight
                )
            losses[f"{prefix}loss"], arrays[f"{prefix}given_dr"][:], arrays[f"{prefix}given_last"][:] = found
        if training:
            guarded = arrays["guarded"].copy()
            counts = {p: arrays[f"p_{self._coded.populations[p]}_counts"].astype(np.int64) for p in self._spiking}
            self._wants_inputs = False
            self._call(arrays | self._pushes(counts, part), part, True, False, BACKWARDS)
            arrays["guarded"][:] = guarded
        for name, value in losses.items():
            arrays[name][:] = value

    def update(self, optimiser: Any) -> None:
        """One optimiser step, the optimiser's text compiled to C++ and run on the engine's threads."""
        names = self.plan.trainable
        gradients = {k: self.gradients[k] for k in names}
        self.use(optimiser)
        step = optimiser.next_step(gradients)
        self._threads.update(step, self.dtype.name, self.parameters, self.gradients)

    def close(self) -> None:
        self._threads.close()

    def __del__(self) -> None:
        if hasattr(self, "_threads"):
            self.close()


def available_processors() -> int:
    """Processors that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1
