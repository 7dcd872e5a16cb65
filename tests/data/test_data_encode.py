"""Encoders against their formulas, one value at a time."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genn_eventprop.data import Events
from genn_eventprop.data.events import encode
from genn_eventprop.data.readers import mnist
from genn_eventprop.errors import DataError

PIXELS = np.array([[0, 1, 2, 128, 255]], np.uint8)


def as_dict(events: encode.Events, i: int = 0) -> dict[int, float]:
    times, channels = events.sample(i)
    return dict(zip(channels.tolist(), times.tolist(), strict=True))


def test_latency_linear_is_the_published_formula() -> None:
    events = encode.latency_linear(PIXELS, [3], n_classes=10, name="x")
    expected = {c: (1 - p / 255) * 20.0 for c, p in enumerate(PIXELS[0].tolist()) if p > 1}
    assert as_dict(events) == pytest.approx(expected)
    assert events.n_channels == 5 and events.n_classes == 10 and events.name == "x"


def test_latency_logarithmic_is_a_charging_time() -> None:
    events = encode.latency_logarithmic(np.array([[0.1, 0.2, 0.21, 0.5, 1.0]]), tau=20.0, threshold=0.2, t_max=50.0)
    found = as_dict(events)
    assert sorted(found) == [3, 4]  # 0.21 would need 61 ms, later than t_max
    for channel, x in ((3, 0.5), (4, 1.0)):
        assert x * (1 - np.exp(-found[channel] / 20.0)) == pytest.approx(0.2)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 12), st.booleans())
def test_sequential_spikes_rebuild_the_signal(values: list[float], thresholds: int, cue: bool) -> None:
    events = encode.sequential(np.array([values, values[::-1]]), thresholds=thresholds, dt=2.0, cue=cue)
    levels = (np.arange(thresholds) + 0.5) / thresholds
    for i, signal in enumerate((values, values[::-1])):
        times, channels = events.sample(i)
        if cue:
            assert (times[-1], channels[-1]) == (2.0 * len(values), 2 * thresholds)
            times, channels = times[:-1], channels[:-1]
        for k, value in enumerate(signal):
            seen = channels[times <= 2.0 * k]
            ups, downs = (
                np.bincount(seen[seen < thresholds], minlength=thresholds),
                seen[seen >= thresholds] - thresholds,
            )
            above = ups - np.bincount(downs, minlength=thresholds)
            assert above.tolist() == (levels <= value).astype(int).tolist()


def test_sequential_in_another_order() -> None:
    values, order = np.random.default_rng(0).random((3, 7)), np.array([6, 0, 2, 1, 5, 3, 4])
    made, wanted = encode.sequential(values, order=order), encode.sequential(values[:, order])
    assert np.array_equal(made.times, wanted.times) and np.array_equal(made.channels, wanted.channels)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 1.0, 7.0]))
def test_sigma_delta_follows_the_signal_within_one_threshold(seed: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    signals = rng.integers(0, 40, (3, 9, 2)).astype(float)
    lengths = np.array([9, 5, 1])
    events = encode.sigma_delta(signals, threshold=threshold, dt=25.0, lengths=lengths)
    assert events.counts[2] == 0 and events.durations[1] <= 4 * 25.0
    for i in range(3):
        times, channels = events.sample(i)
        for c in range(2):
            sent = signals[i, 0, c]
            for t, channel in zip(times, channels, strict=True):
                if channel % 2 != c:
                    continue
                sent += threshold if channel < 2 else -threshold
                now = np.interp(t, 25.0 * np.arange(lengths[i]), signals[i, : lengths[i], c])
                assert now == pytest.approx(sent, abs=1e-9)  # it fires exactly where the line crosses
            assert abs(signals[i, lengths[i] - 1, c] - sent) < threshold + 1e-9


def test_encoding_in_chunks_changes_nothing() -> None:
    n, half = encode.CHUNK + 3, encode.CHUNK // 2
    images, labels = np.random.default_rng(0).integers(0, 256, (n, 4, 4)).astype(np.uint8), np.arange(n)
    for encoder in (encode.latency_linear, encode.latency_logarithmic, encode.sequential):
        whole = encoder(images, labels)
        parts = Events.concatenate([encoder(images[:half], labels[:half]), encoder(images[half:], labels[half:])])
        for field in ("times", "channels", "offsets", "labels"):
            assert np.array_equal(getattr(whole, field), getattr(parts, field))


def test_bad_values() -> None:
    with pytest.raises(DataError, match=r"need the axes \(samples, ...\), got shape \(3,\)"):
        encode.latency_linear(np.zeros(3, np.uint8))
    for wrong in ([[1.5]], [[-0.1]], [[np.nan]]):
        with pytest.raises(DataError, match="must be unsigned integers .* or lie in 0 .. 1"):
            encode.latency_linear(np.array(wrong))
    with pytest.raises(DataError, match="nothing to encode"):
        encode.latency_linear(np.zeros((0, 4), np.uint8))
    with pytest.raises(DataError, match="nothing to encode"):
        encode.sequential(np.zeros((0, 4), np.uint8))
    with pytest.raises(DataError, match="t_max must be above 0, got -1"):
        encode.latency_linear(PIXELS, t_max=-1)
    with pytest.raises(DataError, match="thresholds must be above 0, got 0"):
        encode.sequential(PIXELS, thresholds=0)
    with pytest.raises(DataError, match=r"axes \(samples, frames, channels\), got \(2, 3\)"):
        encode.sigma_delta(np.zeros((2, 3)))
    with pytest.raises(DataError, match="lengths must be 2 numbers of frames from 1 to 3"):
        encode.sigma_delta(np.zeros((2, 3, 1)), lengths=np.array([1, 4]))
    with pytest.raises(DataError, match="pad shorter ones and give their lengths="):
        encode.sigma_delta([np.zeros((3, 1)), np.zeros((4, 1))])


def test_mnist_latency_of_the_real_images(data_dir: Path) -> None:
    images = mnist.load(data_dir / "mnist")
    assert images["x_train"].shape == (60000, 28, 28) and images["x_test"].shape == (10000, 28, 28)
    events = encode.latency_linear(images["x_test"], images["y_test"], n_classes=10)
    assert len(events) == 10000 and events.n_channels == 784
    assert events.counts.sum() == (images["x_test"] > 1).sum()
    assert 0.0 <= events.times.min() and events.times.max() < 20.0
    pixel = images["x_test"][4].ravel()
    assert as_dict(events, 4) == pytest.approx({c: (1 - p / 255) * 20 for c, p in enumerate(pixel.tolist()) if p > 1})


@pytest.mark.ci
def test_mnist_splits(data_dir: Path) -> None:
    path = data_dir / "mnist" / "mnist.npz"
    sets = {split: mnist.load_events(path, split, size=100) for split in ("train", "validation", "test")}
    images = mnist.load(path)
    for split, labels in (
        ("train", images["y_train"][5000:]),
        ("validation", images["y_train"]),
        ("test", images["y_test"]),
    ):
        assert len(sets[split]) == 100 and np.array_equal(sets[split].labels, labels[:100])
        assert sets[split].n_classes == 10 and sets[split].name == f"mnist {split}"
    assert len(mnist.load_events(path, "validation")) == 5000
    spikes = mnist.load_events(path, "test", encode.sequential, size=3, thresholds=20)
    assert spikes.n_channels == 40 and 700 < spikes.duration < 784
    with pytest.raises(DataError, match="mnist: no split 'dev'; known: test, train, validation"):
        mnist.load_events(path, "dev")
