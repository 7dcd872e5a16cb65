"""Networks that together use every kind of model, readout, loss and noise that a grid engine runs; and one to time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...data import Events
from ...losses import (
    EndVoltageCrossEntropy,
    FirstSpikeCrossEntropy,
    Function,
    IntegratedVoltageCrossEntropy,
    Loss,
    MaxVoltageCrossEntropy,
    OwnLoss,
    PerStepCrossEntropy,
    SpikeCountCrossEntropy,
    SpikeTimeError,
    VoltageSquaredError,
)
from ...modelling import Conv2D, Delay, Dense, Network, Neuron, Normal, Param, Pool2D, Population, Sparse, Uniform
from ...models import ZOO
from ...plan import Plan, make_plan
from ...regularisers import LayerRate, SpikeCount, SpikeRegulariser
from .case import Case

# odd sizes, as are 37 hidden neurons: they leave remainders in warps, SIMD vectors, words of bits and slices of a batch
CHANNELS, CLASSES, SAMPLES = 9, 4, 5


@dataclass(frozen=True)
class Recipe:
    """A recurrent network of hidden neurons. learned: parameters of theirs. scale: of its weights. delay: of all its
    connections, in steps. wiring: of the input, a name of `_wiring`. delays: kind of those that are values, of all but,
    with exact spike times, the recurrent connection, which has one of two steps there."""

    loss: Callable[[Population], Loss]
    model: str = "LIF"
    output: str = "LI"
    learned: tuple[str, ...] = ()
    scale: float = 1.0
    dt: float = 0.5
    duration: float = 40.0
    delay: float = 0.0
    hidden: int = 37
    wiring: str = "dense"
    delays: str = ""
    spike_times: str = "grid"
    stochastic: dict[str, Any] = field(default_factory=dict)
    regularisers: Callable[[Population], list[SpikeRegulariser]] = lambda hidden: []


def _own(r: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """0.5 sum (r - one-hot(y))^2, as a user writes a loss in Python."""
    difference = r - np.eye(r.shape[1])[y]
    return 0.5 * (difference**2).sum(1), difference


# The scale of weights follows the unit of the model's input (pA for AdEx, a conductance for LIFConductance); the step
# follows its fastest part. Both were chosen so that no population is silent: nothing would be compared.
RECIPES: dict[str, Recipe] = {
    "LIF, integral of V, delays, learned time constants": Recipe(
        lambda o: IntegratedVoltageCrossEntropy(o, "exponential"), learned=("tau_mem", "tau_syn"), delay=2.0
    ),
    "LIF, maximum of V": Recipe(MaxVoltageCrossEntropy),
    # more than the 256 threads of a block of `cuda` that gathers, and not a multiple of them
    "LIF, V(T), 300 neurons": Recipe(EndVoltageCrossEntropy, hidden=300, scale=0.6),
    "LIF, softmax at every step": Recipe(PerStepCrossEntropy),
    "LIF, squared error of V(t)": Recipe(VoltageSquaredError, learned=("v_thresh",)),
    "LIF, first spikes": Recipe(lambda o: FirstSpikeCrossEntropy(o, silent="end"), output="LIF", delay=1.0),
    "LIF, spike times": Recipe(SpikeTimeError, output="LIF"),
    "LIF, spike counts, regularised": Recipe(
        lambda o: SpikeCountCrossEntropy(o, gain=0.4), output="LIF",
        regularisers=lambda h: [SpikeCount(h, 1.0, 0.01, mean="batch"), LayerRate(h, most=5.0, strength=0.01)],
    ),
    "LIF, a loss as a formula": Recipe(lambda o: OwnLoss(o, "integral", "(r0 - y0)**2 + 0.1 * r1 * r2**2")),
    "LIF, a loss in Python": Recipe(lambda o: Loss(o, "end", outer=Function(_own, "labels"))),
    "LIF, noise and dropout": Recipe(
        IntegratedVoltageCrossEntropy, stochastic={"noise": 0.05, "dropout": 0.2, "dropped_reset": True}
    ),
    "refractory LIF": Recipe(IntegratedVoltageCrossEntropy, "LIFRefractory", learned=("t_ref",)),
    "delta synapses": Recipe(MaxVoltageCrossEntropy, "LIFDelta", scale=0.3),
    "adaptive threshold": Recipe(IntegratedVoltageCrossEntropy, "ALIF"),
    "conductances": Recipe(IntegratedVoltageCrossEntropy, "LIFConductance", scale=0.1, dt=0.25),
    "quadratic": Recipe(IntegratedVoltageCrossEntropy, "QIF", scale=2.0, dt=0.1, duration=25.0),
    "adaptive exponential": Recipe(IntegratedVoltageCrossEntropy, "AdEx", scale=150.0, dt=0.05, duration=20.0),
    "Izhikevich, bursting": Recipe(IntegratedVoltageCrossEntropy, "IzhikevichBursting", dt=0.1, duration=25.0),
    "sparse, a delay a synapse": Recipe(IntegratedVoltageCrossEntropy, wiring="sparse", delays="synaptic", scale=2.0),
    "dense, delays of targets": Recipe(MaxVoltageCrossEntropy, delays="dendritic"),
    "convolution": Recipe(IntegratedVoltageCrossEntropy, wiring="convolution", scale=2.0),
    "pooling, delays of sources": Recipe(EndVoltageCrossEntropy, wiring="pooling", delays="axonal", scale=12.0),
    "LIF, 300 steps": Recipe(IntegratedVoltageCrossEntropy, duration=150.0, scale=1.5),
}  # fmt: skip
_EXACT: dict[str, Any] = {"spike_times": "exact", "duration": 25.0}
EXACT = {
    "exact: LIF, integral of V, learned time constants": Recipe(
        lambda o: IntegratedVoltageCrossEntropy(o, "exponential"), learned=("tau_mem", "tau_syn"), **_EXACT
    ),
    "exact: refractory LIF, softmax over V(t)": Recipe(
        PerStepCrossEntropy, "LIFRefractory", learned=("t_ref",), **_EXACT
    ),
    "exact: LIF, spike times": Recipe(SpikeTimeError, output="LIF", **_EXACT),
    "exact: sparse, a delay a synapse, maximum of V": Recipe(
        MaxVoltageCrossEntropy, wiring="sparse", delays="synaptic", scale=2.0, **_EXACT
    ),
    "exact: convolution, spike counts": Recipe(
        lambda o: SpikeCountCrossEntropy(o, gain=0.4), output="LIF", wiring="convolution", scale=2.0, **_EXACT
    ),
    "exact: adaptive exponential, maximum of V": Recipe(MaxVoltageCrossEntropy, "AdEx", scale=150.0, **_EXACT),
}
"""Recipes for engines that have exact spike times too; `cuda` sorts arrivals and spikes of a step in them."""
LARGE = {"5,000 neurons": Recipe(EndVoltageCrossEntropy, hidden=5000, duration=6.0, scale=3.0, wiring="no recurrence")}
"""Recipes that take long without a device: more than 48 KB of shared memory on `cuda`."""


def case(name: str) -> Case:
    """A recipe with weights, input, labels and targets."""
    r = (RECIPES | EXACT | LARGE)[name]
    net = Network()
    wiring, channels, size = _wiring(r)
    hidden = net.population(_neuron(r), name="hidden", **size, **r.stochastic)
    output = net.population(ZOO[r.output], CLASSES, name="output")
    delay: Any = Delay(Uniform(0.0, 5.0), kind=r.delays, max=8.0) if r.delays else r.delay * r.dt
    receptor = next(iter(ZOO[r.model].receptors))
    net.connect(net.input(**channels), hidden, wiring, delay=delay, receptor=receptor)
    if r.wiring != "no recurrence":
        back = 2 * r.dt if r.spike_times == "exact" else delay
        net.connect(hidden, hidden, Dense(Normal(0.0, 0.1 * r.scale)), delay=back, receptor=receptor)
    net.connect(hidden, output, Dense(Normal(0.2, 0.4)), delay=delay)
    how: dict[str, Any] = {"regularisers": r.regularisers(hidden), "spike_times": r.spike_times}
    plan = make_plan(net, r.loss(output), dt=r.dt, duration=r.duration, **how)
    return Case(name, plan, net.initial_parameters(3), _events(plan))


def _wiring(r: Recipe) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Of the input: (connectivity, size or shape of the input, of the hidden neurons)."""
    weight, image = Normal(0.9 * r.scale, 0.5 * r.scale), (4, 5, 2)
    if r.wiring == "convolution":
        convolution = Conv2D(weight, kernel=3, channels=3, padding=1)
        return convolution, {"shape": image}, {"shape": convolution.output_shape(image)}
    if r.wiring == "pooling":
        pool = Pool2D(2, r.scale, stride=1, per_channel=True)
        return pool, {"shape": image}, {"shape": pool.output_shape(image)}
    sparse = Sparse(weight, probability=0.4) if r.wiring == "sparse" else Dense(weight)
    return sparse, {"size": CHANNELS}, {"size": r.hidden}


def _neuron(r: Recipe) -> Neuron:
    params = ZOO[r.model].params
    return ZOO[r.model](**{n: Param(params[n].value, params[n].unit, trainable=True) for n in r.learned})


def _events(plan: Plan) -> Events:
    rng, T, K = np.random.default_rng(2), plan.duration, CLASSES
    M = plan.input.size
    samples = [(np.sort(rng.uniform(0, 0.95 * T, 50)), rng.integers(0, M, 50)) for _ in range(SAMPLES)]
    targets = None
    if plan.loss.compares == "targets":
        shapes = {"voltage": (SAMPLES, plan.n_steps + 1, K), "spike_times": (SAMPLES, K, 3)}
        shape = shapes.get(plan.loss.readout, (SAMPLES, K))
        targets = rng.uniform(0.1 * T, 0.9 * T, shape) if plan.loss.of_spikes else rng.normal(0.2, 0.3, shape)
        targets[0, 0] = np.nan  # one that is not known, which every engine must leave out
    return Events.from_samples(samples, M, labels=rng.integers(0, K, SAMPLES), targets=targets)


@dataclass(frozen=True)
class Shape:
    """Of a network to time; the default is that of spoken digits, with 8000 input spikes in a trial of 1000 steps.

    With exact spike times the connection of hidden neurons to themselves has a delay of 1 ms.
    """

    inputs: int = 700
    hidden: int = 256
    outputs: int = 20
    steps: int = 1000
    spikes: int = 8000
    spike_times: str = "grid"

    def network(self) -> tuple[Plan, dict[str, np.ndarray]]:
        """Recurrent LIF neurons that spike about 25 times, and LI outputs, with initial values."""
        # the same drive whatever the shape: spikes a step times their mean weight stays 0.24
        net, mean = Network(), 0.24 * self.steps / self.spikes
        hidden = net.population(ZOO["LIF"], self.hidden, "hidden")
        output = net.population(ZOO["LI"], self.outputs, "output")
        net.connect(net.input(self.inputs), hidden, Dense(Normal(mean, mean / 2)))
        back = 1.0 if self.spike_times == "exact" else 0.0
        net.connect(hidden, hidden, Dense(Normal(0.0, 0.02)), delay=back)
        net.connect(hidden, output, Dense(Normal(0.0, 0.03)))
        loss = IntegratedVoltageCrossEntropy(output, "exponential")
        plan = make_plan(net, loss, dt=1.0, duration=float(self.steps), spike_times=self.spike_times)
        return plan, net.initial_parameters(1)

    def events(self, samples: int, seed: int = 1) -> Events:
        rng = np.random.default_rng(seed)
        trials = [
            (np.sort(rng.uniform(0, self.steps - 1, self.spikes)), rng.integers(0, self.inputs, self.spikes))
            for _ in range(samples)
        ]
        return Events.from_samples(trials, self.inputs, labels=rng.integers(0, self.outputs, samples))
