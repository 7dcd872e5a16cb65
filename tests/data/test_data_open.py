"""Whatever a user points at: told apart by what it is."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop.data import Currents, Events
from genn_eventprop.data.audio import inner_ear
from genn_eventprop.data.open import official_test, open_data, open_events, open_samples
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
    for name in "BA":
        (tmp_path / "empty" / f"{name}_TRAIN.ts").write_text("@classLabel true 0\n@data\n1,2:0\n")
    with pytest.raises(DataError, match=r"empty: several data sets \(A_TRAIN.ts, B_TRAIN.ts\); name one of the files"):
        open_data(tmp_path / "empty")


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


def curves(folder: Path, header: str = "timestamp_us,ax,ay") -> dict[str, np.ndarray]:
    """CSV files of two channels in two folders, of four and five steps of 2 ms, whose clock jitters; their values."""
    rng, values = np.random.default_rng(3), dict[str, np.ndarray]()
    for name, steps in (("walk/0", 4), ("walk/1", 5), ("run/0", 5)):
        values[name] = rng.standard_normal((steps, 2)).astype(np.float32)
        lines = [
            f"{2000 * k + k % 2 * 100},{a!r},{b!r}" for k, (a, b) in enumerate(values[name].astype(float).tolist())
        ]
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.csv").write_text("\n".join([header, *lines]))
    return values


def test_a_folder_of_csv_files_that_are_no_events_has_curves(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    values = curves(tmp_path)
    data, test, names = open_data(tmp_path)
    assert isinstance(data, Currents) and test is None and names == ["run", "walk"]
    assert data.labels is not None and data.labels.tolist() == [0, 1, 1] and data.dt == pytest.approx(2.0, rel=0.06)
    assert np.array_equal(data.values[0], values["run/0"])
    assert np.array_equal(data.values[1], [*values["walk/0"], [0, 0]])  # shorter ones end with zeros
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.csv").write_text("t,x,y,z\n0,1,2,3\n1,2,3,4\n")  # of an accelerometer, not of a camera
    assert open_data(tmp_path / "other")[0].n_channels == 3
    shutil.rmtree(tmp_path / "other")
    assert "3 CSV files of curves, ax, ay; events would have a time and a channel" in capsys.readouterr().err
    found = {name: samples[i] for names_, samples in open_samples([tmp_path], 2) for i, name in enumerate(names_)}
    assert len(found) == 3 and np.array_equal(found[f"{tmp_path / 'run/0.csv'}[0]"].values[0], values["run/0"])


@pytest.mark.parametrize(
    "text, message",
    [
        ("time,a,b\n0,1,2\n1,nan,3\n", "0.csv: row 1 of the numbers, column a: a missing value; fill it"),
        ("time,a,b\n0,1,2\n1,2,3\n3,2,3\n", r"0.csv: times are not evenly spaced \(1 to 2 apart\); .*numpy.interp"),
        ("time,a\n0,1\n2,2\n4,3\n", r"0.csv has 1 columns of values, but .*0.csv has 2; all files"),
        ("time,a,b\n0,1,2\n9,1,2\n", "0.csv: a step of 9 ms, the others have 2.* ms; sample all alike"),
        ("time,a,b\n0,1,two\n", "0.csv: .*'two'.*a curve has numbers alone; of a table .* numpy.savez"),
        ("time,a,b\n", "0.csv: no values; a curve has a line for each step"),
    ],
)
def test_curves_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    curves(tmp_path)
    (tmp_path / "walk" / "0.csv").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        open_data(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_npz_files_with_x_and_y(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    x, y = np.arange(24, dtype=np.float32).reshape(6, 4), np.array(["b", "a", "b", "c", "a", "a"])
    np.savez(tmp_path / "a.npz", X=x, y=y)
    data, test, names = open_data(tmp_path / "a.npz")
    assert isinstance(data, Currents) and test is None and names == ["a", "b", "c"]
    assert data.labels is not None and data.labels.tolist() == [1, 0, 1, 2, 0, 0]
    assert data.values.shape == (6, 1, 4) and np.array_equal(data.values[:, 0], x)
    np.savez(tmp_path / "a.npz", X=x, y=y.astype("S"))
    assert open_data(tmp_path / "a.npz")[2] == names
    # as Keras saves images; a class may be in the test set alone
    images = np.arange(6 * 4, dtype=np.uint8).reshape(6, 2, 2)
    np.savez(tmp_path / "b.npz", x_train=images, y_train=[7, 9, 7, 9, 7, 9], x_test=images[:2], y_test=[7, 8])
    assert capsys.readouterr().err == ""
    train, test, names = open_data(tmp_path / "b.npz")
    assert "x_train (6, 2, 2) of uint8: read as images" in capsys.readouterr().err
    assert isinstance(train, Currents) and train.values.shape == (6, 1, 4) and names == ["7", "8", "9"]
    assert train.labels is not None and test is not None and test.labels is not None
    assert train.labels.tolist() == [0, 2] * 3 and test.labels.tolist() == [0, 1] and train.n_classes == 3
    np.savez(tmp_path / "c.npz", data=np.zeros((3, 5, 2)))
    curve = open_data(tmp_path / "c.npz")[0]
    assert isinstance(curve, Currents) and curve.values.shape == (3, 5, 2) and curve.labels is None


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"X": np.zeros(3), "y": np.zeros(3)}, r"a.npz: X must be numbers \(samples, features\)"),
        ({"X": np.zeros((3, 2)), "y": np.zeros(4)}, "a.npz: X has 3 samples, but there are 4 labels"),
        ({"X": np.zeros((3, 2)), "y": [0.5, 1, 2, 3]}, "a.npz: X has 3 samples, but there are 4 targets"),
        ({"X": np.zeros((3, 2)), "y": np.zeros((3, 2))}, "a.npz: labels must be one number or text a sample"),
        ({"X": np.zeros((3, 2)), "y": [0, np.nan, 1]}, "a.npz: label 1 is nan; labels are whole numbers or texts"),
        ({"X": np.zeros((3, 2)), "y": [0, 1, 1e30]}, r"a.npz: label 2 is 1e\+30"),
        ({"X": np.full((3, 2), np.nan), "y": np.arange(3)}, "a.npz: X: .*nan"),
        ({"X": np.array([{}], object), "y": np.arange(1)}, "a.npz: array 'X' cannot be read .*Python objects"),
    ],
)
def test_npz_files_with_x_and_y_that_are_wrong(tmp_path: Path, arrays: dict, message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        open_data(tmp_path / "a.npz")


def test_numbers_that_are_no_classes_are_targets(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for y, shape in ((rng.random(9), (9, 1)), (rng.random((9, 3)), (9, 3)), (rng.permutation(50)[:30], (30, 1))):
        np.savez(tmp_path / "a.npz", X=np.zeros((len(y), 2)), y=y)
        data, _, names = open_data(tmp_path / "a.npz")
        assert data.labels is None and data.targets.shape == shape and names == []
        np.testing.assert_array_equal(data.targets.reshape(y.shape), y)
    np.savez(tmp_path / "a.npz", X=np.zeros((40, 2)), y=np.arange(40.0) % 4)
    assert open_data(tmp_path / "a.npz")[0].targets is None


def test_npz_files_with_other_names_are_told_which_are_known(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", foo=np.zeros(3), bar=np.ones(4))
    with pytest.raises(DataError, match=r"a.npz: none of its arrays is known \(bar, foo\); name the values X and"):
        open_data(tmp_path / "a.npz")


def test_the_folder_of_an_archive_has_a_training_and_a_test_set(tmp_path: Path) -> None:
    for part, lines in (("TRAIN", "1,2:a\n3,4:b\n"), ("TEST", "5,6:b\n")):
        (tmp_path / f"X_{part}.ts").write_text("@classLabel true a b\n@data\n" + lines)
    train, test, names = open_data(tmp_path)
    assert (len(train), len(test), names) == (2, 1, ["a", "b"])


def test_currents_are_no_events(tmp_path: Path) -> None:
    Currents.constant(np.zeros((2, 3)), 10.0).save(tmp_path / "a.npz")
    (tmp_path / "a.ts").write_text("@classLabel true a b\n@data\n1,2:a\n")
    for name in ("a.npz", "a.ts"):
        with pytest.raises(DataError, match=f"{name}: numbers at every step, which are currents and no events; "):
            open_events(tmp_path / name)
