"""Repeats over seeds and folds: what is run, what is not run again, and the numbers that come out."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean, stdev

import pytest

from genn_eventprop.cli import main
from genn_eventprop.errors import SettingError
from genn_eventprop.studies.repeats import describe_summary, summarise, whole_numbers

EXPERIMENT = """
import time
from dataclasses import dataclass
from pathlib import Path
from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.data import splits
from genn_eventprop.losses import FirstSpikeCrossEntropy
from genn_eventprop.models.lif import LIF
from genn_eventprop.experiment import Experiment, ExperimentConfig
from genn_eventprop.training import Callback

class Slowly(Callback):
    # while the file "slowly" is there, an epoch takes long enough to be killed in
    checkpointed = False
    def end_epoch(self, trainer, metrics):
        if Path("slowly").exists():
            time.sleep(0.2)


@dataclass(frozen=True)
class Config(ExperimentConfig):
    epochs: int = 2
    engine: str = "reference_clock"
    leave_out: str | None = None
    hidden: int = 3

SAMPLES = [([1.0, 4.0 + 0.3 * i], [i % 2, 1 - i % 2]) for i in range(12)]
EVENTS = Events.from_samples(SAMPLES, 2, [i % 2 for i in range(12)], ["ann", "bob", "cleo"] * 4)

def folds(config):
    return splits.folds(EVENTS, "leave_out")

def build(config):
    net = Network()
    inp, hidden = net.input(2), net.population(LIF(), config.hidden, name="hidden")
    out = net.population(LIF(), 2, name="output")
    net.connect(inp, hidden, Dense(Normal(2.0, 0.8)))
    net.connect(hidden, out, Dense(Normal(1.5, 0.3)))
    trainer = Trainer(net, FirstSpikeCrossEntropy(out), duration=20.0, dt=1.0, engine=config.engine,
                      batch_size=4, seed=config.seed, progress=False, callbacks=[Slowly()])
    if config.leave_out:
        train, test = splits.group_split(EVENTS, config.leave_out).apply(EVENTS)
        return Experiment(trainer, train, None, test)
    return Experiment(trainer, EVENTS[:8], EVENTS[8:10], EVENTS[10:])
"""


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.py"
    path.write_text(EXPERIMENT)
    return str(path)


def results(run):
    return json.loads((Path(run) / "results.json").read_text())


def finished():
    """Run -> when its results were written."""
    return {str(p.parent.relative_to("runs")): p.stat().st_mtime_ns for p in Path("runs").glob("*/*/results.json")}


def test_seeds_are_run_once_each_and_summarised(tiny, capsys):
    assert main(["train", tiny, "--seeds", "1-3"]) == 0
    root = Path("runs/tiny-seeds-1")
    values = [results(root / f"seed{s}")["test_accuracy"] for s in (1, 2, 3)]
    assert [results(root / f"seed{s}")["seed"] for s in (1, 2, 3)] == [1, 2, 3]
    summary = json.loads((root / "summary.json").read_text())
    assert summary["test_accuracy"]["values"] == values and summary["runs"] == ["seed1", "seed2", "seed3"]
    assert summary["test_accuracy"]["mean"] == pytest.approx(mean(values))
    assert summary["test_accuracy"]["deviation"] == pytest.approx(stdev(values))
    out = capsys.readouterr().out
    assert f"{100 * mean(values):.2f} +- {100 * stdev(values):.2f} %" in out and "3 runs in runs/tiny-seeds-1" in out
    before = finished()
    assert set(before) == {f"tiny-seeds-1/seed{s}" for s in (1, 2, 3)}
    assert main(["train", tiny, "--seeds", "2,4"]) == 0  # the same settings: seed 2 is there already
    after = finished()
    assert after.keys() - before == {"tiny-seeds-1/seed4"} and after.items() >= before.items()
    assert "seed2: already finished" in capsys.readouterr().out
    assert main(["train", tiny, "--seeds", "1", "--hidden", "4"]) == 0  # other settings: another folder
    assert finished().keys() - after == {"tiny-seeds-2/seed1"}


@pytest.mark.slow  # as a scan that is killed, which is in every run
def test_a_killed_repeat_goes_on_from_its_checkpoint(tiny, tmp_path):
    """The process is killed in the middle of its second seed; afterwards all is as if it had not been."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main(["train", tiny, "--seeds", "1-3", "--epochs", "8", "--run-dir", str(whole)]) == 0
    command = [sys.executable, "-m", "genn_eventprop", "train", tiny, "--seeds", "1-3", "--epochs", "8"]
    Path("slowly").touch()
    process = subprocess.Popen([*command, "--run-dir", str(cut)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    metrics = cut / "seed2" / "metrics.jsonl"
    while not (metrics.is_file() and metrics.read_text().count("\n") > 2) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    Path("slowly").unlink()
    assert (cut / "seed1" / "results.json").is_file() and not (cut / "seed3" / "results.json").exists()
    assert main(["train", tiny, "--seeds", "1-3", "--epochs", "8", "--run-dir", str(cut)]) == 0
    for seed in (1, 2, 3):
        a, b = results(whole / f"seed{seed}"), results(cut / f"seed{seed}")
        for name in ("test_loss", "final_test_loss", "test_accuracy", "updates"):
            assert a[name] == b[name]


def test_folds_leave_each_group_out(tiny):
    assert main(["train", tiny, "--cross-validate", "--seeds", "1,2", "--epochs", "1"]) == 0
    root = Path("runs/tiny-folds-1")
    names = [f"without-{who}-seed{seed}" for seed in (1, 2) for who in ("ann", "bob", "cleo")]
    assert json.loads((root / "summary.json").read_text())["runs"] == names
    for name in names:
        assert list(results(root / name)["test"]["per_group"]) == [name.split("-")[1]]
        assert results(root / name)["test"]["samples"] == 4


def test_numbers():
    assert whole_numbers("1-3") == [1, 2, 3] and whole_numbers("7, 2-3") == [7, 2, 3]
    for bad in ("", "a", "3-1", "1-", "-2", "1,,2", "1.5"):
        with pytest.raises(SettingError, match="write integers and ranges such as 1-8"):
            whole_numbers(bad)
    with pytest.raises(SettingError, match="a number appears twice"):
        whole_numbers("1-3,2")


def test_a_summary_of_one_run_has_no_deviation():
    summary = summarise({"seed1": {"test_accuracy": 0.5, "epochs": 2, "best_validation_accuracy": None}})
    assert summary["test_accuracy"] == {"mean": 0.5, "deviation": None, "values": [0.5]}
    assert "best_validation_accuracy" not in summary
    assert "50.00 %" in describe_summary(summary, Path("x")) and "+-" not in describe_summary(summary, Path("x"))


def test_folders_and_settings_that_do_not_fit(tiny, capsys):
    Path("full").mkdir()
    Path("full/x").write_text("")
    assert main(["train", tiny, "--seeds", "1", "--epochs", "1", "--run-dir", "full"]) == 1
    assert "full exists and holds no repeats; choose another --run-dir" in capsys.readouterr().err
    assert main(["train", tiny, "--seeds", "1", "--epochs", "1", "--run-dir", "mine"]) == 0
    assert main(["train", tiny, "--seeds", "1", "--epochs", "2", "--run-dir", "mine"]) == 1
    assert "mine holds repeats of other settings" in capsys.readouterr().err
    assert main(["resume", "mine"]) == 1
    assert "mine holds several runs: continue with the command that started them" in capsys.readouterr().err
    Path("mine/repeats.json").write_text("{")
    assert main(["train", tiny, "--seeds", "1", "--epochs", "1", "--run-dir", "mine"]) == 1
    assert "repeats.json is damaged" in capsys.readouterr().err
    assert main(["train", "yin_yang", "--cross-validate"]) == 1
    assert "yin_yang: the training set has no groups to cross-validate over" in capsys.readouterr().err
    assert main(["train", tiny, "--seeds", "3-1"]) == 1
    assert "write integers and ranges" in capsys.readouterr().err


@pytest.mark.ci
def test_seeds_and_folds_as_jobs_are_those_one_by_one(tiny, capsys):
    """Two at once in warm processes: the same summary; finished runs are not repeated; a failure names its log."""
    common = ["--cross-validate", "--seeds", "1-2", "--epochs", "2"]
    assert main(["train", "tiny.py", *common, "--run-dir", "plain"]) == 0
    command = ["train", "tiny.py", *common, "--runner", "local", "--processes", "2", "--run-dir", "jobs"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert ", 0 already finished, in jobs" in out
    one, two = (json.loads((Path(root) / "summary.json").read_text()) for root in ("plain", "jobs"))
    assert one["runs"] == two["runs"] and one["test_loss"]["values"] == two["test_loss"]["values"]
    assert main(command) == 0 and ", 0 already finished" not in capsys.readouterr().out
    assert main(["train", "tiny.py", *common, "--runner", "local", "--processes", "0", "--run-dir", "no"]) == 1
    assert "processes must be an integer >= 1" in capsys.readouterr().err
