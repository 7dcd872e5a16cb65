"""`native`: generated C++ for this network, a whole batch forwards and backwards in one call.

Samples of a batch go to threads in slices; a slice is processed whole by one thread and the slices' gradients are
summed in a fixed tree (`parts`), so the bits of a result depend neither on the number of threads or processes nor on
the run (on one kind of CPU). dt, the duration and all parameter values are run-time arguments.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from ..codegen.cpp import coded, generate, host_source, padded, regulariser_names
from ..codegen.cpp.context import ACTIVITY
from ..codegen.cpp.kinds import streams
from ..codegen.optimiser import update_source
from ..errors import EngineError, ToolchainError
from ..plan import Plan, clock
from ..plan.coefficients import integrand_weight, node_part, node_scale, weight_coefficients
from ..plan.numbers import value_arrays
from ..plan.series import MODES, degree, exact_tables, gauss_table, number_of_steps, varies, weight_series
from ..program.outer import on_host
from ..program.values import auxiliary, auxiliary_values
from ..toolchain import build, find_compiler, require
from .base import Availability, Data, Engine, LossPart, Recorded, Result, batch_indices, diverged, summed
from .carry import Carry
from .losses import compared_with, prefixed, taken
from .native_carry import Carrying
from .native_routes import NativeRoutes
from .native_tables import NativeTables
from .parts import Part, add_in_tree
from .refuse import (
    ALL,
    ALONG,
    AMOUNTS,
    BENT,
    INPUTS,
    INTEGRALS,
    JUMPS,
    LOSSES,
    OF_MODELS,
    PARTS,
    SEVERAL,
    SHARED_TABLES,
    STEPWISE,
)
from .split import Readouts
from .stochastic import limit, quantiles

FEW_SLICES, MANY_SLICES = 16, 256
SAMPLES_A_SLICE = 4  # of batches with more than FEW_SLICES
SLICE_MEMORY = 512 * 2**20  # bytes that more than FEW_SLICES may take
TRAJECTORY_LIMIT = 256.0  # MiB a thread
WHOLE, FORWARDS, BACKWARDS, SPIKES = 0, 1, 2, 3  # what a call runs of a batch, as in batch.hpp


class NativeEngine(Engine):
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
        "grid": ALL - {AMOUNTS, INTEGRALS, BENT, PARTS, ALONG, SHARED_TABLES},
        "exact": ALL - {*OF_MODELS, JUMPS, AMOUNTS, BENT, SEVERAL, STEPWISE, LOSSES, INPUTS},
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
                raise EngineError(f"{name}={number}: at least one is needed")
        self.dtype, self.slices = np.dtype(dtype), slices
        self.threads = threads or min(available_processors(), MANY_SLICES if slices is None else slices)
        self._threads_given = threads is not None
        self.segment, self.trajectory = segments(plan, self.dtype.itemsize, trajectory_limit)
        if self.segment < plan.n_steps:
            self.remarks.append(f"trajectories are kept in segments of {self.segment} steps and run twice")
        exact = plan.spike_times == "exact"
        self._on_host = plan.loss.host is not None if exact else on_host(plan)  # the outer losses
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
        self._update_code: str = ""
        self._update_library: ctypes.CDLL | None = None
        self._handle: int | None = None
        self._pid = 0
        self._kept_arrays: dict[str, np.ndarray] = {}
        self._split_inputs: tuple[np.ndarray | None, dict[str, np.ndarray]] = (None, {})
        self._wants_inputs = False  # whether the next pass backwards takes gradients of input times
        self._records = 0  # runs that recorded spikes
        self._also: dict[str, np.ndarray] = {}  # of the last pass, what `Loss.also` names
        self._allocate(parameters)

    @cached_property
    def _library(self) -> ctypes.CDLL:
        """Compiled when first used: data that does not fit is refused before that."""
        return _declare(build(self.source.text))

    @cached_property
    def _host(self) -> ctypes.CDLL:
        """Threads and recorded spikes: one library for all networks."""
        return _declare_host(build(host_source()))

    # memory: weights have padded rows; `parameters` and `gradients` are views without the padding

    def _allocate(self, parameters: Mapping[str, np.ndarray]) -> None:
        self._padded: dict[str, np.ndarray] = {}
        self.parameters = {}
        pairs = {c.pairs for c in self.plan.connections if c.drawn}
        for key, value in parameters.items():
            if key in pairs:
                self.parameters[key] = np.array(value, np.int32, order="C")
                continue
            value = np.asarray(value, dtype=self.dtype)
            if value.ndim == 2:
                full = aligned((value.shape[0], padded(value.shape[1])), self.dtype)
                view = full[:, : value.shape[1]]
            else:
                full = aligned((padded(value.size),), self.dtype)
                view = full[: value.size].reshape(value.shape)
            view[...] = value
            self._padded[key], self.parameters[key] = full, view
        self._gradient = aligned((self.source.gradient_size,), self.dtype)
        self._slices = aligned((0, self.source.gradient_size), self.dtype)
        self.gradients = {}
        self._shared: list[tuple[np.ndarray, np.ndarray]] = []
        inside = self._coded.parameters
        self._inside = {inside[key]: view for key, view in self.parameters.items()}
        public = {name: key for key, name in inside.items()}
        of_connections = {key for c in self.plan.connections for key in c.values}
        for name, (offset, rows, columns) in self.source.gradients.items():
            key = public[name]
            full = self._gradient[offset : offset + rows * columns].reshape(rows, columns)
            shape = self.parameters[key].shape
            if len(shape) == 2:
                self.gradients[key] = full[:, : shape[1]]
            elif key in of_connections:
                self.gradients[key] = full[0, : math.prod(shape)].reshape(shape)
            elif shape == (1,) and self._size(key) > 1:
                total = np.zeros(1, self.dtype)
                self._shared.append((total, full[0, : self._size(key)]))
                self.gradients[key] = total
            else:
                self.gradients[key] = full[0, : shape[0]]
        self._values: dict[str, np.ndarray] = {}
        self._exact_steps, self._degree, self._series_size = 0, dict[str, int](), 1
        self._seen: dict[str, bytes] = {}
        plan = self.plan
        self._connections = NativeTables(plan) if plan.spike_times == "grid" else NativeRoutes(plan)
        self._quantiles, self._stochastic, self._numbers = quantiles().astype(self.dtype), False, np.zeros(0, np.int64)
        self._weight: dict[str, np.ndarray] = {"weight_series": np.zeros(1), "gauss": gauss_table()}
        if plan.spike_times == "grid":
            grid = {"time_weight": weight_coefficients(plan), "integrand_weight": integrand_weight(plan)}
            if plan.loss.readout == "voltage":
                grid |= {"node_scale": node_scale(plan), "node_part": node_part(plan)}
            others = {k: v for k, v in auxiliary_values(self._coded.plan).items() if isinstance(v, np.ndarray)}
            self._weight = {k: v.astype(self.dtype) for k, v in (grid | others).items()}

    def _size(self, key: str) -> int:
        return self.plan.population(key.split(".")[0]).size

    def _refresh_values(self) -> None:
        """Recompute the coefficients of populations whose parameters changed since the last run."""
        changed, plan, parameters = False, self._coded.plan, self._inside
        for p in plan.populations:
            now = b"".join(parameters[f"{p.name}.{n}"].tobytes() for n in p.derived.params)
            if self._seen.get(p.name) == now:
                continue
            if plan is not self.plan:  # by their public names
                self.plan.check_parameters(self.parameters)
            for name, value in value_arrays(plan, p, parameters).items():
                key = f"p_{p.name}_{name}"
                full = self._values.get(key)
                if full is None:
                    full = self._values[key] = aligned((padded(value.size),), self.dtype)
                full[: value.size] = value
                # padding repeats the last value, so that idle lanes never divide by zero
                full[value.size :] = value[-1]
            own = {n: parameters[f"{p.name}.{n}"] for n in p.derived.durations}
            for n, steps in clock.mode_steps(p.derived, own, self.plan.dt).items():
                self._values[f"p_{p.name}_steps_{n}"] = steps.astype(np.int32)
            self._seen[p.name] = now
            changed = True
        if changed and self.plan.spike_times == "exact":
            self._refresh_tables()

    def _refresh_tables(self) -> None:
        """Tables of the exact engine; see `plan/series.py`."""
        plan, parameters = self._coded.plan, self._inside
        steps = number_of_steps(plan, parameters, self.dtype.name)
        if steps != self._exact_steps and plan.loss.integrates:
            found = weight_series(plan.loss, plan.duration, steps, self.dtype.name)
            self._weight["weight_series"], self._series_size = found
        self._exact_steps = steps
        delta, read = plan.duration / steps, plan.output.derived.model.readout
        for p in plan.populations:
            watched = read if p is plan.output and read in p.derived.states else None
            full = padded(p.size) if varies(p) else 1
            self._degree[p.name] = degree(plan, p, parameters, delta, self.dtype.name)
            for mode in range(len(p.derived.modes)):
                tables = exact_tables(p, parameters, delta, watched, mode)
                for name, table in tables.arrays().items():
                    series = name.split("_")[0] in ("spike", "rho", "arrive", "back", "dspike")
                    dtype = np.dtype(np.float64) if series and not varies(p) else self.dtype
                    value = table if name == "A" else _padded_last(table, full, dtype)
                    self._values[f"x_{p.name}{MODES[mode]}_{name}"] = value
                    if name == "step":
                        rest = _padded_last(table - table.astype(self.dtype), full, self.dtype)
                        self._values[f"x_{p.name}{MODES[mode]}_step_rest"] = rest

    # running

    def run(self, data: Data, samples: Any, *, training: bool = False, record_spikes: bool = False) -> Result:
        samples = batch_indices(data, samples)
        whole = Part.whole(len(samples), self.slices_of(len(samples)))
        result = self._run(data, samples, whole, training, record_spikes, stochastic=training)
        if training:
            self._share_out()
        return replace(result, spikes=dict(result.spikes)) if result.spikes is not None else result

    splits = True

    @cached_property
    def _halves(self) -> NativeEngine:
        """This engine, compiled for batches in two halves; it shares parameters and gradients."""
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
        shared = ("parameters", "_inside", "_padded", "gradients", "_gradient", "_shared")
        other.__dict__ |= {name: getattr(self, name) for name in shared}
        return other

    def cannot_carry(self) -> str:
        if self.plan.spike_times == "exact":
            return "exact spike times carry no state from trial to trial; use spike_times='grid'"
        if streams(self.plan):
            return "native carries no state of networks with several inputs; use engine='reference_clock'"
        valued = [c.name for c in self.plan.connections if c.delays is not None]
        if valued:
            return f"native carries no spikes along delays that are values ({valued[0]}); use engine='reference_clock'"
        return ""

    def run_on(
        self, data: Data, samples: Any, carry: Carry | None, *, training: bool = False, record_spikes: bool = False
    ) -> tuple[Result, Carry]:
        if why := self.cannot_carry():
            raise EngineError(why)
        samples, other = batch_indices(data, samples), self._carrying
        other.seed, other.epoch = self.seed, self.epoch
        other._carry = carrying = Carrying(self.plan, carry, len(samples), self.dtype)
        result = other.run(data, samples, training=training, record_spikes=True)
        return replace(result, spikes=result.spikes if record_spikes else None), carrying.after(data, samples, result)

    def _forward_half(
        self, data: Data, samples: Any, keep: bool, stochastic: bool, record_spikes: bool
    ) -> tuple[Readouts, tuple[dict[str, np.ndarray], Part, dict[str, np.ndarray]]]:
        samples, other = batch_indices(data, samples), self._halves
        other.seed, other.epoch = self.seed, self.epoch
        part = Part.whole(len(samples), self.slices_of(len(samples)))
        half = FORWARDS if keep else WHOLE
        result = other._run(data, samples, part, keep, record_spikes and not keep, stochastic, half)
        spikes = other._recorded(len(samples), part) if keep and record_spikes else result.spikes
        valid = np.isfinite(result.readout)
        also = {name: array.copy() for name, array in other._also.items()}
        readouts = Readouts(result.readout, valid, result.spike_counts, spikes, also)
        return readouts, (other._kept_arrays if keep else {}, part, result.spike_counts)

    def _backward_half(
        self, kept: tuple[dict[str, np.ndarray], Part, dict[str, np.ndarray]], slope: np.ndarray,
        also: dict[str, np.ndarray], inputs: bool,
    ) -> np.ndarray:  # fmt: skip
        arrays, part, counts = kept
        if inputs and streams(self.plan):
            raise EngineError(
                "native has no gradients of the times of several inputs; use reference_clock, or inputs=False"
            )
        self._halves._wants_inputs = inputs
        arrays["given_dr"][:] = slope
        if inputs:
            arrays["input_slope"] = np.zeros(arrays["input_start"][-1], self.dtype)
        arrays |= {f"given_{name}": np.ascontiguousarray(value) for name, value in also.items()}
        arrays |= self._pushes(counts, part)
        self._halves._call(arrays, part, True, False, BACKWARDS)
        self._share_out()
        return arrays["input_slope"].astype(np.float64) if inputs else arrays["input_slope"]

    def slices_of(self, batch: int) -> int:
        if self.slices is not None:
            return min(batch, self.slices)
        fitting = SLICE_MEMORY // max(self.source.gradient_size * self.dtype.itemsize, 1)
        many = min(batch // SAMPLES_A_SLICE, MANY_SLICES, fitting)
        return min(batch, max(FEW_SLICES, 1 << many.bit_length() >> 1))

    def notes(self, batch: int) -> list[str]:
        slices = self.slices_of(batch)
        idle = self.threads - slices
        return [f"{idle} of {self.threads} threads stay idle: a batch is {slices} slices"] if idle > 0 else []

    def settle(self, number: int, processes: int) -> None:
        if not self._threads_given:
            self.close()
            self.threads = max(1, self.threads // processes)

    def roots_of(self, part: Part) -> list[int]:
        return part.roots

    def run_part(
        self, data: Data, samples: np.ndarray, part: Part, *, training: bool
    ) -> tuple[Result, dict[int, np.ndarray]]:
        result = self._run(data, samples, part, training, False, stochastic=training)
        return result, {root: self._slices[root - part.first] for root in part.roots} if training else {}

    def room_for_gradient(self) -> np.ndarray:
        return np.empty_like(self._gradient)

    def add_sums(self, sums: dict[int, np.ndarray], slices: int) -> np.ndarray:
        return add_in_tree(sums, slices)

    def take_gradient(self, flat: np.ndarray) -> None:
        self._gradient[...] = flat
        self._share_out()

    def _share_out(self) -> None:
        """Gradients of parameters that all neurons of a population have in common."""
        for total, full in self._shared:
            total[0] = full.sum(dtype=np.float64)

    def _run(
        self, data: Data, batch: np.ndarray, part: Part, training: bool, record_spikes: bool, stochastic: bool,
        half: int = WHOLE,
    ) -> Result:  # fmt: skip
        """`run` of a part of a batch; stochastic: whether noise and dropout act."""
        samples = batch[part.own]
        scored = data.scored(samples, training=training and half == WHOLE)
        plan, B, K = self.plan, len(samples), self.plan.output.size
        self._refresh_values()
        n_slices = part.last - part.first
        if training and len(self._slices) < n_slices:
            self._slices = aligned((n_slices, self.source.gradient_size), self.dtype)
        out: dict[str, np.ndarray] = {
            "loss": np.empty(B), "readout": np.empty((B, K)), "prediction": np.empty(B, np.int64),
            "guarded": np.zeros(n_slices, np.int64), "slices": self._slices, "gradient": self._gradient,
        }  # fmt: skip
        inside = self._coded.populations
        out |= {f"p_{inside[p]}_counts": np.empty((B, plan.population(p).size), np.int32) for p in self._spiking}
        given = {
            "steps": data.steps, "channels": data.channels, "offsets": data.offsets, "samples": samples,
            "labels": data.labels[samples], "quantiles": self._quantiles,
            **self._weight,
        }  # fmt: skip
        if data.targets is not None:
            given["targets"] = np.ascontiguousarray(data.targets[samples])
        given["sample_weight"] = plan.loss.factor * data.sample_weight(batch)[part.own]
        for prefix, loss in auxiliary(plan):
            for name, value in compared_with(plan, loss, data, samples).items():
                given[prefix + name] = value.astype(self.dtype) if name in ACTIVITY else value
            given[f"{prefix}sample_weight"] = loss.factor * data.sample_weight(batch)[part.own]
            shape = (B, loss.n_classes)
            out |= {f"{prefix}loss": np.empty(B), f"{prefix}readout": np.empty(shape)}
            given |= {prefix + n: np.zeros(shape) for n in ("given_dr", "given_last") if self._split}
        if data.times is not None:
            given["times"] = data.times
        given |= self._streams_of(data)
        given |= {f"c_{c.name}_weight": self._padded[c.weight] for c in plan.connections}
        given |= {f"c_{c.name}_delays": self._padded[c.delays_name] for c in plan.connections if c.delays}
        self._connections.refresh(self.parameters)
        given |= self._connections.arrays | ({} if self._carry is None else self._carry.arrays)
        given |= self._regulariser_values(data, batch, part, training)
        given |= {
            f"{kind}_key_{inside[name]}": key for (kind, name), key in self.stochastic_keys(data, samples).items()
        }
        self._stochastic, self._numbers = stochastic, data.numbers_of(samples)
        if self._split:
            given |= {n: np.zeros((B, K)) for n in ("given_dr", "given_last")} | {"given_loss": np.zeros(B)}
            counts = data.offsets[samples + 1] - data.offsets[samples]
            given["input_start"] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
            always = plan.spike_times == "exact"
            given["input_slope"] = np.zeros(given["input_start"][-1] if always else 0, self.dtype)
        shapes = {name: (B, plan.n_steps + 1, K) if name == "trace" else (B, K) for name in plan.loss.also}
        self._also = {name: np.empty(shape) for name, shape in shapes.items()}
        given |= {f"also_{name}": array for name, array in self._also.items()}
        given |= {f"given_{name}": np.zeros(shape) for name, shape in shapes.items()}
        arrays = {**given, **self._values, **out}
        if half == FORWARDS:
            self._call(arrays, part, training, record_spikes, FORWARDS)
            self._kept_arrays = arrays
        elif not self._on_host:
            self._call(arrays, part, training, record_spikes)
        else:
            self._call_around(arrays, data, samples, part, training, record_spikes)
        value = np.where(scored, out["loss"], np.nan)
        parts = {plan.loss.output: LossPart(value, out["prediction"], out["readout"])}
        for prefix, loss in auxiliary(plan):
            value, readout = (out[prefix + n] for n in ("loss", "readout"))
            value = np.where(data.seen_by(loss).scored(samples), value, np.nan)
            decided = loss.predict(readout, np.isfinite(readout), plan.duration)
            parts[loss.output] = LossPart(value, decided, readout)
        return Result(
            loss=summed(plan, parts), prediction=out["prediction"], readout=out["readout"],
            spike_counts={p: out[f"p_{inside[p]}_counts"].astype(np.int64) for p in self._spiking},
            guarded=int(out["guarded"].sum()) if training else 0,
            spikes=self._recorded(B) if record_spikes else None, parts=parts if plan.auxiliary else {},
        )  # fmt: skip

    def _streams_of(self, data: Data) -> dict[str, np.ndarray]:
        """The spikes of each of several inputs by themselves, made again for another data set."""
        if self._split_inputs[0] is not data.steps:
            found: dict[str, np.ndarray] = {}
            for name, (first, last) in streams(self.plan).items():
                own = (data.channels >= first) & (data.channels < last)
                before = np.concatenate([[0], np.cumsum(own)])
                found |= {f"{name}steps": data.steps[own], f"{name}channels": data.channels[own] - np.int32(first)}
                found[f"{name}offsets"] = before[data.offsets].astype(np.int64)
            self._split_inputs = data.steps, found
        return self._split_inputs[1]

    def _regulariser_values(self, data: Data, batch: np.ndarray, part: Part, training: bool) -> dict[str, np.ndarray]:
        """Strengths and targets of regularisers of spikes; a mean over the batch takes a forward run of its own."""
        means = (r.mean == "batch" for p in self._spiking for r in self.plan.spike_regularisers(p))
        counts = None
        if training and not self._split and any(means):
            counts = self._run(data, batch, part, False, False, stochastic=True).spike_counts
        return self._pushes(counts, part)

    def _pushes(self, counts: dict[str, np.ndarray] | None, part: Part) -> dict[str, np.ndarray]:
        """The same; counts: spike counts of the part's samples, where a mean over the batch needs them."""
        plan, values = self.plan, dict[str, np.ndarray]()
        for p in self._spiking:
            names = regulariser_names(self._coded.plan, self._coded.populations[p])
            for name, r in zip(names, plan.spike_regularisers(p)):
                upper, lower = r.strengths(plan.loss, plan.duration, self.parameters)
                third = {"target": np.array([r.target])}
                if r.mean == "batch":
                    excess = np.zeros(1) if counts is None else r.excess(self.whole_counts(counts[p]))[0]
                    third = {"excess": np.broadcast_to(excess, upper.shape)}
                both = {"upper": upper / part.batch, "lower": lower / part.batch, **third}
                size = padded(plan.population(p).size)
                values |= {
                    f"{name}_{k}": _padded_last(v, size if v.size > 1 else 1, self.dtype) for k, v in both.items()
                }
        return values

    def _call_around(
        self, arrays: dict[str, np.ndarray], data: Data, samples: np.ndarray, part: Part, training: bool, record: bool
    ) -> None:
        """A batch with a Python outer loss: forwards, the losses here, then backwards with their gradients."""
        self._call(arrays, part, training, record, FORWARDS if training else WHOLE)
        losses = {}
        for prefix, loss in prefixed(self.plan):
            weight, tau = arrays[f"{prefix}sample_weight"], self.parameters.get(f"{loss.output}.tau_mem")
            found = taken(loss, arrays[f"{prefix}readout"], data, samples, self.plan.duration, tau, weight)
            losses[f"{prefix}loss"], arrays[f"{prefix}given_dr"][:], arrays[f"{prefix}given_last"][:] = found
        if training:
            guarded = arrays["guarded"].copy()
            counts = {p: arrays[f"p_{self._coded.populations[p]}_counts"].astype(np.int64) for p in self._spiking}
            self._wants_inputs = False
            self._call(arrays | self._pushes(counts, part), part, True, False, BACKWARDS)
            arrays["guarded"][:] = guarded
        for name, value in losses.items():
            arrays[name][:] = value

    def _call(self, arrays: dict[str, np.ndarray], part: Part, training: bool, record: bool, half: int = WHOLE) -> None:
        source, plan, loss = self.source, self.plan, self.plan.loss
        self._records += half == FORWARDS or (record and half != SPIKES)
        for i, (_, n) in enumerate(source.arrays):  # few are other arrays than in the last call
            if self._passed[i] is not arrays[n]:
                self._passed[i], self._pointers[i] = arrays[n], arrays[n].ctypes.data
        numbers = {"dt": plan.dt, "duration": plan.duration, "slope_floor": self.slope_floor}
        rate = 0.0 if loss.weight.input_tau is None else 1 / loss.weight.input_tau
        numbers |= dict(zip(("window_start", "window_end"), loss.weight.ends(plan.duration)))
        numbers |= {"activity_decay": math.exp(-plan.dt * rate), "activity_jump": loss.weight.input_gain * rate}
        numbers["activity_rate"] = rate
        numbers |= {
            "delta": plan.duration / max(self._exact_steps, 1),
            **{f"d_{c.name}": c.delay for c in plan.connections},
            **self._coded.plan.loss.constants,
            **{f"{prefix}loss_{n}": v for prefix, loss in auxiliary(plan) for n, v in loss.constants.items()},
        }
        populations = self._coded.plan.populations
        numbers |= {f"noise_{p.name}": self._stochastic * p.noise * math.sqrt(plan.dt) for p in populations}
        integers = {"n_steps": plan.n_steps, "batch": len(part), "training": training, "record": record}
        integers |= {"n_slices": part.last - part.first, "first_slice": part.first}
        integers |= {"whole_batch": part.batch, "whole_slices": part.slices}
        integers |= {
            "segment": self.segment,
            "exact_steps": self._exact_steps,
            "series_size": self._series_size,
            **{f"degree_{p}": m for p, m in self._degree.items()},
        }
        integers |= {f"dropout_{p.name}": self._stochastic * limit(p.dropout) for p in populations}
        integers["input_gradients"] = self._wants_inputs
        integers |= {} if self._carry is None else self._carry.integers
        integers |= {"half": half, "n_targets": arrays["targets"].shape[2] if loss.readout == "spike_times" else 0}
        rows = arrays["targets"].shape[1] if "targets" in arrays and loss.readout == "voltage" else plan.n_steps + 1
        integers["target_rows"], numbers["target_dt"] = rows, plan.duration / (rows - 1)
        integers |= {f"c_{c.name}_delay": c.delay_steps for c in plan.connections} | self._connections.integers
        status = self._library.eventprop_run(
            self._engine(), self._pointers,
            (ctypes.c_double * len(source.numbers))(*[numbers[n] for n in source.numbers]),
            (ctypes.c_int64 * len(source.integers))(*[int(integers[n]) for n in source.integers]),
        )  # fmt: skip
        if status > 1:
            self._raise_trouble(status - 2)
        if status != 0:
            raise EngineError(
                f"out of memory while running {len(part)} trials of {plan.n_steps} steps on {self.threads} threads; "
                "use fewer threads or a smaller network"
            )

    def _raise_trouble(self, population: int) -> None:
        """The error of a trial that ran away."""
        found = np.empty(4, np.int64)
        self._library.eventprop_trouble(self._engine(), found.ctypes.data)
        sample, step, state, neuron = (int(v) for v in found)
        if self.plan.spike_times == "grid":
            raise diverged(
                self.plan, self.plan.populations[population], int(self._numbers[sample]), step, state, neuron
            )
        raise EngineError(
            f"population {self._spiking[population]!r} diverged in sample {self._numbers[sample]}: more than 200 "
            f"spikes per neuron in {self.plan.duration / max(self._exact_steps, 1):g} ms; use smaller weights or an "
            "engine on the grid"
        )

    def _engine(self) -> int:
        """The C++ side with its threads; made anew in a forked child, where threads do not exist."""
        if self._handle is None or self._pid != os.getpid():
            library, handle = self._library, self._host.host_create(self.threads, len(self._spiking))
            if not handle:
                raise EngineError(f"could not start {self.threads} threads; ask for fewer with threads=")
            if library.eventprop_attach(handle):
                self._host.host_destroy(handle)
                raise EngineError(f"out of memory while preparing {self.threads} threads; use fewer threads")
            self._handle, self._pid = handle, os.getpid()
        return self._handle

    def _recorded(self, B: int, kept: Part | None = None) -> Recorded:
        """Spikes that stay on the C++ side until they are looked at, or the next run; kept: those of kept trials."""
        number, arrays = self._records, self._kept_arrays

        def read(population: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            if number != self._records or self._handle is None or self._pid != os.getpid():
                raise EngineError("the spikes of an earlier run are gone; read them before the engine runs again")
            if kept is not None:
                self._call(arrays, kept, False, True, SPIKES)
            return self._copied(population, B)

        return Recorded(self._spiking, read)

    def _copied(self, population: int, B: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sample, time (ms) and neuron of the recorded spikes of a population."""
        host, engine = self._host, self._engine()
        counts = np.array([host.host_recorded(engine, population, b) for b in range(B)])
        neuron, time = np.empty(counts.sum(), np.int32), np.empty(counts.sum())
        for b, start in enumerate(np.cumsum(counts) - counts):
            place = neuron.ctypes.data + 4 * int(start), time.ctypes.data + 8 * int(start)
            host.host_copy_recorded(engine, population, b, *place)
        return np.repeat(np.arange(B), counts), time, neuron.astype(np.int64)

    def update(self, optimiser: Any) -> None:
        """One optimiser step, the optimiser's text compiled to C++ and run on the engine's threads."""
        names = self.plan.trainable
        gradients = {k: self.gradients[k] for k in names}
        self.use(optimiser)
        step = optimiser.next_step(gradients)
        if self._update_code != step.code:
            source = update_source(
                step.code, step.state_names, step.scalar_names, step.local_names, self.dtype.name
            )  # fmt: skip
            self._update_library = build(source)
            self._update_code = step.code
        library = self._update_library
        assert library is not None
        for item in step.parameters:
            x, g = self.parameters[item.name], self.gradients[item.name]
            _update(library, self._host, self._engine(), item, step, x, g)

    def close(self) -> None:
        if self._handle is not None and self._pid == os.getpid():
            self._host.host_destroy(self._handle)
        self._handle = None

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self.close()


def segments(plan: Plan, itemsize: int, limit: float) -> tuple[int, float]:
    """Steps whose states are kept together, all of the trial if they fit `limit` MiB, else about its square root; and
    the MiB a thread that this takes. 0 MiB where no population needs it."""
    if not limit > 0:
        raise EngineError(f"trajectory_limit={limit}: MiB a thread, a positive number")
    if plan.spike_times == "exact":
        return plan.n_steps, 0.0
    row = sum(len(p.derived.states) * padded(p.size) for p in plan.populations if p.stores_states) * itemsize
    if row * plan.n_steps <= limit * 2**20:
        return plan.n_steps, row * plan.n_steps / 2**20
    segment = math.ceil(math.sqrt(plan.n_steps))
    return segment, row * (segment + math.ceil(plan.n_steps / segment)) / 2**20


def _update(
    library: ctypes.CDLL, host: ctypes.CDLL, engine: int, item: Any, step: Any, x: np.ndarray, g: np.ndarray
) -> None:
    rows, columns = (x.shape[0], x.shape[1]) if x.ndim == 2 else (1, x.size)
    state = [item.state[n] for n in step.state_names]
    lower, upper = (_bound(b, x) for b in (item.lower, item.upper))
    stride = lambda a: a.strides[0] // a.itemsize if a.ndim == 2 else a.size  # noqa: E731
    pointers = [x, g, *state, *(b for b in (lower, upper) if b is not None)]
    strides = [stride(a) for a in pointers]
    library.eventprop_update(
        (ctypes.c_void_p * len(pointers))(*[a.ctypes.data for a in pointers]),
        (ctypes.c_int64 * len(strides))(*strides), ctypes.c_int64(rows), ctypes.c_int64(columns),
        (ctypes.c_double * len(step.scalar_names))(*[item.scalars[n] for n in step.scalar_names]),
        ctypes.c_int(lower is not None), ctypes.c_int(upper is not None),
        ctypes.cast(host.host_parallel, ctypes.c_void_p), ctypes.c_void_p(engine),
    )  # fmt: skip


def _bound(bound: Any, x: np.ndarray) -> np.ndarray | None:
    return None if bound is None else np.ascontiguousarray(np.broadcast_to(np.asarray(bound, x.dtype), x.shape))


def _padded_last(table: np.ndarray, size: int, dtype: np.dtype) -> np.ndarray:
    """The last axis padded to `size` with its last value: whole vectors of neurons, or 1 where they share a number."""
    full = aligned((*table.shape[:-1], size), dtype)
    full[..., : table.shape[-1]] = table
    full[..., table.shape[-1] :] = table[..., -1:]
    return full


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A zeroed array that starts on a cache line."""
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


def available_processors() -> int:
    """Processors that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    c = ctypes
    library.eventprop_attach.argtypes = [c.c_void_p]
    library.eventprop_run.argtypes = [c.c_void_p, c.c_void_p, c.c_void_p, c.c_void_p]
    library.eventprop_trouble.argtypes = [c.c_void_p, c.c_void_p]
    library.eventprop_trouble.restype = None
    return library


def _declare_host(library: ctypes.CDLL) -> ctypes.CDLL:
    c = ctypes
    library.host_create.restype = c.c_void_p
    library.host_create.argtypes = [c.c_int, c.c_int]
    library.host_destroy.argtypes = [c.c_void_p]
    library.host_destroy.restype = None
    library.host_recorded.argtypes = [c.c_void_p, c.c_int, c.c_int64]
    library.host_recorded.restype = c.c_int64
    library.host_copy_recorded.argtypes = [c.c_void_p, c.c_int, c.c_int64, c.c_void_p, c.c_void_p]
    library.host_copy_recorded.restype = None
    return library
