"""`weight_rows="float16"` in training: it belongs to the run, resumes exactly, and costs no accuracy."""

from __future__ import annotations

import json

import numpy as np
import pytest

import genn_eventprop
from genn_eventprop import Dense, Network, Normal, Trainer
from genn_eventprop.compile import create
from genn_eventprop.data.readers import yin_yang
from genn_eventprop.errors import CheckpointError, SettingError
from genn_eventprop.experiment import layered
from genn_eventprop.experiment.layers import LayeredConfig
from genn_eventprop.experiments import yin_yang as page
from genn_eventprop.losses import IntegratedVoltageCrossEntropy
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.optimisers import Adam
from support.extras import needs


def trainer(weight_rows="float16", hidden=30, learning_rate=5e-3, **settings):
    net = Network()
    population, output = net.population(LIF(), hidden, name="hidden"), net.population(LI(), 3, name="output")
    net.connect(net.input(5), population, Dense(Normal(1.5, 0.78)))
    net.connect(population, output, Dense(Normal(0.093, 0.1)))
    return Trainer(
        net, IntegratedVoltageCrossEntropy(output), duration=45.0, dt=0.5, spike_times="grid",
        optimiser=Adam(learning_rate), progress=False, weight_rows=weight_rows, **{"engine": "native"} | settings,
    )  # fmt: skip


@pytest.mark.ci
def test_it_belongs_to_the_run_and_resumes_exactly(tmp_path):
    train, test = yin_yang.load("train", 200), yin_yang.load("test", 100)
    whole = trainer(run_dir=tmp_path / "whole")
    results = whole.fit(train, test=test, epochs=2)
    assert json.loads((tmp_path / "whole" / "config.json").read_text())["weight_rows"] == "float16"
    assert (results["weight_rows"], results["engine"]) == ("float16", "native")
    assert "weight_rows" not in trainer("float32").settings

    trainer(run_dir=tmp_path / "parts").fit(train, epochs=1)
    rest = trainer(run_dir=tmp_path / "parts")
    rest.resume()
    again = rest.fit(train, test=test, epochs=2)
    for name, value in whole.engine.parameters.items():
        np.testing.assert_array_equal(value, rest.engine.parameters[name], name)
    masters = whole.engine.parameters["input_hidden.weight"]
    assert masters.dtype == np.float32 and (masters != masters.astype(np.float16)).any()
    assert again["test_loss"] == results["test_loss"]
    with pytest.raises(CheckpointError, match="weight_rows"):
        trainer("float32", run_dir=tmp_path / "parts").resume()

    for engine in (None, "c99"):  # a loaded model predicts with the weights that were tested, on any engine
        loaded = genn_eventprop.load(tmp_path / "whole", checkpoint="last", engine=engine)
        np.testing.assert_allclose(
            loaded.evaluate(test).readout,
            whole.evaluate(test).readout,
            atol=1e-5 if engine else 0,
            rtol=1e-5 if engine else 0,
        )


@pytest.mark.ci
def test_pages_and_engine_names_have_it():
    made = page.build(page.Config(hidden=5, spike_times="grid", weight_rows="float16")).trainer
    assert made.settings["weight_rows"] == "float16"
    named = trainer("float32", engine="native(weight_rows=float16)")
    assert named.settings["weight_rows"] == "float16"
    events = yin_yang.load("train", 20)
    config = LayeredConfig(hidden=(5,), duration=45.0, weight_rows="float16", spike_times="grid", hold_out=None)
    assert layered(config, events, None, None).trainer.engine.weight_rows == "float16"
    with pytest.raises(SettingError, match="weight_rows is an option of native, not of reference_clock"):
        trainer(engine="reference_clock")
    plan, values = made.plan, dict(made.engine.parameters)
    assert create(plan, values, engine="native", weight_rows="float16").weight_rows == "float16"


def test_layers_have_it():
    torch = needs("torch")
    from genn_eventprop.torch import EventProp

    found = []
    for rows in ("float32", "float16"):
        net = trainer().network
        layer = EventProp(net, duration=45.0, dt=0.5, spike_times="grid", engine="native", weight_rows=rows, seed=2)
        with torch.no_grad():
            for weight in layer.net.parameters():
                weight.copy_(weight.half().float() if rows == "float32" else weight)
        counts = torch.zeros(90, 2, 5)
        counts[[2, 10, 20, 30, 40], :, [0, 1, 2, 3, 4]] = 1.0
        layer(counts).integral[:, 0].sum().backward()
        found.append(layer.net.input_hidden.weight.grad.numpy())
    np.testing.assert_array_equal(*found)
    assert found[0].any()


@pytest.mark.ci
def test_it_costs_no_accuracy():
    train, test = yin_yang.load("train", 1000), yin_yang.load("test", 1000)
    accuracy = []
    for rows in ("float32", "float16"):
        made = trainer(rows, hidden=60, learning_rate=2e-2)
        made.fit(train, epochs=8)
        accuracy.append(made.evaluate(test).accuracy)
    assert accuracy[1] > max(accuracy[0] - 0.03, 0.75)
