"""What is said before a run: time and memory, without touching the training."""

import numpy as np
import pytest

from genn_eventprop import Events
from genn_eventprop.errors import DataError
from genn_eventprop.training import LayeredConfig, layered
from genn_eventprop.training.expectation import _words, expectation, peak_bytes

CONFIG = LayeredConfig(hidden=(5,), duration=10.0, dt=1.0, spike_times="grid", engine="reference_clock", batch_size=2)


def experiment(augment: str = ""):
    events = Events.from_samples([([1.0, 2.0], [i % 2, 0]) for i in range(5)], 2, labels=[i % 2 for i in range(5)])
    config = LayeredConfig(**{**vars(CONFIG), "augment": augment})
    return layered(config, events, events, events, progress=False)


def test_time_and_memory_are_told_and_nothing_changes():
    told, plain = experiment("dropout=0.2"), experiment("dropout=0.2")
    line = expectation(told, 40)
    assert line.startswith("expected: ") and " for 40 epochs of " in line and line.endswith(" GB of memory")
    results = [e.trainer.fit(e.train, e.validation, e.test, epochs=2) for e in (told, plain)]
    assert results[0]["test_loss"] == results[1]["test_loss"]
    for name, value in plain.trainer.engine.parameters.items():
        np.testing.assert_array_equal(value, told.trainer.engine.parameters[name])
    assert " for 38 epochs of " in expectation(told, 40)  # two are behind


def test_memory_counts_what_is_still_to_be_held(monkeypatch):
    monkeypatch.setattr("genn_eventprop.training.expectation.peak_bytes", lambda: 5_000_000_000)
    small = experiment()
    assert expectation(small, 1).endswith("5.0 GB of memory")
    events = Events.from_samples([(np.zeros(40_000_000), np.zeros(40_000_000, int))], 2, labels=[0])
    object.__setattr__(small, "validation", None)
    object.__setattr__(small, "test", events)
    assert expectation(small, 1).endswith("5.3 GB of memory")  # 8 bytes an event


def test_the_process_is_measured():
    assert peak_bytes() > 20e6  # an interpreter with NumPy


def test_words_of_times():
    assert [_words(s) for s in (0.034, 7.26, 42.4, 150.0, 9000.0)] == ["0.034 s", "7.3 s", "42 s", "2.5 min", "2.5 h"]


def test_a_set_without_labels_is_refused_before():
    odd = experiment()
    events = Events.from_samples([([1.0], [0])], 2)
    object.__setattr__(odd, "train", events)
    with pytest.raises(DataError, match="the training set needs a label for every sample"):
        expectation(odd, 3)
