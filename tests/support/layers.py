"""A small network for the bridges to other libraries."""

from genn_eventprop import Dense, Network, Normal, Param
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF


def network(spiking=False, inputs=4, outputs=3):
    net = Network()
    source = net.input(inputs)
    tau = {"tau_mem": Param(12.0, "ms", trainable=True), "tau_syn": Param(4.0, "ms", trainable=True)}
    hidden = net.population(LIF(**tau), 5, name="hidden")
    output = net.population((LIF if spiking else LI)(), outputs, name="output")
    net.connect(source, hidden, Dense(Normal(1.6, 0.8)), delay=1.0)
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.4)), delay=0.5)
    net.connect(hidden, output, Dense(Normal(1.2 if spiking else 0.4, 0.6)))
    return net
