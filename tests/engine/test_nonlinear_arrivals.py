"""Arrivals along which the dynamics are not linear: D = lambda . (f(x - w e) - f(x)) on every target."""

import numpy as np
import pytest

from genn_eventprop import Delay, Dense, Event, Events, Mode, Network, NeuronModel, Normal, Param, Sparse
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.errors import EngineError
from genn_eventprop.losses import Loss
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
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


@pytest.mark.one_in(9)
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


def test_what_is_no_polynomial_has_no_input_times(engine):
    """Trained as ever, since weights do not need D of the input; input times and recurrent arrivals are refused."""
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


@pytest.mark.one_in(3)
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
