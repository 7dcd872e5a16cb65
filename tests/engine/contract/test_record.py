"""States and adjoints that engines record of the trials that they run, against the references."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from genn_eventprop import Delay, Dense, Events, Network, Normal, Sparse, Uniform, engines, losses
from genn_eventprop.errors import EngineError
from genn_eventprop.losses import OwnLoss, TimeWeight
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.qif import QIF
from genn_eventprop.plan import make_plan
from genn_eventprop.training import record_trial
from support import exact, problems
from support.cuda_shim import ShimEngine
from support.engines import refused
from support.sweeps import sweep

EXACT = {
    "first spikes": ("recurrent", "first", "trained", 0.0),
    "first spikes, heterogeneous, delayed": ("deep", "first_inverse", "heterogeneous", 1.3),
    "first spikes, refractory": ("recurrent", "first", "refractory trained", 0.0),
    "periods shorter than a step": ("recurrent", "first", "refractory brief", 0.0),
    "adaptive": ("adaptive", "first", "trained", 0.0),
    "maximum": ("feed-forward", "max", "trained", 0.0),
    "integral": ("recurrent", "exponential", "heterogeneous", 0.0),
    "integral of spiking": ("deep", "sigmoid_spiking", "trained", 0.0),
    "end": ("feed-forward", "end", "trained", 0.0),
}  # fmt: skip
READ = {
    "per step of spiking": (losses.PerStepCrossEntropy, True),
    "integral of spiking in a window": (lambda o: losses.SquaredError(o, weight=TimeWeight("1", (9.0, 31.0))), True),
    "loss in Python": (lambda o: OwnLoss(o, "max", losses.Function(lambda r, y: ((r**2).sum(1), 2 * r))), False),
}


def recorded(plan, parameters, events, engine, dtype="float64", **asked):
    made = engines.create(plan, parameters, engine=engine, dtype=dtype)
    try:
        return made.record(made.load(events), np.arange(len(events)), **asked)
    finally:
        made.close()


def assert_same(found, truth, tolerance):
    assert {name: list(states) for name, states in found.items()} == {n: list(s) for n, s in truth.items()}
    for name, states in truth.items():
        for state, values in states.items():
            assert np.isfinite(values).all() and found[name][state].shape == values.shape
            scale = np.abs(values).max()
            assert scale > 0 or state.startswith("lambda_"), (name, state)
            assert np.abs(found[name][state] - values).max() <= tolerance * max(scale, 1e-9), (name, state)


def delayed():
    """A learned delay of every synapse of a sparse connection, back into its own population too."""
    net = Network()
    hidden, out = net.population(LIF(), 12, name="hidden"), net.population(LIF(), 4, name="output")
    late = Delay(Uniform(0.0, 6.0), kind="synaptic", max=8.0, trainable=True)
    net.connect(net.input(7), hidden, Dense(Normal(0.9, 0.6)), delay=late)
    net.connect(hidden, hidden, Sparse(Normal(0.0, 0.4), probability=0.5), delay=0.7)
    net.connect(hidden, out, Dense(Normal(0.5, 0.3)), delay=late)
    return net, losses.FirstSpikeCrossEntropy(out, silent="end")


def exact_problem(name):
    if name == "delays of synapses":
        net, loss = delayed()
    elif name in READ:
        make, spiking = READ[name]
        net, first = exact.network("feed-forward", "first" if spiking else "max", "trained", 0.0)
        loss = make(first.population)
    else:
        net, loss = exact.network(*EXACT[name])
    events = exact.spikes()
    if loss.compares == "targets":
        events = dataclasses.replace(events, targets=np.random.default_rng(1).normal(0.2, 0.3, (len(events), 4)))
    return make_plan(net, loss, dt=1.0, duration=50.0, spike_times="exact"), net.initial_parameters(3), events


QUICK = ("first spikes, refractory", "maximum", "integral", "per step of spiking")


@pytest.mark.ci
@pytest.mark.parametrize("name", [*QUICK, *(n for n in (*EXACT, *READ, "delays of synapses") if n not in QUICK)])
def test_exact_records_equal_the_reference(name):
    plan, parameters, events = exact_problem(name)
    times = np.sort(np.concatenate([np.linspace(0.0, 50.0, 173), np.random.default_rng(2).uniform(0, 50, 60)]))
    truth = recorded(plan, parameters, events, "reference_event", times=times)
    # with quadrature a readout of V acts at nodes, between which the adjoint is constant in steps
    stepwise = name in ("per step of spiking", "integral of spiking in a window")
    found = recorded(plan, parameters, events, "native", times=times)
    out = plan.output.name
    if stepwise:
        for states in (truth, found):
            states[out] = {s: v for s, v in states[out].items() if not s.startswith("lambda_")}
    assert_same(found, truth, 1e-9)


GRID = problems.every_problem()
GRID_QUICK = ("loss: spike times", "shape: skip, max", "neurons: delta", "neurons: conductance", "losses: several")


@pytest.mark.ci
@pytest.mark.parametrize("loss", [losses.MaxVoltageCrossEntropy, losses.IntegratedVoltageCrossEntropy])
def test_records_of_nonlinear_neurons_equal_the_reference(loss):
    net = Network()
    hidden, out = net.population(QIF(), 6, name="hidden"), net.population(LI(), 4, name="output")
    net.connect(net.input(7), hidden, Dense(Normal(2.0, 0.6)))
    net.connect(hidden, out, Dense(Normal(0.5, 0.3)))
    plan = make_plan(net, loss(out), dt=1.0, duration=50.0, spike_times="exact")
    parameters, events, times = net.initial_parameters(1), exact.spikes(), np.linspace(0.0, 50.0, 173)
    truth, found = (recorded(plan, parameters, events, e, times=times) for e in ("reference_event", "native"))
    assert_same(found, truth, 1e-8)


@pytest.mark.one_in(5)
@pytest.mark.parametrize("name", sweep(GRID, GRID_QUICK))
def test_grid_records_equal_the_reference(name):
    plan, events = GRID[name]()
    parameters = plan.network.initial_parameters(3)
    truth = recorded(plan, parameters, events, "reference_clock")
    able = [e for e in ("native", "c99") if not refused(engines.engine_class(e), plan)]
    assert able
    for engine in able:
        assert_same(recorded(plan, parameters, events, engine), truth, 1e-9)


def feed_forward(n_hidden=6):
    net = Network()
    hidden, out = net.population(LIF(), n_hidden, name="hidden"), net.population(LIF(), 3, name="output")
    net.connect(net.input(4), hidden, Dense(Normal(2.0, 0.5)))
    net.connect(hidden, out, Dense(Normal(1.0, 0.3)))
    return net, losses.FirstSpikeCrossEntropy(out)


def some_events(n=3, duration=20.0):
    rng = np.random.default_rng(1)
    samples = [(np.sort(rng.uniform(0, duration, 30)), rng.integers(0, 4, 30)) for _ in range(n)]
    return Events.from_samples(samples, 4, labels=np.arange(n) % 3)


@pytest.mark.parametrize("engine", ["native", "reference_event"])
def test_V_is_at_its_threshold_at_every_spike(engine):
    net, loss = feed_forward()
    plan = make_plan(net, loss, dt=1.0, duration=20.0, spike_times="exact")
    made = engines.create(plan, net.initial_parameters(1), engine=engine, dtype="float64")
    data = made.load(some_events(1))
    spikes = made.run(data, [0], record_spikes=True).spikes["hidden"]
    assert len(spikes.time) > 10
    V = made.record(data, [0], neurons=["hidden"], states=["V"], times=spikes.time)["hidden"]["V"][0]
    np.testing.assert_allclose(V[np.arange(len(spikes.time)), spikes.neuron], 1.0, atol=1e-9)
    after = made.record(data, [0], neurons=["hidden"], states=["V"], times=spikes.time + 1e-9)["hidden"]["V"][0]
    np.testing.assert_allclose(after[np.arange(len(spikes.time)), spikes.neuron], 0.0, atol=1e-6)


@pytest.mark.parametrize("spike_times", ["grid", "exact"])
def test_a_record_leaves_everything_as_it_was(spike_times):
    """Gradients and spikes stay, and a run after it has the same bits."""
    net, loss = feed_forward()
    plan = make_plan(net, loss, dt=0.5, duration=20.0, spike_times=spike_times)
    made = engines.create(plan, net.initial_parameters(1), engine="native")
    data = made.load(some_events())
    first = made.run(data, [0, 1, 2], training=True)
    gradients = {k: v.copy() for k, v in made.gradients.items()}
    made.record(data, [1])
    for k, v in gradients.items():
        assert np.array_equal(made.gradients[k], v)
    again = made.run(data, [0, 1, 2], training=True)
    assert np.array_equal(first.loss, again.loss)
    for k, v in gradients.items():
        assert np.array_equal(made.gradients[k], v)


def test_chosen_neurons_and_states():
    net, loss = feed_forward()
    plan = make_plan(net, loss, dt=0.5, duration=20.0)
    made = engines.create(plan, net.initial_parameters(1), engine="native")
    data = made.load(some_events())
    every = made.record(data, [2])
    some = made.record(data, [2], neurons={"hidden": [4, 1], "output": None}, states=["lambda_V", "V"])
    assert {n: list(v) for n, v in some.items()} == {"hidden": ["lambda_V", "V"], "output": ["lambda_V", "V"]}
    np.testing.assert_array_equal(some["hidden"]["V"], every["hidden"]["V"][:, :, [4, 1]])
    np.testing.assert_array_equal(some["output"]["lambda_V"], every["output"]["lambda_V"])
    assert list(made.record(data, [2], adjoint=False)["hidden"]) == ["V", "I"]
    unlabelled = made.load(dataclasses.replace(some_events(), labels=None))
    np.testing.assert_array_equal(made.record(unlabelled, [2], adjoint=False)["hidden"]["V"], every["hidden"]["V"])


def test_what_cannot_be_recorded_is_said():
    net, loss = feed_forward()
    grid, exact_plan = (make_plan(net, loss, dt=1.0, duration=20.0, spike_times=s) for s in ("grid", "exact"))
    made = engines.create(grid, net.initial_parameters(1), engine="native")
    data = made.load(some_events())
    for asked, message in (
        ({"neurons": ["hiden"]}, "no population 'hiden'.*hidden"),
        ({"neurons": {"hidden": [6]}}, "'hidden' has no neuron 6; its neurons are 0 to 5"),
        ({"states": ["W"]}, "no state 'W' in hidden, output"),
        ({"times": [1.0]}, "leave times out"),
    ):
        with pytest.raises(EngineError, match=message):
            made.record(data, [0], **asked)
    made = engines.create(exact_plan, net.initial_parameters(1), engine="native")
    with pytest.raises(EngineError, match="from 0 to 20 ms"):
        made.record(made.load(some_events()), [0], times=[3.0, 21.0])
    with pytest.raises(EngineError, match="needs a label for every sample"):
        made.record(made.load(dataclasses.replace(some_events(), labels=None)), [0])


def test_native_records_for_engines_that_do_not():
    """Same plan, same weights: the spikes are those of the engine that trained, which says what to do itself."""
    net, loss = feed_forward()
    plan = make_plan(net, loss, dt=0.5, duration=20.0)
    shim = ShimEngine(plan, net.initial_parameters(1))
    data = shim.load(some_events())
    with pytest.raises(EngineError, match=r"cuda records no states; use engine='native'.*or training.record_trial"):
        shim.record(data, [1])
    trial = record_trial(SimpleNamespace(plan=plan, engine=shim), some_events(), 1)
    spikes = shim.run(data, [1], record_spikes=True).spikes["hidden"]
    assert trial.engine == "native" and len(spikes.time) > 3
    np.testing.assert_array_equal(trial.spikes["hidden"].time, spikes.time)
    np.testing.assert_array_equal(trial.spikes["hidden"].neuron, spikes.neuron)
    assert np.abs(trial.states["hidden"]["lambda_V"]).max() > 0
    shim.close()
