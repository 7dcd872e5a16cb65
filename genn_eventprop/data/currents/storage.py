"""Currents on disk: a compressed .npz, or a folder whose values can be memory-mapped. No pickle.

A folder holds currents.json (numbers, name, format, the SHA-256 of itself and of the other files), samples.npz (labels,
groups, targets) and the values raw: values.f4 (float32, little endian, (samples, steps, channels) in C order). Like a
folder of events it is written piece by piece, and appears under its name when it is complete.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...checksummed import parsed
from ...errors import DataError, is_whole
from ...regular import read_regular
from ..events import storage
from ..events.check import Annotated
from ..events.storage import FolderKind, FolderWriter, open_npz, raw_array, read_arrays, write_npz

BLOCK = 1 << 24
"""Values looked at together: 64 MB."""
FORMAT = "genn_eventprop currents 1"
KIND = FolderKind("currents", "currents.json", ("values.f4", "samples.npz"))
OF_SAMPLES = ("labels", "groups", "targets")
NUMBERS = ("dt", "n_classes", "name")


class CurrentArrays(Annotated, Protocol):
    """The arrays of `Currents`, which alone calls this."""

    @property
    def values(self) -> np.ndarray: ...
    @property
    def dt(self) -> float: ...
    @property
    def n_classes(self) -> int | None: ...
    @property
    def name(self) -> str: ...


def save(currents: CurrentArrays, path: Path) -> None:
    """Write `currents` to a .npz file or a folder; the old one stays whole until the new one is complete."""
    if path.suffix == ".npz":
        return write_npz(arrays_of(currents), path)
    samples, n_steps, n_channels = currents.values.shape
    rows = max(1, BLOCK // (n_steps * n_channels))
    with CurrentsWriter(path, n_steps, n_channels, currents.dt, currents.name) as writer:
        for start in range(0, samples, rows):
            writer.append(currents.values[start : start + rows])
        writer.finish(currents.labels, currents.groups, currents.targets, currents.n_classes)


def arrays_of(currents: CurrentArrays) -> dict[str, np.ndarray]:
    """All of `currents` as arrays of an npz file; `arguments` is the reverse."""
    arrays: dict[str, Any] = {"values": currents.values, "dt": np.float64(currents.dt), "name": currents.name}
    arrays |= {field: getattr(currents, field) for field in (*OF_SAMPLES, "n_classes")}
    return {name: np.asarray(value) for name, value in arrays.items() if value is not None}


class CurrentsWriter(FolderWriter):
    """Writes a folder of currents piece by piece; leaves nothing behind unless `finish` was reached.

    Use: `with CurrentsWriter(folder, n_steps, n_channels, dt) as w: w.append(values) ...; w.finish(labels)`; then
    `Currents.load(folder)`, which checks the values.
    """

    def __init__(self, path: Path | str, n_steps: int, n_channels: int, dt: float, name: str = "") -> None:
        super().__init__(Path(path), KIND)
        self.shape, self.dt, self.name, self.samples = (n_steps, n_channels), dt, name, 0

    def append(self, values: np.ndarray) -> None:
        """More samples: (S, T, C), or one of them, (T, C).

        Raises:
            DataError: another number of steps or channels, no real numbers.
        """
        array = np.asarray(values)
        array = array[None] if array.ndim == 2 else array
        if array.shape[1:] != self.shape or array.dtype.kind not in "biuf":
            raise DataError(
                f"{self.path}: sample {self.samples} must be {self.shape} real numbers, got {array.shape[1:]} "
                f"{array.dtype}"
            )
        self.samples += len(array)
        with self.writing(), np.errstate(over="ignore"):  # infinite values are refused when the folder is loaded
            self.files[0].write(np.ascontiguousarray(array, "<f4").data)

    def finish(self, labels: Any = None, groups: Any = None, targets: Any = None, n_classes: int | None = None) -> None:
        """Complete the folder and give it its name; an older folder of that name is replaced."""
        facts = {"format": FORMAT, "name": self.name, "dt": float(self.dt), "n_classes": n_classes}
        facts |= {"samples": self.samples, "steps": self.shape[0], "channels": self.shape[1]}
        self.complete({"labels": labels, "groups": groups, "targets": targets}, facts)


def load(path: Path, mmap: bool = True) -> dict[str, Any]:
    """The arguments of `Currents` from what `save` wrote.

    Raises:
        DataError: the path is absent, of another kind, cut short, or damaged.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder of currents")
    if path.is_dir():
        return _load_folder(path, mmap)
    with open_npz(path) as file:
        if missing := {"values", "dt"} - set(file.files):
            raise DataError(
                f"{path}: not a file of currents (no array {', '.join(sorted(missing))}); it has {file.files}; "
                "data.readers.currents.read_npz reads arrays of other names"
            )
        arrays = read_arrays(file, [n for n in ("values", *OF_SAMPLES, *NUMBERS) if n in file.files], path)
    return arguments(arrays, path)


def arguments(arrays: dict[str, np.ndarray], path: Path) -> dict[str, Any]:
    """Arguments of `Currents` from the arrays of a file.

    Raises:
        DataError: a number or text that is none.
    """
    facts = {name: arrays[name].item() if arrays[name].shape == () else None for name in NUMBERS if name in arrays}
    return _arguments(facts, {n: a for n, a in arrays.items() if n not in NUMBERS}, path)


def _load_folder(path: Path, mmap: bool) -> dict[str, Any]:
    try:
        facts = parsed(read_regular(path / KIND.record))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a folder of currents ({KIND.record}: {error})") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        found = facts.get("format") if isinstance(facts, dict) else None
        raise DataError(f"{path}: format {found!r}, this version reads {FORMAT!r}; write the folder again")
    sizes: list[Any] = [facts.get(name) for name in ("samples", "steps", "channels")]
    if not all(is_whole(n, 0) for n in sizes):
        raise DataError(f"{path}: {KIND.record} must say samples, steps and channels; the folder is damaged")
    values = raw_array(path / "values.f4", "<f4", tuple(sizes), mmap)
    with open_npz(path / "samples.npz") as samples:
        arrays = read_arrays(samples, [n for n in OF_SAMPLES if n in samples.files], path / "samples.npz")
    return _arguments({name: facts.get(name) for name in NUMBERS}, {"values": values} | arrays, path)


def _arguments(facts: dict[str, Any], arrays: dict[str, np.ndarray], path: Path) -> dict[str, Any]:
    if not isinstance(facts.get("dt"), (int, float)):
        raise DataError(f"{path}: dt must be one number, is {facts.get('dt')!r}; it is no data set of currents")
    for name, kind in (("n_classes", int), ("name", str)):
        if facts.get(name) is not None and not isinstance(facts[name], kind):
            raise DataError(f"{path}: {name} is {facts[name]!r}; it is no data set of currents")
    return arrays | {"dt": facts["dt"], "n_classes": facts.get("n_classes"), "name": facts.get("name") or path.stem}


def verify(path: Path) -> None:
    """Raise `DataError` if a file of a folder has changed since it was written, see `events.storage.verify`."""
    storage.verify(path, KIND)


def is_folder_of_currents(path: Path) -> bool:
    """Whether `Currents.save` wrote this folder."""
    return (path / KIND.record).is_file()
