"""Training with averaged weights: the same steps, evaluated, chosen, saved and loaded with averages."""

import numpy as np
import pytest

import genn_eventprop
from genn_eventprop import Dense, Events, Network, Normal, Param, Sparse, Trainer
from genn_eventprop.data.events.chunks import chunks
from genn_eventprop.errors import CheckpointError
from genn_eventprop.experiment import LayeredConfig, layered
from genn_eventprop.losses import IntegratedVoltageCrossEntropy
from genn_eventprop.modelling import Delay, Uniform
from genn_eventprop.models import LI, LIF
from genn_eventprop.optimisers import Adam
from genn_eventprop.runs import load_checkpoint
from genn_eventprop.training import Callback, Rewire

DECAY, WEIGHT = 0.9, "input_hidden.weight"


class Average(Callback):
    """The average of every learned parameter, in float64, and what the trainer evaluated with."""

    checkpointed = False

    def __init__(self):
        self.k, self.averages, self.epochs = 0, {}, []

    def end_batch(self, trainer, epoch, batch, statistics):
        self.k += 1
        for name in trainer.plan.trainable:
            x = np.array(trainer.engine.parameters[name], float)
            before = self.averages.get(name, np.zeros_like(x))
            self.averages[name] = before + max(1 - DECAY, 1 / self.k) * (x - before)

    def end_epoch(self, trainer, metrics):
        self.epochs.append({name: value.copy() for name, value in self.averages.items()})


class Interrupt(Callback):
    """After some updates."""

    checkpointed = False

    def __init__(self, after):
        self.after = after

    def end_batch(self, trainer, epoch, batch, statistics):
        if trainer.state.updates == self.after:
            trainer.interrupt()


def trainer(average=DECAY, engine="native", connectivity=None, rate=0.05, delay=0.0, **settings):
    net = Network()
    tau = Param(10.0, "ms", trainable=True, bounds=(9.5, 10.5))
    inp, hidden = net.input(4), net.population(LIF(tau_mem=tau), 6, name="hidden")
    output = net.population(LI(), 2, name="output")
    net.connect(inp, hidden, connectivity or Dense(Normal(2.0, 0.8)), delay=delay)
    net.connect(hidden, output, Dense(Normal(0.4, 0.6)))
    common = {"duration": 20.0, "dt": 1.0, "spike_times": "grid", "batch_size": 4, "progress": False, "threads": 1}
    optimiser = Adam(rate, average=average)
    return Trainer(net, IntegratedVoltageCrossEntropy(output), engine=engine, optimiser=optimiser, **common | settings)


def events(n, seed):
    rng = np.random.default_rng(seed)
    samples = [(np.sort(rng.uniform(0, 18, 30)), rng.integers(0, 4, 30)) for _ in range(n)]
    return Events.from_samples(samples, n_channels=4, labels=np.arange(n) % 2)


DATA = events(14, 1), events(9, 2), events(9, 3)


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize("engine", ["native", "reference_clock"])
def test_evaluations_use_the_averages_and_training_does_not(engine, tmp_path):
    """Learned delays and time constants at their bounds are averaged too; every step is that of a plain training."""
    how = {"engine": engine, "delay": Delay(Uniform(0.0, 1.0), max=1.2), "rate": 0.2}
    keep, plain = Average(), trainer(None, **how)
    averaging = trainer(callbacks=[keep], run_dir=tmp_path / "run", **how)
    plain.fit(DATA[0], epochs=3)
    results = averaging.fit(*DATA, epochs=3)
    same(dict(averaging.engine.parameters), dict(plain.engine.parameters))
    tau = averaging.engine.parameters["hidden.tau_mem"]
    assert np.any((tau == 9.5) | (tau == 10.5))
    tolerance = {"rtol": 1e-5, "atol": 1e-6}
    for name, value in keep.averages.items():
        np.testing.assert_allclose(averaging.averaged_parameters()[name], value, **tolerance)
        best = keep.epochs[results["best_epoch"] - 1][name]
        np.testing.assert_allclose(averaging.best_parameters[name], best, **tolerance)
    by_hand = trainer(None, **how)
    for name, value in averaging.averaged_parameters().items():
        by_hand.engine.parameters[name][...] = value
    expected = by_hand.evaluate(DATA[2])
    assert expected.loss != plain.evaluate(DATA[2]).loss
    assert results["final_test_accuracy"] == expected.accuracy
    assert averaging.evaluate(DATA[2]).loss == expected.loss
    assert averaging.folder.metrics[-1]["validation_loss"] == by_hand.evaluate(DATA[1]).loss
    np.testing.assert_array_equal(averaging.spike_counts(DATA[2])["hidden"], by_hand.spike_counts(DATA[2])["hidden"])


def test_a_loaded_run_predicts_with_averages(tmp_path):
    made = trainer(run_dir=tmp_path / "run")
    results = made.fit(*DATA, epochs=4)
    last, best = (genn_eventprop.load(tmp_path / "run", checkpoint=name) for name in ("last", "best"))
    same(dict(last.engine.parameters), made.averaged_parameters())
    same(dict(best.engine.parameters), made.best_parameters)
    assert last.evaluate(DATA[2]).loss == made.evaluate(DATA[2]).loss
    assert best.evaluate(DATA[2]).accuracy == results["test_accuracy"]
    with made.best_weights():
        assert made.evaluate(DATA[2]).loss == best.evaluate(DATA[2]).loss
        made.save_weights(tmp_path / "best.npz")
    made.save_weights(tmp_path / "last.npz")
    for name, value in best.engine.parameters.items():
        np.testing.assert_array_equal(np.load(tmp_path / "best.npz")[name], value)
        np.testing.assert_array_equal(np.load(tmp_path / "last.npz")[name], last.engine.parameters[name])
    made.load_weights(tmp_path / "best.npz")  # and its averages are these alone
    assert made.evaluate(DATA[2]).loss == best.evaluate(DATA[2]).loss
    made.load_checkpoint(tmp_path / "run" / "checkpoints" / "last.safetensors")
    assert made.evaluate(DATA[2]).loss == last.evaluate(DATA[2]).loss


@pytest.mark.one_in(3)
@pytest.mark.parametrize("after", [6, 8, "validation"])
def test_resuming_gives_the_same_bits(tmp_path, after):
    """4 updates an epoch; one interruption falls between two batches of a validation, which has the averages."""
    whole = trainer()
    expected = whole.fit(*DATA, epochs=3)
    broken = trainer(run_dir=tmp_path / "run", callbacks=[Interrupt(after)], checkpoint_batches=1)
    if after == "validation":
        run = broken.engine.run
        broken.engine.run = lambda *a, training=False, **k: (
            training or broken.state.updates < 8 or broken.interrupt(), run(*a, training=training, **k)
        )[1]  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        broken.fit(*DATA, epochs=3)
    again = trainer(checkpoint_batches=1).resume(tmp_path / "run")
    same(dict(again.engine.parameters), dict(broken.engine.parameters))
    results = again.fit(*DATA, epochs=3)
    same(dict(again.engine.parameters), dict(whole.engine.parameters))
    same(again.averaged_parameters(), whole.averaged_parameters())
    same(again.best_parameters, whole.best_parameters)
    assert results["final_test_accuracy"] == expected["final_test_accuracy"]


def test_interrupted_evaluation_keeps_training_weights(tmp_path):
    made = trainer(run_dir=tmp_path / "run")
    made.fit(*DATA[:2], epochs=1)
    raw = {name: value.copy() for name, value in made.engine.parameters.items()}
    with made.averaged_weights():
        made._save("last")
        assert not np.array_equal(made.engine.parameters[WEIGHT], raw[WEIGHT])
    saved = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.safetensors")
    np.testing.assert_array_equal(saved.section("raw")[WEIGHT], raw[WEIGHT])
    np.testing.assert_array_equal(saved.section("parameters")[WEIGHT], made.averaged_parameters()[WEIGHT])
    same(dict(made.engine.parameters), raw)


def test_a_run_without_averages_cannot_go_on_with_them(tmp_path):
    trainer(None, run_dir=tmp_path / "plain").fit(DATA[0], epochs=1)
    trainer(run_dir=tmp_path / "averaged").fit(DATA[0], epochs=1)
    assert not load_checkpoint(tmp_path / "plain" / "checkpoints" / "last.safetensors").section("raw")
    for name, other, words in (("plain", DECAY, "None"), ("averaged", None, "0.9")):
        with pytest.raises(CheckpointError, match=f"written with average={words} of optimiser Adam"):
            trainer(other).resume(tmp_path / name)


def test_a_rewired_synapse_has_an_average_of_its_own(tmp_path):
    """It begins near 0, so that the average of a pair of neurons is that of its weight, 0 while it had none."""
    how = Sparse(Normal(0.5, 1.0), probability=0.5)
    made = trainer(connectivity=how, rate=0.3, callbacks=[Rewire(l1=0.05)], delay=Delay(Uniform(2.0, 4.0), max=6.0))
    first = made.engine.parameters["input_hidden.pairs"].copy()
    made.fit(DATA[0], epochs=6)
    pairs, averages = made.engine.parameters["input_hidden.pairs"], made.averaged_parameters()
    assert not np.array_equal(pairs, first)
    np.testing.assert_array_equal(averages["input_hidden.pairs"], pairs)
    weight = made.engine.parameters[WEIGHT]
    assert np.all(np.sign(averages[WEIGHT]) == np.sign(weight))
    delays = averages["input_hidden.delay"]
    assert delays.min() > 0.5 and delays.max() <= 6.0 and len(delays) == len(pairs)


def test_chunks_of_recordings_are_evaluated_with_averages():
    cut, keep = chunks(events(3, 1), 10.0, 1.0), Average()
    made, plain = (trainer(a, carry=True, duration=10.0, callbacks=[keep] if a else []) for a in (DECAY, None))
    made.fit(cut, cut, epochs=2)
    plain.fit(cut, cut, epochs=2)
    same(dict(made.engine.parameters), dict(plain.engine.parameters))
    for name, value in made.averaged_parameters().items():
        np.testing.assert_allclose(value, keep.averages.get(name, value), rtol=1e-5, atol=1e-6)
        plain.engine.parameters[name][...] = value
    assert made.evaluate(cut).loss == plain.evaluate(cut).loss


def test_the_setting_of_layered_experiments():
    config = LayeredConfig(hidden=(3,), duration=20.0, dt=1.0, epochs=1, average_weights=0.95, clip_each=1.0)
    assert layered(config, DATA[0], None, None).trainer.optimiser.average == 0.95
    named = LayeredConfig(hidden=(3,), duration=20.0, dt=1.0, epochs=1, optimiser="rmsprop(average=0.5)")
    assert layered(named, DATA[0], None, None).trainer.optimiser.average == 0.5
    assert layered(LayeredConfig(hidden=(3,), duration=20.0), DATA[0], None, None).trainer.optimiser.average is None
