"""events IN OUT: what is printed, cut and written."""

from pathlib import Path

import numpy as np
import pytest

from genn_eventprop import Events
from genn_eventprop.cli import main
from genn_eventprop.data.open import open_events
from support.camera_files import FORMATS, some_events

SIZE = (12, 10)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for k, word in enumerate(("up", "down")):
        Path("words", word).mkdir(parents=True)
        events = some_events(np.random.default_rng(k), 200, SIZE, 500_000)
        Path("words", word, "1.raw").write_bytes(FORMATS["evt3"][0](events, SIZE))
    return tmp_path


@pytest.mark.parametrize("out", ["out.h5", "out.npz", "out"])
def test_a_folder_is_described_cut_and_written(here, capsys, out):
    pytest.importorskip("h5py")
    command = ["events", "words", out, "--from", "100", "--to", "400", "--channels", "120-239", "--picture", "x.png"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    whole = Events.from_folder("words")
    inside = (whole.times >= 100) & (whole.times < 400) & (whole.channels >= 120)
    assert (
        "2 samples (0 empty)" in printed
        and f"{inside.sum()} events" in printed
        and "class names      down 1, up 1" in printed
    )
    assert " Hz in the busiest" in printed and Path("x.png").stat().st_size > 5000
    written, names = open_events(out)
    assert np.allclose(written.times, whole.times[inside] - 100, atol=1e-4)
    assert np.array_equal(written.channels, whole.channels[inside] - 120) and written.n_channels == 120
    assert written.labels.tolist() == [0, 1] and names == (["down", "up"] if out == "out.h5" else ["0", "1"])
    assert main(command) == 1 and f"{out} exists; give another name, or --overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0


def test_one_recording_without_a_label(here, capsys):
    pytest.importorskip("h5py")
    assert main(["events", "words/up/1.raw", "one.h5", "--pool", "2"]) == 0
    assert "1 samples, 200 events, 60 channels" in capsys.readouterr().out
    assert main(["events", "one.h5"]) == 0
    assert "classes" not in capsys.readouterr().out


def test_a_real_recording(here, data_dir, capsys):
    assert main(["events", str(next((data_dir / "nmnist_small").glob("*.bin")))]) == 0
    printed = capsys.readouterr().out
    assert "channels         2312" in printed and "longest 3" in printed  # three saccades of 100 ms


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["absent"], "absent: does not exist; give a folder"),
        (["words", "--from", "5", "--to", "3"], "--from 5 --to 3: nothing lies between"),
        (["words", "--channels", "3-1"], "--channels '3-1': give the first and the last channel, e.g. 0-127"),
        (["words", "--channels", "0-240"], "--channels 0-240: there are 240 channels, 0 to 239"),
        (["words", "--reader", "cam"], "no reader 'cam'; did you mean 'camera'"),
        (["words", "--unit", "ms"], "the reader 'camera' has no option 'unit'"),
        (["words/up/1.raw", "--size", "3", "3"], "is beyond the sensor (3, 3, 2)"),
    ],
)
def test_what_is_refused(here, capsys, arguments, message):
    assert main(["events", *arguments]) == 1
    captured = capsys.readouterr()
    assert message in captured.err and "Traceback" not in captured.err and len(captured.err.splitlines()) == 1
