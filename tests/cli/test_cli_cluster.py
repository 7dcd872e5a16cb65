"""Scans as jobs of SLURM: on submitit's local executor always, on a real SLURM by tests/slurm.sh; what is refused."""

import gc
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genn_eventprop.cli import main, worker
from genn_eventprop.errors import SettingError
from genn_eventprop.runs.run_folder import write_json
from genn_eventprop.studies import cluster
from genn_eventprop.studies.cluster import Cell, SlurmRunner, minutes, slurm_of
from genn_eventprop.studies.jobs import Job
from genn_eventprop.studies.scan import locked, read_scan
from support.extras import needs

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
EXPERIMENT = """
import os, time
from dataclasses import dataclass
from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.losses import FirstSpikeCrossEntropy
from genn_eventprop.models.lif import LIF
from genn_eventprop.experiment import Experiment, ExperimentConfig
from genn_eventprop.training import Callback

@dataclass(frozen=True)
class Config(ExperimentConfig):
    epochs: int = 2
    engine: str = "reference_clock"
    hidden: int = 3
    pause: float = 0.0

class Pause(Callback):
    checkpointed = False

    def __init__(self, seconds):
        self.seconds = seconds

    def end_batch(self, trainer, epoch, batch, statistics):
        time.sleep(self.seconds)

def build(config):
    with open("begun.txt", "a") as file:
        file.write(f"{config.run_dir.name}\\n")
    if config.hidden == 13:
        raise ValueError("thirteen is unlucky")
    net = Network()
    inp, hidden = net.input(2), net.population(LIF(), config.hidden, name="hidden")
    out = net.population(LIF(), 2, name="output")
    net.connect(inp, hidden, Dense(Normal(2.0, 0.8)))
    net.connect(hidden, out, Dense(Normal(1.5, 0.3)))
    trainer = Trainer(net, FirstSpikeCrossEntropy(out), duration=20.0, dt=1.0, engine=config.engine,
                      batch_size=4, seed=config.seed, progress=False, callbacks=[Pause(config.pause)])
    samples = [([1.0, 4.0 + 0.3 * i], [i % 2, 1 - i % 2]) for i in range(12)]
    events = Events.from_samples(samples, 2, [i % 2 for i in range(12)])
    return Experiment(trainer, events[:8], events[8:10], events[10:])
"""
SCAN = """
experiment = "tiny.py"
runner = "slurm"
processes = 2
[settings]
epochs = {epochs}
pause = {pause}
[grid]
hidden = {hidden}
[slurm]
{slurm}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tiny.py").write_text(EXPERIMENT)
    return tmp_path


@pytest.fixture
def local(monkeypatch):
    """Jobs are processes of this machine, begun by submitit."""
    needs("submitit")
    monkeypatch.setattr(cluster, "CLUSTER", "local")
    monkeypatch.setattr(cluster, "POLL", (0.05, 0.1))
    yield
    gc.collect()  # submitit leaves its processes and pipes to the garbage collector, which warns


def write_scan(epochs=2, hidden=(3, 4), pause=0.0, slurm=""):
    Path("s.toml").write_text(SCAN.format(epochs=epochs, hidden=list(hidden), pause=pause, slurm=slurm))


def wait_for(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def epochs_done(name):
    path = Path("runs/s", name, "metrics.jsonl")
    return path.read_text().count("\n") if path.is_file() else 0


def same_numbers(a, b):
    one, two = (json.loads(Path(path, "results.json").read_text()) for path in (a, b))
    assert (one["test_loss"], one["updates"]) == (two["test_loss"], two["updates"])


@pytest.mark.ci
def test_cells_are_jobs_of_submitit(folder, local, capsys):
    write_scan(hidden=(3, 13))
    assert main(["scan", "s.toml"]) == 1
    captured = capsys.readouterr()
    assert "2 jobs in the queue" in captured.out and "/2 hidden=3: finished" in captured.out
    assert "hidden=13: failed: ValueError: thirteen is unlucky" in captured.out
    assert "Chosen on validation: hidden 3" in captured.out
    assert main(["scan", "status", "s.toml"]) == 0
    assert "1 failed, 1 done" in capsys.readouterr().out
    assert main(["scan", "s.toml"]) == 1  # the failed one is tried again, the other is not
    assert Path("begun.txt").read_text().split().count("hidden=3") == 1
    assert main(["train", "tiny.py", "--run-dir", "plain"]) == 0
    same_numbers("plain", "runs/s/hidden=3")


def test_a_queued_job_is_followed(folder, local, capsys):
    write_scan(epochs=30, hidden=(3,), pause=0.05)
    assert main(["scan", "s.toml", "--detach"]) == 0
    assert "1 jobs in the queue" in capsys.readouterr().out
    wait_for(lambda: epochs_done("hidden=3") >= 1)
    assert main(["scan", "status", "s.toml"]) == 0 and "1 running" in capsys.readouterr().out
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster.time, "sleep", lambda seconds: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(["scan", "s.toml"]) == 130
    assert "the jobs stay in the queue; the same command follows them again" in capsys.readouterr().err
    assert main(["scan", "s.toml"]) == 0
    assert Path("begun.txt").read_text().split() == ["hidden=3"] and epochs_done("hidden=3") == 30


@pytest.mark.ci
def test_a_preempted_job_resumes(folder, local, capsys):
    write_scan(epochs=40, hidden=(3,), pause=0.05)
    grid = read_scan("s.toml")
    assert main(["scan", "s.toml", "--detach"]) == 0
    wait_for(lambda: epochs_done("hidden=3") >= 2)
    number = json.loads(Path("runs/s/slurm/jobs.json").read_text())["hidden=3"]
    submitit = needs("submitit")
    submitit.local.local.LocalJob(grid.folder / "slurm", number)._interrupt()
    assert main(["scan", "s.toml"]) == 0
    assert main(["train", "tiny.py", "--epochs", "40", "--run-dir", "whole"]) == 0
    same_numbers("whole", "runs/s/hidden=3")


def test_the_script_is_shown_where_there_is_no_slurm(folder, capsys, monkeypatch):
    needs("submitit")
    write_scan(slurm='partition = "gpu"\naccount = "snn"\ntime = "1:30:00"\nmemory = "8G"\ncpus = 4\ngpus = 1\n'
               'setup = ["module load cuda"]\noptions = {nice = 100}\n')  # fmt: skip
    assert main(["scan", "s.toml", "--dry-run"]) == 0
    out = capsys.readouterr().out
    for line in ("--partition=gpu", "--account=snn", "--time=90", "--mem=8G", "--cpus-per-task=4", "--gpus-per-node=1",
                 "--array=0-1%2", "--nice=100", "--job-name=s"):  # fmt: skip
        assert f"#SBATCH {line}\n" in out
    assert "module load cuda" in out and "2 cells to run, 2 at once" in out and not Path("runs").exists()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert main(["scan", "s.toml"]) == 1
    assert "there is no SLURM on this machine (no sbatch)" in capsys.readouterr().err
    assert main(["scan", "s.toml", "--runner", "local", "--detach"]) == 1
    assert "--detach is for runner" in capsys.readouterr().err


def test_no_name_of_a_folder_is_run_by_the_script(tmp_path):
    needs("submitit")
    folder = tmp_path / "a b; touch MARK; $(touch MARK) `touch MARK` '"
    slurm = slurm_of({"partition": "'; touch MARK; $(touch MARK)"}, "s.toml")
    (tmp_path / "script.sh").write_text(SlurmRunner.script(folder, slurm, 1, 1).replace("\nsrun ", "\ntrue "))
    subprocess.run(["bash", str(tmp_path / "script.sh")], cwd=tmp_path, capture_output=True, check=True, timeout=60)
    assert [p.name for p in tmp_path.iterdir()] == ["script.sh"]
    with pytest.raises(SettingError, match="the folder of the scan is .* with characters that cannot be printed"):
        SlurmRunner.script(tmp_path / "a\ntouch MARK", slurm, 1, 1)


def test_without_submitit_the_command_to_install_it_is_told(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(SettingError, match=r'needs submitit: pip install "genn_eventprop\[cluster\]"'):
        SlurmRunner(folder, slurm_of({}, "s.toml"), 1, worker.run)


@pytest.mark.parametrize("table, message", [
    ({"partiton": "x"}, r"s.toml, \[slurm\]: unknown key 'partiton'; did you mean 'partition'"),
    ({"cpus": "4"}, r"cpus must be an integer, got '4'"),
    ({"setup": "module load"}, "setup must be a list of lines"),
    ({"setup": ["module load", 5]}, "setup must be a list of lines"),
    ({"partition": "gpu\ntouch MARK"}, "partition is 'gpu.ntouch MARK', with characters that cannot be printed"),
    ({"options": {"nice": "1\nx"}}, "nice is .* with characters that cannot be printed"),
    ({"options": {"nice\nx": 1}}, "cannot be an option of sbatch; use letters, digits and -"),
    ({"options": {"nice=1 x": 1}}, "cannot be an option of sbatch"),
    ({"time": "soon"}, "time = 'soon'; write 2:00:00, 1-12:00:00 or whole minutes"),
])  # fmt: skip
def test_bad_tables(table, message):
    with pytest.raises(SettingError, match=message):
        slurm_of(table, "s.toml")


def test_times_are_those_of_sbatch():
    given = [30, "90:00", "2:00:00", "1-12:30:00", "0:00:30", "1-6:00"]
    assert [minutes(t, "s.toml") for t in given] == [30, 90, 120, 36 * 60 + 30, 1, 30 * 60]


def test_a_bad_runner_is_refused(folder):
    Path("s.toml").write_text('experiment = "tiny.py"\nrunner = "slrum"\n')
    with pytest.raises(SettingError, match="runner = 'slrum'; did you mean 'slurm'"):
        read_scan("s.toml")


@pytest.mark.needs_slurm
def test_slurm_runs_a_scan(folder, capsys):
    write_scan(hidden=(3, 4, 13), slurm="time = 10\ncpus = 1\n")
    assert main(["scan", "s.toml"]) == 1
    out = capsys.readouterr().out
    print(out)
    assert "hidden=13: failed: ValueError: thirteen is unlucky" in out and "/3 hidden=4: finished" in out
    assert main(["scan", "status", "s.toml"]) == 0
    assert "1 failed, 2 done" in capsys.readouterr().out


@pytest.mark.needs_slurm
def test_slurm_requeues_a_preempted_training_which_goes_on(folder, capsys):
    """A job of a partition with priority takes the node; the training ends with a checkpoint and comes back."""
    write_scan(epochs=60, hidden=(3,), pause=0.2, slurm=f'time = 20\npartition = "low"\ncpus = {os.cpu_count()}\n')
    assert main(["scan", "s.toml", "--detach"]) == 0
    wait_for(lambda: epochs_done("hidden=3") >= 3)
    script = "#!/bin/sh\nsleep 5\n"
    command = ["sbatch", "-p", "high", "-c", str(os.cpu_count()), "--wait", "-o", "/dev/null"]
    subprocess.run(command, input=script, text=True, check=True, timeout=300)
    number = json.loads(Path("runs/s/slurm/jobs.json").read_text())["hidden=3"]
    assert number in cluster.queued()  # the same job waits, or runs again
    assert main(["scan", "s.toml"]) == 0
    assert json.loads(Path("runs/s/slurm/jobs.json").read_text())["hidden=3"] == number
    assert Path("begun.txt").read_text().split() == ["hidden=3"] * 2
    assert main(["train", "tiny.py", "--epochs", "60", "--pause", "0.2", "--run-dir", "whole"]) == 0
    same_numbers("whole", "runs/s/hidden=3")


@pytest.mark.needs_slurm
def test_a_job_that_is_cancelled_is_not_waited_for_for_ever(folder, capsys):
    write_scan(epochs=500, hidden=(3,), pause=0.2, slurm="time = 20\n")
    assert main(["scan", "s.toml", "--detach"]) == 0
    wait_for(lambda: epochs_done("hidden=3") >= 1)
    number = json.loads(Path("runs/s/slurm/jobs.json").read_text())["hidden=3"]
    subprocess.run(["scancel", number], check=True)
    wait_for(lambda: number not in cluster.queued())
    capsys.readouterr()
    assert main(["scan", "status", "s.toml"]) == 0
    assert "1 stopped" in capsys.readouterr().out


@pytest.mark.needs_slurm
def test_slurm_requeues_a_running_training_on_demand(folder, capsys):
    """`scontrol requeue`: the first attempt has ended, and the cell waits and runs again."""
    write_scan(epochs=60, hidden=(3,), pause=0.2, slurm="time = 20\ncpus = 1\n")
    command = [sys.executable, "-m", "genn_eventprop", "scan", "s.toml"]
    with open("said", "w") as said:
        scan = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
    wait_for(lambda: epochs_done("hidden=3") >= 3)
    number = json.loads(Path("runs/s/slurm/jobs.json").read_text())["hidden=3"]
    subprocess.run(["scontrol", "requeue", number], check=True)
    states = set()
    while len(Path("begun.txt").read_text().split()) < 2:
        assert number in cluster.queued() and scan.poll() is None, Path("said").read_text()
        capsys.readouterr()
        assert main(["scan", "status", "s.toml"]) == 0
        out = capsys.readouterr().out
        assert "1 waiting" in out or "1 running" in out, out
        states |= {word for word in ("pending", "waiting") if word in out}
        time.sleep(0.5)
    assert states == {"pending", "waiting"}
    assert scan.wait(timeout=300) == 0
    assert "1/1 hidden=3: finished" in Path("said").read_text() and "failed" not in Path("said").read_text()
    assert json.loads(Path("runs/s/slurm/jobs.json").read_text())["hidden=3"] == number
    assert main(["train", "tiny.py", "--epochs", "60", "--pause", "0.2", "--run-dir", "whole"]) == 0
    same_numbers("whole", "runs/s/hidden=3")


SQUEUE = """#!/bin/sh
cat queue
"""


def test_the_queue_decides_while_a_job_is_in_it(folder, monkeypatch, capsys):
    """As after `scontrol requeue`: the attempt that was ended has left a status and a result, and the job waits."""
    submitit = needs("submitit")
    monkeypatch.setattr(cluster, "POLL", (0.05, 0.1))
    for name, text in (("squeue", SQUEUE), ("sbatch", "#!/bin/sh\nexit 1\n")):
        Path("bin").mkdir(exist_ok=True)
        Path("bin", name).write_text(text)
        Path("bin", name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    write_scan(hidden=(3,))
    grid = read_scan("s.toml")
    job = grid.job("hidden=3")
    with locked(grid.folder):
        job.ended(143)
    job.log.write_text("genn-eventprop: terminated; continue with: genn-eventprop resume runs/s/hidden=3\n")
    write_json(grid.folder / "slurm" / "jobs.json", {job.name: "7_0"})
    submitit.core.utils.JobPaths(grid.folder / "slurm", "7_0").result_pickle.write_bytes(b"")
    Path("queue").write_text("7_0 PENDING\n")
    assert main(["scan", "status", "s.toml"]) == 0
    out = capsys.readouterr().out
    assert "1 waiting" in out and "pending" in out
    runner = SlurmRunner(grid.folder, grid.slurm, 1, worker.run)
    assert runner.submit([job]) == {job.name: "7_0"}, "it is not queued a second time"
    looks = []

    def sleep(seconds):
        looks.append(Path("queue").read_text())
        if len(looks) == 3:
            job.ended(0)
            Path("queue").write_text("")

    monkeypatch.setattr(cluster.time, "sleep", sleep)
    assert list(runner.run([job])) == [(job, 0)] and len(looks) >= 3


def test_a_job_that_slurm_killed_is_a_failed_one(folder, local, monkeypatch):
    job = Job("cell", ("tiny.py",), folder / "cell", folder / "logs" / "cell.log")
    runner = SlurmRunner(folder, slurm_of({}, "s.toml"), 1, worker.run)
    monkeypatch.setattr(runner, "submit", lambda jobs: {"cell": "999999999"})
    assert list(runner.run([job])) == [(job, 137)]
    assert Cell(job, worker.run).checkpoint().function.job == job
