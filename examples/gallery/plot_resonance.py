"""
A neuron that resonates
=======================

The balanced resonate-and-fire neuron answers most to inputs of its own frequency; a leaky integrator to slow
ones.
"""

import matplotlib.pyplot as plt
import numpy as np

from genn_eventprop import Dense, Events, Network
from genn_eventprop.engines import create
from genn_eventprop.losses import FirstSpikeCrossEntropy
from genn_eventprop.models import LIF, BalancedRF
from genn_eventprop.plan import make_plan

periods = np.geomspace(4.0, 200.0, 40)  # ms between input spikes
samples = [(np.arange(1.0, 600.0, p), np.zeros(len(np.arange(1.0, 600.0, p)), int)) for p in periods]
events = Events.from_samples(samples, 1, labels=np.zeros(len(periods), int), n_classes=2)

fig, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
for model, weight in ((BalancedRF, 0.02), (LIF, 0.02)):
    net = Network()
    neuron = net.population(model(), 2, name="neuron")
    net.connect(net.input(1), neuron, Dense(weight))
    plan = make_plan(net, FirstSpikeCrossEntropy(neuron), dt=0.5, duration=601.0)
    engine = create(plan, net.initial_parameters(1), engine="reference_clock")
    x = engine.record(engine.load(events), np.arange(len(periods)), adjoint=False)["neuron"][model.readout][..., 0]
    swing = x[:, 600:].max(axis=1) - x[:, 600:].min(axis=1)
    axis.loglog(1000 / periods, swing / swing.max(), "o-", markersize=3, label=model.name)
axis.set(xlabel="input spikes per second", ylabel="swing of the state (largest 1)")
axis.legend()
plt.show()
