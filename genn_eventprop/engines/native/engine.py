"""`native`: generated C++ for this network, a whole batch forwards and backwards in one call.

Samples of a batch go to threads in slices; a slice is processed whole by one thread and the slices' gradients are
summed in a fixed tree (`parts`), so the bits of a result depend neither on the number of threads or processes nor on
the run (on one kind of CPU). dt, the duration and all parameter values are run-time arguments.
"""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from ...codegen.cpp import generate, host_source, padded
from ...codegen.cpp.context import streams
from ...errors import EngineError, ToolchainError
from ...plan import Plan
from ...plan.changes import as_arrivals
from ...program.host_values import grid_values
from ...program.outer import on_host
from ...toolchain import find_compiler, require
from ..contract import half_rows
from ..contract.currents import why_not_carried
from ..contract.data import Data
from ..contract.engine import Availability, diverged
from ..contract.features import ALL, HANDWRITTEN, STEPWISE_READOUTS
from ..contract.noise import quantiles
from ..contract.options import EngineOption
from ..contract.program_engine import Arrays, ProgramEngine
from ..contract.recordings import InPieces, RecordingRunner
from ..contract.result import Result, SpikeRecords, Spikes
from ..contract.slices import BatchShard, add_in_tree
from ..contract.state import TrialState
from .carry import Carrying
from .exact import TOLERANCE_OPTION, ExactTables, checked_tolerance, lost
from .exact_pieces import ExactRunner, why_no_exact_pieces
from .memory import NativeMemory, aligned, padded_last
from .pieces import NativePieces, inputs_apart
from .rounded import RoundedWeights
from .routes import NativeRoutes
from .tables import NativeTables
from .threads import BACKWARDS, FORWARDS, SPIKES, WHOLE, Program

FEW_SLICES, MANY_SLICES = 16, 256
SAMPLES_A_SLICE = 4  # of batches with more than FEW_SLICES
SLICE_MEMORY = 512 * 2**20  # bytes that more than FEW_SLICES may take
TRAJECTORY_LIMIT = 256.0  # MiB a thread


class NativeEngine(InPieces):
    """See the module.

    Args:
        dtype: "float32" or "float64", of everything in the trial.
        threads: samples run on this many threads; None: all processors this process may use, but no more than slices.
        slices: gradients are summed in min(B, slices) slices; part of what defines a result's bits. None: 16, and from
            B = 128 on the power of 2 that leaves 4 to 7 samples a slice, so that many cores have work; at most 256, and
            no more than fit 512 MiB.
        trajectory_limit: MiB a thread may use for the states of a trial where the backward pass needs them (dynamics
            that are not linear, or learned); beyond it the trial is run twice, in segments. `trajectory` tells the MiB.
        tolerance: relative error of a state in one piece of its Taylor series, with exact spike times of neurons
            without a closed form; None: 1e-10 in float64, 1e-6 in float32.
        weight_rows: "float32", or "float16": see `contract/half_rows.py`.
    """

    name, language, generate = "native", "C++", staticmethod(generate)
    trajectory_loss_first = frozenset({"grid"})  # where only the main one runs in vectors
    features = {
        "grid": ProgramEngine.features["grid"],
        "exact": ALL - {HANDWRITTEN, STEPWISE_READOUTS},
    }
    options = ("slope_floor", "dtype", "threads")
    special_options = {
        "slices": EngineOption(int, "in how many slices gradients are summed; part of what defines a result's bits"),
        "trajectory_limit": EngineOption(float, "MiB a thread may use for the states of a trial"),
        "tolerance": TOLERANCE_OPTION,
        "weight_rows": half_rows.OPTION,
    }
    automatic = True
    own_differences = True
    when_compared = {"tolerance": 1e-13}
    finds_activity = records = _infinite = True
    observes = runs_recordings = frozenset({"grid", "exact"})

    @classmethod
    def availability(cls) -> Availability:
        try:
            compiler = find_compiler()
        except ToolchainError as error:
            return Availability(cls.name, False, str(error))
        return Availability(cls.name, True, f"{compiler.version} ({' '.join(compiler.command)})")

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
        tolerance: float | None = None,
        weight_rows: str = "float32",
    ) -> None:
        super().__init__(plan, parameters, slope_floor=slope_floor, dtype=dtype)
        self.weight_rows, halves = weight_rows, half_rows.in_halves(weight_rows, dtype)
        self.tolerance = checked_tolerance(tolerance, dtype)
        for name, number in (("threads", threads), ("slices", slices)):
            if number is not None and number < 1:
                raise EngineError(f"{name}={number}: must be at least 1")
        self.slices, self._threads_asked = slices, threads is not None
        self.threads = threads or min(available_processors(), MANY_SLICES if slices is None else slices)
        self.segment, self.trajectory = segments(plan, self.dtype.itemsize, trajectory_limit)
        if self.segment < plan.n_steps:
            self.remarks.append(f"trajectories are kept in segments of {self.segment} steps and run twice")
        self._spiking = [p.name for p in plan.populations if p.spiking]
        self._programs: dict[tuple[bool, bool, Plan], Program] = {}
        self._main = self._program()
        self.source = self._main.source
        for text in (self.source.text, host_source()):
            require(text)
        self._memory = NativeMemory(plan, self.source, parameters, self.dtype)
        self.parameters, self.gradients = self._memory.parameters, self._memory.gradients
        self._rounded = RoundedWeights(plan, self._memory) if halves else None
        if halves and not self._main.source.halves:
            self.remarks.append("weights are rounded to float16, but this network has no rows that become faster")
        self._slices = aligned((0, self.source.gradient_size), self.dtype)
        self._tables = NativeTables(plan) if plan.spike_times == "grid" else NativeRoutes(plan)
        self._quantiles = quantiles().astype(self.dtype)
        self._split_inputs: tuple[np.ndarray | None, Arrays] = (None, {})
        self._records = 0  # runs that recorded spikes
        self._recorder = 0  # the thread of the last one
        self._last_recorded: weakref.ref[SpikeRecords] | None = None

    _carry: Carrying | None = None  # of the run that comes

    def _program(self, split: bool = False, carry: bool = False) -> Program:
        """The whole trial, one in two halves, as with an outer loss in Python, or one that goes on from another."""
        plan = self._running_plan
        key = split or on_host(plan), carry, plan
        if key not in self._programs:
            source = generate(plan, self.dtype.name, *key[:2], halves=self.weight_rows == "float16")
            self._programs[key] = Program(source, self.dtype, self.threads, len(self._spiking))
        return self._programs[key]

    # running

    def execute(self, arguments: Arrays, training: bool) -> Arrays:
        program, batch = self._program(bool(arguments.get("halves")), "fresh" in arguments), arguments["batch"]
        arguments["training"], arguments["half"] = training, WHOLE
        if program.source.split:
            arguments |= super()._input_places(arguments["offsets"], arguments["samples"])
        # what a whole trial leaves is copied into its `Result`; of halves more is handed out
        arrays = program.call.arrays(arguments, {}, again=not program.source.split)
        self._call(program, arrays, arguments)
        return arrays | {"read": lambda i: program.copied(i, batch)}

    def execute_half(self, arguments: Arrays, saved: Any) -> tuple[Arrays, Any]:
        program = self._program(True, "fresh" in arguments)
        arguments = arguments | super()._input_places(arguments["offsets"], arguments["samples"])
        # spikes are read on request from the trials that the forward pass left; the backward pass records none
        half = {"half": FORWARDS if saved is None else BACKWARDS, "training": True, "record": False}
        arrays = program.call.arrays(arguments, saved or {})
        self._call(program, arrays, arguments | half)

        def read(population: int) -> tuple[np.ndarray, ...]:
            self._call(program, arrays, arguments | {"record": True, "half": SPIKES})
            return program.copied(population, arguments["batch"])

        return arrays | {"read": read}, arrays

    def _call(self, program: Program, arrays: Arrays, arguments: Arrays) -> None:
        half = arguments["half"]
        if half == FORWARDS or (arguments["record"] and half == WHOLE):
            self._fetch_for_others()
            self._records += 1
        if half in (WHOLE, FORWARDS) and program.source.split:
            self.displace()  # trials that a forward pass has left are overwritten
        status = program.run(arrays, arguments)
        if status > 1:
            self._raise_trouble(program, status - 2, arguments["numbers"])
        if status != 0:
            trials = f"{arguments['batch']} trials of {self.plan.n_steps} steps on {self.threads} threads"
            raise EngineError(f"out of memory while running {trials}; use fewer threads or a smaller network")

    def _raise_trouble(self, program: Program, population: int, numbers: np.ndarray) -> None:
        """Raise the error of a trial that diverged."""
        sample, step, state, neuron = program.trouble()
        if self.plan.spike_times == "grid":
            raise diverged(self.plan, self.plan.populations[population], int(numbers[sample]), step, state, neuron)
        raise lost(self.plan, population, int(numbers[sample]), step, state, neuron, self._exact.steps, self.tolerance)

    # trials that go on

    def why_stateless(self) -> str:
        if self.plan.spike_times == "exact":
            return "exact spike times carry no state from trial to trial; use spike_times='grid'"
        if streams(self.plan):
            return "native carries no state of networks with several inputs; use engine='reference_clock'"
        valued = [c.name for c in self.plan.connections if c.delays is not None]
        if valued:
            return f"native carries no spikes along individual delays ({valued[0]}); use engine='reference_clock'"
        return why_not_carried(self.plan)

    def run_from(
        self, data: Data, samples: Any, state: TrialState | None, *, training: bool = False, record_spikes: bool = False
    ) -> tuple[Result, TrialState]:
        if why := self.why_stateless():
            raise EngineError(why)
        samples = self.batch(data, samples)
        self._carry = carrying = Carrying(self.plan, state, len(samples), self.dtype)
        try:
            result = self.run(data, samples, training=training, record_spikes=True)
        finally:
            self._carry = None
        return replace(result, spikes=result.spikes if record_spikes else None), carrying.after(data, samples, result)

    # whole recordings

    def why_no_recordings(self) -> str:
        exact = self.plan.spike_times == "exact"
        return super().why_no_recordings() or (why_no_exact_pieces(self.plan) if exact else "")

    @property
    def runner(self) -> type[RecordingRunner]:
        return ExactRunner if self.plan.spike_times == "exact" else RecordingRunner

    @cached_property
    def _pieces(self) -> NativePieces:
        if self.plan.spike_times == "grid":
            self._tables = NativeTables(self.plan, of_recording=True)  # delays may be longer than an interval
        plan = as_arrivals(self.plan)[0] if self.plan.spike_times == "exact" else self.plan
        return NativePieces(plan, self.dtype, self.weight_rows == "float16", self._raise_trouble)

    def of_recording(self, number: int, part: BatchShard) -> Arrays:
        """Recordings add to the gradient of the slice of the batch that they are in, as samples of a batch do."""
        k = ((number + 1) * part.slices - 1) // part.batch - part.first  # the slice that has this recording
        if number == part.samples.start:
            self._slices = aligned((part.last - part.first, self._pieces.gradient.size), self.dtype)
        return {"slices": self._slices[k : k + 1], "gradient": self._pieces.gradient, "segment": self.plan.n_steps}

    def collect_recordings(self, out: Arrays, part: BatchShard) -> None:
        self._memory.gradient[...] = self.recording_sums(out, part)[0]

    def recording_sums(self, out: Arrays, part: BatchShard) -> dict[int, np.ndarray]:
        sums = {k: self._of_pieces(each) for k, each in part.sums(self._slices).items()}
        self._add_currents(sums)
        return sums

    def _of_pieces(self, gradient: np.ndarray) -> np.ndarray:
        """A gradient of the program of pieces, which may have that of changes of currents besides, as of the trial."""
        if len(gradient) == len(self._memory.gradient):
            return gradient
        of_trial = self.empty_gradient()
        for name, (offset, rows, columns) in self.source.gradients.items():
            if name in self._pieces.gradients:
                first = self._pieces.gradients[name][0]
                of_trial[offset : offset + rows * columns] = gradient[first : first + rows * columns]
        return of_trial

    # batches in parts

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
        if not self._threads_asked:
            self.close()
            self.threads = max(1, self.threads // processes)
            for program in self._programs.values():
                program.count = self.threads

    def subtrees_of(self, part: BatchShard) -> list[int]:
        return part.subtrees

    def run_shard(
        self, data: Data, samples: np.ndarray, part: BatchShard, *, training: bool
    ) -> tuple[Result, dict[int, np.ndarray]]:
        result = self._run_part(data, samples, part, training, False)
        sums = {root: self._slices[root - part.first] for root in part.subtrees} if training else {}
        self._add_currents(sums)
        return result, sums

    def _add_currents(self, sums: Mapping[int, np.ndarray]) -> None:
        """Gradients of the weights of currents, which the host has formed for the whole shard, become part of its first
        subtree."""
        for k, gradient in enumerate(sums.values()):
            for c in (c for c in self.plan.currents_into if c.trainable and not c.shares):
                offset, rows, columns = self.source.gradients[c.weight]
                of_weight = slice(offset, offset + rows * columns)
                gradient[of_weight] = self._memory.gradient[of_weight] if k == 0 else 0

    def empty_gradient(self) -> np.ndarray:
        return np.empty_like(self._memory.gradient)

    def add_subtrees(self, sums: dict[int, np.ndarray], slices: int) -> np.ndarray:
        return add_in_tree(sums, slices)

    def set_gradient(self, flat: np.ndarray) -> None:
        self._memory.gradient[...] = flat
        self._complete()

    # what generated code reads

    @cached_property
    def _exact(self) -> ExactTables:
        return ExactTables(self.plan, self.slope_floor, self.dtype, self.tolerance)

    @cached_property
    def _of_grid(self) -> Arrays:
        if self.plan.spike_times == "exact":
            return {}
        known = grid_values(self.plan, self.dtype, self.slope_floor)
        return {n: v.astype(self.dtype) if isinstance(v, np.ndarray) else v for n, v in known.items()}

    def _of_neurons(self) -> Arrays:
        values = super()._of_neurons()
        if self.plan.spike_times == "grid":
            return values
        if self._exact.seen != self._seen:
            self._exact.refresh(self.parameters)
            self._exact.seen = dict(self._seen)
        return values | self._exact.values

    def _prepared(self, values: Arrays) -> Arrays:
        """In arrays that stay, padded with the last value, so that idle lanes never divide by zero."""
        for name, value in values.items():
            if name not in self._of_parameters:
                kind = np.dtype(np.int32) if value.dtype.kind == "i" else self.dtype
                self._of_parameters[name] = aligned((padded(value.size),), kind)
            full = self._of_parameters[name]
            full[: value.size], full[value.size :] = value, value[-1]
        return {}

    @cached_property
    def _of_rows(self) -> Arrays:
        """Weights and delays where they stay; their values change there."""
        padded, rows = self._memory.padded, Arrays()
        for i, c in enumerate(self.plan.connections):
            weight = padded[c.weight] if self._rounded is None else self._rounded.rows[c.name]
            rows |= {f"c{i}_weight": weight, f"c{i}_delay": c.delay_steps}
            rows |= {f"c{i}_delays": padded[c.delays_name]} if c.delays else {}
        return rows

    def _of_synapses(self) -> Arrays:
        values = self.parameters
        if self._rounded is not None:
            running = (p.handle() for p in self._programs.values() if p.running)
            self._rounded.refresh(next(running, None))
            values = self._rounded.values
        self._tables.refresh(values)
        return self._of_rows | self._tables.values

    def _make_call(self, part: BatchShard, stochastic: bool) -> Arrays:
        return super()._make_call(part, stochastic) | {
            "n_slices": part.last - part.first, "first_slice": part.first, "whole_slices": part.slices,
            "segment": self.segment, "gradient": self._memory.gradient, "quantiles": self._quantiles,
        }  # fmt: skip

    def _arguments(self, data: Data, batch: np.ndarray, part: BatchShard, stochastic: bool) -> Arrays:
        arguments, n_slices = super()._arguments(data, batch, part, stochastic), part.last - part.first
        if len(self._slices) < n_slices:
            self._slices = aligned((n_slices, self.source.gradient_size), self.dtype)
        arguments["slices"] = self._slices
        if self.plan.spike_times == "exact":
            arguments |= {"times": data.times, **self._exact.weights()}
            return arguments
        return arguments | self._streams_of(data) | ({} if self._carry is None else self._carry.values)

    def _padded(self, drive: np.ndarray) -> np.ndarray:
        full = aligned((*drive.shape[:-1], padded(drive.shape[-1])), self.dtype)
        full[..., : drive.shape[-1]] = drive  # idle lanes get no current, in which they would diverge
        return full

    def _scratch(self) -> Arrays:
        return {"gradient": np.empty_like(self._memory.gradient)}

    def _input_places(self, offsets: np.ndarray, samples: np.ndarray) -> Arrays:
        return {}  # of trials in halves alone, see `execute`

    def _streams_of(self, data: Data) -> Arrays:
        """The spikes of each of several inputs by themselves, made again for another data set."""
        if self._split_inputs[0] is not data.steps:
            self._split_inputs = data.steps, inputs_apart(self.plan, data.steps, data.channels, data.offsets)
        return self._split_inputs[1]

    def _regularisers(self, arguments: Arrays, training: bool, counts: dict[str, np.ndarray] | None = None) -> Arrays:
        values = super()._regularisers(arguments, training, counts)
        for name, value in values.items():
            if isinstance(value, np.ndarray):
                values[name] = padded_last(value, padded(value.size), self.dtype)
        return values

    # results

    def _guarded(self, out: Arrays) -> int:
        return int(out["guarded"].sum())

    def _collect(self, out: Arrays) -> None:
        """Gradients are where they belong."""

    def _complete(self) -> None:
        self._memory.sum_shared()
        super()._complete()

    def _spikes(self, out: Arrays) -> Mapping[str, Spikes]:
        """Recorded spikes, copied from the C++ side on first access, which must come before the next run."""
        number, pid = self._records, os.getpid()

        def read(population: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            if number != self._records or os.getpid() != pid:
                raise EngineError("the spikes of an earlier run are gone; read them before the engine runs again")
            return out["read"](population)

        recorded = SpikeRecords(self._spiking, read, self.lock)
        self._last_recorded, self._recorder = weakref.ref(recorded), threading.get_ident()
        return recorded

    def _fetch_for_others(self) -> None:
        """Read the spikes of the last run if another thread may still look at them: it cannot know of this run."""
        recorded = None if self._last_recorded is None else self._last_recorded()
        if recorded is not None and self._recorder != threading.get_ident() and self._running:
            recorded.fetch()
        self._last_recorded = None

    @property
    def _running(self) -> bool:
        return any(program.running for program in self._programs.values())

    def update(self, optimiser: Any) -> None:
        """One optimiser step, the optimiser's text compiled to C++ and run on the engine's threads."""
        names = self.plan.trainable
        gradients = {k: self.gradients[k] for k in names}
        self.use(optimiser)
        step = optimiser.next_step(gradients)
        self._main.update(step, self.parameters, self.gradients)

    def stop(self, stopping: bool = True) -> None:
        for program in list(self._programs.values()):
            program.stop(stopping)

    def close(self) -> None:
        for program in self._programs.values():
            program.close()

    def __del__(self) -> None:
        if hasattr(self, "_programs"):
            self.close()


def available_processors() -> int:
    """Processors that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def segments(plan: Plan, itemsize: int, limit: float) -> tuple[int, float]:
    """Steps whose states are kept together, all of the trial if they fit `limit` MiB, else about its square root; and
    the MiB a thread that this takes. 0 MiB where no population needs it."""
    if not limit > 0:
        raise EngineError(f"trajectory_limit={limit}: must be a positive number, in MiB per thread")
    if plan.spike_times == "exact":
        return plan.n_steps, 0.0
    row = sum(len(p.derived.states) * padded(p.size) for p in plan.populations if p.stores_states) * itemsize
    if row * plan.n_steps <= limit * 2**20:
        return plan.n_steps, row * plan.n_steps / 2**20
    segment = math.ceil(math.sqrt(plan.n_steps))
    return segment, row * (segment + math.ceil(plan.n_steps / segment)) / 2**20
