"""Chance and classical baselines, on data of which their accuracy is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genn_eventprop.data import Currents, Events, Inputs
from genn_eventprop.data.baselines import FEATURES, baselines, chance, duration_of, features
from genn_eventprop.errors import DataError
from support.extras import needs


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def trains(rng: np.random.Generator, labels: np.ndarray, late: bool = False, channels: int = 4) -> Events:
    """Ten spikes a sample: on the channel of the class, or, if `late`, on any, in the half of the trial of the class
    (0 or 1)."""
    samples = []
    for label in labels:
        times = np.sort(rng.uniform(0, 50, 10)) + (50 * (label % 2) if late else 0)
        samples.append((times, rng.integers(0, channels, 10) if late else np.full(10, label)))
    return Events.from_samples(samples, channels, labels)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.lists(st.integers(0, 3), min_size=1, max_size=20))
def test_chance_is_the_share_of_the_most_frequent_class(train, held_out):
    def events(labels):
        return Events.from_samples([([], [])] * len(labels), 1, labels, n_classes=4)

    first = max(range(4), key=lambda k: (train.count(k), -k))
    assert chance(events(train), events(held_out)) == pytest.approx(held_out.count(first) / len(held_out))


def test_classes_of_channels_are_found_by_counts_and_classes_of_times_by_bins_alone(rng):
    needs("sklearn")
    labels = np.arange(80) % 2
    by_channel = trains(rng, labels), {"test": trains(rng, labels)}
    by_time = trains(rng, labels, late=True), {"test": trains(rng, labels, late=True)}
    for bins in (1, 10):
        found = baselines(*by_channel, bins=bins)["test"]
        assert found == {"chance": 0.5, "logistic regression": 1.0, "1-NN": 1.0}
    assert min(baselines(*by_time)["test"].values()) == 0.5
    assert baselines(*by_time)["test"]["logistic regression"] == 1.0
    assert baselines(*by_time, bins=1)["test"]["logistic regression"] < 0.75


def test_a_unit_of_one_channel_changes_no_baseline_of_currents(rng):
    needs("sklearn")
    labels = np.arange(60) % 3
    values = rng.normal(size=(60, 12, 2)) + 3 * labels[:, None, None]
    large = values * [1.0, 1e4]
    found = [
        baselines(Currents(v[:40], 1.0, labels[:40]), {"test": Currents(v[40:], 1.0, labels[40:])})["test"]
        for v in (values, large)
    ]
    assert found[0] == found[1]
    assert found[0]["1-NN"] > 0.9


@given(st.integers(1, 5000), st.integers(1, 12), st.integers(1, 300), st.integers(1, 40))
def test_features_are_means_of_neighbours_and_not_too_many(n_channels, bins, steps, width):
    rng = np.random.default_rng(n_channels)
    events = Events.from_samples([(np.sort(rng.uniform(0, 20, 30)), rng.integers(0, n_channels, 30))] * 2, n_channels)
    x = features(events, duration_of(events), bins)
    merge = -(-n_channels * bins // FEATURES)
    assert x.shape == (2, bins * -(-n_channels // merge))
    if merge == 1:
        assert x.sum() == pytest.approx(60)  # no spike is lost at the end of the trial
    currents = Currents(rng.normal(size=(3, steps, width)), 2.0)
    y = features(currents, currents.duration, bins)
    if steps * width <= FEATURES:
        assert np.array_equal(y, currents.values.reshape(3, -1))
    both = features(Inputs({"a": events[[0, 1]], "b": currents[:2]}), 20.0, bins)
    assert both.shape[1] == x.shape[1] + y.shape[1]


def test_merged_values_are_their_means():
    steps = 4 * FEATURES
    currents = Currents(np.arange(steps, dtype=float).reshape(1, steps, 1), 1.0)
    x = features(currents, currents.duration)
    assert x.shape == (1, FEATURES)
    np.testing.assert_allclose(x[0], np.arange(steps).reshape(-1, 4).mean(axis=1))


def test_held_out_sets_are_not_learned_from(rng):
    """Labels of the test set that say the opposite: a baseline that had seen them would be right."""
    needs("sklearn")
    labels = np.arange(40) % 2
    train, test = trains(rng, labels), trains(rng, labels)
    swapped = Events(test.times, test.channels, test.offsets, 4, 1 - test.labels)
    found = baselines(train, {"test": swapped, "validation": test})
    assert found["test"]["1-NN"] == 0.0 and found["validation"]["1-NN"] == 1.0


def test_errors_say_what_to_do(rng, monkeypatch):
    with pytest.raises(DataError, match="needs a label for every sample"):
        chance(Events.from_samples([([], [])], 1), Events.from_samples([([], [])], 1))
    needs("sklearn")
    train = trains(rng, np.arange(10) % 2)
    with pytest.raises(
        DataError, match="the test set has 30 features, but the training set has 40; their channels must be the same"
    ):
        baselines(train, {"test": trains(rng, np.arange(4) % 2, channels=3)})
    assert baselines(train[[0, 2]], {"test": train})["test"]["1-NN"] == 0.5  # a single class to learn from


def test_a_missing_library_is_named_with_its_extra(rng, monkeypatch):
    import importlib

    def absent(name, *_):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", absent)
    train = trains(rng, np.arange(10) % 2)
    with pytest.raises(DataError, match=r'pip install "genn_eventprop\[baseline\]"'):
        baselines(train, {"test": train})
    assert set(baselines(train, {"test": train}, classical=False)["test"]) == {"chance"}
