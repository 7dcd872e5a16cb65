"""plot RUN...: which figures are drawn where, from finished and unfinished runs, and what is refused."""

import json
import os
import shutil
from pathlib import Path

import pytest

from genn_eventprop.cli import main
from support.disks import small_files
from support.extras import needs

EXPERIMENT = """
from dataclasses import dataclass
from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.errors import DataError
from genn_eventprop.losses import FirstSpikeCrossEntropy
from genn_eventprop.models.lif import LIF
from genn_eventprop.experiment import Experiment, ExperimentConfig
from pathlib import Path

@dataclass(frozen=True)
class Config(ExperimentConfig):
    epochs: int = 2
    engine: str = "reference_clock"

def build(config):
    if Path("gone").exists():
        raise DataError("the data are gone")
    net = Network()
    inp, hidden = net.input(2), net.population(LIF(), 3, name="hidden")
    out = net.population(LIF(), 2, name="output")
    net.connect(inp, hidden, Dense(Normal(2.0, 0.8)))
    net.connect(hidden, out, Dense(Normal(1.5, 0.3)))
    trainer = Trainer(net, FirstSpikeCrossEntropy(out), duration=20.0, dt=1.0, engine=config.engine,
                      batch_size=4, seed=config.seed, progress=False)
    samples = [([1.0, 4.0 + 0.3 * i], [i % 2, 1 - i % 2]) for i in range(12)]
    events = Events.from_samples(samples, 2, [i % 2 for i in range(12)])
    return Experiment(trainer, events[:8], events[8:10], events[10:], ["left", "right"])
"""
ALL = {"curves", "trial", "confusion", "spikes", "weights"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with two finished runs, trained once; `runs` gives each test a copy."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.py").write_text(EXPERIMENT)
    arguments = ["train", str(folder / "tiny.py"), "--seeds", "1-2", "--run-dir", str(folder / "two")]
    assert main(arguments) == 0
    return folder


@pytest.fixture
def runs(trained, tmp_path, monkeypatch):
    shutil.copytree(trained, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def names(folder):
    return {p.stem for p in Path(folder).iterdir()} if Path(folder).is_dir() else set()


@pytest.mark.ci
def test_every_figure_of_every_run_and_one_page_of_all(runs, capsys):
    Path("tiny.py").unlink()  # neither the page nor its data is needed
    capsys.readouterr()
    assert main(["plot", "two"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 11 and all(Path(line).stat().st_size > 5000 for line in printed)
    assert names("plots") == {"training_curves"} and names("two/seed1/plots") == names("two/seed2/plots") == ALL
    assert main(["plot", "two/seed1", "two/seed2", "--out", "page", "--only", "curves", "--format", "svg"]) == 0
    text = Path("page/training_curves.svg").read_text()
    assert text.startswith("<?xml")


@pytest.mark.ci
def test_the_figures_of_one_run_go_where_out_says(runs, capsys):
    before = names("two/seed1/plots")
    assert main(["plot", "two/seed1", "--out", "mine", "--only", "curves,trial"]) == 0
    assert names("mine") == {"curves", "trial"} and names("two/seed1/plots") == before
    Path("mine/curves.png").write_text("a text of mine")
    assert main(["plot", "two/seed1", "--out", "mine", "--only", "curves"]) == 1
    assert "mine/curves.png exists and was not written by genn-eventprop" in capsys.readouterr().err
    assert Path("mine/curves.png").read_text() == "a text of mine"


@pytest.mark.ci
def test_connections_have_figures_of_their_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    image = EXPERIMENT.replace("import Dense,", "import Conv2D, Delay, Dense, Sparse, Uniform,")
    image = image.replace(
        "net.input(2), net.population(LIF(), 3,", "net.input(shape=(2, 1, 1)), net.population(LIF(), shape=(2, 1, 2),"
    )
    image = image.replace(
        "inp, hidden, Dense(Normal(2.0, 0.8))", "inp, hidden, Conv2D(Normal(2.0, 0.8), kernel=1, channels=2)"
    )
    late = "Sparse(Normal(1.5, 0.3), fan_in=3), delay=Delay(Uniform(0, 2), max=3.0)"
    Path("image.py").write_text(image.replace("Dense(Normal(1.5, 0.3))", late))
    assert main(["train", "image.py", "--epochs", "1", "--run-dir", "run"]) == 0
    own = {"delays", "connectivity_hidden_output", "kernels_input_hidden"}
    assert main(["plot", "run"]) == 0 and names("run/plots") == ALL | own


@pytest.mark.ci
def test_an_unfinished_run_and_data_sets_made_anew(runs, capsys):
    (runs / "two/seed1/results.json").unlink()
    assert json.loads(Path("two/seed2/config.json").read_text())["class_names"] == ["left", "right"]
    assert main(["plot", "two/seed1"]) == 0 and names("two/seed1/plots") == ALL
    asked = ["--data", "train", "--page", "tiny.py"]
    assert main(["plot", "two/seed1", "--only", "confusion,trial", "--sample", "7", *asked]) == 0
    Path("gone").write_text("")
    capsys.readouterr()
    assert main(["plot", "two/seed2", *asked]) == 1
    assert "trial of two/seed2: the data are gone" in capsys.readouterr().err
    assert names("two/seed2/plots") == {"curves", "weights"}  # these need no samples


def test_a_figure_of_what_is_not_there(runs, capsys):
    assert main(["plot", "two/seed1", "--only", "delays,kernels"]) == 1
    assert "no connection learns its delays" in capsys.readouterr().err


def test_runs_of_older_versions_say_what_they_lack(runs, capsys):
    for name in ("model.json", "samples.npz", "first_weights.npz"):
        (runs / "two/seed1" / name).unlink()
    assert main(["plot", "two/seed1"]) == 1
    error = capsys.readouterr().err
    assert "trial of two/seed1: two/seed1 has no model.json: it was made by an older version" in error
    assert "weights of two/seed1: two/seed1 has no first_weights.npz" in error
    assert names("two/seed1/plots") == {"curves", "confusion"}
    assert main(["plot", "two/seed1", "--only", "trial", "--data", "validation", "--page", "tiny.py"]) == 0


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["plot", "nothing"], 1, "nothing is not a run folder (it has no config.json) and contains none"),
        (["plot", "two", "--only", "trials"], 1, "there is no figure 'trials'; did you mean 'trial'?"),
        (
            ["plot", "two/seed1", "--only", "trial", "--sample", "2"],
            1,
            "--sample 2: the set has 2 samples, 0 to 1",
        ),
        (
            ["plot", "two/seed1", "--only", "trial", "--engine", "nativ"],
            1,
            "unknown engine 'nativ'",
        ),
        (["plot"], 2, "plot: name at least one run folder"),
    ],
)
def test_what_plot_refuses(runs, capsys, arguments, status, message):
    capsys.readouterr()
    assert main(arguments) == status
    assert message in capsys.readouterr().err


@pytest.mark.ci
def test_figures_on_a_full_disk_stay_as_they_were(runs, capsys):
    some = ["--only", "curves,confusion"]
    assert main(["plot", "two/seed1", *some]) == 0
    before = {p: p.read_bytes() for p in Path("two/seed1/plots").iterdir()}
    assert len(before) == 2
    capsys.readouterr()
    with small_files(10_000):
        assert main(["plot", "two/seed1", "two/seed2", "--format", "pdf", *some]) == 1
        assert main(["plot", "two/seed1", *some]) == 1
    assert {p: p.read_bytes() for p in Path("two/seed1/plots").iterdir()} == before
    said = capsys.readouterr().err
    assert "plots/training_curves.pdf cannot be written (File too large)" in said
    for path in before:
        assert f"{path} cannot be written (File too large)" in said


@pytest.mark.parametrize("out", ["weights.npz", "weights", "model.c", "model.nir"])
def test_an_export_on_a_full_disk_leaves_what_was_there(runs, capsys, out):
    if out.endswith(".nir"):
        needs("nir")
    assert main(["export", "two/seed1", out]) == 0
    path = Path(out)
    before = {p: p.read_bytes() for p in (path.iterdir() if path.is_dir() else [path])}
    listed = sorted(os.listdir())
    with small_files(100):
        assert main(["export", "two/seed2", out, "--overwrite"]) == 1
        assert main(["export", "two/seed2", f"other{path.suffix}"]) == 1
    said = capsys.readouterr().err
    assert f"{out} cannot be written (File too large); allow" in said and "other" in said
    assert {p: p.read_bytes() for p in before} == before and sorted(os.listdir()) == listed
    assert main(["export", "two/seed2", out, "--overwrite"]) == 0
