"""A process that runs one training after the other for `jobs.LocalRunner`; it is a program of its own."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..output import Output, standard_streams, stderr
from ..studies.jobs import ENDED
from .first_import import importing


def main() -> int:
    """Lines of JSON with command and log on stdin; a line with the exit status on stdout for each."""
    for number in (signal.SIGINT, signal.SIGHUP):  # go to the whole group: the scan ends us with SIGTERM
        signal.signal(number, signal.SIG_IGN)
    answers = os.dup(1)
    faulthandler.enable()
    for line in sys.stdin:
        request = json.loads(line)
        status = run(request["command"], Path(request["log"]))
        with contextlib.suppress(OSError):  # the scan is gone
            os.write(answers, f"{status}\n".encode())
        if status in ENDED:
            return status
        gc.collect()  # engines and their threads
    return 0


def run(command: Sequence[str], log: Path) -> int:
    """Run a command of genn-eventprop; everything that it prints, and tracebacks, are added to the log."""
    with output_to(log):
        try:
            with standard_streams() as out:
                with importing("app"):
                    from . import app
                return app.main(list(command), out, logged=True)
        except Exception:
            traceback.print_exc()
            return 1


@contextlib.contextmanager
def output_to(log: Path) -> Iterator[None]:
    """stdout and stderr, also of compiled code and child processes, go to the end of a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Output(sys.stdout), stderr()  # a full disk ends no job
    sys.stdout.flush()
    sys.stderr.flush()
    descriptors = [os.dup(1), os.dup(2)]
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.dup2(file, 1)
        os.dup2(file, 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = streams
        for descriptor, before in zip((1, 2), descriptors):
            os.dup2(before, descriptor)
            os.close(before)
        os.close(file)


if __name__ == "__main__":
    sys.exit(main())
