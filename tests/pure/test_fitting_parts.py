"""Parts of a fit without an engine: recordings and their files, least squares, spikes that coincide, what is fitted."""

from __future__ import annotations

import re
import struct
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genn_eventprop import Event, Mode, NeuronModel, Param
from genn_eventprop.errors import DataError, SettingError
from genn_eventprop.fitting import Recording, read_recording, read_spikes
from genn_eventprop.fitting.cells import Arrivals, forced_arrivals
from genn_eventprop.fitting.compare import coincidences, gamma
from genn_eventprop.fitting.differences import differences, without_jumps
from genn_eventprop.fitting.files import commands_voltage, odd_command, recording_of_block
from genn_eventprop.fitting.forced import COUPLED, SLOPE, TARGET, TEACHER, fitted_model
from genn_eventprop.fitting.levenberg import follow, minimise
from genn_eventprop.fitting.ranges import choose, potentials
from genn_eventprop.fitting.residuals import Residuals
from genn_eventprop.fitting.result import alike, uncertainty
from genn_eventprop.fitting.search import search
from genn_eventprop.fitting.spread import spread
from genn_eventprop.models import ALIF, LI, ZOO, AdEx, Izhikevich, LIFRefractory
from genn_eventprop.report.fit_page import action_potentials as action_potential_figure
from support.extras import needs

RAMP = np.arange(6.0)


def test_sweeps_of_one_recording_may_be_one_row():
    recording = Recording(RAMP, 0.5, voltage=-RAMP, spikes=[[1.25]])
    assert len(recording) == 1 and recording.duration == 3.0 and recording.current.shape == (1, 6)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"dt": 0.0}, "dt must be a positive time"),
        ({"current": []}, "no samples"),
        ({"current": [[0.0, np.nan]]}, r"sweep 0 at 0.5 ms is nan"),
        ({"current": np.zeros((1, 2, 3))}, r"\(sweeps, samples\)"),
        ({"voltage": RAMP[:-1]}, r"shape \(1, 5\), the current \(1, 6\)"),
        ({"voltage": [np.inf] * 6}, "infinite"),
        ({"spikes": [[1.0], [2.0]]}, "given for 2 sweeps, there are 1"),
        ({"spikes": [[3.0]]}, "at 3 ms, not within the sweep of 3 ms"),
        ({"spikes": [[2.0, 1.0]]}, "do not ascend"),
        ({"current": np.zeros(2000), "spikes": [[0.12, 0.31, 0.7]]}, "0.29 ms apart; times are in ms: multiply those"),
        ({"rates": [1.0, 2.0]}, "for each of the 1 sweeps"),
        ({"rates": [-1.0]}, "at least 0"),
        ({"rates": [1.0], "spikes": [[1.0]]}, "leave rates out"),
    ],
)
def test_a_wrong_recording_is_refused(settings, message):
    with pytest.raises(DataError, match=message):
        Recording(**{"current": RAMP, "dt": 0.5, **settings})


def test_spikes_lie_where_v_rises_through_the_level():
    v = np.array([[-60.0, -20.0, 20.0, -60.0, -10.0, 0.0], [-60.0] * 6])
    recording = Recording(np.zeros((2, 6)), 0.1, v).with_spikes_above(0.0)
    assert np.allclose(recording.spikes[0], [0.15, 0.5]) and len(recording.spikes[1]) == 0
    with pytest.raises(DataError, match="no voltage"):
        Recording(RAMP, 0.1).with_spikes_above(0.0)


def action_potentials(times, heights, dt, noise=0.0, length=200.0):
    """V (1, K) at -65 mV with steps of a current over a resistance, a slow wave, and spikes that rise within 0.4 ms."""
    t = np.arange(round(length / dt)) * dt
    v = -65.0 + 8.0 * (t > 20.0) - 8.0 * (t > 90.0) + 6.0 * np.sin(t / 15.0)
    for at, height in zip(times, heights):
        v += height * np.exp(-((t - at) ** 2) / (2 * 0.25**2)) * (t < at)
        v += height * np.exp(-(t - at) / 1.0) * (t >= at)
    return v[None] + noise * np.random.default_rng(1).normal(size=(1, len(t)))


@pytest.mark.parametrize("dt, noise", [(0.02, 0.0), (0.05, 0.3), (0.1, 0.3), (0.2, 0.3)])
def test_spikes_are_found_without_a_level(dt, noise):
    """Where V rises through the middle of the upstroke, 0.29 ms before the peak; the third is a low one in a burst."""
    times, heights = [30.0, 60.0, 64.0, 120.0], [90.0, 80.0, 40.0, 8.0]
    recording = Recording(np.zeros(round(200 / dt)), dt, action_potentials(times, heights, dt, noise))
    found = recording.with_spikes_found()
    assert np.allclose(found.spikes[0], np.array(times[:3]) - 0.29, atol=0.15)
    with pytest.raises(DataError, match="no voltage"):
        Recording(RAMP, 0.1).with_spikes_found()


@given(st.sampled_from([0.02, 0.05, 0.1]), st.floats(0.0, 0.3), st.floats(0.01, 1.0))
@settings(max_examples=20)
def test_a_window_is_as_long_as_the_action_potential(dt, noise, unit):
    """It rises with a twentieth of its steepest slope 0.76 ms before the peak, and falls with it 3.0 ms after; V may
    have any unit. A model that is reset has none."""
    times = [30.0, 60.0, 120.0, 150.0]
    v = action_potentials(times, [90.0, 80.0, 85.0, 70.0], dt, noise)
    found = Recording(np.zeros(v.shape), dt, v).with_spikes_found()
    before, after = replace(found, voltage=unit * v).window()
    assert before == pytest.approx(0.76 - 0.29 + 0.5, abs=0.2) and after == pytest.approx(0.29 + 3.0 + 0.5, abs=0.5)
    grid = np.arange(v.shape[1]) * dt
    reset = np.interp((grid[:, None] - times) % 40.0, [0.0, 40.0], [-70.0, -50.0]).min(axis=1)[None]
    assert replace(found, voltage=reset, spikes=[np.array(times)]).window() == (0.5, 1.5)
    assert Recording(v, dt).window() == Recording(v, dt, v, spikes=[[]]).window() == (0.5, 1.5)


def test_v_is_that_of_the_membrane():
    recording = Recording([0.0, 200.0, -100.0], 1.0, [-60.0, -50.0, -70.0])
    corrected = recording.corrected(series_resistance=15.0, junction_potential=10.0)  # 15 MOhm 200 pA = 3 mV
    assert np.allclose(corrected.voltage, [[-70.0, -63.0, -78.5]]) and (corrected.current == recording.current).all()
    with pytest.raises(DataError, match="no voltage to be corrected"):
        Recording(RAMP, 0.1).corrected(series_resistance=1.0)
    with pytest.raises(DataError, match="series_resistance must be a finite number"):
        recording.corrected(series_resistance=np.nan)


def test_sweeps_are_chosen():
    recording = Recording(np.arange(6.0).reshape(3, 2), 1.0, spikes=[[0.5], [], [1.5]])
    assert recording[1].current.tolist() == [[2.0, 3.0]] and len(recording[1:]) == 2
    assert [t.tolist() for t in recording[[2, 0]].spikes] == [[1.5], [0.5]]
    assert Recording(np.zeros((2, 2)), 1.0, rates=[3.0, 4.0])[-1].rates.tolist() == [4.0]
    for wrong in (3, slice(5, None), [0, 7]):
        with pytest.raises(DataError, match="has the sweeps 0 to 2"):
            recording[wrong]


@pytest.mark.parametrize(
    "given", [{}, {"spikes": [[], [0.5, 1.25]]}, {"rates": [2.0, 0.0]}, {"voltage": [[1, np.nan]] * 2}]
)
def test_a_recording_is_saved_and_read(given, tmp_path):
    recording = Recording(np.arange(4.0).reshape(2, 2), 1.0, name="saved", **given)
    recording.save(tmp_path / "saved.npz")
    again = read_recording(tmp_path / "saved.npz")
    assert again.name == "saved" and again.dt == 1.0 and np.array_equal(again.current, recording.current)
    assert (again.spikes is None) == (recording.spikes is None)
    assert all(np.array_equal(a, b) for a, b in zip(again.spikes or (), recording.spikes or (), strict=True))
    for name in ("voltage", "rates"):
        a, b = getattr(again, name), getattr(recording, name)
        assert (a is None) == (b is None) and (a is None or np.array_equal(a, b, equal_nan=True))
    with pytest.raises(DataError, match=r"ends in \.npz"):
        recording.save(tmp_path / "saved.csv")


def test_units_in_brackets_are_converted(tmp_path):
    path = tmp_path / "cell.csv"
    path.write_text("time (s),I [nA],V (V),rate (kHz)\n0,0.1,-0.07,0.02\n0.001,0.2,nan,0.02\n")
    recording = read_recording(path)
    assert recording.dt == 1.0 and recording.rates.tolist() == [20.0]
    assert np.allclose(recording.current, [[100.0, 200.0]]) and np.isclose(recording.voltage[0, 0], -70.0)
    path.write_text("time (s),I (\u03bcA)\n0,1\n1,2\n")
    assert read_recording(path).current.tolist() == [[1e6, 2e6]] and read_recording(path).dt == 1000.0


@pytest.mark.parametrize(
    "text",
    [
        "time (ms),Vm 1 (mV),Vm 2 (mV),Im 1 (pA),Im 2 (pA)\n0,1,4,10,40\n1,2,5,20,50\n2,3,,30,\n",
        "t_ms\tV_m 2\tV_m 3\tI_inj_2\tI_inj_3\n0\t1\t4\t10\t40\n1\t2\t5\t20\t50\n2\t3\t\t30\t\n",
        'ATF\t1.0\n2\t5\n"Comment="\n"SweepStartTimesMS=0.000,9"\n"Time (s)"\t"Trace #1 (mV)"\t"Trace #2 (mV)"\t'
        '"Trace #1 (nA)"\t"Trace #2 (nA)"\n0\t1\t4\t.01\t.04\n.001\t2\t5\t.02\t.05\n.002\t3\tnan\t.03\tnan\n',
    ],
    ids=["numbers", "other names", "atf"],
)
def test_sweeps_may_be_side_by_side(tmp_path, text):
    path = tmp_path / ("cell.atf" if text.startswith("ATF") else "cell.csv")
    path.write_text(text)
    recording = read_recording(path)
    assert recording.samples.tolist() == [3, 2] and recording.dt == 1.0
    assert np.allclose(recording.voltage, [[1, 2, 3], [4, 5, np.nan]], equal_nan=True)
    assert np.allclose(recording.current[0], [10, 20, 30]) and np.allclose(recording.current[1, :2], [40, 50])


def test_sweeps_side_by_side_may_have_one_current(tmp_path):
    path = tmp_path / "cell.csv"
    path.write_text("time,Im,Vm1,Vm2,\n0,10,1,3,\n1,20,2,4,\n")  # a separator behind the last cell
    assert read_recording(path).current.tolist() == [[10, 20], [10, 20]]
    assert read_recording(path).voltage.tolist() == [[1, 2], [3, 4]]


def test_columns_side_by_side_belong_together_by_their_numbers(tmp_path):
    path = tmp_path / "cell.csv"
    path.write_text("time,Vm 1,Vm 2,Im 2,Im 1\n0,1,2,20,10\n1,1,2,20,10\n")
    assert read_recording(path).current.tolist() == [[10, 10], [20, 20]]
    assert read_recording(path).voltage.tolist() == [[1, 1], [2, 2]]
    path.write_text("time,Vm 1,Im 2,Vm 3,Im 4\n0,1,10,2,20\n1,1,10,2,20\n")  # numbers of columns, not of sweeps
    assert read_recording(path).current.tolist() == [[10, 10], [20, 20]]


@pytest.mark.parametrize("dt, digits", [(0.1, 0), (0.05, 1), (0.04, 1), (1 / 30, 2), (0.05, 4)])
def test_times_may_be_rounded(tmp_path, dt, digits):
    path, t = tmp_path / "cell.csv", np.arange(1000) * dt
    path.write_text("time,I\n" + "\n".join(f"{x:.{digits}f},1" for x in t))
    assert read_recording(path).dt == pytest.approx(dt, rel=10**-digits / t[-1] / dt)
    if digits == 4:  # a sample is missing
        path.write_text("time,I\n" + "\n".join(f"{x:.4f},1" for x in np.delete(t, 400)))
        with pytest.raises(DataError, match="not evenly spaced"):
            read_recording(path)


def test_times_in_seconds_without_a_unit_are_refused(tmp_path):
    path = tmp_path / "cell.csv"
    path.write_text("time,I\n0,1\n0.00005,1\n")
    with pytest.raises(DataError, match=r"5e-05 ms apart; if times are in s, name them time \(s\)"):
        read_recording(path)
    path.write_text("time_s,I\n0,1\n0.00005,1\n")
    assert read_recording(path).dt == 0.05


def test_a_current_is_averaged_over_longer_steps():
    assert Recording(RAMP, 0.5).with_current_step(1.0).current.tolist() == [[0.5, 0.5, 2.5, 2.5, 4.5, 4.5]]
    with pytest.raises(DataError, match="no whole multiple"):
        Recording(RAMP, 0.5).with_current_step(0.7)


def test_volts_and_amperes_without_a_unit_are_told(tmp_path):
    """What no cell has in mV and pA; V that is in mV, or of a model without units, stays as it is."""
    path = tmp_path / "cell.csv"
    path.write_text("t,Im,Vm\n0,1e-10,-0.07\n1,2e-10,-0.08\n2,0,0.04\n")
    recording = read_recording(path)
    assert np.allclose(recording.voltage, [[-70.0, -80.0, 40.0]]) and np.allclose(recording.current, [[100, 200, 0]])
    assert [note.split(",")[0] for note in recording.notes] == [
        "V of cell.csv has no unit", "the current of cell.csv has no unit",
    ]  # fmt: skip
    np.savez(tmp_path / "cell.npz", current=[0.0, 1.0, 0.0], dt=0.1, voltage=[-0.07, -0.08, 0.04])
    assert read_recording(tmp_path / "cell.npz").voltage.tolist() == [[-70.0, -80.0, 40.0]]
    unitless = Recording([0.0, -1e-7, 0.0], 0.1, [-0.05, -0.06, -0.04])
    unitless.save(tmp_path / "saved.npz")
    saved = read_recording(tmp_path / "saved.npz")
    assert saved.voltage.tolist() == unitless.voltage.tolist() and saved.current.tolist() == unitless.current.tolist()
    for v in ("-70,-80,40", "0,0.05,0.1", "-0.01,0.02,0.9"):
        rows = [f"{k},{k},{x}" for k, x in enumerate(v.split(","))]
        for head in ("t,Im,Vm", "t,Im,Vm (mV)"):
            path.write_text("\n".join([head, *rows]))
            recording = read_recording(path)
            assert recording.voltage.tolist() == [[float(x) for x in v.split(",")]] and not recording.notes


def test_sweeps_keep_their_numbers(tmp_path):
    recording = Recording(
        np.zeros((6, 20)), 0.5, np.zeros((6, 20)), [[1.0]] * 5 + [[1.0, 3.0]], lengths=[20] * 5 + [18]
    )
    assert recording.sweep_numbers.tolist() == [0, 1, 2, 3, 4, 5]
    part = recording[[5, 3, 1]]
    assert part.sweep_numbers.tolist() == [5, 3, 1] and part[1:].sweep_numbers.tolist() == [3, 1]
    part.save(tmp_path / "part.npz")
    assert read_recording(tmp_path / "part.npz").sweep_numbers.tolist() == [5, 3, 1]
    assert "sweep 5, the one with most" in [
        axis.get_title(loc="left") for axis in action_potential_figure(part, "mV").axes
    ]
    with pytest.raises(DataError, match="numbers has 2 of the 6 sweeps"):
        replace(recording, numbers=[0, 1])


def test_csv_has_sweeps_in_any_order(tmp_path):
    path = tmp_path / "cell.csv"
    rows = [(t, s * 10 + t, -t, s) for s in (1, 0) for t in (0.2, 0.0, 0.1)]
    path.write_text("Time (ms),I [pA],V (mV),sweep\n" + "\n".join(",".join(map(str, row)) for row in rows))
    recording = read_recording(path)
    assert recording.dt == 0.1 and recording.name == "cell" and recording.spikes is None
    assert np.allclose(recording.current, [[0.0, 0.1, 0.2], [10.0, 10.1, 10.2]])
    assert np.allclose(recording.voltage, [[0.0, -0.1, -0.2]] * 2)
    spikes = tmp_path / "spikes.csv"
    spikes.write_text("sweep,time\n1,0.2\n1,0.1\n")
    assert [times.tolist() for times in read_spikes(spikes, 2)] == [[], [0.1, 0.2]]
    with pytest.raises(DataError, match="whole numbers from 0 to 0"):
        read_spikes(spikes, 1)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "is empty"),
        ("time,current\n", "0 samples"),
        ("time,curent\n0,1\n", "unknown column 'curent' .*current.*; rename it to what it is: time, current, voltage"),
        ("0,1\n1,1\n", "begins with numbers; write a line above them that names the columns: time, current"),
        ("time,Im,command\n0,1,1\n1,1,1\n", "'Im' and 'command' are both the current; leave one out, or rename it"),
        ("time,command (mV),Im (pA)\n0,1,1\n", "'command .mV.' and 'Im .pA.' are both the current"),
        ("time;command (mV)\n0;1\n1;1\n", "unit 'mV' of 'command .mV.' is not one of pa, na.*rename the column"),
        ("time\tI\nms\tfA\n0\t1\n", "unit 'fA' of 'I' is not one of pa, na"),
        ('time,"cur\nrent"\n0,1\n', "an end of line in it"),
        ("# a comment\n\ntime;current\n0;1\n1;x\n", "line 5: 2 numbers are needed, got 1,x"),
        ("time\n0\n1\n", "no column current"),
        ("time,t,current\n0,0,1\n", "'time' and 't' are both the time"),
        ("time,current\n0,1\n1,x\n", "line 3: 2 numbers are needed, got 1,x"),
        ("time,current\n0,1\n1\n", "line 3"),
        ("time,current\n0,1\n1,1\n3,1\n", "not evenly spaced"),
        ("time,current,sweep\n0,1,0\n1,1,0\n0,1,1\n", "a sweep of 1 samples; at least two"),
        ("time,current,sweep\n0,1,0\n1,1,0\n0,1,1\n0.0107,1,1\n", "steps of 0.0107, 1 ms have no common one"),
        ("time,current\nnan,1\n1,1\n2,1\n", "not evenly spaced"),
        ("time (ms),current (fA)\n0,1\n1,1\n", "unit 'fA' of 'current .fA.' is not one of pa, na"),
        ("time,current,rate\n0,1,5\n1,1,6\n", "the rate changes within a sweep"),
        ("time,Vm 1,Vm 2,Vm 3,Im 1,Im 2\n0,1,1,1,1,1\n", "are 3 sweeps side by side, and 2 of current"),
        ("time,Vm 1,Vm 2,Im 1,Im 3\n0,1,1,1,1\n", "Vm 1, Vm 2, Im 1, Im 3: V and the current have other numbers"),
        ("time,Vm 1,Vm 2,Im,sweep\n0,1,1,1,0\n", "are 2 sweeps side by side, and 1 of sweep; name one for each"),
    ],
)
def test_a_wrong_csv_is_refused(tmp_path, text, message):
    path = tmp_path / "cell.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_recording(path)


def test_steps_that_are_no_decimals_have_a_common_one():
    one = Recording.of_sweeps([Recording([1.0, 2.0], 0.1), Recording([3.0, 4.0, 5.0], 0.0333333)])  # 10 and 30 kHz
    assert one.dt == 0.0333333
    assert one.samples.tolist() == [6, 3] and one.current[0].tolist() == [1, 1, 1, 2, 2, 2]


@given(st.lists(st.tuples(st.integers(2, 9), st.sampled_from([1, 2, 3, 5])), min_size=2, max_size=4), st.booleans())
@settings(max_examples=40, deadline=None)
def test_sweeps_of_any_length_and_step_are_one_recording(shapes, saved):
    """At the samples of each sweep the values are its own, and the current holds until the next."""
    rng = np.random.default_rng(len(shapes))
    sweeps = [
        Recording(rng.normal(size=n), step / 20, rng.normal(size=n), [[0.04 * step * n]], "cell") for n, step in shapes
    ]
    one = Recording.of_sweeps(sweeps)
    with tempfile.TemporaryDirectory() as folder:
        if saved:
            one.save(Path(folder) / "cell.npz")
            one = read_recording(Path(folder) / "cell.npz")
        else:
            rows = [
                f"{k * s.dt:.6f},{float(s.current[0, k])!r},{float(s.voltage[0, k])!r},{i}"
                for i, s in enumerate(sweeps)
                for k in range(s.current.shape[1])
            ]
            (Path(folder) / "cell.csv").write_text("\n".join(["time,Im,Vm,sweep", *rows]))
            read = read_recording(Path(folder) / "cell.csv")
            assert read.dt == one.dt and np.array_equal(read.current, one.current)
            assert np.array_equal(read.voltage, one.voltage, equal_nan=True)
    assert np.allclose(one.durations, [s.duration for s in sweeps]) and one.duration == one.durations.max()
    for i, s in enumerate(sweeps):
        n = round(s.dt / one.dt)
        alone = one[i]
        assert np.array_equal(alone.current, np.repeat(s.current, n, axis=1)) and alone.spikes[0] == s.spikes[0]
        assert np.array_equal(alone.voltage[:, ::n], s.voltage) and alone.lengths is None


def test_unequal_sweeps_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="voltage of sweep 1 has 3 samples, its current 2"):
        Recording([[0.0] * 4, [0.0] * 2], 0.1, voltage=[[0.0] * 4, [0.0] * 3])
    with pytest.raises(DataError, match="spike of sweep 1 is at 0.3 ms, not within the sweep of 0.2 ms"):
        Recording([[0.0] * 4, [0.0] * 2], 0.1, spikes=[[0.35], [0.3]])
    with pytest.raises(DataError, match="lengths are a number of samples, 1 to 4"):
        Recording(np.zeros((2, 4)), 0.1, lengths=[5, 4])
    with pytest.raises(DataError, match="voltage of some sweeps are missing; leave these out"):
        Recording.of_sweeps([Recording([0.0, 1.0], 0.1), Recording([0.0, 1.0], 0.1, [0.0, 0.0])])
    with pytest.raises(DataError, match="current of sweep 1 at 0.1 ms is nan"):
        Recording([[0.0] * 3, [0.0, np.nan]], 0.1)


NAMES = {
    "time": ["time", "t", "Time"], "current": ["I", "Im", "CURRENT", "command", "Injected Current", "I_inj", "stim"],
    "voltage": ["V", "Vm", "response", "Membrane_Potential", "VOLTAGE"], "sweep": ["sweep", "Trial"],
}  # fmt: skip
SCALES = {
    "time": {"ms": 1.0, "s": 1e3, "us": 1e-3, "": 1.0}, "current": {"nA": 1e3, "pA": 1.0, "\u00b5A": 1e6, "": 1.0},
    "voltage": {"mV": 1.0, "V": 1e3, "": 1.0}, "sweep": {"": 1.0},
}  # fmt: skip


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_tables_of_every_program_are_read(data):
    """Any separator, decimal sign, encoding and suffix; units in names, in brackets or below; comments."""
    draw = lambda *choices: data.draw(st.sampled_from(choices))  # noqa: E731
    rng, sweeps, samples = np.random.default_rng(data.draw(st.integers(0, 99))), draw(1, 3), draw(2, 7)
    columns = ["time", "current", *draw([], ["voltage"]), *(["sweep"] if sweeps > 1 else draw([], ["sweep"]))]
    columns = data.draw(st.permutations(columns))
    # without a unit these can be neither volts nor amperes
    values = {n: rng.uniform(1.0, 5.0, (sweeps, samples)).round(6) for n in ("current", "voltage")}
    values["time"] = np.tile(np.arange(samples) * 0.25, (sweeps, 1))
    values["sweep"] = np.repeat(np.arange(sweeps)[:, None], samples, axis=1)
    sign, style = draw(",", ";", "\t"), draw("none", " ({})", " [{}]", "_{}", "/{}", "below", "below []")
    units = {n: draw(*SCALES[n]) if style != "none" else "" for n in columns}
    if style in ("_{}", "/{}") and units.get("time") == "":
        units["time"] = "ms"
    joined = {n: draw(*NAMES[n]) + (style.format(units[n]) if "{" in style and units[n] else "") for n in columns}
    lines = [sign.join(joined[n] for n in columns)]
    if style.startswith("below") and any(units.values()):
        lines.append(sign.join(f"[{units[n]}]" if "[" in style else units[n] for n in columns))
    decimal = draw(".", ",") if sign != "," else "."
    for at in np.ndindex(sweeps, samples):
        cells = (f"{values[n][at] / SCALES[n][units[n]]:.12g}".replace(".", decimal) for n in columns)
        lines.append(sign.join(cells))
    for _ in range(draw(0, 2)):
        lines.insert(data.draw(st.integers(0, len(lines))), draw("# a comment", "% one", ""))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"cell{draw('.csv', '.txt', '.TSV', '.dat', '.CSV')}"
        path.write_text(draw("\n", "\r\n").join(lines), encoding=draw("utf-8", "utf-8-sig", "utf-16"))
        recording = read_recording(path)
    assert recording.dt == 0.25 and np.allclose(recording.current, values["current"], rtol=1e-9, atol=1e-9)
    assert (recording.voltage is None) == ("voltage" not in columns)
    if "voltage" in columns:
        assert np.allclose(recording.voltage, values["voltage"], rtol=1e-9, atol=1e-9)


def test_spikes_of_several_sweeps_say_which(tmp_path):
    (tmp_path / "spikes.csv").write_text("time\n12\n20\n")
    assert [times.tolist() for times in read_spikes(tmp_path / "spikes.csv", sweeps=1)] == [[12, 20]]
    with pytest.raises(
        DataError, match=r"spikes.csv: the recording has 3 sweeps; a column sweep \(from 0\) says which"
    ):
        read_spikes(tmp_path / "spikes.csv", sweeps=3)
    np.savez(tmp_path / "cell.npz", current=np.zeros((2, 50)), dt=0.5, spike_times=[2.5])
    with pytest.raises(DataError, match=r"cell.npz: the recording has 2 sweeps; spike_sweeps says which"):
        read_recording(tmp_path / "cell.npz")


def test_npz_has_spikes_of_sweeps(tmp_path):
    path = tmp_path / "cell.npz"
    part = {"current": np.zeros((2, 10)), "dt": 0.5}
    np.savez(path, **part, spike_times=[3.0, 1.0, 2.0], spike_sweeps=[1, 1, 0])
    assert [times.tolist() for times in read_recording(path).spikes] == [[2.0], [1.0, 3.0]]
    for wrong, message in (
        ({"curent": 1, **part}, "unknown array 'curent'"),
        ({"dt": 0.5}, "no array 'current'"),
        ({**part, "spike_times": [1.0], "spike_sweeps": [2]}, "0 to 1"),
        ({**part, "dt": [0.5, 0.5]}, "dt is one number"),
    ):
        np.savez(path, **wrong)
        with pytest.raises(DataError, match=message):
            read_recording(path)
    path.write_bytes(b"no archive")
    with pytest.raises(DataError, match="not a readable npz file"):
        read_recording(path)
    with pytest.raises(DataError, match="there is no file"):
        read_recording(tmp_path / "missing.npz")


def test_segments_of_neo_are_sweeps_in_mv_and_pa():
    neo, pq = needs("neo"), needs("quantities")
    block, commands = neo.Block(), []
    for sweep in range(2):
        segment, command = neo.Segment(), neo.Segment()
        v = neo.AnalogSignal(np.full((4, 1), -0.07 + sweep / 1000), units="V", sampling_rate=20 * pq.kHz)
        i = neo.AnalogSignal(np.full((4, 1), 0.1 * sweep), units="nA", sampling_rate=20 * pq.kHz)
        segment.analogsignals.append(v)
        command.analogsignals.append(i)
        block.segments.append(segment)
        commands.append(command)
    recording = recording_of_block(block, "cell", commands)
    assert np.allclose(recording.voltage, [[-70.0] * 4, [-69.0] * 4]) and recording.dt == 0.05
    assert np.allclose(recording.current, [[0.0] * 4, [100.0] * 4])
    with pytest.raises(DataError, match="sweep 0 has no signal of current"):
        recording_of_block(block, "cell")


def neo_block(*signals):
    """One segment of signals (name, unit, channels, kHz)."""
    neo, pq = needs("neo"), needs("quantities")
    segment = neo.Segment()
    for name, unit, channels, rate in signals:
        values = np.ones((4, channels))
        segment.analogsignals.append(neo.AnalogSignal(values, units=unit, sampling_rate=rate * pq.kHz, name=name))
    block = neo.Block()
    block.segments.append(segment)
    return block


@pytest.mark.parametrize(
    "measured, commanded, message",
    [
        ([("i", "pA", 1, 20)], [("cmd", "mV", 1, 20)], "was recorded in voltage clamp"),
        ([("a", "mV", 1, 20), ("b", "mV", 1, 20), ("i", "pA", 1, 20)], [], "2 signals of voltage: a, b; name one"),
        ([("v", "mV", 1, 20), ("i", "nA", 2, 20)], [], r"2 signals of current: i\[0\], i\[1\]"),
        ([("t", "s", 1, 20)], [], "has no signal of voltage"),
    ],
)
def test_signals_that_are_not_clear_are_refused(measured, commanded, message):
    block, commands = neo_block(*measured), neo_block(*commanded).segments
    with pytest.raises(DataError, match=message):
        recording_of_block(block, "cell", commands)


def test_v_and_current_may_be_sampled_differently():
    recording = recording_of_block(neo_block(("v", "mV", 1, 20), ("i", "pA", 1, 10)))
    assert recording.dt == 0.05 and recording.voltage.shape == (1, 4) == recording.current.shape
    slow = recording_of_block(neo_block(("v", "mV", 1, 10), ("i", "pA", 1, 20)))
    assert slow.dt == 0.05 and slow.voltage.shape == (1, 4) and np.isfinite(slow.voltage).all()


def test_a_signal_is_named():
    block = neo_block(("a", "mV", 2, 20), ("i", "nA", 1, 20), ("j", "pA", 1, 20))
    recording = recording_of_block(block, "cell", None, ["a[1]", "j"])
    assert recording.current.tolist() == [[1.0] * 4] and recording.voltage.tolist() == [[1.0] * 4]


def test_a_file_of_neo_is_read(tmp_path):
    """Written by neo itself, in a format that keeps units and names."""
    neo, pq = needs("neo"), needs("quantities")
    path = tmp_path / "cell.mat"
    block = neo_block(("v", "V", 1, 10), ("i", "nA", 1, 10))
    pytest.importorskip("scipy")
    neo.io.NeoMatlabIO(str(path)).write_block(block)
    recording = read_recording(path)
    assert recording.dt == 0.1 and recording.name == "cell"
    assert np.allclose(recording.voltage, 1000.0) and np.allclose(recording.current, 1000.0)
    assert pq


def write_abf(path, voltage, current, dt):
    """Sweeps as pCLAMP 9 writes them: 16 bits, two channels in turns, where each episode begins and how long it is."""
    header, sweeps, samples = bytearray(6144), len(voltage), voltage.shape[1]
    used = [("4s", 0, b"ABF "), ("f", 4, 1.83), ("h", 8, 5), ("i", 10, 2 * sweeps * samples), ("i", 16, sweeps),
            ("i", 20, 20260101), ("i", 40, 12), ("i", 92, 12 + -(-4 * sweeps * samples // 512)), ("i", 96, sweeps),
            ("h", 120, 2), ("f", 122, 1e3 * dt / 2), ("i", 138, 2 * samples), ("f", 244, 10.0),
            ("i", 252, 32768)]  # fmt: skip
    for channel, (name, unit, scale) in enumerate(((b"Vm", b"mV", 0.05), (b"Im", b"nA", 2.0))):
        used += [("10s", 442 + 10 * channel, name), ("8s", 602 + 8 * channel, unit), ("f", 922 + 4 * channel, scale)]
    for k in range(16):
        used += [("h", 378 + 2 * k, k), ("h", 410 + 2 * k, k if k < 2 else -1)]
        used += [("f", first + 4 * k, 1.0) for first in (730, 1050)]
    for form, place, value in used:
        struct.pack_into(f"<{form}", header, place, value)
    volts = np.stack([voltage * 0.05, current * 1e-3 * 2.0], axis=2)  # at the converter
    data = np.round(volts / 10.0 * 32768).astype("<i2").tobytes()
    starts = np.array([[2 * samples * k, 2 * samples] for k in range(sweeps)], "<i4").tobytes()
    path.write_bytes(bytes(header) + data + bytes(-len(data) % 512) + starts + bytes(512))


def test_a_file_of_axon_is_read(tmp_path):
    needs("neo")
    rng, path = np.random.default_rng(0), tmp_path / "cell.abf"
    voltage, current = rng.uniform(-80.0, 30.0, (3, 500)), np.repeat(rng.uniform(-200.0, 600.0, (3, 10)), 50, axis=1)
    write_abf(path, voltage, current, 0.05)
    recording = read_recording(path)
    assert recording.dt == 0.05 and np.allclose(recording.voltage, voltage, atol=0.01)  # of 16 bits
    assert np.allclose(recording.current, current, atol=0.2) and recording.notes == ()
    whole = path.read_bytes()
    for end in (10, 3000, 6500):
        path.write_bytes(whole[:end])
        with pytest.raises(DataError, match="cell.abf cannot be read by neo"):
            read_recording(path)


def test_a_command_that_neo_would_read_wrongly_is_not_used():
    def of(unit=b"pA  ", enabled=1, source=1, kinds=(1, 1), lasting=100):
        epochs = [{"nEpochType": kind, "lEpochInitDuration": lasting, "lEpochDurationInc": 0} for kind in kinds]
        output = {"DACChUnits": unit, "nWaveformEnable": enabled, "nWaveformSource": source}
        return odd_command({"listDACInfo": [output], "dictEpochInfoPerDAC": {0: dict(enumerate(epochs))}})

    assert of() == of(unit=b"mV", kinds=(2,)) == of(kinds=(0,), lasting=0) == of(enabled=0, lasting=0) == ""
    assert of(kinds=(1, 2)) == "its command has a ramp, not steps alone"
    assert of(kinds=(9,)) == "its command has an epoch of kind 9, not steps alone"
    assert of(source=2) == "its command came from a file of its own" and of(enabled=0) == "its command was switched off"
    with pytest.raises(DataError, match="no signal of current .in pA., and its command has a ramp, not steps alone"):
        recording_of_block(neo_block(("v", "mV", 1, 20)), "cell", None, (), of(kinds=(2,)))
    commands = neo_block(("cmd", "pA", 1, 20)).segments
    (note,) = recording_of_block(neo_block(("v", "mV", 1, 20)), "cell", commands).notes
    assert note == "the current of cell is the command of its protocol, as none was recorded"


@pytest.mark.parametrize(
    "outputs, clamped",
    [("", False), ("mV+", True), ("pA+ mV-", False), ("mV+ pA-", True), ("mV+ nA+", False), ("mV- um+", False)],
)
def test_a_file_whose_waveform_is_a_voltage_is_in_voltage_clamp(outputs, clamped):
    """Both signals may have been recorded. +: an output that is switched on."""
    described = [{"DACChUnits": o[:-1].encode(), "nWaveformEnable": int(o[-1] == "+")} for o in outputs.split()]
    assert commands_voltage({"listDACInfo": described}) == clamped


def test_a_current_becomes_its_steps():
    steps = Arrivals.of_steps(np.array([[0.0, 2.0, 2.0, -1.0], [1.0, 1.0, 1.0, 1.0]]), 0.5)
    assert steps.sweep.tolist() == [0, 0, 1] and steps.time.tolist() == [0.5, 1.5, 0.0]
    assert steps.amount.tolist() == [2.0, -3.0, 1.0]


def test_the_measured_v_pulls_where_it_counts():
    recording = Recording(np.zeros(5), 1.0, [1.0, 3.0, 9.0, 5.0, 7.0], spikes=[[2.5]])
    counts = np.array([[True, True, False, True, True]])
    arrivals = forced_arrivals(recording, 1.0, counts, np.arange(5))
    assert arrivals[TEACHER].time.tolist() == [2.5]
    # from 1 to 3 in the first ms; after it the next sample does not count; from 5 to 7 from 3 ms on
    assert arrivals[TARGET].time.tolist() == [0.0, 3.0] and arrivals[TARGET].amount.tolist() == [1.0, 2.0]
    assert arrivals[SLOPE].time.tolist() == [0.0, 1.0, 3.0, 4.0]
    assert arrivals[SLOPE].amount.tolist() == [2.0, -2.0, 2.0, -2.0]
    assert arrivals[COUPLED].time.tolist() == [0.0, 1.0, 3.0, 4.0]


def rosenbrock(points):
    """Residuals 10 (y - x^2), 1 - x of points in [0, 1] that stand for [-2, 2]."""
    x, y = (4 * points - 2).T
    one, zero = np.ones_like(x), np.zeros_like(x)
    J = np.array([[-20 * x, 10 * one], [-one, zero]]).transpose(2, 0, 1)
    return np.stack([10 * (y - x**2), 1 - x], axis=1), 4 * J


def test_every_start_finds_the_minimum():
    starts = np.random.default_rng(1).random((6, 2))
    costs = []
    minimum = minimise(rosenbrock, starts, steps=100, progress=lambda number, cost: costs.append(cost))
    assert np.allclose(minimum.points, 0.75, atol=1e-6) and minimum.converged.all()
    assert (np.diff(minimum.history, axis=0) <= 0).all() and len(costs) == len(minimum.history) - 1 < 100


def test_a_minimum_outside_ends_at_the_bound():
    def away(points):  # minimum at (2, 0.3), the parameters mixed
        J = np.broadcast_to(np.array([[1.0, 1.0], [0.0, 1.0]]), (len(points), 2, 2))
        return np.einsum("mrp,mp->mr", J, points - [2.0, 0.3]), J

    minimum = minimise(away, np.array([[0.2, 0.9]]), steps=50)
    # with x = 1 fixed: (y - 1.3)^2 + (y - 0.3)^2 is smallest at 0.8
    assert np.allclose(minimum.points, [[1.0, 0.8]], atol=1e-6)


def test_a_step_that_cannot_be_computed_is_not_taken():
    def half(points):
        r, J = rosenbrock(points)
        return np.where(points[:, :1] > 0.8, np.inf, r), J

    minimum = minimise(half, np.array([[0.05, 0.9]]), steps=100)
    assert np.allclose(minimum.points, 0.75, atol=1e-6)


def bent(points, width=1e-3):
    """Residuals of a narrow valley (y - 0.2 - 0.5 x^2) / width, x - 0.9, and of its end."""
    x, y = points.T
    J = np.zeros((len(points), 2, 2))
    J[:, 0, 0], J[:, 0, 1], J[:, 1, 0] = -x / width, 1 / width, 1
    return np.stack([(y - 0.2 - 0.5 * x**2) / width, x - 0.9], axis=1), J


def test_a_bent_valley_is_followed():
    """Straight steps leave it: they are so short that the end is not reached."""
    begin, end = np.array([0.1, 0.2 + 0.5 * 0.1**2]), [0.9, 0.2 + 0.5 * 0.9**2]
    straight = minimise(bent, begin[None], steps=40)
    along = follow(bent, lambda points: bent(points)[0], begin, steps=40)
    assert np.abs(straight.points[0] - end).max() > 0.1 and np.allclose(along.points[0], end, atol=1e-6)
    assert along.converged.all() and (np.diff(along.history, axis=0) <= 0).all()


def test_a_bent_valley_ends_at_the_bound_and_where_nothing_can_be_computed():
    def cut(points):
        r, J = bent(points - [0.2, 0.0])  # its end at 1.1
        return np.where(points[:, :1] < 0.15, np.inf, r), J

    found = follow(cut, lambda points: cut(points)[0], np.array([0.3, 0.1]), steps=60)
    assert np.allclose(found.points[0], [1.0, 0.2 + 0.5 * 0.8**2], atol=1e-3)
    nowhere = follow(cut, lambda points: cut(points)[0], np.array([0.1, 0.1]), steps=60)
    assert np.isinf(nowhere.cost).all() and nowhere.points.tolist() == [[0.1, 0.1]]


def test_differences_to_both_sides_have_no_slope_of_the_slope():
    """exp(x / 1e-6) at 0: over a hundredth of that length, upwards alone is half a hundredth off."""

    def run(copies):
        return np.exp((copies - 0.5) / 1e-6)

    ahead, behind = (differences(run, np.full((1, 1), 0.5), sign, 1e-8)[1] for sign in (1.0, -1.0))
    slope, jumps = without_jumps(ahead, behind, 1e-8)
    assert abs(ahead / 1e6 - 1) > 4e-3 and abs(slope / 1e6 - 1) < 3e-5 and not len(jumps)


def test_spikes_coincide_once():
    ours, theirs = np.array([10.0, 13.0, 50.0, 90.0]), np.array([12.0, 49.0, 70.0, 91.0])
    assert coincidences(ours, theirs).tolist() == [-2.0, 1.0, -1.0]
    assert gamma(10, 10, 10, 1000.0) == pytest.approx(1.0)
    assert gamma(2, 25, 10, 1000.0) == pytest.approx(0.0)  # what chance gives: 2 x 4 ms x 25 / s of 10
    assert gamma(0, 0, 0, 1000.0) is None and gamma(5, 200, 5, 1000.0) is None


def test_uncertainty_is_that_of_many_fits():
    rng, x = np.random.default_rng(3), np.linspace(0, 1, 200)
    J = np.stack([np.ones_like(x), x], axis=1)
    noise = 0.3 * rng.normal(size=(2000, 200))
    estimates = noise @ np.linalg.pinv(J).T
    covariances = [uncertainty(n - J @ e, J, 200, 200) for n, e in zip(noise[:100], estimates)]
    assert np.allclose(np.mean(covariances, axis=0), np.cov(estimates.T), rtol=0.15)
    correlated = noise + np.roll(noise, 1, axis=1)  # correlation 1/2: (1 + 1/2) / (1 - 1/2) = 3 times the variance
    r = correlated[0]
    assert np.allclose(uncertainty(r, J, 200, 200) / uncertainty(rng.permutation(r), J, 200, 200), 3.0, rtol=0.4)


def test_a_prior_makes_a_parameter_sure():
    J = np.zeros((50, 1))
    prior = np.vstack([J, [[1 / 0.02]]])
    assert uncertainty(np.ones(51), prior, 50, 50)[0, 0] == pytest.approx(0.02**2, rel=1e-3)
    assert uncertainty(np.ones(50), J, 50, 50)[0, 0] == pytest.approx(1e4)


def test_one_residual_without_an_error_leaves_a_direction_open():
    deviations = np.sqrt(np.diag(uncertainty(np.zeros(1), np.array([[30.0, 30.0]]), 1, 0)))
    assert deviations == pytest.approx([100 / np.sqrt(2)] * 2, rel=0.02)


@pytest.mark.parametrize(
    "model, current, message",
    [
        (LI, "I", "0 events that send spikes"),
        (AdEx, "J", "no drive, state or parameter 'J'"),
        (AdEx, "V", "is what is measured"),
        (AdEx, "w", "also depends on V"),
        (ALIF, "B", "also depends on the event 'spike'"),
    ],
)
def test_a_current_must_have_a_place(model, current, message):
    with pytest.raises(SettingError, match=message):
        fitted_model(model, current)


def test_forced_models_keep_modes_and_drop_the_synapse():
    fitted = fitted_model(LIFRefractory)
    assert "tau_syn" not in fitted.free.params and not fitted.diverges
    measured = fitted.forced.events[0]
    assert measured.emits and not measured.modes and measured.next_mode == "refractory"
    assert fitted_model(AdEx).diverges


def test_names_that_a_fit_uses_are_moved_away():
    model = NeuronModel(
        name="Mine",
        state={"V": 0.0, "lead": 0.0},
        params={"tau": Param(10.0, "ms"), "coupling": Param(1.0), "current": Param(0.0)},
        dynamics={"V": "(coupling * current - V - lead) / tau", "lead": "-lead / tau"},
        threshold="V - 1",
        reset={"V": "0", "lead": "lead + 1"},
    )
    fitted = fitted_model(model, "current")
    assert fitted.lead == "lead_of_fit" and fitted.coupling == "coupling_of_fit"
    assert fitted.free.dynamics["V"].count("gain") == 1


def chosen(model, **settings):
    recording = Recording(np.zeros(20), 0.1, np.full(20, -64.0), spikes=[[]])
    names = {"bounds": {}, "fixed": {}, "only": None, "priors": {}} | settings
    return choose(fitted_model(model), recording, **names)


def test_what_a_recording_does_not_tell_is_left_alone():
    ranges = chosen(AdEx)
    assert "v_peak" not in ranges.names and "gain" not in ranges.names and len(ranges.names) == 9
    assert dict(zip(ranges.names, ranges.high))["e_leak"] == pytest.approx(-55.6)
    assert "v_peak" in chosen(AdEx, bounds={"v_peak": (-45.0, -35.0)}).names
    ranges = chosen(Izhikevich)
    assert ranges.fixed == {"v_start": -64.0, "v_peak": 30.0} and "v_start" in ranges.remarks[0]
    assert chosen(AdEx, only=["b", "gain"]).names == ["b", "gain"]


def test_a_refractory_period_that_an_event_ends_is_fitted():
    """As `from_brian` reads (unless refractory): only the threshold of the upstroke is not told by a recording."""
    still = dict.fromkeys(AdEx.state, "0")
    period = replace(
        AdEx, threshold=None, reset=None, state={**AdEx.state, "timer": 0.0},
        params={**AdEx.params, "t_ref": Param(2.0, "ms")}, dynamics={**AdEx.dynamics, "timer": "0"},
        events=[
            Event("spike", str(AdEx.threshold), {**AdEx.reset, "timer": "0"}, modes=("free",), next_mode="waits"),
            Event("end", "timer - t_ref", {}, emits=False, modes=("waits",), next_mode="free"),
        ],
        modes=[Mode("waits", {**still, "timer": "1"})],
    )  # fmt: skip
    ranges = chosen(period)
    assert "t_ref" in ranges.names and "v_peak" not in ranges.names


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"bounds": {"tau": (1, 2)}}, "no parameter 'tau' in a fit"),
        ({"bounds": {"tau_syn": (1, 2)}}, "the injected current takes its place"),
        ({"bounds": {"b": (2, 1)}}, "finite and ascend"),
        ({"bounds": {"b": 3}}, "two numbers"),
        ({"bounds": {"tau_w": (0, 1)}}, "must be positive"),
        ({"bounds": {"b": (0, 1)}, "fixed": {"b": 1.0}}, "'b' is fixed, and also"),
        ({"only": []}, "no parameter is left"),
    ],
)
def test_wrong_ranges_are_refused(settings, message):
    with pytest.raises(SettingError, match=message):
        chosen(AdEx, **settings)


def test_a_parameter_of_zero_needs_bounds():
    model = replace(ALIF, params=ALIF.params | {"b_jump": Param(0.0)}, threshold=None, reset=None)
    with pytest.raises(SettingError, match=r"b_jump is 0, .* \(--bounds b_jump=LOW:HIGH, .*\(--fixed b_jump=0, fixed="):
        chosen(model)


@pytest.mark.one_in(6)
@pytest.mark.parametrize("name", [n for n, m in ZOO.items() if m.spiking])
def test_every_model_of_the_zoo_has_ranges_that_follow_from_its_parameters(name):
    """No time constant, slope factor or capacitance changes its sign, and V may be reset to both sides of 0."""
    ranges = chosen(ZOO[name])
    for n, low, high in zip(ranges.names, ranges.low, ranges.high):
        potential = n in ("e_leak", "v_rest", "v_reset", "c") or (n == "v_thresh" and low < -1)
        assert low < ZOO[name].params[n].value < high
        assert potential or low * high > 0, (n, low, high)
        if potential and ZOO[name].params[n].unit == "mV":
            assert high - low == pytest.approx(30)


@pytest.mark.ci
@given(st.randoms(use_true_random=False), st.sampled_from(["mV", ""]), st.floats(-80.0, 60.0))
@settings(max_examples=25, deadline=None)
def test_potentials_are_known_by_the_equations(random, unit, zero):
    """Not by units or names: those that shift with V, wherever its zero is."""
    terms = {
        "g * (p - V)": ["p"], "g * d * exp((V - p) / d)": ["p"], "k * (V - p) * (V - q)": ["p", "q"],
        "-g * d * log(1 + exp((V - p) / d))": ["p"],
    }  # fmt: skip
    params, rates, true = {n: Param(random.uniform(0.5, 3.0), "mV" if n == "d" else "") for n in "gkdab"}, [], set()
    for i, term in enumerate(random.sample([*terms], random.randint(1, 3))):
        for n in terms[term]:
            term = re.sub(rf"\b{n}\b", f"{n}{i}", term)
            params[f"{n}{i}"] = Param(zero + random.uniform(-8, 8), unit)
            true.add(f"{n}{i}")
        rates.append(term)
    first = min(true)
    params |= {"top": Param(zero + 20, unit), "bottom": Param(zero - 5, unit)}
    model = NeuronModel(
        name="Drawn", state={"V": first, "w": 0.0}, params=params, reset={"V": "bottom", "w": "w + b"},
        dynamics={"V": f"({' + '.join(rates)} - w) / 10", "w": f"(a * (V - {first}) - w) / 50"}, threshold="V - top",
    )  # fmt: skip
    assert potentials(model) == true | {"top", "bottom"}
    anchored = replace(
        model, dynamics=model.dynamics | {"V": f"{model.dynamics['V']} - 0.04 * V"}, threshold=None, reset=None
    )
    assert potentials(anchored) == ({first, "top", "bottom"} if unit else set())


def test_what_is_not_told_is_said():
    from genn_eventprop.fitting import FitResult

    known = dict.fromkeys(FitResult.__dataclass_fields__)
    values = known | {
        "names": ["a", "b", "c"],
        "low": np.zeros(3),
        "high": np.ones(3),
        "values": np.array([0.5, 1.0, 0.5]),
        "covariance": np.array([[1e-4, 0, 0.99e-4], [0, 1e-4, 0], [0.99e-4, 0, 1e-4]]),
        "ends": np.array([[0.5, 1.0, 0.5], [0.9, 0.9, 0.9]]),  # the second is elsewhere
        "losses": np.array([1.0, 2.0]),
        "free": SimpleNamespace(),
        "remarks": [],
        "alike": {},
    }
    doubts = FitResult(**values).doubts()
    assert [d.split(":")[0] for d in doubts] == [
        "b is at its bound 1",
        "a and c are only determined together (correlation +0.990)",
        "no second start found this minimum; use more starts, or narrower bounds",
    ]
    values["alike"] = {"V": 0.35}
    assert FitResult(**values).doubts()[2].startswith("errors of V are no noise (correlation of neighbours 0.35)")
    values["covariance"] = np.diag([0.04, 1e-6, 1e-6])
    assert FitResult(**values).doubts()[1].startswith("a is not determined by this recording: its deviation is 0.2")


def test_errors_that_are_no_noise_are_told():
    """A smooth error of half the noise is; noise (but once in 10000), few errors and rounding are not."""
    rng = np.random.default_rng(0)
    smooth = np.sin(np.arange(1000) / 5)
    told = [
        [alike(rng.normal(size=n) + off * smooth[:n]) for _ in range(200)]
        for n, off in ((1000, 0), (30, 0), (1000, 0.7))
    ]
    assert sum(rho is not None for some in told[:2] for rho in some) <= 2
    assert all(rho is not None and 0 < rho < 0.3 for rho in told[2])
    assert alike(np.ones(14)) is None and alike(1e-4 * smooth) is None and alike(smooth) > 0.9
    assert alike(np.full(1000, np.nan)) is None and alike(np.full(1000, np.inf)) is None


def test_errors_of_each_kind_are_measured_by_themselves():
    """V errs by 0.3 and spikes by 2 of what they are said to; their covariance is that of many fits."""
    rng, x = np.random.default_rng(4), np.linspace(0, 1, 240)
    J = np.stack([np.where(x < 0.8, 1.0, 4.0), x], axis=1)
    errors = rng.normal(size=(3000, 240)) * np.where(np.arange(240) < 200, 0.3, 2.0)
    estimates = errors @ np.linalg.pinv(J).T
    covariances = [uncertainty(e - J @ p, J, 240, 200) for e, p in zip(errors[:200], estimates)]
    assert np.allclose(np.mean(covariances, axis=0), np.cov(estimates.T), rtol=0.12)


def test_a_steep_v_counts_less():
    """The variance of V is voltage_noise^2 + (spike_noise dV/dt)^2, of the steeper of both sides."""
    rise = Recording(np.zeros(6), 1.0, [0.0, 0.0, 0.0, 3.0, 3.0, 3.0], spikes=[[]])
    fitted = fitted_model(LIFRefractory)
    residuals = Residuals(fitted, rise, window=(0.0, 0.0), skip=0.0, every=1.0, voltage_noise=0.5, spike_noise=0.4)
    states = dict.fromkeys(residuals.names, np.zeros((1, 7, 1)))  # at the samples, and at the end
    states["V"] = np.append(rise.voltage, 3.0)[None, :, None] + 2.0
    params = {n: float(p.value) for n, p in fitted.forced.params.items()}
    v = residuals.of(states, params, 1.0, 0.0)[0, :6]
    steep = 2.0 / np.hypot(0.5, 0.4 * 3.0)
    assert np.allclose(v, [4.0, 4.0, steep, steep, 4.0, 4.0])


def moment_on_a_grid(losses, point, axes):
    """(2, 2) the second moment about a point of exp(-loss), summed along axes (2, 2) that are its columns."""
    along = np.linspace(-8, 8, 641)
    off = np.stack(np.meshgrid(along, along, indexing="ij"), -1).reshape(-1, 2) @ axes.T
    weight = np.exp(-losses(point + off))
    return (off * weight[:, None]).T @ off / weight.sum()


@given(
    st.floats(0.002, 0.05), st.floats(1.0, 10.0), st.floats(0.0, 3.0), st.floats(3.0, 30.0),
    st.sampled_from(["none", "wall", "gorge", "both"]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_deviations_are_those_of_the_density_around_the_minimum(width, ratio, angle, narrow, kind):
    """Parabolas of all directions, beside a wall, or with a gorge whose curvature is larger than that around it."""
    point, turn = np.array([0.5, 0.45]), np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    lengths = np.array([width, width / ratio])

    def losses(points):
        x = (points - point) @ turn / lengths
        loss = 0.5 * (x**2).sum(axis=1)
        if kind in ("gorge", "both"):  # narrow times steeper, until it has risen by a quarter
            loss += 0.25 * (1 - np.exp(-0.5 * (narrow**2 - 1) * x[:, 1] ** 2 / 0.25))
        if kind in ("wall", "both"):
            loss = np.where(x[:, 0] < -0.02, np.inf, loss)
        return np.where(((points >= 0) & (points <= 1)).all(axis=1), loss, np.inf)

    local = lengths / np.array([1.0, narrow if kind in ("gorge", "both") else 1.0])
    covariance = (turn * local**2) @ turn.T
    found, lowest = spread(losses, point, covariance, np.random.default_rng(0))
    assert lowest is point
    if kind in ("none", "wall"):
        assert found is covariance
        return
    exact = moment_on_a_grid(losses, point, turn * lengths)
    root = np.linalg.inv(np.linalg.cholesky(exact))
    ratios = np.linalg.eigvalsh(root @ found @ root.T)
    assert 0.5 < ratios[0] and ratios[1] < 2.0, (found, exact)


@given(st.floats(0.0, 6.3), st.floats(6.0, 20.0), st.floats(0.0, 0.4))
@settings(max_examples=30, deadline=None)
def test_a_descent_that_ended_before_a_jump_is_told_where_to_go_on(angle, far, wall):
    """The minimum is some deviations along the wall that the steps ran into."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    point, deviation = np.array([0.5, 0.5]), 0.01

    def losses(points):
        x = (points - point) @ turn / deviation
        return np.where(x[:, 0] > wall, np.inf, 0.5 * ((x - [1.0, far]) ** 2).sum(axis=1))

    covariance, lowest = spread(losses, point, deviation**2 * np.eye(2), np.random.default_rng(0), settled=False)
    assert losses(lowest[None])[0] < losses(point[None])[0] - 0.5


def hill(seed, size):
    """(values, top): a function of points in [0, 1]^size with a ridge, and where it is largest."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(size, size)))[0] * np.geomspace(1.0, 30.0, size)
    top = rng.uniform(0.3, 0.7, size)
    return (lambda x: -(((x - top) @ axes) ** 2).sum(axis=1)), top


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.booleans())
def test_a_search_finds_the_maximum_of_a_function_with_and_without_steps(seed, size, steps):
    values, top = hill(seed, size)
    rng = np.random.default_rng(seed)
    begin = np.clip(top + 0.1 * rng.normal(size=size), 0, 1)
    of = (lambda x: np.ceil(1e5 * values(x))) if steps else values
    assert np.abs(search(of, begin, rng, 14) - top).max() < 0.02


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_a_search_stays_within_the_bounds_and_never_ends_lower(seed):
    rng = np.random.default_rng(seed)
    begin, slope = rng.uniform(size=3), rng.normal(size=3)
    rough = lambda x: np.floor(5 * x @ slope) + np.sin(1e4 * x).sum(axis=1)  # noqa: E731
    end = search(rough, begin, rng, 8)
    assert (end >= 0).all() and (end <= 1).all() and rough(end[None]) >= rough(begin[None])
    uphill = search(lambda x: x @ slope, begin, rng, 8)
    assert uphill @ slope > begin @ slope or np.abs(uphill - begin).max() < 1e-6
    assert (search(lambda x: np.full(len(x), -np.inf), begin, rng, 8) == begin).all(), "nothing can be computed"
    assert (search(rough, begin, rng, 8, stop=lambda: True) == begin).all()
