"""Networks run on spikes that are given as an array (T, M), a row a time step."""

import numpy as np

from genn_eventprop import Events
from genn_eventprop.engines.reference.grid.engine import ReferenceClock
from genn_eventprop.losses import SquaredError
from genn_eventprop.plan import make_plan


def random_spikes(seed, steps, channels, chance=0.2):
    return (np.random.default_rng(seed).random((steps, channels)) < chance).astype(np.uint8)


def run(network, values, x, dt=1.0):
    """population -> (T + 1, N) spikes of each step, and the integral of V of the last one; reference_clock."""
    output = network.populations[-1]
    plan = make_plan(network, SquaredError(output), dt=dt, duration=len(x) * dt)
    steps, channels = np.nonzero(x)
    events = Events.from_samples([(steps * dt, channels)], x.shape[1], targets=np.zeros((1, output.size)))
    engine = ReferenceClock(plan, values)
    result = engine.run(engine.load(events), [0], record_spikes=True)
    spikes = {}
    for p in network.populations:
        if p.model.spiking:
            found, spikes[p.name] = result.spikes[p.name], np.zeros((len(x) + 1, p.size), int)
            np.add.at(spikes[p.name], (np.rint(found.time / dt).astype(int), found.neuron), 1)
    return spikes, result.readout[0]
