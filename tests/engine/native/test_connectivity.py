"""Native, on the grid: tables of synapses and individual delays, against reference_clock."""

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from genn_eventprop import Delay, Dense, Events, Network, Normal, Param, Sparse, Uniform, losses
from genn_eventprop.engines import create
from genn_eventprop.engines.native.engine import NativeEngine
from genn_eventprop.losses import Loss
from genn_eventprop.models import ZOO
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.lif_delta import LIFDelta
from genn_eventprop.optimisers import Adam
from genn_eventprop.plan import make_plan
from support import connected as C
from support.sweeps import sweep

GRID = {"dt": 0.5, "duration": 30.0}
BOUNDS = {"float64": 1e-9, "float32": 1e-4}


def trained(plan, values, data, engine="native", **options):
    running = NativeEngine(plan, values, **options) if engine == "native" else create(plan, values, engine=engine)
    result = running.run(running.load(data), np.arange(len(data)), training=True, record_spikes=True)
    return result, {k: np.array(v, np.float64) for k, v in running.gradients.items()}


def compare(plan, values, data, dtype="float64", **options):
    want, gradients = trained(plan, values, data, "reference_clock")
    got, others = trained(plan, values, data, dtype=dtype, **options)
    for name in want.spike_counts:
        np.testing.assert_array_equal(got.spike_counts[name], want.spike_counts[name])
    bound = BOUNDS[dtype]
    np.testing.assert_allclose(got.loss, want.loss, rtol=bound)
    assert set(others) == set(gradients)
    for key, gradient in gradients.items():
        np.testing.assert_allclose(others[key], gradient, rtol=bound, atol=bound * np.abs(gradient).max(), err_msg=key)
    return want, gradients


CASES = [(k, d) for k in C.KINDS for d in C.DELAYS if (k, d) not in (("dense", None), ("dense", 1.5))]
QUICK = [("dense", "synaptic"), ("dense", "axonal"), ("dense", "dendritic"), ("pairs", None), ("conv", "synaptic")]


@pytest.mark.one_in(6)
@pytest.mark.parametrize(("kind", "delays"), sweep(CASES, QUICK))
def test_every_kind_is_as_the_reference(kind, delays):
    for loss, dtype in (("integral", "float64"), ("first_spike", "float32")):
        net, made = C.network(kind, delays, loss=loss)
        plan, values, data = make_plan(net, made, **GRID), net.initial_parameters(4), C.events(net, 30.0)
        result, gradients = compare(plan, values, data, dtype)
        assert result.spike_counts["hidden"].sum() > 10 and all(g.any() for g in gradients.values())


@settings(
    max_examples=4, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck), derandomize=True
)
@pytest.mark.ci
@given(st.data())
def test_networks_that_hypothesis_draws(draw):
    pick = lambda *values: draw.draw(st.sampled_from(values))  # noqa: E731
    loss = pick("integral", "max", "first_spike", "end", "voltage", "voltage of spiking")
    model = ZOO[pick("LIF", "LIFRefractory", "ALIF", "LIFDoubleExponential")]
    net, made = C.network(pick(*C.KINDS), pick(*C.DELAYS), loss=loss, seed=draw.draw(st.integers(0, 9)), model=model)
    dt = pick(0.25, 0.5, 1.0)
    values, data = (
        net.initial_parameters(draw.draw(st.integers(0, 99))),
        C.events(net, 30.0, seed=draw.draw(st.integers(0, 99))),
    )
    compare(make_plan(net, made, dt=dt, duration=30.0), values, data)


@pytest.mark.ci
@pytest.mark.parametrize("size", sweep([1, 2, 3, 7, 15, 16, 17, 33], [17]))
def test_populations_of_any_size(size):
    for kind in ("synaptic", "axonal", "dendritic"):
        net = Network()
        inp = net.input(size)
        hidden = net.population(LIF(), size, name="hidden")
        out = net.population(LIF(), 3, name="output")
        delay = Delay(Uniform(0, 40), kind=kind, max=40.0)  # beyond the trial
        net.connect(inp, hidden, Dense(Normal(4.0 / size**0.5, 1.0)), delay=delay)
        net.connect(hidden, hidden, Sparse(Normal(0.3, 0.3), probability=0.5), delay=Delay(0.0, kind=kind))
        net.connect(hidden, out, Dense(Normal(2.0, 1.0)), delay=np.full((size, 3), 1.0), trainable=False)
        plan = make_plan(net, losses.FirstSpikeCrossEntropy(out), dt=0.5, duration=30.0)
        compare(plan, net.initial_parameters(1), C.events(net, 30.0, spikes=(5 + size, 6 + 3 * size)))


# 20 targets are padded to 32, which are run at once, 40 to three blocks of 16
@pytest.mark.parametrize(("size", "loss"), sweep([(20, "integral"), (40, "max")], [(20, "integral")]))
def test_dense_connections_with_delays_to_the_same_neurons(size, loss):
    """Gradients of those that learn the same are summed together."""
    net = Network()
    inputs, hidden = [net.input(6, name="a"), net.input(9, name="b")], net.population(LIF(), size, name="hidden")
    out = net.population(LI(), 3, name="output")
    learned = {"delay": Delay(Uniform(0, 6), max=8.0)}
    fixed = {"delay": Delay(Uniform(0, 6), max=8.0, trainable=False)}
    for source, options in ((inputs[0], learned), (inputs[1], learned | {"trainable": False}), (inputs[1], fixed)):
        net.connect(source, hidden, Dense(Normal(0.5, 0.5)), name=f"from_{len(net.connections)}", **options)
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.3)), **learned)
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.3)), name="fixed", **fixed)
    net.connect(hidden, out, Dense(Normal(0.4, 0.4)), **learned)
    plan = make_plan(net, C.LOSSES[loss](out), **GRID)
    result, gradients = compare(plan, net.initial_parameters(2), several_inputs(6, 9), threads=1)
    assert result.spike_counts["hidden"].sum() > 50 and len(gradients) == 9
    assert all(g.any() for g in gradients.values())


def several_inputs(*sizes):
    rng, samples = np.random.default_rng(3), []
    for _ in range(11):
        samples.append((np.sort(rng.uniform(0, 29, 120)), rng.integers(0, sum(sizes), 120)))
    return Events.from_samples(samples, n_channels=sum(sizes), labels=rng.integers(0, 3, 11))


def test_every_number_of_threads_gives_the_same_bits():
    net, made = C.network("conv", "synaptic")
    plan, values, data = make_plan(net, made, **GRID), net.initial_parameters(4), C.events(net, 30.0, 7)
    one, gradients = trained(plan, values, data, threads=1)
    for threads in (2, 3):
        other, again = trained(plan, values, data, threads=threads)
        assert np.array_equal(one.loss, other.loss)
        assert all(np.array_equal(gradients[k], again[k]) for k in gradients)


@pytest.mark.parametrize("delays", sweep(C.DELAYS[2:], ["axonal"]))
def test_trajectories_in_segments(delays):
    """What was sent before a segment, and arrives in it, is sent once more."""
    model = lambda: LIF(tau_mem=Param(20.0, "ms", trainable=True))  # noqa: E731
    found = []
    for limit in (256.0, 2 / 1024):
        net, made = C.network("dense", delays, model=model)
        plan, values, data = make_plan(net, made, **GRID), net.initial_parameters(4), C.events(net, 30.0)
        compare(plan, values, data, trajectory_limit=limit)
        engine = NativeEngine(plan, values, trajectory_limit=limit)
        found.append(engine.segment)
    assert found == [60, 8]


@pytest.mark.parametrize("delays", sweep([None, "synaptic", "axonal", "dendritic"], ["synaptic"]))
def test_two_halves_and_the_times_of_input_spikes(delays):
    kind = "pairs" if delays is None else "dense"
    net, _ = C.network(kind, delays)
    plan = make_plan(net, Loss(net.populations[-1], "integral"), **GRID)
    values, data = net.initial_parameters(4), C.events(net, 30.0)
    found = []
    for engine in ("reference_clock", "native"):
        options = {"dtype": "float64"} if engine == "native" else {}
        running = create(plan, values, engine=engine, **options)
        read = running.forward(running.load(data), np.arange(len(data)))
        running.backward(np.cos(np.arange(read.value.size)).reshape(read.value.shape))
        found.append(
            (read.value, running.input_gradients.copy(), {k: np.array(v) for k, v in running.gradients.items()})
        )
    (want, times, gradients), (got, others, again) = found
    np.testing.assert_allclose(got, want, rtol=1e-9)
    assert np.count_nonzero(times) > 50
    np.testing.assert_allclose(others, times, rtol=1e-9, atol=1e-9 * np.abs(times).max())
    for key, gradient in gradients.items():
        np.testing.assert_allclose(again[key], gradient, rtol=1e-9, atol=1e-9 * np.abs(gradient).max(), err_msg=key)


def test_values_are_followed_from_batch_to_batch():
    """Delays that an optimiser moves, and pairs that something else does."""
    net, made = C.network("probability", "synaptic")
    plan, values, data = make_plan(net, made, **GRID), net.initial_parameters(4), C.events(net, 30.0)
    engine = create(plan, values, engine="native", dtype="float64")
    loaded, optimiser = engine.load(data), Adam(0.5)
    for _ in range(3):
        engine.run(loaded, [0, 1, 2], training=True)
        engine.update(optimiser)
    key = "input_hidden.delay"
    assert np.abs(engine.parameters[key] - values[key]).max() > 1.0
    pairs = engine.parameters["hidden_hidden.pairs"]
    pairs[:, 1] = (pairs[:, 1] + 1) % 7
    now = {k: np.array(v) for k, v in engine.parameters.items()}
    moved = engine.run(loaded, [0, 1, 2], training=True)
    want, gradients = trained(plan, now, data, "reference_clock")
    np.testing.assert_allclose(moved.loss, want.loss, rtol=1e-9)
    np.testing.assert_allclose(engine.gradients[key], gradients[key], rtol=1e-9, atol=1e-12)


def test_another_pattern_compiles_nothing_new():
    texts = set()
    for seed in (1, 2):
        net, made = C.network("probability", "synaptic", seed=seed)
        texts.add(NativeEngine(make_plan(net, made, **GRID), net.initial_parameters(seed)).source.text)
    assert len(texts) == 1


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("kind", "delays"), sweep(CASES, [QUICK[0], QUICK[2], ("pairs", "axonal")]))
def test_weights_of_one_sign_have_a_share_of_their_own(kind, delays):
    """Arrivals that push hidden neurons across, and kinks of the outputs' maxima."""
    net, made = C.network(kind, delays, loss="max", model=LIFDelta, drive=3.0)
    plan, values, data = make_plan(net, made, **GRID), net.initial_parameters(4), C.events(net, 30.0)
    result, gradients = compare(plan, values, data)
    assert result.spike_counts["hidden"].sum() > 10
    assert delays in (None, 1.5) or gradients["input_hidden.delay"].any()


@pytest.mark.parametrize("trainable", [True, False])
def test_two_connections_with_dendritic_delays_from_the_input(trainable):
    """Of what arrives through both, only one can be kept in the rows for gradients of weights, if there are any."""
    net = Network()
    inputs, hidden = net.input(24), net.population(LIF(), 7, name="hidden")
    outputs = net.population(LI(), 3, name="output")
    delay = Delay(Uniform(0, 6), kind="dendritic", max=10.0)
    for name in ("one", "two"):
        net.connect(inputs, hidden, Dense(Normal(1.0, 1.0)), delay=delay, name=name, trainable=trainable)
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.5)), delay=delay)
    net.connect(hidden, outputs, Dense(Normal(0.0, 0.5)))
    plan = make_plan(net, losses.IntegratedVoltageCrossEntropy(outputs), **GRID)
    result, gradients = compare(plan, net.initial_parameters(4), C.events(net, 30.0))
    assert result.spike_counts["hidden"].sum() > 10
    assert gradients["one.delay"].any() and gradients["two.delay"].any()
