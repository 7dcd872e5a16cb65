"""A torch convolution before a spiking layer: images become spike times, which the network reads.

    python examples/torch_convolution.py

Images of 8 x 8 pixels show a bar across, down or along a diagonal, with noise. Convolution and pooling turn an image
into 36 numbers; the larger a number, the earlier its channel spikes. Gradients of spike times train the kernels.
"""

import argparse

import torch

from genn_eventprop import Dense, Network, Normal
from genn_eventprop.models import LI, LIF
from genn_eventprop.torch import EventProp

CLASSES = ("across", "down", "diagonal")


def images(number: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(S, 1, 8, 8) images and (S,) labels."""
    chance = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (number,), generator=chance)
    place = torch.randint(1, 7, (number,), generator=chance)
    found = 0.4 * torch.rand(number, 1, 8, 8, generator=chance)
    for image, label, at in zip(found, labels, place):
        if label == 0:
            image[0, at] += 1
        elif label == 1:
            image[0, :, at] += 1
        else:
            image[0] += torch.eye(8).roll(int(at) // 3, 1)
    return found, labels


class Model(torch.nn.Module):
    """Convolution, pooling, spike times, spiking network."""

    def __init__(self) -> None:
        super().__init__()
        net = Network()
        source = net.input(36)
        hidden, output = net.population(LIF(), 40, name="hidden"), net.population(LI(), 3, name="output")
        net.connect(source, hidden, Dense(Normal(0.3, 0.3)))
        net.connect(hidden, output, Dense(Normal(0.3, 0.4)))
        self.features = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3), torch.nn.MaxPool2d(2), torch.nn.Flatten(), torch.nn.BatchNorm1d(36)
        )
        self.spiking = EventProp(net, duration=40.0, dt=1.0, readout="max", spike_times="exact", seed=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.spiking(times=20 * torch.sigmoid(-self.features(x))).maximum


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--epochs", type=int, default=10)
    epochs = options.parse_args().epochs
    torch.manual_seed(1)
    model, (x, y), (test_x, test_y) = Model(), images(512, 1), images(256, 2)
    first = model.features[0].weight.detach().clone()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for epoch in range(1, epochs + 1):
        for batch in torch.randperm(len(x)).split(32):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimiser.step()
        with torch.no_grad():
            right = (model(test_x).argmax(1) == test_y).float().mean()
        moved = (model.features[0].weight - first).norm().item()
        print(f"epoch {epoch}/{epochs}  test accuracy {100 * right:.1f} %  the kernels moved by {moved:.2f}")


if __name__ == "__main__":
    main()
