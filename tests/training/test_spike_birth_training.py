"""`spike_birth` in training: a network that is silent at the start learns, and the setting belongs to the run."""

from __future__ import annotations

import json

import numpy as np
import pytest

from genn_eventprop import Dense, Network, Normal, Trainer
from genn_eventprop.data.readers import yin_yang
from genn_eventprop.errors import CheckpointError
from genn_eventprop.experiments import yin_yang as page
from genn_eventprop.losses import IntegratedVoltageCrossEntropy
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.optimisers import Adam
from support.extras import needs


def trainer(spike_birth, **settings):
    """Weights are a tenth of those that Yin-Yang is published with: no hidden neuron spikes."""
    net = Network()
    hidden, output = net.population(LIF(), 60, name="hidden"), net.population(LI(), 3, name="output")
    net.connect(net.input(5), hidden, Dense(Normal(0.15, 0.078)))
    net.connect(hidden, output, Dense(Normal(0.093, 0.01)))
    return Trainer(
        net, IntegratedVoltageCrossEntropy(output), duration=45.0, dt=0.5, engine="native", optimiser=Adam(2e-2),
        progress=False, spike_birth=spike_birth, **settings,
    )  # fmt: skip


@pytest.mark.ci
def test_a_silent_network_learns():
    train, test = yin_yang.load("train", 1000), yin_yang.load("validation")
    silent, born = trainer(0.0), trainer(0.3)
    silent.fit(train, epochs=2)
    assert not silent.spike_counts(test)["hidden"].any()
    born.fit(train, epochs=6)
    assert born.spike_counts(test)["hidden"].any(axis=0).mean() > 0.3
    assert born.evaluate(test).accuracy > 0.6


def test_the_setting_is_recorded_and_belongs_to_the_run(tmp_path):
    train = yin_yang.load("train", 64)
    first = trainer(0.2, run_dir=tmp_path / "run")
    first.fit(train, epochs=1)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["spike_birth"] == 0.2
    assert "spike_birth" not in trainer(0.0).settings
    with pytest.raises(CheckpointError, match="spike_birth"):
        trainer(0.0, run_dir=tmp_path / "run").resume()


def test_layers_have_it_to_first_order():
    torch = needs("torch")
    from genn_eventprop.torch import EventProp

    gradients = []
    for sigma in (0.0, 0.3):
        torch.manual_seed(0)
        layer = EventProp(trainer(0.0).network, duration=45.0, dt=0.5, engine="native", spike_birth=sigma)
        counts = torch.zeros(90, 2, 5)
        counts[[2, 10, 20, 30, 40], :, [0, 1, 2, 3, 4]] = 1.0
        layer(counts).integral[:, 0].sum().backward()
        gradients.append(layer.net.input_hidden.weight.grad.numpy())
    assert not gradients[0].any() and np.isfinite(gradients[1]).all() and gradients[1].any()


def test_pages_keep_their_spike_times():
    made = page.build(page.Config(hidden=5, spike_birth=0.1)).trainer
    assert (made.plan.spike_times, made.plan.spike_birth) == ("exact", 0.1)
    made = page.build(page.Config(hidden=5, spike_birth=0.1, spike_times="grid")).trainer
    assert (made.plan.spike_times, made.plan.dt) == ("grid", 0.1)
