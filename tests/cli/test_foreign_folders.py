"""What another program wrote is never removed nor replaced, whatever its name; what is ours is known by its mark."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop.cli import main
from genn_eventprop.data import Events, cache
from genn_eventprop.data.readers import download
from genn_eventprop.errors import DataError, SettingError
from genn_eventprop.runs import mark
from genn_eventprop.runs.run_folder import RunFolder
from genn_eventprop.runs.run_lock import NAME, lock_for_writing
from genn_eventprop.toolchain import clear
from support.extras import needs

PAGE = """
from dataclasses import dataclass
from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.losses import FirstSpikeCrossEntropy
from genn_eventprop.models.lif import LIF
from genn_eventprop.experiment import Experiment, ExperimentConfig

@dataclass(frozen=True)
class Config(ExperimentConfig):
    epochs: int = 2
    engine: str = "reference_clock"
    hidden: int = 3

def folds(config):
    return {"a": {}, "b": {}}

def build(config):
    net = Network()
    inp, hidden = net.input(2), net.population(LIF(), config.hidden, name="hidden")
    out = net.population(LIF(), 2, name="output")
    net.connect(inp, hidden, Dense(Normal(2.0, 0.8)))
    net.connect(hidden, out, Dense(Normal(1.5, 0.3)))
    trainer = Trainer(net, FirstSpikeCrossEntropy(out), duration=20.0, dt=1.0, engine=config.engine,
                      batch_size=4, seed=config.seed, progress=False)
    samples = [([1.0, 4.0 + 0.3 * i], [i % 2, 1 - i % 2]) for i in range(12)]
    events = Events.from_samples(samples, 2, [i % 2 for i in range(12)])
    return Experiment(trainer, events[:8], events[8:10], events[10:])
"""
SCAN = 'experiment = "page.py"\nfolder = "there"\n[settings]\nepochs = 1\n'
GRID, SEARCH = SCAN + "[grid]\nhidden = [3]\n", SCAN + "[search]\ntrials = 1\n[search.ranges]\nhidden = [3, 4]\n"
PAPER = """
title = "Two cells"
paper = "Nobody"
[[tables]]
title = "A table"
experiment = "page.py"
[tables.settings]
epochs = 1
[[tables.cells]]
name = "three"
settings = {hidden = 3}
"""
LINE = ["train", "page.py", "--run-dir", "there", "--resume-if-started"]
FOREIGN = {
    "config.json": '{"model": "resnet"}', "results.json": '{"epochs": 5}', "metrics.jsonl": '{"loss": 1}\n',
    "checkpoints/epoch1.pt": "weights", "checkpoints/last.safetensors": "weights", "plots/mine.png": "picture",
    "data.tmp": "half", "tensorboard/notes": "x", "samples.npz": "y", "model.json": "{}", "environment.json": "[]",
    "repeats.json": '{"settings": 3}', "table.md": "my table", "study.journal": "{}", "cells/three.toml": "a = 1",
    "report.md": "my report", ".lock": "", "logs/three.log": "done", "three/config.json": "{}",
    "seed1/config.json": "{}",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("page.py").write_text(PAGE)
    Path("grid.toml").write_text(GRID)
    Path("search.toml").write_text(SEARCH)
    Path("paper.toml").write_text(PAPER)
    return tmp_path


def contents(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(Path(folder).rglob("*"))
    }


def filled(files):
    for name, text in files.items():
        Path("there", name).parent.mkdir(parents=True, exist_ok=True)
        Path("there", name).write_text(text)
    return contents("there")


COMMANDS = {
    "resumed": LINE, "new": LINE[:-1], "seeds": [*LINE[:4], "--seeds", "1"],
    "folds": [*LINE[:4], "--cross-validate"], "jobs": [*LINE[:4], "--seeds", "1", "--runner", "local"],
    "scan": ["scan", "grid.toml"], "table": ["scan", "grid.toml", "--table"],
    "search": ["scan", "search.toml"], "status": ["scan", "status", "search.toml"],
    "reproduce": ["reproduce", "paper.toml", "--folder", "there"],
    "only the report": ["reproduce", "paper.toml", "--folder", "there", "--report"],
    "resume": ["resume", "there"], "plot": ["plot", "there"], "view": ["view", "there"],
    "report": ["report", "there"], "export": ["export", "there", "weights.npz"],
}  # fmt: skip


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_foreign_folder_stays_as_it_is(folder, capsys, name):
    if "search" in name or name == "status":
        needs("optuna")
    before = filled(FOREIGN)
    assert main(COMMANDS[name]) == 1
    err = capsys.readouterr().err
    assert "there" in err and ("choose another" in err or "is not a run folder" in err) and "Traceback" not in err
    assert contents("there") == before


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", FOREIGN)
def test_one_foreign_file_is_enough(folder, capsys, name):
    if name == ".lock":
        pytest.skip("an empty .lock alone may be that of a scan that was killed at once")
    before = filled({name: FOREIGN[name]})
    assert main(LINE) == 1
    assert f"there holds {name.split('/')[0]} but no run; choose another --run-dir" in capsys.readouterr().err
    assert contents("there") == before


@pytest.mark.parametrize("name", ["notes.txt", "plots/mine.png", "checkpoints/best.pt", "data.tmp", "tensorboard/x"])
def test_a_run_that_starts_over_removes_what_it_wrote(folder, capsys, name):
    RunFolder.create("there", {"a": 1}, "page")
    for own in (".config.json.17.tmp", ".first_weights.npz.x1", "checkpoints/.best.safetensors.9.tmp"):
        Path("there", own).write_text("half")
    Path("there/tensorboard").mkdir()
    Path("there/tensorboard/events.out.tfevents.1.host").write_text("x")
    Path("there", name).write_text("mine")
    before = contents("there")
    assert main(LINE) == 1
    assert f"there holds {name}, which its run did not write; move it elsewhere" in capsys.readouterr().err
    assert contents("there") == before
    Path("there", name).unlink()
    assert main(LINE) == 0 and json.loads(Path("there/results.json").read_text())["epochs"] == 2


@pytest.mark.one_in(2)
@pytest.mark.parametrize("kept", mark.RECORDS["run"])
def test_an_old_run_is_known_by_its_records(folder, kept):
    """The mark, and all records but one, are gone."""
    assert main(LINE) == 0
    for name in (mark.NAME, *mark.RECORDS["run"]):
        if name != kept:
            Path("there", name).unlink()
    shutil.rmtree("there/checkpoints")
    assert mark.kind_of(Path("there")) == "run"
    Path("there", kept).write_text("{}")
    assert mark.kind_of(Path("there")) is None


@pytest.mark.ci
def test_old_folders_of_every_kind_go_on(folder, capsys):
    assert main([*LINE, "--epochs", "1"]) == 0
    Path("there", mark.NAME).unlink()
    assert main(LINE) == 0 and json.loads(Path("there/results.json").read_text())["epochs"] == 2
    shutil.rmtree("there")
    for words in (COMMANDS["seeds"], COMMANDS["jobs"], COMMANDS["scan"], COMMANDS["reproduce"]):
        assert main(words) == 0
        for path in Path("there").rglob(mark.NAME):
            path.unlink()
        capsys.readouterr()
        assert main(words) == 0, capsys.readouterr().err
        assert "already finished" in capsys.readouterr().out
        if "--runner" in words or "--seeds" not in words:
            shutil.rmtree("there")


def test_a_folder_of_another_kind_is_refused(folder, capsys):
    assert main([*LINE, "--epochs", "1"]) == 0
    before = contents("there")
    for words, kind in ((COMMANDS["scan"], "scan"), (COMMANDS["seeds"], "repeats")):
        assert main(words) == 1
        assert f"there is the folder of a run, not of a {kind}; choose another" in capsys.readouterr().err
    assert contents("there") == before


def test_an_empty_folder_is_used_and_not_removed(folder):
    Path("there").mkdir()
    Path("page.py").write_text(PAGE.replace("net = Network()", "raise ValueError"))
    with pytest.raises(ValueError):
        main(LINE)
    assert contents("there") == {}
    Path("page.py").write_text(PAGE)
    assert main(LINE) == 0


@pytest.mark.parametrize("content", [b"mine", b'{"lock": 1}', b"[1]", b'{"host": "a", "port": 80}'])
def test_a_foreign_lock_is_not_removed(tmp_path, content):
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(SettingError, match="was not written by genn-eventprop"), lock_for_writing(tmp_path):
        pass
    assert contents(tmp_path) == {NAME: content}


def test_pages_and_figures_of_others_are_not_replaced(folder, capsys):
    assert main([*LINE[:4], "--seeds", "1-2", "--epochs", "1"]) == 0
    Path("plots").mkdir()
    Path("mine").mkdir()
    files = ("plots/training_curves.png", "mine/report.md", "mine/page.html", "mine/selftest.txt")
    for name in files:
        Path(name).write_text("mine")
    commands = (
        ["plot", "there/seed1", "there/seed2", "--only", "curves"],
        ["reproduce", "paper.toml", "--report", "--out", "mine"],
        ["view", "there/seed1", "--out", "mine/page.html"],
        ["engines", "--selftest", "native", "--report", "mine/selftest.txt"],
    )
    for name, words in zip(files, commands):
        assert main(words) == 1
        assert f"{name} exists and was not written by genn-eventprop; remove it, or choose another" in (
            capsys.readouterr().err
        )
        assert Path(name).read_text() == "mine"
    for name, words in zip(files[1:2], commands[1:2]):  # ours are
        Path(name).unlink()
        assert main(words) == 0 and main(words) == 0


def test_links_to_the_real_data_stay(folder, capsys):
    from genn_eventprop.cli import make_data

    Path("real.h5").write_text("SHD")
    Path("words/SHD").mkdir(parents=True)
    os.symlink("../../real.h5", "words/SHD/shd_train.h5")
    with pytest.raises(SettingError, match="shd_train.h5 exists and is no link that make-data made"):
        make_data.check_links(Path("words"))
    Path("words/SHD/shd_train.h5").unlink()
    paths = {part: Path(f"words/spoken_words_{part}.h5") for part in ("train", "test")}
    make_data.link_as_shd(Path("words"), paths)
    make_data.link_as_shd(Path("words"), paths)
    Path("words/SHD/README.txt").write_text("of the data set")
    with pytest.raises(SettingError, match="README.txt exists and was not written by make-data"):
        make_data.link_as_shd(Path("words"), paths)
    assert Path("words/SHD/README.txt").read_text() == "of the data set"


def test_clearing_a_cache_leaves_what_is_not_of_it(tmp_path):
    foreign = ("libmine.so", "failed/notes.cpp", "build-release/a.o", "set/events.json", ".git-x/config")
    for name in foreign:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    Events([1.0], [0], [0, 1], 1).save(tmp_path / "recordings")
    before = contents(tmp_path)
    assert clear(tmp_path) == (0, 0) and cache.clear(tmp_path) == (0, 0)
    assert contents(tmp_path) == before


def test_events_do_not_replace_another_folder(tmp_path):
    events = Events([1.0], [0], [0, 1], 1)
    (tmp_path / "thesis").mkdir()
    events.save(tmp_path / "thesis")  # empty
    events.save(tmp_path / "thesis")
    (tmp_path / "thesis" / "chapter.tex").write_text("years")
    with pytest.raises(DataError, match=r"holds chapter.tex, which is no file of events; it is not replaced"):
        events.save(tmp_path / "thesis")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "samples.npz").write_text("x")
    with pytest.raises(DataError, match="is no folder of events; it is not replaced"):
        events.save(tmp_path / "other")
    assert (tmp_path / "thesis/chapter.tex").read_text() == "years" and (tmp_path / "other/samples.npz").exists()


def test_an_archive_replaces_nothing(tmp_path):
    (tmp_path / "in/Train").mkdir(parents=True)
    (tmp_path / "in/Train/1.bin").write_text("one")
    archive = Path(shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path / "in"))
    (tmp_path / "out/Train").mkdir(parents=True)
    (tmp_path / "out/Train/2.bin").write_text("mine")
    with pytest.raises(DataError, match="Train is in the way of what .*a.zip holds, and has other contents"):
        download.unpack(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == {"Train": None, "Train/2.bin": b"mine"}
    (tmp_path / "out/Train/2.bin").rename(tmp_path / "out/Train/1.bin")
    (tmp_path / "out/Train/1.bin").write_text("one")
    download.unpack(archive, tmp_path / "out")  # what an interrupted call has put there
    with pytest.raises(DataError, match="a.zip exists and is not the file at http://x.invalid"):
        download.fetch("http://x.invalid", archive, "0" * 32, progress=False)
    assert archive.is_file() and np.array_equal(sorted(os.listdir(tmp_path)), ["a.zip", "in", "out"])
