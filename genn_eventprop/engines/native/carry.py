"""Trials of `native` that continue others: a `TrialState` as arrays for generated code, and the next one."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...plan import Plan, clock
from ..contract.data import Data
from ..contract.result import Result
from ..contract.split import spike_numbers
from ..contract.state import TrialState

Arrays = dict[str, np.ndarray]


class Carrying:
    """One batch; carry: None from rest.

    Attributes:
        values: arrays and numbers, by the names of `codegen.cpp.grid.carried`.
    """

    def __init__(self, plan: Plan, carry: TrialState | None, batch: int, dtype: np.dtype) -> None:
        self.plan, self.carry, self.batch = plan, carry, batch
        self.rows = 1 + max((c.delay_steps for c in plan.connections), default=0)
        self.values: dict[str, Any] = {"fresh": int(carry is None), "before_rows": self.rows}
        for i, p in enumerate(plan.populations):
            shape = batch, len(p.derived.states), p.size
            first = np.zeros(shape) if carry is None else carry.states[p.name]
            self.values[f"from_states_p{i}"] = _contiguous(first, dtype)
            self.values[f"to_states_p{i}"] = np.empty(shape, dtype)
            if len(p.derived.modes) > 1:
                modes = [] if carry is None else [carry.modes[p.name], carry.until[p.name]]
                modes = modes[: 1 + bool(p.derived.durations)]
                self.values[f"from_modes_p{i}"] = _contiguous(np.stack(modes, 1) if modes else np.zeros(1), np.int32)
                self.values[f"to_modes_p{i}"] = np.empty((batch, 1 + bool(p.derived.durations), p.size), np.int32)
        for name, of in self._sources().items():
            neurons, start = _listed(None if carry is None else carry.sent[of], batch, self.rows)
            self.values |= {f"before_{name}": neurons, f"before_{name}_start": start}

    def _sources(self) -> dict[str, str]:
        """Names in generated code -> sources."""
        spiking = {f"p{i}": p.name for i, p in enumerate(self.plan.populations) if p.spiking}
        return {"in": self.plan.input.name, **spiking}

    def after(self, data: Data, samples: np.ndarray, result: Result) -> TrialState:
        """How the trials ended; result: with spikes."""
        plan, K = self.plan, self.plan.n_steps
        states, modes, until = Arrays(), Arrays(), Arrays()
        for i, p in enumerate(plan.populations):
            states[p.name] = self.values[f"to_states_p{i}"].astype(np.float64)
            end = self.values.get(f"to_modes_p{i}", np.zeros((self.batch, 1, p.size), np.int32))
            modes[p.name] = end[:, 0].astype(np.int64)
            ends = end[:, 1] if end.shape[1] > 1 else np.full((self.batch, p.size), -1)
            until[p.name] = np.where(ends < 0, -1, ends.astype(np.int64) - K)
        assert result.spikes is not None
        sent = {}
        for name, spikes in result.spikes.items():
            steps = clock.to_steps(spikes.time, plan.dt)
            sent[name] = self._last(name, plan.population(name).size, steps, spikes.sample, spikes.neuron)
        every, owner = spike_numbers(data.offsets, samples)
        name = plan.input.name
        sent[name] = self._last(name, plan.input.size, data.steps[every], owner, data.channels[every])
        return TrialState(states, modes, until, sent)

    def _last(self, name: str, size: int, steps: np.ndarray, owner: np.ndarray, neurons: np.ndarray) -> np.ndarray:
        """(D + 1, B, M) spikes of the last steps; those of a chunk that is shorter come from the one before."""
        K, D = self.plan.n_steps, self.rows - 1
        sent = np.zeros((D + 1, self.batch, size), np.int32)
        late = steps >= K - D
        np.add.at(sent, (steps[late] - (K - D), owner[late], neurons[late]), 1)
        if self.carry is not None and K <= D:
            sent[: D - K + 1] += self.carry.sent[name][K:].astype(np.int32)
        return sent


def _contiguous(array: np.ndarray, dtype: np.typing.DTypeLike) -> np.ndarray:
    return np.ascontiguousarray(array, dtype)


def _listed(sent: np.ndarray | None, batch: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Spikes (D + 1, B, M) as a list, sample by sample and row by row, and where each row begins (B (D + 1) + 1,)."""
    if sent is None:
        return np.zeros(1, np.int32), np.zeros(batch * rows + 1, np.int32)
    counts = np.swapaxes(sent, 0, 1).reshape(batch * rows, -1).astype(np.int64)
    row, neuron = np.nonzero(counts)
    neurons = np.repeat(neuron, counts[row, neuron]).astype(np.int32)
    return np.append(neurons, np.int32(0)), np.append(0, np.cumsum(counts.sum(1))).astype(np.int32)
