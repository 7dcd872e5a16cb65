"""Random networks, every engine that is there against a reference: what is right, refused, or wrong.

    python benchmarks/random_networks.py --count 200                     # on the grid, against reference_clock
    python benchmarks/random_networks.py --count 200 --spike-times exact # against reference_event
    python benchmarks/random_networks.py --count 200 --wired             # tables of synapses, delays that are values
    python benchmarks/random_networks.py --only 17                       # one of them again, by its number
    python benchmarks/random_networks.py --known                         # networks that were wrong once

`verify.engines` draws a network by (seed, number) and says what counts as equal, and when rounding decides.
Sixteen networks share one library: what is compiled in is drawn by number // 16, the rest by the number. Every second
library runs in float32, too, on the grid the others on c99, and every tenth network on cuda: on the CPU by the shim of
the tests (`tests/support/cuda_shim`). Each runs in a process of its own pool, so that a crash or an endless loop is
found, too. Exit status 1 if one of them is wrong, 130 after Ctrl-C or SIGTERM, which keep what --out has.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import multiprocessing
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import cheap
import tyro

from genn_eventprop.engines import Engine
from genn_eventprop.errors import EventPropError
from genn_eventprop.toolchain.cache import VARIABLE
from genn_eventprop.verify.engines import ENGINES, Case, Random, Verdict, check, draw_case, draw_layout, made, wired
from genn_eventprop.verify.engines.known import KNOWN

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))  # of the shim
WIRING, AUXILIARY = 1, 2  # streams of their own
KINDS = ("right", "undecided", "refused", "wrong")  # from good to bad: a network is what its worst engine is


@dataclass(frozen=True)
class Settings:
    """Which networks.

    Args:
        count: How many. first: Number of the first. only: The number of a single one.
        spike_times: "grid" or "exact".
        wired: With tables of synapses and delays that are values; the rest is drawn as without.
        losses: With auxiliary losses of hidden layers; the rest is drawn as without.
        known: The networks that were wrong once, instead of random ones.
        workers: Processes; 0 for none, to debug.
        level: Of the compiler's optimisation.
        timeout: Seconds for one engine on one network.
        genn: Whether GeNN runs where pygenn is installed: on the grid, one network of every fourth library.
        engines: Names such as "cuda float64"; the usual ones, by turns, if empty.
        out: File of one JSON object a network, written as they are found; what is in it counts and is not run again.
        into: A page, whose table between the marks of the spike times is replaced.
    """

    count: int = 100
    first: int = 0
    seed: int = 1
    only: int | None = None
    spike_times: str = "grid"
    wired: bool = False
    losses: bool = False
    known: bool = False
    workers: int = 2
    level: int = 0
    timeout: float = 300.0
    genn: bool = True
    engines: tuple[str, ...] = ()
    out: Path | None = None
    into: Path | None = None


@dataclass(frozen=True)
class Found:
    """What became of a network: its verdicts, and how many spikes its populations sent."""

    number: int
    text: str
    verdicts: tuple[Verdict, ...]
    seconds: float

    @property
    def kind(self) -> str:
        """That of its worst engine; what one refuses and another does not shows in that engine's own row."""
        kinds = [v.kind for v in self.verdicts if v.kind != "refused"]
        return max(kinds, key=KINDS.index, default="refused")


def engines_of(s: Settings, number: int) -> list[str]:
    """native in float64, and in float32 or other engines, by turns, unless they are named."""
    library = number // cheap.SHARED
    if s.engines:
        return list(s.engines)
    if s.known:
        return list(ENGINES)
    if s.spike_times == "exact":
        return ["native float64", *(["native float32"] if library % 2 == 0 else [])]
    if s.wired:
        narrow = ["native float32", "c99 float32"][library % 2]
        return ["native float64", "c99 float64", narrow, *(["cuda float64"] if number % 10 == 3 else [])]
    if s.genn and number % (4 * cheap.SHARED) == 1 and importlib.util.find_spec("pygenn"):
        return ["native float64", "genn float64"]
    other = "c99 float64" if library % 2 else "native float32"
    return ["native float64", other, *(["cuda float64"] if number % 10 == 3 else [])]


def make(name: str, case: Case) -> Engine:
    """An engine by name and number format; cuda on the CPU."""
    if name.startswith("cuda"):
        from support.cuda_shim import ShimEngine

        return ShimEngine(case.plan, case.parameters, dtype=name.split()[1])
    return made(name, case)


def run(s: Settings, number: int, say: Any) -> Found:
    """One network in this process."""
    start, text = time.perf_counter(), ""
    engines = engines_of(s, number)
    try:
        if s.known:
            text, case = list(KNOWN.items())[number][0], list(KNOWN.values())[number]()
        else:
            library = number // cheap.SHARED
            text = f"network {library} of seed {s.seed}"
            layout = draw_layout(Random(s.seed, library), s.spike_times)
            layout = wired(layout, Random(s.seed, library, 0, WIRING)) if s.wired else layout
            text = str(layout)
            more = Random(s.seed, library, 0, AUXILIARY) if s.losses else None
            case = draw_case(layout, Random(s.seed, library, number), more)
            text = case.text
        verdicts = check(case, engines, say, make)
    except EventPropError as error:
        verdicts = [Verdict("the network", "refused", f"{type(error).__name__}: {error}")]
    except Exception as error:  # whatever it is, the network found it
        verdicts = [Verdict("the network", "wrong", f"{type(error).__name__}: {error}")]
    return Found(number, text, tuple(verdicts), time.perf_counter() - start)


def work(s: Settings, pipe: Connection) -> None:
    """A worker: numbers in, ("stage", text) and ("found", Found) out. It and its compilers are one process group."""
    os.setpgid(0, 0)
    cheap.install(s.level)
    while (number := pipe.recv()) >= 0:
        pipe.send(("found", run(s, number, lambda stage: pipe.send(("stage", stage)))))


class Worker:
    """A process with the network that it is at."""

    def __init__(self, s: Settings) -> None:
        self.settings = s
        self.pipe, other = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("spawn").Process(target=work, args=(s, other), daemon=True)
        self.process.start()
        other.close()
        self.number, self.stage, self.since = -1, "", time.monotonic()

    def begin(self, number: int) -> None:
        self.number, self.stage, self.since = number, "drawing it", time.monotonic()
        self.pipe.send(number)

    def end(self) -> None:
        if self.process.is_alive():
            self.pipe.send(-1)

    def answer(self) -> Found | None:
        """What it found, None while it goes on. A process that died, or takes too long, is wrong."""
        try:
            if not self.pipe.poll():
                if time.monotonic() - self.since < self.settings.timeout:
                    return None
                return self._ended(f"no answer within {self.settings.timeout:g} s")
            what, content = self.pipe.recv()
        except EOFError:
            self.process.join()
            return self._ended(f"the process died (exit code {self.process.exitcode})")
        if what == "stage":
            self.stage, self.since = content, time.monotonic()
            return None
        return content

    def kill(self) -> None:
        """End the process and its compilers."""
        for kill in (lambda: os.killpg(self.process.pid or 0, signal.SIGKILL), self.process.kill):
            with contextlib.suppress(ProcessLookupError):  # it is no group yet, or has ended
                kill()
        self.process.join()

    def _ended(self, reason: str) -> Found:
        self.kill()
        return Found(self.number, "", (Verdict(self.stage, "wrong", reason),), time.monotonic() - self.since)


def all_found(s: Settings, numbers: list[int]) -> Generator[Found, None, None]:
    """Every network, by several processes; those that share a library go to one of them."""
    if s.workers == 0:
        cheap.install(s.level)
        yield from (run(s, n, lambda _: None) for n in numbers)
        return
    libraries = _grouped(numbers)
    queues: dict[Worker, list[int]] = {}
    try:
        for queue in itertools.islice(libraries, s.workers):
            _hand_out(queues, Worker(s), queue)
        while queues:
            wait([w.pipe for w in queues], timeout=1.0)
            for w in list(queues):
                if (found := w.answer()) is None:
                    continue
                yield found
                queue = queues.pop(w) or next(libraries, [])
                if queue:
                    _hand_out(queues, w if w.process.is_alive() else Worker(s), queue)
                else:
                    w.end()
    finally:
        for w in queues:
            w.kill()


def _hand_out(queues: dict[Worker, list[int]], w: Worker, queue: list[int]) -> None:
    """The first of a queue to a worker, which keeps the rest."""
    queues[w] = queue
    w.begin(queue.pop(0))


def _grouped(numbers: list[int]) -> Iterator[list[int]]:
    for library in sorted({n // cheap.SHARED for n in numbers}):
        yield [n for n in numbers if n // cheap.SHARED == library]


def reason(text: str) -> str:
    """A reason without the numbers and names of one network."""
    return re.sub(r"\d[\d.e+-]*", "#", re.sub(r"'[^']*'", "'...'", text.split("\n")[0]))[:160]


def asked(s: Settings) -> str:
    """The kind of networks, as on the command line."""
    named = f" --engines {' '.join(repr(e) for e in s.engines)}" if s.engines else ""
    exact = f" --spike-times {s.spike_times}" if s.spike_times != "grid" else ""
    kind = f"--wired{exact}" if s.wired else f"--spike-times {s.spike_times}"
    return f"{kind}{' --losses' * s.losses}{named}"


def table(s: Settings, found: list[Found]) -> str:
    """What became of them, by engine, and the reasons of refusals."""
    command = f"python benchmarks/random_networks.py {asked(s)} --count {len(found)} --seed {s.seed}"
    head = "| | networks | right | decided by rounding | refused | wrong |"
    rows = [f"`{command}`", "", head, "|---|---|---|---|---|---|"]
    by_engine: dict[str, Counter[str]] = {"all engines": Counter(f.kind for f in found)}
    for f in found:
        for v in f.verdicts:
            by_engine.setdefault(v.engine, Counter())[v.kind] += 1
    for name, kinds in by_engine.items():
        rows.append(f"| {name} | {sum(kinds.values())} | {' | '.join(str(kinds[k]) for k in KINDS)} |")
    refused = Counter((v.engine, reason(v.reason)) for f in found for v in f.verdicts if v.kind == "refused")
    rows += ["", *(f"* {engine} refused {n}: {why}" for (engine, why), n in refused.most_common())]
    return "\n".join(rows) + "\n"


def line(s: Settings, f: Found) -> str:
    """A network in a line, and what is not right about it with the line that shows it again."""
    again = f"    python benchmarks/random_networks.py --seed {s.seed} {asked(s)} --only {f.number}"
    again = f"    python benchmarks/random_networks.py --known --only {f.number}" if s.known else again
    bad = [f"    {v.engine}: {v.kind}: {v.reason}" for v in f.verdicts if v.kind != "right"]
    lines = [f"{f.number} {f.kind} ({f.seconds:.1f} s) {f.text}", *bad, *([again] if f.kind == "wrong" else [])]
    return "\n".join(lines)


def write_table(page: Path, mark: str, text: str) -> None:
    """Put the table between the marks of a page."""
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    old = page.read_text()
    page.write_text(old[: old.index(begin) + len(begin)] + "\n\n" + text + "\n" + old[old.index(end) :])


def kept(s: Settings) -> list[Found]:
    """What the file of an earlier run has."""
    if s.out is None or not s.out.exists():
        return []
    rows = [json.loads(text) for text in s.out.read_text().splitlines()]
    if any(
        (row["seed"], row["spike_times"], row.get("wired", False), row.get("losses", False))
        != (s.seed, s.spike_times, s.wired, s.losses)
        for row in rows
    ):
        raise SystemExit(f"{s.out} is of another seed or other spike times; give --out another name")
    return [
        Found(row["number"], row["text"], tuple(Verdict(**v) for v in row["verdicts"]), row["seconds"]) for row in rows
    ]


def keep(s: Settings, f: Found) -> None:
    if s.out is not None:
        row = {"seed": s.seed, "spike_times": s.spike_times, "wired": s.wired, "losses": s.losses}
        row |= {"kind": f.kind, **asdict(f)}
        with s.out.open("a") as file:
            file.write(json.dumps(row) + "\n")


def main() -> int:
    s = tyro.cli(Settings, description=__doc__)
    numbers = list(range(len(KNOWN)) if s.known else range(s.first, s.first + s.count))
    numbers = numbers if s.only is None else [s.only]
    found = kept(s)
    numbers = [n for n in numbers if n not in {f.number for f in found}]
    folder = tempfile.mkdtemp(prefix="random-networks-")
    os.environ |= {VARIABLE: folder, "TMPDIR": folder}  # a compiler that is killed leaves its files behind
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with contextlib.closing(all_found(s, numbers)) as coming:
            for f in coming:
                found.append(f)
                keep(s, f)
                print(line(s, f), flush=True)
    except KeyboardInterrupt:
        print(f"stopped; {len(found)} networks so far")
        return 130
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = table(s, found)
    print(text)
    if s.into:
        kind = "wired" if s.wired and s.spike_times == "grid" else f"{'wired ' * s.wired}{s.spike_times}"
        write_table(s.into, f"random networks, {'losses ' * s.losses}{kind}", text)
    return int(any(f.kind == "wrong" for f in found))


if __name__ == "__main__":
    sys.exit(main())
