"""The average of the parameters that an optimiser keeps: against its formula in NumPy, with bounds, and refused."""

import numpy as np
import pytest

from genn_eventprop.errors import CheckpointError, SettingError
from genn_eventprop.optimisers import SGD, Adam, AdamW, RMSprop

DECAY = 0.8


def gradient(step):
    return {"w": np.random.default_rng(step).normal(size=(3, 4))}


def average_of(seen):
    """A mean of the first 1 / (1 - decay) = 5, then an exponential moving average."""
    average = np.zeros_like(seen[0])
    for k, x in enumerate(seen, 1):
        average = average + max(1 - DECAY, 1 / k) * (x - average)
    return average


@pytest.mark.parametrize("rule", [Adam, AdamW, SGD, RMSprop])
def test_average_equals_numpy_and_changes_no_step(rule):
    averaging, plain = rule(0.1, average=DECAY, bounds={"w": (-0.5, 0.4)}), rule(0.1, bounds={"w": (-0.5, 0.4)})
    x, y, seen = {"w": np.zeros((3, 4))}, {"w": np.zeros((3, 4))}, []
    for step in range(30):
        averaging.update(x, gradient(step))
        plain.update(y, gradient(step))
        seen.append(x["w"].copy())
        found = averaging.averages(x)["w"]
        np.testing.assert_allclose(found, average_of(seen), rtol=1e-12, atol=1e-14)
        if step == 2:
            np.testing.assert_allclose(found, np.mean(seen, axis=0), rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(x["w"], y["w"])
    assert np.any(x["w"] == 0.4) and np.all(averaging.averages(x)["w"] < 0.4)  # of values within the bounds
    assert plain.averages(y) == {}


def test_outside_changes_count_and_restart_the_average():
    optimiser, x = SGD(0.1, average=DECAY), {"w": np.ones((3, 4))}
    optimiser.prepare(x)
    np.testing.assert_array_equal(optimiser.averages(x)["w"], x["w"])
    seen = []
    for step in range(8):
        optimiser.update(x, gradient(step))
        x["w"] *= 0.5
        seen.append(x["w"].copy())
    np.testing.assert_allclose(optimiser.averages(x)["w"], average_of(seen), rtol=1e-12)
    optimiser.restart_average()
    x["w"][...] = 7.0
    np.testing.assert_array_equal(optimiser.averages(x)["w"], x["w"])
    optimiser.update(x, gradient(9))
    np.testing.assert_allclose(optimiser.averages(x)["w"], x["w"], rtol=1e-12)


def test_it_is_saved_with_the_state():
    first, x = Adam(0.1, average=DECAY), {"w": np.ones((3, 4), np.float32)}
    for step in range(4):
        first.update(x, gradient(step))
    arrays, info = first.state_dict()
    assert info["average"] == DECAY and info["averaged"] == 4 and arrays["w/average"].dtype == np.float32
    again = Adam(0.1, average=DECAY)
    again.prepare(x)
    again.load_state_dict(arrays, info)
    np.testing.assert_array_equal(again.averages(x)["w"], first.averages(x)["w"])
    assert "average" not in Adam(0.1).state_dict()[1]
    for other in (Adam(0.1), Adam(0.1, average=0.5)):
        other.prepare(x)
        with pytest.raises(CheckpointError, match=r"written with average=0.8 of optimiser Adam, this run has average="):
            other.load_state_dict(arrays, info)


@pytest.mark.parametrize("average", [0.0, 1.0, -0.1, 1.5, float("nan"), "0.9"])
def test_a_decay_outside_is_refused(average):
    with pytest.raises(SettingError, match="RMSprop: average must lie between 0 and 1, e.g. 0.99"):
        RMSprop(0.1, average=average)


def test_steps_in_python_cannot_be_averaged():
    class Own(SGD):
        def update(self, parameters, gradients):
            for name, x in parameters.items():
                x -= 0.1 * np.sign(gradients[name])

    Own(0.1)
    with pytest.raises(SettingError, match="Own: its steps are written in Python, so it can keep no average"):
        Own(0.1, average=0.9)
