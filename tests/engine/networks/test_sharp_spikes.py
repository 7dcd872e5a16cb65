"""Exponential spikes, sharp or tall: gradients by Taylor series at the default tolerance, against references and
differences.

Far below v_thresh exp((V - v_thresh) / delta_t) adds less than rounding to every coefficient of V, so that a piece that
trusts these alone comes too far; at 20 mV V rises by delta_t in less time than separates two doubles.
"""

import numpy as np
import pytest

from genn_eventprop import Dense, Network, NeuronModel, Normal, Param, engines, losses
from genn_eventprop.data import Events
from genn_eventprop.errors import EngineError
from genn_eventprop.models import ZOO
from genn_eventprop.plan import make_plan
from genn_eventprop.verify import check_network
from support.eventful import learned
from support.sweeps import sweep

THRESHOLD = {"AdEx": -50.4, "EIF": -59.9}


def one_neuron(model):
    """One neuron, one arrival at 5 ms, its first spike at t; L = t^2 / 2. All numbers are values of the plan."""
    net = Network()
    neuron = net.population(learned(model), 1, "neuron")
    net.connect(net.input(1), neuron, Dense(Normal(1.0, 0.0)), name="arrival")
    return net, make_plan(net, losses.SpikeTimeError(neuron), dt=0.5, duration=40.0, spike_times="exact")


def run(net, plan, values, engine="native", **options):
    events = Events.from_samples([(np.array([5.0]), np.zeros(1, int))], 1, targets=np.zeros((1, 1, 1)))
    numbers = {k: v.copy() for k, v in net.initial_parameters(0).items()}
    for name, value in values.items():
        numbers[name][...] = value
    made = engines.create(plan, numbers, engine=engine, dtype="float64", **options)
    result = made.run(made.load(events), np.arange(1), training=True, record_spikes=True)
    gradients = {k: float(np.sum(v)) for k, v in made.gradients.items()}
    made.close()
    return result, gradients


def difference(net, plan, values, name, step):
    def slope(by):
        low, high = (run(net, plan, values | {name: values[name] + d}, tolerance=1e-13)[0].loss[0] for d in (-by, by))
        return float(high - low) / (2 * by)

    return (4 * slope(step / 2) - slope(step)) / 3


def sharp(model, delta_t, above, **more):
    """above: v_peak - v_thresh, in delta_t."""
    every = {"delta_t": delta_t, "v_peak": THRESHOLD[model] + above * delta_t} | more
    weight = 4000.0 if model == "AdEx" else 60.0
    return {f"neuron.{n}": v for n, v in every.items()} | {"arrival.weight": weight}


CASES = [
    ("AdEx", 2.0, 5, {}), ("AdEx", 0.5, 20, {}), ("AdEx", 0.4, 20, {}), ("AdEx", 0.35, 20, {}),
    ("AdEx", 0.3, 20, {"tau_w": 1.0}), ("AdEx", 0.2, 20, {"tau_w": 20.0}), ("AdEx", 0.1, 1, {}),
    ("EIF", 0.3, 20, {}), ("EIF", 0.2, 10, {"tau_mem": 3.0}),
]  # fmt: skip


@pytest.mark.parametrize("model, delta_t, above, more", sweep(CASES, [CASES[0], CASES[3], CASES[5], CASES[7]]))
@pytest.mark.one_in(4)
def test_gradients_of_sharp_spikes(model, delta_t, above, more):
    net, plan = one_neuron(ZOO[model])
    values = sharp(model, delta_t, above, **more)
    result, mine = run(net, plan, values)
    truth, expected = run(net, plan, values, "reference_event")
    assert len(result.spikes["neuron"].time) >= 1
    np.testing.assert_allclose(result.spikes["neuron"].time, truth.spikes["neuron"].time, rtol=0, atol=1e-10)
    for name in mine:
        assert mine[name] == pytest.approx(expected[name], rel=1e-9, abs=1e-11), name
    for name, step in {"arrival.weight": 1e-3, "neuron.delta_t": 1e-6}.items():
        expected = difference(net, plan, values, name, step * values[name])
        noise = 1e-14 * float(result.loss[0]) / (step * values[name])
        assert mine[name] == pytest.approx(expected, rel=1e-7, abs=noise), name


@pytest.mark.one_in(2)
@pytest.mark.parametrize("delta_t, v_peak", sweep([(2.0, 3.0), (2.0, 20.0), (0.5, 20.0)], [(2.0, 20.0), (0.5, 20.0)]))
def test_gradients_of_tall_spikes(delta_t, v_peak):
    """Beyond 20 delta_t V rises within 2e-8 ms, and for all that is learned the spike is the same."""
    net, plan = one_neuron(ZOO["AdEx"])
    values = sharp("AdEx", delta_t, 20)
    _, low = run(net, plan, values)
    result, mine = run(net, plan, values | {"neuron.v_peak": v_peak})
    assert len(result.spikes["neuron"].time) >= 1
    for name in set(low) - {"neuron.v_peak"}:
        assert mine[name] == pytest.approx(low[name], rel=3e-6, abs=1e-11), name
    truth, expected = run(net, plan, values | {"neuron.v_peak": v_peak}, "reference_event")
    np.testing.assert_allclose(result.spikes["neuron"].time, truth.spikes["neuron"].time, rtol=0, atol=1e-11)
    for name in mine:
        assert mine[name] == pytest.approx(expected[name], rel=1e-9, abs=1e-25), name
    expected = difference(net, plan, values | {"neuron.v_peak": v_peak}, "arrival.weight", 4.0)
    assert mine["arrival.weight"] == pytest.approx(expected, rel=1e-8)
    # dt/dv_peak = 1 / Vdot there
    rise = 30.0 * delta_t * np.exp((v_peak + 50.4) / delta_t) / 281.0
    assert mine["neuron.v_peak"] == pytest.approx(result.spikes["neuron"].time[0] / rise, rel=1e-6)


GATED = NeuronModel(
    name="Gated",
    state={"V": -65.0, "m": 0.0, "G": 0.0},
    params={
        "tau_mem": Param(10.0, "ms"), "tau_syn": Param(3.0, "ms"), "tau_m": Param(1.0, "ms"),
        "v_rest": Param(-65.0, "mV"), "v_thresh": Param(-50.0, "mV"), "delta_t": Param(0.5, "mV"),
        "v_half": Param(-52.0, "mV"), "k": Param(0.3, "mV"), "v_peak": Param(-40.0, "mV"),
        "v_reset": Param(-68.0, "mV"),
    },
    dynamics={
        "V": "(v_rest - V - G * V + 4 * m + delta_t * exp((V - v_thresh) / delta_t)) / tau_mem",
        "m": "((1 + tanh((V - v_half) / k)) / 2 - m) / tau_m",
        "G": "-G / tau_syn",
    },
    threshold="V - v_peak",
    reset={"V": "v_reset"},
    input="G",
)  # fmt: skip


def drawn(model, seed):
    """(network, plan, values, events): 8 neurons with their own sharpness, height, time constants; recurrent."""
    rng = np.random.default_rng(seed)
    net = Network()
    neuron = learned(GATED if model == "Gated" else ZOO[model])
    source, hidden, out = net.input(4), net.population(neuron, 8, "hidden"), net.population(ZOO["LI"](), 2, "output")
    weight = {"AdEx": 2500.0, "EIF": 25.0, "Gated": 0.8}[model]
    net.connect(source, hidden, Dense(Normal(weight, 0.3 * weight)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.1 * weight)), delay=1.0)
    net.connect(hidden, out, Dense(Normal(0.5, 0.5)))
    plan = make_plan(net, losses.IntegratedVoltageCrossEntropy(out), dt=0.5, duration=30.0, spike_times="exact")
    values = net.initial_parameters(seed)
    values["hidden.delta_t"] = np.exp(rng.uniform(np.log(0.1), np.log(3.0), 8))
    values["hidden.v_peak"] = values["hidden.v_thresh"] + values["hidden.delta_t"] * rng.uniform(2.0, 20.0, 8)
    if model == "AdEx":
        values["hidden.tau_w"] = np.exp(rng.uniform(0, np.log(200.0), 8))
    if model == "Gated":
        values["hidden.k"] = rng.uniform(0.1, 2.0, 8)
    events = Events.from_samples([(np.sort(rng.uniform(0, 25, 15)), rng.integers(0, 4, 15))], 4, labels=[1])
    return plan, values, events


@pytest.mark.parametrize("model", ["AdEx", "EIF", "Gated"])
@pytest.mark.parametrize("seed", sweep(range(12), [0, 1]))
@pytest.mark.one_in(6)
def test_gradients_of_random_networks(model, seed):
    plan, values, events = drawn(model, seed)

    def loss_and_gradients(numbers, **options):
        made = engines.create(plan, numbers, engine="native", dtype="float64", threads=1, **options)
        result = made.run(made.load(events), np.arange(1), training=True)
        gradients = {k: np.array(v) for k, v in made.gradients.items()}
        made.close()
        return result, gradients

    result, mine = loss_and_gradients(values)
    _, fine = loss_and_gradients(values, tolerance=1e-14)
    assert result.spike_counts["hidden"].sum() >= 8
    for name, value in fine.items():
        np.testing.assert_allclose(mine[name], value, rtol=1e-7, atol=1e-8 * np.abs(value).max(), err_msg=name)
    # along a direction in which each block changes the loss by its part
    direction = {k: v / np.linalg.norm(v) ** 2 for k, v in mine.items() if np.linalg.norm(v) > 0}
    for step in (1e-7, 3e-8, 1e-8):
        high, low = (
            loss_and_gradients({k: v + by * direction.get(k, 0.0) for k, v in values.items()}, tolerance=1e-14)[0].loss[
                0
            ]
            for by in (step, -step)
        )
        if abs((high - low) / (2 * step) - len(direction)) <= 1e-4 * len(direction):
            return
    pytest.fail(f"differences {(high - low) / (2 * step)}, gradient {len(direction)}")


@pytest.mark.parametrize("delta_t, v_peak", [(0.3, -44.4), pytest.param(2.0, 20.0, marks=pytest.mark.ci)])
@pytest.mark.ci
def test_gradcheck_at_the_default_tolerance(delta_t, v_peak):
    net = Network()
    sharp = {"delta_t": Param(delta_t, "mV", trainable=True), "v_peak": Param(v_peak, "mV")}
    neuron = net.population(ZOO["AdEx"](**sharp, tau_w=Param(10.0, "ms", trainable=True)), 3, "hidden")
    out = net.population(ZOO["LI"](), 2, "output")
    net.connect(net.input(3), neuron, Dense(Normal(2500.0, 300.0)))
    net.connect(neuron, out, Dense(Normal(0.5, 0.5)))
    rng = np.random.default_rng(1)
    events = Events.from_samples([(np.sort(rng.uniform(0, 20, 8)), rng.integers(0, 3, 8))], 3, labels=[0])
    loss = losses.IntegratedVoltageCrossEntropy(out)
    report = check_network(net, loss, events=events, duration=30.0, engine="native", tolerance=1e-7)
    (case,) = report.cases
    assert case.failures == [] and case.spikes["hidden"] > 3


READS = [(loss, seed) for loss in ("voltage_error", "avg_xentropy", "sum") for seed in range(6)]


@pytest.mark.parametrize("loss, seed", sweep(READS, [("voltage_error", 0), ("sum", 1)]))
@pytest.mark.ci
def test_gradients_of_losses_along_tall_spikes(loss, seed):
    """At the end of an upstroke V comes from -40 mV to its peak in less time than separates two doubles: that adds
    nothing to a loss of V, but all that the loss changes to lambda."""
    rng = np.random.default_rng(seed)
    net = Network()
    model = ("EIF", "AdEx")[seed % 2]
    output = net.population(learned(ZOO[model]), 3, "output")
    weight = {"EIF": 40.0, "AdEx": 2500.0}[model]
    net.connect(net.input(4), output, Dense(Normal(weight, 0.3 * weight)))
    plan = make_plan(net, losses.LOSSES[loss](output), dt=0.5, duration=20.0, spike_times="exact")
    values = net.initial_parameters(seed)
    values["output.delta_t"] = rng.uniform(1.0, 4.0, 3)
    values["output.v_peak"] = values["output.v_thresh"] + values["output.delta_t"] * rng.uniform(10.0, 60.0, 3)
    times = [(np.sort(rng.uniform(0, 15, 10)), rng.integers(0, 4, 10))]
    targets = (
        {"targets": rng.uniform(-60, -40, (1, 41, 3))} if loss == "voltage_error" else {"labels": [1], "n_classes": 3}
    )
    events = Events.from_samples(times, 4, **targets)

    def loss_and_gradients(name, numbers=values, **options):
        engine = engines.create(plan, numbers, engine=name, dtype="float64", **options)
        result = engine.run(engine.load(events), np.arange(1), training=True)
        gradients = {k: np.array(v) for k, v in engine.gradients.items()}
        engine.close()
        return result, gradients

    result, mine = loss_and_gradients("native")
    truth, expected = loss_and_gradients("reference_event")
    assert result.spike_counts["output"].sum() >= 3
    assert result.loss == pytest.approx(truth.loss, rel=1e-9)
    for name in mine:
        size = np.abs(expected[name]).max()
        np.testing.assert_allclose(mine[name], expected[name], rtol=1e-7, atol=1e-8 * size + 1e-15, err_msg=name)
    direction = {k: v / np.linalg.norm(v) ** 2 for k, v in mine.items() if np.linalg.norm(v) > 1e-6}
    for step in (1e-6, 1e-7, 1e-8):
        ends = [{k: v + by * direction.get(k, 0.0) for k, v in values.items()} for by in (step, -step)]
        high, low = (loss_and_gradients("native", numbers, tolerance=1e-14)[0].loss[0] for numbers in ends)
        if abs((high - low) / (2 * step) - len(direction)) <= 1e-3 * len(direction):
            return
    pytest.fail(f"differences {(high - low) / (2 * step)}, gradient {len(direction)}")


@pytest.mark.one_in(2)
@pytest.mark.parametrize("seed", sweep(range(12), [0, 1]))
def test_gradients_of_neurons_at_rest(seed):
    """The loss alone moves lambda: lambda_V begins with its second term, lambda_w with its third, and what rests begins
    to move by exp(-60): integrals of lambda . df/dp begin with their fourth term or later."""
    rng = np.random.default_rng(seed)
    net = Network()
    neuron = net.population(learned(ZOO["AdEx"]), 4, "neuron")
    net.connect(net.input(1), neuron, Dense(Normal(1.0, 0.0)), name="arrival")
    weight = "1 + sin(t / 7) / 2" if seed % 2 else "constant"
    loss = losses.IntegratedVoltageCrossEntropy(neuron, weight=weight)
    plan = make_plan(net, loss, dt=0.5, duration=float(rng.choice([0.5, 4.0, 20.0])), spike_times="exact")
    values = net.initial_parameters(seed)
    values["neuron.delta_t"] = rng.uniform(0.2, 0.6, 4)
    values["neuron.tau_w"] = np.exp(rng.uniform(0, np.log(200.0), 4))
    events = Events.from_samples([(np.zeros(0), np.zeros(0, int))], 1, labels=[1])
    gradients = []
    for name in ("native", "reference_event"):
        engine = engines.create(plan, values, engine=name, dtype="float64")
        engine.run(engine.load(events), np.arange(1), training=True)
        gradients.append({k: np.array(v) for k, v in engine.gradients.items()})
        engine.close()
    mine, expected = gradients
    assert np.abs(expected["neuron.delta_t"]).max() > 0
    for name in ("delta_t", "v_thresh", "e_leak"):  # of the others integrands are differences that rounding decides
        want = expected[f"neuron.{name}"]
        np.testing.assert_allclose(
            mine[f"neuron.{name}"], want, rtol=1e-8, atol=1e-9 * np.abs(want).max(), err_msg=name
        )


def test_a_gradient_that_cannot_be_followed_is_an_error():
    """V stays where it is, but a small change of V(0) would have grown by e^2000: lambda overflows."""
    model = NeuronModel(
        name="Balanced", state={"V": "v_start", "I": 0.0},
        params={"rate": Param(100.0, "1/ms"), "tau_syn": Param(5.0, "ms"), "v_start": Param(0.0, trainable=True)},
        dynamics={"V": "rate * V * (1 - V) + I", "I": "-I / tau_syn"}, threshold="V - 0.5", reset={"V": "0"}, input="I",
    )  # fmt: skip
    net = Network()
    neuron = net.population(model(), 1, "neuron")
    net.connect(net.input(1), neuron, Dense(Normal(1.0, 0.0)))
    plan = make_plan(net, losses.SpikeTimeError(neuron), dt=0.5, duration=40.0, spike_times="exact")
    events = Events.from_samples([(np.array([20.0]), np.zeros(1, int))], 1, targets=np.zeros((1, 1, 1)))
    engine = engines.create(plan, net.initial_parameters(0), engine="native", dtype="float64")
    assert engine.run(engine.load(events), np.arange(1)).spike_counts["neuron"].sum() > 0  # forwards it runs
    told = r"neuron 0 of population 'neuron', sample 0, at \d.*: there is no gradient, since lambda_V of Balanced"
    with pytest.raises(EngineError, match=told):
        engine.run(engine.load(events), np.arange(1), training=True)
    engine.close()
