"""Input spikes as tensors: from dense counts and from times, to lists of spikes that ascend in every sample.

How many there are is not known before, so these are operations of their own: `torch.compile` takes the number as a
symbol and need not break its graph.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..errors import SettingError


@torch.library.custom_op("genn_eventprop::spikes_of_counts", mutates_args=())
def spikes_of_counts(counts: Tensor, batch_first: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes of counts (T, B, N), or (B, T, N) with `batch_first`: steps (E,) int64, channels (E,) int32, offsets
    (B + 1,).

    Raises:
        SettingError: a count that is negative or not a whole number.
    """
    array = np.ascontiguousarray(counts.detach().cpu().numpy())
    B = array.shape[0 if batch_first else 1]
    place = np.flatnonzero(array)
    values = array.reshape(-1)[place]
    if not ((values > 0) & (values == np.floor(values))).all():
        raise SettingError("spike counts must be whole numbers that are not negative")
    row, channels = np.divmod(place, array.shape[2])
    first, second = np.divmod(row, array.shape[1])
    sample, step = (first, second) if batch_first else (second, first)
    if not batch_first:
        order = np.argsort(sample.astype(np.uint16) if B < 1 << 16 else sample, kind="stable")
        sample, step, channels, values = sample[order], step[order], channels[order], values[order]
    if (values > 1).any():
        times = values.astype(np.int64)
        sample, step, channels = (np.repeat(x, times) for x in (sample, step, channels))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(sample, minlength=B))])
    return torch.from_numpy(step), torch.from_numpy(channels.astype(np.int32)), torch.from_numpy(offsets)


@spikes_of_counts.register_fake
def _(counts: Tensor, batch_first: bool) -> tuple[Tensor, Tensor, Tensor]:
    E, B = torch.library.get_ctx().new_dynamic_size(), counts.shape[0 if batch_first else 1]
    step, channels = torch.empty(E, dtype=torch.int64), torch.empty(E, dtype=torch.int32)
    return step, channels, torch.empty(B + 1, dtype=torch.int64)


@torch.library.custom_op("genn_eventprop::order_of_times", mutates_args=())
def order_of_times(times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes of times (B, N, M) in ms that are finite: places in the flat tensor (E,), channels (E,), offsets (B + 1,).

    Raises:
        SettingError: a negative time.
    """
    B, N, M = times.shape
    array = times.detach().cpu().numpy().reshape(B, N * M)
    if (array < 0).any():
        raise SettingError(f"times= takes ms from the start of the trial, got {array.min():g}")
    order = np.argsort(array, axis=1, kind="stable")
    there = np.isfinite(np.take_along_axis(array, order, 1))
    place = (order + np.arange(B)[:, None] * (N * M))[there]
    offsets = np.concatenate([[0], np.cumsum(there.sum(1))])
    channels = (order[there] // M).astype(np.int32)
    return torch.from_numpy(place), torch.from_numpy(channels), torch.from_numpy(offsets)


@order_of_times.register_fake
def _(times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    E, B = torch.library.get_ctx().new_dynamic_size(), times.shape[0]
    place, channels = torch.empty(E, dtype=torch.int64), torch.empty(E, dtype=torch.int32)
    return place, channels, torch.empty(B + 1, dtype=torch.int64)
