"""Time of a training step at the shape of the Spiking Heidelberg Digits: 700 - 256 recurrent LIF - 20 LI.

    python benchmarks/shd_shape.py                  # one line per engine and thread count
    python benchmarks/shd_shape.py --threads 1 2 4 --repeats 20
    python benchmarks/shd_shape.py --variants       # what other neurons, loss weights and learned parameters cost

`--variants` trains the LIF network and its variants in turn on one thread of native and prints the least processor time
of each and its ratio to the LIF network, which holds on a busy machine too.

1000 steps of 1 ms, 8000 input spikes a sample, batches of 32, weights such that a hidden neuron fires about 25 times.
A step is forward, backward, the reduction of the gradients and Adam; learned parameters of neurons change before every
step. Every line comes from a process of its own, which also tells its peak memory.

The floor is what the rows of weights alone cost, measured in the same run with compiled code on one core: forwards a
row is read for every spike that arrives, backwards one for every spike that was sent (its feedback), and for every
arrival one row of the gradient is read, changed and written:

    rows of 256: (inputs + 2 hidden) reads + (inputs + hidden) updates;  rows of the outputs: 2 hidden reads + 1 update

with `inputs` and `hidden` the numbers of spikes per sample. Nothing that touches rows spike by spike can be faster; an
engine that sums gradients per source and not per spike can be.
"""

from __future__ import annotations

import ctypes
import importlib.util
import math
import multiprocessing
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from shd_peers import PEERS

from genn_eventprop import Dense, Events, Gamma, Network, Normal, Param, losses
from genn_eventprop.engines import Engine, availability, create
from genn_eventprop.engines.native.engine import aligned, available_processors
from genn_eventprop.modelling.neuron import Neuron
from genn_eventprop.models import ZOO
from genn_eventprop.models.li import LI
from genn_eventprop.optimisers import Adam
from genn_eventprop.plan import Plan, make_plan
from genn_eventprop.toolchain import build

ROWS = """
#include <cstdint>
#include <cstring>
typedef float vec __attribute__((vector_size(64)));
static inline vec load(const float* p) { vec v; std::memcpy(&v, p, sizeof v); return v; }
template <int V> static void read(const float* base, const int32_t* index, int64_t n, float* out) {
    vec s[V];
    std::memset(s, 0, sizeof s);
    for (int64_t r = 0; r < n; ++r) {
        const float* row = base + int64_t(index[r]) * V * 16;
        for (int i = 0; i < V; ++i) s[i] += load(row + i * 16);
    }
    std::memcpy(out, s, sizeof s);
}
template <int V> static void update(float* base, const int32_t* index, int64_t n, const float* x) {
    vec s[V];
    std::memcpy(s, x, sizeof s);
    for (int64_t r = 0; r < n; ++r) {
        float* row = base + int64_t(index[r]) * V * 16;
        for (int i = 0; i < V; ++i) {
            const vec v = load(row + i * 16) + s[i];
            std::memcpy(row + i * 16, &v, sizeof v);
        }
    }
}
extern "C" void read_wide(float* b, const int32_t* i, int64_t n, float* x) { read<16>(b, i, n, x); }
extern "C" void read_narrow(float* b, const int32_t* i, int64_t n, float* x) { read<2>(b, i, n, x); }
extern "C" void update_wide(float* b, const int32_t* i, int64_t n, float* x) { update<16>(b, i, n, x); }
extern "C" void update_narrow(float* b, const int32_t* i, int64_t n, float* x) { update<2>(b, i, n, x); }
"""


@dataclass(frozen=True)
class Settings:
    """Shape and length of the measurement; the defaults are the published shape.

    Args:
        engines: Engines to time; all fast ones that run here if empty.
        threads: Thread counts; 1 and every processor if empty.
        spike_times: "grid" or, for native, "exact".
        mean, spread: Of the input weights; the defaults give about 25 spikes per hidden neuron.
        repeats: Timed training steps; the median is printed.
        neuron: Hidden neurons, a model of the zoo; the weights from input and hidden neurons are multiplied by `scale`.
        values: Parameters of theirs.
        weight: Of the loss in time.
        learn, learn_output: Learned parameters of the hidden and the output neurons.
        heterogeneous: Draw time constants for every hidden neuron.
        variants: See above.
    """

    engines: tuple[str, ...] = ()
    threads: tuple[int, ...] = ()
    inputs: int = 700
    hidden: int = 256
    outputs: int = 20
    steps: int = 1000
    input_spikes: int = 8000
    batch: int = 32
    spike_times: str = "grid"
    mean: float = 0.03
    spread: float = 0.015
    repeats: int = 10
    seed: int = 1
    neuron: str = "LIF"
    values: tuple[tuple[str, float], ...] = ()
    scale: float = 1.0
    weight: str = "exponential"
    learn: tuple[str, ...] = ()
    learn_output: tuple[str, ...] = ()
    heterogeneous: bool = False
    variants: bool = False


VARIANTS: dict[str, dict[str, Any]] = {
    "LIF": {},
    "weight constant": {"weight": "constant"},
    "weight linear": {"weight": "linear"},
    "weight sigmoid": {"weight": "sigmoid"},
    "weight from the input": {"weight": "input"},
    "heterogeneous tau_mem, tau_syn": {"heterogeneous": True},
    "v_thresh learned": {"learn": ("v_thresh",)},
    "v_reset learned": {"learn": ("v_reset",)},
    "tau_mem, tau_syn learned": {"learn": ("tau_mem", "tau_syn")},
    "all four time constants learned": {"learn": ("tau_mem", "tau_syn"), "learn_output": ("tau_mem", "tau_syn")},
    "AdEx": {"neuron": "AdEx", "scale": 750.0, "values": (("v_peak", -45.0),)},  # no steps of 1 ms beyond that
    "QIF": {"neuron": "QIF", "scale": 1.5},
    "Izhikevich": {"neuron": "Izhikevich", "scale": 12.0},
}
"""What `--variants` compares: name -> changed settings. Scales bring the neurons near the LIF's number of spikes."""


@dataclass(frozen=True)
class Timing:
    """Times in ms per sample, memory in MB, spikes per sample."""

    total: float
    forward: float
    update: float
    build_seconds: float
    peak: float
    hidden_spikes: float


def network(s: Settings) -> Plan:
    """The plan of the shape: hidden recurrence, an exponentially weighted integral of the outputs."""
    net = Network()
    inp = net.input(s.inputs)
    hidden = net.population(neuron(s), s.hidden, name="hidden")
    learned = {n: Param(LI.params[n].value, LI.params[n].unit, trainable=True) for n in s.learn_output}
    output = net.population(LI(**learned), s.outputs, name="output")
    net.connect(inp, hidden, Dense(Normal(s.scale * s.mean, s.scale * s.spread)))
    net.connect(hidden, hidden, Dense(Normal(0.0, s.scale * 0.02)))
    net.connect(hidden, output, Dense(Normal(0.0, 0.03)))
    loss = losses.IntegratedVoltageCrossEntropy(output, s.weight)
    return make_plan(net, loss, dt=1.0, duration=float(s.steps), spike_times=s.spike_times)


def neuron(s: Settings) -> Neuron:
    """The hidden neurons."""
    model = ZOO[s.neuron]
    values: dict[str, Any] = {}
    for name, param in model.params.items():
        spread = s.heterogeneous and name.startswith("tau")
        value: Any = Gamma(param.value, 3.0, 3.0, 3 * param.value) if spread else dict(s.values).get(name, param.value)
        values[name] = Param(value, param.unit, trainable=name in s.learn)
    return model(**values)


def random_events(s: Settings) -> Events:
    """One batch of uniform random spikes."""
    rng = np.random.default_rng(s.seed)
    samples = [
        (np.sort(rng.uniform(0, s.steps - 1, s.input_spikes)), rng.integers(0, s.inputs, s.input_spikes))
        for _ in range(s.batch)
    ]
    return Events.from_samples(samples, n_channels=s.inputs, labels=rng.integers(0, s.outputs, s.batch))


def nudge(engine: Engine, turn: int) -> None:
    """Move learned parameters of neurons by their last bit, up and down in turn, as an optimiser would move them.

    What a change of them costs is in the time of the next training step then, and spikes stay as they are.
    """
    weights = {c.weight for c in engine.plan.connections}
    for name in set(engine.plan.trainable) - weights:
        values = engine.parameters[name]
        values[...] = np.nextafter(values, values.dtype.type(np.inf if turn % 2 else -np.inf))


def measure(engine_name: str, threads: int, s: Settings) -> Timing:
    """Build an engine and time its training steps; runs in a process of its own."""
    plan, events = network(s), random_events(s)
    start = time.perf_counter()
    engine = create(plan, plan.network.initial_parameters(s.seed), engine=engine_name, threads=threads)
    built = time.perf_counter() - start
    data, samples, optimiser = engine.load(events), np.arange(s.batch), Adam(0.0)  # a rate of 0 keeps the spikes
    clock: dict[str, list[float]] = {"total": [], "forward": [], "update": []}
    for turn in range(s.repeats + 1):  # the first is warm-up
        begin = time.perf_counter()
        engine.run(data, samples)
        middle = time.perf_counter()
        nudge(engine, turn)
        result = engine.run(data, samples, training=True)
        trained = time.perf_counter()
        engine.update(optimiser)
        end = time.perf_counter()
        for name, seconds in (("forward", middle - begin), ("total", end - middle), ("update", end - trained)):
            clock[name].append(seconds)
    ms = {name: float(np.median(seconds[1:])) * 1e3 / s.batch for name, seconds in clock.items()}
    spikes = float(result.spike_counts["hidden"].sum()) / s.batch
    return Timing(ms["total"], ms["forward"], ms["update"], built, peak_memory(), spikes)


def variants(s: Settings) -> list[str]:
    """A line for each of `VARIANTS`: all are built, then take turns, so that all meet the same machine."""
    runs = []
    for change in VARIANTS.values():
        plan = network(replace(s, **change))
        engine = create(plan, plan.network.initial_parameters(s.seed), engine="native", threads=1)
        runs.append((engine, engine.load(random_events(s))))
    least, spikes = [math.inf] * len(runs), [0.0] * len(runs)
    for turn in range(s.repeats + 1):
        for i, (engine, data) in enumerate(runs):
            begin = time.process_time()
            nudge(engine, turn)
            result = engine.run(data, np.arange(s.batch), training=True)
            least[i] = min(least[i], time.process_time() - begin)
            spikes[i] = float(result.spike_counts["hidden"].mean())
    return [
        f"{name}: {t * 1e3 / s.batch:.3f} ms/sample, {t / least[0]:.2f} x LIF ({n:.1f} spikes per hidden neuron, "
        f"trajectory {engine.trajectory:.2f} MiB a thread)"
        for name, t, n, (engine, _) in zip(VARIANTS, least, spikes, runs)
    ]


def peak_memory() -> float:
    """Peak resident memory of this process in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would count the parent's memory at the moment of the fork
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def row_times(s: Settings, rows: int = 400_000) -> dict[str, float]:
    """ns for one row: "read_wide", "update_wide" (256 floats) and "read_narrow", "update_narrow" (32 floats)."""
    library, rng, times = build(ROWS), np.random.default_rng(s.seed), {}
    for width, name in ((256, "wide"), (32, "narrow")):
        base = aligned((s.inputs + s.hidden, width), np.dtype(np.float32))  # rows on cache lines, as in the engine
        index = rng.integers(0, len(base), rows).astype(np.int32)
        x = np.zeros(width, np.float32)
        for kind in ("read", "update"):
            best = min(_seconds(library[f"{kind}_{name}"], base, index, x) for _ in range(5))
            times[f"{kind}_{name}"] = best / rows * 1e9
    return times


def _seconds(function: Any, base: np.ndarray, index: np.ndarray, x: np.ndarray) -> float:
    pointer = lambda a: ctypes.c_void_p(a.ctypes.data)  # noqa: E731
    start = time.perf_counter()
    function(pointer(base), pointer(index), ctypes.c_int64(len(index)), pointer(x))
    return time.perf_counter() - start


def floor(s: Settings, row: dict[str, float], hidden_spikes: float) -> float:
    """ms per sample on one core that the rows alone take; see the module."""
    scale, narrow = s.hidden / 256, s.outputs / 32
    wide = (s.input_spikes + 2 * hidden_spikes) * row["read_wide"]
    wide += (s.input_spikes + hidden_spikes) * row["update_wide"]
    outputs = hidden_spikes * (2 * row["read_narrow"] + row["update_narrow"])
    return (wide * scale + outputs * max(narrow, 1.0)) * 1e-6


def lines(s: Settings) -> list[str]:
    """Measure everything and print as it comes; returns what was printed."""
    out: list[str] = []

    def say(text: str) -> None:
        out.append(text)
        print(text, flush=True)

    row = row_times(s)
    say(
        f"rows of 256 floats: {row['read_wide']:.1f} ns to read, {row['update_wide']:.1f} ns to read, change and "
        f"write; rows of 32: {row['read_narrow']:.1f} and {row['update_narrow']:.1f} ns"
    )
    here = {e.name: e for e in availability()}
    names = s.engines or tuple(n for n, e in here.items() if e.runs and not n.startswith("reference"))
    for name in names:
        for threads in (s.threads or tuple(sorted({1, available_processors()}))) if name == "native" else (1,):
            say(_line(name, threads, s, row))
    for name in (n for n, e in here.items() if not e.runs):
        say(f"{name} absent: {here[name].detail}")
    for peer, (module, _) in PEERS.items():
        if importlib.util.find_spec(module) is None:
            say(f"{peer} absent: the package {module} is not installed")
        else:
            say(_peer_line(peer, s))
    return out


def _line(name: str, threads: int, s: Settings, row: dict[str, float]) -> str:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        t = pool.submit(measure, name, threads, s).result()
    least = floor(s, row, t.hidden_spikes) / threads
    return (
        f"{name} threads={threads} {t.total:.2f} ms/sample peak {t.peak:.0f} MB "
        f"(forward {t.forward:.2f}, optimiser {t.update:.3f}; {t.total / least:.2f} x the floor of {least:.2f} ms; "
        f"spikes per sample: {s.input_spikes} input, {t.hidden_spikes:.0f} hidden = {t.hidden_spikes / s.hidden:.1f} "
        f"a neuron; ready after {t.build_seconds:.1f} s)"
    )


def measure_peer(peer: str, s: Settings) -> tuple[float, str, float]:
    """ms per sample, a remark, peak memory in MB; runs in a process of its own."""
    ms, remark = PEERS[peer][1](s, random_events(s))
    return ms, remark, peak_memory()


def _peer_line(peer: str, s: Settings) -> str:
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            ms, remark, peak = pool.submit(measure_peer, peer, s).result()
    except Exception as error:  # a peer's failure is a line of the report, not the end of it
        return f"{peer} failed: {type(error).__name__}: {error}"
    return f"{peer} {ms:.2f} ms/sample peak {peak:.0f} MB ({remark}, training step)"


def main() -> int:
    settings = tyro.cli(Settings, description=__doc__)
    if settings.variants:
        print("\n".join(variants(settings)))
    else:
        lines(settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
