"""Connections of a population inferred from its spikes: the table of docs/infer.md.

    python benchmarks/infer.py --out runs/infer
    python benchmarks/infer.py --out runs/infer --quick

50 LIF neurons for 100 s, a tenth of all pairs connected, half of the neurons inhibitory, weights of 0.5 to 1.5, delays
of 1 to 8 ms, constant currents of 1 to 1.1. Rows: noise in the threshold, as the likelihood has it; the same with every
second neuron unseen; white noise in the current. A case that is in OUT is not run again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from result_file import add_row

from genn_eventprop.data import Events
from genn_eventprop.fitting import infer_network
from genn_eventprop.fitting.population import simulate_population
from genn_eventprop.models import LIF

COLUMNS = (
    "population", "neurons seen", "spikes", "correlation of weights", "connections found", "found where there is none",
    "delays off by: median, rms (ms)", "within 0.2 ms: all, those with a deviation below 0.1",
    "errors in deviations: weights, delays", "processor time",
)  # fmt: skip
CASES = {
    "noise in the threshold": (1.0, 1),
    "noise in the threshold, half unseen": (1.0, 2),
    "white noise in the current": (None, 1),
}
NOISE = 0.05


def network(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(weights, delays (n, n), bias (n,)) of a known network."""
    sign = np.where(np.arange(n) % 4 < 2, 1.0, -1.0)[:, None]  # of those that are seen, every second one as well
    weights = sign * rng.uniform(0.5, 1.5, (n, n)) * (rng.random((n, n)) < 0.1)
    np.fill_diagonal(weights, 0.0)
    return weights, rng.uniform(1.0, 8.0, (n, n)), rng.uniform(1.0, 1.1, n)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="10 neurons for 20 s")
    parser.add_argument("--seconds", type=float, default=100.0)
    parser.add_argument("--targets", type=int, help="infer the inputs of the first so many neurons alone")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--numbers", type=Path, help="result file to write the rows to")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    n, duration = (10, 20_000.0) if arguments.quick else (50, 1000 * arguments.seconds)
    weights, delays, bias = network(n, np.random.default_rng(1))
    for case in arguments.cases:
        tau_0, every = CASES[case]
        path = arguments.out / f"{case.replace(' ', '_').replace(',', '')}.npz"
        seen = np.arange(n)[::every]
        if not path.exists():
            file = arguments.out / f"spikes_{tau_0}.npz"
            if not file.exists():
                settings = {"bias": bias, "noise": NOISE, "duration": duration, "seed": 2, "tau_0": tau_0}
                simulate_population(weights, delays, **settings).save(file)
            events = Events.load(file)
            if every > 1:
                times, channels = events.sample(0)
                of = np.isin(channels, seen)
                events = Events.from_samples([(times[of], channels[of] // every)], len(seen))
            targets = None if arguments.targets is None else range(arguments.targets)
            began = time.process_time()
            found = infer_network(events, LIF, duration=duration, targets=targets)
            print(found)
            np.savez(
                path, weights=found.weights, delays=found.delays, weight_deviations=found.weight_deviations,
                delay_deviations=found.delay_deviations, connected=found.connected, timed=found.timed,
                spikes=found.spikes.sum(), seconds=time.process_time() - began, noise=found.noise, bias=found.bias,
            )  # fmt: skip
        row = cells(case, dict(np.load(path)), weights[np.ix_(seen, seen)], delays[np.ix_(seen, seen)], n)
        print(dict(zip(COLUMNS, row)))
        if arguments.numbers:
            some = ""
            if arguments.targets is not None:
                some = f" --seconds {arguments.seconds:g} --targets {arguments.targets}"
                row[0] += f"; {arguments.seconds:g} s, inputs of {arguments.targets}"
            add_row(arguments.numbers, COLUMNS, row, f"python benchmarks/infer.py --cases '{case}'{some}")


def cells(case: str, found: dict[str, np.ndarray], weights: np.ndarray, delays: np.ndarray, n: int) -> list[str]:
    # of neurons with hardly a spike nothing is known, which the result says
    known = np.isfinite(found["weight_deviations"])
    true = (weights != 0) & known
    sure = found["connected"] & true
    late = np.abs(found["delays"] - delays)[sure]
    near = late < 0.2
    z = ((found["weights"] - weights) / found["weight_deviations"])[known]
    z_late = ((found["delays"] - delays) / found["delay_deviations"])[found["timed"] & true]
    return [
        case, f"{len(weights)} of {n}", f"{int(found['spikes'])}",
        f"{np.corrcoef(weights[known], found['weights'][known])[0, 1]:.3f}", f"{sure.sum()} of {true.sum()}",
        f"{(found['connected'] & (weights == 0)).sum()}", f"{np.median(late):.2f}, {np.sqrt((late**2).mean()):.2f}",
        f"{100 * near.mean():.0f} %, {100 * near[found['delay_deviations'][sure] < 0.1].mean():.0f} %",
        f"{z.std():.2f}, {z_late.std():.2f}",
        f"{float(found['seconds']):.0f} s",
    ]  # fmt: skip


if __name__ == "__main__":
    main()
