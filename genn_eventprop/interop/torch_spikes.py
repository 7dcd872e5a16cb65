"""Input spikes as tensors: from dense counts and from times, to lists of spikes that ascend in every sample.

How many there are is not known before, so these are operations of their own: `torch.compile` takes the number as a
symbol and need not break its graph.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import layer


@torch.library.custom_op("genn_eventprop::spikes_of_counts", mutates_args=())
def spikes_of_counts(counts: Tensor, batch_first: bool) -> tuple[Tensor, Tensor, Tensor]:
    """See `layer.spikes_of_counts`."""
    step, channels, offsets = layer.spikes_of_counts(counts.detach().cpu().numpy(), batch_first)
    return torch.from_numpy(step), torch.from_numpy(channels), torch.from_numpy(offsets)


@spikes_of_counts.register_fake
def _(counts: Tensor, batch_first: bool) -> tuple[Tensor, Tensor, Tensor]:
    return _unknown(counts.shape[0 if batch_first else 1])


@torch.library.custom_op("genn_eventprop::order_of_times", mutates_args=())
def order_of_times(times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See `layer.order_of_times`."""
    place, channels, offsets = layer.order_of_times(times.detach().cpu().numpy())
    return torch.from_numpy(place), torch.from_numpy(channels), torch.from_numpy(offsets)


@order_of_times.register_fake
def _(times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _unknown(times.shape[0])


def _unknown(batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Lists of a length that is not known yet."""
    E = torch.library.get_ctx().new_dynamic_size()
    first, channels = torch.empty(E, dtype=torch.int64), torch.empty(E, dtype=torch.int32)
    return first, channels, torch.empty(batch + 1, dtype=torch.int64)
