"""The gradient of one spike, by the implicit function theorem written out, and the readouts in closed form."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize_scalar

from genn_eventprop import Dense, Events, Network, losses
from genn_eventprop.engines.reference.exact.engine import ReferenceEvent
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan


@pytest.mark.parametrize(("tau_mem", "tau_syn"), [(20.0, 10.0), (17.0, 4.0), (5.0, 9.0)])
def test_implicit_function_gradient_of_one_spike(tau_mem, tau_syn):
    """V(t) = w k (e^{-s/tau_mem} - e^{-s/tau_syn}) + v0 e^{-t/tau_mem}, s = t - arrival; dt/dp = -dg/dp / Vdot.

    With a single class the loss is its extra term alone, L = alpha (exp(t / tau1) - 1).
    """
    w, v0, v_thresh, t_in, delay, alpha, tau1 = 9.0, 0.2, 1.1, 2.0, 0.75, 0.3, 9.0
    net = Network()
    inp = net.input(1)
    out = net.population(LIF(tau_mem=tau_mem, tau_syn=tau_syn, v_thresh=v_thresh, v_reset=v0), 1, name="output")
    net.connect(inp, out, Dense(w), delay=delay)
    loss = losses.FirstSpikeCrossEntropy(out, tau1=tau1, alpha=alpha)
    plan = make_plan(net, loss, dt=1.0, duration=4.0 + 20.0, spike_times="exact")
    engine = ReferenceEvent(plan, net.initial_parameters(0))
    result = engine.run(engine.load(Events.from_samples([([t_in], [0])], 1, labels=[0])), [0], training=True)
    t = result.readout[0, 0]  # since the start of the trial
    s = t - t_in - delay  # since the arrival
    k = tau_syn / (tau_mem - tau_syn)
    a, b, c = np.exp(-s / tau_mem), np.exp(-s / tau_syn), np.exp(-t / tau_mem)
    assert w * k * (a - b) + v0 * c == pytest.approx(v_thresh, abs=1e-14)
    Vdot = w * k * (-a / tau_mem + b / tau_syn) - v0 * c / tau_mem
    Vdot_of_arrival = w * k * (-a / tau_mem + b / tau_syn)  # what moves with the arrival
    dk_mem, dk_syn = -tau_syn / (tau_mem - tau_syn) ** 2, tau_mem / (tau_mem - tau_syn) ** 2
    dV = {
        "input_output.weight": k * (a - b),
        "output.tau_mem": w * dk_mem * (a - b) + w * k * a * s / tau_mem**2 + v0 * c * t / tau_mem**2,
        "output.tau_syn": w * dk_syn * (a - b) - w * k * b * s / tau_syn**2,
        "output.v_thresh": -1.0,
        "output.v_reset": c,
        "input_output.delay": -Vdot_of_arrival,
        "input_times": -Vdot_of_arrival,
    }
    dL_dt = alpha / tau1 * np.exp(t / tau1)
    if result.spike_counts["output"].sum() == 1:
        assert engine.smallest_slope == pytest.approx(Vdot, rel=1e-12)
    for name, value in dV.items():
        assert engine.full_gradients[name].item() == pytest.approx(-dL_dt * value / Vdot, rel=1e-11), name
    assert list(engine.gradients) == ["input_output.weight"]


def readout_of(loss_of, weights, times, duration=30.0):
    net = Network()
    inp, out = net.input(len(weights)), net.population(LI(tau_mem=12.0, tau_syn=4.0), 1, name="output")
    net.connect(inp, out, Dense(np.array(weights)[:, None]))
    plan = make_plan(net, loss_of(out), dt=1.0, duration=duration, spike_times="exact")
    engine = ReferenceEvent(plan, net.initial_parameters(0))
    events = Events.from_samples([(times, np.arange(len(times)))], len(weights), labels=[0])
    return engine, float(engine.run(engine.load(events), [0]).readout[0, 0])


def response(t, weights, times):
    """V(t) of an LI neuron with tau_mem 12, tau_syn 4."""
    s = np.maximum(t - np.array(times), 0.0)
    return float(np.array(weights) @ (0.5 * (np.exp(-s / 12.0) - np.exp(-s / 4.0))))


@pytest.mark.parametrize(
    "weight", ["constant", "linear", "exponential", "sigmoid", "sin(t) + t * t / T", "exp(-8 * (t - 15)**2)"]
)
def test_integral_equals_adaptive_quadrature(weight):
    w, times = [1.3, -2.0, 0.8], [2.1, 11.7, 20.0]
    engine, value = readout_of(lambda p: losses.IntegratedVoltageCrossEntropy(p, weight), w, times)
    of_time = engine.plan.loss.weight
    want, _ = quad(
        lambda t: float(of_time(np.array(t), 30.0)) * response(t, w, times) / 30.0, 0, 30,
        points=[*times, 15.0], epsabs=1e-13, limit=200,
    )  # fmt: skip
    assert value == pytest.approx(want, abs=1e-12)


def test_a_loss_that_changes_within_a_piece():
    """Cross entropy of V up to 90: its slope is a step of 0.2 ms where the two outputs cross."""
    w, times = np.array([[900.0, -400.0], [-300.0, 1000.0]]), [2.0, 7.0]
    net = Network()
    inp, out = net.input(2), net.population(LI(tau_mem=12.0, tau_syn=4.0), 2, name="output")
    net.connect(inp, out, Dense(w))
    plan = make_plan(net, losses.PerStepCrossEntropy(out), dt=1.0, duration=30.0, spike_times="exact")
    engine = ReferenceEvent(plan, net.initial_parameters(0))
    result = engine.run(
        engine.load(Events.from_samples([(times, [0, 1])], 2, labels=[0])), [0], training=True
    )  # fmt: skip

    def ahead(t):  # of the output with the label
        return response(t, w[:, 0], times) - response(t, w[:, 1], times)

    def mean(f):
        points = [*times, *(t for t in np.linspace(7.0, 30.0, 24) if abs(ahead(t)) < 300)]
        return quad(f, 0, 30, points=points, epsabs=1e-12, epsrel=1e-12, limit=2000)[0] / 30.0

    assert result.loss[0] == pytest.approx(mean(lambda t: np.logaddexp(0.0, -ahead(t))), rel=1e-10)
    of_first = mean(lambda t: -response(t, [1.0], times[:1]) / (1.0 + np.exp(np.clip(ahead(t), -700, 700))))
    assert engine.gradients["input_output.weight"][0, 0] == pytest.approx(of_first, rel=1e-10)


def test_maximum_inside_between_samples_and_at_a_kink():
    inside = [1.3, -0.1], [2.1, 25.0]
    _, value = readout_of(losses.MaxVoltageCrossEntropy, *inside)
    best = minimize_scalar(lambda t: -response(t, *inside), bounds=(2.1, 20), options={"xatol": 1e-9}, method="bounded")
    assert value == pytest.approx(-best.fun, abs=1e-14)
    engine, value = readout_of(losses.MaxVoltageCrossEntropy, [1.3, -9.0], [2.1, 5.0])
    assert value == pytest.approx(response(5.0, [1.3, -9.0], [2.1, 5.0]), abs=1e-15)
    assert engine.trials[0].readout.signature() == (("kink", 1),)
    engine, value = readout_of(losses.MaxVoltageCrossEntropy, [-1.0, -1.0], [2.1, 5.0])
    assert value == 0.0 and engine.trials[0].readout.signature() == (("edge", 0),)
    engine, value = readout_of(losses.MaxVoltageCrossEntropy, [1.0], [28.0])
    assert value == pytest.approx(response(30.0, [1.0], [28.0]), abs=1e-15)
    assert engine.trials[0].readout.signature() == (("edge", 1),)


def test_batch_gradient_is_the_mean_over_samples():
    net = Network()
    inp, hidden = net.input(2), net.population(LIF(), 3, name="hidden")
    out = net.population(LI(), 2, name="output")
    net.connect(inp, hidden, Dense([[3.0, 5.0, 4.0], [4.0, 2.0, 6.0]]))
    net.connect(hidden, out, Dense([[1.0, -0.4], [0.2, 0.9], [-0.5, 0.7]]))
    plan = make_plan(net, losses.MaxVoltageCrossEntropy(out), dt=1.0, duration=30.0, spike_times="exact")
    engine = ReferenceEvent(plan, net.initial_parameters(0))
    data = engine.load(Events.from_samples([([1.0, 2.0], [0, 1]), ([1.0, 4.0, 9.0], [1, 0, 1])], 2, labels=[0, 1]))
    each = []
    for i in range(2):
        engine.run(data, [i], training=True)
        each.append(engine.full_gradients)
    engine.run(data, [0, 1], training=True)
    for name, value in engine.full_gradients.items():
        parts = [e[name] for e in each]
        want = np.concatenate(parts) / 2 if name == "input_times" else sum(parts) / 2
        np.testing.assert_allclose(value, want, rtol=1e-13, atol=1e-18)
    assert np.any(engine.full_gradients["input_hidden.weight"])


def test_push_on_a_silent_right_class():
    """silent="end": lambda_V(T) = -tau_mem dterm/dr(T); its weight gradient in closed form."""
    net = Network()
    inp, out = net.input(1), net.population(LIF(tau_mem=20.0, tau_syn=10.0), 1, name="output")
    net.connect(inp, out, Dense(1.0))
    loss = losses.FirstSpikeCrossEntropy(out, tau1=6.4, alpha=3e-3, silent="end")
    plan = make_plan(net, loss, dt=1.0, duration=30.0, spike_times="exact")
    engine = ReferenceEvent(plan, net.initial_parameters(0))
    result = engine.run(engine.load(Events.from_samples([([4.0], [0])], 1, labels=[0])), [0], training=True)
    z = np.exp(-26.0 / 20.0)
    push = -20.0 * 3e-3 / 6.4 * np.exp(30.0 / 6.4)
    assert np.isinf(result.readout[0, 0]) and result.prediction[0] == -1
    assert engine.gradients["input_output.weight"].item() == pytest.approx(push * (z - z * z), rel=1e-12)
