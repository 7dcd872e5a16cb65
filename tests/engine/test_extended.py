"""docs/extend.md, run: the package with each of its diffs has the gradients of a reference."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.diffs import ROOT, copy_of_the_package, diffs

KINDS = ("readout", "outer", "connectivity", "engine")


@pytest.mark.parametrize("kind, changes", list(zip(KINDS, diffs(ROOT / "docs" / "extend.md"))), ids=KINDS)
def test_the_diff_alone_is_enough(kind, changes, tmp_path):
    copy_of_the_package(tmp_path)
    script = Path(__file__).parents[1] / "support" / "extended.py"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}

    def run():
        return subprocess.run([sys.executable, str(script), kind], env=environment, capture_output=True, text=True)

    assert run().returncode != 0  # not there without the diff
    for change in changes:
        change.apply(tmp_path)
    done = run()
    assert done.returncode == 0, done.stderr
