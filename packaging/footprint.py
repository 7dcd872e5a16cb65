"""What the package weighs, against ceilings that only fall: tokens room by room, and files that name an operation.

    python packaging/footprint.py             what differs from packaging/footprint.json; fails above a ceiling
    python packaging/footprint.py --update    lowers the ceilings to the numbers

A feature raises the ceiling of its own room by hand, in its own commit, and the message says what for. `codegen`,
`engines` and `program` should only get smaller: an operation belongs in one file of `program`, and targets and engines
need not know its name.

Tokens are words, numbers, strings and operators, without comments and docstrings; no layout of lines changes them. A
string of more than 40 characters counts as the tokens inside, so that code does not get smaller in a string. Ceilings
are in hundreds, so that a small fix need not touch them. Files are those of `codegen` and `engines` whose text has the
pattern of an operation, in any case, comments included.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CEILINGS = "packaging/footprint.json"
OPERATIONS = {
    "births": r"births",
    "observed spikes": r"observed",
    "carried adjoints": r"carry",
    "refractory modes": r"refractory",
    "learned gains": r"\bgains?\b|_gains?\b|\bamounts?\b|_amounts?\b",
    "currents": r"currents",
}
NAMED_IN = ("codegen", "engines")
SUFFIXES = {".py", ".h", ".hpp", ".cuh", ".cu", ".c", ".cpp"}
LONG = 40
HUNDRED = 100

C = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)
    | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
    | \d(?:[\w.]|(?<=[eEpP])[-+])* | \w+ | [^\s\w]""",
    re.S | re.X,
)
PYTHON = re.compile(
    r"""(?P<comment>\#[^\n]*)
    | (?P<string>(?:\b[rbfu]{1,2})?
        (?:(?P<quote>\"{3}|'{3})(?:\\.|[^\\])*?(?P=quote) | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'))
    | \d(?:[\w.]|(?<=[eEpP])[-+])* | \w+ | \*\*=? | //=? | <<=? | >>=? | -> | [-+*/%&|^=<>!:@]= | \.\.\. | [^\s\w]""",
    re.S | re.X | re.I,
)


def tokens(text: str, of: re.Pattern[str], skip: frozenset[int] = frozenset()) -> int:
    """Tokens of a text. skip: where docstrings begin."""
    count = 0
    for found in of.finditer(text):
        string = found.lastgroup == "string"
        if found.lastgroup == "comment" or (string and found.start() in skip):
            continue
        count += tokens(found[0].strip("\"'rbfuRBFU"), C) if string and len(found[0]) > LONG else 1
    return count


def docstrings(text: str) -> frozenset[int]:
    """Where strings begin that are statements: docstrings of modules, classes, functions and attributes."""
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    return frozenset(
        starts[node.lineno - 1] + node.col_offset
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    )


def sources(root: Path) -> dict[Path, str]:
    """Text of every source file, by its path within the package."""
    package = root / "genn_eventprop"
    return {
        path.relative_to(package): path.read_text(encoding="utf-8")
        for path in sorted(package.rglob("*"))
        if path.suffix in SUFFIXES and "__pycache__" not in path.parts
    }


def room(path: Path) -> str:
    """The folder that a file counts for; of `codegen` and `engines` the folders inside."""
    parts = path.parts[:-1]
    return "/".join(parts[: 2 if parts[:1] in {("codegen",), ("engines",)} else 1]) or "."


def measure(root: Path = ROOT) -> dict[str, dict[str, int]]:
    """Tokens room by room, and files that name each operation."""
    weight: Counter[str] = Counter()
    files = Counter(dict.fromkeys(OPERATIONS, 0))
    for path, text in sources(root).items():
        weight[room(path)] += tokens(text, PYTHON, docstrings(text)) if path.suffix == ".py" else tokens(text, C)
        if path.parts[0] in NAMED_IN:
            files.update(name for name, pattern in OPERATIONS.items() if re.search(pattern, text, re.I))
    return {"tokens": dict(weight), "files": dict(files)}


def lowered(ceilings: dict[str, dict[str, int]], now: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """Ceilings that are no higher than the numbers; those of rooms that are gone are left out."""
    return {
        "tokens": {
            name: min(ceiling, -(-now["tokens"][name] // HUNDRED) * HUNDRED)
            for name, ceiling in ceilings["tokens"].items()
            if name in now["tokens"]
        },
        "files": {name: min(ceiling, now["files"][name]) for name, ceiling in ceilings["files"].items()},
    }


def report(ceilings: dict[str, dict[str, int]], now: dict[str, dict[str, int]]) -> tuple[list[str], bool]:
    """Lines that say what differs, and whether every number has a ceiling and is not above it."""
    lines, holds = [], True
    for kind, step in (("tokens", HUNDRED), ("files", 1)):
        for name in sorted(ceilings[kind] | now[kind]):
            ceiling, number = ceilings[kind].get(name), now[kind].get(name, 0)
            if ceiling is None:
                lines.append(f"{kind:7}{name:20}{number:9,}  has no ceiling: add one to {CEILINGS}")
                holds = False
            elif number > ceiling:
                lines.append(f"{kind:7}{name:20}{number:9,}  is above {ceiling:,} by {number - ceiling:,}")
                holds = False
            elif ceiling - number >= step:
                lines.append(
                    f"{kind:7}{name:20}{number:9,}  is below {ceiling:,} by {ceiling - number:,}: --update lowers it"
                )
    engine = sum(n for name, n in now["tokens"].items() if name.split("/")[0] in {"codegen", "engines", "program"})
    lines.append(f"tokens in all {sum(now['tokens'].values()):,}, of these in codegen, engines and program {engine:,}")
    lines.append("files that name them: " + ", ".join(f"{name} {number}" for name, number in now["files"].items()))
    return lines, holds


def main(arguments: list[str] | None = None, root: Path = ROOT) -> None:
    """See the module.

    Raises:
        SystemExit: a number is above its ceiling, or has none.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="lower the ceilings to the numbers")
    update = parser.parse_args(arguments).update
    path = root / CEILINGS
    ceilings, now = json.loads(path.read_text()), measure(root)
    if update:
        ceilings = lowered(ceilings, now)
        path.write_text(json.dumps(ceilings, indent=2, sort_keys=True) + "\n")
    lines, holds = report(ceilings, now)
    print("\n".join(lines))
    if not holds:
        raise SystemExit(
            f"footprint: make it smaller, or raise its ceiling in {CEILINGS} and say in the commit what for"
        )


if __name__ == "__main__":
    main()
