"""What stands between two neurons of a NIR graph: linear nodes, as one matrix for each delay.

A signal that arrives at a node is a sum over sources s (neurons or the input) and delays d, y(t) = sum W_sd x_s(t - d),
plus a constant. Linear, Affine, Conv2d, SumPool2d, Flatten and Scale multiply the matrices; Delay, which has a delay
for each channel, splits them. Matrices are (M, N), as everywhere here: a row for each presynaptic neuron; or (M,), the
diagonal of one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import DescriptionError
from .dialects import to_ms
from .flat import Flat
from .package import nir_package

LARGEST = 1 << 24
"""Numbers of a matrix that a convolution may become."""
NEURONS = ("LIF", "CubaLIF", "LI", "CubaLI", "IF", "I")


@dataclass
class Signal:
    """What a node gives or gets.

    Args:
        shape: of its channels.
        parts: (source, delay in ms) -> (M, N), or (M,) as long as each channel stands for itself.
        constant: (N,), what is there all the time.
        through: kinds of linear nodes that were passed.
        named: (source, delay) -> the last Linear or Affine that was passed.
    """

    shape: tuple[int, ...]
    parts: dict[tuple[str, float], np.ndarray]
    constant: np.ndarray
    through: frozenset[str] = frozenset()
    named: dict[tuple[str, float], str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))


class Paths:
    """Signals of a flat graph, each worked out once."""

    def __init__(self, flat: Flat) -> None:
        self.flat = flat
        self._known: dict[str, Signal] = {}
        self._open: list[str] = []

    def is_source(self, name: str) -> bool:
        return name in self.flat.inputs or type(self.flat.nodes[name]).__name__ in NEURONS

    def arriving(self, name: str) -> Signal:
        """The sum of all that leads to a node.

        Raises:
            DescriptionError: shapes that do not fit; a loop without a neuron.
        """
        if name in self._open:
            raise DescriptionError(f"node {name!r} is in a loop without neurons, which has no solution")
        self._open.append(name)
        signals = [self.leaving(before) for before in self.flat.before[name]]
        self._open.pop()
        if not signals:
            raise DescriptionError(f"nothing leads to node {name!r}")
        total = Signal(signals[0].shape, {}, np.zeros(signals[0].size))
        for before, signal in zip(self.flat.before[name], signals, strict=True):
            if signal.size != total.size:
                raise DescriptionError(f"node {before!r} gives {signal.size} channels to {name!r}, not {total.size}")
            for key, matrix in signal.parts.items():
                total.parts[key] = _plus(total.parts.get(key), matrix, name)
            total.constant = total.constant + signal.constant
            total.through |= signal.through
            total.named = signal.named | total.named
        return total

    def leaving(self, name: str) -> Signal:
        """What a node gives to the next ones."""
        if name not in self._known:
            if self.is_source(name):
                self._known[name] = _identity(name, self.shape_of(name))
            else:
                self._known[name] = _applied(self.flat.nodes[name], self.arriving(name), name)
        return self._known[name]

    def shape_of(self, name: str) -> tuple[int, ...]:
        """The shape of an input or of neurons; one set of parameters serves as many neurons as lead to it.

        Raises:
            DescriptionError: neither says how many there are.
        """
        node = self.flat.nodes[name]
        own = node.input_type["input"] if name in self.flat.inputs else _largest(node)
        shape = tuple(int(n) for n in np.atleast_1d(own)) if own is not None else ()
        if int(np.prod(shape)) > 1 or name in self.flat.inputs:
            return shape
        for before in self.flat.before[name]:
            given = self._given(before, {name})
            if given is not None:
                return given
        raise DescriptionError(f"node {name!r}: its number of neurons cannot be determined")

    def _given(self, name: str, seen: set[str]) -> tuple[int, ...] | None:
        """The shape that a node gives, without a look at the nodes `seen`."""
        if name in seen:
            return None
        node = self.flat.nodes[name]
        if type(node).__name__ in ("Linear", "Affine"):
            return (int(np.shape(node.weight)[0]),)
        if self.is_source(name):
            own = _largest(node) if name not in self.flat.inputs else self.shape_of(name)
            if int(np.prod(own)) > 1 or name in self.flat.inputs:
                return own
        shapes = (self._given(before, seen | {name}) for before in self.flat.before[name])
        shape = next((s for s in shapes if s is not None), None)
        if shape is None or self.is_source(name):
            return shape
        return _applied(node, Signal(shape, {}, np.zeros(int(np.prod(shape)))), name).shape


def _identity(name: str, shape: tuple[int, ...]) -> Signal:
    size = int(np.prod(shape))
    return Signal(shape, {(name, 0.0): np.ones(size)}, np.zeros(size))


def as_matrix(matrix: np.ndarray, name: str) -> np.ndarray:
    """(M, N) of a matrix or a diagonal that leads to node `name`.

    Raises:
        DescriptionError: a diagonal that would be larger than `LARGEST`.
    """
    if matrix.ndim == 1 and matrix.size**2 > LARGEST:
        raise DescriptionError(
            f"node {name!r} gets {matrix.size:,} channels one to one; connections are all to all here, and that "
            f"would be more than {LARGEST:,} weights"
        )
    return np.diag(matrix) if matrix.ndim == 1 else matrix


def _plus(one: np.ndarray | None, other: np.ndarray, name: str) -> np.ndarray:
    if one is None or one.ndim == other.ndim:
        return other if one is None else one + other
    return as_matrix(one, name) + as_matrix(other, name)


def _largest(node: Any) -> tuple[int, ...]:
    shapes = [np.shape(v) for k, v in vars(node).items() if k not in ("input_type", "output_type", "metadata")]
    return max(shapes, key=lambda s: int(np.prod(s)), default=())


def _applied(node: Any, signal: Signal, name: str) -> Signal:
    """A signal after a linear node."""
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
        parts = {k: m * scale for k, m in signal.parts.items()}
        return _with(signal, kind, parts=parts, constant=signal.constant * scale)
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
    if kind in ("Conv2d", "SumPool2d"):
        return _unrolled(node, kind, signal, name)
    raise DescriptionError(f"node {name!r} is a {kind}, which has no counterpart here; {_instead(kind)}")


def _instead(kind: str) -> str:
    if kind == "AvgPool2d":
        return "use SumPool2d and scaled weights"
    return "known: " + ", ".join((*NEURONS, "Linear, Affine, Conv2d, SumPool2d, Flatten, Scale, Delay"))


def _with(signal: Signal, kind: str, **changed: Any) -> Signal:
    values = {"shape": signal.shape, "parts": signal.parts, "constant": signal.constant, "named": signal.named}
    return Signal(**values | changed, through=signal.through | {kind})


def _times(signal: Signal, matrix: np.ndarray, shape: tuple[int, ...], bias: Any, kind: str) -> Signal:
    parts = {k: m[:, None] * matrix if m.ndim == 1 else m @ matrix for k, m in signal.parts.items()}
    constant = signal.constant @ matrix + bias
    return _with(signal, kind, shape=shape, parts=parts, constant=constant)


def _spread(values: Any, signal: Signal, name: str) -> np.ndarray:
    values = np.asarray(values, np.float64).reshape(-1)
    if values.size not in (1, signal.size):
        raise DescriptionError(f"node {name!r} has {values.size} values, and {signal.size} channels lead to it")
    return np.broadcast_to(values, signal.size)


def _delayed(signal: Signal, seconds: np.ndarray) -> Signal:
    """Every part split by the delays of its channels."""
    parts: dict[tuple[str, float], np.ndarray] = {}
    named: dict[tuple[str, float], str] = {}
    delays = to_ms(seconds)
    for old, matrix in signal.parts.items():
        for delay in np.unique(delays):
            here = matrix * (delays == delay)
            if len(np.unique(delays)) == 1 or here.any():
                new = (old[0], round(old[1] + float(delay), 9) if old[1] else float(delay))
                parts[new] = _plus(parts.get(new), here, "Delay")
                named |= {new: signal.named[old]} if old in signal.named else {}
    return _with(signal, "Delay", parts=parts, named=named)


def _unrolled(node: Any, kind: str, signal: Signal, name: str) -> Signal:
    """A convolution or a pooling as a matrix.

    Raises:
        DescriptionError: of another shape, or larger than `LARGEST`.
    """
    shape = signal.shape[1:] if len(signal.shape) == 4 and signal.shape[0] == 1 else signal.shape  # a batch of one
    if len(shape) != 3:
        raise DescriptionError(f"node {name!r} ({kind}) needs channels x height x width, it is given {shape}")
    C, H, W = shape
    if kind == "SumPool2d":
        kernel = np.zeros((C, 1, *_pair(node.kernel_size)))
        kernel[:], groups, dilation, bias = 1.0, C, (1, 1), np.zeros(C)
    else:
        kernel, groups, dilation = np.asarray(node.weight, np.float64), int(node.groups), _pair(node.dilation)
        bias = np.zeros(len(kernel)) if node.bias is None else np.asarray(node.bias, np.float64)
    if kernel.ndim != 4 or kernel.shape[1] * groups != C:
        raise DescriptionError(f"node {name!r} ({kind}) has a kernel of shape {kernel.shape} for {C} channels")
    stride, reach = _pair(node.stride), [d * (k - 1) + 1 for d, k in zip(dilation, kernel.shape[2:], strict=True)]
    before, after = _padding(node.padding, reach)
    height, width = ((n + before[i] + after[i] - reach[i]) // stride[i] + 1 for i, n in enumerate((H, W)))
    if height < 1 or width < 1 or signal.size * len(kernel) * height * width > LARGEST:
        raise DescriptionError(
            f"node {name!r} ({kind}) would be {signal.size} x {len(kernel) * height * width} weights; convolutions are "
            f"unrolled to all-to-all weights here, up to {LARGEST:,}"
        )
    matrix = np.zeros((C, H, W, len(kernel), height, width))
    per, each = kernel.shape[0] // groups, kernel.shape[1]
    for i, j in np.ndindex(height, width):
        for y, x in np.ndindex(*kernel.shape[2:]):
            row = i * stride[0] - before[0] + y * dilation[0]
            col = j * stride[1] - before[1] + x * dilation[1]
            if 0 <= row < H and 0 <= col < W:
                for o in range(len(kernel)):
                    start = (o // per) * each
                    matrix[start : start + each, row, col, o, i, j] = kernel[o, :, y, x]
    made = (len(kernel), height, width)
    return _times(signal, matrix.reshape(signal.size, -1), made, np.repeat(bias, height * width), kind)


def _pair(value: Any) -> tuple[int, int]:
    both = np.broadcast_to(np.asarray(value, int).reshape(-1), 2)
    return int(both[0]), int(both[1])


def _padding(value: Any, reach: list[int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns of zeros before and after."""
    value = value.decode() if isinstance(value, bytes) else value
    if isinstance(value, str) and value == "same":
        low = tuple((r - 1) // 2 for r in reach)
        return (low[0], low[1]), (reach[0] - 1 - low[0], reach[1] - 1 - low[1])
    pair = (0, 0) if isinstance(value, str) else _pair(value)
    return pair, pair
