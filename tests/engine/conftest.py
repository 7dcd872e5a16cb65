"""The fixture over all engines: a test that asks for `engine` runs on each."""

import pytest

from support.engines import ENGINES


@pytest.fixture(params=list(ENGINES))
def engine(request):
    """The class of an engine on the time grid; it is called with a plan, parameter values and settings."""
    return ENGINES[request.param]
