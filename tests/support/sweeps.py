"""Sweeps: a few cases in every run, the others with `pytest -m slow`; CONTRIBUTING.md says which there are."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def sweep(cases: Iterable[Any], quick: Collection[Any]) -> list[Any]:
    """Arguments for `parametrize`: the cases of `quick` as they are, all others marked slow.

    A case is one value, or a tuple of the values of several arguments. Cases of `quick` that are none are an error.
    """
    cases = list(cases)
    unknown = [case for case in quick if case not in cases]
    assert not unknown, f"not in the sweep: {unknown}"
    return [
        c if c in quick else pytest.param(*(c if isinstance(c, tuple) else (c,)), marks=pytest.mark.slow) for c in cases
    ]
