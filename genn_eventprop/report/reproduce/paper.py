"""The experiments of a paper: a TOML file of tables and cells beside the experiments' pages.

    title = "Yin-Yang with first spike times"
    paper = "Wunderlich & Pehle 2021, doi 10.1038/s41598-021-91786-z"
    experiment = "yin_yang"            # of every table that names no other
    accuracy = "final"                 # test accuracy of the last epoch, or "chosen" on validation; or "validation"
    seeds = "1-10"                     # of every cell that has none of its own
    text = "..."                       # begins the report
    differences = ["..."]              # from the paper, each with its reason

    [settings]                         # of every cell; tables and cells add to them
    [quick]                            # the five-minute version: other seeds, some cells, settings that win
    seeds = "1"
    cells = ["published"]
    settings = {epochs = 15}

    [[tables]]
    title = "Exact spike times"
    text = "..."
    settings = {}
    worst_first = ["a", "b"]           # the paper's order of some cells, by mean accuracy
    [[tables.cells]]
    name = "published"
    settings = {}
    folds = {speaker_out = ["a", "b"]} # the cell is run once for each, with every seed
    published = {accuracy = 98.10, deviation = 0.18, seeds = 10, note = "..."}

The file of a paper on another data set than its own is NAME.DATA.paper.toml.
"""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from ...errors import SettingError, UsageError, check_known, suggest
from ...experiment.experiment import PACKAGE, check_settings, load_experiment
from ...experiment.options import read_toml
from ...studies.repeats import whole_numbers
from ...studies.scan import Scan, cell_name

SUFFIX = ".paper.toml"
ACCURACIES = {"final": "final_test_accuracy", "chosen": "test_accuracy", "validation": "best_validation_accuracy"}
"""Which accuracy counts -> the key of results.json."""
OF_PAPER = (
    "title", "paper", "experiment", "accuracy", "seeds", "text", "differences", "settings", "quick", "tables",
)  # fmt: skip
OF_QUICK = ("seeds", "cells", "settings")
OF_TABLE = ("title", "text", "experiment", "accuracy", "settings", "worst_first", "cells")
OF_CELL = ("name", "settings", "folds", "seeds", "published", "remark")
OF_PUBLISHED = ("accuracy", "deviation", "seeds", "note")


@dataclass(frozen=True)
class Published:
    """Accuracy and its standard deviation in per cent, number of seeds, words about them; None: not reported."""

    accuracy: float | None = None
    deviation: float | None = None
    seeds: int | None = None
    note: str = ""


@dataclass(frozen=True, eq=False)
class Cell:
    """One line of a table: the settings of its runs, and what varies among them besides the seed."""

    name: str
    settings: Mapping[str, Any]
    seeds: tuple[int, ...]
    folds: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    published: Published | None = None
    remark: str = ""

    def runs(self) -> dict[str, dict[str, Any]]:
        """Run name -> settings, seed after seed: ``sum,speaker_out=lucas,seed=1``."""
        runs = {}
        for seed in self.seeds:
            for values in itertools.product(*self.folds.values()):
                varied = {**dict(zip(self.folds, values)), "seed": seed}
                runs[f"{self.name},{cell_name(varied)}"] = {**self.settings, **varied}
        return runs


@dataclass(frozen=True, eq=False)
class Table:
    """Cells of one experiment that are compared with each other; see the file's format above."""

    title: str
    experiment: str
    accuracy: str
    cells: tuple[Cell, ...]
    text: str = ""
    worst_first: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Paper:
    """What is reproduced; `name` is that of its file."""

    name: str
    title: str
    paper: str
    tables: tuple[Table, ...]
    text: str = ""
    differences: tuple[str, ...] = ()
    quick: bool = False

    def cells(self) -> dict[str, Cell]:
        """Every cell by its name."""
        return {cell.name: cell for table in self.tables for cell in table.cells}

    def runs(self) -> list[str]:
        """The names of all runs in the order in which they are run: the first seed of every cell first."""
        # seed after seed, not cell after cell: a report made half-way compares all cells
        turns = [list(cell.runs()) for cell in self.cells().values()]
        return [name for turn in itertools.zip_longest(*turns) for name in turn if name is not None]

    def scans(self, folder: Path, processes: int = 1, **extra: Any) -> list[Scan]:
        """The runs as scans in one folder, one for each experiment; `extra` settings go to every run."""
        scans: dict[str, dict[str, dict[str, Any]]] = {}
        for table in self.tables:
            for cell in table.cells:
                runs = {name: {**settings, **extra} for name, settings in cell.runs().items()}
                scans.setdefault(table.experiment, {}).update(runs)
        return [Scan(load_experiment(e), folder, processes, {}, listed=runs) for e, runs in scans.items()]

    def only(self, patterns: Sequence[str]) -> Paper:
        """The cells whose names match one of the patterns.

        Raises:
            SettingError: a pattern that no cell matches.
        """
        names = list(self.cells())
        for pattern in patterns:
            if not fnmatch.filter(names, pattern):
                raise SettingError(f"{self.name} has no cell {pattern!r}; {suggest(pattern, names)}")
        selection = {name for pattern in patterns for name in fnmatch.filter(names, pattern)}
        tables = [
            replace(
                table,
                cells=tuple(cell for cell in table.cells if cell.name in selection),
                worst_first=tuple(name for name in table.worst_first if name in selection),
            )
            for table in self.tables
        ]
        return replace(self, tables=tuple(table for table in tables if table.cells))

    def with_seeds(self, seeds: str) -> Paper:
        """Other seeds for every cell."""
        numbers = tuple(whole_numbers(seeds))
        return replace(
            self,
            tables=tuple(replace(t, cells=tuple(replace(c, seeds=numbers) for c in t.cells)) for t in self.tables),
        )


def paper_names() -> list[str]:
    """The papers that are installed with the package; those on other data sets as ``NAME.DATA``."""
    files = (entry.name for entry in resources.files(PACKAGE).iterdir())
    return sorted(name.removesuffix(SUFFIX) for name in files if name.endswith(SUFFIX))


def find_paper(name: str, data: str | None = None, quick: bool = False) -> Paper:
    """A paper by its name, or from a TOML file.

    Args:
        data: another data set than the paper's own.

    Raises:
        SettingError: no such paper, or not on that data set.
    """
    if name.endswith(".toml"):
        if data is not None:
            raise SettingError("--data is for the papers that come with the package; your file names its experiment")
        return read_paper(Path(name), quick)
    papers = paper_names()
    names = [known_name for known_name in papers if "." not in known_name]
    check_known(name, names, UsageError, f"there is no paper {name!r}; ")
    others = [known_name.split(".", 1)[1] for known_name in papers if known_name.startswith(f"{name}.")]
    if data is not None and data not in others:
        raise SettingError(f"{name} on {data!r} is not prepared; {suggest(data, others) if others else 'leave it out'}")
    file = f"{name}{SUFFIX}" if data is None else f"{name}.{data}{SUFFIX}"
    with resources.as_file(resources.files(PACKAGE) / file) as path:
        return read_paper(path, quick)


def read_paper(path: Path, quick: bool = False) -> Paper:
    """A paper from its file; `quick` takes what its table [quick] changes.

    Raises:
        SettingError: no such file, unknown keys or settings, a cell twice.
    """
    document, where = read_toml(path), str(path)
    check_keys(document, OF_PAPER, where)
    for key in ("title", "paper", "tables"):
        if key not in document:
            raise SettingError(f"{where}: {key} is missing")
    changed = document.get("quick", {})
    check_keys(changed, OF_QUICK, f"{where}, [quick]")
    forced = changed.get("settings", {}) if quick else {}
    seeds = changed.get("seeds") if quick else None
    tables = tuple(_table(table, document, forced, seeds, path) for table in document["tables"])
    names = [cell.name for table in tables for cell in table.cells]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SettingError(f"{where}: two cells are called {twice!r}; every cell needs a name of its own")
    paper = Paper(
        path.name.removesuffix(SUFFIX).removesuffix(".toml"), document["title"], document["paper"], tables,
        document.get("text", ""), tuple(document.get("differences", ())), quick,
    )  # fmt: skip
    return paper.only(changed["cells"]) if quick and "cells" in changed else paper


def _table(
    table: Mapping[str, Any], paper: Mapping[str, Any], forced: Mapping[str, Any], seeds: str | None, path: Path
) -> Table:
    check_keys(table, OF_TABLE, f"{path}, [[tables]]")
    title = table.get("title", "")
    where = f"{path}, table {title!r}"
    experiment = table.get("experiment", paper.get("experiment"))
    if not isinstance(experiment, str):
        raise SettingError(f'{where}: name the experiment, e.g. experiment = "yin_yang"')
    accuracy = table.get("accuracy", paper.get("accuracy", "chosen"))
    check_known(accuracy, ACCURACIES, SettingError, f"{where}: accuracy = {accuracy!r}; ")
    # a page of one's own is looked for beside the paper's file first, so that both can be moved together
    beside = path.parent / experiment
    experiment = str(beside) if experiment.endswith(".py") and beside.is_file() else experiment
    shared = {**paper.get("settings", {}), **table.get("settings", {})}
    config = load_experiment(experiment).config
    cells = tuple(
        _cell(cell, shared, forced, seeds or paper.get("seeds", "1"), seeds, where) for cell in table["cells"]
    )
    for cell in cells:
        check_settings(config, {**cell.settings, **cell.folds}, f"{where}, cell {cell.name!r}")
    order = tuple(table.get("worst_first", ()))
    for name in order:
        if name not in {cell.name for cell in cells}:
            raise SettingError(f"{where}, worst_first: {suggest(name, [cell.name for cell in cells])}")
    return Table(title, experiment, ACCURACIES[accuracy], cells, table.get("text", ""), order)


def _cell(
    cell: Mapping[str, Any], shared: Mapping[str, Any], forced: Mapping[str, Any], default: str,
    quick_seeds: str | None, where: str,
) -> Cell:  # fmt: skip
    check_keys(cell, OF_CELL, where)
    if not re.fullmatch(r"[\w.+-]+", str(cell.get("name", ""))):
        raise SettingError(
            f"{where}: a cell needs a name of letters, digits and _ . + -, the name of its run folders; "
            f"got {cell.get('name')!r}"
        )
    published = cell.get("published")
    if published is not None:
        check_keys(published, OF_PUBLISHED, f"{where}, published of {cell['name']!r}")
    seeds = whole_numbers(quick_seeds or cell.get("seeds", default), f"{where}: seeds")
    folds = {name: values[:1] if quick_seeds else values for name, values in cell.get("folds", {}).items()}
    return Cell(
        # what the quick version forces wins over the cell's own settings
        cell["name"], {**shared, **cell.get("settings", {}), **forced}, tuple(seeds), folds,
        None if published is None else Published(**published), cell.get("remark", ""),
    )  # fmt: skip


def check_keys(table: Mapping[str, Any], keys: Sequence[str], where: str) -> None:
    for key in table:
        check_known(key, keys, SettingError, f"{where}: unknown key {key!r}; ")
