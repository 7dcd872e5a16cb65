"""The operation that PyTorch sees: a batch of trials from input spikes and parameters to readouts, and its gradient.

`torch.library` knows it as ``genn_eventprop::trial``; so it can be compiled around, checked and exported. Engines are
Python objects, so the operation is given the number of one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .layer import runner_of


@torch.library.custom_op("genn_eventprop::trial", mutates_args=())
def trial(
    number: int, times: Tensor, channels: Tensor, offsets: Tensor, parameters: list[Tensor], key: Tensor | None
) -> tuple[list[Tensor], Tensor, Tensor]:
    """A batch of B trials.

    Args:
        number: of the `Runner`. times (E,) ms, channels (E,), offsets (B + 1,): input spikes of sample b are
            offsets[b]:offsets[b + 1], ascending. parameters: in the order of the runner's names. key: of noise and
            dropout (1,); None: they do not act.

    Returns:
        readouts (B, K) in the order of the loss's `readouts`, inf for the first spike of a silent output, V at every
        step (B, T + 1, K); spike counts (B, N) int64, of all spiking populations side by side; token and number (2,) of
        this pass.
    """
    runner, real = runner_of(number), _real(parameters, times)
    found = runner.forward(_numpy([times, channels, offsets]), _numpy(parameters), _key(key))
    counts = [torch.from_numpy(c.astype(np.int64)) for c in found.spike_counts.values()]
    together = torch.cat(counts, 1) if counts else torch.zeros(len(found.value), 0, dtype=torch.int64)
    read = [torch.from_numpy(r).to(real) for r in (found.value, *found.also.values())]
    return read, together, torch.tensor([runner.token, runner.passes])


@trial.register_fake
def _(
    number: int, times: Tensor, channels: Tensor, offsets: Tensor, parameters: list[Tensor], key: Tensor | None
) -> tuple[list[Tensor], Tensor, Tensor]:
    plan, B = runner_of(number).engine.plan, offsets.shape[0] - 1
    neurons, inner = sum(p.size for p in plan.populations if p.spiking), {"trace": (plan.n_steps + 1,)}
    shapes = [(B, *inner.get(name, ()), plan.output.size) for name in plan.loss.readouts]
    read = [torch.empty(shape, dtype=_real(parameters, times)) for shape in shapes]
    return read, torch.empty(B, neurons, dtype=torch.int64), torch.empty(2, dtype=torch.int64)


@torch.library.custom_op("genn_eventprop::trial_backward", mutates_args=())
def trial_backward(
    number: int, token: Tensor, slopes: list[Tensor], times: Tensor, channels: Tensor, offsets: Tensor,
    parameters: list[Tensor], key: Tensor | None, inputs: bool,
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    """dL/d(times), empty without `inputs`, and dL/d(parameters) from dL/dr of every readout. A pass that is no longer
    kept is run again."""
    runner = runner_of(number)
    if int(token[0]) != runner.token:
        runner.forward(_numpy([times, channels, offsets]), _numpy(parameters), _key(key))
    by_time, found = runner.backward(_numpy(slopes), inputs)
    gradients = [
        p.new_zeros(p.shape) if g is None else torch.from_numpy(g).to(p.dtype) for p, g in zip(parameters, found)
    ]
    return torch.from_numpy(by_time).to(times.dtype), gradients


@trial_backward.register_fake
def _(
    number: int, token: Tensor, slopes: list[Tensor], times: Tensor, channels: Tensor, offsets: Tensor,
    parameters: list[Tensor], key: Tensor | None, inputs: bool,
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    by_time = torch.empty_like(times) if inputs else times.new_empty(0)
    return by_time, [torch.empty_like(p) for p in parameters]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
    number, times, channels, offsets, parameters, key = inputs
    ctx.number, ctx.stochastic = number, key is not None
    ctx.save_for_backward(output[2], times, channels, offsets, *([] if key is None else [key]), *parameters)


def _backward(ctx: Any, slopes: list[Tensor], counts: Tensor | None, token: Tensor | None) -> tuple[Any, ...]:
    token, times, channels, offsets, *parameters = ctx.saved_tensors
    key = parameters.pop(0) if ctx.stochastic else None
    inputs, slopes = ctx.needs_input_grad[1], [s.contiguous() for s in slopes]
    by_time, by_parameter = trial_backward(
        ctx.number, token, slopes, times, channels, offsets, parameters, key, inputs
    )  # fmt: skip
    return None, by_time if inputs else None, None, None, by_parameter, None


trial.register_autograd(_backward, setup_context=_keep)


def _numpy(tensors: list[Tensor]) -> list[np.ndarray]:
    return [x.detach().cpu().numpy() for x in tensors]


def _key(key: Tensor | None) -> int | None:
    return None if key is None else int(key)


def _real(parameters: list[Tensor], times: Tensor) -> torch.dtype:
    return next((p.dtype for p in parameters if p.is_floating_point()), times.dtype)
