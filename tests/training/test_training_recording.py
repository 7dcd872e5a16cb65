"""What is looked at during a run: recordings of chosen trials, TensorBoard scalars."""

import struct
import sys
import time

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.errors import SettingError
from genn_eventprop.losses import IntegratedVoltageCrossEntropy
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.training import Callback, Record, TensorBoard, load_recording, record_trial
from genn_eventprop.training.tensorboard import scalars


def events(n=6):
    rng = np.random.default_rng(4)
    samples = [(np.sort(rng.uniform(0, 15, 10)), rng.integers(0, 4, 10)) for _ in range(n)]
    return Events.from_samples(samples, n_channels=4, labels=rng.integers(0, 2, n))


def trainer(engine="reference_clock", spike_times="grid", **more):
    net = Network()
    hidden, output = net.population(LIF(), 5, name="hidden"), net.population(LI(), 2, name="output")
    net.connect(net.input(4), hidden, Dense(Normal(2.0, 1.0)))
    net.connect(hidden, output, Dense(Normal(0.5, 0.5)))
    settings = {"duration": 20.0, "dt": 1.0, "progress": False, "batch_size": 3, "spike_times": spike_times}
    return Trainer(net, IntegratedVoltageCrossEntropy(output), engine=engine, **settings, **more)


def test_chosen_samples_epochs_populations_and_states(tmp_path):
    """What is written after epoch 2 is what the network did with the weights of epoch 2."""
    kept = {}

    class Keep(Callback):
        def end_epoch(self, trainer, metrics):
            kept[metrics["epoch"]] = {k: v.copy() for k, v in trainer.engine.parameters.items()}

    watch = Record(events(), [4, 1], epochs=[2], populations=["hidden"], states=["V", "lambda_I"])
    t = trainer(callbacks=[watch, Keep()], run_dir=tmp_path / "run")
    t.fit(events(), epochs=3)
    assert [p.name for p in (tmp_path / "run" / "recordings").iterdir()] == ["epoch-0002.npz"]
    found = load_recording(tmp_path / "run" / "recordings" / "epoch-0002.npz")
    assert list(found) == [4, 1] and not watch.recordings
    engine = ReferenceClock(t.plan, kept[2])
    data = engine.load(events())
    for i, trial in found.items():
        want = engine.record(data, [i])["hidden"]
        assert set(trial.states) == {"hidden"} and set(trial.states["hidden"]) == {"V", "lambda_I"}
        for state in ("V", "lambda_I"):
            np.testing.assert_array_equal(trial.states["hidden"][state], want[state][0])
        spikes = engine.run(data, [i], record_spikes=True).spikes["hidden"]
        assert len(spikes.time) and set(trial.spikes) == {"hidden"}
        np.testing.assert_array_equal(trial.spikes["hidden"].time, spikes.time)
        np.testing.assert_array_equal(trial.spikes["hidden"].neuron, spikes.neuron)
        assert trial.label == events().labels[i] and trial.n_inputs == 4
        np.testing.assert_array_equal(trial.input_times, events()[i].times)


def test_spikes_alone_stay_in_memory_without_a_folder():
    watch = Record(events(), range(2))
    t = trainer("native", "exact", callbacks=[watch])
    t.fit(events(), epochs=2)
    assert list(watch.recordings) == [1, 2] and list(watch.recordings[2]) == [0, 1]
    trial = watch.recordings[2][1]
    spikes = t.engine.run(t.engine.load(events()), [1], record_spikes=True).spikes["hidden"]
    assert trial.states == {} and len(spikes.time)
    np.testing.assert_array_equal(trial.spikes["hidden"].time, spikes.time)
    assert np.any(spikes.time % 0.05 > 1e-9)  # exact times, not those of the clock
    seen = record_trial(t, events(), 1)
    V = seen.states["hidden"]["V"]
    assert seen.engine == "native" and seen.duration == 20.0 and V.shape == (len(seen.times), 5)
    at = np.searchsorted(seen.times, spikes.time)
    np.testing.assert_allclose(V[at, spikes.neuron], 1.0, atol=1e-5)  # the peaks of V are in the record
    np.testing.assert_allclose(V[at + 1, spikes.neuron], 0.0, atol=1e-2)
    t.close()


def test_recording_changes_nothing():
    runs = []
    for callbacks in ([], [Record(events(), [0], states=["V", "lambda_V"])]):
        t = trainer(callbacks=callbacks)
        t.fit(events(), epochs=3)
        runs.append(t.engine.parameters["hidden_output.weight"].copy())
    np.testing.assert_array_equal(*runs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": [6]}, "Record: no sample 6 in a data set of 6"),
        ({"samples": [0], "populations": ["hiden"]}, "Record: no population 'hiden' .did you mean 'hidden'"),
        ({"samples": [0], "states": ["U"]}, "Record: no state 'U' in hidden, output .known: I, V, lambda_I, lambda_V"),
    ],
)
def test_what_cannot_be_recorded(settings, message):
    with pytest.raises(SettingError, match=message):
        trainer(callbacks=[Record(events(), **settings)]).fit(events(), epochs=1)


def test_a_file_that_is_no_recording(tmp_path):
    (tmp_path / "other.npz").write_bytes(b"something else")
    np.savez(tmp_path / "weights.npz", w=np.ones(3))
    for name in ("other.npz", "absent.npz", "weights.npz"):
        with pytest.raises(SettingError, match=f"{name} is not a recording"):
            load_recording(tmp_path / name)


def written(folder):
    """(name, step) -> value of all scalars in the event files of a folder, read record by record."""
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    for file in sorted(folder.iterdir()):
        content, at = file.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + length])
            at += 16 + length
            found |= {(v.tag, event.step): v.simple_value for v in event.summary.value}
    return found


def test_tensorboard_gets_every_number(tmp_path):
    pytest.importorskip("tensorboardX")
    t = trainer(callbacks=[TensorBoard()], run_dir=tmp_path / "run")
    t.fit(events(), events(), epochs=2)
    found = written(tmp_path / "run" / "tensorboard")
    for line in t.folder.metrics:
        for name, value in scalars(line).items():
            assert found[name, line["epoch"]] == pytest.approx(value, rel=1e-6)
    assert {"validation_accuracy", "silent/hidden", "validation_per_class/0"} <= {name for name, _ in found}
    trainer(callbacks=[TensorBoard(tmp_path / "other")]).resume(tmp_path / "run").fit(events(), events(), epochs=3)
    assert {step for _, step in written(tmp_path / "other")} == {3}
    with pytest.raises(SettingError, match="TensorBoard needs a folder: give it one, or give the trainer a run_dir"):
        trainer(callbacks=[TensorBoard()]).fit(events(), epochs=1)


def test_tensorboard_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(
        SettingError, match=r'TensorBoard needs tensorboardX: pip install "genn_eventprop\[tensorboard\]"'
    ):
        TensorBoard()


def test_numbers_are_found_and_the_rest_is_left_out():
    line = {"epoch": 3, "a": 1, "b": None, "c": float("nan"), "d": {"x": 2.5}, "e": [1.0, None], "f": "text"}
    assert scalars(line) == {"a": 1.0, "d/x": 2.5, "e/0": 1.0}


@pytest.mark.ci
@pytest.mark.parametrize("spike_times", ["grid", "exact"])
def test_a_trial_as_large_as_shd_is_recorded_in_seconds(spike_times):
    """700 - 256 - 20, 1000 steps, by the engine that trains: before, `reference_clock` took minutes for exact times."""
    rng, net = np.random.default_rng(1), Network()
    hidden, output = net.population(LIF(), 256, name="hidden"), net.population(LI(), 20, name="output")
    net.connect(net.input(700), hidden, Dense(Normal(0.03, 0.01)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.02)), delay=1.0)
    net.connect(hidden, output, Dense(Normal(0.0, 0.03)))
    spikes = np.sort(rng.uniform(0, 990, 8000)), rng.integers(0, 700, 8000)
    loss = IntegratedVoltageCrossEntropy(output)
    t = Trainer(net, loss, duration=1000.0, dt=1.0, spike_times=spike_times, threads=1, progress=False)
    large = Events.from_samples([spikes], 700, labels=[3])
    t.engine.run(t.engine.load(large), [0])  # compiled
    start = time.process_time()
    trial = record_trial(t, large, 0)
    assert time.process_time() - start < 5
    assert trial.engine == "native" and trial.states["hidden"]["lambda_V"].shape == (len(trial.times), 256)
    assert len(trial.spikes["hidden"].time) > 1000 and np.abs(trial.states["hidden"]["lambda_V"]).max() > 0
    t.close()
