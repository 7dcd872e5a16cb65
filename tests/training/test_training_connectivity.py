"""Training with sparse and convolutional connections and learned delays: rates, bounds, checkpoints, `load`."""

import dataclasses
import json

import numpy as np
import pytest

import genn_eventprop
from genn_eventprop import (
    Conv2D,
    Delay,
    Dense,
    Events,
    FanIn,
    Network,
    Normal,
    Pool2D,
    Sparse,
    Trainer,
    Uniform,
    losses,
)
from genn_eventprop.description import Described, build, describe
from genn_eventprop.errors import CheckpointError, DescriptionError, SettingError
from genn_eventprop.experiment import LayeredConfig, layered
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.optimisers import Adam, ByParameter, Constant, Exponential, Progress, Step
from genn_eventprop.runs.weights import load_weights, save_weights
from genn_eventprop.training import Revive
from genn_eventprop.training.callbacks import describe_epoch
from genn_eventprop.training.results import delay_metrics


def network(kind="synaptic"):
    net = Network()
    image = net.input(shape=(4, 4, 2))
    conv, pool = Conv2D(FanIn(3.0, 6.0), 3, 2, padding=1), Pool2D(2, 24.0)
    first = net.population(LIF(), name="conv", shape=conv.output_shape(image.shape))
    small = net.population(LIF(), name="pool", shape=pool.output_shape(first.shape))
    hidden, output = net.population(LIF(), 7, "hidden"), net.population(LI(), 2, "output")
    net.connect(image, first, conv, delay=Delay(Uniform(0.0, 3.0), max=4.0))
    net.connect(first, small, pool)
    net.connect(
        small, hidden, Sparse(FanIn(1.0, 12.0), probability=0.6), delay=Delay(Uniform(0, 9.0), kind=kind, max=9.0)
    )
    net.connect(hidden, hidden, Sparse(Normal(0.0, 0.1), fan_in=3), delay=Delay(2.0, kind="axonal", trainable=False))
    net.connect(hidden, output, Dense(Normal(0.2, 0.5)), delay=Delay(Uniform(0, 2.0), kind="dendritic", max=2.0))
    return net, losses.IntegratedVoltageCrossEntropy(output)


def events(n=12, seed=0):
    rng = np.random.default_rng(seed)
    samples = [(np.sort(rng.uniform(0, 25, 120)), rng.integers(0, 32, 120)) for _ in range(n)]
    return Events.from_samples(samples, n_channels=32, labels=np.arange(n) % 2)


def trainer(folder=None, **given):
    net, loss = network()
    optimiser = Adam(1e-3, groups={"*.delay": {"learning_rate": 0.5}})
    options = {"engine": "c99", "duration": 40.0, "dt": 1.0, "batch_size": 4, "progress": False, "seed": 3}
    return Trainer(net, loss, optimiser=optimiser, run_dir=folder, **(options | given))


def test_delays_move_at_their_own_rate_and_stay_in_their_bounds(tmp_path):
    made = trainer(tmp_path / "run")
    first = {k: v.copy() for k, v in made.engine.parameters.items()}
    made.fit(events(), epochs=4)
    for c in made.plan.connections:
        if c.drawn:
            np.testing.assert_array_equal(made.engine.parameters[c.pairs], first[c.pairs])
        if not c.learns_delays:
            continue
        delays = made.engine.parameters[c.delays_name]
        moved = np.abs(delays - first[c.delays_name]).max()
        assert 0.3 < moved < 4 * 3 * 0.5 + 1e-6 and delays.min() >= 0 and delays.max() <= c.delays.limit
    assert np.abs(made.engine.parameters["input_conv.weight"] - first["input_conv.weight"]).max() < 0.05
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    told = lines[-1]["delays"]["pool_hidden"]
    delays = made.engine.parameters["pool_hidden.delay"]
    assert told["mean"] == pytest.approx(delays.mean(), rel=1e-5)
    assert told["at_zero"] == pytest.approx(np.mean(delays <= 1e-5)) and "hidden_hidden" not in lines[-1]["delays"]
    assert f"pool_hidden delays {delays.mean():.1f} ms" in describe_epoch(lines[-1], 4)


def test_shares_at_the_bounds_are_reported():
    made = trainer()
    made.engine.parameters["pool_hidden.delay"][:3] = 0.0
    made.engine.parameters["pool_hidden.delay"][3:5] = 9.0
    made.optimiser.groups = {}
    told = delay_metrics(made.plan, made.engine.parameters, made.optimiser)["delays"]["pool_hidden"]
    n = made.engine.parameters["pool_hidden.delay"].size
    assert told["at_zero"] == 3 / n and told["at_max"] == 2 / n
    line = {"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5, "validation_accuracy": None, "spikes_per_neuron": {},
            "guarded": 0, "clipped_gradients": 0, "seconds": 1.0, "delays": {"pool_hidden": told}}  # fmt: skip
    assert f"{300 / n:.0f} % at 0" in describe_epoch(line, 1) and f"{200 / n:.0f} % at max" in describe_epoch(line, 1)


def test_a_run_that_is_resumed_has_the_bits_of_one_that_was_not(tmp_path):
    whole, part, rest = (trainer(tmp_path / name) for name in ("a", "b", "b"))
    whole.fit(events(), epochs=3)
    part.fit(events(), epochs=1)
    rest.resume()
    rest.fit(events(), epochs=3)
    for key, value in whole.engine.parameters.items():
        np.testing.assert_array_equal(rest.engine.parameters[key], value, err_msg=key)


def test_a_trained_model_is_loaded_with_its_pairs_and_delays(tmp_path):
    made = trainer(tmp_path / "run")
    made.fit(events(), epochs=2)
    model = genn_eventprop.load(tmp_path / "run", checkpoint="last", engine="c99")
    assert set(model.engine.parameters) == set(made.engine.parameters)
    for key, value in made.engine.parameters.items():
        np.testing.assert_array_equal(model.engine.parameters[key], value, err_msg=key)
    assert model.engine.parameters["pool_hidden.pairs"].dtype == np.int32
    data = events(6, 9)
    np.testing.assert_array_equal(model.predict(data), made.predict(data))


@pytest.mark.parametrize("form", ["w.npz", "folder"])
def test_weights_go_to_files_and_back(tmp_path, form):
    made = trainer()
    save_weights(tmp_path / form, made.engine.parameters)
    found = load_weights(tmp_path / form, made.engine.parameters)
    for key, value in made.engine.parameters.items():
        np.testing.assert_array_equal(found[key].astype(value.dtype), value, err_msg=key)
    assert found["hidden_hidden.pairs"].dtype == np.int32


def test_given_pairs_are_stored_beside_the_description():
    net = Network()
    inp, output = net.input(3), net.population(LI(), 2, "output")
    net.connect(inp, output, Sparse(np.ones(3), pairs=[(2, 0), (0, 1), (1, 1)]), delay=[1.0, 2.0, 0.5])
    document = describe(Described(net, losses.IntegratedVoltageCrossEntropy(output), 10.0, 1.0, "grid"))
    values = net.initial_parameters(0)
    again = build(json.loads(json.dumps(document)), values).network.initial_parameters(5)
    assert set(again) == set(values) and all(np.array_equal(again[k], values[k]) for k in values)
    with pytest.raises(
        DescriptionError, match="'input_output': its pairs, stored next to the description, are missing"
    ):
        build(json.loads(json.dumps(document)))
    document["network"]["connections"][0]["connectivity"]["colour"] = 3
    with pytest.raises(DescriptionError, match="'input_output': unknown 'colour' of Sparse"):
        build(document, values)


def test_schedules_by_parameter():
    schedule = Exponential(0.5) * ByParameter(Step(2, 0.1), {"*.delay": Constant(), "a.*": Exponential(0.1)})
    assert schedule.factor(Progress(2, 0)) == pytest.approx(0.25 * 0.1)
    assert schedule.factors(Progress(2, 0)) == pytest.approx({"*.delay": 0.25, "a.*": 0.25 * 0.01})
    optimiser = Adam(1.0)
    optimiser.factor, optimiser.factors = 0.5, {"*.delay": 2.0, "a.*": 3.0}
    assert [optimiser.factor_of(n) for n in ("b.weight", "b.delay", "a.delay")] == [0.5, 2.0, 3.0]
    again = Exponential(0.5) * ByParameter(Step(2, 0.1), {"*.delay": Constant()})
    with pytest.raises(CheckpointError, match=r"own schedules for \*.delay, a.\*, this run for \*.delay"):
        again.load_state_dict(schedule.state_dict())


def test_layered_experiments_learn_delays_when_asked():
    config = LayeredConfig(
        hidden=(5, 4), delays="axonal(high=3, max=7)", delay_learning_rate=0.2, delay_schedule="exponential=0.9",
        duration=20.0, engine="c99", optimiser="adam_w",
    )  # fmt: skip
    made = layered(config, events(), None, None, progress=False).trainer
    delayed = {c.name: c.delays for c in made.plan.connections if c.delays}
    assert set(delayed) == {"input_hidden1", "hidden1_hidden1", "hidden1_hidden2", "hidden2_hidden2"}
    assert {(d.kind, d.limit, d.trainable) for d in delayed.values()} == {("axonal", 7.0, True)}
    assert made.engine.parameters["input_hidden1.delay"].max() <= 3.0
    own = made.optimiser.groups["*.delay"]
    assert own == {"learning_rate": 0.2, "weight_decay": 0.0}
    assert made.schedule.factors(Progress(2, 0)) == pytest.approx({"*.delay": 0.81})
    with pytest.raises(SettingError, match="--delays: unknown name 'axon'"):
        layered(dataclasses.replace(config, delays="axon"), events(), None, None)
    with pytest.raises(SettingError, match="leave out --delays, or --delay-line"):
        layered(dataclasses.replace(config, delay_line=(2, 1.0)), events(), None, None)


def test_revive_changes_the_weights_of_silent_neurons_alone():
    made = trainer(callbacks=[revive := Revive("lift", 0.5, populations=["hidden"])])
    weight, pairs = (made.engine.parameters[f"pool_hidden.{n}"] for n in ("weight", "pairs"))
    before, silent = weight.copy(), np.arange(7) == 2
    made.silent = {"hidden": silent}
    revive.start(made, 1, 1)
    revive.start_epoch(made, 1)
    np.testing.assert_allclose(weight, before + 0.5 * (pairs[:, 1] == 2), rtol=1e-6)
    with pytest.raises(SettingError, match=r"share the weights of 'input_conv' \(Conv2D\)"):
        Revive("lift").start(made, 1, 1)
