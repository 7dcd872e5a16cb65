"""The common subset of Python and C that an optimiser may be written in."""

import numpy as np
import pytest

from genn_eventprop.errors import SettingError
from genn_eventprop.optimisers import SGD, Adam, AdamW, RMSprop
from genn_eventprop.optimisers.text import check_text, execute


@pytest.mark.parametrize("make", [Adam, AdamW, SGD, RMSprop])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_every_rule_is_in_the_subset_and_states_its_scalars(make, clip_norm):
    optimiser = make(clip_norm=clip_norm)
    optimiser.prepare({"w": np.ones(2)})
    step = optimiser.next_step(gradients={"w": np.ones(2)})
    assert tuple(step.parameters[0].scalars) == step.scalar_names
    assert check_text(step.code, {"x", "g", *step.state_names, *step.scalar_names}, "test") == step.local_names == ()
    assert "**" not in step.code and "pow" not in step.code


def test_locals_and_functions():
    code = "a = fmax(x, -y)\nb = fmin(a, 2.0) / sqrt(4.0)\nx = fabs(b)"
    assert check_text(code, {"x", "y"}, "test") == ("a", "b")
    result = execute(code, {"x": np.array([1.0, -8.0]), "y": np.array([5.0, 6.0])})
    np.testing.assert_allclose(result["x"], [0.5, 3.0])


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = x ** 2", r"'x \*\* 2' is not elementwise arithmetic common to Python and C"),
        ("x = 1 / 2 * x", "a division of two integers is rounded in C; write 1.0 instead of 1"),
        ("x = (1 + 1) / -3 * x", "a division of two integers"),
        ("x = pow(x, 2)", "unknown function 'pow'; known: fabs"),
        ("x = x - etha * g", "unknown name 'etha'; did you mean 'eta'"),
        ("x += g", r"'x \+= g' is not of the form 'name = expression'"),
        ("x = x[0]", r"'x\[0\]' is not elementwise"),
        ("x = __import__('os').getcwd()", "is not elementwise"),
        ("x = = g", "line 1 of the update is not an assignment"),
        ("x = True", "'True' is not elementwise"),
    ],
)
def test_text_outside_the_subset(code, message):
    with pytest.raises(SettingError, match=message):
        check_text(code, {"x", "g", "eta"}, "Mine")
