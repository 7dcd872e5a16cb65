"""Recordings of cells in NWB files: of version 2 through pynwb, of version 1 (Allen Cell Types) through h5py.

A sweep is a response in volts and the stimulus in amperes that belongs to it. Which one does is said, in this order, by
the table of intracellular recordings, by sweep numbers, or by the numbers in names (`resp_000` and `stim_000`,
`data_00003_AD0` and `data_00003_DA0`); in version 1 by epochs, `Experiment_35` (without the test pulse) before
`Sweep_35`. Values are data * conversion + offset. Recordings in voltage clamp, or without a stimulus, are left out.

What the amplifier has balanced with its bridge is not in V. Where the bridge was off (a balance of 0) and the electrode
has an initial access resistance, this is taken from V, and so is a junction potential that a description calls not
corrected; notes say what was done, or that a file does not tell. A bias current, which the amplifier adds to the
stimulus by itself, is added here too.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data.events.storage import open_file
from ..data.optional import require
from ..data.readers.hdf5_inside import check_all
from ..errors import DataError, EventPropError
from .recording import Recording, Signal, sweep_of

FACTORS = {"v": 1e3, "volt": 1e3, "volts": 1e3, "mv": 1.0, "millivolts": 1.0, "a": 1e12, "amp": 1e12, "amps": 1e12,
           "ampere": 1e12, "amperes": 1e12, "na": 1e3, "nanoamperes": 1e3, "pa": 1.0, "picoamperes": 1.0}  # fmt: skip
"""Unit in small letters -> its factor to mV or pA."""
VOLTS = ("v", "volt", "volts", "mv", "millivolts")
LISTED = 20
"""Names that a message has, at most."""
QUOTED = 120
"""Characters of a description that a note has, at most."""
OHMS = 1e4
"""A resistance without a unit that is larger is in ohms, not in megohms."""
LARGEST_BIAS = 1e5
"""pA: more than a cell bears; such a number in a file is not in amperes."""


@dataclass(frozen=True, eq=False)
class Series:
    """A series of an NWB file, not yet read: data (K,) in `unit`, evenly spaced.

    Attributes:
        electrode: its name; empty if unknown. sweep: its number in the file, None if it has none.
        dt, start: ms. bias: pA of a response, bridge: MOhm of its balance, access: MOhm of the electrode; nan if there
            is none. about: descriptions.
    """

    name: str
    data: Any
    unit: str
    factor: float
    offset: float
    dt: float
    start: float
    electrode: str = ""
    sweep: int | None = None
    bias: float = np.nan
    bridge: float = np.nan
    access: float = np.nan
    about: str = ""

    @property
    def is_voltage(self) -> bool:
        return self.unit in VOLTS

    def read(self, first: int = 0, count: int | None = None) -> Signal:
        """What is between these samples, without the end that was never recorded (nan)."""
        values = np.asarray(self.data[first : None if count is None else first + count], np.float64)
        values = values.reshape(len(values))  # (K, 1) is one channel, too
        values = (values * self.factor + self.offset) * FACTORS[self.unit]
        known = np.flatnonzero(np.isfinite(values))
        return Signal(values[: known[-1] + 1 if len(known) else 0], self.dt, self.start + first * self.dt)


@dataclass(frozen=True, eq=False)
class Pair:
    """Response and stimulus of a sweep, and in each the first sample and their number."""

    response: Series
    stimulus: Series
    of_response: tuple[int, int | None] = (0, None)
    of_stimulus: tuple[int, int | None] = (0, None)


def read_nwb(
    path: Path,
    cell: str,
    names: Sequence[str] = (),
    series_resistance: float | None = None,
    junction_potential: float | None = None,
) -> Recording:
    """The recording of one cell, in mV, pA and ms; the files of both versions.

    Args:
        cell: its name.
        names: of the electrode, or of series, where there are several cells in the file.
        series_resistance, junction_potential: MOhm and mV, in place of what the file says.

    Raises:
        DataError: naming the file and what is wrong in it.
    """
    h5py = require("h5py", "NWB files", "ephys")
    open_file(path).close()  # not a pipe, on which HDF5 would wait
    try:
        with h5py.File(path, "r") as file:
            check_all(file, path, names=True)
            of_version = _of_version_2 if "nwb_version" in file.attrs else _of_version_1
            return _recording(*of_version(file, path, names), path, cell, series_resistance, junction_potential)
    except EventPropError:
        raise
    except Exception as error:  # a damaged file may end anywhere in HDF5, and a strange one in pynwb
        raise DataError(
            f"{path} cannot be read as NWB ({type(error).__name__}: {' '.join(str(error).split())[:200]}); the file is "
            "damaged, or no NWB file"
        ) from None


def _recording(
    pairs: Sequence[Pair], left_out: Sequence[str], path: Path, name: str, resistance: float | None,
    junction: float | None,
) -> Recording:  # fmt: skip
    if not pairs:
        found = ", ".join(left_out[:LISTED]) or "nothing that was recorded in a cell"
        raise DataError(
            f"{path} has no response in current clamp with its stimulus; it has {found}; a fit needs V and the "
            "injected current"
        )
    electrodes = sorted({pair.response.electrode for pair in pairs})
    if len(electrodes) > 1:
        raise DataError(
            f"{path} has recordings of {len(electrodes)} electrodes: {', '.join(electrodes[:LISTED])}; name one: "
            "read_recording(path, signals=[...]), --signals"
        )
    sweeps, of_electrode = list[Recording](), list[str]()
    for pair in pairs:
        voltage, current = pair.response.read(*pair.of_response), pair.stimulus.read(*pair.of_stimulus)
        if not (len(voltage.values) and len(current.values)):
            raise DataError(f"{path}: {pair.response.name} or {pair.stimulus.name} has no samples; leave it out")
        if abs(pair.response.bias) <= LARGEST_BIAS:
            current = replace(current, values=current.values + pair.response.bias)
        taken, said = _left_in_v(pair.response, resistance, junction)
        sweeps.append(
            sweep_of(voltage, current, name).corrected(**taken) if taken else sweep_of(voltage, current, name)
        )
        of_electrode += [f"{path.name}: {note}" for note in said]
    notes = [*_on_bias([pair.response for pair in pairs], path), *dict.fromkeys(of_electrode)]
    if left_out:
        more = ", ..." if len(left_out) > LISTED else ""
        of = ", ".join(f"{i} is {pair.response.name}" for i, pair in enumerate(pairs[:LISTED]))
        notes.append(
            f"{len(left_out)} series of {path.name} were left out, in voltage clamp or without a stimulus: "
            f"{', '.join(left_out[:LISTED])}{more}; sweep {of}"
        )
    return replace(Recording.of_sweeps(sweeps), notes=tuple(notes))


def _on_bias(responses: Sequence[Series], path: Path) -> list[str]:
    """What was done with bias currents: nothing to say where there are none."""
    notes, some = list[str](), [r.bias for r in responses if 0 < abs(r.bias) <= LARGEST_BIAS]
    if some:
        of = f"{min(some):.3g} pA" if min(some) == max(some) else f"{min(some):.3g} to {max(some):.3g} pA"
        sweeps = f"{len(some)} of {len(responses)} sweeps of {path.name}"
        notes.append(f"the bias current of {sweeps}, {of}, was added to the stimulus")
    if strange := [r for r in responses if abs(r.bias) > LARGEST_BIAS]:
        notes.append(
            f"the bias current of {strange[0].name} in {path.name}, {strange[0].bias * 1e-12:g} A, is more than a cell "
            f"bears, and was left out, as in {len(strange)} of {len(responses)} sweeps"
        )
    return notes


def _left_in_v(
    response: Series, resistance: float | None, junction: float | None
) -> tuple[dict[str, float], list[str]]:
    """Arguments of `Recording.corrected`, from settings or else from the file, and what is to be said about these."""
    taken, notes = dict[str, float](), list[str]()
    if resistance is not None:
        taken["series_resistance"] = resistance
    elif response.bridge > 0:
        notes.append(f"the amplifier has balanced {response.bridge:.3g} MOhm, so nothing is taken from V")
    elif response.access > 0 and response.bridge == 0:
        taken["series_resistance"] = response.access
        notes.append(
            f"the bridge was off, so {response.access:.3g} MOhm times the current, the electrode's access resistance, "
            "were taken from V (--series-resistance 0 leaves them)"
        )
    elif response.access > 0:
        notes.append(
            f"the electrode's access resistance is {response.access:.3g} MOhm, and the file does not say whether the "
            "bridge was balanced: nothing is taken from V (--series-resistance)"
        )
    said = re.search(r"[^.;\n]*junction potential[^;\n]*", response.about, re.IGNORECASE)
    if junction is not None:
        taken["junction_potential"] = junction
    elif said:
        number, quote = re.search(r"(-?\d+(?:\.\d+)?) ?mV", said[0]), " ".join(said[0].split())[:QUOTED]
        if number and re.search(r"not (been )?corrected|uncorrected", said[0], re.IGNORECASE):
            taken["junction_potential"] = float(number[1])
            notes.append(f"{number[1]} mV were taken from V, as the file says {quote!r} (--junction-potential 0: not)")
        else:
            notes.append(f"the file says {quote!r}: nothing is taken from V (--junction-potential)")
    return taken, notes


def _numbers_in(name: str) -> tuple[int, ...]:
    return tuple(int(number[:9]) for number in re.findall(r"\d+", name))


def _in_order(series: Series) -> tuple[bool, int, tuple[int, ...], str]:
    return (series.sweep is None, series.sweep or 0, _numbers_in(series.name), series.name)


def _paired(
    responses: Sequence[Series], stimuli: Sequence[Series], path: Path, names: Sequence[str]
) -> tuple[list[Pair], list[str]]:
    """Pairs by sweep number, or else by the numbers in names, and what has no partner."""
    pairs, left_out = list[Pair](), list[str]()
    for response in sorted(_chosen(responses, names), key=_in_order):
        partners = [] if not response.is_voltage else [s for s in stimuli if not s.is_voltage and _belong(response, s)]
        same = [s for s in partners if s.electrode == response.electrode]
        partners = same or partners
        if len(partners) > 1 and names:
            partners = [s for s in partners if s.name in names] or partners
        if len(partners) > 1:
            raise DataError(
                f"{path}: {response.name} has {len(partners)} stimuli: {', '.join(s.name for s in partners[:LISTED])}; "
                "name one: read_recording(path, signals=[...]), --signals"
            )
        if partners:
            pairs.append(Pair(response, partners[0]))
        else:
            left_out.append(response.name)
    return pairs, left_out


def _chosen(responses: Sequence[Series], names: Sequence[str]) -> list[Series]:
    """Those that are named, or whose electrode is; all if none is."""
    return [r for r in responses if r.name in names or r.electrode in names] or [*responses]


def _belong(response: Series, stimulus: Series) -> bool:
    if response.sweep is not None and stimulus.sweep is not None:
        return response.sweep == stimulus.sweep
    return _numbers_in(response.name) == _numbers_in(stimulus.name)


def _of_version_2(file: Any, path: Path, names: Sequence[str]) -> tuple[list[Pair], list[str]]:
    pynwb = require("pynwb", "NWB files", "ephys")
    with warnings.catch_warnings():  # of versions that differ: what matters is an error below
        warnings.simplefilter("ignore")
        nwb = pynwb.NWBHDF5IO(file=file, mode="r").read()
    table = nwb.intracellular_recordings
    if table is not None and len(table):
        pairs, left_out = list[Pair](), list[str]()
        for responded, stimulated in zip(table["responses"]["response"][:], table["stimuli"]["stimulus"][:]):
            parts = [_series(reference.timeseries, path) for reference in (responded, stimulated) if _is(reference)]
            if len(parts) == 2 and parts[0].is_voltage and not parts[1].is_voltage:
                of = [(int(r.idx_start), int(r.count)) for r in (responded, stimulated)]
                pairs.append(Pair(parts[0], parts[1], *of))
            else:
                left_out += [part.name for part in parts[:1]]
        if names:
            pairs = [p for p in pairs if {p.response.name, p.response.electrode} & {*names}] or pairs
        return pairs, left_out
    responses, stimuli = (
        [_series(s, path) for s in group.values() if _is_in_a_cell(s)] for group in (nwb.acquisition, nwb.stimulus)
    )
    return _paired(responses, stimuli, path, names)


def _is(reference: Any) -> bool:
    """Whether a cell of the table refers to anything."""
    return getattr(reference, "timeseries", None) is not None and reference.idx_start >= 0


def _is_in_a_cell(series: Any) -> bool:
    """Whether it is one channel of V or current."""
    unit = getattr(series, "unit", None)
    return str(unit).lower() in FACTORS and len(getattr(series.data, "shape", ())) in (1, 2)


def _series(series: Any, path: Path) -> Series:
    """Of a TimeSeries of pynwb."""
    unit, where = str(series.unit).lower(), f"{path}: {series.name}"
    if unit not in FACTORS:
        raise DataError(f"{where}: the unit {series.unit!r} is none of {', '.join(FACTORS)}")
    if series.rate is not None:
        dt, start = 1e3 / float(series.rate), 1e3 * float(series.starting_time or 0.0)
    else:
        dt, start = _of_timestamps(np.asarray(series.timestamps[:], np.float64), where)
    electrode = getattr(series, "electrode", None)
    about = [getattr(series, "comments", ""), getattr(series, "description", ""), getattr(electrode, "description", "")]
    number = getattr(series, "sweep_number", None)
    return Series(
        series.name, series.data, unit, float(series.conversion), float(series.offset or 0.0), _rounded(dt, where),
        start, getattr(electrode, "name", ""), None if number is None else int(number),
        1e12 * _number(getattr(series, "bias_current", None)), 1e-6 * _number(getattr(series, "bridge_balance", None)),
        _megohms(getattr(electrode, "initial_access_resistance", None)), "; ".join(map(str, about)),
    )  # fmt: skip


def _number(value: Any) -> float:
    """nan where there is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return np.nan


def _megohms(text: Any) -> float:
    """Of a resistance as people write it: 12 MOhm, 1.2e7, 12; nan where it says nothing."""
    parts = re.fullmatch(r"([\d.eE+-]+)\s*([kMG]?)\s*(?:ohms?|\u03a9|\u2126)?", str(text).strip(), re.IGNORECASE)
    value = _number(parts[1]) if parts else np.nan
    if parts and parts[2]:
        return value * {"k": 1e-3, "m": 1.0, "g": 1e3}[parts[2].lower()]
    return value * 1e-6 if value > OHMS else value


def _of_timestamps(seconds: np.ndarray, where: str) -> tuple[float, float]:
    """ms between samples, and the first."""
    if len(seconds) < 2:
        raise DataError(f"{where} has {len(seconds)} samples; at least two are needed")
    dt = float(seconds[-1] - seconds[0]) / (len(seconds) - 1)
    if not dt > 0 or (np.abs(np.diff(seconds) - dt) > 0.01 * dt).any():
        raise DataError(f"{where}: timestamps are not evenly spaced; sample it again at steps of one length")
    return 1e3 * dt, 1e3 * float(seconds[0])


def _rounded(dt: float, where: str) -> float:
    """Rates are rounded in files: 0.05 ms stands for 0.05, not for 0.0500000001."""
    if not (np.isfinite(dt) and dt > 0):
        raise DataError(f"{where}: the sampling rate must be a positive number, the step is {dt:g} ms")
    return float(f"{dt:.9g}")


def _of_version_1(file: Any, path: Path, names: Sequence[str]) -> tuple[list[Pair], list[str]]:
    """Of the Allen Institute's files before NWB 2."""
    epochs = file.get("epochs")
    numbered: dict[str, Any] = {
        n: e for n, e in (epochs or {}).items() if re.fullmatch(r"(Sweep|Experiment)_\d{1,9}", n)
    }
    pairs, left_out = list[Pair](), list[str]()
    for number in sorted({_numbers_in(name)[0] for name in numbered}):
        epoch = numbered[name if (name := f"Experiment_{number}") in numbered else f"Sweep_{number}"]
        parts, of = list[Series](), list[tuple[int, int | None]]()
        for side in ("response", "stimulus"):
            if side in epoch and "timeseries" in epoch[side]:
                parts.append(_old_series(f"Sweep_{number}", epoch[side]["timeseries"], path))
                of.append((int(epoch[side]["idx_start"][()]), int(epoch[side]["count"][()])))
        if len(parts) == 2 and parts[0].is_voltage and not parts[1].is_voltage:
            pairs.append(Pair(parts[0], parts[1], *of))
        else:
            left_out.append(f"Sweep_{number}")
    if numbered:
        return pairs, left_out
    sides = [file.get(place) for place in ("acquisition/timeseries", "stimulus/presentation")]
    responses, stimuli = ([*_old_group(side, path)] for side in sides)
    return _paired(responses, stimuli, path, names)


def _old_group(group: Mapping[str, Any] | None, path: Path) -> Iterator[Series]:
    for name, place in (group or {}).items():
        if "data" in place and "starting_time" in place and _unit(place["data"]) in FACTORS:
            yield _old_series(name, place, path)


def _unit(data: Any) -> str:
    unit = data.attrs.get("unit", "")
    return (unit.decode(errors="replace") if isinstance(unit, bytes) else str(unit)).lower()


def _old_series(name: str, place: Any, path: Path) -> Series:
    data, time, where = place["data"], place["starting_time"], f"{path}: {name}"
    if (unit := _unit(data)) not in FACTORS:
        raise DataError(f"{where}: the unit {unit!r} is none of {', '.join(FACTORS)}")
    rate = float(time.attrs["rate"])
    dt, conversion = _rounded(1e3 / rate if rate else np.inf, where), float(data.attrs.get("conversion", 1.0))
    bias, bridge = (_number(place[n][()] if n in place else None) for n in ("bias_current", "bridge_balance"))
    start = 1e3 * float(time[()])
    return Series(name, data, unit, conversion, 0.0, dt, start, bias=1e12 * bias, bridge=1e-6 * bridge)
