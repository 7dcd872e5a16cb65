"""Sweeps: a few cases in every run. The others run with `pytest -m slow` (`sweep`), or in CI and with `pytest -m ci`
(``@pytest.mark.one_in(n)``)."""

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


def one_in(items: Iterable[pytest.Item]) -> None:
    """Marks as `ci` what a test's ``@pytest.mark.one_in(n)`` leaves to CI: all but every n-th case, from the first."""
    seen: dict[str, int] = {}
    for item in items:
        mark = item.get_closest_marker("one_in")
        if mark is None or item.get_closest_marker("slow") is not None:
            continue
        name = item.nodeid.partition("[")[0]
        seen[name] = seen.get(name, -1) + 1
        if seen[name] % mark.args[0]:
            item.add_marker(pytest.mark.ci)
