"""A label at each step: loss and gradient, predictions, metrics, a trained model loaded again, and bad input."""

from __future__ import annotations

import numpy as np
import pytest

import genn_eventprop
from genn_eventprop import Dense, Network, Normal, engines, losses
from genn_eventprop.cli import main
from genn_eventprop.data import Events
from genn_eventprop.data.label_steps import balanced_weights, labels_of_changes, segments
from genn_eventprop.errors import DataError, EngineError, LossError, SettingError
from genn_eventprop.losses.label_steps import label_steps as outer_loss
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.optimisers import Adam
from genn_eventprop.plan import make_plan
from genn_eventprop.report.plots import label_steps
from genn_eventprop.report.view import view_page
from genn_eventprop.training import Trainer
from genn_eventprop.training.label_steps import LabelStepsEngine, step_metrics
from genn_eventprop.verify.gradients import check_network

T = 30


def problem(weights=None, hidden=4, tau=20.0):
    net = Network()
    inp = net.input(3)
    hidden, out = net.population(LIF(), hidden, "hidden"), net.population(LI(tau_mem=tau), 3, "output")
    net.connect(inp, hidden, Dense(Normal(3.0, 1.5)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.5)))
    net.connect(hidden, out, Dense(Normal(0.0, 1.0)))
    return net, losses.StepLabelCrossEntropy(out, weights)


def data(n=4, seed=0, **changes):
    rng = np.random.default_rng(seed)
    samples = [(np.sort(rng.uniform(0, T - 2, 25)), rng.integers(0, 3, 25)) for _ in range(n)]
    labels = np.repeat(rng.integers(0, 3, (n, 6)), T // 6, axis=1).astype(float)
    labels[0, 4:9], labels[1, 20:] = -1, np.nan
    return Events.from_samples(samples, 3, **{"targets": labels, "n_classes": 3, **changes})


def engine_of(plan, values, dtype="float64", name="native"):
    return LabelStepsEngine(engines.create(plan, values, engine=name, dtype=dtype, threads=1))


def reading(n_steps, V, labels, weights):
    """The loss, written once more: (B,)."""
    p = np.exp(V) / np.exp(V).sum(-1, keepdims=True)
    total = np.zeros(len(V))
    for b, k in zip(*np.nonzero(labels >= 0)):
        y = int(labels[b, k])
        total[b] -= weights[y] * np.log(p[b, k, y]) / n_steps
    return total


@pytest.mark.parametrize("weights", [None, (0.5, 2.0, 1.0)])
def test_the_slope_is_that_of_the_loss(weights):
    rng = np.random.default_rng(3)
    V, y = rng.normal(0, 2, (3, 5, 3)), rng.integers(-1, 3, (3, 5))
    y[2] = -1
    outer = outer_loss(3, weights)
    loss, slope = outer.of_trace(V, y)
    np.testing.assert_allclose(loss[:2], reading(5, V, y, weights or (1, 1, 1))[:2], rtol=1e-12)
    assert np.isnan(loss[2]) and not slope[2].any()
    h = 1e-6
    for at in np.ndindex(2, 5, 3):
        by = np.zeros_like(V)
        by[at] = h
        difference = (outer.of_trace(V + by, y)[0] - outer.of_trace(V - by, y)[0])[at[0]] / (2 * h)
        np.testing.assert_allclose(slope[at], difference, atol=1e-8)


def test_check_network_on_the_grid():
    net, loss = problem((0.5, 2.0, 1.0), hidden=2)
    report = check_network(net, loss, events=data(2), duration=float(T), engine=engine_of, dt=1.0)
    assert report.passed, report.text()
    assert report.cases[0].spikes["hidden"] > 5


def test_gradient_of_exact_spike_times_is_that_of_differences():
    net, loss = problem((0.5, 2.0, 1.0))
    plan = make_plan(net, loss, dt=1.0, duration=float(T), spike_times="exact")
    values = net.initial_parameters(1)
    engine = engine_of(plan, values)
    loaded, every = engine.load(data()), np.arange(4)
    engine.run(loaded, every, training=True)
    for name, g in {n: np.array(v) for n, v in engine.gradients.items()}.items():
        rng = np.random.default_rng(1)
        direction, first, h = rng.normal(size=g.shape), np.array(engine.parameters[name]), 1e-5
        ends = []
        for sign in (1, -1):
            engine.parameters[name][...] = first + sign * h * direction
            ends.append(engine.run(loaded, every).loss.mean())
        engine.parameters[name][...] = first
        np.testing.assert_allclose((g * direction).sum(), (ends[0] - ends[1]) / (2 * h), rtol=2e-5)
    engine.close()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(run folder, its trainer, results, test set, their labels)."""
    tmp_path = tmp_path_factory.mktemp("labels")
    rng = np.random.default_rng(5)
    samples, changes = [], []
    for _ in range(24):  # the channel that is active is the class
        a, b = rng.choice(3, 2, replace=False)
        samples.append((np.arange(28) + 0.2, np.where(np.arange(28) < 14, a, b)))
        changes.append(([0.0, 15.0], [a, b]))
    labels = labels_of_changes(changes, T)
    labels[3, :5] = -1
    events = Events.from_samples(samples, 3, n_classes=3, targets=labels.astype(float))
    net, loss = problem(hidden=16, tau=5.0)
    trainer = Trainer(
        net, loss, duration=float(T), dt=1.0, spike_times="grid", batch_size=4, optimiser=Adam(0.05), progress=False,
        run_dir=tmp_path / "run",
    )  # fmt: skip
    results = trainer.fit(events[:16], events[16:20], events[20:], epochs=60)
    yield tmp_path / "run", trainer, results, events[20:], labels[20:]
    trainer.close()


@pytest.fixture
def run(trained):
    return trained[0]


def test_training_learns_and_a_run_folder_predicts_the_same(trained):
    folder, trainer, results, test, labels = trained
    assert results["test_accuracy"] > 0.7
    assert results["test"]["samples"] == 4 * T
    assert results["test"]["steps"]["segment_accuracy"] > 0.7
    with trainer.best_weights():
        predicted, evaluation = trainer.predict(test), trainer.evaluate(test)
    assert predicted.shape == evaluation.labels.shape == (4, T) and evaluation.scores.shape == (4, T, 3)
    np.testing.assert_allclose((predicted == labels).mean(), results["test_accuracy"])
    model = genn_eventprop.load(folder)
    outputs = model.outputs(test)
    np.testing.assert_array_equal(outputs.classes, predicted)
    np.testing.assert_allclose(outputs.probabilities.sum(-1), 1.0)
    np.testing.assert_array_equal(model.predict(Events.from_samples([test.sample(i) for i in range(4)], 3)), predicted)
    model.close()


def test_pictures_and_page_of_a_run(run):
    assert main(["plot", str(run), "--only", "labels,confusion,spikes,curves"]) == 0
    assert {p.stem for p in (run / "plots").glob("*.png")} >= {"labels", "confusion", "spikes", "curves"}
    page = view_page(run, [0])
    assert "true and predicted labels" in page and "% of labelled steps right" in page
    assert "True segments of sample 0" in page and "<td>15</td>" in page


def test_the_picture_draws_both_rows_of_labels():
    rng = np.random.default_rng(1)
    labels, said = np.array([[0, 0, 1, -1]]), np.array([[0, 1, 1, -1]])
    figure = label_steps(None, labels, said, rng.normal(size=(1, 4, 2)), 2.0, ["rest", "wave"])
    assert [a.get_title(loc="left") for a in figure.axes[:1]] == ["66.7 % of labelled steps right"]
    shares = [patch.get_data().values.sum() for patch in figure.axes[1].patches]
    np.testing.assert_allclose(shares, [4 * 0.1 + 0.8, 4 * 1.1 + 2 * 0.8, 4 * 0.1 + 2 * 0.8, 4 * 1.1 + 0.8])


def test_metrics_of_steps_and_segments():
    labels = np.array([[0, 0, 0, 1, 1, -1], [2, 2, 2, 2, 0, 0]])
    said = np.array([[0, 0, 1, 1, 1, 2], [2, 0, 2, -1, 1, 1]])
    m = step_metrics(labels, said, 3)
    assert m.accuracy == 6 / 11
    assert m.confusion.tolist() == [[2, 3, 0, 0], [0, 2, 0, 0], [1, 0, 2, 1]]
    assert m.segment_accuracy == 2 / 4  # of the four 2, two of four steps are not most
    # of 4 true and 6 predicted segments the first two of the first recording overlap by two thirds
    assert m.segment_f1 == 2 * 2 / (4 + 6)
    np.testing.assert_allclose(m.f1, [4 / 8, 4 / 7, 4 / 6])
    assert m.interval[0] < m.accuracy < m.interval[1]
    with pytest.raises(SettingError, match=r"labels \(2, 6\) and predictions \(2, 5\) must both be"):
        step_metrics(labels, said[:, :5], 3)


def test_changes_become_labels_and_segments():
    labels = labels_of_changes([([2.0, 6.0], [1, 0]), ([], []), ([0.0, 4.0], [2, -1])], 5, dt=2.0)
    assert labels.tolist() == [[-1, 1, 1, 0, 0], [-1] * 5, [2, 2, -1, -1, -1]]
    assert segments(labels[0]) == [(1, 3, 1), (3, 5, 0)]
    assert balanced_weights(labels[[0, 2]], 3) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (([1.0], [0, 1]), "sample 0: 1 times of changes but 2 classes"),
        (([5.0], [0]), "sample 0: changes must lie in the trial, from 0 to 5 ms"),
        (([np.nan], [0]), "sample 0: changes must lie in the trial"),
        (([2.0, 1.0], [0, 1]), "sample 0: changes must be in order of time"),
        (([1.0, 1.1], [0, 1]), "steps of 1 ms of their own"),
        (([1.0], [0.5]), "sample 0: classes are whole numbers"),
    ],
)
def test_changes_that_cannot_be(change, message):
    with pytest.raises(DataError, match=message):
        labels_of_changes([change], 5)


def test_a_class_without_a_step_cannot_be_balanced():
    with pytest.raises(DataError, match=r"no step has class \[1\]"):
        balanced_weights(np.array([[0, 2]]), 3)


@pytest.fixture(scope="module")
def trainer():
    net, loss = problem()
    made = Trainer(net, loss, duration=float(T), dt=1.0, spike_times="grid", progress=False)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (np.full((4, T), 3.0), "sample 0, step 0: label 3 is no class of 3 outputs; labels are 0 .. 2, and -1 or nan"),
        (np.full((4, T), 0.5), "sample 0, step 0: label 0.5 is no class"),
        (np.full((4, T), -2.0), "sample 0, step 0: label -2 is no class"),
        (np.zeros((4, T - 1)), r"targets have shape \(4, 29\), but this loss needs \(4, 30\)"),
        (None, r"targets, but the data has none; give Events targets= of shape \(4, 30\)"),
    ],
)
def test_labels_that_do_not_fit(trainer, targets, message):
    with pytest.raises(DataError, match=message):
        trainer.fit(data(targets=targets), epochs=1)


def test_what_cannot_be_combined():
    net, loss = problem()
    with pytest.raises(SettingError, match="cannot be combined with carry"):
        Trainer(net, loss, duration=float(T), dt=1.0, spike_times="grid", carry=True, progress=False)
    with pytest.raises(LossError, match="class_weights: 3 classes need as many numbers"):
        problem((1.0, 2.0))
    plan = make_plan(net, loss, dt=1.0, duration=float(T))
    bare = engines.create(plan, net.initial_parameters(1), engine="native")
    with pytest.raises((LossError, EngineError), match="use a Trainer"):
        bare.run(bare.load(data()), [0], training=True)
    bare.close()
