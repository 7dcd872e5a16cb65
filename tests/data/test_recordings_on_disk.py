"""Recordings that stay in a file: the same numbers, chunks and trained bits as in memory, whatever the file is."""

import h5py
import numpy as np
import pytest

from genn_eventprop import Currents, Dense, Events, Inputs, Network, Normal, Trainer
from genn_eventprop.cli import main
from genn_eventprop.data.currents.chunks import chunks as chunks_of_currents
from genn_eventprop.data.events import disk
from genn_eventprop.data.events.chunks import chunks
from genn_eventprop.data.events.storage import EventsWriter
from genn_eventprop.data.readers import camera, recordings, text
from genn_eventprop.data.readers.camera import read_camera
from genn_eventprop.data.readers.recordings import open_recordings
from genn_eventprop.engines.contract.data import StepsOnDisk
from genn_eventprop.errors import DataError
from genn_eventprop.losses import IntegratedVoltageCrossEntropy
from genn_eventprop.models import LI, LIF
from genn_eventprop.optimisers import SGD
from support.camera_files import FORMATS, some_events


@pytest.fixture(params=[7, 64])
def block(request, monkeypatch):
    """Few numbers are read at a time."""
    monkeypatch.setattr(disk, "BLOCK", request.param)


def events(n=2, size=150, length=100.0):
    rng = np.random.default_rng(3)
    samples = [(np.sort(rng.uniform(0, length - 1, size)), rng.integers(0, 5, size)) for _ in range(n)]
    return Events.from_samples(samples, n_channels=5, labels=np.arange(n) % 2)


def written(kind, there, path):
    """The events in a file, and how it is opened."""
    arrays = {"times": there.times / 1000, "channels": there.channels.astype(np.int16), "offsets": there.offsets}
    if kind == "folder":
        there.save(path / "set")
        return path / "set", {}
    if kind == "npz":
        np.savez(path / "set.npz", **arrays)
        return path / "set.npz", {"unit": "s", "offsets": "offsets"}
    packing = {} if kind == "hdf5" else {"chunks": (2,), "compression": "gzip"}
    with h5py.File(path / "set.h5", "w") as file:
        for name, array in arrays.items():
            file.create_dataset(f"all/{name}", data=array, **packing)
    names = {name: f"all/{name}" for name in arrays}
    return path / "set.h5", {"unit": "s", **names}


@pytest.mark.parametrize(("kind", "driven"), [("folder", 0), ("npz", 0), ("hdf5", 1), ("packed hdf5", 1)])
@pytest.mark.one_in(8)
def test_chunks_and_training_from_a_file_are_those_in_memory(kind, driven, tmp_path, block, monkeypatch):
    """With a current besides, too."""
    here = events()
    path, how = written(kind, here, tmp_path)
    there = open_recordings(path, 5, labels=here.labels, **how)
    assert there.mapped
    np.testing.assert_allclose(np.asarray(there.times), here.times, rtol=1e-15)
    np.testing.assert_array_equal(there[1].channels, here[1].channels)
    labels = np.arange(20).reshape(2, 10) % 2
    for length in (100.0, None):
        cut = [chunks(each, 10.0, 0.5, length=length, labels=labels) for each in (here, there)]
        for name in ("offsets", "labels", "groups"):
            np.testing.assert_array_equal(*(getattr(each, name) for each in cut), err_msg=name)

    def whole(numbers, *_, **options):
        raise AssertionError(f"all {len(numbers)} numbers at once")

    monkeypatch.setattr(disk.OnDisk, "__array__", whole)
    made, current = [], Currents(np.random.default_rng(2).normal(0.3, 0.2, (2, 50, 3)), dt=2.0)
    if driven:
        cut = [Inputs({"spikes": each, "current": chunks_of_currents(current, 10.0, 0.5)}) for each in cut]
    for each in cut:
        net = Network()
        hidden, output = net.population(LIF(), 6, name="hidden"), net.population(LI(), 2, name="output")
        net.connect(net.input(5, name="spikes"), hidden, Dense(Normal(2.0, 0.8)), delay=2.0)
        if driven:
            net.connect(net.current(3, dt=2.0, name="current"), hidden, Dense(Normal(0.1, 0.2)), delay=3.0)
        net.connect(hidden, output, Dense(Normal(0.4, 0.6)))
        common = {"duration": 10.0, "dt": 0.5, "seed": 4, "progress": False, "batch_size": 2, "engine": "native"}
        trainer = Trainer(net, IntegratedVoltageCrossEntropy(output), optimiser=SGD(0.1), carry="exact", **common)
        trainer.fit(each, epochs=2)
        made.append(trainer)
    data = [t.engine.load(each) for t, each in zip(made, cut)]
    assert isinstance(data[1].steps, StepsOnDisk)
    np.testing.assert_array_equal(data[1].steps[:], data[0].steps)
    for name, value in made[0].engine.parameters.items():
        np.testing.assert_array_equal(made[1].engine.parameters[name], value)


def test_blocks_are_read_ahead_and_few_are_kept(block):
    asked, numbers = [], np.arange(1000.0)

    def load(start, stop):
        asked.append(start // disk.BLOCK)
        return numbers[start:stop]

    row = disk.FileNumbers(load, 1000, np.float64, 2.0)
    for start in (0, 100, 200, 350, 200, 100, 0):
        np.testing.assert_array_equal(row[start : start + 90], 2 * numbers[start : start + 90])
    assert len(row._blocks) <= disk.KEPT
    assert asked[:2] == [0, 1]
    np.testing.assert_array_equal(row[np.array([3, 999, 3])], [6, 1998, 6])
    assert (row[-1], row.max(), len(row[5:5])) == (1998, 1998, 0)
    np.testing.assert_array_equal(row[::-1][:3], [1998, 1996, 1994])
    parts = np.concatenate([np.arange(500), np.arange(500)])
    search = disk.Search(disk.Derived(parts, lambda x: x // 3, np.int64))
    for value in (0, 1, 50, 166, 167, 300):
        for start, stop in ((0, 500), (500, 1000), (10, 20), (500, 500)):
            want = start + int(np.searchsorted(parts[start:stop] // 3, value))
            assert search.find(value, start, stop) == want


def test_what_is_no_file_of_recordings(tmp_path):
    np.savez_compressed(tmp_path / "packed.npz", times=np.zeros(3), channels=np.zeros(3, int))
    np.savez(tmp_path / "set.npz", times=np.zeros(3), channels=np.zeros(2, int), table=np.zeros((2, 2)))
    (tmp_path / "text.npz").write_text("text")
    with pytest.raises(DataError, match="times is compressed, so that no part can be read; use numpy.savez"):
        open_recordings(tmp_path / "packed.npz", 2)
    with pytest.raises(DataError, match="3 times but 2 channels; give one channel for each time"):
        open_recordings(tmp_path / "set.npz", 2)
    with pytest.raises(DataError, match="no array 'time'; it has times.npy, channels.npy"):
        open_recordings(tmp_path / "set.npz", 2, times="time")
    with pytest.raises(DataError, match=r"table has shape \(2, 2\) and type float64; it must be a row of numbers"):
        open_recordings(tmp_path / "set.npz", 2, times="table")
    with pytest.raises(DataError, match=r"not a readable npz file"):
        open_recordings(tmp_path / "text.npz", 2)
    with pytest.raises(DataError, match=r"unit='min': no such unit of time"):
        open_recordings(tmp_path / "set.npz", 2, unit="min")
    np.savez(tmp_path / "late.npz", times=[1.0, 0.5], channels=[0, 1])
    with pytest.raises(DataError, match="time 0.5 ms comes after 1.0 ms"):
        open_recordings(tmp_path / "late.npz", 2)
    with h5py.File(tmp_path / "set.h5", "w") as file:
        file["times"] = np.zeros(3)
        file["channels"] = h5py.ExternalLink("/etc/other.h5", "channels")
    with pytest.raises(DataError, match="links are not followed"):
        open_recordings(tmp_path / "set.h5", 2)
    with pytest.raises(DataError, match="no table 'steps'; it has channels, times"):
        open_recordings(tmp_path / "set.h5", 2, times="steps")
    assert recordings.UNITS["us"] == 1e-3


def camera_file(path, n=400):
    """EVT 3, and its events as they are read as a whole."""
    path.write_bytes(FORMATS["evt3"][0](some_events(np.random.default_rng(5), n, (12, 10), 500_000), (12, 10)))
    return read_camera(path, pool=2)


def test_files_of_cameras_and_csv_files_are_read_in_pieces(tmp_path, monkeypatch, capsys):
    """Converted once, by `open_recordings` or the command, a few events at a time: the events are the same."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENN_EVENTPROP_DATA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(camera, "BLOCK", 64)
    monkeypatch.setattr(text, "BLOCK", 100)
    here = camera_file(tmp_path / "night.raw")
    rows = [f"{t!r},{c}" for t, c in zip(here.times.tolist(), here.channels.tolist())]
    (tmp_path / "night.csv").write_text("\n".join(["# of a night", "time,channel", *rows]))
    most, append = [], EventsWriter.append_flat
    monkeypatch.setattr(EventsWriter, "append_flat", lambda w, t, c: (most.append(len(t)), append(w, t, c)))
    for name, how in (("night.raw", ["--pool", "2"]), ("night.csv", [])):
        there = open_recordings(name, here.n_channels)
        assert there.mapped
        assert most
        assert max(most) < 100
        np.testing.assert_array_equal(there.times, here.times)
        np.testing.assert_array_equal(there.channels, here.channels)
        assert main(["events", name, name[-3:], "--from", "100", "--to", "400", "--channels", "0-29", *how]) == 0
        inside = (here.times >= 100) & (here.times < 400) & (here.channels < 30)
        cut = open_recordings(name[-3:], 30)
        np.testing.assert_array_equal(cut.times, here.times[inside] - 100)
        np.testing.assert_array_equal(cut.channels, here.channels[inside])
    before = len(most)
    open_recordings("night.csv", here.n_channels)
    assert len(most) == before
    assert f"{len(cut.times)} events" in capsys.readouterr().out
    (tmp_path / "late.csv").write_text("\n".join(["time,channel", *rows, "1.0,3"]))
    with pytest.raises(DataError, match=r"late.csv: event 400 is earlier than the one before it"):
        open_recordings("late.csv", here.n_channels)
    (tmp_path / "bad.csv").write_text("\n".join(["time,channel", *rows, "700,x"]))
    with pytest.raises(DataError, match=r"bad.csv: after line \d+: could not convert string 'x' to float64 at row"):
        open_recordings("bad.csv", here.n_channels)
    (tmp_path / "wide.csv").write_text("\n".join(["time,channel", *rows, "700,60"]))
    with pytest.raises(DataError, match=r"wide.csv, from event \d+ on: .*channel 60 is outside 0 .. 59"):
        open_recordings("wide.csv", here.n_channels)
    with pytest.raises(DataError, match="there is no option 'size' for such a file"):
        open_recordings("raw", 30, size=(3, 4))
