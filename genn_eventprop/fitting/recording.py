"""Recordings of a cell: what was injected, and the V and the spikes that were measured."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, suggest

KEYS = ("current", "dt", "voltage", "spike_times", "spike_sweeps")
"""What an .npz file may hold."""
COLUMNS = {"time": ("time", "t"), "current": ("current", "i"), "voltage": ("voltage", "v"), "sweep": ("sweep",)}
"""Column -> its names in a .csv file, in small letters and without a unit in brackets."""


@dataclass(frozen=True, eq=False)
class Recording:
    """Sweeps of one cell, equally long.

    Args:
        current: (S, K) or (K,) injected current in the unit of the model's; value k holds on [k dt, (k+1) dt).
        dt: ms between samples.
        voltage: (S, K) measured at k dt, in the unit of the model's V; nan where it was not. None: not measured.
        spikes: of every sweep its spike times in ms, ascending. None: not known (see `with_spikes_above`).
        name: of the cell.

    Raises:
        DataError: shapes that do not fit, values that are not finite, spike times outside the sweep.

    Example:
        >>> recording = Recording(np.repeat([0.0, 1.5, 0.0], 100), dt=0.1, spikes=[[12.5, 17.25]])
        >>> recording.duration
        30.0
    """

    current: np.ndarray
    dt: float
    voltage: np.ndarray | None = None
    spikes: tuple[np.ndarray, ...] | None = None
    name: str = "cell"

    def __post_init__(self) -> None:
        where = f"recording {self.name!r}"
        if not (np.ndim(self.dt) == 0 and np.isfinite(self.dt) and self.dt > 0):
            raise DataError(f"{where}: dt must be a positive time in ms, got {self.dt!r}")
        current = _sweeps(self.current, f"{where}: current")
        if current.size == 0:
            raise DataError(f"{where}: the current has no samples; its shape (sweeps, samples) is {current.shape}")
        if not np.isfinite(current).all():
            sweep, k = np.argwhere(~np.isfinite(current))[0]
            raise DataError(
                f"{where}: current of sweep {sweep} at {k * self.dt:g} ms is {current[sweep, k]}; cut it out"
            )
        object.__setattr__(self, "current", current)
        object.__setattr__(self, "dt", float(self.dt))
        if self.voltage is not None:
            voltage = _sweeps(self.voltage, f"{where}: voltage")
            if voltage.shape != current.shape:
                raise DataError(f"{where}: the voltage has shape {voltage.shape}, the current {current.shape}")
            if np.isinf(voltage).any():
                raise DataError(f"{where}: the voltage is infinite somewhere; write nan where it was not measured")
            object.__setattr__(self, "voltage", voltage)
        if self.spikes is not None:
            object.__setattr__(self, "spikes", self._checked(self.spikes, where))

    def _checked(self, spikes: Any, where: str) -> tuple[np.ndarray, ...]:
        if len(spikes) != len(self.current):
            raise DataError(
                f"{where}: spike times are given for {len(spikes)} sweeps, there are {len(self.current)}; give a "
                "list with one array for every sweep"
            )
        checked = tuple(np.array(times, np.float64).reshape(-1) for times in spikes)
        for sweep, times in enumerate(checked):
            outside = times[~((times > 0) & (times < self.duration))]
            if outside.size:
                raise DataError(
                    f"{where}: a spike of sweep {sweep} is at {outside[0]:g} ms, not within the sweep of "
                    f"{self.duration:g} ms; times are in ms from the beginning of the sweep"
                )
            if (np.diff(times) <= 0).any():
                raise DataError(f"{where}: spike times of sweep {sweep} do not ascend; sort them and drop copies")
        return checked

    @property
    def duration(self) -> float:
        """Length of a sweep in ms."""
        return self.current.shape[1] * self.dt

    def __len__(self) -> int:
        return len(self.current)

    def with_spikes_above(self, level: float) -> Recording:
        """The recording with a spike wherever V rises through `level`, between samples on a straight line."""
        if self.voltage is None:
            raise DataError(f"recording {self.name!r} has no voltage; give its spike times")
        spikes = []
        for v in self.voltage:
            k = np.flatnonzero((v[:-1] < level) & (v[1:] >= level))
            spikes.append((k + (level - v[k]) / (v[k + 1] - v[k])) * self.dt)
        return replace(self, spikes=tuple(times[times > 0] for times in spikes))

    def with_current_step(self, step: float) -> Recording:
        """The recording with its current averaged over steps of `step` ms, a whole multiple of dt: a fit is faster."""
        n = round(step / self.dt)
        if n < 1 or abs(n * self.dt - step) > 1e-9 * step:
            raise DataError(f"a current step of {step:g} ms is no whole multiple of the recording's {self.dt:g} ms")
        current = self.current.copy()
        for start in range(0, current.shape[1], n):
            current[:, start : start + n] = current[:, start : start + n].mean(axis=1, keepdims=True)
        return replace(self, current=current)


def _sweeps(values: Any, where: str) -> np.ndarray:
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{where} must be an array of numbers, one row a sweep, all equally long") from None
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2:
        raise DataError(f"{where} has shape {array.shape}; it needs (sweeps, samples)")
    return array


def read_recording(path: Path | str) -> Recording:
    """A recording from a file: .csv and .npz as below, anything else through neo (extra ``[ephys]``).

    .csv: a line of names, then numbers: time in ms (evenly spaced), current, and, if there are any, voltage and sweep.
    .npz: current (S, K) and dt in ms, and, if there are any, voltage (S, K), and spike_times in ms with spike_sweeps.
    Of other formats (.abf, .smr, .nwb, ...) every segment is a sweep, in mV, pA and ms.

    Args:
        path: of the file, whose name is that of the cell.

    Raises:
        DataError: naming the file and what is wrong in it.

    Example:
        >>> from genn_eventprop.fitting import read_recording
        >>> np.savez("cell.npz", current=np.zeros((2, 50)), dt=0.5, spike_times=[2.5], spike_sweeps=[1])
        >>> read_recording("cell.npz").duration
        25.0
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no file {path}; name a recording, .csv, .npz or a format that neo reads")
    if path.suffix == ".csv":
        return _read_csv(path)
    if path.suffix == ".npz":
        return _read_npz(path)
    return _read_neo(path)


def read_spikes(path: Path | str, sweeps: int) -> tuple[np.ndarray, ...]:
    """Spike times from a .csv file with the columns time (ms) and, for more than one sweep, sweep (from 0).

    Args:
        path: of the file. sweeps: how many the recording has.

    Raises:
        DataError: naming the file and what is wrong in it.

    Example:
        >>> from genn_eventprop.fitting import read_spikes
        >>> with open("spikes.csv", "w") as file:
        ...     _ = file.write("sweep,time\\n1,2.5\\n")
        >>> [times.tolist() for times in read_spikes("spikes.csv", sweeps=2)]
        [[], [2.5]]
    """
    columns = _columns(Path(path), need=("time",), may=("sweep",))
    times, of = columns["time"], columns.get("sweep", np.zeros(len(columns["time"])))
    if (of != of.astype(int)).any() or ((of < 0) | (of >= sweeps)).any():
        raise DataError(f"{path}: sweeps are whole numbers from 0 to {sweeps - 1}, those of the recording")
    return tuple(np.sort(times[of == sweep]) for sweep in range(sweeps))


def file_hash(path: Path | str) -> str:
    """SHA-256 of a file, by which a run knows its data again."""
    return sha256(Path(path).read_bytes()).hexdigest()


def _columns(path: Path, need: Sequence[str], may: Sequence[str]) -> dict[str, np.ndarray]:
    """Column -> its numbers."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as .csv ({error})") from None
    if not rows:
        raise DataError(f"{path} is empty; its first line names the columns: {', '.join((*need, *may))}")
    names = [name.split("(")[0].split("[")[0].strip().lower() for name in rows[0]]
    wanted = {alias: column for column in (*need, *may) for alias in COLUMNS[column]}
    for name in names:
        if name not in wanted:
            raise DataError(f"{path}: unknown column {name!r} ({suggest(name, wanted)}); remove it")
    found = [wanted[name] for name in names]
    missing = [column for column in need if column not in found]
    if missing or len(set(found)) < len(found):
        what = f"has no column {missing[0]}" if missing else "has a column twice"
        raise DataError(f"{path} {what}; its first line names {', '.join(names)}")
    try:
        table = np.array(rows[1:], np.float64).reshape(-1, len(names))
    except ValueError:
        line = next(n for n, row in enumerate(rows[1:], 2) if len(row) != len(names) or not all(map(_is_number, row)))
        raise DataError(
            f"{path}, line {line}: {len(names)} numbers are needed, got {','.join(rows[line - 1])}"
        ) from None
    return {column: table[:, i] for i, column in enumerate(found)}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_csv(path: Path) -> Recording:
    columns = _columns(path, need=("time", "current"), may=("voltage", "sweep"))
    time, sweep = columns["time"], columns.get("sweep", np.zeros(len(columns["time"])))
    labels, counts = np.unique(sweep, return_counts=True)
    if len(time) < 2 or len(set(counts.tolist())) != 1:
        raise (
            DataError(f"{path}: sweeps have {counts.min()} to {counts.max()} samples; they must be equally long")
            if len(time) > 1
            else DataError(f"{path} has {len(time)} samples; at least two are needed")
        )
    order = np.lexsort((time, sweep))
    grid = time[order].reshape(len(labels), -1)
    dt = float((grid[:, -1] - grid[:, 0]).mean() / (grid.shape[1] - 1))
    uneven = np.abs(grid - grid[:, :1] - dt * np.arange(grid.shape[1])) > 0.01 * dt
    if dt <= 0 or uneven.any():
        raise DataError(
            f"{path}: times are not evenly spaced in every sweep; sample them again at steps of one length, in ms"
        )
    part = {name: columns[name][order].reshape(grid.shape) for name in ("current", "voltage") if name in columns}
    # times are rounded in the file: 0.1 stands for 0.1, not for 0.09999998
    return Recording(part["current"], float(f"{dt:.9g}"), part.get("voltage"), name=path.stem)


def _read_npz(path: Path) -> Recording:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read as .npz ({error})") from None
    for name in arrays:
        if name not in KEYS:
            raise DataError(f"{path}: unknown array {name!r} ({suggest(name, KEYS)}); remove it")
    for name in ("current", "dt"):
        if name not in arrays:
            raise DataError(f"{path} has no array {name!r}; it needs current (sweeps, samples) and dt in ms")
    recording = Recording(arrays["current"], arrays["dt"].item(), arrays.get("voltage"), name=path.stem)
    if "spike_times" not in arrays:
        return recording
    times = arrays["spike_times"]
    of = arrays.get("spike_sweeps", np.zeros(times.shape, int))
    if of.shape != times.shape or ((of < 0) | (of >= len(recording))).any():
        raise DataError(f"{path}: spike_sweeps must have a sweep, 0 to {len(recording) - 1}, for each of spike_times")
    return replace(recording, spikes=tuple(np.sort(times[of == sweep]) for sweep in range(len(recording))))


def _read_neo(path: Path) -> Recording:
    try:
        import neo
    except ImportError as error:
        raise DataError(
            f'{path}: formats other than .csv and .npz need neo ({error}); pip install "genn_eventprop[ephys]"'
        ) from None
    try:
        reader = neo.io.get_io(str(path))
        block = reader.read_block()
    except Exception as error:  # whatever one of forty readers says about the file
        raise DataError(f"{path} cannot be read by neo ({type(error).__name__}: {error})") from None
    commands = None
    if hasattr(reader, "read_protocol"):  # Axon: the command is in the protocol where it was not recorded
        commands = reader.read_protocol()
    return recording_of_block(block, path.stem, commands)


def recording_of_block(block: Any, name: str = "cell", commands: Any = None) -> Recording:
    """A neo block as a recording: a segment is a sweep, its first signal in volts V, that in amperes the current.

    Args:
        commands: segments whose signals are the current, where it was not recorded beside V.
    """
    sweeps: dict[str, list[np.ndarray]] = {"mV": [], "pA": []}
    dt = 0.0
    for i, segment in enumerate(block.segments):
        signals = list(segment.analogsignals)
        if commands is not None:
            signals += list(commands[i].analogsignals)
        for unit, rows in sweeps.items():
            signal = next((s for s in signals if _is_in(s, unit)), None)
            if signal is None:
                what = "voltage" if unit == "mV" else "current"
                raise DataError(
                    f"{name}: sweep {i} has no signal of {what} (in {unit}); export it as .csv with its {what}"
                )
            rows.append(np.asarray(signal.rescale(unit).magnitude, np.float64)[:, 0])
            dt = float(signal.sampling_period.rescale("ms").magnitude)
    lengths = {len(row) for rows in sweeps.values() for row in rows}
    if len(lengths) != 1:
        raise DataError(
            f"{name}: signals have {min(lengths, default=0)} to {max(lengths, default=0)} samples, not one length"
        )
    return Recording(np.array(sweeps["pA"]), dt, np.array(sweeps["mV"]), name=name)


def _is_in(signal: Any, unit: str) -> bool:
    try:
        signal.rescale(unit)
    except ValueError:
        return False
    return True
