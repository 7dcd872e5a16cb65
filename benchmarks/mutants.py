"""Faults put into the package one at a time (mutants.toml): which test finds each?

    python benchmarks/mutants.py                  # all of them, in a copy of the checkout; takes hours
    python benchmarks/mutants.py --only births    # those whose name has this word
    python benchmarks/mutants.py --near           # without the whole default run behind the files named with each
    python benchmarks/mutants.py --list           # their names; an error where a text is not in the tree exactly once

First the test files named with a mutant run, until a test fails; if none does, the whole default run.
`tests/pure/test_mutants.py` keeps the list in step with the source.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Mutant:
    """A fault.

    Attributes:
        name: what is wrong. file: under genn_eventprop/. right, wrong: text that stands there once, and what takes its
            place.
        near: test files, or folders, that should find it, under tests/.
    """

    name: str
    file: str
    right: str
    wrong: str
    near: tuple[str, ...]

    def problem(self, root: Path = ROOT) -> str:
        """Why the mutant cannot be made; empty if it can."""
        path = root / "genn_eventprop" / self.file
        if not path.is_file():
            return f"{self.name}: there is no file genn_eventprop/{self.file}"
        count = path.read_text().count(self.right)
        if count != 1:
            return f"{self.name}: {self.right!r} is in genn_eventprop/{self.file} {count} times, not once"
        missing = [t for t in self.near if not (root / "tests" / t).exists()]
        return f"{self.name}: there is no tests/{missing[0]}" if missing else ""

    def apply(self, root: Path) -> None:
        path = root / "genn_eventprop" / self.file
        path.write_text(path.read_text().replace(self.right, self.wrong))


def mutants() -> list[Mutant]:
    """Those of mutants.toml."""
    rows = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
    return [Mutant(name, **row | {"near": tuple(row["near"].split())}) for name, row in rows.items()]


def first_failure(root: Path, arguments: list[str]) -> str:
    """The name of the first test that fails; empty if none does."""
    # the copy is imported, not what is installed
    surroundings = os.environ | {"PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=root, env=surroundings, capture_output=True, text=True, check=False)
    if done.returncode in (0, 5):  # passed, or all deselected
        return ""
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return failed.group(1) if failed else f"pytest ended with {done.returncode}"


def found_by(mutant: Mutant, whole: bool) -> str:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "checkout"
        leave = shutil.ignore_patterns(".git", "__pycache__", "runs", "docs/_build")
        shutil.copytree(ROOT, root, ignore=leave)
        mutant.apply(root)
        os.environ.setdefault("GENN_EVENTPROP_DATA", str(ROOT.parent / "shared" / "data"))
        near = first_failure(root, [f"tests/{t}" for t in mutant.near])
        return near or (first_failure(root, []) if whole else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a part of the names")
    parser.add_argument("--near", action="store_true", help="leave out the whole run")
    parser.add_argument("--list", action="store_true", help="only check the list")
    chosen = parser.parse_args()
    known = mutants()
    problems = [problem for m in known if (problem := m.problem())]
    if problems:
        raise SystemExit("\n".join(problems))
    wanted = [m for m in known if chosen.only in m.name]
    if chosen.list:
        print("\n".join(m.name for m in wanted))
        return
    found = 0
    for mutant in wanted:
        start = time.perf_counter()
        test = found_by(mutant, not chosen.near)
        found += bool(test)
        print(f"{mutant.name:70s} {time.perf_counter() - start:6.0f} s  {test or 'NOT FOUND'}", flush=True)
    print(f"{found} of {len(wanted)} found")


if __name__ == "__main__":
    main()
