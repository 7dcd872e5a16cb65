"""A trained model is its run folder: loaded without page and data it predicts the same bits."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import genn_eventprop
from genn_eventprop import Dense, Events, Network, Normal, Trainer, losses
from genn_eventprop.checksummed import verified
from genn_eventprop.data.augment.encodings import apply
from genn_eventprop.data.augment.steps import Shift
from genn_eventprop.description import Described, build, describe
from genn_eventprop.description.safe import Guard
from genn_eventprop.description.steps import build_steps, describe_steps
from genn_eventprop.errors import CheckpointError, DataError, DescriptionError, SettingError
from genn_eventprop.experiment import LayeredConfig, experiment_names, layered, load_experiment
from genn_eventprop.experiment.layers import network_of
from genn_eventprop.experiment.options import loss_of, preprocessing, transformed
from genn_eventprop.losses.outer import UnavailableLoss
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.lif_snippets import LIFSnippets
from genn_eventprop.runs.fingerprint import describe_loss, describe_network
from genn_eventprop.training import run_files

SPEAKERS = "shift=20,crop_channels(start=200,stop=660),merge_channels=10,fit_time(start=20,stop=320)"


@dataclass(frozen=True)
class Config(LayeredConfig):
    hidden: tuple[int, ...] = (6, 5)
    neuron: str = "ALIF"
    duration: float = 30.0
    dt: float | None = 1.0
    spike_times: str = "grid"
    input_weight: tuple[float, float] = (0.5, 0.3)
    hidden_weight: tuple[float, float] = (0.5, 0.3)
    delay_line: tuple[int, float] = (1, 4.0)
    train_tau: bool = True
    heterogeneous: bool = True
    augment: str = "crop_channels(start=2),merge_channels=3,fit_time(start=2,stop=25),dropout=0.1"
    loss: str = "sum_weigh_exp"


def recordings(n=24, n_channels=14, seed=0):
    """Raw samples: times beyond the trial, channels before any merging."""
    rng = np.random.default_rng(seed)
    samples = [(np.sort(rng.uniform(0, 50, 30)), rng.integers(0, n_channels, 30)) for _ in range(n)]
    return Events.from_samples(samples, n_channels, labels=np.arange(n) % 3)


def trained(folder, config, **changes):
    """(experiment, raw test set) after one epoch, with a run folder."""
    events = recordings()
    experiment = layered(replace(config, **changes), events[:12], events[12:18], events[18:], ["a", "b", "c"])
    trainer = experiment.trainer
    trainer.run_dir, trainer.class_names = folder, experiment.class_names
    trainer.preprocessing, trainer.n_channels = experiment.preprocessing, experiment.n_channels
    trainer.fit(experiment.train, experiment.validation, epochs=1)
    return experiment, events[18:]


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    "changes",
    [
        {"engine": "reference_clock"},
        {"engine": "native"},
        {
            "engine": "native",
            "neuron": "LIF",
            "output": "LIF",
            "loss": "first_spike",
            "spike_times": "exact",
            "hidden_weight": (2.0, 0.5),
            "output_weight": (2.0, 0.5),
        },
    ],
    ids=["reference_clock", "native", "native exact"],
)
def test_the_folder_gives_the_same_bits(tmp_path, changes):
    experiment, raw = trained(tmp_path / "run", Config(), **changes)
    trainer, test = experiment.trainer, experiment.test
    model = genn_eventprop.load(tmp_path / "run", checkpoint="last")
    assert model.engine.name == trainer.engine.name and model.class_names == ("a", "b", "c")
    for name, value in trainer.engine.parameters.items():
        assert np.array_equal(value, model.engine.parameters[name]), name
    expected = trainer.evaluate(test)
    outputs = model.outputs(raw)
    assert np.isfinite(expected.readout).any()
    assert np.array_equal(outputs.readout, expected.readout) and np.array_equal(outputs.scores, expected.scores)
    assert np.array_equal(model.predict(raw), trainer.predict(test))
    counts, again = trainer.spike_counts(test), model.spike_counts(raw)
    assert all(np.array_equal(counts[p], again[p]) for p in counts) and counts["hidden1"].any()
    a, b = (
        e.engine.run(e.engine.load(d), np.arange(6), record_spikes=True).spikes["hidden2"]
        for e, d in ((trainer, test), (model, apply(model.described.preprocessing, raw)))
    )
    assert np.array_equal(a.time, b.time) and np.array_equal(a.neuron, b.neuron)
    decided = outputs.classes >= 0
    assert np.allclose(outputs.probabilities[decided].sum(axis=1), 1.0)
    assert np.array_equal(outputs.probabilities[decided].argmax(axis=1), outputs.classes[decided])
    pairs = [raw.sample(i) for i in range(len(raw))]
    assert np.array_equal(model.predict(pairs), outputs.classes)
    assert np.array_equal(model.predict(test, prepared=True), outputs.classes)
    assert model.predict([]).shape == (0,)
    with pytest.raises(DataError, match="the data has 4 channels, but this model was trained on 14"):
        model.predict(test)


@pytest.mark.ci
@pytest.mark.parametrize("engine", ["native", "c99", "reference_clock"])
def test_threads_share_a_loaded_model(tmp_path, engine):
    """A service with a pool of threads; two in `outputs` on native ended the process before. Models are loaded by
    threads, too."""
    trained(tmp_path / "run", Config(), engine="reference_clock")
    samples = recordings(40, seed=5)
    parts = [samples[i : i + n] for i, n in ((0, 40), (3, 1), (10, 9), (2, 30))]
    with ThreadPoolExecutor(8) as pool:
        models = list(pool.map(lambda _: genn_eventprop.load(tmp_path / "run", engine=engine, threads=2), range(2)))
        model = models[0]
        want = [models[1].outputs(part) for part in parts]
        every = [pool.submit(model.outputs, parts[i % len(parts)]) for i in range(40)]
        counts = pool.submit(model.spike_counts, samples)
        for i, found in enumerate(future.result(300) for future in every):
            right = want[i % len(parts)]
            assert np.array_equal(found.readout, right.readout) and np.array_equal(found.classes, right.classes)
        right = models[1].spike_counts(samples)
        assert all(np.array_equal(n, right[p]) for p, n in counts.result(300).items())


@pytest.mark.parametrize("name", [*experiment_names(), "speakers"])
def test_the_preprocessing_of_every_experiment_comes_back(name):
    config = LayeredConfig() if name == "speakers" else load_experiment(name).config()
    text, duration = (SPEAKERS, 360.0) if name == "speakers" else (getattr(config, "augment", ""), config.duration)
    steps = preprocessing(text, duration)
    back = build_steps(json.loads(json.dumps(describe_steps(steps))), Guard(trust=False))
    assert back == tuple(steps) and steps
    rng = np.random.default_rng(4)
    samples = [(np.sort(rng.uniform(0, 1000, 400)), rng.integers(0, 700, 400)) for _ in range(4)]
    events = Events.from_samples(samples, 700)
    a, b = transformed(events, text, duration), apply(back, events)
    assert a.n_channels == b.n_channels and len(a.times)
    for field in ("times", "channels", "offsets"):
        assert np.array_equal(getattr(a, field), getattr(b, field))


@pytest.mark.parametrize(
    "name", [n for n in experiment_names() if issubclass(load_experiment(n).config, LayeredConfig)]
)
def test_the_network_of_every_experiment_comes_back(name):
    config = load_experiment(name).config()
    network, output = network_of(config, 7, 5)
    model = Described(network, loss_of(config.loss, output), config.duration, *config.time_grid()[::-1])
    back = build(json.loads(json.dumps(describe(model), allow_nan=False)))
    assert describe_network(back.network) == describe_network(network)
    assert describe_loss(back.loss) == describe_loss(model.loss)
    assert back.network.bounds() == network.bounds() and back.network.trainable() == network.trainable()
    a, b = network.initial_parameters(1), back.network.initial_parameters(1)
    assert a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def regression(folder, make, neuron=LI, **settings):
    """A trainer after an epoch on random targets, and its samples without targets."""
    net = Network()
    inp, out = net.input(3), net.population(neuron(), 2, name="output")
    net.connect(inp, out, Dense(Normal(8.0 if neuron is LIF else 1.0, 0.3)))
    loss = make(out)
    trainer = Trainer(net, loss, duration=10.0, dt=1.0, engine="reference_clock", progress=False, run_dir=folder)
    samples = [([1.0, 3.0], [0, 1]), ([0.0, 2.0], [2, 1]), ([5.0], [0])]
    shape = (3, *(2 if n is None else n for n in loss.target_shape(10)))
    targets = np.random.default_rng(1).uniform(1, 5, shape)
    trainer.fit(Events.from_samples(samples, 3, targets=targets), epochs=1)
    return trainer, samples


def outer(r, y):
    return ((r - y) ** 2).sum(axis=1), 2 * (r - y)


@pytest.mark.parametrize(
    ("make", "neuron"),
    [
        (losses.SquaredError, LI),
        (losses.VoltageSquaredError, LI),
        (losses.SpikeTimeError, LIF),
        (lambda o: losses.OwnLoss(o, "end", "(r0 - y0)**2 + (r1 - y1)**4", compares="targets"), LI),
        (lambda o: losses.OwnLoss(o, "end", outer, compares="targets"), LI),
    ],
    ids=["integral", "voltage", "spike times", "formula", "python"],
)
def test_after_regression_readouts_are_predicted(tmp_path, make, neuron):
    trainer, samples = regression(tmp_path / "run", make, neuron)
    found = trainer.predict(samples)
    assert found.shape == (3, 2) and found.dtype == np.float64 and np.isfinite(found).any()
    model = genn_eventprop.load(tmp_path / "run")
    assert model.regression and np.array_equal(model.predict(samples), found)
    assert model.outputs(samples).probabilities is None


def test_an_outer_loss_that_is_not_here_cannot_be_trained(tmp_path):
    trainer, _ = regression(tmp_path / "run", lambda o: losses.OwnLoss(o, "end", outer, compares="targets"))
    model = genn_eventprop.load(tmp_path / "run")
    assert isinstance(model.described.loss.outer, UnavailableLoss)
    again = Trainer(
        model.described.network, model.described.loss, duration=10.0, dt=1.0, engine="reference_clock", progress=False
    )
    with pytest.raises(SettingError, match="the outer loss is the Python function outer, which is not available here"):
        again.fit(Events.from_samples([([1.0], [0])], 3, targets=np.ones((1, 2))), epochs=1)
    assert trainer.plan.loss.outer.function is outer


def test_probabilities_are_those_of_the_loss():
    net = Network()
    out = net.population(LIF(), 3, name="output")
    r, valid = np.array([[1.0, 2.0, np.inf], [np.inf] * 3]), np.array([[True, True, False], [False] * 3])
    exclude = losses.FirstSpikeCrossEntropy(out, tau0=0.5).probabilities(r, valid, 10.0)
    e = np.exp(-np.array([1.0, 2.0]) / 0.5)
    np.testing.assert_allclose(exclude[0], [*(e / e.sum()), 0.0], rtol=1e-14)
    assert np.isnan(exclude[1]).all()
    end = losses.FirstSpikeCrossEntropy(out, tau0=5.0, silent="end").probabilities(r, valid, 10.0)
    e = np.exp(-np.array([1.0, 2.0, 10.0]) / 5.0)
    np.testing.assert_allclose(end[0], e / e.sum(), rtol=1e-14)
    for make in (losses.PerStepCrossEntropy, losses.SquaredError, losses.SpikeTimeError):
        assert make(out).probabilities(r, valid, 10.0) is None
    large = losses.EndVoltageCrossEntropy(out).probabilities(np.array([[1e5, 0.0, -1e5]]), np.ones((1, 3), bool), 10.0)
    assert large.tolist() == [[1.0, 0.0, 0.0]]


def test_folders_that_cannot_be_loaded_say_why(tmp_path):
    trained(tmp_path / "run", Config(), engine="reference_clock")

    def damaged(**files):
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(tmp_path / "run", tmp_path / "copy")
        for name, text in files.items():
            path = tmp_path / "copy" / f"{name}.json"
            path.unlink() if text is None else path.write_text(text)
        return tmp_path / "copy"

    for files, error, message in (
        ({"model": None}, SettingError, "has no model.json: it was made by an older version"),
        ({"model": "{"}, SettingError, "model.json is damaged"),
        ({"model": "[" * 100_000}, SettingError, "model.json is damaged"),
        ({"model": "[1]"}, SettingError, "model.json is damaged"),
        ({"model": "{}"}, DescriptionError, "copy/model.json: not a model description"),
        ({"config": None}, SettingError, "is not a run folder"),
    ):
        with pytest.raises(error, match=message):
            genn_eventprop.load(damaged(**files))
    (damaged() / "checkpoints" / "last.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="is damaged or not a checkpoint"):
        genn_eventprop.load(tmp_path / "copy", checkpoint="last")
    text = (tmp_path / "run" / "model.json").read_text()
    with pytest.raises(SettingError, match="model.json is damaged: its contents do not match its checksum"):
        genn_eventprop.load(damaged(model=text.replace('"size": 6', '"size": 7')))
    document = verified(text)
    document["network"]["populations"][0]["size"] = 7
    copy = damaged(model=json.dumps(document))
    with pytest.raises((genn_eventprop.errors.EventPropError), match=r"has shape|needs|shape"):
        genn_eventprop.load(copy)


def test_hand_written_code_of_a_folder_needs_trust(tmp_path):
    regression(tmp_path / "run", losses.SquaredError)
    net = Network()
    inp, hid, out = net.input(2), net.population(LIFSnippets(), 2, name="hidden"), net.population(LI(), 2, name="out")
    net.connect(inp, hid, Dense(Normal(2.0, 0.1)))
    net.connect(hid, out, Dense(Normal(1.0, 0.1)))
    trainer = Trainer(
        net, losses.MaxVoltageCrossEntropy(out), duration=10.0, dt=1.0, engine="reference_clock", progress=False,
        run_dir=tmp_path / "own",
    )  # fmt: skip
    samples = [([1.0, 2.0], [0, 1])]
    trainer.fit(Events.from_samples(samples, 2, labels=[1]), epochs=1)
    with pytest.raises(DescriptionError, match=r"own/model.json: LIFSnippets has hand-written code .*trust=True"):
        genn_eventprop.load(tmp_path / "own")
    assert genn_eventprop.load(tmp_path / "own", trust=True).predict(samples) == trainer.predict(samples)


def test_an_engine_that_is_not_here_is_replaced(tmp_path):
    trained(tmp_path / "run", Config(), engine="reference_clock")
    path = tmp_path / "run" / "model.json"
    document = verified(path.read_text())
    document["run"]["engine"] = "tpu"
    path.write_text(json.dumps(document))
    assert genn_eventprop.load(tmp_path / "run").engine.name == "native"


# weights of another run


def test_a_new_output_on_trained_weights(tmp_path):
    old, _ = trained(tmp_path / "run", Config(), engine="reference_clock")
    events = recordings(seed=1)
    five = Events.from_samples([events.sample(i) for i in range(20)], 14, labels=np.arange(20) % 5)
    new = layered(replace(Config(), engine="reference_clock", seed=9), five, None, None).trainer
    drawn = new.engine.parameters["hidden2_output.weight"].copy()
    with pytest.raises(CheckpointError, match=r"hidden2_output.weight' has shape \(5, 3\), this network needs"):
        new.load_weights(tmp_path / "run")
    left = new.load_weights(tmp_path / "run", strict=False)
    assert left == ["'hidden2_output.weight' has shape (5, 3), this network needs (5, 5)"]
    for name, value in old.trainer.engine.parameters.items():
        now = new.engine.parameters[name]
        assert np.array_equal(now, drawn if name == "hidden2_output.weight" else value), name
    for where in ("checkpoints/last.safetensors", "weights.npz"):
        path = tmp_path / "run" / where
        if path.suffix == ".npz":
            old.trainer.save_weights(path)
        assert new.load_weights(path, strict=False) == left


def test_what_is_missing_in_the_file_is_told(tmp_path):
    old, _ = trained(tmp_path / "run", Config(), engine="reference_clock")
    old.trainer.save_weights(tmp_path / "w.npz")
    new = layered(replace(Config(), engine="reference_clock", hidden=(6,), recurrent=False), recordings(), None, None)
    left = new.trainer.load_weights(tmp_path / "w.npz", strict=False)
    assert "'input_hidden_0.weight' is not in the file" in left
    assert any(words.startswith("this network has no parameter 'hidden1_hidden2.weight'") for words in left)
    np.savez(tmp_path / "text.npz", **{"output.tau_mem": np.array(["x"])})
    with pytest.raises(CheckpointError, match="has values that are not finite numbers"):
        new.trainer.load_weights(tmp_path / "text.npz", strict=False)


def test_the_folder_keeps_samples_and_first_weights(tmp_path):
    experiment, _ = trained(tmp_path / "run", Config(), engine="reference_clock")
    kept = Events.load(tmp_path / "run" / "samples.npz")
    assert len(kept) == 6 and np.array_equal(kept.times, experiment.validation.times)
    first = np.load(tmp_path / "run" / "first_weights.npz", allow_pickle=False)
    assert set(first.files) == set(experiment.trainer.plan.trainable)
    assert not np.array_equal(first["input_hidden1_0.weight"], experiment.trainer.engine.parameters[first.files[0]])
    assert not any(p.name.endswith(".tmp") for p in Path(tmp_path / "run").rglob("*"))


def test_few_samples_are_kept_of_large_sets(tmp_path, monkeypatch):
    monkeypatch.setattr(run_files, "MAX_SPIKES", 70)
    trained(tmp_path / "run", Config(), engine="reference_clock")
    kept = Events.load(tmp_path / "run" / "samples.npz")
    assert 1 <= len(kept) < 6 and len(kept.times) <= 70
    sorted_by_class = Events.from_samples([([1.0, 2.0], [0, 1])] * 100, 2, labels=[k // 10 for k in range(100)])
    even = run_files.evenly_spaced(sorted_by_class)  # 70 spikes: 35 samples
    assert len(even) == 35 and np.bincount(even.labels).min() >= 3
    monkeypatch.setattr(run_files, "MAX_SPIKES", 1)
    trained(tmp_path / "one", Config(), engine="reference_clock")
    assert len(Events.load(tmp_path / "one" / "samples.npz")) == 1


def test_what_cannot_be_described_is_a_note_and_trains(tmp_path):
    events = recordings()
    experiment = layered(replace(Config(), engine="reference_clock"), events[:12], events[12:], None)
    trainer = experiment.trainer
    trainer.run_dir, trainer.preprocessing = tmp_path / "run", (Shift(3),)
    trainer.fit(experiment.train, experiment.validation, epochs=1)
    assert any(
        "the run folder alone will not suffice for predictions: preprocessing by Shift" in n for n in trainer.notes
    )
    with pytest.raises(SettingError, match="has no model.json"):
        genn_eventprop.load(tmp_path / "run")
