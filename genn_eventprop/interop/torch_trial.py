"""The operation that PyTorch sees: a batch of trials from input spikes and parameters to readouts, and its gradient.

`torch.library` knows it as ``genn_eventprop::trial``; so it can be compiled around, checked and exported. Engines are
Python objects, so the operation is given the number of one.
"""

from __future__ import annotations

import itertools
import weakref
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data import Events
from ..engines import Engine, Readouts
from ..errors import EngineError

_numbers = itertools.count(1)
_runners: weakref.WeakValueDictionary[int, Runner] = weakref.WeakValueDictionary()


class Runner:
    """An engine as the operation uses it; it keeps the last forward pass for its backward pass.

    Args:
        engine: with the two halves of a trial. names: of the parameters, in the order of the operation's tensors.
    """

    def __init__(self, engine: Engine, names: tuple[str, ...]) -> None:
        self.engine, self.names, self.number = engine, names, next(_numbers)
        self.token, self.spikes = 0, dict[str, Any]()
        _runners[self.number] = self

    def forward(
        self, times: Tensor, channels: Tensor, offsets: Tensor, parameters: list[Tensor], training: bool
    ) -> Readouts:
        """Run trials; the tokens of earlier ones are no longer valid."""
        for name, value in zip(self.names, parameters):
            self.engine.parameters[name][...] = value.detach().cpu().numpy()
        size = self.engine.plan.input.size
        numbers = [x.detach().cpu().numpy() for x in (times, channels, offsets)]
        events = Events(numbers[0].astype(np.float64), numbers[1].astype(np.int32), numbers[2].astype(np.int64), size)
        data = self.engine.load(events)
        found = self.engine.forward(data, np.arange(len(events)), stochastic=training, record_spikes=True)
        self.token += 1
        self.spikes = found.spikes or {}
        return found


def runner_of(number: int) -> Runner:
    """The runner with a number.

    Raises:
        EngineError: its layer is gone.
    """
    found = _runners.get(number)
    if found is None:
        raise EngineError("the layer of this trial no longer exists; keep it until backward() has run")
    return found


@torch.library.custom_op("genn_eventprop::trial", mutates_args=())
def trial(
    number: int, times: Tensor, channels: Tensor, offsets: Tensor, parameters: list[Tensor], training: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """A batch of B trials.

    Args:
        number: of the `Runner`. times (E,) ms, channels (E,), offsets (B + 1,): input spikes of sample b are
            offsets[b]:offsets[b + 1], ascending. parameters: in the order of the runner's names. training: noise and
            dropout act.

    Returns:
        readout (B, K), inf for the first spike of a silent output; spike counts (B, N) int64, of all spiking
        populations side by side; a token (1,) of this pass.
    """
    runner = runner_of(number)
    found = runner.forward(times, channels, offsets, parameters, training)
    counts = [torch.from_numpy(c.astype(np.int64)) for c in found.spike_counts.values()]
    together = torch.cat(counts, 1) if counts else torch.zeros(len(found.value), 0, dtype=torch.int64)
    return torch.from_numpy(found.value).to(_real(parameters, times)), together, torch.tensor([runner.token])


@trial.register_fake
def _(
    number: int, times: Tensor, channels: Tensor, offsets: Tensor, parameters: list[Tensor], training: bool
) -> tuple[Tensor, Tensor, Tensor]:
    plan = runner_of(number).engine.plan
    B = offsets.shape[0] - 1
    neurons = sum(p.size for p in plan.populations if p.spiking)
    real = torch.empty(B, plan.output.size, dtype=_real(parameters, times))
    return real, torch.empty(B, neurons, dtype=torch.int64), torch.empty(1, dtype=torch.int64)


@torch.library.custom_op("genn_eventprop::trial_backward", mutates_args=())
def trial_backward(
    number: int, token: Tensor, slope: Tensor, times: Tensor, channels: Tensor, offsets: Tensor,
    parameters: list[Tensor], training: bool,
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    """dL/d(times) and dL/d(parameters) from dL/dr (B, K). A pass that is no longer kept is run forwards again."""
    runner = runner_of(number)
    if int(token) != runner.token:
        runner.forward(times, channels, offsets, parameters, training)
    runner.engine.backward(slope.detach().cpu().numpy())
    runner.token += 1  # what was kept is gone
    engine, learned = runner.engine, runner.engine.plan.trainable
    gradients = [
        torch.from_numpy(np.array(engine.gradients[name], np.float64)).to(p.dtype)
        if name in learned
        else p.new_zeros(p.shape)
        for name, p in zip(runner.names, parameters)
    ]
    return torch.from_numpy(np.array(engine.input_gradients)).to(times.dtype), gradients


@trial_backward.register_fake
def _(
    number: int, token: Tensor, slope: Tensor, times: Tensor, channels: Tensor, offsets: Tensor,
    parameters: list[Tensor], training: bool,
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    return torch.empty_like(times), [torch.empty_like(p) for p in parameters]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    number, times, channels, offsets, parameters, training = inputs
    ctx.number, ctx.training = number, training
    ctx.save_for_backward(output[2], times, channels, offsets, *parameters)


def _backward(ctx: Any, slope: Tensor, counts: Tensor | None, token: Tensor | None) -> tuple[Any, ...]:
    token, times, channels, offsets, *parameters = ctx.saved_tensors
    by_time, by_parameter = trial_backward(
        ctx.number, token, slope.contiguous(), times, channels, offsets, parameters, ctx.training
    )
    return None, by_time, None, None, by_parameter, None


trial.register_autograd(_backward, setup_context=_keep)


def _real(parameters: list[Tensor], times: Tensor) -> torch.dtype:
    return parameters[0].dtype if parameters else times.dtype
