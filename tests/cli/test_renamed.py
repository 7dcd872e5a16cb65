"""Names of the version before: each works, and one warning says the new one."""

from __future__ import annotations

import importlib
import warnings

import pytest

from genn_eventprop import renamed
from genn_eventprop.cli import main

MODULES = [
    (place, old) for place, names in renamed.NAMES.items() if place.startswith("genn_eventprop.") for old in names
]
COMMANDS = [
    (place, old) for place, names in renamed.NAMES.items() if place.startswith("genn-eventprop ") for old in names
]


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch):
    monkeypatch.setattr(renamed, "_told", set())


@pytest.mark.parametrize("module, old", MODULES)
def test_an_old_name_of_a_module_is_the_new_one_and_warns_once(module, old):
    place, new = importlib.import_module(module), renamed.NAMES[module][old]
    with pytest.warns(FutureWarning, match=f"{old} is {module}.{new} now") as seen:
        found = getattr(place, old)
    assert found is getattr(place, new) and seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert getattr(place, old) is found


@pytest.mark.parametrize("program, old", COMMANDS)
def test_an_old_option_is_the_new_one_and_warns_once(program, old, capsys):
    new = renamed.NAMES[program][old].split()
    name, *value = old.split()
    for words in ([name, *value, "x"], [f"{name}={value[0]}", "x"] if value else [name, "x"]):
        assert renamed.options(program, words) == [*new, "x"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {old} ({program}) ") and " ".join(new) in line


def test_other_words_stay_as_they_are():
    words = ["adex", "cell.csv", "--bounds", "tau_w=20:400", "--run-dir=runs/a=b", "--", "-"]
    assert renamed.options("genn-eventprop fit", words) == words


def test_show_with_the_option_of_the_version_before(capsys):
    assert main(["show", "lif", "--target", "cpp"]) == 0
    new = capsys.readouterr()
    assert main(["show", "lif", "--dialect=cpp"]) == 0
    old = capsys.readouterr()
    assert old.out == new.out and not new.err and "--target cpp" in old.err
    assert main(["show", "lif"]) == 0
    strings = capsys.readouterr().out
    assert main(["show", "lif", "--dialect", "genn"]) == 0
    assert capsys.readouterr().out == strings != old.out


def test_fit_with_the_option_of_the_version_before(tmp_path, monkeypatch, capsys):
    """It is read: what is wrong is found behind it."""
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "adex", "none.csv", "--current", "V"]) != 0
    said = capsys.readouterr().err
    assert "--current (genn-eventprop fit) is --inject now" in said and "none.csv" in said and "unknown" not in said
