"""Groups that are inputs, and TimedArrays, as data: given spikes, draws of Poisson spikes, currents."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...data.currents import Currents
from ...data.events import Events
from ...errors import DescriptionError
from .package import brian_package
from .read_expressions import Numbers, computed, number, tree_of
from .read_neurons import is_known, resolved
from .read_units import converted

POISSON_THRESHOLD = re.compile(r"\s*rand\(\)\s*<=?\s*(.+?)\s*\*\s*dt\s*", re.DOTALL)


@dataclass(frozen=True, eq=False)
class Spikes:
    """Given spikes: times (ms) and channels, again after every period (ms; 0: once)."""

    times: np.ndarray
    channels: np.ndarray
    period: float
    size: int

    def draw(self, duration: float, samples: int, rng: np.random.Generator) -> Events:
        repeats = int(np.ceil(duration / self.period)) if self.period > 0 else 1
        times = (self.times + self.period * np.arange(repeats)[:, None]).ravel()
        channels = np.tile(self.channels, repeats)
        inside = times < duration
        return Events.from_samples([(times[inside], channels[inside])] * samples, self.size, sort=True)


@dataclass(frozen=True, eq=False)
class Poisson:
    """Random spikes, much as Brian draws them: in a step of dt ms, each of `trains` sources of a channel spikes with
    probability rate dt, here at a random time of the step.

    Args:
        rates: (N,) per ms, as a tree of numbers, TimedArrays, t and conditions that gives them. start: of t, in ms.
    """

    rates: ast.expr
    start: float
    values: Mapping[str, Any]
    arrays: Mapping[str, Any]
    dt: float
    trains: int
    size: int

    def draw(self, duration: float, samples: int, rng: np.random.Generator) -> Events:
        steps = np.arange(int(np.ceil(duration / self.dt - 1e-9)))
        times = steps * self.dt
        drawn = []
        for _ in range(samples):
            found: list[np.ndarray] = []
            # a draw for each step and channel at once would take the memory of the whole raster
            for some in np.array_split(steps, max(1, steps.size * self.size // 10**7)):
                values = dict(self.values) | {"time": times[some][:, None] + self.start}
                for name, array in self.arrays.items():
                    values[name] = _at(array, times[some] + self.start)
                rates = np.broadcast_to(computed(self.rates, values, "rates"), (some.size, self.size))
                counts = rng.binomial(self.trains, np.clip(rates * self.dt, 0.0, 1.0))
                step, channel = np.nonzero(counts)
                each = counts[step, channel]
                found.append(np.stack([np.repeat(some[step], each), np.repeat(channel, each)]))
            step, channel = np.concatenate(found, axis=1)
            # at one time of the step for all, spikes would arrive together, where a gradient has no single value
            inside = np.minimum((step + rng.random(step.size)) * self.dt, np.nextafter(duration, 0.0))
            drawn.append((inside, channel.astype(np.int32)))
        return Events.from_samples(drawn, self.size, sort=True)


@dataclass(frozen=True, eq=False)
class Given:
    """The values of a TimedArray from `start` ms on, whose last ones go on."""

    array: Any
    start: float = 0.0

    @property
    def dt(self) -> float:
        """ms from one value to the next."""
        return float(converted(self.array.dt, brian_package().second.dim))

    @property
    def values(self) -> np.ndarray:
        """(T, C)"""
        values = converted(np.asarray(self.array.values), self.array.dim)
        return values.reshape(len(values), -1)

    def draw(self, duration: float, samples: int, rng: np.random.Generator) -> Currents:
        values, steps = self.values, int(np.ceil(duration / self.dt - 1e-9))
        rows = np.minimum(np.arange(max(steps, 1)) + round(self.start / self.dt), len(values) - 1)
        return Currents(np.repeat(values[None, rows], samples, axis=0), dt=self.dt)


Source = Spikes | Poisson | Given


def _at(array: Any, times: np.ndarray) -> np.ndarray:
    """(T, 1) or (T, C) values of a TimedArray at times (ms)."""
    given = Given(array)
    # a time at a step of the array is that step, which rounding may have put just before it
    rows = np.clip(np.floor(times / given.dt + 1e-6).astype(int), 0, len(given.values) - 1)
    return given.values[rows]


def of_input(group: Any, namespace: Mapping[str, Any], start: float) -> Source | None:
    """The data of a group that is an input, from `start` ms on; None of any other."""
    b2 = brian_package()
    second = b2.second.dim
    if isinstance(group, b2.SpikeGeneratorGroup):
        period = float(converted(np.asarray(group.period_), second))
        times, channels = converted(np.asarray(group._spike_time), second), np.asarray(group._neuron_index, np.int32)
        times, period = times - start, period if period < 1e9 else 0.0
        if period:
            times = times % period
        later = times >= 0
        return Spikes(times[later], channels[later], period, len(group))
    if isinstance(group, b2.PoissonGroup):
        return poisson(group, group._rates, namespace, start)
    if isinstance(group, b2.NeuronGroup) and not group.user_equations.diff_eq_names:
        match = POISSON_THRESHOLD.fullmatch(str(group.events.get("spike", "")))
        return None if match is None else poisson(group, match[1], namespace, start)
    return None


def poisson(group: Any, rates: Any, namespace: Mapping[str, Any], start: float, trains: int = 1) -> Poisson:
    """Poisson spikes of `rates`, a quantity or an expression in t, i, TimedArrays and what the group has."""
    where, size = f"{group.name}, rates", len(group)
    values: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    dt = float(converted(np.asarray(group.clock.dt_), brian_package().second.dim))
    if not isinstance(rates, str):
        values["rate"] = converted(np.asarray(rates), brian_package().Hz.dim)
        return Poisson(ast.Name("rate"), 0.0, values, arrays, dt, trains, size)

    def lookup(name: str) -> ast.expr:
        if name == "t":
            return ast.Name("time")
        if name in group.variables:
            variable = group.variables[name]
            equation = getattr(group, "user_equations", {}).get(name)
            if equation is not None and equation.type == "subexpression":
                return build(str(equation.expr))
            numbers = np.asarray(getattr(group, f"{name}_" if name != "i" else "i")[:], dtype=np.float64)
            values[f"of_{name}"] = converted(np.broadcast_to(numbers, (size,)), variable.dim)
            return ast.Name(f"of_{name}")
        found = resolved(name, group, namespace, where, rates)
        value = float(converted(found.get_value(), found.dim))
        if is_known(name, found) and np.isfinite(value):
            return number(value)
        values[f"of_{name}"] = value
        return ast.Name(f"of_{name}")

    def call(name: str, arguments: list[ast.expr]) -> ast.expr | None:
        array = resolved(name, group, namespace, where, rates, functions=True)
        if not isinstance(array, brian_package().TimedArray):
            return None
        plain = [ast.unparse(a) for a in arguments]
        if plain not in (["t"], ["t", "i"]):
            raise DescriptionError(
                f"{where}: {name}({', '.join(plain)}) has no counterpart; use {name}(t) or {name}(t, i)"
            )
        arrays[f"array_{name}"] = array
        return ast.Name(f"array_{name}")

    def build(text: str) -> ast.expr:
        return Numbers(lookup, call, text, where).build(tree_of(text, where))

    return Poisson(build(rates), start, values, arrays, dt, trains, size)
