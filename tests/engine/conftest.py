"""The fixture over all engines: a test that asks for `engine` runs on each; and how these tests compile."""

import os

import pytest

from support.engines import ENGINES
from support.flags import FLAGS, QUICKLY, UNOPTIMISED


@pytest.fixture(scope="module", autouse=True)
def _unoptimised(request):
    """In the default run, unless a test is `optimised`, or its file says that it needs CONTRACTED products and sums."""
    with pytest.MonkeyPatch.context() as patch:
        if os.environ.get(FLAGS) == QUICKLY and not getattr(request.module, "CONTRACTED", False):
            patch.setenv(FLAGS, UNOPTIMISED)
        yield


@pytest.fixture(params=list(ENGINES))
def engine(request):
    """The class of an engine on the time grid; it is called with a plan, parameter values and settings."""
    return ENGINES[request.param]
