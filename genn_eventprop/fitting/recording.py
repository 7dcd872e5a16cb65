"""Recordings of a cell: what was injected, and the V and the spikes that were measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import replaced_file
from ..errors import DataError, shown

SAME_STEP = 1e-5
"""Relative difference of steps that are one, written with few digits."""
FASTEST = 1.0
"""ms: no cell has a shorter median interval between spikes."""
SMALLEST_PART = 20
"""Steps of sweeps have a common one that is no less than this part of the smallest."""
UPSTROKE, SLOPE_OVER = 10.0, 0.2
"""mV/ms of V over so many ms: half of what is usual for the onset, since V in files is often filtered or sampled
coarsely, and what it lets in is not as high."""
HEIGHT, FALL_WITHIN = 15.0, 10.0
"""mV from onset to peak, and ms after the peak, of an action potential."""

WINDOW = (0.5, 1.5)
"""ms before and after a spike in which V does not count, if there is nothing to be seen of an action potential."""
AT_ONCE = 0.4
"""Part of its height by which V falls at a reset at the least, where spike times have errors."""
FLAT, MARGIN = 0.05, 0.5
"""Of the steepest slope of an action potential, that where it begins and ends; ms beside it that count as little."""


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
        notes: what its reader has to say, such as sweeps that were left out.
        numbers: (S,) of the sweeps in the recording of which these are a part; None: from 0, see `sweep_numbers`.

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
    notes: tuple[str, ...] = ()
    numbers: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise DataError(f"the name of a recording must be a string, got {shown(self.name)}")
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
            lengths = real_numbers(self.lengths, f"{where}: lengths")
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
            rates = real_numbers(self.rates, f"{where}: rates")
            if rates.shape != current.shape[:1] or not (np.isfinite(rates) & (rates >= 0)).all():
                raise DataError(
                    f"{where}: rates are a number of spikes a second, at least 0, for each of the {len(current)} "
                    f"sweeps, got {shown(self.rates)}"
                )
            if self.spikes is not None:
                raise DataError(f"{where}: the rates follow from the spike times; leave rates out")
            object.__setattr__(self, "rates", rates)
        if self.numbers is not None and np.shape(self.numbers) != current.shape[:1]:
            raise DataError(f"{where}: numbers has {np.size(self.numbers)} of the {len(current)} sweeps")

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
            numbers=self.sweep_numbers[chosen],
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
        checked = tuple(real_numbers(times, f"{where}: spike times of sweep {i}") for i, times in enumerate(each))
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
        early = all((times <= 1e-3 * of_sweep).all() for times, of_sweep in zip(checked, self.durations))
        intervals = np.concatenate([np.diff(times) for times in checked])
        if early and len(intervals) > 1 and np.median(intervals) < FASTEST:
            raise DataError(
                f"{where}: all spikes are in the first thousandth of their sweeps, {np.median(intervals):.3g} ms "
                "apart; times are in ms: multiply those in seconds by 1000"
            )
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
        dt, times = _common_step([s.dt for s in sweeps], first.name)
        currents, voltages = list[np.ndarray](), list[np.ndarray]()
        for s, n in zip(sweeps, times):
            for k, length in enumerate(s.samples):
                currents.append(np.repeat(s.current[k, :length], n))
                if s.voltage is not None:
                    voltages.append(_on_lines(s.voltage[k, :length], n))
        return cls(
            currents, dt, voltages or None,  # type: ignore[arg-type]
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
    def sweep_numbers(self) -> np.ndarray:
        """(S,) numbers of the sweeps in the whole recording, from 0."""
        return np.arange(len(self)) if self.numbers is None else np.asarray(self.numbers)

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

    def with_spikes_found(self) -> Recording:
        """The recording with its action potentials: each is where V rises through the middle of its upstroke.

        An upstroke is where V, in mV, rises by `UPSTROKE` mV/ms or more over 0.2 ms; what comes of it is an action
        potential if its peak is at least `HEIGHT` above the beginning and followed, within `FALL_WITHIN`, by a fall of
        a third of that. So a step of the current over a series resistance is none, nor is a slow depolarisation.
        """
        if self.voltage is None:
            raise DataError(f"recording {self.name!r} has no voltage; give its spike times")
        spikes = tuple(_action_potentials(v[:n], self.dt) for v, n in zip(self.voltage, self.samples))
        note = f"{sum(map(len, spikes))} action potentials were found in V by their upstroke and height"
        return replace(self, spikes=spikes, rates=None, notes=(*self.notes, note))

    def window(self) -> tuple[float, float]:
        """ms before and after a spike in which V is that of an action potential, of the mean one, with `MARGIN`.

        It begins where V rises with `FLAT` of its steepest slope, and is over when V falls less than with that. At
        least `WINDOW`, and that where V falls by `AT_ONCE` of its height within 0.2 ms or a sample, as a model's does
        at its reset.
        """
        reach = round(FALL_WITHIN / self.dt)
        if self.voltage is None or not self.spikes or not any(map(len, self.spikes)) or reach < 3:
            return WINDOW
        around = np.arange(-reach, reach + 1)
        total, known = np.zeros(len(around)), np.zeros(len(around), int)
        for v, samples, times in zip(self.voltage, self.samples, self.spikes):
            for t in times:
                k = int(t / self.dt) + around  # from the last sample before the spike, so that a reset is one step
                part = np.where((k >= 0) & (k < samples), v[np.clip(k, 0, samples - 1)], np.nan)
                total += np.nan_to_num(part)
                known += np.isfinite(part)
        mean = total / np.maximum(known, 1)
        n, near = max(1, round(SLOPE_OVER / self.dt)), max(1, round(1.0 / self.dt))
        slope = mean[n:] - mean[:-n]  # from the sample with this number on
        peak = reach - near + int(np.argmax(mean[reach - near : reach + 2 * near + 1]))
        fall = peak + int(np.argmin(slope[peak : peak + 2 * near]))
        over = fall + int(np.argmax(np.append(slope[fall:], 0.0) > FLAT * slope[fall]))
        if -slope[fall] > AT_ONCE * (mean[peak] - mean[over]):
            return WINDOW
        first = max(peak - near, 0)
        rise = first + int(np.argmax(slope[first:peak]))
        begin = rise - int(np.argmax(np.append(slope[rise::-1], 0.0) < FLAT * slope[rise])) + 1
        before, after = (reach - begin - n / 2) * self.dt + MARGIN, (over + n / 2 - reach) * self.dt + MARGIN
        return max(WINDOW[0], round(before, 2)), max(WINDOW[1], round(after, 2))

    def corrected(self, *, series_resistance: float = 0.0, junction_potential: float = 0.0) -> Recording:
        """The recording with the V of the membrane, (measured V) - R_s I - V_j; V in mV, the current in pA.

        Args:
            series_resistance: R_s in MOhm, what the bridge of the amplifier has left of it. junction_potential: V_j in
                mV, between the pipette's solution and the bath: as a rule positive, by which the cell is more negative.
        """
        for name, value in (("series_resistance", series_resistance), ("junction_potential", junction_potential)):
            if not is_number(value):
                raise DataError(f"{name} must be a finite number, got {shown(value)}")
        if self.voltage is None:
            raise DataError(f"recording {self.name!r} has no voltage to be corrected")
        return replace(self, voltage=self.voltage - 1e-3 * series_resistance * self.current - junction_potential)

    def save(self, path: Path | str) -> None:
        """Write an .npz file at `path`, in one step; `read_recording` reads it. The name is that of the file.

        Raises:
            DataError: another suffix, or a file that cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() != ".npz":
            raise DataError(f"{path}: recordings are saved as .npz; name a file that ends in .npz")
        # numbers of a model without units may look like volts
        arrays: dict[str, Any] = {"current": self.current, "dt": self.dt, "converted": True}
        if self.voltage is not None:
            arrays["voltage"] = self.voltage
        if self.rates is not None:
            arrays["rates"] = self.rates
        if self.lengths is not None:
            arrays["lengths"] = self.lengths
        if self.numbers is not None:
            arrays["numbers"] = self.sweep_numbers
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


@dataclass(frozen=True, eq=False)
class Signal:
    """What was recorded on one channel in one sweep: values (K,) in mV or pA, dt ms apart, from `start` ms on."""

    values: np.ndarray
    dt: float
    start: float = 0.0

    @property
    def end(self) -> float:
        return self.start + len(self.values) * self.dt


def sweep_of(voltage: Signal, current: Signal, name: str) -> Recording:
    """One sweep of two signals, where both are: steps that differ become the largest one of which they are multiples.

    Raises:
        DataError: see `Recording.of_sweeps`.
    """
    begin, end = max(voltage.start, current.start), min(voltage.end, current.end)
    if begin >= end:  # some programs let the time of V begin with the session, that of the command with the sweep
        voltage, current = replace(voltage, start=0.0), replace(current, start=0.0)
        begin, end = 0.0, min(voltage.end, current.end)
    dt, (n_voltage, n_current) = _common_step([voltage.dt, current.dt], name)
    length = round((end - begin) / dt)

    def part(signal: Signal, values: np.ndarray) -> np.ndarray:
        first = round((begin - signal.start) / dt)
        return values[first : first + length]

    return Recording(
        part(current, np.repeat(current.values, n_current)), dt, part(voltage, _on_lines(voltage.values, n_voltage)),
        name=name,
    )  # fmt: skip


def _common_step(steps: Sequence[float], name: str) -> tuple[float, list[int]]:
    """The largest of which these are multiples, in ms, and these in it.

    Raises:
        DataError: it is less than a twentieth of the smallest.
    """
    if all(abs(dt / steps[0] - 1) < SAME_STEP for dt in steps):
        return steps[0], [1] * len(steps)
    least = min(steps)
    in_it = [Fraction(dt / least).limit_denominator(SMALLEST_PART) for dt in steps]  # 30 kHz: 3 times in 10 kHz
    parts = math.lcm(*(n.denominator for n in in_it))
    if parts > SMALLEST_PART or any(abs(n * least / dt - 1) > SAME_STEP for n, dt in zip(in_it, steps)):
        every = ", ".join(f"{dt:g}" for dt in sorted({*steps}))
        raise DataError(f"recording {name!r}: steps of {every} ms have no common one; sample the sweeps again with one")
    return float(f"{least / parts:.9g}"), [int(n * parts) for n in in_it]


def _on_lines(values: np.ndarray, n: int) -> np.ndarray:
    """(n K,) values between samples on straight lines, nan after the last."""
    fine = np.arange(n * len(values)) / n
    return np.where(fine <= len(values) - 1, np.interp(fine, np.arange(len(values)), values), np.nan)


def _action_potentials(v: np.ndarray, dt: float) -> np.ndarray:
    """Times in ms, see `Recording.with_spikes_found`."""
    n = max(1, round(SLOPE_OVER / dt))
    steep = np.flatnonzero(v[n:] - v[:-n] >= UPSTROKE * n * dt)
    times, k = list[float](), 0
    while len(steep := steep[steep >= k]):
        k = int(steep[0])
        run = np.flatnonzero(np.diff(steep) > n)  # where V has stopped rising so fast
        top = int(steep[run[0]] if len(run) else steep[-1]) + n
        onset, fall = float(v[k]), round(FALL_WITHIN / dt)
        # the peak comes after the steep part, before V has fallen
        peak = top + int(np.argmax(v[top : top + n + 1]))
        while v[peak + 1 : peak + 1 + n].max(initial=-np.inf) > v[peak]:
            peak += 1 + int(np.argmax(v[peak + 1 : peak + 1 + n]))
        height = float(v[peak]) - onset
        falls = v[peak : peak + fall].min() <= v[peak] - height / 3 or peak + fall > len(v)  # the sweep ends before
        if height >= HEIGHT and falls:
            middle = onset + height / 2
            j = k + int(np.argmax(v[k : peak + 1] >= middle))
            if j:
                times.append((j - 1 + (middle - v[j - 1]) / (v[j] - v[j - 1])) * dt)
        k = max(peak, k + 1)
    return np.array(times)


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


def real_numbers(values: Any, where: str) -> np.ndarray:
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
        kinds = {"c": "complex numbers", "U": "strings", "S": "strings", "M": "dates", "m": "durations",
                 "b": "truth values", "V": "records"}  # fmt: skip
        raise DataError(
            f"{where} must be an array of numbers, got {kinds.get(array.dtype.kind, f'{shown(values)}')}; convert it "
            "to float"
        )
    return array.astype(np.float64)


def _sweeps(values: Any, where: str) -> tuple[np.ndarray, np.ndarray]:
    """(S, K) values, nan beyond the ends of sweeps that are shorter, and the lengths (S,)."""
    if isinstance(values, (list, tuple)) and len({np.shape(row) for row in values if np.ndim(row) == 1}) > 1:
        rows = [real_numbers(row, f"{where} of sweep {i}") for i, row in enumerate(values)]
        if all(row.ndim == 1 for row in rows):
            lengths = np.array([len(row) for row in rows])
            filled = np.full((len(rows), lengths.max()), np.nan)
            filled[np.arange(lengths.max()) < lengths[:, None]] = np.concatenate(rows)
            return filled, lengths
    array = real_numbers(values, where)
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2:
        raise DataError(f"{where} has shape {array.shape}; it needs (sweeps, samples)")
    return array, np.full(len(array), array.shape[1])
