"""`reference_event` forwards: closed-form spike times, no missed crossing, order of events, ends of trials, errors."""

import numpy as np
import pytest
from scipy.linalg import expm

from genn_eventprop import Dense, Events, Network, NeuronModel, Param, losses
from genn_eventprop.engines.reference.exact.engine import ReferenceEvent
from genn_eventprop.engines.reference.exact.flow import CurvedMode, LinearMode, at
from genn_eventprop.engines.reference.exact.series import (
    ORDER,
    bernstein,
    first_upward_root,
    from_powers,
    largest_inside,
    solve,
)
from genn_eventprop.errors import DataError, EngineError
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan


def one_neuron(neuron, weight, times, *, delay=0.0, out_delay=0.0, duration=50.0, **options):
    """One input channel, one hidden neuron, one LI output. Returns (engine, data)."""
    net = Network()
    inp = net.input(1)
    hidden = net.population(neuron, 1, name="hidden")
    out = net.population(LI(), 1, name="output")
    net.connect(inp, hidden, Dense(weight), delay=delay)
    net.connect(hidden, out, Dense(1.0), delay=out_delay)
    plan = make_plan(
        net, losses.IntegratedVoltageCrossEntropy(out), dt=duration, duration=duration, spike_times="exact"
    )
    engine = ReferenceEvent(plan, net.initial_parameters(0), **options)
    return engine, engine.load(Events.from_samples([(times, np.zeros(len(times), int))], 1, labels=[0]))


def spike_times(engine, data):
    return engine.run(data, [0], record_spikes=True).spikes["hidden"].time


def closed_form(weight, tau_mem=20.0):
    """LIF with tau_mem = 2 tau_syn, V(0) = 0, one spike at 0: V = w (z - z^2), z = exp(-t / tau_mem)."""
    return -tau_mem * np.log(0.5 * (1 + np.sqrt(1 - 4 / weight)))


@pytest.mark.parametrize("weight", [4.0001, 4.5, 7.0, 30.0, 2000.0])
def test_spike_time_equals_the_closed_form(weight):
    engine, data = one_neuron(LIF(tau_mem=20.0, tau_syn=10.0), weight, [3.25], delay=1.5)
    assert spike_times(engine, data)[0] == pytest.approx(4.75 + closed_form(weight), rel=0, abs=1e-10)


def test_peaks_just_above_threshold_spike():
    above, data = one_neuron(LIF(tau_mem=20.0, tau_syn=10.0), 4 * (1 + 1e-11), [3.0])
    assert len(spike_times(above, data)) == 1
    below, data = one_neuron(LIF(tau_mem=20.0, tau_syn=10.0), 4 * (1 - 1e-11), [3.0])
    assert len(spike_times(below, data)) == 0


def test_equal_time_constants_are_no_special_case():
    engine, data = one_neuron(LIF(tau_mem=10.0, tau_syn=10.0), 6.0, [0.0])
    t = spike_times(engine, data)[0]
    assert 6.0 * t / 10.0 * np.exp(-t / 10.0) == pytest.approx(1.0, abs=1e-14)
    near, data = one_neuron(LIF(tau_mem=10.0, tau_syn=10.0 * (1 + 1e-12)), 6.0, [0.0])
    assert spike_times(near, data)[0] == pytest.approx(t, abs=1e-10)


def test_no_crossing_is_missed_against_dense_sampling():
    """300 random LIF trajectories sampled every 2 us: the same neurons spike, at the same time."""
    rng = np.random.default_rng(0)
    N, span = 300, 40.0
    A = np.array([[-1 / 17.0, 1 / 17.0], [0.0, -1 / 4.0]])
    flow = LinearMode(np.block([[A, np.zeros((2, 1))], [np.zeros((1, 3))]])[None], 4.0)
    x = np.stack([rng.uniform(-0.5, 0.999, N), rng.uniform(-1, 12, N)])
    C, _ = flow.start(x, np.arange(N), np.zeros(N, bool))
    g = C[:, 0].copy()
    g[0] -= 1.0
    found = [first_upward_root(g[:, i], b) for i, b in enumerate(bernstein(g).T)]
    step, y = expm(A * 2e-3), x.copy()
    first = np.full(N, np.inf)
    for k in range(1, int(flow.span / 2e-3) + 1):
        y = step @ y
        first = np.where((y[0] >= 1) & np.isinf(first), k * 2e-3, first)
    times = np.array([np.inf if u is None else u * flow.span for u in found])
    assert 50 < np.isfinite(times).sum() < 250 and span > flow.span
    np.testing.assert_array_equal(np.isfinite(first) & (first <= flow.span), np.isfinite(times) & (times <= flow.span))
    both = np.isfinite(times) & np.isfinite(first)
    assert np.all(np.abs(first[both] - times[both]) <= 2e-3)


def test_two_crossings_in_a_piece_and_a_tangent():
    powers = np.zeros(ORDER + 1)
    powers[:3] = -0.21, 1.0, -1.0  # (u - 0.3)(0.7 - u): up at 0.3, down at 0.7
    u = from_powers() @ powers
    assert first_upward_root(u, bernstein(u)) == pytest.approx(0.3, abs=1e-15)
    down = -u  # above, down at 0.3, up at 0.7
    assert first_upward_root(down, bernstein(down)) == pytest.approx(0.7, abs=1e-15)
    for above, found in ((1e-10, True), (-1e-10, False)):  # all but touches zero at 0.5
        powers[0] = -0.25 + above
        u = from_powers() @ powers
        assert (first_upward_root(u, bernstein(u)) is not None) == found
    top, value = largest_inside(u, bernstein(u), -1.0)
    assert top == pytest.approx(0.5, abs=1e-12) and value == pytest.approx(-1e-10, abs=1e-16)
    for slope in (-1e-14, 0.0, 1e-14):  # falls from the start: what rounding makes of a slope of 0 is no maximum
        powers[:4] = -5.0, slope, -1.0, 0.5
        u = from_powers() @ powers
        assert largest_inside(u, bernstein(u), -10.0)[0] is None
    cubic = from_powers()[:, 3] - 0.125 * from_powers()[:, 0]  # u^3 - 1/8
    assert solve(cubic, 0.0, 1.0) == pytest.approx(0.5, abs=1e-15)


def test_flow_equals_the_matrix_exponential():
    rng = np.random.default_rng(1)
    M = np.zeros((5, 4, 4))
    M[:, :3] = rng.normal(0, 0.4, (5, 3, 4))
    M[0, :3, :3] = [[-0.1, 2.0, 0], [-2.0, -0.1, 0], [0, 0, -1e-3]]
    flow = LinearMode(M, 30.0)
    x, neurons = rng.normal(size=(3, 5)), np.arange(5)
    u = rng.uniform(0.2, 1.0, 5)
    exact = [expm(M[i] * u[i] * flow.span) for i in range(5)]
    want = np.stack([(e @ np.append(x[:, i], 1.0))[:3] for i, e in enumerate(exact)], axis=1)
    series, span = flow.start(x, neurons, np.zeros(len(neurons), bool))
    np.testing.assert_allclose(at(series, u), want, atol=1e-14)
    psi = np.moveaxis(at(flow.psi(series, neurons, span), u), -1, 0)
    np.testing.assert_allclose(psi, [e[:3, :3] for e in exact], atol=1e-14)


def test_collocation_equals_closed_forms_to_rounding():
    """Logistic growth x' = r x (1 - x) with closed form, and its derivative by x(0); rates that differ by neuron."""
    rate = np.array([0.3, 1.0, 40.0])
    f = lambda x, lanes: rate[lanes] * x * (1 - x)  # noqa: E731
    df = lambda x, lanes: (rate[lanes] * (1 - 2 * x))[None]  # noqa: E731
    flow = CurvedMode(f, df, 1, 3, 100.0)
    x, lanes = np.array([[0.01, 0.5, 0.2]]), np.arange(3)
    series, span = flow.start(x, lanes, np.zeros(len(lanes), bool))
    assert np.all(span[:2] > span[2]) and np.all(span * rate > 0.5)
    for u in (0.3, 1.0):
        e = np.exp(rate * u * span)
        whole = 1 - x[0] + x[0] * e
        np.testing.assert_allclose(at(series, np.full(3, u))[0], x[0] * e / whole, rtol=1e-14)
        psi = at(flow.psi(series, lanes, span), np.full(3, u))[0, 0]
        np.testing.assert_allclose(psi, e / whole**2, rtol=2e-14)


def test_result_does_not_depend_on_dt():
    losses_seen = []
    for dt in (0.1, 5.0):
        net = Network()
        inp, hidden = net.input(3), net.population(LIF(v_reset=-0.2), 4, name="hidden")
        out = net.population(LI(), 2, name="output")
        net.connect(inp, hidden, Dense(2.0), delay=0.7)
        net.connect(hidden, hidden, Dense(0.3))
        net.connect(hidden, out, Dense([[1.0, -1.0]] * 4))
        loss = losses.MaxVoltageCrossEntropy(out)
        engine = ReferenceEvent(
            make_plan(net, loss, dt=dt, duration=40.0, spike_times="exact"), net.initial_parameters(0)
        )
        data = engine.load(Events.from_samples([([1.0, 2.0, 2.5, 9.0], [0, 1, 2, 0])], 3, labels=[0]))
        losses_seen.append(float(engine.run(data, [0]).loss[0]))
    assert losses_seen[0] == losses_seen[1]


def test_crossings_come_before_arrivals():
    """Two equal neurons, each the other's target at no delay: both cross first, then both arrivals act."""
    net = Network()
    inp, hidden = net.input(1), net.population(LIF(), 2, name="hidden")
    out = net.population(LI(), 1, name="output")
    net.connect(inp, hidden, Dense(9.0))
    net.connect(hidden, hidden, Dense([[0.0, -50.0], [-50.0, 0.0]]))
    net.connect(hidden, out, Dense(1.0))
    plan = make_plan(net, losses.IntegratedVoltageCrossEntropy(out), dt=1.0, duration=30.0, spike_times="exact")
    engine = ReferenceEvent(plan, net.initial_parameters(0))
    spikes = engine.run(
        engine.load(Events.from_samples([([1.0], [0])], 1, labels=[0])), [0], record_spikes=True
    ).spikes["hidden"]
    assert spikes.neuron.tolist() == [0, 1] and spikes.time[0] == spikes.time[1]
    order = engine.trials[0].recording.order()["hidden"]
    assert order == [("input_hidden", 0), ("", 0), ("", 1), ("hidden_hidden", 0), ("hidden_hidden", 1)]


def test_a_spike_at_the_end_counts_and_has_no_targets():
    end = closed_form(5.0)
    engine, data = one_neuron(LIF(tau_mem=20.0, tau_syn=10.0), 5.0, [0.0], duration=end * (1 + 1e-12))
    assert len(spike_times(engine, data)) == 1
    assert [name for name, _ in engine.trials[0].recording.order()["output"]] == ["hidden_output"]
    engine, data = one_neuron(LIF(tau_mem=20.0, tau_syn=10.0), 5.0, [0.0], duration=end * (1 - 1e-12))
    assert len(spike_times(engine, data)) == 0
    engine, data = one_neuron(LIF(tau_mem=20.0, tau_syn=10.0), 5.0, [0.0], duration=end + 1.0, out_delay=1.5)
    assert len(spike_times(engine, data)) == 1
    assert engine.trials[0].recording.order()["output"] == []


def test_runaway_population_is_an_error_that_names_it():
    net = Network()
    inp, hidden = net.input(1), net.population(LIF(), 3, name="loop")
    out = net.population(LI(), 1, name="output")
    net.connect(inp, hidden, Dense(30.0))
    net.connect(hidden, hidden, Dense(40.0))
    net.connect(hidden, out, Dense(1.0))
    plan = make_plan(net, losses.IntegratedVoltageCrossEntropy(out), dt=1.0, duration=50.0, spike_times="exact")
    engine = ReferenceEvent(plan, net.initial_parameters(0), max_spikes=500)
    data = engine.load(Events.from_samples([([1.0], [0])], 1, labels=[0]))
    with pytest.raises(EngineError, match=r"population 'loop' emitted more than 500 spikes in the trial of sample 0"):
        engine.run(data, [0])


def test_grid_plans_and_unlabelled_training_are_refused():
    net = Network()
    inp, out = net.input(1), net.population(LIF(), 1, name="output")
    net.connect(inp, out, Dense(6.0))
    loss = losses.FirstSpikeCrossEntropy(out)
    with pytest.raises(EngineError, match="spike_times='exact' only"):
        ReferenceEvent(make_plan(net, loss, dt=1.0, duration=20.0), net.initial_parameters(0))
    engine = ReferenceEvent(make_plan(net, loss, dt=1.0, duration=20.0, spike_times="exact"), net.initial_parameters(0))
    with pytest.raises(EngineError, match="needs a label"):
        engine.run(engine.load(Events.from_samples([([1.0], [0])], 1)), [0], training=True)
    with pytest.raises(DataError, match="outside the trial"):
        engine.load(Events.from_samples([([21.0], [0])], 1, labels=[0]))


def test_curved_and_straight_thresholds_agree():
    """V^3 + V = 2 where V = 1; and dynamics written so that they look nonlinear give the closed form of LIF."""
    times = []
    for changes in ({}, {"threshold": "V**3 + V - 2"}, {"dynamics": {"V": "sqrt((I - V)**2) / 20", "I": "-I / 10"}}):
        model = NeuronModel(
            **{
                "name": "Curved", "state": {"V": 0.0, "I": 0.0}, "params": {},
                "dynamics": {"V": "(I - V) / 20", "I": "-I / 10"}, "threshold": "V - 1", "reset": {"V": 0},
                "input": "I",
            } | changes
        )  # fmt: skip
        times.append(spike_times(*one_neuron(model, 7.0, [0.0], duration=8.0)))
    assert times[0] == pytest.approx([closed_form(7.0)], abs=1e-13)
    np.testing.assert_allclose(times[1:], [times[0]] * 2, atol=1e-13)


def test_dynamics_that_blow_up_name_population_sample_and_time():
    """V' = V^2 with V(0) = 0.1 diverges at 10 ms; with a threshold it spikes before."""
    model = NeuronModel(
        "Quadratic", {"V": 0.1}, {"v_peak": Param(10.0)}, {"V": "V * V"}, "V - v_peak", {"V": 0.0}, input="V"
    )
    assert spike_times(*one_neuron(model, 0.0, [1.0]))[0] == pytest.approx(10.0 - 1 / 10.0, abs=1e-12)
    engine, data = one_neuron(model(v_peak=1e300), 0.0, [1.0])
    message = "population 'hidden': the dynamics of Quadratic diverge in neuron 0 .* of sample 0, at 10 ms of 50"
    with pytest.raises(EngineError, match=message):
        engine.run(data, [0])


def test_data_of_a_grid_engine_is_refused():
    engine, data = one_neuron(LIF(), 6.0, [1.0])
    grid = engine.load(Events.from_samples([([1.0], [0])], 1, labels=[0]))
    object.__setattr__(grid, "times", None)
    with pytest.raises(EngineError, match="loaded for spikes on the grid"):
        engine.run(grid, [0])
