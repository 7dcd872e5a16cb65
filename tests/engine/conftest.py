"""The fixture over all engines: a test that asks for `engine` runs on each."""

import os

import pytest

from support.engines import ENGINES


@pytest.fixture(autouse=True)
def hardly_optimised(monkeypatch):
    """Networks here are small: compiling takes longer than running. See `pytest_configure` of all tests."""
    if os.environ.get("GENN_EVENTPROP_CXXFLAGS") == "-O1":
        monkeypatch.setenv("GENN_EVENTPROP_CXXFLAGS", "-O0")


@pytest.fixture(params=list(ENGINES))
def engine(request):
    """The class of an engine on the time grid; it is called with a plan, parameter values and settings."""
    return ENGINES[request.param]
