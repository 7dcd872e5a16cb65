"""Random networks of every kind on the engines that are here, against the references (`random_networks.py`)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from genn_eventprop.engines.genn import GennEngine

from .table import Part

SCRIPT = Path(__file__).parents[1] / "random_networks.py"
ON_GENN = ("--engines", "genn float64")
KINDS: tuple[tuple[str, ...], ...] = tuple(
    ("--spike-times", times, *(("--also", *also.split()) if also else ()))
    for also in ("", "currents", "alone", "inputs", "births", "modes", "sharp", "births currents inputs modes")
    for times in ("grid", "exact")
)
"""Options of the script. In half of the networks connections are tables or have delays of their own, many learned."""
OF_GENN: tuple[tuple[str, ...], ...] = tuple(
    (*ON_GENN, *(("--also", *also.split()) if also else ()))
    for also in ("", "currents", "alone", "inputs", "modes", "currents inputs modes")
)
ENDS = {"right": "right", "undecided": "decided by rounding", "refused": "refused with a message"}


def networks(count: int, folder: Path, seed: int) -> Part:
    """`count` networks, as many of each of `KINDS`."""
    return _drawn(Part("random networks of all kinds against the references"), KINDS, count, folder, seed)


def on_pygenn(count: int, folder: Path, seed: int) -> Part:
    """The same on real GeNN, where pygenn is installed."""
    part = Part("random networks on pygenn")
    if not (here := GennEngine.availability()).runs:
        part.skipped = here.detail
        return part
    return _drawn(part, OF_GENN, count, folder, seed)


def _drawn(part: Part, kinds: tuple[tuple[str, ...], ...], count: int, folder: Path, seed: int) -> Part:
    began = time.monotonic()
    for i, kind in enumerate(kinds):
        out, share = folder / f"{i}.jsonl", len(range(i, count, len(kinds)))
        command = [str(SCRIPT), *kind, "--structures", str(share), "--seed", str(seed), "--workers", "1"]
        done = subprocess.run([sys.executable, *command, "--out", str(out)], capture_output=True, text=True)
        rows = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
        for row in rows:
            reasons = "; ".join(f"{v['engine']}: {v['reason']}" for v in row["verdicts"] if v["kind"] == "wrong")
            again = f"{' '.join(kind)} --seed {seed} --only {row['number'][0]}"
            part.count(ENDS.get(row["kind"], "wrong result"), f"{again}: {reasons}")
        if len(rows) != share or done.returncode not in (0, 1):
            part.count(f"status {done.returncode}", f"{' '.join(kind)}: {(done.stdout + done.stderr)[-500:]}")
    part.seconds = time.monotonic() - began
    return part
