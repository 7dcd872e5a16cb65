"""One measurement of `peers.py`, run by the Python of one peer: what it takes on stdin and answers are lines of JSON.

Needs numpy and that peer alone; our own package is a peer like the others.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

MODULES = {
    "native": "peer_ours", "genn": "peer_ours", "snntorch": "peer_torch", "norse": "peer_torch",
    "spikingjelly": "peer_torch", "spyx": "peer_jax", "eventax": "peer_jax", "mlgenn": "peer_mlgenn",
}  # fmt: skip
PACKAGES = ("genn_eventprop", "pygenn", "ml_genn", "numpy", "torch", "snntorch", "norse", "spikingjelly", "jax", "flax",
            "spyx", "eventax", "diffrax")  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """Of one measurement; `rate`: probability of a spike of an input in a step."""

    steps: int
    batch: int
    inputs: int
    hidden: int
    outputs: int = 0
    rate: float = 0.02
    seed: int = 1

    def dense(self) -> np.ndarray:
        """(T, B, N) float32 spikes of the input, 0 and 1."""
        rng = np.random.default_rng(self.seed)
        return (rng.random((self.steps, self.batch, self.inputs), np.float32) < self.rate).astype(np.float32)

    def labels(self) -> np.ndarray:
        """(B,) classes."""
        return np.random.default_rng(self.seed + 1).integers(0, max(self.outputs, 1), self.batch)


Step = Callable[[], Any]
"""A training step: forward, backward, and the optimiser where the task has one."""


def measure(step: Step, repeats: int) -> dict[str, float]:
    """Wall-clock and processor time of a step in ms, each the median; `first`: s until the third call is over.

    The first three calls warm up: JAX compiles in each of them, since an optimiser's state changes its types.
    """
    began = time.perf_counter()
    for _ in range(3):
        step()
    first = time.perf_counter() - began
    wall, work = [], []
    for _ in range(repeats):
        gc.collect()
        began, used = time.perf_counter(), time.process_time()
        step()
        wall.append(time.perf_counter() - began)
        work.append(time.process_time() - used)
    return {"wall": 1e3 * float(np.median(wall)), "cpu": 1e3 * float(np.median(work)), "first": first}


def memory(field: str) -> float:
    """ "VmRSS" or "VmHWM" of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def versions() -> dict[str, str]:
    """Of the packages that matter, as far as they are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def main() -> None:
    """{"peer", "task", "shape", "repeats"} -> times, memory, versions; "error" if it cannot be done."""
    asked = json.loads(sys.stdin.readline())
    try:
        module = importlib.import_module(MODULES[asked["peer"]])
        module.prepare(asked["peer"])
        before = memory("VmRSS")
        step = module.TASKS[asked["peer"], asked["task"]](Shape(**asked["shape"]))
        found: dict[str, Any] = measure(step, asked["repeats"])
        found |= {"memory": memory("VmHWM") - before, "versions": versions(), "python": sys.version.split()[0]}
    except Exception as error:  # whatever a peer raises is its answer
        found = {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
    print("\n" + json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
