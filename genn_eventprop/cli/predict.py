"""``predict RUN FILES...``: a trained model on recordings and data sets, printed as a table or as CSV."""

from __future__ import annotations

import csv as csv_format
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from ..data.augment.steps import Crop
from ..data.events.events import Events
from ..data.open import open_samples
from ..deploy.trained import Outputs, TrainedModel, load
from ..errors import DataError, UsageError
from ..output import say
from ..training.evaluator import preprocessed
from .options import Run, operand

Files = Annotated[tuple[Path, ...], *operand("FILES...")]
UNDECIDED = "-"


def predict(
    run: Run,
    files: Files,
    csv: bool = False,
    checkpoint: Literal["best", "last"] = "best",
    engine: str | None = None,
    threads: int | None = None,
    trust: bool = False,
) -> None:
    """Print classes and probabilities of recordings or spikes: predict RUN words/*.wav.

    Classify recordings (wav), HDF5 files in the SHD layout, npz files, files of event cameras (AEDAT, EVT, DAT), CSV
    files of events, or folders of them with a trained model.

    Only the run folder is needed, not the experiment file or its data. Give samples as they were recorded; the
    preprocessing of the training is applied to them. A file in a folder that has the name of a class is taken to be of
    that class, unless it names its own. For a regression, the readouts are printed.

    Args:
        run: The run folder.
        files: Recordings, which pass through the inner-ear model, or spikes.
        csv: Print CSV, with one column per class.
        checkpoint: The weights chosen on validation (best), or those of the last epoch.
        engine: An engine other than that of the training.
        threads: Number of engine threads.
        trust: Accept hand-written code from the run folder, which is compiled and run. Only for folders of your own.
    """
    if not files:
        raise UsageError("predict: name at least one file or folder with samples")
    model = load(run, checkpoint=checkpoint, engine=engine, threads=threads, trust=trust)
    rows = _rows(model, files)
    text = _print_csv(model, rows) if csv else _print_table(model, list(rows))
    if not text:
        say(f"no samples in {', '.join(map(str, files))}")


def _say_times(model: TrainedModel, names: Sequence[str], events: object) -> None:
    """Says what times in another unit leave out: what `Crop` takes, of a model that has it in its preprocessing."""
    steps = model.described.preprocessing
    first, end = next(((i, step.stop) for i, step in enumerate(steps) if isinstance(step, Crop)), (0, np.inf))
    if end == np.inf or not names or not isinstance(events, Events):
        return
    before = preprocessed(steps[:first], events)
    assert isinstance(before, Events)
    times = before.times
    name = _those(names)
    if late := int(np.count_nonzero(times >= end)):
        say(f"{name}: {late} of {len(times)} spikes come after the trial of {end:g} ms, and are left out")
    elif len(times) and times.max() < 0.01 * end:
        say(f"{name}: all spikes lie in the first {times.max():.3g} of {end:g} ms; are their times in ms?")


def _those(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


@dataclass(frozen=True, eq=False)
class Row:
    """One sample: name, label (None without one), and the numbers of its outputs (1, K)."""

    name: str
    label: str | None
    outputs: Outputs


def _rows(model: TrainedModel, files: Sequence[Path]) -> Iterator[Row]:
    for names, events in open_samples(files, model.n_channels):
        try:
            _say_times(model, names, events)
            outputs = model.outputs(events)
        except DataError as error:
            raise DataError(f"{_those(names)}: {error}") from None
        labels = [-1] * len(names) if events.labels is None else events.labels.tolist()
        for i, (name, label) in enumerate(zip(names, labels, strict=True)):
            p = None if outputs.probabilities is None else outputs.probabilities[i]
            one = Outputs(outputs.classes[i], outputs.readout[i], outputs.scores[i], p)
            yield Row(name, _folder_class(model, name) if label < 0 else _class(model, label), one)


def _folder_class(model: TrainedModel, name: str) -> str | None:
    """The class whose name the folder of a file has."""
    folder = Path(name).parent.name
    return folder if folder in model.class_names and not model.regression else None


def _class(model: TrainedModel, label: int) -> str:
    return model.class_names[label] if 0 <= label < len(model.class_names) else UNDECIDED


def _numbers(model: TrainedModel, outputs: Outputs) -> tuple[str, np.ndarray]:
    """Facts about each output, and its name."""
    if model.regression:
        return "readout", outputs.readout
    return ("score", outputs.scores) if outputs.probabilities is None else ("probability", outputs.probabilities)


def _print_csv(model: TrainedModel, rows: Iterator[Row]) -> int:
    """Returns how many samples there were."""
    write, count = csv_format.writer(sys.stdout, lineterminator="\n").writerow, 0
    for count, row in enumerate(rows, 1):
        kind, numbers = _numbers(model, row.outputs)
        if count == 1:
            classes = [] if model.regression else ["class"]
            write(["sample", "label", *classes, *(f"{kind}_{name}" for name in model.class_names)])
        called = [] if model.regression else [_class(model, int(row.outputs.classes)).replace(UNDECIDED, "")]
        write([row.name, row.label or "", *called, *(f"{v:.9g}" if np.isfinite(v) else "" for v in numbers)])
    return count


def _print_table(model: TrainedModel, rows: Sequence[Row]) -> int:
    """Returns how many samples there were."""
    labelled = any(row.label is not None for row in rows)
    table = [_heading(model, rows[0], labelled), *(_cells(model, row, labelled) for row in rows)] if rows else []
    widths = [max(len(cells[i]) for cells in table) for i in range(len(table[0]))] if table else []
    for cells in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    if labelled and not model.regression:
        right = [row.label == _class(model, int(row.outputs.classes)) for row in rows if row.label is not None]
        print(f"accuracy {100 * np.mean(right):.2f} % of {len(right)} labelled samples")
    return len(rows)


def _heading(model: TrainedModel, row: Row, labelled: bool) -> list[str]:
    first = ["sample", *(["label"] if labelled else [])]
    if model.regression:
        return [*first, *model.class_names]
    return [*first, "class", _numbers(model, row.outputs)[0], "next"]


def _cells(model: TrainedModel, row: Row, labelled: bool) -> list[str]:
    first = [row.name, *([row.label or UNDECIDED] if labelled else [])]
    _, numbers = _numbers(model, row.outputs)
    if model.regression:
        return [*first, *(f"{v:.5g}" for v in numbers)]
    called = int(row.outputs.classes)
    if called < 0:
        return [*first, UNDECIDED, UNDECIDED, UNDECIDED]
    others = np.where(np.arange(len(numbers)) == called, -np.inf, numbers)
    second = int(others.argmax())
    after = f"{_class(model, second)} {others[second]:.4g}" if np.isfinite(others[second]) else UNDECIDED
    return [*first, _class(model, called), f"{numbers[called]:.4g}", after]
