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
from .carried import in_order

if TYPE_CHECKING:
    from .batches import Batches


@dataclass(frozen=True)
class RuntimeEstimate:
    """Expected seconds per epoch (validation included) and in all, and the process's own peak memory in bytes.

    The engine has run a training batch by then, so the memory of a run is what the peak is already, unless batches
    later are larger. None where the system does not tell.
    """

    epoch_seconds: float
    seconds: float
    peak_bytes: int | None
    ranks: int = 1

    def __str__(self) -> str:
        memory = "" if self.peak_bytes is None else f", {self.peak_bytes / 2**20:.0f} MiB of memory"
        memory += f" on each of {self.ranks} ranks" if self.ranks > 1 and memory else ""
        return f"expected: {duration(self.epoch_seconds)} per epoch, {duration(self.seconds)} in total{memory}"


def estimate_runtime(
    engine: Engine, train: Batches, validation: Data | None, batch_size: int, epochs: range, ranks: int
) -> RuntimeEstimate:
    """Run one batch forwards and backwards (nothing is learned from it) and multiply.

    Args:
        epochs: those that are still to be done. ranks: how many run a batch together.
    """
    size = min(batch_size, len(train))
    prepared = math.inf
    for _ in range(2):
        began = time.perf_counter()
        first = in_order(train.follows, None, len(train), size)[:1]
        data, samples, _ = next(iter(train.of(first, epochs.start)))
        prepared = min(prepared, time.perf_counter() - began)
    batch = _timed(engine, data, samples, training=True)
    size = len(samples)  # of chunks of long recordings perhaps fewer
    epoch = len(train) / size * max(batch, prepared)  # the next batch is prepared while the engine runs
    if validation is not None:
        epoch += len(validation) / size * _timed(engine, data, samples, training=False)
    return RuntimeEstimate(epoch, epoch * len(epochs), peak_memory(), ranks)


def _timed(engine: Engine, data: Data, samples: np.ndarray, training: bool) -> float:
    """Seconds of the faster of two runs: the first may compile code and allocate memory."""
    fastest = math.inf
    for _ in range(2):
        began = time.perf_counter()
        engine.run(data, samples, training=training)
        fastest = min(fastest, time.perf_counter() - began)
    return fastest


def peak_memory() -> int | None:
    """Largest resident size of this process so far, in bytes; on Linux without the pages of mapped files.

    Those the system takes back when it needs them: a mapped data set larger than the memory trains.
    """
    status = Path("/proc/self/status")
    if status.is_file():  # and not ru_maxrss, which starts from the peak of the parent process
        kilobytes = dict(line.split()[:2] for line in status.read_text().splitlines() if line.endswith(" kB"))
        return (int(kilobytes["VmHWM:"]) - int(kilobytes["RssFile:"])) * 1024
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def duration(seconds: float) -> str:
    """``"0.4 s"``, ``"12 min"``, ``"3.4 h"``."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
