"""
Delays make spikes meet
=======================

Four input spikes arrive one after the other, too late for each other. With axonal delays that undo the
differences they arrive together, and the neuron spikes.
"""

import matplotlib.pyplot as plt
import numpy as np

from genn_eventprop import Delay, Dense, Events, Network
from genn_eventprop.engines import create
from genn_eventprop.losses import FirstSpikeCrossEntropy
from genn_eventprop.models import LIF
from genn_eventprop.plan import make_plan

events = Events.from_samples([([5.0, 15.0, 25.0, 35.0], [0, 1, 2, 3])], 4, labels=[0], n_classes=2)

fig, axis = plt.subplots(figsize=(8, 3.2), layout="constrained")
for delays, label in ((np.zeros(4), "without delays"), (np.array([30.0, 20.0, 10.0, 0.0]), "30, 20, 10 and 0 ms")):
    net = Network()
    neuron = net.population(LIF(), 2, name="neuron")
    net.connect(net.input(4), neuron, Dense(2.0), delay=Delay(delays, kind="axonal"))
    plan = make_plan(net, FirstSpikeCrossEntropy(neuron), dt=0.1, duration=80.0)
    engine = create(plan, net.initial_parameters(1), engine="reference_clock")
    V = engine.record(engine.load(events), [0], adjoint=False)["neuron"]["V"][0, :, 0]
    axis.plot(0.1 * np.arange(len(V)), V, label=label)
axis.axhline(1.0, color="grey", linestyle=":")
axis.set(xlabel="time (ms)", ylabel="V")
axis.legend()
plt.show()
