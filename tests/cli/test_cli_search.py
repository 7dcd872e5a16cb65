"""Searches: trials, pruning, what a killed process leaves, the sealed test set, best settings, what is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop.cli import main
from genn_eventprop.errors import SettingError, WriteError
from genn_eventprop.experiment.options import read_toml
from genn_eventprop.studies.scan import read_scan
from genn_eventprop.studies.search import Range, import_optuna, search_of, study_of
from genn_eventprop.studies.search_run import SearchRun
from support.disks import small_files
from support.extras import REASON, needs

# validation is better for a larger rate and more hidden neurons; a training is nothing but writing its curve
EXPERIMENT = """
import time
from dataclasses import dataclass
import numpy as np
from genn_eventprop import Dense, Events, Network, Trainer
from genn_eventprop.losses import FirstSpikeCrossEntropy
from genn_eventprop.models.lif import LIF
from genn_eventprop.optimisers import SGD
from genn_eventprop.experiment import Experiment, ExperimentConfig
from genn_eventprop.training import Callback

@dataclass(frozen=True)
class Config(ExperimentConfig):
    epochs: int = 4
    engine: str = "reference_clock"
    rate: float = 0.1
    hidden: int = 3
    kind: str = "a"
    pause: float = 0.0

class Curve(Callback):
    checkpointed = False

    def __init__(self, config):
        self.config = config

    def end_epoch(self, trainer, metrics):
        time.sleep(self.config.pause)
        good = self.config.rate + 0.01 * self.config.hidden + 0.001 * self.config.seed + (self.config.kind == "b") * 0.1
        metrics["validation_accuracy"] = min(0.99, good * metrics["epoch"] / 4)

def build(config):
    with open("begun.txt", "a") as file:
        file.write(f"{config.run_dir.name}\\n")
    if config.hidden in (13, 14):
        raise ValueError("thirteen is unlucky")
    net = Network()
    inp, out = net.input(2), net.population(LIF(), 2, name="output")
    net.connect(inp, out, Dense(1.5))
    trainer = Trainer(net, FirstSpikeCrossEntropy(out), duration=20.0, dt=1.0, engine=config.engine, optimiser=SGD(0.0),
                      batch_size=4, seed=config.seed, progress=False, callbacks=[Curve(config)])
    samples = [([1.0, 4.0 + 0.3 * i], [i % 2, 1 - i % 2]) for i in range(12)]
    events = Events.from_samples(samples, 2, [i % 2 for i in range(12)])
    return Experiment(trainer, events[:4], events[8:10], events[10:])
"""
SCAN = """
experiment = "tiny.py"
processes = {processes}
[settings]
pause = {pause}
[search]
trials = {trials}
pruner = "{pruner}"
sampler = "random"
seeds = "{seeds}"
[search.ranges]
rate = {{low = 1e-3, high = 0.5, log = true}}
hidden = {{low = 2, high = 6}}
kind = ["a", "b"]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    needs("optuna")
    monkeypatch.chdir(tmp_path)
    Path("tiny.py").write_text(EXPERIMENT)
    return tmp_path


def write_scan(trials=4, pruner="none", seeds="1", processes=1, pause=0.0):
    text = SCAN.format(trials=trials, pruner=pruner, seeds=seeds, processes=processes, pause=pause)
    Path("s.toml").write_text(text)


def trials():
    grid = read_scan("s.toml")
    return study_of(grid.search, grid.folder).get_trials()


def test_a_search_finds_settings_and_leaves_the_test_set_sealed(folder, capsys):
    write_scan(trials=4, seeds="1-2")
    assert main(["scan", "s.toml"]) == 0
    out = capsys.readouterr().out
    found = trials()
    assert [t.state.name for t in found] == ["COMPLETE"] * 4 and len(Path("begun.txt").read_text().split()) == 8
    for t in found:  # the mean over two seeds of the last epoch
        good = t.params["rate"] + 0.01 * t.params["hidden"] + 0.1 * (t.params["kind"] == "b")
        assert t.value == pytest.approx(min(0.99, good + 0.0015))
        results = json.loads(Path(f"runs/s/trial{t.number:04d}-seed1/results.json").read_text())
        assert results["test_accuracy"] is None and results["best_validation_accuracy"] is not None
    best = max(found, key=lambda t: t.value)
    settings = read_toml(Path("runs/s/best.toml"))
    assert settings == {"pause": 0.0, **best.params} and isinstance(settings["hidden"], int)
    assert "4 complete of 4 trials" in out and "--config runs/s/best.toml" in out
    for name in ("history", "slices", "importances"):
        assert Path(f"runs/s/plots/{name}.png").stat().st_size > 5000
    assert main(["train", "tiny.py", "--config", "runs/s/best.toml", "--run-dir", "best"]) == 0
    assert json.loads(Path("best/results.json").read_text())["test_accuracy"] is not None
    write_scan(trials=5)  # more of the same study
    assert main(["scan", "s.toml"]) == 0 and len(trials()) == 5
    assert main(["scan", "status", "s.toml"]) == 0 and "5 complete of 5" in capsys.readouterr().out
    saved = json.loads(Path("runs/s/search.json").read_text())
    assert saved["objective"] == "validation_accuracy" and len(saved["trials"]) == 5


@pytest.mark.ci
def test_trials_that_are_worse_than_others_are_ended_early(folder, capsys, monkeypatch):
    """The sixth trial is the first that the median judges; the worst one is made to come late."""
    write_scan(trials=7, pruner="median", pause=1.0)
    grid = read_scan("s.toml")
    study = study_of(grid.search, grid.folder)
    for _ in range(5):
        trial = study.ask(grid.search.distributions())
        for epoch in range(1, 5):
            trial.report(0.9, epoch)
        study.tell(trial, 0.9)
    assert main(["scan", "s.toml"]) == 0  # one after the other: a process that was ended is not given the next
    found = trials()
    assert [t.state.name for t in found[5:]] == ["PRUNED"] * 2
    assert "ended after" in capsys.readouterr().out
    assert not Path("runs/s/trial0006-seed1/results.json").exists()


def test_a_failing_trial_does_not_end_the_search(folder, capsys):
    write_scan(trials=2)
    Path("s.toml").write_text(Path("s.toml").read_text().replace("{low = 2, high = 6}", "[13, 3]"))
    assert main(["scan", "s.toml"]) == 0
    states = {t.params["hidden"]: t.state.name for t in trials()}
    assert states.get(13, "FAIL") == "FAIL" and states.get(3, "COMPLETE") == "COMPLETE"


def test_three_failures_in_a_row_end_a_search(folder, capsys):
    write_scan(trials=9)
    Path("s.toml").write_text(Path("s.toml").read_text().replace("{low = 2, high = 6}", "[13, 14]"))
    assert main(["scan", "s.toml"]) == 1
    captured = capsys.readouterr()
    assert captured.out.count("failed: ") == 3 and "3 trials failed in a row" in captured.err


@pytest.mark.ci
def test_trials_of_a_killed_process_go_on_in_another(folder):
    """kill -9 in the middle: the next start takes its trials over, from their checkpoints, and asks for no more."""
    write_scan(trials=2, processes=2, pause=1.5)
    command = [sys.executable, "-m", "genn_eventprop", "scan", "s.toml"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    files = [Path(f"runs/s/trial000{i}-seed1/metrics.jsonl") for i in (0, 1)]
    deadline = time.monotonic() + 60
    while not all(f.is_file() and f.read_text() for f in files) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert [t.state.name for t in trials()] == ["RUNNING"] * 2
    write_scan(trials=2, processes=2, pause=1.5)
    assert main(["scan", "s.toml"]) == 0
    assert [t.state.name for t in trials()] == ["COMPLETE"] * 2
    begun = Path("begun.txt").read_text().split()
    assert sorted(begun) == sorted(["trial0000-seed1", "trial0001-seed1"] * 2)


@pytest.mark.parametrize("table, message", [
    ({}, r"list the settings to search in \[search.ranges\]"),
    ({"ranges": {"a": [1, 2]}, "trails": 3}, "unknown key 'trails'; did you mean 'trials'"),
    ({"ranges": {"a": [1, 2]}, "sampler": "tpee"}, "sampler = 'tpee'; did you mean 'tpe'"),
    ({"ranges": {"a": [1, 2]}, "trials": 0}, "trials must be an integer >= 1, got 0"),
    ({"ranges": {"a": [1]}}, r"a needs at least two choices, got \[1\]"),
    ({"ranges": {"a": 3}}, "a = 3; write a list of choices, or {low = 1e-4"),
    ({"ranges": {"a": {"low": 1, "high": 2, "steps": 1}}}, "a: unknown key 'steps'; did you mean 'step'"),
    ({"ranges": {"a": {"low": 2, "high": 1}}}, "low and high must be two numbers, the smaller first"),
    ({"ranges": {"a": {"low": 0, "high": 1, "log": True}}}, "a logarithmic range must start above 0"),
    ({"ranges": {"seed": [1, 2]}}, 'seed is not searched; give seeds = "1-3"'),
])  # fmt: skip
def test_bad_searches(table, message):
    with pytest.raises(SettingError, match=message):
        search_of(table, "s.toml")


def test_ranges_become_distributions():
    needs("optuna")
    ranges = {
        "a": {"low": 1e-4, "high": 1e-2, "log": True}, "b": {"low": 50, "high": 400, "step": 50},
        "c": ["LIF", "ALIF"], "d": [[10, 20], [30]], "e": {"low": 0, "high": 1.0},
    }  # fmt: skip
    search = search_of({"ranges": ranges}, "s.toml")
    assert search.ranges["b"] == Range(50, 400, True, False, 50)
    found = search.distributions()
    assert (found["a"].log, found["b"].step, type(found["b"]).__name__) == (True, 50, "IntDistribution")
    assert type(found["e"]).__name__ == "FloatDistribution"
    assert search.settings({"d": found["d"].choices[0], "c": "LIF"}) == {"d": [10, 20], "c": "LIF"}
    assert np.isfinite(found["a"].low)


def test_without_optuna_the_command_to_install_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SettingError, match=r'needs optuna: pip install "genn_eventprop\[search\]"'):
        import_optuna()


def test_a_scan_is_a_grid_or_a_search(folder):
    write_scan()
    text = Path("s.toml").read_text()
    Path("s.toml").write_text(text + "[grid]\nseed = [1]\n")
    with pytest.raises(SettingError, match=r"a scan has \[grid\] or \[search\], not both"):
        read_scan("s.toml")
    Path("s.toml").write_text(text.replace("pause = 0.0", "rate = 1.0"))
    with pytest.raises(SettingError, match="rate is searched; it cannot be in"):
        read_scan("s.toml")
    Path("s.toml").write_text(text.replace("rate =", "rates ="))
    with pytest.raises(SettingError, match="unknown setting 'rates'; did you mean 'rate'"):
        read_scan("s.toml")


SAMPLED = ["random", "tpe", "qmc", "cmaes"]


def searches(sampler, count):
    """Processes that work on one study; each has opened it before any of them has asked for a trial."""
    if sampler == "cmaes":
        pytest.importorskip("cmaes", reason=f"{REASON} [search], and cmaes")
    write_scan(trials=20)
    text = Path("s.toml").read_text().replace('"random"', f'"{sampler}"')
    Path("s.toml").write_text(text.replace('kind = ["a", "b"]\n', ""))
    grid = read_scan("s.toml")
    return [SearchRun(grid, None) for _ in range(count)]


def settings_of(run):
    trial = run.new_trial()
    values = dict(trial.params)
    run.study.tell(trial, values["rate"])
    return values


@pytest.mark.filterwarnings("ignore:.* is experimental:Warning")  # by its text: optuna may not be installed
@pytest.mark.parametrize("sampler", SAMPLED)
def test_a_search_opened_again_asks_for_new_settings(folder, sampler):
    asked = [settings_of(searches(sampler, 1)[0]) for _ in range(6)]
    assert len({v["rate"] for v in asked}) == 6
    Path("runs").rename("interrupted")
    (run,) = searches(sampler, 1)
    assert [settings_of(run) for _ in range(6)] == asked  # as if it had never been interrupted


@pytest.mark.filterwarnings("ignore:.* is experimental:Warning")  # by its text: optuna may not be installed
@pytest.mark.parametrize("sampler", SAMPLED)
def test_machines_on_one_folder_get_different_settings(folder, sampler):
    asked = [settings_of(run) for _ in range(2) for run in searches(sampler, 3)]
    assert len({v["rate"] for v in asked}) == 6


def test_a_trial_of_a_killed_process_gets_all_settings(folder):
    (run,) = searches("random", 1)
    run.study.ask()  # its process was killed before it could ask for the settings
    trial = run.orphaned_trial()
    assert trial.number == 0 and set(trial.params) == {"rate", "hidden"}
    (other,) = searches("random", 1)
    assert other.study.get_trials()[0].params == trial.params


def test_a_journal_survives_a_kill_and_a_full_disk(folder):
    (run,) = searches("random", 1)
    settings_of(run)
    path = Path("runs/s/study.journal")
    with path.open("ab") as file:
        file.write(b'{"op_code": 4, "work')  # kill -9 in the middle of a line
    settings_of(searches("random", 1)[0])
    before = path.read_bytes()
    with small_files(len(before) + 20), pytest.raises(WriteError, match=r"study.journal cannot be written \(File too"):
        run.new_trial()
    assert path.read_bytes() == before
    settings_of(run)
    assert [t.state.name for t in trials()] == ["COMPLETE"] * 3
