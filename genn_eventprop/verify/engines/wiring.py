"""Tables of synapses and delays that are values, put onto a layout that has only dense weights and one delay each.

The dice are others than those of the layout and its numbers, which stay what they are without any of this.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ...modelling import Array, Delay, Dense, Input, Population
from ...modelling.connectivity import Connectivity, Conv2D, Grouped, OneToOne, Pool2D, Sparse
from .dice import Dice
from .layout import Layer, Layout, Wiring

KINDS = ("dense", "mask", "probability", "fan_in", "pairs", "grouped", "one_to_one")
DELAYS = ("", "synaptic", "axonal", "dendritic")
WINDOWS = ((2, 0, 1), (1, 0, 2), (3, 1, 1), (2, 1, 2), (3, 1, 2))  # kernel, padding, stride
Shape = tuple[int, ...]


def wired(layout: Layout, dice: Dice) -> Layout:
    """The layout with another wiring of every connection; layers behind windows, or one to one, get their size."""
    image = (dice.pick((2, 3, 7)), dice.pick((2, 3)), dice.pick((1, 2))) if dice.bernoulli(0.4) else None
    channels = math.prod(image) if image else layout.channels
    before: Shape = image or (channels,)
    layers: list[Layer] = []
    for layer in (*layout.hidden, layout.output):
        last = layer is layout.output
        wiring, shape = _wiring(dice, before, layer.size, last)
        loop = _wiring(dice, shape, math.prod(shape), True)[0]
        sides = shape if len(shape) == 3 else None
        layers.append(replace(layer, size=math.prod(shape), shape=sides, wiring=wiring, loop_wiring=loop))
        before = shape
    return replace(layout, image=image, channels=channels, hidden=tuple(layers[:-1]), output=layers[-1])


def _wiring(dice: Dice, source: Shape, size: int, fixed: bool) -> tuple[Wiring, Shape]:
    """(wiring, shape of the target); fixed: the target keeps its size."""
    windows = [w for w in WINDOWS if len(source) == 3 and w[0] <= min(source[:2]) + 2 * w[1]]
    window = dice.pick(windows) if windows and not fixed and dice.bernoulli(0.7) else (0, 0, 0)
    kinds = ("conv", "pool") if window[0] else KINDS[:-1] if fixed and math.prod(source) != size else KINDS
    wiring = Wiring(dice.pick(kinds), dice.pick(DELAYS), dice.bernoulli(0.6), window)
    if window[0]:
        return wiring, windowed(wiring, 0.0).output_shape(source)
    return wiring, (math.prod(source) if wiring.kind == "one_to_one" else size,)


def windowed(w: Wiring, weight: float | Array) -> Conv2D | Pool2D:
    kernel, padding, stride = w.window
    if w.kind == "conv":
        return Conv2D(weight, kernel, 2, stride=stride, padding=padding)
    return Pool2D(kernel, 2.0, stride=stride, padding=padding)


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
    found: dict[str, Any] = {}
    if learned and rng.random() < 0.2:
        found["trainable"] = rng.random(weights) < 0.5
    if w.delays:
        found["delay"] = _delays(w, Delay(0.0, kind=w.delays).shape(weights, source.size, target.size), *grid, rng)
    return found


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
