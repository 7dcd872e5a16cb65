"""The data set for the spike source, parts of a batch, and rows of bits of recorded spikes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..contract.program_engine import Arrays

OF_EXAMPLES = (
    "samples", "sample_weight", "labels", "targets", "numbers", "activity", "activity_before", "_noise_key", "_dropout",
)  # fmt: skip
"""Names of what every example of a batch is given, or their ends."""


@dataclass(frozen=True)
class InputEvents:
    """A data set for the spike source: grouped by sample and channel, in time order, equal ones counted.

    step, count (E',) int32. start (S + 1, M + 1): events of channel m of sample s are start[s, m]:start[s, m + 1]; a
    sample without events follows the last one, for places that are empty.
    """

    step: np.ndarray
    count: np.ndarray
    start: np.ndarray

    @property
    def most(self) -> int:
        """Events of a channel in a sample."""
        return int(np.diff(self.start, axis=1).max(initial=1))


def input_events(steps: np.ndarray, channels: np.ndarray, offsets: np.ndarray, own: tuple[int, int]) -> InputEvents:
    """A data set as a spike source reads it; own: its channels (first, last + 1)."""
    n_channels = own[1] - own[0]
    mine = (channels >= own[0]) & (channels < own[1])
    if not mine.all():
        before = np.concatenate([[0], np.cumsum(mine)])
        steps, channels, offsets = steps[mine], channels[mine] - own[0], before[offsets]
    samples = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    key = samples * n_channels + channels
    order = np.argsort(key, kind="stable")  # a sample's events are in time order already
    key, steps = key[order], steps[order]
    fresh = np.ones(len(key), bool)
    fresh[1:] = (key[1:] != key[:-1]) | (steps[1:] != steps[:-1])
    where = np.flatnonzero(fresh)
    count = np.diff(np.append(where, len(key))).astype(np.int32)
    edge = np.searchsorted(key[where], np.arange((len(offsets) - 1) * n_channels + 1))
    first = np.arange(len(offsets) - 1)[:, None] * n_channels + np.arange(n_channels + 1)
    start = np.append(edge[first], np.full((1, n_channels + 1), len(where)), axis=0)
    return InputEvents(steps[where].astype(np.int32), count, start.astype(np.int32))


def of_spikes(given: Arrays, values: np.ndarray, own: tuple[int, int], out: np.ndarray) -> None:
    """Gives the spikes of a source, in the order of a batch, what their events have.

    Args:
        given: the batch. values: (B, M, most) of event k of every channel. own: channels of the source. out: (E,) of
            all spikes of the batch.
    """
    samples, lengths = given["samples"], np.diff(given["offsets"])[given["samples"]]
    b = np.repeat(np.arange(len(samples)), lengths)
    at = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths) + given["offsets"][samples][b]
    step, channel = given["steps"][at], given["channels"][at]
    mine = np.flatnonzero((channel >= own[0]) & (channel < own[1]))
    b, step, channel = b[mine], step[mine], channel[mine] - own[0]
    order = np.lexsort((step, channel, b))
    lane, late = (b * (own[1] - own[0]) + channel)[order], step[order]
    first = np.diff(lane, prepend=-1) != 0  # of a channel in an example
    number = np.cumsum(first | (np.diff(late, prepend=-1) != 0))
    k = number - np.maximum.accumulate(np.where(first, number, 0))
    out[mine[order]] = values[b[order], channel[order], k]


def rows_of_bits(count: np.ndarray, steps: np.ndarray, n_points: int) -> np.ndarray:
    """(B, n_points, W) uint32, a bit a neuron, of kept spikes: count (B, N), steps (B, N, room)."""
    B, N, room = steps.shape
    flags = np.zeros((B, n_points, -(-N // 32) * 32), np.uint8)
    b, neuron, k = np.nonzero(np.arange(room) < count[:, :, None])
    flags[b, steps[b, neuron, k], neuron] = 1
    return np.packbits(flags, axis=-1, bitorder="little").view(np.uint32)


def part_of(given: Arrays, own: slice) -> Arrays:
    """Some examples of a batch."""
    B = given["batch"]
    part = {k: v[own] if np.ndim(v) and k.endswith(OF_EXAMPLES) and len(v) == B else v for k, v in given.items()}
    return part | {"batch": min(own.stop, B) - own.start}


def joined(parts: list[Arrays]) -> Arrays:
    """The results of groups."""
    return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}
