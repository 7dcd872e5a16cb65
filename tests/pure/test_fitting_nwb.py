"""Intracellular recordings in NWB files, written here by pynwb, or in the layout of the Allen Cell Types database."""

from __future__ import annotations

import os

import numpy as np
import pytest

from genn_eventprop.errors import DataError
from genn_eventprop.fitting import read_recording
from support.extras import needs

h5py = pytest.importorskip("h5py")
pytestmark = pytest.mark.filterwarnings("ignore")  # pynwb's, of names and sessions that the mocks leave out

V = np.linspace(-70.0, -50.0, 40)  # mV
I = np.repeat([0.0, 150.0], 20)  # pA


def session(path, fill):
    """A file that `fill(mock, nwb, electrode)` has filled."""
    pynwb, mock = needs("pynwb"), needs("pynwb.testing.mock.icephys")
    from pynwb.testing.mock.file import mock_NWBFile

    nwb = mock_NWBFile()
    fill(mock, nwb, mock.mock_IntracellularElectrode(name="soma", nwbfile=nwb))
    with pynwb.NWBHDF5IO(path, "w") as io:
        io.write(nwb)
    return path


def sweep(mock, nwb, electrode, names, factor=1.0, *, rates=(10e3, 10e3), numbers=(None, None), **how):
    """Response and stimulus in integers, with conversion and offset."""
    response = mock.mock_CurrentClampSeries(
        name=names[0], data=np.round((V + 80.0) * 100 * factor).astype(np.int16), conversion=1e-5, offset=-0.08,
        rate=rates[0], electrode=electrode, sweep_number=numbers[0], nwbfile=nwb, **{"bridge_balance": 12e6, **how},
    )  # fmt: skip
    stimulus = mock.mock_CurrentClampStimulusSeries(
        name=names[1], data=I[:: round(rates[0] / rates[1])] * factor, conversion=1e-12, rate=rates[1],
        electrode=electrode, sweep_number=numbers[1], nwbfile=nwb,
    )  # fmt: skip
    return response, stimulus


def check(recording, factors=(1.0, 2.0)):
    assert recording.dt == 0.1 and len(recording) == len(factors) and recording.spikes is None
    for k, factor in enumerate(factors):
        assert np.allclose(recording.current[k], factor * I)
        assert np.allclose(recording.voltage[k], (V + 80.0) * factor - 80.0, atol=0.006)


@pytest.mark.parametrize("way", ["names", "numbers", "table"])
def test_responses_are_paired_with_their_stimuli(way, tmp_path):
    def fill(mock, nwb, electrode):
        names = {
            "names": [("resp_010", "stim_010"), ("resp_002", "stim_002")],
            "numbers": [("b", "x"), ("a", "y")],
            "table": [("a1", "b7"), ("a2", "b6")],
        }[way]
        for k, factor in ((0, 2.0), (1, 1.0)) if way != "table" else ((0, 1.0), (1, 2.0)):
            number = 5 - k if way == "numbers" else None
            pair = sweep(mock, nwb, electrode, names[k], factor, numbers=(number, number))
            if way == "table":
                nwb.add_intracellular_recording(electrode=electrode, response=pair[0], stimulus=pair[1])
        clamp = mock.mock_VoltageClampSeries(name="clamp_77", data=np.zeros(40), electrode=electrode, nwbfile=nwb)
        if way == "table":
            nwb.add_intracellular_recording(electrode=electrode, response=clamp)

    recording = read_recording(session(tmp_path / "cell.nwb", fill))
    check(recording)
    balanced, note = recording.notes
    assert "1 series of cell.nwb were left out" in note and "clamp_77" in note
    assert balanced == "cell.nwb: the amplifier has balanced 12 MOhm, so nothing is taken from V"
    assert recording[1].notes == recording.notes


def test_v_and_current_are_sampled_differently(tmp_path):
    path = session(tmp_path / "cell.nwb", lambda *at: sweep(*at, ("r0", "s0"), rates=(10e3, 5e3)))
    check(read_recording(path), (1.0,))

    def shifted(mock, nwb, electrode):  # the response begins 1 ms after the stimulus
        sweep(mock, nwb, electrode, ("r0", "s0"), starting_time=0.001)

    recording = read_recording(session(tmp_path / "cell.nwb", shifted))
    assert np.allclose(recording.current[0], I[10:]) and np.allclose(recording.voltage[0], V[:30], atol=0.006)


def test_the_bias_current_of_the_amplifier_is_injected_too(tmp_path):
    biases = (-30e-12, 25e-12, float("nan"), 3.0)  # A; the last one is a file's mistake

    def fill(mock, nwb, electrode):
        for k, bias in enumerate(biases):
            sweep(mock, nwb, electrode, (f"r{k}", f"s{k}"), bias_current=bias)

    recording = read_recording(session(tmp_path / "cell.nwb", fill))
    assert np.allclose(recording.current, I + np.array([-30.0, 25.0, 0.0, 0.0])[:, None])
    added, left_out, _ = recording.notes
    assert "2 of 4 sweeps of cell.nwb, -30 to 25 pA, was added to the stimulus" in added
    assert "r3 in cell.nwb, 3 A, is more than a cell bears, and was left out" in left_out

    old = allen(tmp_path / "old.nwb")
    with h5py.File(old, "a") as file:
        file["acquisition/timeseries/Sweep_9/bias_current"] = 40e-12
    recording = read_recording(old)
    assert np.allclose(recording.current, [I + 40.0, 2.0 * I])
    assert "1 of 2 sweeps of old.nwb, 40 pA, was added to the stimulus" in recording.notes[0]


@pytest.mark.parametrize(
    "access, bridge, description, taken, said",
    [
        ("15 MOhm", 0.0, "none", 15.0, "the bridge was off, so 15 MOhm times the current"),
        ("1.5e7", None, "none", 0.0, "the electrode's access resistance is 15 MOhm, and the file does not say"),
        ("15", 12e6, "none", 0.0, "has balanced 12 MOhm"),
        ("about 20", 0.0, "none", 0.0, ""),
        (None, None, "junction potential of 14 mV, not corrected", 14.0, "14 mV were taken from V, as the file says"),
        (None, None, "corrected for a junction potential of 14 mV", 0.0, "the file says 'corrected for a junction"),
    ],
)
def test_the_electrode_says_what_is_left_in_v(access, bridge, description, taken, said, tmp_path):
    """A resistance times the current, or a junction potential; what is set counts more."""

    def fill(mock, nwb, soma):
        electrode = nwb.create_icephys_electrode(
            name="tip", device=soma.device, initial_access_resistance=access, description=description
        )
        sweep(mock, nwb, electrode, ("r0", "s0"), bridge_balance=bridge)

    path = session(tmp_path / "cell.nwb", fill)
    recording = read_recording(path)
    of_v = taken * (1.0 if "junction" in description else 1e-3 * I)
    assert np.allclose(recording.voltage[0], V - of_v, atol=0.006)
    assert [said in note for note in recording.notes] == [True] * bool(said)
    as_set = read_recording(path, series_resistance=5.0, junction_potential=-2.0)
    assert np.allclose(as_set.voltage[0], V - 5e-3 * I + 2.0, atol=0.006) and not as_set.notes


def test_a_cell_is_an_electrode(tmp_path):
    def fill(mock, nwb, electrode):
        sweep(mock, nwb, electrode, ("r0", "s0"))
        other = mock.mock_IntracellularElectrode(name="dendrite", nwbfile=nwb)
        sweep(mock, nwb, other, ("d0", "e0"), 2.0)

    path = session(tmp_path / "cell.nwb", fill)
    with pytest.raises(DataError, match="recordings of 2 electrodes: dendrite, soma; name one.*--signals"):
        read_recording(path)
    check(read_recording(path, "dendrite"), (2.0,))
    check(read_recording(path, ["r0"]), (1.0,))


def allen(path, epochs=True, rate=10e3):
    """Two sweeps as in the files of the Allen Cell Types database, with a test pulse, and one in voltage clamp."""
    with h5py.File(path, "w") as file:
        file["nwb_version"] = "NWB-1.0.5"
        for number, factor in ((11, 2.0), (9, 1.0), (4, None)):
            sides = {"response": "acquisition/timeseries", "stimulus": "stimulus/presentation"}
            for side, place in sides.items():
                group = file.create_group(f"{place}/Sweep_{number}")
                is_v = (side == "response") == (factor is not None)
                values = ((V + 80.0) * (factor or 1.0) - 80.0) * 1e-3 if is_v else I * (factor or 1.0) * 1e-12
                group["data"] = np.concatenate([np.full(5, 9.0), values])
                group["data"].attrs.update(unit=b"Volts" if is_v else b"Amps", conversion=1.0)
                group["starting_time"] = 0.0
                group["starting_time"].attrs["rate"] = rate
                if epochs:
                    for name, first in (("Sweep", 0), ("Experiment", 5)):
                        epoch = file.require_group(f"epochs/{name}_{number}/{side}")
                        epoch["timeseries"] = h5py.SoftLink(f"/{place}/Sweep_{number}")
                        epoch["idx_start"], epoch["count"] = first, 45 - first
    return path


def test_files_of_the_allen_institute_are_read(tmp_path):
    recording = read_recording(allen(tmp_path / "cell.nwb"))
    check(recording)
    assert "Sweep_4" in recording.notes[0] and "0 is Sweep_9, 1 is Sweep_11" in recording.notes[0]
    whole = read_recording(allen(tmp_path / "cell.nwb", epochs=False))
    assert whole.samples.tolist() == [45, 45] and np.allclose(whole.current[1, 5:], 2 * I)


def test_what_is_no_recording_is_told(tmp_path):
    needs("pynwb")
    path = tmp_path / "cell.nwb"

    def refused(message):
        with pytest.raises(DataError, match=message) as error:
            read_recording(path)
        assert str(path) in str(error.value)

    path.write_bytes(b"no HDF5")
    refused("cannot be read as NWB .*damaged, or no NWB file")
    allen(path, rate=0.0)
    refused("sampling rate must be a positive number")
    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = "2.6.0"
    refused("cannot be read as NWB")
    with h5py.File(path, "w") as file:
        file["x"] = 1
    refused("no response in current clamp with its stimulus; it has nothing that was recorded in a cell")
    session(path, lambda mock, nwb, e: mock.mock_VoltageClampSeries(name="vc", electrode=e, nwbfile=nwb))
    refused("no response in current clamp with its stimulus; it has vc; a fit needs V and the injected current")
    session(path, lambda *at: [sweep(*at, ("r0", "s0")), at[0].mock_CurrentClampStimulusSeries(
        name="t0", electrode=at[2], nwbfile=at[1])])  # fmt: skip
    refused("r0 has 2 stimuli: s0, t0; name one")
    os.unlink(path)
    os.mkfifo(path)
    with pytest.raises(DataError):
        read_recording(path)


def external(file):
    del file["acquisition/timeseries/Sweep_9/data"]
    file["acquisition/timeseries/Sweep_9/data"] = h5py.ExternalLink("/etc/passwd", "/x")


def elsewhere(file):
    del file["acquisition/timeseries/Sweep_9/data"]
    file.create_dataset("acquisition/timeseries/Sweep_9/data", (4,), np.float64, external=[("/etc/passwd", 0, 32)])


def bomb(file):
    del file["acquisition/timeseries/Sweep_9/data"]
    file.create_dataset("acquisition/timeseries/Sweep_9/data", (1 << 44,), np.float32, chunks=(1 << 20,))


def around(file):
    file["epochs/Sweep_9/response/x"] = h5py.SoftLink("/epochs/Sweep_9")
    del file["epochs/Experiment_9/response/timeseries"]
    file["epochs/Experiment_9/response/timeseries"] = h5py.SoftLink("/epochs/Experiment_9/response/timeseries")


@pytest.mark.parametrize(
    "change, message",
    [
        (external, "is a link to /etc/passwd"),
        (elsewhere, "is kept in other files"),
        (bomb, "for which there is no space"),
        (around, "damaged, or no NWB file"),
    ],
)
def test_a_hostile_file_is_refused(tmp_path, change, message):
    path = allen(tmp_path / "cell.nwb")
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(DataError, match=message):
        read_recording(path)


def test_a_truncated_file_is_refused(tmp_path):
    path = session(tmp_path / "cell.nwb", lambda *at: sweep(*at, ("r0", "s0")))
    whole = path.read_bytes()
    for part in np.linspace(0.0, 0.97, 6):
        path.write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(DataError):
            read_recording(path)
    rng = np.random.default_rng(0)
    ended = []
    for _ in range(12):  # whatever it is then, it is a recording or a message
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[rng.integers(0, len(damaged), 40)] = rng.integers(0, 256, 40)
        path.write_bytes(damaged.tobytes())
        try:
            ended.append(read_recording(path).dt)
        except DataError as error:
            ended.append(str(error))
    assert all(path.name in end if isinstance(end, str) else end > 0 for end in ended), ended


def test_files_that_hold_programs_are_not_run(tmp_path):
    import pickle

    needs("neo")

    class Program:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    for suffix in ("pkl", "pickle"):
        path = tmp_path / f"cell.{suffix}"
        path.write_bytes(pickle.dumps(Program()))
        with pytest.raises(DataError, match="may hold programs, which are not run"):
            read_recording(path)
    assert not (tmp_path / "ran").exists()
