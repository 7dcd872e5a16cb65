"""Currents on disk, see `data.events.storage`: a folder has their values raw, in values.f4 (float32, little endian,
(samples, steps, channels) in C order)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from ..events.storage import CURRENTS, FolderWriter


class CurrentsWriter(FolderWriter):
    """Writes a folder of currents piece by piece; leaves nothing behind unless `finish` was reached.

    Use: `with CurrentsWriter(folder, n_steps, n_channels, dt) as w: w.append(values) ...; w.finish(labels)`; then
    `Currents.load(folder)`, which checks the values.
    """

    def __init__(self, path: Path | str, n_steps: int, n_channels: int, dt: float, name: str = "") -> None:
        super().__init__(Path(path), CURRENTS)
        self.sample_shape, self.dt, self.name = (n_steps, n_channels), dt, name

    def append(self, values: np.ndarray) -> None:
        """More samples: (S, T, C), or one of them, (T, C).

        Raises:
            DataError: another number of steps or channels, no real numbers.
        """
        array = np.asarray(values)
        array = array[None] if array.ndim == 2 else array
        if array.shape[1:] != self.sample_shape or array.dtype.kind not in "biuf":
            raise DataError(
                f"{self.path}: sample {self.length} must be {self.sample_shape} real numbers, got {array.shape[1:]} "
                f"{array.dtype}"
            )
        self.append_flat(array)

    def shape(self) -> tuple[int, ...]:
        return (self.length, *self.sample_shape)

    def finish(self, labels: Any = None, groups: Any = None, targets: Any = None, n_classes: int | None = None) -> None:
        """Complete the folder and give it its name; an older folder of that name is replaced."""
        facts = {"name": self.name, "dt": float(self.dt), "n_classes": n_classes}
        self.complete({"labels": labels, "groups": groups, "targets": targets}, facts)
