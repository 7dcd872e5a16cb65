"""predict RUN FILES...: kinds of files, the table, CSV, and what is refused."""

import csv
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import genn_eventprop
from genn_eventprop import Currents, Dense, Events, Network, Normal, Trainer, losses
from genn_eventprop.checksummed import verified
from genn_eventprop.cli import main
from genn_eventprop.data.augment.encodings import SegmentMeans
from genn_eventprop.data.augment.steps import Crop
from genn_eventprop.data.open import open_samples
from genn_eventprop.errors import DataError
from genn_eventprop.models.li import LI

wavfile = pytest.importorskip("scipy.io.wavfile")
PAGE = '''
"""High and low tones, as spikes of 700 channels."""
from dataclasses import dataclass
import numpy as np
from genn_eventprop import Events
from genn_eventprop.experiment import LayeredConfig, layered

@dataclass(frozen=True)
class Config(LayeredConfig):
    hidden: tuple[int, ...] = (8,)
    duration: float = 120.0
    dt: float | None = 2.0
    spike_times: str = "grid"
    engine: str = "reference_clock"
    input_weight: tuple[float, float] = (0.06, 0.04)
    augment: str = "merge_channels=50,fit_time(start=5,stop=100)"
    learning_rate: float = 0.05
    loss: str = "sum"
    epochs: int = 8

def build(config):
    rng = np.random.default_rng(0)
    samples = []
    for i in range(30):
        low, high = ((150, 300), (350, 450))[i % 2]
        samples.append((np.sort(rng.uniform(0, 150, 1000)), rng.integers(low, high, 1000)))
    events = Events.from_samples(samples, 700, [i % 2 for i in range(30)])
    return layered(config, events[:20], events[20:26], events[26:], ["high", "low"])
'''


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    page = folder / "tones.py"
    page.write_text(PAGE)
    assert main(["train", str(page), "--run-dir", str(folder / "run")]) == 0
    page.unlink()  # moved away: nothing but retraining needs it
    for name, hz in (("whistle", 3000.0), ("hum", 800.0)):
        t = np.arange(4000) / 8000
        wavfile.write(folder / f"{name}.wav", 8000, (8000 * np.sin(2 * np.pi * hz * t)).astype(np.int16))
    return folder


@pytest.fixture
def here(trained, tmp_path, monkeypatch):
    shutil.copytree(trained, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def table(arguments, capsys):
    capsys.readouterr()
    assert main(["predict", "run", *arguments, "--csv"]) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


@pytest.mark.ci
def test_recordings_go_through_the_ear_and_the_preprocessing(here, capsys):
    capsys.readouterr()
    assert main(["predict", "run", "hum.wav", "whistle.wav"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["sample", "class", "probability", "next"]
    assert [line.split()[:2] for line in lines[1:]] == [["hum.wav", "low"], ["whistle.wav", "high"]]
    rows = table(["hum.wav", "whistle.wav"], capsys)
    assert [row["class"] for row in rows] == ["low", "high"]
    for row, line in zip(rows, lines[1:], strict=True):
        both = [float(row["probability_high"]), float(row["probability_low"])]
        assert sum(both) == pytest.approx(1.0) and float(line.split()[2]) == pytest.approx(max(both), rel=1e-3)
    (here / "sounds/deep").mkdir(parents=True)
    shutil.copy("hum.wav", "sounds/deep/b.WAV")
    shutil.copy("whistle.wav", "sounds/a.wav")
    folder = table(["sounds"], capsys)
    assert [row["sample"] for row in folder] == ["sounds/a.wav", "sounds/deep/b.WAV"]
    assert folder[0]["probability_low"] == rows[1]["probability_low"]  # the same whatever lies beside it


def test_data_sets_with_labels_get_an_accuracy(here, capsys):
    rng = np.random.default_rng(5)
    ranges = ((350, 450), (150, 300))
    samples = [(np.sort(rng.uniform(0, 150, 1000)), rng.integers(*channels, 1000)) for channels in ranges]
    events = Events.from_samples(samples, 700, labels=[1, 1])
    events.save("set.npz")
    events.save("set")
    model = genn_eventprop.load("run")
    expected = model.predict(events)
    assert expected.tolist() == [1, 0]
    for name in ("set.npz", "set"):
        rows = table([name], capsys)
        assert [row["sample"] for row in rows] == [f"{name}[0]", f"{name}[1]"]
        assert [row["label"] for row in rows] == ["low", "low"] and [row["class"] for row in rows] == ["low", "high"]
        found = np.array([[float(row["probability_high"]), float(row["probability_low"])] for row in rows])
        np.testing.assert_allclose(found, model.outputs(events).probabilities, rtol=1e-8)
    os.makedirs("sets/more")
    events.save("sets/b.npz")
    events.save("sets/more/a.npz")
    paths = [row["sample"] for row in table(["sets"], capsys)]
    assert paths == ["sets/b.npz[0]", "sets/b.npz[1]", "sets/more/a.npz[0]", "sets/more/a.npz[1]"]
    capsys.readouterr()
    assert main(["predict", "run", "set", "hum.wav"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["sample", "label", "class"]
    assert lines[-1] == "accuracy 50.00 % of 2 labelled samples"
    assert lines[3].split()[:3] == ["hum.wav", "-", "low"]


@pytest.mark.ci
def test_class_folders_are_labels(here, capsys):
    """Of files without a label; a folder of another name is no class, and a label in a file counts more."""
    for folder in ("words/low", "words/high", "words/hum"):
        Path(folder).mkdir(parents=True)
        shutil.copy("hum.wav", f"{folder}/1.wav")
    rows = table(["words"], capsys)
    assert [row["label"] for row in rows] == ["high", "", "low"]
    assert main(["predict", "run", "words"]) == 0
    assert "accuracy 50.00 % of 2 labelled samples" in capsys.readouterr().out
    Events.from_samples([([1.0], [0])], 700, labels=[0]).save("words/low/set.npz")
    rng = np.random.default_rng(5)
    lines = [f"{t},{c}" for t, c in zip(np.sort(rng.uniform(0, 150, 500)), rng.integers(350, 450, 500))]
    Path("words/low/1.csv").write_text("time_ms,channel\n" + "\n".join(lines) + "\n")
    rows = table(["words/low/set.npz", "words/low/1.csv"], capsys)
    assert [(row["label"], row["sample"]) for row in rows] == [
        ("high", "words/low/set.npz[0]"), ("low", "words/low/1.csv[0]"),
    ]  # fmt: skip
    assert rows[1]["class"] == "low"


def test_hdf5_files(here, capsys):
    pytest.importorskip("h5py")
    from genn_eventprop.data.readers.hdf5 import write_shd

    events = Events.from_samples([([10.0, 30.0], [500, 600])], 700, labels=[0])
    write_shd(events, "set.h5", dtype=np.float64)
    (row,) = table(["set.h5"], capsys)
    assert row["sample"] == "set.h5[0]" and row["label"] == "high"


def test_samples_that_decide_nothing_and_class_names_of_others(here, capsys):
    Events.from_samples([([], [])], 700).save("silent.npz")
    path = here / "run/model.json"
    document = verified(path.read_text())
    document["class_names"] = ["a\x1b[2J", "b"]
    path.write_text(json.dumps(document))
    capsys.readouterr()
    assert main(["predict", "run", "silent.npz", "--checkpoint", "last"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    (row,) = table(["silent.npz"], capsys)
    assert row["label"] == "" and set(row) == {"sample", "label", "class", "probability_a?[2J", "probability_b"}


@pytest.mark.parametrize("csv", [[], ["--csv"]], ids=["table", "csv"])
def test_files_without_samples_are_said_to_have_none(here, capsys, csv):
    for name in ("none.npz", "neither.npz"):
        Events.from_samples([], 700).save(name)
    capsys.readouterr()
    assert main(["predict", "run", "none.npz", "neither.npz", *csv]) == 0
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == "no samples in none.npz, neither.npz\n"
    assert main(["predict", "run", "none.npz", "hum.wav", *csv]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2 and captured.err == ""


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (1000.0, "2 of 2 spikes come after the trial of 20 ms, and are left out"),
        (2.0, "1 of 2 spikes come after the trial of 20 ms, and are left out"),
        (1.0, ""),
        (0.001, "all spikes lie in the first 0.015 of 20 ms; are their times in ms?"),
    ],
)
def test_times_in_another_unit_are_named(tmp_path, monkeypatch, capsys, factor, said):
    monkeypatch.chdir(tmp_path)
    net = Network()
    output = net.population(LI(), 2, name="output")
    net.connect(net.input(3), output, Dense(Normal(0.1, 0.1)))
    events = Events.from_samples([([5.0, 15.0], [0, 2])] * 2, 3, labels=[0, 1])
    loss = losses.IntegratedVoltageCrossEntropy(output)
    trainer = Trainer(net, loss, duration=20.0, dt=1.0, run_dir="run", engine="reference_clock", progress=False)
    trainer.preprocessing = (Crop(0.0, 20.0),)
    trainer.fit(events, epochs=1)
    Events.from_samples([(np.array([5.0, 15.0]) * factor, [0, 2])], 3).save("sample.npz")
    capsys.readouterr()
    assert main(["predict", "run", "sample.npz", "--csv"]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert captured.err == (f"sample.npz[0]: {said}\n" if said else "")
    Events.from_samples([([5.0], [3])], 4).save("wide.npz")
    assert main(["predict", "run", "wide.npz"]) == 1
    said = "wide.npz[0]: the data has 4 channels, but this model was trained on 3"
    assert capsys.readouterr().err.strip() == f"genn-eventprop: {said}"


def test_readouts_of_a_regression(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    net = Network()
    inp, out = net.input(2), net.population(LI(), 2, name="output")
    net.connect(inp, out, Dense(Normal(1.0, 0.3)))
    trainer = Trainer(
        net, losses.SquaredError(out), duration=10.0, dt=1.0, engine="reference_clock", progress=False, run_dir="run"
    )
    trainer.fit(Events.from_samples([([1.0], [0])], 2, targets=np.ones((1, 2))), epochs=1)
    Events.from_samples([([1.0, 2.0], [0, 1])], 2).save("new.npz")
    (row,) = table(["new.npz"], capsys)
    assert list(row) == ["sample", "label", "readout_0", "readout_1"]
    expected = trainer.predict([([1.0, 2.0], [0, 1])])[0]
    assert [float(row["readout_0"]), float(row["readout_1"])] == pytest.approx(expected.tolist(), rel=1e-8)
    assert main(["predict", "run", "new.npz"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["sample", "0", "1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "predict: name at least one file or folder with samples"),
        (["absent", "hum.wav"], "absent is not a run folder"),
        (["run", "absent.wav"], "absent.wav: no such file"),
        (["run", "absent.xyz"], "absent.xyz: does not exist; give wav files"),
        (["run", "tones.txt"], "tones.txt: not a known kind of data; give wav files"),
        (["run", "empty"], "empty: no recordings in it, and it is not a folder of events"),
        (["run", "broken.wav"], "broken.wav: not a readable wav file"),
        (["run", "broken.npz"], "broken.npz: not a readable npz file"),
        (["run", "narrow.npz"], "the data has 5 channels, but this model was trained on 700"),
        (["run", "hum.wav", "--engine", "nativ"], "unknown engine 'nativ'"),
    ],
)
def test_what_predict_refuses(here, capsys, arguments, message):
    Path("tones.txt").write_text("x")
    Path("empty").mkdir()
    for name in ("broken.wav", "broken.npz"):
        Path(name).write_bytes(b"RIFFnothing")
    Events.from_samples([([1.0], [4])], 5).save("narrow.npz")
    capsys.readouterr()
    assert main(["predict", *arguments]) == (2 if arguments == ["run"] else 1)
    captured = capsys.readouterr()
    assert message in captured.err and "Traceback" not in captured.err


def test_objects_in_npz_files_are_not_unpickled(here, capsys):
    class Mark:
        def __reduce__(self):
            return (Path("RAN").write_text, ("",))

    np.savez("bad.npz", times=np.array([Mark()], dtype=object), channels=[0], offsets=[0, 1], n_channels=700)
    assert main(["predict", "run", "bad.npz"]) == 1
    assert "cannot be read" in capsys.readouterr().err and not Path("RAN").exists()


def test_names_and_order_of_samples(here):
    Events.from_samples([([1.0], [4]), ([2.0], [5])], 700).save("two.npz")
    found = list(open_samples(["hum.wav", "two.npz", "whistle.wav", "hum.wav"], 700))
    assert [names for names, _ in found] == [["hum.wav"], ["two.npz[0]", "two.npz[1]"], ["whistle.wav", "hum.wav"]]
    assert np.array_equal(found[0][1].times, found[2][1][1].times)


def test_files_of_equal_names_are_told_apart_by_their_paths(here, capsys):
    for folder, name in (("anna", "hum"), ("ben", "whistle")):
        Path(folder).mkdir()
        shutil.copy(f"{name}.wav", f"{folder}/1.wav")
    assert main(["predict", "run", "anna", "ben/1.wav"]) == 0
    lines = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:]]
    assert lines == [["anna/1.wav", "low"], ["ben/1.wav", "high"]]
    assert [row["sample"] for row in table([str(here / "anna")], capsys)] == [str(here / "anna/1.wav")]


@pytest.mark.ci
def test_weights_of_another_run_from_the_command_line(here, capsys):
    Path("tones.py").write_text(PAGE)
    train = ["train", "tones.py", "--epochs", "1"]
    assert main([*train, "--init-from", "run", "--run-dir", "more", "--learning-rate", "1e-12"]) == 0
    assert "note: starts from the weights of run\n" in capsys.readouterr().err
    a, b = (np.load(f, allow_pickle=False) for f in ("run/first_weights.npz", "more/first_weights.npz"))
    best = genn_eventprop.load("run").engine.parameters
    for name in b.files:
        assert np.array_equal(b[name], best[name]) and not np.array_equal(a[name], b[name])
    assert main([*train, "--init-from", "run", "--run-dir", "wide", "--hidden", "9"]) == 1
    error = capsys.readouterr().err
    assert "--init-from run: 'hidden_hidden.weight' has shape (8, 8), this network needs (9, 9); 'hidden_out" in error
    assert "--partial loads what fits" in error
    assert main([*train, "--init-from", "run", "--run-dir", "wide", "--hidden", "9", "--partial"]) == 0
    assert "starts from the weights of run; not loaded: 'hidden_hidden.weight'" in capsys.readouterr().err
    assert main([*train, "--partial", "--run-dir", "x"]) == 1
    assert "--partial needs --init-from RUN" in capsys.readouterr().err
    shutil.rmtree("run")  # a resumed run has its own weights
    assert main(["resume", "more", "--page", "tones.py", "--epochs", "2"]) == 0


def test_a_run_of_an_older_version_gets_its_model_by_resume(here, capsys):
    expected = table(["hum.wav"], capsys)
    Path("run/model.json").unlink()
    assert main(["predict", "run", "hum.wav"]) == 1
    assert "genn-eventprop resume run (with --page, if the page is your own) writes it" in capsys.readouterr().err
    Path("tones.py").write_text(PAGE)
    assert main(["resume", "run", "--page", "tones.py"]) == 0
    assert table(["hum.wav"], capsys) == expected


def test_a_network_of_spikes_and_currents_asks_for_both(tmp_path):
    net = Network()
    output = net.population(LI(), 2, name="output")
    net.connect(net.input(3), output, Dense(0.1))
    net.connect(net.current(2, name="stimulus"), output, Dense(0.1))
    spikes = Events.from_samples([([5.0], [0])] * 2, 3, labels=[0, 1])
    currents = Currents(np.ones((2, 20, 2)), 1.0)
    loss = losses.IntegratedVoltageCrossEntropy(output)
    run = tmp_path / "run"
    trainer = Trainer(net, loss, duration=20.0, dt=1.0, run_dir=run, engine="reference_clock", progress=False)
    trainer.fit({"input": spikes, "stimulus": currents}, epochs=1)
    model = genn_eventprop.load(run)
    assert model.predict({"input": spikes, "stimulus": currents}).shape == (2,)
    for alone, kind in ((currents, "currents"), (spikes, "spikes")):
        with pytest.raises(DataError, match=f"data are {kind} alone, but the network has the inputs input, stimulus"):
            model.predict(alone)


def test_curves_of_another_length_are_told_from_those_of_the_training(tmp_path):
    net = Network()
    output = net.population(LI(), 2, name="output")
    net.connect(net.current(6, dt=50.0), output, Dense(0.1))
    loss = losses.IntegratedVoltageCrossEntropy(output)
    run = tmp_path / "run"
    trainer = Trainer(net, loss, duration=50.5, dt=1.01, run_dir=run, engine="reference_clock", progress=False)
    trainer.preprocessing, trainer.n_channels = (SegmentMeans(2),), 3
    trainer.fit(Currents(np.ones((4, 1, 6)), 50.0, labels=[0, 1, 0, 1]), epochs=1)
    model = genn_eventprop.load(run)
    assert model.predict(Currents(np.ones((2, 50, 3)), 1.0)).shape == (2,)
    with pytest.raises(DataError, match=r"samples last 30 ms \(30 steps\), those of the training 50 ms; the prepro"):
        model.predict(Currents(np.ones((2, 30, 3)), 1.0))
