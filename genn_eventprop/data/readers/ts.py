"""Time series of the UCR and UEA archives: `.ts` files as currents with labels.

Lines `@name value` come first, then, after `@data`, one line a sample: the values of each dimension, separated by
commas, dimensions and the label behind them by colons. Source of the format: Bagnall et al. 2018, arXiv 1811.00075, and
the documentation of aeon. Shorter series end with zeros, as all `Currents` do.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...arguments import explain
from ...errors import DataError
from ...modelling.memory import check_fits
from ..currents.currents import Currents
from ..events.storage import open_file

SUFFIX = ".ts"
EXPAND = 30.0
"""Bytes of memory that a byte of a `.ts` file takes at most while it is read: a value is at least two characters, and
is a Python string before it is a number."""


def read_ts(path: str | Path, dt: float = 1.0, name: str = "") -> tuple[Currents, list[str]]:
    """(Currents, class names) of a `.ts` file; a channel is a dimension.

    Args:
        dt: ms of a value; the file does not say it.
        name: of the data set; default: that of the problem.

    Returns:
        Classes are numbered in the order of the line @classLabel; a file with @targetLabel true has targets (S, 1) and
        no classes.

    Raises:
        DataError: absent, truncated or in another format; time stamps or missing values, which currents have not.
    """
    path = Path(path)
    with open_file(path) as file:
        content = file.read()
    check_fits(EXPAND * len(content), f"values of {path}", "split the file", DataError)
    lines = enumerate(content.decode("utf-8", "replace").splitlines(), 1)
    facts = _facts(lines, path)
    classes, regression = facts.get("classlabel", ["false"]), facts.get("targetlabel", ["false"])[0].lower() == "true"
    labelled = classes[0].lower() == "true"
    names, series, labels = classes[1:] if labelled else [], list[np.ndarray](), list[str]()
    for number, line in lines:
        if not line.strip() or line.startswith(("#", "%")):
            continue
        where = f"{path}: line {number}"
        parts = line.strip().split(":")
        if labelled or regression:
            labels.append(parts.pop().strip())
        series.append(_sample(parts, series[0].shape[1] if series else None, where))
        if labelled and labels[-1] not in names:
            raise DataError(f"{where}: label {labels[-1][:40]!r} is none of @classLabel ({', '.join(names)[:100]})")
    if not series:
        raise DataError(f"{path}: no sample after @data; the file is truncated or in another format")
    size = len(series) * max(map(len, series)) * series[0].shape[1]
    check_fits(4.0 * size, f"{len(series)} series of {path}, as long as the longest", "shorten it", DataError)
    name = name or " ".join(facts.get("problemname", [])) or path.stem
    if regression:
        return Currents.from_samples(series, dt, name, targets=_numbers(labels, f"{path}: targets")[:, None]), []
    index = np.array([names.index(label) for label in labels], np.int64) if labelled else None
    return Currents.from_samples(series, dt, name, labels=index, n_classes=len(names) if labelled else None), names


def _facts(lines: enumerate[str], path: Path) -> dict[str, list[str]]:
    """The words of each line `@name words` before @data, names in lower case."""
    facts: dict[str, list[str]] = {}
    for number, line in lines:
        words = line.split()
        if not words or line.startswith(("#", "%")):
            continue
        if not words[0].startswith("@"):
            raise DataError(f"{path}: line {number}: expected '@name value' or '@data', got {line[:40]!r}")
        if words[0].lower() == "@data":
            break
        facts[words[0][1:].lower()] = words[1:] or [""]
    else:
        raise DataError(f"{path}: no line @data; the file is truncated or in another format")
    if facts.get("timestamps", ["false"])[0].lower() == "true":
        raise DataError(f"{path}: the values have time stamps; currents are values on a grid: sample them on one")
    return facts


def _sample(parts: list[str], n_channels: int | None, where: str) -> np.ndarray:
    """(T, C) of one line; dimensions of unequal lengths end with zeros."""
    if not parts or (n_channels is not None and len(parts) != n_channels):
        raise DataError(
            f"{where}: {len(parts)} dimensions, {n_channels or 'at least 1'} expected; the line is truncated or has no "
            "label"
        )
    rows = [_numbers(part.split(","), f"{where}, dimension {i}") for i, part in enumerate(parts)]
    values = np.zeros((max(map(len, rows)), len(rows)), np.float32)
    for i, row in enumerate(rows):
        values[: len(row), i] = row
    return values


def _numbers(texts: list[str], where: str) -> np.ndarray:
    """(T,) float64, all of them finite float32 numbers."""
    try:
        values = np.array(texts, np.float64)
    except ValueError:
        wrong = next(text for text in texts if not _is_number(text))
        hint = (
            "a missing value; fill it, e.g. with the mean of its neighbours" if wrong.strip() == "?" else "not a number"
        )
        raise DataError(f"{where}: {wrong.strip()[:40]!r} is {hint}") from None
    wrong_values = ~(np.abs(values) <= np.finfo(np.float32).max)
    if wrong_values.any():
        k = int(np.argmax(wrong_values))
        raise DataError(
            f"{where}: value {k} is {values[k]}: missing or too large; fill it, e.g. with the mean of its neighbours"
        )
    return values


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


explain(globals(), ("read_ts",), DataError)
