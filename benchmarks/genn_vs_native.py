"""Time and memory a sample of genn, native and mlGeNN's EventProp compiler on the shape of a spoken-digit network.

    python benchmarks/genn_vs_native.py
    python benchmarks/genn_vs_native.py --engines genn mlgenn --repeats 5
    python benchmarks/genn_vs_native.py --engines native "genn(backend=cuda)" --batch-size 32 --repeats 5

700 inputs, 256 recurrent, 20 outputs, 1000 steps of 1 ms, 8000 input spikes and some 6700 hidden spikes a sample, drawn
at random: the numbers do not depend on what is learned. One line an engine, best of the repeats; every engine runs in
a process of its own, so that its peak memory is its own. Times include the optimiser's step. mlGeNN
(`shd_peers.py`) does not time inference, and draws spikes of its own weights.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import resource
import time
from typing import Any

import numpy as np

from genn_eventprop import Dense, Events, Network, Normal, losses, optimisers
from genn_eventprop.engines import availability, create
from genn_eventprop.models import LI, LIF
from genn_eventprop.plan import Plan, make_plan

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def plan_and_events(samples: int, seed: int) -> tuple[Plan, Events]:
    """The network and `samples` random samples."""
    rng = np.random.default_rng(seed)
    net = Network()
    inp = net.input(700)
    hidden = net.population(LIF(tau_mem=20.0, tau_syn=5.0), 256, name="hidden")
    output = net.population(LI(tau_mem=20.0, tau_syn=5.0), 20, name="output")
    net.connect(inp, hidden, Dense(Normal(0.03, 0.01)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.02)))
    net.connect(hidden, output, Dense(Normal(0.0, 0.03)))
    plan = make_plan(net, losses.IntegratedVoltageCrossEntropy(output, "exponential"), dt=1.0, duration=1000.0)
    spikes = [(np.sort(rng.uniform(0, 999, 8000)), rng.integers(0, 700, 8000)) for _ in range(samples)]
    return plan, Events.from_samples(spikes, n_channels=700, labels=rng.integers(0, 20, samples))


def measure(name: str, arguments: argparse.Namespace, out: Any) -> None:
    """Puts (first batch s, training ms per sample, inference ms per sample, hidden spikes, MB) into `out`."""
    availability()  # imports pygenn, whose size is not the network's
    plan, events = plan_and_events(arguments.batch_size, arguments.seed)
    before, clock = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, CLOCKS[arguments.clock]
    start = clock()
    engine = create(
        plan, plan.network.initial_parameters(arguments.seed), engine=name, dtype=arguments.dtype,
        threads=arguments.threads,
    )  # fmt: skip
    data, samples = engine.load(events), np.arange(arguments.batch_size)
    optimiser = optimisers.Adam(1e-9)
    engine.use(optimiser)
    result = engine.run(data, samples, training=True)
    engine.update(optimiser)
    first = clock() - start
    times = {True: np.inf, False: np.inf}
    for training in (True, False) * arguments.repeats:
        start = clock()
        engine.run(data, samples, training=training)
        if training:
            engine.update(optimiser)
        times[training] = min(times[training], 1e3 * (clock() - start) / len(samples))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    out.put((first, times[True], times[False], result.spike_counts["hidden"].sum(1).mean(), grown))
    engine.close()


def measure_mlgenn(name: str, arguments: argparse.Namespace, out: Any) -> None:
    """The same of mlGeNN; what its modules take is not counted, as for pygenn."""
    import ml_genn.compilers  # noqa: F401
    import shd_peers

    _, events = plan_and_events(arguments.batch_size, arguments.seed)
    shape = argparse.Namespace(
        inputs=700, hidden=256, outputs=20, steps=1000, input_spikes=8000, mean=0.03, spread=0.01,
        batch=arguments.batch_size,
    )  # fmt: skip
    before, clock = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, CLOCKS[arguments.clock]
    start = clock()
    milliseconds = shd_peers.mlgenn(shape, events, repeats=arguments.repeats, clock=clock)[0]
    first = clock() - start - arguments.repeats * milliseconds * len(events) / 1e3
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    out.put((first, milliseconds, np.nan, np.nan, grown))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", default=["native", "genn"])
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: of the process, for a busy machine")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    missing = {a.name: a.detail for a in availability() if not a.runs}
    if importlib.util.find_spec("ml_genn") is None:
        missing["mlgenn"] = "ml_genn is not installed"
    print(f"{'engine':16}{'training':>12}{'inference':>12}{'first batch':>13}{'memory':>10}{'hidden spikes':>15}")
    for name in arguments.engines:
        if name in missing:
            print(f"{name:16}{missing[name]}")
            continue
        context = multiprocessing.get_context("spawn")
        out = context.SimpleQueue()
        function = measure_mlgenn if name == "mlgenn" else measure
        process = context.Process(target=function, args=(name, arguments, out))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"{name} failed, see above")
        first, training, inference, spikes, grown = out.get()
        print(f"{name:16}{training:9.2f} ms{inference:9.2f} ms{first:11.1f} s{grown:7.0f} MB{spikes:15.0f}")


if __name__ == "__main__":
    main()
