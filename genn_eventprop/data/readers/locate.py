"""Where data files lie."""

from __future__ import annotations

import os
from pathlib import Path

from ...errors import DataError
from ...home import expanded

ENVIRONMENT = "GENN_EVENTPROP_DATA"
PLACES = ("data", "../shared/data")
"""Looked into, from the current folder, when nothing else is said."""


def data_folder(data_dir: Path | str | None) -> Path:
    """Where tonic's data sets lie, or are downloaded to: `data_dir`, else $GENN_EVENTPROP_DATA, else "data"."""
    return expanded(data_dir or os.environ.get(ENVIRONMENT) or PLACES[0])


def locate(data_dir: Path | str | None, *names: str, source: str) -> Path:
    """The first of `names` that exists in the data folder.

    The data folder is `data_dir` (--data-dir), else $GENN_EVENTPROP_DATA, else the first of `PLACES` that has it.

    Args:
        names: file or folder, relative to the data folder, the usual one first.
        source: where to get it, for the message.

    Raises:
        DataError: it is in none of the places.
    """
    choice = data_dir if data_dir is not None else os.environ.get(ENVIRONMENT)
    folders = [expanded(choice)] if choice else [Path(p) for p in PLACES]
    for folder in folders:
        for name in names:
            if (folder / name).exists():
                return folder / name
    looked = " or ".join(str(folder) for folder in folders)
    raise DataError(
        f"no {' or '.join(names)} in {looked}; get it from {source}, and point to it with --data-dir FOLDER "
        f"or the environment variable {ENVIRONMENT}"
    )
