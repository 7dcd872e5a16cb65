"""docs/gradients.md: every gradient of every neuron under every loss against differences of event-exact forward runs.

    python benchmarks/gradient_matrix.py                     # all, to docs/gradients.md
    python benchmarks/gradient_matrix.py --only LIF --losses per_step max

Exit status 1 if a gradient is wrong; the file is written in any case, and says how far it got.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))  # of the networks
from support import gradient_matrix as matrix  # noqa: E402

HEAD = """\
# Gradients compared with finite differences

Written by `python benchmarks/gradient_matrix.py`: small random networks (3 neurons a layer, 2 samples; one hidden layer
or two, recurrent or not, or with connections past a layer; every parameter learned) on `reference_event`. A number is
the largest error of a kind of gradient against central differences (Richardson) of event-exact forward runs in float64,
relative to the norm of its block or to its largest element. Neurons are those of [the zoo](zoo.md), `LIFBias` (a bias
current, learned initial states) and `LIFTwoSynapses`.

Surrogates are not compared: a count of spikes as a loss, regularisers of spikes, the push on a silent output.
"""


@dataclass(frozen=True)
class Settings:
    """What to run."""

    out: Path = Path(__file__).resolve().parent.parent / "docs" / "gradients.md"
    """Where the tables go."""
    only: tuple[str, ...] = ()
    """Neuron models by name; all if none are given."""
    losses: tuple[str, ...] = ()
    """Losses by name; all if none are given."""
    seed: int = 0
    """Of networks, parameters and input."""
    processes: int = 1
    """Networks that are checked at the same time."""


def main(s: Settings) -> int:
    rows = [c for c in matrix.table() if (not s.only or c.model.name in s.only)]
    rows = [c for c in rows if not s.losses or c.loss in s.losses]
    for done, (line, text, worst, failures) in enumerate(matrix.markdown(rows, s.seed, s.processes), 1):
        print(line, flush=True)
        verdict = f"{done} of {len(rows)} networks, largest error {worst:.1e}, {len(failures)} wrong.\n"
        s.out.write_text("\n".join([HEAD, verdict, *(f"* WRONG: {f}" for f in failures), text]))
    print(verdict + f"written: {s.out}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Settings, description=__doc__)))
