"""Neurons with nonlinear dynamics, and small networks of them."""

import dataclasses
import functools

from genn_eventprop import Dense, Network, NeuronModel, Normal, Param, losses
from genn_eventprop.models.li import LI
from genn_eventprop.plan import make_plan

QIF = NeuronModel(
    name="Quadratic",
    state={"V": "v_reset", "I": 0.0},
    params={
        "tau_mem": Param(10.0, "ms"), "tau_syn": Param(5.0, "ms"), "v_peak": Param(4.0), "v_reset": Param(-0.5),
    },
    dynamics={"V": "(V * (V - 1) + I) / tau_mem", "I": "-I / tau_syn"},
    threshold="V - v_peak",
    reset={"V": "v_reset"},
    input="I",
)  # fmt: skip
ADEX = NeuronModel(
    name="AdaptiveExponential",
    state={"V": "E_L", "u": 0.0, "I": 0.0},
    params={
        "tau_mem": Param(20.0, "ms"), "tau_u": Param(50.0, "ms"), "tau_syn": Param(5.0, "ms"), "E_L": Param(0.1),
        "v_T": Param(1.0), "delta_T": Param(0.3), "a": Param(0.2), "b": Param(0.1), "v_peak": Param(2.0),
    },
    dynamics={
        "V": "(E_L - V + delta_T * exp((V - v_T) / delta_T) - u + I) / tau_mem",
        "u": "(a * (V - E_L) - u) / tau_u",
        "I": "-I / tau_syn",
    },
    threshold="V - v_peak",
    reset={"V": "E_L", "u": "u + b"},
    input="I",
    scheme="exponential_euler",
)  # fmt: skip
CONDUCTANCE = NeuronModel(
    name="Conductance",
    state={"V": 0.0, "G_up": 0.0, "G_down": 0.0},
    params={
        "tau_mem": Param(10.0, "ms"), "tau_up": Param(5.0, "ms"), "tau_down": Param(8.0, "ms"), "E_up": Param(4.0),
        "E_down": Param(-1.0), "v_thresh": Param(1.0),
    },
    dynamics={
        "V": "(-V + (E_up - V) * G_up + (E_down - V) * G_down) / tau_mem",
        "G_up": "-G_up / tau_up",
        "G_down": "-G_down / tau_down",
    },
    threshold="V - v_thresh",
    reset={"V": 0.0},
    input={"up": "G_up", "down": "G_down"},
)  # fmt: skip
EVERY_FUNCTION = NeuronModel(
    name="EveryFunction",
    state={"V": 0.0, "u": 0.2, "I": 0.0},
    params={"tau_mem": Param(10.0, "ms"), "tau_syn": Param(5.0, "ms"), "k": Param(0.5), "v_thresh": Param(1.0)},
    dynamics={
        "V": "(I - tanh(V) + k * sin(3 * V) * cos(u) + abs(u - 0.1)) / tau_mem",
        "u": "(log(2 + V * V) - sqrt(1 + u * u) + sinh(0.3 * V) - 0.1 * cosh(u) + 0.2 * tan(0.5 * V) - u) / tau_mem",
        "I": "-I / tau_syn",
    },
    threshold="V - v_thresh * exp(0.1 * u)",
    reset={"V": "0.1 * V"},
    input="I",
)


@functools.cache
def stepped_by(model, scheme):
    """The same object each time, so that its equations are derived once."""
    return dataclasses.replace(model, scheme=scheme, threshold=None, reset=None)


def build(model, mean, spread, dt=0.5, loss=losses.IntegratedVoltageCrossEntropy, duration=30.0, receptors=(None,)):
    """6 inputs, 8 recurrent neurons of `model` with everything learned, 3 outputs."""
    net = Network()
    inp = net.input(6)
    learned = {n: Param(p.value, p.unit, trainable=True, shared=n == "tau_mem") for n, p in model.params.items()}
    hidden = net.population(model(**learned), 8, name="hidden")
    output = net.population(LI(), 3, name="output")
    for receptor in receptors:
        net.connect(inp, hidden, Dense(Normal(mean, spread)), receptor=receptor, name=f"in_{receptor}")
        net.connect(hidden, hidden, Dense(Normal(0.05, spread / 3)), receptor=receptor, name=f"r_{receptor}", delay=1.0)
    net.connect(hidden, output, Dense(Normal(0.3, 0.5)))
    return make_plan(net, loss(output), dt=dt, duration=duration)
