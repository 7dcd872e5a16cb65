"""Functions and classes of the bridge to Brian, called with things of another kind: errors in words, of one line."""

from __future__ import annotations

import numpy as np
import pytest

from genn_eventprop import Dense, Network, Normal
from genn_eventprop.errors import EventPropError
from genn_eventprop.models import LI
from support.extras import needs
from support.wrong_values import WRONG

b2 = needs("brian2")
from brian2 import ms, mV, nA, nS  # noqa: E402

from genn_eventprop.interop.brian import (  # noqa: E402
    GammaFactor,
    MSEMetric,
    SpikeFitter,
    TraceFitter,
    from_brian,
    to_brian,
)

NAMES = {"tau": 10 * ms}
TRACES = np.ones((2, 50))
MODEL = "dv/dt = (g * (-70 * mV - v) + I) / (1 * nF) : volt\ng : siemens (constant)"


@pytest.fixture(autouse=True)
def _numpy_target():
    b2.prefs.codegen.target = "numpy"


def cells():
    return b2.NeuronGroup(2, "dv/dt = (1.2 - v) / tau : 1", threshold="v > 1", reset="v = 0", name="cells")


def network():
    net = Network()
    net.connect(net.input(2), net.population(LI(), 2, name="output"), Dense(Normal(1.0, 0.5)))
    return net


def script():
    net = network()
    return to_brian(net, net.initial_parameters(1))


def fitter(**changes):
    settings = {"model": MODEL, "input": {"I": TRACES * nA}, "output": {"v": 0 * TRACES * mV}, "dt": 0.1 * ms}
    return TraceFitter(**settings | {"n_samples": 5, "method": "exponential_euler"} | changes)


def spikes(**changes):
    settings = {"model": MODEL, "input": {"I": TRACES * nA}, "output": [[0.001], [0.002]], "dt": 0.1 * ms}
    return SpikeFitter(**settings | {"reset": "v = -70 * mV", "threshold": "v > -50 * mV"} | changes)


def read(**changes):
    return from_brian(changes.pop("what") if "what" in changes else cells(), **{"namespace": NAMES} | changes)


CALLS = {
    "from_brian": (read, ["what", "namespace", "trainable"]),
    "inputs": (lambda **c: read().inputs(**{"duration": 9.0} | c), ["duration", "samples", "seed"]),
    "to_brian": (lambda **c: to_brian(**{"network": network(), "values": {}} | c), ["network", "values", "inject"]),
    "build": (lambda **c: script().build(**c), ["dt", "method", "input"]),
    "TraceFitter": (fitter, ["model", "input", "output", "dt", "n_samples", "param_init"]),
    "SpikeFitter": (spikes, ["model", "input", "output", "dt", "n_samples", "param_init"]),
    "GammaFactor": (lambda **c: GammaFactor(**{"delta": 2 * ms} | c), ["delta", "time"]),
    "MSEMetric": (MSEMetric, ["t_start", "normalization"]),
    "fit": (lambda **c: fitter().fit(**{"g": [1 * nS, 2 * nS]} | c), ["optimizer", "metric", "n_rounds", "g"]),
    "results": (lambda **c: fitter().results(**c), ["format"]),
    "refine": (
        lambda **c: fitter().refine(**{"params": {"g": 9 * nS}, "g": [1 * nS, 20 * nS]} | c),
        ["t_start", "normalization", "g"],
    ),
    "generate": (
        lambda **c: fitter().generate(**{"params": {"g": 9 * nS}} | c),
        ["output_var", "params", "param_init"],
    ),
}

FITTING = {"fit": ("None", "huge", "half"), "refine": ("None", "half", "huge", "negative")}
"""What is right for one of the arguments, so that a fit would run."""


@pytest.mark.filterwarnings("ignore")  # of NumPy, on what it is given
@pytest.mark.parametrize("name", CALLS)
def test_things_of_another_kind_are_an_error_in_words(name):
    call, arguments = CALLS[name]
    for argument in arguments:
        for kind, make in WRONG.items():
            if kind in FITTING.get(name, ()):
                continue
            try:
                call(**{argument: make()})
            except EventPropError as error:
                assert "\n" not in str(error), f"{argument}: {kind}"
            except Exception as error:
                pytest.fail(f"{name}({argument}={kind}): {type(error).__name__}: {error}")


def test_names_are_those_of_the_script_that_calls():
    with pytest.raises(EventPropError, match="'tau' is defined nowhere"):
        from_brian(cells())
    tau = 8 * ms
    assert from_brian(cells()).values["cells.tau"].tolist() == [tau / ms]
