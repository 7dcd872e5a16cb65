"""Two-dimensional convolutions between populations with shape=(height, width, channels)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import NetworkError
from .base import Connectivity, Shape, image, pair_of
from .synapses import Synapses
from .windows import Windows


class Conv2D(Connectivity):
    """Weights (kh, kw, c_in, c_out), shared by all positions of the image, as are the delays of the weights.

    Args:
        weight: initialiser, number, or array of that shape.
        kernel: size of the window, a number or (vertical, horizontal). channels: c_out.
        stride, padding, dilation: numbers or (vertical, horizontal), as in other libraries; padding adds no spikes.

    The target's shape is ``output_shape(source.shape)``.

    Example:
        >>> conv = Conv2D(FanIn(2.0), kernel=3, channels=8, stride=2, padding=1)
        >>> features = net.population(LIF(), name="features", shape=conv.output_shape(image.shape))
        >>> net.connect(image, features, conv)
    """

    arguments = ("kernel", "channels", "stride", "padding", "dilation")

    def __init__(
        self,
        weight: Any,
        kernel: int | tuple[int, int],
        channels: int,
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        bounds: tuple[Any, Any] = (None, None),
    ) -> None:
        super().__init__(weight, bounds)
        if not isinstance(channels, (int, np.integer)) or isinstance(channels, bool) or channels < 1:
            raise NetworkError(f"Conv2D: channels must be an integer >= 1, got {channels!r}")
        self.channels = int(channels)
        self.windows = Windows(
            pair_of(kernel, "Conv2D: kernel", 1), pair_of(stride, "Conv2D: stride", 1),
            pair_of(padding, "Conv2D: padding", 0), pair_of(dilation, "Conv2D: dilation", 1),
        )  # fmt: skip

    def output_shape(self, source: Shape) -> tuple[int, int, int]:
        """(height, width, channels) of the target over a source of this shape."""
        height, width, _ = image(source, "source", "Conv2D")
        return (*self.windows.places(height, width), self.channels)

    def check(self, source: Shape, target: Shape) -> None:
        made = self.output_shape(source)
        if image(target, "target", "Conv2D") != made:
            raise NetworkError(
                f"Conv2D over a source of shape {source} gives {made}, but the target has shape {target}"
            )
        self.windows.cells(source[0], source[1])

    def weight_shape(self, source: Shape, target: Shape) -> Shape:
        return (*self.windows.kernel, source[2], self.channels)

    def fan_in(self, source: Shape, target: Shape) -> int:
        return self.windows.kernel[0] * self.windows.kernel[1] * source[2]

    def synapses(self, source: Shape, target: Shape) -> Synapses:
        height, width, c_in = image(source, "source", "Conv2D")
        pixel, place, cell = self.windows.cells(height, width)
        i, o = (a.ravel() for a in np.meshgrid(np.arange(c_in), np.arange(self.channels), indexing="ij"))
        pairs = np.stack([
            (pixel[:, None] * c_in + i).ravel(), (place[:, None] * self.channels + o).ravel()
        ], axis=1)  # fmt: skip
        weight_of = ((cell[:, None] * c_in + i) * self.channels + o).ravel()
        return Synapses.of_pairs(pairs, height * width * c_in, math.prod(target), weight_of)

    def options(self) -> dict[str, Any]:
        w = self.windows
        return {
            "kernel": w.kernel, "channels": self.channels, "stride": w.stride, "padding": w.padding,
            "dilation": w.dilation,
        }  # fmt: skip
