"""Audio to spikes: the inner-ear model against its equations and against the published converter's spikes."""

import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import integrate, special
from scipy.io import wavfile

from genn_eventprop.cli import main
from genn_eventprop.data.audio import cochlea, hair_cell, inner_ear
from genn_eventprop.data.readers import fsdd, hdf5
from genn_eventprop.errors import DataError


def tone(frequency: float, seconds: float = 0.2, rate: int = 16000) -> tuple[np.ndarray, int]:
    return np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate), rate


def rates_of(events: inner_ear.Events, seconds: np.ndarray) -> np.ndarray:
    """(S, n_channels) spikes per second."""
    return (
        np.stack([np.bincount(events.sample(i)[1], minlength=events.n_channels) for i in range(len(events))])
        / (seconds[:, None])
    )


# basilar membrane


def test_phase_is_the_integral_of_the_wave_number() -> None:
    membrane = cochlea.Membrane()
    omega = 2 * np.pi * np.array([90.0, 500.0, 3000.0])
    fine = np.linspace(0.0, 2.9, 200_001)
    _, g, _ = cochlea.phase(membrane, omega, fine[:, None])
    _, _, integral = cochlea.phase(membrane, omega, np.array([[2.9]]))
    np.testing.assert_allclose(integral[0], integrate.trapezoid(g, fine, axis=0), rtol=1e-7)


def test_response_is_the_published_formula() -> None:
    membrane = cochlea.Membrane()
    frequencies = np.linspace(40.0, 7000.0, 400)
    channels = np.array([30, 200, 350, 500, 650])
    omega, places = 2 * np.pi * frequencies, (membrane.length * channels / 699)[:, None]
    xi, g, travelled = cochlea.phase(membrane, omega, places)
    start = 2 * cochlea.phase(membrane, omega, np.zeros((1, 1)))[1] / membrane.alpha
    g_0 = start * membrane.alpha / 2
    pressure = np.sqrt((start + travelled) / g) * special.hankel1(0, start + travelled)
    pressure_0 = np.sqrt(start / g_0) * special.hankel1(0, start)
    y = 2 * omega / 3.0 * np.sqrt(2 / (0.1 * 1e9))
    z = np.sqrt(2e9 / 0.1) * (1j * special.j0(y) + special.y0(y)) / (special.j1(y) - 1j * special.y1(y))
    expected = np.conj(2 * omega / xi * pressure / pressure_0 * z)
    found = cochlea.response(membrane, frequencies, channels)
    scale = np.abs(expected).max(axis=1, keepdims=True)
    assert np.abs(found - expected).max() < 0.01 * scale.max()
    assert (np.abs(found - expected) / scale).max() < 0.01


@pytest.mark.ci
def test_high_frequencies_are_at_the_base_and_bands_are_whole() -> None:
    membrane = cochlea.Membrane()
    best = cochlea.best_frequency(membrane)
    assert (np.diff(best) <= 0).all() and 20_000 < best[0] < 25_000
    for highest in (4000.0, 8000.0, 24000.0):
        bands = cochlea.bands(membrane, hair_cell.RATE, highest)
        covered = np.concatenate([np.arange(700)[b.channels] for b in bands])
        assert sorted(covered.tolist()) == list(range(700))
        for band in bands:
            ratio = cochlea.RATE // band.rate
            assert cochlea.RATE % band.rate == 0 and cochlea.BLOCK % ratio == 0 and cochlea.GUARD % ratio == 0
            assert band.rate >= 2 * min(best[band.channels].max(), highest) or band.rate == cochlea.RATE


def test_velocity_of_a_tone_across_blocks() -> None:
    (band,) = [b for b in cochlea.bands(cochlea.Membrane(), hair_cell.RATE, 4000.0) if b.rate == 4000]
    sound = np.sin(2 * np.pi * 500.0 * np.arange(2 * cochlea.BLOCK) / cochlea.RATE)
    moved = cochlea.velocity(band, sound)
    middle = moved[:, 1000:5000]  # 0.25 s to 1.25 s: over the seam of the blocks
    expected = np.abs(cochlea.response(cochlea.Membrane(), np.array([499.0, 500.0]), band.channels)[:, 1])
    amplitude = np.sqrt(2) * middle.std(axis=1)
    assert np.abs(amplitude - expected).max() < 0.02 * expected.max()


# hair cell


def test_hair_cell_rests_and_adapts() -> None:
    cell = hair_cell.HairCell()
    q, c, w = hair_cell.resting(cell)
    k = cell.gain * cell.a / (cell.a + cell.b)
    assert cell.replenish * (1 - q) + cell.reprocess * w - k * q == pytest.approx(0, abs=1e-9)
    assert k * q - (cell.loss + cell.reuptake) * c == pytest.approx(0, abs=1e-9)
    assert cell.reuptake * c - cell.reprocess * w == pytest.approx(0, abs=1e-9)
    rng = np.random.default_rng(0)
    drive = np.full((1600, 1, 400), 800.0, np.float32)
    fired = hair_cell.spikes(cell, drive, rng.integers(0, hair_cell.LEVELS, drive.shape, np.uint16))
    onset, late = fired[:40].mean() * hair_cell.RATE, fired[800:].mean() * hair_cell.RATE
    assert onset > 2 * late > 0  # transmitter runs out
    silent = hair_cell.spikes(cell, np.full((800, 1, 400), k, np.float32), np.zeros((800, 1, 400), np.uint16))
    assert not silent.any()


def test_permeability_rectifies_compresses_and_averages() -> None:
    cell = hair_cell.HairCell()
    velocity = np.array([[-100.0, -5.0, 0.0, 295.0]], np.float32)
    k = hair_cell.permeability(cell, velocity, 2 * hair_cell.RATE)
    assert k[0] == pytest.approx([0.0, (2000 * 5 / 305 + 2000 * 300 / 600) / 2])


def test_binomial_table_moments() -> None:
    table = hair_cell.binomial_table(40)
    p = (np.arange(hair_cell.LEVELS) / (hair_cell.LEVELS - 1)) ** 2
    np.testing.assert_allclose(table.mean(axis=1), 40 * p, atol=0.01)
    np.testing.assert_allclose(table.var(axis=1), 40 * p * (1 - p), atol=0.15)
    assert table.max() == 40 and table[0].max() == 0


def test_refractory_time_of_bushy_cells() -> None:
    k = np.full((2000, 2, 50), 1500.0, np.float32)
    uniform = np.random.default_rng(1).integers(0, hair_cell.LEVELS, k.shape, np.uint16)
    fired = hair_cell.spikes(hair_cell.HairCell(), k, uniform)
    gaps = [np.diff(np.flatnonzero(fired[:, b, c])) for b in range(2) for c in range(50)]
    assert min(g.min() for g in gaps) > 1e-3 * hair_cell.RATE


# the whole chain


@pytest.mark.ci
def test_a_tone_excites_its_place() -> None:
    events = inner_ear.to_events([tone(f) for f in (300.0, 1000.0, 3000.0)])
    centre = [events.sample(i)[1].mean() for i in range(3)]
    assert centre[0] > centre[1] + 50 > centre[2] + 100


def test_spikes_do_not_depend_on_what_is_converted_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    sounds = [tone(f, s) for f, s in ((300.0, 0.2), (500.0, 0.31), (900.0, 0.1))]
    together = inner_ear.to_events(sounds, seed=3)
    monkeypatch.setattr(inner_ear, "RECORDINGS_AT_ONCE", 1)
    alone = inner_ear.to_events(sounds, seed=3)
    assert np.array_equal(together.times, alone.times) and np.array_equal(together.channels, alone.channels)
    assert not np.array_equal(inner_ear.to_events(sounds, seed=4).times, alone.times)


def test_silence_gives_spontaneous_spikes_only() -> None:
    events = inner_ear.to_events([(np.zeros(8000), 8000), (np.empty(0), 8000), tone(500.0, 1.0)], labels=[0, 1, 2])
    assert events.counts[1] == 0
    assert events.counts[0] / 700 < 1.5  # Hz a channel; the published spikes have 0.5 to 1 in the silent channels
    assert events.counts[2] > 5 * events.counts[0]


@pytest.fixture(scope="module")
def same_recordings(data_dir: Path) -> tuple[list[tuple[np.ndarray, int]], np.ndarray, np.ndarray]:
    """(sounds, seconds, rates (S, 700) of the given spikes) of every third real wav file."""
    files, labels, speakers, _ = inner_ear.recordings(data_dir / "fsdd" / "wav")
    assert speakers is not None
    chosen = range(0, len(files), 3)
    sounds = [inner_ear.read_wav(files[i]) for i in chosen]
    seconds = np.array([len(x) / rate for x, rate in sounds])
    with np.load(data_dir / "fsdd" / "fsdd_spikes_700ch.npz") as file:
        keys = list(zip(file["labels"].tolist(), file["speaker"].tolist(), file["index"].tolist(), strict=True))
    place = [keys.index((int(labels[i]), speakers[i], int(files[i].stem.split("_")[2]))) for i in chosen]
    return sounds, seconds, rates_of(fsdd.load(data_dir / "fsdd" / "fsdd_spikes_700ch.npz")[place], seconds)


def agreement(ours: np.ndarray, given: np.ndarray) -> dict[str, float]:
    """Correlations of rates (S, 700) in every sense that the noise of single spikes leaves meaning to.

    One channel over recordings is not among them: at a few spikes a recording, two seeds of one model correlate at
    0.65 only (channels 250 to 699; ours and the given spikes: 0.64); 25 neighbours together are told.
    """

    def correlation(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.corrcoef(x, y)[0, 1])

    groups = [x[:, 250:].reshape(len(x), 18, 25).sum(axis=2).T for x in (ours, given)]
    return {
        "all rates": correlation(ours.ravel(), given.ravel()),
        "mean rate over channels": correlation(ours.mean(axis=0), given.mean(axis=0)),
        "channels within the worst recording": min(map(correlation, ours, given)),
        "recordings within the worst group of channels": min(map(correlation, *groups)),
        "spikes of a recording": correlation(ours.sum(axis=1), given.sum(axis=1)),
    }


@pytest.mark.ci
def test_rates_are_those_of_the_published_converter(same_recordings: tuple) -> None:
    """Per-channel rates of the same recordings, the issue asks for 0.8."""
    sounds, seconds, given = same_recordings
    ours = rates_of(inner_ear.to_events(sounds), seconds)
    found = agreement(ours, given)
    assert min(found.values()) > 0.8, found
    assert found["all rates"] > 0.92 and found["mean rate over channels"] > 0.99
    assert 0.9 < ours.sum() / given.sum() < 1.1


@pytest.mark.ci
def test_a_toy_filter_bank_does_not_pass(same_recordings: tuple) -> None:
    """Band energies at the very places of the membrane, compressed and scaled to the right total: no inner ear."""
    sounds, _, given = same_recordings
    centres = cochlea.best_frequency(cochlea.Membrane())[:, None]
    ours = np.zeros_like(given)
    for i, (sound, rate) in enumerate(sounds):
        power = np.abs(np.fft.rfft(sound / np.sqrt(np.mean(sound**2)))) ** 2 / len(sound)
        frequency = np.fft.rfftfreq(len(sound), 1 / rate)
        bank = 1 / (1 + ((frequency - centres) / (24.7 + 0.108 * centres)) ** 2) ** 4  # fourth-order gammatone
        ours[i] = (bank @ power) ** 0.25
    found = agreement(ours * given.sum() / ours.sum(), given)
    for sense in found.keys() - {"mean rate over channels"}:  # what all recordings share is easy
        assert found[sense] < 0.8, found


def test_the_right_ear_at_the_wrong_place_does_not_pass(same_recordings: tuple) -> None:
    _, _, given = same_recordings
    assert agreement(np.roll(given, 70, axis=1), given)["all rates"] < 0.8


@pytest.mark.slow
def test_three_times_faster_than_real_time_on_one_core(data_dir: Path) -> None:
    for folder in (data_dir / "fsdd" / "wav", data_dir / "speech_commands_wav"):
        sounds = [inner_ear.read_wav(p) for p in inner_ear.recordings(folder)[0][:24]]
        inner_ear.to_events(sounds[:1])  # the filter bank is made once a process
        start = time.process_time()
        inner_ear.to_events(sounds)
        assert sum(len(x) / rate for x, rate in sounds) / (time.process_time() - start) > 3.0


# files and folders


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint8, np.float32])
def test_wav_encodings_agree(tmp_path: Path, dtype: type) -> None:
    sound = 0.9 * np.stack([tone(440.0, 0.05)[0]] * 2, axis=1)
    scaled = {np.int16: 32767, np.int32: 2147483647, np.uint8: 127, np.float32: 1}[dtype] * sound
    wavfile.write(tmp_path / "x.wav", 16000, (scaled + (128 if dtype == np.uint8 else 0)).astype(dtype))
    samples, rate = inner_ear.read_wav(tmp_path / "x.wav")
    assert rate == 16000 and samples.shape == (800,)
    assert np.corrcoef(samples, sound[:, 0])[0, 1] > 0.999 and abs(samples.mean()) < 0.02 * samples.max()


def test_damaged_and_foreign_wav(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent.wav: no such file"):
        inner_ear.read_wav(tmp_path / "absent.wav")
    (tmp_path / "text.wav").write_text("certainly not a recording of speech")
    with pytest.raises(
        DataError, match="text.wav: not a readable wav file .*; download it again, or convert it to 16-bit PCM"
    ):
        inner_ear.read_wav(tmp_path / "text.wav")
    wavfile.write(tmp_path / "x.wav", 8000, np.zeros(1000, np.int16))
    for keep in (0, 10, 30, 1000):
        (tmp_path / "cut.wav").write_bytes((tmp_path / "x.wav").read_bytes()[:keep])
        with pytest.raises(DataError, match="cut.wav: not a readable wav file"):
            inner_ear.read_wav(tmp_path / "cut.wav")
    wavfile.write(tmp_path / "nan.wav", 8000, np.array([0, 1, np.nan], np.float32))
    with pytest.raises(DataError, match="nan.wav: sample 2 is not finite"):
        inner_ear.read_wav(tmp_path / "nan.wav")


@pytest.mark.parametrize(
    ("sound", "rate", "message"),
    [
        (np.zeros((2, 5)), 8000, "sound 0: sound must be one-dimensional and finite"),
        (np.array([0.0, np.nan]), 8000, "sound 0: sound must be one-dimensional and finite"),
        (np.zeros(5), 10, "sound 0: a sampling rate of 10 Hz is implausible for speech"),
    ],
)
def test_bad_sounds(sound: np.ndarray, rate: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        inner_ear.to_events([(sound, rate)])


def write_tone(path: Path, frequency: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, 16000, (20000 * tone(frequency, 0.1)[0]).astype(np.int16))


def test_folder_layouts(tmp_path: Path) -> None:
    for name in ("10_ann_0.wav", "2_bob_0.wav", "2_ann_1.wav"):
        write_tone(tmp_path / "flat" / name, 400.0)
    files, labels, speakers, names = inner_ear.recordings(tmp_path / "flat")
    assert names == ["2", "10"] and labels.tolist() == [1, 0, 0] and speakers.tolist() == ["ann", "ann", "bob"]
    for name in ("yes/a1_nohash_0.wav", "no/b2_nohash_1.wav", "_background_noise_/x.wav"):
        write_tone(tmp_path / "nested" / name, 400.0)
    files, labels, speakers, names = inner_ear.recordings(tmp_path / "nested")
    assert names == ["no", "yes"] and labels.tolist() == [0, 1] and speakers.tolist() == ["b2", "a1"]
    assert [p.parent.name for p in files] == ["no", "yes"]


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent: no such folder"):
        inner_ear.recordings(tmp_path / "absent")
    with pytest.raises(DataError, match="no wav files; expected CLASS/"):
        inner_ear.recordings(tmp_path)
    write_tone(tmp_path / "word.wav", 400.0)
    with pytest.raises(DataError, match="word.wav: cannot determine the class; name it CLASS_SPEAKER_NUMBER.wav"):
        inner_ear.recordings(tmp_path)


def test_no_recording_is_left_out(tmp_path: Path) -> None:
    write_tone(tmp_path / "0_ann_0.wav", 400.0)
    write_tone(tmp_path / "1_ann_0.WAV", 400.0)
    assert len(inner_ear.recordings(tmp_path)[0]) == 2
    write_tone(tmp_path / "2_1.wav", 400.0)
    with pytest.raises(
        DataError, match=r"2_1.wav: cannot determine the speaker, unlike in 0_ann_0.wav; name all recordings"
    ):
        inner_ear.recordings(tmp_path)
    write_tone(tmp_path / "3" / "a.Wav", 400.0)
    with pytest.raises(
        DataError, match=r"0_ann_0.wav: is next to folders of wav files; move it into the folder of its"
    ):
        inner_ear.recordings(tmp_path)


def test_class_names_beyond_ascii(tmp_path: Path) -> None:
    write_tone(tmp_path / "in" / "fünf_jürgen_0.wav", 400.0)
    inner_ear.convert_audio(tmp_path / "in", tmp_path / "out.h5", progress=False)
    assert hdf5.class_names(tmp_path / "out.h5") == ["fünf"]
    assert hdf5.read_shd(tmp_path / "out.h5").groups.tolist() == ["jürgen"]


def test_rates_share_filter_banks() -> None:
    membrane = cochlea.Membrane()
    banks = {rate: cochlea.bands(membrane, hair_cell.RATE, rate / 2) for rate in (7350, 8000, 11025, 16000)}
    assert banks[7350] is banks[8000] and banks[11025] is banks[16000] and banks[8000] is not banks[16000]


def test_convert_audio_writes_the_shd_layout(tmp_path: Path) -> None:
    for name, frequency in (("0_ann_0.wav", 300.0), ("1_bob_0.wav", 900.0)):
        write_tone(tmp_path / "in" / name, frequency)
    done = inner_ear.convert_audio(tmp_path / "in", tmp_path / "out.h5", progress=False)
    events, names = inner_ear.convert_folder(tmp_path / "in")
    back = hdf5.read_shd(tmp_path / "out.h5")
    assert (done.recordings, done.spikes, list(done.class_names)) == (2, len(events.times), names)
    assert done.seconds == pytest.approx(0.2) and done.speakers == ("ann", "bob")
    assert back.groups.tolist() == ["ann", "bob"]
    assert np.array_equal(back.channels, events.channels) and back.labels.tolist() == [0, 1]
    np.testing.assert_allclose(back.times, events.times, rtol=1e-6)
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["extra/keys"][:].tolist() == [b"0", b"1"]


def test_convert_audio_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, frequency in (("0_ann_0.wav", 300.0), ("1_bob_0.wav", 900.0)):
        write_tone(tmp_path / "in" / name, frequency)
    call = ["convert-audio", str(tmp_path / "in"), str(tmp_path / "a.h5")]
    assert main([*call, "--seed", "3"]) == 0
    captured = capsys.readouterr()
    assert "2 recordings, 2 classes, 2 speakers" in captured.out and "x real time" in captured.out
    assert "2/2" in captured.err  # the progress bar
    assert main([*call[:2], str(tmp_path / "b.h5"), "--seed", "3", "--no-progress"]) == 0
    assert main([*call[:2], str(tmp_path / "c.h5"), "--seed", "4", "--no-progress"]) == 0
    assert capsys.readouterr().err == ""
    a, b, c = (hdf5.read_shd(tmp_path / f"{name}.h5") for name in "abc")
    assert np.array_equal(a.times, b.times) and np.array_equal(a.channels, b.channels)
    assert not np.array_equal(a.times, c.times)
    assert main([*call, "--channels", "70", "--overwrite", "--no-progress"]) == 0
    assert hdf5.read_shd(tmp_path / "a.h5", n_channels=70).channels.max() < 70


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["{in}", "out.txt"], "out.txt: the result is an HDF5 file; its name must end in .h5"),
        (["{in}", "{in}/there.h5"], "there.h5 exists; give another name, or --overwrite"),
        (["{in}", "out.h5", "--seed", "-1"], "--seed must be at least 0, got -1"),
        (["{in}", "out.h5", "--channels", "1"], "--channels must be at least 2, got 1"),
        (["{in}", "out.h5", "--level", "0"], "--level must be above 0, got 0.0"),
        (["{in}", "out.h5", "--ramp", "-3"], "--ramp must be at least 0, got -3.0"),
        (["{in}/absent", "out.h5"], "absent: no such folder"),
        (["{in}", "out.h5"], "0_a_0.wav: not a readable wav file"),
        (["{in}", "{in}/there.h5/out.h5"], "out.h5 cannot be written"),
    ],
)
def test_what_convert_audio_refuses(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0_a_0.wav").write_text("no sound")
    (tmp_path / "in" / "there.h5").write_text("")
    arguments = [option.replace("{in}", str(tmp_path / "in")) for option in options]
    assert main(["convert-audio", *arguments, "--no-progress"]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("*.h5")) and not list(tmp_path.glob(".*"))  # nothing half-written
