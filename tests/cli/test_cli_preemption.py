"""What a batch system does: SIGTERM, a kill, the same line again; and two who write into one folder."""

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
from genn_eventprop.runs.checkpoint import load_checkpoint
from genn_eventprop.runs.run_folder import RunFolder
from genn_eventprop.training.evaluator import Evaluator

EXPERIMENT = """
import time
from dataclasses import dataclass
from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.losses import FirstSpikeCrossEntropy
from genn_eventprop.models.lif import LIF
from genn_eventprop.optimisers import Exponential
from genn_eventprop.experiment import Experiment, ExperimentConfig
from genn_eventprop.training import Callback

class Slow(Callback):
    checkpointed = False
    def __init__(self, pause):
        self.pause = pause
    def end_batch(self, trainer, epoch, batch, statistics):
        time.sleep(self.pause)

@dataclass(frozen=True)
class Config(ExperimentConfig):
    epochs: int = 4
    engine: str = "reference_clock"
    batch_size: int = 2
    pause: float = 0.0

def build(config):
    net = Network()
    inp, hidden = net.input(2), net.population(LIF(), 3, name="hidden")
    out = net.population(LIF(), 2, name="output")
    net.connect(inp, hidden, Dense(Normal(5.0, 0.8)))
    net.connect(hidden, out, Dense(Normal(3.0, 0.3)))
    trainer = Trainer(net, FirstSpikeCrossEntropy(out), duration=20.0, dt=1.0, engine=config.engine,
                      batch_size=config.batch_size, seed=config.seed, schedule=Exponential(0.9),
                      callbacks=[Slow(config.pause)])
    samples = [([1.0, 4.0 + 0.3 * i], [i % 2, 1 - i % 2]) for i in range(12)]
    events = Events.from_samples(samples, 2, [i % 2 for i in range(12)])
    return Experiment(trainer, events[:8], events[8:10], events[10:])
"""
LINE = ["train", "page.py", "--run-dir", "run", "--resume-if-started"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("page.py").write_text(EXPERIMENT)
    return tmp_path


def start(*arguments):
    command = [sys.executable, "-m", "genn_eventprop", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(condition, process):
    for _ in range(6000):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError("waited in vain")


def same_as_whole(run="run"):
    """Weights, optimiser and metrics of the run are those of one that nothing disturbed."""
    assert main(["train", "page.py", "--run-dir", "whole"]) == 0
    whole, again = (load_checkpoint(f"{name}/checkpoints/last.safetensors").arrays for name in ("whole", run))
    assert whole.keys() == again.keys() and all(np.array_equal(whole[name], again[name]) for name in whole)
    lines = []
    for name in ("whole", run):
        read = map(json.loads, Path(name, "metrics.jsonl").read_text().splitlines())
        lines.append([{k: v for k, v in line.items() if k not in ("seconds", "sha256")} for line in read])
    assert all(line["spikes_per_neuron"]["output"] > 0 for line in lines[0]), "the net must learn for this to tell"
    assert lines[0] == lines[1]


@pytest.mark.ci
def test_one_line_begins_goes_on_and_is_done(folder, capsys):
    process = start(*LINE, "--pause", "0.15", "--checkpoint-batches", "1")
    until(lambda: Path("run/metrics.jsonl").exists(), process)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143 and "Traceback" not in err, err
    assert "terminated: stopping with a checkpoint" in err
    assert "terminated; continue with: genn-eventprop resume run" in err
    assert not Path("run/results.json").exists()
    assert load_checkpoint("run/checkpoints/last.safetensors").info["position"]["updates"] > 4

    process = start(*LINE, "--pause", "0.15", "--checkpoint-batches", "1")
    until(lambda: Path("run/metrics.jsonl").read_text().count("\n") >= 2, process)
    process.kill()
    process.communicate()

    assert main([*LINE, "--pause", "0.15"]) == 0
    captured = capsys.readouterr()
    assert "finished" not in captured.err and "test accuracy" in captured.out
    assert main([*LINE, "--pause", "0.15"]) == 0
    captured = capsys.readouterr()
    assert "run is finished; nothing to do" in captured.err and "run folder" in captured.out
    same_as_whole()
    assert main([*LINE, "--pause", "0.15", "--epochs", "5"]) == 0
    assert len(Path("run/metrics.jsonl").read_text().splitlines()) == 5, "more epochs than before go on"


def test_a_kill_before_the_first_checkpoint_starts_over(folder):
    RunFolder.create("run")
    Path("run/checkpoints/.last.safetensors.17.tmp").write_text("half")
    Path("run/.samples.npz.x3h_0a").write_text("half")
    Path("run/config.json").write_text("{")
    assert main(LINE) == 0
    same_as_whole()


@pytest.mark.one_in(4)
@pytest.mark.parametrize("content", ['{"epochs": 4', "", "{", "[]"])
def test_damaged_results_are_made_again(folder, content):
    assert main(LINE) == 0
    whole = json.loads(Path("run/results.json").read_text())
    Path("run/results.json").write_text(content)
    assert main(LINE) == 0
    again = json.loads(Path("run/results.json").read_text())
    assert again["test_accuracy"] == whole["test_accuracy"] and again["epochs"] == 4


def test_a_damaged_last_checkpoint_goes_on_from_the_best(folder, capsys):
    assert main([*LINE, "--epochs", "2"]) == 0
    path = Path("run/checkpoints/last.safetensors")
    path.write_bytes(path.read_bytes()[:-7])
    assert main([*LINE, "--epochs", "4"]) == 0
    assert "is damaged" in (err := capsys.readouterr().err) and "continuing from best.safetensors" in err
    same_as_whole()


def test_what_is_not_a_run_is_never_removed(folder, capsys):
    Path("run").mkdir()
    Path("run/thesis.tex").write_text("years of work")
    assert main(LINE) == 1
    assert "run holds thesis.tex but no run; choose another --run-dir" in capsys.readouterr().err
    assert Path("run/thesis.tex").read_text() == "years of work"
    assert main(["train", "page.py", "--resume-if-started"]) == 1
    assert "--resume-if-started needs --run-dir" in capsys.readouterr().err


def test_other_settings_are_refused(folder, capsys):
    assert main([*LINE, "--epochs", "1"]) == 0
    assert main([*LINE, "--epochs", "2", "--seed", "9"]) == 1
    assert "run was run with seed = 1, now it is 9" in capsys.readouterr().err


@pytest.mark.ci
def test_two_who_resume_at_once_do_not_write_into_each_other(folder):
    """As in the report: two `resume` of one run wrote the epochs 4 4 5 5."""
    assert main(["train", "page.py", "--run-dir", "run", "--epochs", "1", "--pause", "0.05"]) == 0
    processes = [start(*LINE, "--epochs", "3", "--pause", "0.05") for _ in range(2)]
    said = [p.communicate(timeout=120) for p in processes]
    assert not any("Traceback" in err for _, err in said), said
    assert sorted({p.returncode for p in processes}) in ([0], [0, 1])
    for process, (_, err) in zip(processes, said):
        assert process.returncode == 0 or "a run folder has one writer" in err
    epochs = [json.loads(line)["epoch"] for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert epochs == [1, 2, 3]


@pytest.mark.ci
def test_runs_without_a_folder_get_one_each(folder):
    processes = [start("train", "page.py", "--epochs", "1") for _ in range(2)]
    assert [(p.communicate(timeout=120), p.returncode)[1] for p in processes] == [0, 0]
    assert sorted(os.listdir("runs")) == ["page-seed1-1", "page-seed1-2"]


def test_an_interrupt_in_the_validation_loses_nothing(folder, monkeypatch):
    run, calls = Evaluator.run, []

    def interrupted(evaluator, data, between=lambda: None):
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return run(evaluator, data, between)

    monkeypatch.setattr(Evaluator, "run", interrupted)
    assert main(LINE) == 143
    assert load_checkpoint("run/checkpoints/last.safetensors").info["position"]["batch"] == 4
    assert main(LINE) == 0
    same_as_whole()


def test_sigterm_before_the_training_cleans_up(folder, monkeypatch, capsys):
    from genn_eventprop.experiment import experiment

    def build(file, config, run_dir, resume):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("not reached")

    monkeypatch.setattr(experiment, "_run", build)
    assert main(["train", "page.py", "--run-dir", "run"]) == 143
    assert capsys.readouterr().err == "genn-eventprop: terminated\n" and not Path("run").exists()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_checkpoint_batches_must_be_positive(folder, capsys):
    assert main(["train", "page.py", "--run-dir", "run", "--checkpoint-batches", "0"]) == 1
    assert "checkpoint_batches must be an integer >= 1, got 0" in capsys.readouterr().err


@pytest.mark.ci
def test_a_folder_renamed_during_training_is_named_as_it_is(folder):
    process = start("train", "page.py", "--run-dir", "run", "--pause", "0.2")
    until(lambda: Path("run/metrics.jsonl").is_file(), process)
    Path("run").rename("renamed")
    process.terminate()
    _, told = process.communicate()
    assert process.returncode == 143, told
    assert f"continue with: genn-eventprop resume {folder / 'renamed'}" in told and not Path("run").exists()
    assert main(["resume", "renamed", "--page", "page.py"]) == 0
    same_as_whole("renamed")
