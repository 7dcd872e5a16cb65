"""`reference_clock` against numbers worked out by hand: one neuron, one spike, one gradient at a time."""

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Param, losses
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.errors import EngineError
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan

MEM, SYN = 20.0, 5.0


def kernel(t):
    """V at t after a unit arrival at 0: ts / (tm - ts) (e^-t/tm - e^-t/ts)."""
    return SYN / (MEM - SYN) * (np.exp(-t / MEM) - np.exp(-t / SYN))


def one_neuron(weight, dt=1.0, duration=20.0, delay=0.0, **values):
    """One input channel, one output neuron, the exponential first-spike term with alpha = 1, tau1 = 10."""
    net = Network()
    output = net.population(LIF(**values), 1, name="output")
    net.connect(net.input(1), output, Dense(np.array([[weight]])), delay=delay)
    loss = losses.FirstSpikeCrossEntropy(output, tau0=1.0, tau1=10.0, alpha=1.0)
    plan = make_plan(net, loss, dt=dt, duration=duration)
    return ReferenceClock(plan, net.initial_parameters(0))


def trial(engine, times, label=0, **run):
    events = Events.from_samples([(times, [0] * len(times))], n_channels=1, labels=[label])
    return engine.run(engine.load(events), [0], record_spikes=True, **run)


@pytest.mark.parametrize(
    ("dt", "arrival", "delay"), [(1.0, 0.0, 0.0), (0.5, 3.0, 0.0), (1.0, 2.0, 3.0), (0.1, 1.0, 0.5)]
)
def test_one_spike_and_its_gradient(dt, arrival, delay):
    """The spike stands at the first grid time with V >= 1; dL/dw = -dL/dt V_k / (w gdot), gdot the secant."""
    w = 10.0
    engine = one_neuron(w, dt, delay=delay)
    result = trial(engine, [arrival], training=True)
    start = arrival + delay
    k = next(k for k in range(1, 400) if w * kernel(k * dt) >= 1.0)
    t = start + k * dt
    first = result.spikes["output"].time[0]
    assert first == pytest.approx(t, abs=1e-12) and result.readout[0, 0] == pytest.approx(t, abs=1e-12)
    assert result.loss[0] == pytest.approx(np.exp(t / 10.0) - 1.0, rel=1e-13)
    V, before = w * kernel(k * dt), w * kernel((k - 1) * dt)
    gdot = (V - before) / dt
    assert engine.gradients["input_output.weight"][0, 0] == pytest.approx(
        -np.exp(t / 10.0) / 10.0 / gdot * V / w, rel=1e-12
    )
    assert result.guarded == 0


def test_the_neuron_parameters_of_one_spike():
    """dL/dp = -dL/dt (dV/dp - dtheta/dp) / gdot for V(t) = w K(t; tm, ts) + v_reset e^-t/tm, by differences of V."""
    w, values = 10.0, {"tau_mem": MEM, "tau_syn": SYN, "v_thresh": 1.0, "v_reset": -0.2}

    def V(k, tau_mem, tau_syn, v_thresh, v_reset):
        mem, syn = np.exp(-k / tau_mem), np.exp(-k / tau_syn)
        return w * tau_syn / (tau_mem - tau_syn) * (mem - syn) + v_reset * mem - v_thresh

    k = next(k for k in range(20) if V(k, **values) >= 0)
    units = {n: "ms" if n.startswith("tau") else "" for n in values}
    engine = one_neuron(w, **{n: Param(v, units[n], trainable=True) for n, v in values.items()})
    result = trial(engine, [0.0], training=True)
    # a second spike would come after the one that the loss reads: its jump is empty
    assert result.spikes["output"].time[0] == k
    gdot = V(k, **values) - V(k - 1, **values)
    for name, value in values.items():
        h = 1e-5
        dV = (V(k, **(values | {name: value + h})) - V(k, **(values | {name: value - h}))) / (2 * h)
        wanted = -np.exp(k / 10.0) / 10.0 * dV / gdot
        assert engine.gradients[f"output.{name}"][0] == pytest.approx(wanted, rel=1e-8), name


def test_the_reset_takes_v_and_leaves_i():
    engine = one_neuron(10.0, v_reset=0.3)
    events = Events.from_samples([([0.0], [0])], n_channels=1, labels=[0])
    record = engine.record(engine.load(events), [0])["output"]
    V, current, steps = record["V"][0, :, 0], record["I"][0, :, 0], np.arange(20)
    np.testing.assert_allclose(current, 10.0 * np.exp(-steps / SYN), rtol=1e-13)
    free = 10.0 * kernel(steps) + 0.3 * np.exp(-steps / MEM)
    k = int(np.argmax(free >= 1.0))
    np.testing.assert_allclose(V[:k], free[:k], rtol=1e-12)
    assert V[k] == 0.3
    np.testing.assert_allclose(
        V[k + 1], 0.3 * np.exp(-1 / MEM) + current[k] * kernel(1.0), rtol=1e-12
    )  # free again, from the reset and the current that is left
    assert set(record) == {"V", "I", "lambda_V", "lambda_I"} and record["lambda_V"].shape == (1, 20, 1)
    assert not engine.gradients["input_output.weight"].any(), "looking at the adjoint must not change the gradients"


def test_two_integrals_share_a_softmax():
    """r_c = w_c / T int K, an arrival at s; dL/dw_c = (p_c - delta_c) r_c / w_c, exact for any dt."""
    T, s, w = 30.0, 4.0, np.array([[2.0, -1.0]])
    net = Network()
    output = net.population(LI(), 2, name="output")
    net.connect(net.input(1), output, Dense(w))
    primitive = SYN / (MEM - SYN) * (MEM * -np.expm1(-(T - s) / MEM) - SYN * -np.expm1(-(T - s) / SYN))
    r = w[0] * primitive / T
    p = np.exp(r) / np.exp(r).sum()
    for dt in (0.5, 2.0):
        plan = make_plan(net, losses.IntegratedVoltageCrossEntropy(output), dt=dt, duration=T)
        engine = ReferenceClock(plan, net.initial_parameters(0))
        result = trial(engine, [s], label=1, training=True)
        np.testing.assert_allclose(result.readout[0], r, rtol=1e-12)
        assert result.loss[0] == pytest.approx(-np.log(p[1]), rel=1e-12) and result.prediction[0] == 0
        np.testing.assert_allclose(
            engine.gradients["input_output.weight"][0], (p - [0, 1]) * primitive / T, rtol=1e-12
        )  # fmt: skip


def test_the_largest_voltage_and_its_gradient():
    """max over the grid of w K(t - s): dL/dw_c = (p_c - delta_c) max K for w > 0; for w < 0 the maximum is 0 at 0."""
    net = Network()
    output = net.population(LI(), 2, name="output")
    net.connect(net.input(1), output, Dense(np.array([[2.0, -1.0]])))
    plan = make_plan(net, losses.MaxVoltageCrossEntropy(output), dt=0.5, duration=30.0)
    engine = ReferenceClock(plan, net.initial_parameters(0))
    result = trial(engine, [4.0], label=0, training=True)
    largest = kernel(np.arange(0.0, 26.1, 0.5)).max()
    np.testing.assert_allclose(result.readout[0], [2.0 * largest, 0.0], rtol=1e-12)
    p0 = 1.0 / (1.0 + np.exp(-2.0 * largest))
    np.testing.assert_allclose(
        engine.gradients["input_output.weight"][0], [(p0 - 1.0) * largest, 0.0], rtol=1e-12
    )  # fmt: skip


def test_a_hidden_spike_moves_the_output():
    """Chain rule through one hidden spike at t_h: dL/dw_1 = dL/dr dr/dt_h dt_h/dw_1, dr/dt_h = -w_2 K(T - t_h) / T.

    The integral of the output's V over [t_h, T] shrinks by its value at T when t_h comes later.
    """
    T, w1, w2 = 30.0, 10.0, np.array([[2.0, -1.0]])
    net = Network()
    hidden = net.population(LIF(), 1, name="hidden")
    output = net.population(LI(), 2, name="output")
    net.connect(net.input(1), hidden, Dense(w1))
    net.connect(hidden, output, Dense(w2))
    plan = make_plan(net, losses.IntegratedVoltageCrossEntropy(output), dt=1.0, duration=T)
    engine = ReferenceClock(plan, net.initial_parameters(0))
    result = trial(engine, [0.0], label=1, training=True)
    k = next(k for k in range(30) if w1 * kernel(k) >= 1.0)
    times = result.spikes["hidden"].time
    assert times.tolist() == [k]
    r = result.readout[0]
    p = np.exp(r) / np.exp(r).sum()
    dr_dt = -w2[0] * kernel(T - k) / T
    gdot = w1 * (kernel(k) - kernel(k - 1))
    wanted = ((p - [0, 1]) * dr_dt).sum() * -kernel(k) / gdot
    assert engine.gradients["input_hidden.weight"][0, 0] == pytest.approx(wanted, rel=1e-11)


def test_a_slope_that_is_not_positive_is_guarded_and_counted():
    """The floor replaces the secant where the secant is smaller, and every time is counted."""
    engine = one_neuron(10.0)
    trial(engine, [0.0], training=True)
    exact = engine.gradients["input_output.weight"].copy()
    k = next(k for k in range(20) if 10.0 * kernel(k) >= 1.0)
    secant = 10.0 * (kernel(k) - kernel(k - 1))
    floored = ReferenceClock(engine.plan, engine.parameters, slope_floor=2 * secant)
    assert trial(floored, [0.0], training=True).guarded >= 1
    np.testing.assert_allclose(floored.gradients["input_output.weight"], exact / 2, rtol=1e-12)


def test_exact_spike_times_are_refused():
    net = Network()
    output = net.population(LIF(), 1, name="output")
    net.connect(net.input(1), output, Dense(1.0))
    plan = make_plan(net, losses.FirstSpikeCrossEntropy(output), dt=1.0, duration=9.0, spike_times="exact")
    with pytest.raises(EngineError, match="reference_clock runs spike_times='grid' only; use engine='native'"):
        ReferenceClock(plan, net.initial_parameters(0))
