"""Two-dimensional convolutions between populations with shape=(height, width, channels)."""

from __future__ import annotations

import math
from typing import Any

from ...errors import NetworkError, is_whole, whole
from .base import Shape, Windowed, pair_of
from .synapses import Synapses
from .window_rows import WindowRows
from .windows import Windows


class Conv2D(Windowed):
    """Weights (kh, kw, c_in / groups, c_out), shared by all positions of the image, as are the delays of the weights.

    Args:
        weight: initialiser, number, or array of that shape.
        kernel: size of the window, a number or (vertical, horizontal).
        channels: c_out.
        stride, padding, dilation: numbers or (vertical, horizontal), as in other libraries; padding adds no spikes.
        bounds: (lower, upper), None for open; a number, or an array with one for each weight.
        groups: the channels of source and target are divided into so many groups that follow each other; each group of
            the source is connected to that of the target alone.

    The target's shape is ``output_shape(source.shape)``.

    Example:
        >>> image = net.input(shape=(16, 16, 2), name="image")
        >>> conv = Conv2D(FanIn(2.0), kernel=3, channels=8, stride=2, padding=1)
        >>> features = net.population(LIF(), name="features", shape=conv.output_shape(image.shape))
        >>> net.connect(image, features, conv).weight_shape
        (3, 3, 2, 8)
    """

    form = "windows"
    channels: int
    arguments = ("kernel", "channels", "stride", "padding", "dilation", "groups")

    def __init__(
        self,
        weight: Any,
        kernel: int | tuple[int, int],
        channels: int,
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bounds: tuple[Any, Any] = (None, None),
    ) -> None:
        super().__init__(weight, bounds)
        for name, value in (("channels", channels), ("groups", groups)):
            whole(value, f"Conv2D: {name}", NetworkError)
        if channels % groups:
            raise NetworkError(f"Conv2D: {channels} channels cannot be divided into {groups} equal groups")
        self.channels, self.groups = int(channels), int(groups)
        self.windows = Windows(
            pair_of(kernel, "Conv2D: kernel", 1), pair_of(stride, "Conv2D: stride", 1),
            pair_of(padding, "Conv2D: padding", 0), pair_of(dilation, "Conv2D: dilation", 1),
        )  # fmt: skip

    def check(self, source: Shape, target: Shape) -> None:
        super().check(source, target)
        if source[2] % self.groups:
            raise NetworkError(f"Conv2D: {source[2]} channels of the source are not {self.groups} equal groups")
        self.windows.axes(source[0], source[1])

    def weight_shape(self, source: Shape, target: Shape) -> Shape:
        return (*self.windows.kernel, source[2] // self.groups, self.channels)

    def fan_in(self, source: Shape, target: Shape) -> int:
        return math.prod(self.windows.kernel) * source[2] // self.groups

    def count(self, source: Shape, target: Shape) -> int:
        return len(self.rows(source))

    def rows(self, source: Shape) -> WindowRows:
        return WindowRows.of(self.windows, source, self.channels, self.groups)

    def synapses(self, source: Shape, target: Shape) -> Synapses:
        return self.rows(source).synapses()

    def options(self) -> dict[str, Any]:
        w = self.windows
        return {
            "kernel": w.kernel, "channels": self.channels, "stride": w.stride, "padding": w.padding,
            "dilation": w.dilation, **({"groups": self.groups} if self.groups > 1 else {}),
        }  # fmt: skip


def Conv1D(
    weight: Any,
    kernel: int,
    channels: int,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    bounds: tuple[Any, Any] = (None, None),
) -> Conv2D:
    """A convolution along one axis, as over the frequencies of a spectrogram: a `Conv2D` over an image of height 1.

    Populations have shape=(1, length, channels), weights (1, kernel, c_in / groups, c_out).

    Args:
        weight, kernel, channels, stride, padding, dilation, groups, bounds: as for `Conv2D`, along the axis.

    Example:
        >>> bands = net.input(shape=(1, 64, 1), name="bands")
        >>> conv = Conv1D(FanIn(2.0), kernel=5, channels=8, stride=2, padding=2)
        >>> features = net.population(LIF(), name="features", shape=conv.output_shape(bands.shape))
    """
    for name, value in (("kernel", kernel), ("stride", stride), ("padding", padding), ("dilation", dilation)):
        if not is_whole(value):
            raise NetworkError(f"Conv1D: {name} must be an integer, got {value!r}")
    return Conv2D(
        weight, (1, kernel), channels, stride=(1, stride), padding=(0, padding), dilation=(1, dilation),
        groups=groups, bounds=bounds,
    )  # fmt: skip
