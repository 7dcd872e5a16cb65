"""What went wrong, where, and what to do: one message each for what used to be an error of Python."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Trainer, Uniform
from genn_eventprop.cli import inspect_commands, main
from genn_eventprop.data.readers.structured import from_map_dataset
from genn_eventprop.errors import DataError, LossError, NetworkError, PlanError, SettingError, TrainingError
from genn_eventprop.experiment import experiment
from genn_eventprop.losses import FirstSpikeCrossEntropy
from genn_eventprop.models import LIF
from genn_eventprop.optimisers import SGD
from genn_eventprop.runs.run_folder import RunFolder
from genn_eventprop.training import Callback


def net_of(connectivity=None, sizes=(2, 2)):
    net = Network()
    inp, out = net.input(sizes[0]), net.population(LIF(), sizes[1], name="output")
    net.connect(inp, out, connectivity or Dense(Normal(3.0, 0.5)))
    return net, out


def trainer_of(net, out, **settings):
    given = {"duration": 20.0, "dt": 1.0, "engine": "reference_clock", "batch_size": 2, "progress": False}
    return Trainer(net, FirstSpikeCrossEntropy(out), **{**given, **settings})


def events(n=8, scale=1.0):
    samples = [(scale * np.array([1.0, 4.0 + 0.3 * i]), [i % 2, 1 - i % 2]) for i in range(n)]
    return Events.from_samples(samples, 2, [i % 2 for i in range(n)])


@pytest.mark.parametrize("dt", [1e-12, 1e-15])
def test_a_step_that_no_memory_is_large_enough_for(dt):
    with pytest.raises(PlanError, match=r"20 ms in steps of 1e-1. ms are .* takes .* [TP]iB, this machine has"):
        trainer_of(*net_of(), dt=dt)


def test_weights_that_no_memory_is_large_enough_for():
    with pytest.raises(NetworkError, match=r"2 x 1000000000000 weights take 14.6 TiB, this machine has"):
        trainer_of(*net_of(sizes=(2, 10**12)))


def test_out_of_memory_is_a_message(monkeypatch, capsys):
    def hungry(*_):
        raise MemoryError("Unable to allocate 3 TiB")

    monkeypatch.setattr(inspect_commands, "engines", hungry)
    assert main(["engines"]) == 1
    assert "out of memory: Unable to allocate 3 TiB; use a smaller batch or network" in capsys.readouterr().err


@pytest.mark.parametrize("engine", ["reference_clock", "native"])
def test_each_weight_may_have_bounds_of_its_own(engine):
    lower = np.array([[3.5, 4.0], [5.5, -1.0]])
    net, out = net_of(Dense(Uniform(3.0, 6.0), bounds=(lower, None)))
    t = trainer_of(net, out, engine=engine, optimiser=SGD(5.0))
    weight = t.engine.parameters["input_output.weight"]
    assert (weight >= lower.astype(weight.dtype)).all() and weight[1, 0] >= 5.5
    start = weight.copy()
    t.fit(events(), epochs=3)
    assert (weight >= lower.astype(weight.dtype)).all() and not np.array_equal(weight, start)


def test_bounds_that_do_not_fit():
    with pytest.raises(NetworkError, match=r"input_output.weight: a bound of shape \(3,\) does not fit .*\(2, 2\)"):
        trainer_of(*net_of(Dense(Normal(1.0, 1.0), bounds=(np.zeros(3), None))))
    with pytest.raises(NetworkError, match="a bound is a number, an array of numbers or None; got 'low'"):
        Dense(1.0, bounds=("low", None))
    with pytest.raises(NetworkError, match="wrong way round"):
        Dense(1.0, bounds=(np.array([[1.0, 3.0]]), 2.0))
    with pytest.raises(NetworkError, match="lie outside the bounds"):
        trainer_of(*net_of(Dense(np.ones((2, 2)), bounds=(np.array([[0.0, 1.5]]), None))))


def test_several_losses():
    net, out = net_of()
    with pytest.raises(LossError, match="two losses read .output.; combine them in one outer loss"):
        Trainer(net, [FirstSpikeCrossEntropy(out)] * 2, duration=20.0, dt=1.0)


@pytest.mark.parametrize("pause", [0.05, 0.2, 0.5])
def test_ctrl_c_while_everything_is_imported(tmp_path, pause):
    code = "import sys; from genn_eventprop.cli import main; print('go', flush=True); sys.exit(main(['engines']))"
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "go\n"
    time.sleep(pause)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (0, 130) and (process.returncode == 0 or err == "genn-eventprop: interrupted\n"), err


def test_the_first_import_is_small():
    code = "import sys, genn_eventprop.cli; print([m for m in ('numpy', 'sympy', 'matplotlib') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True).stdout == "[]\n"


class Items:
    """A data set of somebody else, with a bug."""

    def __len__(self):
        return 5

    def __getitem__(self, i):
        if i == 3:
            raise KeyError("frames")
        array = np.zeros(2, np.dtype([("t", np.int64), ("x", np.int64)]))
        return array, 0


def test_an_exception_of_a_data_set_says_its_sample(tmp_path):
    for folder in (None, tmp_path / "set"):
        with pytest.raises(DataError, match="Items: sample 3 cannot be read: KeyError: 'frames'"):
            from_map_dataset(Items(), (1, 1, 1), folder)
    assert list(tmp_path.iterdir()) == []


class Poison(Callback):
    """A loss that is nan in a certain batch, whatever the parameters."""

    checkpointed = False

    def __init__(self, batch):
        self.batch = batch

    def start(self, trainer, epochs, batches):
        run, count = trainer.engine.run, []

        def poisoned(data, samples, training=False, **rest):
            result = run(data, samples, training=training, **rest)
            count.append(1) if training else None
            if training and len(count) > self.batch:
                result.loss[0] = np.nan
            return result

        trainer.engine.run = poisoned


@pytest.mark.parametrize(
    ("batch", "advice"),
    [
        (0, "No update has been made yet, so the learning rate is not the cause: check"),
        (1, "Use a smaller learning rate"),
    ],
)
def test_advice_for_a_nan_fits_its_moment(batch, advice):
    t = trainer_of(*net_of(), callbacks=[Poison(batch)])
    with pytest.raises(TrainingError, match=f"the loss of trial 0 is nan .*{advice}"):
        t.fit(events(), epochs=1)


def test_times_that_look_like_seconds_get_a_note():
    net, out = net_of()
    t = trainer_of(net, out, duration=500.0, dt=10.0)
    t.fit(events(scale=0.1), epochs=1)
    assert any("come before 0.61 ms of a trial of 500 ms; are the times in seconds?" in note for note in t.notes)
    other = trainer_of(*net_of(), duration=500.0, dt=10.0)
    other.fit(events(scale=10.0), epochs=1)
    assert not any("seconds" in note for note in other.notes)


PAGE = """
from dataclasses import dataclass
from genn_eventprop.data.readers import yin_yang
from genn_eventprop.experiment import LayeredConfig, layered

@dataclass(frozen=True)
class Config(LayeredConfig):
    epochs: int = 3
    engine: str = "reference_clock"
    hidden: tuple[int, ...] = (3,)
    recurrent: bool = False
    batch_size: int = 4
    duration: float = 20.0
    input_weight: tuple[float, float] = (2.0, 1.0)

def build(config):
    events = yin_yang.load("train", 24)
    return layered(config, events[:16], events[16:20], events[20:], yin_yang.CLASSES, progress=False)

def plot(experiment, folder):
    (folder / "x.png").write_text("figure")
"""


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("page.py").write_text(PAGE)
    return ["train", "page.py", "--run-dir", "run"]


def test_a_disk_that_is_full_when_the_training_is_over(page, monkeypatch, capsys):
    write = Path.write_text

    def full(path, *arguments, **rest):
        if path.suffix == ".png":
            raise OSError(28, "No space left on device")
        return write(path, *arguments, **rest)

    monkeypatch.setattr(Path, "write_text", full)
    assert main(page) == 1
    err = capsys.readouterr().err
    assert "the training is finished and its results are in run, but the figures could not be written (No space" in err
    assert RunFolder("run").results["epochs"] == 3


@pytest.mark.ci
def test_batch_sizes_over_epochs(page, capsys):
    assert main([*page, "--batch-sizes", "2:8,3:16"]) == 0
    assert RunFolder("run").results["updates"] == 4 + 2 + 1
    assert main(["train", "page.py", "--run-dir", "half", "--batch-sizes", "2:8,3:16", "--epochs", "2"]) == 0
    assert main(["resume", "half", "--page", "page.py", "--epochs", "3"]) == 0
    lines = [[{k: v for k, v in m.items() if k != "seconds"} for m in RunFolder(r).metrics] for r in ("run", "half")]
    assert lines[0] == lines[1]
    capsys.readouterr()
    for wrong in ("8", "2:", "2:0", "x:3", "0:4"):
        assert main(["train", "page.py", "--run-dir", "wrong", "--batch-sizes", wrong]) == 1
        assert "batch" in capsys.readouterr().err and not os.path.exists("wrong")


def test_early_stopping_and_tensorboard_on_the_command_line(page, capsys):
    pytest.importorskip("tensorboardX")
    assert main([*page, "--epochs", "30", "--early-stopping", "2", "--learning-rate", "0", "--tensorboard"]) == 0
    assert RunFolder("run").results["epochs"] == 3
    assert list(Path("run/tensorboard").iterdir())
    assert main([*page, "--epochs", "30", "--early-stopping", "0"]) == 1
    assert "run folder run exists" in capsys.readouterr().err
    with pytest.raises(SettingError, match="patience must be an integer"):
        experiment.EarlyStopping(0)


def test_the_small_set_and_installed_settings_are_found(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "tonic.datasets", None)
    (tmp_path / "nmnist_small").mkdir()
    options = ["--config", "experiments/nmnist_saccades.toml", "--data-dir", str(tmp_path)]
    assert main(["train", "nmnist", *options]) == 1
    text = capsys.readouterr().err
    assert "note: experiments/nmnist_saccades.toml is " in text
    assert f"or add --small, for the 400 recordings in {tmp_path / 'nmnist_small'}" in text
