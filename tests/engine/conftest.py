"""The fixture over all engines: a test that asks for `engine` runs on each; and how these tests compile."""

import os

import pytest

from support.engines import ENGINES
from support.flags import FLAGS, QUICKLY, UNOPTIMISED


@pytest.fixture(scope="module", autouse=True)
def _unoptimised():
    """In the default run, unless a test is `optimised` or `contracted`."""
    with pytest.MonkeyPatch.context() as patch:
        if os.environ.get(FLAGS) == QUICKLY:
            patch.setenv(FLAGS, UNOPTIMISED)
        yield


@pytest.fixture
def contracted(monkeypatch):
    """Products and sums are contracted: how float32 rounds them is part of its bounds."""
    if os.environ.get(FLAGS) == UNOPTIMISED:
        monkeypatch.setenv(FLAGS, QUICKLY)


@pytest.fixture(params=list(ENGINES))
def engine(request):
    """The class of an engine on the time grid; it is called with a plan, parameter values and settings."""
    return ENGINES[request.param]
