"""What the host does around the GeNN network: input events in order, recorded spikes, the kink's arrivals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...plan import Plan
from ..base import Data, Spikes


@dataclass(frozen=True)
class InputEvents:
    """A data set for the spike source: grouped by sample and channel, in time order, equal ones counted.

    step, count (E',) int32. start (S, M + 1): events of channel m of sample s are start[s, m]:start[s, m + 1].
    """

    step: np.ndarray
    count: np.ndarray
    start: np.ndarray


def input_events(data: Data, n_channels: int) -> InputEvents:
    """`data` as a spike source reads it."""
    samples = np.repeat(np.arange(len(data)), np.diff(data.offsets))
    key = samples * n_channels + data.channels
    order = np.argsort(key, kind="stable")  # a sample's events are in time order already
    key, steps = key[order], data.steps[order]
    fresh = np.ones(len(key), bool)
    fresh[1:] = (key[1:] != key[:-1]) | (steps[1:] != steps[:-1])
    where = np.flatnonzero(fresh)
    count = np.diff(np.append(where, len(key))).astype(np.int32)
    edge = np.searchsorted(key[where], np.arange(len(data) * n_channels + 1))
    first = np.arange(len(data))[:, None] * n_channels + np.arange(n_channels + 1)
    return InputEvents(steps[where].astype(np.int32), count, edge[first].astype(np.int32))


@dataclass(frozen=True)
class Store:
    """Spikes that one population kept in one forward run of B examples.

    n (B, N) how many; step (B, N, capacity) of each, in order; entries from n on are left over and mean nothing.
    """

    n: np.ndarray
    step: np.ndarray

    @property
    def valid(self) -> np.ndarray:
        """(B, N, capacity) True for entries that are spikes."""
        return np.arange(self.step.shape[2]) < self.n[:, :, None]

    def first_step(self) -> np.ndarray:
        """(B, N) step of the first spike, -1 where there is none."""
        return np.where(self.n > 0, self.step[:, :, 0], -1)

    def first_times(self, n: int, dt: float, missing: float) -> tuple[np.ndarray, np.ndarray]:
        """(B, N, n) times in ms of the first n spikes, `missing` where there is none, and which of them there are."""
        step = np.zeros((*self.n.shape, n), np.int64)
        kept = min(n, self.step.shape[2])
        step[:, :, :kept] = self.step[:, :, :kept]
        there = np.arange(n) < self.n[:, :, None]
        return np.where(there, step * dt, missing), there

    def at(self, b: int, step: int) -> np.ndarray:
        """(N,) number of spikes at a step of example b, 0 or 1."""
        return ((self.step[b] == step) & self.valid[b]).sum(axis=1)

    def spikes(self, dt: float, first: int) -> Spikes:
        """All spikes by sample, then time, then neuron; samples are counted from `first`."""
        b, neuron, i = np.nonzero(self.valid)
        step = self.step[b, neuron, i]
        order = np.lexsort((neuron, step, b))
        return Spikes(b[order] + first, step[order] * dt, neuron[order])


def joined(parts: list[Spikes]) -> Spikes:
    return Spikes(
        np.concatenate([p.sample for p in parts]), np.concatenate([p.time for p in parts]),
        np.concatenate([p.neuron for p in parts]),
    )  # fmt: skip


def kink_shares(
    plan: Plan, data: Data, samples: np.ndarray, stores: dict[str, Store], weights: Mapping[str, np.ndarray],
    max_step: np.ndarray, kink: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """(B, K) Vdot(t*-) over the sum of the negative weights that arrived at t*, 0 where there is no kink.

    The kink of a maximum is shared by the inhibitory arrivals of its step in proportion to their weight.
    """
    shares = np.zeros(kink.shape)
    for b, k in zip(*np.nonzero(kink > 0)):
        total = 0.0
        for c in plan.into(plan.output.name):
            step = int(max_step[b, k]) - c.delay_steps
            negative = np.minimum(weights[c.weight][:, k], 0.0)
            if c.source == plan.input.name:
                part = slice(data.offsets[samples[b]], data.offsets[samples[b] + 1])
                total += negative[data.channels[part][data.steps[part] == step]].sum()
            elif step > 0:
                total += float(stores[c.source].at(int(b), step) @ negative)
        if total < 0:
            shares[b, k] = kink[b, k] / total
    return shares


def positive_arrivals(
    plan: Plan, target: str, data: Data, samples: np.ndarray, stores: dict[str, Store],
    weights: Mapping[str, np.ndarray], up: Mapping[str, np.ndarray], example: np.ndarray, step: np.ndarray,
    neuron: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """(E,) sum of up x positive weight over all that arrived at `neuron` at `step` of `example`, (E,) each.

    up: connection -> (N,) or (1,), how far a unit weight moves the threshold.
    """
    total = np.zeros(len(example))
    for c in plan.into(target):
        positive = np.maximum(np.asarray(weights[c.weight], np.float64), 0.0) * up[c.name]
        for e, (b, k, n) in enumerate(zip(example, step - c.delay_steps, neuron)):
            if c.source == plan.input.name:
                part = slice(data.offsets[samples[b]], data.offsets[samples[b] + 1])
                total[e] += positive[data.channels[part][data.steps[part] == k], n].sum()
            elif k > 0:
                total[e] += float(stores[c.source].at(int(b), int(k)) @ positive[:, n])
    return total
