"""docs/reliability.md: kills, full disks, damaged files, crowds, threads, and random settings, files, command lines,
networks and fits.

    python benchmarks/campaign.py                       # all of it, to docs/reliability.md
    python benchmarks/campaign.py --quick --out /tmp/x  # a few trials of each part
    python benchmarks/campaign.py --only damage fuzz

Nothing may be lost, crash, hang, end in a bare traceback, or take a wrong result for right; the exit status is 1 if
something did. A full disk needs root (it mounts small file systems); without, that part is skipped by name.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro
from reliability import crowd, damage, disk, fits, foreign, fuzz, hostile, kills, networks, outputs, studies, threads
from reliability.child import Child, Outcome, preload
from reliability.table import Part, page, table

PARTS = (
    "training",
    "conversion",
    "building",
    "disk",
    "run-files",
    "cache-files",
    "crowd",
    "threads",
    "hostile",
    "fuzz",
    "hang-ups",
    "scans",
    "searches",
    "foreign",
    "outputs",
    "networks",
    "pygenn",
    "fits",
)


@dataclass(frozen=True)
class Options:
    """How much of everything."""

    kills: int = 100
    """Of trainings (six tenths), conversions and compilations."""
    disk_steps: int = 0
    """Sizes of a full disk for each of training, conversion and compilation; 0: all of them, page by page."""
    places: int = 10
    """Cuts, and flipped bits, of every file."""
    processes: int = 10
    """At once."""
    rounds: int = 3
    """Of these."""
    cases: int = 3000
    """Random configurations, event files and command lines."""
    hostile: int = 500
    """Files that were made on purpose."""
    folders: int = 200
    """Of other programs."""
    streams: int = 200
    """Commands with broken stdout and stderr."""
    networks: int = 700
    """Random networks of all kinds."""
    on_pygenn: int = 300
    """The same on real GeNN."""
    fits: int = 100
    """Of random cells with modes."""
    quick: bool = False
    """A few trials of each part instead."""
    workers: int = 1
    """Processes of the random cases."""
    parts_at_once: int = 1
    """Parts that run beside each other."""
    seed: int = 1
    only: tuple[str, ...] = PARTS
    """Some of the parts."""
    saved: Path | None = None
    """Folder that keeps what each part has found; the page then also tells of the parts that ran before."""
    out: Path = Path("docs/reliability.md")


def parts(o: Options) -> dict[str, Callable[[Path, np.random.Generator], Part]]:
    """Name -> what does it, in a folder of its own."""
    train, rest = max(1, o.kills * 6 // 10), max(1, o.kills * 2 // 10)
    return {
        "training": lambda f, r: kills.training(train, f, r),
        "conversion": lambda f, r: kills.conversion(rest, f, r),
        "building": lambda f, r: kills.building(rest, f, r),
        "disk": lambda f, r: disk.full_disk(o.disk_steps, f, r),
        "run-files": lambda f, r: damage.files_of_a_run(o.places, f, r),
        "cache-files": lambda f, r: damage.files_of_the_caches(o.places, f, r),
        "crowd": lambda f, r: crowd.crowd(o.processes, o.rounds, f, r),
        "threads": lambda f, r: threads.threads(o.rounds, f, r),
        "hostile": lambda f, r: hostile.hostile(o.hostile, f, r),
        "fuzz": lambda f, r: fuzz.fuzz(o.cases, f, o.seed, o.workers),
        "hang-ups": lambda f, r: kills.training(rest, f, r, (signal.SIGHUP,), "HUP"),
        "scans": lambda f, r: studies.studies("scan", max(1, rest // 2), f, r),
        "searches": lambda f, r: studies.studies("search", max(1, rest // 2), f, r),
        "foreign": lambda f, r: foreign.foreign_folders(o.folders, f, r),
        "outputs": lambda f, r: outputs.outputs(o.streams, f, r),
        "networks": lambda f, r: networks.networks(o.networks, f, o.seed),
        "pygenn": lambda f, r: networks.on_pygenn(o.on_pygenn, f, o.seed),
        "fits": lambda f, r: fits.fits(o.fits, f, o.seed),
    }


def campaign(o: Options) -> list[Part]:
    """All parts, `parts_at_once` of them at a time, in the order of `PARTS`."""
    if o.quick:
        o = replace(
            o, kills=5, disk_steps=3, places=2, processes=3, rounds=1, cases=60, folders=60, streams=20, hostile=50,
            networks=14, on_pygenn=6, fits=4,
        )  # fmt: skip
    preload()
    with tempfile.TemporaryDirectory(prefix="campaign-", ignore_cleanup_errors=True) as root:
        os.environ["GENN_EVENTPROP_CACHE"] = str(Path(root) / "cache")
        waiting = [name for name in PARTS if name in o.only]
        found: dict[str, Part] = {}
        if o.saved is not None:
            o.saved.mkdir(parents=True, exist_ok=True)
            found = {name: read(path) for name in PARTS if (path := kept(o, name, o.saved)).exists()}
        running: dict[str, Child] = {}
        while waiting or running:
            while waiting and len(running) < o.parts_at_once:
                name = waiting.pop(0)
                running[name] = _start(o, name, Path(root) / name)
            for name in [name for name, child in running.items() if child.ended()]:
                found[name] = _end(name, running.pop(name).wait(), kept(o, name, Path(root) / name))
            time.sleep(0.05)
    return [found[name] for name in PARTS if name in found]


def _start(o: Options, name: str, folder: Path) -> Child:
    """A part in a process of its own, so that its end is not the campaign's."""
    folder.mkdir()

    def work() -> int:
        part = parts(o)[name](folder, np.random.default_rng([o.seed, PARTS.index(name)]))
        kept(o, name, folder).write_text(json.dumps(vars(part)))
        return 0

    return Child(work, folder, folder / "part.log")


def kept(o: Options, name: str, folder: Path) -> Path:
    """The file of what a part has found."""
    return (folder if o.saved is None else o.saved.absolute()) / f"{name}.json"


def read(path: Path) -> Part:
    saved = json.loads(path.read_text())
    return Part(**{**saved, "ended": Counter(saved["ended"])})


def _end(name: str, outcome: Outcome, path: Path) -> Part:
    if outcome.status:
        part = Part(name)
        part.count(f"the campaign itself failed, status {outcome.status}", outcome.said[-1000:])
    else:
        part = read(path)
    print(f"{name}: {outcome.seconds:.0f} s", *part.faults, sep="\n  ", file=sys.stderr, flush=True)
    return part


def main() -> int:
    options = tyro.cli(Options)
    found = campaign(options)
    print(table(found), end="")
    options.out.write_text(page(found, " --quick" if options.quick else "", options.seed))
    return int(any(part.faults for part in found))


if __name__ == "__main__":
    sys.exit(main())
