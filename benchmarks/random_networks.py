"""Random networks on native against a reference: models of the zoo x losses x topologies x learned parameters.

    python benchmarks/random_networks.py --count 100 --seed 1
    python benchmarks/random_networks.py --spike-times exact # linear models, against reference_event
    python benchmarks/random_networks.py --only 17          # one of them again, by its number

Every network is drawn by (seed, number): one to three hidden layers of any model, recurrence, skips, delays, several
receptors, parameters learned for a population or a neuron, noise, dropout, regularisers. In float64 the spikes must be
equal and gradients agree to 1e-8 (with exact spike times times the square of 0.05 / smallest gdot, and but for spikes
whose order is up to rounding); in float32 loss and gradients must be finite and, on equal spikes, near. Exit status
1 if one of them does not.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import tyro

from genn_eventprop import Dense, Events, Gamma, Network, Normal, Param
from genn_eventprop.adjoint import derive
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.engines.native import NativeEngine
from genn_eventprop.engines.reference_event import ReferenceEvent
from genn_eventprop.errors import EventPropError, ToolchainError
from genn_eventprop.losses import LOSSES
from genn_eventprop.models import ZOO
from genn_eventprop.plan import Plan, make_plan
from genn_eventprop.regularisers import LayerRate, SpikeCount
from genn_eventprop.toolchain import compiler

SAMPLES, CHANNELS, CLASSES = 3, 5, 3
OF_SPIKES = ("first_spike", "first_spike_exp", "spike_count", "spike_time_error")
TOLERANCE = 1e-8
NOT_EXACT = [n for n, m in ZOO.items() if not derive(m).linear or n == "LIFDelta"]


@dataclass(frozen=True)
class Settings:
    """Which networks.

    Args:
        count: How many. only: The number of a single one.
        level: Of the compiler's optimisation.
    """

    count: int = 100
    seed: int = 1
    only: int | None = None
    level: int = 1
    spike_times: str = "grid"


def random_neuron(name: str, rng: np.random.Generator) -> Any:
    """A model with some parameters learned and some different for every neuron."""
    values = {}
    for n, p in ZOO[name].params.items():
        value = p.value
        if rng.random() < 0.25 and isinstance(value, (int, float)) and value > 0 and p.unit == "ms":
            value = Gamma(value, 40.0, 0.8 * value, 1.2 * value)
        values[n] = Param(
            value,
            p.unit,
            trainable=bool(rng.random() < 0.4),
            shared=None if value is not p.value else bool(rng.random() < 0.3),
        )
    return ZOO[name](**values)


def draw(seed: int, number: int, spike_times: str) -> tuple[str, Plan, Events]:
    """A description, the plan and its data."""
    exact, rng = spike_times == "exact", np.random.default_rng([seed, number])
    loss_name = str(rng.choice([n for n in LOSSES if n != "own"]))
    spiking = [n for n, m in ZOO.items() if m.spiking and not (exact and n in NOT_EXACT)]
    net = Network()
    previous: list[Any] = [net.input(CHANNELS)]
    said = []
    for layer in range(int(rng.integers(1, 4))):
        name = str(rng.choice(spiking))
        chance: dict[str, Any] = {}
        if rng.random() < 0.25 and not exact:
            chance["dropout"], chance["dropped_reset"] = 0.2, bool(rng.random() < 0.5)
        if rng.random() < 0.15 and not exact:
            chance["noise"] = 0.01
        hidden = net.population(random_neuron(name, rng), int(rng.integers(3, 20)), f"hidden{layer}", **chance)
        said.append(name + "".join(f" {k}" for k in chance))
        connect(net, previous[-1], hidden, rng)
        if rng.random() < 0.4:
            connect(net, hidden, hidden, rng, 0.1)
            said[-1] += " recurrent"
        if rng.random() < 0.3 and len(previous) > 1:
            connect(net, previous[-2], hidden, rng, 0.5)
            said[-1] += " skip"
        previous.append(hidden)
    readouts = ["LI", "LI", "LIAdaptive", "LIF", "LIF" if exact else "QIF"]
    out_name = str(rng.choice(spiking if loss_name in OF_SPIKES else readouts))
    output = net.population(random_neuron(out_name, rng), CLASSES, "output")
    connect(net, previous[-1], output, rng)
    if rng.random() < 0.2:
        connect(net, net.inputs[0], output, rng, 0.5)
    terms = []
    if rng.random() < 0.3:
        mean = str(rng.choice(["example", "batch"]))
        kind = SpikeCount if rng.random() < 0.5 else LayerRate
        options: dict[str, Any] = {"mean": mean} if kind is SpikeCount else {}
        terms.append(kind(previous[-1], 2.0, strength=1e-3, **options))
        said.append(kind.__name__)
    loss = LOSSES[loss_name](output)
    dt = float(rng.choice([0.25, 1.0, 5.0])) if exact else 0.25
    plan = make_plan(net, loss, dt=dt, duration=30.0, regularisers=terms, spike_times=spike_times)
    text = f"{' - '.join(said)} - {out_name}, {loss_name}"
    return text, plan, data(plan, rng)


def connect(net: Network, source: Any, target: Any, rng: np.random.Generator, scale: float = 1.0) -> None:
    for r in target.model.receptors:
        delay = float(rng.choice([0.0, 0.0, 0.25, 1.3]))
        name = f"{source.name}_{target.name}_{r}"
        if source is not net.inputs[0] and delay == 0.0 and "delta" in target.model.name.lower():
            delay = 0.25  # no cycles of delta synapses without delay
        net.connect(
            source,
            target,
            Dense(Normal(0.6 * scale, 0.5)),
            delay=delay,
            receptor=r,
            name=name,
            trainable=bool(rng.random() < 0.8),
        )


def data(plan: Plan, rng: np.random.Generator) -> Events:
    samples = [(np.sort(rng.uniform(0, 25, 25)), rng.integers(0, CHANNELS, 25)) for _ in range(SAMPLES)]
    targets = None
    if plan.loss.compares == "targets":
        shape = [2 if n is None else n for n in plan.loss.target_shape(plan.n_steps)]
        targets = rng.uniform(0.2, 0.8, (SAMPLES, *shape))
        targets *= plan.duration if plan.loss.readout == "spike_times" else 1.0
    return Events.from_samples(
        samples, CHANNELS, labels=rng.integers(0, CLASSES, SAMPLES), n_classes=CLASSES, targets=targets
    )


def tune(engine: NativeEngine, events: Events) -> None:
    """Scale the weights layer by layer until a neuron spikes 1 to 4 times."""
    loaded = engine.load(events)
    for p in engine.plan.populations:
        for _ in range(30 if p.spiking else 0):
            try:
                rate = float(engine.run(loaded, np.arange(SAMPLES)).spike_counts[p.name].mean())
            except EventPropError:
                rate = np.inf
            if 1 <= rate <= 4:
                break
            for c in engine.plan.into(p.name):
                engine.parameters[c.weight][...] *= 2.0 if rate == 0 else 1.2 if rate < 1 else 0.8


def check(text: str, plan: Plan, events: Events) -> str:
    """ "" if all is well, else what is wrong; "refused: ..." where an engine says that it cannot."""
    values = plan.network.initial_parameters(1)
    try:
        native = NativeEngine(plan, values, dtype="float64", threads=2)
    except ToolchainError as error:
        return f"does not compile: {error}"
    except EventPropError as error:
        return f"refused: {error}"
    tune(native, events)
    values = {k: np.array(v) for k, v in native.parameters.items()}
    reference = (ReferenceEvent if plan.spike_times == "exact" else ReferenceClock)(plan, values)
    runs = []
    for engine in (reference, native):
        engine.seed, engine.epoch = 3, 1
        try:
            runs.append(engine.run(engine.load(events), np.arange(SAMPLES), training=True, record_spikes=True))
        except EventPropError as error:
            runs.append(str(error))
    want, got = runs
    if isinstance(want, str) or isinstance(got, str):
        both = isinstance(want, str) and isinstance(got, str)
        return f"refused: {want}" if both else f"only one engine stops: {want} / {got}"
    if plan.spike_times == "exact" and undecided(plan, events, want):
        return ""
    worst = compare(reference, native, want, got)
    return worst or check_single(plan, values, events, native, got)


def undecided(plan: Plan, events: Events, want: Any) -> bool:
    """True if two different events are so close that rounding can exchange them."""
    delays = {0.0, *(c.delay for c in plan.connections)}
    times = [s.time for s in want.spikes.values()] + [np.unique(events.times)]
    every = np.sort(np.concatenate([t + d for t in times for d in delays]))
    return bool(np.min(np.diff(every)[np.diff(every) > 0], initial=np.inf) < 1e-9)


def compare(reference: ReferenceClock | ReferenceEvent, native: NativeEngine, want: Any, got: Any) -> str:
    exact = isinstance(reference, ReferenceEvent)
    steep = min(reference.smallest_slope / 0.05, 1.0) if exact else 1.0
    tolerance = TOLERANCE / steep**2
    for name, counts in want.spike_counts.items():
        if not np.array_equal(counts, got.spike_counts[name]):
            return f"spikes of {name} differ: {counts.sum()} and {got.spike_counts[name].sum()}"
    if not np.allclose(got.loss, want.loss, rtol=tolerance, atol=1e-12, equal_nan=True):
        return f"loss {got.loss} for {want.loss}"
    if got.guarded != want.guarded and not exact:
        return f"guarded {got.guarded} for {want.guarded}"
    for key, gradient in reference.gradients.items():
        error, size = np.abs(native.gradients[key] - gradient).max(), np.abs(gradient).max()
        if not error <= tolerance * max(size, 1e-6):
            return f"gradient of {key}: error {error:.1e} of {size:.1e}"
    return ""


def check_single(plan: Plan, values: dict[str, np.ndarray], events: Events, native: NativeEngine, want: Any) -> str:
    single = NativeEngine(plan, values, dtype="float32", threads=1)
    single.seed, single.epoch = 3, 1
    result = single.run(single.load(events), np.arange(SAMPLES), training=True)
    if not np.isfinite(result.loss).all():
        return f"float32: loss {result.loss}"
    same = all(np.array_equal(c, result.spike_counts[p]) for p, c in want.spike_counts.items())
    for key, gradient in native.gradients.items():
        if not np.isfinite(single.gradients[key]).all():
            return f"float32: gradient of {key} not finite"
        size = np.abs(gradient).max()
        if (
            same
            and want.guarded == result.guarded == 0
            and np.abs(single.gradients[key] - gradient).max() > 0.05 * size
        ):
            return f"float32: gradient of {key} off by {np.abs(single.gradients[key] - gradient).max() / size:.1e}"
    return ""


def main() -> int:
    s = tyro.cli(Settings, description=__doc__)
    compiler.FLAGS = tuple(f"-O{s.level}" if f == "-O3" else f for f in compiler.FLAGS)
    found: Counter[str] = Counter()
    for number in range(s.count) if s.only is None else [s.only]:
        start = time.perf_counter()
        text = ""
        try:
            text, plan, events = draw(s.seed, number, s.spike_times)
            verdict = check(text, plan, events)
        except EventPropError as error:
            verdict = f"refused: {error}"
        kind = "right" if not verdict else "refused" if verdict.startswith("refused") else "WRONG"
        found[kind] += 1
        print(f"{number} {kind} ({time.perf_counter() - start:.0f} s) {text} {verdict}", flush=True)
    print(", ".join(f"{n} {kind}" for kind, n in found.items()))
    return int(found["WRONG"] > 0)


if __name__ == "__main__":
    sys.exit(main())
