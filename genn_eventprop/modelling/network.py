"""`Network`: populations and the connections between them. It holds no arrays and knows no engine."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import NetworkError
from .memory import in_words, physical_memory
from .neuron import Neuron, NeuronModel
from .parameters import Array, Constant, Initialiser, Param, as_initialiser, check_bounds, check_bounds_fit, is_open
from .reach import check_below


@dataclass(frozen=True, eq=False)
class Input:
    """A source of given spikes: one channel of the data a neuron."""

    name: str
    size: int


@dataclass(frozen=True, eq=False)
class Population:
    """`size` neurons of one model. Built by `Network.population`, which tells what the rest is."""

    name: str
    size: int
    neuron: Neuron
    noise: float = 0.0
    dropout: float = 0.0
    dropped_reset: bool = False

    @property
    def model(self) -> NeuronModel:
        return self.neuron.model


class Dense:
    """All-to-all weights.

    Args:
        weight: initialiser, number, or array of shape (M, N): row = one presynaptic neuron.
        bounds: (lower, upper), None for open; a number for all weights, or an array (M, N) with one for each.
    """

    def __init__(self, weight: Any, bounds: tuple[Any, Any] = (None, None)) -> None:
        self.weight: Initialiser = as_initialiser(weight, "Dense")
        check_bounds(bounds, "Dense")
        self.bounds = bounds


@dataclass(frozen=True, eq=False)
class Connection:
    """Weights from one population (or input) to another, with one fixed delay. Built by `Network.connect`.

    Args:
        delay: ms from a spike to its arrival, >= 0. On the grid it is rounded to whole steps, floor(delay / dt + 0.5);
            the engine's `reason` says where that changed it.
        receptor: the input of the target's model that the spikes act on.
        trainable: learn the weights.
    """

    name: str
    source: Input | Population
    target: Population
    connectivity: Dense
    delay: float
    receptor: str
    trainable: bool

    @property
    def shape(self) -> tuple[int, int]:
        return (self.source.size, self.target.size)


class Network:
    """A spiking network: one input, populations, connections.

    Example:
        >>> net = Network()
        >>> inp = net.input(5)
        >>> hidden = net.population(LIF(tau_mem=20.0), 200, name="hidden")
        >>> net.connect(inp, hidden, Dense(Normal(1.5, 0.78)))
    """

    def __init__(self) -> None:
        self.inputs: list[Input] = []
        self.populations: list[Population] = []
        self.connections: list[Connection] = []

    def input(self, size: int, name: str = "input") -> Input:
        """The source of the data's spikes, `size` channels."""
        if self.inputs:
            raise NetworkError("a network has one input; give its channels to several populations by connections")
        self.inputs.append(Input(self._free_name(name), _positive(size, name)))
        return self.inputs[-1]

    def population(
        self,
        neuron: Neuron | NeuronModel,
        size: int,
        name: str,
        *,
        noise: float = 0.0,
        dropout: float = 0.0,
        dropped_reset: bool = False,
    ) -> Population:
        """`size` neurons of a model, e.g. ``net.population(LIF(tau_mem=20.0), 256, name="hidden")``.

        Noise and dropout act in training runs alone, on the grid (see `engines.chance`); for the input's spikes there
        is `data.augment.Dropout`.

        Args:
            noise: strength of white noise on V in units of V per square root of ms; a step adds
                noise sqrt(dt) N(0, 1).
            dropout: probability that a spike is not sent.
            dropped_reset: whether a spike that is not sent resets its neuron. As published, it does not: the neuron
                stays above threshold and tries again in the next step.

        Raises:
            NetworkError: a value that makes no sense for the model.
        """
        if isinstance(neuron, NeuronModel):
            neuron = neuron()
        if not isinstance(neuron, Neuron):
            raise NetworkError(f"population {name!r}: expected a neuron such as LIF(), got {type(neuron).__name__}")
        _check_chance(name, neuron.model, noise, dropout)
        population = Population(
            self._free_name(name), _positive(size, name), neuron, float(noise), float(dropout), bool(dropped_reset)
        )
        self.populations.append(population)
        return population

    def connect(
        self,
        source: Input | Population,
        target: Population,
        connectivity: Dense,
        *,
        delay: float = 0.0,
        receptor: str | None = None,
        trainable: bool = True,
        name: str | None = None,
    ) -> Connection:
        """Connect two populations; see `Connection` for the arguments. The name defaults to ``source_target``."""
        name = name or f"{getattr(source, 'name', '?')}_{getattr(target, 'name', '?')}"
        if source not in self.inputs and source not in self.populations:
            raise NetworkError(f"connection {name!r}: its source is not part of this network")
        if target not in self.populations:
            raise NetworkError(f"connection {name!r}: its target is not a population of this network")
        if isinstance(source, Population) and not source.model.spiking:
            raise NetworkError(f"connection {name!r}: {source.name!r} ({source.model.name}) never spikes")
        if not isinstance(connectivity, Dense):
            raise NetworkError(f"connection {name!r}: expected Dense(...), got {type(connectivity).__name__}")
        if not (isinstance(delay, (int, float, np.number)) and math.isfinite(delay) and delay >= 0):
            raise NetworkError(f"connection {name!r}: delay must be a finite time >= 0 ms, got {delay!r}")
        receptors = list(target.model.receptors)
        if not receptors:
            raise NetworkError(f"connection {name!r}: {target.model.name} takes no input; give its model input=...")
        if receptor is None and len(receptors) > 1:
            raise NetworkError(f"connection {name!r}: say receptor=..., one of {', '.join(receptors)}")
        if receptor is not None and receptor not in receptors:
            raise NetworkError(f"connection {name!r}: no receptor {receptor!r}; one of {', '.join(receptors)}")
        connection = Connection(
            self._free_name(name), source, target, connectivity, float(delay), receptor or receptors[0], trainable
        )
        self.connections.append(connection)
        return connection

    def initial_parameters(self, rng: np.random.Generator | int) -> dict[str, np.ndarray]:
        """First values of everything, float64.

        Returns ``"connection.weight"`` of shape (M, N) and ``"population.parameter"`` of shape (N,), or (1,) where
        one value serves the whole population. Every entry has a random stream of its own, named by the entry, so
        that adding a population changes no other draw.

        Raises:
            NetworkError: for arrays of the wrong shape, values that are not finite or outside their bounds, and time
                constants that are not positive.
        """
        base = int(rng) if isinstance(rng, (int, np.integer)) else int(rng.integers(2**63))
        if base < 0:
            raise NetworkError(f"a random seed must be a whole number >= 0, got {base}")
        stream = lambda name: np.random.default_rng([base, zlib.crc32(name.encode())])  # noqa: E731
        values: dict[str, np.ndarray] = {}
        for c in self.connections:
            key = f"{c.name}.weight"
            if 8 * c.shape[0] * c.shape[1] > physical_memory():
                raise NetworkError(
                    f"{key}: {c.shape[0]} x {c.shape[1]} weights take {in_words(8 * c.shape[0] * c.shape[1])}, this "
                    f"machine has {in_words(physical_memory())} of memory; use smaller populations"
                )
            try:
                values[key] = c.connectivity.weight.sample(stream(key), c.shape, c.source.size)
            except NetworkError as error:
                raise NetworkError(f"{key}: {error} (rows are neurons of {c.source.name!r})") from None
            values[key] = _within_bounds(values[key], c.connectivity, key)
        for p in self.populations:
            for n, param in p.neuron.params.items():
                values[f"{p.name}.{n}"] = param.draw(stream(f"{p.name}.{n}"), p.size, f"{p.name}.{n}")
        self.check_parameters(values)
        return values

    def check_parameters(self, values: dict[str, np.ndarray]) -> None:
        """Raise `NetworkError` unless all values are finite and all time constants positive, `ModelError` where a
        neuron starts, or a reset lands, at or above its threshold."""
        check_values(values, ((p.name, p.model, p.neuron.params) for p in self.populations))

    def check_connected(self) -> None:
        """Raise `NetworkError` if no connection leads to a population that takes input."""
        for p in self.populations:
            if p.model.receptors and not any(c.target is p for c in self.connections):
                raise NetworkError(f"no connection leads to population {p.name!r}; connect it, or leave it out")

    def bounds(self) -> dict[str, tuple[float | None, float | None]]:
        """Bounds of every parameter that has any, by the names of `initial_parameters`."""
        pairs = {f"{c.name}.weight": c.connectivity.bounds for c in self.connections}
        for p in self.populations:
            pairs |= {f"{p.name}.{n}": q.bounds for n, q in p.neuron.params.items()}
        return {k: b for k, b in pairs.items() if not is_open(b)}

    def trainable(self) -> tuple[str, ...]:
        """Names of what is learned, in the order of `initial_parameters`."""
        names = [f"{c.name}.weight" for c in self.connections if c.trainable]
        names += [f"{p.name}.{n}" for p in self.populations for n, q in p.neuron.params.items() if q.trainable]
        return tuple(names)

    def _free_name(self, name: str) -> str:
        taken = [x.name for x in self.inputs] + [x.name for x in self.populations] + [x.name for x in self.connections]
        if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
            raise NetworkError(f"{name!r} cannot name a part of a network; use ASCII letters, digits and underscores")
        if name in taken:
            raise NetworkError(f"the name {name!r} is taken; names in a network are unique, choose another with name=")
        return name


def _check_chance(name: str, model: NeuronModel, noise: float, dropout: float) -> None:
    for what, value, limit in (("noise", noise, math.inf), ("dropout", dropout, 1.0)):
        if not isinstance(value, (int, float, np.number)) or not 0 <= value < limit:
            allowed = ">= 0" if what == "noise" else ">= 0 and < 1"
            raise NetworkError(f"population {name!r}: {what} must be a number {allowed}, got {value!r}")
    if dropout > 0 and not model.spiking:
        raise NetworkError(f"population {name!r}: dropout={dropout:g}, but {model.name} sends no spikes to drop")


def _within_bounds(weight: np.ndarray, connectivity: Dense, key: str) -> np.ndarray:
    """Random draws are clipped to the bounds, as they will be after every step; given values must lie inside."""
    check_bounds_fit(connectivity.bounds, weight.shape, key)
    clipped = weight if is_open(connectivity.bounds) else np.clip(weight, *connectivity.bounds)
    if isinstance(connectivity.weight, (Array, Constant)) and not np.array_equal(clipped, weight):
        raise NetworkError(
            f"{key}: given weights of {weight.min():g} to {weight.max():g} lie outside the bounds {connectivity.bounds}"
        )
    return clipped


def _positive(size: int, name: str) -> int:
    if not isinstance(size, (int, np.integer)) or isinstance(size, bool) or size < 1:
        raise NetworkError(f"{name!r}: the size must be a whole number >= 1, got {size!r}")
    return int(size)


__all__ = ["Connection", "Dense", "Input", "Network", "Param", "Population"]


def check_values(
    values: Mapping[str, np.ndarray], populations: Iterable[tuple[str, NeuronModel, Mapping[str, Param]]]
) -> None:
    """`Network.check_parameters` for populations given as (name, model, parameters)."""
    for key, value in values.items():
        if not np.all(np.isfinite(value)):
            raise NetworkError(f"{key}: values must be finite")
    for name, model, params in populations:
        for n, param in params.items():
            key = f"{name}.{n}"
            if param.unit == "ms" and key in values and np.any(values[key] <= 0):
                raise NetworkError(f"{key}: a time constant must be positive, got {values[key].min():g} ms")
        own = {n: values.get(f"{name}.{n}", param.value) for n, param in params.items()}
        check_below(model, own, f"population {name!r} ({model.name})")
