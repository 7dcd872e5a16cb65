"""Messages that misled: they name the cause and what to do about it."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genn_eventprop.cli import inspect_commands, main
from genn_eventprop.data import open as data_open
from genn_eventprop.errors import DataError, SettingError
from genn_eventprop.studies.repeats import whole_numbers
from genn_eventprop.studies.scan import locked, read_scan


def test_too_many_seeds_are_refused_at_once(tmp_path, capsys):
    began = time.process_time()
    assert main(["train", "yin_yang", "--seeds", "1-3000000000", "--run-dir", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    assert "--seeds '1-3000000000': more than 10,000 numbers; give fewer" in said and "memory" not in said
    assert time.process_time() - began < 60 and len(whole_numbers("1-10000")) == 10_000
    with pytest.raises(SettingError, match="more than 10,000 numbers"):
        whole_numbers("1-9999,10000-19999,20000-29999")


def test_a_grid_of_too_many_cells_is_refused_at_once(tmp_path):
    lists = "\n".join(f"{name} = {list(range(1, 301))}" for name in ("epochs", "batch_size", "learning_rate"))
    (tmp_path / "s.toml").write_text(f'experiment = "yin_yang"\n[grid]\n{lists}\n')
    with pytest.raises(SettingError, match="the grid has 27,000,000 cells, more than 10,000; list fewer values"):
        read_scan(tmp_path / "s.toml")


@pytest.mark.parametrize(
    "error, words",
    [
        (MemoryError(), "out of memory: something does not fit; use a smaller batch"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE), "a.h5"), "a.h5 cannot be opened or written (Too many open"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "a file cannot be opened or written (No space left on dev"),
    ],
)
def test_errors_of_the_system_are_told_with_advice(monkeypatch, capsys, error, words):
    def fail(*_):
        raise error

    monkeypatch.setattr(inspect_commands, "engines", fail)
    assert main(["engines"]) == 1
    said = capsys.readouterr().err
    assert words in said and "[Errno" not in said
    assert ("space" in said.split("; ")[-1]) == (getattr(error, "errno", 0) == errno.ENOSPC)


def test_samples_are_not_looked_for_in_a_whole_home(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in (tmp_path, Path("/")):
        with pytest.raises(DataError, match="a whole home folder or file system; name the folder of the samples in it"):
            data_open.files_of(path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").write_text("")
    monkeypatch.setattr(data_open, "PATIENCE", -1.0)
    assert data_open.files_of(tmp_path / "in") == [tmp_path / "in" / "a.wav"]
    assert f"note: looking for samples in all folders below {tmp_path / 'in'}" in capsys.readouterr().err


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_a_worker_that_outlived_its_scan_is_named(tmp_path):
    folder = tmp_path / "scan"
    with locked(folder) as lock:
        command = [sys.executable, "-P", "-c", "import sys; sys.stdin.read()"]
        worker = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[lock])
    try:
        with pytest.raises(
            SettingError, match=rf"is still running in {folder} \(process {worker.pid}\); wait for it or"
        ):
            with locked(folder):
                pass
    finally:
        worker.communicate()
    with locked(folder):
        pass
