"""
Excitation and inhibition
=========================

A neuron with two receptors of different time constants, put together from a neuron and two synapse models.
"""

import matplotlib.pyplot as plt
import numpy as np

from genn_eventprop import Dense, Events, Network, NeuronModel, Param, SynapseModel
from genn_eventprop.engines import create
from genn_eventprop.losses import FirstSpikeCrossEntropy
from genn_eventprop.plan import make_plan


def synapse(tau: float) -> SynapseModel:
    return SynapseModel(
        name="exponential",
        state={"x": 0.0},
        params={"tau": Param(tau, "ms")},
        dynamics={"x": "-x / tau"},
        input="x",
        current="x",
    )


plain = NeuronModel(
    name="plain",
    state={"V": 0.0},
    params={"tau_mem": Param(20.0, "ms"), "I": Param(0.0)},
    dynamics={"V": "(I - V) / tau_mem"},
    threshold="V - 1",
    reset={"V": "0"},
)
model = plain.with_synapses("I", fast=synapse(3.0), slow=synapse(15.0))

net = Network()
excite, inhibit = net.input(1, name="excite"), net.input(1, name="inhibit")
neuron = net.population(model(), 2, name="neuron")
net.connect(excite, neuron, Dense(2.5), receptor="fast")
net.connect(inhibit, neuron, Dense([[-1.0, 0.0]]), receptor="slow")
times = np.arange(5.0, 100.0, 4.0)
channels = np.zeros(len(times), int)
late = np.array([40.0, 50.0])
events = Events.from_samples(
    [(np.concatenate([times, late]), np.concatenate([channels, [1, 1]]))], 2, labels=[0], n_classes=2, sort=True
)
plan = make_plan(net, FirstSpikeCrossEntropy(neuron), dt=0.1, duration=120.0)
engine = create(plan, net.initial_parameters(1), engine="reference_clock")
V = engine.record(engine.load(events), [0], adjoint=False)["neuron"]["V"][0]

fig, axis = plt.subplots(figsize=(8, 3.2), layout="constrained")
axis.plot(0.1 * np.arange(len(V)), V[:, 1], label="excited")
axis.plot(0.1 * np.arange(len(V)), V[:, 0], label="excited, inhibited at 40 and 50 ms")
axis.vlines(late, -0.3, -0.2, color="C1")
axis.set(xlabel="time (ms)", ylabel="V", ylim=(-0.3, 1.5))
axis.legend(loc="upper right")
plt.show()
