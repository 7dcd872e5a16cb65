"""Whose folder it is: a mark in every folder that a command fills, without which nothing in it is removed or replaced.

``.genn_eventprop.json`` holds the name of the folder's format, "genn_eventprop run 1" say, and is written before
anything else. A copy without hidden files has no mark; it is recognised by what only this package writes, records with
their own checksum.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..checksummed import KEY, verified
from ..errors import SettingError
from ..regular import read_regular

NAME = ".genn_eventprop.json"
KINDS = ("run", "repeats", "scan", "fit", "infer")
RECORDS = {
    "run": ("config.json", "environment.json", "results.json", "model.json", "metrics.jsonl"),
    "repeats": ("repeats.json",), "scan": ("table.json", "search.json", "slurm/jobs.json", "logs/*.log.status"),
}  # fmt: skip
"""Kind of a folder -> patterns of the names of its records that have a checksum."""
SIGNS = (
    b"genn_eventprop",
    b"Written by `genn-eventprop ",
    b"selftest of ",
)
"""One of them stands in every page, figure and report that a command writes."""


def record(kind: str) -> dict[str, str]:
    """What the mark of a folder holds."""
    return {"format": f"genn_eventprop {kind} 1"}


def kind_of(folder: Path) -> str | None:
    """Which of `KINDS` a folder is; None for one that is not ours, or not there."""
    marked = _json(folder / NAME)
    for kind in KINDS:
        if marked is not None and str(marked.get("format", "")).startswith(f"genn_eventprop {kind} "):
            return kind
    for kind, names in RECORDS.items():
        if any(_checksummed(path) for name in names for path in folder.glob(name)):
            return kind
    return None


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
