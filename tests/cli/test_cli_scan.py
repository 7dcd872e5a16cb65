"""Scans: the grid, processes, what is not run again, resuming, the table, and what is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genn_eventprop.cli import main
from genn_eventprop.errors import SettingError
from genn_eventprop.experiment.options import read_toml, write_toml
from genn_eventprop.runs.run_folder import write_json
from genn_eventprop.runs.run_lock import lock_for_writing
from genn_eventprop.studies.jobs import Job, LocalRunner
from genn_eventprop.studies.scan import cell_name, cell_states, locked, read_scan
from genn_eventprop.studies.tables import scan_rows, scan_table

EXPERIMENT = """
import time
from dataclasses import dataclass
from pathlib import Path
from genn_eventprop import Dense, Events, Network, Normal, Trainer
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
    hidden: int = 3
    spread: tuple[float, float] = (2.0, 0.8)

def build(config):
    with open("begun.txt", "a") as file:
        file.write(f"{config.run_dir.name}\\n")
    if config.hidden == 13:
        raise ValueError("thirteen is unlucky")
    net = Network()
    inp, hidden = net.input(2), net.population(LIF(), config.hidden, name="hidden")
    out = net.population(LIF(), 2, name="output")
    net.connect(inp, hidden, Dense(Normal(*config.spread)))
    net.connect(hidden, out, Dense(Normal(1.5, 0.3)))
    trainer = Trainer(net, FirstSpikeCrossEntropy(out), duration=20.0, dt=1.0, engine=config.engine,
                      batch_size=4, seed=config.seed, progress=False, callbacks=[Slowly()])
    samples = [([1.0, 4.0 + 0.3 * i], [i % 2, 1 - i % 2]) for i in range(12)]
    events = Events.from_samples(samples, 2, [i % 2 for i in range(12)])
    return Experiment(trainer, events[:8], events[8:10], events[10:])
"""

SCAN = """
experiment = "tiny.py"
processes = 2
[settings]
epochs = {epochs}
[grid]
hidden = {hidden}
seed = "1-2"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tiny.py").write_text(EXPERIMENT)
    return tmp_path


def begun():
    return sorted(Path("begun.txt").read_text().split()) if Path("begun.txt").exists() else []


@pytest.mark.ci
def test_a_scan_runs_every_cell_once_and_tabulates(folder, capsys):
    Path("s.toml").write_text(SCAN.format(epochs=2, hidden=[3, 13]))
    assert main(["scan", "s.toml"]) == 1
    cells = [f"hidden={h},seed={s}" for h in (13, 3) for s in (1, 2)]
    assert begun() == cells
    captured = capsys.readouterr()
    assert "4 cells, 0 already finished, 2 at once" in captured.out
    assert "hidden=13,seed=1: failed: ValueError: thirteen is unlucky" in captured.out
    assert "2 cells failed; see runs/s/logs/hidden=13,seed=" in captured.err
    root = Path("runs/s")
    saved = json.loads((root / "hidden=3,seed=2" / "config.json").read_text())["settings"]
    assert (saved["hidden"], saved["seed"], saved["epochs"], saved["threads"]) == (
        3, 2, 2, max(1, (os.cpu_count() or 1) // 2),
    )  # fmt: skip
    Path("s.toml").write_text(SCAN.format(epochs=2, hidden=[3, 4]))  # the finished cells of 3 are not run again
    assert main(["scan", "s.toml", "--processes", "1"]) == 0
    assert begun() == sorted([*cells, "hidden=4,seed=1", "hidden=4,seed=2"])
    out = capsys.readouterr().out
    assert "4 cells, 2 already finished, 1 at once" in out
    rows = json.loads((root / "table.json").read_text())["rows"]
    for row in rows:
        runs = [json.loads((root / name / "results.json").read_text()) for name in row["cells"]]
        assert row["runs"] == 2 == row["wanted"]
        assert row["summary"]["best_validation_accuracy"]["values"] == [r["best_validation_accuracy"] for r in runs]
    assert (root / "table.md").read_text() in out and "Chosen on validation: hidden " in out
    assert main(["scan", "s.toml", "--table"]) == 0 and len(begun()) == 6
    capsys.readouterr()
    assert main(["report", "runs/s"]) == 0
    lines = capsys.readouterr().out.partition("\n\n")[0].splitlines()[2:]  # the table before what was noticed
    assert [line.split(" | ")[:2] for line in lines] == [  # 3 is the default
        ["| `train tiny.py`", "seeds 1, 2"], ["| `train tiny.py --hidden 4`", "seeds 1, 2"],
    ]  # fmt: skip
    assert main(["scan", "s.toml", "--processes", "0"]) == 1


@pytest.mark.ci
def test_a_killed_scan_takes_its_trainings_along_and_goes_on(folder):
    """SIGKILL of the scan: its trainings end too (Linux), and the next scan continues from their checkpoints."""
    Path("s.toml").write_text(SCAN.format(epochs=8, hidden=[3]))
    Path("slowly").touch()
    command = [sys.executable, "-m", "genn_eventprop", "scan", "s.toml"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    metrics = [Path(f"runs/s/hidden=3,seed={s}/metrics.jsonl") for s in (1, 2)]
    deadline = time.monotonic() + 60
    while not all(m.is_file() and m.read_text().count("\n") > 2 for m in metrics) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    Path("slowly").unlink()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with locked(Path("runs/s")):
                break  # the trainings are gone too
        except SettingError:
            time.sleep(0.02)
    assert not any(Path(f"runs/s/hidden=3,seed={s}/results.json").exists() for s in (1, 2))
    assert main(["scan", "s.toml"]) == 0
    for seed in (1, 2):
        assert main(["train", "tiny.py", "--epochs", "8", "--seed", str(seed), "--run-dir", f"whole{seed}"]) == 0
        a, b = (
            json.loads(Path(p, "results.json").read_text()) for p in (f"whole{seed}", f"runs/s/hidden=3,seed={seed}")
        )
        assert (a["test_loss"], a["updates"]) == (b["test_loss"], b["updates"])


@pytest.mark.ci
def test_leaving_the_runner_early_ends_its_processes(tmp_path):
    Path(tmp_path, "sleep.py").write_text("import sys, time\nprint('begun', flush=True)\ntime.sleep(60)\n")
    arguments = {"short": ("--version",), "long": (str(tmp_path / "sleep.py"),), "waiting": ()}

    class Any(Job):
        def command(self):
            return ["train", *self.arguments] if self.name != "short" else [*self.arguments]

    jobs = [Any(name, given, tmp_path, tmp_path / f"{name}.log") for name, given in arguments.items()]
    runner, began = LocalRunner(2), time.monotonic()
    for job, status in runner.run(jobs):
        assert (job.name, status) == ("short", 0)
        break
    assert time.monotonic() - began < 30  # not the minute that "long" would take


@pytest.mark.ci
def test_a_cell_with_other_settings_is_not_done(folder, capsys):
    Path("s.toml").write_text('experiment = "tiny.py"\n[settings]\nepochs = 1\n')
    assert main(["scan", "s.toml"]) == 0 and begun() == ["all"]
    Path("s.toml").write_text('experiment = "tiny.py"\n[settings]\nepochs = 2\n')
    assert main(["scan", "s.toml"]) == 1
    assert "runs/s/all was run with epochs = 1, now it is 2; choose another folder" in capsys.readouterr().err
    with locked(Path("runs/s")):
        assert main(["scan", "s.toml"]) == 1
    assert "another scan, or one of its trainings, is still running in runs/s" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("experiment = 'tiny.py'\nproceses = 2\n", "unknown key 'proceses'; did you mean 'processes'"),
        ("experiment = 'tiny.py'\n[grid]\nhiden = [1]\n", r"\[grid\]: unknown setting 'hiden'; did you mean 'hidden'"),
        ("experiment = 'tiny.py'\n[settings]\nx = 1\n", r"\[settings\]: unknown setting 'x'"),
        ("experiment = 'tiny.py'\n[grid]\nhidden = 4\n", r"hidden in \[grid\] must be a list of values, got 4"),
        ("experiment = 'tiny.py'\n[grid]\nhidden = []\n", r"hidden in \[grid\] must be a list of values"),
        ("experiment = 'tiny.py'\n[grid]\nhidden = [4, 4]\n", "two cells of the grid have the same name"),
        ("experiment = 'tiny.py'\nsettings = 3\n", r"settings must be a table, \[settings\]"),
        ("experiment = 'tiny.py'\nprocesses = 0\n", "processes must be an integer >= 1, got 0"),
        ("experiment = 'tiny.py'\n[settings]\nhidden = 1\n[grid]\nhidden = [2]\n", r"hidden is in \[settings\] and in"),
        ("experiment = 'tiny.py'\n[settings]\nrun-dir = 'x'\n", "run_dir cannot be set in a scan"),
        ("experiment = 'tiny.py'\n[grid]\nseed = '3-1'\n", "write integers and ranges such as 1-8"),
        ("experiment = 'tiny.py'\n[settings]\nepochs = 'a'\n", "s.toml: epochs must be a whole number, got 'a'"),
        ("experiment = 'tiny.py'\n[grid]\nseed = [1, true]\n", "s.toml: seed must be a whole number, got True"),
        ("experiment = 'yin_yan'\n", "unknown experiment 'yin_yan'"),
        ("[settings]\n", "name the experiment"),
        ("experiment = \n", "is not valid TOML"),
    ],
)
def test_bad_scan_files(folder, text, message):
    Path("s.toml").write_text(text)
    with pytest.raises(SettingError, match=message):
        read_scan("s.toml")


def test_absent_scan_file(folder, capsys):
    assert main(["scan", "absent.toml"]) == 1 and "there is no config file absent.toml" in capsys.readouterr().err


def test_settings_come_back_from_their_toml(tmp_path):
    table = {"a": 1, "b": 2.5e-7, "c": float("inf"), "d": 'x "y" \\ ü\n', "e": True, "f": [1.0, 2], "g": {"h": [3]}}
    (tmp_path / "t.toml").write_text(write_toml(table))
    assert read_toml(tmp_path / "t.toml") == table


def test_names_of_cells():
    assert cell_name({"hidden": 50, "spread": [2.0, 0.5], "data": "a/b c"}) == "hidden=50,spread=2.0_0.5,data=a_b_c"
    long = cell_name({"augment": "x" * 400})
    assert len(long) < 200 and long != cell_name({"augment": "x" * 401}) and cell_name({}) == "all"


def test_the_table_is_ordered_by_validation():
    cells = {f"h={h},seed={s}": {"h": h, "seed": s} for h in (1, 2) for s in (1, 2)}
    results = {
        name: {"best_validation_accuracy": 0.5 + 0.1 * c["h"], "test_accuracy": 0.9 - 0.25 * c["h"], "epochs": 1}
        for name, c in cells.items()
        if name != "h=1,seed=2"
    }
    rows = scan_rows(cells, results)
    text = scan_table(rows)
    assert [row["settings"]["h"] for row in rows] == [2, 1]
    assert "1 of 2" in text and "Chosen on validation: h 2; test accuracy 40.00 +- 0.00 %" in text
    assert "65.00" not in text
    for result in results.values():
        result["best_validation_accuracy"] = None
    text = scan_table(scan_rows(cells, results))
    assert "65.00 %" in text and "no validation set" in text


@pytest.mark.ci
def test_local_trainings_share_warm_processes(tmp_path, monkeypatch):
    """Six jobs on two processes; what ends its process, or raises, is a failed job with its reason in the log."""
    monkeypatch.chdir(tmp_path)
    Path("page.py").write_text("import os\nopen('pids.txt', 'a').write(f'{os.getpid()} ')\n")
    Path("crash.py").write_text("import os\nprint('so long', flush=True)\nos.kill(os.getpid(), 9)\n")
    Path("bug.py").write_text("raise ValueError('a bug')\n")

    class Page(Job):
        def command(self):
            return ["train", *self.arguments]

    pages = ["page.py", "crash.py", "bug.py", "page.py", "page.py", "page.py"]
    jobs = [Page(str(i), (page,), tmp_path, tmp_path / "logs" / f"{i}.log") for i, page in enumerate(pages)]
    found = {job.name: status for job, status in LocalRunner(2).run(jobs)}
    assert found == {"0": 1, "1": -9, "2": 1, "3": 1, "4": 1, "5": 1}  # a page without an experiment is an error
    assert len(set(Path("pids.txt").read_text().split())) <= 3  # two, and one in the place of the one that died
    assert "so long" in jobs[1].log.read_text() and "ValueError: a bug" in jobs[2].log.read_text()
    assert "page.py is not an experiment" in jobs[5].log.read_text()
    assert json.loads(jobs[1].status_file.read_text())["status"] == -9


RANKED = """
import os, time
from pathlib import Path
ranks = Path("ranks.txt")
with ranks.open("a") as file:
    file.write(os.environ.get("LOCAL_RANK", "none") + " ")
if {crash}:
    os.kill(os.getpid(), 9)
until = time.monotonic() + 60
while len(ranks.read_text().split()) < {count} and time.monotonic() < until:
    time.sleep(0.05)
"""


@pytest.mark.ci
def test_trainings_at_once_have_ranks_by_which_they_share_gpus(tmp_path, monkeypatch):
    """The process in the place of one that died has its rank; one process alone keeps the rank that it was given."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOCAL_RANK", "5")
    Path("page.py").write_text(RANKED.format(crash=False, count=4))
    Path("crash.py").write_text(RANKED.format(crash=True, count=4))
    pages = ["page.py", "page.py", "crash.py", "page.py"]
    jobs = [Job(str(i), (page,), tmp_path / f"{i}", tmp_path / "logs" / f"{i}.log") for i, page in enumerate(pages)]
    list(LocalRunner(3).run(jobs))
    assert sorted(Path("ranks.txt").read_text().split()) == ["0", "1", "2", "2"]
    list(LocalRunner(1).run(jobs[:1]))
    assert Path("ranks.txt").read_text().split()[4:] == ["5"]


def test_the_status_of_a_scan(folder, capsys):
    Path("s.toml").write_text(SCAN.format(epochs=2, hidden=[3, 13, 4, 5]).replace('"1-2"', "[1]"))
    root = Path("runs/s")
    assert main(["scan", "status", "s.toml"]) == 0 and "4 waiting" in capsys.readouterr().out
    assert main(["scan", "s.toml", "--dry-run"]) == 0 and not root.exists()
    assert "4 cells to run, 2 at once" in capsys.readouterr().out
    assert main(["train", "tiny.py", "--epochs", "1", "--run-dir", str(root / "hidden=4,seed=1")]) == 0
    assert main(["train", "tiny.py", "--epochs", "1", "--run-dir", str(root / "hidden=5,seed=1")]) == 0
    for name in ("hidden=4,seed=1", "hidden=5,seed=1"):
        (root / name / "results.json").unlink()
    (root / "logs").mkdir()
    (root / "logs" / "hidden=13,seed=1.log").write_text("Traceback\nValueError: thirteen is unlucky\n\n")
    write_json(root / "logs" / "hidden=13,seed=1.log.status", {"status": 1})
    with lock_for_writing(root / "hidden=5,seed=1"):
        states = {c.name: c for c in cell_states(read_scan("s.toml"), {"hidden=3,seed=1": "PENDING"})}
        assert main(["scan", "status", "s.toml"]) == 0
    found = {name: (c.state, c.epoch, c.epochs) for name, c in states.items()}
    assert found == {
        "hidden=3,seed=1": ("waiting", 0, 2), "hidden=13,seed=1": ("failed", 0, 2),
        "hidden=4,seed=1": ("stopped", 1, 2), "hidden=5,seed=1": ("running", 1, 2),
    }  # fmt: skip
    assert states["hidden=3,seed=1"].remark == "pending" and states["hidden=5,seed=1"].remaining > 0
    out = capsys.readouterr().out
    assert "ValueError: thirteen is unlucky" in out and "1 running, 1 waiting, 1 stopped, 1 failed" in out
