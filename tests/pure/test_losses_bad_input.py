"""What does not fit is told before anything is compiled: losses, targets, parameters, bounds, time weights."""

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Param, Trainer, losses
from genn_eventprop.engines.native import threads as native_threads
from genn_eventprop.errors import EventPropError
from genn_eventprop.losses import TimeWeight
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.optimisers import Adam


@pytest.fixture(autouse=True)
def nothing_is_compiled(monkeypatch):
    def build(source):
        raise AssertionError("it was compiled")

    monkeypatch.setattr(native_threads, "build", build)


def trainer(make=losses.IntegratedVoltageCrossEntropy, output=LI, hidden=LIF, bounds=(None, None), **settings):
    net = Network()
    h, o = net.population(hidden(), 4, name="hidden"), net.population(output(), 3, name="output")
    net.connect(net.input(5), h, Dense(Normal(0.5, 0.1), bounds=bounds))
    net.connect(h, o, Dense(0.1))
    return Trainer(net, make(o), duration=20.0, dt=1.0, spike_times="grid", engine="native", **settings)


def fit(made, targets=None, labels=(0, 1)):
    events = Events.from_samples([([1.0], [0]), ([2.0], [1])], 5, labels=list(labels), targets=targets)
    made.fit(events, epochs=1)


ERROR = losses.VoltageSquaredError
CASES = {
    "spikes of what never spikes": (
        lambda: trainer(losses.FirstSpikeCrossEntropy), "a first-spike loss needs spikes, but 'output' is made of LI"),
    "counts of what never spikes": (
        lambda: trainer(losses.SpikeCountCrossEntropy), "a spike-count loss needs spikes, but 'output'"),
    "maximum of what spikes": (
        lambda: trainer(losses.MaxVoltageCrossEntropy, LIF), "needs an output that cannot spike; 'output'"),
    "no targets": (lambda: fit(trainer(ERROR)), "compares the voltage of 'output' with targets, but the data has none"),
    "targets of the wrong shape": (
        lambda: fit(trainer(ERROR), np.zeros((2, 20, 3))), r"shape \(2, 20, 3\), but this loss needs \(2, 21, 3\)"),
    "labels beyond the outputs": (lambda: fit(trainer(), labels=(0, 7)), "label"),
    "a trainable parameter that is not there": (
        lambda: trainer(hidden=lambda: LIF(tau_B=Param(100.0, "ms", trainable=True))),
        "LIF has no parameter 'tau_B' .*known: tau_mem"),
    "settings of a parameter that is not learned": (
        lambda: trainer(optimiser=Adam(1e-3, groups={"hidden.tau_mem": {"learning_rate": 1e-2}})),
        "no parameter matches 'hidden.tau_mem'"),
    "bounds of a parameter without the start": (
        lambda: trainer(hidden=lambda: LIF(tau_mem=Param(2.0, "ms", trainable=True, bounds=(3.0, None)))),
        r"hidden.tau_mem: the initial value 2 lies outside the bounds \(3.0, None\)"),
    "bounds of an optimiser without the start": (
        lambda: trainer(optimiser=Adam(1e-3, bounds={"hidden_output.weight": (0.2, None)})),
        r"the initial values of hidden_output.weight, 0.1 to 0.1, lie outside its bounds"),
    "a weight that is not finite": (
        lambda: trainer(lambda o: losses.IntegratedVoltageCrossEntropy(o, "1 / (t - 8)")),
        r"the time weight '1 / \(t - 8\)' is not finite at t = 8 ms of 20 ms"),
    "a window beyond the trial": (
        lambda: trainer(lambda o: losses.PerStepCrossEntropy(o, TimeWeight(window=(5.0, 30.0)))),
        "window of 5 to 30 ms does not fit a trial of 20 ms"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_refused_before_anything_is_compiled(case):
    make, message = CASES[case]
    with pytest.raises(EventPropError, match=message):
        make()


def test_what_fits_is_compiled():
    with pytest.raises(AssertionError, match="it was compiled"):
        fit(trainer())
