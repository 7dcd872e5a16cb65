"""The symbolic adjoint: LIF's is the rule of Wunderlich & Pehle 2021; other models by derivatives taken by hand."""

import numpy as np
import pytest
import sympy as sp

from genn_eventprop import Event, Mode, NeuronModel, Param
from genn_eventprop.adjoint import derive
from genn_eventprop.errors import ModelError
from genn_eventprop.modelling.expressions import symbol
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF

ADAPTIVE = NeuronModel(
    name="AdaptiveThreshold",
    state={"V": "v_reset", "I": 0.0, "B": 0.0},
    params={
        "tau_mem": Param(20.0, "ms"),
        "tau_syn": Param(5.0, "ms"),
        "tau_adapt": Param(100.0, "ms"),
        "strength": Param(0.3),
        "v_reset": Param(0.0),
        "v_thresh": Param(1.0),
    },
    dynamics={"V": "(I - V) / tau_mem", "I": "-I / tau_syn", "B": "-B / tau_adapt"},
    threshold="V - v_thresh - strength * B",
    reset={"V": "v_reset", "B": "B + 1"},
    input="I",
)
QUADRATIC = NeuronModel(
    name="Quadratic",
    state={"V": 0.0, "I": 0.0},
    params={"tau_mem": Param(20.0, "ms"), "tau_syn": Param(5.0, "ms")},
    dynamics={"V": "(V**2 + I) / tau_mem", "I": "-I / tau_syn"},
    threshold="V - 1",
    reset={"V": 0},
    input="I",
)


def names(*wanted):
    return [symbol(n) for n in wanted]


def jump(event, lam, gdot, rest):
    """lambda- of DESIGN's rule, `rest` = dl_p/dt + l(x-) - l(x+) + sum of D."""
    E = rest + lam.dot(event.a)
    return event.dh_dx.T * lam - event.dg_dx * E / gdot


def test_lif_has_the_equations_of_the_paper():
    V, I, tau_mem, tau_syn, v_thresh, v_reset = names("V", "I", "tau_mem", "tau_syn", "v_thresh", "v_reset")
    d = derive(LIF)
    assert d.states == ("V", "I") and d.linear
    assert sp.simplify(d.A - sp.Matrix([[-1 / tau_mem, 1 / tau_mem], [0, -1 / tau_syn]])) == sp.zeros(2, 2)
    assert d.b == sp.zeros(2, 1) and d.x0 == sp.Matrix([v_reset, 0])
    assert d.receptors == {"input": sp.Matrix([0, 1])}
    (spike,) = d.events
    assert spike.emits and spike.g == V - v_thresh and spike.h == sp.Matrix([v_reset, I])
    assert sp.simplify(spike.gdot - (I - V) / tau_mem) == 0
    assert sp.simplify(spike.a - sp.Matrix([(v_reset - I) / tau_mem, 0])) == sp.zeros(2, 1)
    assert spike.jump_states(d.x) == (I,)
    assert d.dynamic_params == ("tau_mem", "tau_syn")


def test_lif_jump_is_the_rule_of_wunderlich_and_pehle():
    """Their equation 8 in their units, with ours = -tau_mem lambda_V and -tau_syn lambda_I, reset to 0:

    lambda_V- = lambda_V+ + 1 / (tau_mem Vdot) (v_thresh lambda_V+ + w (lambda_V,m - lambda_I,m) + dl_p/dt + l- - l+).
    """
    V, I, tau_mem, tau_syn, v_thresh = names("V", "I", "tau_mem", "tau_syn", "v_thresh")
    theirs_V, theirs_I, target_V, target_I, w, loss = sp.symbols(
        "theirs_V theirs_I target_V target_I w loss", real=True
    )
    d = derive(LIF)
    at_spike = {V: v_thresh, symbol("v_reset"): 0}
    lam, target = (sp.Matrix([-tau_mem * v, -tau_syn * i]) for v, i in ((theirs_V, theirs_I), (target_V, target_I)))
    D = w * (-(d.A * d.receptors["input"])).dot(target)  # f(x-) - f(x+) of an arrival of weight w
    ours = jump(d.events[0], lam, d.events[0].gdot, loss + D).subs(at_spike)
    Vdot = (I - v_thresh) / tau_mem
    wanted_V = theirs_V + (v_thresh * theirs_V + w * (target_V - target_I) + loss) / (tau_mem * Vdot)
    assert sp.simplify(ours[0] / -tau_mem - wanted_V) == 0
    assert sp.simplify(ours[1] / -tau_syn - theirs_I) == 0


def test_lif_adjoint_dynamics_are_theirs():
    """tau_mem lambda_V' = -lambda_V and tau_syn lambda_I' = -lambda_I + lambda_V, the dash backwards in time."""
    tau_mem, tau_syn = names("tau_mem", "tau_syn")
    V, I = sp.symbols("theirs_V theirs_I", real=True)
    ours = derive(LIF).df_dx.T * sp.Matrix([-tau_mem * V, -tau_syn * I])
    assert sp.simplify(ours[0] / -tau_mem * tau_mem + V) == 0
    assert sp.simplify(ours[1] / -tau_syn * tau_syn + I - V) == 0


def test_threshold_and_reset_gradients_of_lif():
    """dg/dv_thresh = -1, dh/dv_reset = 1, dx0/dv_reset = 1: the terms that existing codes leave out."""
    d = derive(LIF)
    (spike,) = d.events
    i, r = d.params.index("v_thresh"), d.params.index("v_reset")
    assert list(spike.dg_dp) == [-1 if k == i else 0 for k in range(4)]
    assert spike.dh_dp[0, r] == 1 and sum(abs(v) for v in spike.dh_dp) == 1
    assert d.dx0_dp[0, r] == 1 and sum(abs(v) for v in d.dx0_dp) == 1


def test_an_adaptive_threshold_jumps_by_hand():
    """A history that survives the reset: gdot holds dB/dt, lambda_B- gets -(dg/dB) E / gdot."""
    V, I, B, tau_mem, tau_adapt, strength, v_reset = names(
        "V", "I", "B", "tau_mem", "tau_adapt", "strength", "v_reset"
    )  # fmt: skip
    (spike,) = derive(ADAPTIVE).events
    gdot = (I - V) / tau_mem + strength * B / tau_adapt
    assert sp.simplify(spike.gdot - gdot) == 0
    assert sp.simplify(spike.a - sp.Matrix([(v_reset - I) / tau_mem, 0, 1 / tau_adapt])) == sp.zeros(3, 1)
    lam, rest = sp.Matrix(sp.symbols("l_V l_I l_B", real=True)), sp.Symbol("rest", real=True)
    E = rest + lam[0] * (v_reset - I) / tau_mem + lam[2] / tau_adapt
    wanted = sp.Matrix([-E / gdot, lam[1], lam[2] + strength * E / gdot])
    assert sp.simplify(jump(spike, lam, spike.gdot, rest) - wanted) == sp.zeros(3, 1)
    assert spike.jump_states(derive(ADAPTIVE).x) == (I, B)  # B for the gradient of `strength`


def test_a_spikeless_model_has_no_jump():
    d = derive(LI)
    assert d.events == () and d.linear and d.dynamic_params == ("tau_mem", "tau_syn")


def test_coupling_is_the_pattern_of_the_propagator():
    assert derive(LIF).coupling == ((True, True), (False, True))
    assert derive(ADAPTIVE).coupling == ((True, True, False), (False, True, False), (False, False, True))
    cascade = NeuronModel("Cascade", {"a": 0, "b": 0, "c": 0}, {}, {"a": "b", "b": "c", "c": "-c"}, readout="a")
    assert derive(cascade).coupling == ((True, True, True), (False, True, True), (False, False, True))


def test_nonlinear_dynamics_have_no_propagator():
    d = derive(QUADRATIC)
    assert not d.linear
    for part in ("A", "b"):
        with pytest.raises(ModelError, match="Quadratic: the dynamics are not linear in the state"):
            getattr(d, part)


def test_affine_dynamics_split_into_matrix_and_drive():
    driven = NeuronModel(
        "Driven", {"V": 0.0}, {"tau": Param(20.0, "ms"), "bias": Param(1.0)}, {"V": "(bias - V) / tau"}
    )  # fmt: skip
    d, tau, bias = derive(driven), symbol("tau"), symbol("bias")
    assert d.linear and d.A == sp.Matrix([[-1 / tau]]) and sp.simplify(d.b[0] - bias / tau) == 0
    assert d.dynamic_params == ("tau", "bias")


def test_derivatives_are_those_of_the_equations():
    """df/dp, dh/dx and dg/dp by central differences at random numbers, for every model here."""
    rng = np.random.default_rng(2)
    for model in (LIF, ADAPTIVE, QUADRATIC):
        d = derive(model)
        everything = [*d.x, *d.p]
        at = dict(zip(everything, rng.uniform(0.5, 2.0, len(everything))))

        def difference(v, s, at=at, h=1e-6):
            up, down = (v.subs({**at, s: at[s] + sign * h}) for sign in (1, -1))
            return np.array((up - down) / (2 * h), dtype=float).ravel()

        for j, s in enumerate(d.x):
            np.testing.assert_allclose(np.array(d.df_dx[:, j].subs(at), float).ravel(), difference(d.f, s), atol=1e-8)
            np.testing.assert_allclose(
                np.array(d.events[0].dh_dx[:, j].subs(at), float).ravel(), difference(d.events[0].h, s), atol=1e-8
            )
        for j, s in enumerate(d.p):
            np.testing.assert_allclose(np.array(d.df_dp[:, j].subs(at), float).ravel(), difference(d.f, s), atol=1e-8)
            np.testing.assert_allclose(
                float(d.events[0].dg_dp[j].subs(at)), difference(sp.Matrix([d.events[0].g]), s)[0], atol=1e-8
            )


def test_modes_have_their_own_dynamics_and_jumps_between_them():
    """A refractory LIF: V is frozen for t_ref ms after a spike; gdot and a know the modes before and after."""
    model = NeuronModel(
        name="Refractory", state={"V": 0.0, "I": 0.0},
        params={"tau": Param(10.0, "ms"), "t_ref": Param(2.0, "ms")},
        dynamics={"V": "(I - V) / tau", "I": "-I / tau"}, input="I",
        events=[
            Event("spike", "V - 1", {"V": 0}, modes=("free",), next_mode="refractory"),
            Event("early end", "-1 - V", {"V": "V + 1"}, emits=False, next_mode="free"),
        ],
        modes=[Mode("refractory", {"V": "0"}, lasts="t_ref")],
    )  # fmt: skip
    d = derive(model)
    V, I, tau = (model.symbols()[n] for n in ("V", "I", "tau"))
    assert [(m.name, m.lasts, m.then) for m in d.modes] == [("free", None, 0), ("refractory", "t_ref", 0)]
    assert d.durations == ("t_ref",) and d.dynamic_params == ("tau",) and d.linear and d.scheme == "exact"
    assert d.modes[1].f == sp.Matrix([0, -I / tau]) and d.modes[1].df_dx[0, 1] == 0
    spike, end = d.events
    assert (spike.modes, spike.next_mode, end.modes, end.next_mode) == ((0,), 1, (0, 1), 0)
    assert set(spike.gdots) == {0} and sp.simplify(spike.gdots[0] - (I - V) / tau) == 0
    assert spike.jumps[0] == sp.Matrix([0, 0]) and end.gdots[1] == 0
    assert sp.simplify(end.jumps[1][0] + (I - V - 1) / tau) == 0
    assert sp.simplify(end.jumps[0] - sp.Matrix([1 / tau, 0])) == sp.Matrix([0, 0])


def test_scheme_is_exact_for_linear_dynamics_only():
    arguments = {"state": {"V": 0.0}, "params": {"tau": Param(10.0, "ms")}}
    nonlinear = {"dynamics": {"V": "V * V / tau"}}
    assert derive(NeuronModel("N", **arguments, **nonlinear)).scheme == "rk4"
    assert derive(NeuronModel("N", **arguments, **nonlinear, scheme="exponential_euler")).scheme == "exponential_euler"
    assert derive(NeuronModel("L", **arguments, dynamics={"V": "-V / tau"}, scheme="rk4")).scheme == "rk4"
    with pytest.raises(ModelError, match="N: the dynamics are not linear in the state, so no exact propagator"):
        derive(NeuronModel("N", **arguments, **nonlinear, scheme="exact"))
    with pytest.raises(ModelError, match="unknown scheme 'rk5' .*did you mean 'rk4'"):
        NeuronModel("N", **arguments, **nonlinear, scheme="rk5")


LOGARITHMIC = {"tau": 15.0, "v_rest": -70.0, "v_reset": -75.0, "t_0": -40.0, "a": 200.0, "tau_t": 100.0}


def test_logarithms_are_not_joined_to_powers():
    """log(u^a / v^a), as sympy joins them, overflows where a log(u) - a log(v) is small."""
    model = NeuronModel(
        name="Soft",
        state={"V": "v_rest", "theta": "t_0"},
        params={k: Param(v) for k, v in LOGARITHMIC.items()},
        dynamics={
            "V": "(v_rest - V) / tau",
            "theta": "(t_0 + a * log(1 + exp((V - v_rest) / 5)) - theta) / tau_t",
        },
        threshold="V - theta",
        reset={"V": "v_reset"},
        input="V",
    )
    d = derive(model)
    values = [*(p.value for p in model.params.values()), -40.0, -40.0]
    at_V, at_reset = np.log1p(np.exp((np.array([-40.0, -75.0]) + 70) / 5))
    assert sp.lambdify([*d.p, *d.x], d.events[0].a[1])(*values) == pytest.approx(200 * (at_V - at_reset) / 100)
