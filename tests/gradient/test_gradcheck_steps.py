"""The steps of gradcheck's differences: of the size of a number, however small, and wide enough where it has none."""

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, NeuronModel, Param, losses
from genn_eventprop.models.lif import LIF
from genn_eventprop.verify.gradients import check_network

SLOW = NeuronModel(
    name="SlowBurster",
    state={"x": -1.6, "y": -11.8, "z": 0.0},
    params={"r": Param(0.001, "1/ms", trainable=True), "drive": Param(2.0), "x_1": Param(-1.6)},
    dynamics={
        "x": "(y - x**3 + 3 * x**2 + drive - z)", "y": "(1 - 5 * x**2 - y)", "z": "r * (4 * (x - x_1) - z)",
    },
    readout="x",
    input="x",
)  # fmt: skip

SI = NeuronModel(  # volts, amperes, farads and siemens as plain numbers
    name="LIFinSI",
    state={"V": 0.0, "I": 0.0},
    params={
        "C": Param(2e-10, trainable=True), "g": Param(1e-8, trainable=True), "tau_syn": Param(5.0, "ms"),
        "v_thresh": Param(0.02),
    },
    dynamics={"V": "0.001 * (I - g * V) / C", "I": "-I / tau_syn"},
    threshold="V - v_thresh",
    reset={"V": "0"},
    input="I",
)  # fmt: skip


def network(model, weight):
    """(network, its output, input of two samples)."""
    net = Network()
    inp, out = net.input(3), net.population(model, 2, name="output")
    net.connect(inp, out, Dense(weight=weight))
    rng = np.random.default_rng(1)
    samples = [(np.sort(rng.uniform(1.0, 20.0, 12)), np.arange(12) % 3) for _ in range(2)]
    return net, out, samples


def of_spikes(model, weight, **more):
    net, out, samples = network(model, weight)
    events = Events.from_samples(samples, 3, labels=[0, 1])
    return check_network(net, losses.FirstSpikeCrossEntropy(out), events=events, duration=40.0, **more)


def block(report, name):
    return next(b for b in report.cases[0].blocks if b.name == name)


@pytest.mark.ci
def test_a_slow_variable_has_a_rate_that_is_small():
    """Over 200 ms of bursts a step of 1e-4 of a rate of 0.001 is far beyond what is linear."""
    net, out, samples = network(SLOW, 0.01)
    events = Events.from_samples(samples, 3, targets=np.zeros((2, 2)))
    report = check_network(net, losses.SquaredError(out), events=events, duration=200.0, engine="native")
    assert block(report, "output.r").right(1e-6), report.text()


@pytest.mark.one_in(2)
@pytest.mark.parametrize("engine", ["native", "reference_event"])
def test_parameters_in_units_that_make_them_tiny(engine):
    """A capacitance of 2e-10: steps of its own size, or it would be negative."""
    report = of_spikes(SI, np.random.default_rng(2).uniform(1e-10, 9e-10, (3, 2)), engine=engine)
    assert report.passed, report.text()


@pytest.mark.one_in(4)
@pytest.mark.parametrize("more", [{}, {"engine": "native", "dt": 0.5}], ids=["exact", "grid"])
@pytest.mark.parametrize("size", [0.0, 1e-13])
def test_numbers_too_small_to_matter_have_steps_that_do(size, more):
    model = LIF(v_reset=Param(size, trainable=True))
    report = of_spikes(model, np.random.default_rng(3).uniform(3.0, 6.0, (3, 2)), **more)
    assert report.passed, report.text()
    assert np.abs(block(report, "output.v_reset").difference).max() > 0
