"""Exact spike times of neurons without a closed form: `native` against the reference and differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from genn_eventprop import Delay, Dense, Network, Normal, Param, Uniform, engines, losses
from genn_eventprop.codegen.cpp import generate
from genn_eventprop.data import Events
from genn_eventprop.engines.native.engine import NativeEngine
from genn_eventprop.errors import EngineError
from genn_eventprop.modelling.connectivity import Conv2D, OneToOne, Sparse
from genn_eventprop.modelling.neuron import Event, Mode
from genn_eventprop.models.adex import AdEx
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from genn_eventprop.plan.example import example_plan
from genn_eventprop.verify import check_network
from support.eventful import BURSTING, DELTA, TWO_SPIKES, learned
from support.nonlinear import ADEX, CONDUCTANCE, EVERY_FUNCTION, QIF
from support.sweeps import sweep

T = 25.0
LOSSES = {
    "first": losses.FirstSpikeCrossEntropy,
    "times": losses.SpikeTimeError,
    "count": losses.SpikeCountCrossEntropy,
    "integral": lambda p: losses.IntegratedVoltageCrossEntropy(p, weight="exp(-t / T)", window=(2.0, 21.0)),
    "max": losses.MaxVoltageCrossEntropy,
    "end": losses.EndVoltageCrossEntropy,
    "per step": losses.PerStepCrossEntropy,
}


def small(model, weight, recurrent=0.0, output=None, read=(0.5, 0.5), delay=0.0, inner=1.0, connectivity=Dense):
    """5 inputs, 6 neurons, 2 outputs; every parameter of the hidden neurons is learned."""
    net = Network()
    source = net.input(5)
    hidden = net.population(learned(model), 6, "hidden")
    out = net.population(output or LI(tau_mem=Param(20.0, "ms", trainable=True)), 2, "output")
    receptors = list(model.receptors)
    net.connect(source, hidden, Dense(Normal(weight, weight / 3)), receptor=receptors[0])
    if recurrent:
        net.connect(hidden, hidden, Dense(Normal(recurrent, abs(recurrent))), receptor=receptors[-1], delay=inner)
    net.connect(hidden, out, connectivity(Normal(*read)), delay=delay)
    return net, out


def spikes(number=14, samples=1, seed=5):
    rng = np.random.default_rng(seed)
    drawn = [(np.sort(rng.uniform(0, 15.0, number)), rng.integers(0, 5, number)) for _ in range(samples)]
    targets = rng.uniform(5, 20, (samples, 2, 2))
    return Events.from_samples(drawn, n_channels=5, labels=np.arange(samples) % 2), targets


def run(net, loss, events, engine, duration=T, **options):
    plan = make_plan(net, loss, dt=0.5, duration=duration, spike_times="exact")
    made = engines.create(plan, net.initial_parameters(3), engine=engine, **options)
    result = made.run(made.load(events), np.arange(len(events)), training=True, record_spikes=True)
    gradients = {k: np.array(v, dtype=np.float64) for k, v in made.gradients.items()}
    made.close()
    return result, gradients


def compare(net, loss, events=None, times=1e-8, gradients=1e-7, spiking=6):
    events = spikes()[0] if events is None else events
    truth, expected = run(net, loss, events, "reference_event")
    result, mine = run(net, loss, events, "native", dtype="float64", threads=1)
    assert truth.spike_counts["hidden"].sum() >= spiking
    for name, spike in truth.spikes.items():
        assert np.array_equal(result.spikes[name].neuron, spike.neuron)
        np.testing.assert_allclose(result.spikes[name].time, spike.time, rtol=0, atol=times)
    np.testing.assert_allclose(result.loss, truth.loss, rtol=1e-8)
    np.testing.assert_allclose(result.readout, truth.readout, rtol=1e-8)
    assert np.array_equal(result.prediction, truth.prediction)
    for name, value in expected.items():
        assert np.linalg.norm(mine[name] - value) <= gradients * np.linalg.norm(value), name


TIRED = replace(
    QIF, name="Tired", params={**QIF.params, "t_ref": Param(1.3, "ms")}, threshold=None, reset=None,
    events=[Event("spike", "V - v_peak", {"V": "v_reset"}, modes=("free",), next_mode="refractory")],
    modes=[Mode("refractory", {"V": "(v_reset - V) / tau_mem"}, lasts="t_ref")],
)  # fmt: skip
BENT = replace(
    QIF, name="Bent", dynamics={**QIF.dynamics, "V": "(abs(V - 0.2) - 0.3 + I - 0.2 * abs(V - I)) / tau_mem"},
    threshold=None, reset=None,
)  # fmt: skip
MODELS = {
    "absolute values": (BENT, 4.0, 1.0),
    "qif": (QIF, 4.0, 1.0),
    "adaptive exponential": (ADEX, 4.0, 1.0),
    "conductance": (CONDUCTANCE, 1.5, 0.3),
    "bursts with silent events": (BURSTING, 6.0, 1.0),
    "two kinds of spikes": (TWO_SPIKES, 3.0, -2.0),
    "delta synapses": (DELTA, 0.5, 0.2),
}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", sweep(list(MODELS), ["bursts with silent events", "delta synapses"]))
def test_models_without_a_closed_form(name):
    model, weight, recurrent = MODELS[name]
    net, out = small(model, weight, recurrent)
    compare(net, losses.IntegratedVoltageCrossEntropy(out))


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", sweep(list(LOSSES), ["per step", "times"]))
def test_every_loss_of_nonlinear_outputs(name):
    output = None if name == "max" else learned(QIF)  # a maximum is read from outputs that do not spike
    net, out = small(QIF, 5.0, output=output, read=(3.0, 1.0) if output else (0.5, 0.5))
    events, targets = spikes()
    if name == "times":
        events = Events.from_samples([(events.times, events.channels)], n_channels=5, targets=targets)
    compare(net, LOSSES[name](out), events)


@pytest.mark.ci
def test_a_loss_without_doubt_needs_no_shorter_pieces():
    """dl/dV is then a difference of equal numbers, all rounding: pieces may not be halved for it."""
    net = Network()
    hidden = net.population(QIF(), 6, "hidden")
    out = net.population(LI(), 2, "output")
    net.connect(net.input(5), hidden, Dense(Normal(5.0, 1.6)))
    net.connect(hidden, out, Dense(np.tile([60.0, -60.0], (6, 1))))
    compare(net, losses.PerStepCrossEntropy(out), gradients=1e-6)  # of a loss whose gradient nearly vanishes


@pytest.mark.ci
def test_samples_of_v_reach_the_initial_state():
    net, out = small(QIF, 5.0, output=learned(QIF), read=(3.0, 1.0))
    plan = make_plan(net, losses.Loss(out, "first_spike", also=("trace",)), dt=0.5, duration=T, spike_times="exact")
    found = []
    for engine in ("reference_event", "native"):
        made = engines.create(plan, net.initial_parameters(3), engine=engine, dtype="float64")
        read = made.forward(made.load(spikes()[0]), np.arange(1))
        made.backward(np.zeros_like(read.value), also={"trace": np.ones_like(read.also["trace"])})
        found.append(np.array(made.gradients["output.v_reset"]))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-7)


DELAYS = {
    "one for all": lambda: {"delay": 2.3},
    "axonal": lambda: {"delay": Delay(Uniform(0.0, 4.0), kind="axonal", max=6.0)},
    "synaptic": lambda: {"delay": Delay(Uniform(0.0, 4.0), max=6.0)},
}


@pytest.mark.ci
@pytest.mark.parametrize("kind", sweep(list(DELAYS), ["synaptic"]))
def test_delays(kind):
    net, out = small(QIF, 5.0, 1.0, inner=0.0, **DELAYS[kind]())
    compare(net, losses.IntegratedVoltageCrossEntropy(out))


@pytest.mark.ci
def test_sparse_connections_and_linear_populations_together():
    net, out = Network(), None
    source = net.input(5)
    lif = net.population(LIF(tau_mem=Param(20.0, "ms", trainable=True)), 6, "first")
    hidden = net.population(learned(QIF), 6, "hidden")
    out = net.population(LI(), 2, "output")
    net.connect(source, lif, Dense(Normal(2.5, 0.8)))
    net.connect(lif, hidden, Sparse(Normal(6.0, 1.0), probability=0.6))
    net.connect(hidden, lif, OneToOne(0.7), delay=1.5)
    net.connect(hidden, out, Dense(Normal(0.5, 0.5)))
    compare(net, losses.MaxVoltageCrossEntropy(out))


@pytest.mark.ci
def test_convolutions():
    net = Network()
    image = net.input(shape=(3, 3, 2))
    hidden = net.population(learned(QIF), name="hidden", shape=(2, 2, 3))
    out = net.population(LI(), 2, "output")
    net.connect(image, hidden, Conv2D(Normal(4.0, 1.0), kernel=2, channels=3))
    net.connect(hidden, out, Dense(Normal(0.5, 0.5)))
    rng = np.random.default_rng(4)
    sample = np.sort(rng.uniform(0, 15.0, 20)), rng.integers(0, 18, 20)
    compare(net, losses.MaxVoltageCrossEntropy(out), Events.from_samples([sample], n_channels=18, labels=[0]))


@pytest.mark.ci
def test_learned_amounts_of_arrivals():
    params = {**QIF.params, "gain": Param(1.2)}
    model = replace(QIF, name="Gain", params=params, input={"scaled": {"I": "gain"}}, threshold=None, reset=None)
    net, out = small(model, 4.0, 1.0)
    compare(net, losses.IntegratedVoltageCrossEntropy(out))


@pytest.mark.ci
def test_input_times_have_gradients():
    net, out = small(ADEX, 4.0, 1.0)
    events, loss = spikes()[0], losses.IntegratedVoltageCrossEntropy(out)
    plan, found = make_plan(net, loss, dt=0.5, duration=T, spike_times="exact"), []
    for engine in ("reference_event", "native"):
        made = engines.create(plan, net.initial_parameters(3), engine=engine, dtype="float64")
        read = made.forward(made.load(events), np.arange(len(events)))
        made.backward(np.ones_like(read.value))
        found.append(np.array(made.input_gradients))
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-7 * np.abs(found[0]).max())


@pytest.mark.parametrize("model", sweep([AdEx, TIRED, DELTA, BENT, EVERY_FUNCTION], [TIRED]))
def test_gradients_are_differences_of_the_engine_itself(model):
    weight = {AdEx: 900.0, TIRED: 6.0, DELTA: 0.5, BENT: 4.0, EVERY_FUNCTION: 2.0}[model]
    net, out = small(model, weight, 0.0)
    report = check_network(
        net, losses.IntegratedVoltageCrossEntropy(out), events=spikes()[0], duration=T, engine="native"
    )
    assert report.passed, report.text()


@pytest.mark.ci
@pytest.mark.parametrize("model", [AdEx, QIF], ids=lambda m: m.name)
def test_gradients_where_arrivals_end_every_piece(model):
    """The order of a series follows from the time of the next arrival: no difference may see where it changes."""
    net, out = small(model, 20.0 if model is AdEx else 0.15)
    rng = np.random.default_rng(3)
    events = Events.from_samples([(np.sort(rng.uniform(0, 20.0, 200)), rng.integers(0, 5, 200))], 5, labels=[1])
    plan = make_plan(net, losses.EndVoltageCrossEntropy(out), dt=1.0, duration=T, spike_times="exact")
    made = engines.create(plan, net.initial_parameters(1), engine="native", dtype="float64")
    data = made.load(events)
    assert made.run(data, [0], training=True).spike_counts["hidden"].any()
    first = {k: np.array(made.parameters[k]) for k in made.gradients}
    along = {k: np.abs(v) * rng.normal(size=v.shape) for k, v in first.items()}
    slope = sum((made.gradients[k] * along[k]).sum() for k in first)

    def loss(by):
        for k, v in first.items():
            made.parameters[k][...] = v + by * along[k]
        return made.run(data, [0]).loss[0]

    h = 1e-6
    difference = (8 * (loss(h) - loss(-h)) - (loss(2 * h) - loss(-2 * h))) / (12 * h)
    assert slope == pytest.approx(difference, rel=1e-7)
    made.close()


@pytest.mark.ci
def test_float32_is_near_float64():
    net, out = small(QIF, 5.0, 1.0)
    loss, events = losses.IntegratedVoltageCrossEntropy(out), spikes()[0]
    (_, expected), (_, mine) = (run(net, loss, events, "native", dtype=d) for d in ("float64", "float32"))
    for name, value in expected.items():
        assert np.linalg.norm(mine[name] - value) <= 1e-4 * np.linalg.norm(value), name


@pytest.mark.ci
def test_a_smaller_tolerance_is_nearer_to_the_truth():
    net, out = small(AdEx, 400.0)
    loss, events = losses.IntegratedVoltageCrossEntropy(out), spikes()[0]
    truth = run(net, loss, events, "native", dtype="float64", tolerance=1e-14)[0].spikes["hidden"].time
    errors = [
        np.abs(run(net, loss, events, "native", dtype="float64", tolerance=t)[0].spikes["hidden"].time - truth).max()
        for t in (1e-5, 1e-8, 1e-11)
    ]
    assert errors[0] > 10 * errors[1] > 100 * errors[2] and errors[2] < 1e-9


@pytest.fixture(scope="module")
def recurrent_qif():
    """(network, loss, data, gradients of the reference)."""
    net, out = small(QIF, 5.0, 1.0)
    loss, events = losses.IntegratedVoltageCrossEntropy(out), spikes()[0]
    return net, loss, events, run(net, loss, events, "reference_event")[1]


@pytest.mark.parametrize("tolerance", [*(pytest.param(t, marks=pytest.mark.ci) for t in (1e-11, 1e-13)), 1e-16])
def test_series_of_the_highest_order_have_the_gradient(tolerance, recurrent_qif):
    net, loss, events, expected = recurrent_qif
    _, mine = run(net, loss, events, "native", dtype="float64", threads=1, tolerance=tolerance)
    largest = max(np.abs(value).max() for value in expected.values())
    for name, value in expected.items():
        np.testing.assert_allclose(mine[name], value, rtol=2e-9, atol=2e-9 * largest, err_msg=name)


@pytest.mark.ci
def test_dynamics_that_diverge_are_an_error():
    free = replace(QIF, name="Free", threshold=None, reset=None, events=())
    net, out = small(QIF, 5.0, output=free(), read=(40.0, 1.0))
    with pytest.raises(EngineError, match=r"neuron \d of population 'output', sample 0, at .*: V cannot be followed"):
        run(net, losses.EndVoltageCrossEntropy(out), spikes()[0], "native")


def test_tolerances_out_of_range_are_refused():
    net, out = small(QIF, 5.0)
    with pytest.raises(EngineError, match="tolerance=0.5: must be from 1e-16 to 1e-3"):
        run(net, losses.EndVoltageCrossEntropy(out), spikes()[0], "native", tolerance=0.5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_text_shows_the_series(dtype):
    plan = example_plan(AdEx, "exact")
    ((_, text),) = NativeEngine.program(plan, dtype)
    assert "// Mode 'free': V, w, I" in text and "TERMS];  // exp((V - v_thresh)/delta_t)" in text
    assert text == generate(plan, dtype).text  # a pure function of the plan
