"""What delays of single synapses and sparse connections cost on native's grid, against dense weights with one delay.

    python benchmarks/connectivity.py                   # all of it, about two minutes
    python benchmarks/connectivity.py --repeats 30 --no-large
    python benchmarks/connectivity.py --exact           # exact spike times

* delays: 700 - 256 recurrent LIF - 20 LI, 1000 steps of 1 ms, batches of 32 (`shd_shape.py`), with delays of up to 60
  steps learned on the input and the recurrent connection: synaptic, axonal, dendritic.
* sparse: 1024 inputs to 1024 LIF - 20 LI, 1000 steps, 10 % of all pairs, in batches of 16 and of 1; and 0.1 %, which is
  about what the neurons and their output cost. Without that, what the connection alone costs.
* exact: 5 - 30 - 3 LIF neurons, first spikes, 5 input spikes in 60 ms (Yin-Yang), and 196 - 128 LIF - 10 LI, 150 input
  spikes, with learned delays on all or the input connection, dense and sparse; batches of 64 and 16.
* large: 10,000 inputs to 10,000 LIF - 20 LI, 100 steps, 1 % of all pairs: a million synapses; time and peak memory.

A step is forward, backward, the reduction of the gradients and Adam. Networks that are compared take turns on one
thread, and the least processor time of each counts, which holds on a busy machine too as far as caches are not shared.
"""

from __future__ import annotations

import math
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import tyro
from shd_shape import Settings as Shape
from shd_shape import peak_memory, random_events

from genn_eventprop import Delay, Dense, Events, Network, Normal, Sparse, Uniform, losses
from genn_eventprop.engines import Engine, create
from genn_eventprop.models import LI, LIF
from genn_eventprop.optimisers import Adam
from genn_eventprop.plan import Plan, make_plan


@dataclass(frozen=True)
class Settings:
    """repeats: of every training step. large: run the large network too. exact: exact spike times instead of the grid.
    dtype: float32 or float64."""

    repeats: int = 10
    large: bool = True
    exact: bool = False
    dtype: str = "float32"
    seed: int = 1


@dataclass
class Timed:
    """An engine with its data, and the least processor time of a training step in ms a sample."""

    name: str
    engine: Engine
    data: Any
    batch: int
    ms: float = math.inf
    spikes: float = 0.0

    def step(self, optimiser: Adam) -> None:
        begin = time.process_time()
        result = self.engine.run(self.data, np.arange(self.batch), training=True)
        self.engine.update(optimiser)
        self.ms = min(self.ms, (time.process_time() - begin) * 1e3 / self.batch)
        self.spikes = float(result.spike_counts["hidden"].sum()) / self.batch


def timed(name: str, plan: Plan, events: Events, batch: int, s: Settings) -> Timed:
    engine = create(plan, plan.network.initial_parameters(s.seed), engine="native", threads=1, dtype=s.dtype)  # type: ignore[attr-defined]
    return Timed(name, engine, engine.load(events), batch)


def compare(title: str, runs: list[Timed], repeats: int) -> list[str]:
    """A line for each; the first is what the others are compared with."""
    optimisers = [Adam(0.0) for _ in runs]  # a rate of 0 keeps spikes and delays as they are
    for _ in range(repeats + 1):
        for run, optimiser in zip(runs, optimisers):
            run.step(optimiser)
    least = runs[0].ms
    return [
        f"{title}, {r.name}: {r.ms:.3g} ms/sample, {r.ms / least:.2f} x {runs[0].name}, {r.spikes:.0f} hidden spikes"
        for r in runs
    ]


def delayed(kind: str | None) -> Plan:
    """SHD's shape with learned delays of a kind."""
    net = Network()
    inp, hidden = net.input(700), net.population(LIF(), 256, name="hidden")
    output = net.population(LI(), 20, name="output")
    delay = Delay(Uniform(0, 60), kind=kind, max=60.0) if kind else 0.0
    net.connect(inp, hidden, Dense(Normal(0.03, 0.015)), delay=delay)
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.02)), delay=delay)
    net.connect(hidden, output, Dense(Normal(0.0, 0.03)))
    return make_plan(net, losses.IntegratedVoltageCrossEntropy(output, "exponential"), dt=1.0, duration=1000.0)


def wide(size: int, probability: float | None, duration: float, each: int) -> Plan:
    """`size` inputs with `each` spikes to `size` neurons, of all pairs or of a share of them; input as in `delayed`."""
    net = Network()
    inp, hidden = net.input(size), net.population(LIF(), size, name="hidden")
    output = net.population(LI(), 20, name="output")
    mean = 0.24 * duration / (each * size * (probability or 1.0))
    weight = Normal(mean, mean / 2)
    net.connect(inp, hidden, Dense(weight) if probability is None else Sparse(weight, probability=probability))
    net.connect(hidden, output, Dense(Normal(0.0, 0.03)))
    return make_plan(net, losses.IntegratedVoltageCrossEntropy(output, "exponential"), dt=1.0, duration=duration)


def yin_yang(kind: str | None) -> Plan:
    """Yin-Yang's shape with learned delays of a kind on both connections."""
    net = Network()
    hidden, output = net.population(LIF(), 30, name="hidden"), net.population(LIF(), 3, name="output")
    for source, target, weight in ((net.input(5), hidden, Normal(2.0, 1.0)), (hidden, output, Normal(0.7, 0.4))):
        net.connect(source, target, Dense(weight), delay=Delay(Uniform(0, 10), kind=kind, max=30.0) if kind else 0.0)
    return make_plan(net, losses.FirstSpikeCrossEntropy(output), dt=1.0, duration=60.0, spike_times="exact")


def middle(kind: str | None, probability: float | None) -> Plan:
    net = Network()
    hidden, output = net.population(LIF(), 128, name="hidden"), net.population(LI(), 10, name="output")
    sparse = probability is not None and Sparse(Normal(1.5, 2.0), probability=probability)
    delay = Delay(Uniform(0, 10), kind=kind, max=30.0) if kind else 0.0
    net.connect(net.input(196), hidden, sparse or Dense(Normal(0.15, 0.2)), delay=delay)
    net.connect(hidden, output, Dense(Normal(0.3, 0.3)))
    return make_plan(net, losses.MaxVoltageCrossEntropy(output), dt=1.0, duration=60.0, spike_times="exact")


def exact(s: Settings) -> None:
    events, kinds = spikes(5, 1, 40.0, 64, s.seed, 3), (None, "axonal", "dendritic", "synaptic")
    runs = [timed(kind or "no delays", yin_yang(kind), events, 64, s) for kind in kinds]
    print(*compare("5-30-3", runs, s.repeats), sep="\n", flush=True)
    rng = np.random.default_rng(s.seed)
    samples = [(np.sort(rng.uniform(0, 40, 150)), rng.integers(0, 196, 150)) for _ in range(16)]
    events = Events.from_samples(samples, n_channels=196, labels=rng.integers(0, 10, 16))
    several = [(kind or "no delays", middle(kind, None)) for kind in kinds]
    several += [("10 % sparse", middle(None, 0.1)), ("10 % sparse, synaptic", middle("synaptic", 0.1))]
    print(*compare("196-128-10", [timed(n, p, events, 16, s) for n, p in several], s.repeats), sep="\n")


def spikes(size: int, each: int, duration: float, batch: int, seed: int, classes: int = 20) -> Events:
    """`each` spikes a channel on average, uniform in time."""
    rng, n = np.random.default_rng(seed), size * each
    samples = [(np.sort(rng.uniform(0, duration - 1, n)), rng.integers(0, size, n)) for _ in range(batch)]
    return Events.from_samples(samples, n_channels=size, labels=rng.integers(0, classes, batch))


def main(s: Settings) -> None:
    if s.exact:
        return exact(s)
    shape = Shape(seed=s.seed)
    events = random_events(shape)
    runs = [
        timed(kind or "no delays", delayed(kind), events, 32, s) for kind in (None, "synaptic", "axonal", "dendritic")
    ]
    print(*compare("700-256-20", runs, s.repeats), sep="\n", flush=True)
    for batch in (16, 1):
        events = spikes(1024, 10, 1000.0, batch, s.seed)
        kinds = (("dense", None), ("10 % sparse", 0.1), ("0.1 % sparse", 0.001))
        runs = [timed(name, wide(1024, p, 1000.0, 10), events, batch, s) for name, p in kinds]
        print(*compare(f"1024-1024-20, batch {batch}", runs, s.repeats), sep="\n", flush=True)
        dense, sparse, others = (run.ms for run in runs)
        print(f"the connection alone: {(sparse - others) / (dense - others):.2f} x dense", flush=True)
    if s.large:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            print(pool.submit(large, s).result())


def large(s: Settings) -> str:
    """In a process of its own, for its peak memory."""
    before = peak_memory()
    run = timed("1 % sparse", wide(10_000, 0.01, 100.0, 2), spikes(10_000, 2, 100.0, 4, s.seed), 4, s)
    (line,) = compare("10000-10000-20", [run], 2)
    return f"{line}; peak memory {peak_memory():.0f} MB, {before:.0f} MB of it Python and the packages"


if __name__ == "__main__":
    main(tyro.cli(Settings))
