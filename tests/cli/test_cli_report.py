"""The table of results: from run folders and repeats, into a document."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop.cli import main
from genn_eventprop.studies.tables import BEGIN, END

OWN = '''
"""Two speakers."""
from dataclasses import dataclass
import numpy as np
from genn_eventprop import Events
from genn_eventprop.data import splits
from genn_eventprop.experiment import LayeredConfig, layered

@dataclass(frozen=True)
class Config(LayeredConfig):
    hidden: tuple[int, ...] = (5,)
    duration: float = 10.0
    dt: float | None = 1.0
    spike_times: str = "grid"
    engine: str = "reference_clock"
    epochs: int = 1
    speaker_out: str = "a"
    small: bool = False

def events():
    samples = [([1.0, 2.0], [i % 2, 0]) for i in range(8)]
    return Events.from_samples(samples, 2, labels=[i % 2 for i in range(8)], groups=["a", "a", "b", "b"] * 2)

def folds(config):
    return {name: {"speaker_out": name, "small": True} for name in ("a", "b")}

def build(config):
    train, test = splits.group_split(events(), config.speaker_out).apply(events())
    return layered(config, train, test, test)
'''


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    here = os.getcwd()
    os.chdir(folder)
    Path("own.py").write_text(OWN)
    assert main(["train", "own.py", "--seeds", "1-2", "--augment", "dropout=0.1", "--run-dir", "seeds"]) == 0
    assert main(["train", "own.py", "--cross-validate", "--hidden", "4", "3", "--run-dir", "folds"]) == 0
    for seed in ("4", "5"):
        assert main(["train", "own.py", "--seed", seed, "--run-dir", f"one{seed}"]) == 0
    os.chdir(here)
    return folder


@pytest.fixture
def runs(made, monkeypatch):
    monkeypatch.chdir(made)


def results(run: str) -> dict:
    return json.loads((Path(run) / "results.json").read_text())


@pytest.mark.ci
def test_lines_are_settings_and_cells_come_from_the_runs(runs, capsys):
    capsys.readouterr()
    assert main(["report", "seeds", "folds", "one4", "one5"]) == 0
    table, findings = capsys.readouterr().out.split("\n\n")
    lines = table.splitlines()
    assert len(lines) == 2 + 3 and findings.count("| the test set is the validation set |") == 3
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]
    assert [row[0] for row in rows] == [
        '`train own.py --augment "dropout=0.1"`', "`train own.py --hidden 4 3`", "`train own.py`"
    ]  # fmt: skip
    values = [100 * results(f"seeds/seed{k}")["final_test_accuracy"] for k in (1, 2)]
    assert rows[0][1] == "seeds 1, 2"
    half = 12.7062 * np.std(values, ddof=1) / np.sqrt(2)  # Student's t with one degree of freedom
    low, high = max(0.0, np.mean(values) - half), min(100.0, np.mean(values) + half)  # no accuracy lies outside
    within = f"({low:.2f} to {high:.2f})"
    assert rows[0][3] == f"{np.mean(values):.2f} +- {np.std(values, ddof=1):.2f} % {within}"
    best = [100 * results(f"seeds/seed{k}")["test_accuracy"] for k in (1, 2)]  # of the epoch chosen by validation
    assert all(results(f"seeds/seed{k}")["best_epoch"] for k in (1, 2))
    assert rows[0][2].startswith(f"{np.mean(best):.2f} +- {np.std(best, ddof=1):.2f} %")
    a, b = (100 * results(f"folds/{name}-seed1")["final_test_accuracy"] for name in "ab")
    assert rows[1][1] == f"speaker_out: a {a:.1f}, b {b:.1f}; seed 1"
    assert rows[2][1] == "seeds 4, 5" and rows[2][5] == "1" and "reference_clock" in rows[2][8]
    operations = [results(name)["costs"]["synaptic_operations"] for name in ("one4", "one5")]
    assert rows[2][4] == "chance 50.0 %"
    assert rows[2][6].split("; ")[1] == f"{np.mean(operations):,.0f}"


def test_what_has_no_results_is_named_and_left_out(runs, tmp_path, capsys):
    """A run that is not finished, a fold that was never started, a folder that is none: the others are reported."""
    for name in ("one4", "folds"):
        shutil.copytree(name, tmp_path / name)
    (tmp_path / "one4" / "results.json").unlink()
    shutil.rmtree(tmp_path / "folds" / "a-seed1")
    capsys.readouterr()
    assert main(["report", str(tmp_path / "one4"), "one5", "nowhere", str(tmp_path / "folds")]) == 0
    out, err = capsys.readouterr()
    assert (
        len(out.split("\n\n")[0].splitlines()) == 2 + 2
        and "| `train own.py` | seed 5 |" in out
        and "speaker_out: b" in out
    )
    left_out = [line.removeprefix("left out: ") for line in err.splitlines()]
    for words, line in zip(("nowhere is not a run", "one4 has no results.json", "a-seed1 is not a run"), left_out):
        assert words in line
    assert len(left_out) == 3
    assert main(["report", "nowhere"]) == 1 and main(["report", str(tmp_path / "one4"), "nowhere"]) == 1


def test_activity_is_that_of_the_last_epoch(runs, capsys):
    capsys.readouterr()
    assert main(["report", "one4", "one5", "folds", "--activity"]) == 0
    table = capsys.readouterr().out.split("\n\n")[1].splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]
    assert [row[:2] for row in rows[2:]] == [
        ["`train own.py`", "hidden"], *(["`train own.py --hidden 4 3`", layer] for layer in ("hidden1", "hidden2"))
    ]  # fmt: skip
    last = [json.loads((Path(run) / "metrics.jsonl").read_text().splitlines()[-1]) for run in ("one4", "one5")]
    silent, spikes = ([line[key]["hidden"] for line in last] for key in ("silent", "spikes_per_neuron"))
    low, high = min(silent), max(silent)
    assert rows[2][2] == (f"{low}" if low == high else f"{low} to {high}, mean {np.mean(silent):.1f}")
    low, high = (f"{value:.2f}" for value in (min(spikes), max(spikes)))
    assert rows[2][3] == (low if low == high else f"{low} to {high}, mean {np.mean(spikes):.2f}")


def test_runs_from_before_a_setting_existed_share_the_line(runs, tmp_path, capsys):
    shutil.copytree("one4", tmp_path / "old")
    config = json.loads((tmp_path / "old" / "config.json").read_text())
    del config["settings"]["slope_floor"], config["sha256"]
    (tmp_path / "old" / "config.json").write_text(json.dumps(config))
    capsys.readouterr()
    assert main(["report", str(tmp_path / "old"), "one5"]) == 0
    assert len(capsys.readouterr().out.split("\n\n")[0].splitlines()) == 2 + 1


def test_lines_are_compared_on_the_seeds_that_both_have(runs, tmp_path, capsys):
    """Three seeds of two settings with accuracies put in by hand."""
    for setting, accuracies in ((["5"], (0.5, 0.6, 0.7)), (["4"], (0.53, 0.64, 0.71))):
        for seed, accuracy in enumerate(accuracies, 1):
            folder = tmp_path / f"h{setting[0]}-{seed}"
            shutil.copytree("one4", folder)
            settings = {"seed": seed, "hidden": [int(setting[0])]}
            for name, change in (("config.json", settings), ("results.json", {"test_accuracy": accuracy})):
                content = json.loads((folder / name).read_text())
                (content["settings"] if name == "config.json" else content).update(change)
                content.pop("sha256", None)
                (folder / name).write_text(json.dumps(content))
    capsys.readouterr()
    assert main(["report", *(str(tmp_path / f"h{h}-{s}") for h in (5, 4) for s in (1, 2, 3)), "--paired"]) == 0
    out = capsys.readouterr().out
    low, high = (
        100 * (0.08 / 3 + sign * 4.30265 * np.std([0.03, 0.04, 0.01], ddof=1) / np.sqrt(3)) for sign in (-1, 1)
    )
    assert f"| `train own.py --hidden 4` | 3 | +2.67 % ({low:+.2f} to {high:+.2f}) | 0.2500 |" in out
    assert "compared with `train own.py`" in out


def test_a_report_of_many_runs_reads_only_what_is_new(runs, tmp_path, monkeypatch, capsys):
    """A file that has changed, but has its size and time of before, is not read again."""
    monkeypatch.setenv("GENN_EVENTPROP_CACHE", str(tmp_path / "cache"))
    shutil.copytree("one4", tmp_path / "runs" / "a")
    shutil.copytree("one5", tmp_path / "runs" / "b")
    path = tmp_path / "runs" / "b" / "results.json"
    size, time = path.stat().st_size, path.stat().st_mtime_ns

    def report(accuracy=None):
        if accuracy is not None:
            content = {**json.loads(path.read_text()), "final_test_accuracy": accuracy}
            content.pop("sha256", None)
            path.write_text(json.dumps(content).ljust(size))
            os.utime(path, ns=(time, time))
        assert main(["report", str(tmp_path / "runs")]) == 0
        return capsys.readouterr().out

    first = report()
    assert report(0.25) == first and path.stat().st_size == size
    os.utime(path)
    assert "37.50 +-" in report() and "37.50 +-" not in first  # the mean of 0.25 and of the other run's 0.5
    (tmp_path / "cache" / "run_index.sqlite").write_bytes(b"no database")
    assert "62.50 +-" in report(0.75)


def test_the_table_takes_its_place_in_a_document(runs, capsys):
    Path("doc.md").write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    assert main(["report", "one4", "--markdown", "doc.md"]) == 0
    text = Path("doc.md").read_text()
    assert text.startswith(f"# Title\n\n{BEGIN}\n| experiment") and text.endswith(f"{END}\n\nafter\n")
    assert "old" not in text and "`train own.py`" in text
    assert main(["report", "one5", "--markdown", "doc.md"]) == 0
    assert Path("doc.md").read_text().count("| `train own.py` |") == 1
    Path("plain.md").write_text("# Title\n")
    capsys.readouterr()
    for arguments, status, message in (
        (["one4", "--markdown", "plain.md"], 1, "plain.md does not say where the table goes"),
        (["one4", "--markdown", "absent.md"], 1, "there is no document absent.md"),
        (["absent"], 1, "absent is not a run folder"),
        ([], 2, "name at least one run folder"),
    ):
        assert main(["report", *arguments]) == status
        assert message in capsys.readouterr().err
    Path("one4/results.json").unlink()
    assert main(["report", "one4"]) == 1
    assert "one4 has no results.json; has the run finished?" in capsys.readouterr().err
