"""Exact propagators: against SciPy, against the solution by hand, at equal time constants, and their derivatives."""

import numpy as np
import pytest
import scipy.integrate
import scipy.linalg

from genn_eventprop import NeuronModel, Param
from genn_eventprop.adjoint import Propagator, derive, expm
from genn_eventprop.models.lif import LIF
from support.propagators import step_derivative

DRIVEN = NeuronModel(
    name="Driven",
    state={"V": 0.0, "I": 0.0, "B": 0.0},
    params={"tau_mem": Param(20.0, "ms"), "tau_syn": Param(5.0, "ms"), "k": Param(0.2), "bias": Param(0.7)},
    dynamics={"V": "(I - V - k * B + bias) / tau_mem", "I": "-I / tau_syn", "B": "(k * V - B) / tau_syn + k**2"},
    input="I",
)


def lif(tau_mem=20.0, tau_syn=5.0):
    values = {"tau_mem": tau_mem, "tau_syn": tau_syn, "v_thresh": 1.0, "v_reset": 0.0}
    return Propagator(derive(LIF), {n: np.atleast_1d(v) for n, v in values.items()})


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e-3, 0.3, 1.0, 30.0])
def test_expm_equals_scipy(scale):
    matrices = np.random.default_rng(4).normal(size=(20, 4, 4)) * scale
    wanted = np.stack([scipy.linalg.expm(m) for m in matrices])
    error = np.abs(expm(matrices) - wanted).max((1, 2)) / np.abs(wanted).max((1, 2))
    assert error.max() < (1e-12 if scale < 30 else 2e-11)  # the problem's condition grows with the norm


def test_expm_of_a_defective_matrix():
    """A Jordan block, where no diagonalisation exists: exp(t) [[1, t], [0, 1]]."""
    for t in (1e-8, 0.1, 2.0):
        np.testing.assert_allclose(
            expm(np.array([[t, t], [0.0, t]])), np.exp(t) * np.array([[1.0, t], [0.0, 1.0]]), rtol=1e-14
        )


@pytest.mark.parametrize("dt", [0.01, 0.1, 1.0, 5.0])
@pytest.mark.parametrize("tau_syn", [5.0, 20.0, 20.0 + 1e-13, 20.0 + 1e-7, 20.001, 80.0])
def test_lif_step_is_the_solution_by_hand(dt, tau_syn):
    """V(s) = e^-s/tm V + (e^-s/tm - e^-s/ts) ts / (tm - ts) I, for tau_mem = tau_syn s / tau e^-s/tau I."""
    P = lif(20.0, tau_syn)(dt)[0]
    mem, syn = np.exp(-dt / 20.0), np.exp(-dt / tau_syn)
    # (e^-s/tm - e^-s/ts) / (1/ts - 1/tm), written without a difference of close numbers
    rate = 1.0 / tau_syn - 1.0 / 20.0
    factor = dt * mem if rate == 0 else -mem * np.expm1(-dt * rate) / rate
    np.testing.assert_allclose(P[:2, :2], [[mem, factor / 20.0], [0.0, syn]], rtol=1e-13, atol=1e-16)
    np.testing.assert_array_equal(P[:2, 2], 0.0)


def test_steps_compose():
    """P(a + b) = P(a) P(b): the group property, with a constant drive."""
    values = {n: np.array([p.value]) for n, p in DRIVEN.params.items()}
    step = Propagator(derive(DRIVEN), values)
    np.testing.assert_allclose(step(3.5), step(1.25) @ step(2.25), rtol=1e-13)


def test_a_driven_model_follows_its_equations():
    """x(s) = P x + c against an ODE solver, for three coupled states and a constant drive."""
    values = {n: np.array([p.value]) for n, p in DRIVEN.params.items()}
    step = Propagator(derive(DRIVEN), values)(7.0)[0]
    x0 = np.array([0.3, 1.2, -0.4])

    def f(t, x):
        V, I, B = x
        return [(I - V - 0.2 * B + 0.7) / 20.0, -I / 5.0, (0.2 * V - B) / 5.0 + 0.04]

    solution = scipy.integrate.solve_ivp(f, (0.0, 7.0), x0, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(step[:3, :3] @ x0 + step[:3, 3], solution.y[:, -1], rtol=1e-9)


def test_heterogeneous_neurons_have_their_own_propagators():
    tau_mem, tau_syn = np.array([10.0, 20.0, 5.0]), np.array([5.0, 4.0, 5.0])
    P = lif(tau_mem, tau_syn)(0.5)
    assert P.shape == (3, 3, 3)
    for n in range(3):
        np.testing.assert_allclose(P[n], lif(tau_mem[n], tau_syn[n])(0.5)[0], rtol=1e-14)
    assert lif(20.0, tau_syn)(0.5).shape == (3, 3, 3) and lif()(0.5).shape == (1, 3, 3)


@pytest.mark.parametrize(
    ("model", "changed"),
    [
        (LIF, {}),
        (LIF, {"tau_mem": 5.0, "tau_syn": 5.0}),
        (LIF, {"tau_mem": 5.0, "tau_syn": 5.0 + 1e-9}),
        (DRIVEN, {}),
        (DRIVEN, {"k": -0.5, "bias": 0.0}),
    ],
)
@pytest.mark.parametrize("dt", [0.1, 4.0])
def test_parameter_derivatives_equal_central_differences(model, changed, dt):
    derived = derive(model)
    values = {n: np.array([changed.get(n, p.value)]) for n, p in model.params.items()}
    step = Propagator(derived, values)
    for name in derived.dynamic_params:
        h = 1e-4 * max(abs(values[name][0]), 0.1)
        differences = [
            (Propagator(derived, values | {name: values[name] + k * h})(dt)
             - Propagator(derived, values | {name: values[name] - k * h})(dt)) / (2 * k * h)
            for k in (1, 2)
        ]  # fmt: skip
        wanted = (4 * differences[0] - differences[1]) / 3  # Richardson: error of order h^4
        np.testing.assert_allclose(step_derivative(step, name, dt), wanted, rtol=1e-8, atol=1e-11)
        assert np.abs(wanted).max() > 1e-6


def test_a_model_without_parameters_in_its_dynamics():
    model = NeuronModel("Fixed", {"V": 0.0}, {"v_thresh": Param(1.0)}, {"V": "1 - V / 8"}, "V - v_thresh", {"V": 0})
    step = Propagator(derive(model), {"v_thresh": np.array([1.0, 2.0])})(2.0)
    assert step.shape == (1, 2, 2)
    np.testing.assert_allclose(step[0, 0], [np.exp(-0.25), 8 * -np.expm1(-0.25)], rtol=1e-14)


def test_expm_does_not_depend_on_the_units_of_states():
    """Currents in A beside potentials in V: 1 / C = 5e9."""
    M = np.array(
        [
            [[-0.05, 5e9, 0.0], [0.0, -0.2, 1e-9], [0.0, 0.0, 0.0]],
            [[-1.0, 1e13, 0.0], [1e-14, -2.0, 0.0], [0.0, 0.0, 0.0]],
        ]
    )
    d = np.array([2.0**33, 1.0, 1.0])
    wanted = expm(M * 3.0 / d[:, None] * d) * d[:, None] / d
    np.testing.assert_allclose(expm(M * 3.0), wanted, rtol=1e-14)
