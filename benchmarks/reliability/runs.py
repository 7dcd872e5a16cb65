"""A training that takes a fraction of a second and has all that can go wrong; what "bit-equal" means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from genn_eventprop.runs.checkpoint import load_checkpoint
from genn_eventprop.runs.run_folder import RunFolder

PAGE = '''
"""Yin-Yang with a handful of samples; noise, dropout, augmentation and a schedule, so that random streams count."""
from dataclasses import dataclass
from genn_eventprop.data.readers import yin_yang
from genn_eventprop.experiment import LayeredConfig, layered

@dataclass(frozen=True)
class Config(LayeredConfig):
    epochs: int = 4
    hidden: tuple[int, ...] = (12,)
    recurrent: bool = False
    batch_size: int = 10
    duration: float = 40.0
    dt: float | None = 1.0
    spike_times: str = "exact"
    threads: int | None = 1
    input_weight: tuple[float, float] = (2.0, 1.0)
    output_weight: tuple[float, float] = (0.2, 0.3)
    augment: str = "jitter=1"
    schedule: str = "cosine"
    checkpoint_batches: int | None = 2

def build(config):
    sets = (yin_yang.load("train", 120), yin_yang.load("validation", 40), yin_yang.load("test", 40))
    return layered(config, *sets, yin_yang.CLASSES, progress=False)
'''
VARIANTS: dict[str, list[str]] = {
    "exact": [],
    "grid": ["--spike-times", "grid", "--noise", "0.05", "--hidden-dropout", "0.1", "--regulariser", "spike_count"],
}


def line(variant: str, run_dir: Path, *more: str) -> list[str]:
    """The one line of a batch script."""
    return ["train", "page.py", *VARIANTS[variant], "--run-dir", str(run_dir), "--resume-if-started", *more]


def difference(run: Path, whole: Path) -> str:
    """In what a run differs from the undisturbed one; "" if in nothing but the time it took."""
    a, b = (load_checkpoint(RunFolder(path).checkpoint("last")) for path in (run, whole))
    for name in sorted(a.arrays.keys() | b.arrays.keys()):
        if name not in a.arrays or name not in b.arrays or not np.array_equal(a.arrays[name], b.arrays[name], True):
            return f"{name} of the last checkpoint"
    for what in ("metrics", "results"):
        mine, theirs = (timeless(getattr(RunFolder(path), what)) for path in (run, whole))
        if mine != theirs:
            return what
    return "" if timeless(a.info) == timeless(b.info) else "the state of the last checkpoint"


def timeless(value: Any) -> Any:
    """Nested values without what a clock has measured."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if "seconds" not in k}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def numbers(said: str) -> str:
    """What a command printed, without times and folders: for comparing two of them."""
    skipped = ("note:", "training time", "run folder", "engine ", "expected:")
    return "\n".join(text for text in said.splitlines() if text and not text.startswith(skipped))


def strict(value: Any) -> str:
    """JSON, for messages."""
    return json.dumps(value, default=str)[:300]
