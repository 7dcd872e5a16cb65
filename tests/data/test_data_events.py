"""Events: what it refuses and with which words, choosing samples, concatenation, statistics."""

import re
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genn_eventprop.data import Events
from genn_eventprop.data.readers import structured
from genn_eventprop.errors import DataError


def small(**changes: Any) -> Events:
    """Three samples, the middle one empty."""
    fields: dict[str, Any] = {
        "times": [1.0, 2.0, 0.5],
        "channels": [0, 1, 2],
        "offsets": [0, 2, 2, 3],
        "n_channels": 3,
        "labels": [0, 1, 2],
        "groups": ["a", "b", "a"],
        "name": "small",
    }
    return Events(**(fields | changes))


@st.composite
def event_sets(draw: st.DrawFn) -> list[tuple[list[float], list[int]]]:
    """Samples of sorted times and channels below 7."""
    samples = []
    for _ in range(draw(st.integers(1, 8))):
        times = sorted(draw(st.lists(st.floats(0, 1e4), max_size=12)))
        samples.append((times, draw(st.lists(st.integers(0, 6), min_size=len(times), max_size=len(times)))))
    return samples


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"times": [1.0, np.nan, 0.5]}, "small: sample 0, event 1: time nan ms; times must be finite"),
    ({"times": [1.0, np.inf, 0.5]}, "small: sample 0, event 1: time inf ms"),
    ({"times": [1.0, 2.0, -0.5]}, "small: sample 2, event 0: time -0.5 ms; times must be finite and not negative"),
    ({"times": [3.0, 2.0, 0.5]}, "small: sample 0, event 1: time 2.0 ms comes after 3.0 ms; .* sort=True"),
    ({"times": [[1.0, 2.0, 0.5]]}, r"small: times must be one-dimensional, got shape \(1, 3\)"),
    ({"times": ["1", "2", "3"]}, "small: times must be numbers, got dtype <U1"),
    ({"times": np.ma.masked_greater([1.0, 2.0, 0.5], 1.5)}, "small: times: a masked array, of which 1 numbers are hid"),
    ({"channels": [0, 3, 2]}, "small: sample 0, event 1: channel 3 is outside 0 .. 2; give a larger n_channels"),
    ({"channels": [0, 1, -1]}, "small: sample 2, event 0: channel -1 is outside 0 .. 2"),
    ({"channels": [0, 1.5, 2]}, "small: channels must be integers, got 1.5 at position 1"),
    ({"channels": [0, 1, 2**31]}, "small: channels has values from 0 to 2147483648, outside"),
    ({"channels": [0, 1]}, "small: 3 times but 2 channels; give one channel for each time"),
    ({"offsets": [0, 2, 2, 4]}, "small: offsets must run from 0 to the number of events, 0 .. 3, got 0 .. 4"),
    ({"offsets": [1, 2, 2, 3]}, "got 1 .. 3"),
    ({"offsets": []}, "got nothing"),
    ({"offsets": [0, 3, 2, 3]}, r"small: sample 1 ends before it starts: offsets\[1\] = 3, next 2"),
    ({"n_channels": 0}, r"small: n_channels must be an integer from 1 to 2\^31, got 0"),
    ({"n_channels": 2.0}, "got 2.0"),
    ({"labels": [0, 1]}, "small: 2 labels for 3 samples; give one label for each sample"),
    ({"labels": [0, -2, 1]}, "small: sample 1: label -2 is outside"),
    ({"labels": [0, 1, 2], "n_classes": 2}, "small: sample 2: label 2 is outside 0 .. 1"),
    ({"n_classes": 0}, "small: n_classes must be an integer >= 1, got 0"),
    ({"n_classes": "three"}, "n_classes must be an integer >= 1, got 'three'"),
    ({"groups": ["a", "b"]}, r"small: groups of shape \(2,\) for 3 samples; give one for each sample"),
    ({"groups": [0.5, 1.0, 2.0]}, "small: groups must be integers or strings, got dtype float64"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_refuses_wrong_input_and_says_where(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        small(**changes)


def test_order_is_checked_across_blocks_and_not_across_samples() -> None:
    from genn_eventprop.data.events.check import BLOCK

    times, channels = np.full(BLOCK + 3, 2.0), np.zeros(BLOCK + 3, np.int32)
    times[BLOCK:] = 0.5, 0.6, 0.1
    Events(times, channels, [0, BLOCK, BLOCK + 2, BLOCK + 3], 1)
    with pytest.raises(DataError, match=re.escape(f"sample 0, event {BLOCK}: time 0.5 ms comes after 2.0 ms")):
        Events(times, channels, [0, BLOCK + 2, BLOCK + 3], 1)


def test_arrays_cannot_be_changed_afterwards() -> None:
    times = np.array([1.0, 2.0, 0.5])
    events = small(times=times)
    with pytest.raises(ValueError, match="read-only"):
        events.times[0] = 5.0
    times[0] = 1.5  # the caller's own array stays writeable
    assert events.times.dtype == np.float64 and events.channels.dtype == np.int32 and events.offsets.dtype == np.int64


def test_number_of_classes_comes_from_the_labels_or_the_caller() -> None:
    assert small().n_classes == 3
    assert small(n_classes=10).n_classes == 10
    assert small(labels=[-1, -1, -1]).n_classes == 1
    assert small(labels=None).n_classes is None


def test_from_samples_sorts_only_on_request() -> None:
    with pytest.raises(DataError, match="comes after"):
        Events.from_samples([([2.0, 1.0], [0, 1])], 2)
    events = Events.from_samples([([2.0, 1.0], [0, 1])], 2, sort=True)
    assert events.times.tolist() == [1.0, 2.0] and events.channels.tolist() == [1, 0]
    with pytest.raises(DataError, match="digits: sample 1: 2 times but 1 channels"):
        Events.from_samples([([], []), ([1.0, 2.0], [0])], 2, name="digits")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (3, "small: no sample 3; there are 3, counted from 0"),
        ([0, -4], "no sample -4"),
        ([0.5], "samples are selected by integers"),
        (np.array([True, False]), r"a mask of shape \(2,\) cannot select from 3 samples"),
    ],
)
def test_refuses_samples_that_do_not_exist(index: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        small()[index]


@settings(max_examples=60, deadline=None)
@given(event_sets(), st.data())
def test_choosing_agrees_with_a_plain_list(samples: list[tuple[list[float], list[int]]], data: st.DataObject) -> None:
    events = Events.from_samples(samples, 7, labels=np.arange(len(samples)), groups=np.arange(len(samples)) * 10)
    chosen = data.draw(st.lists(st.integers(-len(samples), len(samples) - 1), max_size=10))
    part = events[np.array(chosen, dtype=int)]
    assert len(part) == len(chosen)
    for k, i in enumerate(chosen):
        times, channels = part.sample(k)
        assert times.tolist() == samples[i][0] and channels.tolist() == samples[i][1]
    assert part.labels is not None and part.labels.tolist() == [i % len(samples) for i in chosen]
    assert part.groups is not None and part.groups.tolist() == [10 * (i % len(samples)) for i in chosen]
    # what was chosen passes the full check again
    Events(part.times, part.channels, part.offsets, 7, part.labels, part.groups, part.n_classes)


@settings(max_examples=40, deadline=None)
@given(event_sets(), st.integers(0, 8))
def test_cut_and_concatenate_gives_the_same(samples: list[tuple[list[float], list[int]]], cut: int) -> None:
    events = Events.from_samples(samples, 7, labels=np.arange(len(samples)))
    joined = Events.concatenate([events[:cut], events[cut:]])
    for field in ("times", "channels", "offsets", "labels"):
        assert np.array_equal(getattr(joined, field), getattr(events, field))
    assert joined.n_classes == events.n_classes


def test_neighbouring_samples_are_views() -> None:
    events = small()
    assert np.shares_memory(events[0:2].times, events.times)
    assert np.shares_memory(events[1:][1].times, events.times)
    assert not np.shares_memory(events[[2, 0]].times, events.times)


def test_concatenate_refuses_what_does_not_fit() -> None:
    with pytest.raises(DataError, match="nothing to concatenate"):
        Events.concatenate([])
    with pytest.raises(DataError, match="part 1 has 4 channels, part 0 has 3"):
        Events.concatenate([small(), small(n_channels=4)])
    with pytest.raises(DataError, match="part 1 and part 0: only one of them has labels"):
        Events.concatenate([small(), small(labels=None)])


def test_counts_durations_and_iteration() -> None:
    events = small()
    assert events.counts.tolist() == [2, 0, 1]
    assert events.durations.tolist() == [2.0, 0.0, 0.5]
    assert events.duration == 2.0
    assert events.sample_of_event.tolist() == [0, 0, 2]
    assert [len(one.times) for one in events] == [2, 0, 1]
    assert repr(events) == "Events('small', 3 samples, 3 events, 3 channels, 3 classes)"


def test_statistics() -> None:
    numbers = small(labels=[0, -1, 3]).statistics()
    assert (numbers.samples, numbers.empty_samples, numbers.events) == (3, 1, 3)
    assert numbers.events_per_sample == (0, 1.0, 2)
    assert numbers.missing_classes == (1, 2) and numbers.unlabelled == 1
    assert numbers.group_counts == {"a": 2, "b": 1}
    assert numbers.events_per_channel.tolist() == [1, 1, 1] and numbers.silent_channels == 0
    text = str(numbers)
    assert "3 samples (1 empty), 3 events" in text
    assert "without samples: [1, 2], 1 unlabelled" in text
    assert small(labels=None)[:0].statistics().mean_events == 0.0


def test_plot_draws_every_event_and_writes_the_file(tmp_path: Any) -> None:
    figure = small().plot(slice(None), tmp_path / "raster.png", class_names=["x", "y", "z"])
    shown = [axis.collections[0].get_offsets().data.tolist() for axis in figure.axes]
    assert shown == [[[1.0, 0.0], [2.0, 1.0]], [], [[0.5, 2.0]]]
    assert figure.axes[2].get_title() == "sample 2, z, group a"
    assert [[text.get_text() for text in axis.texts] for axis in figure.axes[:3]] == [[], ["no events"], []]
    assert (tmp_path / "raster.png").stat().st_size > 1000


def test_statistics_of_many_channels_need_little_memory() -> None:
    """2^31 channels would be 17 GB for a number each."""
    many = 2**31
    events = Events.from_samples([([1.0, 2.0, 3.0], [5, many - 1, 5]), ([], [])], many)
    tracemalloc.start()
    try:
        numbers = events.statistics()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
    assert numbers.active_channels.tolist() == [5, many - 1] and numbers.events_per_active_channel.tolist() == [2, 1]
    assert numbers.events_per_channel is None and numbers.silent_channels == many - 2
    assert "2147483646 of them silent" in str(numbers)
    with pytest.raises(DataError, match="needs 34.4 GB; take fewer samples, a larger dt, or merge channels"):
        structured.to_dense(events, dt=1.0)


def test_targets_of_different_lengths_are_told():
    with pytest.raises(DataError, match="target 'position' is no array: its parts have different lengths"):
        Events.from_samples([([], []), ([], [])], 2, targets={"position": [[0.1, 0.2], [0.3]]})
    with pytest.raises(DataError, match="target 'class': a masked array, of which 1 numbers are hidden"):
        Events.from_samples([([], []), ([], [])], 2, targets={"class": np.ma.masked_equal([0, 1], 1)})


@pytest.mark.parametrize("sample", [[(1.0, 2), (5.0, 3)], np.array([[1.0, 2.0], [5.0, 3.0]])])
def test_two_events_as_rows_are_no_pair(sample):
    with pytest.raises(DataError, match=r"sample 0 may be two events .* \(a\[:, 0\], a\[:, 1\]\)"):
        Events.from_samples([sample], 30)
