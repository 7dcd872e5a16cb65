"""How far exact spike times in float32 are from float64 on `native`, over long trials of neurons that spike often.

    python benchmarks/float32_bound.py

Each line: spikes per neuron; the largest |t32 - t64| of a network in ms, and the largest relative error of its
gradients of weights, each as median and largest of all networks; and how many networks have a spike further away than
1e-3 ms, or
another number of them: a small change of theirs grows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tyro

from genn_eventprop import Dense, Network, Normal, engines, losses
from genn_eventprop.data import Events
from genn_eventprop.models import LI, LIF, LIFRefractory
from genn_eventprop.plan import make_plan

MODELS = {"LIF": LIF, "LIFRefractory": LIFRefractory}


@dataclass(frozen=True)
class Settings:
    """duration: ms. seeds: networks of every kind. rate: input spikes a ms. spread: of the recurrent weights."""

    duration: float = 500.0
    seeds: int = 40
    hidden: int = 20
    rate: float = 1.2
    spread: float = 0.3


def network(model: str, recurrent: bool, s: Settings) -> tuple[Network, losses.Loss]:
    net = Network()
    inp = net.input(10)
    hidden, output = net.population(MODELS[model](), s.hidden, "hidden"), net.population(LI(), 3, "output")
    net.connect(inp, hidden, Dense(Normal(0.9, 0.3)))
    if recurrent:
        net.connect(hidden, hidden, Dense(Normal(0.0, s.spread)))
    net.connect(hidden, output, Dense(Normal(0.0, 0.3)))
    return net, losses.IntegratedVoltageCrossEntropy(output, "exponential")


def outcome(net: Network, loss: losses.Loss, events: Events, seed: int, dtype: str, s: Settings) -> tuple:
    plan = make_plan(net, loss, dt=1.0, duration=s.duration, spike_times="exact")
    made = engines.create(plan, net.initial_parameters(seed), engine="native", dtype=dtype, threads=1)
    result = made.run(made.load(events), [0], training=True, record_spikes=True)
    gradients = {k: np.array(v, np.float64) for k, v in made.gradients.items()}
    made.close()
    return result, gradients


def times_of(spikes: engines.Spikes, size: int) -> list[np.ndarray]:
    return [spikes.time[spikes.neuron == k] for k in range(size)]


def compare(model: str, recurrent: bool, seed: int, s: Settings) -> tuple[float, float, float, int]:
    """(spikes per neuron, largest difference in ms, largest relative gradient error, neurons whose counts differ)."""
    rng = np.random.default_rng(seed)
    n = int(s.rate * s.duration)
    events = Events.from_samples(
        [(np.sort(rng.uniform(0, s.duration, n)), rng.integers(0, 10, n))], n_channels=10, labels=[seed % 3]
    )
    net, loss = network(model, recurrent, s)
    (wide, exact), (narrow, near) = (outcome(net, loss, events, seed, d, s) for d in ("float64", "float32"))
    pairs = list(zip(*(times_of(r.spikes["hidden"], s.hidden) for r in (wide, narrow))))
    equal = [(a, b) for a, b in pairs if len(a) == len(b)]
    far = max((np.abs(a - b).max() for a, b in equal if len(a)), default=0.0)
    error = max(np.linalg.norm(near[k] - exact[k]) / np.linalg.norm(exact[k]) for k in exact)
    return float(wide.spike_counts["hidden"].mean()), float(far), float(error), len(pairs) - len(equal)


def main(s: Settings) -> None:
    print(f"{'neurons':28s} {'spikes per neuron':>16s} {'times (ms)':>19s} {'gradients':>19s}  other spikes")
    for model in MODELS:
        for recurrent in (False, True):
            rows = [compare(model, recurrent, seed, s) for seed in range(s.seeds)]
            name = f"{model}, {'recurrent' if recurrent else 'feed-forward'}"
            spikes, far, error, others = (np.array(column) for column in zip(*rows))
            two = [f"{np.median(v):.1e}, {v.max():.1e}" for v in (far, error)]
            lost = np.count_nonzero((others > 0) | (far > 1e-3))
            print(f"{name:28s} {spikes.mean():16.1f} {two[0]:>19s} {two[1]:>19s}  {lost} of {s.seeds} networks")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
