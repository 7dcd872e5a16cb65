"""Cost of exact spike times of neurons without a closed form: processor time of a neuron and ms, both passes.

    python benchmarks/exact_neurons.py [--models QIF,AdEx,Izhikevich] [--tolerance 1e-8] [--neurons 256] [--rate 1.0]
                                       [--duration 100] [--learned] [--grid 0.1,0.01,0.001] [--reference] [--heyoka]
                                       [--grow neurons=16,64,256] [--dtype float32] [--repeats 5]

A layer of neurons with 50 inputs, `--rate` arrivals a ms that all neurons receive, and two LI outputs whose integral is
read; all weights are learned, with `--learned` all parameters of the neurons too. One thread, the smallest of some
repeats, since other programs may use the machine. Also: the largest error of a spike time against a tolerance of 1e-14.
`--grid`: the same network on grids of these steps in ms, with the median and the largest error of their spike times, as
far as every neuron has as many spikes as in exact time.
`--grow`: one row for each value of tolerance, neurons, rate or duration, the other settings as they are; again for more
of these. `--dtype float32`: of native.
`--reference`: `reference_event` on the same network with 8 neurons. `--heyoka`: one AdEx neuron, forwards alone, with
the same arrivals and tolerance (needs heyoka from PyPI).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import Any

import numpy as np

from genn_eventprop import Dense, Network, Normal, engines, losses
from genn_eventprop.data import Events
from genn_eventprop.engines import Engine
from genn_eventprop.models import LI, LIF, QIF, AdEx, Izhikevich
from genn_eventprop.plan import make_plan

# model, mean weight at one arrival a ms: some spikes a neuron in 100 ms
MODELS = {"QIF": (QIF, 0.15), "AdEx": (AdEx, 180.0), "Izhikevich": (Izhikevich, 2.0), "LIF": (LIF, 0.25)}

GROWING = {"tolerance": float, "neurons": int, "rate": float, "duration": float}


def make(
    name: str, options: argparse.Namespace, engine: str, neurons: int, dt: float = 0.0, **more: Any
) -> tuple[Engine, Any]:
    """An engine, and its data: one sample; dt: of a grid, 0 for exact spike times."""
    model, weight = MODELS[name]
    learned = {n: replace(p, trainable=True) for n, p in model.params.items()} if options.learned else {}
    net = Network()
    source, hidden = net.input(50), net.population(model(**learned), neurons, "hidden")
    output = net.population(LI(), 2, "output")
    net.connect(source, hidden, Dense(Normal(weight / options.rate, 0.3 * weight / options.rate)))
    net.connect(hidden, output, Dense(Normal(0.0, 0.1)))
    loss = losses.IntegratedVoltageCrossEntropy(output)
    kind = "grid" if dt else "exact"
    plan = make_plan(net, loss, dt=dt or 1.0, duration=options.duration, spike_times=kind)
    settings = {"dtype": "float64", **more}
    made = engines.create(plan, net.initial_parameters(1), engine=engine, **settings)
    rng, count = np.random.default_rng(2), round(options.rate * options.duration)
    times = np.sort(rng.uniform(0, options.duration, count))
    events = Events.from_samples([(times, rng.integers(0, 50, count))], n_channels=50, labels=[0])
    return made, made.load(events)


def cost(engine: Engine, data: Any, per: float, repeats: int) -> tuple[float, float, Any]:
    """us for each of `per` units, forwards alone and both ways, and the result."""
    both, best = [], []
    for training in (False, True):
        engine.run(data, np.arange(1), training=training)
        for _ in range(repeats):
            start = time.process_time()
            result = engine.run(data, np.arange(1), training=training, record_spikes=True)
            best.append(time.process_time() - start)
        both.append(min(best) * 1e6 / per)
        best = []
    return both[0], both[1], result


def errors(found: Any, exact: Any) -> str:
    """Of spike times, neuron by neuron: median and largest, and how many neurons have other numbers of spikes."""
    late, other = [np.zeros(0)], 0
    for neuron in np.unique(exact.neuron):
        mine, true = (np.sort(s.time[s.neuron == neuron]) for s in (found, exact))
        if len(mine) == len(true):
            late.append(np.abs(mine - true))
        else:
            other += 1
    every = np.concatenate(late)
    if not len(every):
        return "other numbers of spikes in every neuron"
    return f"median {np.median(every):.1e}, largest {every.max():.1e}; {other} neurons with other numbers of spikes"


def heyoka(options: argparse.Namespace) -> float:
    """us a ms of one AdEx neuron in heyoka, forwards, restarted at every arrival, without detection of spikes."""
    import heyoka as hy

    V, w, I = hy.make_vars("V", "w", "I")
    p = {n: float(v.value) for n, v in AdEx.params.items()}
    rise = p["delta_t"] * hy.exp((V - p["v_thresh"]) / p["delta_t"])
    equations = [
        (V, (p["g_leak"] * (p["e_leak"] - V + rise) - w + I) / p["c_mem"]),
        (w, (p["a"] * (V - p["e_leak"]) - w) / p["tau_w"]),
        (I, -I / p["tau_syn"]),
    ]
    integrator = hy.taylor_adaptive(equations, [p["e_leak"], 0.0, 0.0], tol=options.tolerance)
    rng = np.random.default_rng(2)
    times = np.sort(rng.uniform(0, options.duration, round(options.rate * options.duration)))
    best = np.inf
    for _ in range(options.repeats):
        integrator.time, integrator.state[:] = 0.0, [p["e_leak"], 0.0, 0.0]
        start = time.process_time()
        for t in times:
            integrator.propagate_until(t)
            integrator.state[2] += 60.0 / options.rate
        best = min(best, time.process_time() - start)
    return best * 1e6 / options.duration


def rows(options: argparse.Namespace) -> None:
    """A row for each model with exact spike times, and what else is asked for."""
    for name in filter(None, options.models.split(",")):
        per = options.neurons * options.duration
        more = {"threads": 1, "tolerance": options.tolerance, "dtype": options.dtype}
        forwards, both, result = cost(*make(name, options, "native", options.neurons, **more), per, options.repeats)
        exact, data = make(name, options, "native", options.neurons, threads=1, tolerance=1e-14)
        exact_spikes = exact.run(data, np.arange(1), record_spikes=True).spikes["hidden"]
        truth = exact_spikes.time
        mine = result.spikes["hidden"].time
        error = f"{np.abs(mine - truth).max(initial=0):.1e}" if len(mine) == len(truth) else "other spikes"
        print(
            f"{name:12} native        {forwards:8.3f} {both:8.3f} {len(mine) / options.neurons:8.1f}  {error}",
            flush=True,
        )
        for dt in map(float, filter(None, options.grid.split(","))):
            made = make(name, options, "native", options.neurons, dt, threads=1)
            forwards, both, result = cost(*made, per, options.repeats)
            said = errors(result.spikes["hidden"], exact_spikes)
            count = len(result.spikes["hidden"].time) / options.neurons
            print(f"{name:12} grid {dt:<9g}{forwards:8.3f} {both:8.3f} {count:8.1f}  {said}", flush=True)
        if options.reference:
            forwards, both, result = cost(*make(name, options, "reference_event", 8), 8 * options.duration, 1)
            count = len(result.spikes["hidden"].time) / 8
            print(f"{name:12} reference     {forwards:8.1f} {both:8.1f} {count:8.1f}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="QIF,AdEx,Izhikevich")
    parser.add_argument("--tolerance", type=float, default=1e-8)
    parser.add_argument("--neurons", type=int, default=256)
    parser.add_argument("--rate", type=float, default=1.0)
    parser.add_argument("--duration", type=float, default=100.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--learned", action="store_true")
    parser.add_argument("--grid", default="")
    parser.add_argument("--reference", action="store_true")
    parser.add_argument("--heyoka", action="store_true")
    parser.add_argument("--grow", action="append", default=[])
    parser.add_argument("--dtype", default="float64")
    options = parser.parse_args()
    print("us a neuron and ms         forwards  with backwards  spikes a neuron  largest error of a time (ms)")
    for setting, _, values in (asked.partition("=") for asked in options.grow):
        if setting not in GROWING:
            parser.error(f"--grow {setting}: it is one of {', '.join(GROWING)}, as in --grow neurons=16,64")
        for value in values.split(","):
            print(f"{setting} {value}")
            rows(argparse.Namespace(**{**vars(options), setting: GROWING[setting](value)}))
    if not options.grow:
        rows(options)
    if options.heyoka:
        print(f"AdEx         heyoka        {heyoka(options):8.3f} (one neuron, no spikes)")


if __name__ == "__main__":
    main()
