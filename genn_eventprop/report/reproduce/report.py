"""The report of a paper: ours beside what was published, curves, what differs and why, how to get every number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...atomic import write_text
from ...runs import mark
from ...runs.run_folder import FREE
from ...studies.tables import markdown_table
from ...training.runtime_estimate import duration
from ..page import Block, Grid, Heading, Items, Picture, Text, write_html, write_markdown
from .collect import Outcome, Step, collect, machines, order_steps
from .figures import accuracies, curves
from .paper import ACCURACIES, Paper, Published, Table

COMPARED = ("published (%)", "difference")
HEADS = (
    "cell", "runs", "ours (%)", *COMPARED, "hidden spikes", "silent hidden", "epochs", "time a run",
)  # fmt: skip
WHICH = {
    ACCURACIES["final"]: "Test accuracy of the last epoch",
    ACCURACIES[
        "chosen"
    ]: "Test accuracy with the weights that validation chose (the last ones where nothing was held out)",
    ACCURACIES["validation"]: "Best validation accuracy; the test set is not read",
}


def write_report(paper: Paper, folder: Path, command: str, out: Path | None = None) -> tuple[Path, Path]:
    """Write report.html and report.md of the finished runs in `folder`.

    Args:
        command: that made the runs, for the reader. out: folder of the report, by default that of the runs.

    Raises:
        SettingError: another file is in the way.
    """
    if out is None:
        mark.check(folder, "scan", "--folder", FREE)
        out = folder
    html, markdown = out / "report.html", out / "report.md"
    blocks = blocks_of(paper, collect(paper, folder), folder, command)
    # all are looked at before the first is written: a report is replaced whole, or not at all
    for path in files_of(blocks, html, markdown):
        mark.check_written_by_us(path, "--out")
    write_text(markdown, write_markdown(blocks, markdown))  # and the figures beside it
    write_text(html, write_html(blocks))
    return html, markdown


def summary(paper: Paper, folder: Path) -> str:
    """The report in a terminal: ours beside what was published, a line for each cell."""
    outcomes, tables = collect(paper, folder), []
    for table in paper.tables:
        rows = [row_of(outcomes[cell.name])[:5] for cell in table.cells]
        tables.append(f"{table.title}. {WHICH[table.accuracy]}\n{markdown_table(HEADS[:5], rows)}")
    return "\n".join(tables)


def files_of(blocks: Sequence[Block], html: Path, markdown: Path) -> list[Path]:
    """The files of a report, without those figures of which an older report says that they are its own."""
    before = markdown.read_text(errors="replace") if markdown.is_file() and mark.written_by_us(markdown) else ""
    names = [f"figures/{block.name}.png" for block in blocks if isinstance(block, Picture)]
    return [html, markdown, *(markdown.parent / name for name in names if f"({name})" not in before)]


def blocks_of(paper: Paper, outcomes: Mapping[str, Outcome], folder: Path, command: str) -> list[Block]:
    """The whole report."""
    done, total = sum(len(o.runs) for o in outcomes.values()), sum(o.total for o in outcomes.values())
    seconds = sum(r["seconds_training"] for o in outcomes.values() for r in o.runs.values())
    blocks: list[Block] = [
        Heading(paper.title, 1),
        Text(f"{paper.paper}. Written by `{command}` from the run folders in `{folder}`."),
        Text(f"**{done} of {total} runs are finished**; they took {duration(seconds)} of training."),
    ]
    cells = [(o.cell.name, o.total - len(o.runs), o.total) for o in outcomes.values()]
    if missing := [f"`{name}` {left} of {runs}" for name, left, runs in cells if left]:
        blocks.append(Text(f"**Not run**: {', '.join(missing)}. `{command}` runs them."))
    if paper.quick:
        blocks.append(Text("**This is the quick version**: fewer epochs, cells and seeds; not the published settings."))
    if paper.text:
        blocks.append(Text(paper.text.strip()))
    for number, table in enumerate(paper.tables, 1):
        blocks += _table(table, [outcomes[cell.name] for cell in table.cells], outcomes, number)
    if paper.differences:
        blocks += [Heading("What differs from the paper, and why"), Items(paper.differences)]
    blocks += [Heading("How to get every number"), *_commands(paper, outcomes)]
    descriptions = machines(list(outcomes.values()))
    return [*blocks, Heading("Machine and versions"), Items(descriptions or ["no run is finished yet"])]


def _table(table: Table, cells: Sequence[Outcome], outcomes: Mapping[str, Outcome], number: int) -> list[Block]:
    caption = f"{WHICH[table.accuracy]}: mean and standard deviation over seeds. Hidden spikes: per neuron and "
    caption += "trial in the last epoch; silent: neurons without a spike in it. Time a run: on the clock."
    blocks: list[Block] = [Heading(table.title)]
    if table.text:
        blocks.append(Text(table.text.strip()))
    has_published = any(o.cell.published is not None and o.cell.published.accuracy is not None for o in cells)
    columns = [i for i, head in enumerate(HEADS) if has_published or head not in COMPARED]
    blocks.append(Grid(caption, [HEADS[i] for i in columns], [[row_of(o)[i] for i in columns] for o in cells]))
    if any(o.cell.folds for o in cells):
        blocks.append(_by_fold(cells))
    remarks = [f"`{o.cell.name}`: {r}" for o in cells if (r := _remark(o))]
    if remarks:
        blocks.append(Items(remarks))
    if len(table.worst_first) > 1:
        blocks.append(Text(order_words(table, order_steps(table, outcomes))))
    if any(o.values for o in cells):
        blocks.append(Picture(f"accuracy{number}", accuracies(cells), f"{table.title}: accuracy of every run."))
    if any(any(o.metrics.values()) for o in cells):
        words = (
            f"{table.title}: accuracy, hidden spikes and silent hidden neurons over the epochs; thin lines are runs, "
        )
        blocks.append(Picture(f"curves{number}", curves(cells), words + "thick ones medians."))
    return blocks


def _by_fold(cells: Sequence[Outcome]) -> Grid:
    """Accuracy by what was held out: folds differ more than seeds."""
    means = {o.cell.name: o.by_fold() for o in cells if o.cell.folds}
    folds = list(dict.fromkeys(fold for of_cell in means.values() for fold in of_cell))
    rows = [[name, *(f"{m[f]:.1f}" if f in m else "-" for f in folds)] for name, m in means.items()]
    return Grid("The same by what is held out, means over seeds (%)", ("cell", *folds), rows)


def _remark(outcome: Outcome) -> str:
    note = outcome.cell.published.note if outcome.cell.published is not None else ""
    return " ".join(part for part in (outcome.cell.remark, note) if part)


def row_of(outcome: Outcome) -> list[str]:
    """One line of the table."""
    cell, hidden = outcome.cell, outcome.hidden()
    runs = f"{len(outcome.runs)}" + ("" if len(outcome.runs) == outcome.total else f" of {outcome.total}")
    seeds = outcome.seeds
    gapless = len(seeds) > 3 and seeds[-1] - seeds[0] == len(seeds) - 1
    seed_text = f"{seeds[0]} to {seeds[-1]}" if gapless else ", ".join(map(str, seeds))
    seeds_text = f" (seed{'s' if len(seeds) > 1 else ''} {seed_text})" if seeds else ""
    epochs = sorted({int(r["epochs"]) for r in outcome.runs.values()})
    return [
        cell.name,
        runs + seeds_text,
        "-" if outcome.mean is None else plus_minus(outcome.mean, outcome.deviation),
        _published(cell.published),
        difference(outcome),
        "-" if hidden is None else f"{hidden[0]:.2f}",
        "-" if hidden is None else f"{hidden[1]:.0f} of {hidden[2]}",
        ", ".join(map(str, epochs)) or "-",
        "-" if outcome.seconds is None else duration(outcome.seconds),
    ]


def plus_minus(mean: float, deviation: float | None) -> str:
    """``98.10 +- 0.18``; without deviation for a single run."""
    return f"{mean:.2f}" if deviation is None else f"{mean:.2f} +- {deviation:.2f}"


def _published(published: Published | None) -> str:
    if published is None or published.accuracy is None:
        return "-"
    seeds = f" ({published.seeds} seeds)" if published.seeds else ""
    return plus_minus(published.accuracy, published.deviation) + seeds


def difference(outcome: Outcome) -> str:
    """Ours minus published; in standard errors of the difference where both deviations are known."""
    published, mean = outcome.cell.published, outcome.mean
    if published is None or published.accuracy is None or mean is None:
        return "-"
    words = f"{mean - published.accuracy:+.2f}"
    ours, n = outcome.deviation, len(outcome.seeds)
    if ours is None or published.deviation is None or not published.seeds:
        return words
    # of a difference of two means, each with the variance of its own runs (Welch)
    error = math.sqrt(ours**2 / n + published.deviation**2 / published.seeds)
    return words if error == 0 else f"{words} ({abs(mean - published.accuracy) / error:.1f} standard errors)"


def order_words(table: Table, steps: Sequence[Step]) -> str:
    """Whether the paper's order of cells holds here, pair by pair."""
    order = " < ".join(f"`{name}`" for name in table.worst_first)
    if not steps:
        return f"The paper's order is {order}; no pair of these cells has finished runs yet."
    sentences, with_folds = [], {cell.name for cell in table.cells if cell.folds}
    for step in steps:
        # seeds of a fold are one pair: they share its speaker, so that they are not as many independent ones
        c, unit = step.compared, "folds" if {step.better, step.worse} <= with_folds else "runs"
        within = "" if c.interval is None else f", 95 % interval {c.interval[0]:+.1f} to {c.interval[1]:+.1f}"
        pairs = f"{step.agreeing} of {c.pairs} {unit}"
        sentences.append(f"`{step.better}` is above `{step.worse}` in {pairs} ({c.mean:+.1f} points{within})")
    missing = len(table.worst_first) - 1 - len(steps)
    holds = all(step.compared.mean > 0 for step in steps)
    verdict = "It holds here in the mean" if holds else "It does **not** hold here in every step"
    verdict += f" ({missing} steps have no runs yet)" if missing else ""
    return f"The paper's order is {order}. {verdict}: " + "; ".join(sentences) + "."


def _common(settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all of them have, each with its commonest value, if more than one has that."""
    common = {}
    for key in settings[0] if settings else ():
        values = [cell[key] for cell in settings if key in cell]
        commonest = max(values, key=values.count)
        if len(values) == len(settings) and values.count(commonest) > 1:
            common[key] = commonest
    return common


def _words(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {value!r}" for key, value in settings.items())


def _commands(paper: Paper, outcomes: Mapping[str, Outcome]) -> list[Block]:
    rows, common = [], _common([cell.settings for cell in paper.cells().values()])
    for table in paper.tables:
        for cell in table.cells:
            folders = list(outcomes[cell.name].folders.values())
            where = (
                "-"
                if not folders
                else f"`{folders[0]}`" + (f" and {len(folders) - 1} more" if len(folders) > 1 else "")
            )
            settings = _words({k: v for k, v in cell.settings.items() if k not in common or v != common[k]}) or "-"
            rows.append([cell.name, f"`train {Path(table.experiment).name}`", settings, where])
    text = "Every run folder has its settings (config.json), command, environment, metrics of every epoch and weights; "
    text += "the command above runs what is missing and writes this report again. Settings that are not named are the "
    text += f"experiment's own.{f' Unless its row says otherwise, a cell has `{_words(common)}`.' if common else ''}"
    return [Text(text), Grid("Further settings of the cells", ("cell", "experiment", "settings", "run folders"), rows)]
