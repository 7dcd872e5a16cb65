"""docs/extend.md, run: the package with each of its diffs has the gradients of a reference."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from genn_eventprop.engines import NAMES
from genn_eventprop.losses.kinds import READOUTS
from genn_eventprop.losses.sums import SUMS
from genn_eventprop.modelling import connectivity
from support.diffs import ROOT, copy_of_the_package, diffs

THERE = {
    "readout": lambda: "last_spikes" in READOUTS,
    "outer": lambda: "hinge" in SUMS,
    "connectivity": lambda: hasattr(connectivity, "Ring"),
    "engine": lambda: "c99_threads" in NAMES,
}
KINDS = tuple(THERE)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("kind, changes", list(zip(KINDS, diffs(ROOT / "docs" / "extend.md"))), ids=KINDS)
@pytest.mark.ci
def test_the_diff_alone_is_enough(kind, changes, tmp_path):
    copy_of_the_package(tmp_path)
    script = Path(__file__).parents[2] / "support" / "extended.py"
    environment = {
        **os.environ,
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{script.parents[1]}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    assert not THERE[kind]()
    for change in changes:
        change.apply(tmp_path)
    done = subprocess.run([sys.executable, str(script), kind], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
