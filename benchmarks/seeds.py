"""Repeat an experiment over seeds and tabulate the run folders: the command behind every accuracy in the documents.

    python benchmarks/seeds.py yin_yang --seeds 1-10 --out runs/yin_yang_exact
    python benchmarks/seeds.py yin_yang --seeds 1-10 --out runs/yin_yang_grid -- --spike-times grid --dt 0.1

A seed whose run folder holds results.json is not run again. The table goes to OUT/table.md; with ``--numbers FILE --row
NAME`` means and deviations go to a row of a result file (docs/numbers).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from result_file import add_row

from genn_eventprop.runs import RunFolder

COLUMNS = ("final_test_accuracy", "test_accuracy", "best_validation_accuracy")


def seeds_of(text: str) -> list[int]:
    """``"1-3,7"`` as [1, 2, 3, 7]."""
    parts = [part.split("-") for part in text.split(",")]
    return [s for part in parts for s in range(int(part[0]), int(part[-1]) + 1)]


def run(experiment: str, seed: int, folder: Path, options: list[str]) -> dict[str, float]:
    """Results of one seed, run now unless they are there."""
    results = folder / "results.json"
    if not results.exists():
        command = [sys.executable, "-m", "genn_eventprop", "train", experiment, "--seed", str(seed)]
        subprocess.run([*command, "--run-dir", str(folder), *options], check=True, stdout=subprocess.DEVNULL)
    return json.loads(results.read_text())


def table(rows: dict[int, dict[str, float]], title: str) -> str:
    """Markdown: a line a seed, then mean and standard deviation."""
    lines = [
        f"`{title}`",
        "",
        "| seed | last epoch | chosen on validation | best validation | seconds |",
        "|---|---|---|---|---|",
    ]
    for seed, r in rows.items():
        cells = " | ".join(f"{100 * r[c]:.2f}" for c in COLUMNS)
        lines.append(f"| {seed} | {cells} | {r['seconds_training']:.1f} |")
    if len(rows) > 1:
        cells = " | ".join(means(rows))
        lines.append(f"| mean | {cells} | {statistics.mean(r['seconds_training'] for r in rows.values()):.1f} |")
    return "\n".join(lines) + "\n"


def means(rows: dict[int, dict[str, float]]) -> list[str]:
    """Mean and standard deviation of every column, in %."""
    values = [[100 * r[c] for r in rows.values()] for c in COLUMNS]
    return [f"{statistics.mean(v):.2f} +- {statistics.stdev(v):.2f}" for v in values]


def main() -> None:
    """Parse the command line, run what is missing, write the table."""
    arguments, options = sys.argv[1:], []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, options = arguments[:at], arguments[at + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment")
    parser.add_argument("--seeds", default="1-10")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--numbers", type=Path)
    parser.add_argument("--row")
    given = parser.parse_args(arguments)
    rows: dict[int, dict[str, float]] = {}
    for seed in seeds_of(given.seeds):
        rows[seed] = run(given.experiment, seed, given.out / f"seed{seed}", options)
        text = table(rows, " ".join(["genn-eventprop train", given.experiment, *options]))
        (given.out / "table.md").write_text(text)
        print(f"seed {seed}: {100 * rows[seed]['final_test_accuracy']:.2f} %", flush=True)
    print(text)
    if given.numbers:
        columns = ("settings", "arguments after `--`", "seeds", "last epoch (%)", "chosen on validation (%)",
                   "best validation (%)")  # fmt: skip
        cells = [given.row, f"`{' '.join(options)}`" if options else "", given.seeds, *means(rows)]
        command = " ".join(
            [
                "python benchmarks/seeds.py",
                given.experiment,
                "--seeds",
                given.seeds,
                "--out OUT",
                *(["--"] * bool(options)),
                *options,
            ]
        )
        raw = {str(seed): {c: r[c] for c in COLUMNS} for seed, r in rows.items()}
        about = RunFolder(given.out / f"seed{min(rows)}").environment
        add_row(given.numbers, columns, cells, command, about, runs=raw)


if __name__ == "__main__":
    main()
