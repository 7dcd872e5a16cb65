"""The tasks of `peers.py` on this package: engines native and genn."""

from __future__ import annotations

from typing import Any

import numpy as np
from peer_worker import Shape, Step

from genn_eventprop import Dense, Events, Network, Normal, losses
from genn_eventprop.engines import create
from genn_eventprop.models import LI, LIF
from genn_eventprop.optimisers import Adam
from genn_eventprop.plan import make_plan


def prepare(peer: str) -> None:
    """Nothing to set: threads are an argument."""


def _events(shape: Shape) -> Events:
    dense, samples = shape.dense(), []
    for b in range(shape.batch):
        steps, channels = np.nonzero(dense[:, b])
        samples.append((steps.astype(float), channels))
    return Events.from_samples(samples, shape.inputs, shape.labels(), n_classes=max(shape.outputs, 1))


def layer(engine: str, shape: Shape) -> Step:
    """Linear + LIF, forward and backward of the spike counts, every neuron a class."""
    net = Network()
    output = net.population(LIF(), shape.hidden, name="output")
    spread = 1.0 / np.sqrt(shape.inputs)
    net.connect(net.input(shape.inputs), output, Dense(Normal(0.05, spread)))
    loss = losses.SpikeCountCrossEntropy(output)
    return _trained(engine, net, loss, shape, None)


def shd(engine: str, shape: Shape) -> Step:
    """Recurrent LIF layer and leaky integrators, exponentially weighted readout, Adam."""
    net = Network()
    inp, hidden = net.input(shape.inputs), net.population(LIF(), shape.hidden, name="hidden")
    output = net.population(LI(), shape.outputs, name="output")
    net.connect(inp, hidden, Dense(Normal(0.03, 0.015)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.02)))
    net.connect(hidden, output, Dense(Normal(0.0, 0.03)))
    loss = losses.IntegratedVoltageCrossEntropy(output, "exponential")
    return _trained(engine, net, loss, shape, Adam(0.0))


def _trained(engine: str, net: Network, loss: Any, shape: Shape, optimiser: Adam | None) -> Step:
    plan = make_plan(net, loss, dt=1.0, duration=float(shape.steps), spike_times="grid")
    made = create(
        plan, net.initial_parameters(shape.seed), engine=engine, **({"threads": 1} if engine == "native" else {})
    )
    data, samples = made.load(_events(shape)), np.arange(shape.batch)

    def step() -> None:
        made.run(data, samples, training=True)
        if optimiser is not None:
            made.update(optimiser)

    return step


def yin_yang(engine: str, shape: Shape) -> Step:
    """5 - 200 - 3, exact spike times, Adam; the network of `yin_yang_speed.py`."""
    from yin_yang_speed import native_step

    return native_step("exact", 1.0, shape.batch, threads=1)[0]


TASKS = {
    (engine, task): (lambda shape, make=make, engine=engine: make(engine, shape))
    for engine in ("native", "genn")
    for task, make in (("layer", layer), ("shd", shd), ("yin-yang", yin_yang))
}
