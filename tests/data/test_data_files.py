"""Readers of public file formats: the real files, and damaged or foreign ones."""

import gzip
import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from genn_eventprop.data import Events
from genn_eventprop.data.open import open_events
from genn_eventprop.data.optional import require
from genn_eventprop.data.readers import aer, braille, fsdd, hdf5, mnist
from genn_eventprop.errors import DataError


def digits(n: int = 6) -> Events:
    rng = np.random.default_rng(1)
    samples = [(np.sort(rng.uniform(0, 900, k)), rng.integers(0, 700, k)) for k in rng.integers(0, 40, n)]
    return Events.from_samples(samples, 700, rng.integers(0, 4, n), rng.choice(["b", "a"], n), n_classes=4)


# SHD layout


def test_shd_layout_round_trip(tmp_path: Path) -> None:
    events = digits()
    hdf5.write_shd(events, tmp_path / "x.h5", keys=["zero", "one", "two", "three"], dtype=np.float64)
    back = hdf5.read_shd(tmp_path / "x.h5")
    np.testing.assert_allclose(back.times, events.times, rtol=1e-12)
    assert np.array_equal(back.channels, events.channels) and np.array_equal(back.offsets, events.offsets)
    assert np.array_equal(back.labels, events.labels)
    assert back.groups.tolist() == events.groups.tolist()
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        assert file["extra/speaker"][:].tolist() == [0 if g == "a" else 1 for g in events.groups.tolist()]
        del file["extra/speaker_names"]
    assert hdf5.read_shd(tmp_path / "x.h5").groups.tolist() == [0 if g == "a" else 1 for g in events.groups.tolist()]
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        file["extra/speaker_names"] = np.array([b"a"])
    with pytest.raises(DataError, match="1 speaker names, but speakers up to 1; it is damaged"):
        hdf5.read_shd(tmp_path / "x.h5")
    assert back.n_classes == 4 and hdf5.class_names(tmp_path / "x.h5") == ["zero", "one", "two", "three"]
    assert [p.name for p in tmp_path.iterdir()] == ["x.h5"]


def test_shd_layout_through_a_memory_mapped_folder(tmp_path: Path) -> None:
    hdf5.write_shd(digits(hdf5.ROWS + 3), tmp_path / "x.h5")
    direct, mapped = hdf5.read_shd(tmp_path / "x.h5"), hdf5.convert_shd(tmp_path / "x.h5", tmp_path / "folder")
    for field in ("times", "channels", "offsets", "labels", "groups", "n_classes", "name"):
        assert np.array_equal(getattr(direct, field), getattr(mapped, field)), field


def test_shd_layout_sample_holds_the_fsdd_spikes(data_dir: Path) -> None:
    sample = hdf5.read_shd(data_dir / "fsdd" / "shd_layout_sample.h5")
    assert len(sample) == 20 and sample.n_channels == 700 and sample.n_classes == 10
    whole = fsdd.load(data_dir / "fsdd" / "fsdd_spikes_700ch.npz")
    sizes = {(int(n), int(label)) for n, label in zip(whole.counts, whole.labels, strict=True)}
    assert all((int(n), int(label)) in sizes for n, label in zip(sample.counts, sample.labels, strict=True))


def edit(path: Path, name: str, value: Any) -> None:
    with h5py.File(path, "r+") as file:
        del file[name]
        if value is not None:
            file[name] = value


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("spikes/units", None, r"x.h5: not in the SHD layout, spikes/units missing; it has extra, labels, spikes"),
        ("labels", [0, 1], r"lengths differ: .*'labels': 2.*; the file is damaged"),
        ("labels", [0.5] * 6, "labels must be integers, got 0.5"),
        ("labels", [-3] * 6, "sample 0: label -3 is outside"),
        ("extra/speaker", [1, 2], "2 speakers for 6 samples; the file is damaged"),
        ("spikes/times", [0.5] * 6, r"x.h5: sample 0: times must be one-dimensional, got shape \(\)"),
    ],
)
def test_foreign_shd_layout(tmp_path: Path, name: str, value: Any, message: str) -> None:
    hdf5.write_shd(digits(), tmp_path / "x.h5")
    edit(tmp_path / "x.h5", name, value)
    for read in (hdf5.read_shd, lambda path: hdf5.convert_shd(path, tmp_path / "folder")):
        with pytest.raises(DataError, match=message):
            read(tmp_path / "x.h5")
    assert not (tmp_path / "folder").exists()


def test_speakers_by_name_in_shd_layout(tmp_path: Path) -> None:
    hdf5.write_shd(digits(), tmp_path / "x.h5")
    edit(tmp_path / "x.h5", "extra/speaker", [b"ann", "jürg".encode()] * 3)
    assert hdf5.read_shd(tmp_path / "x.h5").groups.tolist() == ["ann", "jürg"] * 3


def test_wrong_events_in_shd_layout(tmp_path: Path) -> None:
    hdf5.write_shd(digits(), tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        file["spikes/units"][3] = np.full(len(file["spikes/units"][3]), 700, np.uint16)
    with pytest.raises(DataError, match=r"x.h5: sample 3: event 0: channel 700 is outside 0 .. 699"):
        hdf5.read_shd(tmp_path / "x.h5")
    with pytest.raises(DataError, match="x.h5 has 700 channels, but n_channels=701"):
        hdf5.read_shd(tmp_path / "x.h5", n_channels=701)
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        del file.attrs["n_channels"]
    assert hdf5.read_shd(tmp_path / "x.h5", n_channels=701).n_channels == 701
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        file["spikes/units"][3] = np.zeros(1, np.uint16)
    with pytest.raises(DataError, match="sample 3: .* times but 1 units; the file is damaged"):
        hdf5.read_shd(tmp_path / "x.h5")


def test_events_out_of_order_in_shd_layout_are_sorted(tmp_path: Path) -> None:
    hdf5.write_shd(digits(), tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        file["spikes/times"][1] = np.array([0.3, 0.1, 0.2], np.float32)
        file["spikes/units"][1] = np.array([3, 1, 2], np.uint16)
    times, channels = hdf5.read_shd(tmp_path / "x.h5").sample(1)
    assert channels.tolist() == [1, 2, 3] and times == pytest.approx([100, 200, 300], rel=1e-6)


def test_files_that_are_no_hdf5(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent.h5: no such file"):
        hdf5.read_shd(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(DataError, match="not a readable HDF5 file"):
        hdf5.read_shd(tmp_path / "text.h5")
    hdf5.write_shd(digits(200), tmp_path / "x.h5")
    data = (tmp_path / "x.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"cut.h5: (not a readable HDF5 file|samples from 0)"):
        hdf5.read_shd(tmp_path / "cut.h5")


def test_damaged_tables_inside_an_hdf5_file(tmp_path: Path) -> None:
    hdf5.write_shd(digits(), tmp_path / "x.h5")
    whole = bytearray((tmp_path / "x.h5").read_bytes())
    whole[800:2000] = b"\xff" * 1200
    (tmp_path / "x.h5").write_bytes(whole)
    with pytest.raises(DataError, match="x.h5: .* cannot be read .* damaged, download it again"):
        hdf5.read_shd(tmp_path / "x.h5")
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["spikes/times"], file["spikes/units"], file["labels"] = 1.0, 2, 3
    with pytest.raises(DataError, match="y.h5: .* spikes/times must be an array with a row for each sample"):
        hdf5.read_shd(tmp_path / "y.h5")


def test_shd_layout_needs_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs a label for every sample"):
        hdf5.write_shd(Events([1.0], [0], [0, 1], 1), tmp_path / "x.h5")


def test_shd_layout_with_many_channels(tmp_path: Path) -> None:
    events = Events([1.0, 2.0], [70_000, 3], [0, 2], 100_000, [0])
    hdf5.write_shd(events, tmp_path / "x.h5")
    assert hdf5.read_shd(tmp_path / "x.h5", n_channels=100_000).channels.tolist() == [70_000, 3]


def test_missing_library_says_how_to_install_it() -> None:
    with pytest.raises(DataError, match=r'unicorns need no_such_module.*pip install "genn_eventprop\[data\]"'):
        require("no_such_module", "unicorns")


# MNIST


def write_idx(path: Path, array: np.ndarray) -> None:
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    data = head + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def idx_folder(folder: Path) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 256, (5, 28, 28)).astype(np.uint8),
        "y_train": np.arange(5, dtype=np.uint8),
        "x_test": rng.integers(0, 256, (3, 28, 28)).astype(np.uint8),
        "y_test": np.arange(3, dtype=np.uint8),
    }
    for end, (name, base) in zip(["", ".gz", ".gz", ""], mnist.FILES.items(), strict=True):
        write_idx(folder / f"{base}{end}", arrays[name])
    return arrays


def test_idx_files_plain_and_packed_and_npz_agree(tmp_path: Path) -> None:
    arrays = idx_folder(tmp_path)
    np.savez(tmp_path / "all.npz", **arrays)
    for source in (tmp_path, tmp_path / "all.npz"):
        loaded = mnist.load(source)
        assert all(np.array_equal(loaded[name], arrays[name]) for name in arrays)
        assert loaded["y_train"].dtype == np.int64


def test_damaged_and_foreign_idx(tmp_path: Path) -> None:
    idx_folder(tmp_path)
    labels = tmp_path / mnist.FILES["y_test"]
    labels.write_bytes(labels.read_bytes()[:-1])
    with pytest.raises(
        DataError, match="t10k-labels-idx1-ubyte: 10 bytes instead of the 11 of its header; download it again"
    ):
        mnist.load(tmp_path)
    for content in (b"", b"PK..", bytes([0, 0, 7, 1]), bytes([0, 0, 8, 0])):
        labels.write_bytes(content)
        with pytest.raises(DataError, match="not an IDX file"):
            mnist.load(tmp_path)
    labels.write_bytes(bytes([0, 0, 8, 3, 0, 0]))
    with pytest.raises(DataError, match="6 bytes instead of the"):
        mnist.load(tmp_path)
    labels.write_bytes(bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**31, 2**31, 28))  # sizes whose product wraps to 0
    with pytest.raises(DataError, match="16 bytes instead of the 129127208515966861328"):
        mnist.load(tmp_path)
    labels.unlink()
    with pytest.raises(DataError, match="neither mnist.npz nor t10k-labels-idx1-ubyte .*place the four MNIST files"):
        mnist.load(tmp_path)
    packed = tmp_path / f"{mnist.FILES['y_train']}.gz"
    packed.write_bytes(packed.read_bytes()[:-4])
    with pytest.raises(DataError, match="cannot be unpacked"):
        mnist.load(tmp_path)
    with pytest.raises(DataError, match="absent: no such file"):
        mnist.read_idx(tmp_path / "absent")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x_train", np.zeros((5, 784), np.uint8), "x_train must be .*, is .5, 784. uint8"),
        ("x_test", np.zeros((3, 28, 28)), "x_test must be .* uint8, is .* float64"),
        ("y_test", np.zeros(4, np.uint8), r"y_test must be 3 integers, is \(4,\)"),
        ("y_train", np.zeros(5), "y_train must be 5 integers, is .* float64"),
    ],
)
def test_mnist_arrays_that_do_not_fit(tmp_path: Path, name: str, value: np.ndarray, message: str) -> None:
    np.savez(tmp_path / "x.npz", **(idx_folder(tmp_path) | {name: value}))
    with pytest.raises(DataError, match=message):
        mnist.load(tmp_path / "x.npz")


# address events


def pack(x: int, y: int, p: int, t: int) -> bytes:
    return bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255])


def test_address_events_bit_by_bit(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(pack(3, 5, 1, 0x123456) + pack(9, 240, 0, 0) + pack(33, 0, 0, 0x7FFFFF))
    array = aer.read_aer(tmp_path / "a.bin")
    assert array.tolist() == [(0x123456, 3, 5, 1), (0x7FFFFF + 2**13, 33, 0, 0)]
    times, channels = aer.load([tmp_path / "a.bin"], [0]).sample(0)
    assert channels.tolist() == [(1 * 34 + 5) * 34 + 3, 33]
    assert times == pytest.approx([0x123456 / 1000, (0x7FFFFF + 2**13) / 1000])


def test_bad_address_events(tmp_path: Path) -> None:
    (tmp_path / "cut.bin").write_bytes(pack(1, 1, 0, 5)[:4])
    with pytest.raises(DataError, match="cut.bin: 4 bytes is not a multiple of 5"):
        aer.read_aer(tmp_path / "cut.bin")
    (tmp_path / "order.bin").write_bytes(pack(1, 1, 0, 5) + pack(2, 1, 0, 4))
    with pytest.raises(DataError, match="order.bin: event 1 is earlier than the one before it; .* .sort=True"):
        aer.load([tmp_path / "order.bin"])
    assert aer.load([tmp_path / "order.bin"], sort=True).times.tolist() == [0.004, 0.005]
    (tmp_path / "far.bin").write_bytes(pack(1, 1, 0, 5) + pack(34, 1, 0, 6))
    with pytest.raises(DataError, match=r"far.bin: event 1: x = 34 is beyond the sensor \(34, 34, 2\)"):
        aer.load([tmp_path / "far.bin"])
    with pytest.raises(DataError, match="absent.bin: no such file"):
        aer.load([tmp_path / "absent.bin"])
    (tmp_path / "list.txt").write_text("# comment\n1 7 9\n")
    with pytest.raises(DataError, match="list.txt: line 2: expected 'file label', got '1 7 9'"):
        aer.load_list(tmp_path / "list.txt")
    with pytest.raises(DataError, match="no such file; it should hold lines"):
        aer.load_list(tmp_path / "absent.txt")
    with pytest.raises(DataError, match="no files like 0/00001.bin"):
        aer.load_folder(tmp_path)


def test_real_n_mnist(data_dir: Path) -> None:
    folder = data_dir / "nmnist_small"
    events = aer.load_list(folder / "train.txt")
    assert len(events) == 300 and events.n_channels == 34 * 34 * 2 and events.n_classes == 10
    assert 290 < events.durations.min() and events.durations.max() < 330
    pooled = aer.load_list(folder / "test.txt", pool=2)
    assert len(pooled) == 100 and pooled.n_channels == 17 * 17 * 2


def test_n_mnist_folder_layout(tmp_path: Path, data_dir: Path) -> None:
    for digit in ("3", "8"):
        (tmp_path / digit).mkdir()
        (tmp_path / digit / "00001.bin").write_bytes(
            (data_dir / "nmnist_small" / "tonic_sample_nmnist.bin").read_bytes()
        )
    events = aer.load_folder(tmp_path)
    assert events.labels.tolist() == [3, 8] and events.counts[0] == events.counts[1] > 1000


# FSDD, Braille


@pytest.mark.ci
def test_fsdd_splits(data_dir: Path) -> None:
    path = data_dir / "fsdd" / "fsdd_spikes_700ch.npz"
    test, train = fsdd.load(path, "test"), fsdd.load(path, "train")
    assert (len(train), len(test)) == (2250, 250)
    assert np.bincount(test.labels).tolist() == [25] * 10
    assert sorted(set(test.groups.tolist())) == ["george", "jackson", "lucas", "nicolas", "theo"]
    assert test.duration < 2300 and 5000 < test.counts.mean() < 7000


def fsdd_arrays() -> dict[str, Any]:
    return {
        "ticks": np.array([4, 8], np.uint16),
        "units": np.array([1, 2], np.uint16),
        "offsets": np.array([0, 1, 2]),
        "tick_hz": np.int64(4000),
        "labels": np.array([0, 1]),
        "speaker": np.array(["a", "b"]),
        "is_test": np.array([True, False]),
    }


def test_fsdd_units_and_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "f.npz"
    np.savez(path, **fsdd_arrays())
    assert fsdd.load(path).times.tolist() == [1.0, 2.0]
    with pytest.raises(DataError, match="fsdd: no split 'tset'; did you mean 'test'"):
        fsdd.load(path, "tset")
    np.savez(path, **(fsdd_arrays() | {"tick_hz": np.int64(0)}))
    with pytest.raises(DataError, match="tick_hz must be above 0"):
        fsdd.load(path)
    np.savez(path, **(fsdd_arrays() | {"is_test": np.array([True])}))
    with pytest.raises(DataError, match=r"is_test has shape \(1,\) for 2 samples"):
        fsdd.load(path, "test")


def test_braille_splits(data_dir: Path) -> None:
    path = data_dir / "braille" / "braille_taxel.npz"
    train, test = braille.load(path, "train"), braille.load(path, "test", threshold=2.0)
    assert (len(train), len(test)) == (1080, 270)
    assert (test.groups % 5 == 0).all() and (train.groups % 5 != 0).all()
    assert train.n_channels == 24 and train.n_classes == 27
    assert braille.class_names(path)[:3] == ["Space", "A", "B"]
    assert test.counts.mean() < 0.6 * train.counts.mean()
    with pytest.raises(DataError, match="braille: no split 'dev'; known: all, test, train"):
        braille.load(path, "dev")


def test_a_file_of_50_channels_is_not_taken_for_700(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    samples = [(np.sort(rng.uniform(0, 99, 30)), rng.integers(0, 50, 30)) for _ in range(4)]
    samples[0][1][0] = 49
    hdf5.write_shd(Events.from_samples(samples, 50, [0, 1, 0, 1]), tmp_path / "x.h5")
    assert hdf5.read_shd(tmp_path / "x.h5").n_channels == 50
    assert hdf5.convert_shd(tmp_path / "x.h5", tmp_path / "folder").n_channels == 50
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        del file.attrs["n_channels"]  # as others write it
    for read in (hdf5.read_shd, lambda path: hdf5.convert_shd(path, tmp_path / "folder")):
        with pytest.raises(DataError, match=r"units go up to 49, so it seems to have 50 channels, not the 700 of SHD"):
            read(tmp_path / "x.h5")
    # whoever points at a file to train on is told
    assert open_events(tmp_path / "x.h5", cache=tmp_path / "cache")[0].n_channels == 50
    assert "its units go up to 49, so 50" in capsys.readouterr().err
    assert hdf5.read_shd(tmp_path / "x.h5", n_channels=50).n_channels == 50
    assert hdf5.read_shd(tmp_path / "x.h5", n_channels=700).n_channels == 700, "whoever says it knows"


def test_a_file_of_1000_channels_that_does_not_say_so_opens(tmp_path: Path) -> None:
    samples = [(np.arange(3.0), np.array([999, 5, k])) for k in range(4)]
    hdf5.write_shd(Events.from_samples(samples, 1000, [0, 1, 0, 1]), tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        del file.attrs["n_channels"]
    assert open_events(tmp_path / "x.h5", cache=tmp_path / "cache")[0].n_channels == 1000


def test_a_file_without_class_names_counts_its_labels(tmp_path: Path) -> None:
    """Labels are uint16 in the published files."""
    hdf5.write_shd(digits(), tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        del file["extra/keys"]
        largest = int(file["labels"][:].max())
    assert hdf5.class_names(tmp_path / "x.h5") == [str(k) for k in range(largest + 1)]
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        del file["labels"]
        file["labels"] = np.array([b"a"] * 6)
    with pytest.raises(DataError, match="class names cannot be read"):
        hdf5.class_names(tmp_path / "x.h5")
