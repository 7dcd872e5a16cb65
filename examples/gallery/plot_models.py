"""
Neurons of the zoo
==================

Six models under the same regular input, as the reference engine on a grid runs them. Every model is a small
file of equations in ``genn_eventprop/models/``.
"""

import matplotlib.pyplot as plt
import numpy as np

from genn_eventprop import Dense, Events, Network
from genn_eventprop.engines import create
from genn_eventprop.losses import FirstSpikeCrossEntropy
from genn_eventprop.models import ALIF, LIF, LIFAlpha, LIFDelta, LIFRefractory, SEAdLIF
from genn_eventprop.plan import make_plan

models = {LIF: 2.0, LIFAlpha: 0.8, LIFDelta: 0.3, LIFRefractory: 2.0, ALIF: 2.0, SEAdLIF: 2.0}  # model -> weight
events = Events.from_samples([(np.arange(10.0, 110.0, 4.0), np.zeros(25, int))], 1, labels=[0], n_classes=2)

fig, axes = plt.subplots(3, 2, figsize=(9, 6), sharex=True, layout="constrained")
for axis, (model, weight) in zip(axes.flat, models.items()):
    net = Network()
    neuron = net.population(model(), 2, name="neuron")
    net.connect(net.input(1), neuron, Dense(weight))
    plan = make_plan(net, FirstSpikeCrossEntropy(neuron), dt=0.1, duration=140.0)
    engine = create(plan, net.initial_parameters(1), engine="reference_clock")
    V = engine.record(engine.load(events), [0], adjoint=False)["neuron"][model.readout][0, :, 0]
    axis.plot(0.1 * np.arange(len(V)), V, linewidth=1)
    axis.set_title(model.name)
for axis in axes[-1]:
    axis.set_xlabel("time (ms)")
for axis in axes[:, 0]:
    axis.set_ylabel("V")
plt.show()
