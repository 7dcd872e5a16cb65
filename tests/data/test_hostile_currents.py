"""Files of currents that are damaged, or that somebody made: each is a message that names the file; locked ones too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genn_eventprop.data import Currents, Events
from genn_eventprop.data.readers import currents as readers
from genn_eventprop.errors import DataError

h5py = pytest.importorskip("h5py")
VALUES = np.ones((3, 4, 2), np.float32)


@pytest.fixture(autouse=True)
def nobody_waits() -> Iterator[None]:
    """Who waits for a pipe is interrupted."""

    def waits(*_: object) -> None:
        raise AssertionError("it waits for a pipe")

    before = signal.signal(signal.SIGALRM, waits)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def written(path: Path, change: Callable[[Any], object] = lambda file: None) -> Path:
    """An HDF5 file of currents, changed."""
    with h5py.File(path, "w") as file:
        file["values"], file["labels"], file["groups"] = VALUES, [0, 1, 0], ["a", "b", "a"]
        file.attrs["dt"] = 1.0
        change(file)
    return path


def instead(name: str, value: Any) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file[name]
        if isinstance(value, str):  # "group"
            file.create_group(name)
        else:
            file[name] = value

    return change


DAMAGE: dict[str, tuple[Callable[[Any], object], str]] = {
    "dt a text": (lambda f: f.attrs.update(dt="1 ms"), r"dt is the positive length .*'1 ms'"),
    "dt several": (lambda f: f.attrs.update(dt=[1.0, 2.0]), "dt is the positive length"),
    "dt nan": (lambda f: f.attrs.update(dt=np.nan), "dt is the positive length"),
    "dt absent": (lambda f: f.attrs.__delitem__("dt"), "does not say how long a value holds"),
    "labels a group": (instead("labels", "group"), "labels must be an array with a row for each sample"),
    "groups a group": (instead("groups", "group"), "groups must be an array with a row for each sample"),
    "labels a number": (instead("labels", 3), "labels must be an array with a row for each sample"),
    "labels texts": (instead("labels", ["a", "b", "c"]), "labels"),
    "values a group": (instead("values", "group"), "no table 'values'"),
    "values texts": (instead("values", ["a", "b"]), "values must be real numbers"),
    "values records": (instead("values", np.zeros(3, [("a", float)])), "values must be real numbers"),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
def test_hdf5_that_is_no_data_set(tmp_path: Path, what: str) -> None:
    change, words = DAMAGE[what]
    with pytest.raises(DataError, match=rf"x\.h5: .*{words}"):
        readers.read_hdf5(written(tmp_path / "x.h5", change))


def test_one_number_in_a_list_is_a_number(tmp_path: Path) -> None:
    assert readers.read_hdf5(written(tmp_path / "x.h5", lambda f: f.attrs.update(dt=[2.0]))).dt == 2.0


@pytest.mark.one_in(4)
@pytest.mark.parametrize("suffix", ["npy", "npz", "h5"])
@pytest.mark.parametrize("seed", range(6))
def test_damaged_bytes(tmp_path: Path, suffix: str, seed: int) -> None:
    """Cut anywhere, or with bytes of the header changed: values, or a message with the name of the file."""
    path = tmp_path / f"x.{suffix}"
    if suffix == "h5":
        written(path)
    elif suffix == "npy":
        np.save(path, VALUES)
    else:
        np.savez(path, values=VALUES, dt=1.0)
    whole, rng = path.read_bytes(), np.random.default_rng(seed)
    read = {"h5": readers.read_hdf5, "npz": readers.read_npz, "npy": lambda p: readers.read_npy(p, 1.0)}[suffix]
    for k in range(40):
        content = bytearray(whole[: rng.integers(len(whole))] if k % 2 else whole)
        for place in rng.integers(0, max(1, min(len(content), 400)), 3):
            content[place : place + 1] = bytes([int(rng.integers(256))])
        path.write_bytes(content)
        try:
            read(path)
        except DataError as error:
            assert path.name in str(error)


@pytest.mark.parametrize("kind", [Events, Currents])
@pytest.mark.parametrize("files", [5, [1], "x", None])
def test_checksums_of_a_folder_are_a_record(tmp_path: Path, kind: type, files: Any) -> None:
    data = Events.from_samples([([1.0], [0])], 2) if kind is Events else Currents(VALUES, 1.0)
    data.save(tmp_path / "set")
    record = next((tmp_path / "set").glob("*.json"))
    facts = json.loads(record.read_text())
    del facts["sha256"]
    record.write_text(json.dumps(facts | {"files": files}))
    with pytest.raises(DataError, match="set: .*files must be a record"):
        kind.load(tmp_path / "set")


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.h5"])
def test_a_pipe_is_no_file(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    read = {"x.h5": readers.read_hdf5, "x.npz": readers.read_npz, "x.npy": lambda p: readers.read_npy(p, 1.0)}[name]
    for call in (read, Currents.load):
        with pytest.raises(DataError, match=rf"{name}: .*(is a pipe, socket or device|no file of currents)"):
            call(tmp_path / name)


@pytest.mark.parametrize("kind", [Events, Currents])
def test_pipes_in_a_folder_of_data(tmp_path: Path, kind: type) -> None:
    data = Events.from_samples([([1.0], [0])], 2, [0]) if kind is Events else Currents(VALUES, 1.0, [0, 1, 0])
    data.save(tmp_path / "whole")
    for i, name in enumerate(sorted(p.name for p in (tmp_path / "whole").iterdir())):
        data.save(tmp_path / f"set{i}")
        (tmp_path / f"set{i}" / name).unlink()
        os.mkfifo(tmp_path / f"set{i}" / name)
        with pytest.raises(DataError, match=name):
            kind.load(tmp_path / f"set{i}")


HOLDER = """
import sys, time, h5py
file = h5py.File(sys.argv[1], "a")
print("open", flush=True)
time.sleep(60)
"""


def test_a_file_that_another_process_writes_to(tmp_path: Path) -> None:
    """It is not damaged: to download it again would be the wrong advice."""
    path = written(tmp_path / "x.h5")
    environment = {n: v for n, v in os.environ.items() if n != "HDF5_USE_FILE_LOCKING"}
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == "open\n"
            with pytest.raises(DataError, match=r"x\.h5: another program has it open and may be writing") as caught:
                readers.read_hdf5(path)
            assert "download" not in str(caught.value)
        finally:
            holder.kill()
