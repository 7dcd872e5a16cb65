"""Files of recordings: tables as programs write them, .npz, NWB, and what neo reads."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ..data.events.storage import open_npz, read_arrays
from ..errors import DataError, EventPropError, shown, suggest
from .nwb import read_nwb
from .recording import Recording, Signal, real_numbers, sweep_of

KEYS = ("current", "dt", "voltage", "spike_times", "spike_sweeps", "rates", "lengths", "numbers", "converted")
"""What an .npz file may hold; the last one says that `Recording.save` wrote it, so that no unit is in question."""
COLUMNS = {
    "time": ("time", "times", "t"),
    "current": ("current", "i", "im", "command", "cmd", "stimulus", "stim", "injected current", "i inj"),
    "voltage": ("voltage", "v", "vm", "response", "resp", "potential", "membrane potential"),
    "sweep": ("sweep", "trial", "episode"),
    "rate": ("rate",),
}
"""Column -> its names in a table, in small letters and without a unit; spaces do not count."""
TRACE = "trace"
"""What is the voltage or the current by its unit."""
ROUNDED = 20
"""Times, of which steps that differ by their last digit are told from others."""
SHORTEST = 1e-3
"""ms between samples: no amplifier is quicker, and a step of less is one in seconds."""
TABLES = (".csv", ".txt", ".tsv", ".dat", ".atf")
"""Suffixes of files that are read as tables."""
UNITS = {
    "time": {"us": 1e-3, "ms": 1.0, "s": 1e3},
    "current": {"pa": 1.0, "na": 1e3, "ua": 1e6, "ma": 1e9, "a": 1e12},
    "voltage": {"uv": 1e-3, "mv": 1.0, "v": 1e3},
    "rate": {"hz": 1.0, "1/s": 1.0, "spikes/s": 1.0, "khz": 1e3, "1/ms": 1e3},
    "sweep": {},
}
"""Column -> unit in brackets, in small letters -> its factor to ms, pA, mV, spikes a second."""
FOLDER = (*TABLES, ".npz", ".nwb", ".abf", ".axgd", ".axgx", ".ibw", ".smr", ".smrx", ".wcp")
"""Suffixes of the files of a folder that are cells."""
VOLTS, AT_REST, AMPERES = (-0.15, 0.1), (-0.11, -0.03), 1e-6
"""In a file without units: all of V, its median, and the largest current, of cells in volts and amperes."""
STEP, FROM_A_FILE = 1, 2
EPOCHS = {2: "a ramp", 3: "pulses", 4: "triangles", 5: "a cosine", 7: "biphasic pulses"}
"""Of a protocol of Axon's programs: the kind of an epoch that is a step, the source of a waveform that is a file, and
other kinds of epochs."""
EXECUTING = ("PickleIO", "ElphyIO")
"""Readers of neo that run what a file says: pickle, and eval."""


def read_recording(
    path: Path | str,
    signals: Sequence[str] = (),
    *,
    series_resistance: float | None = None,
    junction_potential: float | None = None,
) -> Recording:
    """A recording from a file: tables and .npz as below, anything else through neo (extra ``[ephys]``).

    Tables (.csv, .txt, .tsv, .dat, Axon's .atf): a line of names, then numbers: time in ms (evenly spaced), current,
    and, if there are any, voltage, sweep and rate (of the sweep, spikes a second). Names may be those of the field, in
    any case, such as Vm, Im, command, response. Units in brackets, in the name or in a second line, such as ``V (V)``,
    ``I_nA`` or ``[mV]``, become ms, pA and mV. Sweeps are below each other, with their number in the column sweep, or
    side by side: ``Vm 1, Vm 2, Im 1, Im 2``, or one Im for all, with empty cells after the end of a sweep. Cells are
    separated by commas, semicolons or tabs; lines that begin with # or % are comments.
    .npz: current (S, K) and dt in ms, and, if there are any, voltage (S, K), spike_times in ms with spike_sweeps, or
    rates (S,), and numbers (S,) that the sweeps had in a recording of which they are a part.
    .nwb: the sweeps in current clamp, see `fitting.nwb`. Of other formats (.abf, .smr, ...) every segment is a
    sweep, in mV, pA and ms.

    Args:
        path: of the file, whose name is that of the cell.
        signals: names of those that neo shall read, where there are several of voltage or current; of .nwb the
            electrode, where there are several.
        series_resistance: in MOhm, see `Recording.corrected`; None: what an .nwb file says.
        junction_potential: in mV, likewise.

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
        raise DataError(f"there is no file {path}; name a recording, .csv, .npz, .nwb or a format that neo reads")
    signals, suffix = [signals] if isinstance(signals, str) else signals, path.suffix.lower()
    read = (dict.fromkeys(TABLES, _read_csv) | {".npz": _read_npz}).get(suffix)
    try:
        if suffix == ".nwb":
            return read_nwb(path, cell_name(path), signals, series_resistance, junction_potential)
        recording = _read_neo(path, signals) if read is None else read(path)
        if series_resistance or junction_potential:
            return recording.corrected(
                series_resistance=series_resistance or 0.0, junction_potential=junction_potential or 0.0
            )
        return recording
    except DataError as error:
        raise error if str(path) in str(error) else DataError(f"{path}: {error}") from None


def _file(path: Path | str) -> Path:
    try:
        return Path(path)
    except TypeError:
        raise DataError(f"the path of a recording must be a string or a Path, got {shown(path)}") from None


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
    columns, _ = _columns(path, need=("time",), may=("sweep",))
    if sweeps > 1 and "sweep" not in columns:
        raise DataError(
            f"{path}: the recording has {sweeps} sweeps; a column sweep (from 0) says which a spike belongs to"
        )
    times, of = columns["time"], columns.get("sweep", np.zeros(len(columns["time"])))
    if (of != np.round(of)).any() or ((of < 0) | (of >= sweeps)).any():
        raise DataError(f"{path}: sweeps are whole numbers from 0 to {sweeps - 1}, those of the recording")
    return tuple(np.sort(times[of == sweep]) for sweep in range(sweeps))


def file_hash(path: Path | str) -> str:
    """SHA-256 of a file, by which a run knows its data again."""
    return sha256(Path(path).read_bytes()).hexdigest()


def _columns(path: Path, need: Sequence[str], may: Sequence[str]) -> tuple[dict[str, np.ndarray], set[str]]:
    """Column -> its numbers, of a table with a line of names, and perhaps one of units; columns without units."""
    rows = _rows(path)
    if not rows:
        raise DataError(f"{path} is empty; its first line names the columns: {', '.join((*need, *may))}")
    while not any(row[-1].strip() for _, row in rows) and len(rows[0][1]) > 1:  # separators behind the last cell
        rows = [(line, row[:-1] or row) for line, row in rows]
    (_, heads), rows = rows[0], rows[1:]
    if all(map(_reads_as_number, heads)):
        raise DataError(
            f"{path} begins with numbers; write a line above them that names the columns: {', '.join((*need, *may))}"
        )
    found, numbers, units = map(list, zip(*(_column(head, (*need, *may), path) for head in heads)))
    side_by_side = any(n is not None for n in numbers)
    for column in found:
        same = [repr(head) for head, name, n in zip(heads, found, numbers) if name == column and n is None]
        if same[1:]:
            raise DataError(f"{path}: {' and '.join(same)} are both the {column}; leave one out, or rename it")
    if missing := [column for column in need if column not in found]:
        raise DataError(f"{path} has no column {missing[0]}; its first line names {', '.join(heads)}")
    if rows and not any(map(_reads_as_number, rows[0][1])):
        units = [cell.strip().strip("()[]") or unit for cell, unit in zip(rows[0][1], units)]
        rows = rows[1:]
    if side_by_side:
        rows = [(line, [cell if cell.strip() else "nan" for cell in row]) for line, row in rows]
    for line, row in rows:
        if len(row) != len(heads) or not all(map(_reads_as_number, row)):
            raise DataError(f"{path}, line {line}: {len(heads)} numbers are needed, got {','.join(row)[:80]}")
    table = np.array([row for _, row in rows], np.float64).reshape(len(rows), len(heads))
    for i, (column, unit) in enumerate(zip(found, units)):
        table[:, i] *= _factor(column, unit, heads[i], path)
    bare = {column for column, unit in zip(found, units) if not unit.strip()}
    if side_by_side:
        return _below_each_other(found, numbers, heads, table, path), bare
    return {column: table[:, i] for i, column in enumerate(found)}, bare


def _below_each_other(
    found: Sequence[str], numbers: Sequence[int | None], heads: Sequence[str], table: np.ndarray, path: Path
) -> dict[str, np.ndarray]:
    """The columns of a table whose sweeps are side by side, with their numbers: each up to its last value.

    Columns with the same numbers belong together, in whatever order they stand; others by their order.
    """
    of = {column: [i for i, name in enumerate(found) if name == column] for column in dict.fromkeys(found)}
    sweeps = max(map(len, of.values()))
    if "sweep" in of or (several := [c for c, places in of.items() if len(places) not in (1, sweeps)]):
        wrong = "sweep" if "sweep" in of else several[0]
        raise DataError(
            f"{path}: {', '.join(heads)} are {sweeps} sweeps side by side, and {len(of[wrong])} of {wrong}; name one "
            "for each, or one for all"
        )
    named = {column: {numbers[i] for i in places} for column, places in of.items() if len(places) > 1}
    if len({frozenset(each) for each in named.values()}) == 1:
        of = {column: sorted(places, key=lambda i: numbers[i] or 0) for column, places in of.items()}
    elif len(named) == 2 and set.intersection(*named.values()):
        raise DataError(f"{path}: {', '.join(heads)}: V and the current have other numbers; give both of a sweep one")
    parts: dict[str, list[np.ndarray]] = {column: [] for column in (*of, "sweep")}
    for sweep in range(sweeps):
        columns = {c: table[:, places[min(sweep, len(places) - 1)]] for c, places in of.items()}
        known = np.all([np.isfinite(x) for x in columns.values()], axis=0)
        end = int(np.flatnonzero(known).max(initial=-1)) + 1
        for column, x in (*columns.items(), ("sweep", np.full(len(table), float(sweep)))):
            parts[column].append(x[:end])
    return {column: np.concatenate(x) for column, x in parts.items()}


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
    if text.startswith("ATF") and len(lines) > 2 and lines[1][1].split()[0].isdigit():
        lines = lines[2 + int(lines[1][1].split()[0]) :]  # that many lines about the recording
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


def _column(head: str, columns: Sequence[str], path: Path) -> tuple[str, int | None, str]:
    """The column that a name is of, the number of its sweep, if any, and its unit: ``V (mV)``, ``V_m [mV]``, ``Vm_mV``
    and ``V/mV`` are one, ``Vm 2 (mV)`` and ``Trace #2 (mV)`` that of a sweep."""
    wanted = {plain(alias): column for column in columns for alias in COLUMNS[column]}
    in_brackets = re.fullmatch(r"([^(\[]*)[(\[](.*)[)\]]\s*", head.strip())
    name, unit = (in_brackets[1], in_brackets[2]) if in_brackets else (head, "")
    number = None
    if parts := re.fullmatch(r"(.*)[_/ ]([^_/ ]+)", name.strip()):  # time_s is no "times"
        if plain(parts[1]) in wanted and _plain_unit(parts[2]) in UNITS[wanted[plain(parts[1])]]:
            name, unit = parts[1], parts[2]
    if plain(name) not in wanted and (parts := re.fullmatch(r"(.*?)[\s_#.-]*([0-9]{1,4})\s*", name)):
        of_unit = [c for c in ("voltage", "current") if c in columns and _plain_unit(unit) in UNITS[c]]
        if wanted.get(plain(parts[1])) in ("voltage", "current"):
            name, number = parts[1], int(parts[2])
        elif plain(parts[1]) == TRACE and of_unit:
            return of_unit[0], int(parts[2]), unit
    if plain(name) not in wanted:
        known = [alias for column in columns for alias in COLUMNS[column]]
        raise DataError(
            f"{path}: unknown column {head.strip()!r} ({suggest(' '.join(name.lower().split()), known)}); rename it to "
            f"what it is: {', '.join(columns)}"
        )
    return wanted[plain(name)], number, unit


def plain(name: str) -> str:
    return re.sub(r"[\s_]", "", name.lower())


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
    columns, bare = _columns(path, need=("time", "current"), may=("voltage", "sweep", "rate"))
    time, sweep = columns["time"], columns.get("sweep", np.zeros(len(columns["time"])))
    if not np.isfinite(sweep).all():
        raise DataError(f"{path}: sweep numbers must be finite")
    order = np.lexsort((time, sweep))
    ends = np.cumsum(np.unique(sweep, return_counts=True)[1])[:-1]
    sweeps = [_read_sweep({n: x[rows] for n, x in columns.items()}, path) for rows in np.split(order, ends)]
    return _from_volts(Recording.of_sweeps(sweeps), bare, path)


def _from_volts(recording: Recording, bare: Collection[str], path: Path) -> Recording:
    """In mV and pA where numbers without a unit can only be volts and amperes, with a note that says so."""
    v, current, notes = recording.voltage, recording.current, list[str]()
    if v is not None and "voltage" in bare:
        low, middle, high = (float(f(v)) for f in (np.nanmin, np.nanmedian, np.nanmax))
        if VOLTS[0] <= low and high <= VOLTS[1] and AT_REST[0] <= middle <= AT_REST[1]:
            notes.append(f"V of {path.name} has no unit, and from {low:.3g} to {high:.3g} can only be in volts")
            v = 1e3 * v
    if "current" in bare and 0 < (largest := float(np.abs(current).max())) < AMPERES:
        notes.append(f"the current of {path.name} has no unit, and of {largest:.3g} at most can only be in amperes")
        current = 1e12 * current
    return replace(recording, voltage=v, current=current, notes=(*recording.notes, *notes)) if notes else recording


def _read_sweep(columns: Mapping[str, np.ndarray], path: Path) -> Recording:
    time, rate = columns["time"], columns.get("rate")
    if len(time) < 2:
        raise DataError(f"{path} has a sweep of {len(time)} samples; at least two are needed")
    dt = float(time[-1] - time[0]) / (len(time) - 1)
    off = np.abs(time - time[0] - dt * np.arange(len(time)))
    if not dt > 0 or (off > max(0.01 * dt, _digit(time, dt))).any():
        raise DataError(
            f"{path}: times are not evenly spaced in every sweep; sample them again at steps of one length, in ms"
        )
    if dt < SHORTEST:
        raise DataError(f"{path}: its samples are {dt:.3g} ms apart; if times are in s, name them time (s)")
    if rate is not None and (rate != rate[0]).any():
        raise DataError(f"{path}: the rate changes within a sweep; it is one number for each")
    # times are rounded in the file: 0.1 stands for 0.1, not for 0.09999998
    return Recording(
        columns["current"], float(f"{dt:.9g}"), columns.get("voltage"), name=cell_name(path),
        rates=None if rate is None else rate[:1],
    )  # fmt: skip


def _digit(time: np.ndarray, dt: float) -> float:
    """ms to which times were rounded, where a program has written so few digits that steps of dt differ; else 0."""
    if len(time) < ROUNDED or not dt > 0:
        return 0.0
    digit = float(np.diff(np.unique(np.round(np.append(0.0, np.diff(time) / dt), 6))).min(initial=np.inf))
    whole = abs(1 / digit - round(1 / digit)) < 0.05 * min(1.0, 1 / digit)  # as where a sample is missing
    return 0.0 if whole else 1.01 * digit * dt


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
        numbers=arrays.get("numbers"),
    )
    if "converted" not in arrays:  # not saved by `Recording.save`
        recording = _from_volts(recording, {"voltage", "current"}, path)
    if "spike_times" not in arrays:
        return recording
    if len(recording) > 1 and "spike_sweeps" not in arrays:
        raise DataError(
            f"{path}: the recording has {len(recording)} sweeps; spike_sweeps says which each of spike_times is in"
        )
    times = arrays["spike_times"]
    of = arrays.get("spike_sweeps", np.zeros(times.shape, int))
    times, of = real_numbers(times, f"{path}: spike_times"), real_numbers(of, f"{path}: spike_sweeps")
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
        if type(reader).__name__ in EXECUTING:
            raise DataError(f"{path}: such files may hold programs, which are not run; export it as .csv or .nwb")
        block = reader.read_block()
    except DataError:
        raise
    except Exception as error:  # whatever one of forty readers says about the file
        raise DataError(f"{path} cannot be read by neo ({type(error).__name__}: {error})") from None
    commands, without = None, ""
    if hasattr(reader, "read_protocol"):  # Axon: the command is in the protocol where it was not recorded
        info = getattr(reader, "_axon_info", {})
        if commands_voltage(info):
            raise DataError(
                f"{path} was recorded in voltage clamp: its command is a voltage; a fit needs current clamp"
            )
        without = odd_command(info)
        try:
            commands = None if without else reader.read_protocol()
        except Exception:  # files before version 2 have none; what is missing is named below
            commands = None
    try:
        return recording_of_block(block, cell_name(path), commands, names, without)
    except EventPropError:
        raise
    except Exception as error:  # a block of a damaged file may be anything
        raise DataError(f"{path}: neo found no recording in it ({type(error).__name__}: {error})") from None


def commands_voltage(info: Mapping[str, Any]) -> bool:
    """Whether an Axon file of version 2 with this header has the waveform of a voltage, and none of a current."""
    on = [output for output in info.get("listDACInfo", ()) if output["nWaveformEnable"]]
    units = {bytes(output.get("DACChUnits", b"")).strip().lower()[-1:] for output in on}
    return b"v" in units and b"a" not in units


def odd_command(info: Mapping[str, Any]) -> str:
    """What neo would read wrongly in the protocol of an Axon file of version 2, whose header this is; empty if nothing.

    It takes every epoch for a step, and one that was switched off or comes from another file for the protocol's own.
    """
    for number, output in enumerate(info.get("listDACInfo", ())):
        if not bytes(output.get("DACChUnits", b"")).strip().lower().endswith(b"a"):  # no current: A, nA, pA
            continue
        epochs = info.get("dictEpochInfoPerDAC", {}).get(number, {}).values()
        lasting = [e["nEpochType"] for e in epochs if e["lEpochInitDuration"] or e["lEpochDurationInc"]]
        if not output["nWaveformEnable"]:
            if lasting:
                return "its command was switched off"
        elif output["nWaveformSource"] == FROM_A_FILE:
            return "its command came from a file of its own"
        elif other := [kind for kind in lasting if kind != STEP]:
            return f"its command has {EPOCHS.get(other[0], f'an epoch of kind {other[0]}')}, not steps alone"
    return ""


def recording_of_block(
    block: Any, name: str = "cell", commands: Any = None, names: Sequence[str] = (), without: str = ""
) -> Recording:
    """A neo block as a recording: a segment is a sweep, its signal in volts V, that in amperes the current.

    Args:
        commands: segments whose signals are the current, where it was not recorded beside V.
        names: of the signals to take, where there are several. without: why there are no commands.

    Raises:
        DataError: a signal is missing, or it is not clear which one to take; a recording in voltage clamp.
    """
    sweeps, commanded_only = list[Recording](), False
    for i, segment in enumerate(block.segments):
        measured = list(segment.analogsignals)
        commanded = [] if commands is None or i >= len(commands) else list(commands[i].analogsignals)
        where = f"{name}: sweep {i}"
        voltage = _signal(measured, "mV", "voltage", where, names)
        if voltage is None and any(_is_in(s, "mV") for s in commanded):
            raise DataError(f"{where} was recorded in voltage clamp: V is the command; a fit needs current clamp")
        current = _signal(measured, "pA", "current", where, names)
        if current is None:
            current = _signal(commanded, "pA", "current", where, names)
            commanded_only |= current is not None
        parts = dict[str, Signal]()
        for what, unit, signal in (("voltage", "mV", voltage), ("current", "pA", current)):
            if signal is None:
                why = f", and {without}" if without and what == "current" else ""
                raise DataError(f"{where} has no signal of {what} (in {unit}){why}; export it as .csv with its {what}")
            signal, channel = signal
            values = np.asarray(signal.rescale(unit).magnitude, np.float64)[:, channel]
            dt, start = (float(t.rescale("ms").magnitude) for t in (signal.sampling_period, signal.t_start))
            parts[what] = Signal(values, float(f"{dt:.9g}"), start)
        sweeps.append(sweep_of(parts["voltage"], parts["current"], name))
    if not sweeps:
        raise DataError(f"{name} has no sweeps")
    recording = Recording.of_sweeps(sweeps)
    note = f"the current of {name} is the command of its protocol, as none was recorded"
    return replace(recording, notes=(note,)) if commanded_only else recording


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
