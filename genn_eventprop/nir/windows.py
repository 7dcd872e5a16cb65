"""Conv2d, SumPool2d and AvgPool2d of NIR: windows that slide over images (channels, height, width)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import DescriptionError
from ..modelling import Array, Connectivity, Conv2D, Pool2D
from ..modelling.connectivity.windows import Windows

LARGEST = 1 << 24
"""Numbers of a matrix that a convolution may become."""
POOLS = ("SumPool2d", "AvgPool2d")
SHARED = ("Conv2d", *POOLS)
Pair = tuple[int, int]
Image = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Window:
    """Weights shared by all places of an image.

    Args:
        name, kind: of the node.
        kernel: (C_out, C_in / groups, kh, kw); of a pooling (C, 1, kh, kw), equal numbers within a channel.
        source, made: (C, H, W) before and after it.
        before, after: rows and columns of zeros around the image.
    """

    name: str
    kind: str
    kernel: np.ndarray
    source: Image
    made: Image
    stride: Pair
    before: Pair
    after: Pair
    dilation: Pair
    groups: int

    def after_scale(self, scale: np.ndarray) -> Window | None:
        """Itself over an image that is multiplied by scale (N,) first; None if that differs within a channel."""
        each = _by_channel(scale, self.source)
        if each is None or self.groups != 1:
            return self if np.all(scale == 1) else None
        return replace(self, kernel=self.kernel * each[None, :, None, None])

    def scaled(self, scale: np.ndarray) -> Window | None:
        """Itself, then multiplied by scale, (1,) or (N,); None if that differs within a channel."""
        each = _by_channel(np.broadcast_to(scale, int(np.prod(self.made))), self.made)
        return None if each is None else replace(self, kernel=self.kernel * each[:, None, None, None])

    def connectivity(self) -> Connectivity | None:
        """Conv2D, or Pool2D, over populations of shape (height, width, channels); None for unequal padding.

        Padding behind the last window makes no difference.
        """
        size = (int(self.kernel.shape[2]), int(self.kernel.shape[3]))
        C, H, W = self.source
        if Windows(size, self.stride, self.before, self.dilation).places(H, W) != self.made[1:]:
            return None
        if self.kind not in POOLS:
            weight = Array(self.kernel.transpose(2, 3, 1, 0))
            return Conv2D(
                weight, size, self.made[0], stride=self.stride, padding=self.before, dilation=self.dilation,
                groups=self.groups,
            )  # fmt: skip
        each = self.kernel[:, 0, 0, 0]
        several = bool(np.any(each != each[0]))
        scale = float(each[0]) * size[0] * size[1]
        pool = Pool2D(size, scale, stride=self.stride, padding=self.before, per_channel=several)
        pool.weight = Array(each if several else each[:1])
        return pool

    def matrix(self) -> np.ndarray:
        """(C H W, C_out H' W'), all to all.

        Raises:
            DescriptionError: larger than `LARGEST`.
        """
        (C, H, W), (O, height, width) = self.source, self.made
        if C * H * W * O * height * width > LARGEST:
            raise DescriptionError(
                f"node {self.name!r} ({self.kind}) would be {C * H * W} x {O * height * width} weights; what has "
                f"no Conv2D or Pool2D here is unrolled to all-to-all weights, up to {LARGEST:,}"
            )
        matrix = np.zeros((C, H, W, O, height, width))
        per, each = O // self.groups, self.kernel.shape[1]
        for i, j in np.ndindex(height, width):
            for y, x in np.ndindex(*self.kernel.shape[2:]):
                row = i * self.stride[0] - self.before[0] + y * self.dilation[0]
                col = j * self.stride[1] - self.before[1] + x * self.dilation[1]
                if 0 <= row < H and 0 <= col < W:
                    for o in range(O):
                        start = (o // per) * each
                        matrix[start : start + each, row, col, o, i, j] = self.kernel[o, :, y, x]
        return matrix.reshape(C * H * W, -1)


def window_of(node: Any, shape: tuple[int, ...], name: str) -> tuple[Window, np.ndarray]:
    """A node over channels of this shape, and its bias (C_out,).

    Raises:
        DescriptionError: the shape is no image, or the node does not fit it.
    """
    kind = type(node).__name__
    shape = shape[1:] if len(shape) == 4 and shape[0] == 1 else shape  # a batch of one
    if len(shape) != 3:
        raise DescriptionError(f"node {name!r} ({kind}) needs channels x height x width, it is given {shape}")
    C, H, W = shape
    if kind in POOLS:
        size = _pair(node.kernel_size)
        value = 1.0 if kind == "SumPool2d" else 1.0 / (size[0] * size[1])
        kernel, groups, dilation, bias = np.full((C, 1, *size), value), C, (1, 1), np.zeros(C)
    else:
        kernel, groups, dilation = np.asarray(node.weight, np.float64), int(node.groups), _pair(node.dilation)
        bias = np.zeros(len(kernel)) if node.bias is None else np.asarray(node.bias, np.float64)
    if kernel.ndim != 4 or kernel.shape[1] * groups != C:
        raise DescriptionError(f"node {name!r} ({kind}) has a kernel of shape {kernel.shape} for {C} channels")
    stride, reach = _pair(node.stride), [d * (k - 1) + 1 for d, k in zip(dilation, kernel.shape[2:], strict=True)]
    before, after = _padding(node.padding, reach)
    height, width = ((n + before[i] + after[i] - reach[i]) // stride[i] + 1 for i, n in enumerate((H, W)))
    if height < 1 or width < 1:
        raise DescriptionError(f"node {name!r} ({kind}) has a window of {tuple(reach)}, larger than its {H} x {W}")
    made = (len(kernel), height, width)
    if math.prod(made) > LARGEST:
        raise DescriptionError(f"node {name!r} ({kind}) makes {math.prod(made):,} channels; up to {LARGEST:,} are read")
    return Window(name, kind, kernel, (C, H, W), made, stride, before, after, dilation, groups), bias


def order_of(shape: Image) -> np.ndarray:
    """(N,) for every neuron (y width + x) channels + c here, its number in an image (C, H, W) of NIR."""
    return np.arange(int(np.prod(shape))).reshape(shape).transpose(1, 2, 0).ravel()


def _by_channel(values: np.ndarray, shape: Image) -> np.ndarray | None:
    """(C,) of (N,) values of an image (C, H, W) that are equal within channels, else None."""
    each = values.reshape(shape[0], -1)
    return each[:, 0] if np.all(each == each[:, :1]) else None


def _pair(value: Any) -> Pair:
    both = np.broadcast_to(np.asarray(value, int).reshape(-1), 2)
    return int(both[0]), int(both[1])


def _padding(value: Any, reach: list[int]) -> tuple[Pair, Pair]:
    """Rows and columns of zeros before and after."""
    value = value.decode() if isinstance(value, bytes) else value
    if isinstance(value, str) and value == "same":
        low = tuple((r - 1) // 2 for r in reach)
        return (low[0], low[1]), (reach[0] - 1 - low[0], reach[1] - 1 - low[1])
    pair = (0, 0) if isinstance(value, str) else _pair(value)
    return pair, pair
