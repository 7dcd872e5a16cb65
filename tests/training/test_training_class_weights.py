"""Class weights: the loss of a batch is 1/B sum_b w(y_b) L_b, in every engine, and in what is logged."""

from dataclasses import replace

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Trainer, losses
from genn_eventprop.data.augment.augmented import Augmented
from genn_eventprop.data.augment.steps import Jitter
from genn_eventprop.engines import create
from genn_eventprop.errors import CheckpointError, DataError, SettingError
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.optimisers import SGD
from genn_eventprop.plan import make_plan
from genn_eventprop.regularisers import SpikeCount
from support.sweeps import sweep

WEIGHTS = np.array([0.2, 1.7, 3.0])
LOSSES = {
    "integral": lambda p: losses.IntegratedVoltageCrossEntropy(p, "exponential"),
    "first": lambda p: losses.FirstSpikeCrossEntropy(p, alpha=0.1, silent="end"),
    "max": losses.MaxVoltageCrossEntropy,
    "voltage": lambda p: losses.LOSSES["avg_xentropy"](p),
}
ENGINES = [
    ("reference_clock", "grid", "integral"), ("reference_clock", "grid", "first"), ("reference_clock", "grid", "max"),
    ("reference_clock", "grid", "voltage"), ("reference_event", "exact", "integral"),
    ("reference_event", "exact", "first"), ("reference_event", "exact", "voltage"),
    ("native", "grid", "integral"), ("native", "grid", "first"),
    ("native", "grid", "voltage"), ("native", "grid", "max"),
    ("native", "exact", "integral"), ("native", "exact", "first"), ("native", "exact", "max"),
    ("native", "exact", "voltage"),
]  # fmt: skip
NATIVE = [("native", *c) for c in (("grid", "integral"), ("grid", "max"), ("exact", "first"), ("exact", "voltage"))]
QUICK = [c for c in ENGINES if c[0] != "native"] + NATIVE


def network(loss):
    net = Network()
    hidden = net.population(LIF(), 7, name="hidden")
    output = net.population((LIF if loss == "first" else LI)(), 3, name="output")
    net.connect(net.input(4), hidden, Dense(Normal(1.8, 1.0)), name="enter")
    net.connect(hidden, output, Dense(Normal(0.6, 0.6)), name="leave")
    return net, LOSSES[loss](output)


def events(n=6, labels=(0, 1, 2, 1, 0, 0)):
    rng = np.random.default_rng(4)
    samples = [(np.sort(rng.uniform(0, 25, 12)), rng.integers(0, 4, 12)) for _ in range(n)]
    return Events.from_samples(samples, n_channels=4, labels=np.resize(labels, n))


@pytest.mark.parametrize(("engine", "spike_times", "loss"), sweep(ENGINES, QUICK))
@pytest.mark.one_in(12)
def test_the_gradient_is_the_weighted_mean_of_single_ones(engine, spike_times, loss):
    net, made = network(loss)
    plan = make_plan(net, made, dt=1.0, duration=30.0, spike_times=spike_times)
    e = create(plan, net.initial_parameters(2), engine=engine, dtype="float64")
    data, every = e.load(events()), np.arange(6)
    want = dict.fromkeys(plan.trainable, 0.0)
    for b in every:
        e.run(data, [b], training=True)
        want = {name: v + WEIGHTS[data.labels[b]] * e.gradients[name] / 6 for name, v in want.items()}
    e.run(replace(data, weights=WEIGHTS[data.labels]), every, training=True)
    for name in plan.trainable:
        assert np.abs(want[name]).max() > 1e-6
        np.testing.assert_allclose(e.gradients[name], want[name], rtol=1e-9, atol=1e-11 * np.abs(want[name]).max())
    e.close()


def test_regularisers_are_not_weighted():
    """With no weights to the output only the regulariser is left, and class weights do not touch it."""
    found = []
    for weights in (None, WEIGHTS):
        net, made = network("integral")
        plan = make_plan(net, made, dt=1.0, duration=30.0, regularisers=[SpikeCount(net.populations[0], 2.0, 0.1)])
        e = create(plan, net.initial_parameters(2), engine="reference_clock")
        e.parameters["leave.weight"][...] = 0.0
        data = e.load(events())
        e.run(replace(data, weights=None if weights is None else weights[data.labels]), np.arange(6), training=True)
        found.append(e.gradients["enter.weight"].copy())
    assert np.abs(found[0]).max() > 1e-3
    np.testing.assert_array_equal(found[0], found[1])


def trainer(**more):
    net, loss = network("integral")
    settings = {"duration": 30.0, "dt": 1.0, "engine": "reference_clock", "progress": False, "batch_size": 4}
    return Trainer(net, loss, **{"optimiser": SGD(0.1), **settings, **more})


@pytest.mark.parametrize("augmented", [False, True])
def test_balanced_weights_and_the_loss_that_is_logged(augmented):
    """Classes 0, 1, 2 have 3, 2, 1 of 6 samples: weights 6/(3 n_k); the logged loss is the weighted mean."""
    t = trainer(class_weights="balanced", optimiser=SGD(0.0))
    train = Augmented(events(), [Jitter(0.0)]) if augmented else events()
    t.fit(train, events(), epochs=1)
    np.testing.assert_allclose(t.class_weights.values, [6 / 9, 1.0, 2.0])
    single = t.engine.run(t.engine.load(events()), np.arange(6)).loss
    want = np.mean(np.array([6 / 9, 1.0, 2.0])[[0, 1, 2, 1, 0, 0]] * single)
    assert t.state.metrics[0]["train_loss"] == pytest.approx(want)
    assert t.state.metrics[0]["validation_loss"] == pytest.approx(want)
    assert abs(want - single.mean()) > 1e-4


def test_a_class_of_weight_zero_is_not_learned_from():
    a, b = trainer(class_weights=[1.0, 1.0, 0.0]), trainer(class_weights=[1.0, 1.0, 0.0])
    a.fit(events(), epochs=2)
    other = events()
    channels = other.channels.copy()
    channels[other.offsets[2] : other.offsets[3]] = 0  # another sample of class 2
    b.fit(Events(other.times, channels, other.offsets, 4, labels=other.labels), epochs=2)
    np.testing.assert_array_equal(a.engine.parameters["enter.weight"], b.engine.parameters["enter.weight"])


SOME = (0, -1, 2, -1, 1, -1)  # labels, half of them missing


@pytest.mark.parametrize("asked", [None, [0.2, 1.7, 3.0]])
def test_the_mean_loss_is_of_labelled_trials(asked):
    """Samples without a label have no loss, and do not count in the number that it is divided by."""
    t = trainer(class_weights=asked, optimiser=SGD(0.0))
    t.fit(events(), epochs=1)
    single = t.engine.run(t.engine.load(events(labels=SOME)), np.arange(6)).loss
    weights = np.ones(3) if asked is None else WEIGHTS
    want = np.mean(weights[[0, 2, 1]] * single[[0, 2, 4]])
    assert want > 0.1 and np.isnan(single[[1, 3, 5]]).all()
    assert t.evaluate(events(labels=SOME)).loss == pytest.approx(want)


def test_a_sample_without_a_label_has_weight_one():
    """Its class is not known, but that of another loss is: there it counts once, not at all would lose it."""
    net, main = network("integral")
    hidden = net.populations[0]
    asked = [main, 0.5 * losses.SpikeCountCrossEntropy(hidden, gain=0.3).against("speaker")]
    settings = {"duration": 30.0, "dt": 1.0, "engine": "reference_clock", "progress": False}
    t = Trainer(net, asked, class_weights=WEIGHTS, optimiser=SGD(0.0), **settings)
    speaker = {"speaker": np.array([3, 0, 6, -1, 2, 5])}  # nor is that of sample 3
    t.fit(replace(events(), targets=speaker), epochs=1)
    held_out = replace(events(labels=SOME), targets=speaker)
    data = t.class_weights.apply(t.engine.load(held_out))
    assert data.weights.tolist() == [WEIGHTS[0], 1.0, WEIGHTS[2], 1.0, WEIGHTS[1], 1.0]
    single = t.engine.run(data, np.arange(6)).parts["hidden"].loss
    known = np.flatnonzero(speaker["speaker"] >= 0)
    assert (single[known] > 0.1).all()
    want = np.mean((data.weights * single)[known])
    assert t.evaluate(held_out).parts["hidden"].loss == pytest.approx(want)


def test_refused(tmp_path):
    for asked, message in (
        ([1.0, 2.0], "3 classes need as many numbers, not shape .2,."),
        ([1.0, -1.0, 1.0], "must be finite and >= 0, not all 0; got .1.0, -1.0, 1.0."),
        ([0.0, 0.0, 0.0], "not all 0"),
        ("equal", "class_weights='equal': give 'balanced'"),
    ):
        with pytest.raises(SettingError, match=message):
            trainer(class_weights=asked)
    with pytest.raises(DataError, match=r"the training set has no sample of classes \[1\]"):
        trainer(class_weights="balanced").fit(events(labels=(0, 2)), epochs=1)
    net, _ = network("integral")
    with pytest.raises(SettingError, match="class_weights need a loss that compares with labels"):
        Trainer(net, losses.SquaredError(net.populations[1]), duration=30.0, dt=1.0, class_weights="balanced")
    trainer(class_weights=[1, 2, 3], run_dir=tmp_path / "run").fit(events(), epochs=1)
    with pytest.raises(CheckpointError, match=r"class_weights is \[1.0, 2.0, 3.0\] there and None here"):
        trainer().resume(tmp_path / "run")
