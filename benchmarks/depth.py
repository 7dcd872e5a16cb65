"""Four hidden layers: does it learn, and what reaches every layer? The table of docs/silent_and_exploding.md.

    python benchmarks/depth.py --numbers docs/numbers/depth.json && python docs/numbers/tables.py

Each row is a run of `genn_eventprop/experiments/deep.py`. Gradient norms: of the last batch of an epoch, of the learned
weights that lead to a layer; 40 epochs of one seed take about a minute on an idle core.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro
from result_file import add_row

from genn_eventprop.experiments.deep import Config, build

VARIANTS: dict[str, dict[str, Any]] = {
    "initial weights scaled to a rate": {"clip_each": None},
    "as above, `--clip-each 0.05`": {"clip_each": 0.05},
    "initial weights as drawn": {"initial_spikes": 0.0, "clip_each": None},
}
LAYERS = ("hidden1", "hidden2", "hidden3", "hidden4", "output")


@dataclass(frozen=True)
class Settings:
    """Which runs.

    Args:
        seeds: Of each variant. epochs: Of each run, None: those of the page.
        numbers: The result file for the rows.
    """

    seeds: tuple[int, ...] = (1, 2, 3)
    epochs: int | None = None
    threads: int = 1
    numbers: Path | None = None


def run(s: Settings, seed: int, **settings: Any) -> tuple[float, list[dict[str, Any]]]:
    """Test accuracy with the weights chosen on validation, and the metrics of all epochs."""
    config = replace(Config(), seed=seed, threads=s.threads, **settings)
    config = config if s.epochs is None else replace(config, epochs=s.epochs)
    experiment = build(config)
    trainer = experiment.trainer
    trainer.callbacks.clear()
    results = trainer.fit(experiment.train, experiment.validation, experiment.test, epochs=config.epochs)
    trainer.close()
    return results["test_accuracy"], trainer.state.metrics


def main() -> None:
    s = tyro.cli(Settings, description=__doc__)
    seeds = " ".join(map(str, s.seeds))
    command = f"python benchmarks/depth.py --seeds {seeds}" + ("" if s.epochs is None else f" --epochs {s.epochs}")
    for name, settings in VARIANTS.items():
        found = [run(s, seed, **settings) for seed in s.seeds]
        accuracies = ", ".join(f"{100 * accuracy:.1f}" for accuracy, _ in found)
        first, last = (found[0][1][epoch]["gradient_norms"] for epoch in (0, -1))
        norms = (f"{layer} {first[layer]:.1e}, {last[layer]:.1e}" for layer in LAYERS)
        told = "gradient norms after the first and the last epoch, seed 1:"
        print(name, accuracies, told, *norms, sep="\n  ", flush=True)
        if s.numbers:
            heads = ("four hidden layers", f"test accuracy (%), seeds {seeds.replace(' ', ', ')}")
            add_row(s.numbers, heads, (name, accuracies), command)


if __name__ == "__main__":
    main()
