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

Written by `python benchmarks/gradient_matrix.py`. Every row is a small random network (3 neurons per layer, 2 samples,
all parameters learned and different for every neuron) on `reference_event`. Its gradient is compared, element by
element and in float64, with central differences (Richardson) of event-exact forward runs. A number is the largest
error of a kind of gradient, relative to the norm of its block or to its largest element, whichever is larger. "0"
means that gradient and differences are both zero, or below their rounding. `tests/support/gradient_matrix.py` says
which networks are drawn again; the losses are defined in `genn_eventprop/verify/gradients/draw.py` and explained in
[losses](losses.md).

Models: [the zoo](zoo.md) and two variants as users write them: `LIFBias` (bias current `i_bias`, initial
states `v_init`, `i_init`) and `LIFTwoSynapses` (a fast and a slow synapse). Topologies: one hidden layer, recurrent or
not; two layers; and `skip`, two layers, each of which also gets the spikes of the layer before the previous one.
Nonlinear models, whose event-exact runs take a hundred times longer, are tested in one hidden layer, before LI outputs
if V is read.

Surrogate gradients cannot be checked by differences; a test compares each with its formula:

| gradient | why it is a surrogate | test |
|---|---|---|
| loss `spike_count` | a count is piecewise constant | `test_losses_surrogates.py` |
| push on a silent output | a heuristic; in `first_spike_end` here all correct classes spike | `test_losses_outer.py` |
| input times, driven weight | the weight is held constant, also in the differences | `test_losses_surrogates.py` |
| regularisers of spikes | a count is piecewise constant | `losses/test_regularisers.py` |
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
