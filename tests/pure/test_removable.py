"""Quotients that are 0 / 0 where they have a limit, as the rates of Hodgkin and Huxley are."""

import numpy as np
import pytest
import sympy as sp

from genn_eventprop.adjoint import derive
from genn_eventprop.modelling import NeuronModel, Param
from genn_eventprop.modelling.expressions import numpy_function, parse, symbol
from genn_eventprop.modelling.removable import MOMENTS, NUMPY, phi1, without_removable

TABLE = {n: sp.Symbol(n, real=True) for n in ("V", "n", "k", "v", "a")}
V = TABLE["V"]


@pytest.mark.parametrize(
    "text",
    [
        "0.1 * (V + 40) / (1 - exp(-(V + 40) / 10)) * (1 - n)", "0.01 * (V + 55.5) / (1 - exp(-0.1 * (V + 55.5)))",
        "(v - V) / (exp((v - V) / k) - 1)", "V * (1 - a * exp(-V / k)) / (1 - exp(-V / k))",
        "V / (exp(V / 2) - exp(-V / 2))", "(exp(V) - 1) / V", "V**2 / (1 - exp(-V))",
        "0.32 * (13 - V + v) / (exp((13 - V + v) / 4) - 1)", "n + 2 * V / (a * exp(V / k) - a)",
        "(n * V / (1 - exp(-V / k)))**3", "V**2 * n / (1 - exp(-V))**2", "(exp(V) - 1)**3 / V**2",
    ],
)  # fmt: skip
def test_quotients_of_differences_of_exponentials_are_rewritten(text):
    e = parse(text, TABLE, "a test")
    made = without_removable(e, [V, TABLE["n"]])
    assert made.has(phi1)
    for point in (
        {"V": 0.37, "n": 0.3, "k": 1.3, "v": 0.2, "a": 0.7},
        {"V": -61.0, "n": 0.8, "k": 4.0, "v": 3.0, "a": 2.0},
    ):
        values = {TABLE[n]: x for n, x in point.items()}
        plain = made.replace(phi1, lambda x: (sp.exp(x) - 1) / x).subs(values)
        assert float(plain) == pytest.approx(float(e.subs(values)), rel=1e-12)
    # the denominator has no zero any more
    below = sp.fraction(sp.together(made.replace(phi1, lambda x: sp.Symbol("positive", positive=True))))[1]
    assert not below.free_symbols & {V} or below.has(sp.exp)


@pytest.mark.parametrize(
    "text", ["1 / (1 - exp(-V))", "k / (1 + exp(-V))", "V / (2 - exp(-V))", "a * (exp(k) - 1) / k"]
)
def test_other_quotients_are_as_they_were(text):
    e = parse(text, TABLE, "a test")
    assert without_removable(e, [V]) == e


@pytest.mark.parametrize("m", range(len(MOMENTS)))
def test_the_functions_and_their_derivatives(m):
    nodes, weights = np.polynomial.legendre.leggauss(40)
    s = 0.5 + 0.5 * nodes
    for x in (-30.0, -3.0, -0.51, -0.49, -1e-9, 0.0, 1e-12, 0.3, 0.6, 5.0, 25.0):
        expected = 0.5 * np.sum(weights * s**m * np.exp(s * x))
        assert NUMPY[MOMENTS[m].__name__](x) == pytest.approx(expected, rel=1e-13)
    assert m == 2 or MOMENTS[m](V).diff(V) == MOMENTS[m + 1](V)


def test_equations_may_name_it():
    assert parse("exprel(V / k)", TABLE, "a test") == phi1(V / TABLE["k"])


@pytest.mark.ci
def test_quotients_of_rates_are_derived_without_common_denominators():
    """m = alpha / (alpha + beta), as of Wang and Buzsaki: sympy takes hours for the common factors of its powers."""
    alpha, beta = "0.1 * (V + 35) / (1 - exp(-0.1 * (V + 35)))", "4 * exp(-(V + 60) / 18)"
    model = NeuronModel(
        name="WangBuzsaki",
        state={"V": -64.0, "h": 0.8, "I": 0.0},
        params={"g": Param(0.1)},
        dynamics={
            "V": f"I - 35 * ({alpha} / ({alpha} + {beta}))**3 * h * (V - 55) - g * (V + 65)",
            "h": "0.35 * exp(-(V + 58) / 20) * (1 - h) - 5 * h / (1 + exp(-0.1 * (V + 28)))",
            "I": "-I / 5",
        },
        threshold="V",
        reset={"V": "-70", "h": "0.9 * h"},
        input="I",
    )
    derived = derive(model)
    assert derived.modes[0].f[0].has(phi1) and derived.events[0].gdot == derived.modes[0].f[0]
    at_limit = {"V": -35.0, "h": 0.5, "I": 1.0, "g": 0.1}  # of (V + 35) / (1 - exp(-0.1 (V + 35))), which is 10
    value = numpy_function([symbol(n) for n in at_limit], derived.modes[0].f[0])(*at_limit.values())
    assert value == pytest.approx(1 - 35 * (1 / (1 + 4 * np.exp(-25 / 18))) ** 3 * 0.5 * -90 - 0.1 * 30)
