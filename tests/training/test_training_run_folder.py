"""Run folders: contents, refusal to overwrite, JSON without NaN."""

import json
import os

import numpy as np
import pytest

from genn_eventprop.errors import SettingError, TrainingError
from genn_eventprop.runs import RunFolder
from genn_eventprop.runs.run_folder import jsonable


def test_contents_of_a_new_folder(tmp_path):
    folder = RunFolder.create(tmp_path / "runs" / "a", {"epochs": 3, "data_dir": tmp_path})
    assert folder.config == {"epochs": 3, "data_dir": str(tmp_path)}
    names = {p.name for p in folder.path.iterdir()}
    assert names == {".genn_eventprop.json", "config.json", "command.txt", "environment.json", "checkpoints", "plots"}
    environment = json.loads((folder.path / "environment.json").read_text())
    assert environment["packages"]["numpy"] == np.__version__ and environment["python"]
    assert (folder.path / "command.txt").read_text().strip()


def test_metrics_append_replace_read(tmp_path):
    folder = RunFolder.create(tmp_path / "a")
    for epoch in (1, 2, 3):
        folder.append_metrics({"epoch": epoch, "loss": np.float32(0.5), "bad": float("nan"), "n": np.int64(epoch)})
    assert folder.metrics[2] == {"epoch": 3, "loss": 0.5, "bad": None, "n": 3}
    folder.replace_metrics(folder.metrics[:1])
    assert [m["epoch"] for m in RunFolder.open(tmp_path / "a").metrics] == [1]


def test_a_full_disk_is_told_and_a_cut_line_is_no_epoch(tmp_path, monkeypatch):
    folder = RunFolder.create(tmp_path / "a")
    folder.append_metrics({"epoch": 1})
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "lo')
    assert folder.metrics == [{"epoch": 1}]

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(TrainingError, match=r"results.json cannot be written \(No space left on device\); free some"):
        folder.write_results({})
    assert not list(folder.path.glob(".*.tmp"))


def test_an_existing_run_is_never_overwritten(tmp_path):
    (tmp_path / "empty").mkdir()
    RunFolder.create(tmp_path / "empty")
    with pytest.raises(
        SettingError, match=r"run folder .*empty exists and is not empty; choose another --run-dir, or "
    ):
        RunFolder.create(tmp_path / "empty")
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingError, match="exists and is not empty"):
        RunFolder.create(tmp_path / "file")


def test_folders_that_are_no_runs_or_not_finished(tmp_path):
    with pytest.raises(SettingError, match=r"is not a run folder \(it has no config.json\)"):
        RunFolder.open(tmp_path)
    folder = RunFolder.create(tmp_path / "a")
    with pytest.raises(SettingError, match="has no results.json; has the run finished"):
        _ = folder.results
    (folder.path / "results.json").write_text("{")
    with pytest.raises(SettingError, match="results.json is damaged"):
        _ = folder.results


def test_jsonable():
    value = {"a": (np.float64("inf"), np.arange(2)), 3: [np.bool_(True), None]}
    assert jsonable(value) == {"a": [None, [0, 1]], "3": [True, None]}
