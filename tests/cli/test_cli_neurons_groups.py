"""Neurons in files of one's own wherever a neuron is named, and cross-validation over the groups of any page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop import Events
from genn_eventprop.cli import main
from genn_eventprop.data.augment.augmented import Augmented
from genn_eventprop.data.augment.steps import Jitter, MergeChannels
from genn_eventprop.errors import DataError, ModelError
from genn_eventprop.experiment.hold_out import without_group
from genn_eventprop.experiment.options import neuron_of

NEURON = """
from genn_eventprop import NeuronModel, Param

Mine = NeuronModel(
    name="Mine", state={"V": 0.0, "I": 0.0},
    params={"tau_mem": Param(20.0, "ms"), "tau_s": Param(5.0, "ms"), "v_t": Param(1.0)},
    dynamics={"V": "(I - V) / tau_mem", "I": "-I / tau_s"}, threshold="V - v_t", reset={"V": "0"}, input="I",
)
"""
PAGE = """
from dataclasses import dataclass
from genn_eventprop import Events
from genn_eventprop.data import splits
from genn_eventprop.experiment import LayeredConfig, layered

@dataclass(frozen=True)
class Config(LayeredConfig):
    hidden: tuple[int, ...] = (4,)
    duration: float = 10.0
    dt: float | None = 1.0
    spike_times: str = "grid"
    engine: str = "reference_clock"
    epochs: int = 1

def build(config):
    names = ["ann", "bob", "c d"]
    events = Events.from_samples(
        [([1.0, 2.0], [k % 4, 1]) for k in range(24)], 4, [k % 2 for k in range(24)], [names[k % 3] for k in range(24)]
    )
    train, test = splits.stratified_split(events, 0.25, rng=0).apply(events)
    train, validation = splits.stratified_split(train, 0.25, rng=0).apply(train)
    return layered(config, train, validation, test)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("neuron.py").write_text(NEURON)
    Path("page.py").write_text(PAGE)
    return tmp_path


def test_a_neuron_in_a_file_has_options_and_defaults(folder):
    neuron = neuron_of("neuron.py:Mine(v_t=0.5)", "--neuron", tau_mem=7.0, tau_syn=3.0)
    values = {name: param.value for name, param in neuron.params.items()}
    assert neuron.name == "Mine" and values == {"tau_mem": 7.0, "tau_s": 5.0, "v_t": 0.5}
    with pytest.raises(ModelError, match="Mine has no parameter 'v_th' .did you mean 'v_t'"):
        neuron_of("neuron.py:Mine(v_th=0.5)", "--neuron")


def test_a_run_with_a_neuron_of_ones_own(folder, capsys):
    """A run folder does not make its reader run a file: predictions need none, and training on needs a word."""
    Path("neuron.toml").write_text('neuron = {"neuron.py:Mine" = {v_t = 0.02}}\n')
    assert main(["train", "page.py", "--config", "neuron.toml", "--run-dir", "run"]) == 0
    assert json.loads(Path("run/config.json").read_text())["settings"]["neuron"] == "neuron.py:Mine(v_t=0.02)"
    capsys.readouterr()
    for command in (["evaluate", "run"], ["resume", "run", "--epochs", "2"], ["plot", "run", "--data", "test"]):
        assert main([*command, "--page", "page.py"]) == 1
        assert "made with the neuron 'neuron.py:Mine(v_t=0.02)', a file" in capsys.readouterr().err
    assert main(["evaluate", "run", "--page", "page.py", "--trust"]) == 0
    assert main(["resume", "run", "--page", "page.py", "--epochs", "2", "--trust"]) == 0


def test_each_group_of_a_page_is_held_out_once(folder, capsys):
    assert main(["train", "page.py", "--cross-validate", "--run-dir", "folds"]) == 0
    runs = sorted(p.parent.name for p in Path("folds").glob("*/results.json"))
    assert runs == ["without-ann-seed1", "without-bob-seed1", "without-c_d-seed1"]
    for run, name in zip(runs, ("ann", "bob", "c d")):
        results = json.loads((Path("folds") / run / "results.json").read_text())
        assert set(results["test"]["per_group"]) == {name} and results["test"]["samples"] == 8
        assert set(Events.load(Path("folds") / run / "samples.npz").groups.tolist()) <= {"ann", "bob", "c d"} - {name}
    capsys.readouterr()
    assert main(["report", "folds"]) == 0
    assert "hold_out: ann" in capsys.readouterr().out
    assert main(["train", "page.py", "--hold-out", "dan", "--run-dir", "none"]) == 1
    assert "--hold-out dan: the training set has no such group; did you mean 'ann'?" in capsys.readouterr().err


def grouped(names, channels=4):
    return Events.from_samples(
        [([1.0], [k % channels]) for k in range(len(names))], channels, [0] * len(names), list(names)
    )


def test_no_sample_of_the_group_is_trained_on():
    train, validation, test = grouped("aabbc"), grouped("abc", 2), grouped("abcc", 2)
    rest, held, fold = without_group(Augmented(train, [Jitter(1.0), MergeChannels(2)], seed=3), validation, test, "c")
    assert isinstance(rest, Augmented) and rest.events.groups.tolist() == list("aabb") and rest.seed == 3
    assert held.groups.tolist() == ["a", "b"] and fold.groups.tolist() == ["c"] * 4
    assert fold.n_channels == 2 and np.array_equal(fold.channels[:1], train.channels[4:] // 2)
    assert len(without_group(train, train, train, "c")[2]) == 1, "a set that plays two parts counts once"
    assert without_group(train, grouped("cc"), None, "c")[1] is None
    with pytest.raises(DataError, match="groups"):
        without_group(train, Events.from_samples([([1.0], [0])], 4, [0]), None, "c")
