"""Baselines beside the accuracies of a run: in results, on the terminal, in reports and on the page of a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Trainer, losses
from genn_eventprop.cli import main
from genn_eventprop.data import Currents
from genn_eventprop.data.augment.augmented import Augmented
from genn_eventprop.data.augment.steps import Dropout, MergeChannels
from genn_eventprop.data.baselines import baselines
from genn_eventprop.models import LI, LIF
from genn_eventprop.training.compared import compared, in_words, plain
from support.extras import needs

PAGE = """
from dataclasses import dataclass
import numpy as np
from genn_eventprop import Events
from genn_eventprop.experiment import LayeredConfig, layered

@dataclass(frozen=True)
class Config(LayeredConfig):
    hidden: tuple[int, ...] = (5,)
    duration: float = 20.0
    dt: float | None = 1.0
    spike_times: str = "grid"
    engine: str = "reference_clock"
    epochs: int = 1

def build(config):
    labels = [0, 1, 1, 1] * 6
    samples = [([1.0 + i % 3, 8.0], [label, label]) for i, label in enumerate(labels)]
    events = Events.from_samples(samples, 2, labels)
    return layered(config, events[:12], events[12:16], events[16:])
"""


def some(n: int = 24, n_channels: int = 4) -> Events:
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 3
    samples = [(np.sort(rng.uniform(0, 15, 4)), np.full(4, label)) for label in labels]
    return Events.from_samples(samples, n_channels, labels)


def trainer(n_channels: int = 4) -> Trainer:
    net = Network()
    hidden, out = net.population(LIF(), 5, name="hidden"), net.population(LI(), 3, name="out")
    net.connect(net.input(n_channels), hidden, Dense())
    net.connect(hidden, out, Dense())
    loss = losses.IntegratedVoltageCrossEntropy(out)
    return Trainer(net, loss, duration=20.0, dt=1.0, engine="reference_clock", spike_times="grid", progress=False)


def test_results_have_chance_by_themselves_and_the_others_when_asked():
    events = some()
    sets = {"validation": events[12:18], "test": events[18:]}
    found = trainer().fit(events[:12], **sets, epochs=1)["baselines"]
    assert found == {"test": {"chance": 1 / 3}, "validation": {"chance": 1 / 3}}
    needs("sklearn")
    found = trainer().fit(events[:12], **sets, epochs=1, baseline=True)["baselines"]
    assert found == baselines(events[:12], sets)
    assert trainer().fit(events[:12], epochs=1)["baselines"] == {}


def test_an_augmented_set_counts_as_before_what_is_random():
    needs("sklearn")
    events = some(n_channels=8)
    merged = MergeChannels(2)
    augmented = Augmented(events[:12], [merged, Dropout(0.5)], seed=1)
    test = plain(Augmented(events[12:], [merged], seed=1))
    expected = baselines(plain(Augmented(events[:12], [merged], seed=2)), {"test": test})
    assert trainer().fit(augmented, test=test, epochs=1, baseline=True)["baselines"] == expected


def test_baselines_of_a_regression_are_explained_variances():
    linear = needs("sklearn.linear_model")
    rng = np.random.default_rng(4)
    x = rng.standard_normal((80, 3))
    y = np.stack([x @ [3, -2, 1], 100 + x[:, 0] * x[:, 1]], axis=1)
    y[3] = np.nan
    train, test = (Currents.constant(x[s], 20.0, targets=y[s]) for s in (np.s_[:50], np.s_[50:]))
    assert compared(train, {"test": test}) == ({}, "")
    found = compared(train, {"test": test}, classical=True)[0]["test"]
    known = np.isfinite(y[:50]).all(1)
    z = (x - x[:50][known].mean(0)) / x[:50][known].std(0)
    ridge = linear.RidgeCV(np.logspace(-2, 4, 13)).fit(z[:50][known], y[:50][known])
    assert found["ridge regression"] == pytest.approx(ridge.score(z[50:], y[50:]), rel=1e-4)
    assert found["ridge regression"] < 0.7 and found["1-NN"] > 0.3


def test_what_has_no_baselines_says_so(capsys, monkeypatch):
    values = np.random.default_rng(0).normal(size=(6, 3, 2))
    series = Currents(values, 5.0, targets=values[:, :1])  # (S, 1, C): not one number a sample
    assert compared(series, {"test": series}) == ({}, "")
    assert compared(series, {"test": series}, classical=True)[1].startswith("baselines need labels")
    needs("sklearn")
    # the training is over, and its results are kept, whatever becomes of the baselines
    monkeypatch.setattr("genn_eventprop.modelling.memory.physical_memory", lambda: 100)
    found, problem = compared(some(), {"test": some()}, classical=True)
    assert found == {"test": {"chance": 1 / 3}} and problem.startswith("no classical baselines: 24 x 10 x 4")


def test_words():
    assert in_words({}, "test") == in_words({"baselines": {}}, "test") == ""
    of_test = {"chance": 0.5, "1-NN": 0.931}
    assert in_words({"baselines": {"test": of_test}}, "test") == "chance 50.00 %, 1-NN 93.10 %"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(PAGE)
    return tmp_path


def test_the_command_line_shows_them_beside_every_accuracy(here, capsys):
    needs("sklearn")
    assert main(["train", "own.py", "--run-dir", "with", "--baseline"]) == 0
    line = "chance 75.00 %, logistic regression 100.00 %, 1-NN 100.00 %"
    assert f"without a network, test set                   {line}" in capsys.readouterr().out
    assert main(["train", "own.py", "--run-dir", "without", "--seed", "2"]) == 0
    assert "test set                   chance 75.00 %\n" in capsys.readouterr().out
    assert "baselines" in json.loads(Path("without/results.json").read_text())

    assert main(["report", "with", "without"]) == 0
    assert "| chance 75.0 % |" in capsys.readouterr().out  # what all runs of a line know
    assert main(["report", "with"]) == 0
    assert "| chance 75.0 %, logistic regression 100.0 %, 1-NN 100.0 % |" in capsys.readouterr().out
    command = ["report", "with", "without", "--baseline"]
    assert main(command) == 1 and "--page" in capsys.readouterr().err
    assert main([*command, "--page", "own.py"]) == 0
    assert "| chance 75.0 %, logistic regression 100.0 %, 1-NN 100.0 % |" in capsys.readouterr().out

    pytest.importorskip("plotly")
    assert main(["view", "with", "--out", "page.html"]) == 0
    assert f"(without a network: {line})" in Path("page.html").read_text()


def test_a_missing_library_is_told_before_the_training(here, capsys, monkeypatch):
    import importlib

    real = importlib.import_module

    def absent(name, *rest):
        if name.startswith("sklearn"):
            raise ImportError(f"No module named {name!r}")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", absent)
    assert main(["train", "own.py", "--run-dir", "run", "--baseline"]) == 1
    captured = capsys.readouterr()
    assert 'pip install "genn_eventprop[baseline]"' in captured.err and "epoch 1" not in captured.err
