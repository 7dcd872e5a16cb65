"""The folder of one run: its settings, the machine, every epoch's numbers, the final ones, checkpoints, plots.

.genn_eventprop.json  says that the folder is one of ours, see `mark`; written first
config.json        the experiment and all its settings
command.txt        the command line that started the run
page.py.txt        the experiment's page, for people to read: nothing runs it
environment.json   versions, machine, commit
metrics.jsonl      a line an epoch
results.json       the final numbers
model.json         the model as data, first_weights.npz and samples.npz beside it: see `training.run_files`
checkpoints/       best.safetensors, last.safetensors
plots/
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import write_errors, write_text
from ..checksummed import verified, with_checksum
from ..errors import SettingError, TrainingError
from ..regular import read_regular
from . import mark
from .run_lock import current_path

PAGE_TEXT, MODEL, FIRST, SAMPLES = "page.py.txt", "model.json", "first_weights.npz", "samples.npz"
TEXTS = (mark.NAME, "config.json", "command.txt", "environment.json", PAGE_TEXT, MODEL, FIRST, SAMPLES)
BEFORE_FIRST = {
    "": re.compile("|".join(rf"{re.escape(name)}|\.{re.escape(name)}\..+" for name in TEXTS)),
    "checkpoints": re.compile(r"\.(best|last)\.safetensors\..+"),
    "plots": re.compile(r"(?!)"),
    "tensorboard": re.compile(r"events\.out\.tfevents\..+"),
}
"""Folder in a run folder -> names of the files that a run may have written there before its first checkpoint, and of
half-written ones (``.NAME.*``)."""


FREE = (".lock",)
"""May be in a folder that has no mark yet: the lock of a scan that was killed at once."""


DEPTH = dict.fromkeys(
    (
        "epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "undecided", "guarded",
        "clipped_spikes", "clipped_gradients", "learning_rate", "seconds",
    ), 0,
) | dict.fromkeys(
    ("spikes_per_neuron", "silent", "runaway", "gradient_norms", "validation_interval", "validation_per_class"), 1
) | {"losses": 2}  # fmt: skip
"""Of metrics.jsonl: in how many containers the numbers of a key stand."""


def _numbers(value: Any, depth: int) -> bool:
    """Whether these are numbers, or None, in so many lists or dictionaries."""
    if value is None:
        return True
    if depth == 0:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    inside = value.values() if isinstance(value, dict) else value
    return isinstance(value, (dict, list)) and all(_numbers(v, depth - 1) for v in inside)


class RunFolder:
    """Paths and writers of a run folder; `create` starts one, `open` finds one that exists."""

    def __init__(self, path: Path | str) -> None:
        self.name = Path(path)

    @property
    def path(self) -> Path:
        """Where it is: a folder that was renamed while this process writes to it is written to under its new name."""
        return current_path(self.name)

    @classmethod
    def create(cls, path: Path | str, config: Mapping[str, Any] | None = None, page: str = "") -> RunFolder:
        """Make the folder and write config.json, command.txt, environment.json and, if there is one, the page.

        Raises:
            SettingError: if the folder exists and is not empty: a run is never overwritten.
        """
        folder = cls(path)
        folder.check_free()
        with write_errors(folder.path, TrainingError, folder.then):
            folder.path.mkdir(parents=True, exist_ok=True)
        folder.write_record(mark.NAME, mark.record("run"))  # first: what is killed later is known to be ours
        with write_errors(folder.path, TrainingError, folder.then):
            folder.checkpoints.mkdir(exist_ok=True)
            folder.plots.mkdir(exist_ok=True)
        folder.write_record("config.json", dict(config or {}))
        folder.write_text("command.txt", shlex.join(sys.argv) + "\n")
        folder.write_record("environment.json", environment())
        if page:
            folder.write_text(PAGE_TEXT, page)
        return folder

    def check_free(self) -> None:
        """Raise `SettingError` if the folder exists and holds more than the lock of its writer."""
        is_file = self.path.exists() and not self.path.is_dir()
        if is_file or mark.strangers(self.path):
            is_run = mark.kind_of(self.path) == "run"
            raise SettingError(
                f"run folder {self.path} exists and is not empty; choose another --run-dir"
                + (f", or continue it with: genn-eventprop resume {self.path}" if is_run else "")
            )

    @classmethod
    def open(cls, path: Path | str) -> RunFolder:
        """An existing run folder.

        Raises:
            SettingError: if there is none.
        """
        folder = cls(path)
        folder.check_entries()
        if not (folder.path / "config.json").is_file():
            raise SettingError(
                f"{folder.path} is not a run folder (it has no config.json); name one that train wrote, such as "
                "runs/yin_yang-seed1-1"
            )
        if mark.kind_of(folder.path) != "run":
            raise SettingError(f"{folder.path} is not a run folder (genn-eventprop did not write its config.json)")
        return folder

    def check_entries(self) -> None:
        """Raise `SettingError` for a link that leads out of the folder, and for a pipe, socket or device in it.

        A run folder may come from anybody. A link is written through, not replaced: what is written there would be
        somewhere else. A pipe is waited for.
        """
        root = self.path.resolve()
        folders = [part for part in (self.path, self.checkpoints, self.plots) if part.is_dir()]
        for entry in (entry for part in folders for entry in sorted(part.iterdir())):
            if entry.is_symlink() and not entry.resolve().is_relative_to(root):
                raise SettingError(
                    f"{entry} is a link to {os.readlink(entry)}, out of the run folder; put what it leads to in its "
                    "place"
                )
            if entry.exists() and not (entry.is_file() or entry.is_dir()):
                raise SettingError(f"{entry} is a pipe, socket or device, which no run has written; remove it")

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def checkpoint(self, which: str) -> Path:
        """The "best" (chosen on validation) or "last" checkpoint; a run without validation has no other choice."""
        best = self.checkpoints / f"{which}.safetensors"
        return best if best.exists() else self.checkpoints / "last.safetensors"

    def saved(self) -> tuple[Path, Path]:
        """Where the checkpoints that a run can go on from are, the latest first."""
        return self.checkpoints / "last.safetensors", self.checkpoints / "best.safetensors"

    def start_over(self) -> None:
        """Remove the files of a run that was killed before its first checkpoint, each by its name.

        Raises:
            SettingError: the folder is not that of a run, or there is something else in it; nothing is removed.
        """
        others = mark.strangers(self.path)
        if not others:
            return
        if mark.kind_of(self.path) != "run":
            raise SettingError(f"{self.path} holds {others[0]} but no run; choose another --run-dir")
        files, folders = self._before_first(others)
        for file in files:
            file.unlink()
        for folder in folders:
            folder.rmdir()
        (self.path / mark.NAME).unlink(missing_ok=True)  # last: what is interrupted here is still known to be ours

    def _before_first(self, names: Sequence[str]) -> tuple[list[Path], list[Path]]:
        """(files, folders) among these names that a run writes before its first checkpoint."""
        files, folders = list[Path](), list[Path]()
        for entry in (self.path / name for name in names):
            inside = entry.is_dir() and not entry.is_symlink()
            pattern = BEFORE_FIRST.get(entry.name if inside else "")
            entries = sorted(entry.iterdir()) if inside else [entry]
            other = next((p for p in entries if pattern is None or p.is_dir() or not pattern.fullmatch(p.name)), None)
            if other is not None or pattern is None:
                strange = (other or entry).relative_to(self.path)
                raise SettingError(
                    f"{self.path} holds {strange}, which its run did not write; move it elsewhere, or choose another "
                    "--run-dir"
                )
            files += entries
            folders += [entry] if inside else []
        return files, folders

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    @property
    def config(self) -> dict[str, Any]:
        return self._read("config.json")

    @property
    def model(self) -> dict[str, Any]:
        return self._read(MODEL)

    @property
    def results(self) -> dict[str, Any]:
        results = self._read("results.json")
        for key, value in results.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            missing = value is None and key != "epochs"
            if (key == "epochs" or key.endswith(("_accuracy", "_loss"))) and not number and not missing:
                raise SettingError(
                    f"{self.path / 'results.json'} is damaged: {key} is {str(value)[:40]!r}, not a number"
                )
        return results

    @property
    def environment(self) -> dict[str, Any]:
        return self._read("environment.json")

    @property
    def readable_metrics(self) -> list[dict[str, Any]]:
        """`metrics`; none where they are damaged: results count without their curve, and a resume writes them again."""
        try:
            return self.metrics
        except SettingError:
            return []

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """One dictionary an epoch; a last line that was cut while it was written is not one.

        Raises:
            SettingError: a line is damaged, or lines are missing.
        """
        path = self.path / "metrics.jsonl"
        try:
            lines = read_regular(path, self.path).split(b"\n")[:-1] if path.exists() else []
        except OSError as error:
            raise SettingError(f"{path} cannot be read ({error.strerror})") from None
        epochs = [self._epoch(line, number) for number, line in enumerate(lines, 1)]
        if [line["epoch"] for line in epochs] != list(range(1, len(epochs) + 1)):
            raise SettingError(f"{path}: an epoch is missing or appears twice; {self._again}")
        if (self.path / "results.json").exists() and len(epochs) < self.results.get("epochs", 0):
            raise SettingError(f"{path} has {len(epochs)} epochs, the run {self.results['epochs']}; {self._again}")
        return epochs

    def _epoch(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            record = verified(line)
            if "epoch" not in record:
                raise ValueError("it records no epoch")
            for key, depth in DEPTH.items():
                if key in record and not _numbers(record[key], depth):
                    raise ValueError(f"{key} is {str(record[key])[:40]!r}, not a number")
            return record
        except ValueError as error:
            raise SettingError(
                f"{self.path / 'metrics.jsonl'}, line {number} is damaged ({error}); {self._again}"
            ) from None

    @property
    def _again(self) -> str:
        return f"this rewrites the file from the checkpoint: genn-eventprop resume {self.path}"

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Add one epoch."""
        path = self.path / "metrics.jsonl"
        with write_errors(path, TrainingError, self.then), path.open("a") as file:
            file.write(_line(line))

    def replace_metrics(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Rewrite all epochs: after resuming, epochs beyond the checkpoint are dropped."""
        self.write_text("metrics.jsonl", "".join(map(_line, lines)))

    def write_results(self, results: Mapping[str, Any]) -> None:
        self.write_record("results.json", results)

    def write_record(self, name: str, value: Mapping[str, Any]) -> None:
        """Replace a JSON file of the run, see `write_json`."""
        self.write_text(name, json_text(value))

    def write_text(self, name: str, text: str) -> None:
        """Replace a text file of the run.

        Raises:
            TrainingError: the disk is full, say; with the command that continues the run.
        """
        write_text(self.path / name, text, TrainingError, self.then, make_folder=False)

    @property
    def then(self) -> str:
        """How to go on with the run once a disk has space again."""
        resumable = any(path.is_file() for path in self.saved())
        return f"continue with: genn-eventprop resume {self.path}" if resumable else "start again"

    def _read(self, name: str) -> dict[str, Any]:
        if not (self.path / name).exists():
            raise SettingError(f"{self.path} has no {name}; has the run finished?")
        return read_json(self.path / name)


def runs_in(path: Path) -> list[Path]:
    """The run folder itself, or the runs below a folder of repeats or of a scan."""
    if (path / "config.json").is_file():
        return [RunFolder.open(path).path]
    found = sorted(p.parent for p in path.glob("*/config.json") if mark.kind_of(p.parent) == "run")
    below = [run_in(path, run.name) for run in found] if mark.kind_of(path) else found
    if not below:
        raise SettingError(
            f"{path} is not a run folder (it has no config.json) and contains none; name one that "
            "train wrote, such as runs/yin_yang-seed1-1"
        )
    return below


def run_in(study: Path, name: str) -> Path:
    """The run folder called `name` in the folder of a study.

    Raises:
        SettingError: it is elsewhere: a study may come from anybody, and its runs are read and gone on with.
    """
    path = study / name
    if not name or Path(name).name != name or path.resolve() != study.resolve() / name:
        raise SettingError(f"{path} is not in {study}, or is a link; put the run folder there, or name it itself")
    return path


def mark_folder(folder: Path, kind: str, option: str) -> None:
    """Make `folder` one of a kind of ours, see `mark`.

    Raises:
        SettingError: it is of another kind, or holds what is not ours.
    """
    mark.check(folder, kind, option, FREE)
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if not (folder / mark.NAME).is_file():
        write_json(folder / mark.NAME, mark.record(kind))


def _line(metrics: Mapping[str, Any]) -> str:
    return json.dumps(with_checksum(jsonable(metrics)), allow_nan=False) + "\n"


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote.

    Raises:
        SettingError: it cannot be read, or is damaged.
    """
    try:
        return verified(read_regular(path, path.parent))
    except OSError as error:
        raise SettingError(f"{path} cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise SettingError(f"{path} is damaged: {error}") from None


def jsonable(value: Any) -> Any:
    """`value` with NumPy numbers as Python ones, paths as text, and NaN or infinity as None (JSON has neither)."""
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(v) for v in value]
    if isinstance(value, np.ndarray):
        return jsonable(value.tolist())
    if isinstance(value, np.generic):
        return jsonable(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """A record with its checksum, see `checksummed`; an older one is replaced in one step."""
    write_text(path, json_text(value))


def json_text(value: Mapping[str, Any]) -> str:
    """What `write_json` writes."""
    return json.dumps(with_checksum(jsonable(value)), indent=2, allow_nan=False) + "\n"


def environment() -> dict[str, Any]:
    """Versions and machine, to understand a run later. No environment variables: they may hold secrets."""
    packages = ("genn_eventprop", "numpy", "sympy", "safetensors", "matplotlib", "pygenn", "tonic")
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "commit": _commit(),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((n.split(":", 1)[1].strip() for n in lines if n.startswith("model name")), platform.processor())


def _commit() -> str | None:
    """Commit of the checkout that this package runs from, with "+" if files were changed; None when installed."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        git = ["git", "-C", str(root)]
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def run_state(folder: Path, epochs: int | None = None) -> str:
    """Where a run folder stands: "finished", "started" (a checkpoint to go on from) or "new".

    Args:
        epochs: more than these are asked for, if it is finished with fewer and was meant to be; None: whatever it was.
    """
    run = RunFolder(folder)
    if mark.kind_of(folder) != "run":  # whatever is there, this package cannot go on from it
        return "new"
    with contextlib.suppress(SettingError, KeyError, TypeError):  # not there, or damaged: a checkpoint gives them again
        done, meant = run.results["epochs"], run.config.get("settings", {}).get("epochs")
        if epochs is None or done >= epochs or meant == epochs:  # with early stopping fewer are enough
            return "finished"
    return "started" if any(path.is_file() for path in run.saved()) else "new"
