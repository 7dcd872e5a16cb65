"""Random cells of neurons with modes, fitted without noise (`tests/support/random_fits.py`).

Forced by its own spikes a cell has to run as it does by itself, and a fit has to find its parameters, or say that it is
unsure of what it has found.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from genn_eventprop.errors import EventPropError

from .child import run
from .table import Part

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))  # of the cells
from support.random_fits import differs, drawn, finds, fitted, recorded  # noqa: E402

KNOWN = 24  # cells of the tests
LIMIT = 1800.0
"""Seconds that one cell may take."""


def fits(count: int, folder: Path, seed: int) -> Part:
    """`count` cells behind those of the tests and of lower seeds."""
    part, began = Part("fits of random cells with modes"), time.monotonic()
    for cell in range(KNOWN + (seed - 1) * count, KNOWN + seed * count):
        outcome = run(lambda: _tell(cell, folder / "end"), folder, folder / "log", limit=LIMIT)  # noqa: B023
        if fault := outcome.fault or (f"status {outcome.status}" if outcome.status else ""):
            part.count(fault, f"cell {cell}: {outcome.said[-500:]}")
        else:
            end, what = json.loads((folder / "end").read_text())
            part.count(end, f"cell {cell}: {what}")
    part.seconds = time.monotonic() - began
    return part


def _tell(cell: int, file: Path) -> int:
    file.write_text(json.dumps(one(cell)))
    return 0


def one(number: int) -> tuple[str, str]:
    """(how a cell ended, what it was)."""
    model, true, inject = drawn(number)
    try:
        cell = recorded(model, inject, number)
        if off := differs(model, cell, inject):
            return "wrong result", f"forced by its own spikes, {off} of {model.name} is another"
        result = fitted(model, true, cell, inject, number)
    except EventPropError as error:
        return "refused with a message", str(error)
    if finds(result, true):
        return "right", ""
    unsure = result.doubts() or result.verdict.little or result.free.missing or result.free.surplus
    return "doubted" if unsure else "wrong result", f"{result}\ntrue: {true}"
