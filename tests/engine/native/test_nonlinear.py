"""Nonlinear dynamics on the grid: `native` equals `reference_clock`, and the step's adjoint is its exact transpose."""

import dataclasses

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Param, losses
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.engines.native.engine import NativeEngine
from genn_eventprop.plan import make_plan
from support.nonlinear import ADEX, QIF, build


def random_events(plan, n_samples=3, spikes=30, seed=3):
    rng = np.random.default_rng(seed)
    samples = [
        (np.sort(rng.uniform(0, plan.duration - 1, spikes)), rng.integers(0, plan.input.size, spikes))
        for _ in range(n_samples)
    ]
    return Events.from_samples(samples, n_channels=plan.input.size, labels=rng.integers(0, 3, n_samples))


def relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def check_same(plan, tolerance=1e-9, dtype="float64"):
    events, values = random_events(plan), plan.network.initial_parameters(1)
    clock, native = ReferenceClock(plan, values), NativeEngine(plan, values, dtype=dtype, threads=1)
    every = np.arange(len(events))
    want = clock.run(clock.load(events), every, training=True, record_spikes=True)
    got = native.run(native.load(events), every, training=True, record_spikes=True)
    native.close()
    assert want.spike_counts["hidden"].sum() > 20
    np.testing.assert_array_equal(got.spikes["hidden"].time, want.spikes["hidden"].time)
    np.testing.assert_array_equal(got.spikes["hidden"].neuron, want.spikes["hidden"].neuron)
    np.testing.assert_allclose(got.loss, want.loss, rtol=tolerance)
    assert got.guarded == want.guarded
    for key, gradient in clock.gradients.items():
        assert gradient.any(), f"the gradient of {key} is zero: the comparison would be empty"
        assert relative(native.gradients[key], gradient) < tolerance, key


@pytest.mark.parametrize("loss", [losses.MaxVoltageCrossEntropy])
def test_float32_agrees_to_its_precision(loss):
    check_same(build(ADEX, 1.5, 1.0, loss=loss), tolerance=1e-4, dtype="float32")


@pytest.mark.parametrize("scheme", ["rk4", "exponential_euler"])
def test_the_adjoint_is_the_transpose_of_the_step(scheme):
    """Without spikes the grid's loss has a derivative: every gradient equals differences of the same engine."""
    model = dataclasses.replace(ADEX, scheme=scheme, threshold=None, reset=None, events=())
    net = Network()
    inp = net.input(4)
    learned = {n: Param(p.value, p.unit, trainable=True) for n, p in model.params.items() if n not in ("b", "v_peak")}
    output = net.population(model(**learned), 3, name="output")
    net.connect(inp, output, Dense(Normal(0.1, 0.2)))
    plan = make_plan(net, losses.MaxVoltageCrossEntropy(output), dt=0.5, duration=15.0)
    rng = np.random.default_rng(0)
    events = Events.from_samples(
        [(np.sort(rng.uniform(0, 13, 12)), rng.integers(0, 4, 12))], n_channels=4, labels=[1]
    )  # fmt: skip
    values = net.initial_parameters(2)
    values = {k: v * (1.0 + 0.05 * rng.standard_normal(v.shape)) for k, v in values.items()}
    native = NativeEngine(plan, values, dtype="float64", threads=1)
    data = native.load(events)
    native.run(data, [0], training=True)
    gradients = {k: g.copy() for k, g in native.gradients.items()}
    for key, gradient in gradients.items():
        live, numeric = native.parameters[key], np.zeros(gradient.shape)
        for at in np.ndindex(*gradient.shape):
            start, ends = live[at], []
            h = 1e-3 * max(abs(start), 0.1)
            for step in (h, -h, 2 * h, -2 * h):
                live[at] = start + step
                ends.append(native.run(data, [0]).loss[0])
            live[at] = start
            numeric[at] = (8 * (ends[0] - ends[1]) - (ends[2] - ends[3])) / (12 * h)
        assert np.any(gradient), key
        assert relative(gradient, numeric) < 1e-7, key
    native.close()


def test_gradients_converge_as_dt_falls():
    """Halving dt brings losses and gradients together; the differences fall."""
    events, last, changes = None, None, []
    for dt in (0.4, 0.1, 0.025):
        plan = build(QIF, 1.5, 1.0, dt=dt, duration=20.0)
        events = events or random_events(plan, n_samples=2, spikes=15)
        values = plan.network.initial_parameters(1)
        native = NativeEngine(plan, values, dtype="float64", threads=1)
        native.run(native.load(events), [0, 1], training=True)
        now = np.concatenate([g.ravel() for g in native.gradients.values()])
        if last is not None:
            changes.append(relative(last, now))
        last = now.copy()
        native.close()
    assert changes[1] < 0.5 * changes[0] < 0.5
