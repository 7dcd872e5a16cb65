"""The loops of a trial, run by Python as they stand, against the reference: random networks, by their numbers."""

import pytest

from support.engine_check import check
from support.interpreter import InterpretedEngine
from support.random_networks import draw
from support.sweeps import sweep

# tables and windows, delays of every kind, refractory neurons, noise, losses of V, a loss in Python, births, currents
NUMBERS = [*((k, ()) for k in range(12)), (3, ("births",)), (5, ("births",)), (2, ("currents",)), (4, ("currents",))]


@pytest.mark.parametrize(
    ("number", "also"), sweep(NUMBERS, [(2, ()), (3, ()), (5, ()), (3, ("births",)), (2, ("currents",))])
)
@pytest.mark.one_in(6)
def test_python_runs_the_loops_as_the_reference_does(number, also):
    case = draw("grid", 1, number, 0, also=also)
    interpreted = lambda _, case: InterpretedEngine(case.plan, case.parameters, dtype="float64")  # noqa: E731
    (verdict,) = check(case, ["c99 float64"], lambda _: None, interpreted)
    assert verdict.kind in ("right", "undecided"), verdict
