"""Trained models in integers on a Cortex-M4 in qemu: instructions a step, bytes of flash and RAM, and the same spikes.

    genn-eventprop train latency_mnist --quick --run-dir runs/mnist
    genn-eventprop train spoken_digits --quick --run-dir runs/digits
    python benchmarks/microcontroller.py runs/mnist runs/digits --profile int8

Needs Debian's gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm. Samples are those that the run held out.
qemu executes an instruction a nanosecond and its clock ticks every 40, so instructions are right to 40 a step; a
Cortex-M4 takes between one and two cycles for most of them. Exit status 1 if a spike differs from that of NumPy.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import tyro

import genn_eventprop
from genn_eventprop.data.inputs import load_data
from genn_eventprop.deploy.integer import IntegerModel
from genn_eventprop.integer import simulate
from genn_eventprop.training.integers import step_counts

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from support.microcontroller import available, expected_sums, run_on_cortex_m4  # noqa: E402


def main(runs: tyro.conf.Positional[tuple[Path, ...]], profile: str = "int8", samples: int = 4) -> int:
    """Measure.

    Args:
        runs: Run folders.
        profile: Of the integers.
        samples: How many of those that a run held out.
    """
    if not available():
        raise SystemExit("install gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm")
    wrong = 0
    print(f"{'run':16} {'neurons':>8} {'weights':>9} {'steps':>6} {'instructions':>12} {'flash':>9} {'RAM':>8}  spikes")
    for run in runs:
        integers = IntegerModel(genn_eventprop.load(run), profile)
        plan, network = integers.model.plan, integers.network
        data = integers.model.engine.load(load_data(run / "samples.npz")[:samples])
        counts = step_counts(data, np.arange(samples), plan)
        expected = simulate(network, counts)
        with tempfile.TemporaryDirectory() as folder:
            measured = run_on_cortex_m4(network, counts, Path(folder))
        same = np.array_equal(measured.sums, expected_sums(network, expected.spikes))
        same &= np.array_equal(measured.classes, expected.classes)
        wrong += not same
        weights = sum(c.weight.size for c in network.connections)
        print(
            f"{run.name:16} {network.first_neuron[-1]:8} {weights:9,} {plan.n_steps:6} {measured.instructions:12,.0f} "
            f"{measured.flash:9,} {measured.ram:8,}  {'equal' if same else 'DIFFERENT'}"
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
