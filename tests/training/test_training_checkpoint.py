"""Checkpoints: exact, atomic, and honest about damage."""

import errno
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from genn_eventprop import atomic
from genn_eventprop.errors import CheckpointError
from genn_eventprop.runs import load_checkpoint, save_checkpoint

ARRAYS = {
    "parameters/a.weight": np.random.default_rng(1).normal(size=(5, 7)).astype(np.float32),
    "optimiser/a.weight/m": np.array([[np.pi], [5e-324]]),
    "tally/spikes/hidden": np.arange(4),
    "empty": np.zeros((0, 3)),
}
INFO = {"rng": {"state": 2**127 + 1}, "accuracy": 0.1 + 0.2, "missing": None, "names": ["x"]}


def test_round_trip_keeps_every_bit(tmp_path):
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, ARRAYS, INFO)
    back = load_checkpoint(path)
    assert back.info == INFO
    assert set(back.arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert back.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(back.arrays[name], array)
    assert list(back.section("parameters")) == ["a.weight"]
    assert [p.name for p in tmp_path.iterdir()] == ["last.safetensors"]


def test_a_slice_is_saved_as_its_values(tmp_path):
    array = np.arange(12.0).reshape(3, 4)
    save_checkpoint(tmp_path / "c", {"t": array.T, "s": array[:, ::2]}, {})
    back = load_checkpoint(tmp_path / "c").arrays
    np.testing.assert_array_equal(back["t"], array.T)
    np.testing.assert_array_equal(back["s"], array[:, ::2])


@pytest.mark.parametrize("where", [0, 4, 60, -1, "middle"])
def test_one_changed_byte_is_noticed(tmp_path, where):
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, ARRAYS, INFO)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if where == "middle" else where] ^= 0x01
    path.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="last.safetensors"):
        load_checkpoint(path)


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_a_file_cut_short_is_noticed(tmp_path, length):
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, ARRAYS, INFO)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match="is damaged or not a checkpoint"):
        load_checkpoint(path)


def test_missing_foreign_and_unreadable_files(tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint at"):
        load_checkpoint(tmp_path / "none")
    with pytest.raises(CheckpointError, match="cannot read checkpoint"):
        load_checkpoint(tmp_path)
    from safetensors.numpy import save

    (tmp_path / "foreign").write_bytes(save({"w": np.ones(2)}))
    with pytest.raises(CheckpointError, match="is not a checkpoint of this version"):
        load_checkpoint(tmp_path / "foreign")
    (tmp_path / "pickle").write_bytes(pickle.dumps({"w": 1}))
    with pytest.raises(CheckpointError, match="is damaged or not a checkpoint"):
        load_checkpoint(tmp_path / "pickle")


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, ARRAYS, {"epoch": 1})

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        CheckpointError, match=r"\(No space left on device\); the previous checkpoint is untouched; free"
    ):
        save_checkpoint(path, ARRAYS, {"epoch": 2})
    monkeypatch.undo()
    assert load_checkpoint(path).info == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.safetensors"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_really_full_device(tmp_path, monkeypatch):
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, ARRAYS, {"epoch": 1})
    unfinished = tmp_path / ".unfinished.tmp"
    unfinished.symlink_to("/dev/full")
    monkeypatch.setattr(atomic, "temporary_path", lambda path: unfinished)
    with pytest.raises(CheckpointError, match=r"\(No space left on device\); the previous"):
        save_checkpoint(path, ARRAYS, {"epoch": 2})
    assert load_checkpoint(path).info == {"epoch": 1}


KILLED = """
import sys
import numpy as np
from genn_eventprop.runs.checkpoint import save_checkpoint
array = np.zeros(500_000)
for epoch in range(1_000_000):
    array[:] = epoch
    save_checkpoint(sys.argv[1], {"w": array}, {"epoch": epoch})
    if epoch == 0:
        print("ready", flush=True)
"""


@pytest.mark.one_in(3)
@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
@pytest.mark.parametrize("delay", [0.0, 0.013, 0.037])
def test_a_killed_process_leaves_a_good_checkpoint(tmp_path, delay):
    path = tmp_path / "last.safetensors"
    process = subprocess.Popen([sys.executable, "-P", "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    checkpoint = load_checkpoint(path)
    assert np.all(checkpoint.arrays["w"] == checkpoint.info["epoch"])
    save_checkpoint(path, {"w": np.ones(1)}, {"epoch": -1})  # also clears what the killed process left behind
    assert [p.name for p in tmp_path.iterdir()] == ["last.safetensors"]


def test_no_previous_checkpoint_is_not_claimed(tmp_path):
    with pytest.raises(CheckpointError, match=r"\(No such file or directory\); choose another name or folder$"):
        save_checkpoint(tmp_path / "absent" / "c", ARRAYS, INFO)
