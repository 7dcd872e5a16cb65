"""tonic's real readers on real files; only the check that all files of the full data set exist is overridden."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from genn_eventprop.data.readers import aer, hdf5
from genn_eventprop.errors import DataError
from support.extras import needs

tonic = needs("tonic")

from genn_eventprop.data.readers import structured  # noqa: E402
from genn_eventprop.data.readers import tonic as tonic_sets  # noqa: E402


def test_shd_through_tonic(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "SHD").mkdir()
    shutil.copy(data_dir / "fsdd" / "shd_layout_sample.h5", tmp_path / "SHD" / "shd_train.h5")
    events = tonic_sets.load("shd", tmp_path, "train", progress=False, cache=tmp_path / "cache")
    direct = hdf5.read_shd(data_dir / "fsdd" / "shd_layout_sample.h5")
    assert np.array_equal(events.labels, direct.labels) and np.array_equal(events.groups, direct.groups)
    assert np.array_equal(events.offsets, direct.offsets) and events.n_classes == 20
    assert np.abs(events.times - direct.times).max() <= 1e-3  # tonic rounds to microseconds
    again = tonic_sets.load("shd", tmp_path, "train", progress=False, cache=tmp_path / "cache")
    assert np.array_equal(again.times, events.times) and len(list((tmp_path / "cache").iterdir())) == 1


def small_nmnist(data_dir: Path, folder: Path) -> None:
    source = data_dir / "nmnist_small"
    for line in (source / "test.txt").read_text().splitlines()[:20]:
        name, label = line.split()
        target = folder / "NMNIST" / "Test" / label
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / f"{name}.bs2", target / f"{name}.bin")


def test_nmnist_through_tonic(data_dir: Path, tmp_path: Path) -> None:
    small_nmnist(data_dir, tmp_path)
    (tmp_path / "NMNIST" / "Test" / "0").mkdir(exist_ok=True)
    if not list((tmp_path / "NMNIST" / "Test" / "0").iterdir()):
        shutil.copy(data_dir / "nmnist_small" / "60001.bs2", tmp_path / "NMNIST" / "Test" / "0" / "60001.bin")
    events = tonic_sets.load("nmnist", tmp_path, "test", progress=False, cache=tmp_path / "cache")
    direct = aer.load_folder(tmp_path / "NMNIST" / "Test")
    for field in ("times", "channels", "offsets", "labels", "n_channels", "n_classes"):
        np.testing.assert_allclose(getattr(events, field), getattr(direct, field), rtol=1e-12)
    first = tonic_sets.load(
        "nmnist", tmp_path, "test", progress=False, cache=tmp_path / "cache", pool=2, first_saccade_only=True
    )
    assert first.n_channels == 17 * 17 * 2 and first.duration < 100


def test_dvs_gesture_through_tonic(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for user in (12, 3):
        folder = tmp_path / "DVSGesture" / "ibmGestureTrain" / f"user{user:02}_led"
        folder.mkdir(parents=True)
        for gesture in (10, 0):
            rows = np.stack([rng.integers(0, 128, 50), rng.integers(0, 128, 50), rng.integers(0, 2, 50)], axis=1)
            times = np.sort(rng.integers(0, 6000, 50))[:, None]
            np.save(folder / f"{gesture}.npy", np.concatenate([rows, times], axis=1).astype(float))
    events = tonic_sets.load("dvs_gesture", tmp_path, "train", progress=False, cache=tmp_path / "cache")
    assert events.n_channels == 32 * 32 * 2 and events.counts.tolist() == [50] * 4
    assert events.groups.tolist() == [3, 3, 12, 12] and events.labels.tolist() == [0, 10, 0, 10]
    assert 100 < events.duration < 6000


def test_transforms_of_tonic_are_applied(data_dir: Path, tmp_path: Path) -> None:
    small_nmnist(data_dir, tmp_path)
    (tmp_path / "NMNIST" / "Test" / "0").mkdir(exist_ok=True)
    shutil.copy(data_dir / "nmnist_small" / "60001.bs2", tmp_path / "NMNIST" / "Test" / "0" / "x.bin")
    frames = tonic.transforms.Compose(
        [
            tonic.transforms.Denoise(filter_time=10000),
            tonic.transforms.ToFrame(sensor_size=(34, 34, 2), time_window=10000),
        ]
    )
    dataset = tonic_sets.open_tonic("nmnist", tmp_path, "test", transform=frames)
    events = structured.from_map_dataset(dataset, (34, 34, 2), dt=10.0)
    assert len(events) == len(dataset) and events.counts.min() > 0
    assert set(np.unique(events.times / 10.0).tolist()) <= set(range(40))


def test_failed_download_says_what_to_place_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(url: str, path: Path, md5: str) -> Path:
        raise DataError(f"{url}: no network")

    monkeypatch.setattr(tonic_sets, "fetch", no_network)
    message = r"shd: test could not be fetched .*test.h5.zip: no network\); place shd_test.h5 in .*SHD by hand"
    with pytest.raises(DataError, match=message):
        tonic_sets.load("shd", tmp_path, "test")
    with pytest.raises(
        DataError,
        match=r"place Train/0/\*.bin in .*NMNIST by hand \(source: https:.*, and delete damaged files there",
    ):
        tonic_sets.load("nmnist", tmp_path, "train")
    assert list(tmp_path.iterdir()) == []


def test_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "SHD").mkdir()
    (tmp_path / "SHD" / "shd_train.h5").write_text("no HDF5")
    with pytest.raises(DataError, match=r"shd: train could not be fetched or opened \(OSError"):
        tonic_sets.load("shd", tmp_path, "train")


def test_a_damaged_recording_is_named(data_dir: Path, tmp_path: Path) -> None:
    whole = bytearray((data_dir / "fsdd" / "shd_layout_sample.h5").read_bytes())
    whole[200_000:260_000] = b"\xff" * 60_000
    (tmp_path / "SHD").mkdir()
    (tmp_path / "SHD" / "shd_train.h5").write_bytes(whole)
    with pytest.raises(DataError, match=r"shd train: sample 7: event 1524: x = 65535 is beyond .* .files of .*SHD"):
        tonic_sets.load("shd", tmp_path, "train", progress=False, cache=tmp_path / "cache")
    (tmp_path / "SHD" / "shd_train.h5").unlink()
    with h5py.File(tmp_path / "SHD" / "shd_train.h5", "w") as file:
        file["labels"], file["extra/keys"], file["extra/speaker"] = [0, 1], [b"a", b"b"], [0, 0]
    with pytest.raises(
        DataError, match=(r"SHD/shd_train.h5: sample 0 cannot be read .*, remove it " r"and download it again")
    ):
        tonic_sets.load("shd", tmp_path, "train", progress=False, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_unknown_sets_parts_and_options(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data set 'shdd' through tonic; did you mean 'shd'"):
        tonic_sets.load("shdd", tmp_path)
    with pytest.raises(DataError, match="shd: no part 'validation'; known: test, train"):
        tonic_sets.load("shd", tmp_path, "validation")
    (tmp_path / "SHD").mkdir()
    shutil.copy(data_dir / "fsdd" / "shd_layout_sample.h5", tmp_path / "SHD" / "shd_train.h5")
    with pytest.raises(DataError, match="only plain options can be cached; use data.readers.structured"):
        tonic_sets.load("shd", tmp_path, transform=lambda events: events)
