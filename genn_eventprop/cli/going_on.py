"""The run folder of a command that goes on where it was stopped."""

from __future__ import annotations

import itertools
import json
import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..atomic import write_text
from ..checksummed import KEY
from ..errors import SettingError
from ..runs import mark
from ..runs.run_folder import environment, json_text, mark_folder, read_json, write_json
from ..runs.run_lock import lock_for_writing

CONFIG = "config.json"


@contextmanager
def run_folder(
    kind: str,
    named: Path | None,
    stem: Path,
    config: Mapping[str, Any],
    finished: Callable[[Path], bool],
    may_change: Collection[str] = (),
) -> Iterator[tuple[Path, str]]:
    """(folder of the run, command line), locked and with the files that say what runs.

    The folder is the one that the same command has not finished, or a new one, ``stem-1`` and so on.

    Args:
        kind: of the folder, see `mark_folder`. named: by the user. config: that its config.json has to hold but for
            what `may_change`. finished: whether a folder of this kind is.

    Raises:
        SettingError: the one that is named holds something else.
    """

    def goes_on(folder: Path) -> bool:
        if mark.kind_of(folder) != kind or finished(folder):
            return False
        began, now = read_or_nothing(folder / CONFIG), json.loads(json_text(config))
        return all(began.get(n) == v for n, v in now.items() if n not in (*may_change, KEY))

    if named is None:
        number = next(i for i in itertools.count(1) if not Path(f"{stem}-{i}").exists())
        last = Path(f"{stem}-{number - 1}")
        folder = last if number > 1 and goes_on(last) else Path(f"{stem}-{number}")
    elif not mark.strangers(named) or goes_on(named):
        folder = named
    else:
        why = ""
        if mark.kind_of(named) == kind:
            why = " (it is finished)" if finished(named) else " (it is of other data or settings)"
        raise SettingError(f"run folder {named} exists and is not empty{why}; choose another --run-dir")
    command = shlex.join(["genn-eventprop", *sys.argv[1:]])
    with lock_for_writing(folder):
        mark_folder(folder, kind, "--run-dir")  # first: what is killed later is known to be ours
        write_json(folder / CONFIG, config)
        write_text(folder / "command.txt", command + "\n")
        write_json(folder / "environment.json", environment())
        yield folder, command


def read_or_nothing(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except SettingError:  # it was not written yet, or is damaged
        return {}
