"""Windows that slide over an image: which source is where in the window of which place of the target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import NetworkError

Pair = tuple[int, int]


@dataclass(frozen=True)
class Windows:
    """(vertical, horizontal) size of the window, its stride, the zeros around the image, the distance of its cells."""

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair = (1, 1)

    def places(self, height: int, width: int) -> Pair:
        """(rows, columns) of places over an image: (n + 2 padding - dilation (kernel - 1) - 1) // stride + 1.

        Raises:
            NetworkError: the window is larger than the image with its padding.
        """
        rows, columns = (
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip((height, width), self.kernel, self.stride, self.padding, self.dilation)
        )
        if rows < 1 or columns < 1:
            raise NetworkError(
                f"a window of {self.kernel[0]} x {self.kernel[1]} does not fit an image of {height} x {width}; "
                "use a smaller kernel or dilation, or more padding"
            )
        return rows, columns

    def cells(self, height: int, width: int) -> tuple[np.ndarray, ...]:
        """(pixel, place, cell): for every cell of a window that lies on the image, numbered row by row each."""
        columns = self.places(height, width)[1]
        (y, row, ky), (x, column, kx) = self.axes(height, width)
        pixel = y[:, None] * width + x
        place = row[:, None] * columns + column
        cell = ky[:, None] * self.kernel[1] + kx
        return pixel.ravel(), place.ravel(), cell.ravel()

    def axes(self, height: int, width: int) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        """(pixel, place, cell) along each axis, for every cell of a window that lies on the image there.

        Raises:
            NetworkError: there is none.
        """
        rows, columns = self.places(height, width)
        down = _along(height, rows, self.kernel[0], self.stride[0], self.padding[0], self.dilation[0])
        across = _along(width, columns, self.kernel[1], self.stride[1], self.padding[1], self.dilation[1])
        if not (down[0].size and across[0].size):
            raise NetworkError(f"no window lies on the image of {height} x {width}; use less padding or another stride")
        return down, across


def _along(n: int, places: int, kernel: int, stride: int, padding: int, dilation: int) -> tuple[np.ndarray, ...]:
    """(position, place, cell) along one axis."""
    place, cell = (a.ravel() for a in np.meshgrid(np.arange(places), np.arange(kernel), indexing="ij"))
    position = place * stride + cell * dilation - padding
    inside = (position >= 0) & (position < n)
    return position[inside], place[inside], cell[inside]
