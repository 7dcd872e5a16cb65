"""The networks whose generated text the golden files pin."""

from genn_eventprop import Dense, Network, Normal, Param, losses
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from support.eventful import DELTA, REFRACTORY


def golden_plan():
    """LIF recurrent with learned time constants and a delay, LI with an exponential integral: most of the generator."""
    net = Network()
    hidden = net.population(LIF(tau_mem=Param(20.0, "ms", trainable=True)), 20, name="hidden")
    output = net.population(LI(), 3, name="output")
    net.connect(net.input(5), hidden, Dense(Normal(1.0, 0.5)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.1)), delay=1.0)
    net.connect(hidden, output, Dense(Normal(0.0, 0.5)))
    return make_plan(net, losses.IntegratedVoltageCrossEntropy(output, "exponential"), dt=1.0, duration=20.0)


def small_plan(hidden_model, spike_times="grid"):
    """5 - 20 - 3 LI, nothing learned but the weights: what the hidden neurons need."""
    net = Network()
    hidden, output = net.population(hidden_model, 20, name="hidden"), net.population(LI(), 3, name="output")
    net.connect(net.input(5), hidden, Dense(Normal(1.0, 0.5)))
    net.connect(hidden, output, Dense(Normal(0.0, 0.5)))
    return make_plan(net, losses.MaxVoltageCrossEntropy(output), dt=1.0, duration=20.0, spike_times=spike_times)


PINNED = {
    "lif_recurrent": golden_plan,
    "exact": lambda: small_plan(LIF(), "exact"),
    "modes": lambda: small_plan(REFRACTORY()),
    "delta_events": lambda: small_plan(DELTA()),
}
