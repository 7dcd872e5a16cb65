"""Yin-Yang on a device that deviates: the table of docs/device.md.

    python benchmarks/device_in_the_loop.py --seeds 1-5 --out runs/device
    python benchmarks/device_in_the_loop.py --seeds 1-5 --out runs/device_alif --neuron ALIF
    python benchmarks/device_in_the_loop.py --seeds 1-5 --out runs/device_adex --neuron AdEx --hidden 100 --epochs 16 \\
        --batch-size 8 --train-size 2000 --learning-rate 0.02

For each seed, which is also that of the device: the ideal network; that network run on the device; the network trained
with the device in the loop. Other settings are those of the page `device_in_the_loop`. A seed that is in OUT is not run
again; the table goes to OUT/table.md, its means with `--numbers docs/numbers/device.json` to a result file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from result_file import add_row
from seeds import seeds_of

from genn_eventprop.experiment import Experiment
from genn_eventprop.experiments import device_in_the_loop as page

COLUMNS = {
    "ideal": "ideal network",
    "only_run": "trained ideally, run on the device",
    "in_the_loop": "trained in the loop",
}

SETTINGS = (
    "epochs",
    "batch_size",
    "hidden",
    "neuron",
    "spread",
    "jitter",
    "lost",
    "surplus",
    "initial_spikes",
    "learning_rate",
    "slope_floor",
    "train_size",
)


def trained(config: page.Config) -> tuple[float, dict[str, Any], Experiment]:
    """(test accuracy of the last weights in per cent, last metrics, the experiment)."""
    experiment = page.build(config)
    assert experiment.test is not None
    experiment.trainer.fit(experiment.train, epochs=config.epochs)  # the last weights count
    accuracy = 100 * experiment.trainer.evaluate(experiment.test).accuracy
    return accuracy, experiment.trainer.state.metrics[-1], experiment


def run(config: page.Config) -> dict[str, float]:
    """All numbers of one seed."""
    began = time.perf_counter()
    ideal, _, of_model = trained(replace(config, device=False))
    in_the_loop, metrics, on_device = trained(config)
    for name, value in of_model.trainer.engine.parameters.items():
        on_device.trainer.engine.parameters[name][...] = value
    assert on_device.test is not None
    only_run = 100 * on_device.trainer.evaluate(on_device.test).accuracy
    spikes = metrics["spikes_per_neuron"]["hidden"] * config.hidden * len(on_device.train)
    return {
        "ideal": ideal, "only_run": only_run, "in_the_loop": in_the_loop,
        "guarded_percent": 100 * metrics["guarded"] / spikes, "seconds": time.perf_counter() - began,
    }  # fmt: skip


def table(rows: dict[int, dict[str, float]], title: str) -> str:
    """Markdown: a line a seed, then mean and standard deviation; test accuracy in per cent."""
    lines = [f"`{title}`", "", f"| seed | {' | '.join(COLUMNS.values())} |", f"|---|{'---|' * len(COLUMNS)}"]
    lines += [f"| {seed} | {' | '.join(f'{row[c]:.2f}' for c in COLUMNS)} |" for seed, row in rows.items()]
    each = {c: [row[c] for row in rows.values()] for c in COLUMNS}
    spread = {c: statistics.stdev(v) if len(v) > 1 else 0.0 for c, v in each.items()}
    lines.append(f"| mean | {' | '.join(f'{statistics.mean(each[c]):.2f} +- {spread[c]:.2f}' for c in COLUMNS)} |")
    guarded = statistics.mean(row["guarded_percent"] for row in rows.values())
    return "\n".join([*lines, "", f"The floor of slopes acted at {guarded:.1f} % of the spikes of the last epoch.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=seeds_of, default=[1, 2, 3, 4, 5])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--numbers", type=Path)
    for name in SETTINGS:
        default = getattr(page.Config, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    settings = {name: getattr(arguments, name) for name in SETTINGS}
    config, rows = page.Config(threads=1, **settings), {}
    changed = {n: v for n, v in settings.items() if v != getattr(page.Config, n)}
    title = " ".join(["device_in_the_loop", *(f"--{n.replace('_', '-')} {v}" for n, v in changed.items())])
    for seed in arguments.seeds:
        path = arguments.out / f"seed{seed}.json"
        if not path.exists():
            path.write_text(json.dumps(run(replace(config, seed=seed, device_seed=seed))))
        rows[seed] = json.loads(path.read_text())
        (arguments.out / "table.md").write_text(table(rows, title))
    print(text := table(rows, title))
    if arguments.numbers:
        means = next(line for line in text.splitlines() if line.startswith("| mean |")).strip("| ").split(" | ")[1:]
        command = f"python benchmarks/{title} --seeds {','.join(map(str, rows))} --out OUT"
        command = command.replace("device_in_the_loop", "device_in_the_loop.py", 1)
        for column, mean in zip(COLUMNS, means):
            values = [row[column] for row in rows.values()]
            add_row(
                arguments.numbers,
                ("mean of the seeds", "test accuracy (%)"),
                (COLUMNS[column], mean),
                command,
                values=values,
            )


if __name__ == "__main__":
    main()
