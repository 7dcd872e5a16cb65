"""``report RUN...``: a table of results from run folders, printed or put into a document."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from ..atomic import write_text
from ..data.baselines import LOGISTIC
from ..errors import SettingError, UsageError
from ..experiment.experiment import baselines_of_run
from ..output import say
from ..runs import mark
from ..runs.run_folder import runs_in
from ..studies.tables import (
    FinishedRun,
    activities,
    comparisons,
    diagnoses,
    finished_runs,
    groups_of,
    table,
    with_table,
)
from ..training.compared import from_results
from .options import operand


def report(
    runs: Annotated[tuple[Path, ...], *operand("RUN...")],
    markdown: Path | None = None,
    paired: bool = False,
    activity: bool = False,
    baseline: bool = False,
    page: Path | None = None,
    trust: bool = False,
) -> None:
    """Tabulate finished runs and repeats: report runs/* --markdown results.md.

    Tabulate finished runs: time and accuracy, with the standard deviation over seeds or folds and the 95 %
    confidence interval of the mean (Student's t, cut off at 0 and 100 %). Runs without results are named and left out.

    Args:
        runs: Run folders, and folders of repeats (--seeds, --cross-validate) or of scans. Runs that differ only
            in the seed share a line.
        markdown: Write the table into this document, between its markers, instead of printing it.
        paired: Also compare every line with the first, on the seeds and folds that both have: mean difference, its
            95 % interval, and how often chance would produce one as large.
        activity: Also list the silent neurons and the spikes per neuron of every layer that spikes, in the
            training trials of the last epoch: the smallest and the largest number of the runs.
        baseline: Compute what logistic regression and 1-NN reach (extra baseline) for runs that were trained without
            --baseline; their experiment is built again to get the data.
        page: For --baseline, your own experiment file, if the runs were made with one; it is executed.
        trust: For --baseline, run and open the files that the settings of runs name.
    """
    if not runs:
        raise UsageError("report: name at least one run folder")
    folders, left_out = list[Path](), list[str]()
    for path in runs:
        try:
            folders += [path] if mark.kind_of(path) == "repeats" else runs_in(path)
        except SettingError as error:
            left_out.append(str(error))
    finished, unfinished = finished_runs(folders)
    left_out += unfinished
    if not finished:
        raise SettingError("; ".join(left_out))
    for words in left_out:
        say(f"left out: {words}")
    if baseline:
        finished = [_with_baselines(run, page, trust) for run in finished]
    text = table(finished) + ("\n" + comparisons(finished) if paired else "")
    text += "\n" + activities(finished) if activity else ""
    if markdown is None:
        # not in a document, whose readers cannot train again
        findings = diagnoses(finished)
        print(text + f"\n{findings}" * bool(findings), end="")
        return
    if not markdown.is_file():
        raise SettingError(f"there is no document {markdown}")
    write_text(markdown, with_table(markdown.read_text(encoding="utf-8"), text, str(markdown)))
    print(f"{len(groups_of(finished))} lines in {markdown}")


def _with_baselines(run: FinishedRun, page: Path | None, trust: bool) -> FinishedRun:
    """The run with the classical baselines of its data."""
    if LOGISTIC in from_results(run.results, "test"):
        return run
    baselines = baselines_of_run(run.folder, page, trust)
    return dataclasses.replace(run, results={**run.results, "baselines": baselines})
