"""Silent neurons revived, first weights set by rates; early stopping; the held-out test set."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.data import Currents, Inputs
from genn_eventprop.data.events.splits import HeldOutTestSet
from genn_eventprop.errors import DataError, SettingError, TrainingError
from genn_eventprop.losses import FirstSpikeCrossEntropy
from genn_eventprop.models.lif import LIF
from genn_eventprop.optimisers import Adam, EaseIn, HalveOnPlateau
from genn_eventprop.runs.run_folder import jsonable
from genn_eventprop.training import Callback, EarlyStopping, Revive, initialise_rates, runtime_estimate
from genn_eventprop.training.checks import data_notes
from support.sweeps import sweep


def events(n, seed, channels=4):
    """Two classes: which half of the channels speaks first."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    half = channels // 2
    samples = []
    for label in labels:
        first, second = rng.permutation(half) + half * label, rng.permutation(half) + half * (1 - label)
        samples.append((np.sort(rng.uniform(0.0, 12.0, channels)), np.concatenate([first, second])))
    return Events.from_samples(samples, n_channels=channels, labels=labels)


def network(weight=2.0, bounds=(None, None), layers=(6,), spread=0.8):
    """Input, hidden layers, output; `weight` and `spread` are of the weights into hidden layers."""
    net = Network()
    last = net.input(4)
    for i, size in enumerate((*layers, 2)):
        name = "output" if i == len(layers) else f"hidden{i}"
        new = net.population(LIF(tau_mem=10.0), size, name=name)
        first = Dense(Normal(2.0, 0.8)) if name == "output" else Dense(Normal(weight, spread), bounds)
        net.connect(last, new, first, name=f"to_{name}")
        last = new
    return net, FirstSpikeCrossEntropy(last)


def trainer(net=None, **settings):
    net, loss = net or network()
    defaults = {"duration": 30.0, "dt": 1.0, "engine": "reference_clock", "batch_size": 8, "progress": False}
    return Trainer(net, loss, **{**defaults, **settings})


class Weights(Callback):
    """Copies of the hidden weights before every first batch, and the metrics."""

    def __init__(self):
        self.weights, self.metrics, self.silent = [], [], []

    def start_epoch(self, trainer, epoch):
        self.weights.append(trainer.engine.parameters["to_hidden0.weight"].copy())
        self.silent.append(dict(trainer.silent))

    def end_epoch(self, trainer, metrics):
        self.metrics.append(metrics)


@pytest.mark.parametrize("how", ["redraw", "lift"])
def test_neurons_that_were_silent_get_other_weights(how):
    keep = Weights()
    net = network(bounds=(-3.0, 2.4))
    t = trainer(net, callbacks=[Revive(how, 0.25), keep], optimiser=Adam(0.0))
    weight = t.engine.parameters["to_hidden0.weight"]
    weight[:, 1], weight[:, 4] = -1.0, [2.3, -3.0, -3.0, 2.3]
    t.fit(events(16, 1), epochs=2)
    before, after = keep.weights
    silent = keep.silent[1]["hidden0"]
    assert keep.silent[0] == {} and silent[1] and silent.sum() == keep.metrics[0]["silent"]["hidden0"]
    np.testing.assert_array_equal(before[:, ~silent], after[:, ~silent])
    if how == "lift":
        np.testing.assert_array_equal(after[:, silent], np.minimum(before[:, silent] + 0.25, 2.4))
    else:
        drawn = np.clip(Normal(2.0, 0.8).sample(t.streams.at("redraw to_hidden0", 1), (4, 6), 4), -3.0, 2.4)
        np.testing.assert_array_equal(after[:, silent], drawn[:, silent])
    assert keep.metrics[0]["revived"] == {} and keep.metrics[1]["revived"] == {"hidden0": int(silent.sum())}


@pytest.mark.ci
def test_a_silent_network_comes_alive_and_learns(capsys):
    """All hidden neurons start silent: nothing is learned without `Revive`, and the task is learned with it."""
    results = {}
    for name, callbacks in (("alone", []), ("revived", [Revive("lift", 0.3)])):
        t = trainer(network(0.6, spread=0.2), callbacks=callbacks, optimiser=Adam(2e-2), progress=True, engine="native")
        results[name] = t.fit(events(64, 1), None, events(64, 2), epochs=25)["final_test_accuracy"]
        spikes = [line["spikes_per_neuron"]["hidden0"] for line in t.state.metrics]
        assert spikes[0] == 0.0 and (spikes[-1] > 0.5) == (name == "revived")
        t.close()
    assert results["alone"] == 0.0 and results["revived"] > 0.8
    assert "6 revived before" in capsys.readouterr().err


def resumable(folder=None, **more):
    schedule = EaseIn(0.1) * HalveOnPlateau(wait=1)
    t = trainer(
        network(0.7), optimiser=Adam(2e-2, clip_norm=0.5), schedule=schedule, run_dir=folder,
        callbacks=[Revive("redraw"), EarlyStopping(4), *more.pop("callbacks", [])], **more,
    )  # fmt: skip
    return t


class Interrupt(Callback):
    """Stops the process after so many updates, as a kill would."""

    checkpointed = False

    def __init__(self, after):
        self.after = after

    def end_batch(self, trainer, epoch, batch, statistics):
        self.after -= 1
        if self.after == 0:
            raise KeyboardInterrupt


DATA = events(20, 1), events(8, 2), events(8, 3)


@pytest.fixture(scope="module")
def whole():
    t = resumable()
    return t, t.fit(*DATA, epochs=30)


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("checkpoint_batches", "after"), [(None, 4), (None, 7), (1, 5), (1, 7), (1, 9)])
def test_everything_with_a_memory_resumes_exactly(tmp_path, whole, checkpoint_batches, after):
    """Revived neurons, early stopping, the halving rule, clipping: interrupted within epochs and at their edges."""
    reference, expected = whole
    assert any(line["revived"] for line in reference.state.metrics) and 4 < expected["epochs"] < 30
    broken = resumable(tmp_path / "run", callbacks=[Interrupt(after)], checkpoint_batches=checkpoint_batches)
    with pytest.raises(KeyboardInterrupt):
        broken.fit(*DATA, epochs=30)
    again = resumable(checkpoint_batches=checkpoint_batches).resume(tmp_path / "run")
    assert 0 < again.state.updates < after
    results = again.fit(*DATA, epochs=30)
    for name, value in reference.engine.parameters.items():
        np.testing.assert_array_equal(again.engine.parameters[name], value)
    lines = [[{**jsonable(m), "seconds": 0} for m in t.state.metrics] for t in (again, reference)]
    assert lines[0] == lines[1]
    assert {k: v for k, v in results.items() if k != "seconds_training"} == {
        k: v for k, v in expected.items() if k != "seconds_training"
    }


def test_early_stopping_follows_validation(tmp_path):
    accuracies = [0.5, 0.6, 0.6, 0.55, 0.6, 0.7, 0.6, 0.7, 0.7, 0.9]
    t = trainer(callbacks=[EarlyStopping(3)], run_dir=tmp_path / "run")
    run, epoch = t._validate, [0]

    def prescribed(data):
        import dataclasses

        evaluation = dataclasses.replace(run(data), accuracy=accuracies[epoch[0]], loss=1.0)
        epoch[0] += 1
        return evaluation

    t._validate = prescribed
    results = t.fit(events(8, 1), events(8, 2), epochs=10)
    assert results["epochs"] == 5 and results["best_epoch"] == 2  # 0.6 was not beaten in epochs 3 to 5
    again = trainer(callbacks=[EarlyStopping(3)]).resume(tmp_path / "run")
    assert again.fit(events(8, 1), events(8, 2), epochs=10)["epochs"] == 5
    with pytest.raises(SettingError, match="EarlyStopping needs a validation set"):
        trainer(callbacks=[EarlyStopping(3)]).fit(events(8, 1), epochs=2)


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("weight", "spike_times"),
    sweep([(w, t) for w in (-0.4, 0.3) for t in ("grid", "exact")], [(-0.4, "grid"), (0.3, "exact")]),
)
def test_a_deep_net_that_starts_silent_gets_its_rates(spike_times, weight):
    """Four hidden layers; with weights below zero a factor cannot help and the weights are shifted."""
    data = events(64, 1)
    net, loss = network(weight, layers=(30, 20, 20, 15), spread=0.1)
    t = trainer((net, loss), engine="native", spike_times=spike_times)
    assert t.evaluate(data).activity["hidden0"].spikes_per_neuron == 0
    first = {k: v.copy() for k, v in t.engine.parameters.items()}
    report = initialise_rates(t, data, {f"hidden{i}": 1.5 + 0.25 * i for i in range(4)} | {"output": 1.2})
    assert list(report) == ["hidden0", "hidden1", "hidden2", "hidden3", "output"]
    reached = t.evaluate(data).activity
    for i in range(4):
        assert reached[f"hidden{i}"].spikes_per_neuron == pytest.approx(1.5 + 0.25 * i, rel=0.06)
    assert reached["output"].spikes_per_neuron == pytest.approx(1.2, rel=0.06)
    done = report["hidden2"]
    changed = done.scale * first["to_hidden2.weight"] + done.shift
    np.testing.assert_allclose(t.engine.parameters["to_hidden2.weight"], changed, rtol=1e-5, atol=1e-6)
    assert (done.shift == 0) == (weight > 0) and report["hidden0"].before == 0
    t.engine.run(t.engine.load(data), np.arange(8), training=True)
    assert np.abs(t.engine.gradients["to_hidden0.weight"]).max() > 0
    t.close()


def test_rates_are_lowered_too_and_what_is_frozen_stays():
    net = Network()
    inp, hidden, output = net.input(4), net.population(LIF(), 8, name="hidden"), net.population(LIF(), 2, name="output")
    net.connect(inp, hidden, Dense(Normal(12.0, 1.0)), name="enter")
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.1)), name="again")
    net.connect(inp, output, Dense(1.0), name="skip", trainable=False)
    net.connect(hidden, output, Dense(Normal(0.1, 0.1)), name="leave")
    t = trainer((net, FirstSpikeCrossEntropy(output)))
    first = {k: v.copy() for k, v in t.engine.parameters.items()}
    report = initialise_rates(t, events(40, 1), 2.0)
    assert report["hidden"].before > 4 and report["hidden"].after == pytest.approx(2.0, rel=0.1)
    for name in ("again.weight", "skip.weight"):
        np.testing.assert_array_equal(t.engine.parameters[name], first[name])


def test_rates_that_cannot_be_met():
    data = events(20, 1)
    t = trainer(network(0.3, bounds=(-1.0, 0.5)))
    with pytest.raises(TrainingError, match="'hidden0': 2 spikes per neuron cannot be reached .*starts at 0, the"):
        initialise_rates(t, data, 2.0)
    with pytest.raises(SettingError, match="no population 'hiden0' that spikes .did you mean 'hidden0'"):
        initialise_rates(t, data, {"hiden0": 1.0})
    with pytest.raises(SettingError, match="'hidden0' needs a number of spikes > 0, got 0"):
        initialise_rates(t, data, {"hidden0": 0.0})
    net, loss = network()
    net.connections[0] = type(net.connections[0])(**{**vars(net.connections[0]), "trainable": False})
    with pytest.raises(TrainingError, match="'hidden0': no learned connection from an earlier layer"):
        initialise_rates(trainer((net, loss)), data, {"hidden0": 1.0})


def test_the_test_set_is_read_once_at_the_end():
    log = []

    class Watched(HeldOutTestSet):
        def open(self):
            log.append("opened")
            return super().open()

    class Epochs(Callback):
        def end_epoch(self, trainer, metrics):
            log.append(metrics["epoch"])

    held_out_test, t = Watched(events(8, 3)), trainer(callbacks=[Epochs()])
    results = t.fit(events(8, 1), events(8, 2), held_out_test, epochs=3)
    assert log == [1, 2, 3, "opened"]
    assert results["final_test_accuracy"] == t.evaluate(events(8, 3)).accuracy
    with pytest.raises(DataError, match="the test set has already been opened: it is read only once"):
        t.fit(events(8, 1), events(8, 2), held_out_test, epochs=4)
    assert t.state.epoch == 3  # refused before another epoch


def test_unfit_test_set_is_refused_before_training():
    keep = Weights()
    for bad, message in (
        (events(4, 1, channels=6), "6 channels"),
        (Events([], [], [0], 4, labels=[]), "test set is empty"),
    ):
        for given in (bad, HeldOutTestSet(bad)):
            with pytest.raises(DataError, match=message):
                trainer(callbacks=[keep]).fit(events(8, 1), events(8, 2), given, epochs=2)
    assert not keep.weights


def test_time_and_memory_are_told_before_a_run(capsys):
    t = trainer(progress=True)
    t.fit(events(16, 1), events(8, 2), epochs=3)
    text = capsys.readouterr().err
    assert text.index("expected: ") < text.index("epoch 1/3")
    assert t.runtime_estimate.seconds == pytest.approx(3 * t.runtime_estimate.epoch_seconds)
    assert 1e6 < t.runtime_estimate.peak_bytes < 1e11 and "MiB of memory" in text
    silent = trainer()
    silent.fit(events(16, 1), epochs=1)
    assert silent.runtime_estimate is None


def test_empty_samples_and_missing_classes_are_told(capsys):
    t = trainer(progress=True)
    some = events(16, 1)
    empty = Events([], [], [0, 0, 0], some.n_channels, [0, 0], n_classes=some.n_classes)
    t.fit(Events.concatenate([some, empty]), empty, epochs=1)
    text = capsys.readouterr().err
    assert "note: 2 of 18 samples of the training set have no spikes; they are kept\n" in text
    assert "note: 2 of 2 samples of the validation set have no spikes" in text
    assert "note: the validation set has no sample of class" in text and "training set has no sample" not in text


def test_a_set_without_spikes_a_test_set_for_validation_and_fewer_epochs_than_done_are_noted():
    t, some = trainer(), events(16, 1)
    empty = Events([], [], [0] * 3, some.n_channels, [0, 1], n_classes=some.n_classes)
    t.fit(empty, some, some, epochs=2)
    assert any(n.startswith("no sample of the training set has a spike") for n in t.notes)
    assert "the test set is the validation set" in [finding.cause for finding in t.diagnosis()]
    t.fit(empty, some, events(16, 2), epochs=1)
    assert "2 epochs are done already, more than epochs=1: none is added" in t.notes
    assert not any("is the test set" in n for n in t.notes)
    driven = Inputs({"spikes": empty, "current": Currents(np.zeros((2, 4, 3)), 1.0)})
    assert not any("has a spike" in n for n in data_notes(driven, None))
    shown = repr(t.evaluate(empty))
    assert shown.startswith("<Evaluation: accuracy ") and "2 samples" in shown and "spikes a neuron" in shown


def test_what_compiles_once_is_not_taken_for_the_speed():
    pauses = iter([0.6, 0.0])
    engine = SimpleNamespace(run=lambda *_, training: time.sleep(next(pauses)))
    assert runtime_estimate.seconds_of_a_batch(engine, None, None, training=True) < 0.3


def test_measuring_changes_nothing():
    a, b = trainer(progress=True), trainer()
    for t in (a, b):
        t.fit(events(16, 1), events(8, 2), epochs=2)
    np.testing.assert_array_equal(a.engine.parameters["to_hidden0.weight"], b.engine.parameters["to_hidden0.weight"])


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda: Revive("revive"), "Revive: how='revive' .*known: lift, redraw"),
        (lambda: Revive(amount=np.nan), "Revive: amount must be a finite number, got nan"),
        (
            lambda: trainer(callbacks=[Revive(populations=["hidden"])]).fit(events(8, 1), epochs=1),
            "Revive: no population 'hidden' that spikes .did you mean 'hidden0'",
        ),
        (lambda: EarlyStopping(0), "EarlyStopping: patience must be an integer >= 1, got 0"),
    ],
)
def test_bad_settings(action, message):
    with pytest.raises(SettingError, match=message):
        action()


def test_given_weights_cannot_be_drawn_again():
    net = Network()
    hidden, output = net.population(LIF(), 3, name="hidden"), net.population(LIF(), 2, name="output")
    net.connect(net.input(4), hidden, Dense(np.ones((4, 3))), name="enter")
    net.connect(hidden, output, Dense(1.0))
    with pytest.raises(SettingError, match="weights of 'enter' were given, so they cannot be redrawn"):
        trainer((net, FirstSpikeCrossEntropy(output)), callbacks=[Revive()]).fit(events(8, 1), epochs=1)
