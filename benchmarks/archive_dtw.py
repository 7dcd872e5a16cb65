"""Sets of the UCR and UEA archives without a setting, beside 1-NN with dynamic time warping, their usual yardstick.

    pip install aeon
    python benchmarks/archive_dtw.py --aeon aeon-1.6.0-py3-none-any.whl --write docs/numbers/archive_dtw.json

aeon computes the warping, with a window as long as the curves (of the UCR sets: Dau et al. 2019, arXiv 1810.07758), all
channels warped together (of the UEA sets: Ruiz et al. 2021, doi 10.1007/s10618-020-00727-3). The accuracies of networks
are those of `defaults.py`, of all its seeds. What is in benchmarks/results/archive_dtw.json is not computed again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from pathlib import Path

import numpy as np
from defaults import ROWS
from result_file import add_row

from genn_eventprop.atomic import write_text

SETS = (
    "ACSF1", "ArrowHead", "BasicMotions", "GunPoint", "ItalyPowerDemand", "JapaneseVowels", "OSULeaf",
    "PickupGestureWiimoteZ",
)  # fmt: skip


def main() -> None:
    """A row for every set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aeon", type=Path, default=Path("aeon.whl"), help="the wheel of aeon, which has the data")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GENN_EVENTPROP_DATA", "../shared/data")))
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    from aeon.classification.distance_based import KNeighborsTimeSeriesClassifier  # --help works without it

    out = Path(__file__).parent / "results" / "archive_dtw.json"
    warped = json.loads(out.read_text()) if out.exists() else {}
    numbers = json.loads((Path(__file__).parents[1] / "docs/numbers/defaults.json").read_text())["rows"]
    runs = {row["cells"][0].split()[0]: row["runs"].values() for row in numbers}
    for name in SETS:
        train, test = ROWS[name].load(asked.data, asked.aeon)
        if name not in warped:
            x, x_test = (np.asarray(data.values, np.float64).swapaxes(1, 2) for data in (train, test))
            found = KNeighborsTimeSeriesClassifier(distance="dtw").fit(x, train.labels).predict(x_test)
            warped[name] = 100 * float(np.mean(found == test.labels))
            out.parent.mkdir(exist_ok=True)
            write_text(out, json.dumps(warped, indent=1))
        ours = [100 * accuracy for accuracy in runs[name]]
        cells = (
            name, f"{len(train)}, {len(test)}", f"{statistics.mean(ours):.1f} +- {statistics.stdev(ours):.1f}",
            f"{warped[name]:.1f}",
        )  # fmt: skip
        print(" | ".join(cells), flush=True)
        if asked.write:
            columns = ("data", "samples: training, test", "genn_eventprop", "1-NN DTW")
            add_row(asked.write, columns, cells, "python benchmarks/archive_dtw.py --aeon WHEEL")


if __name__ == "__main__":
    main()
