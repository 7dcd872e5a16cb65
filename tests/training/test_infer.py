"""Connections of populations inferred from spikes alone: exact margins and gradients, known networks."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.linalg import expm

from genn_eventprop import Events, NeuronModel, Param
from genn_eventprop.errors import SettingError
from genn_eventprop.fitting import infer_network
from genn_eventprop.fitting.infer import _points, _Problem
from genn_eventprop.fitting.linear import LinearNeuron, Source, Target
from genn_eventprop.fitting.population import simulate_population
from genn_eventprop.models import ALIF, LIF, AdEx, LIFRefractory, LIFRelativeReset

# V swings with a second state, and a spike halves that instead of setting it
EQUATIONS = {
    "state": {"V": -0.3, "u": 0.0, "I": 0.0},
    "params": {"tau": Param(8.0, "ms"), "v_thresh": Param(0.4), "rest": Param(-0.3)},
    "dynamics": {"V": "(rest - V + I - 2 * u) / tau", "u": "(3 * (V - rest) - u) / tau", "I": "-I / 4"},
    "threshold": "V - v_thresh",
    "reset": {"V": "rest - 0.1", "u": "u / 2 + 0.1"},
    "input": "I",
    "drives": {"I_ext": {"V": "1 / tau"}},
}
SWINGING = NeuronModel(name="Swinging", **EQUATIONS)
TRAINS = [np.array([3.0, 9.5, 30.2, 31.0, 62.0]), np.array([1.0, 22.7, 41.3]), np.zeros(0)]
OWN = np.array([12.0, 13.5, 28.0, 55.1])
WEIGHTS, DELAYS, BIAS = np.array([0.8, -0.5, 1.0]), np.array([1.3, 4.0, 2.0]), 0.6
# A, constant, drive, arrival, reset matrix, reset constant, margin, threshold, beginning: written by hand
BY_HAND = {
    LIF: ([[-1 / 20, 1 / 20], [0, -1 / 5]], [0, 0], [1 / 20, 0], [0, 1], [[0, 0], [0, 1]], [0, 0], [1, 0], 1.0),
    LIFRelativeReset: ([[-1 / 20, 1 / 20], [0, -1 / 5]], [0, 0], [1 / 20, 0], [0, 1], np.eye(2), [-1, 0], [1, 0], 1.0),
    ALIF: (
        [[-1 / 20, 1 / 20, 0], [0, -1 / 5, 0], [0, 0, -1 / 100]], [0, 0, 0], [1 / 20, 0, 0], [0, 1, 0],
        np.diag([0, 1, 1]), [0, 0, 0.1], [1, 0, -1], 1.0,
    ),
    SWINGING: (
        [[-1 / 8, -2 / 8, 1 / 8], [3 / 8, -1 / 8, 0], [0, 0, -1 / 4]], [-0.3 / 8, 0.9 / 8, 0], [1 / 8, 0, 0], [0, 0, 1],
        np.diag([0, 0.5, 1]), [-0.4, 0.1, 0], [1, 0, 0], 0.4,
    ),
}  # fmt: skip


def stepped(model, times, weights, delays, bias):
    """(T,) margins by propagation from event to event, of a neuron that is at rest with its bias at first."""
    A, constant, drive, arrival, R, r, margin, threshold = (np.array(part, float) for part in BY_HAND[model])
    b = constant + bias * drive
    x, now, found = -np.linalg.solve(A, b), 0.0, {}
    events = [(t, 1, "reset", 0.0) for t in OWN] + [(t, 0, "look", 0.0) for t in times]
    events += [(t + d, 2, "arrival", w) for train, w, d in zip(TRAINS, weights, delays) for t in train]
    for t, _, kind, w in sorted(events):
        rest = -np.linalg.solve(A, b)
        x, now = rest + expm(A * (t - now)) @ (x - rest), t
        if kind == "look":
            found[t] = margin @ x - threshold
        x = R @ x + r if kind == "reset" else x + w * arrival if kind == "arrival" else x
    return np.array([found[t] for t in times])


@pytest.mark.one_in(4)
@pytest.mark.parametrize("model", BY_HAND, ids=lambda model: model.name)
def test_the_margin_is_that_of_the_equations(model):
    neuron, times = LinearNeuron.of(model), np.linspace(12.1, 80.0, 90)
    target = Target(neuron, OWN, times)
    constant, (phi, _) = target.constant(), target.inputs([Source.of(neuron, t) for t in TRAINS], DELAYS)
    found = constant[0] + BIAS * constant[1] + WEIGHTS @ phi
    np.testing.assert_allclose(found, stepped(model, times, WEIGHTS, DELAYS, BIAS), rtol=0, atol=1e-11)


@pytest.mark.parametrize("model", BY_HAND, ids=lambda model: model.name)
def test_gradients_are_exact(model):
    neuron = LinearNeuron.of(model)
    problem = _Problem(neuron, [OWN], [80.0], [Source.of(neuron, t) for t in TRAINS[:2]], 10.0, 0.5, 1.0)
    beta, delays, every = np.array([4.0, 2.0, 1.5, -2.0]), DELAYS[:2] + 0.01, np.arange(2)
    _, gradient, _ = problem.evaluate(beta, delays, every)
    for i in range(6):
        step = np.zeros(6)
        step[i] = 1e-5
        ends = [problem.evaluate(beta + s * step[:4], delays + s * step[4:], every)[0] for s in (1, -1)]
        assert gradient[i] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-6)


def test_points_of_the_integral_end_at_own_spikes():
    times, widths = _points(OWN, 60.0, 2.0)
    assert widths.sum() == pytest.approx(60.0 - OWN[0])
    assert widths.max() <= 2.0
    edges = times + widths / 2
    assert all(np.abs(edges - t).min() < 1e-12 for t in OWN[1:])


DURATION = 20_000.0


@pytest.fixture(scope="module")
def known():
    weights, delays = np.zeros((5, 5)), np.full((5, 5), 3.0)
    weights[0, 1], weights[1, 2], weights[0, 3], weights[2, 0] = 1.5, -2.0, 2.0, 1.0
    delays[0, 1], delays[1, 2], delays[0, 3] = 1.2, 6.7, 4.4
    settings = {"bias": np.array([0.95, 0.9, 1.05, 0.9, 0.2]), "noise": 0.05, "tau_0": 1.0}
    spikes = simulate_population(weights, delays, duration=DURATION, seed=1, **settings)
    found = infer_network(spikes, LIF, duration=DURATION, progress=False)
    return SimpleNamespace(weights=weights, delays=delays, spikes=spikes, bias=settings["bias"], found=found)


@pytest.mark.ci
def test_a_known_network_is_found_with_right_deviations(known):
    found = known.found
    np.testing.assert_array_equal(found.connected, known.weights != 0)
    sure = found.connected
    assert (np.abs(found.weights - known.weights)[sure] < 4 * found.weight_deviations[sure]).all()
    assert (np.abs(found.delays - known.delays)[sure] < 4 * found.delay_deviations[sure]).all()
    assert np.abs(found.delays - known.delays)[sure].max() < 0.3
    assert found.noise[:4] == pytest.approx(0.05, abs=0.01)
    assert found.bias[:4] == pytest.approx(known.bias[:4], abs=0.03)
    assert np.isinf(found.weight_deviations[:, 4]).all()  # hardly a spike
    assert any(remark.startswith("neuron 4: fewer than 20 spikes") for remark in found.remarks)
    assert "5 neurons" in str(found)


def test_spikes_in_quick_succession_are_integrated_finely_enough():
    """Two neurons that excite each other at 70 Hz: coarse points alone would make the rate unbounded between them."""
    weights, delays = np.array([[0.0, 2.5], [2.5, 0.0]]), np.array([[0.0, 6.0], [5.0, 0.0]])
    spikes = simulate_population(weights, delays, bias=1.05, noise=0.06, duration=3000.0, seed=1, tau_0=1.0)
    found = infer_network(spikes, LIF, duration=3000.0, progress=False)
    off = weights != 0
    assert (np.abs(found.weights - weights)[off] < 3 * found.weight_deviations[off]).all()
    assert (np.abs(found.delays - delays)[off] < 3 * found.delay_deviations[off]).all()
    assert ((found.weight_deviations[off] > 0.05) & (found.gain > 0.5)).all() and found.gain.max() < 3


@pytest.mark.ci
def test_two_samples_are_two_recordings_of_one_network(known):
    """Cut in two, a recording loses what one half knows of the other: next to nothing."""
    times, channels = known.spikes.sample(0)
    early = times < 10_000
    halves = Events.from_samples([(times[early], channels[early]), (times[~early] - 10_000, channels[~early])], 5)
    whole, cut = known.found, infer_network(halves, LIF, duration=DURATION / 2, progress=False)
    np.testing.assert_array_equal(whole.connected, cut.connected)
    off = np.isfinite(whole.weight_deviations)
    assert (np.abs(whole.weights - cut.weights)[off] < 0.5 * whole.weight_deviations[off]).all()


@pytest.mark.ci
def test_threads_change_nothing(known):
    times, channels = known.spikes.sample(0)
    short = Events.from_samples([(times[times < 4000], channels[times < 4000])], 5)
    one, two = (infer_network(short, LIF, progress=False, step=4.0, threads=n) for n in (1, 2))
    np.testing.assert_array_equal(one.weights, two.weights)
    some = infer_network(short, LIF, progress=False, step=4.0, targets=[3])
    np.testing.assert_array_equal(some.weights[:, 3], one.weights[:, 3])
    assert np.isinf(some.weight_deviations[:, :3]).all()


def test_equal_time_constants_are_no_special_case():
    equal, near = (LinearNeuron.of(LIF(tau_mem=5.0 + by)) for by in (0.0, 1e-4))
    times = np.linspace(12.1, 80.0, 90)
    phi, other = (Target(n, OWN, times).inputs([Source.of(n, TRAINS[0])], np.array([2.0]))[0] for n in (equal, near))
    np.testing.assert_allclose(phi, other, rtol=0, atol=1e-5)


def test_spikes_without_noise_are_said_to_be_so():
    weights = np.array([[0.0, 3.0], [0.0, 0.0]])
    spikes = simulate_population(weights, np.full((2, 2), 2.0), bias=1.05, noise=0.0, duration=4000.0, seed=1)
    found = infer_network(spikes, LIF, progress=False)
    assert any("almost without noise" in remark for remark in found.remarks)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (AdEx, "AdEx is not linear between its spikes"),
        (LIFRefractory, "LIFRefractory has modes"),
        (NeuronModel(name="Swinging", **EQUATIONS | {"input": "V"}), "Swinging: an arrival moves V at once"),
        (NeuronModel(name="Swinging", **EQUATIONS | {"drives": {}}), "Swinging has not one drive"),
    ],
)
def test_models_that_it_cannot_take(model, message):
    with pytest.raises(SettingError, match=message):
        infer_network(Events.from_samples([([1.0], [0])], 1), model, progress=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"duration": 5.0}, "a spike at 9 ms, after duration=5"),
        ({"max_delay": 0.0}, "max_delay"),
        ({"step": -1.0}, "step"),
        ({"threads": 0}, "threads"),
        ({"targets": [1, 2]}, "there is no neuron 2, but 2 from 0 on"),
    ],
)
def test_settings_that_it_cannot_take(settings, message):
    with pytest.raises(SettingError, match=message):
        infer_network(Events.from_samples([([1.0, 9.0], [0, 1])], 2), LIF, progress=False, **settings)


def test_two_spikes_of_one_neuron_at_one_time_are_named():
    with pytest.raises(SettingError, match="neuron 1 spikes twice at one time in sample 0, at 9 ms"):
        infer_network(Events.from_samples([([1.0, 9.0, 9.0], [0, 1, 1])], 2), LIF, progress=False)


def test_numbers_of_neurons_with_large_gaps_are_refused():
    with pytest.raises(SettingError, match="there is no spike"):
        infer_network(Events.from_samples([([], [])], 3), LIF)
    with pytest.raises(SettingError, match="all pairs of 1000000001 neurons take .* without gaps"):
        infer_network(Events.from_samples([([1.0, 2.0], [0, 10**9])], 10**9 + 1), LIF, progress=False)
