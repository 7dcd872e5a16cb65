"""Neurons in files of one's own wherever a neuron is named, and cross-validation over the groups of any page."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop import Events
from genn_eventprop.cli import main, worker
from genn_eventprop.data.augment.augmented import Augmented
from genn_eventprop.data.augment.steps import Jitter, MergeChannels
from genn_eventprop.errors import DataError, ModelError, SettingError
from genn_eventprop.experiment.hold_out import without_group
from genn_eventprop.experiment.options import neuron_of
from genn_eventprop.studies.cluster import Cell
from genn_eventprop.studies.scan import locked, prepare, read_scan
from support.extras import needs

NEURON = """
from genn_eventprop import NeuronModel, Param

Mine = NeuronModel(
    name="Mine", state={"V": 0.0, "I": 0.0},
    params={"tau_mem": Param(20.0, "ms"), "tau_s": Param(5.0, "ms"), "v_t": Param(1.0)},
    dynamics={"V": "(I - V) / tau_mem", "I": "-I / tau_s"}, threshold="V - v_t", reset={"V": "0"}, input="I",
)
"""
PAGE = """
from dataclasses import dataclass
from genn_eventprop import Events
from genn_eventprop.data import splits
from genn_eventprop.experiment import LayeredConfig, layered

@dataclass(frozen=True)
class Config(LayeredConfig):
    hidden: tuple[int, ...] = (4,)
    duration: float = 10.0
    dt: float | None = 1.0
    spike_times: str = "grid"
    engine: str = "reference_clock"
    epochs: int = 1

def build(config):
    names = ["ann", "bob", "c d"]
    events = Events.from_samples(
        [([1.0, 2.0], [k % 4, 1]) for k in range(24)], 4, [k % 2 for k in range(24)], [names[k % 3] for k in range(24)]
    )
    train, test = splits.stratified_split(events, 0.25, rng=0).apply(events)
    train, validation = splits.stratified_split(train, 0.25, rng=0).apply(train)
    return layered(config, train, validation, test)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("neuron.py").write_text(NEURON)
    Path("page.py").write_text(PAGE)
    return tmp_path


def test_a_neuron_in_a_file_has_options_and_defaults(folder):
    neuron = neuron_of("neuron.py:Mine(v_t=0.5)", "--neuron", tau_mem=7.0, tau_syn=3.0)
    values = {name: param.value for name, param in neuron.params.items()}
    assert neuron.name == "Mine" and values == {"tau_mem": 7.0, "tau_s": 5.0, "v_t": 0.5}
    with pytest.raises(ModelError, match="Mine has no parameter 'v_th' .did you mean 'v_t'"):
        neuron_of("neuron.py:Mine(v_th=0.5)", "--neuron")


@pytest.mark.ci
def test_a_run_with_a_neuron_of_ones_own(folder, capsys):
    """A run folder does not make its reader run a file: predictions need none, and training on needs a word."""
    Path("neuron.toml").write_text('neuron = {"neuron.py:Mine" = {v_t = 0.02}}\n')
    assert main(["train", "page.py", "--config", "neuron.toml", "--run-dir", "run"]) == 0
    assert json.loads(Path("run/config.json").read_text())["settings"]["neuron"] == "neuron.py:Mine(v_t=0.02)"
    capsys.readouterr()
    for command in (["evaluate", "run"], ["resume", "run", "--epochs", "2"], ["plot", "run", "--data", "test"]):
        assert main([*command, "--page", "page.py"]) == 1
        assert "made with the neuron 'neuron.py:Mine(v_t=0.02)', a file" in capsys.readouterr().err
    assert main(["evaluate", "run", "--page", "page.py", "--trust"]) == 0
    assert main(["resume", "run", "--page", "page.py", "--epochs", "2", "--trust"]) == 0


SLOWLY = """
import time
from pathlib import Path
from genn_eventprop.training import Callback

class Slowly(Callback):
    checkpointed = False
    def end_epoch(self, trainer, metrics):
        if Path("slowly").exists():
            time.sleep(0.2)
"""
STUDIES = {
    "scan": ("[grid]\nseed = [1, 2]", ["seed=1", "seed=2"]),
    "search": ("[search]\ntrials = 2\npruner = 'none'\n[search.ranges]\nlearning_rate = {low = 1e-3, high = 1e-2}",
               ["trial0000-seed1", "trial0001-seed1"]),
}  # fmt: skip


@pytest.mark.ci
@pytest.mark.parametrize("kind", ["scan", pytest.param("search", marks=pytest.mark.ci)])
def test_a_killed_study_with_a_neuron_of_ones_own_goes_on(folder, kind, capsys):
    """kill -9, and the same command again: the file of the study names the neuron once more."""
    if kind == "search":
        needs("optuna")
    page = PAGE.replace("test)\n", "test, callbacks=[Slowly()])\n")
    Path("page.py").write_text(SLOWLY + page)
    table, runs = STUDIES[kind]
    settings = 'neuron = "neuron.py:Mine(v_t=0.02)"\nepochs = 6'
    Path("s.toml").write_text(f'experiment = "page.py"\nprocesses = 2\n[settings]\n{settings}\n{table}\n')
    Path("slowly").touch()
    command = [sys.executable, "-m", "genn_eventprop", "scan", "s.toml"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    metrics = [Path("runs/s", run, "metrics.jsonl") for run in runs]
    deadline = time.monotonic() + 90
    while not all(m.is_file() and m.read_text().count("\n") > 1 for m in metrics) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = [m.read_text().splitlines()[:2] for m in metrics]
    wait_until_gone(Path("runs/s"))
    Path("slowly").unlink()
    assert not any(m.with_name("results.json").exists() for m in metrics)
    assert main(["scan", "s.toml"]) == 0, capsys.readouterr().out
    assert [m.read_text().splitlines()[:2] for m in metrics] == before  # from the checkpoints, not anew
    assert all(m.read_text().count("\n") == 6 for m in metrics)


def wait_until_gone(study):
    """The trainings of a scan that was killed end a moment after it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(SettingError), locked(study):  # still in use
            if not any(study.glob("*/.writer.json")):
                return
        time.sleep(0.05)


def test_jobs_of_slurm_go_on_with_a_neuron_of_ones_own(folder, capsys):
    """What a job of the queue runs when its run was started before; the training itself is not run in a queue here."""
    Path("s.toml").write_text(
        'experiment = "page.py"\n[settings]\nneuron = "neuron.py:Mine(v_t=0.02)"\nepochs = 2\n[grid]\nseed = [1]\n'
    )
    study = read_scan("s.toml")
    (job,), _ = prepare(study, None)
    result = Path("runs/s/seed=1/results.json")
    for _ in range(2):  # from the beginning, and from the last checkpoint
        assert Cell(job, worker.run)() == 0, job.log.read_text()
        result.unlink()
        (job,), _ = prepare(study, None)
    config = json.loads(Path("runs/s/seed=1/config.json").read_text())
    del config["sha256"]
    config["settings"]["neuron"] = "other.py:Mine"
    Path("runs/s/seed=1/config.json").write_text(json.dumps(config))
    assert Cell(job, worker.run)() == 1
    assert "was run with neuron = 'other.py:Mine', now it is 'neuron.py:Mine(v_t=0.02)'" in capsys.readouterr().err


def test_each_group_of_a_page_is_held_out_once(folder, capsys):
    assert main(["train", "page.py", "--cross-validate", "--run-dir", "folds"]) == 0
    runs = sorted(p.parent.name for p in Path("folds").glob("*/results.json"))
    assert runs == ["without-ann-seed1", "without-bob-seed1", "without-c_d-seed1"]
    for run, name in zip(runs, ("ann", "bob", "c d")):
        results = json.loads((Path("folds") / run / "results.json").read_text())
        assert set(results["test"]["per_group"]) == {name} and results["test"]["samples"] == 8
        assert set(Events.load(Path("folds") / run / "samples.npz").groups.tolist()) <= {"ann", "bob", "c d"} - {name}
    capsys.readouterr()
    assert main(["report", "folds"]) == 0
    assert "hold_out: ann" in capsys.readouterr().out
    assert main(["train", "page.py", "--hold-out", "dan", "--run-dir", "none"]) == 1
    assert "--hold-out dan: the training set has no such group; did you mean 'ann'?" in capsys.readouterr().err


def test_the_test_set_of_a_fold_is_evaluated_whoever_has_held_it_out(folder, capsys):
    """`layered` does it; here the page does not know of it."""
    text = PAGE.replace("layered(config, ", "layered(replace(config, hold_out=None), ")
    Path("page.py").write_text(text.replace("import dataclass\n", "import dataclass, replace\n"))
    assert main(["train", "page.py", "--hold-out", "bob", "--run-dir", "run"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "run", "--page", "page.py", "--checkpoint", "last"]) == 0
    results, out = json.loads(Path("run/results.json").read_text()), capsys.readouterr().out
    assert results["test"]["samples"] == 8 and "test set, 8 samples" in out and "bob" in out and "ann" not in out


def grouped(names, channels=4):
    return Events.from_samples(
        [([1.0], [k % channels]) for k in range(len(names))], channels, [0] * len(names), list(names)
    )


def test_no_sample_of_the_group_is_trained_on():
    train, validation, test = grouped("aabbc"), grouped("abc", 2), grouped("abcc", 2)
    rest, held, fold = without_group(Augmented(train, [Jitter(1.0), MergeChannels(2)], seed=3), validation, test, "c")
    assert isinstance(rest, Augmented) and rest.events.groups.tolist() == list("aabb") and rest.seed == 3
    assert held.groups.tolist() == ["a", "b"] and fold.groups.tolist() == ["c"] * 4
    assert fold.n_channels == 2 and np.array_equal(fold.channels[:1], train.channels[4:] // 2)
    assert len(without_group(train, train, train, "c")[2]) == 1, "a set that plays two parts counts once"
    assert without_group(train, grouped("cc"), None, "c")[1] is None
    with pytest.raises(DataError, match="groups"):
        without_group(train, Events.from_samples([([1.0], [0])], 4, [0]), None, "c")
