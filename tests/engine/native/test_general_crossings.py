"""No crossing is missed and none is invented, with exact spike times of neurons without a closed form on `native`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from genn_eventprop import Dense, Network, NeuronModel, Param, engines, losses
from genn_eventprop.data import Events
from genn_eventprop.errors import EngineError
from genn_eventprop.losses.readout import TimeWeight
from genn_eventprop.modelling.neuron import Event, Mode
from genn_eventprop.models.adex import AdEx
from genn_eventprop.models.eif import EIF
from genn_eventprop.models.izhikevich import Izhikevich
from genn_eventprop.models.li import LI
from genn_eventprop.models.qif import QIF
from genn_eventprop.plan import make_plan

TURNING = NeuronModel(
    name="Turning", state={"angle": 0.0, "I": 0.0, "lower": 0.0},
    params={"omega": Param(0.7, "1/ms"), "height": Param(0.9)},
    dynamics={"angle": "omega + I", "I": "-I / 5", "lower": "-5 * lower"}, threshold="sin(angle) - height - lower",
    reset={"lower": "1"}, input="I", readout="angle",
)  # fmt: skip
"""g = sin(omega t) - height crosses zero at known times, and near its top twice within as short a time as one likes; a
spike lowers it for a moment."""
RISING = NeuronModel(
    name="Rising", state={"V": 0.0, "I": 0.0}, params={"tau": Param(5.0, "ms")},
    dynamics={"V": "(I - tanh(V)) / tau", "I": "-I / tau"}, input="I",
)  # fmt: skip


def spike_times(neuron, weight, times, duration, engine="native", size=1, **options):
    net = Network()
    hidden = net.population(neuron, size, "hidden")
    output = net.population(LI(), 1, "output")
    net.connect(net.input(1), hidden, Dense(weight))
    net.connect(hidden, output, Dense(0.1))
    loss = losses.EndVoltageCrossEntropy(output)
    plan = make_plan(net, loss, dt=1.0, duration=duration, spike_times="exact")
    if engine == "native":
        options = {"dtype": "float64", "threads": 1} | options
    made = engines.create(plan, net.initial_parameters(1), engine=engine, **options)
    events = Events.from_samples([(np.array(times), np.zeros(len(times), int))], n_channels=1, labels=[0])
    spikes = made.run(made.load(events), np.arange(1), record_spikes=True).spikes["hidden"]
    return spikes.time[np.argsort(spikes.neuron, kind="stable")]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("below", [1e-2, 1e-5, 1e-8])
def test_two_crossings_of_one_piece_are_both_seen(below):
    turns = 2 * np.pi * np.arange(11)
    expected = (np.arcsin(1 - below) + turns) / 0.7
    found = spike_times(TURNING(height=1 - below), 0.0, [1.0], 95.0)
    # where g has slope cos(angle), an error of 1e-10 in g is one of 1e-10 / cos(angle) in time
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 / np.sqrt(2 * below))


@pytest.mark.parametrize("above", [1e-2, 1e-5, 1e-8])
def test_what_only_comes_near_the_threshold_does_not_cross(above):
    assert len(spike_times(TURNING(height=1 + above), 0.0, [1.0], 95.0)) == 0


@pytest.mark.ci
def test_crossings_right_after_an_arrival():
    delta = replace(
        EIF, name="Pushed", state={"V": 0.0}, params={"tau": Param(10.0, "ms")}, dynamics={"V": "(V * V + 1) / tau"},
        threshold="V - 3", reset={"V": "0"}, input="V", events=(), drives={},
    )  # fmt: skip
    before = np.tan(0.2)  # V at 2 ms
    for gap in (1e-3, 1e-9, 1e-12):
        found = spike_times(delta(), 3.0 - gap - before, [2.0], 4.0)
        assert len(found) == 1 and 2.0 <= found[0] < 2.0 + 1.1 * gap + 1e-12


@pytest.mark.ci
def test_a_reset_beyond_the_threshold_waits_for_g_below():
    leaking = NeuronModel(
        name="Leaking", state={"V": 0.0}, params={"tau": Param(10.0, "ms")}, dynamics={"V": "-V * V / tau"},
        threshold="V - 1", reset={"V": "V - 0.3"}, input="V",
    )  # fmt: skip
    times = [1.0, 2.0, 15.0, 40.0]
    expected = spike_times(leaking(), 2.0, times, 60.0, "reference_event")
    assert 2 <= len(expected) < len(times)  # the second arrival finds g above zero
    np.testing.assert_allclose(spike_times(leaking(), 2.0, times, 60.0), expected, rtol=0, atol=1e-10)


STEEP = {
    "AdEx": (AdEx(v_peak=-10.0), 3000.0),
    "EIF": (EIF(v_peak=0.0), 60.0),
    "Izhikevich": (Izhikevich(v_peak=300.0), 40.0),
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", STEEP)
def test_steep_upstrokes(name):
    neuron, weight = STEEP[name]
    coarse, fine = (spike_times(neuron, weight, [1.0, 9.0, 17.0, 25.0], 40.0, tolerance=t) for t in (1e-10, 1e-15))
    assert len(fine) >= 3
    np.testing.assert_allclose(coarse, fine, rtol=0, atol=1e-7)


def test_an_upstroke_between_two_numbers_of_time():
    """At 20 mV V rises by 10^14 mV a ms, and reaches it 2e-8 ms after v_thresh + 20 delta_t."""
    high, low = (spike_times(AdEx(v_peak=v), 3000.0, [1.0], 40.0) for v in (20.0, -10.4))
    assert len(high) > 0
    np.testing.assert_allclose(high - low, 281 / 30 * np.exp(-20), rtol=0, atol=1e-10)


def test_an_upstroke_beyond_all_numbers_is_an_error():
    with pytest.raises(
        EngineError, match="neuron 0 of population 'hidden', sample 0, at 5.9.* ms: V cannot be followed"
    ):
        spike_times(AdEx(v_peak=2000.0), 3000.0, [1.0], 40.0)


@pytest.mark.ci
def test_a_state_at_rest_that_follows_the_square_of_another_one():
    """Its first three coefficients are zero after an arrival, or nearly: they are no measure of its size."""
    for rest in (0.0, 1e-200, 1e-12):
        follower = NeuronModel(
            name="Follower", state={"V": 0.0, "u": "rest", "I": 0.0},
            params={"tau": Param(5.0, "ms"), "rest": Param(rest)},
            dynamics={"V": "(I - V) / tau", "u": "(V**2 - u) / tau", "I": "-I / tau"}, threshold="u - 0.2",
            reset={"u": "0"}, input="I",
        )  # fmt: skip
        expected = spike_times(follower(), 3.0, [1.0, 9.0], 30.0, "reference_event")
        assert len(expected) > 1
        np.testing.assert_allclose(spike_times(follower(), 3.0, [1.0, 9.0], 30.0), expected, rtol=0, atol=1e-9)


@pytest.mark.ci
def test_a_threshold_that_grows_where_the_state_is_smooth():
    """V is a polynomial for 5 ms, in which exp(V) grows to 10^40: g needs shorter pieces, in `reference_event` too."""
    growing = NeuronModel(
        name="Growing", state={"V": 0.0, "I": 0.0}, params={"tau": Param(5.0, "ms")},
        dynamics={"V": "I / tau", "I": "-I / tau"}, threshold="exp(V) - 50 * V - 3", reset={"V": "0"}, input="I",
    )  # fmt: skip
    expected = spike_times(growing(), 200.0, [1.0], 30.0, "reference_event")
    # I = 200 exp(-s / tau) sends V from 0 to the zero of g again and again
    top = 5.8
    for _ in range(9):
        top -= (np.exp(top) - 50 * top - 3) / (np.exp(top) - 50)
    counted = np.arange(1, 1 + int(200 / top))
    np.testing.assert_allclose(expected, 1 - 5 * np.log1p(-counted * top / 200), rtol=0, atol=1e-9)
    np.testing.assert_allclose(spike_times(growing(), 200.0, [1.0], 30.0), expected, rtol=0, atol=1e-9)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("closed_form", [False, True])
@pytest.mark.parametrize("gap", ["one ulp", 2e-13])
def test_the_maximum_behind_arrivals_just_before_the_end(closed_form, gap):
    """Where V still rises behind them it is V(T), and their time changes it by -dI/dt alone; else it is V at theirs."""
    tau, end = 5.0, 20.0
    late = np.nextafter(end, 0) if gap == "one ulp" else end - gap
    gradients = {}
    for weight in (1.0, -1.0, -50.0):
        net = Network()
        out = net.population(LI(tau_mem=tau, tau_syn=tau) if closed_form else RISING(), 1, "output")
        net.connect(net.input(2), out, Dense(np.array([[3.0], [weight]])))
        plan = make_plan(net, losses.SquaredError(out, "max"), dt=1.0, duration=end, spike_times="exact")
        made = engines.create(plan, net.initial_parameters(1), engine="native", dtype="float64", threads=1)
        sample = np.array([18.0, late]), np.array([0, 1])
        data = made.load(Events.from_samples([sample], n_channels=2, targets=np.zeros((1, 1))))
        value = made.forward(data, [0]).value[0, 0]
        made.backward(np.ones((1, 1)))
        gradients[weight] = float(made.input_gradients[1])
        made.close()
    current = 3.0 * np.exp(-2.0 / tau)
    slope = (current - (value if closed_form else np.tanh(value))) / tau
    assert gradients == pytest.approx({1.0: -1.0 / tau, -1.0: 1.0 / tau, -50.0: slope}, rel=1e-9)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("kind", ["closed form", "series", "reference_event"])
def test_a_maximum_before_arrivals_at_the_start_of_the_trial(kind):
    """V(0) is one, whatever arrives at t = 0."""
    falls = "V" if kind == "closed form" else "tanh(V)"
    model = NeuronModel(
        name="Started", state={"V": "start"}, params={"tau": Param(10.0, "ms"), "start": Param(0.25, trainable=True)},
        dynamics={"V": f"-{falls} / tau"}, input="V",
    )  # fmt: skip
    net = Network()
    out = net.population(model(), 1, "output")
    net.connect(net.input(2), out, Dense(np.array([[-1.0], [0.5]])))
    plan = make_plan(net, losses.SquaredError(out, "max"), dt=1.0, duration=20.0, spike_times="exact")
    settings = {} if kind == "reference_event" else {"dtype": "float64", "threads": 1}
    name = kind if kind == "reference_event" else "native"
    made = engines.create(plan, net.initial_parameters(1), engine=name, **settings)
    sample = np.array([0.0, 4.0]), np.array([0, 1])
    value = made.forward(made.load(Events.from_samples([sample], n_channels=2, targets=np.zeros((1, 1)))), [0]).value
    made.backward(np.ones((1, 1)))
    assert value[0, 0] == 0.25
    assert float(made.gradients["output.start"][0]) == pytest.approx(1.0, rel=1e-12)
    assert made.input_gradients == pytest.approx([0.0, 0.0], abs=1e-12)
    made.close()


@pytest.mark.ci
def test_the_gradient_of_an_integral_whose_weight_bends():
    """r = 1/T int w(t) V dt with V = v0 exp(-t / tau), in one trial with QIF neurons: dr/dtau to twelve digits,
    although the powers of w in a piece cancel where the piece is long."""
    model = NeuronModel(
        name="Falls", state={"V": 0.3}, params={"tau": Param(35.0, "ms", trainable=True)},
        dynamics={"V": "-V / tau"}, input="V",
    )  # fmt: skip
    net, end, tau = Network(), 20.0, 35.0
    hidden, out = net.population(QIF(), 1, "hidden"), net.population(model(), 1, "output")
    net.connect(net.input(1), hidden, Dense(np.zeros((1, 1)))), net.connect(hidden, out, Dense(np.ones((1, 1))))
    plan = make_plan(
        net, losses.SquaredError(out, "integral", weight="sigmoid"), dt=1.0, duration=end, spike_times="exact"
    )
    made = engines.create(plan, net.initial_parameters(1), engine="native", dtype="float64", tolerance=1e-13)
    empty = np.zeros(0), np.zeros(0, dtype=int)
    made.forward(made.load(Events.from_samples([empty], n_channels=1, targets=np.zeros((1, 1)))), [0])
    made.backward(np.ones((1, 1)))
    t, part = np.polynomial.legendre.leggauss(60)
    t = end * (t + 1) / 2
    wanted = np.sum(part / 2 / (1 + np.exp((t / end - 0.5) / 0.2)) * 0.3 * t / tau**2 * np.exp(-t / tau))
    assert float(made.gradients["output.tau"][0]) == pytest.approx(wanted, rel=1e-12)
    made.close()


@pytest.mark.parametrize("engine", ["native", pytest.param("reference_event", marks=pytest.mark.ci)])
def test_lambda_where_the_states_are_at_rest(engine):
    """V stays at rest for 60 time constants, and the series of lambda ends far sooner than that of V: what the rest
    potential does is known in closed form there, dV/drest = (1 - exp(-(T - s) k / tau)) / k."""
    model = NeuronModel(
        name="Resting", state={"V": "rest"}, params={"tau": Param(5.0, "ms"), "rest": Param(-65.0, trainable=True)},
        dynamics={"V": "(rest - V + 3 * exp((V + 50) / 3)) / tau"}, threshold="V + 40", reset={"V": "rest"}, input="V",
    )  # fmt: skip
    net, end = Network(), 300.0
    out = net.population(model(), 1, "output")
    net.connect(net.input(1), out, Dense(np.array([[1.0]])))
    plan = make_plan(net, losses.SquaredError(out, "end"), dt=1.0, duration=end, spike_times="exact")
    options = {"dtype": "float64", "tolerance": 1e-13} if engine == "native" else {}
    made = engines.create(plan, net.initial_parameters(1), engine=engine, **options)
    made.forward(made.load(Events.from_samples([([2.0], [0])], n_channels=1, targets=np.zeros((1, 1)))), [0])
    made.backward(np.ones((1, 1)))
    V = -65.0
    for _ in range(50):  # the fixed point
        V = -65.0 + 3 * np.exp((V + 50) / 3)
    assert float(made.gradients["output.rest"][0]) == pytest.approx(1 / (1 - np.exp((V + 50) / 3)), rel=1e-11)
    made.close()


def test_a_weight_that_follows_inputs_of_one_instant():
    """Pieces between them are as short as rounding, and powers of their length are no numbers."""
    net = Network()
    out = net.population(QIF(tau_mem=Param(20.0, "ms", trainable=True)), 2, "output")
    net.connect(net.input(3), out, Dense(np.ones((3, 2))))
    loss = losses.SquaredError(out, "integral", weight=TimeWeight("constant", None, 20.0, 0.01))
    times = np.array([0.0, 5e-324, 0.03, np.nextafter(0.03, 1), np.nextafter(np.nextafter(0.03, 1), 1), 0.06])
    events = Events.from_samples([(times, np.arange(6) % 3)], n_channels=3, targets=np.zeros((1, 2)))
    found = []
    for options in ({"tolerance": 1e-8}, {"tolerance": 1e-14}):
        plan = make_plan(net, loss, dt=0.1, duration=0.1, spike_times="exact")
        made = engines.create(plan, net.initial_parameters(1), engine="native", dtype="float64", **options)
        made.run(made.load(events), [0], training=True)
        found.append(np.array(made.gradients["output.tau_mem"]))
        made.close()
    np.testing.assert_allclose(found[0], found[1], rtol=1e-11)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("weight", ["1 - t / T", "exp(-t / T) * (1 - t / T)**3", "t"])
def test_a_weight_that_vanishes_at_an_end_needs_no_short_pieces(weight):
    """There it is all rounding, and no piece too long: halved to the end, this would take a minute."""
    net = Network()
    out = net.population(QIF(), 3, "output")
    net.connect(net.input(1), out, Dense(np.ones((1, 3))))
    loss = losses.SquaredError(out, "integral", weight=weight)
    samples = [(np.array([2.0, 5.0]), np.array([0, 0]))] * 40
    events, found = Events.from_samples(samples, n_channels=1, targets=np.zeros((40, 3))), []
    for options in ({"tolerance": 1e-10}, {"tolerance": 1e-14}):
        plan = make_plan(net, loss, dt=1.0, duration=10.0, spike_times="exact")
        made = engines.create(plan, net.initial_parameters(1), engine="native", dtype="float64", **options)
        made.run(made.load(events), np.arange(40), training=True)
        found.append(np.array(made.gradients["input_output.weight"]))
        made.close()
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9)


@pytest.mark.parametrize("engine", ["native", "reference_event"])
def test_an_event_waits_for_its_mode_once_g_was_below(engine):
    """`tire` happens at 4 ms; then u falls below 0.5, for 0.06 ms, until a spike at 6 raises it, all in `busy`. So it
    happens again at 9.3 ms, when `busy` ends with u above 0.5, and V goes on at twice the rate."""
    bursting = NeuronModel(
        name="Waiting", state={"V": 0.0, "u": 0.0, "I": 0.0},
        params={"tau": Param(2.8037, "ms"), "t_busy": Param(5.3, "ms")},
        dynamics={"V": "0.25 + I", "u": "-u / tau", "I": "-I / tau"}, input="I",
        events=[
            Event("spike", "V - 1", {"V": 0.0, "u": "u + 1"}, modes=("free", "busy")),
            Event("tire", "u - 0.5", {}, emits=False, modes=("free",), next_mode="busy"),
        ],
        modes=[Mode("busy", {"V": "0.5 + I"}, lasts="t_busy")],
    )  # fmt: skip
    times = spike_times(bursting(), 0.0, [1.0], 13.0, engine)
    np.testing.assert_allclose(times, [4, 6, 8, 10, 12], rtol=0, atol=1e-9)


@pytest.mark.ci
def test_a_dip_of_g_in_a_piece_that_is_cut_behind_it_counts():
    """g is below zero for 0.4 ms around every 2 pi ms; `busy` ends 1 ms behind the second time. A piece
    begins with an arrival before it and is cut by one behind it, while g is above zero."""
    dipping = NeuronModel(
        name="Dipping", state={"angle": "pi", "I": 0.0},
        params={"t_busy": Param(2 * np.pi + 0.8, "ms"), "pi": Param(np.pi)},
        dynamics={"angle": "1 + I", "I": "-I / 5"}, input="I", readout="angle",
        events=[Event("tire", "0.98 + cos(angle)", {}, modes=("free",), next_mode="busy")],
        modes=[Mode("busy", {}, lasts="t_busy")],
    )  # fmt: skip
    first, last = np.arccos(0.98), 2 * np.pi + 0.8
    found = spike_times(dipping(), 0.0, [2 * np.pi - 0.3, 2 * np.pi + 0.3], 15.0)
    np.testing.assert_allclose(found, first + last * np.arange(3), rtol=0, atol=1e-8)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("engine", ["native", "reference_event"])
@pytest.mark.parametrize("busy, count", [("0.3", 1), ("-0.3", 3)])
def test_rounding_decides_nothing_where_an_event_leaves_g_at_zero(engine, busy, count):
    """`tire` changes no state, so `busy` begins with g = 0, which rounding puts on either side. If V rises on, g has
    not been below zero as `busy` ends above it, and nothing happens again; if V falls, g is, and crosses again."""
    tiring = NeuronModel(
        name="Tiring", state={"V": 0.0, "w": 1.0, "I": 0.0}, params={"v_tire": Param(1.0), "t_busy": Param(2.0, "ms")},
        dynamics={"V": "0.5 + tanh(V) / 7 + I", "w": "(0.3 - w) / 70", "I": "-I / 5"}, input="I",
        events=[Event("tire", "V - w * v_tire", {}, modes=("free",), next_mode="busy")],
        modes=[Mode("busy", {"V": busy}, lasts="t_busy")],
    )  # fmt: skip
    heights = np.random.default_rng(1).uniform(0.3, 1.0, 60)
    times = spike_times(tiring(v_tire=heights), 0.0, [1.0], 9.0, engine, size=60)
    assert len(times) == 60 * count
