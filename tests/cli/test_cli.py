"""The command line: what it runs, what it says, and its exit status."""

import json
import os
import signal
import subprocess
import sys
from email.message import Message
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop import Events
from genn_eventprop.cli import main
from genn_eventprop.runs import load_checkpoint, load_weights
from genn_eventprop.runs.run_folder import RunFolder
from genn_eventprop.training import Callback, Progress

EXPERIMENT = '''
"""A tiny experiment."""
from dataclasses import dataclass
from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.losses import FirstSpikeCrossEntropy
from genn_eventprop.models.lif import LIF
from genn_eventprop.experiment import Experiment, ExperimentConfig

QUICK = {"epochs": 1, "hidden": 3}

@dataclass(frozen=True)
class Config(ExperimentConfig):
    epochs: int = 3
    dt: float = 1.0
    engine: str = "reference_clock"
    batch_size: int = 4
    hidden: int = 5
    """Hidden neurons."""
    spread: tuple[float, float] = (2.0, 0.8)

def build(config):
    net = Network()
    inp, hidden = net.input(2), net.population(LIF(), config.hidden, name="hidden")
    out = net.population(LIF(), 2, name="output")
    net.connect(inp, hidden, Dense(Normal(*config.spread)))
    net.connect(hidden, out, Dense(Normal(1.5, 0.3)))
    trainer = Trainer(net, FirstSpikeCrossEntropy(out), duration=20.0, dt=config.time_grid()[1], engine=config.engine,
                      spike_times=config.time_grid()[0], batch_size=config.batch_size, seed=config.seed,
                      threads=config.threads)
    samples = [([1.0, 4.0 + 0.3 * i], [i % 2, 1 - i % 2]) for i in range(10)]
    events = Events.from_samples(samples, n_channels=2, labels=[i % 2 for i in range(10)])
    return Experiment(trainer, events[:6], events[6:8], events[8:])

def plot(experiment, folder):
    (folder / "done.txt").write_text(str(experiment.trainer.state.epoch))

if __name__ == "__main__":
    from genn_eventprop.cli import main_of
    main_of(__file__)
'''


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.py"
    path.write_text(EXPERIMENT)
    return str(path)


def settings(run):
    return json.loads((Path(run) / "config.json").read_text())["settings"]


def test_train_writes_a_run_and_prints_the_numbers(tiny, capsys):
    assert main(["train", tiny, "--run-dir", "run", "--seed", "4", "--spread", "2.5", "0.5"]) == 0
    out = capsys.readouterr().out
    assert "test accuracy, weights chosen on validation" in out and "3 epochs" in out
    assert out.splitlines()[-1].split() == ["run", "folder", "run"]
    saved = settings("run")
    assert (saved["seed"], saved["epochs"], saved["hidden"], saved["spread"]) == (4, 3, 5, [2.5, 0.5])
    assert Path("run/plots/done.txt").read_text() == "3"
    assert json.loads(Path("run/results.json").read_text())["epochs"] == 3


def test_without_run_dir_a_new_folder_is_found_each_time(tiny):
    assert main(["train", tiny, "--epochs", "1"]) == main(["train", tiny, "--epochs", "1"]) == 0
    assert sorted(p.name for p in Path("runs").iterdir()) == ["tiny-seed1-1", "tiny-seed1-2"]


def test_quick_config_file_and_options_in_this_order(tiny):
    Path("c.toml").write_text("hidden = 4\nbatch-size = 2\nspread = [1.0, 0.1]\n")
    assert main(["train", tiny, "--quick", "--config", "c.toml", "--batch-size", "3", "--run-dir", "run"]) == 0
    saved = settings("run")
    assert (saved["epochs"], saved["hidden"], saved["batch_size"], saved["spread"]) == (1, 4, 3, [1.0, 0.1])
    Path("q.toml").write_text("quick = true\n")
    assert main(["train", tiny, "--config=q.toml", "--run-dir", "run2"]) == 0
    assert (settings("run2")["epochs"], settings("run2")["hidden"]) == (1, 3)


def test_resume_continues_and_evaluate_reproduces(tiny, capsys):
    assert main(["train", tiny, "--run-dir", "whole", "--epochs", "3"]) == 0
    assert main(["train", tiny, "--run-dir", "run", "--epochs", "1"]) == 0
    assert main(["resume", "run", "--page", tiny, "--epochs", "3"]) == 0
    a, b = (load_checkpoint(f"{run}/checkpoints/last.safetensors") for run in ("whole", "run"))
    for name, value in a.arrays.items():
        np.testing.assert_array_equal(value, b.arrays[name])
    capsys.readouterr()
    for checkpoint, key in (("best", "test_accuracy"), ("last", "final_test_accuracy")):
        assert main(["evaluate", "run", "--page", tiny, "--checkpoint", checkpoint]) == 0
        expected = json.loads(Path("run/results.json").read_text())[key]
        assert f"accuracy {100 * expected:.2f} %" in capsys.readouterr().out
    assert main(["evaluate", "run", "--page", tiny, "--data", "train"]) == 0
    assert "train set, 6 samples, engine reference_clock" in capsys.readouterr().out


def test_export_needs_no_experiment(tiny, capsys):
    assert main(["train", tiny, "--run-dir", "run"]) == 0
    Path(tiny).unlink()  # neither the experiment nor its data is needed
    assert main(["export", "run", "best.npz"]) == main(["export", "run", "last", "--checkpoint", "last"]) == 0
    assert "best.npz: best.safetensors of run\n" in capsys.readouterr().out
    for name in ("best", "last"):
        saved = load_checkpoint(f"run/checkpoints/{name}.safetensors").section("parameters")
        found = load_weights("best.npz" if name == "best" else "last", saved)
        assert saved.keys() == found.keys() and all(np.array_equal(saved[k], found[k]) for k in saved)
    assert main(["export", "run", "best.npz"]) == 1
    assert "best.npz exists; give another name, or --overwrite" in capsys.readouterr().err
    assert main(["export", "run", "best.npz", "--overwrite"]) == 0
    assert main(["export", "nowhere", "x.npz"]) == 1
    assert "nowhere is not a run folder" in capsys.readouterr().err


def test_ctrl_c_lets_the_batch_end_and_nothing_is_lost(tiny, monkeypatch, capsys):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process started in the background ignores Ctrl-C
    assert main(["train", tiny, "--run-dir", "whole"]) == 0
    end_batch, batches = Callback.end_batch, []

    def press(self, *where):
        end_batch(self, *where)
        batches.append(where)
        if len(batches) == 3:  # the first batch of the second epoch
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Progress, "end_batch", press)
    assert main(["train", tiny, "--run-dir", "run"]) == 130
    err = capsys.readouterr().err
    assert "stopping with a checkpoint" in err
    assert err.rstrip().endswith(f"interrupted; continue with: genn-eventprop resume run --page {tiny}")
    position = load_checkpoint("run/checkpoints/last.safetensors").info["position"]
    assert (position["epoch"], position["batch"]) == (1, 1) and len(batches) == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert main(["resume", "run", "--page", tiny]) == 0
    whole, resumed = (load_checkpoint(f"{run}/checkpoints/last.safetensors").arrays for run in ("whole", "run"))
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.ci
def test_an_experiment_file_runs_directly(tiny):
    command = [sys.executable, tiny, "--epochs", "1", "--run-dir", "run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "training time" in done.stdout and Path("run/results.json").exists()
    wrong = subprocess.run([*command, "--epoch", "1"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2 and "--epochs" in wrong.stderr
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 1 and "exists and is not empty" in again.stderr and "Traceback" not in again.stderr


@pytest.mark.parametrize("command", [["--help"], ["train", "--help"], ["engines"]])
def test_lists_fit_a_terminal_of_80_columns(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(command) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert command != ["--help"] or "runs/yin_yang-seed1-1" in text, "a command to copy is not broken at a hyphen"


def test_resuming_what_is_finished_says_so(tiny, capsys):
    assert main(["train", tiny, "--epochs", "1", "--run-dir", "run"]) == 0
    capsys.readouterr()
    assert main(["resume", "run", "--page", tiny]) == 0
    err = capsys.readouterr().err
    assert "note: the training is finished (1 of 1 epochs)" in err and "expected" not in err


def test_help_lists_options_with_defaults(tiny, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["train", tiny, "--help"]) == 0
    text = capsys.readouterr().out
    names = "epochs seed engine batch-size dt spike-times threads run-dir data-dir quick config hidden"
    for name in names.split():
        assert f"--{name}" in text
    assert "A tiny experiment." in text and "(default: 5)" in text and "Hidden neurons." in text
    assert "None" not in text and "  --dt FLOAT" in text
    for command in ("scan", "plot", "evaluate", "export"):
        assert main([command, "--help"]) == 0
        text = capsys.readouterr().out
        assert "partial(" not in text and "Args:" not in text
        assert max(map(len, text.splitlines())) <= 80 and "None" not in text and "(default: )" not in text
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    for command in ("train", "evaluate", "resume", "export", "show", "gradcheck", "engines", "cache"):
        assert f"\n  {command} " in text
    assert main(["train", "--help"]) == 0
    assert "yin_yang" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("genn-eventprop 0.")
    for arguments in ([], ["train"], ["make-data"], ["reproduce"]):
        assert main(arguments) == 2
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.startswith("usage: genn-eventprop")


@pytest.mark.one_in(6)
@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["trian", "x"], 2, "unknown command 'trian' (did you mean 'train'?"),
        (
            ["search", "page.toml"],
            2,
            "unknown command 'search' (optuna searches the settings of a page with [search]: scan",
        ),
        (["train", "yin_yan"], 2, "unknown experiment 'yin_yan' (did you mean 'yin_yang'?"),
        (["train", "--quick", "yin_yang"], 2, "name the experiment before its options"),
        (["train", "recordings/"], 2, "recordings/: no such file or folder; an experiment is a name"),
        (["train", "recordings"], 2, "or a file or folder of data: there is none of this name here"),
        (["train", "absent.py"], 1, "there is no experiment file"),
        (["train", "absent.npz"], 2, "absent.npz: no such file or folder"),
        (["train", "{tiny}", "--epoch", "3"], 2, "--epochs"),
        (["train", "{tiny}", "--epochs", "three"], 2, "--epochs"),
        (["train", "{tiny}", "--spike-times", "grid2"], 2, "grid2"),
        (["train", "{tiny}", "--epochs", "0"], 1, "epochs must be an integer >= 1, got 0"),
        (["train", "{tiny}", "--dt", "0.7"], 1, "duration 20 ms is not a whole number of steps"),
        (["train", "{tiny}", "--engine", "nativ"], 1, "unknown engine 'nativ' (did you mean 'native'?"),
        (["train", "{tiny}", "--config", "absent.toml"], 1, "there is no config file absent.toml"),
        (["train", "{tiny}", "--config", "broken.toml"], 1, "broken.toml is not valid TOML"),
        (
            ["train", "{tiny}", "--config", "unknown.toml"],
            1,
            "unknown.toml: unknown setting 'epoch'; did you mean 'epochs'?",
        ),
        (["train", "{tiny}", "--config", "type.toml"], 1, "type.toml: hidden = 'many' cannot be used; see --hidden in"),
        (
            ["train", "{tiny}", "--config", "text.toml"],
            1,
            "text.toml: hidden = '7' is a string; write the number without",
        ),
        (
            ["train", "no_config.py"],
            1,
            "is not an experiment: it needs a dataclass Config(ExperimentConfig) and build()",
        ),
        (["train", "no_return.py"], 1, "build() must return an Experiment, as layered(...) makes, got NoneType"),
        (["train", "bad_quick.py"], 1, "unknown setting 'epoch'; did you mean 'epochs'?"),
        (["evaluate", "absent"], 1, "absent is not a run folder"),
        (["resume", "absent"], 1, "absent is not a run folder"),
        (["resume"], 2, "RUN"),
        (["evaluate", "foreign"], 1, "foreign is not a run folder (genn-eventprop did not write its config.json)"),
        (["evaluate", "python"], 1, "python was not made by an experiment"),
        (["show", "lfi"], 2, "no built-in model 'lfi' (did you mean 'li'?"),
        (["show", "runs/absent"], 1, "there is no run folder runs/absent"),
        (["show", "absent.py:Mine"], 1, "no file 'absent.py'"),
        (["show", "no_config.py:Mine"], 1, "no_config.py: 'Mine' is not a NeuronModel"),
        (["gradcheck", "lfi"], 2, "no built-in model 'lfi' (did you mean 'li'?"),
        (["gradcheck"], 2, "MODEL"),
        (["cache", "clean"], 2, "clean"),
    ],
)
def test_mistakes_get_one_message_and_a_status(tiny, capsys, arguments, status, message):
    Path("broken.toml").write_text("epochs = = 3")
    Path("unknown.toml").write_text("epoch = 3")
    Path("type.toml").write_text('hidden = "many"')
    Path("text.toml").write_text('hidden = "7"')
    Path("no_config.py").write_text("x = 1")
    Path("no_return.py").write_text(EXPERIMENT.replace("return Experiment", "Experiment"))
    Path("bad_quick.py").write_text(EXPERIMENT.replace('{"epochs": 1, ', '{"epoch": 1, '))
    RunFolder.create("python")
    Path("foreign").mkdir()
    Path("foreign/config.json").write_text("{}")
    assert main([a.format(tiny=tiny) for a in arguments]) == status
    captured = capsys.readouterr()
    text = " ".join((captured.out + captured.err).split())
    assert message in text and "Traceback" not in text


def test_a_run_of_a_changed_experiment_is_refused(tiny, capsys):
    assert main(["train", tiny, "--run-dir", "run", "--epochs", "1"]) == 0
    Path(tiny).write_text(
        EXPERIMENT.replace("hidden: int = 5", "neurons: int = 5")
        .replace("config.hidden", "config.neurons")
        .replace(', "hidden": 3', "")
    )
    assert main(["resume", "run", "--page", tiny]) == 1
    assert "unknown setting 'hidden'" in capsys.readouterr().err


def test_interrupting_and_failing_are_not_success(tiny, monkeypatch, capsys):
    from genn_eventprop.training import Trainer

    epoch, count = Trainer._epoch, [0]

    def interrupted_in_the_second(self, *data):
        count[0] += 1
        if count[0] == 2:
            raise KeyboardInterrupt
        epoch(self, *data)

    monkeypatch.setattr(Trainer, "_epoch", interrupted_in_the_second)
    assert main(["train", tiny, "--run-dir", "run"]) == 130
    assert f"interrupted; continue with: genn-eventprop resume run --page {tiny}" in capsys.readouterr().err
    count[0] = 1
    assert main(["train", tiny, "--run-dir", "early"]) == 130
    assert capsys.readouterr().err.rstrip().endswith("genn-eventprop: interrupted")
    monkeypatch.setattr(Trainer, "_epoch", epoch)
    assert main(["resume", "run", "--page", tiny]) == 0

    def no_space(*_args, **_settings):
        raise OSError(28, "No space left on device", "run/metrics.jsonl")

    monkeypatch.setattr(Trainer, "fit", no_space)
    assert main(["train", tiny, "--run-dir", "full"]) == 1
    assert "No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["evaluate"], ["train", "yin_yang"]])
def test_help_that_names_documents_says_where_they_are(arguments, capsys, monkeypatch):
    """An installed package does not have them."""
    from genn_eventprop.cli import options

    assert main([*arguments, "--help"]) == 0
    printed = capsys.readouterr().out
    assert "docs/" in printed and printed.endswith("docs is part of the source archive and of the repository.\n")
    about = Message()
    about["Project-URL"] = "Repository, https://example.org/us"
    monkeypatch.setattr(options, "metadata", lambda name: about)
    assert main([*arguments, "--help"]) == 0
    assert "\nThe documents are at https://example.org/us/tree/main/docs.\n" in capsys.readouterr().out


def test_show_prints_equations_and_snippets(capsys, tmp_path):
    assert main(["show", "lif"]) == 0
    text = capsys.readouterr().out
    for part in (
        "dV/dt = (I - V) / tau_mem",
        "tau_mem = 20.0 ms",
        "V -> v_reset",
        "neuron: sim_code",
        "neuron: threshold_condition_code",
        "lambda_V",
    ):
        assert part in text
    assert main(["show", "lif", "--target", "cpp"]) == 0
    text = capsys.readouterr().out
    assert "scalar" in text and "adjoint_jump_code" in text
    own = tmp_path / "mine.py"
    own.write_text(
        "from genn_eventprop import NeuronModel\n"
        'Mine = NeuronModel(name="Mine", state={"V": 0.0}, params={}, dynamics={"V": "-V / 7"}, input="V")\n'
    )
    assert main(["show", f"{own}:Mine"]) == 0
    assert "dV/dt = -V / 7" in capsys.readouterr().out


@pytest.mark.parametrize(
    "target, line", [("native", "struct Work"), ("c99", "typedef float real;"), ("cuda", "__global__")]
)
def test_show_prints_the_program_of_a_target(target, line, capsys):
    assert main(["show", "lif", "--target", target]) == 0
    text = capsys.readouterr().out
    assert line in text and "dV/dt = (I - V)/tau_mem" in text


def test_show_target_prints_what_runs(tiny, capsys, monkeypatch, tmp_path):
    assert main(["show", tiny, "--target", "c99"]) == 0
    printed = capsys.readouterr().out.partition("\n")[2].rstrip()
    monkeypatch.setenv("GENN_EVENTPROP_CACHE", str(tmp_path / "cache"))
    assert main(["train", tiny, "--engine", "c99", "--run-dir", "run", "--epochs", "1"]) == 0
    (source,) = (tmp_path / "cache").glob("*.c")
    assert source.read_text().rstrip() == printed and source.with_suffix(".so").is_file()


def test_gradcheck_passes_seed_and_engine_on(monkeypatch):
    asked = []

    def check(model, **settings):
        asked.append((model, settings))
        return 0 if settings["seed"] == 0 else 1

    monkeypatch.setattr("genn_eventprop.verify.gradients.main", check)
    assert main(["gradcheck", "lif"]) == 0
    assert main(["gradcheck", "lif", "--seed", "7", "--engine", "native"]) == 1
    assert main(["gradcheck", "--all", "--quick"]) == 0
    assert asked == [
        ("lif", {"seed": 0, "engine": "reference_event", "quick": False, "spike_times": None, "dt": None}),
        ("lif", {"seed": 7, "engine": "native", "quick": False, "spike_times": None, "dt": None}),
        (None, {"seed": 0, "engine": "reference_event", "quick": True, "spike_times": None, "dt": None}),
    ]


def test_engines_and_cache(capsys, tmp_path, monkeypatch):
    assert main(["engines"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]  # others are options
    assert {"native", "reference_clock", "reference_event"} <= {line.split()[0] for line in lines}
    assert all(line.split()[1] in ("yes", "no") for line in lines)
    monkeypatch.setenv("GENN_EVENTPROP_CACHE", str(tmp_path))
    (tmp_path / f"{'ab' * 16}-3000-{'cd' * 32}.so").write_bytes(bytes(3000))
    monkeypatch.setenv("GENN_EVENTPROP_DATA_CACHE", str(tmp_path / "data"))
    Events([1.0], [0], [0, 1], 1).save(tmp_path / "data" / f"set-{'ab' * 16}")
    assert main(["cache", "where"]) == main(["cache", "clear"]) == 0
    out = capsys.readouterr().out
    assert [line.split() for line in out.splitlines()[:2]] == [
        ["code", str(tmp_path)],
        ["data", str(tmp_path / "data")],
    ]
    assert "removed 1 files, 0.0 MB" in out and [p.name for p in tmp_path.iterdir()] == ["data"]
    assert main(["cache", "clear", "--what", "data"]) == 0
    assert "removed 1 data sets, 0.0 MB" in capsys.readouterr().out and not list((tmp_path / "data").iterdir())
