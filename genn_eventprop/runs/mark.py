"""Whose folder it is: a mark in every folder that a command fills, without which nothing in it is removed or replaced.

``.genn_eventprop.json`` holds the name of the folder's format, "genn_eventprop run 1" say, and is written before
anything else. Folders of older versions have no mark; they are recognised by what only this package writes: records
with their own checksum, and checkpoints with the name of their format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..checksummed import KEY, verified
from ..errors import SettingError
from ..regular import open_regular, read_regular

NAME = ".genn_eventprop.json"
KINDS = ("run", "repeats", "scan", "fit", "infer")
OF_A_RUN = ("config.json", "environment.json", "results.json", "model.json", "metrics.jsonl")
"""Records of a run folder that have a checksum."""
SIGNS = (
    b"genn_eventprop",
    b"Written by <code>genn-eventprop ",
    b"Written by `genn-eventprop ",
    b"Figures: drag to zoom, double click to go back",
    b"selftest of ",
)
"""One of them stands in every page, figure and report that a command writes; the others are of older versions."""


def record(kind: str) -> dict[str, str]:
    """What the mark of a folder holds."""
    return {"format": f"genn_eventprop {kind} 1"}


def kind_of(folder: Path) -> str | None:
    """Which of `KINDS` a folder is; None for one that is not ours, or not there."""
    marked = _json(folder / NAME)
    for kind in KINDS:
        if marked is not None and str(marked.get("format", "")).startswith(f"genn_eventprop {kind} "):
            return kind
    return next((kind for kind, looks_so in _UNMARKED.items() if looks_so(folder)), None)


def check(folder: Path, kind: str, option: str, free: Iterable[str] = ()) -> None:
    """Raise `SettingError` unless `folder` is absent, empty or of this kind.

    Args:
        option: how the user chooses another folder. free: names of files that may be in a folder without a mark.
    """
    if folder.exists() and not folder.is_dir():
        raise SettingError(f"{folder} exists and is not a folder; choose another {option}")
    others = strangers(folder, free)  # before the mark, which another process may be writing just now
    kind_there = kind_of(folder)
    if kind_there is not None and kind_there != kind:
        raise SettingError(f"{folder} is the folder of a {kind_there}, not of a {kind}; choose another {option}")
    if kind_there is None and others:
        raise SettingError(
            f"{folder} exists and holds no {kind}; choose another {option} (it holds {others[0]}, and nothing there "
            "is touched)"
        )


def strangers(folder: Path, free: Iterable[str] = ()) -> list[str]:
    """Names in a folder, sorted, besides what a command that was killed at once may have left: locks, half a mark."""
    if not folder.is_dir():
        return []
    ours = re.compile(rf"\.writer\.json.*|{re.escape(NAME)}|\.{re.escape(NAME)}\..*\.tmp")
    return sorted(p.name for p in folder.iterdir() if not ours.fullmatch(p.name) and p.name not in set(free))


def check_written_by_us(path: Path, option: str) -> None:
    """Raise `SettingError` if a page, figure or report is in the way at `path` that no command of ours wrote."""
    if path.exists() and not written_by_us(path):
        raise SettingError(
            f"{path} exists and was not written by genn-eventprop; remove it, or choose another {option}"
        )


def written_by_us(path: Path) -> bool:
    """Whether a command of ours wrote a page, figure or report, or nothing can be lost there (as in ``/dev/null``)."""
    if not path.is_file():
        return not path.is_dir()
    content = path.read_bytes()
    return not content or any(sign in content for sign in SIGNS)


def _json(path: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(read_regular(path, path.parent))
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _checksummed(path: Path) -> bool:
    """Whether a file, or its first line, is a record with a checksum that is right."""
    try:
        text = read_regular(path, path.parent)
        text = text.split(b"\n", 1)[0] if path.suffix == ".jsonl" else text
        return KEY.encode() in text and KEY in json.loads(text) and bool(verified(text))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _is_run(folder: Path) -> bool:
    packages = (_json(folder / "environment.json") or {}).get("packages")
    if isinstance(packages, dict) and "genn_eventprop" in packages:
        return True
    if any(_checksummed(folder / name) for name in OF_A_RUN):
        return True
    return any(_is_checkpoint(folder / "checkpoints" / f"{name}.safetensors") for name in ("last", "best"))


def _is_checkpoint(path: Path) -> bool:
    """Whether a safetensors file has the name of our format in its header."""
    try:
        with open_regular(path, path.parent.parent) as file:
            length = min(int.from_bytes(file.read(8), "little"), 2**26)
            return b"genn_eventprop checkpoint" in file.read(length)
    except OSError:
        return False


def _is_repeats(folder: Path) -> bool:
    path = folder / "repeats.json"
    return _checksummed(path) or {"experiment", "settings", "variants"} <= set(_json(path) or {})


def _is_scan(folder: Path) -> bool:
    records = (folder / "table.json", folder / "search.json", folder / "slurm" / "jobs.json")
    return any(map(_checksummed, records)) or _has_cells(folder)


def _has_cells(folder: Path) -> bool:
    """Whether a folder has a run, or the exit status of one, with its settings in cells/."""
    names = [path.stem for path in folder.glob("cells/*.toml")]
    return any(_checksummed(folder / "logs" / f"{n}.log.status") or _is_run(folder / n) for n in names)


_UNMARKED = {"run": _is_run, "repeats": _is_repeats, "scan": _is_scan}
