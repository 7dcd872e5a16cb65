"""The arrays of one batch on the native engine, by the names that generated code has for them."""

from __future__ import annotations

import numpy as np

from ...codegen.cpp import Source, padded, regulariser_names
from ...codegen.cpp.context import ACTIVITY, streams
from ...codegen.cpp.hygiene import Coded
from ...program.host_values import auxiliary
from ..contract.data import Data
from ..contract.engine import Engine
from ..contract.host_losses import loss_inputs
from ..contract.slices import BatchShard
from ..contract.split import spike_numbers
from .arrays import aligned, padded_last
from .carry import Carrying
from .memory import NativeMemory
from .routes import NativeRoutes
from .tables import NativeTables
from .values import NativeValues


class NativeBatches(Engine):
    """The part of `NativeEngine` that prepares a batch; its attributes are set there."""

    dtype: np.dtype
    source: Source
    _coded: Coded
    _spiking: list[str]
    _memory: NativeMemory
    _values: NativeValues
    _connections: NativeTables | NativeRoutes
    _carry: Carrying | None
    _slices: np.ndarray
    _quantiles: np.ndarray
    _split_inputs: tuple[np.ndarray | None, dict[str, np.ndarray]]
    _also: dict[str, np.ndarray]

    def _written_arrays(self, B: int, part: BatchShard, training: bool) -> dict[str, np.ndarray]:
        """Arrays that a call writes, and room for dL/d of what it reads beside the readout."""
        plan, n_slices = self.plan, part.last - part.first
        if training and len(self._slices) < n_slices:
            self._slices = aligned((n_slices, self.source.gradient_size), self.dtype)
        out: dict[str, np.ndarray] = {
            "loss": np.empty(B), "readout": np.empty((B, plan.output.size)), "prediction": np.empty(B, np.int64),
            "guarded": np.zeros(n_slices, np.int64), "slices": self._slices, "gradient": self._memory.gradient,
        }  # fmt: skip
        for p in self._spiking:
            out[f"p_{self._coded.populations[p]}_counts"] = np.empty((B, plan.population(p).size), np.int32)
        for prefix, loss in auxiliary(plan):
            out |= {f"{prefix}loss": np.empty(B), f"{prefix}readout": np.empty((B, loss.n_classes))}
        steps = {n: (plan.n_steps + 1,) if n == "trace" else () for n in plan.loss.also}
        self._also = {n: np.empty((B, *k, plan.output.size)) for n, k in steps.items()}
        out |= {f"also_{n}": array for n, array in self._also.items()}
        return out | {f"given_{n}": np.zeros(array.shape) for n, array in self._also.items()}

    def _read_arrays(self, data: Data, batch: np.ndarray, part: BatchShard) -> dict[str, np.ndarray]:
        """Arrays that a call reads: spikes, what losses compare with, weights, delays, keys of random numbers."""
        plan, samples = self.plan, batch[part.samples]
        given = {
            "steps": data.steps, "channels": data.channels, "offsets": data.offsets, "samples": samples,
            "labels": data.labels[samples], "quantiles": self._quantiles,
            **self._values.weight, **self._streams_of(data),
        }  # fmt: skip
        if data.targets is not None:
            given["targets"] = np.ascontiguousarray(data.targets[samples])
        if data.times is not None:
            given["times"] = data.times
        weight = data.sample_weight(batch)[part.samples]
        given["sample_weight"] = plan.loss.factor * weight
        for prefix, loss in auxiliary(plan):
            for name, value in loss_inputs(plan, loss, data, samples).items():
                given[prefix + name] = value.astype(self.dtype) if name in ACTIVITY else value
            given[f"{prefix}sample_weight"] = loss.factor * weight
        given |= {f"c_{c.name}_weight": self._memory.padded[c.weight] for c in plan.connections}
        given |= {f"c_{c.name}_delays": self._memory.padded[c.delays_name] for c in plan.connections if c.delays}
        self._connections.refresh(self.parameters)
        given |= self._connections.arrays | ({} if self._carry is None else self._carry.arrays)
        keys = self.stochastic_keys(data, samples)
        return given | {f"{kind}_key_{self._coded.populations[name]}": key for (kind, name), key in keys.items()}

    def _between_halves(self, data: Data, samples: np.ndarray) -> dict[str, np.ndarray]:
        """Gradients that the second half of a batch is given, and those of input times that it writes."""
        B, K = len(samples), self.plan.output.size
        given = {n: np.zeros((B, K)) for n in ("given_dr", "given_last")} | {"given_loss": np.zeros(B)}
        for prefix, loss in auxiliary(self.plan):
            given |= {prefix + n: np.zeros((B, loss.n_classes)) for n in ("given_dr", "given_last")}
        counts = data.offsets[samples + 1] - data.offsets[samples]
        given["input_start"] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        always = self.plan.spike_times == "exact"
        given["input_slope"] = np.zeros(given["input_start"][-1] if always else 0, self.dtype)
        return given

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

    def _in_order_of_data(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """Gradients of input times; on the grid those of each of several inputs come by themselves in every sample."""
        slope = arrays["input_slope"].astype(np.float64)
        ranges = streams(self.plan) if self.plan.spike_times == "grid" else {}
        if not ranges:
            return slope
        numbers, owner = spike_numbers(arrays["offsets"], arrays["samples"])
        channel, found = arrays["channels"][numbers], np.empty_like(slope)
        which = np.full(len(channel), len(ranges))  # of an input without connections
        for k, (first, last) in enumerate(ranges.values()):
            which[(channel >= first) & (channel < last)] = k
        found[np.lexsort((which, owner))] = slope
        return found

    def _pushes(self, counts: dict[str, np.ndarray] | None, part: BatchShard) -> dict[str, np.ndarray]:
        """Strengths and targets of spike regularisers; counts: of the part's samples, for means over the batch."""
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
                    f"{name}_{k}": padded_last(v, size if v.size > 1 else 1, self.dtype) for k, v in both.items()
                }
        return values
