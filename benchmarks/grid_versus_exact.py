"""What rounding spikes to a grid does to the gradient, to accuracy and to time: writes docs/grid_versus_exact.md.

    python benchmarks/grid_versus_exact.py --data-dir DATA

Gradients of the same networks at the same weights, exact spike times against grids of 0.1 to 5 ms, on Yin-Yang, latency
MNIST and spoken digits (FSDD spikes; random spikes of that rate where the file is absent), feed-forward and recurrent;
then whole trainings of Yin-Yang. What lies in the folder OUT already, gradients or run folders, is not computed again.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import seeds
import tyro
from matplotlib.axes import Axes

from genn_eventprop import Dense, Events, Network, Normal, losses
from genn_eventprop.data.readers import fsdd, mnist, yin_yang
from genn_eventprop.engines import create
from genn_eventprop.losses import Loss
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from genn_eventprop.report import plots

Row = dict[str, float | str]


@dataclass(frozen=True)
class Settings:
    """What to run and where to put it.

    Args:
        out: Folder of gradients and run folders.
        doc: Page to write. figure: Its picture.
        data_dir: Holds mnist/mnist.npz and fsdd/fsdd_spikes_700ch.npz; without them random spikes of the same rate.
        steps: Widths of the grid in ms for gradients. trained: For trainings.
        seeds: Of the trainings. epochs: Of each.
        train: False to take the trainings that are in the folder already and start none.
    """

    out: Path = Path("runs/grid_versus_exact")
    doc: Path = Path("docs/grid_versus_exact.md")
    figure: Path = Path("docs/figures/grid_versus_exact.png")
    data_dir: Path | None = None
    steps: tuple[float, ...] = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
    trained: tuple[float, ...] = (0.1, 0.5, 1.0)
    seeds: str = "1-3"
    epochs: int = 100
    train: bool = True


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


def page(s: Settings, rows: list[Row], trained: dict[str, dict[int, dict[str, float]]]) -> str:
    """The document."""
    real = s.data_dir is not None and (s.data_dir / "fsdd/fsdd_spikes_700ch.npz").is_file()
    source = "MNIST and FSDD spikes" if real else "random spikes"
    heads = (
        "task",
        "hidden layer",
        "step (ms)",
        "angle (degrees)",
        "norm / exact norm",
        "hidden spikes",
        "ms per sample",
    )
    text = [
        "# Grid versus exact spike times",
        "",
        f"Written by `python benchmarks/grid_versus_exact.py` ({source}).",
        "",
        "On a grid a spike acts at the end of its step, so the EventProp gradient is not the derivative of what was",
        "computed. The table shows how far it is from the gradient with exact spike times, for the same networks with",
        "the same initial weights: angle and norm of the gradient of all weights into the hidden layer in float32, and",
        "CPU time and hidden spikes per sample on one thread.",
        "",
        "![Angle to the exact gradient, ratio of norms, accuracy of trainings](figures/grid_versus_exact.png)",
        "",
        "| " + " | ".join(heads) + " |",
        "|---" * len(heads) + "|",
    ]
    for r in rows:
        step = "exact" if r["step"] == 0 else f"{r['step']:g}"
        numbers = f"{r['angle']:.1f} | {r['ratio']:.2f} | {r['spikes']:.0f} | {r['ms']:.3f}"
        text.append(f"| {r['task']} | {r['topology']} | {step} | {numbers} |")
    if trained:
        text += _trainings_table(s, trained)
    return "\n".join(text) + "\n"


def _trainings_table(s: Settings, trained: dict[str, dict[int, dict[str, float]]]) -> list[str]:
    text = [
        "", f"Yin-Yang trained for {s.epochs} epochs with the published settings, one thread, last epoch:", "",
        "| spike times | accuracy (%) | spread over seeds | seeds | seconds |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for kind, results in trained.items():
        accuracy = np.array([100 * r["final_test_accuracy"] for r in results.values()])
        seconds = np.mean([r["seconds_training"] for r in results.values()])
        spread = accuracy.std(ddof=1) if len(accuracy) > 1 else 0.0
        text.append(f"| {kind} | {accuracy.mean():.2f} | {spread:.2f} | {len(accuracy)} | {seconds:.1f} |")
    return text


def draw(rows: list[Row], trained: dict[str, dict[int, dict[str, float]]], path: Path) -> None:
    """Angle and norm over the step, one line a task and topology; accuracy of the trainings."""
    import matplotlib.pyplot as plt

    panels = 3 if trained else 2
    figure, (left, middle, *last) = plt.subplots(1, panels, figsize=(3.7 * panels, 3.4), layout="constrained")
    lines = {(str(r["task"]), str(r["topology"])) for r in rows}
    colours = {task.name: f"C{i}" for i, task in enumerate(TASKS)}
    for task, topology in sorted(lines, key=lambda k: ([t.name for t in TASKS].index(k[0]), k[1])):
        mine = [r for r in rows if (r["task"], r["topology"]) == (task, topology) and r["step"] != 0]
        style = {"color": colours[task], "linestyle": "-" if topology == "feed-forward" else "--", "marker": "o"}
        x = [float(r["step"]) for r in mine]
        left.plot(x, [float(r["angle"]) for r in mine], markersize=3, **style)
        middle.plot(x, [float(r["ratio"]) for r in mine], label=f"{task}, {topology}", markersize=3, **style)
    left.set(
        xscale="log", xlabel="step of the grid (ms)", ylabel="angle to the exact gradient (degrees)", ylim=(0, None)
    )
    middle.set(xscale="log", yscale="log", xlabel="step of the grid (ms)", ylabel="norm / norm of the exact gradient")
    middle.axhline(1.0, color="0.6", linewidth=0.8)
    middle.legend(fontsize=7, frameon=False, loc="lower left")
    for right in last:
        _accuracy(right, trained)
    plots.save(figure, path)


def _accuracy(right: Axes, trained: dict[str, dict[int, dict[str, float]]]) -> None:
    names = list(trained)
    for i, kind in enumerate(names):
        accuracy = [100 * r["final_test_accuracy"] for r in trained[kind].values()]
        seconds = np.mean([r["seconds_training"] for r in trained[kind].values()])
        right.scatter([i] * len(accuracy), accuracy, s=18, color="C3" if kind.startswith("exact") else "0.3", zorder=3)
        right.annotate(
            f"{seconds:.0f} s", (i, max(accuracy)), (0, 6), textcoords="offset points", ha="center", fontsize=8
        )
    right.set_xticks(range(len(names)), [n.replace(", steps of 1 ms", "").replace("grid of ", "grid\n") for n in names])
    right.set(ylabel="Yin-Yang test accuracy (%)", xlim=(-0.5, len(names) - 0.5))
    right.margins(y=0.2)


def main() -> int:
    """Compute what is missing, write page and figure."""
    s = tyro.cli(Settings, description=__doc__)
    rows, trained = gradients(s), trainings(s)
    draw(rows, trained, s.figure)
    s.doc.write_text(page(s, rows, trained))
    return 0


if __name__ == "__main__":
    sys.exit(main())
