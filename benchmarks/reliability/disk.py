"""A full disk at each write: a file system in memory that is a page larger each time; then space, and go on.

A write can fail only where it needs a new page (or a file or folder its first), so that one size for every page up to
what the job needs lets each of them fail once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from genn_eventprop.data import Events
from genn_eventprop.data.open import open_events
from genn_eventprop.data.readers import hdf5
from genn_eventprop.toolchain import build

from . import runs
from .child import Outcome, command, run
from .kills import SOURCE, undisturbed
from .table import Part

LARGE = 64 * 2**20
PAGE = 4096


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[None]:
    """A file system of `size` bytes at `place`. Needs the rights to mount."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def can_mount(folder: Path) -> bool:
    """Whether this process may mount."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        return False
    try:
        with small_disk(folder / "probe", 2**16):
            return True
    except subprocess.CalledProcessError:
        return False


def filled(place: Path) -> int:
    """Bytes that the files below `place` take in whole pages, a page for each file and folder besides."""
    return sum(PAGE * (2 + p.lstat().st_size // PAGE) for p in place.rglob("*"))


def sizes(needed: int, steps: int) -> list[int]:
    """Sizes in bytes, from a page to `needed`: every number of pages, or `steps` of them if that is less than all."""
    pages = -(-needed // PAGE)
    return [PAGE * n for n in sorted(set(np.linspace(1, pages, min(steps or pages, pages)).astype(int).tolist()))]


def full_disk(steps: int, folder: Path, rng: np.random.Generator) -> Part:
    """Training, conversion, compilation, figures, exports on every size of a disk, or on `steps` of them."""
    part, began = (
        Part("full disk, page by page, while training, converting, compiling, plotting, exporting, viewing"),
        time.monotonic(),
    )
    if not can_mount(folder):
        part.skipped = "needs root and mount"
        return part
    (folder / "page.py").write_text(runs.PAGE)
    whole, _ = undisturbed("exact", folder)
    samples = [(np.sort(rng.uniform(0, 900, 400)), rng.integers(0, 700, 400)) for _ in range(30)]
    hdf5.write_shd(Events.from_samples(samples, 700, np.arange(30) % 20), folder / "x.h5")

    def trained(place: Path) -> Callable[[], int]:
        return command(*runs.line("exact", place / "run"))

    def converted(place: Path) -> Callable[[], int]:
        def child() -> int:
            from genn_eventprop.cli.app import run as told

            return told(lambda *_: _convert(folder / "x.h5", place), [], "convert")

        return child

    def compiled(place: Path) -> Callable[[], int]:
        def child() -> int:
            from genn_eventprop.cli.app import run as told

            os.environ["GENN_EVENTPROP_CACHE"] = str(place / "code")
            return told(lambda *_: _compile(), [], "compile")

        return child

    checks = {"train": lambda p: runs.difference(p / "run", whole), "convert": lambda p: "", "compile": lambda p: ""}
    for name, work in (("train", trained), ("convert", converted), ("compile", compiled)):
        with small_disk(folder / "disk", LARGE):
            assert run(work(folder / "disk"), folder, folder / "log").status == 0
            needed = filled(folder / "disk") * (2 if name != "compile" else 1)
        for size in sizes(needed, steps):
            _one(part, name, work, checks[name], folder, size)
    run(command(*runs.line("exact", folder / "trained")), folder, folder / "log")
    for name, what in REPLACED.items():
        _replaced(part, name, what, folder, steps)
    part.seconds = time.monotonic() - began
    return part


REPLACED = {
    "plot": ("plot", "{run}"),
    "plot pdf": ("plot", "{run}", "--format", "pdf"),
    "export npz": ("export", "{run}", "{place}/weights.npz", "--overwrite"),
    "export csv": ("export", "{run}", "{place}/weights", "--overwrite"),
    "export c": ("export", "{run}", "{place}/model.c", "--dt", "1", "--overwrite"),
    "export nir": ("export", "{run}", "{place}/model.nir", "--overwrite"),
    "view": ("view", "{run}", "--out", "{place}/view.html"),
}
"""Commands that write over what is there: name -> arguments."""


def _replaced(part: Part, name: str, arguments: tuple[str, ...], folder: Path, steps: int) -> None:
    """A command on a disk that has room for what it wrote before, and for so many pages more."""
    place, before = folder / "disk", dict[Path, bytes]()

    def work() -> Callable[[], int]:
        return command(*(a.format(run=place / "run", place=place) for a in arguments))

    with small_disk(place, LARGE):
        shutil.copytree(folder / "trained", place / "run")
        if run(work(), folder, folder / "log").status:
            part.count("recovered", f"{name} needs an extra that is not installed")
            return
        before = {p.relative_to(place): p.read_bytes() for p in place.rglob("*") if p.is_file()}
        needed = filled(place)
        for extra in sizes(needed, steps):
            subprocess.run(["mount", "-o", f"remount,size={LARGE}", place], check=True)
            _fill(place, extra)
            full = run(work(), folder, folder / "log")
            (place / "filler").unlink()
            part.count(full.fault or _harm(full, place, before), f"{name}, {extra} bytes: {full.said[-300:]}")


def _fill(place: Path, extra: int) -> None:
    """Leave `extra` bytes of the disk."""
    free = shutil.disk_usage(place).free
    with open(place / "filler", "wb") as file:
        file.write(bytes(max(0, free - extra)))


def _harm(full: Outcome, place: Path, before: dict[Path, bytes]) -> str:
    """How a command ended: a message that names a file and asks for space, and files that are all old or all new."""
    after = {p.relative_to(place): p for p in place.rglob("*") if p.is_file()}
    if any(p.name.startswith(".") and p.name.endswith(".tmp") for p in after.values()):
        return "an unfinished file is left"
    if missing := [p for p in before if p not in after or (before[p] and not after[p].stat().st_size)]:
        return f"{missing[0]} is gone or empty"
    if full.status == 0:
        return "equal"
    if "cannot be written (No space left on device)" not in full.said or "free some space" not in full.said:
        return "no message that names the file"
    return "recovered"


def _one(part: Part, name: str, work: Callable[[Path], Callable[[], int]], check: Callable[[Path], str],
         folder: Path, size: int) -> None:  # fmt: skip
    what, place = f"{name}, {size} bytes", folder / "disk"
    with small_disk(place, size):
        full = run(work(place), folder, folder / "log")
        fault = full.fault or ("" if full.status in (0, 1) else f"status {full.status}: {full.said[-300:]}")
        silent = full.status == 1 and "genn-eventprop: " not in full.said
        fault = fault or ("no message" if silent else "")
        subprocess.run(["mount", "-o", f"remount,size={LARGE}", place], check=True)
        done = run(work(place), folder, folder / "log")
        fault = fault or done.fault or ("" if done.status == 0 else f"then status {done.status}: {done.said[-300:]}")
        fault = fault or check(place)
        part.count(fault or ("equal" if full.status == 0 else "recovered"), what)


def _convert(path: Path, place: Path) -> None:
    events, _ = open_events(path, cache=place / "data")
    if not np.array_equal(events.times, hdf5.read_shd(path).times):
        raise AssertionError("the converted data differ")


def _compile() -> None:
    if build(SOURCE).answer() != 42:
        raise AssertionError("the library is another one")
