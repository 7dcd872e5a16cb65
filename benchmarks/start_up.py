"""Processor time of the first training of a network: compiling, importing, training, drawing.

    python benchmarks/start_up.py [EXPERIMENT] [OPTIONS OF TRAIN ...]

Runs ``genn-eventprop train EXPERIMENT --quick`` with an empty code cache and with what that run has compiled, and
imports what the command imports. Processor time (user and system) of the process and of the compilers that it starts,
since other programs may use the machine; the first column, from start to end, is for a quiet one.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMPORTS = "import genn_eventprop.cli.train, genn_eventprop.report.plots"


def measure(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """(wall s, processor s) of a command and all that it starts."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, used


def main() -> None:
    """Measure and print."""
    experiment, *options = sys.argv[1:] or ["yin_yang"]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "GENN_EVENTPROP_CACHE": str(Path(folder, "cache"))}
        train = [sys.executable, "-m", "genn_eventprop", "train", experiment, "--quick", *options]
        rows = {
            "empty cache": measure([*train, "--run-dir", str(Path(folder, "first"))], environment),
            "filled cache": measure([*train, "--run-dir", str(Path(folder, "second"))], environment),
            "imports alone": measure([sys.executable, "-c", IMPORTS], environment),
        }
    rows["so compiling takes"] = tuple(a - b for a, b in zip(rows["empty cache"], rows["filled cache"]))  # type: ignore
    print(f"{experiment} --quick: wall, processor time in s")
    for name, (wall, used) in rows.items():
        print(f"{name:20} {wall:6.1f} {used:6.1f}")


if __name__ == "__main__":
    main()
