"""Metrics against sums by hand, and in the files and words that users see."""

import math
from collections import Counter

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.errors import DataError, SettingError
from genn_eventprop.losses import FirstSpikeCrossEntropy
from genn_eventprop.models.lif import LIF
from genn_eventprop.training import metrics

LABELS = np.array([0, 0, 1, 2, 2, 2, -1])
CALLED = np.array([0, 1, 1, 2, -1, 0, 2])


def test_confusion_counts_every_labelled_sample_once():
    found = metrics.confusion_matrix(LABELS, CALLED, 4)
    pairs = Counter((i, j if j >= 0 else 4) for i, j in zip(LABELS.tolist(), CALLED.tolist()) if i >= 0)
    assert {(i, j): found[i, j] for i, j in zip(*np.nonzero(found))} == pairs
    per_class = metrics.class_accuracy(found)
    np.testing.assert_allclose(per_class[:3], [1 / 2, 1, 1 / 3])
    assert math.isnan(per_class[3])


def test_groups():
    groups = np.array(["b", "a", "b", "b", "a", "b", "c"])
    found = metrics.group_accuracy(LABELS, CALLED, groups)
    assert list(found) == ["a", "b", "c"]
    assert found["a"] == {"accuracy": 0.0, "samples": 2} and found["b"] == {"accuracy": 3 / 4, "samples": 4}
    assert math.isnan(found["c"]["accuracy"]) and found["c"]["samples"] == 0


def test_top_k_against_sorting():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, (200, 6)).astype(float)  # many ties
    scores[rng.random(scores.shape) < 0.2] = -np.inf
    labels = rng.integers(-1, 6, 200)
    for k in range(1, 7):
        right = [
            row[label] > -np.inf and sorted(row, reverse=True)[k:].count(row[label]) == 0
            for row, label in zip(scores.tolist(), labels.tolist())
            if label >= 0
        ]
        assert metrics.top_k_accuracy(scores, labels, k) == pytest.approx(np.mean(right))
    assert math.isnan(metrics.top_k_accuracy(scores[:1], np.array([-1]), 1))


def test_wilson_interval_solves_its_equation():
    """The ends are the p at which the observed share is z standard errors of p away (Wilson's definition)."""
    z = 1.959963984540054
    for correct, samples in ((0, 10), (7, 10), (10, 10), (981, 1000)):
        for p in metrics.wilson_interval(correct, samples):
            assert (correct / samples - p) ** 2 == pytest.approx(z * z * p * (1 - p) / samples, abs=1e-12)
    assert metrics.wilson_interval(0, 0) == (0.0, 1.0)
    narrow, wide = metrics.wilson_interval(7, 10, 0.5), metrics.wilson_interval(7, 10, 0.99)
    assert wide[0] < narrow[0] < 0.7 < narrow[1] < wide[1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: metrics.wilson_interval(3, 2), SettingError, "3 correct of 2 samples is impossible"),
        (lambda: metrics.wilson_interval(1, 2, 1.0), SettingError, "confidence must lie between 0 and 1, got 1.0"),
        (
            lambda: metrics.top_k_accuracy(np.zeros((2, 3)), np.zeros(2, int), 4),
            SettingError,
            "from 1 to the 3 classes",
        ),
        (lambda: metrics.confusion_matrix(LABELS, CALLED[:3], 3), DataError, "7 labels but 3 predictions"),
        (lambda: metrics.group_accuracy(LABELS, CALLED, np.zeros(2)), DataError, "7 labels but 2 predictions"),
    ],
)
def test_what_does_not_fit(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_results_and_metrics_hold_them(tmp_path):
    net = Network()
    out = net.population(LIF(), 3, name="output")
    net.connect(net.input(3), out, Dense(Normal(1.0, 0.5)))
    samples = [([1.0, 2.0 + i], [i % 3, (i + 1) % 3]) for i in range(9)]
    events = Events.from_samples(samples, 3, [i % 3 for i in range(9)], [f"s{i % 2}" for i in range(9)])
    trainer = Trainer(
        net, FirstSpikeCrossEntropy(out), duration=20.0, dt=1.0, engine="reference_clock", progress=False,
        run_dir=tmp_path / "run",
    )  # fmt: skip
    results = trainer.fit(events, events, events, epochs=1)
    assert trainer.folder.results | {"history": results["history"]} == results
    evaluation = trainer.evaluate(events)
    np.testing.assert_array_equal(evaluation.scores.argmax(axis=1)[evaluation.predictions >= 0],
                                  evaluation.predictions[evaluation.predictions >= 0])  # fmt: skip
    assert metrics.top_k_accuracy(evaluation.scores, evaluation.labels, 1) == pytest.approx(evaluation.accuracy)
    confusion = np.array(results["test"]["confusion"])
    assert confusion.sum() == 9 and confusion.trace() == round(9 * results["test_accuracy"])
    assert results["test"]["interval"][0] <= results["test_accuracy"] <= results["test"]["interval"][1]
    assert set(results["test"]["per_group"]) == {"s0", "s1"} and set(results["test"]["top_k"]) == {"2"}
    line = trainer.folder.metrics[0]
    assert len(line["validation_per_class"]) == 3 and line["validation_interval"][1] <= 1
    text = metrics.describe(results["test"], results["test_accuracy"], ["no", "yes"])
    for part in ("95 % interval", "top 2", "worst classes: ", "group s1: "):
        assert part in text
    assert [metrics.times(n) for n in (1, 2, 3)] == ["once", "twice", "3 times"]
