"""The engine's host side: what is on the device, launches, results.

Data sets, weights, their gradients and moments live on the device. For a batch the host sends sample numbers and
labels, and reads one block of results. A batch that does not fit the device's memory runs in groups, in order;
gradients go on from group to group, so that they have the bits of a batch that fits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import cached_property
from typing import Any

import numpy as np

from ...codegen.cpp import padded
from ...codegen.cpp.exact.arguments import series_of_targets
from ...codegen.cuda import (
    LEFT,
    LENGTH,
    NO_ROOM,
    POPULATION,
    RUNAWAY,
    Source,
    generate,
    generate_pieces,
    place_of,
)
from ...errors import EngineError, Refusal, Stopped
from ...optimisers import is_text
from ...plan import Plan
from ...program.events import OBSERVED
from ...program.host_values import synapse_values
from ...program.outer import on_host
from ...program.pieces import ROWS, SPIKE_ROWS
from ..contract import half_rows
from ..contract.data import Data
from ..contract.device_arrays import DeviceArrays, DeviceLocation
from ..contract.engine import Availability, diverged
from ..contract.features import (
    ALL,
    HANDWRITTEN,
    INEXACT_INTEGRALS,
    SEVERAL_INPUTS,
    SEVERAL_LOSSES,
    SEVERAL_READOUTS,
    SHARED_TABLE_WEIGHTS,
    SHARED_WEIGHTS,
    STEPWISE_READOUTS,
    VOLTAGE_LOSS_AFTER_TABLES,
    VOLTAGE_LOSS_WITH_JUMPS,
    missing,
    refuse,
)
from ..contract.options import EngineOption
from ..contract.program_engine import Arrays, ProgramEngine
from ..contract.recordings import InPieces, RecordingRunner
from ..contract.result import Spikes
from ..contract.slices import BatchShard
from ..contract.split import spike_numbers
from ..native.engine import available_processors
from ..native.exact import TOLERANCE_OPTION, checked_tolerance, lost
from .batch import (
    NOTHING,
    BatchLayout,
    Program,
    by_channel,
    bytes_a_sample,
    groups_of,
    joined,
    layout_key,
    owner,
    part_of,
)
from .cost import A100, seconds
from .device import Device, DeviceMemory, OutOfMemory
from .exact import ExactRoutes, ExactValues
from .learning import DeviceOptimiser, location
from .memory import Memory
from .pieces import CudaPieces
from .visible import local_rank, open_device, visible_devices

SAFE = 0.9  # of the memory that is free
MARGIN = 2  # of an estimate that no card has confirmed
BATCH = 32  # samples for which `is_fastest_for` asks
LAYOUTS = 64  # of batches that differ in size
ARENA = 1 << 15  # numbers of 8 bytes that a trial event by event has at first; it doubles where they do not suffice


BY_NEURONS = frozenset({
    INEXACT_INTEGRALS, SEVERAL_INPUTS, SEVERAL_LOSSES, SEVERAL_READOUTS, SHARED_TABLE_WEIGHTS, SHARED_WEIGHTS,
    VOLTAGE_LOSS_AFTER_TABLES, VOLTAGE_LOSS_WITH_JUMPS,
})  # fmt: skip
"""What a thread a neuron does with exact spike times (codegen/cuda/exact.py); else event by event (events.py)."""


def by_events(plan: Plan) -> bool:
    """Whether a plan runs event by event."""
    return plan.spike_times == "exact" and bool(missing(plan, BY_NEURONS))


class CudaEngine(InPieces, ProgramEngine):
    """See the module.

    Args:
        dtype: "float32" or "float64". device: its number among those that CUDA shows (`CUDA_VISIBLE_DEVICES`), None for
            the first (of several processes on a machine each has its own), or one that is open already.
        group: samples that run together at most, None: as many as fit.
        weight_rows: "float32", or "float16": see `contract/half_rows.py`.
        tolerance: of Taylor series, as of `native`.

    Raises:
        EngineError: without a device or the extra [cuda]; for what the program does not run.
    """

    name, language, generate = "cuda", "CUDA C++", staticmethod(generate)
    special_options = {
        "device": EngineOption(int, "index of a GPU among those that CUDA_VISIBLE_DEVICES shows; by default the first"),
        "group": EngineOption(int, "samples that run together at most; by default as many as fit"),
        "weight_rows": half_rows.OPTION,
        "tolerance": TOLERANCE_OPTION,
    }
    when_compared = {"tolerance": 1e-13}
    features = {
        "grid": ProgramEngine.features["grid"],
        "exact": ALL - {HANDWRITTEN, STEPWISE_READOUTS},
    }
    observes = frozenset({"grid", "exact"})
    exact_by_itself = False  # before a card has shown what they cost
    parameters: DeviceArrays
    gradients: DeviceArrays

    @classmethod
    def availability(cls) -> Availability:
        names, missing = visible_devices()
        return Availability(cls.name, bool(names), ", ".join(names) or missing)

    @classmethod
    def is_fastest_for(cls, plan: Plan) -> bool:
        """A device is there, it runs the plan, and is expected to be faster than native on all processors.

        An estimate for a batch of 32: native needs 0.1 ns per neuron and step four times, and for one in fifty weights
        (shd_shape.py); cuda, MARGIN times what `cost.seconds` says for the slowest of the cards that it knows.

        Raises:
            EngineError: it would be, if devices could be used in this process.
        """
        neurons, weights = sum(p.size for p in plan.populations), sum(c.synapses for c in plan.connections)
        native = BATCH * 1e-10 * (4 * neurons + weights / 50) / min(available_processors(), BATCH)
        if plan.spike_times != "grid":  # exact spike times run here where they are asked for
            return False
        here = MARGIN * sum(seconds(plan, A100, BATCH).values())
        if plan.n_steps * native <= here:  # small ones do not even start the driver
            return False
        try:
            refuse(plan, cls.name, cls.features)
        except EngineError:
            return False
        names, missing = visible_devices()
        if missing.startswith("cuda: "):
            raise EngineError(missing)
        return bool(names)

    def __init__(
        self,
        plan: Plan,
        parameters: Mapping[str, np.ndarray],
        *,
        slope_floor: float = 0.0,
        dtype: str = "float32",
        device: int | Device | None = None,
        group: int | None = None,
        weight_rows: str = "float32",
        tolerance: float | None = None,
    ) -> None:
        super().__init__(plan, parameters, slope_floor=slope_floor, dtype=dtype)
        self.weight_rows, self._halves = weight_rows, half_rows.in_halves(weight_rows, dtype)
        self._events = self._infinite = by_events(plan)
        tolerance, self._exact = checked_tolerance(tolerance, dtype), None
        if plan.spike_times == "exact":
            self._exact = ExactValues(plan, slope_floor, self.dtype, tolerance, self._events)
        self._routes = ExactRoutes(plan, self.tables, self._events)
        self._arena = ARENA
        if self._exact and self._halves:
            raise Refusal("cuda has no weight_rows='float16' with exact spike times; use native, or float32 rows")
        self.group, self._around, self._stopping, self._ahead = group, on_host(plan), False, True
        self.parameters, self.gradients = (DeviceArrays(a, self.lock) for a in (self.parameters, self.gradients))
        self._number = None if isinstance(device, Device) else self._first_device() if device is None else device
        self._open(device if isinstance(device, Device) else open_device(self._number or 0))

    @staticmethod
    def _first_device() -> int:
        """The device that `share_machine` will choose for this process: a context that was opened on another one
        before would hold memory there."""
        rank = local_rank()
        return rank and rank % max(len(visible_devices()[0]), 1)

    def _open(self, device: Device) -> None:
        self.__dict__.pop("_pieces", None)  # which has the device before
        self.device, self._memory = device, Memory(device)
        self._programs: dict[tuple[bool, Plan], Program] = {}
        self._optimiser: DeviceOptimiser | None = None
        self._grouped: dict[str, tuple[Any, Arrays]] = {}  # connection -> (its table, `groups_of` it)
        self._places: dict[str, tuple[DeviceMemory, DeviceMemory]] = {}  # of weights and their gradients
        self._unfinite: dict[str, bool] = {}
        self._token: Any = None  # what the last forward half has handed out
        self._groups = 1  # in which the last batch ran
        trial = self._program(self._around).source.trial
        if trial is not None:
            self.trial = trial

    def _program(self, split: bool) -> Program:
        """The whole trial in a kernel, or its two passes in one each; compiled when first used."""
        key = split, (plan := self._running_plan)
        if key not in self._programs:
            self._programs[key] = self._compiled(generate(plan, self.dtype.name, split, self._halves, self._events))
        return self._programs[key]

    def _compiled(self, source: Source) -> Program:
        if source.shared > self.device.shared_memory:
            raise EngineError(
                f"cuda: a trial of this network needs {source.shared} bytes of shared memory, the device has "
                f"{self.device.shared_memory} per block; use smaller populations, or native"
            )
        of_samples = frozenset({b.name for b in source.arrays if b.axes[0] == "batch"} | {"numbers"})
        return Program(source, self.device.compile(source.text), of_samples, {})

    def share_machine(self, number: int, processes: int) -> None:
        """A device of its own for every process, as far as there are so many."""
        devices = max(len(visible_devices()[0]), 1)
        if processes > devices:
            self.remarks.append(f"{processes} processes share {devices} devices of this machine")
        if self._number is None or self._number == number % devices:
            return
        self.close()
        self._number = number % devices
        self._open(open_device(self._number))

    def load(self, events: Any) -> Data:
        """The data set goes to the device at once, beside what that runs: so does an augmented set's next batch."""
        data = super().load(events)
        times = data.steps if data.times is None else data.times
        if self._ahead and self._fits(times, data.offsets):
            self._on_device(times, data.channels, data.offsets)
        return data

    # running

    def execute(self, arguments: Arrays, training: bool) -> Arrays:
        self._token = None
        kernel = "forwards" if self._around else "trial"  # a loss in Python needs a kernel for each pass
        return self._in_groups(
            arguments, self._around, training, lambda part, on: self._run(part, kernel, training, on)
        )

    def execute_half(self, arguments: Arrays, saved: Any) -> tuple[Arrays, Any]:
        """What the way back needs stays on the device; what is handed out says only whether all of it is there: of a
        batch that ran in groups, each has overwritten the one before, and runs forwards again."""
        if saved is None:
            out = self._in_groups(arguments, True, False, lambda part, on: self._run(part, "forwards", False, on))
            self._token = [self._groups == 1]
            return out, self._token
        if saved is not self._token:
            raise EngineError("another run came between forward and backward; run forward again")
        self._token = None
        if saved[0]:
            return self._run(arguments, "backwards", True, False), None
        return self._in_groups(arguments, True, True, self._both), None

    def _both(self, part: Arrays, adding: bool) -> Arrays:
        """A group whose forward pass another group has overwritten."""
        self._run(part, "forwards", False, False)
        return self._run(part, "backwards", True, adding)

    def stop(self, stopping: bool = True) -> None:
        """Between groups: the kernels of one are all in the queue when its first one begins."""
        self._stopping = stopping

    def _in_groups(
        self, arguments: Arrays, split: bool, training: bool, run: Callable[[Arrays, bool], Arrays]
    ) -> Arrays:  # fmt: skip
        """Run a batch in groups that fit; run: (samples of a group, whether gradients go on) -> what it gives."""
        program, B = self._program(split), arguments["batch"]
        arguments |= self._sized(program.source, arguments) if self._events else {}
        size = self.group or (B if self._has_run(program, arguments) else self._fitting(arguments, split))
        while True:
            starts = range(0, B, size)
            self._groups = len(starts)
            try:
                if size >= B:
                    return run(arguments, False)
                parts = (part_of(arguments, k, min(k + size, B), program.of_samples) for k in starts)
                self._resident()
                with self.gradients.unless_stopped() if training else nullcontext():
                    return joined([run(part, k > 0) for part, k in zip(parts, starts)])
            except OutOfMemory as error:  # something else took memory, or `group` asks for more than there is
                self._memory.release()
                program.layouts.clear()
                size = min(self._fitting(arguments, split), size - 1, B - 1)
                if self.group or size < 1:
                    raise EngineError(
                        f"{error}; {max(size, 1)} samples fit together: use group={max(size, 1)}"
                    ) from None

    def _has_run(self, program: Program, arguments: Arrays) -> bool:
        """Whether a whole batch of this size has run, and its memory is still there."""
        rooms = {f"p{i}_room": room for i, room in enumerate(self.room)}
        return layout_key(program.source, arguments | rooms) in program.layouts

    def _fitting(self, arguments: Arrays, split: bool) -> int:
        """How many samples fit the device's memory together."""
        sample, free = bytes_a_sample(self, self._program(split).source, arguments), self._memory.free_for_work
        fits = int(SAFE * free / max(sample, 1))
        if fits < 1:
            raise EngineError(
                f"cuda: a trial of {arguments['n_steps']} steps needs {sample / 2**20:.2f} MiB, the device has "
                f"{free / 2**20:.2f} MiB; use larger steps, a smaller network, or native"
            )
        return fits

    def _run(self, arguments: Arrays, kernel: str, training: bool, adding: bool) -> Arrays:
        """Samples that fit together; adding: gradients go on from those of the group before."""
        program = self._program(kernel != "trial")
        source = program.source
        rooms = [f"p{i}_room" for i in range(len(self.room))]
        arguments = arguments | {"training": training, "n_channels": self.plan.input.size + 1, "adding": adding}
        arguments |= self._cut(arguments) | self._shared(source)
        self._resident()
        data = {n: m.address for n, m in self._on_device(*(arguments[n] for n in self._data)).items()}
        while True:  # again with longer lists, if one was full
            if self._stopping:
                raise Stopped
            arguments |= zip(rooms, self.room)
            arguments |= self._sized(source, arguments) if self._events else self._arrivals(arguments)
            batch = self._layout(program, arguments)
            fields = batch.prepare(data, arguments)
            rounds = self._halves and kernel != "backwards"  # which has the rows of the forward pass
            program.launch(self._memory, kernel, arguments["batch"], fields, gathers=training, rounds=rounds)
            results = batch.report()
            needed, left = results.pop("needed"), results.pop(LEFT, None)
            if left is not None and left[:, NO_ROOM].any():
                self._arena *= 2
                if kernel == "backwards":  # what the forward pass has kept was in the memory that was too small
                    self._run(arguments, "forwards", False, False)
                continue
            if not needed.any():
                break
            for population in np.flatnonzero(needed).tolist():
                self.grow_room(population, int(needed[population]))
        if self._halves:
            for c, bits in zip(self.plan.connections, results.pop("largest")):
                half_rows.check_largest(c.weight, int(bits))
        self._check(results.pop("trouble")[0], arguments)
        if left is not None and self._exact and left[:, POPULATION].any():
            sample = int(np.flatnonzero(left[:, POPULATION])[0])
            population, time, state, neuron = left[sample, POPULATION:].tolist()
            number, steps, tolerance = int(arguments["numbers"][sample]), self._exact.steps, self._exact.tolerance
            raise lost(self.plan, population - 1, number, time, state, neuron, steps, tolerance)
        bad = results.pop("unfinite")
        if training:
            self._gathered(bad)
        rows = self.rows() if kernel == "forwards" and not self._events else []
        if arguments.get("record"):
            rows += [b.name for b in source.arrays if b.kind == "bits"]
        if rows:
            results |= batch.rows([b for b in source.arrays if b.name in rows])
        return results | (self._lists(batch, source, results) if self._exact and arguments.get("record") else {})

    def _gathered(self, bad: np.ndarray) -> None:
        """The device has new gradients; bad: (2, connections) where those of weights, or of delays, are not finite."""
        both = ((c.weight, c.delays_name) for c in self.plan.connections)
        self._unfinite = {n: bool(b) for names, flags in zip(both, bad.T.tolist()) for n, b in zip(names, flags)}
        self.gradients.pull()

    def _layout(self, program: Program, arguments: Arrays) -> BatchLayout:
        """That of batches of this size; where sizes go on changing, those of old ones are dropped."""
        key, layouts = layout_key(program.source, arguments), program.layouts
        if key not in layouts:
            if len(layouts) >= LAYOUTS:
                layouts.clear()
            layouts[key] = BatchLayout(self, self._memory, program.source, arguments)
        return layouts[key]

    def _check(self, place: np.uint64, arguments: Arrays) -> None:
        """Raise `EngineError` for dynamics that diverged."""
        if place != NOTHING and self._exact:
            sample, population = divmod(int(place), len(self.plan.populations))
            raise EngineError(
                f"population {self.plan.populations[population].name!r} diverged in "
                f"sample {arguments['numbers'][sample]}: "
                f"more than {RUNAWAY} spikes of a neuron in {self.plan.duration / self._exact.steps:g} ms; use smaller "
                "weights, or an engine on the grid"
            )
        if place != NOTHING:
            sample, step, population, state, neuron = place_of(int(place), self.plan)
            number = int(arguments["numbers"][sample])
            raise diverged(self.plan, self.plan.populations[population], number, step + 1, state, neuron)

    # whole recordings

    def why_no_recordings(self) -> str:
        if self._exact or self._halves:
            what = "with exact spike times" if self._exact else "with weight_rows='float16'"
            return f"cuda runs no whole recordings in pieces {what}; use engine='native'"
        return super().why_no_recordings()

    def recordings(self, chunk: int | None, memory: float) -> RecordingRunner:
        self._ahead = False  # a piece brings its spikes
        return super().recordings(chunk, memory)

    @cached_property
    def _pieces(self) -> CudaPieces:
        source, crossing = generate_pieces(self.plan, self.dtype.name)

        def begin() -> Arrays:
            self._resident()
            return self._shared(source)

        return CudaPieces(self, self._compiled(source), crossing, self._memory, begin, self._gathered)

    def of_recording(self, number: int, part: BatchShard) -> Arrays:
        return {"adding": number > part.samples.start}

    # exact spike times

    @cached_property
    def _of_grid(self) -> Arrays:
        return {} if self._exact else super()._of_grid

    def _of_neurons(self) -> Arrays:
        values = super()._of_neurons()
        if self._exact is None:
            return values
        self._exact.refresh(self.parameters, self._seen)
        return values | self._exact.values

    def _arguments(self, data: Data, batch: np.ndarray, part: BatchShard, stochastic: bool) -> Arrays:
        arguments = super()._arguments(data, batch, part, stochastic)
        if self._exact:
            arguments["times"] = data.times
            for prefix, _ in series_of_targets(self.plan):
                arguments[f"{prefix}target_dt"] = self.plan.duration / (arguments[f"{prefix}target_rows"] - 1)
        return arguments | ({} if self._events else self._arrivals(arguments))

    def _sized(self, source: Source, arguments: Arrays) -> Arrays:
        """Of a trial event by event: its memory, and the lengths of what the host gives."""
        values: Arrays = {"arena_room": self._arena}
        for b in source.arrays:
            axis = b.axes[-1]
            if axis == f"{LENGTH}{b.name}":
                size = np.size(arguments.get(b.name, 0))
                values[axis] = max(size // arguments["batch"] if b.axes[0] == "batch" else size, 1)
                values |= {} if size else {b.name: np.zeros(1)}
        return values

    def _observed_arrays(self, batch: int) -> Arrays:
        """With exact spike times (B, N, K) the spikes of every neuron in ms, in order; infinite behind the last one."""
        if self._exact is None or self._events:
            return super()._observed_arrays(batch)
        given = Arrays()
        for name, spikes in self._observed.items():
            i, size = self.plan.numbers[name], self.plan.population(name).size
            key = spikes.sample * size + spikes.neuron
            counts, order = np.bincount(key, minlength=batch * size), np.argsort(key, kind="stable")
            most = -(-max(int(counts.max(initial=0)), 1) // 8) * 8
            times = np.full((batch * size, most), np.inf)
            times[key[order], np.arange(len(key)) - (np.cumsum(counts) - counts)[key[order]]] = spikes.time[order]
            given |= {f"p{i}_{OBSERVED}": times.reshape(batch, size, most), f"p{i}_most": most}
        return given

    def _padded(self, drive: np.ndarray) -> np.ndarray:
        if not self._events:
            return drive
        size = drive.shape[-1]
        return np.pad(drive, [(0, 0)] * (drive.ndim - 1) + [(0, padded(size) - size)])

    def _arrivals(self, given: Arrays) -> Arrays:
        """Room for the arrivals at each population: all input spikes of a sample, and all that lists of spikes hold."""
        if self._exact is None:
            return {}
        of_input = int((given["offsets"][given["samples"] + 1] - given["offsets"][given["samples"]]).max(initial=0))
        room = {p.name: p.size * r for p, r in zip(self.plan.populations, self.room)}
        room[self.plan.input.name] = -(-max(of_input, 1) // 256) * 256  # batches of almost one size have one layout
        found = {f"p{i}_arrivals": 1 for i in range(len(self.plan.populations))}
        for k, c in enumerate(self.plan.connections):
            # with delays of their own, the routes of a source are arrivals of their own
            found[f"p{self.plan.numbers[c.target]}_arrivals"] += room[c.source] * (
                self._routes.most[k] if c.delays else 1
            )
        return found

    def lengths(self, arguments: Mapping[str, Any]) -> dict[str, int]:
        changes = {f"p{i}_changes" for i in range(len(self.plan.populations))}
        own = (
            n
            for n in arguments
            if n.endswith(("_arrivals", "_routes", "_ends", "_most"))
            or n.startswith(LENGTH)
            or n in ("exact_points", "target_rows", "arena_room", ROWS, SPIKE_ROWS, *changes)
        )
        return super().lengths(arguments) | {n: int(arguments[n]) for n in own}

    def _lists(self, batch: BatchLayout, source: Source, found: Arrays) -> Arrays:
        """Population number -> (B,) the times and the neurons of the spikes of each sample, in order."""
        lists = Arrays()
        for i, p in enumerate(self.plan.populations):
            if not p.spiking:
                continue
            wanted = [b for b in source.arrays if b.name in (f"p{i}_sent_time", f"p{i}_sent_index")]
            rows = {n: v.reshape(len(v), -1) for n, v in batch.rows(wanted).items()}
            sent = found[f"p{i}_sent"][:, 0]
            each = np.empty(len(sent), object)
            for k, count in enumerate(sent):
                each[k] = rows[f"p{i}_sent_time"][k, :count], rows[f"p{i}_sent_index"][k, :count] % p.size
            lists[f"p{i}_spikes"] = each
        return lists

    def _spikes(self, out: Arrays) -> Mapping[str, Spikes]:
        if self._exact is None:
            return super()._spikes(out)
        spikes = {}
        for i, p in enumerate(self.plan.populations):
            if p.spiking:
                times, neurons = zip(*out[f"p{i}_spikes"])
                samples = np.repeat(np.arange(len(times)), [len(t) for t in times])
                spikes[p.name] = Spikes(samples, np.concatenate(times), np.concatenate(neurons))
        return spikes

    # data sets

    def _fits(self, steps: np.ndarray, offsets: np.ndarray) -> bool:
        """Whether a data set may stay on the device: it takes no more than half of what is free."""
        size = 12 * steps.size + 8 * offsets.size * (self.plan.input.size + 2)
        return self._memory.has_set((steps, offsets)) or size <= self.device.available // 2

    def _cut(self, arguments: Arrays) -> Arrays:
        """Of a data set that does not fit, the spikes of the batch alone, as a data set that is copied with it."""
        times, _, _ = self._data
        if self._fits(arguments[times], arguments["offsets"]):
            return {}
        offsets, samples = arguments["offsets"], arguments["samples"]
        numbers, _ = spike_numbers(offsets, samples)
        offsets_of_batch = np.append(arguments["input_start"], arguments["input_spikes"])
        spikes = {n: arguments[n][numbers] for n in (times, "channels")}
        return spikes | {"offsets": offsets_of_batch, "samples": np.arange(len(samples))}

    @property
    def _data(self) -> tuple[str, str, str]:
        """What a data set is on the device: times in steps, or in ms with exact spike times."""
        return ("times" if self._exact else "steps"), "channels", "offsets"

    def _on_device(self, steps: np.ndarray, channels: np.ndarray, offsets: np.ndarray) -> dict[str, DeviceMemory]:
        """A data set's spikes in the order of their times, and once more by channel, for the gathering of gradients."""

        def make() -> dict[str, np.ndarray]:
            if self._exact:
                kinds = (np.float64, np.int32, np.int64)
                arrays = zip(self._data, (steps, channels, offsets), kinds)
                return {name: np.ascontiguousarray(array, kind) for name, array, kind in arrays}
            return {
                "steps": np.ascontiguousarray(steps, np.int32), "channels": np.ascontiguousarray(channels, np.int32),
                "offsets": np.ascontiguousarray(offsets, np.int64),
                **by_channel(steps, channels, offsets, self.plan.input.size),
            }  # fmt: skip

        return self._memory.data_set((steps, offsets), make)

    # learning

    def _of_synapses(self) -> Arrays:
        """Delays and tables; weights are on the device."""
        return self._routes.refresh(self.parameters) if self._exact else synapse_values(self.tables, self.parameters)

    def _shared(self, source: Source) -> Arrays:
        """Which synapses share a weight or a delay, by the names of `codegen.cuda.gathers.group_buffers`."""
        here = [(i, c) for i, c in enumerate(self.plan.connections) if c.windows is None and not c.by_rows]
        if self._exact or not here:
            return {}
        wanted, groups = {b.name for b in source.arrays}, Arrays()
        for i, c in here:
            table = None if c.form == "dense" else self.tables.of(c, self.parameters)
            if c.name not in self._grouped or self._grouped[c.name][0] is not table:
                self._grouped[c.name] = table, groups_of(c, i, table)
            groups |= {n: v for n, v in self._grouped[c.name][1].items() if n in wanted}
        return groups

    def _resident(self) -> None:
        """Weights and all gradients of connections on the device, as the host has written them."""
        if self._places:
            self.parameters.push()
            return
        fixed, size, gradients = self._memory.fixed, self.dtype.itemsize, dict[str, DeviceLocation]()
        for i, c in enumerate(self.plan.connections):
            count = size * math.prod(c.weight_shape)
            kinds = ("master" if self._halves else "weight", "gradient")
            weight, gradient = (fixed(owner(self.plan, f"c{i}_{kind}"), count) for kind in kinds)
            self._places[c.weight] = weight, gradient
            gradients[c.weight] = location(self._places[c.weight][1], c.weight_shape, self.dtype)
            if c.delays:
                steps = fixed(f"c{i}_delay_gradient", size * math.prod(c.delays.shape))
                gradients[c.delays_name] = location(steps, c.delays.shape, self.dtype)
        shapes = {c.weight: c.weight_shape for c in self.plan.connections}
        self.parameters.move_to({k: location(m, shapes[k], self.dtype) for k, (m, _) in self._places.items()})
        self.gradients.move_to({k: g for k, g in gradients.items() if k in self.gradients})

    def finite(self, name: str) -> bool:
        """The kernels that gather gradients of weights say it."""
        if name in self._unfinite and not self._unfinite[name] and not self.gradients.on_host(name):
            return True
        return super().finite(name)

    def use(self, optimiser: Any) -> None:
        """Also moves the optimiser's state to the device, if its text can run there."""
        super().use(optimiser)
        self._resident()
        places = {k: p for k, p in self._places.items() if k in self.gradients}
        if not is_text(optimiser) or not places:
            self._leave_optimiser()
            return
        if self._optimiser is None or not self._optimiser.runs(optimiser):
            self._leave_optimiser()
            shapes = {c.weight: c.weight_shape for c in self.plan.connections if c.weight in places}
            self._optimiser = DeviceOptimiser(optimiser, self.device, self._memory, places, shapes, self.dtype)
        self._optimiser.take(optimiser)

    def update(self, optimiser: Any) -> None:
        """One step, on the device but for parameters of neurons and optimisers in Python."""
        self.use(optimiser)
        if self._optimiser is None:
            super().update(optimiser)
        else:
            self._optimiser.step(optimiser, self.parameters, self.gradients)

    def _leave_optimiser(self) -> None:
        if self._optimiser is not None:
            self._optimiser.leave()
        self._optimiser = None

    def close(self) -> None:
        """Give the device's memory back; values stay, on the host."""
        try:
            self._leave_optimiser()
            if self._places:
                self.parameters.to_host()
                self.gradients.to_host()
        finally:
            self._places, self._programs = {}, {}
            self._memory.close()
            if self._number is not None:
                self.device.close()
