"""Draws docs/figures/delays.png, kernels.png and sparse.png, and writes docs/numbers/delay_gradients.json.

python docs/figures/connectivity.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from genn_eventprop import Conv2D, Delay, Dense, Events, FanIn, Network, Normal, Sparse, Trainer, Uniform, losses
from genn_eventprop.engines import create
from genn_eventprop.modelling import Synapses
from genn_eventprop.models import LI, LIF
from genn_eventprop.optimisers import Adam
from genn_eventprop.plan import make_plan
from genn_eventprop.report import plots

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "benchmarks"))
from result_file import add_row  # noqa: E402

CHANNELS, DURATION = 8, 40.0


def order_of_channels(n: int, seed: int) -> Events:
    """Channels spike one after the other, every 2 ms: upwards (class 0) or downwards (1). Only times tell."""
    rng = np.random.default_rng(seed)
    labels, samples = rng.integers(0, 2, n), []
    for label in labels:
        times = 2.0 * np.arange(CHANNELS) + rng.uniform(0, 4) + rng.normal(0, 0.3, CHANNELS)
        channels = np.arange(CHANNELS) if label == 0 else np.arange(CHANNELS)[::-1]
        order = np.argsort(np.abs(times))
        samples.append((np.abs(times)[order], channels[order]))
    return Events.from_samples(samples, n_channels=CHANNELS, labels=labels)


def network(kind: str = "synaptic", trainable: bool = True) -> tuple[Network, losses.Loss]:
    net = Network()
    inp, hidden, output = net.input(CHANNELS), net.population(LIF(), 10, "hidden"), net.population(LI(), 2, "output")
    delay = Delay(Uniform(0.0, 15.0), kind=kind, trainable=trainable, max=20.0)
    net.connect(inp, hidden, Dense(Normal(1.4, 0.3)), delay=delay)
    net.connect(hidden, output, Dense(Normal(0.0, 0.5)))
    return net, losses.IntegratedVoltageCrossEntropy(output)


def distance_from_exact() -> None:
    """Of the gradients of delays on the grid: relative error, and cosine with the exact one."""
    data, every = order_of_channels(16, 3), np.arange(16)
    net, loss = network()
    values = net.initial_parameters(2)
    exact = create(
        make_plan(net, loss, dt=1.0, duration=DURATION, spike_times="exact"), values, engine="reference_event"
    )
    exact.run(exact.load(data), every, training=True)
    columns = ("dt (ms)", "delays: cosine", "relative error", "weights: cosine", "relative error")
    for dt in (1.0, 0.5, 0.1):
        grid = create(make_plan(net, loss, dt=dt, duration=DURATION), values, engine="c99", dtype="float64")
        grid.run(grid.load(data), every, training=True)
        row = [f"{dt:g}"]
        for name in ("input_hidden.delay", "input_hidden.weight"):
            a, b = (np.asarray(e.gradients[name]).ravel() for e in (grid, exact))
            cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            row += [f"{cosine:.3f}", f"{np.linalg.norm(a - b) / np.linalg.norm(b):.3f}"]
        add_row(HERE.parent / "numbers" / "delay_gradients.json", columns, row, "python docs/figures/connectivity.py")


def learned_delays() -> None:
    """The same network with weights alone, and with delays of every kind."""
    train, test = order_of_channels(200, 0), order_of_channels(200, 1)
    print("| learned | test accuracy |\n|---|---|")
    for kind in ("weights alone", "axonal", "dendritic", "synaptic"):
        net, loss = network("synaptic" if kind == "weights alone" else kind, kind != "weights alone")
        groups = None if kind == "weights alone" else {"*.delay": {"learning_rate": 0.2}}
        how = {"optimiser": Adam(5e-3, groups=groups), "seed": 1, "progress": False, "engine": "c99"}
        trainer = Trainer(net, loss, duration=DURATION, dt=0.5, **how)
        first = np.array(trainer.engine.parameters["input_hidden.delay"])
        accuracy = trainer.fit(train, None, test, epochs=15)["final_test_accuracy"]
        print(f"| {'weights' if groups is None else f'weights and {kind} delays'} | {100 * accuracy:.1f} % |")
        now = np.array(trainer.engine.parameters["input_hidden.delay"])
    name = "input to hidden"
    plots.save(plots.delays({name: now}, {name: first}, {name: 20.0}), HERE / "delays.png")


def pictures() -> None:
    """Kernels of a convolution that learned to tell bars, and a sparse connection."""
    rng = np.random.default_rng(0)
    samples, labels = [], rng.integers(0, 2, 200)
    for label in labels:
        where, row = np.stack(np.meshgrid(np.arange(8), np.arange(8), indexing="ij")), rng.integers(0, 8)
        pixels = np.flatnonzero((where[label] == row).ravel())
        times = np.sort(rng.uniform(0, 10, len(pixels)))
        samples.append((times, rng.permutation(pixels)))
    data, net = Events.from_samples(samples, n_channels=64, labels=labels), Network()
    image, conv = net.input(shape=(8, 8, 1)), Conv2D(FanIn(6.0, 9.0), 3, 8)
    features = net.population(LIF(), name="features", shape=conv.output_shape(image.shape))
    output = net.population(LI(), 2, "output")
    net.connect(image, features, conv)
    net.connect(features, output, Dense(Normal(0.0, 0.1)))
    loss = losses.IntegratedVoltageCrossEntropy(output)
    how = {"optimiser": Adam(0.05), "progress": False, "engine": "c99"}
    trainer = Trainer(net, loss, duration=DURATION, dt=1.0, **how)
    trainer.fit(data, epochs=10)
    plots.save(plots.kernels(np.array(trainer.engine.parameters["input_features.weight"])), HERE / "kernels.png")
    net = Network()
    target = net.population(LIF(), 30, "hidden")
    net.connect(net.input(20), target, Sparse(Normal(0.0, 1.0), probability=0.1))
    values = net.initial_parameters(0)
    table = Synapses.of_pairs(values["input_hidden.pairs"], 20, 30)
    plots.save(plots.connectivity(table, values["input_hidden.weight"]), HERE / "sparse.png")


if __name__ == "__main__":
    distance_from_exact()
    learned_delays()
    pictures()
