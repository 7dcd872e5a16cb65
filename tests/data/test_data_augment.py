"""Augmentations: what each does to every event, and that it depends on seed, epoch and sample alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genn_eventprop.data import Events
from genn_eventprop.data.augment import kernels
from genn_eventprop.data.augment import steps as augment
from genn_eventprop.data.augment.augmented import Augmented, Blend, centre_of_mass
from genn_eventprop.data.augment.batchwise import is_fixed, moves_times
from genn_eventprop.data.augment.counter import CounterRNG
from genn_eventprop.data.augment.steps import (
    Affine,
    Bin,
    ChannelsLast,
    CompressTime,
    Crop,
    CropChannels,
    DelayLine,
    Dilate,
    Dropout,
    FitTime,
    Jitter,
    MergeChannels,
    NormaliseCounts,
    Pad,
    Shift,
    Thin,
    TrimSilence,
    Warp,
)
from genn_eventprop.errors import DataError

N = 50


def some(n: int = 12, seed: int = 0, most: int = 60) -> Events:
    rng = np.random.default_rng(seed)
    samples = [(np.sort(rng.uniform(0, 100, k)), rng.integers(0, N, k)) for k in rng.integers(0, most, n)]
    return Events.from_samples(samples, N, np.arange(n) % 3, np.arange(n) % 4, name="some")


def draw_for(events: Events, seed: int = 1, epoch: int = 0) -> CounterRNG:
    return CounterRNG(seed, epoch, np.arange(len(events)))


def same(a: Events, b: Events) -> bool:
    return all(
        np.array_equal(getattr(a, f), getattr(b, f)) for f in ("times", "channels", "offsets", "labels", "groups")
    )


def valid(events: Events) -> Events:
    """Passes the full check of the constructor."""
    return Events(
        events.times, events.channels, events.offsets, events.n_channels, events.labels, events.groups, events.n_classes
    )


ALL: list[Any] = [
    Shift(7),
    Dilate(0.5, 2.0),
    Jitter(3.0),
    Dropout(0.3),
    Thin(20),
    MergeChannels(3),
    ChannelsLast(2),
    NormaliseCounts(3),
    CompressTime(2.0),
    Crop(10.0, 60.0),
    CropChannels(10, 40),
    TrimSilence(0.3, 5.0),
    FitTime(5.0, 80.0, 0.1),
    Pad(5.0),
    Bin(2.0),
    Bin(2.0, duplicates=True),
    DelayLine(3, 30.0),
    Affine(5, 5, 30.0, 0.2, 1.0),
    Warp(2.0),
]


@pytest.mark.parametrize("step", ALL, ids=repr)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), order=st.permutations(range(12)))
def test_a_sample_is_treated_alike_in_every_batch(step: Any, seed: int, order: list[int]) -> None:
    train = Augmented(some(seed=seed), [step, step], seed=seed)
    whole = train.epoch(3)
    valid(whole)
    assert same(train.batch(order, 3), whole[order])
    assert same(train.batch(order[:5], 3), whole[order[:5]])
    assert len(whole) == 12 and whole.labels is not None


@pytest.mark.parametrize(
    "step",
    [Shift(7), Dilate(0.5, 2.0), Jitter(3.0), Dropout(0.3), Thin(20), Affine(5, 10), Warp()],
    ids=repr,
)
def test_epoch_seed_and_place_in_the_chain_change_the_numbers(step: Any) -> None:
    events = some(most=200)
    base = Augmented(events, [step], seed=1).epoch(0)
    assert not same(base, Augmented(events, [step], seed=1).epoch(1))
    assert not same(base, Augmented(events, [step], seed=2).epoch(0))
    twice = Augmented(events, [step, step], seed=1).epoch(0)
    again = step(base, draw_for(base, 1, 0).for_step(0))
    assert not same(twice, again)  # the second step has numbers of its own


def test_shift_moves_whole_samples_uniformly() -> None:
    events = Events.from_samples([([1.0, 2.0], [20, 25])] * 4000, N)
    moved = Shift(3)(events, draw_for(events))
    by = (moved.channels - events.channels).reshape(-1, 2)
    assert (by[:, 0] == by[:, 1]).all()
    counts = np.bincount(by[:, 0] + 3, minlength=7)
    assert counts.sum() == 4000 and (abs(counts - 4000 / 7) < 5 * np.sqrt(4000 / 7)).all()
    edge = Events.from_samples([([1.0, 2.0], [0, 49])] * 100, N)
    assert (Shift(3)(edge, draw_for(edge)).counts >= 1).all() and Shift(3)(edge, draw_for(edge)).counts.min() == 1


def test_dilate_is_log_uniform_and_one_factor_a_sample() -> None:
    events = Events.from_samples([([1.0, 10.0], [0, 1])] * 4000, N)
    times = Dilate(0.5, 4.0)(events, draw_for(events)).times.reshape(-1, 2)
    np.testing.assert_allclose(times[:, 1], 10 * times[:, 0])
    logs = np.log(times[:, 0])
    assert np.log(0.5) <= logs.min() and logs.max() <= np.log(4.0)
    assert logs.mean() == pytest.approx((np.log(0.5) + np.log(4.0)) / 2, abs=0.05)
    assert logs.std() == pytest.approx(np.log(8.0) / np.sqrt(12), abs=0.03)


def test_jitter_is_normal_and_independent_for_each_event() -> None:
    events = Events.from_samples([(np.arange(50.0), np.full(50, 500))] * 200, 1000)
    by = Jitter(20.0)(events, draw_for(events)).channels - 500
    assert by.mean() == pytest.approx(0, abs=1) and by.std() == pytest.approx(20, rel=0.03)
    assert np.corrcoef(by[:-1], by[1:])[0, 1] == pytest.approx(0, abs=0.04)


def test_dropout_and_thin_keep_the_right_share() -> None:
    events = Events.from_samples([(np.arange(200.0), np.zeros(200))] * 100 + [(np.arange(10.0), np.zeros(10))] * 100, 1)
    assert Dropout(0.2)(events, draw_for(events)).counts.sum() / events.counts.sum() == pytest.approx(0.8, abs=0.01)
    thin = Thin(50)(events, draw_for(events))
    assert thin.counts[:100].mean() == pytest.approx(50, abs=2) and (thin.counts[100:] == 10).all()
    assert Dropout(1.0)(events, draw_for(events)).counts.sum() == 0


def test_steps_without_chance() -> None:
    events = Events.from_samples([([0.0, 10.0, 10.4, 59.0], [0, 4, 4, 49]), ([], [])], N)
    draw = draw_for(events)
    merged = MergeChannels(4)(events, draw)
    assert merged.n_channels == 13 and merged.channels.tolist() == [0, 1, 1, 12]
    assert CompressTime(2.0)(events, draw).times.tolist() == [0, 5, 5.2, 29.5]
    crop = Crop(10.0, 59.0)(events, draw)
    assert crop.times == pytest.approx([0, 0.4]) and crop.offsets.tolist() == [0, 2, 2]
    assert Pad(3.0)(events, draw).times.tolist() == [3, 13, 13.4, 62]
    binned = Bin(1.0)(events, draw)
    assert binned.times.tolist() == [0, 10, 59] and binned.channels.tolist() == [0, 4, 49]
    assert Bin(1.0, duplicates=True)(events, draw).times.tolist() == [0, 10, 10, 59]
    kept = CropChannels(4, 49)(events, draw)
    assert kept.n_channels == 45 and kept.channels.tolist() == [0, 0] and kept.offsets.tolist() == [0, 2, 2]
    assert CropChannels(4)(events, draw).channels.tolist() == [0, 0, 45]
    line = DelayLine(2, 30.0)(events, draw)
    assert line.n_channels == 150 and line.counts.tolist() == [12, 0]
    found = sorted(zip(line.times.tolist(), line.channels.tolist(), strict=True))
    expected = [
        (t + 30.0 * j, c + N * j)
        for t, c in zip(*map(np.ndarray.tolist, events.sample(0)), strict=True)
        for j in range(3)
    ]
    assert found == sorted(expected)


def test_channels_last_interleaves_polarities() -> None:
    height, width = 3, 4
    x, y, p = np.array([3, 0, 2]), np.array([2, 0, 1]), np.array([1, 0, 1])
    events = Events([1.0, 2.0, 3.0], (p * height + y) * width + x, [0, 3], 2 * height * width)
    last = ChannelsLast(2)(events, draw_for(events))
    assert last.channels.tolist() == ((y * width + x) * 2 + p).tolist() and last.n_channels == events.n_channels


def test_affine_turns_scales_and_moves_images() -> None:
    side = 21
    y, x = np.divmod(np.arange(side * side), side)
    channels = np.repeat(np.flatnonzero((y == 10) & (x > 2) & (x < 18)), 40)  # a bar, in each of two planes
    sample = (np.sort(np.random.default_rng(0).uniform(0, 9, 2 * len(channels))), np.r_[channels, channels + side**2])
    events = Events.from_samples([sample] * 200, 2 * side**2)
    assert same(Affine(side, side, 0.0, 0.0, 0.0)(events, draw_for(events)), events)
    for step, low, high in (
        (Affine(side, side, 90.0, 0.0, 0.0), 1.0, 1.0),
        (Affine(side, side, 0.0, 0.5, 0.0), 0.6, 1.7),
    ):
        made = valid(step(events, draw_for(events)))
        plane, pixel = np.divmod(made.channels, side**2)
        where = pixel // side - 10 + 1j * (pixel % side - 10)
        owner = np.repeat(np.arange(len(made)), made.counts)
        reach = np.array([np.sqrt(np.mean(abs(where[owner == i]) ** 2)) for i in range(len(made))]) / np.sqrt(56 / 3)
        assert reach.min() > low - 0.05 and reach.max() < high + 0.05
        assert np.bincount(plane).tolist() == [len(plane) // 2] * 2 or step.scale
    moved = Affine(side, side, 0.0, 0.0, 3.0)(events, draw_for(events))
    rows = np.array([np.mean(moved.sample(i)[1] % side**2 // side) for i in range(len(moved))]) - 10
    assert 2.5 < rows.max() <= 3 and -3 <= rows.min() < -2.5 and len(np.unique(rows)) > 150


def test_warp_keeps_first_and_last_event() -> None:
    events = Events.from_samples([([5.0, 30.0, 55.0, 105.0], [0, 1, 2, 3]), ([], []), ([7.0], [0])] * 300, 4)
    made = valid(Warp(2.0)(events, draw_for(events)))
    times = np.array([made.sample(3 * i)[0] for i in range(300)])
    assert (times[:, 0] == 5).all() and times[:, 3] == pytest.approx(105) and made.sample(2)[0].tolist() == [7.0]
    exponents = np.log((times[:, 1:3] - 5) / 100) / np.log([0.25, 0.5])
    assert exponents[:, 0] == pytest.approx(exponents[:, 1])
    assert 0.5 <= exponents.min() < 0.51 and 1.96 < exponents.max() <= 2 and abs(np.log(exponents).mean()) < 0.1
    still = Warp(1.0)(events, draw_for(events))
    assert still.times == pytest.approx(events.times) and np.array_equal(still.channels, events.channels)


def test_normalised_counts_leave_only_times() -> None:
    events = Events.from_samples([([1.0, 2.0, 3.0, 4.0, 9.0], [1, 0, 1, 0, 1]), ([], [])], 3)
    made = NormaliseCounts(4)(events, draw_for(events))
    times, channels = made.sample(0)
    assert made.counts.tolist() == [12, 0] and np.bincount(channels).tolist() == [4, 4, 4]
    levels = (np.arange(4) + 0.5) / 4
    for channel, of in ((0, [2.0, 4.0]), (1, [1.0, 3.0, 9.0]), (2, [1.0, 2.0, 3.0, 4.0, 9.0])):
        assert times[channels == channel] == pytest.approx(np.quantile(of, levels))
    many = valid(NormaliseCounts(2)(some(), draw_for(some())))
    assert set(many.counts.tolist()) <= {0, 2 * N} and len(many) == len(some())


def test_fit_time_makes_slow_and_late_words_alike() -> None:
    word = np.array([0.0, 10.0, 25.0, 50.0])
    samples = [word, 3 * word + 40, word[:0], word[2:3], np.full(3, 7.0)]
    events = Events.from_samples([(t, np.arange(len(t))) for t in samples], N)
    fitted = FitTime(20.0, 120.0, outliers=0.0)(events, draw_for(events))
    for i in (0, 1):
        assert fitted.sample(i)[0] == pytest.approx([20, 40, 70, 120])
    assert fitted.sample(2)[0].tolist() == [] and fitted.sample(3)[0].tolist() == [20.0]
    assert fitted.sample(4)[0].tolist() == [20.0] * 3  # no duration to stretch
    noisy = Events.from_samples([(np.r_[0.0, np.arange(100.0, 198.0), 900.0], np.arange(100) % N)], N)
    times = FitTime(20.0, 117.0, outliers=0.01)(noisy, draw_for(noisy)).times
    assert (
        times[0] == 20.0 and times[-2] == 117.0 and times[-1] > 800 and len(times) == 99
    )  # noise before it is dropped


def test_trim_silence_keeps_the_word_and_its_pauses_only() -> None:
    word = np.r_[np.arange(200.0, 260.0), np.arange(400.0, 460.0)]  # 10 events a bin, a pause of 140 ms
    noisy = np.sort(np.r_[word, 0.5, 91.0, 600.0, 900.0])
    samples = [word, noisy, word[:0], word[:1], np.full(3, 7.0), word[:15]]
    events = Events.from_samples([(t, np.arange(len(t)) % N) for t in samples], N)
    trimmed = TrimSilence(0.3, 10.0)(events, draw_for(events))
    assert trimmed.counts.tolist() == [120, 120, 0, 1, 3, 15]
    for i in (0, 1):
        assert trimmed.sample(i)[0].tolist() == (word - 200).tolist()
    assert trimmed.sample(1)[1].tolist() == (np.arange(2, 122) % N).tolist()  # each event keeps its channel
    assert trimmed.sample(3)[0].tolist() == [0.0] and trimmed.sample(4)[0].tolist() == [7.0] * 3
    every = TrimSilence(0.0)(events, draw_for(events))
    assert every.counts.tolist() == events.counts.tolist()  # every event makes its bin active
    # 0.06 of ten events: a bin next to the word counts as active by the smoothing, its events stay
    beside = Events.from_samples([(np.r_[195.0, word, 465.0], np.zeros(122, int))], N)
    assert TrimSilence()(beside, draw_for(beside)).times[[0, 1, -1]].tolist() == [5.0, 10.0, 275.0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.5, 3.0, 40.0]))
def test_bin_leaves_one_event_a_channel_and_step(seed: int, dt: float) -> None:
    events = some(seed=seed)
    binned = Bin(dt)(events, draw_for(events))
    for i in range(len(events)):
        times, channels = events.sample(i)
        expected = sorted({(float(np.floor(t / dt + 0.5) * dt), int(c)) for t, c in zip(times, channels, strict=True)})
        assert sorted(zip(*map(np.ndarray.tolist, binned.sample(i)), strict=True)) == expected


# blend


def test_blend_extends_the_data_set_with_mixtures_of_one_class() -> None:
    events = some(30, most=200)
    train = Augmented(events, blend=Blend((1.0, 1.0)), seed=1)
    assert len(train) == 60
    assert same(train.batch(range(30), 5), events)  # the recordings themselves stay
    new = train.batch(range(30, 60), 5)
    valid(new)
    assert np.array_equal(new.labels, events.labels)
    partners = Blend().partners(events.labels, CounterRNG(1, 5, np.arange(30, 60)))
    assert (partners[:, 0] == np.arange(30)).all() and (partners[:, 0] != partners[:, 1]).all()
    assert (events.labels[partners[:, 1]] == events.labels).all()
    assert not same(new, train.batch(range(30, 60), 6))
    mixed = [55, 3, 31, 7, 3]
    whole = train.epoch(5)
    assert same(train.batch(mixed, 5), whole[mixed])


def test_blend_aligns_centres_of_mass() -> None:
    early, late = ([10.0, 12.0, 14.0], [10, 12, 14]), ([30.0, 34.0, 38.0], [28, 30, 32])
    events = Events.from_samples([early, late], N, [0, 0])
    new = Blend((1.0, 1.0))(events, CounterRNG(0, 0, np.array([2])))
    assert centre_of_mass(new)[:, 0] == pytest.approx([23.0, 21.0])
    assert sorted(zip(new.times.tolist(), new.channels.tolist(), strict=True)) == [
        (19.0, 19),
        (21.0, 19),
        (23.0, 21),
        (23.0, 21),
        (25.0, 23),
        (27.0, 23),
    ]
    half = Augmented(some(300, most=200), blend=Blend(), seed=0)
    share = half.batch(range(300, 600), 0).counts.sum() / half.events.counts.sum()
    assert share == pytest.approx(1.0, abs=0.05)  # two halves; little leaves the channels


def test_blend_of_a_single_recording() -> None:
    events = Events.from_samples([([1.0], [3]), ([2.0], [4])], N, [0, 1])
    assert Blend((1.0, 1.0))(events, CounterRNG(0, 0, np.array([2, 3]))).channels.tolist() == [3, 3, 4, 4]


def test_uniform_numbers_are_uniform_and_pinned() -> None:
    draw = CounterRNG(7, 3, np.arange(1000))
    numbers = draw.per_event("x", np.full(1000, 100))
    assert numbers.min() >= 0 and numbers.max() < 1
    assert numbers.mean() == pytest.approx(0.5, abs=0.005) and numbers.var() == pytest.approx(1 / 12, abs=0.002)
    table = np.histogram2d(numbers[:-1], numbers[1:], bins=8, range=[[0, 1], [0, 1]])[0]
    assert (abs(table - len(numbers) / 64) < 6 * np.sqrt(len(numbers) / 64)).all()
    # the same numbers on every machine and in every version: a run can be repeated
    assert CounterRNG(1, 2, np.array([3])).keys("shift").tolist() == [14095384053546955964]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Shift(-1), "Shift: channels must be from 0 to"),
        (lambda: Shift(1.5), "Shift: channels must be a whole number, got 1.5"),
        (lambda: Shift(1, 0.5), r"Shift: channels \* stride must be a whole number, got 0.5"),
        (lambda: MergeChannels(1.5), "MergeChannels: factor must be a whole number, got 1.5"),
        (lambda: NormaliseCounts(2.5), "NormaliseCounts: count must be a whole number, got 2.5"),
        (lambda: Dilate(2.0, 1.0), "Dilate: low must be from 1e-06 to 1, got 2.0"),
        (lambda: Jitter(-1.0), "Jitter: sigma must be from 0"),
        (lambda: Dropout(1.5), "Dropout: p must be from 0 to 1, got 1.5"),
        (lambda: Thin(-1), "Thin: count must be from 0"),
        (lambda: MergeChannels(0), "MergeChannels: factor must be from 1"),
        (lambda: ChannelsLast(0), "ChannelsLast: planes must be from 1"),
        (lambda: ChannelsLast(3)(some(), draw_for(some())), "ChannelsLast: 50 channels are not 3 images of one size"),
        (lambda: Affine(0, 5), "Affine: height must be from 1 to"),
        (lambda: Affine(5, 5, rotate=181), "Affine: rotate must be from 0 to 180, got 181"),
        (lambda: Affine(4, 5)(some(), draw_for(some())), "Affine: 50 channels are not images of 4 x 5"),
        (lambda: Warp(0.5), "Warp: power must be from 1 to 100, got 0.5"),
        (lambda: NormaliseCounts(0), "NormaliseCounts: count must be from 1"),
        (lambda: CompressTime(0.0), "CompressTime: factor must be from"),
        (lambda: Crop(5.0, 1.0), "Crop: start must be from 0 to 1, got 5.0"),
        (lambda: CropChannels(5, 5), "CropChannels: stop must be from 6 to"),
        (lambda: CropChannels(50)(some(), draw_for(some())), "CropChannels: start=50, but there are 50 channels"),
        (lambda: TrimSilence(1.5), "TrimSilence: threshold must be from 0 to 0.99, got 1.5"),
        (lambda: TrimSilence(bin=0.0), "TrimSilence: bin must be from 0.001 to"),
        (lambda: FitTime(5.0, 5.0), "FitTime: stop must be from 5 to"),
        (lambda: FitTime(outliers=0.5), "FitTime: outliers must be from 0 to 0.49, got 0.5"),
        (lambda: Pad(-1.0), "Pad: before must be from 0"),
        (lambda: Bin(0.0), "Bin: dt must be from"),
        (lambda: DelayLine(-1), "DelayLine: copies must be from 0"),
        (lambda: DelayLine(1, -2.0), "DelayLine: delay must be from 0"),
        (lambda: Blend((0.5,)), "Blend: keep needs a probability for each of two or more"),
        (lambda: Blend((0.5, 2.0)), "Blend: keep must be from 0 to 1, got 2.0"),
        (lambda: Blend(times=0.5), "Blend: times must be from 1"),
        (lambda: CounterRNG(-1, 0, np.arange(2)), "seed must be a non-negative integer, got -1"),
        (lambda: CounterRNG(0, 1.5, np.arange(2)), "epoch must be a non-negative integer"),  # type: ignore[arg-type]
        (lambda: Augmented(some()).batch([12], 0), "some: no sample 12; there are 12"),
    ],
)
def test_settings_that_make_no_sense(make: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()


def test_what_cannot_be_done() -> None:
    unlabelled = Events([1.0], [0], [0, 1], 1, name="plain")
    with pytest.raises(DataError, match="plain: Blend mixes recordings of one class: every sample needs a label"):
        Augmented(unlabelled, blend=Blend()).batch([1], 0)
    wide = Events([1.0], [0], [0, 1], 2**31)
    with pytest.raises(DataError, match=r"DelayLine: 11 x 2147483648 channels are more than 2\^31"):
        DelayLine()(wide, draw_for(wide))


def test_augmentations_have_names() -> None:
    assert set(augment.STEPS) == {type(step).__name__ for step in ALL}


def test_bin_does_the_same_with_and_without_a_table() -> None:
    events = some(most=400)
    wide = replace(events, n_channels=augment.TABLE + 1)
    binned = Bin(4.0)(wide, draw_for(wide))
    assert same(replace(binned, n_channels=events.n_channels), Bin(4.0)(events, draw_for(events)))


# compiled and NumPy


STEPS_OF_BOTH = [
    Shift(7),
    Jitter(3.0),
    Jitter(0.0),
    Dropout(0.3),
    Dropout(0.0),
    Dropout(1.0),
    Thin(20),
    Crop(10.0, 60.0),
    Crop(0.0, 1000.0),
    Bin(2.5),
    DelayLine(3, 7.3),
    DelayLine(0),
]


def awkward() -> Events:
    """Empty samples, events at one time, at 0, on the first and last channel."""
    rng = np.random.default_rng(5)
    samples = [([], []), ([0.0, 0.0, 3.0, 3.0], [0, 39, 5, 5])]
    samples += [(np.sort(np.round(rng.uniform(0, 90, n), 1)), rng.integers(0, 40, n)) for n in (1, 300, 0, 700)]
    return Events.from_samples(samples, 40, [0, 0, 1, 1, 1, 0], ["a", "b", "c", "a", "b", "c"], targets=np.eye(6))


def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "library", lambda: None)


def test_without_a_compiler_numpy_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "false")
    kernels.library.cache_clear()
    try:
        assert kernels.library() is None and not kernels.usable(np.zeros(3))
        assert len(Shift(2)(some(), draw_for(some())).times)
    finally:
        kernels.library.cache_clear()


@pytest.mark.parametrize("step", STEPS_OF_BOTH, ids=repr)
def test_compiled_steps_give_the_bits_of_numpy(step: augment.Step, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernels.library() is not None, "these tests need the compiler that the native engine needs"
    events = awkward()
    for part in (events, events[2:], events[:0], events[[3, 1, 3]]):
        draw = draw_for(part)
        compiled = step(part, draw)
        with monkeypatch.context() as context:
            without_compiler(context)
            plain = step(part, draw)
        for field in ("times", "channels", "offsets", "labels", "groups", "targets"):
            a, b = getattr(compiled, field), getattr(plain, field)
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b, err_msg=field)
        assert compiled.n_channels == plain.n_channels
        Events(compiled.times, compiled.channels, compiled.offsets, compiled.n_channels)  # in order, in range


@pytest.mark.parametrize("keep", [(0.5, 0.5), (1.0, 0.0), (0.3, 0.6, 0.2)])
def test_compiled_blend_gives_the_bits_of_numpy(keep: tuple[float, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    augmented = Augmented(awkward(), [Shift(3)], Blend(keep, times=4.0), seed=9)
    order = [23, 0, 7, 5, 12, 3, 14, 18, 6, 11]
    for epoch in (0, 1):
        compiled = augmented.batch(order, epoch)
        with monkeypatch.context() as context:
            without_compiler(context)
            plain = augmented.batch(order, epoch)
        for field in ("times", "channels", "offsets", "labels", "groups", "targets"):
            np.testing.assert_array_equal(getattr(compiled, field), getattr(plain, field), err_msg=field)
    assert len(compiled.times)


def test_merging_two_ordered_lists_is_a_stable_sort() -> None:
    rng = np.random.default_rng(0)
    for sizes in ((0, 0), (1, 0), (0, 5), (300, 7), (256, 511), (1, 1)):
        parts = []
        for part, n in enumerate(sizes):
            parts.append((np.sort(rng.integers(0, 50, n).astype(float)), (1000 * part + np.arange(n)).astype(np.int32)))
        flat = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
        still = (np.zeros(1), np.zeros(1, np.int32), np.zeros(1, np.uint64), np.ones(1))
        batches = [kernels.Batch(*flat, np.array([k * sizes[0]]), np.array([sizes[k]])) for k in (0, 1)]
        times, channels, offsets = kernels.blend([(batch, *still) for batch in batches], 2000)
        both = np.concatenate([parts[0][0], parts[1][0]])
        order = np.argsort(both, kind="stable")
        np.testing.assert_array_equal(times, both[order])
        np.testing.assert_array_equal(channels, np.concatenate([parts[0][1], parts[1][1]])[order])
        assert offsets.tolist() == [0, sum(sizes)]


def test_steps_say_of_themselves_what_they_do() -> None:
    """Evaluation sets need what changes the form of the input; a crop to the trial comes after what moves times."""
    names = lambda what: {name for name, step in augment.STEPS.items() if what(step)}  # noqa: E731
    assert names(is_fixed) == {
        "Bin", "ChannelsLast", "CompressTime", "Crop", "CropChannels", "DelayLine", "FitTime", "MergeChannels",
        "NormaliseCounts", "Pad", "TrimSilence",
    }  # fmt: skip
    assert names(moves_times) == {"Bin", "CompressTime", "DelayLine", "Dilate", "FitTime", "Pad", "TrimSilence"}
    assert not is_fixed(lambda events, rng: events) and not moves_times(lambda events, rng: events)
    assert set(augment.fixed_steps) == {augment.STEPS[name] for name in names(is_fixed)}
