"""MNIST-1D (Greydanus & Kobak 2024, arXiv 2011.14439) by a spiking convolutional network, on the published samples.

    pip install mnist1d
    python benchmarks/mnist_1d.py --seeds 1-3 --write docs/numbers/mnist_1d.json
    python benchmarks/mnist_1d.py --split validation     # as settings were chosen: 800 of the 4000 training samples

A sample is a curve of 40 values, given as 40 constant currents for 20 ms. Three layers of LIF neurons, each a
convolution with a stride of 2 (32, 64 and 64 channels), LI outputs; cross-entropy of the integral of V. Adam, relative
to the weights, with a rate that falls to 0.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import numpy as np
from result_file import add_row
from seeds import seeds_of

from genn_eventprop import Conv1D, Dense, Network, Trainer
from genn_eventprop.data import Currents
from genn_eventprop.data.augment import Augmented, Noise, ShiftChannels
from genn_eventprop.losses import IntegratedVoltageCrossEntropy
from genn_eventprop.modelling.parameters import FromData
from genn_eventprop.models import LI, LIF
from genn_eventprop.optimisers import Adam, Cosine

DURATION, EPOCHS = 20.0, 80  # ms
NEURON = {"tau_mem": 5.0, "tau_syn": 2.0}
COLUMNS = ("augmentation", "trained numbers", "samples", "seeds", "accuracy (%)")


def sets(split: str) -> tuple[Currents, Currents]:
    """Training and test samples; or, for `validation`, a fifth of the training samples as test."""
    from mnist1d.data import get_dataset_args, make_dataset

    made = make_dataset(get_dataset_args())  # the package's seed: the published samples
    train, test = (
        Currents.constant(made[f"x{part}"].astype(np.float32), DURATION, labels=made[f"y{part}"].astype(np.int64))
        for part in ("", "_test")
    )
    return (train[:3200], train[3200:]) if split == "validation" else (train, test)


def trained(train: Currents, test: Currents, seed: int, shift: int) -> tuple[float, int]:
    """Accuracy in per cent after the last epoch, and how many numbers were trained."""
    net, channels = Network(), 32
    before = net.current(shape=(1, 40, 1), dt=DURATION)
    for layer in range(3):
        kernel = 5 if layer == 0 else 3
        convolution = Conv1D(FromData(), kernel=kernel, channels=channels, stride=2, padding=kernel // 2)
        shape = convolution.output_shape(before.shape)
        population = net.population(LIF(**NEURON), name=f"hidden{layer + 1}", shape=shape)
        net.connect(before, population, convolution)
        before, channels = population, 64
    output = net.population(LI(**NEURON), 10, name="output")
    net.connect(before, output, Dense())
    trainer = Trainer(
        net, IntegratedVoltageCrossEntropy(output), duration=DURATION, dt=0.5, batch_size=50, seed=seed, threads=1,
        optimiser=Adam(0.04, relative=True), schedule=Cosine(epochs=EPOCHS), initial_rates=3.0, progress=False,
    )  # fmt: skip
    steps = [ShiftChannels(shift), Noise(0.1)] if shift else [Noise(0.1)]
    trainer.fit(Augmented(train, steps), epochs=EPOCHS)
    weights = sum(v.size for name, v in trainer.engine.parameters.items() if name.endswith(".weight"))
    return 100 * trainer.evaluate(test).accuracy, weights


def main() -> None:
    """Train with every seed, print and write the mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=seeds_of, default=[1])
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    parser.add_argument("--shift", type=int, default=4, help="values by which curves are moved at most, 0: not at all")
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    train, test = sets(asked.split)
    runs = [trained(train, test, seed, asked.shift) for seed in asked.seeds]
    accuracies = [accuracy for accuracy, _ in runs]
    spread = f" +- {statistics.stdev(accuracies):.2f}" if len(runs) > 1 else ""
    moved = f"moved by up to {asked.shift} values, " if asked.shift else ""
    seeds = str(len(runs))
    cells = (
        f"{moved}noise of 0.1",
        f"{runs[0][1]:,}",
        asked.split,
        seeds,
        f"{statistics.mean(accuracies):.2f}{spread}",
    )
    print(" | ".join(cells), accuracies, flush=True)
    if asked.write:
        command = f"python benchmarks/mnist_1d.py --seeds {asked.seeds[0]}-{asked.seeds[-1]} --shift {asked.shift}"
        command += f" --split {asked.split}" if asked.split != "test" else ""
        add_row(asked.write, COLUMNS, cells, command, key=3, accuracies=accuracies)


if __name__ == "__main__":
    main()
