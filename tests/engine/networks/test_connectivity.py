"""Connectivity and delays on the grid: every kind is the sum of dense connections with one delay each."""

import numpy as np
import pytest

from genn_eventprop import Dense, FanIn, Network, Normal, Sparse
from genn_eventprop.engines import create
from genn_eventprop.engines.c99.engine import C99Engine
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.optimisers import Adam
from genn_eventprop.plan import make_plan
from support import connected as C
from support.cuda_shim import ShimEngine
from support.genn_harness import HarnessEngine
from support.on_genn import on_genn
from support.sweeps import sweep

GRID = {"dt": 0.5, "duration": 30.0}
TARGETS = {"c99": C99Engine, "cuda": ShimEngine, "genn": HarnessEngine}


def run(plan, values, data, engine="reference_clock", **options):
    running = create(plan, values, engine=engine, **options)
    result = running.run(running.load(data), np.arange(len(data)), training=True, record_spikes=True)
    return result, {k: np.array(v, np.float64) for k, v in running.gradients.items()}


CASES = [(k, d, "integral") for k in C.KINDS for d in C.DELAYS]
CASES += [("conv", d, loss) for d in ("synaptic", "axonal", "dendritic") for loss in ("max", "first_spike", "voltage")]
QUICK = [c for c in CASES if c[2] == "integral" and (c[0] in ("pairs", "conv") or c[1] == "synaptic")]
QUICK += [("conv", d, loss) for d, loss in (("synaptic", "max"), ("axonal", "first_spike"), ("dendritic", "voltage"))]


@pytest.mark.parametrize(("kind", "delays", "loss"), sweep(CASES, QUICK))
@pytest.mark.one_in(12)
def test_a_connection_is_the_sum_of_dense_ones(kind, delays, loss):
    net, made = C.network(kind, delays, loss=loss)
    values, data = net.initial_parameters(4), C.events(net, GRID["duration"])
    for key in values:  # on whole steps, so that both round alike
        values[key] = np.round(values[key] * 2) / 2 if key.endswith(".delay") else values[key]
    plan = make_plan(net, made, **GRID)
    other, given, parts = C.split(net, C.LOSSES[loss], values, **GRID)
    got, gradients = run(plan, values, data)
    want, of_parts = run(other, given, data)
    assert want.spike_counts["hidden"].sum() > 10
    for name in want.spike_counts:
        np.testing.assert_array_equal(got.spike_counts[name], want.spike_counts[name])
    np.testing.assert_allclose(got.loss, want.loss, rtol=1e-12)
    for key, gradient in C.gathered(plan, of_parts, parts).items():
        assert gradient.any()
        np.testing.assert_allclose(gradients[key], gradient, rtol=1e-9, atol=1e-12 * np.abs(gradient).max())


DELAY_CASES = [(d, loss) for d in C.DELAYS[2:] for loss in ("integral", "first_spike", "max", "end", "voltage")]


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("delays", "loss"), sweep(DELAY_CASES, [("synaptic", "max"), ("axonal", "voltage"), ("dendritic", "first_spike")])
)
def test_delay_gradients_converge_to_the_exact_ones(delays, loss):
    """D at the rounded arrival, summed over the synapses of one delay, against the exact gradient of that delay."""
    net, made = C.network("pairs", delays, loss=loss, recurrent=False)
    values, data = net.initial_parameters(5), C.events(net, 30.0, 2, spikes=(30, 40))
    for key in values:
        values[key] = np.round(values[key] * 0.5) * 2 if key.endswith(".delay") else values[key]
    exact, given, parts = C.split(net, C.LOSSES[loss], values, dt=1.0, duration=30.0, spike_times="exact")
    truth = create(exact, given, engine="reference_event")
    truth.run(truth.load(data), np.arange(len(data)), training=True)
    want = np.array([truth.full_gradients[f"{name}.delay"] for name, *_ in parts])
    _, gradients = run(make_plan(net, made, dt=0.05, duration=30.0), values, data)
    got = []
    for _, c, here, at in parts:
        index = {"synaptic": at[here], "axonal": np.flatnonzero(here.any(1)), "dendritic": np.flatnonzero(here.any(0))}
        got.append(gradients[c.delays_name].ravel()[index[delays]].sum())
    assert np.abs(want).max() > 0
    np.testing.assert_allclose(got, want, atol=0.05 * np.abs(want).max())


ON_TARGETS = [(e, *c) for e in TARGETS for c in CASES]
ON_HARNESS = [("pairs", "dendritic", "integral"), ("conv", "synaptic", "max"), ("one_to_one", 1.5, "integral")]
ON_SHIM = [
    (k, d, "integral") for k, d in (("dense", "dendritic"), ("pairs", "axonal"), ("conv", "synaptic"), ("pool", None))
]


@pytest.mark.parametrize(
    ("engine", "kind", "delays", "loss"),
    sweep(
        ON_TARGETS,
        [*(("c99", *c) for c in QUICK[::2]), *(("cuda", *c) for c in ON_SHIM), *(("genn", *c) for c in ON_HARNESS)],
    ),
)
@pytest.mark.one_in(12)
def test_targets_are_as_the_clocked_reference(engine, kind, delays, loss):
    net, made = C.network(kind, delays, loss=loss)
    values, data = net.initial_parameters(4), C.events(net, GRID["duration"])
    plan = make_plan(net, made, **GRID)
    clock, tested = create(plan, values, engine="reference_clock"), TARGETS[engine](plan, values, dtype="float64")
    check_same(tested, clock, data)


def check_same(tested, clock, data, tolerance=1e-9):
    every = np.arange(len(data))
    want = clock.run(clock.load(data), every, training=True, record_spikes=True)
    got = tested.run(tested.load(data), every, training=True, record_spikes=True)
    for name in want.spikes:
        for field in ("sample", "time", "neuron"):
            np.testing.assert_array_equal(getattr(got.spikes[name], field), getattr(want.spikes[name], field))
    np.testing.assert_allclose(got.loss, want.loss, rtol=tolerance)
    np.testing.assert_allclose(got.readout, want.readout, rtol=tolerance, atol=tolerance)
    for key, gradient in clock.gradients.items():
        assert tested.gradients[key].shape == gradient.shape
        np.testing.assert_allclose(
            tested.gradients[key], gradient, rtol=tolerance, atol=tolerance * np.abs(gradient).max(), err_msg=key
        )


@pytest.mark.needs_genn
@pytest.mark.parametrize(("kind", "delays", "loss"), [("pairs", "synaptic", "first_spike"), ("conv", "axonal", "max")])
def test_pygenn_is_as_the_clocked_reference(kind, delays, loss):
    net, made = C.network(kind, delays, loss=loss)
    values, data = net.initial_parameters(4), C.events(net, GRID["duration"])
    plan = make_plan(net, made, **GRID)
    tested = on_genn(plan, values, dtype="float64")
    check_same(tested, create(plan, values, engine="reference_clock"), data)
    tested.close()


def test_genn_takes_other_pairs_weights_and_delays():
    """Values that change between batches: weights and delays are sent, other pairs make another network."""
    net, made = C.network("probability", "synaptic")
    values, other, data = net.initial_parameters(4), net.initial_parameters(5), C.events(net, GRID["duration"])
    plan = make_plan(net, made, **GRID)
    tested = HarnessEngine(plan, values, dtype="float64", batch_size=2)
    tested.update(Adam(1e-2))  # before anything has run, with gradients of 0
    every = np.arange(len(data))
    tested.run(tested.load(data), every, training=True)
    for of in ("delay", "weight", "pairs"):
        for key in (k for k in values if k.endswith(of)):
            tested.parameters[key] = values[key] = other[key]
        check_same(tested, create(plan, values, engine="reference_clock"), data)


def test_genn_has_weights_of_one_sign_of_tables_as_they_are_now():
    """What arrives with a negative weight shares the kink of a maximum; these weights are a connection of their own."""
    net = Network()
    hidden, output = net.population(LIF(), 7, "hidden"), net.population(LI(tau_mem=2.0), 3, "output")
    net.connect(net.input(5), hidden, Dense(FanIn(3.0, 8.0)))
    net.connect(hidden, output, Sparse(Normal(0.0, 0.8), probability=0.7), delay=1.0)
    plan, data = make_plan(net, C.LOSSES["max"](output), **GRID), C.events(net, GRID["duration"])
    values = net.initial_parameters(4)
    tested = HarnessEngine(plan, values, dtype="float64")
    for scale in (1.0, -0.7):
        tested.parameters["hidden_output.weight"] = values["hidden_output.weight"] = (
            scale * values["hidden_output.weight"]
        )
        check_same(tested, create(plan, values, engine="reference_clock"), data)
        part, whole = (tested.network.synapses(f"hidden_output{n}", "weight") for n in ("_negative", ""))
        assert part.any()
        np.testing.assert_array_equal(part, np.minimum(whole, 0.0))


def test_genn_learns_tables_and_delays_as_native():
    net, made = C.network("conv", "axonal")
    values, data = net.initial_parameters(4), C.events(net, GRID["duration"])
    plan = make_plan(net, made, **GRID)
    engines = [HarnessEngine(plan, values, dtype="float64"), create(plan, values, engine="native", dtype="float64")]
    for engine in engines:
        optimiser, loaded = Adam(1e-2, groups={"*.delay": {"learning_rate": 0.5}}), engine.load(data)
        for _ in range(3):
            engine.run(loaded, np.arange(len(data)), training=True)
            engine.update(optimiser)
    for key, value in engines[1].parameters.items():
        np.testing.assert_allclose(engines[0].parameters[key], value, rtol=1e-8, atol=1e-12, err_msg=key)
        assert np.array_equal(value, values[key]) == (key not in plan.trainable)
