"""The operations that PyTorch sees: a batch of trials from input spikes and parameters to readouts, and its gradient.

`torch.library` knows them as ``genn_eventprop::trial`` and so on; so they can be compiled around, checked and exported.
Engines are Python objects, so the operation is given the number of one.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data import Events
from ..engines import Engine, Readouts, Spikes
from ..engines.base import Recorded
from ..errors import EngineError

_numbers = itertools.count(1)
_runners: weakref.WeakValueDictionary[int, Runner] = weakref.WeakValueDictionary()


class Runner:
    """An engine as the operation uses it; it keeps the last forward pass for its backward pass.

    Args:
        engine: with the two halves of a trial. names: of the parameters, in the order of the operation's tensors.

    Attributes:
        token: number of the pass that is kept; another one after a backward pass. passes: number of the last forward
            pass, and spikes: its spikes.
    """

    def __init__(self, engine: Engine, names: tuple[str, ...]) -> None:
        self.engine, self.names, self.number = engine, names, next(_numbers)
        self.token = self.passes = 0
        self.spikes: Mapping[str, Spikes] = {}
        _runners[self.number] = self

    def forward(
        self, times: Tensor, channels: Tensor, offsets: Tensor, parameters: list[Tensor], training: bool
    ) -> Readouts:
        """Run trials; the tokens of earlier ones are no longer valid."""
        for name, value in zip(self.names, parameters):
            self.engine.parameters[name][...] = value.detach().cpu().numpy()
        size = self.engine.plan.input.size
        numbers = [x.detach().cpu().numpy() for x in (times.double(), channels.int(), offsets.long())]
        events = Events.trusted(numbers[0], numbers[1], numbers[2], size)  # made by the layer
        data = self.engine.load(events)
        self._save_spikes()
        found = self.engine.forward(data, np.arange(len(events)), stochastic=training, record_spikes=True)
        self.token += 1
        self.passes += 1
        self.spikes = found.spikes or {}
        return found

    def _save_spikes(self) -> None:
        """Read the spikes of the last pass before another one, if somebody still holds them."""
        if isinstance(self.spikes, Recorded):
            last = weakref.ref(self.spikes)
            self.spikes = {}
            self.engine.forget()
            if (held := last()) is not None:
                held.fetch()

    def backward(self, slopes: list[Tensor], inputs: bool) -> None:
        """Run the kept trials backwards; afterwards nothing is kept."""
        first, *others = (s.detach().cpu().numpy() for s in slopes)
        self.engine.backward(first, dict(zip(self.engine.plan.loss.also, others)), inputs=inputs)
        self.token += 1


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
) -> tuple[list[Tensor], Tensor, Tensor]:
    """A batch of B trials.

    Args:
        number: of the `Runner`. times (E,) ms, channels (E,), offsets (B + 1,): input spikes of sample b are
            offsets[b]:offsets[b + 1], ascending. parameters: in the order of the runner's names. training: noise and
            dropout act.

    Returns:
        readouts (B, K) in the order of the loss's `readouts`, inf for the first spike of a silent output, V at every
        step (B, T + 1, K); spike counts (B, N) int64, of all spiking populations side by side; token and number (2,) of
        this pass.
    """
    runner = runner_of(number)
    found = runner.forward(times, channels, offsets, parameters, training)
    counts = [torch.from_numpy(c.astype(np.int64)) for c in found.spike_counts.values()]
    together = torch.cat(counts, 1) if counts else torch.zeros(len(found.value), 0, dtype=torch.int64)
    real = _real(parameters, times)
    read = [torch.from_numpy(r).to(real) for r in (found.value, *found.also.values())]
    return read, together, torch.tensor([runner.token, runner.passes])


@trial.register_fake
def _(
    number: int, times: Tensor, channels: Tensor, offsets: Tensor, parameters: list[Tensor], training: bool
) -> tuple[list[Tensor], Tensor, Tensor]:
    plan, B = runner_of(number).engine.plan, offsets.shape[0] - 1
    neurons = sum(p.size for p in plan.populations if p.spiking)
    inner = {"trace": (plan.n_steps + 1,)}
    read = [
        torch.empty(B, *inner.get(name, ()), plan.output.size, dtype=_real(parameters, times))
        for name in plan.loss.readouts
    ]
    return read, torch.empty(B, neurons, dtype=torch.int64), torch.empty(2, dtype=torch.int64)


@torch.library.custom_op("genn_eventprop::trial_backward", mutates_args=())
def trial_backward(
    number: int, token: Tensor, slopes: list[Tensor], times: Tensor, channels: Tensor, offsets: Tensor,
    parameters: list[Tensor], training: bool, inputs: bool,
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    """dL/d(times), empty without `inputs`, and dL/d(parameters) from dL/dr of every readout. A pass that is no longer
    kept is run again."""
    runner = runner_of(number)
    if int(token[0]) != runner.token:
        runner.forward(times, channels, offsets, parameters, training)
    runner.backward(slopes, inputs)
    engine, learned = runner.engine, runner.engine.plan.trainable
    gradients = [
        torch.from_numpy(np.array(engine.gradients[name])).to(p.dtype) if name in learned else p.new_zeros(p.shape)
        for name, p in zip(runner.names, parameters)
    ]
    by_time = torch.from_numpy(np.array(engine.input_gradients)) if inputs else torch.empty(0)
    return by_time.to(times.dtype), gradients


@trial_backward.register_fake
def _(
    number: int, token: Tensor, slopes: list[Tensor], times: Tensor, channels: Tensor, offsets: Tensor,
    parameters: list[Tensor], training: bool, inputs: bool,
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    by_time = torch.empty_like(times) if inputs else times.new_empty(0)
    return by_time, [torch.empty_like(p) for p in parameters]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
    number, times, channels, offsets, parameters, training = inputs
    ctx.number, ctx.training = number, training
    ctx.save_for_backward(output[2], times, channels, offsets, *parameters)


def _backward(ctx: Any, slopes: list[Tensor], counts: Tensor | None, token: Tensor | None) -> tuple[Any, ...]:
    token, times, channels, offsets, *parameters = ctx.saved_tensors
    inputs = ctx.needs_input_grad[1]
    slopes = [s.contiguous() for s in slopes]
    by_time, by_parameter = trial_backward(
        ctx.number, token, slopes, times, channels, offsets, parameters, ctx.training, inputs
    )
    return None, by_time if inputs else None, None, None, by_parameter, None


trial.register_autograd(_backward, setup_context=_keep)


def _real(parameters: list[Tensor], times: Tensor) -> torch.dtype:
    return parameters[0].dtype if parameters else times.dtype
