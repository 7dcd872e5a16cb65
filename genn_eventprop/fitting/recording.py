"""Recordings of a cell: what was injected, and the V and the spikes that were measured."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import replaced_file
from ..data.events.storage import open_npz, read_arrays
from ..errors import DataError, EventPropError, shown, suggest

KEYS = ("current", "dt", "voltage", "spike_times", "spike_sweeps", "rates", "lengths")
"""What an .npz file may hold."""
COLUMNS = {
    "time": ("time", "times", "t"),
    "current": ("current", "i", "im", "command", "cmd", "stimulus", "stim", "injected current", "iinj", "i inj"),
    "voltage": ("voltage", "v", "vm", "response", "resp", "potential", "membrane potential"),
    "sweep": ("sweep", "trial", "episode"),
    "rate": ("rate",),
}
"""Column -> its names in a table, in small letters, with spaces and without a unit."""
SAME_STEP = 1e-5
"""Relative difference of steps that are one, written with few digits."""
TABLES = (".csv", ".txt", ".tsv", ".dat")
"""Suffixes of files that are read as tables."""
UNITS = {
    "time": {"us": 1e-3, "ms": 1.0, "s": 1e3},
    "current": {"pa": 1.0, "na": 1e3, "ua": 1e6, "ma": 1e9, "a": 1e12},
    "voltage": {"uv": 1e-3, "mv": 1.0, "v": 1e3},
    "rate": {"hz": 1.0, "1/s": 1.0, "spikes/s": 1.0, "khz": 1e3, "1/ms": 1e3},
    "sweep": {},
}
"""Column -> unit in brackets, in small letters -> its factor to ms, pA, mV, spikes a second."""


@dataclass(frozen=True, eq=False)
class Recording:
    """Sweeps of one cell.

    Args:
        current: (S, K) or (K,) injected current in the unit of the model's; value k holds on [k dt, (k+1) dt). Of
            sweeps that are not equally long, a list of arrays; they are filled up with the last value.
        dt: ms between samples; see `of_sweeps` where they differ.
        voltage: (S, K) measured at k dt, in the unit of the model's V; nan where it was not. None: not measured.
        spikes: of every sweep its spike times in ms, ascending. None: not known (see `with_spikes_above`).
        name: of the cell.
        rates: (S,) spikes a second of every sweep, where their times are not known.
        lengths: (S,) samples of each sweep; None: those of the arrays.

    ``recording[2:5]`` and ``recording[[0, 3]]`` are those sweeps.

    Raises:
        DataError: what is no array of real numbers, shapes that do not fit, values that are not finite, spike times
            outside the sweep.

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
    rates: np.ndarray | None = None
    lengths: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise DataError(f"the name of a recording must be a text, got {shown(self.name)}")
        where = f"recording {self.name!r}"
        if not (is_number(self.dt) and self.dt > 0):
            raise DataError(f"{where}: dt must be a positive time in ms, got {shown(self.dt)}")
        current, lengths = _sweeps(self.current, f"{where}: current")
        if current.size == 0 or not lengths.all():
            raise DataError(f"{where}: the current has no samples; its shape (sweeps, samples) is {current.shape}")
        if not np.isfinite(current[inside := np.arange(current.shape[1]) < lengths[:, None]]).all():
            sweep, k = np.argwhere(~np.isfinite(current) & inside)[0]
            raise DataError(
                f"{where}: current of sweep {sweep} at {k * self.dt:g} ms is {current[sweep, k]}; cut it out"
            )
        if self.lengths is not None:
            lengths = _numbers(self.lengths, f"{where}: lengths")
            if lengths.shape != current.shape[:1] or not np.isin(lengths, np.arange(1, current.shape[1] + 1)).all():
                raise DataError(
                    f"{where}: lengths are a number of samples, 1 to {current.shape[1]}, for each of the "
                    f"{len(current)} sweeps, got {shown(self.lengths)}"
                )
            lengths = lengths.astype(int)
        beyond = np.arange(current.shape[1]) >= lengths[:, None]
        current = np.where(beyond, current[np.arange(len(current)), lengths - 1][:, None], current)
        object.__setattr__(self, "current", current)
        # None of full ones, so that another current may take the place of this one
        object.__setattr__(self, "lengths", lengths if beyond.any() else None)
        object.__setattr__(self, "dt", float(self.dt))
        if self.voltage is not None:
            voltage, long = _sweeps(self.voltage, f"{where}: voltage")
            if voltage.shape != current.shape:
                raise DataError(f"{where}: the voltage has shape {voltage.shape}, the current {current.shape}")
            if ((long < voltage.shape[1]) & (long != lengths)).any():
                sweep = int(np.argmax(long != lengths))
                raise DataError(
                    f"{where}: the voltage of sweep {sweep} has {long[sweep]} samples, its current {lengths[sweep]}"
                )
            voltage = np.where(beyond, np.nan, voltage)
            if np.isinf(voltage).any():
                raise DataError(f"{where}: the voltage is infinite somewhere; write nan where it was not measured")
            if np.isnan(voltage).all(axis=1).any():
                sweep = int(np.argmax(np.isnan(voltage).all(axis=1)))
                raise DataError(
                    f"{where}: the voltage of sweep {sweep} is nan everywhere; leave the sweep out (--sweeps, "
                    "recording[[...]]), or give no voltage"
                )
            object.__setattr__(self, "voltage", voltage)
        if self.spikes is not None:
            object.__setattr__(self, "spikes", self._checked(self.spikes, where))
        if self.rates is not None:
            rates = _numbers(self.rates, f"{where}: rates")
            if rates.shape != current.shape[:1] or not (np.isfinite(rates) & (rates >= 0)).all():
                raise DataError(
                    f"{where}: rates are a number of spikes a second, at least 0, for each of the {len(current)} "
                    f"sweeps, got {shown(self.rates)}"
                )
            if self.spikes is not None:
                raise DataError(f"{where}: the rates follow from the spike times; leave rates out")
            object.__setattr__(self, "rates", rates)

    def __getitem__(self, sweeps: int | slice | Sequence[int]) -> Recording:
        """The recording of these sweeps alone."""
        try:
            chosen = np.atleast_1d(np.arange(len(self))[sweeps])
        except (IndexError, TypeError, ValueError):
            chosen = np.empty(0, int)
        if chosen.size == 0 or chosen.ndim != 1:
            raise DataError(f"recording {self.name!r} has the sweeps 0 to {len(self) - 1}, not {shown(sweeps)}")
        most = int(self.samples[chosen].max())
        return replace(
            self,
            current=self.current[chosen, :most],
            voltage=None if self.voltage is None else self.voltage[chosen, :most],
            lengths=self.samples[chosen],
            spikes=None if self.spikes is None else tuple(self.spikes[i] for i in chosen),
            rates=None if self.rates is None else self.rates[chosen],
        )

    def _checked(self, spikes: Any, where: str) -> tuple[np.ndarray, ...]:
        form = "give a list with one array for every sweep"
        try:
            each = [] if isinstance(spikes, (str, bytes, Mapping)) else [*spikes]
        except (TypeError, RuntimeError):  # what cannot be iterated; a tensor that is elsewhere
            each = []
        if not each:
            raise DataError(f"{where}: spikes must be spike times of every sweep, got {shown(spikes)}; {form}")
        if len(each) != len(self.current):
            raise DataError(
                f"{where}: spike times are given for {len(each)} sweeps, there are {len(self.current)}; {form}"
            )
        checked = tuple(_numbers(times, f"{where}: spike times of sweep {i}") for i, times in enumerate(each))
        for sweep, times in enumerate(checked):
            if times.ndim != 1:
                raise DataError(f"{where}: spike times of sweep {sweep} have shape {times.shape}; {form}")
        for sweep, times in enumerate(checked):
            outside = times[~((times > 0) & (times < self.durations[sweep]))]
            if outside.size:
                raise DataError(
                    f"{where}: a spike of sweep {sweep} is at {outside[0]:g} ms, not within the sweep of "
                    f"{self.durations[sweep]:g} ms; times are in ms from the beginning of the sweep"
                )
            if (np.diff(times) <= 0).any():
                raise DataError(f"{where}: spike times of sweep {sweep} do not ascend; sort them and drop copies")
        return checked

    @classmethod
    def of_sweeps(cls, sweeps: Sequence[Recording]) -> Recording:
        """One of recordings with a sweep each, or several, of the cell of the first: lengths and steps may differ.

        Where steps differ, all sweeps get the largest step of which theirs are multiples. A current holds until its
        next value, V is on a straight line between two.

        Raises:
            DataError: V, spikes or rates are known of some only; steps without a common part of a twentieth of the
                smallest.
        """
        if len(sweeps) == 1:
            return sweeps[0]
        for part in ("voltage", "spikes", "rates"):
            if len({getattr(s, part) is None for s in sweeps}) > 1:
                raise DataError(f"recording {sweeps[0].name!r}: {part} of some sweeps are missing; leave these out")
        first = sweeps[0]
        steps = [round(s.dt * 1e6) for s in sweeps]  # of a millionth of a ms
        if all(abs(s.dt / first.dt - 1) < SAME_STEP for s in sweeps):
            steps = [steps[0]] * len(steps)
        step = math.gcd(*steps)
        if step * 20 < min(steps):
            every = ", ".join(f"{dt:g}" for dt in sorted({s.dt for s in sweeps}))
            raise DataError(
                f"recording {first.name!r}: steps of {every} ms have no common one; sample the sweeps again with one"
            )
        currents, voltages = list[np.ndarray](), list[np.ndarray]()
        for s, own in zip(sweeps, steps):
            n = own // step
            for k, length in enumerate(s.samples):
                currents.append(np.repeat(s.current[k, :length], n))
                if s.voltage is not None:
                    fine = np.arange(n * length) / n
                    v = np.interp(fine, np.arange(length), s.voltage[k, :length])
                    voltages.append(np.where(fine <= length - 1, v, np.nan))
        return cls(
            currents, step / 1e6 if len({*steps}) > 1 else first.dt, voltages or None,  # type: ignore[arg-type]
            None if first.spikes is None else tuple(t for s in sweeps for t in s.spikes or ()),
            first.name,
            None if first.rates is None else np.concatenate([s.rates for s in sweeps if s.rates is not None]),
        )  # fmt: skip

    @property
    def duration(self) -> float:
        """Length of the longest sweep in ms."""
        return self.current.shape[1] * self.dt

    @property
    def durations(self) -> np.ndarray:
        """(S,) length of each sweep in ms."""
        return self.samples * self.dt

    @property
    def samples(self) -> np.ndarray:
        """(S,) number of samples of each sweep."""
        return np.full(len(self), self.current.shape[1]) if self.lengths is None else np.asarray(self.lengths)

    def __len__(self) -> int:
        return len(self.current)

    def with_spikes_above(self, level: float) -> Recording:
        """The recording with a spike wherever V rises through `level`, between samples on a straight line."""
        if self.voltage is None:
            raise DataError(f"recording {self.name!r} has no voltage; give its spike times")
        if not is_number(level):
            raise DataError(f"the level of spikes must be a finite number, in the unit of V, got {shown(level)}")
        spikes = []
        for v in self.voltage:
            k = np.flatnonzero((v[:-1] < level) & (v[1:] >= level))
            spikes.append((k + (level - v[k]) / (v[k + 1] - v[k])) * self.dt)
        return replace(self, spikes=tuple(times[times > 0] for times in spikes), rates=None)

    def save(self, path: Path | str) -> None:
        """Write an .npz file at `path`, in one step; `read_recording` reads it. The name is that of the file.

        Raises:
            DataError: another suffix, or a file that cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() != ".npz":
            raise DataError(f"{path}: recordings are saved as .npz; name a file that ends in .npz")
        arrays: dict[str, Any] = {"current": self.current, "dt": self.dt}
        if self.voltage is not None:
            arrays["voltage"] = self.voltage
        if self.rates is not None:
            arrays["rates"] = self.rates
        if self.lengths is not None:
            arrays["lengths"] = self.lengths
        if self.spikes is not None:
            arrays["spike_times"] = np.concatenate(self.spikes)
            arrays["spike_sweeps"] = np.repeat(np.arange(len(self)), [len(times) for times in self.spikes])
        with replaced_file(path, DataError) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    def with_current_step(self, step: float) -> Recording:
        """The recording with its current averaged over steps of `step` ms, a whole multiple of dt: a fit is faster."""
        if not (is_number(step) and step > 0):
            raise DataError(f"a current step must be a positive time in ms, got {shown(step)}")
        n = round(step / self.dt)
        if n < 1 or abs(n * self.dt - step) > 1e-9 * step:
            raise DataError(f"a current step of {step:g} ms is no whole multiple of the recording's {self.dt:g} ms")
        current = self.current.copy()
        for row, length in zip(current, self.samples):
            for start in range(0, length, n):
                row[start : min(start + n, length)] = row[start : min(start + n, length)].mean()
        return replace(self, current=current)


def is_number(value: object) -> bool:
    """Whether this is one finite real number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond all floats
        return False


def is_pair(value: Any) -> bool:
    """Whether these are two finite real numbers."""
    pair = isinstance(value, (tuple, list)) or (isinstance(value, np.ndarray) and value.ndim == 1)
    return pair and len(value) == 2 and all(map(is_number, value))


def _numbers(values: Any, where: str) -> np.ndarray:
    """A copy as float64; texts, dates, complex numbers, truth values and objects are no measurements.

    Raises:
        DataError: it is no array of real numbers.
    """
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError):  # rows of several lengths; a tensor with a gradient, or elsewhere
        raise DataError(
            f"{where} must be an array of numbers, with rows that are equally long, got {shown(values)}"
        ) from None
    if array.dtype.kind not in "iuf":
        kinds = {"c": "complex numbers", "U": "texts", "S": "texts", "M": "dates", "m": "durations",
                 "b": "truth values", "V": "records"}  # fmt: skip
        raise DataError(
            f"{where} must be an array of numbers, got {kinds.get(array.dtype.kind, f'{shown(values)}')}; convert it "
            "to float"
        )
    return array.astype(np.float64)


def _sweeps(values: Any, where: str) -> tuple[np.ndarray, np.ndarray]:
    """(S, K) values, nan beyond the ends of sweeps that are shorter, and the lengths (S,)."""
    if isinstance(values, (list, tuple)) and len({np.shape(row) for row in values if np.ndim(row) == 1}) > 1:
        rows = [_numbers(row, f"{where} of sweep {i}") for i, row in enumerate(values)]
        if all(row.ndim == 1 for row in rows):
            lengths = np.array([len(row) for row in rows])
            filled = np.full((len(rows), lengths.max()), np.nan)
            filled[np.arange(lengths.max()) < lengths[:, None]] = np.concatenate(rows)
            return filled, lengths
    array = _numbers(values, where)
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2:
        raise DataError(f"{where} has shape {array.shape}; it needs (sweeps, samples)")
    return array, np.full(len(array), array.shape[1])


def read_recording(path: Path | str, signals: Sequence[str] = ()) -> Recording:
    """A recording from a file: tables and .npz as below, anything else through neo (extra ``[ephys]``).

    Tables (.csv, .txt, .tsv, .dat): a line of names, then numbers: time in ms (evenly spaced), current, and, if there
    are any, voltage, sweep and rate (of the sweep, spikes a second). Names may be those of the field, in any case, such
    as Vm, Im, command, response. Units in brackets, in the name or in a second line, such as ``V (V)``, ``I_nA`` or
    ``[mV]``, become ms, pA and mV. Cells are separated by commas, semicolons or tabs; lines that begin with # or % are
    comments.
    .npz: current (S, K) and dt in ms, and, if there are any, voltage (S, K), spike_times in ms with spike_sweeps, or
    rates (S,). Of other formats (.abf, .smr, .nwb, ...) every segment is a sweep, in mV, pA and ms.

    Args:
        path: of the file, whose name is that of the cell.
        signals: names of those that neo shall read, where there are several of voltage or current.

    Raises:
        DataError: naming the file and what is wrong in it.

    Example:
        >>> from genn_eventprop.fitting import read_recording
        >>> np.savez("cell.npz", current=np.zeros((2, 50)), dt=0.5, spike_times=[2.5], spike_sweeps=[1])
        >>> read_recording("cell.npz").duration
        25.0
    """
    path = _file(path)
    if not path.is_file():
        raise DataError(f"there is no file {path}; name a recording, .csv, .npz or a format that neo reads")
    read = (dict.fromkeys(TABLES, _read_csv) | {".npz": _read_npz}).get(path.suffix.lower())
    try:
        return _read_neo(path, [signals] if isinstance(signals, str) else signals) if read is None else read(path)
    except DataError as error:
        raise error if str(path) in str(error) else DataError(f"{path}: {error}") from None


def _file(path: Path | str) -> Path:
    try:
        return Path(path)
    except TypeError:
        raise DataError(f"the path of a recording must be a text or a Path, got {shown(path)}") from None


def cell_name(path: Path, whole: bool = False) -> str:
    """That of its file, or the whole path as it is, with what cannot be printed written as an escape."""
    text = (str(path) if whole else path.stem).encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


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
    path = _file(path)
    columns = _columns(path, need=("time",), may=("sweep",))
    times, of = columns["time"], columns.get("sweep", np.zeros(len(columns["time"])))
    if (of != np.round(of)).any() or ((of < 0) | (of >= sweeps)).any():
        raise DataError(f"{path}: sweeps are whole numbers from 0 to {sweeps - 1}, those of the recording")
    return tuple(np.sort(times[of == sweep]) for sweep in range(sweeps))


def file_hash(path: Path | str) -> str:
    """SHA-256 of a file, by which a run knows its data again."""
    return sha256(Path(path).read_bytes()).hexdigest()


def _columns(path: Path, need: Sequence[str], may: Sequence[str]) -> dict[str, np.ndarray]:
    """Column -> its numbers, of a table with a line of names, and perhaps one of units below it."""
    rows = _rows(path)
    if not rows:
        raise DataError(f"{path} is empty; its first line names the columns: {', '.join((*need, *may))}")
    (_, heads), rows = rows[0], rows[1:]
    if all(map(_reads_as_number, heads)):
        raise DataError(
            f"{path} begins with numbers; write a line above them that names the columns: {', '.join((*need, *may))}"
        )
    found, units = map(list, zip(*(_column(head, (*need, *may), path) for head in heads)))
    for column in found:
        if (same := [repr(head) for head, name in zip(heads, found) if name == column])[1:]:
            raise DataError(f"{path}: {' and '.join(same)} are both the {column}; leave one out, or rename it")
    if missing := [column for column in need if column not in found]:
        raise DataError(f"{path} has no column {missing[0]}; its first line names {', '.join(heads)}")
    if rows and not any(map(_reads_as_number, rows[0][1])):
        units = [cell.strip().strip("()[]") or unit for cell, unit in zip(rows[0][1], units)]
        rows = rows[1:]
    for line, row in rows:
        if len(row) != len(heads) or not all(map(_reads_as_number, row)):
            raise DataError(f"{path}, line {line}: {len(heads)} numbers are needed, got {','.join(row)[:80]}")
    table = np.array([row for _, row in rows], np.float64).reshape(len(rows), len(heads))
    for i, (column, unit) in enumerate(zip(found, units)):
        table[:, i] *= _factor(column, unit, heads[i], path)
    return {column: table[:, i] for i, column in enumerate(found)}


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Number of the line, and its cells, of each that is neither empty nor a comment.

    Cells are separated by what the line of names has: tabs, semicolons, commas, or else spaces; where not by commas,
    these are decimal points.
    """
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a table of text ({error})") from None
    lines = [(n, line.strip(" ")) for n, line in enumerate(text.splitlines(), 1)]
    lines = [(n, line) for n, line in lines if line.strip() and not line.lstrip().startswith(("#", "%", "//"))]
    if not lines:
        return []
    sign = next((sign for sign in "\t;," if sign in lines[0][1]), " ")
    try:
        cells = list(csv.reader((line for _, line in lines), delimiter=sign, skipinitialspace=sign == " "))
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as a table of text ({error})") from None
    if len(cells) != len(lines):  # a quoted cell goes over several lines
        raise DataError(f"{path} has a cell with an end of line in it; write each row in one line")
    if sign != ",":
        cells = [cells[0], *([cell.replace(",", ".") for cell in row] for row in cells[1:])]
    return [(n, row) for (n, _), row in zip(lines, cells)]


def _column(head: str, columns: Sequence[str], path: Path) -> tuple[str, str]:
    """The column that a name is of, and its unit: ``V (mV)``, ``Vm [mV]``, ``Vm_mV`` and ``V/mV`` are one."""
    wanted = {alias: column for column in columns for alias in COLUMNS[column]}

    def plain(name: str) -> str:
        return " ".join(name.lower().replace("_", " ").split())

    in_brackets = re.fullmatch(r"([^(\[]*)[(\[](.*)[)\]]\s*", head.strip())
    name, unit = (in_brackets[1], in_brackets[2]) if in_brackets else (head, "")
    if plain(name) not in wanted and (parts := re.fullmatch(r"(.*)[_/ ]([^_/ ]+)", name.strip())):
        if plain(parts[1]) in wanted and _plain_unit(parts[2]) in UNITS[wanted[plain(parts[1])]]:
            name, unit = parts[1], parts[2]
    if plain(name) not in wanted:
        raise DataError(
            f"{path}: unknown column {head.strip()!r} ({suggest(plain(name), wanted)}); rename it to what it is: "
            f"{', '.join(columns)}"
        )
    return wanted[plain(name)], unit


def _plain_unit(unit: str) -> str:
    return unit.strip().lower().replace("\u00b5", "u").replace("\u03bc", "u")


def _factor(column: str, unit: str, head: str, path: Path) -> float:
    """To ms, pA, mV, spikes a second."""
    if not (plain := _plain_unit(unit)):
        return 1.0
    if plain not in UNITS[column]:
        raise DataError(
            f"{path}: the unit {unit.strip()!r} of {head.strip()!r} is not one of "
            f"{', '.join(UNITS[column]) or 'none'}; leave it out where numbers are in the model's unit, or rename the "
            "column if it is another quantity"
        )
    return UNITS[column][plain]


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_csv(path: Path) -> Recording:
    columns = _columns(path, need=("time", "current"), may=("voltage", "sweep", "rate"))
    time, sweep = columns["time"], columns.get("sweep", np.zeros(len(columns["time"])))
    if not np.isfinite(sweep).all():
        raise DataError(f"{path}: sweep numbers must be finite")
    order = np.lexsort((time, sweep))
    ends = np.cumsum(np.unique(sweep, return_counts=True)[1])[:-1]
    sweeps = [_read_sweep({n: x[rows] for n, x in columns.items()}, path) for rows in np.split(order, ends)]
    return Recording.of_sweeps(sweeps)


def _read_sweep(columns: Mapping[str, np.ndarray], path: Path) -> Recording:
    time, rate = columns["time"], columns.get("rate")
    if len(time) < 2:
        raise DataError(f"{path} has a sweep of {len(time)} samples; at least two are needed")
    dt = float(time[-1] - time[0]) / (len(time) - 1)
    uneven = np.abs(time - time[0] - dt * np.arange(len(time))) > 0.01 * dt
    if not dt > 0 or uneven.any():
        raise DataError(
            f"{path}: times are not evenly spaced in every sweep; sample them again at steps of one length, in ms"
        )
    if rate is not None and (rate != rate[0]).any():
        raise DataError(f"{path}: the rate changes within a sweep; it is one number for each")
    # times are rounded in the file: 0.1 stands for 0.1, not for 0.09999998
    return Recording(
        columns["current"], float(f"{dt:.9g}"), columns.get("voltage"), name=cell_name(path),
        rates=None if rate is None else rate[:1],
    )  # fmt: skip


def _read_npz(path: Path) -> Recording:
    with open_npz(path) as file:
        for name in file.files:
            if name not in KEYS:
                raise DataError(f"{path}: unknown array {name!r} ({suggest(name, KEYS)}); remove it")
        arrays = read_arrays(file, file.files, path)
    for name in ("current", "dt"):
        if name not in arrays:
            raise DataError(f"{path} has no array {name!r}; it needs current (sweeps, samples) and dt in ms")
    if arrays["dt"].size != 1:
        raise DataError(f"{path}: dt is one number of ms, got an array of shape {arrays['dt'].shape}")
    recording = Recording(
        arrays["current"],
        arrays["dt"].item(),
        arrays.get("voltage"),
        name=cell_name(path),
        rates=arrays.get("rates"),
        lengths=arrays.get("lengths"),
    )
    if "spike_times" not in arrays:
        return recording
    times = arrays["spike_times"]
    of = arrays.get("spike_sweeps", np.zeros(times.shape, int))
    times, of = _numbers(times, f"{path}: spike_times"), _numbers(of, f"{path}: spike_sweeps")
    if of.shape != times.shape or not ((of == np.round(of)) & (of >= 0) & (of < len(recording))).all():
        raise DataError(f"{path}: spike_sweeps must have a sweep, 0 to {len(recording) - 1}, for each of spike_times")
    return replace(recording, spikes=tuple(np.sort(times[of == sweep]) for sweep in range(len(recording))))


def _read_neo(path: Path, names: Sequence[str]) -> Recording:
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
        try:
            commands = reader.read_protocol()
        except Exception:  # files before version 2 have none; what is missing is named below
            commands = None
    try:
        return recording_of_block(block, cell_name(path), commands, names)
    except EventPropError:
        raise
    except Exception as error:  # a block of a damaged file may be anything
        raise DataError(f"{path}: neo found no recording in it ({type(error).__name__}: {error})") from None


def recording_of_block(block: Any, name: str = "cell", commands: Any = None, names: Sequence[str] = ()) -> Recording:
    """A neo block as a recording: a segment is a sweep, its signal in volts V, that in amperes the current.

    Args:
        commands: segments whose signals are the current, where it was not recorded beside V.
        names: of the signals to take, where there are several.

    Raises:
        DataError: a signal is missing, or it is not clear which one to take; a recording in voltage clamp; sweeps
            whose V and current are not sampled alike.
    """
    sweeps = list[Recording]()
    for i, segment in enumerate(block.segments):
        measured = list(segment.analogsignals)
        commanded = [] if commands is None or i >= len(commands) else list(commands[i].analogsignals)
        where = f"{name}: sweep {i}"
        voltage = _signal(measured, "mV", "voltage", where, names)
        if voltage is None and any(_is_in(s, "mV") for s in commanded):
            raise DataError(f"{where} was recorded in voltage clamp: V is the command; a fit needs current clamp")
        current = _signal(measured, "pA", "current", where, names) or _signal(commanded, "pA", "current", where, names)
        parts, steps = dict[str, np.ndarray](), dict[str, float]()
        for what, unit, signal in (("voltage", "mV", voltage), ("current", "pA", current)):
            if signal is None:
                raise DataError(f"{where} has no signal of {what} (in {unit}); export it as .csv with its {what}")
            signal, channel = signal
            parts[what] = np.asarray(signal.rescale(unit).magnitude, np.float64)[:, channel]
            steps[what] = float(f"{float(signal.sampling_period.rescale('ms').magnitude):.9g}")
        if len({*steps.values()}) > 1 or len(parts["voltage"]) != len(parts["current"]):
            raise DataError(
                f"{where}: V has {len(parts['voltage'])} samples, {steps['voltage']:g} ms apart, the current "
                f"{len(parts['current'])}, {steps['current']:g} ms apart; they must be sampled alike"
            )
        sweeps.append(Recording(parts["current"], steps["current"], parts["voltage"], name=name))
    if not sweeps:
        raise DataError(f"{name} has no sweeps")
    return Recording.of_sweeps(sweeps)


def _signal(signals: Sequence[Any], unit: str, what: str, where: str, names: Sequence[str]) -> tuple[Any, int] | None:
    """The one signal in this unit, and its channel: of several the one that is named.

    Raises:
        DataError: several.
    """
    every = [(s, c) for s in signals if _is_in(s, unit) for c in range(s.shape[1])]
    if names and len(every) > 1:
        every = [(s, c) for s, c in every if _name(s, c) in names or s.name in names]
    if len(every) > 1:
        raise DataError(
            f"{where} has {len(every)} signals of {what}: {', '.join(_name(s, c) for s, c in every)}; name one: "
            "read_recording(path, signals=[...]), --signals"
        )
    return every[0] if every else None


def _name(signal: Any, channel: int) -> str:
    names = signal.array_annotations.get("channel_names")
    if names is not None and len(names) == signal.shape[1]:
        return str(names[channel])
    return str(signal.name or "signal") + (f"[{channel}]" if signal.shape[1] > 1 else "")


def _is_in(signal: Any, unit: str) -> bool:
    try:
        signal.rescale(unit)
    except ValueError:
        return False
    return True
