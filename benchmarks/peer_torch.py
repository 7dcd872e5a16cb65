"""The tasks of `peers.py` on surrogate-gradient codes for PyTorch: snnTorch, Norse, SpikingJelly."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from peer_worker import Shape, Step
from torch import nn

BETA, ALPHA = math.exp(-1 / 20), math.exp(-1 / 5)
"""Decay of V and I in a step of 1 ms."""


def prepare(peer: str) -> None:
    """One thread, as everybody else; the package is loaded before memory is counted."""
    torch.set_num_threads(1)
    __import__(peer)


def _step(run: Callable[[torch.Tensor], torch.Tensor], modules: list[nn.Module], shape: Shape, adam: bool) -> Step:
    """Forward, backward and (with classes) Adam of `run`: spikes (T, B, N) -> (B, K)."""
    x, y = torch.from_numpy(shape.dense()), torch.from_numpy(shape.labels())
    parameters = [p for m in modules for p in m.parameters()]
    optimiser = torch.optim.Adam(parameters, 1e-9)

    def step() -> None:
        optimiser.zero_grad()
        nn.functional.cross_entropy(run(x), y).backward()
        if adam:
            optimiser.step()

    return step


def snntorch_layer(shape: Shape) -> Step:
    """Linear + Leaky, a loop over the steps."""
    import snntorch as snn

    linear, lif = nn.Linear(shape.inputs, shape.hidden, bias=False), snn.Leaky(beta=BETA)

    def run(x: torch.Tensor) -> torch.Tensor:
        state, spikes = lif.reset_mem(), []
        for now in x:
            out, state = lif(linear(now), state)
            spikes.append(out)
        return torch.stack(spikes).sum(0)

    return _step(run, [linear, lif], shape, False)


def snntorch_shd(shape: Shape) -> Step:
    """Linear + RSynaptic (all to all) + Linear + Synaptic without a reset, whose V is averaged."""
    import snntorch as snn

    first, last = nn.Linear(shape.inputs, shape.hidden, bias=False), nn.Linear(shape.hidden, shape.outputs, bias=False)
    hidden = snn.RSynaptic(alpha=ALPHA, beta=BETA, linear_features=shape.hidden, all_to_all=True)
    output = snn.Synaptic(alpha=ALPHA, beta=BETA, reset_mechanism="none")

    def run(x: torch.Tensor) -> torch.Tensor:
        (spikes, i, v), (i_out, v_out) = hidden.reset_mem(), output.reset_mem()
        total: Any = 0.0
        for now in x:
            spikes, i, v = hidden(first(now), spikes, i, v)
            _, i_out, v_out = output(last(spikes), i_out, v_out)
            total = total + v_out
        return total / len(x)

    return _step(run, [first, hidden, last], shape, True)


def norse_layer(shape: Shape) -> Step:
    """Linear + LIFBoxCell, a loop over the steps."""
    import norse.torch as norse

    linear = nn.Linear(shape.inputs, shape.hidden, bias=False)
    lif = norse.LIFBoxCell(norse.LIFBoxParameters(tau_mem_inv=torch.tensor(50.0)), dt=1e-3)

    def run(x: torch.Tensor) -> torch.Tensor:
        state, spikes = None, []
        for now in x:
            out, state = lif(linear(now), state)
            spikes.append(out)
        return torch.stack(spikes).sum(0)

    return _step(run, [linear, lif], shape, False)


def norse_shd(shape: Shape) -> Step:
    """LIFRecurrentCell + LILinearCell, whose V is averaged."""
    import norse.torch as norse

    parameters = norse.LIFParameters(tau_mem_inv=torch.tensor(50.0), tau_syn_inv=torch.tensor(200.0))
    hidden = norse.LIFRecurrentCell(shape.inputs, shape.hidden, p=parameters, dt=1e-3)
    output = norse.LILinearCell(shape.hidden, shape.outputs, dt=1e-3)

    def run(x: torch.Tensor) -> torch.Tensor:
        state = state_out = None
        total: Any = 0.0
        for now in x:
            spikes, state = hidden(now, state)
            v, state_out = output(spikes, state_out)
            total = total + v
        return total / len(x)

    return _step(run, [hidden, output], shape, True)


def spikingjelly_layer(shape: Shape) -> Step:
    """Linear + LIFNode, all steps in one call (multi-step mode, backend torch)."""
    from spikingjelly.activation_based import functional, layer, neuron

    net = nn.Sequential(
        layer.Linear(shape.inputs, shape.hidden, bias=False, step_mode="m"), neuron.LIFNode(tau=20.0, step_mode="m")
    )

    def run(x: torch.Tensor) -> torch.Tensor:
        functional.reset_net(net)
        return net(x).sum(0)

    return _step(run, [net], shape, False)


def spikingjelly_shd(shape: Shape) -> Step:
    """Linear + recurrent LIFNode + Linear + NonSpikingLIFNode, whose V is averaged; its LIF has no synaptic current."""
    from spikingjelly.activation_based import functional, layer, neuron

    recurrent = layer.LinearRecurrentContainer(neuron.LIFNode(tau=20.0), shape.hidden, shape.hidden, bias=False)
    hidden = nn.Sequential(layer.Linear(shape.inputs, shape.hidden, bias=False), recurrent)
    output = neuron.NonSpikingLIFNode(tau=20.0, decode="mean-mem")  # takes all steps at once
    last = layer.Linear(shape.hidden, shape.outputs, bias=False, step_mode="m")

    def run(x: torch.Tensor) -> torch.Tensor:
        functional.reset_net(hidden)
        functional.reset_net(output)
        return output(last(torch.stack([hidden(now) for now in x])))

    return _step(run, [hidden, last], shape, True)


TASKS = {
    ("snntorch", "layer"): snntorch_layer, ("snntorch", "shd"): snntorch_shd,
    ("norse", "layer"): norse_layer, ("norse", "shd"): norse_shd,
    ("spikingjelly", "layer"): spikingjelly_layer, ("spikingjelly", "shd"): spikingjelly_shd,
}  # fmt: skip
