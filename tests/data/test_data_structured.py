"""tonic's structured arrays, map data sets and dense rasters, there and back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genn_eventprop.data import Events
from genn_eventprop.data.readers import structured
from genn_eventprop.errors import DataError

SENSOR = (5, 4, 2)
DTYPE = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", np.int8)])


def array(*rows: tuple[int, int, int, int]) -> np.ndarray:
    return np.array(list(rows), DTYPE)


class MapDataset:
    """Three samples, the second empty."""

    items = [array((4, 3, 1500, 1), (0, 0, 2000, 0)), array(), array((1, 2, 10, 1))]

    def __len__(self) -> int:
        return 3

    def __getitem__(self, i: int) -> tuple[np.ndarray, Any]:
        return self.items[i], np.int64(i)


def test_channels_are_counted_by_polarity_row_column() -> None:
    events = structured.from_structured(MapDataset.items, SENSOR, [0, 1, 2])
    assert events.channels.tolist() == [(1 * 4 + 3) * 5 + 4, 0, (1 * 4 + 2) * 5 + 1]
    assert events.times.tolist() == [1.5, 2.0, 0.01]
    assert events.n_channels == 40


def test_pooling_merges_squares_of_pixels() -> None:
    events = structured.from_structured(MapDataset.items, SENSOR, pool=2)
    assert events.n_channels == 3 * 2 * 2
    assert events.channels.tolist() == [(1 * 2 + 1) * 3 + 2, 0, (1 * 2 + 1) * 3 + 0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000))
def test_channels_and_times_tell_every_event(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = np.empty(20, DTYPE)
    a["x"], a["y"], a["p"] = rng.integers(0, 5, 20), rng.integers(0, 4, 20), rng.integers(0, 2, 20)
    a["t"] = np.sort(rng.integers(0, 10**7, 20))
    events, (width, height, _) = structured.from_structured([a], SENSOR), SENSOR
    assert np.array_equal(np.rint(events.times / 1e-3), a["t"])
    back = np.unravel_index(events.channels, (2, height, width))
    assert all(np.array_equal(index, a[name]) for index, name in zip(back, "pyx"))


def test_map_dataset_in_memory_and_on_disk(tmp_path: Path) -> None:
    memory = structured.from_map_dataset(MapDataset(), SENSOR, groups=["a", "b", "a"])
    disk = structured.from_map_dataset(MapDataset(), SENSOR, tmp_path / "set", groups=["a", "b", "a"])
    for field in ("times", "channels", "offsets", "labels", "groups", "n_classes", "name"):
        assert np.array_equal(getattr(memory, field), getattr(disk, field)), field
    assert memory.name == "MapDataset" and memory.counts.tolist() == [2, 0, 1]


def test_map_dataset_of_rasters() -> None:
    class Rasters(MapDataset):
        items = [
            np.eye(4, 5, dtype=np.uint8).reshape(4, 5, 1, 1),
            2 * np.eye(4, 5).reshape(4, 5, 1, 1),
            np.zeros((4, 5)),
        ]

    events = structured.from_map_dataset(Rasters(), (5, 1, 1), dt=2.0)
    assert events.counts.tolist() == [4, 8, 0]
    assert events.sample(0)[0].tolist() == [0, 2, 4, 6] and events.sample(0)[1].tolist() == [0, 1, 2, 3]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.1, 1.0, 5.0]))
def test_dense_round_trip(seed: int, dt: float) -> None:
    raster = np.random.default_rng(seed).poisson(0.3, (3, 11, 6)).astype(np.uint16)
    events = structured.from_dense(raster, dt, labels=[0, 1, 2])
    assert np.array_equal(structured.to_dense(events, dt, 11), raster)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: structured.from_structured([np.zeros(2, [("t", int)])], SENSOR),
            "sample 0: no field x, y, p; a sensor",
        ),
        (lambda: structured.from_structured([array((5, 0, 1, 0))], SENSOR), "sample 0: event 0: x = 5 is beyond"),
        (lambda: structured.from_structured([array((0, 0, 1, -1))], SENSOR), "sample 0: event 0: p = -1 is beyond"),
        (lambda: structured.from_structured([array((0, 0, 2, 0), (0, 0, 1, 0))], SENSOR), "comes after"),
        (lambda: structured.from_structured([], (5, 0, 1)), "sensor must be .width, height, polarities."),
        (lambda: structured.from_dense([]), "no rasters"),
        (lambda: structured.from_dense([np.zeros(3)]), r"the axes \(steps, channels ...\), got shape \(3,\)"),
        (lambda: structured.from_dense([np.full((2, 2), 0.5)]), "sample 0: a raster holds whole spike counts; encode"),
        (
            lambda: structured.from_dense([np.full((2, 2), -1)]),
            "sample 0: a raster holds spike counts, which are not neg",
        ),
        (
            lambda: structured.to_dense(Events([9.0], [0], [0, 1], 1), 1.0, 5),
            "last event is in step 9, the raster has 5",
        ),
        (
            lambda: structured.from_map_dataset(MapDataset(), (4, 4, 2)),
            "MapDataset: sample 0: event 0: x = 4 is beyond",
        ),
    ],
)
def test_refused(make: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (3, r"Odd: sample 0: expected a pair \(events, label\), got int"),
        ((array(), "yes"), "Odd: sample 0: label 'yes' is not an integer; number the classes first"),
        ((array(), 1.5), "Odd: sample 0: label 1.5 is not an integer"),
        ((array(), None), "Odd: sample 0: label None is not an integer"),
        ((array(), [1, 2]), r"Odd: sample 0: label \[1, 2\] is not an integer"),
    ],
)
def test_samples_of_a_map_data_set_that_are_none(sample: Any, message: str) -> None:
    class Odd(MapDataset):
        def __getitem__(self, i: int) -> Any:
            return sample

    with pytest.raises(DataError, match=message):
        structured.from_map_dataset(Odd(), SENSOR)


def test_failed_conversion_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="beyond the sensor"):
        structured.from_map_dataset(MapDataset(), (4, 4, 2), tmp_path / "set")
    assert list(tmp_path.iterdir()) == []
