"""Folders of classes, CSV files of events, and what `open_events` and `open_samples` make of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genn_eventprop.data import Events
from genn_eventprop.data.open import open_data, open_events, open_samples
from genn_eventprop.data.readers.text import read_csv
from genn_eventprop.errors import DataError
from support.camera_files import FORMATS, some_events

SIZE = (12, 10)


def camera_folder(root: Path, counts: dict[str, int], name: str = "evt2") -> Path:
    """ROOT/CLASS/0.raw ...; the first event of a recording is at pixel (its number, 0)."""
    writer, suffix = FORMATS[name]
    for k, (word, n) in enumerate(counts.items()):
        (root / word).mkdir(parents=True)
        for i in range(n):
            events = some_events(np.random.default_rng([k, i]), 30, SIZE, 2000)
            events["x"][0], events["y"][0], events["p"][0] = i, 0, 0
            (root / word / f"{i}{suffix}").write_bytes(writer(events, SIZE))
    (root / "README.txt").write_text("no recording")
    (root / ".hidden.csv").write_text("no recording")
    return root


def test_class_folders_are_labels(tmp_path):
    root = camera_folder(tmp_path / "x", {"up": 2, "down": 3})
    events = Events.from_folder(root)
    assert events.labels.tolist() == [0, 0, 0, 1, 1] and events.n_classes == 2 and events.n_channels == 240
    assert [int(events.sample(i)[1][0]) for i in range(5)] == [0, 1, 2, 0, 1]
    opened, names = open_events(root)
    assert names == ["down", "up"] and np.array_equal(opened.times, events.times)
    assert Events.from_folder(root, "camera", pool=2).n_channels == 60
    assert Events.from_folder(root / "up").labels is None


def test_a_function_reads_files_of_any_kind(tmp_path):
    for word, channel in (("a", 2), ("b", 5)):
        (tmp_path / word).mkdir()
        np.savetxt(tmp_path / word / "1.odd", [[0.5, channel], [1.5, channel]])

    def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
        times, channels = np.loadtxt(path).T
        return times, channels

    events = Events.from_folder(tmp_path, read)
    assert events.n_channels == 6 and events.channels.tolist() == [2, 2, 5, 5] and events.labels.tolist() == [0, 1]
    assert Events.from_folder(tmp_path, read, n_channels=9).n_channels == 9
    fixed = Events.from_folder(tmp_path, lambda path: Events.from_samples([read(path), read(path)], 7))
    assert fixed.n_channels == 7 and fixed.labels.tolist() == [0, 0, 1, 1]
    with pytest.raises(DataError, match="1.odd: every sample|is 3; every sample is a pair"):
        Events.from_folder(tmp_path, lambda path: 3)


def test_npz_files_in_folders_and_beside_each_other(tmp_path):
    events = Events.from_samples([([1.0], [0]), ([2.0], [1])], 2, labels=[1, 0])
    events.save(tmp_path / "part.npz")
    assert Events.from_folder(tmp_path).labels.tolist() == [1, 0]
    (tmp_path / "only").mkdir()
    with pytest.raises(DataError, match=r"part.npz lies beside the folders of classes \(only\); move it into one"):
        events.save(tmp_path / "only" / "part.npz")
        Events.from_folder(tmp_path)
    (tmp_path / "part.npz").unlink()
    assert Events.from_folder(tmp_path).labels.tolist() == [0, 0]


def test_what_does_not_fit_is_told(tmp_path):
    root = camera_folder(tmp_path / "x", {"up": 1})
    with pytest.raises(DataError, match="no reader 'cam'; did you mean 'camera'"):
        Events.from_folder(root, "cam")
    with pytest.raises(DataError, match="no such folder"):
        Events.from_folder(tmp_path / "none")
    with pytest.raises(DataError, match="no folder; give one"):
        Events.from_folder(root / "README.txt")
    with pytest.raises(DataError, match="no recordings that can be read .*camera: .aedat, .aedat4, .raw, .dat"):
        Events.from_folder(root, "npz")
    with pytest.raises(DataError, match=r"0.raw: the reader 'camera' has no option 'pol' \(did you mean 'pool'"):
        Events.from_folder(root, pol=4)
    (root / "up" / "1.raw").write_bytes(FORMATS["evt2"][0](some_events(np.random.default_rng(0), 5, (9, 9)), (9, 9)))
    with pytest.raises(
        DataError, match="1.raw has 162 channels, but .*0.raw has 240; all files must have the same number"
    ):
        Events.from_folder(root)


@given(
    st.lists(st.tuples(st.floats(0, 1e6, width=32), st.integers(0, 50)), max_size=20),
    st.sampled_from([",", ";", "\t", " "]),
    st.booleans(),
)
@settings(max_examples=40)
def test_csv_files_of_times_and_channels(tmp_path_factory, rows, separator, named):
    rows = sorted(rows)
    path = tmp_path_factory.mktemp("x") / "x.csv"
    lines = [separator.join(["time_us", "neuron"])] * named + [f"{t!r}{separator}{c}" for t, c in rows]
    path.write_text("# about\n" + "\n".join(lines) + "\n")
    if not lines:
        with pytest.raises(DataError, match="no events; it should have one line per event"):
            read_csv(path)
        return
    events = read_csv(path)
    assert events.times.tolist() == [t * (1e-3 if named else 1.0) for t, _ in rows]
    assert events.channels.tolist() == [c for _, c in rows]
    assert events.n_channels == max([c for _, c in rows], default=0) + 1
    assert read_csv(path, n_channels=51).n_channels == 51


def test_csv_files_of_a_camera(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("t,x,y,on\n100,1,2,True\n600,3,0,False\n")
    events = read_csv(path, size=(4, 3))
    assert events.n_channels == 24 and events.channels.tolist() == [12 + 2 * 4 + 1, 3] and events.times[1] == 0.5
    assert read_csv(path, size=(4, 3), unit="s").times[1] == 500_000
    path.write_text("t,x,y,on\n1600000000000001,1,2,1\n1600000000000101,3,0,-1\n")  # microseconds since 1970; -1 is off
    later = read_csv(path, size=(4, 3))
    assert later.channels.tolist() == events.channels.tolist() and later.times.tolist() == [0.0, 0.1]
    path.write_text("t,x,y,on\n100,1,2,True\n600,3,0,False\n")
    pooled = read_csv(path, size=(4, 3), pool=2)  # 2 x 2 squares of each polarity
    assert pooled.n_channels == 8 and pooled.channels.tolist() == [4 + 2, 1]


@pytest.mark.parametrize("line", ["sample,time,channel,label\n0,1.5,3,b", "a,b,class\n1,2,0"])
def test_a_csv_file_is_one_sample(tmp_path, line):
    (tmp_path / "x.csv").write_text(line + "\n")
    with pytest.raises(DataError, match=r"x.csv: column (sample, label|class): a CSV file is one sample"):
        open_data(tmp_path / "x.csv")


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "no events; it should have one line per event: time,channel"),
        ("a,b\n1,2\n", "columns a, b; needed are a time, and a channel, or x and y"),
        ("1,2,3\n", "3 columns without names; name them in the first line"),
        ("time,channel\n1,2\n3\n", ".*the file is truncated or damaged"),
        ("time,channel\n1,2\n3,four\n", ".*'four'.*the file is truncated or damaged"),
        ("time,channel\n1,2,3\n", "2 names for 3 columns"),
        ("time,channel\n1,2\nnan,3\n", "column time has values that are not finite"),
        ("time,channel\n1,2.5\n", ".*channels must be integers"),
        ("time,channel\n1,1e300\n", ".*outside 1 .. 2.31|.*n_channels must be|.*outside"),
        ("time,channel\n2,0\n1,0\n", ".*events of a sample must be in order of time"),
        ("time,channel\n-1,0\n", ".*times must be finite and not negative"),
        ("t,x,y\n1,2,3\n", r"x and y are those of a camera, .*give size=\(width, height\)"),
    ],
)
def test_csv_files_that_are_wrong(tmp_path, text, message):
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=f"x(.csv)?: {message}") as caught:
        read_csv(path)
    assert len(str(caught.value).splitlines()) == 1


def test_samples_to_predict_come_with_their_paths(tmp_path):
    root = camera_folder(tmp_path / "x", {"up": 1, "down": 1})
    (root / "up" / "1.csv").write_text("time,channel\n1,2\n")
    found = {name: events for names, events in open_samples([root], 240) for name in names}
    assert sorted(Path(name.partition("[")[0]).relative_to(root).as_posix() for name in found) == [
        "down/0.raw", "up/0.raw", "up/1.csv",
    ]  # fmt: skip
    assert {events.n_channels for events in found.values()} == {240}
