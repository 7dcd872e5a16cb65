"""The numbers of a random network: parameters, weights, delays, the grid, input and targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from genn_eventprop.adjoint.arrivals import is_linear_along
from genn_eventprop.data import Currents, Events
from genn_eventprop.engines.contract.split import READ
from genn_eventprop.losses import LOSSES, OwnLoss, SquaredError
from genn_eventprop.losses.loss import Loss
from genn_eventprop.losses.readout import TimeWeight
from genn_eventprop.modelling import Array, Dense, Input, Network, Neuron, NeuronModel, Param, Population
from genn_eventprop.modelling.connectivity import Connectivity
from genn_eventprop.plan import Plan, make_plan
from genn_eventprop.plan.make import NetworkPlan
from genn_eventprop.regularisers import LayerRate, SpikeCount, SpikeRegulariser
from genn_eventprop.verify.engines import Case
from genn_eventprop.verify.gradients.draw import spread

from .auxiliary import with_answers, with_auxiliary
from .dice import Dice
from .layout import AT_ONCE, LINEAR, MODELS, NONLINEAR, Layer, Layout, Wiring
from .sources import add_currents, add_inputs, draw_currents, draw_inputs
from .wiring import connectivity, learned_and_late, share

GRIDS = ((20, 1.0), (40, 0.5), (40, 1.0), (100, 0.25), (75, 0.3), (100, 0.2), (20, 2.0), (7, 5.0), (2, 5.0), (1, 20.0))
FINE = ((100, 0.1), (150, 0.1), (60, 0.1), (100, 0.05), (7, 0.1), (1, 0.1))
"""(steps, dt in ms) of linear models, and of those whose upstroke needs a fine grid."""
SAMPLES = (1, 2, 3)
OF_CLASSES = (0.0, 0.4, 1.0, 2.5, 7.0)  # weights
ROWS = (2, 3, 16, 62, 300)  # of a target series that need not fit the grid
SIGMAS = (0.1, 0.4, 1.0)  # of births


def draw_case(
    layout: Layout, dice: Dice, more: Dice | None = None, driven: Dice | None = None, *, alone: bool = False,
    several: Dice | None = None, births: Dice | None = None,
) -> Case:  # fmt: skip
    """A layout with numbers.

    Args:
        more: decides about auxiliary losses, None for a single loss; driven: about currents, None for none; alone: the
            network has no other input. several: about further inputs of spikes. births: about their noise, None for
            gradients without.

    Raises:
        EventPropError: where the network is refused.
    """
    curved = any(layer.model in NONLINEAR for layer in (*layout.hidden, layout.output))
    n_steps, dt = dice.pick(FINE if curved else GRIDS)
    duration = dt * n_steps
    net, layers = Network(), [*layout.hidden, layout.output]
    before: list[Input | Population] = [] if alone else [net.input(layout.channels, shape=layout.image)]
    silent = dice.bernoulli(0.03)
    for layer in layers:
        neuron = draw_neuron(layer, dice, dt)
        population = net.population(
            neuron, layer.size, layer.name, shape=layer.shape, noise=layer.noise,
            dropout=layer.dropout, dropped_reset=layer.dropped_reset,
        )  # fmt: skip
        delay = _delays(dice, dt, duration)
        into, loop, grid = layer.wiring, layer.loop_wiring, (dt, duration)
        if before:
            _connect(net, before[-1], population, layer, dice, delay() if layer.delayed else 0.0, 0.6, 0.5, into, grid)
        if layer.looped:
            late = delay() if layer.loop_delayed else 0.0
            _connect(net, population, population, layer, dice, late, 0.0, 0.3, loop, grid)
        if layer.skip and len(before) > 1:
            _connect(net, before[-2], population, layer, dice, 0.0, 0.3, 0.3)
        before.append(population)
    twins = {layer.name for layer in layers if layer.twins}
    if driven is not None:
        add_currents(net, twins, driven, dt, duration, alone)
    if several is not None:
        add_inputs(net, twins, several, dt, duration)
    loss = draw_loss(layout, net.populations[-1], dice, dt, n_steps)
    terms = _regularisers(layout, net)
    asked = [loss] if more is None else with_auxiliary(loss, layout, net.populations[:-1], more)
    sigma = 0.0 if births is None else births.pick(SIGMAS)
    plan = make_plan(
        net, asked, dt=dt, duration=duration, spike_times=layout.spike_times, regularisers=terms, spike_birth=sigma
    )
    values = {k: v * (not silent or not k.endswith(".weight")) for k, v in net.initial_parameters(1).items()}
    of_classes = plan.loss.compares == "labels" and dice.bernoulli(0.4)
    events = draw_events(layout, plan, dice, empty=of_classes and dice.bernoulli(0.6))
    events = events if more is None else with_answers(events, plan, more.numbers())
    beside: dict[str, Events | Currents] = {}
    if driven is not None:
        beside |= draw_currents(net.currents, len(events), driven, duration)
    if several is not None:
        beside |= draw_inputs(net.inputs[1:], len(events), several, duration)
    weights = dice.numbers().uniform(0.5, 2.0, len(events)) if not of_classes and dice.bernoulli(0.2) else None
    if of_classes:
        assert events.labels is not None
        weights = dice.numbers().choice(OF_CLASSES, plan.output.size)[events.labels]
    probe = None if plan.loss.readout in READ and not plan.auxiliary else halves(plan)
    others = "".join(f", {loss.factor:g} x {loss.readout} of {loss.output}" for loss in plan.auxiliary)
    text = f"{layout}{others}; {n_steps} x {dt:g} ms, {len(events)} samples, {len(events.times)} spikes"
    text += "".join(f", {c.size} currents {c.interpolation} {c.dt:g} ms" for c in net.currents) + ", alone" * alone
    text += "".join(f", {i.size} channels more" for i in net.inputs[1:]) + (f", births {sigma:g}" if sigma else "")
    # where rows have a meaning, or births are one's own, the reference does not know the network mirrored
    mirrors = not (plan.auxiliary or beside or sigma or any(layer.wiring for layer in layers))
    mirrors = mirrors and not _kink_of_twins(plan, twins)
    return Case(
        text, plan, values, events, weights, tune=not silent, class_weights=of_classes, probe=probe, mirrors=mirrors,
        beside=beside,
    )  # fmt: skip


def _kink_of_twins(plan: Plan, twins: set[str]) -> bool:
    """Whether neurons that are all alike spike at one instant into dynamics that are not linear in what arrives, or at
    a maximum of V, which they move: only the derivative by their common time is defined, and a numbering decides which
    of them gets what part of it."""
    return any(
        c.source in twins
        and (
            not is_linear_along(plan.population(c.target).derived, c.receptor)
            or (c.target == plan.output.name and "max" in plan.loss.readouts)
        )
        for c in plan.connections
    )


def halves(plan: NetworkPlan) -> Plan:
    """The network read by a loss that has two halves, with all that can be read beside it."""
    output, model = plan.network.populations[-1], plan.output.derived.model.name
    linear = next((n for n, m in MODELS.items() if m.name == model and n in LINEAR), "") and not output.model.modes
    main = "first_spike" if output.model.spiking else "integral" if linear else "end"
    kinds = ("first_spike", "count", "end", "trace") if output.model.spiking else ("end", "max", "trace")
    loss = Loss(output, main, also=tuple(n for n in kinds if n != main))
    how: dict[str, Any] = {"spike_times": plan.spike_times, "spike_birth": plan.spike_birth}
    return make_plan(plan.network, loss, dt=plan.dt, duration=plan.duration, **how)


def draw_neuron(layer: Layer, dice: Dice, dt: float) -> Neuron:
    """A neuron with parameter values of the layer's kinds."""
    model, extreme = MODELS[layer.model], dice.bernoulli(0.15)
    rng, values = dice.numbers(), {}
    lasting = {m.lasts for m in model.modes}
    for n, p in model.params.items():
        if hasattr(p.value, "sample"):
            continue
        kind = layer.kinds[n]
        several = kind == "array" or (kind == "learned" and not layer.twins and dice.bernoulli(0.7))
        drawn = _values(layer.model, n, rng, layer.size if several and not layer.twins else 1, extreme)
        if n in layer.sharp:  # a peak stays above its threshold, however small delta_t is
            drawn = np.full_like(drawn, layer.sharp[n]).astype(np.float32).astype(np.float64)
        if n in lasting and dice.bernoulli(0.6):
            drawn = np.full_like(drawn, round(dt * (dice.pick((0.0, 1.0, 3.0)) + dice.pick((0.5, 1.0))), 6))
        value = np.resize(drawn, layer.size) if several else float(drawn[0])
        values[n] = Param(value, p.unit, trainable=kind in ("learned", "shared"), shared=kind == "shared")
    if layer.model == "Started" and dice.bernoulli(0.05):
        values["v_start"] = replace(values["v_start"], value=values["v_start"].value + 1.5)
    return awkward_names()(**_renamed(values)) if layer.awkward_names else model(**values)


def _values(model: str, name: str, rng: np.random.Generator, size: int, extreme: bool) -> np.ndarray:
    """(size,) values of a parameter, as float32 holds them, but for times that are counted in steps."""
    p = MODELS[model].params[name]
    if p.unit == "ms" and model in LINEAR:
        if extreme and rng.random() < 0.5:
            found = 10 ** rng.uniform(np.log10(0.05), 4, size)
        else:
            found = p.value * 10 ** rng.uniform(-0.4, 0.4, size)
    else:
        by = np.inf if p.value == 0 else 0.15 * abs(p.value)
        by = min(by, spread(MODELS[model], p))
        found = p.value + (0.2 if np.isinf(by) else by) * rng.uniform(-1, 1, size)
    return found.astype(np.float32).astype(np.float64)


AWKWARD_NAMES = {"V": "spikes", "I": "history_input", "tau_mem": "tau_1", "v_reset": "steps_"}


def awkward_names() -> NeuronModel:
    """LIF whose states are called like variables of the generated code."""
    return NeuronModel(
        name="AwkwardNames",
        state={"spikes": "steps_", "history_input": 0.0},
        params={AWKWARD_NAMES.get(n, n): p for n, p in MODELS["LIF"].params.items()},
        dynamics={"spikes": "(history_input - spikes) / tau_1", "history_input": "-history_input / tau_syn"},
        threshold="spikes - v_thresh",
        reset={"spikes": "steps_"},
        input="history_input",
        readout="spikes",
    )


def _renamed(values: dict[str, Param]) -> dict[str, Param]:
    return {AWKWARD_NAMES.get(n, n): p for n, p in values.items()}


def _delays(dice: Dice, dt: float, duration: float) -> Callable[[], float]:
    """What draws delays: whole and half steps, any number, nearly the trial."""
    options = [o for o in (dt, 0.5 * dt, 1.5 * dt, 0.3, 1.3, 4 * dt, 0.9 * duration) if o < duration]
    return lambda: dice.pick(options)


def _connect(
    net: Network, source: Input | Population, target: Population, layer: Layer, dice: Dice, delay: float, mean: float,
    spread: float, wiring: Wiring | None = None, grid: tuple[float, float] = (1.0, 1.0),
) -> None:  # fmt: skip
    rng = dice.numbers()
    if layer.model in AT_ONCE and source is target and delay == 0:
        delay = 0.3
    for r in target.model.receptors:
        alike = (dice.pick((-1.0, -2.0, -3.0, 0.1)) if source is target else mean) if layer.twins else None
        draw = partial(_weights, rng, mean, spread, alike)
        options: dict[str, Any] = {"delay": delay, "trainable": layer.learned_weights}
        kind: Connectivity = Dense(Array(draw((source.size, target.size))))
        if wiring is not None:
            kind = connectivity(wiring, source, target, rng, draw)
            options |= learned_and_late(wiring, kind, source, target, layer.learned_weights, grid, rng)
        first = net.connect(source, target, kind, receptor=r, name=f"{source.name}_{target.name}_{r}", **options)
        if wiring is not None and wiring.share is not None:
            share(net, first, wiring, delay, grid, rng)


def _weights(
    rng: np.random.Generator, mean: float, spread: float, alike: float | None, shape: tuple[int, ...]
) -> np.ndarray:
    """Drawn even where all are alike, so that both leave the generator the same."""
    drawn = rng.normal(mean, spread, shape)
    return (drawn if alike is None else np.full(shape, alike)).astype(np.float32)


def draw_loss(layout: Layout, population: Population, dice: Dice, dt: float, n_steps: int) -> Loss:
    s, K = dict(layout.settings), population.size
    if "weight" in s:
        start = dice.pick(range(n_steps))
        window = (start * dt, dice.pick(range(start + 1, n_steps + 1)) * dt) if dice.bernoulli(0.3) else None
        tau = 20.0 if s["weight"] == "input" else None
        weight = TimeWeight("constant" if tau else s["weight"], window=window, input_tau=tau)
    options: dict[str, Any] = {k: v for k, v in s.items() if k in ("form", "silent")}
    options |= {"weight": weight} if "weight" in s else {}
    if layout.loss == "several":
        return Loss(population, s["readout"], also=tuple(s["also"].split()), **options)
    if layout.loss == "error":
        return SquaredError(population, s["readout"], **options)
    if layout.loss == "own":
        text = " + ".join(f"(r{i} - y{i})**2 / {i + 1}" for i in range(K)) + f" + sin(r0 / 9) * r{K - 1} / 9"
        return OwnLoss(population, s["readout"], text, compares=s["compares"], **options)
    if layout.loss == "first_spike":
        options |= {"tau0": 2.0, "alpha": 0.05}
    name = {"integral": "sum", "per_step": "avg_xentropy"}.get(layout.loss, layout.loss)
    return LOSSES[name](population, **options)


def _regularisers(layout: Layout, net: Network) -> list[SpikeRegulariser]:
    population = net.populations[max(0, len(net.populations) - 2)]
    if layout.regulariser == "LayerRate":
        return [LayerRate(population, 2.0, strength=1e-3)]
    mean = "batch" if layout.regulariser.endswith("batch") else "example"
    return [SpikeCount(population, 2.0, strength=1e-3, mean=mean)] if layout.regulariser else []


def draw_events(layout: Layout, plan: Plan, dice: Dice, *, empty: bool = False) -> Events:
    """Input with spikes at any time, at once, on the borders of steps, at 0 and right before T; labels and targets.

    empty: one sample of several has no input.
    """
    n = dice.pick(SAMPLES[1:] if empty else SAMPLES)
    samples = [_sample(plan, dice, layout.channels) for _ in range(n)]
    if empty:
        samples[dice.pick(range(n))] = np.zeros(0), np.zeros(0, np.int64)
    rng, K = dice.numbers(), plan.output.size
    targets = _targets(plan, dice, rng, n) if plan.loss.compares == "targets" else None
    labels = rng.integers(0, K, n)
    return Events.from_samples(samples, layout.channels, labels, n_classes=K, targets=targets)


def _sample(plan: Plan, dice: Dice, channels: int) -> tuple[np.ndarray, np.ndarray]:
    count, rng, last = dice.pick((15, 0, 1, 4, 8, 25)), dice.numbers(), np.nextafter(plan.duration, 0)
    times = rng.uniform(0, plan.duration, count)
    kind = dice.pick(("any", "at once", "steps", "half steps", "ends"))
    if kind == "at once":
        times = rng.choice(rng.uniform(0, 0.5 * plan.duration, 3), count)
    elif kind in ("steps", "half steps"):
        times = plan.dt * (np.floor(times / plan.dt) + (0.5 if kind == "half steps" else 0.0))
    elif kind == "ends" and count:
        times[: count // 2], times[-1] = 0.0, last
    return np.sort(np.minimum(times, last)), rng.integers(0, channels, count)


def _targets(plan: Plan, dice: Dice, rng: np.random.Generator, n: int) -> np.ndarray:
    """Targets of every shape that the loss takes, some of them missing."""
    loss = plan.loss
    shape = [dice.pick((1, 2, 5)) if m is None else m for m in loss.target_shape(plan.n_steps)]
    if loss.readout == "voltage" and plan.spike_times == "exact" and dice.bernoulli(0.7):
        shape[0] = dice.pick(ROWS)
    targets = rng.uniform(0.2, 0.8, (n, *shape))
    targets *= plan.duration if loss.readout in ("spike_times", "first_spike") else 1.0
    if loss.host is None and dice.bernoulli(0.3):
        targets[rng.random(targets.shape) < 0.2] = np.nan
    return targets
