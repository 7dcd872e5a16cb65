"""`Trainer(carry=...)`: recordings chunk after chunk, or whole, in training and evaluation; the page runs."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop import Currents, Delay, Dense, Events, Network, Normal, Trainer, load
from genn_eventprop.data.augment import Augmented, Blend, Dilate, Dropout, Shift
from genn_eventprop.data.augment.currents import Gain, ShiftTime
from genn_eventprop.data.augment.recordings import AugmentedRecordings
from genn_eventprop.data.currents.chunks import chunks as cut_currents
from genn_eventprop.data.events.chunks import chunks, timetable
from genn_eventprop.data.inputs import Inputs
from genn_eventprop.engines.contract.data import StepsOnDisk
from genn_eventprop.errors import CheckpointError, DataError, EngineError, SettingError
from genn_eventprop.losses import EndVoltageCrossEntropy, IntegratedVoltageCrossEntropy, Loss, SpikeTimeError
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.lif_delta import LIFDelta
from genn_eventprop.optimisers import SGD, Adam
from genn_eventprop.training import stateful
from genn_eventprop.training.callbacks import Callback
from genn_eventprop.training.stateful import in_order
from support.extras import REASON, needs

MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def trainer(**settings):
    net = Network()
    source, hidden = net.input(4), net.population(LIF(), 6, name="hidden")
    output = net.population(LI(), 2, name="output")
    net.connect(source, hidden, Dense(Normal(2.0, 0.8)), delay=2.0)
    net.connect(hidden, output, Dense(Normal(0.4, 0.6)))
    common = {"duration": 10.0, "dt": 1.0, "engine": "reference_clock", "progress": False, "batch_size": 2, "seed": 4}
    common |= {"optimiser": SGD(0.1), "carry": True, "spike_times": "grid"}
    return Trainer(net, IntegratedVoltageCrossEntropy(output), **common | settings)


def recordings(seed=1, lengths=(30.0, 50.0, 20.0), labels=(0, 1, 1)):
    rng = np.random.default_rng(seed)
    samples = [(np.sort(rng.uniform(0, t - 1, 40)), rng.integers(0, 4, 40)) for t in lengths]
    return Events.from_samples(samples, n_channels=4, labels=labels[: len(lengths)])


def test_batches_are_recordings_side_by_side():
    data = trainer().engine.load(chunks(recordings(lengths=(30.0, 20.0, 40.0)), 10.0, 1.0))
    found = in_order(data, np.array([2, 0, 1]), 2)
    assert [list(b) for b in found] == [[5, 0], [6, 1], [7, 2], [8], [3], [4]]
    found = in_order(replace(data, whole=True), np.array([2, 0, 1]), 2)
    assert [list(b) for b in found] == [[5, 6, 7, 8, 0, 1, 2], [3, 4]]
    assert [list(b) for b in in_order(replace(data, follows=None), None, 4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]


@pytest.mark.parametrize("engine", ["reference_clock", "native"])
def test_an_epoch_is_the_engine_run_chunk_after_chunk(engine):
    """Weights after one epoch, updated after every chunk; evaluation of a recording equals the long trial's spikes."""
    mine, cut = trainer(engine=engine), chunks(recordings(), 10.0, 1.0)
    by_hand = trainer(engine=engine)
    mine.fit(cut, epochs=1)
    engine, data = by_hand.engine.inner, by_hand.engine.load(cut)
    order = by_hand.streams.at("order", 0).permutation(3)
    by_hand.optimiser.factor = 1.0
    last, carry = np.zeros(0, int), None
    for batch in in_order(data, order, 2):
        if not data.follows[batch].any():
            start = None
        else:
            start = carry.of(np.array([list(last).index(s - 1) for s in batch]))
        _, carry = engine.run_from(data, batch, start, training=True)
        engine.update(by_hand.optimiser)
        last = batch
    for name, value in mine.engine.parameters.items():
        np.testing.assert_array_equal(value, engine.parameters[name], err_msg=name)
    whole = trainer(duration=50.0, carry=False, engine=engine.name)
    for name, value in mine.engine.parameters.items():
        whole.engine.parameters[name][...] = value
    counts = mine.spike_counts(cut)["hidden"]
    wanted = whole.spike_counts(recordings()[1:2])["hidden"][0]
    np.testing.assert_array_equal(counts[cut.groups == 1].sum(0), wanted)
    assert wanted.sum() > 10
    assert len(mine.evaluate(cut).predictions) == len(cut) == 10


def test_a_run_folder_resumes_between_epochs(tmp_path):
    cut = chunks(recordings(), 10.0, 1.0)
    whole = trainer(run_dir=tmp_path / "whole")
    whole.fit(cut, epochs=2)
    first = trainer(run_dir=tmp_path / "parts")
    first.fit(cut, epochs=1)
    second = trainer().resume(tmp_path / "parts")
    second.fit(cut, epochs=2)
    for name, value in whole.engine.parameters.items():
        np.testing.assert_array_equal(value, second.engine.parameters[name])
    with pytest.raises(Exception, match="carry"):
        trainer(carry=False).resume(tmp_path / "whole")


def test_what_is_refused():
    with pytest.raises(EngineError, match="c99 carries no state from trial to trial; use engine='native' or"):
        trainer(engine="c99")
    with pytest.raises(
        DataError, match="carry=True needs recordings cut into chunks, with the recording of each in groups="
    ):
        trainer().fit(recordings(lengths=(10.0, 10.0, 10.0)), epochs=1)
    cut = chunks(recordings(), 10.0, 1.0)
    with pytest.raises(
        DataError, match="needs the chunks of each recording together and in order; the groups are mixed"
    ):
        trainer().fit(cut[np.array([0, 3, 1])], epochs=1)
    made = trainer()
    data = made.engine.load(cut)
    with pytest.raises(EngineError, match="chunks of a recording must run one after the other"):
        made.engine.run(data, [1])


def exact(**settings):
    return trainer(**{"carry": "exact", "engine": "c99", "dtype": "float64"} | settings)


def test_an_epoch_with_exact_gradients_is_that_of_long_trials(tmp_path):
    """A single label at the end of V: trials as long as the recordings learn the same. Runs resume within an epoch."""
    events = recordings(lengths=(50.0, 50.0, 50.0))
    labels = np.full((3, 5), -1)
    labels[:, -1] = [0, 1, 1]
    cut = chunks(events, 10.0, 1.0, length=50.0, labels=labels)
    net = trainer().network
    common = {"dt": 1.0, "seed": 4, "progress": False, "batch_size": 2, "engine": "c99", "dtype": "float64"}
    made = [
        Trainer(net, EndVoltageCrossEntropy(net.populations[-1]), optimiser=SGD(rate), **common | settings)
        for rate, settings in (
            (0.1, {"duration": 50.0}),
            (0.5, {"duration": 10.0, "carry": "exact", "chunk": 3.0}),  # the mean is one of five chunks
            (0.1, {"duration": 50.0, "carry": "exact", "chunk": 7.0}),
        )
    ]
    results = [t.fit(data, validation=data, epochs=3) for t, data in zip(made, (events, cut, events))]
    for name, value in made[0].engine.parameters.items():
        np.testing.assert_allclose(made[1].engine.parameters[name], value, rtol=1e-12)
        np.testing.assert_allclose(made[2].engine.parameters[name], value, rtol=1e-12)
    assert results[0]["history"]["validation_accuracy"] == results[1]["history"]["validation_accuracy"]
    copy = pickle.loads(pickle.dumps(made[1]))
    copy.fit(cut, validation=cut, epochs=4)
    made[1].fit(cut, validation=cut, epochs=4)
    for name, value in made[1].engine.parameters.items():
        np.testing.assert_array_equal(copy.engine.parameters[name], value)


def test_exact_evaluation_is_that_of_carried_states():
    cut = chunks(recordings(), 10.0, 1.0)
    carried, whole = trainer().evaluate(cut), exact().evaluate(cut)
    np.testing.assert_allclose(whole.readout, carried.readout, rtol=1e-12)
    np.testing.assert_array_equal(whole.predictions, carried.predictions)
    np.testing.assert_array_equal(whole.spikes["hidden"], carried.spikes["hidden"])
    assert any("recordings run in 5 pieces of up to 10 steps, 4 states kept" in n for n in _notes(exact(), cut))


def test_long_recordings_run_in_longer_pieces(monkeypatch):
    """Unless somebody says how long; with the same bits."""
    monkeypatch.setattr(stateful, "LEAST_STEPS", 5)
    cut = chunks(recordings(lengths=(70.0, 20.0)), 10.0, 1.0)
    made, short = exact(), exact(chunk=5.0)
    assert made.engine.runner.steps == 5
    for each, steps in ((made, 8), (short, 5)):
        each.fit(cut, epochs=1)
        assert each.engine.runner.steps == steps
    for name, value in short.engine.parameters.items():
        np.testing.assert_array_equal(made.engine.parameters[name], value)
    monkeypatch.setattr(stateful, "DEFAULT_STEPS", 2)
    assert exact(memory="4 kB").engine.runner.steps == 2


def _notes(made, data):
    made.fit(data, epochs=1)
    return made.notes


@pytest.mark.one_in(2)
@pytest.mark.parametrize("times", ["grid", "exact"])
def test_recordings_that_stay_on_the_disk(times, tmp_path):
    """The same bits, with nothing read but the spikes of a piece and of the steps before it."""
    cut = chunks(recordings(), 10.0, 1.0, exact=times == "exact")
    cut.save(tmp_path / "set")
    there = Events.load(tmp_path / "set")
    assert there.mapped
    kept, read = (exact(chunk=2.0, spike_times=times, engine="native") for _ in range(2))
    kept.fit(cut, epochs=2)
    read.fit(there, validation=there, epochs=2)
    for name, value in kept.engine.parameters.items():
        np.testing.assert_array_equal(read.engine.parameters[name], value)
    np.testing.assert_array_equal(read.evaluate(there).readout, kept.evaluate(cut).readout)
    data, most = read.engine.load(there), 0
    assert np.shares_memory(data.channels, there.channels)
    assert isinstance(data.steps, StepsOnDisk)
    np.testing.assert_array_equal(data.steps[:], kept.engine.load(cut).steps)
    take = data.steps.__class__.__getitem__

    class Counted(StepsOnDisk):
        def __getitem__(self, which):
            nonlocal most
            found = take(self, which)
            most = max(most, np.size(found))
            return found

    data = replace(data, steps=Counted(there.times, 1.0, 0.0 if times == "exact" else 0.5, 9))
    read.engine.run(data, np.arange(len(cut)), training=True)
    assert 0 < most < len(cut.times) / 4


def test_target_spike_times_go_to_their_chunks():
    """Cut, trained, and told where in the recordings an answer is."""
    wanted = np.full((3, 2, 4), np.nan)
    wanted[0, 0, :3], wanted[1, 1, :3], wanted[2, 0, 0] = [20.0, 3.0, 20.5], [49.0, 0.0, 45.0], 10.0
    cut = chunks(recordings(), 10.0, 1.0, spike_times=wanted)
    at = [(int(j), int(k), float(cut.targets[j, k, m])) for j, k, m in np.argwhere(~np.isnan(cut.targets))]
    assert at == [(0, 0, 3.0), (1, 0, 10.0), (2, 0, 0.5), (3, 1, 0.0), (7, 1, 5.0), (7, 1, 9.0), (8, 0, 10.0)]
    net = Network()
    output = net.population(LIF(), 2, name="output")
    net.connect(net.input(4), output, Dense(Normal(2.0, 0.8)))
    common = {"duration": 10.0, "dt": 1.0, "progress": False, "batch_size": 3, "optimiser": SGD(1e-3), "seed": 4}
    made = Trainer(net, SpikeTimeError(output), carry="exact", **common)
    losses = [made.fit(cut, epochs=1)["history"]["train_loss"][-1] for _ in range(2)]
    assert np.isfinite(losses).all()
    table = timetable(cut, 10.0, made.predict(cut))
    assert table["answer"].shape[0] == len(cut) == 10
    assert [tuple(map(float, row)) for row in table[["recording", "start", "end"]][[0, 2, 3, 9]]] == [
        (0, 0, 10), (0, 20, 30), (1, 0, 10), (2, 10, 20),
    ]  # fmt: skip
    with pytest.raises(DataError, match="4 answers for 10 chunks; give what predict says of all of them"):
        timetable(cut, 10.0, np.zeros(4))
    with pytest.raises(DataError, match=r"spike_times have shape \(3, 2\); they need \(3, outputs, spikes\)"):
        chunks(recordings(), 10.0, 1.0, spike_times=np.zeros((3, 2)))
    wanted[2, 1, 2] = 20.5
    with pytest.raises(DataError, match="spike_times: 20.5 ms is not in recording 2 of 20 ms"):
        chunks(recordings(), 10.0, 1.0, spike_times=wanted)


@pytest.mark.ci
def test_recordings_of_currents():
    """Cut, trained, evaluated and told when which answer is, as one long recording of all chunks."""
    net, rng = Network(), np.random.default_rng(3)
    hidden, output = net.population(LIF(), 6, name="hidden"), net.population(LI(), 2, name="output")
    net.connect(net.current(3, dt=2.5, name="eeg"), hidden, Dense(Normal(0.4, 0.3)), delay=2.0)
    net.connect(hidden, output, Dense(Normal(0.4, 0.6)))
    eeg = Currents(rng.normal(1.0, 1.0, (3, 18, 3)), dt=2.5)  # 45 ms
    cut = cut_currents(eeg, 10.0, 1.0, spans=[[(0, 20, 0)], [(10, 50, 1)], [(40, 50, 0)]])
    assert (len(cut), cut.n_steps, cut.labels.tolist()[:7]) == (15, 4, [0, 0, -1, -1, -1, -1, 1])
    np.testing.assert_array_equal(cut.values.reshape(3, 20, 3)[:, :18], eeg.values)
    assert not cut.values.reshape(3, 20, 3)[:, 18:].any()
    with pytest.raises(DataError, match="a chunk of 11 ms is not a whole number of steps of the currents, of 2.5 ms"):
        cut_currents(eeg, 11.0, 1.0)
    with pytest.raises(DataError, match="the currents go on after their length of 2 chunks; crop them"):
        cut_currents(eeg, 10.0, 1.0, length=20.0)
    common = {"dt": 1.0, "progress": False, "batch_size": 2, "optimiser": SGD(0.3), "seed": 4, "carry": "exact"}
    made = Trainer(net, EndVoltageCrossEntropy(output), duration=10.0, chunk=3.0, **common)
    losses = made.fit(cut, epochs=5)["history"]["train_loss"]
    assert losses[-1] < losses[0]
    # V at the end knows nothing of where a chunk begins
    whole = Trainer(net, EndVoltageCrossEntropy(output), duration=50.0, **common)
    for name, value in made.engine.parameters.items():
        whole.engine.parameters[name][...] = value
    of_whole = Currents(eeg.values, 2.5, labels=[0, 1, 0])
    np.testing.assert_allclose(made.evaluate(cut).readout[4::5], whole.evaluate(of_whole).readout, rtol=1e-5)
    table = timetable(cut, 10.0, made.predict(cut))
    assert tuple(map(float, table[["recording", "start", "end"]][6])) == (1, 10, 20)
    gained = AugmentedRecordings(Augmented(cut, [Gain(0.5)], seed=2), 10.0, 1.0)
    factors = gained.batch(np.array([7, 0, 1]), 0).values / cut.values[[7, 0, 1]]
    np.testing.assert_allclose(factors, factors[:, :1, :1] * np.ones((3, 4, 3)), rtol=1e-6)
    assert factors[0, 0, 0] != factors[1, 0, 0] == pytest.approx(factors[2, 0, 0])  # one for a recording
    again = Trainer(net, EndVoltageCrossEntropy(output), duration=10.0, chunk=3.0, **common | {"optimiser": SGD(0.3)})
    assert again.fit(Augmented(cut, [Gain(0.5)]), epochs=1)["history"]["train_loss"][0] != losses[0]
    with pytest.raises(DataError, match="ShiftTime moves currents away from the labels of their chunks"):
        AugmentedRecordings(Augmented(cut, [ShiftTime(5.0)]), 10.0, 1.0)
    with pytest.raises(DataError, match="recordings in chunks are augmented where they have a single input"):
        AugmentedRecordings(Augmented(Inputs({"a": cut, "b": cut}), {}), 10.0, 1.0)


def test_individual_delays_of_recordings_run_on_native():
    net = Network()
    output = net.population(LIFDelta(v_thresh=1e9), 2, name="output")
    net.connect(net.input(4), output, Dense(1.0), delay=Delay(1.0))
    common = {"duration": 10.0, "dt": 1.0, "progress": False, "carry": "exact"}
    for readout in ("end", "voltage"):
        assert Trainer(net, Loss(output, readout), **common).engine.name == "native"


def test_spans_label_the_chunks_within():
    def labels(*spans, duration=10.0):
        return chunks(recordings(), duration, 1.0, spans=spans).labels.tolist()

    assert labels([(10, 30, 0)], [(0, 10, 1), (40, 50, 0)], []) == [-1, 0, 0, 1, -1, -1, -1, 0, -1, -1]
    for spans, message in (
        ([[(10, 25, 2)], [(0, 15, 1)], []], "recording 0: the span from 10 to 25 ms does not .* of 5 ms fit all spans"),
        ([[(10, 40, 2)], [], []], "recording 0: the span from 10 to 40 ms is not within its 30 ms"),
        ([[], [(0, 20, 1), (10, 30, 0)], []], "recording 1: the span from 10 to 30 ms overlaps another"),
        ([[]], "spans of 1 recordings for 3; give a list for each"),
    ):
        with pytest.raises(DataError, match=message):
            labels(*spans)
    assert labels([(10, 25, 0)], [(0, 15, 1)], [], duration=5.0)[:6] == [-1, -1, 0, 0, 0, -1]


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from training.test_carried import chunks, killable, recordings
made = killable(sys.argv[3], run_dir=sys.argv[1], checkpoint_batches=1)
if Path(sys.argv[1], "checkpoints", "last.safetensors").exists():
    made.resume(sys.argv[1])
made.fit(chunks(recordings(), 10.0, 1.0), epochs=10_000)
"""


def killable(carry, **settings):
    if carry == "exact":
        return exact(chunk=2.0, batch_size=1, **settings)
    return trainer(engine="native", optimiser=Adam(0.01, average=0.9), **settings)


@pytest.mark.one_in(2)
@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
@pytest.mark.parametrize("carry", ["exact", "True"])
def test_a_training_that_is_killed_goes_on_with_the_same_bits(carry, tmp_path):
    """Anywhere, several times: within recordings too."""
    folder, tests, rng = tmp_path / "killed", str(Path(__file__).parents[1]), np.random.default_rng()
    last, before = folder / "checkpoints" / "last.safetensors", 0.0
    cut, whole = chunks(recordings(), 10.0, 1.0), killable(carry)
    killable(carry).fit(cut, epochs=1)  # compiles here, once, what the processes would compile while this one waits
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-P", "-c", KILLED, str(folder), tests, carry])
        began = time.monotonic()
        while (
            (not last.exists() or last.stat().st_mtime == before)
            and process.poll() is None
            and time.monotonic() - began < 60
        ):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.2))  # somewhere in a recording
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        before = last.stat().st_mtime
    made, whole = killable(carry).resume(folder), killable(carry)
    done = made.state.epoch + 2
    assert made.state.updates > 0
    got, want = made.fit(cut, epochs=done)["history"], whole.fit(cut, epochs=done)["history"]
    assert got == want
    for name, value in whole.engine.parameters.items():
        np.testing.assert_array_equal(made.engine.parameters[name], value)


class Interrupted(Callback):
    """Ends a training after some updates; evaluates after each."""

    checkpointed = False

    def __init__(self, after, events):
        self.after, self.events = after, events

    def end_batch(self, trainer, epoch, batch, statistics):
        trainer.evaluate(self.events)
        if trainer.state.updates == self.after:
            trainer.interrupt()


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("engine", "places"), [("reference_clock", [3]), ("native", [1, 4])])
def test_an_interrupt_between_chunks_goes_on_with_the_state(engine, places, tmp_path):
    """A copy, too."""
    cut, other = chunks(recordings(), 10.0, 1.0), chunks(recordings(seed=2, lengths=(10.0,)), 10.0, 1.0)
    whole = trainer(engine=engine)
    whole.fit(cut, epochs=2)
    for after in places:
        first = trainer(engine=engine, run_dir=tmp_path / str(after), callbacks=[Interrupted(after, other)])
        with pytest.raises(KeyboardInterrupt):
            first.fit(cut, epochs=2)
        copy = pickle.loads(pickle.dumps(first))
        copy.run_dir = None
        for made in (trainer(engine=engine).resume(tmp_path / str(after)), copy):
            assert made.state.updates == after
            made.fit(cut, epochs=2)
            for name, value in whole.engine.parameters.items():
                np.testing.assert_array_equal(made.engine.parameters[name], value)
    made = trainer(engine=engine)
    state = first.engine.carried()
    for broken in ({**state, "sent/input": state["sent/input"][:, :, 1:]}, {"samples": state["samples"]}):
        with pytest.raises(CheckpointError, match="state of the recordings in the checkpoint is not one of this netw"):
            made.engine.carry_on(broken)


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("carry", "engine"), [(True, "native"), ("exact", "c99")])
def test_recordings_are_augmented_as_a_whole(carry, engine, tmp_path):
    cut = chunks(recordings(), 10.0, 1.0)
    cut.save(tmp_path / "set")

    def trained(data, **settings):
        made = trainer(carry=carry, engine=engine, **settings)
        made.fit(data, epochs=2)
        return made

    # in memory, from a file, and with steps that change nothing
    plain = trained(cut)
    for data in (Events.load(tmp_path / "set"), Augmented(cut, [Shift(0)], seed=3)):
        for name, value in trained(data).engine.parameters.items():
            np.testing.assert_array_equal(plain.engine.parameters[name], value)
    # every recording is shifted, the same for whichever of its chunks is asked for
    augmented = AugmentedRecordings(Augmented(cut, [Shift(2), Dropout(0.3)], seed=3), 10.0, 1.0)
    rows = [np.array([0, 3]), np.array([4, 1]), np.array([2, 9, 8]), np.arange(10), np.array([5])]
    whole = augmented.batch(np.arange(10), 1)
    for some in rows:
        got = augmented.batch(some, 1)
        np.testing.assert_array_equal(got.times, whole[some].times)
        np.testing.assert_array_equal(got.channels, whole[some].channels)
        np.testing.assert_array_equal(got.labels, cut.labels[some])
    assert not np.array_equal(augmented.batch(np.arange(10), 2).channels, whole.channels)
    shifted = AugmentedRecordings(Augmented(cut, [Shift(2)], seed=3), 10.0, 1.0).batch(np.arange(10), 1)
    by = {int(r): set() for r in cut.groups}
    for k in range(10):
        (times, channels), (after, there) = cut.sample(k), shifted.sample(k)
        times, kept = times.round(9), dict(zip(after.round(9), there))
        by[int(cut.groups[k])] |= {kept[t] - c for t, c in zip(times, channels) if t in kept and t > 0}
    assert [len(moved) for moved in by.values()] == [1, 1, 1]
    assert by[0] | by[1] | by[2] != {0}
    # a run that was interrupted within a recording augments it again
    other, data = (
        chunks(recordings(seed=2, lengths=(10.0,)), 10.0, 1.0),
        Augmented(cut, [Shift(2), Dropout(0.3)], seed=3),
    )
    with pytest.raises(KeyboardInterrupt):
        trained(data, run_dir=tmp_path / "run", callbacks=[Interrupted(1, other)], checkpoint_batches=1)
    again = trainer(carry=carry, engine=engine).resume(tmp_path / "run")
    again.fit(data, epochs=2)
    for name, value in trained(data).engine.parameters.items():
        np.testing.assert_array_equal(again.engine.parameters[name], value)
    assert any(not np.array_equal(plain.engine.parameters[n], v) for n, v in again.engine.parameters.items())
    for steps, blend, message in (
        ([Dilate(0.9, 1.1)], None, "Dilate moves events away from the labels of their chunks"),
        ([], Blend(), "Blend mixes samples, not recordings in chunks"),
    ):
        with pytest.raises(DataError, match=message):
            trained(Augmented(cut, steps, blend))


@pytest.mark.parametrize(("carry", "engine"), [(True, "reference_clock"), ("exact", "native")])
def test_a_loaded_model_carries_the_state_too(carry, engine, tmp_path):
    cut = chunks(recordings(), 10.0, 1.0)
    made = trainer(carry=carry, engine=engine, run_dir=tmp_path / "run")
    made.fit(cut, epochs=1)
    model = load(tmp_path / "run")
    got, want = model.evaluate(cut), made.evaluate(cut)
    np.testing.assert_array_equal(got.readout, want.readout)
    np.testing.assert_array_equal(model.predict(cut), made.predict(cut))
    np.testing.assert_array_equal(model.spike_counts(cut)["hidden"], made.spike_counts(cut)["hidden"])
    alone = model.evaluate(Events(cut.times, cut.channels, cut.offsets, 4, cut.labels))
    assert np.abs(alone.readout - got.readout).max() > 1e-3


RANKED = """
import sys
import numpy as np
from mpi4py import MPI
sys.path.insert(0, sys.argv[2])
from training.test_carried import chunks, exact, recordings
made = exact(engine="native", chunk=4.0, batch_size=4, communicator=MPI.COMM_WORLD)
cut = chunks(recordings(lengths=(30.0, 50.0, 20.0, 40.0, 20.0), labels=[0, 1, 1, 0, 1]), 10.0, 1.0)
done = made.fit(cut, validation=cut, epochs=2)
if MPI.COMM_WORLD.rank == 0:
    np.savez(sys.argv[1], loss=done["history"]["train_loss"], predicted=made.predict(cut), **made.engine.parameters)
else:
    made.predict(cut)
"""


@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.ci)])
def test_recordings_on_several_ranks_have_the_bits_of_one(ranks, tmp_path):
    needs("mpi4py")
    if MPIEXEC is None:
        pytest.skip(f"{REASON} [mpi], and mpiexec")
    tests, found = str(Path(__file__).parents[1]), []
    for n in (1, ranks):
        file = tmp_path / f"{n}.npz"
        command = [MPIEXEC, "-n", str(n), sys.executable, "-P", "-c", RANKED, str(file), tests]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        found.append(np.load(file))
    for name in found[0].files:
        np.testing.assert_array_equal(found[1][name], found[0][name], err_msg=name)


def test_wrong_settings_of_recordings():
    with pytest.raises(SettingError, match="carry='exakt': must be True, False or 'exact'"):
        exact(carry="exakt")
    with pytest.raises(SettingError, match="chunk and memory belong to carry='exact'; with carry=True a chunk"):
        trainer(chunk=5.0)
    with pytest.raises(SettingError, match=r"chunk=2.5 ms is not a whole number of steps of 1 ms"):
        exact(chunk=2.5)
    with pytest.raises(
        SettingError, match="memory='500': a number and one of kB, MB, GB, KiB, MiB, GiB, such as '500 MB'"
    ):
        exact(memory="500")
    with pytest.raises(EngineError, match="no whole recordings in pieces; use engine='native', or 'c99' on the grid"):
        exact(engine="reference_clock")
    assert exact(engine="auto").engine.name == "native"
    with pytest.raises(EngineError, match="memory=0.001 MB is too little for pieces of 10 steps: they need 0.0"):
        exact(memory="1 kB").fit(chunks(recordings(), 10.0, 1.0), epochs=1)


@pytest.mark.ci
def test_the_page_runs():
    """And finds that the gradient has to cross chunks."""
    page = (Path(__file__).parents[2] / "docs" / "long_recordings.md").read_text()
    code = page.split("```python\n")[1].split("```")[0].replace("epochs=30", "epochs=15")
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    truncated, exact = (int(line.split(": ")[1].split(" %")[0]) for line in done.stdout.splitlines())
    assert truncated < 65
    assert exact > 85
