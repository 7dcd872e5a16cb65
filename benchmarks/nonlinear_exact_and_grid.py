"""What exact spike times are worth for neurons without a closed form: QIF and AdEx, exact and on grids.

    python benchmarks/nonlinear_exact_and_grid.py --data-dir DATA --write docs/exact_spike_times.md
    python benchmarks/nonlinear_exact_and_grid.py --only "Yin-Yang QIF" --epochs 2      # a first look

Yin-Yang and latency MNIST, one hidden layer, LI outputs whose maximum is read. Of the same network at its first weights
the angle between the grid's gradient of the input weights and the exact one, and the spikes of a neuron; then a short
training with Adam, the accuracy on test data, and the processor time of a sample and epoch, forwards and backwards, on
one thread. "diverged": a step of the grid made a state infinite. Results of a setting go into OUT as they come and are
not computed again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro

from genn_eventprop import Dense, Events, Network, Normal, Trainer, losses
from genn_eventprop.data.readers import mnist, yin_yang
from genn_eventprop.engines import create
from genn_eventprop.errors import EngineError
from genn_eventprop.losses import Loss
from genn_eventprop.modelling import NeuronModel
from genn_eventprop.models import LI, QIF, AdEx
from genn_eventprop.optimisers import Adam
from genn_eventprop.plan import make_plan

BEGIN, END = "<!-- neurons without a closed form: begin -->", "<!-- neurons without a closed form: end -->"
# weights are of the same size for both: one adds 300 pA to the current of AdEx
MODELS = {"QIF": QIF, "AdEx": replace(AdEx, input={"input": {"I": 300.0}}, threshold=None, reset=None)}
HOW = ("exact", "0.01", "0.1", "1")  # spike times, or the step of the grid in ms


@dataclass(frozen=True)
class Settings:
    """What to run.

    Args:
        out: File of results, one JSON object a line. write: A page with the two marks of this script, for the table.
        data_dir: Holds mnist/mnist.npz; without it Yin-Yang alone. only: Names such as "MNIST AdEx"; all, if empty.
        epochs: Of every training; 0: those of the task.
    """

    out: Path = Path("runs/nonlinear_exact_and_grid.jsonl")
    write: Path | None = None
    data_dir: Path | None = None
    only: tuple[str, ...] = ()
    epochs: int = 0


@dataclass(frozen=True)
class Task:
    """Weights of the input by model: (mean, spread)."""

    events: Callable[[str, int, Path | None], Events]
    hidden: int
    duration: float
    weights: dict[str, tuple[float, float]]
    train: int
    test: int
    epochs: int
    rate: float

    def network(self, model: NeuronModel, channels: int, classes: int) -> tuple[Network, Loss]:
        net = Network()
        hidden, output = net.population(model(), self.hidden, "hidden"), net.population(LI(), classes, "output")
        net.connect(net.input(channels), hidden, Dense(Normal(*self.weights["AdEx" if "w" in model.state else "QIF"])))
        net.connect(hidden, output, Dense(Normal(0.1, 0.3)))
        return net, losses.MaxVoltageCrossEntropy(output)


def digits(split: str, size: int, data_dir: Path | None) -> Events:
    """Latency-coded MNIST images."""
    assert data_dir is not None
    return mnist.load_events(data_dir / "mnist/mnist.npz", split, size=size)


TASKS = {
    "Yin-Yang": Task(
        lambda split, size, _: yin_yang.load(split, size), 60, 60.0, {"QIF": (3.0, 2.0), "AdEx": (2.6, 1.8)},
        600, 500, 8, 0.03,
    ),
    "MNIST": Task(digits, 100, 40.0, {"QIF": (0.12, 0.12), "AdEx": (0.1, 0.1)}, 600, 500, 4, 0.01),
}  # fmt: skip


def times(how: str) -> tuple[str, float]:
    """(spike times, dt in ms)."""
    return ("exact", 1.0) if how == "exact" else ("grid", float(how))


def gradient(task: Task, model: NeuronModel, events: Events, how: str) -> tuple[np.ndarray, float]:
    """Of the input weights, at the first weights and in float64; and the spikes of a hidden neuron."""
    net, loss = task.network(model, events.n_channels, events.n_classes)
    kind, dt = times(how)
    plan = make_plan(net, loss, dt=dt, duration=task.duration, spike_times=kind)
    engine = create(plan, net.initial_parameters(1), engine="native", dtype="float64", threads=1)
    result = engine.run(engine.load(events), np.arange(len(events)), training=True)
    found = np.array(engine.gradients["input_hidden.weight"]), float(result.spike_counts["hidden"].mean())
    engine.close()
    return found


def measure(name: str, how: str, s: Settings) -> dict[str, float | str]:
    """One row."""
    place, neuron = name.split()
    task, model = TASKS[place], MODELS[neuron]
    train, test = (task.events(n, size, s.data_dir) for n, size in (("train", task.train), ("test", task.test)))
    few = train[:100]
    row: dict[str, float | str] = {"name": name, "how": how, "epochs": s.epochs or task.epochs}
    try:
        (mine, row["spikes"]), (exact, _) = gradient(task, model, few, how), gradient(task, model, few, "exact")
        cosine = float((mine * exact).sum() / np.sqrt((mine**2).sum() * (exact**2).sum()))
        row["angle"] = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
        return row | train_and_test(task, model, train, test, how, int(row["epochs"]))
    except EngineError as error:  # dynamics that a step is too long for
        return row | {"failed": str(error)}


def train_and_test(
    task: Task, model: NeuronModel, train: Events, test: Events, how: str, epochs: int
) -> dict[str, float]:
    """Accuracy, and ms a sample."""
    net, loss = task.network(model, train.n_channels, train.n_classes)
    kind, dt = times(how)
    trainer = Trainer(
        net, loss, duration=task.duration, dt=dt, spike_times=kind, engine="native", threads=1, seed=1,
        optimiser=Adam(task.rate), batch_size=50, progress=False, initial_rates=0,
    )  # fmt: skip
    trainer.engine.run(trainer.engine.load(train), np.arange(50), training=True)  # compiled, before the clock starts
    start = time.process_time()
    trainer.fit(train, epochs=epochs)
    seconds = time.process_time() - start
    accuracy = float(np.mean(trainer.predict(test) == test.labels))
    return {"accuracy": accuracy, "ms": seconds * 1e3 / epochs / len(train)}


def table(rows: list[dict[str, float | str]]) -> str:
    lines = ["| task, neurons | spike times | angle (degrees) | accuracy | ms a sample |"]
    lines.append("|---|---|---:|---:|---:|")
    for name in dict.fromkeys(f"{place} {neuron}" for place in TASKS for neuron in MODELS):
        for how in HOW:
            for r in (r for r in rows if r["name"] == name and r["how"] == how):
                said = "exact" if how == "exact" else f"grid of {how} ms"
                place, neuron = name.split()
                angle = f"{r['angle']:.1f}" if how != "exact" and "angle" in r else ""
                trained = "diverged | " if "failed" in r else f"{100 * float(r['accuracy']):.1f} % | {r['ms']:.2f}"
                lines.append(f"| {place}, {neuron} | {said} | {angle} | {trained} |")
    return "\n".join(lines)


def main(s: Settings) -> None:
    """Measure what is missing, print the table, write it."""
    s.out.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in s.out.read_text().splitlines()] if s.out.exists() else []
    for how in sorted(HOW, key=lambda h: h == "0.01"):  # the longest last
        for name in (f"{place} {neuron}" for place in TASKS for neuron in MODELS):
            wanted = (not s.only or name in s.only) and (s.data_dir is not None or name.startswith("Yin"))
            if wanted and not any(r["name"] == name and r["how"] == how for r in rows):
                rows.append(measure(name, how, s))
                print(rows[-1], flush=True)
                with s.out.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    text = table(rows)
    print(text)
    if s.write is not None:
        before, _, rest = s.write.read_text().partition(BEGIN)
        s.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
