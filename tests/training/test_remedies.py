"""Every remedy that a message about silence names, applied: then neurons spike, and the network learns."""

from __future__ import annotations

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.data.readers import yin_yang
from genn_eventprop.experiments import yin_yang as page
from genn_eventprop.losses import FirstSpikeCrossEntropy, IntegratedVoltageCrossEntropy, PerStepCrossEntropy
from genn_eventprop.models import LI, LIF
from genn_eventprop.optimisers import Adam
from genn_eventprop.training import initialise_rates

WEAK = Normal(0.5, 0.26)  # a third of the weights that Yin-Yang is published with


@pytest.fixture(scope="module")
def train():
    return yin_yang.load("train", 600)


def trainer(loss, hidden=WEAK, *, birth=0.0, **settings):
    """Yin-Yang; outputs that spike where the loss reads spikes."""
    net, spiking = Network(), loss is FirstSpikeCrossEntropy
    first, output = (
        net.population(LIF(), 60, name="hidden"),
        net.population((LIF if spiking else LI)(), 3, name="output"),
    )
    net.connect(net.input(5), first, Dense() if hidden is None else Dense(hidden))
    net.connect(first, output, Dense(Normal(0.93, 0.1)) if spiking else Dense(Normal(0.0, 0.1)))
    return Trainer(
        net, loss(output, **settings), duration=60.0, dt=0.5, spike_times="grid", engine="native",
        optimiser=Adam(1e-2), spike_birth=birth, seed=1,
    )  # fmt: skip


def told(trainer, events, capsys, epochs=1):
    """What it says of silence."""
    capsys.readouterr()
    trainer.fit(events, epochs=epochs)
    lines = capsys.readouterr().err.splitlines()
    return " ".join(line for line in lines if "warning: hidden was silent" in line)


def spikes(trainer, events, epochs):
    """(spikes of a hidden neuron, accuracy) behind a training that warns of no silence at its end."""
    trainer.fit(events, epochs=epochs)
    after = trainer.evaluate(events)
    return after.activity["hidden"].spikes_per_neuron, after.accuracy


def test_silent_outputs_that_the_loss_leaves_out(train, capsys):
    """No birth changes such a loss: the message says so, and what it says instead works."""
    text = told(trainer(FirstSpikeCrossEntropy, silent="exclude"), train, capsys)
    assert "spike_birth=0.3 (--spike-birth 0.3) together with silent='end' in the loss" in text
    assert "Dense()" in text and "initialise_rates" in text and "Revive" not in text
    assert spikes(trainer(FirstSpikeCrossEntropy, silent="exclude", birth=0.3), train, 10) == (0.0, 0.0)
    rate, accuracy = spikes(trainer(FirstSpikeCrossEntropy, silent="end", birth=0.3), train, 25)
    assert rate > 0.3 and accuracy > 0.4
    rate, accuracy = spikes(trainer(FirstSpikeCrossEntropy, None, silent="exclude"), train, 5)
    assert rate > 0.3 and accuracy > 0.4
    awake = trainer(FirstSpikeCrossEntropy, silent="exclude")
    initialise_rates(awake, train, 2.0)
    rate, accuracy = spikes(awake, train, 5)
    assert rate > 0.3 and accuracy > 0.4


def test_weights_that_are_too_small(train, capsys):
    text = told(trainer(IntegratedVoltageCrossEntropy), train, capsys)
    assert "or use spike_birth=0.3 (--spike-birth 0.3); on the command line" in text
    for awake in (trainer(IntegratedVoltageCrossEntropy, birth=0.3), trainer(IntegratedVoltageCrossEntropy, None)):
        rate, accuracy = spikes(awake, train, 20)
        assert rate > 0.1 and accuracy > 0.4
    assert "spike_birth" not in told(
        trainer(IntegratedVoltageCrossEntropy, Normal(-3.0, 0.1), birth=0.3), train, capsys
    )


def test_a_learning_rate_that_silences(capsys):
    """Words that end long before the trial does: the loss delays spikes until there are none."""
    rng = np.random.default_rng(0)
    words = [(rng.uniform(0, 30, 40), rng.integers(0, 5, 40)) for _ in range(3)]
    labels = rng.integers(0, 3, 300)
    samples = [(np.abs(words[y][0] + rng.normal(0, 2, 40)), words[y][1]) for y in labels]
    events = Events.from_samples(samples, 5, labels=labels, sort=True)

    def scaled(rate, birth=0.0):
        net = Network()
        hidden, output = net.population(LIF(), 8, name="hidden"), net.population(LI(), 3, name="output")
        net.connect(net.input(5), hidden, Dense())
        net.connect(hidden, output, Dense())
        return Trainer(
            net, PerStepCrossEntropy(output), duration=150.0, dt=1.0, spike_times="grid", engine="native",
            optimiser=Adam(rate), spike_birth=birth, seed=1,
        )  # fmt: skip

    text = told(scaled(1.0), events, capsys, epochs=8)
    assert "use a smaller learning rate, or use spike_birth=0.3 (--spike-birth 0.3)" in text and "Dense()" not in text
    for awake in (scaled(0.02), scaled(1.0, 0.3)):
        rate, accuracy = spikes(awake, events, 10)
        assert rate > 0.1 and accuracy > 0.4


@pytest.mark.ci
@pytest.mark.parametrize("settings", [
    {"spike_birth": 0.3, "loss": "first_spike_exp(silent='end')"}, {"hidden_weight": page.Config().hidden_weight},
])  # fmt: skip
def test_the_page_whose_outputs_are_left_out(settings):
    """`train yin_yang --hidden-weight 0.5 0.26`, and what its message says."""
    config = page.Config(**{"hidden": 60, "train_size": 600, "epochs": 25, "hidden_weight": (0.5, 0.26), **settings})
    experiment = page.build(config)
    experiment.trainer.fit(experiment.train, epochs=25)
    after = experiment.trainer.evaluate(experiment.train)
    assert after.activity["hidden"].spikes_per_neuron > 0.05 and after.accuracy > 0.4
