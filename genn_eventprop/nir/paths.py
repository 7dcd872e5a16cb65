"""What stands between two neurons of a NIR graph: linear nodes, as one matrix for each delay.

A signal that arrives at a node is a sum over sources s (neurons or the input) and delays d, y(t) = sum W_sd x_s(t - d),
plus a constant. Linear, Affine, Conv2d, poolings, Flatten and Scale multiply the matrices. Matrices are (M, N), as
everywhere here: a row for each presynaptic neuron; or (M,), the diagonal of one; or a `Window`, as long as one Conv2d
or pooling is all that there is.

A Delay delays channels, and a connection here delays the axons of its source. As long as the matrix is diagonal,
channel n is neuron n of the source, and a Delay with several values is one d for each of them. Behind any other matrix
a channel is a mixture of sources, W_n x(t - d_n): then the part is split into one matrix for each distinct d, each with
the columns n of that delay and zeros elsewhere. In a row of Delays, each with a way around it, every one doubles the
number of parts; `_check_paths` ends that before the memory does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import DescriptionError
from .dialects import to_ms
from .flat import Flat
from .package import nir_package
from .windows import LARGEST, SHARED, Window, window_of

Times = float | tuple[float, ...]
"""A delay in ms, or one for each neuron of the source."""
Key = tuple[str, Times]
Part = np.ndarray | Window
MOST_PATHS, MOST_NUMBERS = 2000, 1 << 28
"""Parts of a signal, and their numbers in all (2 GiB)."""
MOST_CHANNELS = 1 << 24
"""Of a node, as neurons of a population in a description."""
NEURONS = ("LIF", "CubaLIF", "LI", "CubaLI", "IF", "I")
KNOWN = ", ".join((*NEURONS, "Linear", "Affine", *SHARED, "Flatten", "Scale", "Delay"))


@dataclass
class Signal:
    """What a node gives or gets.

    Args:
        shape: of its channels.
        parts: (source, delay) -> (M, N), or (M,) as long as each channel stands for itself, or a `Window`.
        constant: (N,), what is there all the time.
        through: (source, delay) -> kinds of linear nodes that were passed.
        named: (source, delay) -> the last Linear or Affine that was passed.
    """

    shape: tuple[int, ...]
    parts: dict[Key, Part]
    constant: np.ndarray
    through: dict[Key, frozenset[str]] = field(default_factory=dict)
    named: dict[Key, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))


class Paths:
    """Signals of a flat graph, each worked out once."""

    def __init__(self, flat: Flat) -> None:
        self.flat = flat
        self._signals: dict[str, Signal] = {}

    def is_source(self, name: str) -> bool:
        return name in self.flat.inputs or type(self.flat.nodes[name]).__name__ in NEURONS

    def arriving(self, name: str) -> Signal:
        """The sum of all that leads to a node.

        Raises:
            DescriptionError: shapes that do not fit; a loop without a neuron; more than `MOST_PATHS`.
        """
        for linear in self._linear_before(name):
            self._signals[linear] = _applied(self.flat.nodes[linear], self._sum(linear), linear)
        return self._sum(name)

    def _linear_before(self, name: str) -> list[str]:
        """Linear nodes that lead to a node, from neurons or the input on, and are not worked out yet: each after those
        that lead to it. A file may have thousands in a row, so that this does not call itself."""
        order: list[str] = []
        done, opened = set(self._signals), {name}
        waiting = [(name, iter(self.flat.before[name]))]
        while waiting:
            node, rest = waiting[-1]
            before = next((b for b in rest if b not in done and not self.is_source(b)), None)
            if before is None:
                waiting.pop()
                opened.discard(node)
                done.add(node)
                order += [node]
            elif before in opened:
                raise DescriptionError(f"node {before!r} is in a loop without neurons, which has no solution")
            else:
                opened.add(before)
                waiting.append((before, iter(self.flat.before[before])))
        return order[:-1]

    def _sum(self, name: str) -> Signal:
        """The sum of what leads to a node; the linear nodes among them are worked out."""
        signals = [self.leaving(before) for before in self.flat.before[name]]
        if not signals:
            raise DescriptionError(f"nothing leads to node {name!r}")
        total = Signal(signals[0].shape, {}, np.zeros(signals[0].size))
        for before, signal in zip(self.flat.before[name], signals, strict=True):
            if signal.size != total.size:
                raise DescriptionError(f"node {before!r} gives {signal.size} channels to {name!r}, not {total.size}")
            for key, matrix in signal.parts.items():
                total.parts[key] = _plus(total.parts.get(key), matrix, name)
                total.through[key] = total.through.get(key, frozenset()) | signal.through.get(key, frozenset())
            total.constant = total.constant + signal.constant
            total.named = signal.named | total.named
        _check_paths(total.parts, name)
        return total

    def leaving(self, name: str) -> Signal:
        """What a node gives to the next ones."""
        if name not in self._signals:
            if self.is_source(name):
                self._signals[name] = _identity(name, self.shape_of(name))
            else:
                self._signals[name] = _applied(self.flat.nodes[name], self.arriving(name), name)
        return self._signals[name]

    def shape_of(self, name: str) -> tuple[int, ...]:
        """The shape of an input or of neurons; one set of parameters serves as many neurons as lead to it.

        Raises:
            DescriptionError: neither says how many there are.
        """
        node = self.flat.nodes[name]
        sides = node.input_type["input"] if name in self.flat.inputs else _largest(node)
        shape = tuple(int(n) for n in np.atleast_1d(sides)) if sides is not None else ()
        if math.prod(shape) > MOST_CHANNELS:
            raise DescriptionError(f"node {name!r} has {math.prod(shape):,} channels; up to {MOST_CHANNELS:,} are read")
        if int(np.prod(shape)) > 1 or name in self.flat.inputs:
            return shape
        # one set of parameters says nothing about how many neurons there are
        shape_before = self._shape_before(name)
        if shape_before is None:
            raise DescriptionError(f"node {name!r}: its number of neurons cannot be determined")
        return shape_before

    def _shape_before(self, name: str) -> tuple[int, ...] | None:
        """The shape that nodes before a node give to it: that of the first one that says it, through those between."""
        after: dict[str, str] = {}  # a node that was looked at -> the one that it leads to
        waiting = [(before, name) for before in reversed(self.flat.before[name])]
        while waiting:
            here, next_one = waiting.pop()
            if here in after or here == name:
                continue
            after[here] = next_one
            shape = self._stated_shape(here)
            if shape is None:
                waiting += [(before, here) for before in reversed(self.flat.before[here])]
                continue
            while (here := after[here]) != name:
                if not self.is_source(here):
                    signal = Signal(shape, {}, np.zeros(int(np.prod(shape))))
                    shape = _applied(self.flat.nodes[here], signal, here).shape
            return shape
        return None

    def _stated_shape(self, name: str) -> tuple[int, ...] | None:
        """The shape that a node gives, if it says so itself."""
        node = self.flat.nodes[name]
        if type(node).__name__ in ("Linear", "Affine"):
            return (int(np.shape(node.weight)[0]),) if np.ndim(node.weight) else None
        if name in self.flat.inputs:
            return self.shape_of(name)
        shape = _largest(node) if self.is_source(name) else ()
        return shape if int(np.prod(shape)) > 1 else None


def _check_paths(parts: Mapping[Key, Part], name: str) -> None:
    """Raises for more parts than a network can be made of: delays one after the other, each beside a way around it,
    double them."""
    numbers = sum(part.size if isinstance(part, np.ndarray) else part.kernel.size for part in parts.values())
    if len(parts) > MOST_PATHS or numbers > MOST_NUMBERS:
        raise DescriptionError(
            f"node {name!r} gets its input over {len(parts):,} different delays of its sources ({numbers:,} weights); "
            f"up to {MOST_PATHS:,} ({MOST_NUMBERS:,}) become connections"
        )


def _identity(name: str, shape: tuple[int, ...]) -> Signal:
    size = int(np.prod(shape))
    return Signal(shape, {(name, 0.0): np.ones(size)}, np.zeros(size))


def as_matrix(matrix: Part, name: str) -> np.ndarray:
    """(M, N) of a part that leads to node `name`.

    Raises:
        DescriptionError: a diagonal that would be larger than `LARGEST`.
    """
    if isinstance(matrix, Window):
        return matrix.matrix()
    if matrix.ndim == 1 and matrix.size**2 > LARGEST:
        raise DescriptionError(
            f"node {name!r} gets {matrix.size:,} channels one to one in addition to others; as all-to-all weights that "
            f"would be more than {LARGEST:,}"
        )
    return np.diag(matrix) if matrix.ndim == 1 else matrix


def _plus(one: Part | None, other: Part, name: str) -> Part:
    if one is None:
        return other
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and one.ndim == other.ndim:
        return one + other
    return as_matrix(one, name) + as_matrix(other, name)


def _largest(node: Any) -> tuple[int, ...]:
    shapes = [np.shape(v) for k, v in vars(node).items() if k not in ("input_type", "output_type", "metadata")]
    return max(shapes, key=lambda s: int(np.prod(s)), default=())


def _applied(node: Any, signal: Signal, name: str) -> Signal:
    """A signal after a linear node."""
    with node_errors(node, name):
        return _after(node, signal, name)


@contextmanager
def node_errors(node: Any, name: str) -> Iterator[None]:
    """What NumPy and nir say of values that do not fit together, as an error that names the node."""
    try:
        yield
    except DescriptionError:
        raise
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError, MemoryError) as error:
        raise DescriptionError(f"node {name!r} ({type(node).__name__}) cannot be read: {error}") from None


def _after(node: Any, signal: Signal, name: str) -> Signal:
    kind = type(node).__name__
    if kind in ("Input", "Output"):
        return signal
    if kind == "Flatten":
        nir = nir_package()
        flat = nir.Flatten({"input": np.array(signal.shape)}, int(node.start_dim), int(node.end_dim))
        return _with(signal, kind, shape=tuple(int(n) for n in flat.output_type["output"]))
    if kind == "Delay":
        return _delayed(signal, _spread(node.delay, signal, name))
    if kind == "Scale":
        scale = _spread(node.scale, signal, name)
        parts = {k: _scaled(m, scale) for k, m in signal.parts.items()}
        named = {k: name for k, m in parts.items() if isinstance(m, np.ndarray) and m.ndim == 1}
        return _with(signal, kind, parts=parts, constant=signal.constant * scale, named=signal.named | named)
    if kind in ("Linear", "Affine"):
        weight = np.asarray(node.weight, np.float64)
        if weight.ndim != 2 or weight.shape[1] != signal.size:
            raise DescriptionError(
                f"node {name!r} ({kind}) has a weight of shape {weight.shape}, and {signal.size} channels lead to it"
            )
        bias = np.asarray(node.bias, np.float64) if kind == "Affine" and node.bias is not None else 0.0
        through = _times(signal, weight.T, (weight.shape[0],), bias, kind)
        through.named = dict.fromkeys(through.parts, name)
        return through
    if kind in SHARED:
        return _windowed(node, kind, signal, name)
    raise DescriptionError(f"node {name!r} is a {kind}, which has no counterpart here; known: {KNOWN}")


def _with(signal: Signal, kind: str, **changed: Any) -> Signal:
    through = {k: kinds | {kind} for k, kinds in _through(signal).items()}
    values = {
        "shape": signal.shape, "parts": signal.parts, "constant": signal.constant, "named": signal.named,
        "through": through,
    }  # fmt: skip
    return Signal(**values | changed)


def _through(signal: Signal) -> dict[Key, frozenset[str]]:
    return {k: signal.through.get(k, frozenset()) for k in signal.parts}


def _scaled(part: Part, scale: np.ndarray) -> Part:
    """A part whose targets are multiplied by scale (N,)."""
    if isinstance(part, Window):
        window = part.scaled(scale)
        return part.matrix() * scale if window is None else window
    return part * scale


def _times(signal: Signal, matrix: np.ndarray, shape: tuple[int, ...], bias: Any, kind: str) -> Signal:
    parts: dict[Key, Part] = {k: _product(m, matrix) for k, m in signal.parts.items()}
    constant = signal.constant @ matrix + bias
    return _with(signal, kind, shape=shape, parts=parts, constant=constant)


def _product(part: Part, matrix: np.ndarray) -> np.ndarray:
    part = part.matrix() if isinstance(part, Window) else part
    return part[:, None] * matrix if part.ndim == 1 else part @ matrix


def _windowed(node: Any, kind: str, signal: Signal, name: str) -> Signal:
    """A signal after a convolution or a pooling; what comes one to one stays a `Window`."""
    window, bias = window_of(node, signal.shape, name)
    parts: dict[Key, Part] = {}
    for key, part in signal.parts.items():
        alone = window.after_scale(part) if isinstance(part, np.ndarray) and part.ndim == 1 else None
        parts[key] = _product(part, window.matrix()) if alone is None else alone
    constant = np.repeat(bias, window.made[1] * window.made[2])
    if np.any(signal.constant):
        constant = constant + signal.constant @ window.matrix()
    named = dict.fromkeys(parts, name)
    return _with(signal, kind, shape=window.made, parts=parts, constant=constant, named=named)


def _spread(values: Any, signal: Signal, name: str) -> np.ndarray:
    values = np.asarray(values, np.float64).reshape(-1)
    if values.size not in (1, signal.size):
        raise DescriptionError(f"node {name!r} has {values.size} values, and {signal.size} channels lead to it")
    return np.broadcast_to(values, signal.size)


def _delayed(signal: Signal, seconds: np.ndarray) -> Signal:
    """Every part later; what is no longer one to one is split by the delays of its channels."""
    parts: dict[Key, Part] = {}
    named: dict[Key, str] = {}
    through: dict[Key, frozenset[str]] = {}
    delays = to_ms(seconds)  # (N,), of the channels here
    one_delay = bool(np.all(delays == delays[0]))
    split: list[tuple[Times, Part]]
    for old, part in signal.parts.items():
        if one_delay:  # also behind a matrix or a window: all of it comes later
            split = [(_later(old[1], float(delays[0])), part)]
        elif isinstance(part, np.ndarray) and part.ndim == 1:
            split = [(_later(old[1], delays), part)]  # channel n is neuron n of the source: a delay of its axon
        else:
            matrix = as_matrix(part, "Delay")
            here = {float(d): matrix * (delays == d) for d in np.unique(delays)}
            split = [(_later(old[1], d), m) for d, m in here.items() if m.any()]  # no connection without weights
        for delay, late in split:
            new = (old[0], delay)  # two ways of the same delay are one connection, whose weights add up
            parts[new] = _plus(parts.get(new), late, "Delay")
            named |= {new: signal.named[old]} if old in signal.named else {}
            through[new] = through.get(new, frozenset()) | signal.through.get(old, frozenset()) | {"Delay"}
        _check_paths(parts, "Delay")
    return _with(signal, "Delay", parts=parts, named=named, through=through)


def _later(old: Times, more: float | np.ndarray) -> Times:
    """The sum of two delays; a number if it is the same for all sources."""
    total = np.asarray(old, np.float64) + more
    # 0.1 + 0.2 ms over one way and 0.3 ms over another must be one delay, not two connections
    total = np.round(total, 9) if np.any(old) else total
    first = float(total.flat[0])
    return first if np.all(total == first) else tuple(float(t) for t in total)
