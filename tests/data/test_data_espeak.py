"""Spoken words from a text-to-speech program: a stand-in for it here, and the program itself where it is installed."""

import shutil
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop.cli import main
from genn_eventprop.data.audio import espeak
from genn_eventprop.data.readers import hdf5
from genn_eventprop.data.readers import tonic as tonic_sets
from genn_eventprop.errors import DataError
from support.extras import needs

pytest.importorskip("h5py")
pytest.importorskip("scipy")

# without NumPy and site-packages, which take most of the time of a hundred calls
STAND_IN = f"""#!{sys.executable} -IS
import math, struct, sys, wave

given = sys.argv[1:]
if given == ["--voices=variant"]:
    print("\\n".join(f" 5  variant         70/M      name              !v/{{name}}" for name in ("m1", "f5", "m7")))
    sys.exit()
options = dict(zip(given[:-1:2], given[1:-1:2]))
word, voice = given[-1], options["-v"]
if word == "six" and voice == "en+m1" and options["-s"] == "99":
    sys.exit("the stand-in fails at six")
rate, pitch = 16000, 100 + 3 * int(options["-p"])
overtones = [(2 * math.pi * k * pitch / rate, k) for k in range(1, 3 + len(word))]
times = range(int(0.06 * rate * 160 / int(options["-s"])))
tone = [sum(math.sin(w * t) / k for w, k in overtones) for t in times]
loudness = 0 if word == "acht" and options["-p"] == "7" else 9000 / max(map(abs, tone))
sound = [0] * 1600 + [int(loudness * x) for x in tone] + [0] * 3200
with wave.open(options["-w"], "wb") as file:
    file.setnchannels(1), file.setsampwidth(2), file.setframerate(rate)
    file.writeframes(struct.pack(f"<{{len(sound)}}h", *sound))
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A program that answers like espeak-ng, with tones: the words differ in length and overtones."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / espeak.PROGRAM
    program.write_text(STAND_IN)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.chdir(tmp_path)
    return program


SMALL = ["--speeds", "160", "--pitches", "50", "--no-progress"]


@pytest.mark.ci
def test_shd_files_with_held_out_voices(stand_in, capsys):
    arguments = ["make-data", "spoken_words", "words", "--voices", "m1", "f5", "--test-voices", "f5", *SMALL]
    assert main([*arguments, "--as-shd"]) == 0
    out = capsys.readouterr().out
    assert "spoken_words_train.h5: 20 recordings, 20 classes, voices m1, " in out
    train, test = (hdf5.read_shd(Path(f"words/spoken_words_{part}.h5")) for part in ("train", "test"))
    assert set(train.groups.tolist()) == {"m1"} and set(test.groups.tolist()) == {"f5"}
    for events in (train, test):
        assert sorted(events.labels.tolist()) == list(range(20)) and events.n_channels == 700
        assert (np.diff(events.offsets) > 50).all()
        assert 40 < events.durations.max() < 140  # 60 ms of sound: the silence around it was cut off
    assert hdf5.class_names("words/spoken_words_test.h5")[9:12] == ["nine", "null", "eins"]
    assert "not the Spiking Heidelberg Digits" in Path("words/SHD/README.txt").read_text()
    needs("tonic")
    through = tonic_sets.load("shd", "words", "train", progress=False, cache=Path("cache"))
    assert np.array_equal(through.labels, train.labels) and len(through.times) == len(train.times)
    assert main(arguments) == 1
    assert "words/spoken_words_train.h5 exists; give another folder, or --overwrite" in capsys.readouterr().err
    again = Path("words/spoken_words_train.h5").read_bytes()
    assert main([*arguments, "--overwrite"]) == 0
    a, b = hdf5.read_shd(Path("words/spoken_words_train.h5")), train
    assert np.array_equal(a.times, b.times) and np.array_equal(a.channels, b.channels) and len(again)


def test_every_word_once_with_every_voice_speed_and_pitch():
    words = espeak.sayings(["m1", "m2"], [100, 200, 300], [10, 20], seed=3)
    assert len(set(words)) == len(words) == 20 * 2 * 3 * 2
    assert words != espeak.sayings(["m1", "m2"], [100, 200, 300], [10, 20], seed=4)
    assert {s.language for s in words if s.label >= 10} == {"de"} and len(espeak.VOICES) == 12


@pytest.mark.parametrize(
    "options, message",
    [
        (["--voices", "m1", "m8", "--test-voices", "m1"], "espeak-ng has no voice 'm8'"),
        (["--voices", "m1", "m1", "f5"], "a voice is named twice"),
        (["--voices", "m1", "f5", "--test-voices", "m7"], "--test-voices: 'm7' is not among the voices m1, f5"),
        (["--voices", "m7"], "leave one for the training set"),
        (["--voices", "m1", "f5", "--speeds", "20"], "--speeds: whole numbers from 80 to 450, got 20"),
        (["--voices", "m1", "f5", "--pitches", "100"], "--pitches: whole numbers from 0 to 99, got 100"),
        (["--voices", "m1", "f5", "--seed", "-1"], "--seed must be at least 0"),
        (["--voices", "m1", "m7", "--speeds", "99", "--pitches", "50"], "the stand-in fails at six"),
        (["--voices", "m1", "f5", "--pitches", "7", "--speeds", "160"], "espeak-ng produced no sound for 'acht'"),
    ],
)
def test_mistakes(stand_in, options, message, capsys):
    assert main(["make-data", "spoken_words", "words", "--no-progress", *options]) == 1
    assert message in capsys.readouterr().err
    assert not list(Path().glob("words/*"))  # nothing is left behind


def test_without_the_program_the_package_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["make-data", "spoken_words", str(tmp_path / "words")]) == 1
    assert "espeak-ng is not installed: on Debian and Ubuntu, apt install espeak-ng" in capsys.readouterr().err
    assert main(["make-data", "spoken_word", "x"]) == 2
    assert "did you mean 'spoken_words'" in capsys.readouterr().err
    assert main(["make-data", "--help"]) == 0 and "Kinds: spoken_words" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which(espeak.PROGRAM) is None, reason="espeak-ng is not installed")
def test_the_program_itself(tmp_path):
    espeak.check_voices(espeak.VOICES)
    with pytest.raises(DataError, match="no voice 'nosuch'"):
        espeak.check_voices(["nosuch"])
    program, said = espeak.installed(), {}
    for voice, language, word in (
        ("m1", "en", "seven"),
        ("f5", "en", "seven"),
        ("m1", "de", "sieben"),
        ("m1", "de", "fünf"),
    ):
        sound, rate = espeak.say(program, espeak.Saying(0, word, language, voice, 160, 50), tmp_path / "w.wav")
        assert rate == 22050 and 0.15 < len(sound) / rate < 1.0
        said[voice, word] = sound
    assert len({len(sound) for sound in said.values()}) == 4
    words = [espeak.Saying(k, w, "en", "m1", 250, 50) for k, w in enumerate(("two", "six"))]
    assert espeak.write_words(tmp_path / "two.h5", words, progress=False).spikes > 2000
    assert hdf5.read_shd(tmp_path / "two.h5").groups.tolist() == ["m1", "m1"]
