"""Trajectories in segments: less memory, the trial is run twice, the gradients are the same."""

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Param, losses
from genn_eventprop.engines.native.engine import NativeEngine, segments
from genn_eventprop.errors import EngineError
from genn_eventprop.models import ZOO
from genn_eventprop.plan import make_plan

KIB = 1 / 1024
CASES = {
    "learned": ("LIF", 1.0, {}),
    "nonlinear": ("QIF", 2.0, {"noise": 0.05}),
    "modes": ("LIFRefractory", 1.5, {"dropout": 0.3, "dropped_reset": True}),
}


def network(model, scale, stochastic, duration=50.5, learned=True):
    net = Network()
    inp = net.input(6)
    tau = {"tau_mem": Param(20.0, "ms", trainable=learned), "tau_syn": Param(5.0, "ms", trainable=learned)}
    hidden = net.population(ZOO[model](**tau), 21, "hidden", **stochastic)
    out = net.population(ZOO["LI"](**tau), 3, "output")
    net.connect(inp, hidden, Dense(Normal(scale, 0.5 * scale)), delay=1.5)
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.3 * scale)), delay=1.0)
    net.connect(hidden, out, Dense(Normal(0.2, 0.4)))
    return make_plan(net, losses.IntegratedVoltageCrossEntropy(out, "exponential"), dt=0.5, duration=duration)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_gradients_are_the_same(case):
    plan = network(*case)
    rng = np.random.default_rng(1)
    samples = [(np.sort(rng.uniform(0, 50, 60)), rng.integers(0, 6, 60)) for _ in range(5)]
    events = Events.from_samples(samples, 6, labels=rng.integers(0, 3, 5))
    found = []
    for limit in (256.0, 30 * KIB):
        engine = NativeEngine(plan, plan.network.initial_parameters(2), dtype="float64", trajectory_limit=limit)
        result = engine.run(engine.load(events), np.arange(5), training=True)
        found.append((engine, result, {k: v.copy() for k, v in engine.gradients.items()}))
    (whole, want, gradients), (parts, got, others) = found
    assert (whole.segment, parts.segment) == (101, 11) and parts.trajectory < 0.25 * whole.trajectory
    assert parts.remarks == ["trajectories are kept in segments of 11 steps and run twice"] and not whole.remarks
    assert np.array_equal(want.loss, got.loss) and want.spike_counts["hidden"].sum() > 100
    for key, gradient in gradients.items():
        assert gradient.any()
        np.testing.assert_allclose(others[key], gradient, rtol=1e-11, atol=1e-13 * np.abs(gradient).max(), err_msg=key)


def test_what_needs_no_trajectory_has_none():
    assert segments(network("LIF", 1.0, {}, learned=False), 4, 256.0) == (101, 0.0)
    rows = 2 * 32 + 2 * 16  # V and I of populations padded to whole cache lines
    assert segments(network("LIF", 1.0, {}), 4, 256.0) == (101, 101 * rows * 4 / 2**20)
    with pytest.raises(EngineError, match="trajectory_limit=0: must be a positive number, in MiB per thread"):
        segments(network("LIF", 1.0, {}), 4, 0)
