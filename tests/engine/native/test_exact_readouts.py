"""Every readout, time weight and outer loss of `native` with exact spike times against `reference_event`.

Networks are those of `support.exact`.
"""

from __future__ import annotations

import numpy as np
import pytest

from genn_eventprop import Dense, Network, NeuronModel, Normal, Param, engines, losses
from genn_eventprop.data import Events
from genn_eventprop.errors import EngineError
from genn_eventprop.losses import OwnLoss, TimeWeight
from genn_eventprop.losses.kinds import READOUTS, ReadoutKind
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.lif_refractory import LIFRefractory
from genn_eventprop.plan import make_plan
from genn_eventprop.program.readouts.trace import Trace
from genn_eventprop.regularisers import SpikeCount
from support.exact import network, spikes
from support.sweeps import sweep

T = 50.0


def own(r, y):
    """A function with a gradient: 1/2 (r_0 r_1 + r_y)^2."""
    rows = np.arange(len(r))
    inner = r[:, 0] * r[:, 1] + r[rows, y]
    gradient = np.zeros_like(r)
    gradient[:, 0], gradient[:, 1] = inner * r[:, 1], inner * r[:, 0]
    gradient[rows, y] += inner
    return 0.5 * inner**2, gradient


# name -> (loss of the output population, whether that spikes, topology, kind of neurons)
LOSSES = {
    "spike times": (losses.SpikeTimeError, True, "feed-forward", "trained"),
    "spike times, missing ones count": (
        lambda o: losses.SpikeTimeError(o, silent="end"), True, "recurrent", "heterogeneous",
    ),
    "squared error of first spikes": (lambda o: losses.SquaredError(o, "first_spike"), True, "deep", "fixed"),
    "squared error of first spikes, missing ones count": (
        lambda o: losses.Loss(o, "first_spike", outer="squared_error", silent="end", score="-r"), True,
        "feed-forward", "trained",
    ),
    "squared error of the maximum": (lambda o: losses.SquaredError(o, "max"), False, "feed-forward", "trained"),
    "spike times of neurons with a refractory period": (
        lambda o: losses.SpikeTimeError(o, silent="end"), True, "recurrent", "refractory trained",
    ),
    "spike count of neurons with a refractory period": (
        losses.SpikeCountCrossEntropy, True, "feed-forward", "refractory trained",
    ),
    "end of neurons with a refractory period": (
        losses.EndVoltageCrossEntropy, True, "feed-forward", "refractory trained",
    ),
    "integral of neurons with a refractory period": (
        lambda o: losses.IntegratedVoltageCrossEntropy(o, "linear", window=(5.0, 47.0)), True, "recurrent",
        "refractory trained",
    ),
    "integral of neurons with periods shorter than a step, input-driven": (
        lambda o: losses.SquaredError(o, weight=TimeWeight("1", None, 15.0, 20.0)), True, "feed-forward",
        "refractory brief",
    ),
    "per step of neurons with a refractory period": (
        losses.PerStepCrossEntropy, True, "feed-forward", "refractory heterogeneous",
    ),
    "squared error of V of neurons with a refractory period": (
        losses.VoltageSquaredError, True, "recurrent", "refractory trained",
    ),
    "spike count": (lambda o: losses.SpikeCountCrossEntropy(o, gain=0.4), True, "recurrent", "trained"),
    "own formula": (
        lambda o: OwnLoss(o, "integral", "(r0 - y0)**2 + 0.1 * r1**2 * r2 + sin(r3)", "linear"), False,
        "recurrent", "trained",
    ),
    "own formula of first spikes": (
        lambda o: OwnLoss(o, "first_spike", "0.01 * (r0 - r1 * y2)**2 + 0.1 * r3", silent="end"), True,
        "feed-forward", "trained",
    ),
    "integral in a window": (
        lambda o: losses.IntegratedVoltageCrossEntropy(o, "exponential", window=(7.3, 31.1)), True, "recurrent",
        "trained",
    ),
    "integral in a window inside of a step": (
        lambda o: losses.SquaredError(o, weight=TimeWeight("1 / t", window=(10.1, 10.3))), False, "recurrent", "fixed",
    ),
    "integral with a weight that is steep within a step": (
        lambda o: losses.IntegratedVoltageCrossEntropy(o, "exp(-(t - 20)**2 / 2)"), False, "feed-forward", "trained",
    ),
    "integral in a window, heterogeneous": (
        lambda o: losses.IntegratedVoltageCrossEntropy(o, window=(20.0, 50.0)), False, "feed-forward", "heterogeneous",
    ),
    "integral, input-driven": (
        lambda o: losses.IntegratedVoltageCrossEntropy(o, TimeWeight(input_tau=3.0, input_gain=9.0)), True,
        "recurrent", "trained",
    ),
    "integral, input-driven in a window": (
        lambda o: losses.IntegratedVoltageCrossEntropy(o, TimeWeight("linear", (5.2, 40.0), 15.0, 20.0)), False,
        "deep", "heterogeneous",
    ),
    "per step": (losses.PerStepCrossEntropy, False, "recurrent", "trained"),
    "per step of spiking, in a window": (
        lambda o: losses.PerStepCrossEntropy(o, "exponential", window=(7.3, 31.1)), True, "feed-forward",
        "heterogeneous",
    ),
    "per step of spiking, input-driven": (
        lambda o: losses.PerStepCrossEntropy(o, TimeWeight("linear", None, 15.0, 20.0)), True, "deep", "trained",
    ),
    "squared error of V": (losses.VoltageSquaredError, False, "feed-forward", "heterogeneous"),
    "squared error of V of spiking": (lambda o: losses.VoltageSquaredError(o, "sigmoid"), True, "recurrent", "trained"),
    "own function": (lambda o: OwnLoss(o, "end", losses.Function(own)), False, "deep", "heterogeneous"),
}  # fmt: skip


def problem(name: str, dt: float = 1.0):
    make, spiking, topology, kind = LOSSES[name]
    net, first = network(topology, "first" if spiking else "max", kind, 0.0)
    return net, make_plan(net, make(first.population), dt=dt, duration=T, spike_times="exact")


def events_for(plan, seed: int = 3) -> Events:
    """With the targets that the loss needs, those of one output missing."""
    events, K = spikes(), plan.loss.n_classes
    if plan.loss.compares == "labels":
        return events
    rng, S = np.random.default_rng(seed), len(events)
    shape = {"voltage": (S, K, 11), "spike_times": (S, K, 3)}.get(plan.loss.readout, (S, K))
    targets = rng.uniform(5.0, 45.0, shape) if plan.loss.of_spikes else rng.normal(0.2, 0.3, shape)
    targets[0, 0] = np.nan
    if plan.loss.readout == "voltage":  # linear between multiples of 5 ms, so the same whatever dt
        t, knots = np.linspace(0.0, T, plan.n_steps + 1), np.linspace(0.0, T, 11)
        targets = np.stack([[np.interp(t, knots, one) for one in sample] for sample in targets]).swapaxes(1, 2)
    samples = [events.sample(i) for i in range(S)]
    return Events.from_samples(samples, events.n_channels, labels=events.labels, targets=targets)


def run(net, plan, engine: str, dtype: str = "float64"):
    events = events_for(plan)
    made = engines.create(plan, net.initial_parameters(3), engine=engine, dtype=dtype, threads=1)
    result = made.run(made.load(events), np.arange(len(events)), training=True, record_spikes=True)
    gradients = {k: np.array(v, dtype=np.float64) for k, v in made.gradients.items()}
    made.close()
    return result, gradients


def distance(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    """Largest relative difference over blocks, none of which is zero."""
    assert all(np.linalg.norm(v) > 0 for v in a.values())
    return max(np.linalg.norm(a[k] - b[k]) / np.linalg.norm(a[k]) for k in a)


def check_same(truth, found, loss: float, gradient: float) -> None:
    (expected, gradients), (result, mine) = truth, found
    np.testing.assert_allclose(result.loss, expected.loss, rtol=loss)
    np.testing.assert_allclose(result.readout, expected.readout, rtol=10 * loss, atol=loss)
    assert np.array_equal(result.prediction, expected.prediction)
    assert distance(gradients, mine) < gradient


QUICK = (
    "spike times, missing ones count", "spike count of neurons with a refractory period", "own formula of first spikes",
    "integral, input-driven", "per step of spiking, in a window",
)  # fmt: skip


@pytest.mark.one_in(6)
@pytest.mark.parametrize("name", sweep(LOSSES, QUICK))
def test_every_loss_equals_the_reference_at_any_step(name):
    truth = run(*problem(name), "reference_event")
    assert truth[0].loss.std() > 0
    for dt in (0.5, 5.0):
        check_same(truth, run(*problem(name, dt), "native"), 1e-10, 1e-8)


@pytest.mark.ci
@pytest.mark.parametrize("name", sweep(LOSSES, ("integral in a window",)))
def test_every_loss_in_float32(name):
    check_same(run(*problem(name), "reference_event"), run(*problem(name), "native", "float32"), 1e-4, 1e-3)


LEAKY_DELTA = NeuronModel(
    name="LeakyDelta", state={"V": 0.0}, params={"tau": Param(9.0, "ms", trainable=True), "gain": Param(0.7)},
    dynamics={"V": "-V / tau"}, input={"now": {"V": "gain"}},
)  # fmt: skip


@pytest.mark.parametrize(
    "make",
    [
        losses.PerStepCrossEntropy, losses.VoltageSquaredError,
        lambda o: losses.IntegratedVoltageCrossEntropy(o, TimeWeight("linear", (5.2, 40.0), 15.0, 20.0)),
    ],
)  # fmt: skip
@pytest.mark.ci
def test_arrivals_that_move_v_at_once(make):
    """l(x-) - l(x+) of every arrival goes to the spike that arrived."""
    net = Network()
    inp, hidden = net.input(7), net.population(LIF(), 20, name="hidden")
    out = net.population(LEAKY_DELTA(), 4, name="output")
    net.connect(inp, hidden, Dense(Normal(0.9, 0.5)))
    net.connect(hidden, out, Dense(Normal(0.1, 0.5)), receptor="now", delay=1.0)
    plan = make_plan(net, make(out), dt=1.0, duration=T, spike_times="exact")
    check_same(run(net, plan, "reference_event"), run(net, plan, "native"), 1e-10, 1e-8)


FED_BACK = ("spike times", "spike count", "integral, input-driven", "per step of spiking, in a window")


@pytest.mark.ci
@pytest.mark.parametrize("name", sweep(FED_BACK, ("integral, input-driven",)))
def test_outputs_that_take_part_in_a_recurrent_network(name):
    net = Network()
    inp, hidden = net.input(7), net.population(LIF(tau_syn=4.0), 12, name="hidden")
    out = net.population(LIF(tau_mem=Param(18.0, trainable=True)), 4, name="output")
    net.connect(inp, hidden, Dense(Normal(0.9, 0.6)))
    net.connect(inp, out, Dense(Normal(0.4, 0.2)))
    net.connect(hidden, out, Dense(Normal(0.3, 0.3)), delay=0.3)
    net.connect(out, out, Dense(Normal(-0.3, 0.1)))
    net.connect(out, hidden, Dense(Normal(0.3, 0.3)), delay=1.1)
    plan = make_plan(net, LOSSES[name][0](out), dt=2.0, duration=T, spike_times="exact")
    truth = run(net, plan, "reference_event")
    assert truth[0].spike_counts["output"].sum() > 20
    check_same(truth, run(net, plan, "native"), 1e-10, 1e-8)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("make", [lambda o: losses.SpikeTimeError(o, silent="end"), losses.EndVoltageCrossEntropy])
def test_final_costate_of_refractory_neurons(make):
    net = Network()
    out = net.population(LIFRefractory(t_ref=30.0, tau_mem=Param(18.0, trainable=True)), 4, name="output")
    net.connect(net.input(7), out, Dense(Normal(1.5, 0.6)))
    plan = make_plan(net, make(out), dt=1.0, duration=T, spike_times="exact")
    truth = run(net, plan, "reference_event")
    assert np.sum(truth[0].spikes["output"].time > T - 30.0) > 4
    check_same(truth, run(net, plan, "native"), 1e-10, 1e-8)


@pytest.mark.ci
def test_a_spike_count_and_a_regulariser_of_the_same_neurons():
    make, _, topology, kind = LOSSES["spike count"]
    net, first = network(topology, "first", kind, 0.0)
    regularisers = [SpikeCount(first.population, target=3.0, strength=0.1)]
    arguments = {"dt": 1.0, "duration": T, "spike_times": "exact", "regularisers": regularisers}
    plan = make_plan(net, make(first.population), **arguments)
    truth = run(net, plan, "reference_event")
    check_same(truth, run(net, plan, "native"), 1e-10, 1e-8)
    alone = run(*problem("spike count"), "reference_event")
    assert distance(truth[1], alone[1]) > 0.1


DIFFERENCES = ("per step of spiking, input-driven", "integral, input-driven in a window", "spike times")


@pytest.mark.ci
@pytest.mark.parametrize("name", sweep(DIFFERENCES, ("spike times",)))
def test_differences_on_the_engine_itself_show_the_gradient(name):
    net, plan = problem(name)
    engine = engines.create(plan, net.initial_parameters(3), engine="native", dtype="float64", threads=1)
    data, samples, h = engine.load(events_for(plan)), np.arange(3), 1e-6
    engine.run(data, samples, training=True)
    gradients = {k: v.copy() for k, v in engine.gradients.items()}
    for key, gradient in gradients.items():
        at = np.unravel_index(np.argmax(np.abs(gradient)), gradient.shape)
        value, found = engine.parameters[key][at], []
        for sign in (1, -1):
            engine.parameters[key][at] = value + sign * h
            found.append(engine.run(data, samples).loss.mean())
        engine.parameters[key][at] = value
        assert (found[0] - found[1]) / (2 * h) == pytest.approx(gradient[at], rel=1e-6), (name, key)


def test_samples_without_a_label_have_no_loss():
    net, plan = problem("per step")
    engine = engines.create(plan, net.initial_parameters(3), engine="native", dtype="float64", threads=1)
    events = spikes()
    labels = events.labels.copy()
    labels[1] = -1
    some = Events(events.times, events.channels, events.offsets, events.n_channels, labels, n_classes=4)
    loss, whole = (engine.run(engine.load(e), np.arange(3)).loss for e in (some, events))
    assert np.isnan(loss[1]) and np.array_equal(loss[[0, 2]], whole[[0, 2]])


def test_a_readout_of_every_step_is_refused_by_name(monkeypatch):
    monkeypatch.setitem(READOUTS, "sampled", ReadoutKind("trace.Trace"))
    monkeypatch.delattr(Trace, "between_events")
    net = Network()
    out = net.population(LI(), 2, name="output")
    net.connect(net.input(3), out, Dense(Normal(0.5, 0.5)))
    plan = make_plan(net, losses.Loss(out, "sampled"), dt=1.0, duration=T, spike_times="exact")
    with pytest.raises(EngineError, match="native cannot read 'sampled' with exact spike times: it reads V"):
        engines.create(plan, net.initial_parameters(0), engine="native")
