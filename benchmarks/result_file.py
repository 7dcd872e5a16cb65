"""Result files in docs/numbers: rows of a table with the command, version and machine behind each.

`docs/numbers/tables.py` writes the tables of the pages from them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genn_eventprop.runs.run_folder import environment


def vectors() -> str:
    """The widest vectors of this processor, which times depend on."""
    path = Path("/proc/cpuinfo")
    flags = path.read_text().partition("flags")[2].partition("\n")[0].split() if path.exists() else []
    return next((f", {name}" for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "")


def add_row(
    path: Path, columns: Sequence[str], cells: Sequence[str], command: str, about: Mapping[str, Any] | None = None,
    key: int = 1, **raw: Any,
) -> None:  # fmt: skip
    """Into the table of this file, in place of the row with the same first cells.

    Args:
        about: Version and machine, `environment()` of the run; default: of now.
        key: How many first cells tell rows apart.
        raw: What the cells were computed from.
    """
    machine = vectors() if about is None else ""
    about = about or environment()
    rows: list[Mapping[str, Any]] = json.loads(path.read_text())["rows"] if path.exists() else []
    row = {
        "cells": list(cells),
        "command": command,
        "version": f"{about['packages']['genn_eventprop']} ({(about['commit'] or 'installed')[:8]})",
        "machine": f"{about['cores']} cores, {about['processor'] or about['machine']}{machine}",
        **raw,
    }
    place = next((i for i, r in enumerate(rows) if r["cells"][:key] == list(cells[:key])), len(rows))
    rows = [*rows[:place], row, *rows[place + 1 :]]
    path.write_text(json.dumps({"columns": list(columns), "rows": rows}, indent=1) + "\n")
