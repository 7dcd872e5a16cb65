"""Weights to npz and CSV and back."""

import numpy as np
import pytest

from genn_eventprop.errors import CheckpointError, WriteError
from genn_eventprop.runs import load_weights, save_weights


def parameters(dtype=np.float32):
    rng = np.random.default_rng(3)
    shapes = {
        "input_hidden.weight": (5, 4),
        "one_row.weight": (1, 4),
        "one_column.weight": (5, 1),
        "hidden.tau_mem": (4,),
        "output.tau_mem": (1,),
    }
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


@pytest.mark.parametrize("name", ["weights.npz", "weights"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_trip_keeps_every_bit(tmp_path, name, dtype):
    values = parameters(dtype)
    save_weights(tmp_path / name, values)
    back = load_weights(tmp_path / name, values)
    assert set(back) == set(values)
    for key, value in values.items():
        np.testing.assert_array_equal(back[key].astype(dtype), value)
        assert back[key].shape == value.shape


def test_csv_says_what_it_is(tmp_path):
    save_weights(tmp_path / "w", parameters())
    text = (tmp_path / "w" / "input_hidden.weight.csv").read_text().splitlines()
    assert text[0] == "# input_hidden.weight, shape 5 x 4, rows: presynaptic neurons, columns: neurons"
    assert len(text) == 6 and text[1].count(",") == 3


def test_the_folder_where_one_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_weights("", parameters())
    assert (tmp_path / "input_hidden.weight.csv").is_file() and not list(tmp_path.parent.glob("*.tmp"))
    with pytest.raises(WriteError, match="/ cannot be written .*; choose another name or folder"):
        save_weights("/", parameters())


def test_a_part_is_enough(tmp_path):
    values = parameters()
    save_weights(tmp_path / "part.npz", {"hidden.tau_mem": values["hidden.tau_mem"]})
    assert list(load_weights(tmp_path / "part.npz", values)) == ["hidden.tau_mem"]


def test_bad_files(tmp_path):
    values = parameters()
    check = lambda path, message: pytest.raises(CheckpointError, match=message)  # noqa: E731
    save_weights(tmp_path / "a.npz", {"input_hiden.weight": np.ones((5, 4))})
    with check("a", "this network has no parameter 'input_hiden.weight'; did you mean 'input_hidden.weight'"):
        load_weights(tmp_path / "a.npz", values)
    save_weights(tmp_path / "b.npz", {"input_hidden.weight": np.ones((4, 5))})
    with check("b", r"'input_hidden.weight' has shape \(4, 5\), this network needs \(5, 4\)"):
        load_weights(tmp_path / "b.npz", values)
    save_weights(tmp_path / "c.npz", {"hidden.tau_mem": np.array([1.0, np.nan, 1.0, 1.0])})
    with check("c", "'hidden.tau_mem' has values that are not finite numbers"):
        load_weights(tmp_path / "c.npz", values)
    (tmp_path / "d.npz").write_bytes(b"PK nonsense")
    with check("d", "d.npz is damaged or not an npz file"):
        load_weights(tmp_path / "d.npz", values)
    with check("e", "there is no file"):
        load_weights(tmp_path / "e.npz", values)
    with check("f", "is not a run folder and not a folder with CSV files; give one, or a file ending in .npz"):
        load_weights(tmp_path / "f", values)
    with check("g", r"cannot tell the format of .*w.hdf5"):
        save_weights(tmp_path / "w.hdf5", values)
    (tmp_path / "h").mkdir()
    (tmp_path / "h" / "hidden.tau_mem.csv").write_text("1,two,3")
    with check("h", "hidden.tau_mem.csv is not a table of numbers"):
        load_weights(tmp_path / "h", values)


def test_no_pickle_is_read(tmp_path):
    np.savez(tmp_path / "p.npz", **{"hidden.tau_mem": np.array([{}], dtype=object)})
    with pytest.raises(CheckpointError, match="is damaged or not an npz file"):
        load_weights(tmp_path / "p.npz", parameters())


def test_no_flipped_bit_is_a_traceback(tmp_path):
    """The header of an array is Python text, which NumPy parses: a flipped bit there is not only a wrong checksum."""
    values = {"hidden.tau_mem": np.arange(4.0)}
    save_weights(tmp_path / "w.npz", values)
    content = (tmp_path / "w.npz").read_bytes()
    told = 0
    for i in range(len(content)):
        for bit in (0, 3, 6):
            broken = bytearray(content)
            broken[i] ^= 1 << bit
            (tmp_path / "x.npz").write_bytes(broken)
            try:
                load_weights(tmp_path / "x.npz", values)
            except CheckpointError:
                told += 1
    assert told > 500
