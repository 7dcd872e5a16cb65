"""What rounding spikes to a grid does to the gradient, to accuracy and to time: tables of docs/grid_versus_exact.md.

    python benchmarks/grid_versus_exact.py --data-dir DATA                               all of it: a quiet day
    python benchmarks/grid_versus_exact.py --data-dir DATA --parts tuned --only yin_yang --share 0.3
    python benchmarks/grid_versus_exact.py --data-dir DATA --parts tuned --only spoken_digits --finalists 3
    python benchmarks/grid_versus_exact.py --parts costs
    python benchmarks/grid_versus_exact.py --parts figure                                the figure from the result file

Gradients of the same networks at the same weights, exact spike times against grids of 0.1 to 5 ms, on Yin-Yang, latency
MNIST and spoken digits (FSDD spikes; random spikes of that rate where the file is absent), feed-forward and recurrent;
then whole trainings of Yin-Yang. "tuned" asks what exactness is worth: grid and exact, each with the learning rate and
regulariser that are best for it on validation, three seeds, on five tasks. "costs" measures what ``spike_times="auto"``
counts with (`engines.spike_times`). What lies in the folder OUT already, gradients or run folders, is not computed
again; a run that was interrupted goes on.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import seeds
import tyro
from matplotlib.figure import Figure
from result_file import add_row

from genn_eventprop import Dense, Events, Network, Normal, losses
from genn_eventprop.data.readers import fsdd, mnist, yin_yang
from genn_eventprop.engines import create
from genn_eventprop.engines.spike_times import EXACT_NS
from genn_eventprop.experiment import load_experiment, run_experiment
from genn_eventprop.losses import Loss
from genn_eventprop.models import LI, LIF
from genn_eventprop.plan import make_plan
from genn_eventprop.report import plots
from genn_eventprop.report.plots.style import CLASS_COLOURS, GREY, figure, styled

Row = dict[str, float | str]


@dataclass(frozen=True)
class Settings:
    """What to run and where to put it.

    Args:
        out: Folder of gradients and run folders.
        numbers: Folder of the result files. figure: The picture of the page.
        data_dir: Holds mnist/mnist.npz and fsdd/fsdd_spikes_700ch.npz; without them random spikes of the same rate.
        steps: Widths of the grid in ms for gradients. trained: For trainings.
        seeds: Of the trainings. epochs: Of each.
        train: False to take the trainings that are in the folder already and start none.
        parts: What to do. only: Tasks of "tuned". share: Of the epochs of these, for a first look.
        finalists: So many settings of each kind, the best ones after a share `after` of the epochs, are trained to the
            end, and the best of them is chosen (successive halving). 0: all are.
    """

    out: Path = Path("runs/grid_versus_exact")
    numbers: Path = Path("docs/numbers")
    figure: Path = Path("docs/figures/grid_versus_exact.png")
    data_dir: Path | None = None
    steps: tuple[float, ...] = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
    trained: tuple[float, ...] = (0.1, 0.5, 1.0)
    seeds: str = "1-3"
    epochs: int = 100
    train: bool = True
    parts: tuple[str, ...] = ("gradients", "tuned", "costs")
    only: tuple[str, ...] = ()
    share: float = 1.0
    finalists: int = 0
    after: float = 0.2


@dataclass(frozen=True)
class Task:
    """Input, layer sizes, initial weights (mean, spread) of input, recurrence and output; the loss of the output."""

    name: str
    events: Callable[[Settings], Events]
    hidden: int
    classes: int
    duration: float
    weights: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
    loss: Callable[..., Loss]
    output: object = LI

    def network(self, recurrent: bool, channels: int) -> tuple[Network, Loss]:
        """The network and its loss."""
        net = Network()
        inp, hidden = net.input(channels), net.population(LIF(), self.hidden, name="hidden")
        output = net.population(self.output(), self.classes, name="output")
        into, among, out = (Dense(Normal(*w)) for w in self.weights)
        net.connect(inp, hidden, into)
        if recurrent:
            net.connect(hidden, hidden, among)
        net.connect(hidden, output, out)
        return net, self.loss(output)


def speech(s: Settings) -> Events:
    """32 spoken digits, or as many samples of 5900 random spikes in 440 ms."""
    path = None if s.data_dir is None else s.data_dir / "fsdd/fsdd_spikes_700ch.npz"
    if path is not None and path.is_file():
        test = fsdd.load(path, "test")
        ends = [float(test.sample(i)[0].max()) for i in range(len(test))]
        return test[np.flatnonzero(np.array(ends) < 999)[:: max(len(test) // 40, 1)][:32]]
    rng = np.random.default_rng(0)
    samples = [(np.sort(rng.uniform(0, 440, 5900)), rng.integers(0, 700, 5900)) for _ in range(32)]
    return Events.from_samples(samples, 700, labels=rng.integers(0, 10, 32), n_classes=10)


def digits(s: Settings) -> Events:
    """100 MNIST test images, or as many samples of 150 random spikes in 20 ms."""
    path = None if s.data_dir is None else s.data_dir / "mnist/mnist.npz"
    if path is not None and path.is_file():
        return mnist.load_events(path, "test", size=100)
    rng = np.random.default_rng(0)
    samples = [(np.sort(rng.uniform(0, 20, 150)), rng.integers(0, 784, 150)) for _ in range(100)]
    return Events.from_samples(samples, 784, labels=rng.integers(0, 10, 100), n_classes=10)


TASKS = (
    Task(
        "Yin-Yang", lambda s: yin_yang.load("test", 200), 200, 3, 60.0, ((1.5, 0.78), (0.0, 0.3), (0.93, 0.1)),
        lambda o: losses.FirstSpikeCrossEntropy(o, tau0=0.5, tau1=6.4, alpha=3e-3), LIF,
    ),
    Task(
        "MNIST", digits, 350, 10, 60.0, ((0.078, 0.045), (0.0, 0.1), (0.2, 0.37)), losses.MaxVoltageCrossEntropy,
    ),
    Task(
        "speech", speech, 256, 10, 1000.0, ((0.03, 0.01), (0.0, 0.02), (0.0, 0.03)),
        lambda o: losses.IntegratedVoltageCrossEntropy(o, "exponential"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Contest:
    """A page that is trained on the grid and with exact spike times, each at its best.

    Args:
        page: its name. settings: that both kinds have. epochs: of a run.
        grid_dt: step of the grid, at which a training costs about as much, or that of the page.
        rates: learning rates to choose from. others: settings to choose from, regularisers where the page has them.
    """

    page: str
    settings: Mapping[str, Any]
    epochs: int
    grid_dt: float
    rates: tuple[float, ...]
    others: tuple[Mapping[str, Any], ...]


PENALTIES = tuple({"regulariser": r} for r in ("", "spike_count(target=14, strength=1e-7)", "weight_decay=1e-5"))
CONTESTS = {
    "yin_yang": Contest("yin_yang", {}, 100, 0.5, (2.5e-3, 5e-3, 1e-2), ({"decay": 0.95}, {"decay": 0.97})),
    "latency_mnist": Contest(
        "latency_mnist", {"train_size": 10_000, "validation_size": 2000}, 15, 0.5, (2e-3, 4e-3, 8e-3), PENALTIES
    ),
    "nmnist_small": Contest("nmnist", {"small": True, "resplit": 0}, 60, 1.0, (1e-3, 2.5e-3, 5e-3), PENALTIES),
    "sequential_mnist": Contest(
        "sequential_mnist", {"train_size": 4000}, 4, 1.0, (7e-4, 1.5e-3, 3e-3), PENALTIES
    ),
    "spoken_digits": Contest(
        "spoken_digits", {"hidden": (128,), "augment": "merge_channels=10", "duration": 600.0, "delay_line": (0, 60.0)},
        20, 2.0, (2e-3, 5e-3, 1e-2), PENALTIES,
    ),
}  # fmt: skip
KINDS = ("grid", "exact")


def tuned(s: Settings) -> None:
    """A row a task and kind of spike times; trains what is missing, the least expensive task first."""
    heads = ("task", "epochs", "spike times", "test (%), seeds")
    for name, contest in CONTESTS.items():
        if s.only and name not in s.only:
            continue
        epochs = max(1, round(contest.epochs * s.share))
        for kind in KINDS:
            folder = s.out / "tuned" / f"{name}-{epochs}" / kind
            entrants = [(rate, i) for rate in contest.rates for i in range(len(contest.others))]
            if s.finalists:
                first = _validated(s, name, kind, max(1, round(epochs * s.after)), entrants)
                if first is None:
                    continue
                entrants = sorted(entrants, key=first.__getitem__, reverse=True)[: s.finalists]
            best = _validated(s, name, kind, epochs, entrants)
            if best is None:
                continue
            rate, i = max(best, key=best.__getitem__)
            runs = [
                _train(s, contest, kind, epochs, folder / f"seed{seed}-{rate:g}-{i}", seed, rate, i)
                for seed in seeds.seeds_of(s.seeds)
            ]
            tests = [100 * r["test_accuracy"] for r in runs if r is not None]
            if not tests:
                continue
            spread = f" +- {np.std(tests, ddof=1):.2f}" if len(tests) > 1 else ""
            step = f"grid of {contest.grid_dt:g} ms" if kind == "grid" else "exact"
            words = f"rate {rate:g}, {', '.join(f'{k} {v}' for k, v in contest.others[i].items() if v) or 'no penalty'}"
            cells = (name, str(epochs), step, f"{np.mean(tests):.2f}{spread} ({len(tests)})")
            print(*cells, f"{words}, {100 * best[rate, i]:.2f} % on validation", sep=", ", flush=True)
            command = f"python benchmarks/grid_versus_exact.py --parts tuned --only {name}"
            add_row(s.numbers / "tuned.json", heads, cells, command, key=3)


def _validated(
    s: Settings, name: str, kind: str, epochs: int, entrants: list[tuple[float, int]]
) -> dict[tuple[float, int], float] | None:
    """Rate and number of the other setting -> best validation accuracy with seed 1; None if a run is missing."""
    contest, folder = CONTESTS[name], s.out / "tuned" / f"{name}-{epochs}" / kind
    runs = {
        (rate, i): _train(s, contest, kind, epochs, folder / f"{rate:g}-{i}", 1, rate, i, read_test=False)
        for rate, i in entrants
    }
    done = {entrant: r["best_validation_accuracy"] for entrant, r in runs.items() if r is not None}
    return done if len(done) == len(entrants) else None


def _train(
    s: Settings, contest: Contest, kind: str, epochs: int, folder: Path, seed: int, rate: float, other: int,
    read_test: bool = True,
) -> dict[str, Any] | None:  # fmt: skip
    """results.json of a run, or None if it is missing and none is to be started; no figures are drawn."""
    results = folder / "results.json"
    if results.exists():
        return json.loads(results.read_text())
    if not s.train:
        return None
    file = load_experiment(contest.page)
    chosen = {**contest.settings, **contest.others[other], "learning_rate": rate, "spike_times": kind}
    chosen |= {"dt": contest.grid_dt if kind == "grid" else 1.0, "epochs": epochs, "seed": seed}
    config = file.config(**chosen, run_dir=folder, threads=1, read_test=read_test, data_dir=s.data_dir)
    return run_experiment(
        replace(file, plot=None), config, resume=(folder / "checkpoints" / "last.safetensors").exists()
    )


SHAPES = ((5, 5, 200, 60.0), (150, 784, 100, 60.0), (1500, 100, 100, 200.0), (300, 100, 400, 100.0))
"""Input spikes of a trial, channels, hidden neurons, ms."""


def costs(s: Settings) -> None:
    """ns of an arrival, of a spike and of a neuron and step, by least squares over networks that differ; a trial takes
    10 microseconds besides."""
    from scipy.optimize import nnls

    rows: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    rng = np.random.default_rng(0)
    for spikes, channels, hidden, duration in SHAPES:
        samples = [
            (np.sort(rng.uniform(0, duration - 10, spikes)), rng.integers(0, channels, spikes)) for _ in range(64)
        ]
        events = Events.from_samples(samples, channels, labels=np.arange(64) % 4)
        for factor in (1.0, 1.3):
            weight = factor * 40 / spikes * max(duration / 60, 1)
            task = Task(
                "",
                lambda _, events=events: events,
                hidden,
                4,
                duration,
                ((weight, weight / 4), (0, 0), (0, 1)),
                TASKS[1].loss,
            )
            net, loss = task.network(False, channels)
            for kind, dt in (("exact", 1.0), ("grid", 1.0), ("grid", 0.2)):
                _, ms, fired = _gradient(net, loss, events, duration, dt, kind)
                arrivals = spikes * hidden + fired * 4
                rows[kind].append([arrivals, fired, duration / dt * (hidden + 4)])
                times[kind].append(ms * 1e6 - EXACT_NS["trial"])
                print(f"{kind} {dt:g}: {arrivals:.0f} arrivals, {fired:.0f} spikes, {ms:.4f} ms", flush=True)
    for kind in KINDS:
        A, t = np.array(rows[kind]), np.array(times[kind])
        found, _ = nnls(A / t[:, None], np.ones(len(t)))  # relative errors
        names = dict(zip(("arrival", "spike", "step"), found.round(2).tolist()))
        print(kind, names, "measured / fitted:", (t / (A @ found)).round(2).tolist())


def gradients(s: Settings) -> list[Row]:
    """A row a task, topology and step: angle (degrees) and ratio of norms to the exact gradient, ms per sample."""
    path = s.out / "gradients.json"
    if path.exists():
        return json.loads(path.read_text())
    rows: list[Row] = []
    for task in TASKS:
        events = task.events(s)
        for recurrent in (False, True):
            net, loss = task.network(recurrent, events.n_channels)
            exact, seconds, spikes = _gradient(net, loss, events, task.duration, 1.0, "exact")
            start: Row = {"task": task.name, "topology": "recurrent" if recurrent else "feed-forward"}
            rows.append({**start, "step": 0.0, "angle": 0.0, "ratio": 1.0, "ms": seconds, "spikes": spikes})
            for dt in s.steps:
                grid, seconds, spikes = _gradient(net, loss, events, task.duration, dt, "grid")
                norms = np.linalg.norm(grid), np.linalg.norm(exact)
                angle = np.degrees(np.arccos(np.clip(grid @ exact / (norms[0] * norms[1]), -1, 1)))
                row = {"step": dt, "angle": float(angle), "ratio": float(norms[0] / norms[1])}
                rows.append({**start, **row, "ms": seconds, "spikes": spikes})
                print(rows[-1], flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=1))
    return rows


def _gradient(
    net: Network, loss: Loss, events: Events, duration: float, dt: float, spike_times: str
) -> tuple[np.ndarray, float, float]:
    """(all weight gradients of the hidden layer as one vector, ms per sample on one thread, hidden spikes per
    sample)."""
    plan = make_plan(net, loss, dt=dt, duration=duration, spike_times=spike_times)
    engine = create(plan, net.initial_parameters(1), engine="native", threads=1)
    data, samples, seconds = engine.load(events), np.arange(len(events)), []
    for _ in range(3):
        start = time.process_time()
        result = engine.run(data, samples, training=True)
        seconds.append(time.process_time() - start)
    hidden = [v.astype(np.float64).ravel() for k, v in engine.gradients.items() if k.split(".")[0].endswith("_hidden")]
    spikes = float(result.spike_counts["hidden"].sum()) / len(events)
    return np.concatenate(hidden), min(seconds) * 1e3 / len(events), spikes


def trainings(s: Settings) -> dict[str, dict[int, dict[str, float]]]:
    """Kind of time -> seed -> results of a training of Yin-Yang."""
    kinds = {"exact, steps of 1 ms": ["--spike-times", "exact", "--dt", "1"]}
    kinds |= {f"grid of {dt:g} ms": ["--spike-times", "grid", "--dt", f"{dt:g}"] for dt in s.trained}
    found: dict[str, dict[int, dict[str, float]]] = {}
    for kind, options in kinds.items():
        found[kind] = {}
        for seed in seeds.seeds_of(s.seeds):
            folder = s.out / kind.replace(", ", "_").replace(" ", "_") / f"seed{seed}"
            if not s.train and not (folder / "results.json").exists():
                continue
            given = [*options, "--epochs", str(s.epochs), "--threads", "1"]
            found[kind][seed] = seeds.run("yin_yang", seed, folder, given)
            print(f"{kind}, seed {seed}: {100 * found[kind][seed]['final_test_accuracy']:.2f} %", flush=True)
    return {kind: results for kind, results in found.items() if results}


def angles(rows: list[Row]) -> list[list[str]]:
    """Heads and cells: angle and ratio of norms at each step of the grid; times at two of them beside the exact one."""
    steps = sorted({float(r["step"]) for r in rows} - {0.0})
    timed = (0.0, min(steps), 1.0)
    heads = ["task", "hidden layer", *(f"{step:g} ms" for step in steps)]
    heads += [f"ms a sample, {'exact' if step == 0 else f'{step:g} ms'}" for step in timed]
    text = [heads]
    by = {(r["task"], r["topology"], float(r["step"])): r for r in rows}
    for task, topology in dict.fromkeys((r["task"], r["topology"]) for r in rows):
        of = [by[task, topology, step] for step in steps]
        cells = [f"{r['angle']:.1f}, {r['ratio']:.2f}" for r in of]
        cells += [f"{by[task, topology, step]['ms']:.2f}" for step in timed]
        text.append([task, topology, *cells])
    return text


def accuracies(trained: dict[str, dict[int, dict[str, float]]]) -> list[str]:
    """Of the trainings of Yin-Yang, a row for each kind of spike times."""
    text = ["| spike times | accuracy (%) | spread over seeds | seeds | seconds |", "|---|---|---|---|---|"]
    for kind, results in trained.items():
        accuracy = np.array([100 * r["final_test_accuracy"] for r in results.values()])
        seconds = np.mean([r["seconds_training"] for r in results.values()])
        spread = accuracy.std(ddof=1) if len(accuracy) > 1 else 0.0
        text.append(f"| {kind} | {accuracy.mean():.2f} | {spread:.2f} | {len(accuracy)} | {seconds:.1f} |")
    return text


@styled
def draw(result: Mapping[str, Any]) -> Figure:
    """Angle and norm over the step, one line a task and topology, from the rows of the result file."""
    fig, (left, right) = figure(1, 2, size=(8.0, 3.4))
    at = {i: float(head[:-3]) for i, head in enumerate(result["columns"]) if re.fullmatch(r"[\d.]+ ms", head)}
    colours = dict(zip(dict.fromkeys(row["cells"][0] for row in result["rows"]), CLASS_COLOURS))
    for row in result["rows"]:
        task, topology = row["cells"][:2]
        found = np.array([[float(x) for x in row["cells"][i].split(",")] for i in at])
        style = {"color": colours[task], "linestyle": "-" if topology == "feed-forward" else "--", "marker": "o"}
        for axis, values in zip((left, right), found.T):
            axis.plot(list(at.values()), values, label=f"{task}, {topology}", markersize=3, **style)
    for axis in (left, right):
        axis.set(xscale="log", xlabel="step of the grid (ms), logarithmic")
        axis.set_xticks(list(at.values()), [f"{step:g}" for step in at.values()])
        axis.minorticks_off()
    left.set(ylabel="angle to the exact gradient (degrees)", ylim=(0, 90), yticks=range(0, 91, 30))
    right.set(ylabel="norm / norm of the exact gradient", ylim=(0, None))
    right.axhline(1.0, color=GREY, linewidth=0.8)
    fig.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig


def main() -> int:
    """Compute what is missing, write page and figure."""
    s = tyro.cli(Settings, description=__doc__)
    if "gradients" in s.parts:
        rows, trained = gradients(s), trainings(s)
        heads, *table = angles(rows)
        for cells in table:
            command = "python benchmarks/grid_versus_exact.py --data-dir DATA --parts gradients"
            add_row(s.numbers / "angles.json", heads, cells, command, key=2)
        if trained:
            print(*accuracies(trained), sep="\n")
    if {"gradients", "figure"} & set(s.parts):
        plots.save(draw(json.loads((s.numbers / "angles.json").read_text())), s.figure)
    if "tuned" in s.parts:
        tuned(s)
    if "costs" in s.parts:
        costs(s)
    return 0


if __name__ == "__main__":
    sys.exit(main())
