"""`Trainer(carry=True)`: recordings chunk after chunk, in training and evaluation; the page runs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.data.events.chunks import chunks
from genn_eventprop.errors import DataError, EngineError, SettingError
from genn_eventprop.losses import IntegratedVoltageCrossEntropy
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.optimisers import SGD
from genn_eventprop.training.stateful import in_order


def trainer(**settings):
    net = Network()
    source, hidden = net.input(4), net.population(LIF(), 6, name="hidden")
    output = net.population(LI(), 2, name="output")
    net.connect(source, hidden, Dense(Normal(2.0, 0.8)), delay=2.0)
    net.connect(hidden, output, Dense(Normal(0.4, 0.6)))
    common = {"duration": 10.0, "dt": 1.0, "engine": "reference_clock", "progress": False, "batch_size": 2, "seed": 4}
    loss = IntegratedVoltageCrossEntropy(output)
    return Trainer(net, loss, optimiser=SGD(0.1), **common | {"carry": True, "spike_times": "grid"} | settings)


def recordings(seed=1, lengths=(30.0, 50.0, 20.0)):
    rng = np.random.default_rng(seed)
    samples = [(np.sort(rng.uniform(0, t - 1, 40)), rng.integers(0, 4, 40)) for t in lengths]
    return Events.from_samples(samples, n_channels=4, labels=[0, 1, 1])


def test_batches_are_recordings_side_by_side():
    follows = np.array([False, True, True, False, True, False, True, True, True])  # of 3, 2 and 4 chunks
    found = in_order(follows, np.array([2, 0, 1]), 9, 2)
    assert [list(b) for b in found] == [[5, 0], [6, 1], [7, 2], [8], [3], [4]]
    assert [list(b) for b in in_order(None, None, 5, 2)] == [[0, 1], [2, 3], [4]]


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
    for batch in in_order(data.follows, order, len(cut), 2):
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
    with pytest.raises(SettingError, match="carry=True cannot be combined with checkpoint_batches or several ranks"):
        trainer(checkpoint_batches=2)
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


def test_the_page_runs():
    page = (Path(__file__).parents[2] / "docs" / "long_recordings.md").read_text()
    code = page.split("```python\n")[1].split("```")[0].replace("epochs=25", "epochs=2").replace("cut(32", "cut(16")
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "with what was carried" in done.stdout
