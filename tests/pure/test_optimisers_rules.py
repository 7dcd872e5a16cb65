"""Optimisers against the published formulas, written here a second time and independently."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genn_eventprop.errors import CheckpointError, SettingError, TrainingError
from genn_eventprop.optimisers import SGD, Adam, AdamW, Constant, EaseIn, Product, RMSprop, gradient_norm
from genn_eventprop.optimisers import Progress as ScheduleProgress

STEPS, RATE = 30, 3e-3


def gradients(step: int) -> np.ndarray:
    return np.random.default_rng(step).normal(0.0, 2.0 ** np.arange(-6, 6), size=(3, 12))


def adam(x, weight_decay=0.0):
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t in range(1, STEPS + 1):
        g = gradients(t)
        x = x * (1 - RATE * weight_decay)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        x = x - RATE * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return x


def sgd(x, momentum=0.7):
    v = np.zeros_like(x)
    for t in range(1, STEPS + 1):
        v = momentum * v + gradients(t)
        x = x - RATE * v
    return x


def rmsprop(x, rho=0.9):
    v = np.zeros_like(x)
    for t in range(1, STEPS + 1):
        v = rho * v + (1 - rho) * gradients(t) ** 2
        x = x - RATE * gradients(t) / (np.sqrt(v) + 1e-8)
    return x


CASES = [
    (lambda: Adam(RATE), adam),
    (lambda: AdamW(RATE, weight_decay=0.3), lambda x: adam(x, weight_decay=0.3)),
    (lambda: SGD(RATE, momentum=0.7), sgd),
    (lambda: RMSprop(RATE, rho=0.9), rmsprop),
]


@pytest.mark.parametrize(("make", "formula"), CASES, ids=["adam", "adamw", "sgd", "rmsprop"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-13), (np.float32, 3e-6)])
def test_published_formula(make, formula, dtype, tolerance):
    start = np.linspace(-1.0, 1.0, 36).reshape(3, 12)
    x, optimiser = start.astype(dtype), make()
    for t in range(1, STEPS + 1):
        optimiser.update({"w": x}, {"w": gradients(t).astype(dtype)})
    assert x.dtype == dtype
    np.testing.assert_allclose(x, formula(start), rtol=tolerance, atol=tolerance)


def test_first_adam_step_has_size_eta():
    x = np.zeros(4)
    Adam(0.01).update({"w": x}, {"w": np.array([1e-3, -1e3, 5.0, -7.0])})
    np.testing.assert_allclose(x, [-0.01, 0.01, -0.01, 0.01], rtol=1e-4)


@pytest.mark.parametrize("make", [lambda: Adam(0.05), lambda: SGD(0.02, momentum=0.9), lambda: RMSprop(0.01)])
def test_converges_on_a_quadratic(make):
    target, x, optimiser = np.array([1.0, -2.0, 0.5]), np.zeros(3), make()
    for _ in range(800):
        optimiser.update({"w": x}, {"w": np.array([1.0, 3.0, 0.3]) * (x - target)})
    np.testing.assert_allclose(x, target, atol=0.02)


def test_prepare_forgets_another_network():
    optimiser = Adam(1e-2)
    optimiser.update({"old": np.zeros(2)}, {"old": np.ones(2)})
    optimiser.prepare({"new": np.zeros(3)})
    optimiser.update({"new": np.zeros(3)}, {"new": np.ones(3)})
    assert list(optimiser.state) == ["new"] and optimiser.steps == 1


def test_groups_and_schedule_factor():
    parameters = {"a.weight": np.zeros(2), "a.tau_mem": np.zeros(2)}
    grads = {name: np.ones(2) for name in parameters}
    optimiser = SGD(0.1, groups={"*.tau_mem": {"learning_rate": 1.0}})
    optimiser.factor = 0.5
    optimiser.update(parameters, grads)
    np.testing.assert_allclose(parameters["a.weight"], -0.05)
    np.testing.assert_allclose(parameters["a.tau_mem"], -0.5)


def test_bounds_hold_after_the_step_and_replace_declared_ones():
    x, y = np.array([4.0, 9.0]), np.array([1.0, 1.0])
    optimiser = SGD(1.0, bounds={"a.tau_mem": (3.0, None)})
    optimiser.prepare({"a.tau_mem": x, "b": y}, bounds={"a.tau_mem": (0.0, 1.0), "b": (None, 1.5)})
    optimiser.update({"a.tau_mem": x, "b": y}, {"a.tau_mem": np.array([5.0, -5.0]), "b": np.array([-3.0, 2.0])})
    np.testing.assert_allclose(x, [3.0, 14.0])
    np.testing.assert_allclose(y, [1.5, -1.0])


def test_clipping_is_off_by_default_and_counted_when_on():
    x, grads = {"a": np.zeros(1), "b": np.zeros(1)}, {"a": np.array([3.0]), "b": np.array([4.0])}
    assert gradient_norm(grads) == 5.0
    plain = SGD(1.0)
    plain.update(x, grads)
    assert (x["a"][0], x["b"][0], plain.clipped_steps) == (-3.0, -4.0, 0)
    clipped, y = SGD(1.0, clip_norm=1.0), {"a": np.zeros(1), "b": np.zeros(1)}
    clipped.update(y, grads)
    np.testing.assert_allclose([y["a"][0], y["b"][0]], [-0.6, -0.8])
    clipped.update(y, {"a": np.array([0.1]), "b": np.array([0.1])})
    assert clipped.clipped_steps == 1
    with pytest.raises(TrainingError, match="next_step needs the gradients"):
        clipped.next_step()


def test_state_survives_saving_bit_for_bit():
    def run(optimiser, x, steps):
        for t in steps:
            optimiser.update({"w": x}, {"w": gradients(t)})

    whole, first, x, y = Adam(RATE), Adam(RATE), np.ones((3, 12)), np.ones((3, 12))
    run(whole, x, range(1, 21))
    run(first, y, range(1, 11))
    arrays, info = first.state_dict()
    second = Adam(RATE)
    second.prepare({"w": y})
    second.load_state_dict(arrays, info)
    run(second, y, range(11, 21))
    np.testing.assert_array_equal(x, y)
    assert second.steps == 20


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adam(-1.0), "Adam: learning_rate must be finite and >= 0, got -1.0"),
        (lambda: Adam(beta1=1.0), r"Adam: beta1 must lie in \[0, 1\), got 1.0"),
        (lambda: RMSprop(epsilon=0.0), "RMSprop: epsilon must be > 0, got 0.0"),
        (lambda: AdamW(weight_decay=-1.0), "AdamW: weight_decay must be >= 0, got -1.0"),
        (lambda: SGD(momentun=0.9), "SGD: unknown setting 'momentun'"),
        (lambda: Adam(clip_norm=0.0), "Adam: clip_norm must be > 0 or None, got 0.0"),
        (lambda: Adam(groups={"*": {"lr": 1}}), r"unknown setting 'lr' of group '\*'; known: beta1"),
        (lambda: Adam(groups={"*": {"beta1": 2}}), r"Adam group '\*': beta1 must lie in"),
        (lambda: Adam(bounds={"w": (2.0, 1.0)}), "bounds of 'w' are the wrong way round: 2.0 > 1.0"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(SettingError, match=message):
        make()


def test_pattern_without_a_parameter():
    with pytest.raises(SettingError, match=r"no parameter matches 'hidden.tau_men'; did you mean 'hidden.tau_mem'\?"):
        Adam(bounds={"hidden.tau_men": (1, 2)}).prepare({"hidden.tau_mem": np.ones(2)})


def test_state_of_another_optimiser_or_shape_is_refused():
    adam_optimiser = Adam()
    adam_optimiser.prepare({"w": np.ones(3)})
    arrays, info = adam_optimiser.state_dict()
    other = SGD()
    other.prepare({"w": np.ones(3)})
    with pytest.raises(CheckpointError, match="written by optimiser Adam, this run uses SGD"):
        other.load_state_dict(arrays, info)
    wrong = Adam()
    wrong.prepare({"w": np.ones(4)})
    with pytest.raises(CheckpointError, match=r"optimiser state w/m of shape \(4,\) is of shape \(3,\)"):
        wrong.load_state_dict(arrays, info)
    missing = Adam()
    missing.prepare({"v": np.ones(3)})
    with pytest.raises(CheckpointError, match=r"optimiser state v/m of shape \(3,\) is missing"):
        missing.load_state_dict(arrays, info)


@given(st.floats(-3, 3), st.integers(0, 2**32 - 1), st.sampled_from([Adam, AdamW, RMSprop]))
def test_relative_rates_do_not_know_the_unit_of_weights(exponent, seed, make):
    """Weights of another scale, with gradients of the inverse one, move by the same share of their size."""
    rng = np.random.default_rng(seed)
    x, g, scale = rng.normal(0, 1, (5, 4)), rng.normal(0, 1, (5, 4)), 10.0**exponent
    moved = []
    for unit in (1.0, scale):
        optimiser = make(0.02, relative=True, epsilon=1e-30)
        parameters = {"w": unit * x, "tau": np.array([20.0])}
        optimiser.prepare(parameters)
        optimiser.measure({"w": parameters["w"]})
        for _ in range(3):
            optimiser.update(parameters, {"w": g / unit, "tau": np.array([1.0])})
        moved.append(parameters["w"] / unit - x)
        rms = np.sqrt(np.mean(x**2)) * unit
        assert optimiser.rate_of("w") == pytest.approx(0.02 * rms) and optimiser.rate_of("tau") == 0.02
        arrays, info = optimiser.state_dict()
        again = make(0.02, relative=True, epsilon=1e-30)
        again.prepare(parameters)
        again.load_state_dict(arrays, info)
        assert again.rate_of("w") == optimiser.rate_of("w")
        with pytest.raises(CheckpointError, match="relative=True.*relative=False"):
            plain = make(0.02, epsilon=1e-30)
            plain.prepare(parameters)
            plain.load_state_dict(arrays, info)
    assert np.allclose(*moved, rtol=1e-6, atol=1e-9)
    assert np.abs(moved[0]).max() > 0


def test_weights_of_zero_have_a_unit():
    optimiser = Adam(0.02, relative=True)
    optimiser.prepare({"w": np.zeros((25, 3))})
    optimiser.measure({"w": np.zeros((25, 3))})
    assert optimiser.rate_of("w") == pytest.approx(0.02 / 5)


@given(st.integers(1, 2000))
def test_ease_in_ends_within_the_training(updates):
    schedule = Product(EaseIn(), Constant())
    words = schedule.fit_into(updates)
    assert bool(words) == (updates < EaseIn().rises_until())
    if words:
        assert words == [
            f"ease_in would take 142 updates, this training has {updates}: it takes {max(1, updates // 4)}"
        ]
    assert schedule.factor(ScheduleProgress(0, updates)) == 1.0
    again = Product(EaseIn(), Constant())
    again.load_state_dict(schedule.state_dict())
    at = ScheduleProgress(0, updates // 8)
    assert again.factor(at) == schedule.factor(at)
