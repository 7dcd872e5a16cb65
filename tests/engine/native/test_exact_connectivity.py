"""Native with exact spike times: tables of synapses and individual delays, against reference_event."""

import numpy as np
import pytest

from genn_eventprop import Delay, Dense, Events, Network, Normal, Sparse
from genn_eventprop.engines import create
from genn_eventprop.engines.native.engine import NativeEngine
from genn_eventprop.losses import Loss
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from support import connected as C
from support import exact
from support.sweeps import sweep

TRIAL = {"dt": 0.5, "duration": 30.0, "spike_times": "exact"}
BOUNDS = {"float64": 1e-9, "float32": 1e-3}


def trained(plan, values, data, engine="native", **options):
    running = NativeEngine(plan, values, **options) if engine == "native" else create(plan, values, engine=engine)
    result = running.run(running.load(data), np.arange(len(data)), training=True, record_spikes=True)
    return result, {k: np.array(v, np.float64) for k, v in running.gradients.items()}


def compare(plan, values, data, dtype="float64", **options):
    want, gradients = trained(plan, values, data, "reference_event")
    got, others = trained(plan, values, data, dtype=dtype, **options)
    bound = BOUNDS[dtype]
    for name in want.spikes:
        np.testing.assert_array_equal(got.spikes[name].neuron, want.spikes[name].neuron)
        np.testing.assert_allclose(got.spikes[name].time, want.spikes[name].time, rtol=bound)
    np.testing.assert_allclose(got.loss, want.loss, rtol=bound)
    assert set(others) == set(gradients)
    for key, gradient in gradients.items():
        np.testing.assert_allclose(others[key], gradient, rtol=bound, atol=bound * np.abs(gradient).max(), err_msg=key)
    return want, gradients


CASES = [(k, d, loss) for k in C.KINDS for d in C.DELAYS if isinstance(d, str) or k != "dense" for loss in C.LOSSES]
QUICK = [("dense", "axonal", "max"), ("conv", "synaptic", "first_spike"), ("pool", None, "voltage of spiking")]


@pytest.mark.ci
@pytest.mark.parametrize(("kind", "delays", "loss"), sweep(CASES, QUICK))
def test_every_kind_is_as_the_reference(kind, delays, loss):
    net, made = C.network(kind, delays, loss=loss)
    data = C.events(net, TRIAL["duration"], 2, spikes=(50, 80))
    _, gradients = compare(make_plan(net, made, **TRIAL), net.initial_parameters(4), data)
    assert all(g.any() for key, g in gradients.items() if key.startswith("hidden_output"))


def small(neuron=LIF, read="integral", delay=4.0):
    """5 - 9 recurrent - 3 with delays of every kind."""
    net = Network()
    late = {k: Delay(Normal(delay, 2.0), kind=k, trainable=True, max=30.0) for k in ("synaptic", "axonal", "dendritic")}
    hidden, output = net.population(neuron(), 9, name="hidden"), net.population(LI(), 3, name="output")
    net.connect(net.input(5), hidden, Sparse(Normal(2.5, 0.8), probability=0.8), delay=late["synaptic"])
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.4)), delay=late["dendritic"])
    net.connect(hidden, output, Dense(Normal(0.4, 0.6)), delay=late["axonal"])
    return net, make_plan(net, Loss(output, read), **TRIAL)


def events(net, seed=1):
    return C.events(net, TRIAL["duration"], 3, seed=seed, spikes=(20, 40))


@pytest.mark.ci
def test_float32_has_the_same_spikes():
    net, plan = small()
    compare(plan, net.initial_parameters(2), events(net), "float32")


@pytest.mark.ci
def test_neurons_that_differ_and_have_refractory_periods():
    net, plan = small(lambda: exact.neuron("refractory heterogeneous"))
    compare(plan, net.initial_parameters(2), events(net))


@pytest.mark.ci
def test_delays_of_zero_and_beyond_the_trial():
    net, plan = small()
    values = net.initial_parameters(2)
    rng = np.random.default_rng(0)
    for key in values:
        if key.endswith(".delay"):
            values[key] = rng.choice([0.0, 0.0, 0.3, 28.0], values[key].shape)
    compare(plan, values, events(net))


def test_bits_do_not_depend_on_threads():
    net, plan = small()
    values, data = net.initial_parameters(2), events(net)
    one, other = (trained(plan, values, data, threads=t)[1] for t in (1, 3))
    for key in one:
        np.testing.assert_array_equal(one[key], other[key])


def test_differences_of_delays_on_the_engine_itself():
    """Independent of the reference: (L(d + h) - L(d - h)) / 2 h."""
    net, plan = small()
    values, data = net.initial_parameters(2), events(net)
    gradient = trained(plan, values, data, dtype="float64")[1]
    engine = NativeEngine(plan, values, dtype="float64")
    loaded, every = engine.load(data), np.arange(len(data))
    for key in (k for k in values if k.endswith(".delay")):
        for at in list(np.ndindex(values[key].shape))[::4]:
            losses = []
            for sign in (1, -1):
                engine.parameters[key][at] = values[key][at] + sign * 1e-6
                losses.append(engine.run(loaded, every).loss.mean())
            engine.parameters[key][at] = values[key][at]
            np.testing.assert_allclose(gradient[key][at], (losses[0] - losses[1]) / 2e-6, rtol=1e-5, atol=1e-8)


@pytest.mark.ci
def test_two_halves_and_gradients_of_input_times():
    net, plan = small()
    values, data, found = net.initial_parameters(2), events(net), []
    slope = np.random.default_rng(5).normal(size=(len(data), 3))
    for engine, options in (("reference_event", {}), ("native", {"dtype": "float64"})):
        running = create(plan, values, engine=engine, **options)
        running.forward(running.load(data), np.arange(len(data)))
        running.backward(slope)
        found.append([running.input_gradients, *(np.array(g) for g in running.gradients.values())])
    for got, want in zip(found[1], found[0]):
        assert want.any()
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12 * np.abs(want).max())


@pytest.mark.ci
def test_other_pairs_are_followed():
    """As in rewiring: the table is made anew, nothing is compiled."""
    net, plan = small()
    values, data = net.initial_parameters(2), events(net)
    engine = NativeEngine(plan, values, dtype="float64")
    engine.run(engine.load(data), np.arange(len(data)), training=True)
    others = net.initial_parameters(3)
    for key, value in others.items():
        engine.parameters[key][...] = value
    result = engine.run(engine.load(data), np.arange(len(data)), training=True)
    want, gradients = trained(plan, others, data, "reference_event")
    np.testing.assert_allclose(result.loss, want.loss, rtol=1e-9)
    for key, gradient in gradients.items():
        np.testing.assert_allclose(engine.gradients[key], gradient, rtol=1e-9, atol=1e-9 * np.abs(gradient).max())


@pytest.mark.ci
def test_shared_weights_have_their_own_delays():
    net = Network()
    layers = [net.population(LIF(), 6, name=f"layer{i}") for i in range(3)]
    output = net.population(LI(), 3, name="output")
    late = [Delay(Normal(3.0, 1.0), kind=kind, max=9.0) for kind in ("dendritic", "synaptic")]
    net.connect(net.input(5), layers[0], Dense(Normal(1.8, 0.6)))
    first = net.connect(layers[0], layers[1], Dense(Normal(1.5, 0.4)), delay=late[0])
    net.connect(layers[1], layers[2], share=first, delay=late[1])
    net.connect(layers[2], output, Dense(Normal(0.4, 0.4)))
    want, _ = compare(make_plan(net, Loss(output, "end"), **TRIAL), net.initial_parameters(1), events(net))
    assert want.spike_counts["layer2"].any()


@pytest.mark.one_in(2)
@pytest.mark.parametrize("engine", ["reference_event", "native"])
def test_kink_of_a_maximum_goes_to_the_synapse_delay(engine):
    """The second spike reaches all outputs at once, and V of each turns there."""
    net, rng = Network(), np.random.default_rng(0)
    out = net.population(LI(), 6, name="output")
    weight = np.stack([rng.uniform(2.0, 4.0, 6), rng.uniform(-4.0, -2.0, 6)])
    net.connect(net.input(2), out, Dense(weight), delay=Delay(np.full((2, 6), 2.0), max=5.0))
    plan, values = make_plan(net, Loss(out, "max"), **TRIAL), net.initial_parameters(0)
    data = Events.from_samples([([1.0, 4.0], [0, 1])], n_channels=2, labels=[0])
    gradient = trained(plan, values, data, engine, **({"dtype": "float64"} if engine == "native" else {}))[1]
    delays = values["input_output.delay"]
    for i in range(6):
        found = []
        for sign in (1, -1):
            delays[1, i] = 2.0 + sign * 1e-5
            found.append(trained(plan, values, data, "reference_event")[0].loss[0])
        delays[1, i] = 2.0
        np.testing.assert_allclose(gradient["input_output.delay"][1, i], (found[0] - found[1]) / 2e-5, rtol=1e-6)
