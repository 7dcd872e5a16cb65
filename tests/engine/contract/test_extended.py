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
from support.diffs import ROOT, copy_of_the_package, diffs, install
from support.guides import blocks

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
    if (distribution := tmp_path / "c99_threads").is_dir():
        install(distribution, tmp_path)
    done = subprocess.run([sys.executable, str(script), kind], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.ci
def test_the_page_as_it_is_pasted(tmp_path):
    """Every check of the page, one after the other, in a package with all of its diffs."""
    copy_of_the_package(tmp_path)
    for changes in diffs(ROOT / "docs" / "extend.md"):
        for change in changes:
            change.apply(tmp_path)
    install(tmp_path / "c99_threads", tmp_path)
    # a method that stands alone is a part of a class
    pasted = [b.text for b in blocks("docs/extend.md") if b.language == "python" and not b.text.startswith(" ")]
    assert sum("check_network(" in text for text in pasted) == 3
    run(tmp_path, "-c", "\n".join(pasted))


def run(folder, *arguments):
    """What Python prints in tests/ with what is installed in `folder`."""
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    command, tests = [sys.executable, *arguments], ROOT / "tests"
    done = subprocess.run(command, env=environment, cwd=tests, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def listed(folder, *arguments):
    return run(folder, "-m", "genn_eventprop", *arguments)


TINY = """
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.engines.contract.options import EngineOption

class Tiny(ReferenceClock):
    name = "tiny"
    features = {"grid": ReferenceClock.features["grid"]}
    special_options = {"colour": EngineOption(str, "of nothing")}

    def __init__(self, plan, parameters, *, colour="red", **settings):
        super().__init__(plan, parameters, **settings)
        self.remarks.append(f"painted {colour}")
"""
PROJECT = """
[project]
name = "tiny"
version = "1.0"
[project.entry-points."genn_eventprop.engines"]
tiny = "tiny:Tiny"
"""


@pytest.mark.ci
def test_an_engine_of_another_distribution_is_like_ours(tmp_path):
    """Listed with its options and features, checked by gradcheck, and in the suite of all engines."""
    distribution, place = tmp_path / "distribution", tmp_path / "site"
    distribution.mkdir(), place.mkdir()
    (distribution / "pyproject.toml").write_text(PROJECT)
    (distribution / "tiny.py").write_text(TINY)
    install(distribution, place)
    assert "--engine 'tiny(colour=...)': of nothing" in listed(place, "engines")
    assert "`tiny` grid" in listed(place, "engines", "--features")
    assert "passed" in listed(place, "gradcheck", "li", "--quick", "--engine", "tiny", "--dt", "0.5")
    suite = ["-m", "pytest", "-q", "-n", "0", "-m", "", "-k", "tiny and bursting", "engine/contract/test_engines.py"]
    assert "1 passed" in run(place, *suite)


@pytest.mark.ci
def test_an_engine_that_cannot_be_imported_stops_nothing_else(tmp_path):
    distribution, place = tmp_path / "distribution", tmp_path / "site"
    distribution.mkdir(), place.mkdir()
    (distribution / "pyproject.toml").write_text(PROJECT)
    (distribution / "tiny.py").write_text("raise ImportError('half of it is missing')")
    install(distribution, place)
    said = " ".join(listed(place, "engines").split())
    assert "tiny no engine 'tiny' of another package cannot be used (ImportError: half of it is missing)" in said
    assert "native" in said and "tiny" not in listed(place, "engines", "--features")
