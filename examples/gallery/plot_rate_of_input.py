"""
Spikes against input
====================

How many spikes a neuron sends in 500 ms, over the rate of its input: with a refractory period the rate
saturates, with adaptation it grows more slowly.
"""

import matplotlib.pyplot as plt
import numpy as np

from genn_eventprop import Dense, Events, Network
from genn_eventprop.engines import create
from genn_eventprop.losses import FirstSpikeCrossEntropy
from genn_eventprop.models import ALIF, LIF, LIFRefractory
from genn_eventprop.plan import make_plan

rng = np.random.default_rng(1)
rates = np.arange(0.2, 4.1, 0.2)  # input spikes per ms
samples = [(np.sort(rng.uniform(0, 500, int(500 * r))), np.zeros(int(500 * r), int)) for r in rates]
events = Events.from_samples(samples, 1, labels=np.zeros(len(rates), int), n_classes=2)

fig, axis = plt.subplots(figsize=(7, 4), layout="constrained")
for model in (LIF, LIFRefractory, ALIF):
    net = Network()
    neuron = net.population(model(), 2, name="neuron")
    net.connect(net.input(1), neuron, Dense(0.5))
    plan = make_plan(net, FirstSpikeCrossEntropy(neuron), dt=0.5, duration=501.0)
    engine = create(plan, net.initial_parameters(1), engine="reference_clock")
    counts = engine.run(engine.load(events), np.arange(len(rates))).spike_counts["neuron"][:, 0]
    axis.plot(rates, counts, "o-", markersize=3, label=model.name)
axis.set(xlabel="input spikes per ms (weight 0.5)", ylabel="spikes in 500 ms")
axis.legend()
plt.show()
