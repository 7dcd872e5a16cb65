"""What convolutions cost on native: Conv4, and how time and memory grow with channels, kernel, image and spikes.

    python benchmarks/conv_rows.py                      # Conv4, by rows and by tables of synapses
    python benchmarks/conv_rows.py --numbers docs/numbers/convolutions.json
    python benchmarks/conv_rows.py --growth     # single convolutions, too
    python benchmarks/conv_rows.py --spike-times exact --layers 1 --image 28

Conv4: an image of 84 x 84 x 3 with a spike in every input, four convolutions of 64 channels (kernel 3, stride 2,
padding 1) and 10 LI outputs, 100 steps of 1 ms. Weights are drawn such that hidden neurons spike up to `rate` times.

A step is forward, backward, the reduction of the gradients and Adam, on one thread; the least processor time of several
counts, which holds on a busy machine too as far as caches are not shared. A synapse-spike is a synapse of a convolution
behind a spike. Every network runs in a process of its own; memory is its growth up to its peak after the packages were
imported.
"""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from result_file import add_row
from shd_shape import peak_memory

from genn_eventprop import Conv2D, Dense, Events, FanIn, Network, losses
from genn_eventprop.engines import create
from genn_eventprop.modelling import Input, Population
from genn_eventprop.models import LI, LIF
from genn_eventprop.optimisers import Adam
from genn_eventprop.plan import Plan, make_plan


@dataclass(frozen=True)
class Settings:
    """A network of convolutions.

    Args:
        layers: Convolutions one after the other.
        rate: Spikes of a hidden neuron that the weights aim at; those at the border have fewer.
        batch: Samples a step.
        tables: Run the same networks with tables of synapses, too.
        growth: One layer by channels, kernel, image and spikes, too.
        numbers: The result file for the rows.
    """

    layers: int = 4
    channels: int = 64
    kernel: int = 3
    stride: int = 2
    image: int = 84
    colours: int = 3
    steps: int = 100
    rate: float = 6.0
    batch: int = 2
    repeats: int = 4
    dtype: str = "float32"
    spike_times: Literal["grid", "exact"] = "grid"
    tables: bool = True
    growth: bool = False
    seed: int = 1
    numbers: Path | None = None


def network(s: Settings) -> tuple[Network, Population]:
    """The network and its output."""
    net = Network()
    source: Input | Population = net.input(shape=(s.image, s.image, s.colours))
    rate = 1.0  # of a source
    for k in range(s.layers):
        # in an even drive V reaches v, and a neuron spikes every 20 ln(v / (v - 1)) ms
        v = 1 / (1 - math.exp(-s.steps / s.rate / 20))
        mean = v * s.steps / (5 * rate)
        fan_in = s.kernel**2 * source.shape[2]
        conv = Conv2D(
            FanIn(0.5 * mean / math.sqrt(fan_in), mean), s.kernel, s.channels, stride=s.stride, padding=s.kernel // 2
        )
        layer = net.population(LIF(), name=f"conv{k}", shape=conv.output_shape(source.shape))
        net.connect(source, layer, conv)
        source, rate = layer, s.rate
    output = net.population(LI(), 10, name="output")
    net.connect(source, output, Dense(FanIn(1.0)))
    return net, output


def as_tables(plan: Plan) -> Plan:
    """The same plan with a table of synapses for every convolution."""
    listed = (
        replace(c, form="synapses", windows=None, table=c.windows.synapses()) if c.windows else c
        for c in plan.connections
    )
    return replace(plan, connections=tuple(listed))


def measured(s: Settings, table: bool) -> list[str]:
    """The cells of one network."""
    before = peak_memory()
    net, output = network(s)
    duration, size, rng = float(s.steps), net.inputs[0].size, np.random.default_rng(s.seed)
    samples = [(np.sort(rng.uniform(0, duration - 1, size)), rng.permutation(size)) for _ in range(s.batch)]
    events = Events.from_samples(samples, n_channels=size, labels=rng.integers(0, 10, s.batch))
    loss = losses.IntegratedVoltageCrossEntropy(output)
    plan = make_plan(net, loss, dt=1.0, duration=duration, spike_times=s.spike_times)
    plan = as_tables(plan) if table else plan
    engine = create(plan, net.initial_parameters(s.seed), engine="native", threads=1, dtype=s.dtype)
    data, optimiser, least = engine.load(events), Adam(0.0), math.inf
    for _ in range(s.repeats):
        begin = time.process_time()
        result = engine.run(data, np.arange(s.batch), training=True)
        engine.update(optimiser)
        least = min(least, (time.process_time() - begin) * 1e3 / s.batch)
    spikes = {k: float(v.sum()) / s.batch for k, v in result.spike_counts.items()}
    sent = [float(size), *spikes.values()]
    behind = sum(n * c.synapses / c.pre for n, c in zip(sent, plan.connections[:-1]))
    each = ", ".join(f"{spikes[p.name] / p.size:.1f}" for p in net.populations[:-1])
    numbers = [f"{x:.2f}" for x in (behind / 1e6, least, least * 1e6 / behind)] + [f"{peak_memory() - before:.0f}"]
    shape = (
        f"{s.image} x {s.image} x {s.colours}, {s.layers} x {s.channels} channels, kernel {s.kernel}, stride {s.stride}"
    )
    return [shape, "table" if table else "rows", each, *numbers]


def every(s: Settings) -> Iterator[tuple[Settings, bool]]:
    """What is measured, by rows or by a table."""
    yield s, False
    if s.tables:
        yield s, True
    if s.growth:
        one = replace(s, layers=1, colours=16, stride=1, image=28)
        shapes = [replace(one, channels=n) for n in (8, 16, 32, 64, 128, 256)]
        shapes += [replace(one, kernel=n) for n in (1, 5, 7)] + [replace(one, image=n) for n in (14, 56)]
        yield from ((shape, False) for shape in shapes)


HEADS = (
    "network", "synapses", "spikes a neuron", "million synapse-spikes", "ms a sample", "ns a synapse-spike", "MB",
)  # fmt: skip


def main(s: Settings) -> None:
    print(*HEADS, sep=" | ", flush=True)
    for one, table in every(s):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            cells = pool.submit(measured, one, table).result()
        print(*cells, sep=" | ", flush=True)
        if s.numbers is not None:
            add_row(s.numbers, HEADS, cells, "python benchmarks/conv_rows.py", key=2)


if __name__ == "__main__":
    main(tyro.cli(Settings))
