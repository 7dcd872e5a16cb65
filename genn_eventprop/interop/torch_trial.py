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

from ..engines import Spikes
from ..errors import EngineError
from . import layer
from .layer import Runner, runner_of


def run(
    number: int, times: Tensor, channels: Tensor, offsets: Tensor, currents: list[Tensor], parameters: list[Tensor],
    key: Tensor | None,
) -> tuple[list[Tensor], Tensor, Tensor | tuple[int, int], Mapping[str, Spikes] | None]:  # fmt: skip
    """`trial`, by the way that costs least, and the spikes of the pass, if they are at hand."""
    if torch.compiler.is_compiling():
        return *trial(number, times, channels, offsets, currents, parameters, key), None
    *read, counts, (passed, spikes) = _Eager.apply(
        number, times, channels, offsets, key, len(currents), *currents, *parameters
    )
    return read, counts, passed, spikes


@torch.library.custom_op("genn_eventprop::trial", mutates_args=())
def trial(
    number: int, times: Tensor, channels: Tensor, offsets: Tensor, currents: list[Tensor], parameters: list[Tensor],
    key: Tensor | None,
) -> tuple[list[Tensor], Tensor, Tensor]:  # fmt: skip
    """A batch of B trials.

    Args:
        number: of the `Runner`. times (E,) ms, channels (E,), offsets (B + 1,): input spikes of sample b are
            offsets[b]:offsets[b + 1], ascending. currents: (B, V, M) values of each current of the network.
            parameters: in the order of the runner's names. key: of noise and dropout (1,); None: they do not act.

    Returns:
        readouts (B, K) in the order of the loss's `readouts`, inf for the first spike of a silent output, V at every
        step (B, T + 1, K); spike counts (B, N) int64, of all spiking populations side by side, like the readouts on the
        device of the parameters; token and number (2,) of this pass, on the CPU.
    """
    read, counts, passed, _ = _forwards(number, (times, channels, offsets, *currents), parameters, key)
    return read, counts, torch.tensor(passed)


@trial.register_fake
def _(
    number: int, times: Tensor, channels: Tensor, offsets: Tensor, currents: list[Tensor], parameters: list[Tensor],
    key: Tensor | None,
) -> tuple[list[Tensor], Tensor, Tensor]:  # fmt: skip
    plan, B = runner_of(number).engine.plan, offsets.shape[0] - 1
    neurons, inner = sum(p.size for p in plan.populations if p.spiking), {"trace": (plan.n_steps + 1,)}
    shapes = [(B, *inner.get(name, ()), plan.output.size) for name in plan.loss.readouts]
    real = _real(parameters, times)
    read = [real.new_empty(shape) for shape in shapes]
    return read, real.new_empty((B, neurons), dtype=torch.int64), torch.empty(2, dtype=torch.int64)


@torch.library.custom_op("genn_eventprop::trial_backward", mutates_args=())
def trial_backward(
    number: int, token: Tensor, slopes: list[Tensor], times: Tensor, channels: Tensor, offsets: Tensor,
    currents: list[Tensor], parameters: list[Tensor], key: Tensor | None, inputs: bool, driven: bool,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:  # fmt: skip
    """dL/d(times), empty without `inputs`, dL/d(currents), 0 without `driven`, and dL/d(parameters) from dL/dr of every
    readout. A pass that is no longer kept is run again."""
    spikes = times, channels, offsets, *currents
    by_time, by_current, by_parameter = _backwards(
        number, int(token[0]), slopes, spikes, parameters, key, inputs, driven
    )
    complete = lambda tensors, gradients: [  # noqa: E731
        t.new_zeros(t.shape) if g is None else g for t, g in zip(tensors, gradients)
    ]
    return by_time, complete(currents, by_current), complete(parameters, by_parameter)


@trial_backward.register_fake
def _(
    number: int, token: Tensor, slopes: list[Tensor], times: Tensor, channels: Tensor, offsets: Tensor,
    currents: list[Tensor], parameters: list[Tensor], key: Tensor | None, inputs: bool, driven: bool,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:  # fmt: skip
    by_time = torch.empty_like(times) if inputs else times.new_empty(0)
    # contiguous, whatever the layout of the currents is
    by_current = [c.new_empty(c.shape) for c in currents]
    return by_time, by_current, [torch.empty_like(p) for p in parameters]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
    number, times, channels, offsets, currents, parameters, key = inputs
    _keep(ctx, number, key, len(currents), (output[2], times, channels, offsets, *currents, *parameters))


def _backward(ctx: Any, slopes: list[Tensor], counts: Tensor | None, passed: Tensor | None) -> tuple[Any, ...]:
    key, (token, times, channels, offsets, *rest) = _kept(ctx)
    currents, parameters = rest[: ctx.driving], rest[ctx.driving :]
    inputs, driven, slopes = ctx.needs_input_grad[1], _any(ctx.needs_input_grad[4]), [s.contiguous() for s in slopes]
    by_time, by_current, by_parameter = trial_backward(
        ctx.number, token, slopes, times, channels, offsets, currents, parameters, key, inputs, driven
    )
    return None, by_time if inputs else None, None, None, by_current, by_parameter, None


def _any(needed: Any) -> bool:
    """Whether a gradient of any tensor of a list is needed."""
    return any(needed) if isinstance(needed, (list, tuple)) else bool(needed)


trial.register_autograd(_backward, setup_context=_setup)


class _Eager(torch.autograd.Function):
    """`trial` for tensors that hold numbers: of number, times, channels, offsets, key, the number of currents, these
    and the parameters one by one."""

    @staticmethod
    def forward(
        number: int, times: Tensor, channels: Tensor, offsets: Tensor, key: Tensor | None, driving: int,
        *tensors: Tensor,
    ) -> tuple[Any, ...]:  # fmt: skip
        spikes = times, channels, offsets, *tensors[:driving]
        read, counts, passed, of_pass = _forwards(number, spikes, tensors[driving:], key)
        return *read, counts, (passed, of_pass)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        number, times, channels, offsets, key, driving, *tensors = inputs
        *_, counts, ((ctx.token, _), _) = output
        ctx.mark_non_differentiable(counts)
        _keep(ctx, number, key, driving, (times, channels, offsets, *tensors))

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> tuple[Any, ...]:
        key, tensors = _kept(ctx)
        spikes, parameters = tensors[: 3 + ctx.driving], tensors[3 + ctx.driving :]
        inputs, driven = ctx.needs_input_grad[1], any(ctx.needs_input_grad[6 : 6 + ctx.driving])
        by_time, by_current, by_parameter = _backwards(
            ctx.number, ctx.token, slopes[:-2], spikes, parameters, key, inputs, driven
        )
        none = [None] * ctx.driving
        found = by_time if inputs else None, *(by_current or none), *by_parameter
        if torch.is_grad_enabled():  # create_graph=True
            found = _Final.apply(len(found), *found, *tensors, *slopes[:-2])
        return None, found[0], None, None, None, None, *found[1:]


class _Final(torch.autograd.Function):
    """Gradients of a trial, which depend on its inputs, `tensors`, in a way that is not known.

    `once_differentiable` would take them for constants wherever the slopes that come in are.
    """

    @staticmethod
    def forward(ctx: Any, number: int, *tensors: Any) -> tuple[Any, ...]:
        return tuple(None if t is None else t.view_as(t) for t in tensors[:number])

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> Any:
        raise EngineError(
            "the layer has first derivatives only: its gradient cannot be differentiated again (create_graph=True, a "
            "penalty on gradients); detach() it if it is meant as a constant"
        )


def _keep(ctx: Any, number: int, key: Tensor | None, driving: int, tensors: Sequence[Tensor]) -> None:
    ctx.number, ctx.stochastic, ctx.driving = number, key is not None, driving
    ctx.save_for_backward(*([] if key is None else [key]), *tensors)


def _kept(ctx: Any) -> tuple[Tensor | None, tuple[Tensor, ...]]:
    saved = ctx.saved_tensors
    return (saved[0], saved[1:]) if ctx.stochastic else (None, saved)


def _forwards(
    number: int, spikes: Sequence[Tensor], parameters: Sequence[Tensor], key: Tensor | None
) -> tuple[list[Tensor], Tensor, tuple[int, int], Mapping[str, Spikes]]:
    """spikes: times, channels, offsets, and the currents."""
    runner, real = runner_of(number), _real(parameters, spikes[0])
    arguments = _numpy(spikes), _parameters(runner, parameters), None if key is None else int(key)
    with runner.lock:
        result = runner.forward(*arguments)
        passed, of_pass = (runner.token, runner.passes), runner.spikes
    counts = np.concatenate([np.zeros((len(result.value), 0), np.int64), *result.spike_counts.values()], axis=1)
    read = [torch.from_numpy(r).to(real) for r in (result.value, *result.also.values())]
    return read, torch.from_numpy(counts).to(real.device), passed, of_pass


def _backwards(
    number: int, token: int, slopes: Sequence[Tensor], spikes: Sequence[Tensor], parameters: Sequence[Tensor],
    key: Tensor | None, inputs: bool, driven: bool,
) -> tuple[Tensor, list[Tensor | None], list[Tensor | None]]:  # fmt: skip
    """`trial_backward`, None for a parameter that is not learned; no gradients of currents without `driven`."""
    runner, (times, _, _, *currents) = runner_of(number), spikes
    values = _parameters(runner, parameters)
    again, learned = (_numpy(spikes), values, None if key is None else int(key)), runner.engine.plan.trainable
    into = {
        n: torch.empty_like(v) for n, v in zip(runner.names, values) if isinstance(v, Tensor) and n in learned
    }  # fmt: skip
    by_time, by_current, by_parameter = runner.gradients(token, _numpy(slopes), inputs, driven, *again, into)
    as_tensors = lambda tensors, gradients: [  # noqa: E731
        g if g is None or isinstance(g, Tensor) else torch.from_numpy(g).to(t) for t, g in zip(tensors, gradients)
    ]
    return (
        torch.from_numpy(by_time).to(times), as_tensors(currents, by_current), as_tensors(parameters, by_parameter)
    )  # fmt: skip


def _numpy(tensors: Sequence[Tensor]) -> list[np.ndarray]:
    return [x.numpy(force=True) for x in tensors]


def _parameters(runner: Runner, parameters: Sequence[Tensor]) -> list[Tensor | np.ndarray]:
    """Those that lie on the engine's device as the engine has them, the others as arrays of the host."""
    tensors = [(name, p.detach()) for name, p in zip(runner.names, parameters)]
    return [p if not p.is_cpu and runner.shares(name, p) else p.numpy(force=True) for name, p in tensors]


def _real(parameters: Sequence[Tensor], times: Tensor) -> Tensor:
    """A tensor of the kind and on the device of the readouts."""
    return next((p for p in parameters if p.is_floating_point()), times)


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
