"""Arrivals that add an amount which depends on learned parameters: on every engine, and against differences."""

import numpy as np
import pytest

from genn_eventprop import Delay, Dense, Events, Network, NeuronModel, Normal, Param, Sparse, Uniform, losses
from genn_eventprop.models import LI
from genn_eventprop.plan import make_plan
from genn_eventprop.verify.gradients.compare import check_network
from support.clocked import random_events
from support.engines import Native, compare

SIZED = NeuronModel(
    name="Sized", state={"V": 0.0, "I": 0.0, "u": 0.0},
    params={
        "tau": Param(5.0, "ms", trainable=True), "size": Param(1.2, trainable=True), "gain": Param(0.3, trainable=True)
    },
    dynamics={"V": "(I - V - u) / tau", "I": "-I / tau", "u": "-u / 20"}, threshold="V - 1", reset={"V": 0.0},
    input={"current": {"I": "size", "u": "size * gain"}, "delta": {"V": "gain"}},
)  # fmt: skip


def network(delta=True, channels=7, size=9):
    net = Network()
    inp, hidden, out = net.input(channels), net.population(SIZED(), size, "hidden"), net.population(LI(), 3, "output")
    late = Delay(Uniform(0.5, 3.0), kind="synaptic", trainable=True, max=4.0)
    net.connect(inp, hidden, Dense(Normal(1.5, 0.6)), receptor="current")
    net.connect(hidden, hidden, Sparse(Normal(0.3, 0.5), probability=0.5), receptor="current", delay=late, name="late")
    if delta:
        net.connect(hidden, hidden, Dense(Normal(0.1, 0.5)), receptor="delta", delay=1.0, name="delta")
    net.connect(hidden, out, Dense(Normal(0.3, 0.4)))
    return net, losses.IntegratedVoltageCrossEntropy(out)


@pytest.mark.one_in(4)
def test_engines_agree(engine):
    plan = make_plan(*network(), dt=0.5, duration=40.0)
    compare(engine, plan, random_events(plan, 5))


def test_in_segments_of_the_trajectory():
    """A neuron that is not linear, whose states of the forward pass are computed again."""
    net = Network()
    bent = NeuronModel(
        name="Bent", state={"V": 0.0, "I": 0.0}, params={"size": Param(1.2, trainable=True)},
        dynamics={"V": "(I - sinh(V)) / 5", "I": "-I / 5"}, threshold="V - 0.8", reset={"V": 0.0},
        input={"input": {"I": "size"}},
    )  # fmt: skip
    hidden, out = net.population(bent(), 9, "hidden"), net.population(LI(), 3, "output")
    net.connect(net.input(7), hidden, Dense(Normal(1.5, 0.6)))
    net.connect(hidden, out, Dense(Normal(0.3, 0.4)))
    plan = make_plan(net, losses.MaxVoltageCrossEntropy(out), dt=0.5, duration=40.0)
    made, *_ = compare(Native, plan, random_events(plan, 5), trajectory_limit=1e-3)
    assert any("kept in segments" in remark for remark in made.remarks)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("how", [{"dt": 1.0}, {"spike_times": "exact"}], ids=["grid", "exact"])
def test_gradients_are_those_of_differences(how):
    rng = np.random.default_rng(0)
    net, loss = network(delta=False, channels=3, size=3)
    samples = [(np.sort(rng.uniform(0, 28, 20)), rng.integers(0, 3, 20)) for _ in range(2)]
    events = Events.from_samples(samples, 3, labels=[0, 2], n_classes=3)
    report = check_network(net, loss, events=events, duration=30.0, engine="native", **how)
    assert report.passed, report.text()
    assert {"hidden.size", "hidden.gain"} <= {b.name for b in report.cases[0].blocks}
