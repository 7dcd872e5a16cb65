"""Every experiment page: its quick variant through the command line on real data, files, options, TOML."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop import experiments
from genn_eventprop.cli import main
from genn_eventprop.data.readers.locate import data_folder
from genn_eventprop.errors import ModelError, SettingError
from genn_eventprop.experiment import experiment_names, load_experiment
from genn_eventprop.experiment.experiment import config_from_json
from genn_eventprop.experiment.options import read_toml
from genn_eventprop.verify.gradients.command import find_model
from support.extras import needs

pytestmark = pytest.mark.usefixtures("contracted")  # trainings: code that is not optimised would take longer

EXPERIMENTS = Path(experiments.__file__).parent
PAGES = (
    "braille current_digits current_mnist current_yin_yang deep device_in_the_loop dvs_gesture latency_mnist "
    "loss_shaping_toy nmnist qtdb sequential_mnist shd spoken_digits ssc"
).split()


@pytest.fixture(autouse=True)
def no_plots(monkeypatch):
    """Figures are tested once, below: they are slow."""
    monkeypatch.setattr("genn_eventprop.report.plots.standard", lambda *_args, **_settings: None)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GENN_EVENTPROP_DATA_CACHE", str(tmp_path / "cache"))


def quick(run: Path, name: str, *options: str) -> dict:
    """results.json of a quick run."""
    assert main(["train", name, "--quick", "--run-dir", str(run), "--threads", "1", *options]) == 0
    return json.loads((run / "results.json").read_text())


def settings(run: Path) -> dict:
    return json.loads((run / "config.json").read_text())["settings"]


def test_every_page_says_paper_command_and_result():
    assert set(PAGES) <= set(experiment_names())
    for name in PAGES:
        text = load_experiment(name).text
        assert f"genn-eventprop train {name}" in text and "--quick" in text, name
        assert "doi" in text or "arXiv" in text, name


@pytest.mark.ci
def test_braille(data_dir, tmp_path):
    results = quick(tmp_path / "run", "braille", "--data-dir", str(data_dir))
    assert results["test_accuracy"] > 0.3  # chance is 1 / 27


@pytest.mark.ci
@pytest.mark.parametrize("unlabelled", ["class 0", "mask"])
def test_qtdb(data_dir, tmp_path, unlabelled):
    few = "--data-dir", str(data_dir), "--unlabelled", unlabelled, "--samples", "40", "--epochs", "2"
    results = quick(tmp_path / "run", "qtdb", *few)
    assert results["test"]["samples"] == (141 * 1300 if unlabelled == "class 0" else 164266)
    both = json.loads((tmp_path / "run" / "labelled.json").read_text())
    np.testing.assert_allclose(results["test_accuracy"], both["all" if unlabelled == "class 0" else "labelled"])
    assert len(results["test"]["confusion"]) == 6 and 0 <= results["test"]["steps"]["segment_f1"] <= 1


@pytest.mark.ci
def test_deep(tmp_path):
    """Every hidden layer spikes and has a gradient, with first weights by rates."""
    quick(tmp_path / "run", "deep", "--epochs", "1", "--train-size", "64")
    (metrics,) = (json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert all(metrics["gradient_norms"][f"hidden{i}"] > 0 for i in (1, 2, 3, 4)) and "gradient_note" not in metrics


@pytest.mark.ci
def test_loss_shaping_toy(tmp_path):
    options = ["--epochs", "14", "--duration"]
    with_tail = {n: quick(tmp_path / n, "loss_shaping_toy", *options, "200", "--loss", n) for n in
                 ("avg_xentropy", "sum_weigh_exp")}  # fmt: skip
    accuracy = {name: results["final_test_accuracy"] for name, results in with_tail.items()}
    assert accuracy["avg_xentropy"] < 0.4 < 0.6 < accuracy["sum_weigh_exp"], accuracy


@pytest.mark.ci
def test_latency_mnist(data_dir, tmp_path):
    options = ["--test-size", "300", "--train-size", "1000", "--epochs", "2", "--batch-size", "10"]
    results = quick(tmp_path / "run", "latency_mnist", "--data-dir", str(data_dir), *options)
    assert results["final_test_accuracy"] > 0.3


@pytest.mark.ci
def test_current_yin_yang(tmp_path):
    """Both codes with the same page."""
    options = ["--epochs", "3", "--train-size", "600", "--dt", "1"]
    assert quick(tmp_path / "currents", "current_yin_yang", *options)["final_test_accuracy"] > 0.45  # chance is 1 / 3
    times = load_experiment("current_yin_yang")
    built = times.build(times.config(code="times", train_size=10))
    assert not built.trainer.network.currents and built.train.n_channels == 5


@pytest.mark.ci
def test_device_in_the_loop(tmp_path):
    """The device runs every batch; without it the page is the ideal network."""
    options = ["--epochs", "2", "--train-size", "300", "--hidden", "20", "--dt", "0.5"]
    assert quick(tmp_path / "loop", "device_in_the_loop", *options)["final_test_accuracy"] > 0.34
    (first, _) = (json.loads(line) for line in (tmp_path / "loop" / "metrics.jsonl").read_text().splitlines())
    assert first["device_calls"] >= 10 and first["device_repeated"] == 0
    page = load_experiment("device_in_the_loop")
    assert page.build(page.config(device=False, train_size=10)).trainer.loop is None
    for neuron in ("ALIF", "AdEx"):
        device = page.build(page.config(neuron=neuron, hidden=5, train_size=10)).trainer.loop.device
        asked = {n: np.ones(1) for n in ("hidden.tau_mem", "hidden.c_mem", "hidden.v_thresh")}
        assert sum(v.size == 5 for v in device.actual(asked).values()) >= 2


@pytest.mark.ci
def test_current_mnist(data_dir, tmp_path):
    options = ["--test-size", "200", "--train-size", "500", "--validation-size", "100", "--epochs", "2", "--dt", "1"]
    results = quick(tmp_path / "run", "current_mnist", "--data-dir", str(data_dir), *options)
    assert results["final_test_accuracy"] > 0.3 and results["costs"]["multiply_accumulates"] > 0
    page = load_experiment("current_mnist")
    built = page.build(page.config(code="latency", train_size=10, validation_size=10, test_size=10, data_dir=data_dir))
    assert not built.trainer.network.currents and built.train.n_channels == 784


@pytest.mark.ci
def test_current_digits(data_dir, tmp_path):
    """100 recordings as mel spectrograms; rates and spikes of all."""
    options = ["--data-dir", str(data_dir), "--epochs", "2"]
    assert quick(tmp_path / "run", "current_digits", *options)["epochs"] == 2
    page = load_experiment("current_digits")
    rates, spikes = (page.build(page.config(features=f, data_dir=data_dir)) for f in ("rates", "spikes"))
    assert len(rates.test) == len(spikes.test) == 250 and rates.train.n_channels == spikes.train.n_channels == 70
    assert rates.test.values[0].sum() * 10 * 10 == pytest.approx(spikes.test.counts[0])  # bins of 10 ms, 10 channels
    with pytest.raises(SettingError, match="--features rates reads spikes"):
        page.build(page.config(features="rates", source=tmp_path))


def test_sequential_mnist_does_not_cut_slower_pixels_in_silence():
    page = load_experiment("sequential_mnist")
    with pytest.raises(SettingError, match="--pixel-ms: the delay line and the crop of --encoding, and --duration"):
        page.build(page.config(pixel_ms=2.0))


@pytest.mark.ci
def test_sequential_mnist(data_dir, tmp_path):
    options = ["--train-size", "100", "--test-size", "50", "--validation-size", "50", "--epochs", "1"]
    assert quick(tmp_path / "run", "sequential_mnist", "--data-dir", str(data_dir), *options)["epochs"] == 1


@pytest.mark.ci
def test_nmnist_small_and_its_resplits(data_dir, tmp_path):
    options = ["--data-dir", str(data_dir), "--small", "--epochs", "1"]
    first = quick(tmp_path / "a", "nmnist", *options)
    assert first["epochs"] == 1 and settings(tmp_path / "a")["resplit"] is None
    file = load_experiment("nmnist")
    folds = file.folds(file.config())
    assert list(folds) == [f"resplit{k}" for k in range(5)]
    tests = [file.build(file.config(**{**file.quick, **fold, "data_dir": data_dir})).test for fold in folds.values()]
    assert {len(t) for t in tests} == {100} and len({t.times.sum() for t in tests}) == 5


def test_settings_beside_the_pages_are_settings_of_their_page():
    files = [f for f in EXPERIMENTS.glob("*.toml") if not f.name.endswith((".paper.toml", "_search.toml"))]
    assert len(files) >= 5
    for file in files:
        text = file.read_text()
        name = re.search(r"genn-eventprop train (\w+) .*--config experiments/" + file.name, text)
        assert name, f"{file.name}: no command that uses it"
        config_from_json(load_experiment(name.group(1)).config, read_toml(file))


@pytest.mark.ci
def test_spoken_digits_official_split_and_speaker_out(data_dir, tmp_path, cache):
    file = load_experiment("spoken_digits")
    base = {**file.quick, "data_dir": data_dir, "engine": "reference_clock"}
    official = file.build(file.config(**base))
    assert len(official.test) == 250 and len(official.validation) == 225
    speakers = file.folds(file.config(**base))
    assert list(speakers) == ["george", "jackson", "lucas", "nicolas", "theo"]
    held_out = file.build(file.config(**base, validation=0.0, speaker_out="lucas"))
    assert set(held_out.test.groups) == {"lucas"} and held_out.validation is None
    assert "lucas" not in set(held_out.train.groups) and len(held_out.train) == 2000


@pytest.mark.ci
def test_spoken_digits_from_a_file_in_the_layout_of_shd(data_dir, tmp_path, cache, capsys):
    source = str(data_dir / "fsdd" / "shd_layout_sample.h5")
    options = ["--source", source, "--validation", "0", "--test", "0.5", "--epochs", "1"]
    assert quick(tmp_path / "run", "spoken_digits", *options)["epochs"] == 1
    printed = capsys.readouterr().out
    assert "test accuracy, last epoch" in printed and "chosen on validation" not in printed
    assert main(["train", "spoken_digits", "--source", source, "--speaker-out", "99", "--quick"]) == 1
    assert main(["train", "spoken_digits", "--source", source, "--speaker-out", "ann", "--quick"]) == 1


@pytest.mark.ci
def test_spoken_digits_from_wav_files(data_dir, tmp_path, cache):
    folder = tmp_path / "wav"
    folder.mkdir()
    for digit in (3, 7):
        for path in sorted((data_dir / "fsdd" / "wav").glob(f"{digit}_*.wav"))[:3]:
            shutil.copy(path, folder)
    options = ["--source", str(folder), "--validation", "0", "--test", "0.4", "--epochs", "1"]
    assert quick(tmp_path / "run", "spoken_digits", *options)["epochs"] == 1


def test_where_data_sets_of_tonic_lie(tmp_path, monkeypatch):
    monkeypatch.setenv("GENN_EVENTPROP_DATA", str(tmp_path))
    assert data_folder(None) == tmp_path and data_folder("given") == Path("given")
    monkeypatch.delenv("GENN_EVENTPROP_DATA")
    assert data_folder(None) == Path("data")


def test_shd_and_ssc_through_tonic(data_dir, tmp_path, cache):
    needs("tonic")
    for name, parts in (("SHD", ("train", "test")), ("SSC", ("train", "valid", "test"))):
        (tmp_path / name).mkdir()
        for part in parts:
            sample = data_dir / "fsdd" / "shd_layout_sample.h5"
            shutil.copy(sample, tmp_path / name / f"{name.lower()}_{part}.h5")
    options = ["--data-dir", str(tmp_path), "--epochs", "1", "--hidden", "8"]
    assert quick(tmp_path / "shd", "shd", *options)["epochs"] == 1
    assert quick(tmp_path / "all", "shd", *options, "--validation-speaker", "none")["best_validation_accuracy"] is None
    assert quick(tmp_path / "ssc", "ssc", *options)["epochs"] == 1
    file = load_experiment("shd")
    assert len(file.folds(file.config(data_dir=tmp_path))) > 1


def test_nmnist_and_dvs_gesture_through_tonic(data_dir, tmp_path, cache):
    needs("tonic")
    import numpy as np

    for part in ("Train", "Test"):
        for i, line in enumerate((data_dir / "nmnist_small" / "test.txt").read_text().splitlines()[:20]):
            name, label = line.split()
            target = tmp_path / "NMNIST" / part / label
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(data_dir / "nmnist_small" / f"{name}.bs2", target / f"{i:05}.bin")
        (tmp_path / "NMNIST" / part / "0").mkdir(exist_ok=True)
        shutil.copy(data_dir / "nmnist_small" / "60001.bs2", tmp_path / "NMNIST" / part / "0" / "99999.bin")
        rng = np.random.default_rng(0)
        for gesture in range(2):
            folder = tmp_path / "DVSGesture" / f"ibmGesture{part}" / "user01_led"
            folder.mkdir(parents=True, exist_ok=True)
            pixels = [rng.integers(0, size, 4000) for size in (128, 128, 2)]
            times = np.sort(rng.integers(0, 2000, 4000))  # ms in these files
            np.save(folder / f"{gesture}.npy", np.stack([*pixels, times], axis=1))
    options = ["--data-dir", str(tmp_path), "--validation", "0", "--epochs", "1", "--hidden", "8"]
    assert quick(tmp_path / "n", "nmnist", *options)["epochs"] == 1
    assert quick(tmp_path / "d", "dvs_gesture", *options)["epochs"] == 1
    for name in ("nmnist", "dvs_gesture"):  # their convolutional settings
        table = str(EXPERIMENTS / f"{name}_convolutions.toml")
        assert quick(tmp_path / f"{name}c", name, *options, "--config", table)["epochs"] == 1
        assert "conv1" in json.loads((tmp_path / f"{name}c" / "metrics.jsonl").read_text())["spikes_per_neuron"]


@pytest.mark.ci
def test_choices_from_toml_and_the_command_line(data_dir, tmp_path):
    table = tmp_path / "c.toml"
    table.write_text(
        'hidden = [20]\nloss = "max"\nneuron = {LIF = {v_thresh = 0.8}}\n'
        "[augment]\ndropout = 0.1\nshift = {channels = 1}\n"
    )
    options = ["--data-dir", str(data_dir), "--config", str(table), "--epochs", "1", "--schedule", "ease_in,cosine"]
    quick(tmp_path / "run", "braille", *options)
    saved = settings(tmp_path / "run")
    assert (saved["hidden"], saved["loss"], saved["neuron"]) == ([20], "max", "LIF(v_thresh=0.8)")
    assert (saved["augment"], saved["schedule"]) == ("dropout=0.1,shift(channels=1)", "ease_in,cosine")
    assert main(["evaluate", str(tmp_path / "run"), "--data", "train"]) == 1  # --data-dir is a folder elsewhere
    assert main(["evaluate", str(tmp_path / "run"), "--data", "train", "--trust"]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--augment", "shfit=4"], "--augment: unknown name 'shfit'; did you mean 'shift'?"),
        (["--loss", "mx"], "--loss: unknown name 'mx'; did you mean 'max'?"),
        (["--loss", "first_spike_exp"], "which never spikes"),
        (["--neuron", "LIFF"], "--neuron: unknown name 'LIFF'; did you mean 'LIF'?"),
        (["--hiden", "3"], "--hidden"),
        (["--config", "{toml}"], "c.toml: unknown setting 'augmentation'"),
        (["--data-dir", "nowhere"], "no braille/braille_taxel.npz in nowhere; get it from https://doi.org"),
    ],
)
def test_mistakes_are_named(data_dir, tmp_path, capsys, options, message):
    (tmp_path / "c.toml").write_text("[augmentation]\nshift = 3\n")
    given = [option.format(toml=tmp_path / "c.toml") for option in options]
    places = [] if "--data-dir" in given else ["--data-dir", str(data_dir)]
    assert main(["train", "braille", "--quick", *places, "--run-dir", str(tmp_path / "run"), *given]) != 0
    captured = capsys.readouterr()
    assert message in " ".join((captured.out + captured.err).split())


OWN = '''
"""My own."""
from dataclasses import dataclass
from genn_eventprop import Events
from genn_eventprop.experiment import LayeredConfig, layered

@dataclass(frozen=True)
class Config(LayeredConfig):
    hidden: tuple[int, ...] = (5,)
    duration: float = 10.0
    dt: float | None = 1.0
    spike_times: str = "grid"
    engine: str = "reference_clock"
    epochs: int = 1

def build(config):
    events = Events.from_samples([([1.0, 2.0], [i % 2, 0]) for i in range(6)], 2, labels=[i % 2 for i in range(6)])
    return layered(config, events, events, events)

if __name__ == "__main__":
    from genn_eventprop.cli import main_of
    main_of(__file__)
'''


@pytest.mark.ci
def test_a_users_own_file_by_path_and_directly(tmp_path):
    path = tmp_path / "my_experiment.py"
    path.write_text(OWN)
    assert main(["train", str(path), "--augment", "dropout=0.1", "--run-dir", str(tmp_path / "run")]) == 0
    assert settings(tmp_path / "run")["augment"] == "dropout=0.1"
    command = [sys.executable, str(path), "--loss", "max", "--run-dir", str(tmp_path / "direct")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert settings(tmp_path / "direct")["loss"] == "max"


def test_a_users_own_file_imports_its_neighbours(tmp_path, monkeypatch):
    """Whatever the current folder is, as ``python my_page.py`` would."""
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")  # and restores the path, to which pages add their folders
    (tmp_path / "my_shared_loss.py").write_text('LOSS = "max"\n')
    path = tmp_path / "my_page.py"
    path.write_text(OWN.replace("def build", "from my_shared_loss import LOSS\n\ndef build"))
    assert load_experiment(path).build.__globals__["LOSS"] == "max"
    neuron = tmp_path / "my_leak.py"
    neuron.write_text("from my_shared_loss import LOSS\nfrom genn_eventprop.models import LI\n\nLeak = LI\n")
    assert find_model(f"{neuron}:Leak").name == "LI"
    with pytest.raises(ModelError, match="'.*my_notes.txt' is not a Python file"):
        (tmp_path / "my_notes.txt").write_text("")
        find_model(f"{tmp_path / 'my_notes.txt'}:Leak")


@pytest.mark.ci
def test_a_page_runs_directly(data_dir, tmp_path):
    page = load_experiment("braille").build.__code__.co_filename
    command = [sys.executable, page, "--quick", "--epochs", "1", "--data-dir", str(data_dir)]
    done = subprocess.run([*command, "--run-dir", str(tmp_path / "run")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pictures = {p.name for p in (tmp_path / "run" / "plots").iterdir()}
    assert pictures == {"curves.png", "trial.png", "confusion.png", "spikes.png"}
