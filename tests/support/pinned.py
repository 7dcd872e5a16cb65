"""The network whose generated text the golden files pin."""

from genn_eventprop import Dense, Network, Normal, Param, losses
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan


def golden_plan():
    """LIF recurrent with learned time constants and a delay, LI with an exponential integral: most of the generator."""
    net = Network()
    hidden = net.population(LIF(tau_mem=Param(20.0, "ms", trainable=True)), 20, name="hidden")
    output = net.population(LI(), 3, name="output")
    net.connect(net.input(5), hidden, Dense(Normal(1.0, 0.5)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.1)), delay=1.0)
    net.connect(hidden, output, Dense(Normal(0.0, 0.5)))
    return make_plan(net, losses.IntegratedVoltageCrossEntropy(output, "exponential"), dt=1.0, duration=20.0)
