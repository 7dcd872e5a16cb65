"""Numbers and names that arguments must be: Python's and NumPy's alike, with a message that says what was given."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genn_eventprop.errors import (
    DataError,
    ModelError,
    SettingError,
    check_finite,
    check_known,
    is_number,
    is_whole,
    whole,
)

WHOLE = st.integers(-(2**31), 2**31 - 1)
OF_NUMPY = (int, np.int32, np.int64)
NONE = (None, "3", True, np.True_, 1 + 2j, [1], np.ones(1), np.ones((1, 1), int))


@given(WHOLE, st.sampled_from(OF_NUMPY), st.integers(-3, 3))
def test_whole_numbers(number: int, kind: Any, least: int) -> None:
    assert is_number(kind(number)) and is_whole(kind(number))
    if number >= least:
        made = whole(kind(number), "it", DataError, least)
        assert made == number and type(made) is int
    else:
        with pytest.raises(DataError, match=f"it must be an integer >= {least}, got .*{number}"):
            whole(kind(number), "it", DataError, least)


@given(st.floats(width=32), st.sampled_from((float, np.float32, np.float64)))
def test_real_numbers_are_not_whole(number: float, kind: Any) -> None:
    assert is_number(kind(number)) and not is_whole(kind(number))
    for above in (False, True):
        if math.isfinite(number) and (number > 0 or (number == 0 and not above)):
            check_finite(kind(number), "it", SettingError, above)
        else:
            with pytest.raises(SettingError, match=f"it must be a finite number {'>' if above else '>='} 0, got"):
                check_finite(kind(number), "it", SettingError, above)


@pytest.mark.parametrize("value", NONE, ids=repr)
def test_what_is_no_number(value: Any) -> None:
    assert not is_number(value) and not is_whole(value)


@given(st.sampled_from(["tau_mem", "tau_syn", "v_thresh"]), st.text("abcdef", min_size=1, max_size=5))
def test_unknown_names(known: str, other: str) -> None:
    names = {"tau_mem": 1, "tau_syn": 2, "v_thresh": 3}
    check_known(known, names, SettingError, "never said")
    with pytest.raises(SettingError, match=r"^no parameter 'x' \(.*known: tau_mem, tau_syn, v_thresh\)$"):
        check_known(other, names, SettingError, "no parameter 'x' (")
    with pytest.raises(ModelError, match=r"^none; did you mean 'tau_mem'\? known: .*v_thresh$") as error:
        check_known("tau_men", iter(names), ModelError, "none; ", "tau_men")
    assert error.value.text == "tau_men"
    with pytest.raises(SettingError, match="known: tau_mem"):
        check_known(["tau_mem"], names, SettingError, "a list is none; ")
