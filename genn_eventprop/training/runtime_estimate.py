"""Expected time and memory of a run, measured on one batch before it begins."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..engines import Data, Engine
from .stateful import in_order

if TYPE_CHECKING:
    from .batches import Batches


@dataclass(frozen=True)
class RuntimeEstimate:
    """Expected seconds per epoch (validation included) and in all, and the process's own peak memory in bytes.

    The engine has run a training batch by then; what comes later is added: checkpoints, the best weights, figures. None
    where the system does not tell. Mapped data do not count: the system takes their pages back when it needs them.
    """

    epoch_seconds: float
    seconds: float
    peak_bytes: int | None
    ranks: int = 1

    def __str__(self) -> str:
        memory = "" if self.peak_bytes is None else f", up to {self.peak_bytes / 2**20:.0f} MiB of memory"
        memory += f" on each of {self.ranks} ranks" if self.ranks > 1 and memory else ""
        return f"expected: {duration(self.epoch_seconds)} per epoch, {duration(self.seconds)} in total{memory}"


def estimate_runtime(
    engine: Engine,
    train: Batches,
    validation: Data | None,
    batch_size: int,
    epochs: range,
    ranks: int,
    later_bytes: int = 0,
) -> RuntimeEstimate:
    """Run one batch forwards and backwards (nothing is learned from it) and multiply.

    Args:
        epochs: those that are still to be done. ranks: how many run a batch together. later_bytes: memory that the run
            needs besides, after its first batch.
    """
    size = min(batch_size, len(train))
    prepared = math.inf
    for _ in range(2):
        began = time.perf_counter()
        first = in_order(train, None, size)[:1]
        data, samples, _ = next(iter(train.of(first, epochs.start)))
        prepared = min(prepared, time.perf_counter() - began)
    batch = seconds_of_a_batch(engine, data, samples, training=True)
    size = len(samples)  # of chunks of long recordings perhaps fewer
    epoch = len(train) / size * max(batch, prepared)  # the next batch is prepared while the engine runs
    if validation is not None:
        epoch += len(validation) / size * seconds_of_a_batch(engine, data, samples, training=False)
    peak, resident = peak_memory(), resident_memory()
    if peak is not None:
        peak = max(peak, (peak if resident is None else resident) + later_bytes)
    return RuntimeEstimate(epoch, epoch * len(epochs), peak, ranks)


def seconds_of_a_batch(engine: Engine, data: Data, samples: np.ndarray, training: bool) -> float:
    """Seconds of the faster of two runs: the first may compile code and allocate memory."""
    fastest = math.inf
    for _ in range(2):
        began = time.perf_counter()
        engine.run(data, samples, training=training)
        fastest = min(fastest, time.perf_counter() - began)
    return fastest


FIGURES = 112 * 2**20
"""Bytes that matplotlib needs to draw a run's figures, the largest of which is a confusion matrix."""
RECORDING = 6
"""Times what a recorded trial holds at the end is needed while it is recorded."""


def figure_memory(states: int, steps: int) -> int:
    """Bytes for the figures of a run, one trial among them.

    Args:
        states: of all neurons together. steps: of the trial that is recorded, with its adjoint, in float64.
    """
    return FIGURES + RECORDING * 2 * 8 * states * steps


def peak_memory() -> int | None:
    """Largest resident size of this process so far, in bytes; on Linux without the pages of mapped data.

    Those the system takes back when it needs them: a mapped data set larger than the memory trains.
    """
    status = _status()
    if status is not None:  # and not ru_maxrss, which starts from the peak of the parent process
        return status["VmHWM"] - _mapped_data()
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def resident_memory() -> int | None:
    """Resident size of this process now, in bytes, without the pages of mapped data; None where it is not told."""
    status = _status()
    return None if status is None else status["VmRSS"] - _mapped_data()


def _status() -> dict[str, int] | None:
    """Bytes by their names in Linux's account of this process."""
    path = Path("/proc/self/status")
    if not path.is_file():
        return None
    lines = [line.split() for line in path.read_text().splitlines() if line.endswith(" kB")]
    return {line[0].rstrip(":"): int(line[1]) * 1024 for line in lines}


def _mapped_data() -> int:
    """Resident bytes of files that are mapped as shared, as data sets are; libraries are mapped as private."""
    total, shared = 0, False
    try:
        lines = Path("/proc/self/smaps").read_text(errors="replace").splitlines()
    except OSError:
        return 0
    for line in lines:
        fields = line.split(maxsplit=5)
        if len(fields) > 1 and len(fields[1]) == 4 and fields[1][0] in "r-":  # "7f..-7f.. r--s 0000 08:01 123 /path"
            shared = fields[1][3] == "s" and len(fields) == 6 and not fields[5].startswith("/dev/")
        elif shared and fields[:1] == ["Rss:"]:
            total += int(fields[1]) * 1024
    return total


def duration(seconds: float) -> str:
    """``"0.4 s"``, ``"12 min"``, ``"3.4 h"``."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
