"""Currents: one container for a data set of real-valued inputs, numbers on a grid of time steps.

The values may be a memory-mapped file, so that a data set larger than the memory trains: nothing here copies more than
is asked for.

Axis letters: S samples, T steps, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, is_number, shown
from ..events import check
from ..events.events import Index
from ..events.samples import Samples, joined_annotations
from ..events.storage import CURRENTS, load, save
from .storage import CurrentsWriter


@dataclass(frozen=True, eq=False)
class Currents(Samples):
    """A data set of input currents. The values are checked once, here, and are read-only afterwards.

    Value k of a channel holds from k dt to (k + 1) dt, counted from the start of the trial; after the last value the
    current is 0. A constant current is one value whose dt is as long as the trial.

    Args:
        values: (S, T, C) numbers, kept as float32; a memory-mapped array must be float32 itself.
        dt: ms that each value holds: the grid of the currents, which need not be that of the trial.
        labels, groups, n_classes, name, targets: as in `Events`.

    Raises:
        DataError: values of another shape or kind, nan, too large for float32; annotations that do not match.

    Example:
        >>> Currents(rng.random((100, 50, 40)), dt=2.0, labels=np.arange(100) % 10)   # 100 ms, 40 channels
        Currents(100 samples, 50 steps of 2 ms, 40 channels, 10 classes)
    """

    values: np.ndarray
    dt: float
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None
    n_classes: int | None = None
    name: str = ""
    targets: Any = None

    def __post_init__(self) -> None:
        where = self.name or "currents"
        dt = self.dt
        if not is_number(dt) or not 0 < dt < math.inf:
            raise DataError(f"{where}: dt is the positive length of a step in ms, got {shown(dt)}")
        values = _float32(self.values, where)
        _check_finite(values, where)
        self._set({"values": values, "dt": float(dt)} | self._checked_annotations(len(values), where))

    @classmethod
    def from_samples(cls, samples: Iterable[Any], dt: float, name: str = "", **annotations: Any) -> Currents:
        """Currents from one array (T, C) per sample; shorter ones end with zeros, as all currents do.

        Args:
            samples: (T, C) each. dt, name, annotations: those of the class: labels, groups, n_classes, targets.

        Raises:
            DataError: no sample, a sample of another shape, and what the class itself raises.
        """
        where, arrays = name or "currents", list[np.ndarray]()
        for i, sample in enumerate(samples):
            array = check.unmasked(sample, f"{where}: sample {i}")
            if array.ndim != 2 or (arrays and array.shape[1] != arrays[0].shape[1]):
                wanted = f"(steps, {arrays[0].shape[1]})" if arrays else "(steps, channels)"
                raise DataError(f"{where}: sample {i} has shape {array.shape}; every sample is an array {wanted}")
            _check_kind(array, f"{where}: sample {i}")
            arrays.append(array)
        if not arrays:
            raise DataError(f"{where}: no samples; the number of channels is unknown")
        values = np.zeros((len(arrays), max(map(len, arrays)), arrays[0].shape[1]), np.float32)
        for row, array in zip(values, arrays):
            with np.errstate(over="ignore"):  # is found as infinite later
                row[: len(array)] = array
        return cls(values, dt, name=name, **annotations)

    @classmethod
    def constant(cls, values: Any, duration: float, name: str = "", **annotations: Any) -> Currents:
        """Constant currents, one number per channel for `duration` ms: images, coordinates, features.

        Args:
            values: (S, ...); the axes after the first are flattened to channels, pixels row by row. name, annotations:
                those of the class.

        Example:
            >>> Currents.constant(rng.random((20, 28, 28)), duration=20.0, labels=labels)
            Currents(20 samples, 1 steps of 20 ms, 784 channels, 2 classes)
        """
        array = check.unmasked(values, name or "currents")
        if array.ndim < 2 or 0 in array.shape[1:]:
            raise DataError(
                f"{name or 'currents'}: constant currents are an array (samples, channels), or images (samples, "
                f"height, width, ...); got shape {array.shape}"
            )
        return cls(array.reshape(len(array), 1, math.prod(array.shape[1:])), duration, name=name, **annotations)

    @classmethod
    def concatenate(cls, parts: Iterable[Currents], name: str = "") -> Currents:
        """All samples of `parts`, in order; steps, channels and dt must agree, annotations be in all parts or none.
        The result has the `name` of the first, or this one."""
        parts = list(parts)
        annotations = joined_annotations(parts, name)
        first = parts[0]
        for i, part in enumerate(parts):
            if (part.dt, *part.values.shape[1:]) != (first.dt, *first.values.shape[1:]):
                raise DataError(f"part {i} is {part._form()}, part 0 {first._form()}; they must agree")
        return cls.trusted(np.concatenate([p.values for p in parts]), first.dt, **annotations)

    def replace(self, values: np.ndarray, dt: float | None = None) -> Currents:
        """Other `values`, and `dt`, of the same samples, with the same annotations; nothing is checked."""
        return Currents.trusted(values, self.dt if dt is None else dt, **self.annotations)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Index) -> Currents:
        """The chosen samples, in the order given: an index, a slice, indices (repeats allowed) or a boolean mask (S,).

        A slice is a view; others are gathered into a new array.
        """
        chosen = check.sample_indices(index, len(self), self.name or "currents")
        values = self.values[index] if isinstance(index, slice) else self.values[chosen]
        return Currents.trusted(values, self.dt, **self.annotations_of(chosen))

    def crop(self, start: float = 0.0, stop: float | None = None) -> Currents:
        """The currents from `start` to `stop` (ms), whole steps of dt, as a view; `start` becomes 0.

        Raises:
            DataError: a time that is not a whole number of steps, or nothing between the two.
        """
        steps = []
        for what, time in (("start", start), ("stop", self.duration if stop is None else stop)):
            step = time / self.dt
            if not math.isfinite(step) or abs(step - round(step)) > 1e-6:
                raise DataError(f"crop: {what} must be a whole number of steps of {self.dt:g} ms, got {time!r}")
            steps.append(round(step))
        first, last = steps[0], min(steps[1], self.n_steps)
        if not 0 <= first < last:
            raise DataError(f"crop: nothing is left between {start:g} and {stop} ms of {self._form()}")
        return self.replace(self.values[:, first:last])

    @property
    def n_steps(self) -> int:
        """Values of each channel."""
        return int(self.values.shape[1])

    @property
    def n_channels(self) -> int:
        """Channels."""
        return int(self.values.shape[2])

    @property
    def duration(self) -> float:
        """ms: the end of the last value, T dt."""
        return self.n_steps * self.dt

    @property
    def mapped(self) -> bool:
        """Whether the values are memory-mapped from disk."""
        return check.is_mapped(self.values)

    def save(self, path: str | Path) -> None:
        """Write to `path`: one compressed file if it ends in .npz, else a folder for memory-mapping. Atomic."""
        save(self, Path(path), CurrentsWriter(path, self.n_steps, self.n_channels, self.dt))

    @classmethod
    def load(cls, path: str | Path, mmap: bool = True) -> Currents:
        """Read what `save` wrote to `path`; the values of a folder are memory-mapped unless mmap is False."""
        return load(cls, CURRENTS, Path(path), mmap)

    def _form(self) -> str:
        return f"{self.n_steps} steps of {self.dt:g} ms, {self.n_channels} channels"

    def __repr__(self) -> str:
        labels = f", {self.n_classes} classes" if self.labels is not None else ""
        name = f"{self.name!r}, " if self.name else ""
        return f"Currents({name}{len(self)} samples, {self._form()}{labels})"


def _check_kind(array: np.ndarray, where: str) -> None:
    if array.dtype.kind == "c":
        raise DataError(
            f"{where}: the values are complex; currents are real: give array.real, numpy.abs(array), or both as "
            "channels"
        )
    if array.dtype.kind not in "biuf":
        raise DataError(f"{where}: the values must be real numbers, got dtype {array.dtype}")


def _float32(values: Any, where: str) -> np.ndarray:
    """`values` as a float32 array (S, T, C).

    Raises:
        DataError: another shape, numbers of another kind or too large.
    """
    if getattr(values, "requires_grad", False):
        raise DataError(
            f"{where}: the values are a tensor with a gradient, which ends here; give the layer the tensor itself, or "
            "detach() it"
        )
    array = values if check.is_mapped(values) else check.unmasked(values, where)
    _check_kind(array, where)
    if array.ndim != 3 or 0 in array.shape[1:]:
        hint = ""
        if array.ndim == 2:
            hint = "; one channel: array[:, :, None], one sample: array[None], constant currents: Currents.constant"
        elif array.ndim == 4:
            hint = "; flatten the axes of the channels: array.reshape(samples, steps, -1)"
        raise DataError(
            f"{where}: currents are an array (samples, steps, channels) with at least one step and channel, got shape "
            f"{array.shape}{hint}"
        )
    if array.dtype == np.float32:
        return array
    if check.is_mapped(array):
        raise DataError(
            f"{where}: mapped values must be float32, got {array.dtype}; convert them once, a part at a time, with "
            "data.currents.storage.CurrentsWriter"
        )
    with np.errstate(over="ignore"):  # is found as infinite below
        return array.astype(np.float32)


def _check_finite(values: np.ndarray, where: str) -> None:
    """Raise at the first value that is nan or infinite; reads a mapped file in blocks."""
    rows = max(1, check.BLOCK // (values.shape[1] * values.shape[2]))
    for start in range(0, len(values), rows):
        wrong = ~np.isfinite(values[start : start + rows])
        if wrong.any():
            i, k, c = (int(n[0]) for n in np.nonzero(wrong))
            value = values[start + i, k, c]
            large = " (or too large for float32)" if np.isinf(value) else ""
            raise DataError(
                f"{where}: sample {start + i}, step {k}, channel {c} is {value}{large}; currents must be finite: "
                "remove the sample, or fill the gap, e.g. numpy.nan_to_num(array)"
            )
