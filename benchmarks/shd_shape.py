"""Time of a training step at the shape of the Spiking Heidelberg Digits: 700 - 256 recurrent LIF - 20 LI.

    python benchmarks/shd_shape.py                  # one line per engine and thread count
    python benchmarks/shd_shape.py --threads 1 2 4 --repeats 20
    python benchmarks/shd_shape.py --variants       # what other neurons, loss weights and learned parameters cost

`--variants` trains the LIF network and its variants in turn on one thread of native and prints the least processor time
of each and its ratio to the LIF network, which holds on a busy machine too.

1000 steps of 1 ms, 8000 input spikes a sample, batches of 32, weights such that a hidden neuron fires about 25 times.
A step is forward, backward, the reduction of the gradients and Adam; learned parameters of neurons change before every
step. Every line comes from a process of its own, which also tells its peak memory.

The floor is what the rows alone cost, measured in the same run on one core with the best loop known (`LOOPS`; which
one that is differs from processor to processor, and is printed). Forwards a row of weights is added for every spike
that arrives; backwards one is multiplied for every spike that was sent (its feedback), and for every arrival an adjoint
row is added to the gradient of its source:

    hidden layer: (inputs + hidden) (add + gather) + hidden dot;  outputs: hidden (add + dot + gather)

with `inputs` and `hidden` the numbers of spikes per sample. With --weight-rows float16 rows of weights are half as
long. The processor time of a training step is told beside its time, the least of all
steps: on a busy machine it says more.
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
from genn_eventprop.codegen.cpp import half, padded
from genn_eventprop.codegen.cpp.context import read
from genn_eventprop.engines import Engine, availability, create
from genn_eventprop.engines.native.engine import aligned, available_processors
from genn_eventprop.modelling.neuron import Neuron
from genn_eventprop.models import LI, ZOO
from genn_eventprop.optimisers import Adam
from genn_eventprop.plan import Plan, make_plan
from genn_eventprop.toolchain import build

LOOPS = {
    "add": ("one row after the other, all columns at once", "blocks of columns, two rows at once", "four rows at once"),
    "dot": ("one row", "two rows at once", "four rows at once"),
    "gather": ("whole rows", "blocks of columns"),
}
"""What is done with rows -> loops of `ROWS` that do it, by number. The second ones are those of `native`, whose
feedback takes one row after the other, spike by spike."""

ROWS = """
template <int N, typename Row>
void add_plain(scalar* acc, const Row* base, const int32_t* index, int64_t n) {
    vec s[N / LANES];
    for (int v = 0; v < N / LANES; ++v) s[v] = load(acc + v * LANES);
    for (int64_t r = 0; r < n; ++r)
        for (int v = 0; v < N / LANES; ++v) s[v] += load(base + int64_t(index[r]) * N + v * LANES);
    for (int v = 0; v < N / LANES; ++v) store(acc + v * LANES, s[v]);
}
template <int N, int R, typename Row>
void add_together(scalar* acc, const Row* base, const int32_t* index) {
    const Row* row[R];
    for (int k = 0; k < R; ++k) row[k] = base + int64_t(index[k]) * N;
    for (int v = 0; v < N; v += LANES) {
        vec s = load(acc + v);
        for (int k = 0; k < R; ++k) s += load(row[k] + v);
        store(acc + v, s);
    }
}
template <int N, typename Row>
void add(int loop, scalar* acc, const Row* base, const int32_t* index, int64_t n) {
    if (loop == 0) return add_plain<N>(acc, base, index, n);
    if (loop == 1) return add_rows<N>(acc, base, index, n);
    int64_t r = 0;
    for (; r + 4 <= n; r += 4) add_together<N, 4>(acc, base, index + r);
    for (; r < n; ++r) add_together<N, 1>(acc, base, index + r);
}
template <int N, typename Row>
void dot(int loop, scalar* out, const Row* base, const int32_t* index, int64_t n, const scalar* q) {
    if (loop == 1) return dot_rows<N>(out, base, index, n, q);
    int64_t r = 0;
    if (loop == 2)
        for (; r + 4 <= n; r += 4) dot_some<N, 4>(out + r, base, index + r, q);
    for (; r < n; ++r) dot_some<N, 1>(out + r, base, index + r, q);
}
// Calls of `rows` rows each, as in a step.
template <int N, typename Row>
void steps(bool dots, int loop, const Row* base, const int32_t* index, int64_t calls, int64_t rows, scalar* x,
           scalar* out) {
    for (int64_t c = 0; c < calls; ++c)
        if (dots)
            dot<N>(loop, out, base, index + c * rows, rows, x);
        else
            add<N>(loop, x, base, index + c * rows, rows);
}
template <int N>
void gather(int loop, scalar* grad, scalar* history, const int32_t* source, int64_t n, int64_t sources,
            int64_t n_steps) {
    BySource by;
    by.reset(sources);
    by.count(source, n);
    by.prepare(sources, n);
    for (int64_t i = 0; i < n; ++i) by.put(source[i], int32_t(i * n_steps / n));
    if (loop)
        gather_blocks<N>(grad, history, by, sources, n_steps, true);
    else
        gather_gradient<N>(grad, history, by, sources, true);
}
extern "C" void rows(int wide, int half, int dots, int loop, const void* base, const int32_t* index, int64_t calls,
                     int64_t rows, float* x, float* out) {
    const auto f = static_cast<const float*>(base);
    const auto h = static_cast<const Half*>(base);
    if (wide && half) return steps<WIDE>(dots, loop, h, index, calls, rows, x, out);
    if (wide) return steps<WIDE>(dots, loop, f, index, calls, rows, x, out);
    if (half) return steps<NARROW>(dots, loop, h, index, calls, rows, x, out);
    steps<NARROW>(dots, loop, f, index, calls, rows, x, out);
}
extern "C" void gathers(int wide, int loop, float* grad, float* history, const int32_t* source, int64_t n,
                        int64_t sources, int64_t n_steps) {
    if (wide) return gather<WIDE>(loop, grad, history, source, n, sources, n_steps);
    gather<NARROW>(loop, grad, history, source, n, sources, n_steps);
}
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
        weight_rows: "float32" or, for engines that have it, "float16".
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
    weight_rows: str = "float32"


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
    processor: float
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
    settings = {} if s.weight_rows == "float32" else {"weight_rows": s.weight_rows}
    engine = create(plan, plan.network.initial_parameters(s.seed), engine=engine_name, threads=threads, **settings)
    built = time.perf_counter() - start
    data, samples, optimiser = engine.load(events), np.arange(s.batch), Adam(0.0)  # a rate of 0 keeps the spikes
    clock: dict[str, list[float]] = {"total": [], "forward": [], "update": [], "processor": []}
    for turn in range(s.repeats + 1):  # the first is warm-up
        begin = time.perf_counter()
        engine.run(data, samples)
        middle, used = time.perf_counter(), time.process_time()
        nudge(engine, turn)
        result = engine.run(data, samples, training=True)
        trained = time.perf_counter()
        engine.update(optimiser)
        end = time.perf_counter()
        clock["processor"].append(time.process_time() - used)
        for name, seconds in (("forward", middle - begin), ("total", end - middle), ("update", end - trained)):
            clock[name].append(seconds)
    ms = {name: float(np.median(seconds[1:])) * 1e3 / s.batch for name, seconds in clock.items()}
    ms["processor"] = min(clock["processor"][1:]) * 1e3 / s.batch
    spikes = float(result.spike_counts["hidden"].sum()) / s.batch
    return Timing(ms["total"], ms["processor"], ms["forward"], ms["update"], built, peak_memory(), spikes)


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


def row_times(s: Settings, rounds: int = 9) -> dict[str, tuple[float, int]]:
    """Of "add wide", "dot narrow", ...: ns a row with the best loop, and its number.

    Args:
        rounds: of which the best counts. Wide rows are those of the hidden layer, narrow ones those of the outputs.
    """
    wide, narrow = padded(s.hidden), padded(s.outputs)
    sizes = f"typedef float scalar, real;\nconstexpr int WIDE = {wide}, NARROW = {narrow};\n"
    library = build("\n".join([sizes, *map(read, ("host.hpp", "runtime.hpp")), half(), read("half_rows.hpp"), ROWS]))
    rng, sources, steps, a_step = np.random.default_rng(s.seed), s.inputs + s.hidden, s.steps, 8
    index = rng.integers(0, sources, steps * a_step).astype(np.int32)
    times: dict[str, tuple[float, int]] = {}
    for name, width in (("wide", wide), ("narrow", narrow)):
        halves = s.weight_rows == "float16"
        base = aligned((sources, width), np.dtype(np.uint16 if halves else np.float32))  # rows on cache lines
        gradient, history = (aligned((n, width), np.dtype(np.float32)) for n in (sources, steps))
        x, out = aligned((width,), np.dtype(np.float32)), aligned((width,), np.dtype(np.float32))
        given = (index, ctypes.c_int64(steps), ctypes.c_int64(a_step), x, out)
        where = (gradient, history, index, *map(ctypes.c_int64, (len(index), sources, steps)))
        calls = {
            ("add", i): (library.rows, name == "wide", halves, 0, i, base, *given) for i in range(len(LOOPS["add"]))
        }
        calls |= {
            ("dot", i): (library.rows, name == "wide", halves, 1, i, base, *given) for i in range(len(LOOPS["dot"]))
        }
        calls |= {("gather", i): (library.gathers, name == "wide", i, *where) for i in range(len(LOOPS["gather"]))}
        least = dict.fromkeys(calls, math.inf)
        for _ in range(rounds):  # in turns, so that all meet the same machine
            for key, call in calls.items():
                least[key] = min(least[key], _seconds(*call) / len(index) * 1e9)
        for kind in LOOPS:
            times[f"{kind} {name}"] = min((ns, i) for (k, i), ns in least.items() if k == kind)
    return times


def _seconds(function: Any, *given: Any) -> float:
    """Processor time of a call."""
    passed = [ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else a for a in given]
    start = time.process_time()
    function(*passed)
    return time.process_time() - start


def floor(s: Settings, row: dict[str, tuple[float, int]], hidden_spikes: float) -> float:
    """ms per sample on one core that the rows alone take; see the module."""
    ns = {name: best for name, (best, _) in row.items()}
    total = (s.input_spikes + hidden_spikes) * (ns["add wide"] + ns["gather wide"]) + hidden_spikes * ns["dot wide"]
    return (total + hidden_spikes * (ns["add narrow"] + ns["dot narrow"] + ns["gather narrow"])) * 1e-6


def lines(s: Settings) -> list[str]:
    """Measure everything and print as it comes; returns what was printed."""
    out: list[str] = []

    def say(text: str) -> None:
        out.append(text)
        print(text, flush=True)

    row = row_times(s)
    say(f"rows of {s.hidden} and {s.outputs} {s.weight_rows}, ns a row with the best loop:")
    for name, (ns, i) in row.items():
        say(f"  {name}: {ns:.1f} ({LOOPS[name.split()[0]][i]})")
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


def _line(name: str, threads: int, s: Settings, row: dict[str, tuple[float, int]]) -> str:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        t = pool.submit(measure, name, threads, s).result()
    least = floor(s, row, t.hidden_spikes) / threads
    return (
        f"{name} threads={threads} {t.total:.2f} ms/sample peak {t.peak:.0f} MB "
        f"(processor time {t.processor:.2f}, forward {t.forward:.2f}, optimiser {t.update:.3f}; "
        f"{t.total / least:.2f} x the floor of {least:.2f} ms; spikes per sample: {s.input_spikes} input, "
        f"{t.hidden_spikes:.0f} hidden = {t.hidden_spikes / s.hidden:.1f} "
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
