"""Networks with several hidden layers: gradient norms in the metrics, notes, limits of single gradients."""

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Trainer, losses
from genn_eventprop.data.readers import yin_yang
from genn_eventprop.errors import SettingError, TrainingError
from genn_eventprop.models import LI, LIF
from genn_eventprop.optimisers import SGD, Adam
from genn_eventprop.training.results import gradient_note


def trainer(**settings):
    net = Network()
    first, second = net.population(LIF(), 8, name="hidden1"), net.population(LIF(), 8, name="hidden2")
    output = net.population(LI(), 3, name="output")
    net.connect(net.input(5), first, Dense(Normal(2.0, 0.8)))
    net.connect(first, second, Dense(Normal(1.0, 0.5)))
    net.connect(second, output, Dense(Normal(0.0, 0.3)), trainable=False)
    loss = losses.IntegratedVoltageCrossEntropy(output)
    how = {"duration": 60.0, "dt": 1.0, "spike_times": "grid", "batch_size": 4, "threads": 1, "progress": False}
    return Trainer(net, loss, **how, **settings)


def test_metrics_have_the_norms_of_the_last_full_batch():
    """A rest of one sample, without a spike here, says nothing."""
    made, events = trainer(), yin_yang.load("train")[:8]
    silent = Events.from_samples([([], [])], 5, labels=[0])
    made.optimiser = SGD(0.0)
    made.optimiser.prepare({n: made.engine.parameters[n] for n in made.plan.trainable})
    made.fit(Events.concatenate([events, silent]), epochs=3)
    assert all(norm > 0 for m in made.state.metrics for norm in m["gradient_norms"].values())


def test_metrics_have_the_norms_of_the_last_batch(tmp_path):
    made, events = trainer(), yin_yang.load("train")[:8]
    made.fit(events, epochs=1)
    norms = made.state.metrics[0]["gradient_norms"]
    gradients = made.engine.gradients
    assert list(norms) == ["hidden1", "hidden2"]  # nothing that leads to the output is learned
    assert norms["hidden1"] == pytest.approx(np.linalg.norm(gradients["input_hidden1.weight"]))
    assert (
        norms["hidden2"] == pytest.approx(np.linalg.norm(gradients["hidden1_hidden2.weight"])) and norms["hidden2"] > 0
    )


def test_notes_on_gradients():
    assert gradient_note({"a": (1.0, 1.0), "b": (2.0, 0.5), "out": (1.0, 2.0)}) == ""
    assert gradient_note({"out": (1.0, 2.0)}) == ""
    assert (
        "vanishes in the backward pass: relative to the weights it is 1.0e-04 for a and 2.0e+00 for out"
        in gradient_note({"a": (1.0, 1e-4), "b": (1.0, 1.0), "out": (1.0, 2.0)})
    )
    assert "explodes in the backward pass: relative to the weights it is 5.0e+04 for b" in gradient_note(
        {"a": (1.0, 1.0), "b": (1.0, 5e4), "out": (1.0, 2.0)}
    )
    # one hidden layer: only where it is silent, and fewer layers are no remedy
    silent = gradient_note({"a": (0.0, 0.0), "out": (1.0, 2.0)})
    assert "vanishes" in silent and "fewer layers" not in silent
    assert gradient_note({"a": (1.0, 1e-4), "out": (1.0, 2.0)}) == ""
    # populations may be added in any order, and an auxiliary readout may have nothing to learn from
    norms = {"out": (1.0, 2.0), "a": (1.0, 1e-4), "aux": (0.0, 0.0)}
    assert "vanishes in the backward pass: relative to the weights it is 1.0e-04 for a and 2.0e+00 for out" in (
        gradient_note(norms, "out")
    )


def test_limits_of_single_gradients():
    first = {"a.weight": np.zeros(2), "b.weight": np.zeros(2), "c.weight": np.zeros(2)}
    gradients = {"a.weight": np.array([3.0, 4.0]), "b.weight": np.array([0.3, 0.4]), "c.weight": np.array([30.0, 40.0])}
    optimiser = SGD(1.0, clip_norm={"*": 1.0, "c.*": 5.0})
    optimiser.prepare(first)
    optimiser.update(first, gradients)
    np.testing.assert_allclose(first["a.weight"], [-0.6, -0.8])
    np.testing.assert_allclose(first["b.weight"], [-0.3, -0.4])
    np.testing.assert_allclose(first["c.weight"], [-3.0, -4.0])
    assert optimiser.clipped_steps == 1
    with pytest.raises(TrainingError, match="needs the gradients"):
        optimiser.next_step()
    with pytest.raises(SettingError, match="no parameter matches 'd.weight'"):
        SGD(1.0, clip_norm={"d.weight": 1.0}).prepare(first)
    with pytest.raises(SettingError, match="clip_norm must be > 0"):
        SGD(1.0, clip_norm={"*": 0.0})


def test_limits_in_a_training():
    limit, events = 1e-4, yin_yang.load("train")[:8]
    made = trainer(optimiser=Adam(1e-3, clip_norm={"*": limit}))
    made.fit(events, epochs=1)
    assert made.state.metrics[0]["clipped_gradients"] == 2
