"""`genn`: several inputs and several losses."""

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, losses
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.models import LI
from genn_eventprop.plan import make_plan
from support.engines import compare
from support.genn_harness import HarnessEngine
from support.on_genn import on_genn
from support.problems import inputs, several


class InPairs(HarnessEngine):
    """Two examples side by side."""

    batch_size = 2


class SideBySide(HarnessEngine):
    """All examples of a batch."""

    batch_size = None


KINDS = {"harness": HarnessEngine, "in pairs": InPairs, "side by side": SideBySide, "pygenn": on_genn}


@pytest.fixture(params=[pytest.param(k, marks=[pytest.mark.needs_genn] * (k == "pygenn")) for k in KINDS])
def kind(request):
    """What makes an engine of a plan and values."""
    return KINDS[request.param]


@pytest.mark.parametrize("valued", [False, True], ids=["dense", "tables and delays"])
def test_several_inputs(kind, valued):
    compare(kind, *inputs(valued))


def test_data_sets_of_several_inputs_that_grow():
    """And a channel without any spike, and an input that leads nowhere."""
    net = Network()
    audio, _, touch = net.input(3, name="audio"), net.input(2, name="nowhere"), net.input(2, name="touch")
    output = net.population(LI(), 2, name="output")
    net.connect(touch, output, Dense(Normal(0.3, 0.3)))
    net.connect(audio, output, Dense(Normal(0.3, 0.3)), delay=1.0)
    plan = make_plan(net, losses.IntegratedVoltageCrossEntropy(output), dt=0.5, duration=20.0)
    values = net.initial_parameters(1)
    engine, clock = InPairs(plan, values, dtype="float64"), ReferenceClock(plan, values)
    for n in (2, 30, 5):
        rng = np.random.default_rng(n)
        samples = [(np.sort(rng.uniform(0, 18, n)), rng.choice([0, 2, 3, 5, 6], n)) for _ in range(3)]
        events = Events.from_samples(samples, 7, labels=[0, 1, 0])
        found = [e.run(e.load(events), [2, 0, 1], training=True).loss for e in (engine, clock)]
        np.testing.assert_allclose(*found, rtol=1e-10)
        for name, gradient in clock.gradients.items():
            np.testing.assert_allclose(engine.gradients[name], gradient, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("in_python", [False, True])
def test_several_losses(kind, in_python):
    compare(kind, *several(in_python))
