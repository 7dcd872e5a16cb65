"""Tables of synapses and individual delays, put onto a layout that has only dense weights and one delay each.

The dice are others than those of the layout and its numbers, which stay what they are without any of this.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from genn_eventprop.modelling import Array, Delay, Dense, Input, Network, Population
from genn_eventprop.modelling.connection import Connection
from genn_eventprop.modelling.connectivity import Connectivity, Conv2D, Grouped, OneToOne, Pool2D, Sparse

from .dice import Dice
from .layout import AT_ONCE, Layer, Layout, Wiring

KINDS = ("dense", "mask", "probability", "fan_in", "pairs", "grouped", "one_to_one")
UNSHARED = ("probability", "fan_in", "pairs")  # their weights belong to their own pairs
DELAYS = ("", "synaptic", "axonal", "dendritic")
IMAGES = ((2, 2, 1), (3, 2, 2), (4, 3, 1), (7, 2, 1))
WINDOWS = ((2, 0, 1), (1, 0, 2), (3, 1, 1), (2, 1, 2), (3, 1, 2))  # kernel, padding, stride
Shape = tuple[int, ...]


def wired(layout: Layout, dice: Dice) -> Layout:
    """The layout with another wiring of every connection; layers behind windows, or one to one, get their size.

    Some hidden layers are images, so that windows are over them, too. A single output stays one.
    """
    image = (dice.pick((2, 3, 7)), dice.pick((2, 3)), dice.pick((1, 2))) if dice.bernoulli(0.4) else None
    channels = math.prod(image) if image else layout.channels
    before: Shape = image or (channels,)
    layers: list[Layer] = []
    for layer in (*layout.hidden, layout.output):
        wiring, shape = _wiring(dice, before, layer, layer is layout.output)
        loop = _wiring(dice, shape, replace(layer, size=math.prod(shape)), True, loop=True)[0]
        sides = shape if len(shape) == 3 else None
        layers.append(replace(layer, size=math.prod(shape), shape=sides, wiring=wiring, loop_wiring=loop))
        before = shape
    return replace(layout, image=image, channels=channels, hidden=tuple(layers[:-1]), output=layers[-1])


def _wiring(dice: Dice, source: Shape, layer: Layer, last: bool, loop: bool = False) -> tuple[Wiring, Shape]:
    """(wiring, shape of the target); last: the target keeps its size unless it is behind a window."""
    size, kept = layer.size, loop or (last and layer.size == 1)
    windows = [w for w in WINDOWS if len(source) == 3 and w[0] <= min(source[:2]) + 2 * w[1]]
    window = dice.pick(windows) if windows and not kept and dice.bernoulli(0.7) else (0, 0, 0)
    shape: Shape = (size,)
    if not (window[0] or last or loop) and dice.bernoulli(0.3):
        shape = dice.pick(IMAGES)
        size = math.prod(shape)
    one_to_one = math.prod(source) == size or not (last or loop or len(shape) == 3)
    kinds = ("conv", "pool") if window[0] else KINDS if one_to_one else KINDS[:-1]
    kind, delays = dice.pick(kinds), dice.pick(DELAYS)
    learned = dice.bernoulli(0.6)
    pooled = {"fixed": dice.bernoulli(0.5), "per_channel": dice.bernoulli(0.4)} if kind == "pool" else {}
    again = dice.pick(DELAYS) if kind not in UNSHARED and dice.bernoulli(0.35) else None
    groups = dice.pick((1, 2)) if kind == "conv" and source[2] % 2 == 0 else 1
    wiring = Wiring(kind, delays, learned, window, share=again, groups=groups, **pooled)
    if window[0]:
        return wiring, windowed(wiring, 0.0).output_shape(source)
    return wiring, (math.prod(source),) if kind == "one_to_one" and len(shape) == 1 else shape


def windowed(w: Wiring, weight: float | Array) -> Conv2D | Pool2D:
    kernel, padding, stride = w.window
    if w.kind == "conv":
        return Conv2D(weight, kernel, 2, stride=stride, padding=padding, groups=w.groups)
    return Pool2D(kernel, 2.0, stride=stride, padding=padding, per_channel=w.per_channel)


def connectivity(
    w: Wiring, source: Input | Population, target: Population, rng: np.random.Generator, draw: Callable[..., np.ndarray]
) -> Connectivity:
    """Of a wiring; draw: gives weights of a shape. `Pool2D` has one of its own."""
    make = _made(w, source.size, target.size, rng)
    shape = make(0.0).weight_shape(source.shape, target.shape)
    return make(Array(draw(shape).astype(np.float32)))


def _made(w: Wiring, M: int, N: int, rng: np.random.Generator) -> Callable[[float | Array], Connectivity]:
    """Weights -> connectivity. Among pairs and masks are sources and targets without any synapse."""
    if w.window[0]:
        return lambda weight: windowed(w, weight)
    if w.kind == "mask":
        mask = rng.random((M, N)) < rng.choice([0.2, 0.7])
        return lambda weight: Dense(weight, mask=mask)
    if w.kind == "probability":
        probability = max(float(rng.choice([0.3, 0.7, 1.0])), 1 / (M * N))
        return lambda weight: Sparse(weight, probability=probability)
    if w.kind == "fan_in":
        fan_in = int(rng.integers(1, M + 1))
        return lambda weight: Sparse(weight, fan_in=fan_in)
    if w.kind == "pairs":
        flat = rng.choice(M * N, min(M * N, int(rng.integers(1, 2 * max(M, N) + 1))), replace=False)
        return lambda weight: Sparse(weight, pairs=np.stack(np.divmod(flat, N), axis=1))
    if w.kind == "grouped":
        groups = int(rng.choice([g for g in range(1, N + 1) if M % g == 0 and N % g == 0]))
        return lambda weight: Grouped(weight, groups)
    return OneToOne if w.kind == "one_to_one" else Dense


def learned_and_late(
    w: Wiring, kind: Connectivity, source: Input | Population, target: Population, learned: bool,
    grid: tuple[float, float], rng: np.random.Generator,
) -> dict[str, Any]:  # fmt: skip
    """`trainable` for a part of the weights, now and then; `delay` where the wiring has delays. grid: dt, T in ms."""
    weights = kind.weight_shape(source.shape, target.shape)
    found: dict[str, Any] = {"trainable": False} if w.fixed else {}
    if learned and not w.fixed and rng.random() < 0.2:
        found["trainable"] = rng.random(weights) < 0.5
    if w.delays:
        found["delay"] = _delays(w, Delay(0.0, kind=w.delays).shape(weights, source.size, target.size), *grid, rng)
    return found


def share(
    net: Network, first: Connection, w: Wiring, delay: float, grid: tuple[float, float], rng: np.random.Generator
) -> None:
    """Another connection with the weights of `first`, and delays of its own; from the target where that fits."""
    source, target = first.source, first.target
    looped = source.shape == target.shape and target.model.spiking and target.model.name not in AT_ONCE
    source = target if looped and rng.random() < 0.5 else source
    options: dict[str, Any] = {"delay": delay}
    if w.share:
        shape = Delay(0.0, kind=w.share).shape(first.weight_shape, source.size, target.size)
        options = {"delay": _delays(replace(w, delays=w.share), shape, *grid, rng)}
    net.connect(source, target, share=first, receptor=first.receptor, name=f"{first.name}_again", **options)


def _delays(w: Wiring, shape: Shape, dt: float, duration: float, rng: np.random.Generator) -> Delay:
    """Delays from 0 to a limit, both among them; some limits are beyond the trial, some delays are half steps.

    Short decimal numbers, which `clock.to_steps` reads from float32, too.
    """
    limit = round(float(rng.choice([2 * dt, 0.4 * duration, 2 * duration])), 6)
    values = rng.uniform(-0.2 * limit, 1.2 * limit, shape)
    if rng.random() < 0.3:
        values = dt * (np.floor(values / dt) + 0.5)
    values = np.minimum(np.round(np.maximum(values, 0.0), 6), limit)
    return Delay(Array(values), kind=w.delays, max=limit, trainable=w.learned)
