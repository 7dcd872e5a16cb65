"""Splits: nothing lost, nothing on both sides, shares and groups kept, and clear refusals."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genn_eventprop.data import Events
from genn_eventprop.data.events import splits
from genn_eventprop.errors import DataError


def labelled(labels: Any, groups: Any = None) -> Events:
    n = len(labels)
    return Events(np.zeros(n), np.zeros(n), np.arange(n + 1), 1, labels, groups, name="set")


def assert_partition(split: splits.Split, n: int) -> None:
    assert sorted(np.concatenate([split.train, split.held_out]).tolist()) == list(range(n))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=4, max_size=200), st.floats(0.05, 0.9), st.integers(0, 99))
def test_splits_are_partitions_and_depend_on_the_seed_alone(labels: list[int], fraction: float, seed: int) -> None:
    events = labelled(labels * 2)
    for make in (splits.random_split, splits.stratified_split):
        split = make(events, fraction, seed)
        assert_partition(split, len(events))
        assert np.array_equal(split.held_out, make(events, fraction, seed).held_out)
        train, held = split.apply(events)
        assert len(train) == len(split.train) and np.array_equal(held.labels, events.labels[split.held_out])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(2, 40), min_size=1, max_size=6), st.floats(0.05, 0.9))
def test_stratified_split_keeps_the_shares(sizes: list[int], fraction: float) -> None:
    events = labelled(np.repeat(np.arange(len(sizes)), sizes))
    split = splits.stratified_split(events, fraction, 1)
    held = np.bincount(events.labels[split.held_out], minlength=len(sizes))
    assert (held >= 1).all() and (held < sizes).all()
    exact = fraction * np.array(sizes)
    inside = (exact > 1) & (exact < np.array(sizes) - 1)
    if inside.all():
        assert abs(held.sum() - exact.sum()) <= 0.51  # the total is right, not only each class


def test_other_seeds_give_other_splits() -> None:
    events = labelled(np.arange(100) % 5)
    assert not np.array_equal(
        splits.stratified_split(events, 0.2, 0).held_out, splits.stratified_split(events, 0.2, 1).held_out
    )
    assert not np.array_equal(
        splits.random_split(events, 0.2, 0).held_out, splits.random_split(events, 0.2, 1).held_out
    )
    assert len(splits.random_split(events, 0.2).held_out) == 20


def test_a_generator_goes_on() -> None:
    events, rng = labelled(np.arange(100) % 5), np.random.default_rng(7)
    for make in (splits.random_split, splits.stratified_split):
        first, second = make(events, 0.2, rng), make(events, 0.2, rng=rng)
        assert_partition(first, 100)
        assert not np.array_equal(first.held_out, second.held_out) and first.name.endswith("a generator")


def test_leave_one_group_out() -> None:
    events = labelled([0, 1, 0, 1, 0, 1], ["b", "b", "a", "a", "c", "c"])
    found = list(splits.leave_one_group_out(events))
    assert [s.name for s in found] == ["without a", "without b", "without c"]
    assert [s.held_out.tolist() for s in found] == [[2, 3], [0, 1], [4, 5]]
    for split in found:
        assert_partition(split, 6)
    numbered = labelled([0, 1], [3, 8])
    assert splits.group_split(numbered, 8).held_out.tolist() == [1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: splits.random_split(labelled([0, 1]), 1.0), "the held-out fraction must lie between 0 and 1, got 1.0"),
        (lambda: splits.random_split(labelled([0]), 0.5), "set: 1 samples cannot be split; at least two are needed"),
        (lambda: splits.random_split(labelled([0, 1]), 0.5, -1), "rng must be a non-negative integer"),
        (
            lambda: splits.stratified_split(labelled([0, 0, 1]), 0.5),
            "set: class 1 has one sample; .* needs two of each",
        ),
        (
            lambda: splits.stratified_split(labelled([0, -1, 1]), 0.5),
            "a stratified split needs a label for every sample",
        ),
        (lambda: splits.group_split(labelled([0, 1], ["ann", "bob"]), "bo"), "set: no group 'bo'; did you mean 'bob'"),
        (lambda: splits.group_split(labelled([0, 1], ["ann", "ann"]), "ann"), "'ann' is the only group; nothing would"),
        (lambda: list(splits.leave_one_group_out(labelled([0, 1]))), "set: the samples have no groups"),
    ],
)
def test_refused(make: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()


def test_the_test_set_opens_once() -> None:
    held_out_test = splits.HeldOutTestSet(labelled([0, 1, 2]))
    assert len(held_out_test) == 3
    assert len(held_out_test.open()) == 3
    with pytest.raises(DataError, match="the test set has already been opened: it is read only once"):
        held_out_test.open()
    assert len(held_out_test) == 3
