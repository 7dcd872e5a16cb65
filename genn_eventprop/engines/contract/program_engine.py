"""The host's side of an engine whose trial is `program.trial`: its arguments, its results, and the losses in Python.

A target adds `execute` and `execute_half`: run the batch, or one pass of it. Arguments and results are arrays and
numbers by the names of the trial's buffers.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ...losses import LossRecord
from ...plan import Plan, observe
from ...program.events import OBSERVED
from ...program.host_values import grid_values, population_values, prefixed_losses, synapse_values
from ...program.nodes import Buffer
from ...program.outer import on_host
from ...program.population import RECORD, RECORDED
from ...program.trial import Trial
from ...regularisers.record import SpikePush
from .currents import CurrentBatch, Drives
from .data import Data
from .engine import Engine, diverged
from .features import ALL, refuse
from .half_rows import rounded_weights
from .host_losses import activity, evaluate_outer_loss, loss_inputs
from .noise import limit, quantiles
from .observed import Observed
from .observed import rows as observed_rows
from .parameters import Tables, copied, real_numbers
from .result import LossPart, Result, Spikes
from .slices import BatchShard
from .split import Readouts

Arrays = dict[str, Any]
FIRST_ROOM = 32
"""Entries of a neuron's list of events at first; it grows to what a trial needs."""
CALLS = 32
"""Sizes of batches, and of lists, whose arguments are remembered."""
OUT = ("result", "gradient", "of spikes")
"""Roles of buffers that the host reads."""


class ProgramEngine(Engine):
    """See the module; dtype: "float32" or "float64"."""

    features = {"grid": ALL}
    options: ClassVar[tuple[str, ...]] = ("slope_floor", "dtype")
    trial: Trial  # set by the target
    _batch: CurrentBatch  # of the last run
    finds_activity: ClassVar[bool] = False
    """Whether generated code finds the input's activity, where it drives the time weight of the main loss."""
    _infinite: bool = False
    """Whether the trial itself gives an output without a readout an infinite one."""
    language: ClassVar[str] = ""
    """Of the text that `generate` makes of a plan."""
    generate: ClassVar[Callable[..., Any]]

    def __init__(self, plan: Plan, parameters: Mapping[str, np.ndarray], *, slope_floor: float, dtype: str) -> None:
        super().__init__(plan, parameters, slope_floor=slope_floor)
        self.dtype = real_numbers(dtype)
        self.parameters = copied(plan, parameters, self.dtype)
        self.tables = Tables(plan)
        self.gradients = {k: np.zeros_like(self.parameters[k]) for k in plan.trainable}
        self.room = [FIRST_ROOM] * len(plan.populations)
        self._seen: dict[int, bytes] = {}
        self._of_parameters = Arrays()
        self._calls: dict[tuple[Any, ...], Arrays] = {}

    @classmethod
    def program(cls, plan: Plan, dtype: str = "float32") -> list[tuple[str, str]]:
        if not cls.language:
            return super().program(plan, dtype)
        refuse(plan, cls.name, cls.features)
        return [(f"{cls.language} of the trial", cls.generate(plan, dtype, split=on_host(plan)).text)]

    @abstractmethod
    def execute(self, arguments: Arrays, training: bool) -> Arrays:
        """Run the batch.

        Returns:
            every buffer of role "result" or "gradient"; results have a sample axis.
        """

    @abstractmethod
    def execute_half(self, arguments: Arrays, saved: Any) -> tuple[Arrays, Any]:
        """Run one pass of the split trial: forwards (saved None), or backwards with what the other call returned.

        Returns:
            (as `execute`, and with the gradients of input times; what the way back needs).
        """

    def run(
        self, data: Data, samples: Any, *, training: bool = False, record_spikes: bool = False,
        observed: Observed | None = None,
    ) -> Result:  # fmt: skip
        samples = self.batch(data, samples)
        whole = BatchShard.whole(len(samples), self.slices_of(len(samples)))
        with self.observing(self.take_observed(data, samples, observed)):
            result = self._run_part(data, samples, whole, training, record_spikes)
        if training:
            self._complete()
        return result

    @property
    def _running_plan(self) -> Plan:
        """The plan, with the populations observed that are so in the run that comes."""
        return observe(self.plan, self._observed)

    def _observed_arrays(self, batch: int) -> Arrays:
        """The observed spikes of a batch, by the names of their buffers."""
        arrays = Arrays()
        for name, spikes in self._observed.items():
            i = self.plan.numbers[name]
            if self.plan.spike_times == "exact":
                start = np.searchsorted(spikes.sample, np.arange(batch + 1))
                lists = {"times": spikes.time, "neurons": spikes.neuron.astype(np.int32), "start": start}
                arrays |= {f"p{i}_{OBSERVED}_{what}": array for what, array in lists.items()}
                continue
            rows = observed_rows(spikes, self.plan, self.plan.populations[i], batch, self.dtype)
            arrays[f"p{i}_{OBSERVED}"] = self._padded(rows)
        return arrays

    def _run_part(self, data: Data, batch: np.ndarray, part: BatchShard, training: bool, record_spikes: bool) -> Result:
        """`run` of a part of a batch."""
        samples, plan = batch[part.samples], self.plan
        data.scored(samples, training=training)
        arguments = self._arguments(data, batch, part, training)
        arguments["record"] = record_spikes
        if on_host(plan):
            out = self._run_around(arguments, data, samples, training)
        else:
            arguments |= self._regularisers(arguments, training)
            out = self.execute(arguments, training)
        if training:
            self._collect(out)
            self._collect_currents(out)
        guarded, spikes = self._guarded(out) if training else 0, dict(self._spikes(out)) if record_spikes else None
        return Result.of_losses(plan, self._loss_parts(out, data, samples), self._counts(out), guarded, spikes)

    def _guarded(self, out: Arrays) -> int:
        return sum(int(v.sum()) for k, v in out.items() if k.endswith("w_guarded"))

    def of_recording(self, number: int, part: BatchShard) -> Arrays:
        """More arguments of recording `number` of a batch, the first one of a part of it first; see `recordings.py`."""
        return {}

    def collect_recordings(self, out: Arrays, part: BatchShard) -> None:
        """`_collect` of a batch of recordings."""
        self._collect(out)

    def recording_sums(self, out: Arrays, part: BatchShard) -> dict[int, np.ndarray]:
        """The gradients of a part of a batch of recordings, as of `run_shard`."""
        self._collect(out)
        return {part.first: np.concatenate([self.gradients[k].ravel() for k in self.plan.trainable])}

    def check_status(self, status: int, arrays: Arrays, numbers: Sequence[int]) -> None:
        """Raise the error of a trial that left the dynamics; numbers: of the samples."""
        if status > 0:
            sample, step, state, neuron = (int(v) for v in arrays["trouble"])
            raise diverged(self.plan, self.plan.populations[status - 1], int(numbers[sample]), step, state, neuron)

    def _complete(self) -> None:
        """Once the gradients of a batch are there."""
        self.clear_masked()

    def _loss_parts(self, out: Arrays, data: Data, samples: np.ndarray) -> dict[str, LossPart]:
        """Output -> the result of its loss, nan for samples that have nothing to compare with."""
        parts = {}
        for prefix, loss in self._losses:
            readout, valid = self._read(out, loss)
            value = np.where(data.for_loss(loss).scored(samples), out[f"{prefix}loss"], np.nan)
            prediction = loss.predict(readout, valid, self.plan.duration)
            parts[loss.output] = LossPart(value, prediction, np.where(valid, readout, np.inf))
        return parts

    def _run_around(self, arguments: Arrays, data: Data, samples: np.ndarray, training: bool) -> Arrays:
        """A batch with an outer loss in Python: forwards, the losses here, backwards with their gradients."""
        out, saved = self.execute_half(arguments, None) if training else (self.execute(arguments, False), None)
        slopes = self._host_losses(arguments, out, data, samples)
        if training:
            arguments |= slopes | self._regularisers(arguments, training, self._counts(out))
            out |= self.execute_half(arguments, saved)[0]
        return out

    def _host_losses(self, arguments: Arrays, out: Arrays, data: Data, samples: np.ndarray) -> Arrays:
        """Outer losses in Python: adds them to the results `out`, returns dL/dr, an argument of the way back."""
        slopes = Arrays()
        for prefix, loss in self._losses:
            readout, valid = self._read(out, loss)
            tau = self.parameters.get(f"{loss.output}.tau_mem")
            shown, weight = np.where(valid, readout, np.inf), arguments[f"{prefix}sample_weight"]
            with self.lock.running_loss():
                loss_and_slopes = evaluate_outer_loss(loss, shown, data, samples, self.plan.duration, tau, weight)
            out[f"{prefix}loss"], slopes[f"{prefix}dL_dr"], slopes[f"{prefix}lambda_V_end"] = loss_and_slopes
            slopes |= {f"{prefix}dL_dr_{n}": np.zeros_like(v) for n, v in self._others(out, loss).items()}
        return slopes

    def _record(self, data: Data, samples: np.ndarray, times: np.ndarray, adjoint: bool) -> dict[str, np.ndarray]:
        plan, whole = self.plan, BatchShard.whole(len(samples), self.slices_of(len(samples)))
        arguments = self._arguments(data, samples, whole, False) | {"record": False}
        arguments |= {RECORDED: len(times), "record_times": times} | self._scratch()
        if on_host(plan):
            out = self._run_around(arguments, data, samples, adjoint)
        else:
            out = self.execute(arguments | self._regularisers(arguments, adjoint), adjoint)
        return {p.name: out[f"p{i}_{RECORD}"][..., : p.size] for i, p in enumerate(plan.populations)}

    def _scratch(self) -> Arrays:
        """Where a run writes whose gradients nobody asked for."""
        return {}

    splits = True

    def _forward_half(
        self, data: Data, samples: Any, keep: bool, stochastic: bool, record_spikes: bool
    ) -> tuple[Readouts, Any]:
        samples = self.batch(data, samples)
        whole = BatchShard.whole(len(samples), self.slices_of(len(samples)))
        arguments = self._arguments(data, samples, whole, stochastic) | {"record": record_spikes, "halves": True}
        out, saved = self.execute_half(arguments, None) if keep else (self.execute(arguments, False), None)
        readout, valid = self._read(out, self.plan.loss)
        spikes = self._spikes(out) if record_spikes else None
        counts, others = self._counts(out), self._others(out, self.plan.loss)
        return Readouts(np.where(valid, readout, np.inf), valid, counts, spikes, others), (arguments, saved, counts)

    def _backward_half(self, saved: Any, slope: np.ndarray, also: dict[str, np.ndarray], inputs: bool) -> np.ndarray:
        arguments, of_target, counts = saved
        arguments |= {"dL_dr": slope, "lambda_V_end": np.zeros_like(slope)} | self._regularisers(
            arguments, True, counts
        )
        arguments |= {f"dL_dr_{name}": array for name, array in also.items()} | {"input_gradients": inputs}
        out, _ = self.execute_half(arguments, of_target)
        self._collect(out)
        self._collect_currents(out)
        self._complete()
        return self._of_inputs(out, arguments) if inputs else np.zeros(0)

    def _of_inputs(self, out: Arrays, arguments: Arrays) -> np.ndarray:
        """Gradients of the times of input spikes, sample by sample in the order of the data."""
        return out["input_gradient"].astype(np.float64)

    def _read(self, out: Arrays, loss: LossRecord) -> tuple[np.ndarray, np.ndarray]:
        """(B, K) the readouts of a loss, and whether an output has one."""
        index = self.plan.numbers[loss.output]
        if self._infinite:
            return out[f"p{index}_w_r"], np.isfinite(out[f"p{index}_w_r"])
        readout, at_times = out[f"p{index}_w_r"].astype(np.float64), loss.of_spikes and loss.readout != "count"
        return readout, out[f"p{index}_w_first"] >= 0 if at_times else np.ones(readout.shape, bool)

    def _others(self, out: Arrays, loss: LossRecord) -> Arrays:
        """name -> further readouts of a loss, inf where an output has none; of a trial in two calls."""
        index = self.plan.numbers[loss.output]
        if self._infinite:
            return {n: out[f"p{index}_w_r_{n}"] for n in loss.also}
        readouts = {n: out[f"p{index}_w_r_{n}"].astype(np.float64) for n in loss.also}
        if "first_spike" in readouts:
            readouts["first_spike"][out[f"p{index}_w_first"] < 0] = np.inf
        return readouts

    def rows(self) -> list[str]:
        """Buffers that the host reads of a trial in two calls, though they are not results: V at every step."""
        return [f"p{self.plan.numbers[loss.output]}_w_r_trace" for loss in self.plan.losses if "trace" in loss.also]

    # inputs

    @cached_property
    def _losses(self) -> list[tuple[str, LossRecord]]:
        return prefixed_losses(self.plan)

    @cached_property
    def _pushes(self) -> list[tuple[int, str, list[SpikePush]]]:
        """(number, name, regularisers of its spikes) of every population that has some."""
        pushes = ((i, p.name, list(self.plan.spike_regularisers(p.name))) for i, p in enumerate(self.plan.populations))
        return [(i, name, terms) for i, name, terms in pushes if terms]

    @cached_property
    def _of_grid(self) -> Arrays:
        return grid_values(self.plan, self.dtype, self.slope_floor)

    @cached_property
    def _names_of_neurons(self) -> list[list[str]]:
        return [[f"{p.name}.{n}" for n in p.derived.params] for p in self.plan.populations]

    def _of_neurons(self) -> Arrays:
        """Numbers that follow from parameters of neurons, made anew for populations where one has changed."""
        for i, names in enumerate(self._names_of_neurons):
            now = b"".join([self.parameters[n].tobytes() for n in names])
            if self._seen.get(i) != now:
                self._of_parameters |= self._prepared(population_values(self.plan, i, self.parameters))
                self._seen[i] = now
        return self._of_parameters

    def _prepared(self, values: Arrays) -> Arrays:
        """Numbers of a population as generated code takes them."""
        return values

    def _of_synapses(self) -> Arrays:
        """Weights, tables of synapses and delays."""
        weights = {f"c{i}_weight": self.parameters[c.weight] for i, c in enumerate(self.plan.connections)}
        return weights | synapse_values(self.tables, self.parameters)

    def _input_places(self, offsets: np.ndarray, samples: np.ndarray) -> Arrays:
        """Where the gradients of the input spikes of each sample begin, and how many there are."""
        lengths = offsets[samples + 1] - offsets[samples]
        return {"input_start": np.cumsum(lengths) - lengths, "input_spikes": int(lengths.sum())}

    def _arguments(self, data: Data, batch: np.ndarray, part: BatchShard, stochastic: bool) -> Arrays:
        """Arrays and numbers by the names of the trial's buffers; stochastic: whether noise and dropout act."""
        samples = batch[part.samples]
        arguments: Arrays = {
            **self._of_call(part, stochastic), **self._of_neurons(), **self._of_synapses(),
            "steps": data.steps, "channels": data.channels, "offsets": data.offsets, "samples": samples,
            "numbers": data.numbers_of(samples),
        }  # fmt: skip
        arguments |= self._input_places(data.offsets, samples) | self.of_losses(data, batch, part.samples)
        arguments |= self.random_keys(data, samples) | self._observed_arrays(len(samples))
        return arguments | (self._drives(data, samples) if self.plan.currents_into else {})

    def of_losses(self, data: Data, batch: np.ndarray, part: slice) -> Arrays:
        """Labels, targets and weights of a part of a batch."""
        values = Arrays()
        for prefix, loss in self._losses:
            known = loss_inputs(loss, data, batch, part)
            driven = loss.weight.input_tau is not None and self.plan.spike_times == "grid"
            if driven and (prefix or not self.finds_activity):
                known |= activity(self.plan, loss, data, batch[part])
            if loss.readout == "spike_times":
                known["n_targets"] = known["targets"].shape[2]
            if loss.readout == "voltage" and "targets" in known:  # with exact spike times of any number
                known["target_rows"] = known["targets"].shape[1]
            values |= {f"{prefix}{n}": v for n, v in known.items()}
        return values

    def random_keys(self, data: Data, samples: np.ndarray) -> Arrays:
        """Of noise and dropout."""
        which = {"noise": "noise_key", "dropout": "dropout"}
        keys = self.stochastic_keys(data, samples).items()
        return {f"p{self.plan.numbers[name]}_{which[kind]}": key for (kind, name), key in keys}

    def _batch_of_currents(self, data: Data, samples: np.ndarray, steps: tuple[int, int] | None = None) -> CurrentBatch:
        """The currents of a batch, times their weights as they are run; steps: see `CurrentBatch`."""
        values = dict(self.parameters)
        if self.weight_rows == "float16":
            names = {c.weight for c in self.plan.currents_into}
            values |= rounded_weights(self.plan, {n: v for n, v in values.items() if n in names})
        return CurrentBatch(self.plan, values, self.tables, data, samples, self.dtype, steps)

    def _drives(self, data: Data, samples: np.ndarray, steps: tuple[int, int] | None = None) -> Arrays:
        """The drives of every step, by the names of their buffers; with exact spike times those that changes set."""
        self._batch = batch = self._batch_of_currents(data, samples, steps)
        if self.plan.spike_times == "exact":
            arguments = Arrays()
            for name, edges in batch.edges.items():
                i = self.plan.numbers[name]
                arguments |= {f"p{i}_change_times": edges[:-1], f"p{i}_changes": len(edges) - 1}
            for part, drives in (("drive", batch.starts), ("rise", batch.slopes)):
                for (name, r), u in drives.items():
                    arguments[f"p{self.plan.numbers[name]}_{r}_{part}"] = self._padded(u)
            return arguments
        return {f"p{self.plan.numbers[name]}_{r}_drive": self._padded(u) for (name, r), u in self._batch.means.items()}

    def _padded(self, drive: np.ndarray) -> np.ndarray:
        """(B, K, N) as generated code reads it, of drives and of observed spikes."""
        return drive

    def _of_call(self, part: BatchShard, stochastic: bool) -> Arrays:
        """What depends on nothing but the size of a batch and of lists of events, by these: not to be changed."""
        key = part, stochastic, tuple(self.room)
        if key not in self._calls:
            if len(self._calls) >= CALLS:
                self._calls.clear()
            self._calls[key] = self._make_call(part, stochastic)
        return self._calls[key]

    def _make_call(self, part: BatchShard, stochastic: bool) -> Arrays:
        """See `_of_call`."""
        values: Arrays = {
            "quantiles": quantiles(), "batch": len(part), "whole_batch": part.batch, "training": stochastic,
            "n_targets": 0, RECORDED: 0, **self._of_grid,
        }  # fmt: skip
        for i, p in enumerate(self.plan.populations):
            values[f"p{i}_room"] = self.room[i]
            values[f"p{i}_noise"] = p.noise * math.sqrt(self.plan.dt) if stochastic else 0.0
            values[f"p{i}_lost"] = limit(p.dropout) if stochastic else 0
        return values

    def _regularisers(self, arguments: Arrays, training: bool, counts: dict[str, np.ndarray] | None = None) -> Arrays:
        """Strengths and targets. The excess of a batch's mean count needs `counts`, or a forward run before."""
        plan, values, counted = self.plan, Arrays(), arguments.get("counted", self.plan.duration)  # ms
        if training and counts is None and any(r.mean == "batch" for _, _, terms in self._pushes for r in terms):
            counts = self._counts(self.execute(arguments, False))
        for i, name, terms in self._pushes:
            for k, r in enumerate(terms):
                upper, lower = r.strengths(plan.loss, counted, self.parameters)
                values[f"p{i}_upper{k}"] = upper / arguments["whole_batch"]
                values[f"p{i}_lower{k}"] = lower / arguments["whole_batch"]
                if r.mean == "batch":
                    excess = np.zeros(1) if counts is None else r.excess(self.whole_counts(counts[name]))[0]
                    values[f"p{i}_excess{k}"] = np.broadcast_to(excess, upper.shape)
                else:
                    values[f"p{i}_target{k}"] = r.target
        return values

    # results

    @cached_property
    def _counters(self) -> list[tuple[str, str]]:
        """(population, the buffer of its spike counts) of those that spike."""
        return [(p.name, f"p{i}_w_count") for i, p in enumerate(self.plan.populations) if p.spiking]

    def _counts(self, out: Arrays) -> dict[str, np.ndarray]:
        return {name: out[buffer].astype(np.int64) for name, buffer in self._counters}

    def _collect(self, out: Arrays) -> None:
        """Gradients by the names of parameters."""
        for i, c in enumerate(self.plan.connections):
            if f"c{i}_gradient" in out:
                gradient = out[f"c{i}_gradient"].reshape(c.weight_shape)
                # a connection that shares weights comes after their owner, whose gradient is there already
                self.gradients[c.weight] = self.gradients[c.weight] + gradient if c.shares else gradient
            if c.delays and f"c{i}_delay_gradient" in out:
                self.gradients[c.delays_name] = out[f"c{i}_delay_gradient"].reshape(c.delays.shape)
        for i, p in enumerate(self.plan.populations):
            for n in p.trainable:
                each = out[f"p{i}_G_{n}"]
                shared = self.parameters[f"{p.name}.{n}"].shape == (1,)
                self.gradients[f"{p.name}.{n}"] = (
                    each.sum(keepdims=True, dtype=np.float64).astype(self.dtype) if shared else each
                )

    def _collect_currents(self, out: Arrays) -> None:
        """Gradients of the weights of currents, from those of the drives of every step."""
        if not self.plan.currents_into:
            return
        if self.plan.spike_times == "exact":
            by_start = self._by_drive(out, "drive", self._batch.means)
            by_slope = self._by_drive(out, "rise", self._batch.slopes)
            return self._set_currents(self._batch.gradients_from_starts(by_start, by_slope))
        self._set_currents(self._batch.gradients(self._by_drive(out, "drive", self._batch.means)))

    def _set_currents(self, gradients: Arrays) -> None:
        for name, gradient in gradients.items():
            self.gradients[name][...] = gradient
        self._currents = self._batch

    def gradients_of_currents(self, out: Arrays) -> Arrays:
        """Those of the weights of currents by one piece of a recording, the last that ran."""
        batch = self._batch
        by_drive = self._by_drive(out, "drive", batch.means)
        return batch.gradients({key: by_drive[key][:, : u.shape[1]] for key, u in batch.means.items()})

    def _by_drive(self, out: Arrays, part: str, drives: Drives) -> Drives:
        """dL/d(drive), without padding; part: the array that a drive stands in."""
        sizes = {p.name: p.size for p in self.plan.populations}
        return {(name, r): out[f"p{self.plan.numbers[name]}_w_{r}_by_{part}"][..., : sizes[name]] for name, r in drives}

    def _spikes(self, out: Arrays) -> Mapping[str, Spikes]:
        spikes = {}
        for i, buffer in self.trial.spikes.items():
            rows = out[buffer.name]
            flags = np.unpackbits(rows.view(np.uint8), axis=-1, bitorder="little")
            b, k, n = np.nonzero(flags[..., : self.plan.populations[i].size])
            spikes[self.plan.populations[i].name] = Spikes(b, k * self.plan.dt, n)
        return spikes

    # memory

    def grow_room(self, population: int, needed: int) -> Arrays:
        """Make the lists of a population long enough; returns the argument that says so. A power of two: trials that
        grow little by little would otherwise run again, and be laid out anew, for every entry."""
        self.room[population] = 1 << (int(needed) - 1).bit_length()
        return {f"p{population}_room": self.room[population]}

    def lengths(self, arguments: Mapping[str, Any]) -> dict[str, int]:
        """Run-time lengths of axes."""
        names = ("batch", "n_steps", "n_points", "n_nodes", "n_targets", "input_spikes", RECORDED)
        ends = ("_ring", "_n_nodes", "_n_targets")  # of connections and of auxiliary losses
        known = {n: int(arguments[n]) for n in (*names, *(n for n in arguments if n.endswith(ends)))}
        known |= {"populations": len(self.room), "connections": len(self.plan.connections)}
        return known | {f"p{i}_room": room for i, room in enumerate(self.room)}

    def shape(self, buffer: Buffer, arguments: Mapping[str, Any], of_sample: bool) -> tuple[int, ...]:
        """Shape of a buffer; of_sample: it has a part for every sample of the batch."""
        lengths = self.lengths(arguments)
        return ((lengths["batch"],) if of_sample else ()) + buffer.shape(lengths)

    def kind(self, buffer: Buffer) -> np.dtype:
        return np.dtype(buffer.type_in_numpy(self.dtype))


class LoopEngine(ProgramEngine):
    """One that runs the loops of `program.lower` as they are: all buffers are arrays, and what the loops return says
    whether the list of a neuron's events was too short, or where the dynamics diverged."""

    @abstractmethod
    def buffers(self, split: bool) -> Iterable[Buffer]:
        """Those of the program of a whole trial, or of one in two calls."""

    @abstractmethod
    def call(self, arguments: Arrays, split: bool, stored: Arrays) -> tuple[int, Arrays]:
        """(what the loops return, all arrays after the call); stored: those of the call before."""

    def execute(self, arguments: Arrays, training: bool) -> Arrays:
        return self._outputs(self._run(arguments | {"training": training}, False, {}), False)

    def execute_half(self, arguments: Arrays, saved: Arrays | None) -> tuple[Arrays, Arrays]:
        rooms = {k: v for k, v in (saved or {}).items() if k.endswith("_room")}
        arrays = self._run(arguments | {"training": saved is not None} | rooms, True, saved or {})
        return self._outputs(arrays, True), arrays | {f"p{i}_room": room for i, room in enumerate(self.room)}

    def _outputs(self, arrays: Arrays, split: bool) -> Arrays:
        rows = self.rows() if split else []
        return {b.name: arrays[b.name] for b in self.buffers(split) if b.role in OUT or b.name in rows}

    def _run(self, arguments: Arrays, split: bool, stored: Arrays) -> Arrays:
        status, arrays = self.call(arguments, split, stored)
        while status < 0:
            full = -1 - status
            arguments |= self.grow_room(full, arrays["trouble"][3])
            status, arrays = self.call(arguments, split, stored)
        self.check_status(status, arrays, arguments["numbers"])
        return arrays
