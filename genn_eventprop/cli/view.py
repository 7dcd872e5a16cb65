"""``view RUN``: a run as one interactive page."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ..atomic import write_text
from ..report.view import view_page
from ..runs import mark
from .options import Run


def view(
    run: Run,
    out: Path | None = None,
    samples: tuple[int, ...] = (),
    checkpoint: Literal["best", "last"] = "best",
    engine: str | None = None,
) -> None:
    """Write an interactive HTML page of a run: view runs/yin_yang-seed1-1.

    Write the training curves, trials (rasters, V, adjoint) and weights of a run as one interactive HTML file.

    The page works offline. Every figure has a table of its numbers that can be opened from the keyboard. Needs the
    extra [view] (plotly).

    Args:
        run: The run folder of a finished or running training.
        out: The file; default: view.html in the run folder.
        samples: Indices, from 0, of the held-out samples in the folder whose trials are shown; default: the first of
            each of three classes.
        checkpoint: The weights chosen on validation (best), or those of the last epoch.
        engine: An engine other than that of the training.
    """
    path = run / "view.html" if out is None else out
    mark.check_written_by_us(path, "--out")
    text = view_page(run, samples, checkpoint, engine)
    write_text(path, text)
    print(f"{path}: {len(text) / 2**20:.1f} MB")
