"""Two spiking layers with torch between and after them: python examples/torch_stack.py

The first spike times of the first layer's outputs pass through a learned delay in torch into the second layer; a torch
loss reads the second layer's voltage at every time step. The gradient goes back through both.
"""

import argparse

import torch

from genn_eventprop import Dense, Network, Normal
from genn_eventprop.models import LI, LIF
from genn_eventprop.torch import EventProp


class Stack(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = EventProp(
            network(4, 20, 12, spiking=True), duration=40.0, readout="first_spike", spike_times="exact", seed=1
        )
        self.shift = torch.nn.Parameter(torch.full((12,), 2.0))  # ms
        self.second = EventProp(network(12, 20, 2), duration=60.0, readout=("trace", "max"), seed=2)

    def forward(self, times: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T + 1, 2) voltages of the second layer, and their maxima; a silent channel sends nothing."""
        between = self.first(times=times).first_spike + self.shift.abs()
        out = self.second(times=torch.where(between < 55, between, torch.inf))
        return out.v, out.maximum


def network(inputs: int, hidden: int, outputs: int, spiking: bool = False) -> Network:
    net = Network()
    source = net.input(inputs)
    middle = net.population(LIF(), hidden, name="hidden")
    last = net.population((LIF if spiking else LI)(), outputs, name="output")
    net.connect(source, middle, Dense(Normal(8.0 / inputs, 4.0 / inputs)))
    net.connect(middle, last, Dense(Normal(20.0 / hidden, 20.0 / hidden) if spiking else Normal(0.2, 0.4)))
    return net


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--steps", type=int, default=150)
    steps = options.parse_args().steps
    torch.manual_seed(1)
    model = Stack()
    times, labels = 5 * torch.rand(256, 4), torch.arange(256) % 2
    times[labels == 1, :2] += 10  # two channels come before the others, or after them
    times[labels == 0, 2:] += 10
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for step in range(1, steps + 1):
        batch = torch.randint(0, 256, (32,))
        optimiser.zero_grad()
        v, maximum = model(times[batch])
        loss = torch.nn.functional.cross_entropy(5 * maximum, labels[batch]) + 0.01 * v.square().mean()
        loss.backward()
        optimiser.step()
        if step % max(1, steps // 5) == 0:
            weight = model.first.net.input_hidden.weight.grad
            assert weight is not None
            print(f"step {step}  loss {loss.item():.3f}  gradient in the first layer {weight.norm():.4f}")
    with torch.no_grad():
        right = (model(times)[1].argmax(1) == labels).float().mean()
    print(f"accuracy {100 * right:.1f} %, shift {model.shift.abs().mean():.2f} ms")


if __name__ == "__main__":
    main()
