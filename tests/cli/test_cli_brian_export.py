"""``export RUN model.py``: a script for Brian 2; docs/from_brian.md."""

from __future__ import annotations

import numpy as np
import pytest

import genn_eventprop
from genn_eventprop.cli import main
from genn_eventprop.compile import compile_network
from genn_eventprop.data import Events
from genn_eventprop.modelling.user_file import import_file
from support.extras import needs

b2 = needs("brian2")


@pytest.mark.ci
def test_a_run_becomes_a_script_with_its_spikes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    b2.prefs.codegen.target = "numpy"
    assert main(["train", "yin_yang", "--quick", "--epochs", "1", "--run-dir", "run"]) == 0
    capsys.readouterr()
    assert main(["export", "run", "model.py"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("model.py: best checkpoint of run, a script for Brian 2")
    assert "not in the file: the loss" in said
    assert main(["export", "run", "model.py"]) == 1
    model, events = genn_eventprop.load("run"), Events.load("run/samples.npz")[:1]
    values = {k: np.array(v) for k, v in model.engine.parameters.items()}
    engine = compile_network(
        model.described.network, model.described.loss, values, duration=model.plan.duration, dt=model.plan.dt,
        spike_times="exact", engine="reference_event",
    )  # fmt: skip
    here = engine.run(engine.load(events), [0], record_spikes=True).spikes["hidden"]
    network = import_file(tmp_path / "model.py").build(dt=0.005 * b2.ms, input=(events.channels, events.times))
    network.run(model.plan.duration * b2.ms)
    there = network["hidden_spikes"]
    assert len(here.time) == there.num_spikes > 20
    neuron, time = np.asarray(there.i), np.asarray(there.t / b2.ms)
    order, other = np.lexsort((time, neuron)), np.lexsort((here.time, here.neuron))
    np.testing.assert_array_equal(neuron[order], here.neuron[other])
    np.testing.assert_allclose(time[order], here.time[other], atol=0.05)
