"""Yin-Yang in a plain PyTorch loop, with exact spike times: python examples/torch_yin_yang.py"""

import argparse

import numpy as np
import torch

from genn_eventprop import Dense, Network, Normal
from genn_eventprop.data.readers import yin_yang
from genn_eventprop.models import LI, LIF
from genn_eventprop.torch import EventProp


def dataset(split: str, samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(S, 5) spike times in ms and (S,) labels."""
    events = yin_yang.load(split, samples)
    times = torch.full((samples, 5), torch.inf)
    of = np.repeat(np.arange(samples), np.diff(events.offsets))
    times[of, events.channels] = torch.from_numpy(events.times).float()
    return times, torch.from_numpy(events.labels)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--epochs", type=int, default=30)
    options.add_argument("--samples", type=int, default=5000)
    epochs, samples = vars(options.parse_args()).values()
    torch.manual_seed(1)
    net = Network()
    source = net.input(5)
    hidden, output = net.population(LIF(), 60, name="hidden"), net.population(LI(), 3, name="output")
    net.connect(source, hidden, Dense(Normal(1.5, 0.78)))
    net.connect(hidden, output, Dense(Normal(0.5, 0.5)))
    layer = EventProp(net, duration=60.0, dt=1.0, readout="max", spike_times="exact", seed=1)
    optimiser = torch.optim.Adam(layer.parameters(), lr=5e-3)
    times, labels = dataset("train", samples)
    test_times, test_labels = dataset("test", 1000)
    for epoch in range(1, epochs + 1):
        for batch in torch.randperm(samples).split(32):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(layer(times=times[batch]).maximum, labels[batch]).backward()
            optimiser.step()
        with torch.no_grad():
            right = (layer(times=test_times).maximum.argmax(1) == test_labels).float().mean()
        print(f"epoch {epoch}/{epochs}  test accuracy {100 * right:.2f} %")


if __name__ == "__main__":
    main()
