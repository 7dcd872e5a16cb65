"""Tables of the pages from the result files beside this script, and numbers that several pages say.

    python docs/numbers/tables.py            # writes the tables
    python docs/numbers/tables.py --check    # names what differs; status 1 if anything does

A result file is written by the commands that its rows name (`benchmarks/result_file.py`); its table stands between
`<!-- numbers: NAME -->` and `<!-- end of numbers -->` of a page. quantities.toml has patterns of sentences that say one
quantity: where they match, in any page, all numbers have to be the same, and that of the result file if it names one.

Any other number of a page that has a unit of a measurement or counts what was run (`MEASURED`), outside of code and
of what a script writes, has its source in sources.toml: a result file, a command, or that it was not
measured here. One without is an error.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NUMBER = re.compile(r"\d+(?:\.\d+)?")
ONE = r"\d[\d,]*(?:\.\d+)?(?:e-?\d+)?"
UNIT = r"%|[smh]|min|minutes?|hours?|seconds|days?|[kMG]i?B|times|[nu]s|degrees|of \d+|of the time|ms (?:a|per) \w+"
COUNTED = r"(?:[a-z]+ )?(?:networks|structures|trials|runs|cells|tests|faults|messages)"
# "97 %", "361 networks", "1.2 to 1.5 times", "9.77 +- 0.06", "3 of 5"; "1 ms" is a setting, "1 ms a step" a measurement
MEASURED = re.compile(
    rf"(?<![\w.,-])(?<!- )(?:{ONE}(?: %)?(?:,? and |, | to | or ))*"
    rf"(?:{ONE}(?: \+- {ONE})? (?:{UNIT}|{COUNTED})(?![\w-])|{ONE} \+- {ONE})"
)
NOT_MEASURED = ("set", "published", "shown")
# code, and what a script has written between its marks
NO_PROSE = re.compile(
    r"^```.*?^```|`[^`]+`|<!-- (?:numbers|table|cards|gpu_cost)\b.*?<!-- end of.*?-->"
    r"|<!-- ([^>]*): begin -->.*?<!-- \1: end -->",
    re.DOTALL | re.MULTILINE,
)
MARKED = re.compile(r"(<!-- numbers: (\w+) -->\n).*?(<!-- end of numbers -->)", re.DOTALL)


def pages(root: Path) -> list[Path]:
    """Everything that a reader reads; the reports of reproductions are dated, and say of what version they are."""
    found = [p for p in sorted(root.glob("docs/**/*.md")) if not {"reproductions", "_build"} & set(p.parts)]
    found += sorted(root.glob("genn_eventprop/experiments/*.py"))
    return found + [p for name in ("README.md", "CITATION.cff", "paper/paper.md") if (p := root / name).exists()]


def table(result: dict[str, Any]) -> str:
    """In Markdown, with version and machine of its rows below, and which versions are not the present one."""
    present = re.search(r'__version__ = "(.*)"', (ROOT / "genn_eventprop" / "__init__.py").read_text())[1]
    lines = [f"| {' | '.join(result['columns'])} |", "|---" * len(result["columns"]) + "|"]
    lines += [f"| {' | '.join(row['cells'])} |" for row in result["rows"]]
    about: dict[tuple[str, str], dict[str, None]] = {}
    for row in result["rows"]:
        number, _, commit = row["version"].partition(" ")
        # rows of before there were result files
        how = ", copied from the output" if row.get("by_hand") else f", {row['machine']}" if row["machine"] else ""
        about.setdefault((number, how), {})[commit.strip("()")] = None
    told = (
        f"genn_eventprop {number} ({', '.join(commits)}){'' if number == present else ', an earlier version'}{how}"
        for (number, how), commits in about.items()
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
    lines, texts = [], {page: " ".join(page.read_text().split()) for page in pages(root)}
    for quantity in tomllib.loads((root / "docs" / "numbers" / "quantities.toml").read_text())["quantity"]:
        said: dict[str, list[str]] = {}
        if name := quantity.get("file"):
            result = json.loads((root / "docs" / "numbers" / f"{name}.json").read_text())
            row = next(r["cells"] for r in result["rows"] if r["cells"][0] == quantity["row"])
            said[row[result["columns"].index(quantity["column"])]] = [f"docs/numbers/{name}.json"]
        for pattern in quantity["says"]:
            places = [(m[1], page) for page, text in texts.items() for m in re.finditer(pattern, text)]
            for number, page in places:
                said.setdefault(number, []).append(str(page.relative_to(root)))
            if not places:
                lines.append(f"{quantity['what']}: nothing says {pattern!r}; take it out of quantities.toml")
        if not all(agree(one, other) for one in said for other in said):
            values = "; ".join(f"{number} in {', '.join(dict.fromkeys(places))}" for number, places in said.items())
            lines.append(f"{quantity['what']}: {values}")
    return lines


def measured(text: str) -> list[str]:
    """Numbers with a unit of a measurement in the prose and the hand-written tables of a page, each once."""
    return list(dict.fromkeys(m[0] for m in MEASURED.finditer(" ".join(NO_PROSE.sub("", text).split()))))


def file_of(root: Path, source: str) -> Path | None:
    """The file that a source is: a page or a result file."""
    paths = (root / source, root / "docs" / "numbers" / f"{source}.json")
    return next((path for path in paths if path.is_file()), None)


def in_file(said: str, path: Path) -> bool:
    """Whether every number of a text is, to its digits, in a page or in a cell of a result file."""
    text = path.read_text()
    if path.suffix == ".json":
        text = " ".join(cell for row in json.loads(text)["rows"] for cell in row["cells"])
    values = [float(number) for number in NUMBER.findall(text.replace(",", ""))]
    return all(
        any(abs(value - float(number)) < 0.501 * 10.0 ** -len(number.partition(".")[2]) for value in values)
        for number in NUMBER.findall(said.replace(",", ""))
    )


def unsourced(root: Path) -> list[str]:
    """A line for every measured number of a page without a source, and for every source of a number that is not there.

    sources.toml: for every page, source -> numbers, or "all" of a page that a command writes. A source is the name of a
    result file, another page, a command, or "set" (a setting, a definition, a bound), "published" (its source stands
    beside it), "shown" (what an example of the page is given, or prints, and a test compares).
    """
    lines, sources = [], tomllib.loads((root / "docs" / "numbers" / "sources.toml").read_text())
    for page in pages(root):
        name, text = str(page.relative_to(root)), page.read_text()
        if page.suffix == ".py":  # an experiment, whose docstring `train NAME --help` prints
            text = ast.get_docstring(ast.parse(text)) or ""
        found, declared, text = measured(text), sources.pop(name, {}), " ".join(text.split())
        if "all" in declared.values():
            continue
        for source, numbers in declared.items():
            if file := file_of(root, source):
                lines += [f"{name}: {n!r} is not in {file.name}" for n in numbers if not in_file(n, file)]
            elif source not in NOT_MEASURED and not names(text, source):
                lines.append(f"{name}: does not name {source!r}, the source of {numbers}, or there is no such file")
        known = [number for numbers in declared.values() for number in numbers]
        lines += [
            f"{name}: where is {number!r} from? docs/numbers/sources.toml says"
            for number in found
            if number not in known
        ]
        lines += [
            f"{name}: has no {number!r} any more; take it out of sources.toml"
            for number in known
            if number not in found
        ]
    return lines + [f"{name} of sources.toml is no page" for name in sources]


def names(text: str, command: str) -> bool:
    """Whether a page names the file that a command runs, which there is, or else the command."""
    file = next((word for word in command.split() if word.endswith((".py", ".toml"))), None)
    return command in text if file is None else file in text and (ROOT / file).exists()


def read_by_hand(root: Path) -> int:
    """How many numbers were copied from the output of a command, and not taken from a result file."""
    sources = tomllib.loads((root / "docs" / "numbers" / "sources.toml").read_text()).values()
    named = (item for page in sources for item in page.items() if item[0] not in NOT_MEASURED and item[1] != "all")
    return sum(len(numbers) for source, numbers in named if file_of(root, source) is None)


def main(arguments: list[str]) -> int:
    wrong = contradictions(ROOT) + unsourced(ROOT)
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
