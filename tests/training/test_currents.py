"""Networks driven by currents through the trainer: data of every form, run folders, resuming, pages, figures."""

import dataclasses
import json

import numpy as np
import pytest

import genn_eventprop
from genn_eventprop import Currents, Dense, Events, Inputs, Network, Normal, Trainer
from genn_eventprop.data.augment import Augmented, Dropout, Noise
from genn_eventprop.data.events import splits
from genn_eventprop.errors import CheckpointError, DataError, SettingError
from genn_eventprop.experiment.layers import LayeredConfig, layered
from genn_eventprop.losses import IntegratedVoltageCrossEntropy
from genn_eventprop.models import LI, LIF
from genn_eventprop.optimisers import Adam
from genn_eventprop.report import plots
from genn_eventprop.runs.fingerprint import describe_data
from genn_eventprop.training import Record, load_recording, record_trial


def patterns(seed=0, n=60, steps=6, channels=5, noise=0.2, dt=2.0):
    """Three classes of noisy patterns over time."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    prototypes = np.random.default_rng(9).normal(size=(3, steps, channels))
    values = prototypes[labels] + noise * rng.normal(size=(n, steps, channels))
    return Currents(values, dt, labels=labels, groups=np.array(["a", "b"])[np.arange(n) // 3 % 2], name="patterns")


def touches(labels):
    return Events.from_samples([([1.0 + k, 4.0], [k % 2, 1]) for k in labels], 2, labels=labels)


def trainer_of(spikes=False, run_dir=None, weight=None, **settings):
    net = Network()
    inputs = [net.current(5, dt=2.0, name="stim")] + ([net.input(2, name="touch")] if spikes else [])
    hidden, output = net.population(LIF(tau_mem=5.0), 30, "hidden"), net.population(LI(), 3, "output")
    for source in inputs:
        net.connect(source, hidden, Dense() if weight is None else Dense(weight))
    net.connect(hidden, output, Dense())
    rates = {"hidden": 2.0} if weight is None else None
    default = {"progress": False, "optimiser": Adam(0.05), "batch_size": 20, "initial_rates": rates}
    settings = default | settings
    return Trainer(net, IntegratedVoltageCrossEntropy(output), duration=12.0, dt=0.5, run_dir=run_dir, **settings)


def test_currents_are_learned_from_a_run_folder_to_a_prediction(tmp_path):
    data, test = patterns(), patterns(1)
    trainer = trainer_of(run_dir=tmp_path / "run")
    results = trainer.fit(data, patterns(2), test, epochs=8)
    assert results["test_accuracy"] > 0.9
    # every value of every channel meets 30 weights, none of them 0
    costs = results["costs"]
    assert costs["multiply_accumulates"] == 6 * 5 * 30 == costs["by_connection"]["stim_hidden"]
    expected = (costs["synaptic_operations"] * 0.9 + 900 * 4.6) * 1e-3
    assert costs["energy_nJ"] == pytest.approx(expected)
    with trainer.best_weights():
        predicted = trainer.predict(test)
    model = genn_eventprop.load(tmp_path / "run")
    for form in (test, {"stim": test}, Inputs({"stim": test})):
        assert model.predict(form).tolist() == predicted.tolist()
    assert model.evaluate({"stim": test}).accuracy == results["test_accuracy"]
    assert model.spike_counts(test)["hidden"].shape == (60, 30)
    samples = Currents.load(tmp_path / "run" / "samples.npz")
    assert np.array_equal(samples.values, patterns(2).values)


def test_both_kinds_of_input_in_one_data_set(tmp_path):
    currents = patterns(noise=5.0)  # these alone do not tell the classes apart, the spikes do
    data = {"stim": currents, "touch": touches(currents.labels)}
    trainer = trainer_of(True, tmp_path / "run")
    results = trainer.fit(data, data, Inputs(data)[10:], epochs=2)
    assert "touch_hidden" in results["costs"]["by_connection"] and "stim_hidden" in results["costs"]["by_connection"]
    predicted = trainer.predict(data)
    assert predicted.tolist() == trainer.predict(Inputs(data)).tolist()
    assert trainer.predict(Inputs(data)[[7, 3]]).tolist() == predicted[[7, 3]].tolist()
    stored = genn_eventprop.data.inputs.load_data(tmp_path / "run" / "samples.npz")
    assert np.array_equal(stored["stim"].values, currents.values)
    assert (
        np.array_equal(stored["touch"].times, data["touch"].times)
        and stored.labels.tolist() == currents.labels.tolist()
    )
    for wrong, message in (
        (currents, "the data are currents alone, .* {'touch': Events, 'stim': Currents}"),
        (data["touch"], "the data are spikes alone"),
        ({"stim": currents}, "no input 'touch' in the data"),
    ):
        with pytest.raises(DataError, match=message):
            trainer.evaluate(wrong)
    with pytest.raises(DataError, match="have a value every 1 ms, the network has net.current"):
        trainer.evaluate(data | {"stim": patterns(dt=1.0)})
    with pytest.raises(DataError, match="must be Events"):
        trainer.fit(currents.values, epochs=3)


def test_training_goes_on_where_it_was_interrupted(tmp_path):
    train = Augmented(patterns(), [Noise(0.1)], seed=3)
    whole = trainer_of(run_dir=tmp_path / "whole", weight=Normal(0.5, 1.0))
    whole.fit(train, patterns(1), epochs=4)
    part = trainer_of(run_dir=tmp_path / "part", weight=Normal(0.5, 1.0))
    part.fit(train, patterns(1), epochs=2)
    resumed = trainer_of(run_dir=tmp_path / "part", weight=Normal(0.5, 1.0)).resume()
    resumed.fit(train, patterns(1), epochs=4)
    for name, value in whole.engine.parameters.items():
        assert np.array_equal(value, resumed.engine.parameters[name]), name
    with pytest.raises(CheckpointError, match="this run was trained on 60 samples, 6 x 5 values of 2 ms, checksum"):
        trainer_of(run_dir=tmp_path / "part", weight=Normal(0.5, 1.0)).resume().fit(patterns(5), epochs=5)


def test_what_tells_two_data_sets_apart():
    currents, events = patterns(), touches(patterns().labels)
    both = {"stim": currents, "touch": events}
    descriptions = [
        describe_data(d) for d in (
            currents, patterns(1), currents[:59], currents.replace(currents.values, dt=1.0), Inputs(both),
            Inputs(both | {"stim": patterns(1)}), Inputs({"stim": currents, "other": events}),
            Currents(currents.values, 2.0, labels=np.zeros(60, int)),
        )
    ]  # fmt: skip
    assert len(set(descriptions)) == len(descriptions)


def test_large_sets_are_read_batch_by_batch(tmp_path):
    currents = patterns()
    currents.save(tmp_path / "set")
    mapped = Currents.load(tmp_path / "set")
    touch = touches(currents.labels)
    results = []
    for data in ({"stim": mapped, "touch": touch}, {"stim": currents, "touch": touch}):
        trainer = trainer_of(True, weight=Normal(0.5, 1.0))
        results.append(trainer.fit(data, epochs=2)["history"])
    assert results[0]["train_loss"] == pytest.approx(results[1]["train_loss"], rel=1e-6)


def test_augmented_spikes_beside_currents():
    currents = patterns()
    data = Augmented({"stim": currents, "touch": touches(currents.labels)}, {"touch": [Dropout(0.5)]})
    trainer_of(True).fit(data, epochs=1)


def test_splits_take_currents_and_several_inputs():
    currents = patterns()
    data = Inputs({"stim": currents, "touch": touches(currents.labels)})
    for each in (currents, data):
        train, held_out = splits.stratified_split(each, 0.2, rng=1).apply(each)
        assert len(train) == 48 and len(held_out) == 12 and np.bincount(held_out.labels).tolist() == [4, 4, 4]
        _, b = splits.group_split(each, "b").apply(each)
        assert set(b.groups.tolist()) == {"b"} and type(b) is type(each)


@dataclasses.dataclass(frozen=True)
class Config(LayeredConfig):
    hidden: tuple = (16,)
    duration: float = 12.0
    dt: float | None = 1.0
    tau_mem: float = 5.0
    loss: str = "sum"
    initial_spikes: float | None = 2.0
    learning_rate: float = 0.05


@pytest.mark.ci
def test_layered_pages_take_currents(tmp_path):
    experiment = layered(Config(), patterns(), patterns(1), patterns(2), ("x", "y", "z"))
    network = experiment.trainer.network
    assert [c.name for c in network.currents] == ["input"] and not network.inputs
    assert {c.name for c in network.connections} == {"input_hidden", "hidden_hidden", "hidden_output"}
    experiment.trainer.run_dir = tmp_path / "run"
    results = experiment.trainer.fit(experiment.train, experiment.validation, experiment.test, epochs=8)
    assert results["test_accuracy"] > 0.8
    plots.standard(experiment, tmp_path)
    assert (tmp_path / "trial.png").stat().st_size > 1000
    assert json.loads((tmp_path / "run" / "model.json").read_text())["network"]
    assert len(genn_eventprop.load(tmp_path / "run").predict(patterns(2))) == 60


def test_settings_of_pages_that_concern_currents():
    data = patterns()
    experiment = layered(Config(augment="noise=0.1,gain=0.2,shift_time=2,shift_channels=1"), data, None, None)
    assert isinstance(experiment.train, Augmented) and len(experiment.train.steps) == 4
    assert not np.array_equal(experiment.train.epoch(0).values, data.values)
    longer = layered(Config(duration=5.0), data, data, data)
    assert longer.train.n_steps == longer.validation.n_steps == 3
    assert any("60 of 60 samples of the training set are longer than 5 ms" in note for note in longer.trainer.notes)
    with pytest.raises(DataError, match="Shift is no augmentation of currents"):
        layered(Config(augment="shift=2"), data, None, None)
    held_out = layered(Config(hold_out="b"), data, data, data)
    assert set(held_out.train.groups.tolist()) == {"a"} and set(held_out.test.groups.tolist()) == {"b"}
    images = layered(Config(convolutions="conv(2, kernel=1)", recurrent=False), data, None, None, shape=(1, 5, 1))
    assert images.trainer.network.currents[0].shape == (1, 5, 1)
    with pytest.raises(SettingError, match="one input, Events or Currents"):
        layered(Config(), Inputs({"stim": data, "touch": touches(data.labels)}), None, None)


def test_trials_are_recorded_and_drawn(tmp_path):
    currents = patterns(channels=5)
    data = {"stim": currents, "touch": touches(currents.labels)}
    record = Record(data, [3], epochs=[1], states=("V",))
    trainer = trainer_of(True, tmp_path / "run", callbacks=[record])
    trainer.fit(data, epochs=1)
    trial = load_recording(tmp_path / "run" / "recordings" / "epoch-0001.npz")[3]
    values, dt = trial.currents["stim"]
    assert dt == 2.0 and np.array_equal(values, currents.values[3]) and trial.input_times.tolist() == [1.0, 4.0]
    trial = record_trial(trainer, Inputs(data), 3)
    figure = plots.trial(trial)
    assert [ax.get_ylabel() for ax in figure.axes[:3]] == ["stim", "input", "hidden"]
    wide = dataclasses.replace(trial, currents={"image": (np.ones((3, 20)), 9.0)}, n_inputs=0)
    figure = plots.layers(wide, "output")
    assert [ax.get_ylabel() for ax in figure.axes[:2]] == ["image", "hidden"] and len(figure.axes[0].images) == 1
