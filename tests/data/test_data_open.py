"""Whatever a user points at: told apart by what it is."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop.data import Events
from genn_eventprop.data.audio import inner_ear
from genn_eventprop.data.open import official_test, open_events, open_samples
from genn_eventprop.data.readers import hdf5
from genn_eventprop.errors import DataError


def some_events() -> Events:
    return Events([1.0, 2.0, 0.5], [0, 1, 2], [0, 2, 2, 3], 700, [0, 1, 2], [4, 5, 4], n_classes=4, name="some")


@pytest.mark.parametrize("name", ["x.h5", "x.hdf5", "x.npz", "folder", "X.H5", "X.NPZ"])
def test_files_and_folders_of_events(tmp_path: Path, name: str) -> None:
    if name.endswith("5"):
        hdf5.write_shd(some_events(), tmp_path / name, keys=["a", "b", "c", "d"])
    else:
        some_events().save(tmp_path / name.lower())
        (tmp_path / name.lower()).rename(tmp_path / name)
    events, names = open_events(tmp_path / name, cache=tmp_path / "cache")
    assert np.allclose(events.times, some_events().times) and np.array_equal(events.channels, some_events().channels)
    assert events.groups.tolist() == ([0, 1, 0] if name.endswith("5") else [4, 5, 4])
    assert names == (list("abcd") if name.endswith("5") else list("0123"))


def test_fsdd_and_its_official_split(data_dir: Path) -> None:
    path = data_dir / "fsdd" / "fsdd_spikes_700ch.npz"
    events, names = open_events(path)
    assert len(events) == 2500 and names == [str(k) for k in range(10)]
    test = official_test(path)
    assert test is not None and test.sum() == 250
    assert official_test(data_dir / "fsdd" / "wav") is None


def test_a_clone_of_fsdd_has_the_official_split(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the message of the page asks for: wav files as they come from upstream, in the data folder."""
    from genn_eventprop.experiment.experiment import load_experiment

    page = load_experiment("spoken_digits")
    with pytest.raises(DataError, match=r"git clone https://github.com/Jakobovski/free-spoken-digit-dataset"):
        page.build(page.config(data_dir=tmp_path))
    folder = tmp_path / "free-spoken-digit-dataset" / "recordings"
    folder.mkdir(parents=True)
    for name in ("0_george_0.wav", "0_lucas_7.wav", "1_lucas_1.wav", "1_george_8.wav"):
        shutil.copy(next((data_dir / "fsdd" / "wav").glob("*.wav")), folder / name)
    test = official_test(folder)
    assert test is not None and test.tolist() == [True, False, False, True]  # by name: george, lucas, george, lucas
    monkeypatch.setenv("GENN_EVENTPROP_DATA_CACHE", str(tmp_path / "cache"))
    experiment = page.build(page.config(data_dir=tmp_path, engine="reference_clock", validation=0.0))
    assert experiment.test is not None and len(experiment.test) == 2


def test_a_folder_of_recordings_is_converted_once(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "digits"
    folder.mkdir()
    for name in ("0_george_0.wav", "1_lucas_0.wav"):
        shutil.copy(data_dir / "fsdd" / "wav" / name, folder / name)
    events, names = open_events(folder, progress=False, cache=tmp_path / "cache")
    assert names == ["0", "1"] and events.groups.tolist() == ["george", "lucas"] and events.counts.min() > 1000

    def never(*args: object) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr(inner_ear, "convert_folder", never)
    again, _ = open_events(folder, progress=False, cache=tmp_path / "cache")
    assert np.array_equal(again.times, events.times)
    with pytest.raises(AssertionError, match="converted again"):
        open_events(folder, seed=1, progress=False, cache=tmp_path / "cache")


def test_what_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent: does not exist; give a folder of wav files .*; an HDF5 file"):
        open_events(tmp_path / "absent")
    (tmp_path / "x.txt").write_text("text")
    with pytest.raises(DataError, match="x.txt: not a known kind of data; give"):
        open_events(tmp_path / "x.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: no recordings in it"):
        open_events(tmp_path / "empty")


@pytest.mark.parametrize("name", ["x.h5", "X.NPZ", "folder"])
def test_training_and_prediction_open_the_same(tmp_path: Path, name: str) -> None:
    if name.endswith("5"):
        hdf5.write_shd(some_events(), tmp_path / name, keys=["a", "b", "c", "d"])
    else:
        some_events().save(tmp_path / name.lower())
        (tmp_path / name.lower()).rename(tmp_path / name)
    ((names, samples),) = open_samples([tmp_path / name], 700)
    events, _ = open_events(tmp_path / name, cache=tmp_path / "cache")
    assert names == [f"{tmp_path / name}[{i}]" for i in range(3)] and np.array_equal(samples.times, events.times)
