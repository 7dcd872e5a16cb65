"""The operation that PyTorch sees: a batch of trials from input spikes and parameters to readouts, and its gradient.

`torch.library` knows it as ``genn_eventprop::trial``; so it can be compiled around, checked and exported. Engines are
Python objects, so the operation is given the number of one. `run` is what a layer calls: outside `torch.compile` it
does the same as a function of autograd, because the dispatcher's way there and back costs as much as all the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..engines import Spikes
from . import layer
from .layer import runner_of


def run(
    number: int, times: Tensor, channels: Tensor, offsets: Tensor, parameters: list[Tensor], key: Tensor | None
) -> tuple[list[Tensor], Tensor, Tensor | tuple[int, int], Mapping[str, Spikes] | None]:
    """`trial`, by the way that costs least, and the spikes of the pass, if they are at hand."""
    if torch.compiler.is_compiling():
        return *trial(number, times, channels, offsets, parameters, key), None
    *read, counts, (passed, spikes) = _Eager.apply(number, times, channels, offsets, key, *parameters)
    return read, counts, passed, spikes


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
    read, counts, passed, _ = _forwards(number, times, channels, offsets, parameters, key)
    return read, counts, torch.tensor(passed)


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
    arguments = times, channels, offsets, *parameters
    by_time, by_parameter = _backwards(number, int(token[0]), slopes, arguments, key, inputs)
    return by_time, [p.new_zeros(p.shape) if g is None else g for p, g in zip(parameters, by_parameter)]


@trial_backward.register_fake
def _(
    number: int, token: Tensor, slopes: list[Tensor], times: Tensor, channels: Tensor, offsets: Tensor,
    parameters: list[Tensor], key: Tensor | None, inputs: bool,
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    by_time = torch.empty_like(times) if inputs else times.new_empty(0)
    return by_time, [torch.empty_like(p) for p in parameters]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
    number, times, channels, offsets, parameters, key = inputs
    _keep(ctx, number, key, (output[2], times, channels, offsets, *parameters))


def _backward(ctx: Any, slopes: list[Tensor], counts: Tensor | None, passed: Tensor | None) -> tuple[Any, ...]:
    key, (token, times, channels, offsets, *parameters) = _kept(ctx)
    inputs, slopes = ctx.needs_input_grad[1], [s.contiguous() for s in slopes]
    by_time, by_parameter = trial_backward(ctx.number, token, slopes, times, channels, offsets, parameters, key, inputs)
    return None, by_time if inputs else None, None, None, by_parameter, None


trial.register_autograd(_backward, setup_context=_setup)


class _Eager(torch.autograd.Function):
    """`trial` for tensors that hold numbers: of number, times, channels, offsets, key and parameters one by one."""

    @staticmethod
    def forward(
        number: int, times: Tensor, channels: Tensor, offsets: Tensor, key: Tensor | None, *parameters: Tensor
    ) -> tuple[Any, ...]:
        read, counts, passed, spikes = _forwards(number, times, channels, offsets, parameters, key)
        return *read, counts, (passed, spikes)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        number, times, channels, offsets, key, *parameters = inputs
        *_, counts, ((ctx.token, _), _) = output
        ctx.mark_non_differentiable(counts)
        _keep(ctx, number, key, (times, channels, offsets, *parameters))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Any) -> tuple[Any, ...]:
        key, arguments = _kept(ctx)
        inputs = ctx.needs_input_grad[1]
        by_time, by_parameter = _backwards(ctx.number, ctx.token, slopes[:-2], arguments, key, inputs)
        return None, by_time if inputs else None, None, None, None, *by_parameter


def _keep(ctx: Any, number: int, key: Tensor | None, tensors: Sequence[Tensor]) -> None:
    ctx.number, ctx.stochastic = number, key is not None
    ctx.save_for_backward(*([] if key is None else [key]), *tensors)


def _kept(ctx: Any) -> tuple[Tensor | None, tuple[Tensor, ...]]:
    saved = ctx.saved_tensors
    return (saved[0], saved[1:]) if ctx.stochastic else (None, saved)


def _forwards(
    number: int, times: Tensor, channels: Tensor, offsets: Tensor, parameters: Sequence[Tensor], key: Tensor | None
) -> tuple[list[Tensor], Tensor, tuple[int, int], Mapping[str, Spikes]]:
    runner, real = runner_of(number), _real(parameters, times)
    arguments = _numpy([times, channels, offsets]), _numpy(parameters), None if key is None else int(key)
    with runner.lock:
        result = runner.forward(*arguments)
        passed, spikes = (runner.token, runner.passes), runner.spikes
    counts = np.concatenate([np.zeros((len(result.value), 0), np.int64), *result.spike_counts.values()], axis=1)
    read = [torch.from_numpy(r).to(real) for r in (result.value, *result.also.values())]
    return read, torch.from_numpy(counts), passed, spikes


def _backwards(
    number: int, token: int, slopes: Sequence[Tensor], arguments: Sequence[Tensor], key: Tensor | None, inputs: bool
) -> tuple[Tensor, list[Tensor | None]]:
    """`trial_backward`, None for a parameter that is not learned; given: times, channels, offsets and parameters."""
    runner, (times, _, _, *parameters) = runner_of(number), arguments
    again = _numpy(arguments[:3]), _numpy(parameters), None if key is None else int(key)
    by_time, by_parameter = runner.gradients(token, _numpy(slopes), inputs, *again)
    gradients = [None if g is None else torch.from_numpy(g).to(p.dtype) for p, g in zip(parameters, by_parameter)]
    return torch.from_numpy(by_time).to(times.dtype), gradients


def _numpy(tensors: Sequence[Tensor]) -> list[np.ndarray]:
    return [x.numpy(force=True) for x in tensors]


def _real(parameters: Sequence[Tensor], times: Tensor) -> torch.dtype:
    return next((p.dtype for p in parameters if p.is_floating_point()), times.dtype)


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
