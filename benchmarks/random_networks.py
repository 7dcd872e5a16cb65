"""Random networks, every engine that is there against a reference: what is right, refused, or wrong.

    python benchmarks/random_networks.py --structures 200                     # on the grid, against reference_clock
    python benchmarks/random_networks.py --structures 200 --spike-times exact # against reference_event
    python benchmarks/random_networks.py --also currents births --structures 200 # networks with more, see Settings
    python benchmarks/random_networks.py --only 17                            # one of them again, by its number
    python benchmarks/random_networks.py --known                              # networks that were wrong once
    python benchmarks/random_networks.py --engines "cuda float64" --card      # on a GPU; without --card on the shim
    python benchmarks/random_networks.py --engines "genn float64"             # on pygenn; "harness float64" without it

`tests/support/random_networks` draws a network by (seed, structure, input), and `genn_eventprop.verify.engines` says
what counts as equal, and when rounding decides. What is compiled in is drawn by the structure; `--inputs` networks with
other numbers run on it. The table counts structures: of an engine the programs that differ in their text. `native` in
float64 runs them all, where it does not refuse them, the others by turns: `cuda` on the CPU, on the shim of the tests;
`genn` on the CPU by pygenn, and where that is not installed `harness`, which executes the same text (both in
`tests/support`). Each runs in a process of its own pool, so that a crash or an endless loop is found, too. Exit status
1 if a network is wrong, 130 after Ctrl-C or SIGTERM, which keep what --out has.
"""

from __future__ import annotations

import contextlib
import functools
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
from typing import Any, Literal

import cheap
import tyro

from genn_eventprop.engines import Engine, engine_class
from genn_eventprop.engines.contract.features import refuse
from genn_eventprop.engines.genn import GennEngine
from genn_eventprop.errors import EventPropError
from genn_eventprop.plan.closed_form import closed_form
from genn_eventprop.toolchain.cache import VARIABLE
from genn_eventprop.verify.engines import Case, Verdict

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))  # of the networks, the shim and the harness
from support.engine_check import ENGINES, check, made  # noqa: E402
from support.random_networks import ASKED_FOR, FEATURES, draw, features  # noqa: E402
from support.random_networks.known import KNOWN  # noqa: E402

KINDS = ("right", "undecided", "refused", "wrong")  # from good to bad: a network is what its worst engine is
TURNS = ("c99 float64", "cuda float64", "native float32", "c99 float64", "genn float64", "c99 float32")
Number = tuple[int, int]  # of the structure, and of what runs on it


@dataclass(frozen=True)
class Settings:
    """Which networks.

    Args:
        structures: How many. first: Number of the first. only: The number of a single one.
        inputs: How many networks with the same structure, and other numbers.
        spike_times: "grid" or "exact".
        also: What networks have besides: currents (beside spikes, or alone), further inputs, births, modes, exponential
            neurons with sharp spikes.
        known: The networks that were wrong once, instead of random ones.
        workers: Processes; 0 for none, to debug.
        level: Of the compiler's optimisation.
        timeout: Seconds for one engine on one network.
        minutes: After so many, no further structure begins; 0: no limit.
        engines: Names such as "cuda float64"; the usual ones, by turns, if empty. "genn" is pygenn on the CPU,
            "harness" the same text without it.
        card: "cuda" runs on the machine's GPU.
        out: File of one JSON object a network, written as they are found; what is in it counts and is not run again.
        into: A page, whose table between the marks of the spike times is replaced.
    """

    structures: int = 100
    first: int = 0
    seed: int = 1
    only: int | None = None
    inputs: int = 1
    spike_times: str = "grid"
    also: tuple[Literal["currents", "alone", "inputs", "births", "modes", "sharp"], ...] = ()
    known: bool = False
    workers: int = 2
    level: int = 0
    timeout: float = 300.0
    minutes: float = 0.0
    engines: tuple[str, ...] = ()
    card: bool = False
    out: Path | None = None
    into: Path | None = None

    def __post_init__(self) -> None:
        for name in self.engines:
            if len(name.removesuffix(" as used").split()) != 2:
                sys.exit(f'--engines {name}: an engine and a number format are needed, such as "{name} float64"')
            if name.split()[0] == "genn" and not (here := GennEngine.availability()).runs:
                sys.exit(f'--engines "{name}": {here.detail}; "harness float64" executes the same text without pygenn')


@dataclass(frozen=True)
class Finding:
    """What became of a network: its verdicts, what it has, and the digest of the program of every engine."""

    number: Number
    text: str
    verdicts: tuple[Verdict, ...]
    seconds: float
    features: tuple[str, ...] = ()
    programs: tuple[tuple[str, str], ...] = ()

    @property
    def kind(self) -> str:
        """That of its worst engine; what one refuses and another does not shows in that engine's own row."""
        kinds = [v.kind for v in self.verdicts if v.kind != "refused"]
        return max(kinds, key=KINDS.index, default="refused")

    def program(self, engine: str) -> str:
        """What tells its structure from others."""
        return dict(self.programs).get(engine, f"number {self.number[0]}")


def engines_of(s: Settings, case: Case, structure: int) -> list[str]:
    """native in float64, and in float32 or other engines, by turns, unless they are named."""
    if s.engines:
        return list(s.engines)
    if s.known:
        return list(ENGINES)
    if case.plan.spike_times == "exact":
        narrow = ["native float32"] if structure % 4 == 0 else []
        narrow += [] if closed_form(case.plan) else ["native float64 as used"]  # the same program
        card = ["cuda float64"] if structure % 2 and not refused(case, "cuda") else []
        return ["native float64", *narrow, *card, *(["mirrored float64"] if case.mirrors else [])]
    turn = TURNS[structure % len(TURNS)]
    turn = turn if GennEngine.availability().runs else turn.replace("genn", "harness")
    turn = "c99 float64" if refused(case, turn) else turn
    return list(dict.fromkeys(("native float64", *(["c99 float64"] if refused(case, "native") else []), turn)))


def refused(case: Case, name: str) -> str:
    """Why an engine refuses the network; empty if it does not."""
    if name.startswith("mirrored"):
        return ""
    kind = engine_class(name.split()[0].replace("harness", "genn"))
    try:
        refuse(case.plan, kind.name, kind.features)
    except EventPropError as error:
        return str(error)
    return ""


def make(name: str, case: Case, card: bool = False, level: int = 0) -> Engine:
    """An engine by name and number format; genn on the CPU, and cuda unless there is a card."""
    kind, dtype = name.split()[:2]
    if kind == "cuda" and not card:
        from support.cuda_shim import ShimEngine

        return ShimEngine(case.plan, case.parameters, dtype=dtype, **ShimEngine.when_compared)
    if kind == "harness":
        from support.genn_harness import HarnessEngine

        return HarnessEngine(case.plan, case.parameters, dtype=dtype, batch_size=2)  # side by side, one may be empty
    if kind == "genn":
        options = {"dtype": dtype, "optimize_code": level > 0, **GennEngine.when_compared}
        return GennEngine(case.plan, case.parameters, **options)
    return made(name, case)


def run(s: Settings, number: Number, say: Any) -> Finding:
    """One network in this process."""
    start, text, has = time.perf_counter(), "", tuple[str, ...]()
    stage, programs = "", dict[str, str]()

    def follow(name: str) -> None:
        nonlocal stage
        if cheap.TEXTS:
            programs.setdefault(stage, cheap.TEXTS[0])
        cheap.TEXTS.clear()
        stage = name
        say(name)

    try:
        if s.known:
            text, case = list(KNOWN.items())[number[0]][0], list(KNOWN.values())[number[0]]()
        else:
            text = f"structure {number[0]} of seed {s.seed}"
            case = draw(s.spike_times, s.seed, *number, also=s.also)
            text, has = case.text, features(case)
        engines = engines_of(s, case, number[0])
        reasons = [refused(case, name) for name in engines]
        if all(reasons):  # before the reference runs
            verdicts = [Verdict(name, "refused", why) for name, why in zip(engines, reasons)]
        else:
            verdicts = check(case, engines, follow, functools.partial(make, card=s.card, level=s.level))
        follow("the end")
    except Exception as error:  # whatever it is, the network found it; the package may refuse it while it is drawn
        kind = "refused" if isinstance(error, EventPropError) and not stage else "wrong"
        verdicts = [Verdict(stage or "the network", kind, f"{type(error).__name__}: {error}")]
    return Finding(number, text, tuple(verdicts), time.perf_counter() - start, has, tuple(programs.items()))


def work(s: Settings, pipe: Connection) -> None:
    """A worker: numbers in, ("stage", text) and ("finding", Finding) out; with its compilers it is a process group."""
    os.setpgid(0, 0)
    cheap.install(s.level)
    while (number := pipe.recv()) is not None:
        pipe.send(("finding", run(s, number, lambda stage: pipe.send(("stage", stage)))))


class Worker:
    """A process with the network that it is at."""

    def __init__(self, s: Settings) -> None:
        self.settings = s
        self.pipe, other = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("spawn").Process(target=work, args=(s, other), daemon=True)
        self.process.start()
        other.close()
        self.number: Number = (-1, 0)
        self.stage, self.since = "", time.monotonic()

    def begin(self, number: Number) -> None:
        self.number, self.stage, self.since = number, "drawing it", time.monotonic()
        self.pipe.send(number)

    def end(self) -> None:
        if self.process.is_alive():
            self.pipe.send(None)

    def answer(self) -> Finding | None:
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

    def _ended(self, reason: str) -> Finding:
        self.kill()
        return Finding(self.number, "", (Verdict(self.stage, "wrong", reason),), time.monotonic() - self.since)


def all_findings(s: Settings, numbers: list[Number]) -> Generator[Finding, None, None]:
    """Every network, by several processes; those of one structure go to one of them."""
    if s.workers == 0:
        cheap.install(s.level)
        yield from (run(s, n, lambda _: None) for n in numbers)
        return
    structures = _grouped(s, numbers)
    queues: dict[Worker, list[Number]] = {}
    try:
        for queue in itertools.islice(structures, s.workers):
            _hand_out(queues, Worker(s), queue)
        while queues:
            wait([w.pipe for w in queues], timeout=1.0)
            for w in list(queues):
                if (found := w.answer()) is None:
                    continue
                yield found
                queue = queues.pop(w) or next(structures, [])
                if queue:
                    _hand_out(queues, w if w.process.is_alive() else Worker(s), queue)
                else:
                    w.end()
    finally:
        for w in queues:
            w.kill()


def _hand_out(queues: dict[Worker, list[Number]], w: Worker, queue: list[Number]) -> None:
    """The first of a queue to a worker, which keeps the rest."""
    queues[w] = queue
    w.begin(queue.pop(0))


def _grouped(s: Settings, numbers: list[Number]) -> Iterator[list[Number]]:
    """The networks of every structure, while there is time."""
    began = time.monotonic()
    for _, queue in itertools.groupby(numbers, key=lambda n: n[0]):
        if s.minutes and time.monotonic() - began > 60 * s.minutes:
            return
        yield list(queue)


def reason(text: str) -> str:
    """A reason without its remedy, and the numbers and names of one network."""
    first = re.split(r"\n|; |, so |, which |: runaway", text)[0]
    first = re.sub(r"^(\w+Error: )?population '[^']*'( \([^)]*\))?:? ", "", re.sub(r" \((?!delta)[^()]*\)", "", first))
    return re.sub(r"\ba neuron\b", "neuron #", re.sub(r"\d[\d.e+-]*", "#", re.sub(r"'[^']*'", "'...'", first)))


def asked(s: Settings) -> str:
    """The kind of networks, as on the command line."""
    named = f" --engines {' '.join(repr(e) for e in s.engines)}" if s.engines else ""
    also = f" --also {' '.join(s.also)}" if s.also else ""
    return f"--spike-times {s.spike_times}{also} --inputs {s.inputs} --level {s.level} --seed {s.seed}{named}"


DRAWN = "| what was drawn | structures | of them right on every engine that ran |"


def table(s: Settings, found: list[Finding]) -> str:
    """What became of them, by engine, the reasons of refusals, and what was drawn (not on the page)."""
    structures = len({f.number[0] for f in found})
    command = f"python benchmarks/random_networks.py {asked(s)} --structures {structures}"
    head = "| | structures | networks | right | decided by rounding | refused | wrong | input times compared |"
    rows = [f"`{command}`", "", head, f"|{'---|' * 8}"]
    by_engine: dict[str, list[tuple[str, str, bool]]] = {
        "all engines": [
            (f.program("native float64"), f.kind, any(v.input_times for v in f.verdicts)) for f in found
        ]
    }  # fmt: skip
    for f in found:
        for v in f.verdicts:
            by_engine.setdefault(v.engine, []).append((f.program(v.engine), v.kind, v.input_times))
    for name, each in by_engine.items():
        kinds = Counter(kind for _, kind, _ in each)
        numbers = [len({p for p, _, _ in each}), len(each), *(kinds[k] for k in KINDS), sum(x[2] for x in each)]
        rows.append(f"| {name} | {' | '.join(map(str, numbers))} |")
    refused = Counter(reason(v.reason) for f in found for v in f.verdicts if v.kind == "refused")
    if any(name.startswith("genn") for name in by_engine):
        rows += ["", f"* genn ran on {GennEngine.availability().detail}"]
    rows += ["", *(f"* {n} refused: {why}" for why, n in refused.most_common()), ""]
    rows += [DRAWN, "|---|---|---|"]
    for name in (*FEATURES, *(ASKED_FOR if s.also else ())):
        those = {f.program("native float64"): f.kind for f in found if name in f.features}
        rows.append(f"| {name} | {len(those)} | {sum(kind == 'right' for kind in those.values())} |")
    return "\n".join(rows) + "\n"


def line(s: Settings, f: Finding) -> str:
    """A network in a line, and what is not right about it with the line that shows it again."""
    again = f"    python benchmarks/random_networks.py {asked(s)} --only {f.number[0]}"
    again = f"    python benchmarks/random_networks.py --known --only {f.number[0]}" if s.known else again
    bad = [f"    {v.engine}: {v.kind}: {v.reason}" for v in f.verdicts if v.kind != "right"]
    name = f"{f.number[0]}.{f.number[1]}"
    lines = [f"{name} {f.kind} ({f.seconds:.1f} s) {f.text}", *bad, *([again] if f.kind == "wrong" else [])]
    return "\n".join(lines)


def write_table(page: Path, mark: str, text: str) -> None:
    """Put the table between the marks of a page."""
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    old = page.read_text()
    page.write_text(old[: old.index(begin) + len(begin)] + "\n\n" + text + "\n" + old[old.index(end) :])


def earlier(s: Settings) -> list[Finding]:
    """What the file of an earlier run has."""
    if s.out is None or not s.out.exists():
        return []
    rows = [json.loads(text) for text in s.out.read_text().splitlines()]
    if any((row["seed"], row["spike_times"]) != (s.seed, s.spike_times) for row in rows):
        raise SystemExit(f"{s.out} is of another seed or other spike times; give --out another name")
    return [
        Finding(
            (row["number"][0], row["number"][1]), row["text"], tuple(Verdict(**v) for v in row["verdicts"]),
            row["seconds"], tuple(row["features"]), tuple((name, text) for name, text in row["programs"]),
        )
        for row in rows
    ]  # fmt: skip


def keep(s: Settings, f: Finding) -> None:
    if s.out is not None:
        row = {"seed": s.seed, "spike_times": s.spike_times, "kind": f.kind, **asdict(f)}
        with s.out.open("a") as file:
            file.write(json.dumps(row) + "\n")


def main() -> int:
    s = tyro.cli(Settings, description=__doc__)
    numbers = list(range(len(KNOWN)) if s.known else range(s.first, s.first + s.structures))
    numbers = numbers if s.only is None else [s.only]
    found = earlier(s)
    there = {f.number for f in found}
    networks = [(n, i) for n in numbers for i in range(1 if s.known else s.inputs) if (n, i) not in there]
    folder = tempfile.mkdtemp(prefix="random-networks-")
    os.environ |= {VARIABLE: folder, "TMPDIR": folder}  # a compiler that is killed leaves its files behind
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with contextlib.closing(all_findings(s, networks)) as coming:
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
        write_table(s.into, f"random networks, {s.spike_times}", text.partition(DRAWN)[0])
    return int(any(f.kind == "wrong" for f in found))


if __name__ == "__main__":
    sys.exit(main())
