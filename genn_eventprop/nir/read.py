"""``from_nir``: a NIR graph as a network with values."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data.optional import require
from ..data.readers.hdf5_inside import check_all
from ..errors import DataError, DescriptionError
from ..modelling import Array, Connectivity, Delay, Dense, Network, Neuron, OneToOne
from ..modelling.network import Input, Population
from .dialects import Dialect, dialect_of
from .flat import Flat, flatten
from .neurons import read_neuron
from .package import nir_package
from .paths import NEURONS, Key, Paths, Signal, as_matrix, node_errors
from .windows import SHARED, Image, Window, order_of

LONGEST_NAME = 90  # a description has names up to 100 characters
UNREADABLE = (
    OSError, LookupError, ValueError, TypeError, AttributeError, AssertionError, ArithmeticError, RuntimeError,
    RecursionError, MemoryError, NotImplementedError,
)  # fmt: skip
"""What h5py and nir raise on files that are damaged or hold something else."""


@dataclass(frozen=True, eq=False)
class Imported:
    """What was read; ``network, values = from_nir(graph)`` takes it apart.

    Args:
        network: times in ms. values: all parameters, by the names of `Network.initial_parameters`.
        outputs: names of the populations that the graph gives out.
        lost: a line for each thing that the network does not say, or that the file did not.
        order: name -> (N,), for inputs and populations with shape=(height, width, channels): the channel in the file,
            whose images are (channels, height, width), of every neuron here.

    Example:
        >>> from genn_eventprop.nir import from_nir, to_nir
        >>> from_nir(to_nir(net, net.initial_parameters(1))).outputs
        ('output',)
    """

    network: Network
    values: dict[str, np.ndarray]
    outputs: tuple[str, ...]
    lost: tuple[str, ...]
    order: dict[str, np.ndarray]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.network, self.values))


def from_nir(graph: Any, dialect: str = "spec", *, dt: float | None = None) -> Imported:
    """A network from a NIR graph or file.

    Nested graphs are opened. A Conv2d or pooling between neurons becomes Conv2D or Pool2D, a Scale OneToOne, a Delay
    before them axonal delays; everything else one matrix of weights for each delay. Populations and connections are
    called as their nodes are, as far as those are names.

    Args:
        graph: `nir.NIRGraph`, or the path of a file.
        dialect: who wrote it: "spec", "norse" or "snntorch", see `dialects`.
        dt: time step of the simulator in ms; none for "spec". norse: needed. snntorch: what a step is to mean here,
            by default the 0.1 ms that its files stand for, which `lost` says.

    Example:
        >>> from genn_eventprop.nir import from_nir, to_nir
        >>> network, values = from_nir(to_nir(net, net.initial_parameters(1)))
        >>> values["input_hidden.weight"].shape
        (4, 8)

    Raises:
        DescriptionError: what has no counterpart here, with the names of file and node.
    """
    nir_package()  # if it is not installed, that is no fault of the file
    try:
        return _imported(graph, dialect, dt)
    except DescriptionError as error:
        if isinstance(graph, (str, Path)) and str(graph) not in str(error):
            raise DescriptionError(f"{graph}: {error}") from None
        raise


def _imported(graph: Any, dialect: str, dt: float | None) -> Imported:
    convention = dialect_of(dialect, dt)
    flat = flatten(_open(graph))
    convention = replace(convention, times_dt=convention.name == "norse" and _all_below(flat, convention.file_dt))
    lost = _remarks(convention, dt)
    if len(flat.inputs) != 1:
        raise DescriptionError(
            f"only graphs with one input can be read, this one has {len(flat.inputs)}: {flat.inputs}"
        )
    paths, source = Paths(flat), flat.inputs[0]
    signals = {name: paths.arriving(name) for name in _by_distance(flat)}
    neurons = {name: _read(flat, name, signal, convention) for name, signal in signals.items()}
    windows, images = _windows(signals, {name: n.gain for name, n in neurons.items()})
    build = _Build(Network(), _Names(), images)
    build.input(source, int(np.prod(paths.shape_of(source))))
    for name, signal in signals.items():
        build.population(name, neurons[name].neuron, signal.size)
    for name, signal in signals.items():
        lost += build.connect(name, signal, neurons[name].gain, windows)
    outputs = tuple(build.places[n].name for n in _outputs(flat))
    network, order = build.network, {build.places[n].name: order_of(shape) for n, shape in images.items()}
    return Imported(network, network.initial_parameters(0), outputs, tuple(lost), order)


def _open(graph: Any) -> Any:
    nir = nir_package()
    if isinstance(graph, (str, Path)):
        if not Path(graph).is_file():
            raise DescriptionError(f"there is no file {graph}")
        try:
            with require("h5py", "NIR files").File(graph, "r") as file:
                check_all(file, Path(graph))
            return nir.read(graph, type_check=False)
        except DataError as error:
            raise DescriptionError(f"this NIR file cannot be read: {error}") from None
        except UNREADABLE as error:
            raise DescriptionError(f"{graph} cannot be read as a NIR file: {error}") from None
    if not isinstance(graph, nir.NIRGraph):
        raise DescriptionError(f"expected a nir.NIRGraph or the path of a file, got {type(graph).__name__}")
    return graph


def _read(flat: Flat, name: str, signal: Signal, dialect: Dialect) -> Any:
    node = flat.nodes[name]
    with node_errors(node, name):
        return read_neuron(node, name, signal.size, signal.constant, dialect)


def _by_distance(flat: Flat) -> list[str]:
    """Neurons by their distance from the input (a file sorts them by name); those that it does not reach come last."""
    after: dict[str, list[str]] = {name: [] for name in flat.nodes}
    for name, before in flat.before.items():
        for b in before:
            after[b].append(name)
    seen = dict.fromkeys(flat.inputs)
    waiting = deque(flat.inputs)
    while waiting:
        new = [n for n in after[waiting.popleft()] if n not in seen]
        waiting += dict.fromkeys(new)
        seen |= dict.fromkeys(new)
    return [n for n in (seen | dict.fromkeys(flat.nodes)) if type(flat.nodes[n]).__name__ in NEURONS]


def _outputs(flat: Flat) -> list[str]:
    """Neurons that the outputs of the graph show.

    Raises:
        DescriptionError: an output of something else.
    """
    names: list[str] = []
    seen = set[str]()
    waiting = [before for name in flat.outputs for before in flat.before[name]]
    for name in waiting:  # it grows
        if name in seen:
            continue
        seen.add(name)
        kind = type(flat.nodes[name]).__name__
        if kind in NEURONS:
            names += [name] if name not in names else []
        elif kind in ("Input", "Output", "Flatten") and name not in flat.inputs:
            waiting += flat.before[name]
        else:
            raise DescriptionError(
                f"node {name!r} ({kind}) leads to the output with no neuron after it; end the graph with LI or CubaLI, "
                "whose V can be read"
            )
    return names


def _windows(
    signals: dict[str, Signal], gains: dict[str, np.ndarray]
) -> tuple[dict[tuple[str, Key], Connectivity], dict[str, Image]]:
    """(target, part) -> Conv2D or Pool2D, where it is one; the images (C, H, W) that they need populations to be."""
    made: dict[tuple[str, Key], Connectivity] = {}
    images: dict[str, Image] = {}
    for name, signal in signals.items():
        for key, part in signal.parts.items():
            window = part.scaled(gains[name]) if isinstance(part, Window) else None
            kind = None if window is None else window.connectivity()
            if window is None or kind is None:
                continue
            wanted = ((key[0], window.source), (name, window.made))
            if all(images.get(n, shape) == shape for n, shape in wanted) and not (
                key[0] == name and window.source != window.made
            ):
                images |= dict(wanted)
                made[name, key] = kind
    pairs = [
        (k[0], n)
        for n, s in signals.items()
        for k, part in s.parts.items()
        if isinstance(part, np.ndarray) and part.ndim == 1
    ]
    while new := [p for p in pairs if (p[0] in images) != (p[1] in images)]:  # one to one: the same image
        source, target = new[0]
        shape = images.get(source) or images[target]
        images |= {source: shape, target: shape}
    return made, images


class _Build:
    """A network that is made of what was read; images are (height, width, channels) here."""

    def __init__(self, network: Network, names: _Names, images: dict[str, Image]) -> None:
        self.network, self.names, self.images = network, names, images
        self.places: dict[str, Input | Population] = {}

    def order(self, name: str) -> np.ndarray:
        """(N,) channel in the file of every neuron of a place."""
        return order_of(self.images[name]) if name in self.images else np.arange(self.places[name].size)

    def _shape(self, name: str, size: int) -> dict[str, Any]:
        if name not in self.images:
            return {"size": size}
        C, H, W = self.images[name]
        return {"shape": (H, W, C)}

    def input(self, name: str, size: int) -> None:
        self.places[name] = self.network.input(name=self.names.new(name), **self._shape(name, size))

    def population(self, name: str, neuron: Neuron, size: int) -> None:
        if name in self.images:
            order = order_of(self.images[name])
            values = {n: np.asarray(p.value) for n, p in neuron.params.items()}
            neuron = neuron.model(**{n: v[order] if v.size > 1 else float(v) for n, v in values.items()})
        self.places[name] = self.network.population(neuron, name=self.names.new(name), **self._shape(name, size))

    def connect(
        self, name: str, signal: Signal, gain: np.ndarray, windows: dict[tuple[str, Key], Connectivity]
    ) -> list[str]:
        """Connections to a population; what is lost on the way."""
        target, lost = self.places[name], []
        unrolled: set[str] = set()
        assert isinstance(target, Population)
        for key in signal.parts:
            source, delay = key
            place = self.places[source]
            if isinstance(place, Population) and not place.model.spiking:
                raise DescriptionError(
                    f"node {source!r} never spikes, and its V drives {name!r}; here connections carry only spikes"
                )
            label = signal.named.get(key, "")
            name_here = self.names.new(label if label.isidentifier() else f"{place.name}_{target.name}")
            kind = windows.get((name, key))
            if kind is None:
                unrolled |= signal.through.get(key, frozenset()) & set(SHARED)
                kind = self._weights(name, signal, key, gain)
            self.network.connect(place, target, kind, delay=self._delay(source, delay), name=name_here)
        sources = [source for source, _ in signal.parts]
        for source in dict.fromkeys(s for s in sources if sources.count(s) > 1):
            lost.append(
                f"{name}: its delays from {source} became {sources.count(source)} connections, in which the weights of "
                "other delays are zeros (and are learned too)"
            )
        if unrolled:
            lost.append(f"{name}: {' and '.join(sorted(unrolled))} became all-to-all weights, each learned separately")
        return lost

    def _weights(self, name: str, signal: Signal, key: Key, gain: np.ndarray) -> Connectivity:
        """All to all, or one to one where each channel stands for itself."""
        part, rows, columns = signal.parts[key], self.order(key[0]), self.order(name)
        if isinstance(part, np.ndarray) and part.ndim == 1 and np.array_equal(rows, columns):
            return OneToOne(Array((part * gain)[columns]))
        return Dense(Array((as_matrix(part, name) * gain)[np.ix_(rows, columns)]))

    def _delay(self, source: str, delay: Any) -> Any:
        """A number, or fixed axonal delays."""
        if not isinstance(delay, tuple):
            return delay
        return Delay(Array(np.array(delay)[self.order(source)]), kind="axonal", trainable=False, max=max(delay))


def _all_below(flat: Flat, file_dt: float | None) -> bool:
    """Whether no time constant could be stepped by dt: norse's writer multiplies them by dt, its reader does not."""
    times = [getattr(n, t) for n in flat.nodes.values() for t in ("tau", "tau_mem", "tau_syn") if hasattr(n, t)]
    return bool(times) and all(np.all(np.asarray(t) < file_dt) for t in times)


def _remarks(dialect: Dialect, dt: float | None) -> list[str]:
    """What the dialect makes of things that a file does not say."""
    if dialect.name == "snntorch":
        assumed = [] if dt is not None else ["snnTorch's files do not contain the time step: 0.1 ms was assumed"]
        return [*assumed, "reset_mechanism and reset_delay are not in the file: immediate reset to v_reset assumed"]
    if dialect.times_dt:
        return [f"times in the file are below dt: assumed multiplied by dt = {dialect.dt:g} ms, as norse 1.1 does"]
    return []


class _Names:
    """Names of nodes as names here, each once."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._next: dict[str, int] = {}

    def new(self, name: str) -> str:
        clean = re.sub(r"[^A-Za-z0-9_]", "_", name)[:LONGEST_NAME]
        clean = clean if clean.isidentifier() else f"n{clean}"
        free, i = clean, self._next.get(clean, 2)
        while free in self._used:
            free, i = f"{clean}_{i}", i + 1
        self._next[clean] = i
        self._used.add(free)
        return free
