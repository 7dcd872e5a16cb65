"""What a fit is given: damaged files, values of other kinds, strange names of files. It is used, or refused by name."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from genn_eventprop import Recording, fit, simulate
from genn_eventprop.errors import DataError, SettingError
from genn_eventprop.fitting import FitOptions, identifiability, read_recording, read_spikes
from genn_eventprop.models import LIF

CURRENT = np.zeros((2, 40))


@pytest.mark.parametrize("suffix", [".npz", ".csv"])
@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_file_is_read_or_refused_by_name(tmp_path, seed, suffix):
    """Cut short, and with bits turned over: 60 of each."""
    rng = np.random.default_rng(seed)
    whole, path = tmp_path / f"whole{suffix}", tmp_path / f"cell{suffix}"
    if suffix == ".npz":
        recording = Recording(rng.normal(size=(2, 40)), 0.5, rng.normal(size=(2, 40)), [[1.0, 3.0], [2.0]])
        recording.save(whole)
    else:
        rows = [f"{0.5 * k},{x:.3g},{y:.3g}" for k, (x, y) in enumerate(rng.normal(size=(40, 2)))]
        whole.write_text("\n".join(["time,current,voltage", *rows]))
    read, content = 0, whole.read_bytes()
    for attempt in range(120):
        damaged = bytearray(content)
        if attempt % 2:
            for place in rng.integers(len(damaged), size=rng.integers(1, 4)):
                damaged[place] ^= 1 << int(rng.integers(8))
        else:
            del damaged[int(rng.integers(len(damaged))) :]
        path.write_bytes(damaged)
        try:
            read += isinstance(read_recording(path), Recording)
        except DataError as error:
            assert path.name in str(error)
    assert read < 120, "something was damaged"


def test_arrays_that_unpack_to_more_than_there_is_are_refused(tmp_path):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (10**7, 10**7)})
    with zipfile.ZipFile(tmp_path / "cell.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("current.npy", head.getvalue() + bytes(10**6))
        archive.writestr("dt.npy", b"")
    with pytest.raises(DataError, match="cell.npz: array 'current' cannot be read"):
        read_recording(tmp_path / "cell.npz")


@pytest.mark.parametrize(
    "values, message",
    [
        ({"current": np.array([["0.5"] * 4])}, "current must be an array of numbers, got strings"),
        ({"current": np.ones((1, 4), complex)}, "current must be an array of numbers, got complex numbers"),
        ({"current": np.array([["2020-01-01"] * 4], "M8[D]")}, "current must be an array of numbers, got dates"),
        ({"current": np.ones((1, 4), bool)}, "current must be an array of numbers, got truth values"),
        ({"current": [[1.0, None]]}, "current must be an array of numbers"),
        ({"current": [[[1.0]], [[1.0, 2.0]]]}, "rows that are equally long"),
        ({"current": {"a": 1}}, "current must be an array of numbers"),
        ({"current": 3.0}, "current has shape"),
        ({"dt": "0.5"}, "dt must be a positive time"),
        ({"dt": None}, "dt must be a positive time"),
        ({"dt": True}, "dt must be a positive time"),
        ({"dt": 1j}, "dt must be a positive time"),
        ({"dt": 10**400}, "dt must be a positive time"),
        ({"voltage": np.vstack([np.zeros(40), np.full(40, np.nan)])}, "voltage of sweep 1 is nan everywhere"),
        ({"voltage": "x"}, "voltage must be an array of numbers, got strings"),
        ({"spikes": 3.0}, "spikes must be spike times of every sweep"),
        ({"spikes": "ab"}, "spikes must be spike times of every sweep"),
        ({"spikes": {0: [1.0], 1: []}}, "spikes must be spike times of every sweep"),
        ({"spikes": [[1.0], None]}, "spike times of sweep 1 must be an array of numbers"),
        ({"spikes": [[1.0], [[2.0]]]}, "spike times of sweep 1 have shape"),
        ({"spikes": [[np.nan], []]}, "a spike of sweep 0 is at nan ms"),
        ({"rates": ["a", "b"]}, "rates must be an array of numbers, got strings"),
        ({"rates": {}}, "rates must be an array of numbers"),
        ({"name": 3}, "the name of a recording must be a string"),
    ],
)
def test_a_recording_says_which_argument_is_wrong(values, message):
    with pytest.raises(DataError, match=message):
        Recording(**{"current": CURRENT, "dt": 0.5, **values})


def test_parts_of_a_recording_are_of_their_kind(tmp_path):
    recording = Recording(CURRENT, 0.5, CURRENT + 1)
    for sweeps in ("a", 1.5, None, [[5]], {}):
        with pytest.raises(DataError, match="has the sweeps 0 to 1"):
            recording[sweeps]
    for wrong in ("0", np.nan, None):
        with pytest.raises(DataError, match="the level of spikes must be a finite number"):
            recording.with_spikes_above(wrong)
        with pytest.raises(DataError, match="a current step must be a positive time"):
            recording.with_current_step(wrong)
    for wrong in (3, None, [1]):
        with pytest.raises(DataError, match="the path of a recording must be a string or a Path"):
            read_recording(wrong)
    path = tmp_path / "spikes.csv"
    path.write_text("time,sweep\n1,nan\n")
    with pytest.raises(DataError, match="whole numbers from 0 to 1"):
        read_spikes(path, 2)


SPIKING = Recording(np.full(40, 2.0), 0.5, np.linspace(0, 1, 40), [[10.0]])


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"seed": "a"}, "seed must be a whole number of at least 0, got 'a'"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"threads": 1.5}, "threads must be a whole number of at least 1"),
        ({"threads": 0}, "threads must be a whole number of at least 1"),
        ({"progress": "yes"}, "progress must be True or False"),
        ({"starts": "3"}, "starts must be a whole number"),
        ({"window": "ab"}, "window must be two times"),
        ({"window": (1.0, (2.0, 3.0))}, "window must be two times"),
        ({"every": np.nan}, "every must be a positive time"),
        ({"voltage_noise": -0.5}, "voltage_noise must be a positive number"),
        ({"spike_noise": np.nan}, "spike_noise must be a positive number"),
        ({"rate_noise": "a"}, "rate_noise must be a positive number"),
        ({"bounds": [("tau_mem", 1, 2)]}, "bounds must be a dictionary, of a parameter two numbers"),
        ({"bounds": {"tau_mem": "ab"}}, "bounds of 'tau_mem' must be two numbers, .low, high., finite, got 'ab'"),
        ({"bounds": {"tau_mem": (1.0, np.nan)}}, "bounds of 'tau_mem' must be two numbers"),
        ({"bounds": {3: (1.0, 2.0)}}, "bounds of 3 must be two numbers"),
        ({"fixed": 3}, "fixed must be a dictionary, of a parameter a number"),
        ({"fixed": {"tau_mem": np.nan}}, "fixed of 'tau_mem' must be a number, finite, got nan"),
        ({"fixed": {"tau_mem": [1.0]}}, "fixed of 'tau_mem' must be a number"),
        (
            {"priors": {"tau_mem": (10.0, -1.0)}},
            "priors of 'tau_mem' must be two numbers, a mean and a positive standard",
        ),
        ({"priors": {"tau_mem": 3}}, "priors of 'tau_mem' must be two numbers"),
        ({"only": "tau_mem"}, "only must be a list of names of parameters, got 'tau_mem'"),
        ({"only": [3]}, "only must be a list of names"),
        ({"inject": 3}, "the place of the injected current must be a name"),
        ({"recording": 3}, "fit takes a Recording or a list of them, got 3"),
        ({"recording": {"a": SPIKING}}, "fit takes a Recording or a list of them"),
        ({"model": "LIF"}, "fit takes a NeuronModel"),
    ],
)
def test_a_fit_says_which_argument_is_wrong(settings, message):
    with pytest.raises(SettingError, match=message):
        fit(**{"model": LIF, "recording": SPIKING, "fixed": {"v_reset": 0.0}, "progress": False, **settings})


def test_a_simulation_says_which_argument_is_wrong():
    for arguments, message in (
        (("LIF", CURRENT, 0.5), "simulate takes a model"),
        ((LIF(tau_mem=np.ones(3)), CURRENT, 0.5), "tau_mem of one cell must be a number"),
    ):
        with pytest.raises(SettingError, match=message):
            simulate(*arguments)
    with pytest.raises(SettingError, match="gain must be a finite number"):
        simulate(LIF, CURRENT, 0.5, gain=np.nan)
    with pytest.raises(DataError, match="current must be an array of numbers"):
        simulate(LIF, "abc", 0.5)
    with pytest.raises(DataError, match="dt must be a positive time"):
        simulate(LIF, CURRENT, "a")
    with pytest.raises(SettingError, match="only must be a list"):
        identifiability(LIF, np.full(40, 2.0), 0.5, only="tau_mem", fixed=["v_reset"])
    with pytest.raises(SettingError, match="bounds must be a dictionary"):
        identifiability(LIF, np.full(40, 2.0), 0.5, bounds="tau_mem", fixed=["v_reset"])
    assert FitOptions(seed=np.int64(3), threads=2).seed == 3


def test_capital_suffixes_and_names_that_cannot_be_printed(tmp_path):
    names = ("CELL.CSV", "a\nb.csv", b"caf\xe9.csv".decode("utf-8", "surrogateescape"), "x" * 251 + ".csv")
    for name in names:
        (tmp_path / name).write_text("time,current\n0,1\n1,1\n")
        recording = read_recording(tmp_path / name)
        assert recording.name.isprintable() and recording.name.encode()
    recording.save(tmp_path / "A.NPZ")
    assert read_recording(tmp_path / "A.NPZ").name == "A"
    (tmp_path / "rows.csv").write_text("time,current\n0,1,1,1\n2,1,3,1\n")
    with pytest.raises(DataError, match="line 2: 2 numbers are needed"):
        read_recording(tmp_path / "rows.csv")
