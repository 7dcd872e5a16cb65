"""A training step after a change of learned parameters differentiates, simplifies and compiles nothing."""

import numpy as np
import pytest
import sympy as sp

from genn_eventprop import Dense, Events, Network, Normal, Param, losses
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.engines.native.engine import NativeEngine
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.lif_delta import LIFDelta
from genn_eventprop.models.lif_refractory import LIFRefractory
from genn_eventprop.plan import make_plan


def learned(model):
    return model(**{n: Param(p.value, p.unit, trainable=True) for n, p in model.params.items() if p.unit == "ms"})


def plan(hidden, loss, spike_times):
    net = Network()
    inp = net.input(6)
    layer = net.population(learned(hidden), 5, name="hidden")
    output = net.population(learned(LI), 3, name="output")
    net.connect(inp, layer, Dense(Normal(1.0, 1.0)))
    net.connect(layer, output, Dense(Normal(0.1, 0.2)))
    return make_plan(net, loss(output), dt=0.5, duration=20.0, spike_times=spike_times)


@pytest.mark.parametrize("loss", [losses.IntegratedVoltageCrossEntropy, losses.PerStepCrossEntropy])
@pytest.mark.parametrize(
    "engine, hidden, spike_times",
    [
        (NativeEngine, LIF, "grid"), (NativeEngine, LIF, "exact"), (NativeEngine, LIFRefractory, "grid"),
        (ReferenceClock, LIF, "grid"), (ReferenceClock, LIFDelta, "grid"), (ReferenceClock, LIFRefractory, "grid"),
    ],
)  # fmt: skip
@pytest.mark.one_in(12)
def test_no_sympy_after_the_first_step(engine, hidden, spike_times, loss, monkeypatch):
    made = plan(hidden, loss, spike_times)
    running = engine(made, made.network.initial_parameters(0))
    rng = np.random.default_rng(1)
    events = Events.from_samples(
        [(np.sort(rng.uniform(0, 19, 30)), rng.integers(0, 6, 30)) for _ in range(2)], n_channels=6, labels=[0, 1]
    )
    data = running.load(events)
    running.run(data, [0, 1], training=True)

    def refuse(*arguments, **options):
        raise AssertionError("sympy in the training loop")

    for name in ("lambdify", "simplify", "diff"):
        monkeypatch.setattr(sp, name, refuse)
    for name in ("diff", "subs", "__add__", "__sub__", "__neg__", "__mul__", "__truediv__", "__pow__"):
        monkeypatch.setattr(sp.Expr, name, refuse)
    monkeypatch.setattr(sp.Matrix, "diff", refuse)
    for k in made.trainable:
        running.parameters[k][...] *= 1.01
    before = {k: v.copy() for k, v in running.gradients.items()}
    running.run(data, [0, 1], training=True)
    assert any(not np.array_equal(before[k], running.gradients[k]) for k in before)
