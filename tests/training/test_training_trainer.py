"""The trainer: what it learns from, what it chooses, what stops it, what it writes."""

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.data.augment.augmented import Augmented, Blend
from genn_eventprop.data.augment.steps import Dilate, Jitter
from genn_eventprop.errors import CheckpointError, DataError, SettingError, TrainingError
from genn_eventprop.losses import FirstSpikeCrossEntropy
from genn_eventprop.models.lif import LIF
from genn_eventprop.optimisers import SGD, Adam, EaseIn, Exponential, HalveOnPlateau
from genn_eventprop.runs import load_checkpoint
from genn_eventprop.training import Callback


def events(n, seed, n_classes=2):
    """Two classes told apart by which of the channels speaks first."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, n)
    samples = []
    for label in labels:
        times = np.sort(rng.uniform(0.0, 12.0, 4))
        channels = np.concatenate(
            [rng.permutation([2 * label, 2 * label + 1]), rng.permutation([2 - 2 * label, 3 - 2 * label])]
        )
        samples.append((times, channels))
    return Events.from_samples(samples, n_channels=4, labels=labels)


def network(hidden=6):
    net = Network()
    inp = net.input(4)
    hid = net.population(LIF(tau_mem=10.0), hidden, name="hidden")
    out = net.population(LIF(), 2, name="output")
    net.connect(inp, hid, Dense(Normal(2.0, 0.8)))
    net.connect(hid, out, Dense(Normal(1.2, 0.4)))
    return net, FirstSpikeCrossEntropy(out)


def trainer(hidden=6, **settings):
    net, loss = network(hidden)
    defaults = {"duration": 20.0, "dt": 1.0, "engine": "reference_clock", "batch_size": 4, "progress": False}
    return Trainer(net, loss, **{**defaults, **settings})


class Keep(Callback):
    """Remembers the weights after every update and epoch."""

    def __init__(self):
        self.updates, self.epochs, self.closed = [], [], 0

    def end_batch(self, trainer, epoch, batch, statistics):
        self.updates.append((epoch, batch, trainer.engine.parameters["input_hidden.weight"].copy()))

    def end_epoch(self, trainer, metrics):
        self.epochs.append(trainer.engine.parameters["input_hidden.weight"].copy())

    def close(self):
        self.closed += 1


class Interrupt(Callback):
    """Stops the process after so many updates, as a kill would."""

    def __init__(self, after):
        self.after = after

    def end_batch(self, trainer, epoch, batch, statistics):
        self.after -= 1
        if self.after == 0:
            raise KeyboardInterrupt


def same_parameters(a, b):
    assert set(a) == set(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def without_seconds(lines):
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def test_training_reduces_loss_and_writes_the_run_folder(tmp_path):
    t = trainer(optimiser=Adam(2e-2), schedule=Exponential(0.9), run_dir=tmp_path / "run", batch_size=8)
    results = t.fit(events(48, 1), events(16, 2), events(16, 3), epochs=6)
    lines = t.folder.metrics
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert lines[-1]["train_loss"] < 0.7 * lines[0]["train_loss"]
    assert lines[2]["learning_rate"] == pytest.approx(2e-2 * 0.9**2)
    assert set(lines[0]["silent"]) == {"hidden", "output"} and lines[0]["spikes_per_neuron"]["hidden"] > 0
    assert t.folder.results | {"history": results["history"]} == results
    assert results["epochs"] == 6 and results["updates"] == 36 and results["engine"] == "reference_clock"
    assert results["seconds_training"] == pytest.approx(sum(line["seconds"] for line in lines))
    assert results["final_test_accuracy"] == t.evaluate(events(16, 3)).accuracy
    assert {p.name for p in (tmp_path / "run" / "checkpoints").iterdir()} == {"best.safetensors", "last.safetensors"}


def test_fit_returns_a_history_also_without_validation():
    t = trainer()
    history = t.fit(events(14, 1), epochs=3)["history"]
    assert history["epoch"] == [1, 2, 3] and history["validation_accuracy"] == [None] * 3
    assert history["train_loss"] == [line["train_loss"] for line in t.state.metrics]
    assert set(history["spikes_per_neuron"]) == {"hidden", "output"}
    assert all(len(history[key]["hidden"]) == 3 for key in ("spikes_per_neuron", "silent"))
    validated = trainer().fit(events(14, 1), events(8, 2), epochs=2)["history"]
    assert all(0 <= accuracy <= 1 for accuracy in validated["validation_accuracy"])


def test_each_epoch_is_a_seeded_permutation():
    seen = {}
    for seed in (1, 1, 2):
        t, batches = trainer(seed=seed), []
        run = t.engine.run
        t.engine.run = lambda data, samples, run=run, batches=batches, **k: (
            batches.append(samples) or run(data, samples, **k)
        )
        t.fit(events(14, 1), epochs=2)
        assert [len(b) for b in batches] == [4, 4, 4, 2] * 2
        first, second = np.concatenate(batches[:4]), np.concatenate(batches[4:])
        assert sorted(first) == sorted(second) == list(range(14)) and list(first) != list(second)
        seen.setdefault(seed, []).append(first.tolist())
    assert seen[1][0] == seen[1][1] != seen[2][0]


def test_the_incomplete_last_batch_is_learned_with_its_own_size():
    """One sample left over moves the weights by its whole gradient, not by a quarter of it."""
    keep, data = Keep(), events(5, 1)
    t = trainer(optimiser=SGD(0.1), callbacks=[keep])
    t.fit(data, epochs=1)
    before, after = keep.updates[0][2], keep.updates[1][2]
    single = trainer()
    single.engine.parameters["input_hidden.weight"][...] = before
    left_over = t.streams.at("order", 0).permutation(5)[4:]
    # the second layer moved as well; take it from the start of the run plus the first step
    t2 = trainer(optimiser=SGD(0.1), callbacks=[Interrupt(1)])
    with pytest.raises(KeyboardInterrupt):
        t2.fit(data, epochs=1)
    single.engine.parameters["hidden_output.weight"][...] = t2.engine.parameters["hidden_output.weight"]
    single.engine.run(single.engine.load(data), left_over, training=True)
    gradient = single.engine.gradients["input_hidden.weight"]
    assert np.abs(gradient).max() > 1e-4
    np.testing.assert_allclose(after, before - 0.1 * gradient, rtol=1e-12, atol=1e-14)


def test_checkpoint_is_chosen_on_validation_only(tmp_path):
    keep = Keep()
    t = trainer(optimiser=Adam(5e-2), callbacks=[keep], run_dir=tmp_path / "run")
    test_set, used = events(12, 3), []
    run = t.engine.run

    def spy(data, samples, **k):
        used.append((id(data), k.get("training", False), len(keep.epochs)))
        return run(data, samples, **k)

    t.engine.run = spy
    results = t.fit(events(20, 1), events(12, 2), test_set, epochs=5)
    lines = t.folder.metrics
    best = max(range(5), key=lambda i: (lines[i]["validation_accuracy"], -lines[i]["validation_loss"]))
    assert results["best_epoch"] == best + 1
    np.testing.assert_array_equal(t.best_parameters["input_hidden.weight"], keep.epochs[best])
    saved = load_checkpoint(tmp_path / "run" / "checkpoints" / "best.safetensors")
    np.testing.assert_array_equal(saved.section("parameters")["input_hidden.weight"], keep.epochs[best])
    late = {data for data, _, epochs in used if epochs == 5}
    early = {data for data, _, epochs in used if epochs < 5}
    assert len(early) == 2 and len(late - early) == 1  # training and validation before; the test set only at the end
    with t.best_weights():
        assert t.evaluate(test_set).accuracy == results["test_accuracy"]
    assert t.evaluate(test_set).accuracy == results["final_test_accuracy"]


def test_ties_of_accuracy_go_to_the_smaller_loss():
    from genn_eventprop.training.state import TrainingState

    position = TrainingState(best_epoch=3, best_accuracy=0.9, best_loss=0.5)
    assert position.improves(0.91, 9.0) and position.improves(0.9, 0.4)
    assert not position.improves(0.9, 0.5) and not position.improves(0.89, 0.1)
    assert TrainingState().improves(0.0, 9.0)


def test_without_validation_the_last_weights_count():
    results = trainer().fit(events(8, 1), None, events(8, 2), epochs=1)
    assert results["test_accuracy"] == results["final_test_accuracy"] is not None
    assert results["best_validation_accuracy"] is None


def resumable(**more):
    schedule = EaseIn(0.1) * HalveOnPlateau(wait=1)
    return trainer(optimiser=Adam(1e-2, clip_norm=0.5), schedule=schedule, **more)


RESUME_DATA = events(14, 1), events(6, 2), events(6, 3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Four epochs in one go: (trainer, results)."""
    t = resumable(run_dir=tmp_path_factory.mktemp("run") / "whole", callbacks=[Callback()])
    return t, t.fit(*RESUME_DATA, epochs=4)


@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    ("checkpoint_batches", "interrupted_after"), [(None, 5), (None, 8), (None, 9), (1, 3), (1, 8), (2, 7), (2, 9)]
)
def test_resuming_gives_the_same_bits(tmp_path, whole, checkpoint_batches, interrupted_after):
    """14 samples in batches of 4: 4 updates per epoch; the interruptions fall within and at the edges of epochs."""
    reference, expected = whole
    broken = resumable(
        run_dir=tmp_path / "run", callbacks=[Interrupt(interrupted_after)], checkpoint_batches=checkpoint_batches
    )
    with pytest.raises(KeyboardInterrupt):
        broken.fit(*RESUME_DATA, epochs=4)
    again = resumable(callbacks=[Callback()], checkpoint_batches=checkpoint_batches).resume(tmp_path / "run")
    assert 0 < again.state.updates < interrupted_after
    results = again.fit(*RESUME_DATA, epochs=4)
    same_parameters(reference.engine.parameters, again.engine.parameters)
    same_parameters(reference.best_parameters, again.best_parameters)
    assert without_seconds(reference.folder.metrics) == without_seconds(again.folder.metrics)
    for key in expected:
        assert key == "seconds_training" or results[key] == expected[key], key


def test_a_finished_run_can_be_extended(tmp_path):
    data = events(10, 1), events(6, 2)
    long = trainer()
    long.fit(*data, epochs=3)
    trainer(run_dir=tmp_path / "run").fit(*data, epochs=2)
    again = trainer().resume(tmp_path / "run")
    again.fit(*data, epochs=3)
    same_parameters(long.engine.parameters, again.engine.parameters)


def augmented(seed=1):
    return Augmented(events(14, 1), [Jitter(1.0), Dilate(0.8, 1.2)], Blend(times=1.5), seed=seed)


def test_augmented_batches_are_those_of_the_epoch():
    """21 samples, 7 of them blended; each batch is what the data set gives for that epoch and those samples."""
    t, seen = trainer(), []
    run = t.engine.run

    def spy(data, samples, **k):
        seen.append((data.steps.copy(), data.labels.copy(), len(samples)))
        return run(data, samples, **k)

    t.engine.run = spy
    t.fit(augmented(), epochs=2)
    assert [n for _, _, n in seen] == [4, 4, 4, 4, 4, 1] * 2
    for epoch in (0, 1):
        order = t.streams.at("order", epoch).permutation(21)
        for i in range(6):
            expected = t.engine.load(augmented().batch(order[4 * i : 4 * i + 4], epoch))
            np.testing.assert_array_equal(seen[6 * epoch + i][0], expected.steps)
            np.testing.assert_array_equal(seen[6 * epoch + i][1], expected.labels)
    assert not np.array_equal(
        np.sort(np.concatenate([s for s, _, _ in seen[:6]])), np.sort(np.concatenate([s for s, _, _ in seen[6:]]))
    )


def test_resuming_with_augmentation_gives_the_same_bits(tmp_path):
    whole = trainer(run_dir=tmp_path / "whole")
    whole.fit(augmented(), epochs=3)
    broken = trainer(run_dir=tmp_path / "run", checkpoint_batches=1, callbacks=[Interrupt(9)])
    with pytest.raises(KeyboardInterrupt):
        broken.fit(augmented(), epochs=3)
    again = trainer(checkpoint_batches=1, callbacks=[Callback()]).resume(tmp_path / "run")
    assert again.state.batch == 2
    with pytest.raises(CheckpointError, match="augmented by .*seed 1; the training set given now has .*seed 2"):
        again.fit(augmented(seed=2), epochs=3)
    again.fit(augmented(), epochs=3)
    same_parameters(whole.engine.parameters, again.engine.parameters)
    assert without_seconds(whole.folder.metrics) == without_seconds(again.folder.metrics)


def test_clipped_input_spikes_are_counted():
    late = Events([19.9, 1.0, 19.8, 19.0], [0, 1, 0, 1], [0, 1, 3, 4], 4, labels=[0, 1, 0])
    for train in (late, Augmented(late)):
        t, keep = trainer(batch_size=2), []
        t.callbacks.append(Callback())
        t.callbacks[-1].end_epoch = lambda trainer, metrics, keep=keep: keep.append(metrics["clipped_spikes"])
        t.fit(train, epochs=2)
        assert keep == [2, 2]  # 19.9 and 19.8 ms would fall on step 20 of 0 .. 19


def spoil(t, name, after):
    """Put a NaN into one gradient at one batch."""
    run, count = t.engine.run, [0]

    def run_and_spoil(data, samples, training=False, **k):
        result = run(data, samples, training=training, **k)
        count[0] += training
        if training and count[0] == after:
            t.engine.gradients[name][1, 1] = np.nan
        return result

    t.engine.run = run_and_spoil


def test_nan_in_a_gradient_stops_before_weights_and_checkpoint(tmp_path):
    keep = Keep()
    t = trainer(callbacks=[keep], run_dir=tmp_path / "run")
    spoil(t, "hidden_output.weight", after=6)
    message = (
        "the gradient of hidden_output.weight is not finite "
        r"\(from neuron 1 of 'hidden' to neuron 1 of 'output'; 1 of 12 entries\) in epoch 2, batch 3; "
        "weights and checkpoint are untouched"
    )
    with pytest.raises(TrainingError, match=message):
        t.fit(events(10, 1), events(6, 2), epochs=5)
    assert keep.closed == 1
    np.testing.assert_array_equal(t.engine.parameters["input_hidden.weight"], keep.updates[-1][2])
    assert len(keep.updates) == 5
    saved = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.safetensors")
    assert saved.info["position"]["epoch"] == 1
    np.testing.assert_array_equal(saved.section("parameters")["input_hidden.weight"], keep.epochs[0])


def test_nan_in_a_neuron_parameter_names_the_neuron():
    from genn_eventprop import Param
    from genn_eventprop.training.checks import check_batch

    net = Network()
    inp, out = net.input(2), net.population(LIF(tau_mem=Param(20.0, "ms", trainable=True)), 3, name="output")
    net.connect(inp, out, Dense(1.0))
    t = Trainer(net, FirstSpikeCrossEntropy(out), duration=10.0, dt=1.0, engine="reference_clock", progress=False)
    gradients = {"input_output.weight": np.zeros((2, 3)), "output.tau_mem": np.array([0.0, 0.0, np.inf])}
    with pytest.raises(TrainingError, match=r"output.tau_mem is not finite \(tau_mem of neuron 2 of 'output'; 1 of 3"):
        check_batch(t.plan, None, gradients, "epoch 1, batch 1")


def test_infinite_loss_and_weights_stop_training(tmp_path):
    t = trainer()
    run = t.engine.run

    def bad(data, samples, **k):
        result = run(data, samples, **k)
        result.loss[1] = np.inf
        return result

    t.engine.run = bad
    with pytest.raises(TrainingError, match="the loss of trial 1 is inf in epoch 1, batch 1"):
        t.fit(events(8, 1), epochs=1)
    t = trainer(run_dir=tmp_path / "run")
    update = t.engine.update

    def overflow(optimiser):
        update(optimiser)
        if optimiser.steps == 2:
            t.engine.parameters["input_hidden.weight"][0, 0] = np.inf

    t.engine.update = overflow
    with pytest.raises(
        TrainingError, match="input_hidden.weight is not finite after epoch 1; no checkpoint was written"
    ):
        t.fit(events(8, 1), epochs=1)
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


def test_silent_and_runaway_neurons_are_counted_over_the_epoch():
    t = trainer(runaway_rate=0.1)
    weight = t.engine.parameters["input_hidden.weight"]
    weight[:, 0], weight[:, 1] = 0.0, 40.0
    lines = []

    class Lines(Callback):
        def end_epoch(self, trainer, metrics):
            lines.append(metrics)

    t.callbacks.append(Lines())
    t.optimiser.factor = 0.0
    t.schedule.factor = lambda progress: 0.0
    t.fit(events(12, 1), epochs=1)
    counts = t.engine.run(t.engine.load(events(12, 1)), np.arange(12)).spike_counts["hidden"]
    assert lines[0]["silent"]["hidden"] == np.count_nonzero(counts.sum(0) == 0) >= 1
    assert lines[0]["runaway"]["hidden"] == np.count_nonzero(counts.mean(0) > 2.0) >= 1
    assert lines[0]["spikes_per_neuron"]["hidden"] == pytest.approx(counts.mean())


def test_bounds_of_the_network_hold():
    net = Network()
    inp, out = net.input(4), net.population(LIF(), 2, name="output")
    net.connect(inp, out, Dense(2.0, bounds=(1.9, 2.1)))
    t = Trainer(
        net,
        FirstSpikeCrossEntropy(out),
        duration=20.0,
        dt=1.0,
        engine="reference_clock",
        optimiser=Adam(0.5),
        progress=False,
    )
    t.fit(events(8, 1), epochs=3)
    weight = t.engine.parameters["input_output.weight"]
    assert weight.min() >= 1.9 and weight.max() <= 2.1 and weight.std() > 0


def test_predict_and_evaluate():
    t, data = trainer(), events(10, 1)
    evaluation = t.evaluate(data)
    assert t.predict(data).shape == (10,) and evaluation.readout.shape == (10, 2)
    assert evaluation.accuracy == np.mean(t.predict(data) == data.labels)
    unlabelled = Events(data.times, data.channels, data.offsets, data.n_channels)
    np.testing.assert_array_equal(t.predict(unlabelled), evaluation.predictions)
    assert np.isnan(t.evaluate(unlabelled).accuracy)
    samples = [data[i] for i in range(10)]
    arrays = [(sample.times, sample.channels) for sample in samples]
    np.testing.assert_array_equal(t.predict(arrays), evaluation.predictions)
    counts = t.spike_counts(data)
    assert counts["hidden"].shape == (10, 6)
    assert counts["hidden"].mean() == pytest.approx(evaluation.activity["hidden"].spikes_per_neuron)


def test_weights_out_and_in(tmp_path):
    a, b = trainer(seed=1), trainer(seed=2)
    for name in ("w.npz", "w"):
        a.save_weights(tmp_path / name)
        b.engine.parameters["input_hidden.weight"][...] = 0
        b.load_weights(tmp_path / name)
        same_parameters(a.engine.parameters, b.engine.parameters)


def test_resume_refuses_other_network_settings_or_data(tmp_path):
    trainer(run_dir=tmp_path / "run").fit(events(8, 1), epochs=1)
    with pytest.raises(CheckpointError, match="belongs to another network: population hidden is '6 LIF .* and '7 LIF"):
        trainer(hidden=7).resume(tmp_path / "run")
    with pytest.raises(CheckpointError, match="belongs to another network: population hidden"):
        trainer(hidden=7).load_checkpoint(tmp_path / "run" / "checkpoints" / "last.safetensors")
    with pytest.raises(CheckpointError, match="belongs to another run: batch_size is 4 there and 5 here"):
        trainer(batch_size=5).resume(tmp_path / "run")
    with pytest.raises(CheckpointError, match="written by optimiser Adam, this run uses SGD"):
        trainer(optimiser=SGD()).resume(tmp_path / "run")
    with pytest.raises(CheckpointError, match="written with 0 callbacks, this run has 1"):
        trainer(callbacks=[Keep()]).resume(tmp_path / "run")
    trainer(progress=True).resume(tmp_path / "run")  # a progress display makes no difference
    with pytest.raises(CheckpointError, match="trained on 8 samples, 32 spikes, .* now has 9 samples"):
        trainer().resume(tmp_path / "run").fit(events(9, 1), epochs=2)
    path = tmp_path / "run" / "checkpoints" / "last.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="damaged"):
        trainer().resume(tmp_path / "run")
    path.unlink()
    with pytest.raises(CheckpointError, match="there is no checkpoint at"):
        trainer().resume(tmp_path / "run")


def test_callbacks_can_stop_and_keep_state(tmp_path):
    class Patience(Callback):
        seen = 0

        def end_epoch(self, trainer, metrics):
            self.seen += 1
            if self.seen == 2:
                trainer.stop()

        def state_dict(self):
            return {"seen": self.seen}

        def load_state_dict(self, state):
            self.seen = state["seen"]

    t = trainer(callbacks=[Patience()], run_dir=tmp_path / "run")
    assert t.fit(events(8, 1), epochs=9)["epochs"] == 2
    again = trainer(callbacks=[Patience()]).resume(tmp_path / "run")
    assert again.callbacks[0].seen == 2


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda: trainer(batch_size=0), SettingError, "batch_size must be an integer >= 1, got 0"),
        (lambda: trainer(checkpoint_batches=0), SettingError, "checkpoint_batches must be an integer >= 1"),
        (lambda: trainer().fit(events(4, 1), epochs=0), SettingError, "epochs must be an integer >= 1, got 0"),
        (lambda: trainer().resume(), SettingError, "resume needs the folder of the run"),
        (
            lambda: trainer().fit(Events([1.0], [0], [0, 1, 1], 4, labels=[1, -1], n_classes=2), epochs=1),
            DataError,
            "the training set needs a label for every sample; sample 1 has none",
        ),
        (
            lambda: trainer().fit(events(4, 1), Events([], [], [0], 4, labels=[], n_classes=2), epochs=1),
            DataError,
            "the validation set is empty",
        ),
    ],
)
def test_bad_use(action, error, message):
    with pytest.raises(error, match=message):
        action()


def test_progress_lines(capsys):
    t = trainer(progress=True)
    t.fit(events(8, 1), events(8, 2), epochs=2)
    text = capsys.readouterr().err
    assert "engine reference_clock: " in text
    line = next(line for line in text.splitlines() if line.startswith("epoch 2/2"))
    for part in ("loss ", "accuracy ", "validation ", "hidden ", " spikes, ", " silent", " s"):
        assert part in line


def test_progress_bar_on_a_terminal(capsys, monkeypatch):
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    trainer(progress=True, batch_size=1).fit(events(8, 1), epochs=1)
    text = capsys.readouterr().err
    assert "epoch 1/1:" in text and "/8" in text and "batch" in text
    assert "epoch 1/1  loss" in text
