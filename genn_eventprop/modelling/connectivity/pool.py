"""Pooling between populations with shape=(height, width, channels), each channel on its own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import NetworkError, is_number
from .base import Shape, Windowed, image, pair_of
from .synapses import Synapses
from .windows import Windows


class Pool2D(Windowed):
    """Average pooling: every spike in a window adds the weight scale / (kh kw), one in all or one per channel.

    Args:
        kernel: size of the window, a number or (vertical, horizontal).
        scale: factor of the average; the resulting weight is learned if the connection is `trainable`.
        stride: None: the size of the kernel, so that windows do not overlap.
        padding: as for `Conv2D`.
        per_channel: a weight for each channel, (channels,), instead of (1,).
        bounds: (lower, upper) of the weights, None for open.

    Example:
        >>> features = net.population(LIF(), name="features", shape=(8, 8, 4))
        >>> pool = Pool2D(2, scale=4.0)
        >>> small = net.population(LIF(), name="small", shape=pool.output_shape(features.shape))
        >>> net.connect(features, small, pool).target.shape
        (4, 4, 4)
    """

    arguments = ("kernel", "scale", "stride", "padding", "per_channel")

    def __init__(
        self,
        kernel: int | tuple[int, int],
        scale: float = 1.0,
        *,
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
        per_channel: bool = False,
        bounds: tuple[Any, Any] = (None, None),
    ) -> None:
        size = pair_of(kernel, "Pool2D: kernel", 1)
        if not is_number(scale):
            raise NetworkError(f"Pool2D: scale must be a number, got {scale!r}")
        super().__init__(float(scale) / math.prod(size), bounds)
        step = size if stride is None else pair_of(stride, "Pool2D: stride", 1)
        self.windows = Windows(size, step, pair_of(padding, "Pool2D: padding", 0))
        self.scale, self.per_channel = float(scale), bool(per_channel)

    def check(self, source: Shape, target: Shape) -> None:
        super().check(source, target)
        self.windows.cells(source[0], source[1])

    def weight_shape(self, source: Shape, target: Shape) -> Shape:
        return (source[2],) if self.per_channel else (1,)

    def fan_in(self, source: Shape, target: Shape) -> int:
        return math.prod(self.windows.kernel)

    def synapses(self, source: Shape, target: Shape) -> Synapses:
        height, width, channels = image(source, "source", "Pool2D")
        pixel, place, _ = self.windows.cells(height, width)
        c = np.arange(channels)
        pairs = np.stack([(pixel[:, None] * channels + c).ravel(), (place[:, None] * channels + c).ravel()], axis=1)
        weight_of = np.broadcast_to(c if self.per_channel else 0 * c, (len(pixel), channels)).ravel()
        return Synapses.of_pairs(pairs, math.prod(source), math.prod(target), weight_of)

    def options(self) -> dict[str, Any]:
        w = self.windows
        return {
            "kernel": w.kernel, "scale": self.scale, "stride": w.stride, "padding": w.padding,
            "per_channel": self.per_channel,
        }  # fmt: skip
