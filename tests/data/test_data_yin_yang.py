"""The Yin-Yang generator gives the published data set byte for byte, and its spike times."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genn_eventprop.data.readers import yin_yang
from genn_eventprop.errors import DataError

# sha256 of the published splits: samples as little-endian float64 in C order, labels as uint8 (yin_yang/note.txt)
PUBLISHED = {
    "train": (
        "f5a4054d56f2a058f8250fba7ff9720458e1625db7af78a295e45701745b2228",
        "7ea074c03c7531b4326ee49652960539cc5f919a390a1f5fa441daf677b146af",
        [1681, 1702, 1617],
    ),
    "validation": (
        "5eac358bdf2122763dce3703a79f3005e56e46a4db25ec329a07333d0f7b8093",
        "6a5d1f872dddf69dabf9dc7ab600556b69e541c4deef6f1f756ab5cbffe7d699",
        [316, 336, 348],
    ),
    "test": (
        "7bab3ed668ed4992679cff6339fe21bfe7d0c921ddc6187eaa3bc6ef34b888d7",
        "2e48e04154ecf043575fb66e9013e714e5a79652e013cca1e4cc966d4484ecf0",
        [350, 316, 334],
    ),
}


@pytest.mark.parametrize("split", PUBLISHED)
def test_points_are_the_published_ones_byte_for_byte(split: str) -> None:
    inputs, classes = yin_yang.points(*yin_yang.SPLITS[split])
    inputs_hash, classes_hash, counts = PUBLISHED[split]
    assert hashlib.sha256(np.ascontiguousarray(inputs, "<f8").tobytes()).hexdigest() == inputs_hash
    assert hashlib.sha256(classes.astype(np.uint8).tobytes()).hexdigest() == classes_hash
    assert np.bincount(classes).tolist() == counts


@pytest.mark.parametrize("split", PUBLISHED)
def test_points_are_those_of_the_published_file(split: str, data_dir: Path) -> None:
    with np.load(data_dir / "yin_yang" / "publication.npz") as published:
        inputs, classes = yin_yang.points(*yin_yang.SPLITS[split])
        assert np.array_equal(inputs, published[f"{split}_x"])
        assert np.array_equal(classes, published[f"{split}_y"])


def test_spike_times_are_the_reference_ones(data_dir: Path) -> None:
    with np.load(data_dir / "yin_yang" / "reference.npz") as reference:
        events = yin_yang.encode(reference["x"], reference["y"])
        times = np.empty((len(events), 5))
        times[events.sample_of_event, events.channels] = events.times
        np.testing.assert_allclose(times, reference["t_ms_eventprop"], rtol=0, atol=1e-12)
        assert events.labels is not None and np.array_equal(events.labels, reference["y"])


def test_load_gives_five_sorted_channels() -> None:
    events = yin_yang.load("validation")
    assert len(events) == 1000 and events.n_channels == 5 and events.n_classes == 3
    times, channels = events.sample(0)
    assert (times[0], channels[0]) == (0.0, 4)
    assert sorted(channels.tolist()) == [0, 1, 2, 3, 4]
    assert 0 <= events.times.min() and events.times.max() <= 30.0


def test_a_shorter_split_is_the_start_of_the_longer() -> None:
    short, long = yin_yang.load("test", size=50), yin_yang.load("test")
    assert np.array_equal(short.times, long[:50].times)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=20), st.floats(1.0, 100.0))
def test_encoding_can_be_inverted(values: list[tuple[float, ...]], t_max: float) -> None:
    inputs = np.array(values).reshape(-1, 4)
    events = yin_yang.encode(inputs, t_max=t_max, t_bias=None)
    back = np.empty_like(inputs)
    back[events.sample_of_event, events.channels] = events.times
    assert np.array_equal(back, inputs * t_max)


def test_classes_at_known_points() -> None:
    assert yin_yang.classify(0.75, 0.5) == yin_yang.classify(0.25, 0.5) == 2  # the dots
    assert yin_yang.classify(0.5, 0.9) == 1 and yin_yang.classify(0.5, 0.1) == 0
    assert yin_yang.classify(0.25, 0.35) == 1 and yin_yang.classify(0.75, 0.65) == 0  # inside the tails


def test_bad_input() -> None:
    with pytest.raises(DataError, match="no split 'trian'; did you mean 'train'"):
        yin_yang.load("trian")
    with pytest.raises(DataError, match="size must not be negative, got -1"):
        yin_yang.points(-1, 0)
    with pytest.raises(DataError, match="the dots must fit"):
        yin_yang.points(1, 0, r_small=0.3)
    with pytest.raises(DataError, match="values from 0 to 1"):
        yin_yang.encode(np.array([[0.0, 1.5, 0.2, 0.3]]))


def test_coordinates_as_currents():
    currents, events = yin_yang.load_currents("train", 20, duration=40.0), yin_yang.load("train", 20)
    assert currents.values.shape == (20, 1, 5) and currents.duration == 40.0 and currents.n_classes == 3
    assert currents.labels.tolist() == events.labels.tolist()
    times = np.empty((20, 5))
    times[events.sample_of_event, events.channels] = events.times
    assert (
        np.allclose(currents.values[:, 0, :4] * 30.0, times[:, :4], atol=1e-5) and (currents.values[:, 0, 4] == 1).all()
    )
    assert yin_yang.load_currents("test", 3, bias=None).n_channels == 4
    with pytest.raises(DataError, match="no split 'tests'"):
        yin_yang.load_currents("tests")
