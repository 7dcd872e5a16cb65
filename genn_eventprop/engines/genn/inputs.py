"""The data set for the spike source, groups of a batch, and rows of bits of recorded spikes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..contract.program_engine import Arrays

EXAMPLE_ARRAYS = (
    "samples", "sample_weight", "labels", "targets", "numbers", "activity", "activity_before", "_noise_key", "_dropout",
    "_drive",
)  # fmt: skip
"""Names, or ends of names, of arrays with a row for every example of a batch."""


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


def input_events(steps: np.ndarray, channels: np.ndarray, offsets: np.ndarray, span: tuple[int, int]) -> InputEvents:
    """A data set as a spike source reads it.

    Args:
        span: the source's channels (first, last + 1), of all inputs.
    """
    first_channel, n_channels = span[0], span[1] - span[0]
    inside = (channels >= span[0]) & (channels < span[1])
    if not inside.all():
        before = np.concatenate([[0], np.cumsum(inside)])
        steps, channels, offsets = steps[inside], channels[inside], before[offsets]
    samples = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    key = samples * n_channels + channels - first_channel
    order = np.argsort(key, kind="stable")  # a sample's events are in time order already
    key, steps = key[order], steps[order]
    fresh = np.ones(len(key), bool)
    fresh[1:] = (key[1:] != key[:-1]) | (steps[1:] != steps[:-1])
    where = np.flatnonzero(fresh)  # equal events are sent once, with their number: GeNN sends one spike a step
    count = np.diff(np.append(where, len(key))).astype(np.int32)
    edge = np.searchsorted(key[where], np.arange((len(offsets) - 1) * n_channels + 1))
    first = np.arange(len(offsets) - 1)[:, None] * n_channels + np.arange(n_channels + 1)
    start = np.append(edge[first], np.full((1, n_channels + 1), len(where)), axis=0)
    return InputEvents(steps[where].astype(np.int32), count, start.astype(np.int32))


def slopes_of_spikes(group: Arrays, values: np.ndarray, span: tuple[int, int], out: np.ndarray) -> None:
    """Writes what the events of a source have to its spikes, in the order of a group: equal spikes share an event.

    Args:
        values: (B, M, most) of event k of every channel. span: channels of the source. out: (E,) of all spikes of the
            group; spikes of other sources are left as they are.
    """
    samples, lengths = group["samples"], np.diff(group["offsets"])[group["samples"]]
    b = np.repeat(np.arange(len(samples)), lengths)
    at = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths) + group["offsets"][samples][b]
    step, channel = group["steps"][at], group["channels"][at]
    inside = np.flatnonzero((channel >= span[0]) & (channel < span[1]))
    b, step, channel = b[inside], step[inside], channel[inside] - span[0]
    order = np.lexsort((step, channel, b))
    lane, late = (b * (span[1] - span[0]) + channel)[order], step[order]
    first = np.diff(lane, prepend=-1) != 0  # of a channel in an example
    number = np.cumsum(first | (np.diff(late, prepend=-1) != 0))
    k = number - np.maximum.accumulate(np.where(first, number, 0))
    out[inside[order]] = values[b[order], channel[order], k]


def rows_of_bits(count: np.ndarray, steps: np.ndarray, n_points: int) -> np.ndarray:
    """(B, n_points, W) uint32, a bit a neuron, of stored spikes: count (B, N), steps (B, N, room)."""
    B, N, room = steps.shape
    flags = np.zeros((B, n_points, -(-N // 32) * 32), np.uint8)
    b, neuron, k = np.nonzero(np.arange(room) < count[:, :, None])
    flags[b, steps[b, neuron, k], neuron] = 1
    return np.packbits(flags, axis=-1, bitorder="little").view(np.uint32)


def group_of(arguments: Arrays, group: slice) -> Arrays:
    """What a group of the examples of a batch needs."""
    B = arguments["batch"]
    arrays = {
        k: v[group] if np.ndim(v) and k.endswith(EXAMPLE_ARRAYS) and len(v) == B else v for k, v in arguments.items()
    }
    return arrays | {"batch": min(group.stop, B) - group.start}


def concatenate(groups: list[Arrays]) -> Arrays:
    """The results of the groups of a batch, in its order."""
    return {k: np.concatenate([g[k] for g in groups]) for k in groups[0]}
