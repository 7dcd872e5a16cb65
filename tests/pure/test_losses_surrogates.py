"""Surrogate gradients of losses equal their written formula, by hand for one spike of one neuron."""

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, losses
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.engines.reference.exact.engine import ReferenceEvent
from genn_eventprop.losses import TimeWeight
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan

TAU_MEM, TAU_SYN, DT, T = 20.0, 5.0, 0.5, 60.0


def kernel(u):
    """V a time u after an arrival of weight one."""
    return TAU_SYN / (TAU_MEM - TAU_SYN) * (np.exp(-u / TAU_MEM) - np.exp(-u / TAU_SYN))


def run(engine, network, loss, events, weight):
    exact = engine is ReferenceEvent
    plan = make_plan(network, loss, dt=DT, duration=T, spike_times="exact" if exact else "grid")
    e = engine(plan, network.initial_parameters(0) | {"input_output.weight": np.array(weight)})
    result = e.run(e.load(events), np.arange(len(events)), training=True)
    return result, e


@pytest.mark.parametrize("engine", [ReferenceEvent, ReferenceClock])
def test_spike_counts(engine):
    """lambda_V gets dL/dr at the own spike, at T for a silent output: dL/dw = dL/dr V(t_spike or T) / w."""
    net, gain = Network(), 0.7
    out = net.population(LIF(), 2, name="output")
    net.connect(net.input(1), out, Dense(1.0))
    events = Events.from_samples([([3.0], [0])], 1, labels=[1])
    w = np.array([[8.0, 2.0]])  # the first output spikes once, the second stays silent
    result, e = run(engine, net, losses.SpikeCountCrossEntropy(out, gain), events, w)
    assert result.spike_counts["output"].tolist() == [[1, 0]]
    p = np.exp(gain * np.array([1.0, 0.0])) / np.exp(gain * np.array([1.0, 0.0])).sum()
    dr = gain * (p - np.array([0.0, 1.0]))
    u = np.linspace(0, 8, 800001)
    t_spike = u[np.argmax(8.0 * kernel(u) >= 1.0)]
    if engine is ReferenceClock:
        t_spike = np.ceil(t_spike / DT) * DT
    expected = dr * kernel(np.array([t_spike, T - 3.0]))
    np.testing.assert_allclose(e.gradients["input_output.weight"][0], expected, rtol=1e-5)


def test_an_input_driven_weight_counts_as_constant():
    """dL/dt_in of one spike: its arrival moves V under the weight of the other spikes and its own, which stays put."""
    net = Network()
    out = net.population(LI(), 2, name="output")
    net.connect(net.input(2), out, Dense(1.0))
    weight, t_in = TimeWeight(input_tau=15.0, input_gain=20.0), np.array([4.0, 9.0])
    events = Events.from_samples([(t_in, [0, 1])], 2, labels=[0])
    w = np.array([[0.8, -0.3], [0.5, 0.4]])
    result, e = run(ReferenceEvent, net, losses.IntegratedVoltageCrossEntropy(out, weight), events, w)

    t = np.linspace(0.0, T, 600001)
    a = sum(20.0 / 15.0 * np.exp(-(t - s) / 15.0) * (t > s) for s in t_in)

    def readouts(times):
        V = sum(w[i] * (kernel(t - s) * (t > s))[:, None] for i, s in enumerate(times))
        return np.trapezoid(a[:, None] * V, t, axis=0) / T

    r = readouts(t_in)
    np.testing.assert_allclose(result.readout[0], r, atol=1e-6)
    p = np.exp(r) / np.exp(r).sum()
    h = 1e-3
    expected = [
        (p - [1.0, 0.0]) @ (readouts(t_in + h * step) - readouts(t_in - h * step)) / (2 * h) for step in np.eye(2)
    ]
    np.testing.assert_allclose(e.full_gradients["input_times"], expected, rtol=1e-3)
