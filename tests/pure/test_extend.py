"""docs/extend.md: every diff is one new file, and its registration alone; each can be applied."""

import tomllib

import pytest

from genn_eventprop.engines import registry
from support.diffs import ROOT, copy_of_the_package, diffs

DIFFS = diffs(ROOT / "docs" / "extend.md")
REGISTERED = {
    "genn_eventprop/program/readouts/": "genn_eventprop/losses/kinds.py",
    "genn_eventprop/losses/sums/": "genn_eventprop/losses/sums/__init__.py",
    "genn_eventprop/modelling/connectivity/": "genn_eventprop/modelling/connectivity/__init__.py",
    "c99_threads/": "c99_threads/pyproject.toml",
}


def test_there_is_one_of_each():
    folders = [changes[0].path.rpartition("/")[0] + "/" for changes in DIFFS]
    assert folders == list(REGISTERED)


@pytest.mark.parametrize("changes", DIFFS, ids=lambda changes: changes[0].path.rpartition("/")[2])
def test_one_file_and_its_registration(changes):
    new, registration = changes
    of_its_own = registration.path.endswith("pyproject.toml")
    assert new.new and registration.new == of_its_own
    assert registration.path == REGISTERED[new.path.rpartition("/")[0] + "/"]
    assert not registration.removed
    if of_its_own:
        assert list(tomllib.loads("\n".join(registration.added))["project"]["entry-points"]) == [registry.GROUP]
        return
    imports = [line for line in registration.added if line.startswith("from .")]
    assert len(registration.added) - len(imports) <= 1 and 1 <= len(registration.added) <= 2


def test_every_diff_fits_the_package(tmp_path):
    copy_of_the_package(tmp_path)
    for changes in DIFFS:
        for change in changes:
            change.apply(tmp_path)
            if change.path.endswith(".py"):
                compile((tmp_path / change.path).read_text(), change.path, "exec")
