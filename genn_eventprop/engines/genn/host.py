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

    step, count (E',) int32. start (S + 1, M + 1): events of channel m of sample s are start[s, m]:start[s, m + 1]; a
    sample without events follows the last one, for places that are empty.
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
    start = np.append(edge[first], np.full((1, n_channels + 1), len(where)), axis=0)
    return InputEvents(steps[where].astype(np.int32), count, start.astype(np.int32))


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

    def at(self, example: np.ndarray, step: np.ndarray, last: int) -> tuple[np.ndarray, np.ndarray]:
        """(which of the (E,) pairs, neuron) of every spike at one of the pairs (example, step <= last).

        Only the spikes at a wanted step of their example are sorted, so the work grows as the store, not as E times it.
        """
        wanted = np.zeros((len(self.n), last + 1), bool)
        there = step >= 0
        wanted[example[there], step[there]] = True
        kept = np.where(self.valid, self.step, 0)
        b, neuron, i = np.nonzero(wanted[np.arange(len(self.n))[:, None, None], kept] & self.valid)
        return _pairs(b, self.step[b, neuron, i], neuron, example, step, last)

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
    plan: Plan, data: Data, samples: np.ndarray, arrived: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray],
    max_step: np.ndarray, kink: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """(B, K) Vdot(t*-) over the sum of the negative weights that arrived at t*, 0 where there is no kink.

    The kink of a maximum is shared by the inhibitory arrivals of its step in proportion to their weight.

    Args:
        arrived: connection -> (B, K, M) whether a spike of a neuron did, for all but the input.
    """
    b, k = np.nonzero(kink > 0)
    total, shares = np.zeros(len(b)), np.zeros(kink.shape)
    for c in plan.into(plan.output.name):
        negative = np.minimum(np.asarray(weights[c.weight], np.float64), 0.0)
        if c.source == plan.input.name:
            e, channel = _input_at(data, samples, b, max_step[b, k].astype(np.int64) - c.delay_steps, plan.n_steps)
            total += np.bincount(e, negative[channel, k[e]], len(b))
        else:
            total += np.einsum("bkm,mk->bk", arrived[c.name], negative)[b, k]
    shares[b, k] = np.where(total < 0, kink[b, k] / np.where(total < 0, total, 1.0), 0.0)
    return shares


def positive_arrivals(
    plan: Plan, target: str, data: Data, samples: np.ndarray, stores: dict[str, Store],
    weights: Mapping[str, np.ndarray], up: Mapping[str, np.ndarray], example: np.ndarray, step: np.ndarray,
    neuron: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """(E,) sum of up x positive weight over all that arrived at `neuron` at `step` of `example`, (E,) each.

    up: connection -> (N,) or (1,), how far a unit weight moves the threshold.
    """
    into = plan.into(target)
    positive = {c.name: np.maximum(np.asarray(weights[c.weight], np.float64), 0.0) * up[c.name] for c in into}
    return arrivals(plan, target, data, samples, stores, positive, example, step, neuron)


def arrivals(
    plan: Plan, target: str, data: Data, samples: np.ndarray, stores: dict[str, Store],
    amounts: Mapping[str, np.ndarray], example: np.ndarray, step: np.ndarray, neuron: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """(E,) sum of the amounts of all that arrived at `neuron` at `step` of `example`, (E,) each.

    amounts: connection -> (M, N). Two spikes of one input channel in a step count twice.
    """
    total = np.zeros(len(example))
    for c in plan.into(target):
        sent = step - c.delay_steps
        if c.source == plan.input.name:
            e, source = _input_at(data, samples, example, sent, plan.n_steps)
        else:
            e, source = stores[c.source].at(example, sent, plan.n_steps)
        total += np.bincount(e, amounts[c.name][source, neuron[e]], len(total))
    return total


def _input_at(
    data: Data, samples: np.ndarray, example: np.ndarray, step: np.ndarray, last: int
) -> tuple[np.ndarray, np.ndarray]:
    """As `Store.at`, of the input's spikes: (which pair, channel)."""
    parts = [slice(data.offsets[i], data.offsets[i + 1]) for i in samples]
    steps = np.concatenate([data.steps[part] for part in parts])
    channels = np.concatenate([data.channels[part] for part in parts])
    b = np.repeat(np.arange(len(samples)), [part.stop - part.start for part in parts])
    return _pairs(b, steps, channels, example, step, last)


def _pairs(
    b: np.ndarray, at: np.ndarray, neuron: np.ndarray, example: np.ndarray, step: np.ndarray, last: int
) -> tuple[np.ndarray, np.ndarray]:
    """(which of the pairs (example, step), neuron) of the spikes (b, at, neuron) that fall on one of them."""
    key = b.astype(np.int64) * (last + 1) + at
    order = np.argsort(key, kind="stable")
    wanted = np.where(step >= 0, example * (last + 1) + step, -1)
    first, end = (np.searchsorted(key[order], wanted, side) for side in ("left", "right"))
    n = end - first
    e = np.repeat(np.arange(len(wanted)), n)
    place = np.arange(len(e)) - np.repeat(np.cumsum(n) - n, n) + np.repeat(first, n)
    return e, neuron[order[place]]
