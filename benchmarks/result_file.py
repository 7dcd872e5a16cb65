"""Result files in docs/numbers: rows of a table with the command, version and machine behind each.

`docs/numbers/tables.py` writes the tables of the pages from them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genn_eventprop.runs.run_folder import environment


def add_row(
    path: Path, columns: Sequence[str], cells: Sequence[str], command: str, about: Mapping[str, Any] | None = None,
    **raw: Any,
) -> None:  # fmt: skip
    """Into the table of this file, in place of the row with the same first cell.

    Args:
        about: Version and machine, `environment()` of the run; default: of now.
        raw: What the cells were computed from.
    """
    about = about or environment()
    rows: list[Mapping[str, Any]] = json.loads(path.read_text())["rows"] if path.exists() else []
    row = {
        "cells": list(cells),
        "command": command,
        "version": f"{about['packages']['genn_eventprop']} ({(about['commit'] or 'installed')[:8]})",
        "machine": f"{about['cores']} cores, {about['processor'] or about['machine']}",
        **raw,
    }
    place = next((i for i, r in enumerate(rows) if r["cells"][0] == cells[0]), len(rows))
    rows = [*rows[:place], row, *rows[place + 1 :]]
    path.write_text(json.dumps({"columns": list(columns), "rows": rows}, indent=1) + "\n")
