"""Tables of the pages from the result files beside this script, and numbers that several pages say.

    python docs/numbers/tables.py            # writes the tables
    python docs/numbers/tables.py --check    # names what differs; status 1 if anything does

A result file is written by the commands that its rows name (`benchmarks/result_file.py`); its table stands between
`<!-- numbers: NAME -->` and `<!-- end of numbers -->` of a page. quantities.toml has patterns of sentences that say one
quantity: where they match, in any page, all numbers have to be the same, and that of the result file if it names one.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NUMBER = re.compile(r"\d+(?:\.\d+)?")
MARKED = re.compile(r"(<!-- numbers: (\w+) -->\n).*?(<!-- end of numbers -->)", re.DOTALL)


def pages(root: Path) -> list[Path]:
    """Everything that a reader reads; the reports of reproductions are dated, and say of what version they are."""
    found = [p for p in sorted(root.glob("docs/**/*.md")) if not {"reproductions", "_build"} & set(p.parts)]
    found += sorted(root.glob("genn_eventprop/experiments/*.py"))
    return found + [p for name in ("README.md", "CITATION.cff", "paper/paper.md") if (p := root / name).exists()]


def table(result: dict[str, Any]) -> str:
    """In Markdown, with version and machine of its rows below."""
    lines = [f"| {' | '.join(result['columns'])} |", "|---" * len(result["columns"]) + "|"]
    lines += [f"| {' | '.join(row['cells'])} |" for row in result["rows"]]
    about: dict[tuple[str, str], dict[str, None]] = {}
    for row in result["rows"]:
        number, _, commit = row["version"].partition(" ")
        about.setdefault((number, row["machine"]), {})[commit.strip("()")] = None
    told = (
        f"genn_eventprop {number} ({', '.join(commits)})" + (f", {machine}" if machine else "")
        for (number, machine), commits in about.items()
    )
    return "\n".join([*lines, "", "; ".join(told) + "."]) + "\n"


def written(root: Path) -> dict[Path, str]:
    """Pages with such tables -> their text with the tables of the result files."""
    results = {p.stem: json.loads(p.read_text()) for p in sorted((root / "docs" / "numbers").glob("*.json"))}
    texts, used = {}, set()
    for page in pages(root):
        text = page.read_text()
        names = {m[2] for m in MARKED.finditer(text)}
        if unknown := names - results.keys():
            raise SystemExit(f"{page.relative_to(root)}: no docs/numbers/{unknown.pop()}.json")
        if names:
            used |= names
            texts[page] = MARKED.sub(lambda m: m[1] + table(results[m[2]]) + m[3], text)
    if unused := results.keys() - used:
        raise SystemExit(f"docs/numbers/{unused.pop()}.json stands on no page")
    return texts


def agree(one: str, other: str) -> bool:
    """Whether the numbers of two texts are the same to the digits that both have: 93.0 +- 1.9 and 93.00 +- 1.93."""
    numbers = [NUMBER.findall(text) for text in (one, other)]
    if len(numbers[0]) != len(numbers[1]):
        return False
    digits = [min(len(x.partition(".")[2]) for x in pair) for pair in zip(*numbers)]
    return all(abs(float(a) - float(b)) < 0.501 * 10.0**-n for a, b, n in zip(*numbers, digits))


def contradictions(root: Path) -> list[str]:
    """A line for every quantity with two values, and for every pattern that nothing matches any more."""
    lines = []
    for quantity in tomllib.loads((root / "docs" / "numbers" / "quantities.toml").read_text())["quantity"]:
        said: dict[str, list[str]] = {}
        if name := quantity.get("file"):
            result = json.loads((root / "docs" / "numbers" / f"{name}.json").read_text())
            row = next(r["cells"] for r in result["rows"] if r["cells"][0] == quantity["row"])
            said[row[result["columns"].index(quantity["column"])]] = [f"docs/numbers/{name}.json"]
        for pattern in quantity["says"]:
            # a sentence may be broken into lines
            anywhere = re.compile(re.sub(r" ", r"\\s+", pattern))
            places = [
                (" ".join(m[1].split()), page) for page in pages(root) for m in anywhere.finditer(page.read_text())
            ]
            for number, page in places:
                said.setdefault(number, []).append(str(page.relative_to(root)))
            if not places:
                lines.append(f"{quantity['what']}: nothing says {pattern!r}; take it out of quantities.toml")
        if not all(agree(one, other) for one in said for other in said):
            values = "; ".join(f"{number} in {', '.join(dict.fromkeys(places))}" for number, places in said.items())
            lines.append(f"{quantity['what']}: {values}")
    return lines


def main(arguments: list[str]) -> int:
    wrong = contradictions(ROOT)
    for page, text in written(ROOT).items():
        if page.read_text() == text:
            continue
        if "--check" in arguments:
            wrong.append(
                f"{page.relative_to(ROOT)}: a table is not that of its result file; run docs/numbers/tables.py"
            )
        else:
            page.write_text(text)
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
