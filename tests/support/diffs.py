"""The diffs of a page of the documentation, and a copy of the package that they are applied to."""

import re
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Change:
    """Of one file: lines of its text (" ", "-" or "+" in front) hunk by hunk; new: whether the file is not there
    yet."""

    path: str
    new: bool
    hunks: tuple[tuple[str, ...], ...]

    @property
    def added(self) -> list[str]:
        return [line[1:] for hunk in self.hunks for line in hunk if line.startswith("+")]

    @property
    def removed(self) -> list[str]:
        return [line[1:] for hunk in self.hunks for line in hunk if line.startswith("-")]

    def apply(self, root: Path) -> None:
        path = root / self.path
        text = "" if self.new else path.read_text()
        assert not (self.new and path.exists()), path
        for hunk in self.hunks:
            before = "".join(line[1:] + "\n" for line in hunk if line[:1] in (" ", "-", ""))
            after = "".join(line[1:] + "\n" for line in hunk if line[:1] in (" ", "+", ""))
            assert self.new or text.count(before) == 1, f"{self.path}: {before}"
            text = after if self.new else text.replace(before, after)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def diffs(page: Path) -> list[list[Change]]:
    """The diffs of a page, each a list of changes."""
    return [_changes(block) for block in re.findall(r"^```diff\n(.*?)^```", page.read_text(), re.S | re.M)]


def _changes(block: str) -> list[Change]:
    changes = []
    for part in re.split(r"^(?=--- )", block, flags=re.M)[1:]:
        old, new, *lines = part.rstrip("\n").split("\n")
        hunks = re.split(r"^@@.*\n", "\n".join(lines) + "\n", flags=re.M)[1:]
        path = new.removeprefix("+++ b/")
        changes.append(Change(path, old == "--- /dev/null", tuple(tuple(h.rstrip("\n").split("\n")) for h in hunks)))
    return changes


def copy_of_the_package(folder: Path) -> None:
    """With its byte code; that of a file that is changed then is older than it, and not used."""
    ignored = shutil.ignore_patterns("*.pyc.*")  # that another process writes
    shutil.copytree(ROOT / "genn_eventprop", folder / "genn_eventprop", ignore=ignored)


def install(distribution: Path, into: Path) -> None:
    """What pip makes of a folder with one module and a pyproject.toml: the module, and its entry points."""
    project = tomllib.loads((distribution / "pyproject.toml").read_text())["project"]
    info = into / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    lines = (f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in points.items()) for group, points in groups)
    (info / "entry_points.txt").write_text("".join(lines))
    for module in distribution.glob("*.py"):
        shutil.copy(module, into)
