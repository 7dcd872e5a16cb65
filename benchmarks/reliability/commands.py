"""Random uses of commands on runs, scans, searches, recordings and graphs: right, or refused with a message."""

from __future__ import annotations

import io
import json
import shutil
import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import genn_eventprop
from genn_eventprop.data.readers import yin_yang
from genn_eventprop.runs.checkpoint import load_checkpoint
from genn_eventprop.runs.run_folder import RunFolder
from genn_eventprop.runs.weights import read_weights

from . import event_files

Call = Callable[[list[str]], tuple[int, str]]
"""A command line -> exit status, and what it printed."""

ODD: list[Any] = [
    "",
    "0",
    "-1",
    "1.5",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "\u00b2",
    "9" * 30,
    "9" * 5000,
    "x",
    "()",
    "[",
    "1,2",
    "true",
    "None",
    "a b",
    "\u00e9",
    "../..",
    "~nobody",
    "--",
    "-",
    "'",
    '"',
    "{}",
    "a=b",
    "/dev/null",
    "/proc/self/mem",
    ".",
    "page.py",
    "\udcff",
]
RUNS = ["run"] * 6 + ["other", "nothing", "page.py", ".", "data.npz", "", "\u00e9"]
FILES = [
    "data.npz",
    "data",
    "data.h5",
    "words",
    "words/a/0.wav",
    "nothing",
    "page.py",
    "run",
    "bad.npz",
    "~",
    "~nobody",
    ".",
]
GRIDS: dict[str, list[Any]] = {
    "hidden": [[2, 3], [], 3, [[2], [2]], [2, 2], ["a"], {"low": 1}, [True, 1]],
    "seed": ["1-2", [1], "\u00b2", "2-1", 5, [1, 1]],
    "neuron": [["LIF", "QIF"], "LIF", [5], ["Lif"]],
    "dt": [[1.0, 0.5], [float("nan")], [0], ["x"]],
    "hiden": [[1]],
    "augment": [["jitter=1", ""], [{"shift": 3}], [[1]]],
    "run_dir": [["x"]],
    "learning_rate": [[1e-3, -1.0], [float("inf")]],
}
TOP: dict[str, list[Any]] = {
    "processes": [1, 2, 0, -1, 1.5, "2", True],
    "folder": ["out", 5, 0, "", "page.py", "/proc/x", True, ["a"]],
    "runner": ["local", "x", 3],
    "settings": [{"epochs": 1}, 3, "x", {"epochs": "a"}, {"hiden": 1}, [1]],
    "slurm": [{}, 3, {"cpus": "a"}, {"time": "x"}],
    "nonsense": [1],
}
SEARCHES: dict[str, list[Any]] = {
    "trials": [1, 2, 0, -1, "3", 1.5],
    "sampler": ["random", "tpe", "x", 3],
    "pruner": ["none", "median", 5],
    "seed": [1, 0, "a"],
    "objective": ["loss", "accuracy", "x"],
    "seeds": ["1", 1, "\u00b2", [1, 2]],
    "nonsense": [1],
}
RANGES: dict[str, list[Any]] = {
    "learning_rate": [
        {"low": 1e-4, "high": 1e-2, "log": True},
        {"low": 0, "high": 1, "log": True},
        {"low": 1},
        3,
        {"low": float("nan"), "high": 1.0},
        {"low": 0.1, "high": float("inf")},
        {"low": 1, "high": 2, "log": "x"},
        {"low": 0.1, "high": 1.0, "step": 0},
        {"low": 0.1, "high": 1.0, "step": "a"},
        {"low": 0.1, "high": 1.0, "step": -1.0},
    ],
    "hidden": [
        [2, 3],
        {"low": 2, "high": 4, "step": 0},
        {"low": 2, "high": 4, "step": -1},
        {"low": 2, "high": 4},
        [[2], [3]],
        [2],
    ],
    "neuron": [["LIF", "ALIF"], [], ["LIF"], "x"],
    "hiden": [[1, 2]],
}


def any_command(rng: np.random.Generator, call: Call) -> tuple[str, str]:
    """One of `KINDS` in the present folder: (how it ended, what it was)."""
    kind = KINDS[rng.integers(len(KINDS))]
    arguments, check = kind(rng, call)
    if rng.random() < 0.1:
        arguments.insert(int(rng.integers(1, len(arguments) + 1)), _of(rng, ODD))
    status, said = call(arguments)
    what = f"{kind.__name__}: {arguments}" + "".join(f"\n{p.name}: {p.read_text()[:600]!r}" for p in _texts())
    if status == 0:
        wrong = check()
        return ("wrong result taken for right" if wrong else "right"), f"{what}: {wrong}"
    if status not in (1, 2) or not said.strip():
        return f"status {status}, {len(said)} characters said", what
    return "refused with a message", what


def _texts() -> list[Path]:
    return [path for path in (Path("s.toml"), Path("c.toml")) if path.is_file()]


def _of(rng: np.random.Generator, values: Sequence[Any]) -> Any:
    """Every other time the first, which is a good one."""
    return values[0] if rng.random() < 0.5 else values[int(rng.integers(len(values)))]


def _nothing() -> str:
    return ""


def _run(call: Call, rng: np.random.Generator) -> None:
    """A finished run, and sometimes another one that is cut short or spoilt."""
    spike_times = str(rng.choice(["grid", "exact"]))
    engine = "reference_clock" if spike_times == "grid" else "reference_event"
    call(["train", "page.py", "--run-dir", "run", "--duration", "5", "--spike-times", spike_times, "--engine", engine])
    if rng.random() < 0.3 and Path("run").is_dir():
        shutil.copytree("run", "other")
        files = sorted(p for p in Path("other").rglob("*") if p.is_file())
        victim = files[rng.integers(len(files))]
        content = victim.read_bytes()
        victim.write_bytes(content[: int(rng.integers(len(content) + 1))] + rng.bytes(int(rng.integers(3))))


def _data(rng: np.random.Generator) -> None:
    """Events with the run's channels, others, and recordings."""
    events = yin_yang.load("test", int(rng.integers(1, 6)))
    events.save("data.npz")
    events.save("data")
    shutil.copy("data.npz", "bad.npz")
    event_files.DAMAGES[rng.integers(len(event_files.DAMAGES))](Path("bad.npz"), rng)
    Path("words/a").mkdir(parents=True)
    with wave.open("words/a/0.wav", "wb") as file:
        file.setnchannels(int(rng.choice([1, 1, 2])))
        file.setsampwidth(int(rng.choice([2, 2, 1, 3, 4])))
        file.setframerate(int(rng.choice([8000, 4000, 1, 10**6])))
        file.writeframes(rng.bytes(int(rng.choice([800, 0, 3, 8]))))


def options(rng: np.random.Generator, table: dict[str, list[Any]], at_most: int = 3) -> list[str]:
    """Some options with values, good, bad and of another kind; () stands for a flag."""
    names = rng.choice(list(table), min(len(table), int(rng.integers(at_most + 1))), replace=False)
    found: list[str] = []
    for name in map(str, names):
        value = _of(rng, table[name]) if rng.random() < 0.8 else str(_of(rng, ODD[::-1]))
        found += [f"--{name}", *([] if value == () else [str(value)])]
    return found


CHECKPOINT = ["best", "last", "first"]
ENGINES = ["reference_clock", "reference_event", "nativ", "auto"]


def export(rng: np.random.Generator, call: Call) -> tuple[list[str], Callable[[], str]]:
    _run(call, rng)
    out = str(
        _of(
            rng,
            ["x.npz", "x.c", "x.nir", "folder", "x.npz", "x.c", "x.nir", "page.py", "no/x.npz", "", "x.\u00e9", "run"],
        )
    )
    more = options(
        rng,
        {
            "checkpoint": CHECKPOINT,
            "bits": [32, 16, 8, 7],
            "dt": [1.0, 0.1, 0, -1, 1e-9, 1e9],
            "overwrite": [()],
            "dialect": ["spec", "norse", "snntorch", "x"],
            "measure": ["data.npz", "nothing"],
            "trust": [()],
        },
    )
    _data(rng)
    checkpoint = more[more.index("--checkpoint") + 1] if "--checkpoint" in more else "best"

    def check() -> str:
        path = Path(out)
        if not path.exists():
            return "" if "-h" in more else f"{out} was not written"
        if path.suffix in (".c", ".nir"):
            return "" if path.stat().st_size > 100 else f"{out} is nearly empty"
        want = load_checkpoint(RunFolder("run").checkpoint(checkpoint)).section("parameters")
        found = read_weights(path)
        same = want.keys() == found.keys() and all(np.allclose(found[k], want[k], rtol=1e-5) for k in want)
        return "" if same else "other weights than the run's"

    return ["export", str(_of(rng, ["run"] * 9 + RUNS)), out, *more], check


def predict(rng: np.random.Generator, call: Call) -> tuple[list[str], Callable[[], str]]:
    _run(call, rng)
    _data(rng)
    files = [str(_of(rng, FILES)) for _ in range(rng.integers(1, 3))]
    more = options(
        rng, {"csv": [()], "checkpoint": CHECKPOINT, "engine": ENGINES, "threads": [1, 0, -1, "x"], "trust": [()]}
    )
    out = io.StringIO()

    def check() -> str:
        if files != ["data.npz"] or "--csv" not in more:
            return ""
        status, said = call(["predict", "run", "data.npz", "--csv"])
        want = genn_eventprop.load("run").predict(yin_yang.load("test", len(said.splitlines()) - 1))
        names = [line.split(",")[2] for line in said.splitlines()[1:]]
        known = genn_eventprop.load("run").class_names
        right = [known[k] if k >= 0 else name for k, name in zip(want, names)]
        return "" if status == 0 and names == right else f"{names} instead of {right}{out.getvalue()}"

    return ["predict", str(_of(rng, RUNS)), *files, *more], check


def pictures(rng: np.random.Generator, call: Call) -> tuple[list[str], Callable[[], str]]:
    _run(call, rng)
    runs = [str(_of(rng, RUNS)) for _ in range(rng.integers(1, 3))]
    more: dict[str, dict[str, list[Any]]] = {
        "plot": {
            "only": ["weights", "curves", "x", "trial,weights", "trial"],
            "data": ["test", "train", "x"],
            "sample": [0, 1, 99, -1],
            "checkpoint": CHECKPOINT,
            "page": ["page.py", "nothing.py", "run"],
            "engine": ENGINES,
            "format": ["png", "svg", "bmp"],
            "out": ["plots", "page.py", "/proc/x"],
        },
        "view": {
            "out": ["v.html", "page.py", "run", "/proc/x.html"],
            "samples": [0, 1, 99, -1],
            "checkpoint": CHECKPOINT,
            "engine": ENGINES,
        },
        "report": {"markdown": ["r.md", "page.py", "nothing"], "paired": [()]},
        "show": {"dialect": ["genn", "cpp", "x"]},
        "evaluate": {
            "checkpoint": CHECKPOINT,
            "data": ["test", "train", "validation", "x"],
            "page": ["page.py", "x.py"],
            "engine": ENGINES,
        },
        "resume": {"page": ["page.py", "x.py"], "epochs": [2, 1, 0, -1, 10**20], "threads": [1, 0], "engine": ENGINES},
    }
    name = str(rng.choice(list(more)))
    Path("r.md").write_text("<!-- runs -->\n<!-- end -->\n")
    page = ["--page", "page.py"] if name in ("evaluate", "resume", "plot") and rng.random() < 0.7 else []
    given = options(rng, {k: v for k, v in more[name].items() if k != "page" or not page})
    return [name, *(runs if name in ("plot", "report") else runs[:1]), *page, *given], _nothing


def others(rng: np.random.Generator, call: Call) -> tuple[list[str], Callable[[], str]]:
    name = str(rng.choice(["make-data", "convert-audio", "reproduce", "cache", "engines", "gradcheck", "show"]))
    _data(rng)
    if name == "make-data":
        more = options(
            rng,
            {"voices": ["m1", "x"], "speeds": [130, 0, "a"], "pitches": [35, 1000], "seed": [0, -1], "as-shd": [()]},
        )
        return [name, str(_of(rng, ["spoken_words", "x", ""])), str(_of(rng, ["out", "page.py", ""])), *more], _nothing
    if name == "convert-audio":
        more = options(
            rng,
            {
                "seed": [0, -1, 2**70],
                "channels": [8, 1, 0, -1, 10**7],
                "level": [0.3, 0, "nan", "inf", 1e300],
                "ramp": [1.0, -1, "nan", 1e9],
                "overwrite": [()],
                "no-progress": [()],
            },
        )
        small = [] if "--channels" in more else ["--channels", "8"]
        return [
            name,
            str(_of(rng, ["words", *FILES])),
            str(_of(rng, ["w.h5", "w.npz", "page.py", "no/w.h5", ""])),
            *small,
            *more,
        ], _nothing
    if name == "reproduce":
        more = options(
            rng,
            {
                "data": ["spoken_digits", "x"],
                "only": ["x", "uniform"],
                "seeds": ["1", "\u00b2", "2-1"],
                "processes": [1, 0, -1],
                "threads": [1, 0],
                "runner": ["local", "slurm", "x"],
                "folder": ["f", "page.py"],
                "quick": [()],
            },
        )
        return [name, str(_of(rng, ["yin-yang", "delays", "loss-shaping", "x", ""])), "--dry-run", *more], _nothing
    if name == "cache":
        return [
            name,
            str(_of(rng, ["where", "clar", ""])),
            *options(rng, {"what": ["code", "data", "all", "x"]}),
        ], _nothing
    if name == "engines":
        return [name, *(["--selftest", str(rng.choice(["x", "genn", ""]))] if rng.random() < 0.4 else [])], _nothing
    if name == "gradcheck":
        more = options(
            rng, {"seed": [0, -1, 2**70, "x"], "engine": ["reference_event", "x"], "spike-times": ["exact", "grid"]}
        )
        return [name, str(_of(rng, ["li", "x", "page.py:X", "", "../x.py:A"])), "--quick", *more], _nothing
    return [
        name,
        str(_of(rng, ["LIF", "qif", "page.py", "page.py:Config", "x", "", "/"])),
        *options(rng, {"dialect": ["cpp", "x"]}),
    ], _nothing


def study(rng: np.random.Generator, call: Call) -> tuple[list[str], Callable[[], str]]:
    """A scan or a search: mostly looked at, sometimes run, with one small training."""
    table: dict[str, Any] = {"experiment": _of(rng, ["page.py"] * 8 + ["yin_yang", "x", "nothing.py", 5, ""])}
    for name in rng.choice(list(TOP)[:-1] * 2 + ["nonsense"], int(rng.integers(3))):
        table[str(name)] = _of(rng, TOP[str(name)])
    if rng.random() < 0.5:
        search = {
            str(n): _of(rng, SEARCHES[str(n)]) for n in rng.choice(list(SEARCHES), int(rng.integers(4)), replace=False)
        }
        ranges = {
            str(n): _of(rng, RANGES[str(n)]) for n in rng.choice(list(RANGES), int(rng.integers(1, 3)), replace=False)
        }
        table["search"] = _of(rng, [{"trials": 1, **search, "ranges": ranges}] * 9 + [3, search])
    else:
        names = rng.choice(list(GRIDS), int(rng.integers(1, 3)), replace=False)
        table["grid"] = _of(rng, [{str(n): _of(rng, GRIDS[str(n)]) for n in names}] * 9 + [3, []])
    text = "".join(f"{name} = {_toml(value)}\n" for name, value in table.items())
    if rng.random() < 0.05:
        cut = int(rng.integers(len(text)))
        text = text[:cut] + str(rng.choice(["[", "\x00", "\u00e9", '"""', "=", "\n["])) + text[cut:]
    Path("s.toml").write_text(text)
    file = str(_of(rng, ["s.toml"] * 9 + ["nothing.toml", "page.py", "", "."]))
    if rng.random() < 0.3:
        return ["scan", "status", file], _nothing
    looks = [
        ["--dry-run"],
        ["--table"],
        ["--dry-run"],
        ["--detach"],
        ["--table", "--processes", "0"],
        ["--runner", "slurm", "--dry-run"],
        [],
    ]
    return ["scan", file, *looks[int(rng.integers(len(looks)))]], _nothing


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return repr(value) if isinstance(value, float) else json.dumps(value)


def graph(rng: np.random.Generator, call: Call) -> tuple[list[str], Callable[[], str]]:
    """Training that begins with a NIR file: of a run, or with nodes and numbers of any kind, or spoilt."""
    import nir

    numbers: list[Any] = [0.02, 1.0, 0.0, -1.0, np.nan, np.inf, 1e30]
    N = int(rng.choice([3, 3, 1, 4]))
    one = lambda: np.full(int(_of(rng, [N, N + 1, 0])), _of(rng, numbers))  # noqa: E731
    kinds: list[Callable[[], Any]] = [
        lambda: nir.LIF(tau=one(), r=one(), v_leak=np.zeros(N), v_threshold=one()),
        lambda: nir.CubaLIF(tau_mem=one(), tau_syn=one(), r=one(), v_leak=np.zeros(N), v_threshold=one()),
        lambda: nir.LI(tau=one(), r=one(), v_leak=np.zeros(N)),
        lambda: nir.Threshold(threshold=one()),
        lambda: nir.Delay(delay=one()),
        lambda: nir.Scale(scale=one()),
        lambda: nir.Flatten({"input": np.array([N])}, 0, 0),
    ]
    try:
        nodes = {
            "input": nir.Input({"input": np.array([5])}),
            "w": nir.Affine(rng.normal(size=(N, 5)), np.full(N, _of(rng, [0.0, *numbers]))),
            "a": kinds[0 if rng.random() < 0.5 else int(rng.integers(len(kinds)))](),
            "v": nir.Linear(rng.normal(size=(3, N))),
            "o": nir.LI(tau=np.full(3, 0.02), r=np.ones(3), v_leak=np.zeros(3)),
            "output": nir.Output({"output": np.array([3])}),
        }
        names = list(nodes)
        edges = list(zip(names, names[1:])) + ([("a", "w"), ("a", "a"), ("o", "a")][: int(rng.integers(3))])
        nir.write("x.nir", nir.NIRGraph(nodes, edges))
    except Exception:  # nir itself refuses some; nothing was written, then
        Path("x.nir").write_bytes(rng.bytes(200))
    if rng.random() < 0.3:
        content = bytearray(Path("x.nir").read_bytes())
        for _ in range(int(rng.integers(1, 4))):
            content[int(rng.integers(len(content)))] = int(rng.integers(256))
        Path("x.nir").write_bytes(content[: int(_of(rng, [len(content), len(content) // 2]))])
    more = options(
        rng, {"nir-dialect": ["spec", "norse", "snntorch", "x"], "partial": [()], "dt": [1.0, 0.1, 50.0], "epochs": [1]}
    )
    return [
        "train",
        "page.py",
        "--run-dir",
        "run",
        "--from-nir",
        str(_of(rng, ["x.nir"] * 9 + ["page.py", "nothing.nir"])),
        *more,
    ], _nothing


KINDS = (export, predict, pictures, pictures, others, study, study, graph)
