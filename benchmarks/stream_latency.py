"""How long a step of a stream takes: 700 inputs, 256 recurrent LIF neurons, 20 outputs, steps of 1 ms.

    python benchmarks/stream_latency.py            # prints microseconds a step, median and 99th percentile

Input and hidden spikes are those of the shape of spoken digits (about 8 and 7 a step). Time on the clock of one thread.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from genn_eventprop import Dense, Network, Normal
from genn_eventprop.deploy.online import Stream
from genn_eventprop.losses import IntegratedVoltageCrossEntropy
from genn_eventprop.models import LI, LIF
from genn_eventprop.plan import make_plan


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--trials", type=int, default=3)
    trials = options.parse_args().trials
    net = Network()
    source = net.input(700)
    hidden, output = net.population(LIF(), 256, name="hidden"), net.population(LI(), 20, name="output")
    net.connect(source, hidden, Dense(Normal(0.05, 0.05)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.02)), delay=1.0)
    net.connect(hidden, output, Dense(Normal(0.0, 0.03)))
    plan = make_plan(net, IntegratedVoltageCrossEntropy(output), dt=1.0, duration=1000.0)
    stream, rng, seen, spikes = Stream(plan, net.initial_parameters(1)), np.random.default_rng(1), [], 0
    for _ in range(trials):
        stream.reset()
        for step in range(plan.n_steps):
            channels = rng.integers(0, 700, rng.poisson(8))
            times = np.full(len(channels), float(step))
            start = time.perf_counter()
            stream.push((times, channels), step + 1.0)
            seen.append(time.perf_counter() - start)
        spikes += len(stream.now().spikes["hidden"].time)
    micro = 1e6 * np.array(seen)
    print(f"{np.median(micro):.1f} us a step, 99 % within {np.percentile(micro, 99):.1f} us, {len(micro)} steps")
    print(f"{spikes / trials / plan.n_steps:.1f} hidden spikes a step")


if __name__ == "__main__":
    main()
