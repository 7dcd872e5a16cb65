"""Random integer networks: the C file against NumPy, and NumPy against xylosim, bit for bit.

    python benchmarks/integer_networks.py --networks 1000                      # every profile, C against NumPy
    python benchmarks/integer_networks.py --networks 1000 --xylosim            # needs pip install xylosim==0.1.3

Spikes, V and I of every step, readouts, classes and how often states were cut must be equal. Exit status 1 where they
are not.
"""

from __future__ import annotations

import sys
import tempfile
from importlib import import_module
from pathlib import Path

import tyro

from genn_eventprop.integer import PROFILES, simulate
from genn_eventprop.integer.compiled import CompiledNetwork

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from support.integer_networks import differences, draw, draw_for_xylo, run_xylosim  # noqa: E402

NUMBERS = 25
"""Networks of one structure, which is compiled once."""


def main(
    networks: int = 100, first: int = 0, profiles: tuple[str, ...] = tuple(PROFILES), xylosim: bool = False
) -> int:
    """Compare.

    Args:
        networks: How many random networks of every profile.
        first: Number of the first one.
        profiles: Which ones.
        xylosim: Compare with xylosim instead of with the C file.
    """
    wrong = 0
    for profile in ("xylo",) if xylosim else profiles:
        spikes, cut, compiled = 0, 0, None
        for k in range(first, first + networks):
            network, counts = draw_for_xylo(k) if xylosim else draw(profile, k // NUMBERS, k % NUMBERS)
            ours = simulate(network, counts, record=True)
            if xylosim:
                other = run_xylosim(import_module("xylosim.v2"), network, counts)
                unequal = [d for d in differences(ours, other) if d != "limited"]  # which xylosim does not count
            else:
                compiled = CompiledNetwork(network) if compiled is None or k % NUMBERS == 0 else compiled
                compiled.load(network)
                unequal = differences(ours, compiled.run(counts, record=True))
            spikes += sum(int(s.sum()) for s in ours.spikes.values())
            cut += int(ours.limited.sum() > 0)
            if unequal:
                wrong += 1
                print(f"{profile} {k}: {', '.join(unequal)}")
        against = "xylosim" if xylosim else "C"
        print(
            f"{profile}: {networks} networks, NumPy against {against}; so far {wrong} wrong; {spikes:,} spikes, "
            f"{cut} networks with cut states",
            flush=True,
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        import os

        os.environ.setdefault("GENN_EVENTPROP_CACHE", folder)  # libraries that nobody needs again
        sys.exit(tyro.cli(main))
