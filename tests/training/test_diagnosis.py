"""Each finding in a small training that has its fault; its remedy, applied there, helps; and none where all is well."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.cli import main
from genn_eventprop.data import splits
from genn_eventprop.losses import FirstSpikeCrossEntropy, IntegratedVoltageCrossEntropy
from genn_eventprop.models import LI, LIF
from genn_eventprop.optimisers import Adam, Cosine, EaseIn
from genn_eventprop.training import initialise_rates
from genn_eventprop.training.diagnosis import LEARNING, OTHERS, Facts, overfitting

SPIKES, CHANNELS = 40, 30


def words(n: int, seed: int = 0, spikes: int = SPIKES, noise: float = 4.0) -> Events:
    """Three patterns of spikes, whose times vary."""
    rng = np.random.default_rng([seed, 1])
    patterns = [
        (
            np.random.default_rng([9, k]).uniform(5, 75, spikes),
            np.random.default_rng([8, k]).integers(0, CHANNELS, spikes),
        )
        for k in range(3)
    ]
    labels = np.arange(n) % 3
    samples = [(np.abs(patterns[k][0] + rng.normal(0, noise, spikes)), patterns[k][1]) for k in labels]
    return Events.from_samples(samples, CHANNELS, labels, sort=True)


def hidden_words(n: int, seed: int) -> Events:
    """Six spikes of 200 channels tell the class, 40 others are noise."""
    rng = np.random.default_rng([seed, 7])
    patterns = [np.random.default_rng([3, k]).integers(0, 200, 6) for k in range(3)]
    labels = np.arange(n) % 3
    samples = [(rng.uniform(0, 80, 46), np.concatenate([patterns[k], rng.integers(0, 200, 40)])) for k in labels]
    return Events.from_samples(samples, 200, labels, sort=True)


def trainer(rate=5e-3, weight=None, hidden=20, loss=IntegratedVoltageCrossEntropy, channels=CHANNELS, **settings):
    net = Network()
    first = net.population(LIF(), hidden, name="hidden")
    output = net.population(LI() if loss is IntegratedVoltageCrossEntropy else LIF(), 3, name="output")
    net.connect(net.input(channels), first, Dense() if weight is None else Dense(weight))
    net.connect(first, output, Dense())
    settings = {"duration": 110.0, "dt": 1.0, "spike_times": "grid", "engine": "native", "progress": False} | settings
    return Trainer(net, loss(output), optimiser=Adam(rate), **settings)


def causes(results) -> list[str]:
    return [found["cause"] for found in results["diagnosis"]]


def rate_of(finding: dict[str, str]) -> float:
    """The learning rate that a remedy names."""
    return float(re.search(r"learning rate: ([\d.e+-]+) would", finding["remedy"])[1])


def learned(results) -> float:
    return results["history"]["train_accuracy"][-1]


@pytest.mark.ci
def test_a_training_that_learns_has_no_finding(capsys):
    results = trainer().fit(words(200), words(60, 1), words(60, 2), epochs=25)
    assert results["diagnosis"] == [] and learned(results) > 0.95
    assert capsys.readouterr().err == ""


@pytest.mark.ci
def test_a_rate_that_is_too_small(capsys):
    events = words(200)
    results = trainer(1e-5).fit(events, epochs=30)
    (found,) = results["diagnosis"]
    assert found["cause"] == "rate too small" and found["sentence"].endswith("% of their size")
    assert "accuracy in training is 33 % after 210 updates, guessing the most frequent class 34 %" in found["sentence"]
    told = capsys.readouterr().err.replace("203 updates", "210 updates")  # in the first epoch that has 200
    assert told == f"warning: {found['sentence']}; {found['remedy']}\n"
    better = trainer(rate_of(found)).fit(events, epochs=30)
    assert learned(results) < 0.4 and learned(better) > 0.95 and causes(better) == []


def test_a_rate_of_zero():
    (found,) = trainer(0.0).fit(words(64), epochs=50)["diagnosis"]
    assert found["cause"] == "rate too small" and found["remedy"] == "use a learning rate above 0"


@pytest.mark.ci
def test_a_rate_that_is_too_large(capsys):
    events = words(200)
    results = trainer(30.0).fit(events, epochs=30)
    (found,) = results["diagnosis"]
    assert found["cause"] == "rate too large" and "an update moved weights by" in found["sentence"]
    better = trainer(rate_of(found)).fit(events, epochs=30)
    assert learned(results) < 0.85 and learned(better) > 0.95 and causes(better) == []


@pytest.mark.ci
def test_a_rate_that_silences_a_layer(capsys):
    """Weights of 1000 spikes a trial are small: the same rate is a larger part of them."""
    events = words(100, spikes=1000)
    results = trainer(1.0).fit(events, epochs=30)
    (found,) = results["diagnosis"]
    assert found["cause"] == "silent" and found["sentence"].startswith("hidden was silent for the whole epoch")
    assert "spike_birth" not in capsys.readouterr().err  # which helps where weights are near what is needed
    better = trainer(rate_of(found)).fit(events, epochs=30)
    assert learned(results) < 0.4 and learned(better) > 0.9 and "silent" not in causes(better)


@pytest.mark.ci
def test_weights_that_are_too_small_for_the_data():
    events = words(200)
    results = trainer(weight=Normal(0.002, 0.001)).fit(events, epochs=10)
    (found,) = results["diagnosis"]
    assert found["cause"] == "silent" and "leave out the weight (Dense())" in found["remedy"]
    assert learned(trainer().fit(events, epochs=20)) > 0.95 > 0.5 > learned(results)


def test_layers_behind_a_silent_one_are_not_blamed():
    net = Network()
    layers = [net.population(LIF(), 10, name=name) for name in ("first", "second")]
    output = net.population(LI(), 3, name="output")
    net.connect(net.input(CHANNELS), layers[0], Dense(Normal(0.002, 0.001)))
    net.connect(layers[0], layers[1], Dense(Normal(1.0, 0.5)))
    net.connect(layers[1], output, Dense(Normal(0.0, 0.1)))
    deep = Trainer(
        net, IntegratedVoltageCrossEntropy(output), duration=110.0, dt=1.0, spike_times="grid", engine="native",
        progress=False,
    )  # fmt: skip
    results = deep.fit(words(30), epochs=2)
    assert results["diagnosis"][0]["sentence"].startswith("first was silent")
    found = deep.diagnosis()
    assert found[0].cause == "silent"


@pytest.mark.ci
def test_a_layer_that_spikes_all_the_time():
    events = words(200)
    results = trainer(weight=Normal(300.0, 100.0)).fit(events, epochs=30)
    (found,) = results["diagnosis"]
    assert found["cause"] == "saturated" and "20 of 20 neurons of hidden spike all the time" in found["sentence"]
    scaled = trainer(weight=Normal(300.0, 100.0))
    initialise_rates(scaled, events, 5.0)
    assert learned(results) < 0.4 and learned(scaled.fit(events, epochs=30)) > 0.95
    assert learned(trainer().fit(events, epochs=30)) > 0.95


@pytest.mark.ci
def test_a_schedule_that_is_longer_than_the_training(capsys):
    events = words(200)
    results = trainer(2e-3, schedule=EaseIn() * Cosine(21)).fit(events, epochs=21)
    assert causes(results) == ["schedule too long"]
    line = "warning: the schedule eases the learning rate in over 142 updates, but this training has only 147"
    assert capsys.readouterr().err.splitlines() == [f"{line}; leave out ease_in (EaseIn)"]
    better = trainer(1e-2, schedule=Cosine(21)).fit(events, epochs=21)
    assert learned(results) < 0.5 and learned(better) > 0.9
    # one that would not even end within the training is shortened, so that it learns
    shortened = trainer(1e-2, schedule=EaseIn() * Cosine(10))
    assert learned(shortened.fit(events, epochs=10)) > 0.7
    assert "ease_in would take 142 updates, this training has 70: it takes 17" in shortened.notes


@pytest.mark.ci
def test_too_few_updates():
    """Early and late spikes of two channels: the class is whether they differ, which no layer tells at first."""
    rng = np.random.default_rng(0)
    late = rng.integers(0, 2, (80, 2))
    samples = [(20 + 30 * each + rng.normal(0, 3, 2), [0, 1]) for each in late]
    events = Events.from_samples(samples, 2, labels=(late[:, 0] != late[:, 1]).astype(int), sort=True)
    results = trainer(5e-3, batch_size=80, channels=2).fit(events, epochs=50)
    (found,) = results["diagnosis"]
    assert found["cause"] == "too few updates" and "train for 1000 epochs" in found["remedy"]
    better = trainer(5e-3, batch_size=80, channels=2).fit(events, epochs=300)  # the rest takes long
    assert learned(results) < 0.6 and learned(better) > 0.8


@pytest.mark.ci
def test_underfitting():
    events = words(200, noise=8.0)
    results = trainer(4e-3, batch_size=100).fit(events, epochs=25)
    assert causes(results) == ["underfitting"]
    (found,) = results["diagnosis"]
    assert found["remedy"] == "train longer, for 50 epochs"
    assert learned(trainer(4e-3, batch_size=100).fit(events, epochs=50)) > learned(results) + 0.05


@pytest.mark.ci
def test_overfitting():
    validation = hidden_words(300, 1)
    settings = {"rate": 1e-2, "hidden": 40, "channels": 200}
    results = trainer(**settings).fit(hidden_words(60, 0), validation, epochs=60)
    assert causes(results) == ["overfitting"]
    more = trainer(**settings).fit(hidden_words(600, 2), validation, epochs=12)
    held_out = [each["history"]["validation_accuracy"][-1] for each in (results, more)]
    assert "overfitting" not in causes(more) and held_out[1] > held_out[0] + 0.05


@pytest.mark.ci
def test_overfitting_without_a_validation_set_is_seen_on_the_test_set(capsys):
    learning = trainer(1e-2, hidden=40, channels=200)
    results = learning.fit(hidden_words(60, 0), None, hidden_words(300, 1), epochs=60)
    (found,) = results["diagnosis"]
    assert found["cause"] == "overfitting" and "% on the test set" in found["sentence"]
    assert capsys.readouterr().err.count(f"warning: {found['sentence']}") == 1


def test_overfitting_of_samples_with_noise_whose_accuracy_in_training_stays_low():
    # shuffled MNIST-1D as its recipe has it, with noise of 0.6; without noise 100 % in training
    epoch = {"train_accuracy": 0.72, "validation_accuracy": None}
    facts = Facts(
        [epoch], epochs=1, batches=4000, updates=4000, train_size=750, validation_size=None, chance=0.1,
        learning_rate=0.02, rises_until=0, sizes={}, test_accuracy=0.41, test_size=250,
    )  # fmt: skip
    assert "72 % in training" in str(overfitting(facts))
    assert overfitting(replace(facts, test_accuracy=0.6)) is None


def test_nothing_is_learned_where_there_is_nothing_to_learn():
    rng = np.random.default_rng(0)
    one = (np.sort(rng.uniform(5, 75, SPIKES)), rng.integers(0, CHANNELS, SPIKES))
    alike = Events.from_samples([one] * 60, CHANNELS, np.arange(60) % 3)
    results = trainer(2e-2, batch_size=3, hidden=5, duration=80.0, dt=2.0).fit(alike, epochs=50)
    assert causes(results) == ["nothing learned"]
    assert "--baseline" in results["diagnosis"][0]["remedy"]


@pytest.mark.ci
def test_outputs_that_tie():
    events = words(200)
    results = trainer(1e-2, loss=FirstSpikeCrossEntropy, dt=10.0).fit(events, epochs=10)
    (found,) = results["diagnosis"]
    assert found["cause"] == "ties" and "outputs spike in the same step of 10 ms" in found["sentence"]
    for remedy in ({"dt": 10.0, "spike_times": "exact"}, {"dt": 1.0}):
        better = trainer(1e-2, loss=FirstSpikeCrossEntropy, **remedy).fit(events, epochs=10)
        assert "ties" not in causes(better) and learned(better) > learned(results) + 0.2


@pytest.mark.ci
def test_a_validation_set_that_is_too_small_to_choose_by():
    """The weights that five samples choose are worse than the last ones, on average."""
    events, test, pairs = hidden_words(150, 9), hidden_words(300, 3), []
    for seed in range(3):
        small = hidden_words(5, 20 + seed)
        results = trainer(1e-2, seed=seed, channels=200, hidden=40).fit(events, small, test, epochs=10)
        (found,) = [each for each in results["diagnosis"] if each["cause"] == "validation set too small"]
        assert "has 5 samples" in found["sentence"] and "uncertain by 44 %" in found["sentence"]
        pairs.append((results["test_accuracy"], results["final_test_accuracy"]))
    chosen, last = np.mean(pairs, axis=0)
    assert last > chosen + 0.03
    assert "validation set too small" not in causes(trainer().fit(words(40), words(60), epochs=2))


@pytest.mark.ci
def test_a_test_set_that_is_the_validation_set(capsys):
    events, test = words(200), words(60, 1)
    results = trainer().fit(events, test, test, epochs=20)
    assert causes(results) == ["the test set is the validation set"]
    assert (
        "warning: the validation set is the test set: the best weights are chosen on the test set"
        in capsys.readouterr().err
    )
    train, validation = splits.stratified_split(events, 0.2).apply(events)
    assert causes(trainer().fit(train, validation, test, epochs=20)) == []


def test_every_rule_has_a_case_here():
    text = Path(__file__).read_text()
    for rule in (*LEARNING, *OTHERS):
        cause = rule.__code__.co_consts
        assert any(isinstance(c, str) and f'"{c}"' in text for c in cause), rule.__name__


@pytest.mark.ci
def test_a_training_that_is_resumed_has_the_same_findings(tmp_path):
    events = words(60)
    whole = trainer(1e-5, run_dir=tmp_path / "a").fit(events, epochs=30)
    trainer(1e-5, run_dir=tmp_path / "b").fit(events, epochs=10)
    again = trainer(1e-5, run_dir=tmp_path / "b").resume().fit(events, epochs=30)
    assert again["diagnosis"] == whole["diagnosis"] and causes(whole) == ["rate too small"]
    assert json.loads((tmp_path / "b" / "results.json").read_text())["diagnosis"] == whole["diagnosis"]


PAGE = """
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
    epochs: int = 30
    batch_size: int = 12
    learning_rate: float = 1e-7

def build(config):
    events = Events.from_samples([([1.0 + i % 3], [i % 2]) for i in range(24)], 2, [i % 2 for i in range(24)])
    return layered(config, events, None, events[:8])
"""


@pytest.mark.ci
def test_findings_stand_in_reports_and_on_the_page_of_a_run(tmp_path, monkeypatch, capsys):
    pytest.importorskip("plotly")
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(PAGE)
    for name, seed in (("one", "1"), ("two", "2")):
        assert main(["train", "own.py", "--run-dir", name, "--seed", seed]) == 0
    assert "warning: accuracy in training is" in capsys.readouterr().err
    assert main(["report", "one", "two"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "rate too small" in line]
    assert len(lines) == 1 and "of 2 runs" in lines[0] and "use a larger learning rate" in lines[0]
    assert main(["view", "one", "--out", "page.html"]) == 0
    assert "use a larger learning rate" in Path("page.html").read_text()
