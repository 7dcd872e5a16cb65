"""Times to steps: one rule, float64, whatever an engine computes in."""

from decimal import ROUND_FLOOR, Decimal

import numpy as np
import pytest

from genn_eventprop import losses
from genn_eventprop.data.augment import kernels
from genn_eventprop.errors import LossError, PlanError
from genn_eventprop.losses import TimeWeight
from genn_eventprop.plan import clock, make_plan
from genn_eventprop.plan.coefficients import integrand_weight

AWKWARD = [(t, dt) for dt in (0.1, 0.2, 0.25, 0.3, 0.7, 1.0) for t in np.round(np.arange(0.05, 8.0, 0.05), 2)]


def test_a_float32_duration_is_its_decimal_number():
    assert (clock.to_steps(np.float32(0.3), 0.2), clock.to_steps(0.3, 0.2)) == (1, 1)
    assert np.floor(float(np.float32(0.3)) / 0.2 + 0.5) == 2, "the naive rule differs here"
    for t, dt in AWKWARD:
        assert clock.to_steps(np.float32(t), dt) == clock.to_steps(t, dt) == int(np.floor(t / dt + 0.5)), (t, dt)


def test_times_round_to_the_nearest_step():
    for t, dt in AWKWARD:
        exact = Decimal(str(t)) / Decimal(str(dt)) + Decimal("0.5")
        if exact != exact.to_integral_value():
            assert clock.to_steps(t, dt) == int(exact.to_integral_value(ROUND_FLOOR)), (t, dt)


def test_what_never_ends_still_fits_an_int32():
    assert clock.to_steps(1e300, 0.1) == clock.LONGEST
    assert clock.LONGEST + clock.LONGEST - 1 <= np.iinfo(np.int32).max


def test_times_beyond_int32_are_clipped():
    """A clock that counts from 1970, an unsigned one that wrapped."""
    steps, clipped = clock.input_steps(np.array([3.0, 1.7e12, 2.0**64, 1e300]), 1.0, 0.5, 19)
    assert steps.tolist() == [3, 19, 19, 19] and clipped == 3


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_input_steps_compiled_and_not(shift):
    times = np.concatenate([np.round(np.arange(0, 30, 0.05), 2), np.random.default_rng(1).uniform(0, 30, 5000)])
    steps, clipped = clock.input_steps(times, 0.7, shift, 41)
    expected = np.floor(times / 0.7 + shift)
    assert np.array_equal(steps, np.minimum(expected, 41)) and clipped == (expected > 41).sum() > 0
    if kernels.usable(times):
        compiled = np.empty_like(steps)
        assert kernels.to_steps(times, 0.7, shift, 41, compiled) == clipped and np.array_equal(compiled, steps)


def test_durations_must_be_whole_steps():
    assert clock.number_of_steps(20.0, 0.1) == 200 and clock.window_steps((2.1, 4.2), 0.7) == (3, 6)
    with pytest.raises(PlanError, match=r"duration 20 ms is not a whole number of steps of 0.3 ms; use duration=20.1"):
        clock.number_of_steps(20.0, 0.3)
    with pytest.raises(LossError, match=r"whole steps of 0.5 ms; use window=\(5, 20\)"):
        clock.window_steps((5.2, 20.0), 0.5)


def test_a_window_begins_at_its_step_whatever_the_rounding(small_network):
    """3 * 0.7 = 2.0999999999999996 lies before a window from 2.1 ms."""
    network, output = small_network
    loss = losses.PerStepCrossEntropy(output, TimeWeight(window=(2.1, 4.2)))
    weight = integrand_weight(make_plan(network, loss, dt=0.7, duration=7.0))
    assert np.flatnonzero(weight).tolist() == [3, 4, 5]


@pytest.fixture
def small_network():
    from genn_eventprop import Dense, Network, Normal
    from genn_eventprop.models.li import LI

    network = Network()
    output = network.population(LI(), 2, name="output")
    network.connect(network.input(3), output, Dense(Normal(0.1, 0.1)))
    return network, output


@pytest.mark.parametrize("dt", [1.0, 0.1, 0.2, 0.25, 0.3, 1e-3])
def test_float32_times_are_decimal_numbers_where_it_matters(dt):
    rng = np.random.default_rng(1)
    drawn = [
        rng.uniform(0, 60, 500),
        np.round(rng.uniform(0, 60, 500), 1),
        np.arange(500) * dt / 2,
        rng.uniform(0, 1e9, 50),
    ]
    times = np.concatenate(drawn).astype(np.float32)
    want = np.minimum(np.floor(clock.as_float64(times) / dt + 0.5), clock.LONGEST)
    np.testing.assert_array_equal(clock.to_steps(times, dt), want)
