"""`reproduce`: papers as files of cells, one report of ours beside theirs, going on after a kill, what is refused."""

import html.parser
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genn_eventprop.cli import main
from genn_eventprop.errors import SettingError
from genn_eventprop.experiment import load_experiment
from genn_eventprop.experiment.experiment import config_from_json
from genn_eventprop.report.reproduce import Cell, Outcome, Table, collect, find_paper, paper_names, read_paper
from genn_eventprop.report.reproduce.collect import order_steps
from genn_eventprop.report.reproduce.report import difference, order_words, row_of
from genn_eventprop.runs.run_folder import RunFolder

PAGE = '''
"""Two classes, told by which channel spikes first."""
from dataclasses import dataclass
from genn_eventprop import Events
from genn_eventprop.experiment import LayeredConfig, layered

@dataclass(frozen=True)
class Config(LayeredConfig):
    hidden: tuple[int, ...] = (4,)
    duration: float = 20.0
    dt: float | None = 1.0
    spike_times: str = "grid"
    engine: str = "reference_clock"
    input_weight: tuple[float, float] = (1.0, 0.3)
    epochs: int = 2
    speaker_out: str = "a"

def build(config):
    samples = [([1.0, 4.0 + 0.3 * i], [i % 2, 1 - i % 2]) for i in range(12)]
    events = Events.from_samples(samples, 2, [i % 2 for i in range(12)])
    return layered(config, events[:6], events[6:9], events[9:], ["left", "right"])
'''
PAPER = """
title = "A <small> paper"
paper = "Nobody 2026"
experiment = "page.py"
seeds = "1-2"
text = "What `it` says."
differences = ["Everything, **because** it is small."]
[quick]
seeds = "7"
cells = ["wide"]
settings = {epochs = 1}
[[tables]]
title = "Widths"
worst_first = ["narrow", "wide"]
[tables.settings]
epochs = 3
[[tables.cells]]
name = "narrow"
settings = {hidden = [3]}
published = {accuracy = 90.0, deviation = 1.0, seeds = 4, note = "A guess."}
[[tables.cells]]
name = "wide"
[[tables.cells]]
name = "speakers"
seeds = "5"
settings = {epochs = 1}
folds = {speaker_out = ["a", "b"]}
"""
ROOT = Path("runs/reproduce/tiny")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("page.py").write_text(PAGE)
    Path("tiny.paper.toml").write_text(PAPER)
    return tmp_path


class Reader(html.parser.HTMLParser):
    """What a browser would fetch or run, and the alternative texts of pictures."""

    def __init__(self):
        super().__init__()
        self.fetched, self.alt, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.fetched += [
            given[key] for key in ("src", "href") if key in given and not given[key].startswith(("#", "data:"))
        ]
        self.alt += [given.get("alt", "")] if tag == "img" else []


@pytest.mark.ci
def test_a_paper_is_run_once_and_reported(folder, capsys):
    assert main(["reproduce", "tiny.paper.toml", "--processes", "2"]) == 0
    out = capsys.readouterr().out
    assert "6 runs, 0 already finished, 2 at once, in runs/reproduce/tiny" in out
    assert re.search(r"\| narrow +\| 2 \(seeds 1, 2\) +\| \d", out)
    names = ["narrow,seed=1", "narrow,seed=2", "wide,seed=1", "wide,seed=2"]
    names += ["speakers,speaker_out=a,seed=5", "speakers,speaker_out=b,seed=5"]
    assert sorted(p.parent.name for p in ROOT.glob("*/results.json")) == sorted(names)
    settings = RunFolder(ROOT / "speakers,speaker_out=b,seed=5").config["settings"]
    assert (settings["speaker_out"], settings["epochs"], settings["seed"]) == ("b", 1, 5)
    report = (ROOT / "report.md").read_text()
    assert (
        "**6 of 6 runs are finished**" in report
        and "Not run" not in report
        and "* Everything, **because** it is small." in report
    )
    found = [100 * RunFolder(ROOT / f"narrow,seed={s}").results["test_accuracy"] for s in (1, 2)]
    row = next(line for line in report.splitlines() if line.startswith("| narrow"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1] == "2 (seeds 1, 2)" and cells[2].startswith(f"{sum(found) / 2:.2f} +- ")
    assert cells[3] == "90.00 +- 1.00 (4 seeds)" and cells[4].startswith(f"{sum(found) / 2 - 90:+.2f}")
    assert re.fullmatch(r"\d of 3", cells[6]) and cells[7] == "3"
    assert "The paper's order is `narrow` < `wide`." in report and "`wide` is above `narrow` in" in report
    accuracy = {f: 100 * RunFolder(ROOT / f"speakers,speaker_out={f},seed=5").results["test_accuracy"] for f in "ab"}
    row = [line for line in report.splitlines() if line.startswith("| speakers")][1]
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "speakers",
        *(f"{v:.1f}" for v in accuracy.values()),
    ]
    assert (
        "a cell has `epochs = 3`" in report
        and "hidden = [3]" in report
        and "`runs/reproduce/tiny/narrow,seed=1` and 1 more" in report
    )
    assert "engine reference_clock" in report and "Python" in report
    for picture in re.findall(r"\]\((figures/.*?)\)", report):
        assert (ROOT / picture).stat().st_size > 5000
    assert main(["reproduce", "tiny.paper.toml"]) == 0
    assert "6 runs, 6 already finished" in capsys.readouterr().out


@pytest.mark.ci
def test_the_report_is_one_file_without_a_network(folder, capsys):
    assert main(["reproduce", "tiny.paper.toml", "--only", "narrow", "--seeds", "1"]) == 0
    text = (ROOT / "report.html").read_text()
    reader = Reader()
    reader.feed(text)
    assert reader.fetched == [] and "script" not in reader.tags and "link" not in reader.tags
    assert "url(" not in text and "http" not in text
    assert len(reader.alt) == 2 and all(reader.alt)
    assert "A &lt;small&gt; paper</h1>" in text and "<code>it</code>" in text
    assert '<th scope="col">published (%)</th>' in text and '<th scope="row">narrow</th>' in text
    assert "<strong>1 of 4 runs are finished</strong>" in text  # the other cells stand in it, not run
    assert "<strong>Not run</strong>: " in text


def test_settings_that_every_cell_has_are_told_once(folder, capsys):
    Path("tiny.paper.toml").write_text(PAPER.replace("epochs = 3", "epochs = 3\nbatch_size = 4"))
    assert main(["reproduce", "tiny.paper.toml", "--report"]) == 0
    report = (ROOT / "report.md").read_text()
    assert report.count("batch_size") == 1 and "a cell has `epochs = 3, batch_size = 4`." in report
    cells = [line.split("|")[3].strip() for line in report.splitlines() if "`train page.py`" in line]
    assert cells == ["hidden = [3]", "-", "epochs = 1"]


@pytest.mark.ci
def test_a_killed_reproduction_goes_on(folder):
    Path("tiny.paper.toml").write_text(PAPER.replace("epochs = 3", "epochs = 40"))
    command = [
        sys.executable,
        "-m",
        "genn_eventprop",
        "reproduce",
        "tiny.paper.toml",
        "--only",
        "narrow",
        "--seeds",
        "1",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    metrics, deadline = ROOT / "narrow,seed=1/metrics.jsonl", time.monotonic() + 60
    while not (metrics.is_file() and metrics.read_text().count("\n") > 2) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (ROOT / "narrow,seed=1/results.json").exists()
    deadline = time.monotonic() + 30
    while main(command[3:]) != 0:  # the orphaned training still holds the lock
        assert time.monotonic() < deadline
        time.sleep(0.05)
    options = ["--epochs", "40", "--hidden", "3", "--seed", "1", "--run-dir", "whole"]
    assert main(["train", "page.py", *options]) == 0
    a, b = (json.loads(Path(p, "results.json").read_text()) for p in ("whole", ROOT / "narrow,seed=1"))
    assert (a["test_loss"], a["updates"]) == (b["test_loss"], b["updates"])


@pytest.mark.ci
def test_only_quick_dry_run_and_report(folder, capsys):
    assert main(["reproduce", "tiny.paper.toml", "--dry-run"]) == 0
    told = capsys.readouterr().out.split()
    runs = [word for word in told if "seed=" in word]
    assert runs[:3] == ["narrow,seed=1", "wide,seed=1", "speakers,speaker_out=a,seed=5"] and not ROOT.exists()
    assert main(["reproduce", "tiny.paper.toml", "--quick"]) == 0
    assert [p.name for p in Path("runs/reproduce/tiny-quick").glob("*seed*")] == ["wide,seed=7"]
    assert RunFolder("runs/reproduce/tiny-quick/wide,seed=7").results["epochs"] == 1
    assert "**This is the quick version**" in Path("runs/reproduce/tiny-quick/report.md").read_text()
    assert main(["reproduce", "tiny.paper.toml", "--report", "--out", "docs/tiny"]) == 0
    assert "Best validation" not in Path("docs/tiny/report.md").read_text() and not ROOT.exists()
    assert "weights that validation chose" in Path("docs/tiny/report.html").read_text()
    assert main(["reproduce", "tiny.paper.toml", "--report"]) == 0
    assert "**0 of 6 runs are finished**" in (ROOT / "report.md").read_text()
    assert "no pair of these cells has finished runs yet" in (ROOT / "report.md").read_text()


def test_a_failed_run_is_named(folder, capsys):
    Path("tiny.paper.toml").write_text(PAPER.replace('name = "wide"', 'name = "wide"\nsettings = {loss = "no_loss"}'))
    assert main(["reproduce", "tiny.paper.toml", "--only", "wide", "--seeds", "1"]) == 1
    captured = capsys.readouterr()
    assert "wide,seed=1: failed: " in captured.out and "no_loss" in captured.out
    assert "1 runs failed; see runs/reproduce/tiny/logs/wide,seed=1.log" in captured.err
    assert (ROOT / "report.html").is_file()


@pytest.mark.parametrize(
    "change, message",
    [
        (("seeds =", "seed ="), "unknown key 'seed'; did you mean 'seeds'"),
        (('name = "speakers"', 'name = "narrow"'), "two cells are called 'narrow'"),
        (('name = "wide"', 'name = "so wide"'), "letters, digits and _ . + -"),
        (('experiment = "page.py"', ""), "name the experiment"),
        (("{hidden = [3]}", "{hiden = [3]}"), "cell 'narrow': unknown setting 'hiden'; did you mean 'hidden'"),
        (('worst_first = ["narrow"', 'worst_first = ["narow"'), "worst_first: did you mean 'narrow'"),
        (('title = "Widths"', 'title = "W"\naccuracy = "best"'), "accuracy = 'best'"),
        (("note =", "remark ="), "published of 'narrow': unknown key 'remark'"),
        (('title = "A <small> paper"', ""), "title is missing"),
    ],
)
def test_mistakes_in_a_paper(folder, change, message):
    assert change[0] in PAPER
    Path("tiny.paper.toml").write_text(PAPER.replace(*change))
    with pytest.raises(SettingError, match=re.escape(message)):
        read_paper(Path("tiny.paper.toml"))


def test_what_is_not_there_is_refused(folder, capsys):
    for arguments, message in (
        (["ying-yang"], "there is no paper 'ying-yang'; did you mean 'yin-yang'"),
        (["yin-yang", "--data", "spoken_digits"], "yin-yang on 'spoken_digits' is not prepared"),
        (["tiny.paper.toml", "--data", "x"], "--data is for the papers that come with the package"),
        (["tiny.paper.toml", "--only", "narow"], "tiny has no cell 'narow'; did you mean 'narrow'"),
        (["tiny.paper.toml", "--processes", "0"], "processes must be an integer >= 1"),
        (["no.toml"], "there is no config file no.toml"),
    ):
        assert main(["reproduce", *arguments]) == (2 if "there is no paper" in message else 1)
        assert message in capsys.readouterr().err


def test_the_list_of_papers(capsys):
    assert main(["reproduce", "--help"]) == 0
    out = capsys.readouterr().out
    assert "  loss-shaping\n" in out and "  loss-shaping.spoken_digits\n" in out and "  yin-yang\n" in out


@pytest.mark.parametrize("name", paper_names())
@pytest.mark.parametrize("quick", [False, True])
def test_papers_have_settings_of_their_experiments(name, quick):
    base, _, data = name.partition(".")
    paper = find_paper(base, data or None, quick)
    assert paper.text and paper.differences
    for scan in paper.scans(Path("x")):
        for settings in scan.cells().values():
            scan.expected(settings)
            if "loss" in settings and "output_weight" in settings:
                assert config_from_json(load_experiment(scan.file.source).config, settings).output_weight
    if quick:
        assert len(paper.runs()) <= 8


def test_numbers_of_the_report(folder):
    """Deviations over seeds, with folds over the seeds' means; standard errors; the order counted run by run."""
    paper = read_paper(Path("tiny.paper.toml"))
    values = {"narrow": {1: 0.9, 2: 0.8}, "wide": {1: 0.7, 2: 0.95}}
    for cell, by_seed in values.items():
        for seed, accuracy in by_seed.items():
            write_run(ROOT / f"{cell},seed={seed}", accuracy)
    for fold, accuracy in (("a", 0.5), ("b", 0.7)):
        write_run(ROOT / f"speakers,speaker_out={fold},seed=5", accuracy)
    outcomes = collect(paper, ROOT)
    narrow, speakers = outcomes["narrow"], outcomes["speakers"]
    assert narrow.mean == pytest.approx(85) and narrow.deviation == pytest.approx(50**0.5)
    assert speakers.mean == pytest.approx(60) and speakers.deviation is None  # one seed
    assert difference(narrow) == f"-5.00 ({5 / (50 / 2 + 1 / 4) ** 0.5:.1f} standard errors)"
    assert row_of(narrow)[5:7] == ["1.50", "159 of 200"]
    (step,) = order_steps(paper.tables[0], outcomes)
    assert (step.agreeing, step.compared.pairs) == (1, 2) and step.compared.mean == pytest.approx(-2.5)
    assert "does **not** hold here in every step" in order_words(paper.tables[0], [step])


def write_run(path, accuracy):
    path.mkdir(parents=True)
    activity = {"hidden": {"neurons": 200, "silent": 159, "spikes_per_neuron": 1.5}}
    results = {
        "epochs": 3,
        "seconds_training": 1.0,
        "test_accuracy": accuracy,
        "engine": "native",
        "activity": activity,
    }
    run = RunFolder(path)
    run.write_results(results)
    (path / "config.json").write_text(json.dumps({"settings": {"epochs": 3}}))
    for epoch in (1, 2, 3):
        run.append_metrics({"epoch": epoch})


def test_cells_with_folds_are_ordered_by_folds():
    """Two seeds of one speaker are not two speakers."""
    cells = [Cell(name, {}, (1, 2), {"speaker_out": ["x", "y"]}) for name in ("bad", "good")]
    found = {"bad": {"x": (0.2, 0.4), "y": (0.6, 0.7)}, "good": {"x": (0.5, 0.6), "y": (0.6, 0.6)}}
    outcomes = {}
    for cell in cells:
        runs = {
            name: {"test_accuracy": found[cell.name][settings["speaker_out"]][settings["seed"] - 1]}
            for name, settings in cell.runs().items()
        }
        outcomes[cell.name] = Outcome(cell, "test_accuracy", runs, {}, {}, 4)
    assert outcomes["bad"].by_fold() == pytest.approx({"x": 30.0, "y": 65.0})
    table = Table("Speakers", "page.py", "test_accuracy", tuple(cells), worst_first=("bad", "good"))
    (step,) = order_steps(table, outcomes)
    assert (step.agreeing, step.compared.pairs) == (1, 2) and step.compared.mean == pytest.approx(10.0)
    assert "`good` is above `bad` in 1 of 2 folds (+10.0 points" in order_words(table, [step])
