"""
Spike times on a grid
=====================

How late spikes of a population are on a grid of dt, compared with exact spike times: half a step a layer on
average, and more once a spike is missed.
"""

import matplotlib.pyplot as plt
import numpy as np

from genn_eventprop import Dense, Events, Network, Normal
from genn_eventprop.engines import create
from genn_eventprop.losses import FirstSpikeCrossEntropy
from genn_eventprop.models import LIF
from genn_eventprop.plan import make_plan

rng = np.random.default_rng(1)
events = Events.from_samples(
    [(rng.uniform(0, 30, 40), rng.integers(0, 10, 40))], 10, labels=[0], n_classes=30, sort=True
)
net = Network()
hidden = net.population(LIF(), 100, name="hidden")
output = net.population(LIF(), 30, name="output")
net.connect(net.input(10), hidden, Dense(Normal(1.0, 0.3)))
net.connect(hidden, output, Dense(Normal(0.15, 0.03)))
values = net.initial_parameters(1)


def first_spikes(dt: float, spike_times: str, engine: str) -> np.ndarray:
    plan = make_plan(net, FirstSpikeCrossEntropy(output), dt=dt, duration=60.0, spike_times=spike_times)
    made = create(plan, values, engine=engine)
    return made.run(made.load(events), [0]).readout[0]


exact = first_spikes(1.0, "exact", "reference_event")
steps = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0]
late = np.array([first_spikes(dt, "grid", "reference_clock") - exact for dt in steps])

fig, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
axis.loglog(steps, np.abs(late), ".", color="C0", alpha=0.3)
axis.loglog(steps, np.abs(late).mean(axis=1), "o-", color="C0", label="mean")
axis.loglog(steps, steps, ":", color="grey", label="dt")
axis.set(xlabel="dt (ms)", ylabel="error of first output spikes (ms)")
axis.legend()
plt.show()
