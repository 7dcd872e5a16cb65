"""The series of propagators and their derivatives equal matrix exponentials, for every model of the zoo."""

import numpy as np
import pytest

from genn_eventprop.adjoint import Propagator, derive, expm
from genn_eventprop.adjoint.propagator import generator
from genn_eventprop.adjoint.scheme import exact_part, linear_part
from genn_eventprop.models import ZOO
from support.propagators import step_derivative

MODES = [(name, mode.name) for name, model in ZOO.items() for mode in model.modes]
FREE = [(name, "free") for name in ZOO]


def part_of(name, mode):
    d = derive(ZOO[name])
    return linear_part(d, next(m for m in d.modes if m.name == mode), exact_part(d))


def drawn(params, factor, size=5):
    """Values of every neuron, time constants `factor` times the usual."""
    rng = np.random.default_rng(1)
    return {n: p.value * (factor if p.unit == "ms" else 1.0) * rng.uniform(0.8, 1.2, size) for n, p in params.items()}


@pytest.mark.one_in(2)  # every model with one factor or two
@pytest.mark.parametrize("factor", [1.0, 0.05, 0.005])
@pytest.mark.parametrize("name, mode", [*FREE, *MODES])
def test_series_equal_exponentials_of_block_matrices(name, mode, factor):
    part = part_of(name, mode)
    if not part.states:
        pytest.skip("no state has a propagator")
    propagator = Propagator(part, drawn(ZOO[name].params, factor))
    learned = list(part.dynamic_params)
    series = propagator.series(learned, 1.0)
    assert (series.squarings > 0) == (np.abs(propagator.M).sum(-1).max() > 1)
    for s in (0.03, 0.5, 1.0):
        P, dP = series(s)
        np.testing.assert_allclose(P, propagator(s), rtol=0, atol=1e-11 * np.abs(P).max())
        for n, found in zip(learned, dP):
            wanted = step_derivative(propagator, n, s)
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-11 * max(np.abs(wanted).max(), 1e-300))


@pytest.mark.parametrize("factor", [1.0, 0.01])
def test_rows_are_weighted_sums_over_nodes(factor):
    d = derive(ZOO["ALIF"])
    propagator = Propagator(d, drawn(ZOO["ALIF"].params, factor))
    series, nodes = propagator.series(["tau_mem", "tau_syn"], 1.0), np.array([0.1, 0.4, 0.9])
    weights = np.random.default_rng(2).normal(size=(2, 3))
    rows, d_rows = series.rows(1, nodes, weights)
    np.testing.assert_allclose(
        rows, sum(w[:, None, None] * expm(propagator.M * s)[:, 1] for w, s in zip(weights.T, nodes)), atol=1e-12
    )
    for n, found in zip(("tau_mem", "tau_syn"), d_rows):
        wanted = sum(w[:, None, None] * step_derivative(propagator, n, s)[:, 1] for w, s in zip(weights.T, nodes))
        np.testing.assert_allclose(found, wanted, atol=1e-11 * max(1.0, np.abs(wanted).max()))


def test_models_are_derived_and_compiled_once():
    assert derive(ZOO["LIF"]) is derive(ZOO["LIF"])
    d = derive(ZOO["LIF"])
    assert generator(linear_part(d, d.modes[0], exact_part(d))) is generator(linear_part(d, d.modes[0], exact_part(d)))


def test_what_a_mode_does_not_depend_on_has_no_derivative():
    d = derive(ZOO["LIFRefractory"])
    held = Propagator(linear_part(d, d.modes[1], exact_part(d)), drawn(d.model.params, 1.0))
    assert held.derivative("tau_syn").any() and not held.derivative("tau_mem").any()
    assert not step_derivative(held, "tau_mem", 1.0).any()
