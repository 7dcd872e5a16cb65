"""packaging/footprint.py: the package is not above its ceilings, and what is counted."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOOTPRINT = runpy.run_path(str(ROOT / "packaging" / "footprint.py"))
main, measure = FOOTPRINT["main"], FOOTPRINT["measure"]
NONE = dict.fromkeys(FOOTPRINT["OPERATIONS"], 0)
PYTHON = '''"""Nobody counts docstrings."""

LIMIT: float = 1.5e-3  # nor comments
"""Nor those of attributes."""


def births(x):
    return x**2 + len("short")
'''  # 5 of LIMIT, 6 of def, 9 of return
LONG = 'TEXT = """int births = 2; // what is in a long string is C"""\n'  # 2 and 5
C = "/* not\n   this */ double y = x * 2.0; // births\n"  # 7


@pytest.fixture
def house(tmp_path):
    """A package of three files, with ceilings in hundreds."""
    for name, text in {"codegen/cpp/a.py": PYTHON, "codegen/cpp/b.hpp": C, "plan/c.py": LONG}.items():
        path = tmp_path / "genn_eventprop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "packaging").mkdir()
    ceil(tmp_path, {"codegen/cpp": 100, "plan": 100}, NONE | {"births": 2})
    return tmp_path


def ceil(root: Path, tokens: dict[str, int], files: dict[str, int]) -> None:
    (root / "packaging" / "footprint.json").write_text(json.dumps({"tokens": tokens, "files": files}))


def test_the_package_is_not_above_its_ceilings(capsys):
    main([])
    assert "tokens in all" in capsys.readouterr().out


def test_tokens_and_files_are_counted(house):
    assert measure(house) == {"tokens": {"codegen/cpp": 27, "plan": 7}, "files": NONE | {"births": 2}}


def test_what_is_above_its_ceiling_or_has_none_is_an_error(house, capsys):
    main([], house)
    ceil(house, {"codegen/cpp": 20, "plan": 100}, NONE | {"births": 1})
    with pytest.raises(SystemExit, match="make it smaller, or raise its ceiling in packaging/footprint.json"):
        main([], house)
    out = capsys.readouterr().out
    assert "27  is above 20 by 7" in out and "2  is above 1 by 1" in out
    ceil(house, {"codegen/cpp": 100}, NONE | {"births": 2})
    with pytest.raises(SystemExit):
        main([], house)
    assert "7  has no ceiling" in capsys.readouterr().out


def test_update_lowers_ceilings_and_never_raises_one(house):
    ceil(house, {"codegen/cpp": 20, "plan": 900, "gone": 100}, NONE | {"births": 3, "currents": 4})
    with pytest.raises(SystemExit):
        main(["--update"], house)
    lowered = json.loads((house / "packaging" / "footprint.json").read_text())
    assert lowered == {"tokens": {"codegen/cpp": 20, "plan": 100}, "files": NONE | {"births": 2}}
