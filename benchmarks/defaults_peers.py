"""Data sets of `defaults.py` with the networks of two tutorials for surrogate gradients, at the settings given there.

    python benchmarks/defaults_peers.py --aeon aeon-1.6.0-py3-none-any.whl --seeds 1-3
    python benchmarks/defaults_peers.py --table --write docs/numbers/defaults_peers.json

snntorch    "Training Spiking Neural Networks with snnTorch" (tutorial 5): 1000 `Leaky` neurons with beta 0.95, `Leaky`
            outputs; cross-entropy of V in every step, spikes of outputs counted; Adam 5e-4, batches of 128, 25 steps.
norse       "Training a spiking network on MNIST": 100 `LIFRecurrentCell` with threshold 0.5 and alpha 100,
            `LILinearCell` outputs, their largest V; Adam 2e-3, batches of 256, 32 steps.

Both tutorials are for images, which the first scales to values from 0 to 1, the second to a mean of 0 and a deviation
of 1; so are values here. Those of a curve are the means of as many parts of the trial as there are steps, spikes the
counts in them; where there is a single value it is given in all steps (Norse: as its constant-current spikes). The
tutorials train for one and five epochs of 60,000 images; here there are as many epochs as genn_eventprop chooses for
the set. Results go to benchmarks/results/defaults_peers.json; those that are there are not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from defaults import ROWS, _some
from result_file import add_row
from torch import nn

from genn_eventprop.atomic import write_text
from genn_eventprop.data import Currents, Events
from genn_eventprop.recipes import recipe_of
from genn_eventprop.runs.run_folder import environment

SETS = "yin_yang,digits,braille,spoken_digits,mnist1d,BasicMotions"
PEERS = {"snntorch": (25, 128, 5e-4), "norse": (32, 256, 2e-3)}
"""Steps, batch size and learning rate."""


def in_steps(data: Any, steps: int) -> np.ndarray:
    """(S, steps, C): counts, or means of parts of the trial."""
    if isinstance(data, Events):
        step = np.minimum((data.times / data.duration * steps).astype(np.int64), steps - 1)
        place = (data.sample_of_event * steps + step) * data.n_channels + data.channels
        counts = np.bincount(place, minlength=len(data) * steps * data.n_channels)
        return counts.reshape(len(data), steps, data.n_channels).astype(np.float32)
    values = np.asarray(data.values, np.float32)
    edges = np.linspace(0, values.shape[1], steps + 1)
    parts = [values[:, int(a) : max(int(a) + 1, int(b))].mean(1) for a, b in zip(edges, edges[1:])]
    return np.stack(parts, axis=1)


def scaled(train: np.ndarray, test: np.ndarray, peer: str) -> tuple[torch.Tensor, torch.Tensor]:
    """As images are in the tutorial of a peer, by numbers of the training set."""
    start, unit = (train.min(), np.ptp(train)) if peer == "snntorch" else (train.mean(), train.std())
    return torch.from_numpy((train - start) / unit), torch.from_numpy((test - start) / unit)


class SnnTorch(nn.Module):
    """(B, T, C) -> (what the loss compares (T, B, K), what decides (B, K))."""

    def __init__(self, channels: int, classes: int, constant: bool) -> None:
        super().__init__()
        import snntorch as snn

        self.first, self.last = nn.Linear(channels, 1000), nn.Linear(1000, classes)
        self.hidden, self.output = snn.Leaky(beta=0.95), snn.Leaky(beta=0.95)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A loop over the steps."""
        v, u = self.hidden.init_leaky(), self.output.init_leaky()
        spikes, potentials = [], []
        for now in x.unbind(1):
            s, v = self.hidden(self.first(now), v)
            s, u = self.output(self.last(s), u)
            spikes.append(s)
            potentials.append(u)
        return torch.stack(potentials), torch.stack(spikes).sum(0)


class Norse(nn.Module):
    """The same."""

    def __init__(self, channels: int, classes: int, constant: bool) -> None:
        super().__init__()
        from norse.torch import ConstantCurrentLIFEncoder, LIFParameters, LIFRecurrentCell, LILinearCell

        parameters = LIFParameters(alpha=torch.tensor(100.0), v_th=torch.tensor(0.5))
        self.encoder = ConstantCurrentLIFEncoder(PEERS["norse"][0]) if constant else None
        self.hidden, self.output = LIFRecurrentCell(channels, 100, p=parameters), LILinearCell(100, classes)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A loop over the steps."""
        steps = x.unbind(1) if self.encoder is None else self.encoder(x[:, 0])
        v = u = None
        potentials = []
        for now in steps:
            s, v = self.hidden(now, v)
            out, u = self.output(s, u)
            potentials.append(out)
        largest = torch.stack(potentials).max(0).values
        return largest[None], largest


def measure(name: str, peer: str, data: Path, wheel: Path, seed: int) -> dict[str, Any]:
    """One training."""
    torch.manual_seed(seed)
    steps, size, rate = PEERS[peer]
    train, test = map(_some, ROWS[name].load(data, wheel))
    epochs = {choice.setting: choice.value for choice in recipe_of(train, test)[1]}["epochs"]
    constant = isinstance(train, Currents) and train.n_steps == 1
    x, x_test = scaled(in_steps(train, steps), in_steps(test, steps), peer)
    y, y_test = torch.tensor(train.labels), torch.tensor(test.labels)
    network = {"snntorch": SnnTorch, "norse": Norse}[peer](x.shape[2], int(train.labels.max()) + 1, constant)
    optimiser = torch.optim.Adam(network.parameters(), rate)
    start = time.process_time()
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(size):
            optimiser.zero_grad()
            compared, _ = network(x[batch])
            sum(nn.functional.cross_entropy(now, y[batch]) for now in compared).backward()
            optimiser.step()
    with torch.no_grad():
        decided = torch.cat([network(part)[1] for part in x_test.split(size)])
    accuracy = float((decided.argmax(1) == y_test).double().mean())
    return {"accuracy": accuracy, "epochs": epochs, "seconds": round(time.process_time() - start, 1)}


def main() -> None:
    """Run what is missing; print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default=SETS)
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--aeon", type=Path, default=Path("aeon.whl"), help="the wheel of aeon")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GENN_EVENTPROP_DATA", "../shared/data")))
    parser.add_argument("--table", action="store_true", help="print the table of what is there, run nothing")
    parser.add_argument("--write", type=Path, help="the rows into this file too: docs/numbers/defaults_peers.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    out = Path(__file__).parent / "results" / "defaults_peers.json"
    results = json.loads(out.read_text()) if out.exists() else {}
    first, _, last = options.seeds.partition("-")
    for seed in [] if options.table else range(int(first), int(last or first) + 1):
        for name in options.sets.split(","):
            for peer in PEERS:
                runs = results.setdefault(name, {}).setdefault(peer, {})
                if str(seed) not in runs:
                    about = {"about": environment()}
                    runs[str(seed)] = about | measure(name, peer, options.data, options.aeon, seed)
                    out.parent.mkdir(exist_ok=True)
                    write_text(out, json.dumps(results, indent=1))
                    print(f"{name} {peer} seed {seed}: {runs[str(seed)]['accuracy']:.3f}", flush=True)
    ours = {
        row["cells"][0]: row["cells"]
        for row in json.loads((Path(__file__).parents[1] / "docs/numbers/defaults.json").read_text())["rows"]
    }
    for name, peers in results.items():
        columns = {"genn_eventprop": ours[name][3]}
        for peer, runs in peers.items():
            columns[peer] = " ".join(f"{100 * run['accuracy']:.1f}" for run in runs.values())
        print(" | ".join([name, *columns.values()]))
        if options.write:
            run = list(peers["norse"].values())[-1]
            command = f"python benchmarks/defaults_peers.py --sets {name} --seeds 1-{len(peers['norse'])} --aeon WHEEL"
            add_row(options.write, ("data", *columns), (name, *columns.values()), command, run["about"])


if __name__ == "__main__":
    main()
