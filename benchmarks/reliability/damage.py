"""Every file of a run and of the caches, cut at some places and with flipped bits: noticed, or without effect."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from genn_eventprop.data import Events
from genn_eventprop.data.open import open_events
from genn_eventprop.data.readers import hdf5, yin_yang
from genn_eventprop.toolchain import build

from . import runs
from .child import Outcome, command, run
from .kills import SOURCE, undisturbed
from .table import Part


def damaged(content: bytes, count: int, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """(words, content) of a file cut at `count` places, the ends among them, and with one of `count` bits flipped."""
    cuts = {0, len(content) - 1, *rng.integers(0, len(content), max(0, count - 2)).tolist()}
    for size in sorted(cuts)[:count]:
        yield f"cut to {size} of {len(content)} bytes", content[:size]
    for bit in rng.integers(0, 8 * len(content), count).tolist():
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << (bit % 8)
        yield f"bit {bit} flipped", bytes(changed)


def files_of_a_run(count: int, folder: Path, rng: np.random.Generator) -> Part:
    """`report`, `plot`, `export` and the line that goes on, with each file of a finished run damaged."""
    part, began = Part("files of a run cut or flipped"), time.monotonic()
    (folder / "page.py").write_text(runs.PAGE)
    whole, _ = undisturbed("exact", folder)
    log, target = folder / "log", folder / "target"
    shutil.copytree(whole, target)
    yin_yang.load("test", 4).save(folder / "four.npz")
    readers = {
        "report": command("report", str(target)),
        "plot": command("plot", str(target), "--only", "curves"),
        "export": command("export", str(target), str(folder / "weights.npz"), "--overwrite"),
        "predict": command("predict", str(target), "four.npz"),
    }
    want = {name: runs.numbers(run(work, folder, log).said) for name, work in readers.items()}
    files = [p.relative_to(whole) for p in sorted(whole.rglob("*")) if p.is_file() and p.suffix != ".png"]
    for name in files:
        for words, content in damaged((whole / name).read_bytes(), count, rng):
            restore(whole, target)
            (target / name).write_bytes(content)
            what = f"{name} {words}"
            for reader, work in readers.items() if name.suffix != ".txt" else ():  # a text is for people alone
                _judge(part, run(work, folder, log), want[reader], f"{reader}: {what}")
            done = run(command(*runs.line("exact", target)), folder, log)
            _judge_end(part, done, target, whole, f"go on: {what}")
    part.seconds = time.monotonic() - began
    return part


def restore(whole: Path, target: Path) -> None:
    """The undamaged run again."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(whole, target)


def _judge(part: Part, done: Outcome, want: str, what: str) -> None:
    if done.fault:
        part.count(done.fault, f"{what}: {done.said[-300:]}")
    elif done.status == 0:
        part.count("harmless" if runs.numbers(done.said) == want else "wrong result taken for right", what)
    else:
        part.count("refused with a message" if "genn-eventprop: " in done.said else "no message", what)


def _judge_end(part: Part, done: Outcome, target: Path, whole: Path, what: str) -> None:
    """A finished run whose files are damaged is made whole, or refused."""
    if done.fault or done.status not in (0, 1):
        part.count(done.fault or f"status {done.status}", f"{what}: {done.said[-300:]}")
    elif done.status == 1:
        part.count("refused with a message" if "genn-eventprop: " in done.said else "no message", what)
    else:
        try:
            part.count("recovered" if not runs.difference(target, whole) else "wrong result taken for right", what)
        except Exception:  # the line says "finished" and a file that it does not read is still damaged: told when read
            part.count("harmless", what)


def files_of_the_caches(count: int, folder: Path, rng: np.random.Generator) -> Part:
    """A library and an entry of converted data: what is used afterwards is right."""
    part, began = Part("files of the caches cut or flipped"), time.monotonic()
    samples = [(np.sort(rng.uniform(0, 900, 40)), rng.integers(0, 700, 40)) for _ in range(30)]
    hdf5.write_shd(Events.from_samples(samples, 700, np.arange(30) % 20), folder / "x.h5")
    code, data = folder / "code", folder / "data"
    for place, work in ((code, _asks(code)), (data, _opens(data, folder / "x.h5"))):
        assert run(work, folder, folder / "log").status == 0
        kept = folder / f"kept-{place.name}"
        shutil.copytree(place, kept)
        for name in [p.relative_to(kept) for p in sorted(kept.rglob("*")) if p.is_file()]:
            for words, content in damaged((kept / name).read_bytes(), count, rng):
                restore(kept, place)
                place.chmod(0o700)
                (place / name).write_bytes(content)
                done = run(work, folder, folder / "log")
                fault = done.fault or ("" if done.status == 0 else f"status {done.status}")
                part.count(fault or "recovered", f"{name} {words}: {done.said[-300:]}")
    part.seconds = time.monotonic() - began
    return part


def _asks(place: Path) -> Callable[[], int]:
    def child() -> int:
        os.environ["GENN_EVENTPROP_CACHE"] = str(place)
        return int(build(SOURCE).answer() != 42)

    return child


def _opens(place: Path, path: Path) -> Callable[[], int]:
    want = hdf5.read_shd(path)

    def child() -> int:
        found, _ = open_events(path, cache=place)
        same = [np.array_equal(getattr(found, n), getattr(want, n)) for n in ("times", "channels", "labels", "offsets")]
        return int(not all(same) or found.n_channels != want.n_channels)

    return child
