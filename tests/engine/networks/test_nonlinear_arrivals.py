"""Arrivals along which the dynamics are not linear: D = lambda . (f(x - w e) - f(x)) on every target."""

import numpy as np
import pytest

from genn_eventprop import Conv2D, Delay, Dense, Event, Events, Mode, Network, NeuronModel, Normal, Param, Sparse
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.errors import EngineError
from genn_eventprop.losses import Loss, PerStepCrossEntropy, SquaredError
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from support.engines import ENGINES
from support.sweeps import sweep

DELTA_QIF = NeuronModel(
    name="DeltaQIF", state={"V": 0.0}, params={"tau": Param(10.0, "ms", trainable=True), "v_c": Param(0.8)},
    dynamics={"V": "(V * (V - v_c) + 0.1) / tau"}, threshold="V - 2", reset={"V": "-0.1"}, input="V",
)  # fmt: skip
SQUARED = NeuronModel(
    name="Squared", state={"V": 0.0, "I": 0.0}, params={"tau": Param(10.0, "ms"), "tau_syn": Param(5.0, "ms")},
    dynamics={"V": "(I * I - V) / tau", "I": "-I / tau_syn"}, threshold="V - 1", reset={"V": "0"}, input="I",
)  # fmt: skip
QUARTIC = NeuronModel(
    name="Quartic", state={"V": 0.0}, params={"tau": Param(10.0, "ms")}, threshold="V - 1", reset={"V": "0"}, input="V",
    dynamics={"V": "(0.05 - V - 0.3 * V**3 + 0.1 * V**4) / tau"},
)  # fmt: skip
REFRACTORY = NeuronModel(
    name="RefractoryQIF", state={"V": 0.0}, params={"tau": Param(10.0, "ms"), "t_ref": Param(1.2, "ms")},
    dynamics={"V": "(V * (V - 0.8) + 0.1) / tau"}, events=[Event("spike", "V - 2", {"V": "-0.1"}, next_mode="held")],
    modes=[Mode("held", {"V": "(0.1 + V**3) / tau"}, lasts="t_ref")], input="V",
)  # fmt: skip
EXPONENTIAL = NeuronModel(
    name="DeltaEIF", state={"V": 0.0}, params={"tau": Param(10.0, "ms")}, dynamics={"V": "(0.1 * exp(V) - V) / tau"},
    threshold="V - 2", reset={"V": "0"}, input="V",
)  # fmt: skip
GATED = NeuronModel(
    name="Gated", state={"V": 0.0, "I": 0.0},
    params={"tau": Param(10.0, trainable=True), "t_weight": Param(0.3, trainable=True), "t_ref": Param(1.2, "ms")},
    dynamics={"V": "(tanh(2 * I) - V + t_weight * V**5) / tau", "I": "-I / 4"},
    events=[Event("spike", "V - 0.5", {"V": "-0.1"}, next_mode="held")],
    modes=[Mode("held", {"V": "(0.1 + exp(-I)) / tau"}, lasts="t_ref")],
    input={"exc": {"I": "1"}, "inh": {"I": "-0.5", "V": "-0.05"}},
)  # fmt: skip
JUMPS = NeuronModel(
    name="Jumps", state={"V": 0.0, "I": 0.0}, params={"tau": Param(10.0, "ms", trainable=True), "gain": Param(1.3)},
    dynamics={"V": "(I - V) / tau", "I": "-I / 5"}, input={"exc": {"V": "gain", "I": "0.3"}},
)  # fmt: skip
DELTA_LIF = NeuronModel(
    name="DeltaLIF", state={"V": 0.0}, params={"tau": Param(10.0, "ms")}, dynamics={"V": "-V / tau"},
    threshold="V - 1", reset={"V": "0"}, input="V",
)  # fmt: skip
MODELS = {m.name: m for m in (DELTA_QIF, SQUARED, QUARTIC, REFRACTORY)}
TIMES = [(np.sort(np.random.default_rng(s).uniform(0, 28, 40)), np.arange(40) * 7 % 5) for s in range(3)]


def learned(kind):
    return Delay(2.0, kind=kind, trainable=True, max=5.0)


WIRING = {
    "dense": (lambda w: Dense(w), {"delay": 1.0}),
    "table": (lambda w: Sparse(w, probability=0.7), {}),
    "synaptic": (lambda w: Dense(w), {"delay": learned("synaptic")}),
    "synaptic table": (lambda w: Sparse(w, probability=0.7), {"delay": learned("synaptic")}),
    "axonal": (lambda w: Dense(w), {"delay": learned("axonal")}),
    "axonal table": (lambda w: Sparse(w, probability=0.7), {"delay": learned("axonal")}),
    "dendritic": (lambda w: Dense(w), {"delay": learned("dendritic")}),
    "dendritic table": (lambda w: Sparse(w, probability=0.7), {"delay": learned("dendritic")}),
}


def network(model, wiring):
    kind, settings = WIRING[wiring]
    net = Network()
    hidden, output = net.population(model, 20, "hidden"), net.population(LI(), 3, "output")
    net.connect(net.input(5), hidden, kind(Normal(0.6, 0.4)), **settings)
    net.connect(hidden, hidden, kind(Normal(0.0, 0.3)), **settings)
    net.connect(hidden, output, Dense(Normal(0.2, 0.4)))
    return net, output


def numbers(made, events):
    """Gradients of a training run, and those of a backward pass with input times."""
    data, batch = made.load(events), np.arange(len(events))
    made.run(data, batch, training=True)
    found = {f"run {k}": np.array(v) for k, v in made.gradients.items()}
    read = made.forward(data, batch)
    made.backward(np.cos(np.arange(read.value.size)).reshape(read.value.shape))
    found |= {k: np.array(v) for k, v in made.gradients.items()} | {"input": made.input_gradients}
    made.close()
    return found, read.spike_counts["hidden"].sum()


@pytest.mark.one_in(72)
@pytest.mark.parametrize("model", list(MODELS))
@pytest.mark.parametrize("wiring", sweep(list(WIRING), ["dense", "synaptic table", "dendritic", "axonal"]))
def test_nonlinear_arrivals(engine, model, wiring):
    net, output = network(MODELS[model], wiring)
    events = Events.from_samples(TIMES, n_channels=5, labels=[0, 1, 2])
    plan, values = make_plan(net, Loss(output, "integral"), dt=0.5, duration=30.0), net.initial_parameters(3)
    want, spikes = numbers(ReferenceClock(plan, values), events)
    assert spikes > 20
    got, _ = numbers(engine(plan, values, dtype="float64"), events)
    assert set(got) == set(want)
    for key, gradient in want.items():
        np.testing.assert_allclose(got[key], gradient, rtol=1e-8, atol=1e-11 * np.abs(gradient).max(), err_msg=key)


def evaluated(wiring, size):
    """Arrivals from the input and from neurons whose D is evaluated: of the dynamics of a hidden layer, and of a loss
    of V(t) that they move through tables, windows or individual delays."""
    net = Network()
    if wiring == "windows":
        image = net.input(9, shape=(3, 3, 1))
        hidden = net.population(GATED(), 8, "hidden", shape=(2, 2, 2))
        output = net.population(JUMPS(), 2, "output", shape=(1, 1, 2))
        net.connect(image, hidden, Conv2D(Normal(1.0, 0.4), kernel=2, channels=2), receptor="exc")
        net.connect(hidden, hidden, Dense(Normal(0.2, 0.3)), receptor="inh", delay=learned("axonal"))
        net.connect(hidden, output, Conv2D(Normal(0.3, 0.4), kernel=2, channels=2), delay=1.0)
        return net, output
    kind, settings = WIRING[wiring]
    hidden, output = net.population(GATED(), size, "hidden"), net.population(JUMPS(), min(size, 3), "output")
    channels = net.input(9)
    net.connect(channels, hidden, kind(Normal(1.0, 0.4)), receptor="exc", **settings)
    net.connect(hidden, hidden, kind(Normal(0.2, 0.3)), receptor="inh", **settings)
    net.connect(channels, output, kind(Normal(0.3, 0.3)), name="skip", **settings)
    net.connect(hidden, output, kind(Normal(0.2, 0.4)), **settings)
    return net, output


@pytest.mark.parametrize("kind", [*(pytest.param(k, marks=pytest.mark.ci) for k in ("c99", "cuda")), "native"])
@pytest.mark.parametrize(
    ("wiring", "size"),
    sweep([*((w, 6) for w in (*WIRING, "windows")), ("dense", 1), ("synaptic", 1)], [("table", 6)]),
)
@pytest.mark.ci
def test_arrivals_are_evaluated_at_every_synapse(kind, wiring, size):
    net, output = evaluated(wiring, size)
    labelled = wiring != "axonal" and size > 1
    times = [(t / 2, np.arange(40) * 7 % 9) for t, _ in TIMES]
    targets = np.random.default_rng(1).normal(0.3, 0.5, (3, 31, output.size))
    answers = {"labels": [0, 1, 0]} if labelled else {"targets": targets}
    events = Events.from_samples(times, n_channels=9, **answers)
    loss = PerStepCrossEntropy(output) if labelled else SquaredError(output, "voltage")
    plan, values = make_plan(net, loss, dt=0.5, duration=15.0), net.initial_parameters(3)
    settings = [{}, *([{"trajectory_limit": 1e-3}] if kind == "native" else [])]  # whole, and in segments
    found = []
    for made in (ReferenceClock(plan, values), *(ENGINES[kind](plan, values, dtype="float64", **s) for s in settings)):
        result = made.run(made.load(events), [0, 1, 2], training=True)
        found.append({k: np.array(v) for k, v in made.gradients.items()} | {"loss": result.loss})
        made.close()
    assert result.spike_counts["hidden"].sum() > (0 if size == 1 else 10)
    want, *every = found
    for got in every:
        for key, gradient in want.items():
            np.testing.assert_allclose(got[key], gradient, rtol=1e-9, atol=1e-12 * np.abs(gradient).max(), err_msg=key)


@pytest.mark.ci
@pytest.mark.parametrize("kind", ["c99", "native", "cuda"])
@pytest.mark.parametrize("wiring", sweep(list(WIRING), ["dense"]))
def test_input_times_of_what_is_no_polynomial(kind, wiring):
    net, output = network(EXPONENTIAL, wiring)
    events = Events.from_samples(TIMES, n_channels=5, labels=[0, 1, 2])
    plan, values = make_plan(net, Loss(output, "integral"), dt=0.5, duration=30.0), net.initial_parameters(3)
    want, _ = numbers(ReferenceClock(plan, values), events)
    got, _ = numbers(ENGINES[kind](plan, values, dtype="float64"), events)
    assert set(got) == set(want) and want["input"].any()
    for key, gradient in want.items():
        np.testing.assert_allclose(got[key], gradient, rtol=1e-9, atol=1e-12 * np.abs(gradient).max(), err_msg=key)


def test_what_is_no_polynomial_has_no_input_times():
    """Trained as ever, since weights do not need D of the input; input times and recurrent arrivals are refused."""
    engine = ENGINES["genn"]
    net, output = network(EXPONENTIAL, "dense")
    events = Events.from_samples(TIMES, n_channels=5, labels=[0, 1, 2])
    with pytest.raises(EngineError, match="cannot run connection 'hidden_hidden': an arrival at .* polynomial"):
        engine(make_plan(net, Loss(output, "integral"), dt=0.5, duration=30.0), net.initial_parameters(3))
    net = Network()
    hidden, output = net.population(EXPONENTIAL, 8, "hidden"), net.population(LI(), 3, "output")
    net.connect(net.input(5), hidden, Dense(Normal(0.6, 0.4)))
    net.connect(hidden, output, Dense(Normal(0.2, 0.4)))
    plan, values = make_plan(net, Loss(output, "integral"), dt=0.5, duration=30.0), net.initial_parameters(3)
    made, clock, found = engine(plan, values, dtype="float64"), ReferenceClock(plan, values), []
    for running in (made, clock):
        data = running.load(events)
        read = running.forward(data, np.arange(3))
        if running is made:
            with pytest.raises(EngineError, match="input_hidden.* depend nonlinearly.*backward with inputs=False"):
                running.backward(np.ones_like(read.value))
        running.backward(np.ones_like(read.value), inputs=False)
        found.append(np.array(running.gradients["input_hidden.weight"]))
    np.testing.assert_allclose(*found, rtol=1e-8, atol=1e-12)
    clock.backward(np.ones_like(clock.forward(clock.load(events), np.arange(3)).value))
    assert clock.input_gradients.any()
    made.close()


@pytest.mark.one_in(9)
@pytest.mark.parametrize("kind", sweep(["synaptic", "axonal", "dendritic"], ["axonal"]))
@pytest.mark.parametrize("readout", ["integral", "max"])
def test_learned_delays_of_pushes_and_kinks(engine, kind, readout):
    """D of an arrival that makes its target cross, and at the kink of a maximum, reaches delays that are learned."""
    net = Network()
    model = LIF() if readout == "max" else DELTA_LIF
    hidden, output = net.population(model, 8, "hidden"), net.population(LI(), 3, "output")
    net.connect(
        net.input(5), hidden, Dense(Normal(2.0, 1.0) if readout == "max" else Normal(0.4, 0.4)), delay=learned(kind)
    )
    net.connect(hidden, output, Dense(Normal(0.2, 0.5)), delay=learned(kind))
    events = Events.from_samples(TIMES, n_channels=5, labels=[0, 1, 2])
    plan, values = make_plan(net, Loss(output, readout), dt=0.5, duration=30.0), net.initial_parameters(3)
    want, spikes = numbers(ReferenceClock(plan, values), events)
    got, _ = numbers(engine(plan, values, dtype="float64"), events)
    assert spikes > 20 and want["run input_hidden.delay"].any() and want["run hidden_output.delay"].any()
    for key, gradient in want.items():
        np.testing.assert_allclose(got[key], gradient, rtol=1e-8, atol=1e-11 * np.abs(gradient).max(), err_msg=key)
