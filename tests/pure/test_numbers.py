"""docs/numbers: tables of pages are those of their result files, and a quantity has one value on all pages."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path

import pytest

from genn_eventprop import __version__

ROOT = Path(__file__).parents[2]
TABLES = runpy.run_path(str(ROOT / "docs" / "numbers" / "tables.py"))
written, contradictions, agree, measured, unsourced, read_by_hand = (
    TABLES[name] for name in ("written", "contradictions", "agree", "measured", "unsourced", "read_by_hand")
)
READ_BY_HAND = 60  # of numbers copied from the output of a command there may be fewer, not more


@pytest.fixture
def place(tmp_path):
    """The pages and result files, to be changed."""
    for name in ("README.md", "CITATION.cff"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("docs", "paper", "genn_eventprop/experiments"):
        shutil.copytree(
            ROOT / name,
            tmp_path / name,
            ignore=shutil.ignore_patterns("_build", "*.png", "runs", "gallery", "generated"),
        )
    return tmp_path


def test_tables_are_those_of_their_result_files():
    """`python docs/numbers/tables.py` writes them."""
    texts = written(ROOT)
    assert texts
    for page, text in texts.items():
        assert page.read_text() == text, page


def test_a_quantity_has_one_value():
    assert contradictions(ROOT) == []


def test_a_table_changed_by_hand_is_found(place):
    page = place / "docs" / "results.md"
    file = place / "docs" / "numbers" / "yin_yang.json"
    cell = json.loads(file.read_text())["rows"][0]["cells"][3]
    assert cell in page.read_text()
    page.write_text(page.read_text().replace(cell, "99.99 +- 0.01"))
    assert written(place)[page] != page.read_text() and cell in written(place)[page]


def test_another_value_on_another_page_is_found(place):
    readme = place / "README.md"
    text = readme.read_text()
    readme.write_text(text.replace("reaches a test accuracy of ", "reaches a test accuracy of 99.99 +- 0.01 %, once "))
    (line,) = contradictions(place)
    assert "99.99 +- 0.01 in README.md" in line and "docs/numbers/yin_yang.json" in line
    readme.write_text(text.replace("reaches a test accuracy of", "has"))
    (line,) = contradictions(place)
    assert "nothing says" in line


def test_a_result_file_on_no_page_and_a_mark_without_a_file_are_errors(place):
    other = place / "docs" / "numbers" / "other.json"
    other.write_text('{"columns": ["a"], "rows": []}')
    with pytest.raises(SystemExit, match="other.json stands on no page"):
        written(place)
    other.unlink()
    (place / "docs" / "numbers" / "yin_yang.json").unlink()
    with pytest.raises(SystemExit, match="results.md: no docs/numbers/yin_yang.json"):
        written(place)


def test_every_measured_number_of_a_page_has_a_source():
    """docs/numbers/sources.toml says what is a setting, and where the others are from."""
    assert unsourced(ROOT) == []
    assert read_by_hand(ROOT) <= READ_BY_HAND


@pytest.mark.parametrize("text, numbers", [
    ("It takes 1.2 to 1.5 times as long, 37 MB and 2 s.", ["1.2 to 1.5 times", "37 MB", "2 s"]),
    ("90.35 and 89.05 %; 97, 94,\n98 %; 98.77 +- 0.06", ["90.35 and 89.05 %", "97, 94, 98 %", "98.77 +- 0.06"]),
    ("on 5 - 30 - 3, 8.8 times; 7 of 21 runs", ["8.8 times", "7 of 21"]),
    ("steps of 1 ms, 0.61 ms a sample, 256 neurons, version 0.2 (`--memory 3 MB`)", ["0.61 ms a sample"]),
    ("<!-- numbers: x -->\n| 1 % |\n<!-- end of numbers -->\n| 2 % |\n```text\n3 %\n```\n", ["2 %"]),
    ("<!-- a b: begin -->\n1 %\n<!-- a b: end --> 2 %", ["2 %"]),
])  # fmt: skip
def test_which_numbers_are_measured(text, numbers):
    assert measured(text) == numbers


@pytest.mark.parametrize("said, complaint", [
    ("It reaches 97.31 %.", "where is '97.31 %' from"), ("| loss | 13.2 +- 2.1 |", "where is '13.2 +- 2.1' from"),
    ("A step takes\n7 ms a sample.", "where is '7 ms a sample' from"),
    ("This held in 417 networks.", "where is '417 networks' from"),
])  # fmt: skip
def test_a_number_without_a_source_is_found(place, said, complaint):
    page = place / "docs" / "data.md"
    page.write_text(f"{page.read_text()}\n{said}\n")
    (line,) = unsourced(place)
    assert line.startswith("docs/data.md: ") and complaint in line


def test_a_source_that_does_not_have_its_number_is_found(place):
    sources, page = place / "docs" / "numbers" / "sources.toml", place / "README.md"
    before, text = sources.read_text(), page.read_text()
    page.write_text(text.replace("98.77 +- 0.06 %", "98.79 +- 0.06 %"))
    sources.write_text(before.replace("98.77", "98.79", 1))
    (line,) = unsourced(place)
    assert line == "README.md: '98.79 +- 0.06 %' is not in yin_yang.json"
    sources.write_text(before)
    assert any("has no '98.77 +- 0.06 %' any more" in line for line in unsourced(place))
    page.write_text(text)
    for wrong in ("python benchmarks/no_such_file.py", "python benchmarks/depth.py"):
        sources.write_text(before.replace("python benchmarks/large_set.py", wrong))
        (line,) = unsourced(place)
        assert line.startswith(f"docs/data.md: does not name '{wrong}', the source of ['0.10 GB']")
    sources.write_text(before + '["docs/none.md"]\nset = ["1 %"]\n')
    assert unsourced(place) == ["docs/none.md of sources.toml is no page"]


def test_the_runs_that_learn_without_a_setting_are_those_of_the_table():
    """docs/own_data.md adds up a column."""
    result = json.loads((ROOT / "docs" / "numbers" / "defaults.json").read_text())
    column, regressions = result["columns"].index("runs that learn"), {"friedman", "diabetes", "word_lengths"}
    counts = [0, 0, 0, 0]
    for row in result["rows"]:
        learned, runs = map(int, row["cells"][column].split(" of "))
        at = 2 * (row["cells"][0].split()[0] in regressions)
        counts[at], counts[at + 1] = counts[at] + learned, counts[at + 1] + runs
    said = "{} of {} classification runs learn ({:.0f} %), and {} of {} regressions"
    share = 100 * counts[0] / counts[1]
    text = " ".join((ROOT / "docs" / "own_data.md").read_text().split())
    assert said.format(counts[0], counts[1], share, *counts[2:]) in text


def test_a_table_says_versions_and_machines_of_its_rows_once():
    row = {"cells": ["a"], "version": f"{__version__} (1)", "machine": "m"}
    rows = [row, row | {"version": f"{__version__} (2)"}, row | {"version": "0.1.0 (0)", "machine": ""}]
    rows.append(row | {"version": "0.1.0 (3)", "by_hand": True})
    text = TABLES["table"]({"columns": ["x"], "rows": rows})
    assert text.endswith(
        f"\ngenn_eventprop {__version__} (1, 2), m; genn_eventprop 0.1.0 (0), an earlier version; "
        "genn_eventprop 0.1.0 (3), an earlier version, copied from the output.\n"
    )


@pytest.mark.parametrize("one, other, same", [
    ("97.95 +- 0.55", "97.95 +- 0.55", True), ("97.95 +- 0.55", "97.96 +- 0.55", False),
    ("93.0 +- 1.9", "93.00 +- 1.93", True), ("93.0 +- 1.9", "93.06 +- 1.93", False), ("65.7", "65.71", True),
    ("10 of 10", "9 of 10", False), ("97.95", "97.95 +- 0.55", False),
])  # fmt: skip
def test_numbers_agree_to_the_digits_that_both_have(one, other, same):
    assert agree(one, other) is agree(other, one) is same
