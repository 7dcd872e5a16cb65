"""Layered networks from settings: shapes, time constants, delay line, and which set gets which augmentation."""

from dataclasses import replace

import numpy as np
import pytest

from genn_eventprop import Events
from genn_eventprop.data.augment.augmented import Augmented
from genn_eventprop.errors import SettingError
from genn_eventprop.experiment import LayeredConfig, layered, options
from genn_eventprop.experiment.experiment import config_from_json
from genn_eventprop.experiment.layers import network_of

CONFIG = LayeredConfig(hidden=(4, 3), duration=20.0, dt=1.0, engine="reference_clock", batch_size=4, epochs=2)


def some_events(samples: int = 6, channels: int = 6) -> Events:
    rng = np.random.default_rng(0)
    spikes = [(np.sort(rng.uniform(0, 30, 12)), rng.integers(0, channels, 12)) for _ in range(samples)]
    return Events.from_samples(spikes, channels, labels=[i % 2 for i in range(samples)], n_classes=2)


def test_the_network_of_the_settings():
    network, output = network_of(CONFIG, 6, 2)
    shapes = {c.name: c.shape for c in network.connections}
    assert shapes == {
        "input_hidden1": (6, 4), "hidden1_hidden1": (4, 4), "hidden1_hidden2": (4, 3),
        "hidden2_hidden2": (3, 3), "hidden2_output": (3, 2),
    }  # fmt: skip
    assert output.size == 2 and not output.model.spiking
    plain, _ = network_of(replace(CONFIG, hidden=(5,), recurrent=False), 6, 2)
    assert [c.name for c in plain.connections] == ["input_hidden", "hidden_output"]
    direct, _ = network_of(replace(CONFIG, hidden=(5,), recurrent=False, direct=True), 6, 2, current=1.0)
    assert [(c.name, c.shape) for c in direct.connections][2:] == [("input_output", (6, 2))]


def test_convolutions_precede_hidden_layers():
    config = replace(CONFIG, hidden=(5,), convolutions="conv(3, kernel=2, weight=(0.1, 0.2)), pool(2, scale=2.0)")
    network, _ = network_of(config, 32, 2, (4, 4, 2))
    shapes = {c.name: c.weight_shape for c in network.connections}
    assert shapes == {
        "input_conv1": (2, 2, 2, 3), "conv1_pool2": (1,), "pool2_hidden": (3, 5), "hidden_hidden": (5, 5),
        "hidden_output": (5, 2),
    }  # fmt: skip
    planes = Events([1.0, 2.0], [1, 17], [0, 2], 32, labels=[0], n_classes=2)  # both polarities of the second pixel
    made = layered(config, planes, None, planes, shape=(4, 4, 2))
    assert made.test is not None and made.test.channels.tolist() == [2, 3]
    made.trainer.fit(made.train, epochs=1)
    with pytest.raises(SettingError, match="--convolutions: the input of this experiment is not an image"):
        network_of(config, 32, 2)
    for text, message in (("cnv(3)", "did you mean 'conv'"), ("conv", "conv cannot be used like this")):
        with pytest.raises(SettingError, match=message):
            network_of(replace(config, convolutions=text), 32, 2, (4, 4, 2))


def test_one_layer_may_be_written_as_a_number():
    assert config_from_json(LayeredConfig, {"hidden": 32}).hidden == (32,)


def test_what_comes_after_the_trial_is_told(capsys):
    events = some_events()
    experiment = layered(CONFIG, events, None, None)
    experiment.trainer.fit(experiment.train, epochs=1)
    assert (
        "note: 6 of 6 samples of the training set are longer than 20 ms; later spikes are dropped"
        in capsys.readouterr().err
    )
    assert options.late_notes(events, "fit_time(start=0,stop=15)", 20.0) == options.late_notes(events, "", 40.0) == []


def test_time_constants_drawn_and_learned():
    network, _ = network_of(replace(CONFIG, hidden=(500,), heterogeneous=True, train_tau=True, tau_mem=10.0), 6, 2)
    values = network.initial_parameters(1)
    drawn = values["hidden.tau_mem"]
    assert drawn.shape == (500,) and drawn.min() >= 3.0 and drawn.max() <= 30.0 and 9.0 < drawn.mean() < 11.0
    assert values["hidden.tau_syn"].min() >= 1.0 and network.bounds()["hidden.tau_mem"] == (3.0, 30.0)
    assert {"hidden.tau_mem", "hidden.tau_syn"} <= set(network.trainable())
    fixed, _ = network_of(CONFIG, 6, 2)
    assert not any("tau" in name for name in fixed.trainable())


def test_a_delay_line_is_the_input_again_and_again():
    network, _ = network_of(replace(CONFIG, hidden=(300,), delay_line=(2, 7.0), input_weight=(1.0, 0.5)), 40, 2)
    taps = [c for c in network.connections if c.name.startswith("input_")]
    assert [c.delay for c in taps] == [0.0, 7.0, 14.0]
    weight = network.initial_parameters(1)["input_hidden_1.weight"]
    assert weight.mean() == pytest.approx(0.5, abs=0.02) and weight.std() == pytest.approx(0.25, abs=0.02)


def test_a_delay_line_before_the_output_and_after_images():
    config = replace(CONFIG, output_delay_line=(1, 5.0), delay_line=(2, 7.0), convolutions="conv(2, kernel=3), pool(2)")
    network, _ = network_of(replace(config, hidden=(5, 4)), 72, 3, (6, 6, 2))
    delays = {c.name: c.delay for c in network.connections}
    assert [delays[f"pool2_hidden1_{j}"] for j in range(3)] == [0.0, 7.0, 14.0] and delays["hidden1_hidden2"] == 0
    assert [delays[f"hidden2_output_{j}"] for j in range(2)] == [0.0, 5.0]
    with pytest.raises(SettingError, match="--output-delay-line: the number of copies cannot be negative, got -2"):
        network_of(replace(CONFIG, output_delay_line=(-2, 5.0)), 6, 2)


def test_zero_and_negative_settings_are_refused():
    assert replace(CONFIG, dt=0.0).time_grid() == ("grid", 0.0)  # which the trainer refuses
    with pytest.raises(SettingError, match="--delay-line: the number of copies cannot be negative, got -1"):
        network_of(replace(CONFIG, delay_line=(-1, 7.0)), 6, 2)


def test_a_learning_rate_of_zero_holds_delays_and_needs_some():
    events = Events.from_samples([([1.0, 2.0], [0, 1])] * 4, 2, labels=[0, 1, 0, 1])
    still = replace(CONFIG, delays="axonal(high=3, max=7)", delay_learning_rate=0.0)
    made = layered(still, events, None, None).trainer
    assert made.optimiser.rate_of("input_hidden1.delay") == 0.0 < made.optimiser.rate_of("input_hidden1.weight")
    made = layered(replace(CONFIG, delay_learning_rate=0.1, delay_schedule="cosine"), events, None, None).trainer
    assert [note for note in made.notes if "--delays" in note] == [
        "--delay-learning-rate has no effect without --delays", "--delay-schedule has no effect without --delays"
    ]  # fmt: skip


def test_evaluation_sets_get_the_form_and_not_the_noise(monkeypatch):
    events = some_events()
    config = replace(CONFIG, augment="merge_channels=2,dropout=0.9,bin=2")
    experiment = layered(config, events, events, events)
    assert isinstance(experiment.train, Augmented) and experiment.trainer.plan.input.size == 3
    assert experiment.train.n_channels == experiment.test.n_channels == experiment.validation.n_channels == 3
    assert len(experiment.train.epoch(0).times) < 0.4 * len(experiment.test.times)
    assert experiment.test.times.max() < 20.0 and set(experiment.test.times % 2) == {0.0}
    once = layered(replace(config, augment="merge_channels=2"), events, None, None)
    assert isinstance(once.train, Events) and once.train.n_channels == 3 and once.train.times.max() < 20.0
    monkeypatch.setattr(options, "AT_ONCE", 10)  # a set that is too large is never transformed as a whole
    large = layered(replace(config, augment="merge_channels=2"), events, None, None)
    assert isinstance(large.train, Augmented)
    np.testing.assert_array_equal(large.train.epoch(3).channels, once.train.channels)


def test_regularisers_of_spikes_belong_to_every_hidden_layer():
    config = replace(CONFIG, regulariser="spike_count(target=3, strength=1e-6),weight_decay=1e-4")
    regularisers = layered(config, some_events(), None, None).trainer.plan.regularisers
    counts = [r for r in regularisers if hasattr(r, "population")]
    assert [r.population.name for r in counts] == ["hidden1", "hidden2"] and counts[0].target == 3.0
    assert [r.strength for r in regularisers if r not in counts] == [1e-4]


def test_every_step_of_training_runs():
    events = some_events(8)
    config = replace(
        CONFIG, augment="shift=1", train_tau=True, tau_learning_rate=0.5, input_weight=(3.0, 1.0),
        hidden_weight=(3.0, 1.0), output_weight=(1.0, 1.0), optimiser="adam_w(weight_decay=0.9)",
        schedule="cosine",
    )  # fmt: skip
    experiment = layered(config, events, events, events, progress=False)
    before = experiment.trainer.engine.parameters["hidden1.tau_mem"].copy()
    results = experiment.trainer.fit(experiment.train, experiment.validation, experiment.test, epochs=1)
    assert results["epochs"] == 1 and experiment.trainer.optimiser.name == "AdamW"
    assert np.abs(experiment.trainer.engine.parameters["hidden1.tau_mem"] - before).max() > 0.1
    # decay belongs to weights: a time constant is not drawn to zero
    assert experiment.trainer.optimiser._settings["hidden1.tau_mem"]["weight_decay"] == 0.0


def test_settings_that_make_no_network():
    with pytest.raises(SettingError, match="at least one hidden layer"):
        network_of(replace(CONFIG, hidden=()), 6, 2)
    unlabelled = Events.from_samples([([1.0], [0])], 2)
    with pytest.raises(SettingError, match="has no labels; a classifier cannot learn from it"):
        layered(CONFIG, unlabelled, None, None)


def test_silent_layers_are_told_and_start_at_a_rate(capsys):
    config = replace(CONFIG, hidden=(20, 10), input_weight=(0.001, 0.0005), hidden_weight=(0.001, 0.0005), dt=0.5)
    events = some_events(12)
    quiet = layered(config, events, None, None)
    quiet.trainer.fit(quiet.train, epochs=2)
    told = capsys.readouterr().err
    assert told.count("warning: hidden1 was silent for the whole epoch") == 2 and "--initial-spikes" in told
    awake = layered(replace(config, initial_spikes=1.5), events, None, None)
    activity = awake.trainer.evaluate(awake.train).activity
    assert all(activity[n].spikes_per_neuron == pytest.approx(1.5, rel=0.3) for n in ("hidden1", "hidden2"))
    with pytest.raises(SettingError, match="needs a number of spikes > 0, got -1"):
        layered(replace(config, initial_spikes=-1.0), events, None, None)
