"""Every readout, time weight and outer loss: `native` equals `reference_clock`, 1e-9 in float64 and 1e-4 in float32.

Networks and comparison are those of `support.clocked`.
"""

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, NeuronModel, Normal, Param, losses
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.engines.native.engine import NativeEngine
from genn_eventprop.errors import DataError, EngineError, LossError
from genn_eventprop.losses import Function, OwnLoss, TimeWeight
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from support.clocked import build, check_same, random_events, relative
from support.problems import problem, with_targets


@pytest.mark.parametrize("name", ["per step", pytest.param("squared error of V", marks=pytest.mark.slow)])
def test_float32(name):
    plan, events = problem(name)
    values = plan.network.initial_parameters(3)
    clock, native = ReferenceClock(plan, values), NativeEngine(plan, values, dtype="float32")
    every = np.arange(len(events))
    want = clock.run(clock.load(events), every, training=True)
    got = native.run(native.load(events), every, training=True)
    native.close()
    for population, counts in want.spike_counts.items():
        np.testing.assert_array_equal(got.spike_counts[population], counts)
    np.testing.assert_allclose(got.loss, want.loss, rtol=1e-5)
    for key, gradient in clock.gradients.items():
        assert relative(native.gradients[key], gradient) < 1e-4, key


LEAKY_DELTA = NeuronModel(
    name="LeakyDelta", state={"V": 0.0}, params={"tau": Param(9.0, "ms", trainable=True), "gain": Param(0.7)},
    dynamics={"V": "-V / tau"}, input={"now": {"V": "gain"}},
)  # fmt: skip


@pytest.mark.parametrize(
    "make", [losses.PerStepCrossEntropy, pytest.param(losses.VoltageSquaredError, marks=pytest.mark.slow)]
)
def test_arrivals_that_move_v_at_once(make):
    """l(x-) - l(x+) of every arrival goes to the spike that arrived."""
    net = Network()
    inp, hidden = net.input(7), net.population(LIF(), 20, name="hidden")
    out = net.population(LEAKY_DELTA(), 3, name="output")
    net.connect(inp, hidden, Dense(Normal(0.9, 0.5)))
    net.connect(hidden, out, Dense(Normal(0.1, 0.5)), receptor="now", delay=1.0)
    plan = make_plan(net, make(out), dt=0.5, duration=50.0)
    check_same(plan, with_targets(random_events(plan), plan), tolerance=1e-9)


def test_samples_without_a_label_have_no_loss():
    plan, events = problem("per step")
    labels = events.labels.copy()
    labels[2] = -1
    some = Events(events.times, events.channels, events.offsets, events.n_channels, labels, n_classes=4)
    for engine in (ReferenceClock(plan, plan.network.initial_parameters(3)),
                   NativeEngine(plan, plan.network.initial_parameters(3), dtype="float64")):  # fmt: skip
        loss = engine.run(engine.load(some), np.arange(len(some))).loss
        assert np.isnan(loss[2]) and np.isfinite(np.delete(loss, 2)).all()
        with pytest.raises(EngineError, match="needs a label for every sample"):
            engine.run(engine.load(some), np.arange(len(some)), training=True)
        engine.close()


@pytest.mark.parametrize(
    ("name", "targets", "message"),
    [
        ("squared error of V", None, r"compares the voltage of 'output' with targets, but the data has none; .*"
         r"shape \(6, 101, 4\)"),
        ("squared error of V", (6, 100, 4), r"shape \(6, 100, 4\), but this loss needs \(6, 101, 4\): V at"),
        ("spike times", (6, 4), r"this loss needs \(6, 4, any number\): times in ms of every output's spikes"),
        ("squared error of first spikes", (6, 5), r"this loss needs \(6, 4\): a number for every output"),
    ],
)  # fmt: skip
def test_targets_of_the_wrong_shape(name, targets, message):
    plan, _ = problem(name)
    events = random_events(plan)
    given = Events.from_samples(
        [events.sample(i) for i in range(6)], events.n_channels, targets=None if targets is None else np.zeros(targets)
    )
    engine = ReferenceClock(plan, plan.network.initial_parameters(3))
    with pytest.raises(DataError, match=message):
        engine.load(given)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda o: losses.SpikeTimeError(o), r"a spike-time loss needs spikes, but 'output' is made of LI"),
        (lambda o: losses.SpikeCountCrossEntropy(o), r"a spike-count loss needs spikes, but 'output' is made of LI"),
        (lambda o: losses.SquaredError(o, "first_spike"), r"a first-spike loss needs spikes"),
        (lambda o: losses.Loss(o, "integral", outer="hinge"), r"unknown outer loss 'hinge' \(.*cross_entropy"),
        (lambda o: losses.Loss(o, "end", weight=TimeWeight("linear")), r"a time weight needs an integral.*'end'"),
        (lambda o: losses.Loss(o, "voltage", outer=Function(lambda r, y: (r, y))), r"a Function is evaluated once"),
        (lambda o: losses.Loss(o, "integral", silent="end"), r"silent='end' is for losses of spike times"),
        (lambda o: OwnLoss(o, "integral", "r9"), r"outer loss: unknown symbol 'r9'"),
        (lambda o: Function(3), r"must be a function of \(readout, y\), got int"),
        (lambda o: Function(lambda r, y: 0, compares="scores"), r"compares='scores': choose one of labels, targets"),
        (lambda o: TimeWeight(window=(5.0, 2.0)), r"window=\(5.0, 2.0\): give two times in ms"),
        (lambda o: TimeWeight(input_tau=0.0), r"input_tau=0.0: give a positive time constant"),
        (lambda o: TimeWeight(input_tau=1.0, input_gain=np.inf), r"input_gain=inf: give a finite number"),
        (lambda o: losses.make_loss("sum_weigh", o), r"unknown loss 'sum_weigh' \(did you mean 'sum_weigh_"),
        (lambda o: losses.make_loss("max", o, tau0=2.0), r"loss 'max': .*tau0"),
    ],
)  # fmt: skip
def test_losses_that_do_not_fit(make, message):
    with pytest.raises(LossError, match=message):
        make(Network().population(LI(), 4, name="output"))


def test_the_other_way_round():
    with pytest.raises(LossError, match="maximum-voltage loss needs an output that cannot spike"):
        losses.SquaredError(Network().population(LIF(), 4, name="output"), "max")
    with pytest.raises(LossError, match="'spike_times' compares with target times"):
        losses.Loss(Network().population(LIF(), 4, name="output"), "spike_times")


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (TimeWeight("1 / (t - 20)"), r"time weight '1 / \(t - 20\)' is not finite at t = 20 ms of 50 ms"),
        (TimeWeight("1 / t"), r"is not finite at t = 0 ms of 50 ms"),
        (TimeWeight(window=(5.0, 60.0)), r"window of 5 to 60 ms does not fit a trial of 50 ms"),
        (TimeWeight(window=(5.2, 20.0)), r"does not begin and end at whole steps of 0.5 ms; use window=\(5, 20\)"),
    ],
)
def test_time_weights_are_checked_when_the_plan_is_made(weight, message):
    base = build("feed-forward", "integral", "fixed", 0.0)
    with pytest.raises(LossError, match=message):
        make_plan(
            base.network, losses.IntegratedVoltageCrossEntropy(base.asked.population, weight), dt=0.5, duration=50.0
        )
    inside = TimeWeight("1 / t", window=(5.0, 20.0))
    make_plan(base.network, losses.PerStepCrossEntropy(base.asked.population, inside), dt=0.5, duration=50.0)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda r, y: r, r"must return \(loss, gradient\), got ndarray"),
        (lambda r, y: (r.sum(), r), r"returned a loss of shape \(\) for readouts of shape \(6, 4\); it must be \(6,\)"),
        (lambda r, y: (r.sum(1), r[:, :2]), r"returned a gradient of shape \(6, 2\).*it must be \(6, 4\)"),
        (lambda r, y: (r.sum(1), r * np.nan), r"the outer loss mine returned a gradient that is not finite"),
    ],
)
def test_own_functions_are_checked(function, message):
    base = build("feed-forward", "integral", "fixed", 0.0)
    loss = OwnLoss(base.asked.population, "integral", Function(function, name="mine"))
    plan = make_plan(base.network, loss, dt=0.5, duration=50.0)
    engine = ReferenceClock(plan, plan.network.initial_parameters(3))
    with pytest.raises(LossError, match=message):
        engine.run(engine.load(random_events(plan)), np.arange(6))


def test_python_cross_entropy_gives_its_gradient():
    base = build("feed-forward", "integral", "fixed", 0.0)
    events, values = random_events(base), base.network.initial_parameters(3)

    def function(r, y):
        p = np.exp(r) / np.exp(r).sum(1, keepdims=True)
        hot = np.eye(r.shape[1])[y]
        return -np.log((p * hot).sum(1)), p - hot

    found = []
    for loss in (base.asked, OwnLoss(base.asked.population, "integral", Function(function))):
        engine = ReferenceClock(make_plan(base.network, loss, dt=0.5, duration=50.0), values)
        result = engine.run(engine.load(events), np.arange(6), training=True)
        found.append([result.loss, *engine.gradients.values()])
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-16)


def test_published_names():
    net = Network()
    li, lif = net.population(LI(), 3, name="li"), net.population(LIF(), 3, name="lif")
    published = ("sum", "sum_weigh_linear", "sum_weigh_exp", "sum_weigh_sigmoid", "sum_weigh_input", "max",
                 "avg_xentropy", "first_spike", "first_spike_exp")  # fmt: skip
    assert set(published) <= set(losses.LOSSES)
    for name in losses.LOSSES:
        spikes = name.startswith(("first_spike", "spike"))
        needed = {"readout": "end", "outer": "r0 - y0"} if name == "own" else {}
        loss = losses.make_loss(name, lif if spikes else li, **needed)
        assert loss.of_spikes == spikes
    assert losses.make_loss("sum_weigh_input", li).weight.input_tau == 20.0
    assert losses.make_loss("sum_weigh_input", li, window=(5, 20)).weight == TimeWeight(window=(5, 20), input_tau=20.0)
    with pytest.raises(LossError, match="loss 'own': .*outer"):
        losses.make_loss("own", li, readout="end")
    assert losses.make_loss("first_spike_exp", lif, alpha=1.0).silent == "end"
