"""Data that nobody has tuned settings for learn, every printed reason is true, and what cannot be used is said."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop import Trainer, load
from genn_eventprop.cli import main
from genn_eventprop.data import Currents, Events
from genn_eventprop.data.augment.encodings import encoded
from genn_eventprop.data.baselines import baselines
from genn_eventprop.description import build
from genn_eventprop.errors import DataError, DescriptionError, SettingError
from genn_eventprop.experiment import LayeredConfig, load_experiment
from genn_eventprop.experiment.options import encodings_of
from genn_eventprop.recipes import RULES, facts_of, recipe, recipe_of
from genn_eventprop.recipes.shown import best_shown, candidates, predicted, text_of


def of_counts(rng: np.random.Generator, samples: int, classes: int) -> Events:
    """Each class has rates of its own; times say nothing."""
    channels, duration = int(rng.integers(5, 40)), float(10 ** rng.uniform(0, 4))
    rates, labels = rng.uniform(0, 6, (classes, channels)), np.arange(samples) % classes
    each = []
    for k in labels:
        c = np.repeat(np.arange(channels), rng.poisson(rates[k]))
        each.append((rng.uniform(0, duration, len(c)), c))
    return Events.from_samples(each, channels, labels, sort=True)


def of_times(rng: np.random.Generator, samples: int, classes: int) -> Events:
    """Every channel spikes once; when, says the class."""
    channels, duration = int(rng.integers(5, 30)), float(10 ** rng.uniform(0, 4))
    centres, labels = rng.uniform(0.1, 0.9, (classes, channels)), np.arange(samples) % classes
    times = np.clip(centres[labels] + rng.normal(0, 0.05, (samples, channels)), 0, 1) * duration
    each = [(np.sort(t), np.argsort(t)) for t in times]
    return Events.from_samples(each, channels, labels)


def of_values(rng: np.random.Generator, samples: int, classes: int) -> Currents:
    """Constant features of different units."""
    channels, labels = int(rng.integers(3, 20)), np.arange(samples) % classes
    x = rng.normal(0, 1.5, (classes, channels))[labels] + rng.standard_normal((samples, channels))
    return Currents.constant(x * 10 ** rng.uniform(-3, 4, channels) + rng.normal(0, 100, channels), 50.0, labels=labels)


def of_curves(rng: np.random.Generator, samples: int, classes: int) -> Currents:
    """One channel whose bump lies where the class says."""
    steps, labels = int(rng.integers(20, 120)), np.arange(samples) % classes
    centre = (0.15 + 0.7 * np.arange(classes) / (classes - 1))[labels, None] + rng.normal(0, 0.02, (samples, 1))
    bumps = np.exp(-(((np.linspace(0, 1, steps) - centre) / 0.08) ** 2)) + 0.1 * rng.standard_normal((samples, steps))
    return Currents((bumps * 10 ** rng.uniform(-3, 3) + rng.normal(0, 50))[:, :, None], 2.0, labels=labels)


def of_classes(x: np.ndarray, labels: np.ndarray) -> float:
    """The share of samples that ridge regression on all others classifies right."""
    answers = np.where(np.arange(labels.max() + 1) == labels[:, None], 1.0, -1.0)
    return max(predicted(x, answers, lambda y: float(np.mean(y.argmax(1) == labels))))


def of_ends(rng: np.random.Generator, samples: int, classes: int) -> Events:
    """Nothing but the channels that spike at the very end says the class."""
    channels, labels = 24, np.arange(samples) % classes
    own, each = np.random.default_rng(9).random((classes, channels)) < 0.4, []
    for k in labels:
        c = np.concatenate([rng.integers(0, channels, 30), np.flatnonzero(own[k] ^ (rng.random(channels) < 0.05))])
        t = np.concatenate([rng.uniform(0, 100, 30), rng.uniform(93, 100, len(c) - 30)])
        each.append((np.sort(t), c[np.argsort(t)]))
    return Events.from_samples(each, channels, labels)


KINDS = (of_counts, of_times, of_values, of_curves)


@pytest.mark.usefixtures("contracted")  # code that is not optimised would take longer
@pytest.mark.parametrize("make", KINDS)
@pytest.mark.one_in(4)
def test_data_that_nobody_has_seen_learn_without_a_setting(make, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = make(np.random.default_rng(11), 90, 3)
    data.save("data.npz")
    assert main(["train", "data.npz", "--settings", "mine.toml", "--run-dir", "run", "--threads", "1"]) == 0
    printed = capsys.readouterr()
    for setting in ("encoding", "duration", "tau_mem", "epochs", "batch_size"):
        assert re.search(rf"^  {setting} .+: .+", printed.err, re.M)
        assert re.search(rf"^{setting} = ", Path("mine.toml").read_text(), re.M)
    assert float(re.search(r"test accuracy, last epoch +([\d.]+) %", printed.out)[1]) > 85
    # the folder predicts from data as they were recorded
    model = load("run")
    assert np.mean(model.predict(data) == data.labels) > 0.9
    assert main(["predict", "run", "data.npz"]) == 0
    assert "labelled samples" in capsys.readouterr().out


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("tested", [False, True])
@pytest.mark.one_in(8)
def test_trainer_auto_is_the_command_in_python(make, tested, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(7)
    data = make(rng, 60, 3)
    data, test = (data[:40], data[40:]) if tested else (data, None)
    trainer = Trainer.auto(data, test, epochs=3, threads=1, seed=4, run_dir="python")
    said = capsys.readouterr().err
    results = trainer.fit()
    capsys.readouterr()
    if not tested:  # a file holds one set
        data.save("data.npz")
        assert main(["train", "data.npz", "--epochs", "3", "--threads", "1", "--seed", "4", "--run-dir", "run"]) == 0
        printed = capsys.readouterr().err
        assert f"data.npz: {said.splitlines()[0]}" in printed and "  epochs " not in printed
        assert results["test_accuracy"] == json.loads(Path("run/results.json").read_text())["test_accuracy"]
        np.testing.assert_array_equal(trainer.predict(data), load("run").predict(data))
    assert "  encoding " in said and "  epochs " not in said, "only what the rules chose has their reason"
    # data as they were recorded, by the trainer, its copy and its folder
    for each in (trainer, copy.deepcopy(trainer)):
        assert each.evaluate(data).accuracy == np.mean(each.predict(data) == data.labels)
        np.testing.assert_array_equal(each.predict(data), load("python").predict(data))
    if tested:
        assert results["test_accuracy"] == trainer.evaluate(test).accuracy
    assert trainer.spike_counts(data)["hidden"].shape == (len(data), 128)
    other = of_curves(rng, 5, 2) if isinstance(data, Events) else of_counts(rng, 5, 2)
    with pytest.raises(DataError, match="which it encodes; got|must be an Events, got"):
        trainer.predict(other)
    with pytest.raises(SettingError, match=r"call fit\(\) without any, give others to Trainer.auto"):
        trainer.fit(data)


def of_sines(rng: np.random.Generator, samples: int) -> Currents:
    """The targets are the frequency of a sine and its phase's cosine, in units of their own."""
    frequency, phase = rng.uniform(0.5, 3, samples), rng.uniform(0, 2 * np.pi, samples)
    x = np.sin(2 * np.pi * frequency[:, None] * np.linspace(0, 1, 40) + phase[:, None])
    targets = np.stack([20 + 5 * frequency, 1e-3 * np.cos(phase)], axis=1)
    targets[7, 1] = np.nan  # one target of one sample is not known
    return Currents((x + 0.1 * rng.standard_normal(x.shape))[:, :, None], 2.0, targets=targets)


@pytest.mark.ci
@pytest.mark.usefixtures("contracted")  # code that is not optimised would take longer
def test_a_regression_learns_without_a_setting_in_the_units_of_its_targets(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = of_sines(np.random.default_rng(5), 200)
    data.save("data.npz")
    words = ["train", "data.npz", "--run-dir", "run", "--threads", "1", "--epochs", "60"]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert re.search(r"encoding .*: what it shows explains \d+% of the variance", printed.err)
    assert "2 targets" in printed.err and "accuracy" not in printed.err + printed.out
    explained = json.loads(Path("run/results.json").read_text())["final_test_explained_variance"]
    assert explained > 0.8 and f"test explained variance, last epoch           {explained:.3f}" in printed.out
    assert main(["report", "run"]) == 0
    assert f"| explained variance {explained:.3f} |" in capsys.readouterr().out
    # predictions are in the units of the targets
    model, known = load("run"), ~np.isnan(data.targets)
    errors = np.where(known, model.predict(data) - data.targets, 0.0)
    assert np.all(np.square(errors).sum(0) < 0.2 * np.nanvar(data.targets, axis=0) * known.sum(0))
    whole = model.evaluate(data)
    rest = np.nansum(np.square(data.targets - np.nanmean(data.targets, 0)), axis=0)
    assert whole.explained == pytest.approx(np.mean(1 - np.square(errors).sum(0) / rest), abs=1e-5)
    for words in (["evaluate", "run", "--trust"], ["report", "run"], ["view", "run"], ["plot", "run", "--trust"]):
        assert main(words) == 0, words
        assert "nan" not in capsys.readouterr().out
    assert Path("run/plots/predictions.png").is_file() and not Path("run/plots/confusion.png").exists()
    assert main(["plot", "run", "--only", "confusion"]) == 1
    assert "a regression has no classes; --only predictions" in capsys.readouterr().err
    assert main(["resume", "run", "--trust", "--epochs", "61"]) == 0
    assert main(["export", "run", "model.c"]) == 0
    assert "not in the file, apply afterwards: target 0 = " in capsys.readouterr().out
    trainer = Trainer.auto(data, epochs=2, threads=1, progress=False, run_dir="python")
    trainer.fit()
    again = load("python", checkpoint="last")
    np.testing.assert_array_equal(trainer.predict(data), again.predict(data))
    assert trainer.evaluate(data).explained == pytest.approx(again.evaluate(data).explained)


def test_targets_that_would_be_scaled_badly_are_refused_in_a_received_model(tmp_path):
    trainer = Trainer.auto(of_sines(np.random.default_rng(5), 60), epochs=1, progress=False, run_dir=tmp_path / "run")
    trainer.fit()
    path = tmp_path / "run" / "model.json"
    for wrong in ({"mean": [1.0], "deviation": [1.0, 2.0]}, {"mean": [0, 0], "deviation": [1, 0]}, {"mean": ["x"] * 2}):
        document = json.loads(path.read_text())
        document["targets"] = {"deviation": [1.0, 1.0]} | wrong
        document.pop("checksum", None)
        with pytest.raises(DescriptionError):
            build(document)


def test_settings_that_trainer_auto_cannot_carry_out_are_refused(capsys):
    data = of_values(np.random.default_rng(2), 30, 2)
    for name in ("hiden", "source", "seeds", "cross_validate", "init_from", "baseline", "quick"):
        with pytest.raises(SettingError, match=f"Trainer.auto: no setting '{name}'; "):
            Trainer.auto(data, **{name: None})
    trainer = Trainer.auto(data, hidden=(9,), batch_sizes="2:4", progress=False)
    assert trainer.network.populations[0].size == 9 and trainer.batch_size_of(1) == 4
    assert capsys.readouterr().err == ""
    plain = Trainer(trainer.network, trainer.loss, duration=10.0, progress=False)
    with pytest.raises(SettingError, match="fit needs a training set"):
        plain.fit()


@pytest.mark.ci
def test_a_run_of_a_recipe_is_a_run_like_any(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    of_curves(np.random.default_rng(3), 40, 2).save("data.npz")
    assert main(["train", "data.npz", "--settings", "mine.toml", "--run-dir", "run", "--epochs", "2"]) == 0
    for words in (
        ["resume", "run", "--trust", "--epochs", "3"],
        ["evaluate", "run", "--trust"],
        ["report", "run"],
        ["train", "own_data", "--config", "mine.toml", "--epochs", "1", "--run-dir", "again"],
        ["train", "data.npz", "--config", "mine.toml", "--epochs", "1", "--hidden", "8", "--run-dir", "third"],
    ):
        assert main(words) == 0, words
    said = capsys.readouterr()
    assert "hidden" in said.out + said.err
    assert main(["evaluate", "run"]) == 1
    assert "opened only if you say so" in capsys.readouterr().err


@pytest.mark.one_in(6)
@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_every_reason_is_true_and_every_setting_can_be_used(make, seed):
    rng = np.random.default_rng(seed)
    data = make(rng, int(rng.integers(30, 300)), int(rng.integers(2, 6)))
    facts, choices = recipe_of(data, None if seed % 2 else data)
    chosen = {choice.setting: choice.value for choice in choices}
    reasons = {choice.setting: choice.reason for choice in choices}
    assert chosen["duration"] > data.duration and f"{data.duration:.4g}" in reasons["duration"]
    steps = 50 if "a fiftieth of the trial" in reasons["dt"] else 100
    assert chosen["dt"] == pytest.approx(chosen["duration"] / steps)
    assert encodings_of(chosen["encoding"]) is not None
    learned = len(data) * (1 - chosen.get("test", 0)) * (1 - chosen["validation"])
    updates = chosen["epochs"] * np.ceil(learned / chosen["batch_size"])
    assert updates >= 0.98 * np.clip(6 * learned, 1000, 4000), "as the reason of epochs says"
    assert ("test" in chosen) == bool(seed % 2)
    if shares := re.search(r"tells (\d+)% of samples apart", reasons["encoding"]):
        assert int(shares[1]) == round(100 * facts.shown[chosen["encoding"]])
    if facts.kind == "currents":
        assert f"{data.values.min():.4g} to {data.values.max():.4g}" in str(facts)
    channels = f"{data.n_channels} channel{'s' * (data.n_channels != 1)}"
    assert f"{len(data)} samples of {facts.kind}, {channels}, " in str(facts)
    LayeredConfig(**{name: value for name, value in chosen.items() if name in LayeredConfig.__dataclass_fields__})


def test_a_trial_goes_on_where_the_end_of_its_data_says_most():
    rng = np.random.default_rng(1)
    for make in (of_counts, of_times, of_ends):
        facts, choices = recipe_of(make(rng, 200, 4), None)
        (duration,) = (choice for choice in choices if choice.setting == "duration")
        longer = 1.4 if make is of_ends else 1.01
        assert duration.value == pytest.approx(longer * facts.duration, rel=0.01)
        assert ("without its last fifth an encoding shows" in duration.reason) == (make is of_ends)
        assert (facts.late > 0.4) == (make is of_ends)


@pytest.mark.ci
def test_what_happens_last_is_learned():
    train, test = (of_ends(np.random.default_rng(seed), 240, 4) for seed in (1, 2))
    heard = Trainer.auto(train, test, progress=False, threads=1).fit()["test_accuracy"]
    short = {"duration": 101.0, "dt": 1.01, "tau_mem": 20.2, "tau_syn": 5.05, "tau_mem_output": 20.2}
    assert heard > 0.8 > 0.6 > Trainer.auto(train, test, progress=False, threads=1, **short).fit()["test_accuracy"]


def test_rules_are_data_with_a_measurement():
    fields = load_experiment("own_data").config.__dataclass_fields__
    for rule in RULES:
        assert rule.setting in fields and rule.reason and rule.measured, rule


def test_order_in_time_finds_segments_and_its_absence_finds_none():
    rng = np.random.default_rng(5)
    counts, times = facts_of(of_counts(rng, 200, 3)), facts_of(of_times(rng, 200, 3))
    encoding = [{c.setting: c.value for c in recipe(facts)}["encoding"] for facts in (counts, times)]
    assert "segments" not in encoding[0] and "segments" in encoding[1]
    assert times.shown[""] < 0.6 and max(times.shown.values()) > 0.9


def test_a_sample_that_is_left_out_is_predicted_as_by_a_fit_without_it():
    rng = np.random.default_rng(2)
    x, labels = rng.standard_normal((40, 5)), np.arange(40) % 2
    assert of_classes(rng.standard_normal((200, 50)), np.arange(200) % 2) < 0.65, "noise tells nothing"
    assert of_classes(x + 3 * labels[:, None], labels) > 0.95
    # the same numbers from fits without each sample, one after the other
    y, z = rng.standard_normal((40, 1)), (x - x.mean(0)) / x.std(0)
    kernel = z @ z.T / np.mean(np.sum(z**2, 1))
    left_out = []
    for i in range(40):
        others = np.delete(np.arange(40), i)
        matrix = np.pad(kernel[np.ix_(others, others)] + 0.3 * np.eye(39), (0, 1), constant_values=1.0)
        matrix[-1, -1] = 0.0
        alpha, constant = np.split(np.linalg.solve(matrix, np.append(y[others], [[0.0]], 0)), [39])
        left_out.append(kernel[i, others] @ alpha + constant[0])
    found = list[np.ndarray]()
    predicted(x, y, lambda values: float(found.append(values) or 0.0))
    np.testing.assert_allclose(found[1], left_out)


def test_labels_that_say_nothing_are_not_predicted_however_many_features_there_are():
    rng = np.random.default_rng(8)
    for samples, features, classes in ((30, 2000, 10), (60, 500, 3), (200, 3000, 2)):
        labels = rng.permutation(np.arange(samples) % classes)
        x = rng.poisson(0.5, (samples, features)).astype(float)
        assert of_classes(x, labels) < 1 / classes + 4 * np.sqrt(1 / classes / samples)


@pytest.mark.parametrize("samples", [500, 1000])
def test_labels_that_alternate_are_not_taken_for_one_class(samples):
    rng, labels = np.random.default_rng(0), np.arange(samples) % 2
    noise = Currents.constant(rng.standard_normal((samples, 4)), 50.0, labels=labels)
    assert max(facts_of(noise).shown.values()) < 0.62  # every second sample is of class 0, and every fourth


def test_what_may_be_chance_does_not_choose_the_encoding():
    shown = {"": 0.80, "segments=5": 0.79, "segments=10": 0.70}
    assert best_shown(shown, 250) == "segments=5", "learned faster, and as good within a standard error of 0.025"
    assert best_shown(shown | {"segments=5": 0.77}, 250) == "" == best_shown(shown, 5000)
    curves = {"z_score,segment_means=20": 0.9, "shapes=4,z_score": 0.9, "levels=8": 0.95}
    assert best_shown(curves, 250) == "shapes=4,z_score"
    assert best_shown(curves | {"levels=8": 0.99}, 250) == "levels=8"
    assert best_shown(curves | {"z_score,segment_means=20": 0.91}, 250) == "z_score,segment_means=20"


def test_linear_targets_get_few_neurons_and_only_many_samples_choose_an_epoch():
    rng = np.random.default_rng(6)
    x = rng.standard_normal((400, 6))
    linear, curved = x[:, :2].sum(1) + 0.5 * rng.standard_normal(400), np.cos(2 * x[:, 0]) + x[:, 1] ** 2

    def chosen(y: np.ndarray) -> dict[str, object]:
        data = Currents.constant(x[: len(y)], 50.0, targets=y[:, None])
        return {choice.setting: choice.value for choice in recipe_of(data, data)[1]}

    assert chosen(linear)["hidden"] == (2,) and chosen(curved)["hidden"] == (128,)
    x = rng.standard_normal((2000, 6))
    clear, noisy = x[:, 0], x[:, 0] + 2 * rng.standard_normal(2000)
    for y, samples, held_out in ((clear, 499, 0.0), (clear, 500, 0.2), (noisy, 1999, 0.0), (noisy, 2000, 0.2)):
        assert chosen(y[:samples])["validation"] == held_out, "100 samples, or 400, can choose"


def test_of_heavy_tails_the_logarithm_is_encoded():
    values = np.random.default_rng(1).standard_normal((20, 30, 2))
    for x, heavy in ((values, False), (np.exp(3 * values), True)):
        texts = [text_of(steps) for steps in candidates(Currents(x, 1.0), 20)]
        assert all(("asinh" in text) == heavy for text in texts if "z_score" in text)
        assert all(len(encodings_of(text)) == len(text.split(",")) for text in texts)


def test_texts_of_encodings_are_settings():
    rng = np.random.default_rng(1)
    wide = Events.from_samples([([1.0], [699]), ([2.0], [3])], 700, labels=[0, 1])
    for data in (*(make(rng, 20, 2) for make in KINDS), wide):
        for steps in candidates(data, 100):
            again = encodings_of(text_of(steps))
            assert [type(s) for s in again] == [type(s) for s in steps] and again == steps
            assert len(encoded(again, data)[1]) == len(data)


def test_what_no_recipe_is_for_is_an_error_that_says_what_to_do(tmp_path, capsys):
    with pytest.raises(DataError, match=r"no labels and no targets \(S, K\); give labels, .* or write a page"):
        facts_of(Events.from_samples([([1.0], [0])], 1))
    with pytest.raises(DataError, match="all samples are of one class"):
        facts_of(Events.from_samples([([1.0], [0])] * 3, 1, labels=[0, 0, 0]))
    with pytest.raises(DataError, match="the targets are all alike or missing, so there is nothing to predict"):
        facts_of(Currents.constant(np.arange(6).reshape(3, 2), 1.0, targets=[[2.0], [2.0], [np.nan]]))
    with pytest.raises(DataError, match="no sample has a spike"):
        facts_of(Events.from_samples([([], [])] * 4, 1, labels=[0, 1, 0, 1]))
    with pytest.raises(
        DataError, match=r"at 1.7e\+12 ms, 19676 days after the start .*: are the times those of a clock?"
    ):
        facts_of(Events.from_samples([([1.7e12, 1.7e12 + 9], [0, 0])] * 4, 1, labels=[0, 1, 0, 1]))
    with pytest.raises(DataError, match="all values are 3, so nothing tells classes apart"):
        facts_of(Currents.constant(np.full((4, 2), 3), 1.0, labels=[0, 1, 0, 1]))
    with pytest.raises(DataError, match="recipes are for one input"):
        facts_of({"a": 1})  # type: ignore[arg-type]
    (tmp_path / "notes.txt").write_text("hello")
    assert main(["train", str(tmp_path / "notes.txt")]) == 1
    assert "not a known kind of data; give" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "absent.npz")]) != 0


def test_baselines_are_beaten_by_more_than_luck():
    """The sets of these tests are no harder than they say: a baseline knows them, so that 90 % is no accident."""
    rng = np.random.default_rng(11)
    for make in KINDS:
        data = make(rng, 120, 3)
        test = np.arange(120) % 5 == 0
        assert baselines(data[~test], {"test": data[test]}, classical=False)["test"]["chance"] < 0.5
