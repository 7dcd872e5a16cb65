"""The gradient with `spike_birth` against that of the expected loss under threshold noise.

    python benchmarks/spike_birth.py                         # feed-forward, recurrent, two layers; a line a weight
    python benchmarks/spike_birth.py --kinds recurrent --networks 20 --draws 20000     # for a quiet night
    python benchmarks/spike_birth.py --beside --weights 1.3 4                          # other gradients, too
    python benchmarks/spike_birth.py --deaths --kinds feed-forward                     # spikes about to disappear
    python benchmarks/spike_birth.py --time                                            # of a training step
    python benchmarks/spike_birth.py --figure docs/figures/spike_birth.png             # a spike as it is born

Random networks: 5 inputs that spike once, layers of 12 LIF neurons, 3 LI outputs, the squared error of their integrals.
Truth: thresholds of all neurons are drawn anew after every own spike, with a standard deviation of `sigma`; the mean
loss of many draws is differentiated by central differences with the same draws, along a common factor of all weights
and along random directions (every weight times a normal number). The copies of a network with their thresholds run as
one network on `native` with exact spike times; a neuron carries its next eight thresholds as states.

Compared are three gradients, on a grid of 0.1 ms:

    EventProp    of one trial with mean thresholds
    births       the same with spike_birth=sigma: what training does
    drawn        with spike_birth, the mean over draws of the thresholds: what is left is bias, of resets above all

and with --beside, all of one trial with mean thresholds,

    exact        EventProp with exact spike times; with births: and spike_birth=sigma
    1 ms, 2 ms   EventProp on coarser grids
    SuperSpike   surrogate gradient by automatic differentiation (torch), 1 ms, 1 / (1 + 10 |V - 1|)^2 for the
                 derivative of a spike; the reset is not differentiated
    escape       the same with the density of the threshold's noise, N(0, sigma), for that derivative: the gradient of
                 escape noise with the trial's own spikes (Gygax & Zenke 2025, doi 10.1162/neco_a_01752)

With --deaths, of feed-forward networks, boundary terms of one trial that see spikes about to disappear, too: a spike's
own maximum is where V would have gone without its reset. Every maximum M has the weight of the noise's density at
M - 1, on both sides of the threshold, in place of the hazard on one side:

    mirror       Delta L is the loss with that spike alone added, or taken away
    resets       Delta L is the loss of two runs of the neuron, with that one threshold just below M and just above
    birth half   the births of `resets` alone, with the hazard: `births`, and what resets do to later spikes

Printed over all networks and directions: the relative `noise` of the truth; of each gradient the cosine of the vectors
of directional derivatives, the slope of the estimate against the truth (1: no bias) and the relative error. For `drawn`
also its standard deviation from draw to draw, over the size of the truth.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from genn_eventprop import Dense, Events, Network, NeuronModel, Normal, Param
from genn_eventprop.compile import compile_network, create, make_plan
from genn_eventprop.data.readers import yin_yang
from genn_eventprop.engines import Engine, ReferenceClock
from genn_eventprop.experiment.options import loss_of
from genn_eventprop.losses import IntegratedVoltageCrossEntropy, Loss, SquaredError
from genn_eventprop.modelling.connectivity import Sparse
from genn_eventprop.models import LI, LIF
from genn_eventprop.report.plots.style import BLUE, GREEN, GREY, ORANGE, save, styled
from genn_eventprop.report.plots.style import figure as styled_axes

INPUTS, HIDDEN, OUTPUTS, T = 5, 12, 3, 40.0
STEP = 0.01  # of the differences, relative
NEXT = [f"next_{i}" for i in range(8)]
DRAWN = NeuronModel(
    name="LIFWithDrawnThresholds",
    state={"V": 0.0, "I": 0.0} | {n: f"first_{n}" for n in NEXT},
    params={"tau_mem": Param(20.0, "ms"), "tau_syn": Param(5.0, "ms")} | {f"first_{n}": Param(1.0) for n in NEXT},
    dynamics={"V": "(I - V) / tau_mem", "I": "-I / tau_syn"} | dict.fromkeys(NEXT, "0"),
    threshold=f"V - {NEXT[0]}",
    reset={"V": "0"} | {n: NEXT[(i + 1) % len(NEXT)] for i, n in enumerate(NEXT)},
    input="I",
)
Weights = dict[str, np.ndarray]
Sample = tuple[np.ndarray, np.ndarray]
Slope = Callable[[np.ndarray], np.ndarray]
Kind = Literal["feed-forward", "recurrent", "two layers"]


@dataclass(frozen=True)
class Settings:
    """See the module."""

    kinds: tuple[Kind, ...] = ("feed-forward", "recurrent", "two layers")
    """Structures of networks."""
    weights: tuple[float, ...] = (0.8, 1.3, 2.0, 4.0)
    """Mean input weights, which decide how often neurons spike."""
    networks: int = 4
    """Random networks of each kind and mean weight."""
    directions: int = 4
    """Random directions, besides the common factor."""
    draws: int = 2000
    """Draws of all thresholds."""
    sigma: float = 0.1
    """Noise of the thresholds."""
    copies: int = 200
    """Draws that run together."""
    gradient_runs: int = 3
    """Runs of so many draws, of which gradients are computed."""
    beside: bool = False
    """Compare other gradients, too."""
    deaths: bool = False
    """Compare boundary terms that see spikes about to disappear, of feed-forward networks."""
    time: bool = False
    """Only time training steps of Yin-Yang with published settings, with and without."""
    figure: Path | None = None
    """Only draw the figure of the documentation."""


def random_network(kind: Kind, mean: float, rng: np.random.Generator) -> Weights:
    """Weights by the names of connections."""
    weights = {"in": rng.normal(mean, 0.5, (INPUTS, HIDDEN))}
    if kind == "recurrent":
        weights["back"] = rng.normal(0.0, 0.5, (HIDDEN, HIDDEN))
    if kind == "two layers":
        weights["deep"] = rng.normal(0.6 * mean, 0.5, (HIDDEN, HIDDEN))
    return weights | {"out": rng.normal(0.0, 1.0, (HIDDEN, OUTPUTS))}


def network_of(weights: Weights, copies: int, drawn: bool) -> tuple[Network, Loss]:
    """`copies` of the same network side by side, which share their input."""
    net, model = Network(), DRAWN if drawn else LIF

    def layer(name: str) -> object:
        first = {f"first_{n}": np.ones(HIDDEN * copies) for n in NEXT}
        return net.population(model(**(first if drawn else {})), HIDDEN * copies, name=name)

    def connect(source: object, target: object, name: str, delay: float = 0.0) -> None:
        w = weights[name]
        pairs = np.stack(np.meshgrid(*map(np.arange, w.shape), indexing="ij"), -1).reshape(-1, 2)
        every = np.concatenate([pairs + np.array(w.shape) * d for d in range(copies)])
        kind = Sparse(np.tile(w.ravel(), copies), pairs=every) if copies > 1 else Dense(w)
        net.connect(source, target, kind, delay=delay, name=name)  # type: ignore[arg-type]

    source, last = net.input(INPUTS), layer("hidden")
    net.connect(source, last, Dense(np.tile(weights["in"], (1, copies))), name="in")  # type: ignore[arg-type]
    if "back" in weights:
        connect(last, last, "back", 1.0)
    if "deep" in weights:
        deep = layer("second")
        connect(last, deep, "deep")
        last = deep
    output = net.population(LI(), OUTPUTS * copies, name="output")
    connect(last, output, "out")
    return net, SquaredError(output)


class Draws:
    """A network with all draws of its thresholds, `copies` at a time as one network."""

    def __init__(self, weights: Weights, sample: Sample, target: np.ndarray, settings: Settings, seed: int) -> None:
        self.copies, self.target, self.weights = settings.copies, target, weights
        net, loss = network_of(weights, self.copies, drawn=True)
        # a squared error is a sum over outputs: of many copies it is the sum of their losses
        self.data = Events.from_samples([sample], n_channels=INPUTS, targets=np.tile(target, self.copies)[None])
        first = net.initial_parameters(0)
        plan = make_plan(net, loss, dt=1.0, duration=T, spike_times="exact")
        self.native = create(plan, first, engine="native", dtype="float64", threads=1)
        plan = make_plan(net, loss, dt=0.1, duration=T, spike_birth=settings.sigma)
        self.clock = ReferenceClock(plan, first)
        self.layers = [p.name for p in plan.populations if p.spiking]
        self.clock.threshold_noise = dict.fromkeys(self.layers, "next_0 - 1")
        shape = (-(-settings.draws // self.copies), len(self.layers), len(NEXT), HIDDEN * self.copies)
        self.thresholds = 1 + settings.sigma * np.random.default_rng(seed).standard_normal(shape)
        self.rate = 0.0  # spikes a neuron and trial

    def _set(self, engine: Engine, weights: Weights, run: np.ndarray) -> None:
        for name, w in weights.items():
            tiled = np.tile(w, (1, self.copies)) if name == "in" else np.tile(w.ravel(), self.copies)
            engine.parameters[f"{name}.weight"][:] = tiled
        for layer, drawn in zip(self.layers, run):
            for name, first in zip(NEXT, drawn):
                engine.parameters[f"{layer}.first_{name}"][:] = first

    def losses(self, weights: Weights) -> np.ndarray:
        """One for every draw."""
        losses, spikes, data = [], 0.0, self.native.load(self.data)
        for run in self.thresholds:
            self._set(self.native, weights, run)
            result = self.native.run(data, [0])
            losses.append(0.5 * ((result.readout.reshape(self.copies, OUTPUTS) - self.target) ** 2).sum(1))
            spikes += float(sum(result.spike_counts[layer].sum() for layer in self.layers))
        self.rate = spikes / (len(self.thresholds) * len(self.layers) * HIDDEN * self.copies)
        return np.concatenate(losses)

    def gradients(self, runs: int) -> list[Weights]:
        """With births, one for every draw of the first runs."""
        out, data = [], self.clock.load(self.data)
        for run in self.thresholds[:runs]:
            self._set(self.clock, self.weights, run)
            self.clock.run(data, [0], training=True)
            out += [{n: self._of_copy(n, d) for n in self.weights} for d in range(self.copies)]
        return out

    def _of_copy(self, name: str, d: int) -> np.ndarray:
        gradient, shape = self.clock.gradients[f"{name}.weight"], self.weights[name].shape
        if name == "in":
            return gradient[:, d * HIDDEN : (d + 1) * HIDDEN]
        size = shape[0] * shape[1]
        return gradient[d * size : (d + 1) * size].reshape(shape)


def gradient(
    weights: Weights, sample: Sample, target: np.ndarray, spike_birth: float, dt: float = 0.1, spike_times: str = "grid"
) -> Weights:
    """Of one trial with mean thresholds."""
    net, loss = network_of(weights, 1, drawn=False)
    engine = compile_network(
        net, loss, duration=T, dt=dt, spike_times=spike_times, engine="native", dtype="float64", threads=1,
        spike_birth=spike_birth,
    )  # fmt: skip
    data = engine.load(Events.from_samples([sample], n_channels=INPUTS, targets=target[None]))
    engine.run(data, [0], training=True)
    return {name: engine.gradients[f"{name}.weight"].copy() for name in weights}


def surrogate(weights: Weights, sample: Sample, target: np.ndarray, slope: Slope, dt: float = 1.0) -> Weights:
    """Of one trial by automatic differentiation; slope: a function of V - 1 in place of the derivative of a spike."""
    import torch

    class Spike(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, u: Any) -> Any:
            ctx.save_for_backward(u)
            return (u >= 0).to(u.dtype)

        @staticmethod
        def backward(ctx: Any, by: Any) -> Any:
            return by * torch.from_numpy(slope(ctx.saved_tensors[0].numpy()))

    w = {name: torch.tensor(value, requires_grad=True) for name, value in weights.items()}
    steps, layers = round(T / dt), ["hidden", "second"] if "deep" in weights else ["hidden"]
    a, b = np.exp(-dt / 20.0), np.exp(-dt / 5.0)
    c = (a - b) / 3  # of I in V after a step, tau_syn / (tau_mem - tau_syn) (a - b)
    arrivals = torch.zeros((steps, INPUTS), dtype=torch.float64)
    arrivals[np.round(sample[0] / dt).astype(int), sample[1]] = 1.0
    sizes = dict.fromkeys(layers, HIDDEN) | {"output": OUTPUTS}
    V, I = ({name: torch.zeros(n, dtype=torch.float64) for name, n in sizes.items()} for _ in range(2))  # noqa: E741
    sent = {name: torch.zeros(HIDDEN, dtype=torch.float64) for name in layers}  # at the end of the last step
    late, total = torch.zeros(HIDDEN, dtype=torch.float64), torch.zeros(OUTPUTS, dtype=torch.float64)
    for k in range(steps):
        into = {"hidden": arrivals[k] @ w["in"]}
        if "back" in w:
            into["hidden"] = into["hidden"] + late @ w["back"]
            late = sent["hidden"]  # a delay of one step of 1 ms
        if "deep" in w:
            into["second"] = sent["hidden"] @ w["deep"]
        into["output"] = sent[layers[-1]] @ w["out"]
        for name in sizes:
            current = I[name] + into[name]
            V[name], I[name] = a * V[name] + c * current, b * current
        for name in layers:
            sent[name] = Spike.apply(V[name] - 1.0)
            V[name] = V[name] * (1 - sent[name].detach())
        total = total + V["output"] * (dt / T)
    (0.5 * ((total - torch.from_numpy(target)) ** 2).sum()).backward()
    return {name: value.grad.numpy() for name, value in w.items()}


def others(weights: Weights, sample: Sample, target: np.ndarray, sigma: float) -> dict[str, Weights]:
    """Gradients of one trial, by the names of the module."""

    def superspike(u: np.ndarray) -> np.ndarray:
        return 1 / (1 + 10 * np.abs(u)) ** 2

    def escape(u: np.ndarray) -> np.ndarray:
        return np.exp(-0.5 * (u / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))

    trial = weights, sample, target
    return {
        "exact": gradient(*trial, 0.0, 1.0, "exact"), "exact, births": gradient(*trial, sigma, 1.0, "exact"),
        "1 ms": gradient(*trial, 0.0, 1.0), "2 ms": gradient(*trial, 0.0, 2.0),
        "SuperSpike": surrogate(*trial, superspike), "escape": surrogate(*trial, escape),
    }  # fmt: skip


TIMES = np.linspace(0.0, T, 8001)
SMALL = 1e-9  # how far from a maximum the thresholds of `resets` are


def response(t: np.ndarray) -> np.ndarray:
    """V of a LIF or LI neuron t ms after an arrival of weight 1."""
    u = np.maximum(t, 0.0)
    return (np.exp(-u / 20.0) - np.exp(-u / 5.0)) / 3


def run_neuron(V: np.ndarray, thresholds: dict[int, float]) -> tuple[list[float], list[tuple[int, np.ndarray]]]:
    """Spike times, and of every interval between them its first index and V from there on, as if it did not end.

    V: what the input alone does, at `TIMES`. thresholds: of single intervals, 1 for the others.
    """
    spikes, intervals, first = list[float](), list[tuple[int, np.ndarray]](), 0
    while True:
        intervals.append((first, V))
        theta = thresholds.get(len(spikes), 1.0)
        above = np.flatnonzero(V[first:] >= theta)
        if not len(above):
            return spikes, intervals
        k = first + int(above[0])
        at = float(TIMES[k] - (V[k] - theta) / max(V[k] - V[k - 1], 1e-12) * (TIMES[1] - TIMES[0]))
        spikes.append(at)
        V = np.where(TIMES >= TIMES[k], V - theta * np.exp(-np.maximum(TIMES - at, 0.0) / 20.0), V)
        first = k


def boundary_terms(weights: Weights, sample: Sample, target: np.ndarray, sigma: float) -> dict[str, Weights]:
    """Of a feed-forward network, added to EventProp's gradient with exact spike times; by the names of the module."""
    event_prop = gradient(weights, sample, target, 0.0, 1.0, "exact")
    out = {name: {n: g.copy() for n, g in event_prop.items()} for name in ("mirror", "resets", "birth half")}
    kernels = response(TIMES[:, None] - sample[0][None])[:, np.argsort(sample[1])]  # (time, input)

    def readout(spikes: list[float]) -> float:
        u = T - np.array(spikes)
        return float((20 * (1 - np.exp(-u / 20)) - 5 * (1 - np.exp(-u / 5))).sum()) / (3 * T)

    runs = [run_neuron(kernels @ weights["in"][:, i], {}) for i in range(HIDDEN)]
    total = sum(readout(spikes) * weights["out"][i] for i, (spikes, _) in enumerate(runs))

    for i, (spikes, intervals) in enumerate(runs):
        w, this = weights["in"][:, i], readout(spikes)

        def loss(other: list[float], i: int = i, this: float = this) -> float:
            r = total + (readout(other) - this) * weights["out"][i]
            return 0.5 * float(((r - target) ** 2).sum())

        for number, (first, V) in enumerate(intervals):
            dies = number < len(spikes)
            last = int(np.searchsorted(TIMES, spikes[number])) if dies else len(TIMES)
            inside = np.flatnonzero((V[1:-1] > V[:-2]) & (V[1:-1] >= V[2:])) + 1
            below, beyond = inside[(inside > first) & (inside < last)], inside[inside >= last]
            found = [(int(below[V[below].argmax()]), True)] if len(below) else []
            found += [(int(beyond[0]), False)] if dies and len(beyond) else []
            for m, birth in found:
                u = (V[m] - 1.0) / sigma
                if abs(u) > 4:
                    continue
                density = float(np.exp(-0.5 * u * u) / (sigma * np.sqrt(2 * np.pi)))
                slope = np.array([_slope_of(kernels, w, j, number, m) for j in range(INPUTS)])
                alone = [*spikes, float(TIMES[m])] if birth else [*spikes[:number], *spikes[number + 1 :]]
                change = (loss(alone) - loss(spikes)) * (1 if birth else -1)
                out["mirror"]["in"][:, i] += density * change * slope
                moved = {number: float(V[m]) - SMALL}, {number: float(V[m]) + SMALL}
                with_spike, without = (run_neuron(kernels @ w, each)[0] for each in moved)
                change = loss(with_spike) - loss(without)
                out["resets"]["in"][:, i] += density * change * slope
                if birth:
                    silent = 0.5 * (1 + math.erf(-u / 2**0.5))  # probability of the trial's side
                    out["birth half"]["in"][:, i] += density / silent * change * slope
    return out


def _slope_of(kernels: np.ndarray, w: np.ndarray, j: int, number: int, m: int) -> float:
    """Derivative by weight j of V at `TIMES[m]` in an interval as if it did not end."""
    values = []
    for sign in (1, -1):
        moved = w + sign * 1e-5 * (np.arange(INPUTS) == j)
        intervals = run_neuron(kernels @ moved, {})[1]
        values.append(float(intervals[min(number, len(intervals) - 1)][1][m]))
    return (values[0] - values[1]) / 2e-5


def compare(kind: Kind, mean: float, seed: int, settings: Settings) -> tuple[float, list[str], np.ndarray]:
    """(spikes a neuron; names of estimates; every direction's truth, its error, deviation of drawn, and estimates)."""
    rng = np.random.default_rng(seed)
    weights = random_network(kind, mean, rng)
    sample, target = (np.sort(rng.uniform(0, 20, INPUTS)), np.arange(INPUTS)), rng.normal(0, 0.3, OUTPUTS)
    draws = Draws(weights, sample, target, settings, seed)
    once = {
        "EventProp": gradient(weights, sample, target, 0.0),
        "births": gradient(weights, sample, target, settings.sigma),
    } | (others(weights, sample, target, settings.sigma) if settings.beside else {})
    if settings.deaths and kind == "feed-forward":
        once |= boundary_terms(weights, sample, target, settings.sigma)
    many = draws.gradients(settings.gradient_runs)
    inner = [n for n in weights if n != "out"]  # the loss is smooth in the weights of the outputs
    directions = [{n: weights[n] for n in inner}]
    for _ in range(settings.directions):
        directions.append({n: weights[n] * rng.standard_normal(weights[n].shape) for n in inner})
    rows = []
    for d in directions:
        up, down = (draws.losses({n: w + s * STEP * d.get(n, 0.0) for n, w in weights.items()}) for s in (1, -1))
        change = (up - down) / (2 * STEP)
        along = np.array([sum(float((g[n] * d[n]).sum()) for n in inner) for g in (*once.values(), *many)])
        single, drawn = along[: len(once)], along[len(once) :]
        rows.append([change.mean(), change.std() / len(change) ** 0.5, drawn.std(), *single, drawn.mean()])
    return draws.rate, [*once, "drawn"], np.array(rows)


def main(settings: Settings) -> None:
    if settings.time:
        time_steps(settings.sigma)
        return
    if settings.figure is not None:
        draw(settings.figure, settings.sigma)
        return
    print("network       weight spikes  noise  deviation of drawn | cosine, slope, error of each")
    for kind in settings.kinds:
        for mean in settings.weights:
            rates, names, rows = zip(*(compare(kind, mean, seed, settings) for seed in range(settings.networks)))
            table = np.concatenate(rows)
            truth, size = table[:, 0], np.linalg.norm(table[:, 0])
            spread = np.linalg.norm(table[:, 2]) / size
            text = [
                f"{kind:13} {mean:6.1f} {np.mean(rates):6.2f} {np.linalg.norm(table[:, 1]) / size:6.2f} {spread:8.1f}"
            ]
            for name, estimate in zip(names[0], table.T[3:]):
                norm, product = np.linalg.norm(estimate), float(estimate @ truth)
                cosine = product / (norm * size) if norm else 0.0
                error = np.linalg.norm(estimate - truth) / size
                text.append(f"{name} {cosine:.3f} {product / size**2:.2f} {error:.2f}")
            print(" | ".join(text), flush=True)


def time_steps(sigma: float) -> None:
    """Processor time of a training step, with and without in turns, on `native` with one thread: of every batch the
    smallest of 40, which other work on the machine disturbs least."""
    samples = yin_yang.load("validation")
    for spike_times, dt in (("exact", 1.0), ("grid", 0.1)):
        net = Network()
        hidden, output = net.population(LIF(), 200, name="hidden"), net.population(LIF(), 3, name="output")
        net.connect(net.input(5), hidden, Dense(Normal(1.5, 0.78)))
        net.connect(hidden, output, Dense(Normal(0.93, 0.1)))
        loss = loss_of("first_spike_exp(silent='exclude')", output, tau0=0.5, tau1=6.4, alpha=3e-3)
        engines, each = [], list[list[float]]()
        for spike_birth in (0.0, sigma):
            made = compile_network(
                net, loss, duration=60.0, dt=dt, spike_times=spike_times, engine="native", threads=1,
                spike_birth=spike_birth,
            )  # fmt: skip
            engines.append((made, made.load(samples)))
            each.append([])
        for _ in range(40):
            for (made, data), times in zip(engines, each):
                for first in range(0, 256, 32):
                    start = time.thread_time()
                    made.run(data, range(first, first + 32), training=True)
                    times.append(time.thread_time() - start)
        off, on = (float(np.reshape(times, (40, 8)).min(0).sum()) / 256 * 1e3 for times in each)
        print(f"{spike_times:6} {off:.3f} ms a sample, with births {on:.3f}: {on / off:.2f} times")


@styled
def draw(path: Path, sigma: float) -> None:
    """One neuron, one input spike, one LI output: L, E[L] and both gradients over the weight as its spike is born."""
    net = Network()
    hidden = net.population(LIF(), 1, name="hidden")
    output = net.population(LI(), 2, name="output")
    net.connect(net.input(1), hidden, Dense(np.ones((1, 1))), name="in")
    net.connect(hidden, output, Dense(np.array([[3.0, -3.0]])), name="out")
    loss = IntegratedVoltageCrossEntropy(output)
    sample = Events.from_samples([(np.array([1.0]), np.array([0]))], n_channels=1, labels=[1])
    weights = np.linspace(4.0, 9.0, 201)
    peak = (4 ** (-1 / 3) - 4 ** (-4 / 3)) / 3  # of V, by a unit weight
    engines = [
        compile_network(net, loss, duration=T, dt=0.02, engine="native", dtype="float64", threads=1, spike_birth=s)
        for s in (0.0, sigma)
    ]
    curves = np.zeros((3, len(weights)))
    for engine, row in zip(engines, (1, 2)):
        data = engine.load(sample)
        for i, w in enumerate(weights):
            engine.parameters["in.weight"][:] = w
            curves[0, i] = engine.run(data, [0], training=True).loss[0]
            curves[row, i] = engine.gradients["in.weight"][0, 0]
    # a threshold of 1 + sigma xi and a weight w are a threshold of 1 and a weight w / (1 + sigma xi), but for when the
    # spike comes; it comes at the crossing, which depends on their quotient alone
    xi = np.linspace(-5.0, 5.0, 4001)
    mass = np.exp(-0.5 * xi**2) / np.exp(-0.5 * xi**2).sum()
    expected = [float(mass @ np.interp(w / (1 + sigma * xi), weights, curves[0])) for w in weights]
    figure, (above, below) = styled_axes(2, 1, size=(6, 5.2), sharex=True)
    silent = weights * peak < 1.0
    for part in (silent, ~silent):  # L jumps where the spike is born, so that no line may cross it
        first = part[0]
        at = weights[part] * peak
        above.plot(at, curves[0][part], color=BLUE, label="L of one trial, threshold 1" if first else None)
        below.plot(at, curves[1][part], color=BLUE, label="EventProp" if first else None)
        label = f"with spike_birth={sigma:g}" if first else None
        below.plot(at, curves[2][part], "--", color=GREEN, label=label)
    above.plot(weights * peak, expected, color=ORANGE, label=f"E[L], thresholds 1 + {sigma:g} xi")
    below.plot(weights * peak, np.gradient(expected, weights), color=ORANGE, label="derivative of E[L]")
    above.set_ylabel("loss")
    below.set_ylabel("dL/dw")
    below.set_xlabel("largest V that the input alone would reach (thresholds)")
    top = below.get_ylim()[1]
    below.annotate("silent: EventProp is 0", (0.68, 0.02), (0.63, 0.45 * top), arrowprops={"arrowstyle": "->"})
    below.annotate(
        "a spike: its time moves\n(both are the same)",
        (1.012, 0.12),
        (1.06, 0.45 * top),
        arrowprops={"arrowstyle": "->"},
    )
    for axes in (above, below):
        axes.axvline(1.0, color=GREY, linewidth=0.8, zorder=0)
        axes.legend(loc="upper left")
    save(figure, path)


if __name__ == "__main__":
    main(tyro.cli(Settings))
