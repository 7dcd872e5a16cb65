"""Where the time of the tests goes: processor time by kind, by file and by test.

    python benchmarks/test_time.py                     # the default run, with an empty code cache
    python benchmarks/test_time.py --warm              # again, with the cache of a first run
    python benchmarks/test_time.py -- tests/cli -n 0   # what follows -- goes to pytest

Kinds: `compiler` (compilers that a test's own process starts), `processes` (all other processes that tests start, with
the compilers that these start), `python` (the test processes themselves), `collection` (imports and collection, of
every worker) and `waiting` (wall time of tests less their processor time; on a busy machine it counts what others
compute).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

FOLDER = "GENN_EVENTPROP_TEST_TIME"  # where the workers write


def of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Recorder:
    """A plugin of pytest: one line of JSON for each test, in a file for each worker."""

    def __init__(self, folder: str) -> None:
        self.compiler, self.compiled, self.started = 0.0, 0, 0
        self.file = open(Path(folder) / f"{os.getpid()}.jsonl", "w")  # noqa: SIM115
        self.watch_compilers()
        self.watch_processes()

    def watch_compilers(self) -> None:
        from genn_eventprop.toolchain.compiler import Compiler

        compile_it = Compiler.compile

        def compile_and_count(compiler: Compiler, source: Path, target: Path) -> None:
            before = of_children()
            try:
                compile_it(compiler, source, target)
            finally:
                self.compiler += of_children() - before
                self.compiled += 1

        Compiler.compile = compile_and_count  # type: ignore[method-assign]

    def watch_processes(self) -> None:
        start = subprocess.Popen.__init__

        def start_and_count(process: Any, *args: Any, **settings: Any) -> None:
            self.started += 1
            start(process, *args, **settings)

        subprocess.Popen.__init__ = start_and_count  # type: ignore[method-assign]

    def now(self) -> dict[str, float]:
        return {
            "wall": time.perf_counter(), "python": time.process_time(), "children": of_children(),
            "compiler": self.compiler, "compiled": self.compiled, "started": self.started,
        }  # fmt: skip

    def write(self, name: str, before: dict[str, float]) -> None:
        after = self.now()
        line = {"name": name} | {key: after[key] - before[key] for key in after}
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()

    def pytest_collection_finish(self) -> None:
        self.write("collection", dict.fromkeys(self.now(), 0.0) | {"wall": time.perf_counter()})

    def wrap(self, item: Any) -> Any:
        before = self.now()
        try:
            return (yield)
        finally:
            self.write(item.nodeid, before)


def pytest_configure(config: Any) -> None:
    import pytest

    # a process that hands tests out to workers runs none
    if FOLDER in os.environ and not getattr(config.option, "numprocesses", None):
        Recorder.pytest_runtest_protocol = pytest.hookimpl(wrapper=True)(Recorder.wrap)  # type: ignore[attr-defined]
        config.pluginmanager.register(Recorder(os.environ[FOLDER]))


def run(cache: str, arguments: list[str]) -> tuple[float, float, list[dict[str, Any]]]:
    """(wall, processor time in all, lines) of one run of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        surroundings = os.environ | {FOLDER: folder, "GENN_EVENTPROP_CACHE": cache, "PYTHONPATH": path}
        started, before = time.perf_counter(), of_children()
        command = [sys.executable, "-m", "pytest", "-p", "test_time", *arguments]
        code = subprocess.run(command, env=surroundings, check=False).returncode
        wall, used = time.perf_counter() - started, of_children() - before
        if code:
            print(f"note: pytest ended with {code}")
        lines = [json.loads(line) for file in Path(folder).iterdir() for line in file.read_text().splitlines()]
        return wall, used, lines


def table(lines: list[dict[str, Any]], wall: float, used: float, most: int) -> str:
    kinds: dict[str, float] = defaultdict(float)
    by_file: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0, 0.0])
    tests = []
    for line in lines:
        processes = line["children"] - line["compiler"]
        if line["name"] == "collection":
            kinds["collection"] += line["python"] + line["children"]
            continue
        kinds["compiler"] += line["compiler"]
        kinds["processes"] += processes
        kinds["python"] += line["python"]
        kinds["waiting"] += max(0.0, line["wall"] - line["python"] - line["children"])
        all_of_it = line["python"] + line["children"]
        of_file = by_file[line["name"].partition("::")[0]]
        for i, value in enumerate((all_of_it, line["compiler"], processes, line["python"])):
            of_file[i] += value
        tests.append((all_of_it, line["name"]))
    compiled, started = (sum(line[key] for line in lines) for key in ("compiled", "started"))
    rows = [f"wall {wall:.0f} s, processor time {used:.0f} s, {len(tests)} tests, {compiled:.0f} programs compiled, "]
    rows[0] += f"{started - compiled:.0f} other processes started"
    rows += [f"  {kind:12s}{seconds:8.1f} s" for kind, seconds in sorted(kinds.items(), key=lambda item: -item[1])]
    rows.append(f"\n{'file':60s}{'all':>8s}{'compiler':>10s}{'processes':>11s}{'python':>8s}   processor time in s")
    for file, (total, compiler, processes, python) in sorted(by_file.items(), key=lambda item: -item[1][0])[:most]:
        rows.append(f"{file:60s}{total:8.1f}{compiler:10.1f}{processes:11.1f}{python:8.1f}")
    rows.append("\nsingle tests")
    rows += [f"{seconds:8.2f}  {name}" for seconds, name in sorted(tests, reverse=True)[:most]]
    return "\n".join(rows)


def main() -> None:
    arguments = sys.argv[1:]
    own, passed_on = arguments, []
    if "--" in arguments:
        cut = arguments.index("--")
        own, passed_on = arguments[:cut], arguments[cut + 1 :]
    if set(own) & {"-h", "--help"} or set(own) - {"--warm", "--all"}:
        raise SystemExit(__doc__)
    with tempfile.TemporaryDirectory() as cache:
        if "--warm" in own:
            run(cache, passed_on)
        wall, used, lines = run(cache, passed_on)
    print(table(lines, wall, used, 10**6 if "--all" in own else 40))


if __name__ == "__main__":
    main()
