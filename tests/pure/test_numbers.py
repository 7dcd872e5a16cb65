"""docs/numbers: tables of pages are those of their result files, and a quantity has one value on all pages."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLES = runpy.run_path(str(ROOT / "docs" / "numbers" / "tables.py"))
written, contradictions, agree = (TABLES[name] for name in ("written", "contradictions", "agree"))


@pytest.fixture
def place(tmp_path):
    """The pages and result files, to be changed."""
    for name in ("README.md", "CITATION.cff"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("docs", "paper", "genn_eventprop/experiments"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("_build", "*.png", "reproductions"))
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


def test_a_table_says_versions_and_machines_of_its_rows_once():
    row = {"cells": ["a"], "version": "0.2.0 (1)", "machine": "m"}
    rows = [row, row | {"version": "0.2.0 (2)"}, row | {"version": "0.1.0 (0)", "machine": ""}]
    text = TABLES["table"]({"columns": ["x"], "rows": rows})
    assert text.endswith("\ngenn_eventprop 0.2.0 (1, 2), m; genn_eventprop 0.1.0 (0).\n")


@pytest.mark.parametrize("one, other, same", [
    ("97.95 +- 0.55", "97.95 +- 0.55", True), ("97.95 +- 0.55", "97.96 +- 0.55", False),
    ("93.0 +- 1.9", "93.00 +- 1.93", True), ("93.0 +- 1.9", "93.06 +- 1.93", False), ("65.7", "65.71", True),
    ("10 of 10", "9 of 10", False), ("97.95", "97.95 +- 0.55", False),
])  # fmt: skip
def test_numbers_agree_to_the_digits_that_both_have(one, other, same):
    assert agree(one, other) is agree(other, one) is same
