"""stdout and stderr that are closed, full, or that nobody reads any more; and a terminal that goes away."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop import output
from genn_eventprop.cli import main
from genn_eventprop.runs.checkpoint import load_checkpoint

PAGE = """
import time
from dataclasses import dataclass
from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.experiment import Experiment, ExperimentConfig
from genn_eventprop.losses import FirstSpikeCrossEntropy
from genn_eventprop.models.lif import LIF
from genn_eventprop.training import Callback

class Talks(Callback):
    checkpointed = False
    def __init__(self, pause):
        self.pause = pause
    def end_batch(self, trainer, epoch, batch, statistics):
        print("a page may print", "x" * 500)
        time.sleep(self.pause)

@dataclass(frozen=True)
class Config(ExperimentConfig):
    epochs: int = 3
    engine: str = "reference_clock"
    pause: float = 0.0
    talk: bool = False

def build(config):
    net = Network()
    inp, hidden = net.input(2), net.population(LIF(), 3, name="hidden")
    out = net.population(LIF(), 2, name="output")
    net.connect(inp, hidden, Dense(Normal(5.0, 0.8)))
    net.connect(hidden, out, Dense(Normal(3.0, 0.3)))
    talks = [Talks(config.pause)] if config.talk or config.pause else []
    trainer = Trainer(net, FirstSpikeCrossEntropy(out), duration=20.0, dt=1.0, engine=config.engine, batch_size=2,
                      seed=config.seed, callbacks=talks)
    samples = [([1.0, 4.0 + 0.3 * i], [i % 2, 1 - i % 2]) for i in range(12)]
    events = Events.from_samples(samples, 2, [i % 2 for i in range(12)])
    return Experiment(trainer, events[:8], events[8:10], events[10:])
"""
PROGRAM = f"{sys.executable} -m genn_eventprop"
TRAIN = f"{PROGRAM} train page.py --talk --run-dir run"
FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("page.py").write_text(PAGE)
    return tmp_path


def shell(line):
    """Status and what was said where it could be."""
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stdout + done.stderr, done
    return done.returncode, done.stdout + done.stderr


def as_whole(run="run"):
    """The run is bit for bit one that could speak."""
    assert main(["train", "page.py", "--run-dir", "whole"]) == 0
    whole, other = (load_checkpoint(f"{name}/checkpoints/last.safetensors").arrays for name in ("whole", run))
    assert all(np.array_equal(whole[name], other[name]) for name in whole)
    assert Path(run, "results.json").is_file()


@pytest.mark.one_in(6)
@FULL
@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("2>&-", 0),
        ("2>/dev/full", 0),
        ("<&- >&- 2>&-", 0),
        ("2>&1 | true", 0),
        ("2>&1 | head -1", 0),
        (">/dev/full 2>/dev/full", 1),
    ],
)
def test_output_never_ends_a_training(folder, line, status):
    assert shell(f"{TRAIN} {line}")[0] == status
    as_whole()


@pytest.mark.ci
@FULL
@pytest.mark.parametrize("command", ["report run", "show run", "cache where", "engines", "plot run --only curves"])
def test_a_full_stdout_is_named(folder, command):
    assert main(["train", "page.py", "--run-dir", "run"]) == 0
    status, said = shell(f"{PROGRAM} {command} >/dev/full")
    assert status == 1 and "genn-eventprop: stdout (/dev/full) cannot be written (No space left on device)" in said
    assert shell(f"{PROGRAM} {command} >&-")[0] == 0
    assert shell(f"{PROGRAM} {command} | true") in ((1, ""), (0, ""))


@pytest.mark.ci
@FULL
def test_results_on_a_full_stdout_are_in_the_run_folder(folder):
    status, said = shell(f"{TRAIN} >/dev/full")
    assert status == 1 and "stdout (/dev/full) cannot be written (No space left on device); what the command" in said
    as_whole()


@pytest.mark.ci
@FULL
@pytest.mark.parametrize("where", [">&- 2>&-", ">/dev/full", "| true"])
def test_a_scan_goes_on_without_output(folder, where):
    Path("s.toml").write_text('experiment = "page.py"\n[settings]\ntalk = true\n[grid]\nseed = "1-2"\n')
    status, _ = shell(f"{PROGRAM} scan s.toml {where}")
    assert status == int("full" in where)
    assert all(Path("runs/s", f"seed={n}", "results.json").is_file() for n in (1, 2))
    assert "a page may print" in Path("runs/s/logs/seed=1.log").read_text()


@pytest.mark.ci
@FULL
def test_a_job_succeeds_without_its_log(folder):
    Path("runs/s/logs").mkdir(parents=True)
    Path("s.toml").write_text('experiment = "page.py"\n[settings]\ntalk = true\n[grid]\nseed = "1-2"\n')
    os.symlink("/dev/full", "runs/s/logs/seed=1.log")
    Path("runs/s/.genn_eventprop.json").write_text('{"format": "genn_eventprop scan 1"}')
    status, said = shell(f"{PROGRAM} scan s.toml")
    assert status == 0 and "seed=1: finished" in said and "seed=2: finished" in said, said


@pytest.mark.ci
@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGHUP, 129, "hung up"), (signal.SIGTERM, 143, "terminated")]
)
@pytest.mark.parametrize("more", [[], ["--seeds", "1"]])
def test_signals_end_with_a_checkpoint(folder, number, status, word, more):
    command = [sys.executable, "-m", "genn_eventprop", "train", "page.py", "--run-dir", "run", "--pause", "0.1"]
    process = subprocess.Popen([*command, *more], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    run = Path("run/seed1" if more else "run")
    while not (run / "metrics.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status and "Traceback" not in err, err
    assert f"{word}: stopping with a checkpoint" in err
    how = "with the same command and --run-dir run" if more else "with: genn-eventprop resume run"
    assert f"genn-eventprop: {word}; continue {how}" in err
    assert not (run / "results.json").exists()
    assert main([*command[3:], *(more or ["--resume-if-started"])]) == 0
    as_whole(str(run))


def test_a_signal_that_could_not_be_raised_comes_again(folder, monkeypatch, capsys):
    """It comes while the garbage collector runs, which swallows what is raised."""
    from genn_eventprop.experiment import experiment

    class Garbage:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGHUP)
            for _ in range(1000):
                pass

    def build(file, config, run_dir, resume):
        garbage = Garbage()
        del garbage
        time.sleep(20)
        raise AssertionError("not reached")

    monkeypatch.setattr(experiment, "_run", build)
    assert main(["train", "page.py", "--run-dir", "run"]) == 129
    assert capsys.readouterr().err == "genn-eventprop: hung up\n"


@pytest.mark.ci
def test_a_worker_whose_scan_is_gone_says_nothing(folder):
    """As after `kill -9` of a scan: its workers end with checkpoints, and nobody reads their answers."""
    command = ["train", "page.py", "--run-dir", "run", "--pause", "0.1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "genn_eventprop.cli.worker"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.stdin.write(json.dumps({"command": command, "log": "log"}) + "\n")
    process.stdin.flush()
    while not Path("run/metrics.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.stdout.close()
    process.terminate()
    assert process.wait(timeout=60) == 143
    assert process.stderr.read() == "" and Path("run/checkpoints/last.safetensors").exists()
    assert "terminated; continue with: genn-eventprop resume run" in Path("log").read_text()
    process.stdin.close()
    process.stderr.close()


@pytest.mark.ci
def test_a_hang_up_that_is_ignored_stays_so(folder):
    """As under nohup."""
    command = ["bash", "-c", f"trap '' HUP; exec {TRAIN} --pause 0.05"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while not Path("run/metrics.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == 0
    process.stderr.close()
    as_whole()


@pytest.mark.ci
def test_a_hang_up_ends_a_scan_and_its_trainings_go_on_later(folder):
    Path("s.toml").write_text('experiment = "page.py"\n[settings]\npause = 0.1\n[grid]\nseed = "1-2"\n')
    command = [sys.executable, "-m", "genn_eventprop", "scan", "s.toml"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    while not Path("runs/s/seed=1/metrics.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGHUP)  # as a terminal does
    _, err = process.communicate(timeout=60)
    assert process.returncode == 129 and b"Traceback" not in err and b"hung up" in err, err
    assert "terminated; continue with" in Path("runs/s/logs/seed=1.log").read_text()
    assert main(["scan", "s.toml"]) == 0
    assert json.loads(Path("runs/s/seed=2/results.json").read_text())["epochs"] == 3


@FULL
@pytest.mark.parametrize("broken", ["none", "closed", "full"])
def test_a_trainer_in_python_needs_no_stderr(folder, monkeypatch, broken):
    closed, full = io.StringIO(), open("/dev/full", "w", buffering=1)
    closed.close()
    monkeypatch.setattr(sys, "stderr", {"none": None, "closed": closed, "full": full}[broken])
    from genn_eventprop.experiment.experiment import load_experiment, run_experiment

    file = load_experiment("page.py")
    assert run_experiment(file, file.config(run_dir=Path("run")))["epochs"] == 3
    monkeypatch.undo()
    full.close()


@pytest.mark.ci
def test_a_name_that_the_locale_lacks_is_printed(folder):
    assert main(["train", "page.py", "--run-dir", "läuft", "--epochs", "1"]) == 0
    status, said = shell(f"PYTHONIOENCODING=ascii {PROGRAM} show läuft; PYTHONIOENCODING=ascii {PROGRAM} plot läuft")
    assert status == 0 and "l\\xe4uft/plots/curves.png" in said


@FULL
def test_what_fits_again_is_written(tmp_path):
    """A disk that was full for a while: the lines afterwards are there, those that failed are dropped."""
    place = tmp_path / "log"
    with open(place, "w", buffering=1) as stream:
        out = output.Output(stream)
        print("one", file=out)
        kept, full = os.dup(stream.fileno()), os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, stream.fileno())
        print("two", file=out)
        os.dup2(kept, stream.fileno())
        print("three", file=out)
        os.close(kept)
        os.close(full)
    assert place.read_text() == "one\nthree\n" and "No space left" in out.told()
