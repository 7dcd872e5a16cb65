"""Every readout, time weight and outer loss of `native` with exact spike times against `reference_event`.

Networks are those of `test_native_exact`.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop import engines, losses
from genn_eventprop.data import Events
from genn_eventprop.losses import OwnLoss, TimeWeight
from genn_eventprop.plan import make_plan

_spec = importlib.util.spec_from_file_location("native_exact", Path(__file__).with_name("test_native_exact.py"))
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
network, spikes, distance = (getattr(_module, name) for name in ("network", "spikes", "distance"))

T = 50.0


def own(r, y):
    """A function with a gradient: 1/2 (r_0 r_1 + r_y)^2."""
    rows = np.arange(len(r))
    inner = r[:, 0] * r[:, 1] + r[rows, y]
    gradient = np.zeros_like(r)
    gradient[:, 0], gradient[:, 1] = inner * r[:, 1], inner * r[:, 0]
    gradient[rows, y] += inner
    return 0.5 * inner**2, gradient


# name -> (loss of the output population, whether that spikes, topology, kind of neurons)
LOSSES = {
    "spike times": (losses.SpikeTimeError, True, "feed-forward", "trained"),
    "spike times, missing ones count": (
        lambda o: losses.SpikeTimeError(o, silent="end"), True, "recurrent", "heterogeneous",
    ),
    "squared error of first spikes": (lambda o: losses.SquaredError(o, "first_spike"), True, "deep", "fixed"),
    "squared error of first spikes, missing ones count": (
        lambda o: losses.Loss(o, "first_spike", outer="squared_error", silent="end", score="-r"), True,
        "feed-forward", "trained",
    ),
    "squared error of the maximum": (lambda o: losses.SquaredError(o, "max"), False, "feed-forward", "trained"),
    "spike count": (lambda o: losses.SpikeCountCrossEntropy(o, gain=0.4), True, "recurrent", "trained"),
    "own formula": (
        lambda o: OwnLoss(o, "integral", "(r0 - y0)**2 + 0.1 * r1**2 * r2 + sin(r3)", "linear"), False,
        "recurrent", "trained",
    ),
    "own formula of first spikes": (
        lambda o: OwnLoss(o, "first_spike", "0.01 * (r0 - r1 * y2)**2 + 0.1 * r3", silent="end"), True,
        "feed-forward", "trained",
    ),
    "integral in a window": (
        lambda o: losses.IntegratedVoltageCrossEntropy(o, "exponential", window=(7.3, 31.1)), True, "recurrent",
        "trained",
    ),
    "integral in a window inside of a step": (
        lambda o: losses.SquaredError(o, weight=TimeWeight("1 / t", window=(10.1, 10.3))), False, "recurrent", "fixed",
    ),
    "integral in a window, heterogeneous": (
        lambda o: losses.IntegratedVoltageCrossEntropy(o, window=(20.0, 50.0)), False, "feed-forward", "heterogeneous",
    ),
    "integral, input-driven": (
        lambda o: losses.IntegratedVoltageCrossEntropy(o, TimeWeight(input_tau=3.0, input_gain=9.0)), True,
        "recurrent", "trained",
    ),
    "integral, input-driven in a window": (
        lambda o: losses.IntegratedVoltageCrossEntropy(o, TimeWeight("linear", (5.2, 40.0), 15.0, 20.0)), False,
        "deep", "heterogeneous",
    ),
    "own function": (lambda o: OwnLoss(o, "end", losses.Function(own)), False, "deep", "heterogeneous"),
}  # fmt: skip


def problem(name: str, dt: float = 1.0, seed: int = 3):
    """(network, plan, events with the targets that the loss needs, one of them missing)."""
    make, spiking, topology, kind = LOSSES[name]
    net, first = network(topology, "first" if spiking else "max", kind, 0.0)
    plan = make_plan(net, make(first.population), dt=dt, duration=T, spike_times="exact")
    events, K = spikes(), plan.loss.n_classes
    if plan.loss.compares == "labels":
        return net, plan, events
    rng, S = np.random.default_rng(seed), len(events)
    shape = {"voltage": (S, plan.n_steps + 1, K), "spike_times": (S, K, 3)}.get(plan.loss.readout, (S, K))
    targets = rng.uniform(5.0, 45.0, shape) if plan.loss.of_spikes else rng.normal(0.2, 0.3, shape)
    targets[0, 0] = np.nan
    samples = [events.sample(i) for i in range(S)]
    return net, plan, Events.from_samples(samples, events.n_channels, labels=events.labels, targets=targets)


def run(name: str, engine: str, dt: float = 1.0, dtype: str = "float64"):
    net, plan, events = problem(name, dt)
    made = engines.create(plan, net.initial_parameters(3), engine=engine, dtype=dtype, threads=1)
    result = made.run(made.load(events), np.arange(len(events)), training=True)
    gradients = {k: np.array(v, dtype=np.float64) for k, v in made.gradients.items()}
    made.close()
    return result, gradients


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_that_of_the_event_exact_reference_at_any_step(name):
    truth, gradients = run(name, "reference_event")
    assert truth.loss.std() > 0
    for dt in (0.5, 5.0):
        result, mine = run(name, "native", dt)
        np.testing.assert_allclose(result.loss, truth.loss, rtol=1e-10)
        np.testing.assert_allclose(result.readout, truth.readout, rtol=1e-9, atol=1e-12)
        assert np.array_equal(result.prediction, truth.prediction)
        assert distance(gradients, mine) < 1e-8


@pytest.mark.parametrize("name", LOSSES)
def test_float32(name):
    truth, gradients = run(name, "reference_event")
    result, mine = run(name, "native", dtype="float32")
    np.testing.assert_allclose(result.loss, truth.loss, rtol=1e-4)
    assert distance(gradients, mine) < 1e-3
