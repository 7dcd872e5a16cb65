"""Training with a forward pass in integers: their spikes, and a gradient that goes straight to unrounded numbers."""

import numpy as np
import pytest

from genn_eventprop import Delay, Dense, Events, Network, Normal, Trainer, Uniform
from genn_eventprop.cli import main
from genn_eventprop.compile import create
from genn_eventprop.errors import CheckpointError, EngineError, NetworkError, SettingError
from genn_eventprop.integer import Profile, simulate
from genn_eventprop.losses import FirstSpikeCrossEntropy, MaxVoltageCrossEntropy
from genn_eventprop.models import LI, LIF, AdEx
from genn_eventprop.optimisers import Adam
from genn_eventprop.training.integers import step_counts


def network(spiking=False):
    net = Network()
    hidden, output = net.population(LIF(), 12, "hidden"), net.population((LIF if spiking else LI)(), 2, "output")
    net.connect(net.input(4), hidden, Dense(Normal(1.2, 0.6)), delay=Delay(Uniform(0, 4), max=6.0))
    net.connect(hidden, output, Dense(Normal(0.6, 0.5)))
    return net, output


def data(n=24, seed=1):
    """Class 0 is busy in the first two channels, class 1 in the others."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    samples = [(rng.uniform(0, 15, 10), 2 * (rng.random(10) < 0.1 + 0.8 * y) + rng.integers(0, 2, 10)) for y in labels]
    return Events.from_samples(samples, n_channels=4, labels=labels, sort=True)


def trainer(profile, spiking=False, **settings):
    net, output = network(spiking)
    loss = FirstSpikeCrossEntropy(output) if spiking else MaxVoltageCrossEntropy(output)
    settings = {"duration": 30.0, "dt": 0.5, "spike_times": "grid", "batch_size": 8, "progress": False} | settings
    return Trainer(net, loss, profile=profile, optimiser=Adam(0.02), dtype="float64", **settings)


@pytest.mark.one_in(6)
@pytest.mark.parametrize("spiking", [False, True])
@pytest.mark.parametrize("profile", ["int8", "ternary", "loihi2"])
def test_the_gradient_is_that_of_the_rounded_network_with_the_integers_spikes(profile, spiking):
    made = trainer(profile, spiking)
    engine = made.engine
    before = {n: np.array(v) for n, v in engine.parameters.items()}
    events = engine.load(data())
    result = engine.run(events, range(6), training=True, record_spikes=True)
    assert all(np.array_equal(before[n], v) for n, v in engine.parameters.items())  # those that training keeps
    integers = engine.integers()
    trial = simulate(integers, step_counts(events, np.arange(6), made.plan))
    np.testing.assert_array_equal(result.prediction, trial.classes)
    np.testing.assert_array_equal(result.spike_counts["hidden"], trial.spikes["hidden"].sum(axis=1))
    assert trial.spikes["hidden"].sum() > 20
    spikes = {}
    for p in integers.populations:
        if p.spiking:
            each = [np.nonzero(sample) for sample in trial.spikes[p.name]]
            spikes[p.name] = [((step + 1) * 0.5, neuron) for step, neuron in each]
    plain = create(made.plan, before | dict(integers.values), engine="reference_clock")
    plain.run(plain.load(data()), range(6), training=True, observed=spikes)
    for name, gradient in engine.gradients.items():
        np.testing.assert_allclose(gradient, plain.gradients[name], rtol=1e-9, atol=1e-12, err_msg=name)
    assert np.abs(engine.gradients["input_hidden.weight"]).max() > 0


def test_a_network_learns_in_integers():
    made = trainer("ternary")
    made.fit(data(64, 2), epochs=25)
    assert made.evaluate(data(40, 3)).accuracy > 0.9
    kept = made.engine.parameters["input_hidden.weight"]
    assert len(np.unique(kept)) == kept.size  # the numbers of training are not rounded
    columns = made.engine.integers().values["input_hidden.weight"]
    assert all(len(np.unique(np.abs(c[c != 0]))) <= 1 for c in columns.T)  # one scale for every neuron


def test_what_cannot_be_trained_in_integers():
    with pytest.raises(EngineError, match="integers compute in steps; use spike_times='grid'"):
        trainer("int8", spike_times="exact", dt=1.0)
    with pytest.raises(SettingError, match="profile= cannot be combined with carry=True"):
        trainer("int8", carry=True)
    with pytest.raises(NetworkError, match="unknown profile 'int9'"):
        trainer("int9")
    with pytest.raises(NetworkError, match="has no delays"):
        trainer(Profile(name="mine", max_delay=0))
    busy = Events.from_samples([(np.full(300, 2.0), np.zeros(300, int))], n_channels=4, labels=[0])
    with pytest.raises(NetworkError, match="300 spikes of a channel in a step of 0.5 ms; use a smaller dt"):
        trainer("int8").evaluate(busy)
    net = Network()
    hidden, output = net.population(AdEx(), 3, "hidden"), net.population(LI(), 2, "output")
    net.connect(net.input(4), hidden, Dense(Normal(1.0, 0.1)))
    net.connect(hidden, output, Dense(Normal(1.0, 0.1)))
    with pytest.raises(NetworkError, match="integer networks have the models"):
        Trainer(net, MaxVoltageCrossEntropy(output), duration=30.0, profile="int8", progress=False)
    net = Network()
    output = net.population(LIF(), 2, "output", noise=0.5)
    net.connect(net.input(4), output, Dense(Normal(1.0, 0.1)))
    with pytest.raises(EngineError, match="'output' has noise or dropout"):
        Trainer(net, FirstSpikeCrossEntropy(output), duration=30.0, profile="int8", progress=False)


def test_spike_times_are_on_the_grid_by_themselves():
    assert trainer("int8", spike_times="auto").plan.spike_times == "grid"


def test_a_run_goes_on_with_its_own_profile_alone(tmp_path):
    mine = Profile(name="mine", weight_bits=5)
    whole = trainer(mine, run_dir=tmp_path / "whole")
    whole.fit(data(), epochs=4)
    trainer(mine, run_dir=tmp_path / "half").fit(data(), epochs=2)
    again = trainer(mine).resume(tmp_path / "half")
    again.fit(data(), epochs=4)
    for name, value in whole.engine.parameters.items():
        np.testing.assert_array_equal(again.engine.parameters[name], value, err_msg=name)
    with pytest.raises(CheckpointError, match="profile"):
        trainer(Profile(name="mine", weight_bits=4)).resume(tmp_path / "half")


@pytest.mark.ci
def test_train_page_profile(tmp_path, capsys):
    run = tmp_path / "run"
    short = ["--quick", "--epochs", "1", "--hidden", "20", "--dt", "1"]
    assert main(["train", "yin_yang", *short, "--profile", "loihi2", "--run-dir", str(run)]) == 0
    assert "forwards in integers of the profile 'loihi2'" in "".join(capsys.readouterr())
    assert main(["evaluate", str(run), "--profile", "loihi2"]) == 0
    assert "same class in 100.00 %" in capsys.readouterr().out
    assert main(["resume", str(run), "--epochs", "2"]) == 0
