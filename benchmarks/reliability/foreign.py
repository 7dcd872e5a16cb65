"""Folders with files of other programs under names like ours: every command that writes leaves each byte as it was."""

from __future__ import annotations

import os
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from genn_eventprop.cli.app import run as told
from genn_eventprop.data import Events
from genn_eventprop.data.readers import download, yin_yang

from . import runs
from .child import command, run
from .kills import undisturbed
from .table import Part

NAMES = (
    ".genn_eventprop.json", ".writer.json", ".lock", "config.json", "command.txt", "environment.json", "page.py.txt",
    "metrics.jsonl", "results.json", "model.json", "first_weights.npz", "samples.npz", "checkpoints/last.safetensors",
    "checkpoints/best.safetensors", "checkpoints/.last.safetensors.7.tmp", "checkpoints/epoch3.pt", "plots/curves.png",
    "plots/mine.png", "tensorboard/events.out.tfevents.1.host", "data.tmp", ".config.json.7.tmp", "repeats.json",
    "summary.json", "seed1/config.json", "seed2/thesis.tex", "cells/hidden=3.toml", "logs/hidden=3.log",
    "logs/hidden=3.log.status", "hidden=3/results.json", "hidden=3/checkpoints/last.safetensors", "table.md",
    "table.json", "best.toml", "search.json", "study.journal", "searching/me/x", "trial0000-seed1/config.json",
    "slurm/jobs.json", "report.md", "report.html", "figures/accuracy1.png", "view.html", "training_curves.png",
    "curves.png", "weights.npz", "hidden.csv", "model.c", "selftest.txt", "libmine.so", "build-release/network.cpp",
    "build-release/notes", "failed/x.cpp", "set-1/events.json", "set-1/times.f8", ".git-x/config", "events.json",
    "times.f8", "archive/inside.bin", "archive.zip", "words.h5",
)  # fmt: skip
"""What the commands below write themselves somewhere, and names near to it."""
CONTENTS = (
    b"", b"{}", b"[]", b"mine", b"\x00" * 64, b'{"format": "resnet 1", "epochs": 5, "sha256": "0"}', b'{"settings": 3}',
    b'{"epochs": 9, "config": {"settings": {}}}', b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ", b"# title\n",
    b"1,2\n3,4\n",
)  # fmt: skip
PAPER = """title = "One cell"
paper = "Nobody"
[[tables]]
title = "A table"
experiment = "page.py"
[tables.settings]
epochs = 1
[[tables.cells]]
name = "hidden=3"
settings = {hidden = [3]}
"""
SCAN = 'experiment = "page.py"\nfolder = "there"\n[settings]\nepochs = 1\n'


def foreign_folders(count: int, folder: Path, rng: np.random.Generator) -> Part:
    """`count` random folders, each command that writes in turn."""
    part, began = Part("folders of other programs, every command that writes"), time.monotonic()
    (folder / "page.py").write_text(runs.PAGE)
    (folder / "grid.toml").write_text(SCAN + "[grid]\nhidden = [[3]]\n")
    (folder / "search.toml").write_text(SCAN + "[search]\ntrials = 1\n[search.ranges]\nhidden = [[3], [4]]\n")
    (folder / "paper.toml").write_text(PAPER)
    whole, _ = undisturbed("exact", folder)
    shutil.copytree(whole, folder / "other")
    with zipfile.ZipFile(folder / "archive.zip", "w") as file:
        file.writestr("archive/inside.bin", b"from the archive")
    works, there, elsewhere = commands(folder, whole.name), folder / "there", folder / "elsewhere"
    names = list(works)
    for number in range(count):
        shutil.rmtree(there, ignore_errors=True)
        shutil.rmtree(elsewhere, ignore_errors=True)
        before = fill(there, elsewhere, rng)
        name = names[number % len(names)]
        if name == "engines" and not (there / "selftest.txt").exists():  # else it would take minutes
            (there / "selftest.txt").write_bytes(b"mine")
            before["there/selftest.txt"] = b"mine"
        done = run(works[name], folder, folder / "log")
        after = {key: (folder / key).read_bytes() if (folder / key).is_file() else None for key in before}
        changed = sorted(key for key in before if after[key] != before[key])
        said = "genn-eventprop: " in done.said or "usage" in done.said
        end = f"lost or changed {changed[0]}" if changed else done.fault
        end = end or ("harmless" if done.status == 0 else "refused with a message" if said else "no message")
        part.count(end, f"{name}, case {number}: {done.said[-300:]}")
    part.seconds = time.monotonic() - began
    return part


def fill(there: Path, elsewhere: Path, rng: np.random.Generator) -> dict[str, bytes]:
    """Files of another program in `there`; some of its folders are links to `elsewhere`. Path -> content."""
    there.mkdir()
    elsewhere.mkdir()
    (elsewhere / "precious").write_bytes(b"precious")
    found = {"elsewhere/precious": b"precious"}
    for name in rng.choice(NAMES, rng.integers(1, 9), replace=False):
        path, content = there / str(name), CONTENTS[rng.integers(len(CONTENTS))]
        if rng.random() < 0.1 and path.parent != there and not path.parent.exists():
            path.parent.parent.mkdir(parents=True, exist_ok=True)
            path.parent.symlink_to(elsewhere, target_is_directory=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        found[f"there/{name}"] = content
    return found


def commands(folder: Path, run_folder: str) -> dict[str, Callable[[], int]]:
    """Name -> what writes to, or removes from, `there`."""
    train = ("train", "page.py", "--epochs", "1", "--run-dir", "there")
    lines = {
        "train": train, "resume-if-started": (*train, "--resume-if-started"), "seeds": (*train, "--seeds", "1-2"),
        "seeds, jobs": (*train, "--seeds", "1", "--runner", "local"), "scan": ("scan", "grid.toml"),
        "scan --table": ("scan", "grid.toml", "--table"), "search": ("scan", "search.toml"),
        "scan status": ("scan", "status", "search.toml"), "reproduce": ("reproduce", "paper.toml", "--folder", "there"),
        "reproduce --report": ("reproduce", "paper.toml", "--folder", "there", "--report"),
        "reproduce --out": ("reproduce", "paper.toml", "--folder", "none", "--report", "--out", "there"),
        "resume": ("resume", "there"), "plot": ("plot", "there", "--only", "curves"), "view": ("view", "there"),
        "plot --out": ("plot", run_folder, "other", "--only", "curves", "--out", "there"),
        "view --out": ("view", run_folder, "--out", "there/view.html"),
        "report --markdown": ("report", run_folder, "--markdown", "there/report.md"),
        "export npz": ("export", run_folder, "there/weights.npz"), "export csv": ("export", run_folder, "there"),
        "export c": ("export", run_folder, "there/model.c", "--dt", "1"), "evaluate": ("evaluate", "there"),
        "convert-audio": ("convert-audio", "there", "there/words.h5"),
        "cache clear": ("cache", "clear", "--what", "all"),
        "engines": ("engines", "--selftest", "native", "--report", "there/selftest.txt"),
    }  # fmt: skip
    works = {name: command(*line) for name, line in lines.items()}
    works["cache clear"] = _with_caches_in(folder / "there", works["cache clear"])
    works["train, caches"] = _with_caches_in(folder / "there", command("evaluate", run_folder, "--page", "page.py"))
    works["save events"] = _function(lambda: yin_yang.load("test", 4).save(Path("there")))
    works["save a set"] = _function(lambda: Events([1.0], [0], [0, 1], 1).save(Path("there/set-1")))
    works["unpack"] = _function(lambda: download.unpack(Path("archive.zip"), Path("there")))
    works["make-data"] = _function(_links)
    return works


def _links() -> None:
    from genn_eventprop.cli import make_data

    make_data._link(Path("there"), {part: Path(f"there/spoken_words_{part}.h5") for part in ("train", "test")})


def _function(work: Callable[[], None]) -> Callable[[], int]:
    """A function of the library, its errors told as the command line does."""
    return lambda: told(lambda *_: work(), [], "library")


def _with_caches_in(there: Path, work: Callable[[], int]) -> Callable[[], int]:
    def child() -> int:
        there.chmod(0o700)
        os.environ["GENN_EVENTPROP_CACHE"] = os.environ["GENN_EVENTPROP_DATA_CACHE"] = str(there)
        return work()

    return child
