"""Random configurations, event files and commands: right, or refused with a message; never a bare traceback."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from genn_eventprop.cli import main
from genn_eventprop.experiment.options import write_toml
from genn_eventprop.runs.run_folder import RunFolder

from . import commands
from .child import Child
from .event_files import event_file
from .table import GOOD, Part

LIMIT = 120
"""Seconds that one case may take."""
BLOCK = 50
"""Cases a child."""

PAGE = """
from dataclasses import dataclass
from genn_eventprop.data.readers import yin_yang
from genn_eventprop.experiment import LayeredConfig, layered

@dataclass(frozen=True)
class Config(LayeredConfig):
    epochs: int = 1
    engine: str = "reference_clock"
    hidden: tuple[int, ...] = (3,)
    recurrent: bool = False
    batch_size: int = 4
    duration: float = 20.0
    dt: float | None = 1.0
    threads: int | None = 1
    input_weight: tuple[float, float] = (2.0, 1.0)

QUICK = {"epochs": 2}

def build(config):
    events = yin_yang.load("train", 12)
    return layered(config, events[:8], events[8:10], events[10:], yin_yang.CLASSES, progress=False)
"""
NAN, INF = float("nan"), float("inf")
SETTINGS: dict[str, list[Any]] = {
    "epochs": [1, 2, 0, -1, 1.5, "x"],
    "seed": [1, 7, -1, 2**70, "a"],
    "batch_size": [1, 4, 3, 0, -3, 10**9],
    "dt": [1.0, 0.5, 2.0, 1e-12, 0.0, -1.0, "1", NAN, INF, 7.3, 1e300],
    "duration": [20.0, 10, 1.0, 0.0, -5.0, 1e12, NAN, INF],
    "spike_times": ["grid", "grid", "exact", "gird"],
    "engine": ["reference_clock"] * 20 + ["reference_event"] * 5 + ["native", "nativ", ""],
    "hidden": [[2], [1], [0], [-1], [], [1, 2], 3, ["a"], [10**12]],
    "recurrent": [True, False, "yes"],
    "neuron": ["LIF", "LI", "ALIF", "QIF", "LIFRefractory", "LIF(tau_mem=-3)", "LIF(tau_mem=nan)", "Lif", "LIF(", ""],
    "output": ["LI", "LIF", "LI(tau_mem=0)", "Lo"],
    "loss": ["sum_weigh_exp", "max", "sum", "first_spike_exp", "nope", "max(tau=", "sum_weigh_exp(tau=-1)", ""],
    "optimiser": [
        "adam",
        "sgd",
        "adam_w(weight_decay=0.1)",
        "adam(beta1=2)",
        "adam(beta1='x')",
        "sgd=None",
        "rmsprop",
        "x",
        "adam(learning_rate=1)",
    ],
    "schedule": [
        "cosine",
        "constant",
        "exponential=0.9",
        "step",
        "ease_in,cosine",
        "cosine(",
        "banana",
        "exponential=-1",
    ],
    "augment": [
        "jitter=1",
        "shift=3",
        "bin=2",
        "merge_channels=2",
        "dropout=0.5",
        "dropout=2",
        "drop",
        "blend=0.5",
        "(",
    ],
    "regulariser": ["", "spike_count", "spike_count(target=-1)", "spike_count='x'", "foo", "spike_count(target=nan)"],
    "revive": ["", "redraw", "lift=0.1", "lift=nan", "lift=()", "x"],
    "learning_rate": [1e-3, 0.0, -1.0, 1e30, NAN, "fast"],
    "input_weight": [[2.0, 1.0], [1.0], [NAN, 1.0], [1.0, -1.0], "x", [1e30, 0.0], [1.0, 1.0, 1.0]],
    "delay_line": [[0, 30.0], [2, 5.0], [-1, 3.0], [1, -5.0], [1, NAN], [1, 1e9]],
    "noise": [0.0, 0.1, -1.0, INF],
    "hidden_dropout": [0.0, 0.3, 1.0, -0.1],
    "tau_mem": [20.0, 0.0, -2.0, 1e-9, 1e12, NAN],
    "heterogeneous": [True, False],
    "train_tau": [True, False],
    "initial_spikes": [1.0, 0.0, -1.0, 1e9],
    "slope_floor": [0.0, 1.0, -1.0, NAN],
    "threads": [1, 2, 0, -2],
    "checkpoint_batches": [1, 0, -1],
    "quick": [True, False],
    "seeds": ["1", "1-2", "2-1", "a"],
    "cross_validate": [True],
    "data_dir": ["/nowhere"],
    "hiden": [3],
    "": [1],
}


OTHERS = [
    "report", "plot", "evaluate", "resume", "export", "predict", "show", "scan", "cache", "convert-audio", "trian",
    "--version", "-h",
]  # fmt: skip


def fuzz(count: int, folder: Path, seed: int, workers: int = 1) -> Part:
    """`count` cases, as many of each of `KINDS`, in children of `BLOCK` cases, `workers` children at once."""
    part, began = Part("random configurations, event files, command lines"), time.monotonic()
    waiting = [list(range(first, min(first + BLOCK, count))) for first in range(0, count, BLOCK)]
    running: list[tuple[list[int], Path, Child]] = []
    while waiting or running:
        while waiting and len(running) < workers:
            todo = waiting.pop(0)
            place = folder / f"block-{todo[0]}"
            place.mkdir()
            (place / "page.py").write_text(PAGE)
            (place / "ends").touch()
            running.append((todo, place, Child(_block(todo, seed, place), place, place / "log")))
        for todo, _, child in running:
            if time.monotonic() - child.began > LIMIT * len(todo):  # it does not hear its own alarm
                os.kill(child.pid, signal.SIGKILL)
        for entry in [entry for entry in running if entry[2].ended()]:
            running.remove(entry)
            waiting += _counted(part, *entry)
        time.sleep(0.02)
    part.seconds = time.monotonic() - began
    return part


def _counted(part: Part, todo: list[int], place: Path, child: Child) -> list[list[int]]:
    """Count the cases that a child has ended; returns what it has not begun, if it died."""
    outcome, left = child.wait(), list(todo)
    for line in (place / "ends").read_text().splitlines():
        end = json.loads(line)
        part.count(end["end"], f"case {end['case']}: {end['what']}")
        left.remove(end["case"])
    shutil.rmtree(place, ignore_errors=True)
    if not left:
        return []
    part.count(outcome.fault or f"status {outcome.status}", f"case {left.pop(0)}: {outcome.said[-300:]}")
    return [left] if left else []


def _block(numbers: list[int], seed: int, folder: Path) -> Callable[[], int]:
    def child() -> int:
        signal.signal(signal.SIGALRM, _too_long)
        os.environ["GENN_EVENTPROP_DATA_CACHE"] = str(folder / "data")
        with open(folder / "ends", "a") as ends:
            for number in numbers:
                rng = np.random.default_rng([seed, number])
                place = folder / f"case-{number}"
                place.mkdir(exist_ok=True)
                shutil.copy(folder / "page.py", place)
                os.chdir(place)
                end, what = one(KINDS[number % len(KINDS)], rng)
                ends.write(json.dumps({"case": number, "end": end, "what": what}) + "\n")
                ends.flush()
                os.chdir(folder)
                if end in GOOD:
                    shutil.rmtree(place, ignore_errors=True)
        return 0

    return child


def _too_long(*_: object) -> None:
    raise TimeoutError


def one(kind: Callable[[np.random.Generator], tuple[str, str]], rng: np.random.Generator) -> tuple[str, str]:
    """(how a case ended, what it was)."""
    signal.alarm(LIMIT)
    try:
        return kind(rng)
    except TimeoutError:
        return "hang", kind.__name__
    except Exception:
        return "bare traceback", f"{kind.__name__}: {traceback.format_exc()[-1500:]}"
    finally:
        signal.alarm(0)


def called(arguments: list[str]) -> tuple[int, str]:
    """(exit status, stderr) of a command line in this process; what it does not catch is raised."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(arguments)
        except (TimeoutError, KeyboardInterrupt):
            raise
        except Exception as error:
            raise RuntimeError(f"genn-eventprop {arguments}") from error
    return status, err.getvalue() + out.getvalue()


def judged(arguments: list[str], run_dir: Path | None) -> tuple[str, str]:
    """How a command line ended; of a training that ended well, whether its numbers can be."""
    status, said = called(arguments)
    what = " ".join(arguments)
    if status == 0:
        return ("right", what) if run_dir is None or plausible(run_dir) else ("wrong result taken for right", what)
    if status not in (1, 2) or not said.strip():
        return f"status {status}, {len(said)} characters said", what
    return "refused with a message", what


def plausible(run_dir: Path) -> bool:
    """Numbers of a finished run are there, and accuracies between 0 and 1."""
    if (run_dir / "repeats.json").exists() or not (run_dir / "config.json").exists():
        return True  # help was asked for
    folder = RunFolder(run_dir)
    accuracies = [folder.results[key] for key in ("test_accuracy", "final_test_accuracy")]
    losses = [line["train_loss"] for line in folder.metrics]
    return all(0 <= a <= 1 for a in accuracies) and all(np.isfinite(loss) for loss in losses) and len(losses) > 0


def configuration(rng: np.random.Generator) -> tuple[str, str]:
    """A TOML file with some settings, good and bad."""
    names = rng.choice([n for n in SETTINGS if n not in ("hiden", "")], rng.integers(1, 5), replace=False).tolist()
    names += ["hiden"] if rng.random() < 0.03 else []
    table = {name: _value(name, rng) for name in names}
    text = write_toml(table)
    if rng.random() < 0.05:
        cut = int(rng.integers(len(text)))
        text = text[:cut] + rng.choice(["[", "\x00", "é", '"""', "=", "\n["]) + text[cut:]
    Path("x.toml").write_text(text)
    end, _ = judged(["train", "page.py", "--config", "x.toml", "--run-dir", "run"], Path("run"))
    return end, f"TOML {text!r}"


def command_line(rng: np.random.Generator) -> tuple[str, str]:
    """A command with options and arguments, some of them nonsense."""
    junk = [
        "",
        "--",
        "-x",
        "--help",
        "run",
        "nothing",
        "/",
        ".",
        "\x00"[:0],
        "-1",
        "nan",
        "page.py",
        "é",
        "*",
        "a=b",
        "--seed",
    ]
    name = str(rng.choice(["train"] * 5 + OTHERS))
    arguments = [name]
    if name == "train":
        arguments += [str(rng.choice(["page.py"] * 9 + junk)), "--run-dir", "run"]
        for setting in rng.choice([n for n in SETTINGS if n], rng.integers(0, 4), replace=False).tolist():
            arguments += option(setting, _value(setting, rng))
    elif name == "show":
        arguments += [str(rng.choice(["lif", "qif", "LIF", "nix", "page.py", "page.py:Config"]))]
    elif name == "cache":
        arguments += [str(rng.choice(["where", "clar", "where"]))]
    elif name not in ("--version", "-h", "trian"):
        _some_run(rng)
        arguments += rng.choice(["run", "run", "run", *junk], rng.integers(0, 3)).tolist()
    if rng.random() < 0.15:
        arguments.insert(int(rng.integers(1, len(arguments) + 1)), str(rng.choice(junk)))
    return judged(arguments, Path("run") if name == "train" else None)


def _value(name: str, rng: np.random.Generator) -> Any:
    """A value of a setting: every other time the first, which is a good one."""
    values = SETTINGS[name]
    return values[0] if rng.random() < 0.5 else values[rng.integers(len(values))]


def option(name: str, value: Any) -> list[str]:
    """A setting as options of the command line."""
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else f"--no-{name.replace('_', '-')}"]
    return [flag, *map(str, value if isinstance(value, list) else [value])]


def _some_run(rng: np.random.Generator) -> None:
    """A folder "run": finished, begun, damaged, of something else, or none."""
    kind = rng.integers(5)
    if kind == 0:
        return
    called(["train", "page.py", "--run-dir", "run", "--duration", "5"])
    victims = sorted(p for p in Path("run").rglob("*") if p.is_file())
    victim = victims[rng.integers(len(victims))]
    if kind == 2:
        victim.unlink()
    elif kind == 3:
        victim.write_bytes(rng.bytes(int(rng.integers(0, 50))))
    elif kind == 4:
        victim.write_text(str(rng.choice(["{}", "[]", "null", '{"epoch": 1}', '{"settings": 3, "experiment": []}'])))


def command(rng: np.random.Generator) -> tuple[str, str]:
    """See `commands`."""
    return commands.any_command(rng, called)


KINDS = (configuration, event_file, command_line, command, command)
