"""Time weights: the integral over steps is exact for polynomials and exponentials, 1e-9 for the sigmoid."""

import numpy as np
import pytest
import scipy.integrate

from genn_eventprop import Dense, Network, NeuronModel, Param, losses
from genn_eventprop.errors import LossError
from genn_eventprop.losses import TimeWeight
from genn_eventprop.models.li import LI
from genn_eventprop.plan import coefficients, make_plan
from genn_eventprop.plan.coefficients import weight_coefficients

DURATION = 40.0
EXACT = ["constant", "linear", "exponential", "(t / T)**3 * exp(-2 * t / T) + 0.5", "exp(-t / 7) - exp(-t / 3)"]


def quad(f, a, b):
    return scipy.integrate.quad(f, a, b, epsabs=2e-14, epsrel=1e-13, limit=200)[0]


@pytest.mark.parametrize("weight", [*EXACT, "sigmoid", "cos(t / 5)**2"])
@pytest.mark.parametrize("dt", [0.5, 5.0, 10.0])
def test_a_step_integrates_weight_times_any_smooth_function(weight, dt):
    """int_0^dt w(t_k + s) y(s) ds = sum_j c[k, j] sum_q phi[j, q] y(s_q) for y a decaying oscillation."""
    w, n_steps = TimeWeight(weight), int(DURATION / dt)
    c, nodes, phi = w.basis(dt, n_steps)
    y = lambda s: np.exp(-s / 6.0) * np.cos(0.3 * s)  # noqa: E731
    for k in (0, 1, n_steps // 2, n_steps - 1):
        wanted = quad(lambda s, k=k: float(w(np.array(k * dt + s), DURATION)) * y(s), 0.0, dt)
        tolerance = 1e-12 if weight in EXACT else 1e-9 if weight == "sigmoid" else 1e-8
        assert c[k] @ phi @ y(nodes) == pytest.approx(wanted, rel=tolerance, abs=1e-13)


@pytest.mark.parametrize(
    ("weight", "formula"),
    [
        ("constant", lambda t: 1.0 + 0 * t),
        ("linear", lambda t: 1.0 - t / DURATION),
        ("exponential", lambda t: np.exp(-t / DURATION)),
        ("sigmoid", lambda t: 1.0 / (1.0 + np.exp((t / DURATION - 0.5) / 0.2))),
    ],
)
def test_named_weights_are_those_of_the_paper(weight, formula):
    t = np.linspace(0.0, DURATION, 9)
    np.testing.assert_allclose(TimeWeight(weight)(t, DURATION), formula(t), rtol=1e-14)


def test_only_polynomials_and_exponentials_are_split():
    assert [len(TimeWeight(w).split[0]) for w in EXACT[:3]] == [1, 2, 1]
    assert TimeWeight("sigmoid").split is None and TimeWeight("cos(t)").split is None
    assert TimeWeight("sigmoid").basis(1.0, 4)[0].shape == (4, 6)
    assert TimeWeight("sigmoid").basis(10.0, 4)[0].shape == (4, 20)
    for name in ("linear", "sigmoid"):
        assert [TimeWeight(name).size(dt) for dt in (1.0, 10.0)] == [
            TimeWeight(name).basis(dt, 4)[0].shape[1] for dt in (1.0, 10.0)
        ]
    assert TimeWeight("1 / (T - 1)").size(1.0) == 1, "the number of functions must not need a trial of one step"


def integral_of_trial(weight, model, values, x0, dt):
    """1/T int w V dt of a free trial from x0, by the plan's coefficients."""
    net = Network()
    output = net.population(model, 2, name="output")
    net.connect(net.input(1), output, Dense(1.0))
    loss = losses.IntegratedVoltageCrossEntropy(output, weight)
    plan = make_plan(net, loss, dt=dt, duration=DURATION)
    k = coefficients(plan, plan.output, values)
    weights = weight_coefficients(plan)
    assert weights.shape == (plan.n_steps, len(k.u))
    x, total = np.array(x0), 0.0
    for step in range(plan.n_steps):
        total += weights[step] @ (k.u[:, 0] @ x + k.u0[:, 0])
        x = k.P[0] @ x + k.c[0]
    return total


@pytest.mark.parametrize("weight", [*EXACT, "sigmoid"])
@pytest.mark.parametrize("dt", [0.1, 1.0, 5.0])
def test_the_readout_of_a_trial_is_the_integral(weight, dt):
    """V(t) = e^-t/tm V0 + I0 ts / (tm - ts) (e^-t/tm - e^-t/ts), integrated by SciPy: no error of order dt."""
    tau_mem, tau_syn, V0, I0 = 20.0, 5.0, 0.3, 1.7
    values = {"tau_mem": np.array([tau_mem]), "tau_syn": np.array([tau_syn])}
    w = TimeWeight(weight)

    def integrand(t):
        mem, syn = np.exp(-t / tau_mem), np.exp(-t / tau_syn)
        V = mem * V0 + I0 * tau_syn / (tau_mem - tau_syn) * (mem - syn)
        return float(w(np.array(t), DURATION)) * V / DURATION

    got = integral_of_trial(weight, LI(), values, [V0, I0], dt)
    assert got == pytest.approx(quad(integrand, 0.0, DURATION), rel=1e-9 if weight == "sigmoid" else 1e-12)


def test_a_constant_drive_enters_the_integral():
    driven = NeuronModel("Driven", {"V": 0.0}, {"tau": Param(8.0, "ms"), "bias": Param(0.7)}, {"V": "(bias - V) / tau"},
                         input="V")  # fmt: skip
    values = {"tau": np.array([8.0]), "bias": np.array([0.7])}
    got = integral_of_trial("exponential", driven(), values, [0.2], 1.0)
    wanted = quad(lambda t: np.exp(-t / DURATION) * (0.7 - 0.5 * np.exp(-t / 8.0)) / DURATION, 0.0, DURATION)
    assert got == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ("quadratic", r"time weight: unknown symbol 'quadratic'.*write it in t and T, or use one of constant, linear"),
        ("1 / 0", r"time weight: .*no finite real value"),
        ("t >", r"time weight: 't >' is not an expression"),
    ],
)
def test_wrong_weights_are_refused_when_written(weight, message):
    with pytest.raises(LossError, match=message):
        TimeWeight(weight)


def test_weights_that_are_not_finite_in_the_trial_are_refused():
    with pytest.raises(LossError, match=r"time weight '1 / t' is not finite at t = 0 ms of 40 ms"):
        TimeWeight("1 / t").basis(1.0, 40)
    with pytest.raises(LossError, match=r"'log\(30 - t\)' is not finite at t = 30 ms"):
        TimeWeight("log(30 - t)").basis(1.0, 40)


@pytest.mark.parametrize(
    "weight", ["1 / (t - 33.31)", "t / (t - 33.31)**2", "1 / abs(t - 33.31)", "log(abs(t - 33.31))", "tan(t / 21.2)"]
)
def test_poles_between_steps_are_refused(weight):
    with pytest.raises(LossError, match=r"is not finite between t = 33 and 34 ms of 40 ms"):
        TimeWeight(weight).check(40.0, 1.0)
    with pytest.raises(LossError, match=r"is not finite between t = 33.28 and 33.32 ms of 40 ms"):
        TimeWeight(weight).check(40.0, None)
    TimeWeight(weight, window=(0.0, 30.0)).check(40.0, 1.0)
    TimeWeight("exp(t - 33) / (1 + abs(t - 33.31)) + 1 / (T + t) + tanh(t - 20)").check(40.0, 1.0)
