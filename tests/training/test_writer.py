"""One run folder, one writer: who is alive, who is dead, who is waited for, and what happens in a race."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genn_eventprop.errors import SettingError, TrainingError
from genn_eventprop.runs import run_lock as locks
from genn_eventprop.runs.run_folder import RunFolder
from genn_eventprop.runs.run_lock import NAME, check_writer, current_path, current_process, is_alive, lock_for_writing

# A process that imports this module alone: the others of its package take it a second, with sympy and the engines.
ALONE = """
import sys, time, types
import genn_eventprop
package = types.ModuleType("genn_eventprop.runs")
package.__path__ = [f"{genn_eventprop.__path__[0]}/runs"]
sys.modules[package.__name__] = package
from genn_eventprop.runs.run_lock import lock_for_writing
"""

HOLD = f"""{ALONE}
with lock_for_writing(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def other(tmp_path):
    """A process that holds the folder; `stdin` lets it go."""
    folder = tmp_path / "run"
    command = [sys.executable, "-P", "-c", HOLD, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process, folder
    process.kill()
    process.communicate()


def test_a_folder_has_one_writer(other):
    process, folder = other
    with pytest.raises(
        SettingError, match=f"being written by process {process.pid} on .*; a run folder has one writer"
    ):
        with lock_for_writing(folder):
            pass
    process.communicate("\n")
    with lock_for_writing(folder):
        assert json.loads((folder / NAME).read_text())["pid"] == os.getpid()
    assert not folder.exists(), "nothing was written, so nothing is left"


def test_a_killed_writer_leaves_no_hindrance(other):
    process, folder = other
    process.kill()
    process.wait()
    assert (folder / NAME).exists()
    with lock_for_writing(folder), lock_for_writing(folder):  # again within the process
        (folder / "kept").touch()
    assert [path.name for path in folder.iterdir()] == ["kept"]


def test_a_zombie_and_a_reused_number_are_dead(other):
    process, _ = other
    me = current_process()
    theirs = dataclasses.replace(me, pid=process.pid, began=locks._start_time(process.pid))
    assert is_alive(me) and is_alive(theirs)
    assert is_alive(dataclasses.replace(theirs, began="1")) is False, "another process has this number now"
    assert is_alive(dataclasses.replace(theirs, boot="another")) is None
    assert is_alive(dataclasses.replace(theirs, space="pid:[1]")) is None, "in a container numbers mean something else"
    process.kill()
    time.sleep(0.2)  # not waited for: a zombie
    assert is_alive(theirs) is False


def foreign(folder, **changes):
    """The lock of a process on another machine."""
    folder.mkdir(exist_ok=True)
    owner = dataclasses.replace(current_process(), host="node7", boot="elsewhere", **changes)
    (folder / NAME).write_text(json.dumps(dataclasses.asdict(owner)))


def test_another_machine_is_waited_for_and_then_taken_over(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(locks, "STALE", 0.5)
    folder = tmp_path / "run"
    foreign(folder, pid=1)
    began = time.monotonic()
    with lock_for_writing(folder):
        assert time.monotonic() - began > 0.3
    assert "was being written by process 1 on node7; waiting up to" in capsys.readouterr().err
    foreign(folder, pid=1)
    os.utime(folder / NAME, (1, 1))  # no sign of life for long
    began = time.monotonic()
    with lock_for_writing(folder):
        assert time.monotonic() - began < 0.3


def test_lock_of_a_living_machine_is_respected(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "STALE", 30.0)
    folder = tmp_path / "run"
    foreign(folder)
    beat = f"import os, time; time.sleep(0.3); os.utime({str(folder / NAME)!r})"
    process = subprocess.Popen([sys.executable, "-P", "-c", beat])
    with pytest.raises(SettingError, match="being written by process .* on node7"), lock_for_writing(folder):
        pass
    process.wait()


@pytest.mark.parametrize("content", [b"", b"{", b"\x00" * 50, b'{"pid": 1}'])
def test_a_damaged_lock_is_judged_by_its_age(tmp_path, monkeypatch, content):
    monkeypatch.setattr(locks, "STALE", 0.3)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / NAME).write_bytes(content)
    with lock_for_writing(tmp_path / "run"):
        assert json.loads((tmp_path / "run" / NAME).read_text())["pid"] == os.getpid()


def test_the_lock_shows_signs_of_life_and_its_loss_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "BEAT", 0.05)
    folder = tmp_path / "run"
    with lock_for_writing(folder):
        os.utime(folder / NAME, (1, 1))
        time.sleep(0.5)
        assert (folder / NAME).stat().st_mtime > 1
        check_writer(folder)
        foreign(folder)
        with pytest.raises(TrainingError, match="another process has taken over .*run"):
            check_writer(folder)
    assert (folder / NAME).exists(), "it is no longer ours to remove"


def test_a_file_system_without_links_will_do(tmp_path, monkeypatch):
    def no_links(*args):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with lock_for_writing(tmp_path / "run"):
        (tmp_path / "run" / "kept").touch()
        command = [sys.executable, "-P", "-c", HOLD, str(tmp_path / "run")]
        assert "one writer" in subprocess.run(command, capture_output=True, text=True, input="\n").stderr


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(SettingError, match="cannot be created .*choose another --run-dir"),
        lock_for_writing(tmp_path / "file" / "x"),
    ):
        pass


def test_late_takeover_leaves_the_new_lock(tmp_path):
    folder = tmp_path / "run"
    foreign(folder)
    os.utime(folder / NAME, (1, 1))
    dead = locks._read_owner(folder / NAME)
    with lock_for_writing(folder):
        before = (folder / NAME).stat()
        locks._remove_stale(folder / NAME, dead, dataclasses.replace(current_process(), token="late"))
        after = (folder / NAME).stat()
        assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns), "removed, if only for a moment"
        assert [p.name for p in folder.iterdir()] == [NAME]


@pytest.mark.parametrize("alive", [True, False])
def test_one_process_removes_a_dead_lock(tmp_path, alive):
    folder = tmp_path / "run"
    foreign(folder)
    os.utime(folder / NAME, (1, 1))
    with pytest.MonkeyPatch.context() as patch:  # a process that stops, or dies, while it takes over
        patch.setattr(locks, "_acquire", lambda path, owner: path.write_text(json.dumps(dataclasses.asdict(owner))))
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        other = dataclasses.replace(current_process(), began="" if alive else "1")
        locks._remove_stale(folder / NAME, locks._read_owner(folder / NAME), other)
    if alive:
        with pytest.raises(SettingError, match=f"being written by process {os.getpid()}"), lock_for_writing(folder):
            pass
    else:
        with lock_for_writing(folder):
            assert json.loads((folder / NAME).read_text())["host"] != "node7"


RACE = f"""{ALONE}
from pathlib import Path
from genn_eventprop.errors import SettingError
folder = Path(sys.argv[1])
print("ready", flush=True)
while not (folder.parent / "start").exists():
    time.sleep(0.001)
try:
    with lock_for_writing(folder):
        with open(folder / "inside", "x"):
            time.sleep(0.5)
        (folder / "inside").unlink()
    print("wrote")
except SettingError:
    print("refused")
"""


def test_of_several_that_find_a_dead_owner_one_takes_over(tmp_path):
    folder = tmp_path / "run"
    foreign(folder)
    os.utime(folder / NAME, (1, 1))
    command = [sys.executable, "-P", "-c", RACE, str(folder)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert all(p.stdout.readline() == "ready\n" for p in processes)
    Path(tmp_path / "start").touch()
    said = [p.communicate(timeout=60) for p in processes]
    assert sorted({out.strip() for out, _ in said}) in (["refused", "wrote"], ["wrote"]), said
    assert not any("Traceback" in err for _, err in said), said


def test_a_renamed_folder_is_written_under_its_new_name(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    with lock_for_writing(old):
        folder = RunFolder.create(old, {"a": 1})
        old.rename(new)
        assert folder.path == new and current_path(old) == new
        check_writer(old)
        with lock_for_writing(old):  # taken again within the process
            folder.append_metrics({"epoch": 1})
            folder.write_results({"epochs": 1})
        old.mkdir()  # somebody else begins there
        folder.replace_metrics([{"epoch": 1}])
    assert RunFolder.open(new).results == {"epochs": 1} and not list(old.iterdir())
    assert not list(new.glob(f"{NAME}*")), "the lock is released where it is now"
    assert current_path(old) == old


def test_a_removed_folder_is_told_as_what_it_is(tmp_path):
    with lock_for_writing(tmp_path / "run"):
        folder = RunFolder.create(tmp_path / "run")
        shutil.rmtree(tmp_path / "run")
        with pytest.raises(TrainingError, match="run is gone: it was removed, or moved to another disk"):
            check_writer(folder.name)
        with pytest.raises(TrainingError, match=r"results.json cannot be written \(No such file or directory\)"):
            folder.write_results({})
    assert not (tmp_path / "run").exists()
