"""Torch layers before and after a spiking one: an encoder learns spike times through their gradient.

A linear layer turns 8 numbers into spike times of 6 channels, a spiking network reads them, and a linear layer decides.
"""

import argparse

import torch

from genn_eventprop import Dense, Network, Normal
from genn_eventprop.models import LI, LIF
from genn_eventprop.torch import EventProp


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        net = Network()
        source = net.input(6)
        hidden, output = net.population(LIF(), 30, name="hidden"), net.population(LI(), 10, name="output")
        net.connect(source, hidden, Dense(Normal(1.5, 0.8)))
        net.connect(hidden, output, Dense(Normal(0.5, 0.5)))
        self.encode = torch.nn.Linear(8, 6)
        self.spiking = EventProp(net, duration=40.0, dt=1.0, readout="max", spike_times="exact", seed=1)
        self.decide = torch.nn.Linear(10, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        times = 20 * torch.sigmoid(self.encode(x))
        return self.decide(self.spiking(times=times).maximum)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=200)
    steps = options.parse_args().steps
    torch.manual_seed(1)
    x = torch.randn(512, 8)
    labels = (x[:, :3] + x[:, 3:6] * x[:, 5:]).argmax(1)
    model = Model()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(steps):
        batch = torch.randint(0, 512, (64,))
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x[batch]), labels[batch])
        loss.backward()
        optimiser.step()
        if (step + 1) % max(1, steps // 5) == 0:
            encoder = model.encode.weight.grad
            assert encoder is not None
            print(f"step {step + 1}  loss {loss.item():.3f}  gradient of the encoder {encoder.norm():.3f}")
    with torch.no_grad():
        print(f"accuracy {100 * (model(x).argmax(1) == labels).float().mean():.1f} %")


if __name__ == "__main__":
    main()
