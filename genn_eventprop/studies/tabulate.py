"""The table of a scan: a row for each setting, over its seeds, in the order of validation accuracy.

The table must not invite choosing by the test set: test accuracy stands only with the row that validation
chose, unless the experiment has no validation set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .repeats import percent, summarise

Row = dict[str, Any]


def rows_of(cells: Mapping[str, Mapping[str, Any]], results: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """One row for each combination of settings other than the seed: settings, runs, wanted runs, summary.

    Args:
        cells: cell name -> settings of the grid. results: cell name -> results.json, of the finished ones.
    """
    groups: dict[str, Row] = {}
    for name, values in cells.items():
        settings = {k: v for k, v in values.items() if k != "seed"}
        row = groups.setdefault(repr(settings), {"settings": settings, "wanted": 0, "cells": []})
        row["wanted"] += 1
        row["cells"] += [name] if name in results else []
    rows = []
    for row in groups.values():
        summary = summarise({name: results[name] for name in row["cells"]})
        rows.append({**row, "runs": len(row["cells"]), "summary": summary})
    return sorted(rows, key=_score, reverse=True)


def _score(row: Row) -> float:
    """Mean validation accuracy; rows without one keep their order behind the others."""
    return float(row["summary"].get("best_validation_accuracy", {}).get("mean", -1.0))


def markdown(rows: Sequence[Row]) -> str:
    """The table, and below it the chosen setting with its test accuracy."""
    chosen_by_validation = bool(rows) and _score(rows[0]) >= 0
    names = list(rows[0]["settings"]) if rows else []
    heads = [*names, "runs", "validation" if chosen_by_validation else "test (no validation set)", "s per run"]
    number = "best_validation_accuracy" if chosen_by_validation else "test_accuracy"
    body = [[*(_text(row["settings"][n]) for n in names), *_numbers(row, number)] for row in rows]
    return lined(heads, body) + (f"\n{_choice(rows[0])}\n" if chosen_by_validation else "")


def lined(heads: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table in Markdown whose columns stand below each other."""
    widths = [max(map(len, column)) for column in zip(heads, *body)]
    lines = [_line(heads, widths), "|" + "|".join("-" * (w + 2) for w in widths) + "|"]
    return "\n".join([*lines, *(_line(cells, widths) for cells in body)]) + "\n"


def _choice(row: Row) -> str:
    settings = ", ".join(f"{name} {_text(value)}" for name, value in row["settings"].items()) or "the only setting"
    test = row["summary"].get("test_accuracy")
    words = "no test set" if test is None else f"test accuracy {percent(test['mean'], test['deviation'])}"
    return f"Chosen on validation: {settings}; {words}."


def _numbers(row: Row, number: str) -> list[str]:
    runs = f"{row['runs']}" if row["runs"] == row["wanted"] else f"{row['runs']} of {row['wanted']}"
    accuracy, seconds = row["summary"].get(number), row["summary"].get("seconds_training")
    return [
        runs,
        "-" if accuracy is None else percent(accuracy["mean"], accuracy["deviation"]),
        "-" if seconds is None else f"{seconds['mean']:.1f}",
    ]


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths)) + " |"
