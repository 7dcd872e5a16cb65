"""``export RUN model.py``: a script for Brian 2; docs/from_brian.md."""

from __future__ import annotations

import numpy as np
import pytest

import genn_eventprop
from genn_eventprop import simulate
from genn_eventprop.cli import main
from genn_eventprop.compile import compile_network
from genn_eventprop.data import Events
from genn_eventprop.modelling.user_file import import_file
from genn_eventprop.models import LIF
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


@pytest.mark.ci
def test_a_fit_becomes_a_script_of_its_neuron(tmp_path, monkeypatch, capsys):
    """Of a folder with two cells of a neuron from a file: which cell is said, and the file runs with --trust alone."""
    monkeypatch.chdir(tmp_path)
    b2.prefs.codegen.target = "numpy"
    (tmp_path / "mine.py").write_text("from genn_eventprop.models import LIF\nMine = LIF\n")
    steps = np.repeat([0.0, 2.5, 0.3], 200)
    for name, tau in (("one", 9.0), ("two", 14.0)):
        cell = simulate(LIF(tau_mem=tau), steps, dt=0.1)
        data = {"current": cell.current, "dt": 0.1, "spike_times": cell.spikes[0]}
        np.savez(f"{name}.npz", **data, spike_sweeps=np.zeros(len(cell.spikes[0]), int))
    words = ["--only", "tau_mem", "--bounds", "tau_mem=5:20", "--starts", "1", "--no-progress", "--run-dir", "run"]
    assert main(["fit", "mine.py:Mine", "one.npz", "two.npz", *words]) == 0

    def said(*more):
        capsys.readouterr()
        assert main(["export", "run", *more]) == 1
        return capsys.readouterr().err

    assert "exported as a script for Brian 2: export RUN NAME.py" in said("cell.c")
    assert "run holds several fits; choose one: --cell 'one' or --cell 'two'" in said("cell.py")
    assert "did you mean 'two'" in said("cell.py", "--cell", "twoo")
    assert "names its neuron by a file, mine.py:Mine, which would run; only" in said("cell.py", "--cell", "two")
    assert main(["export", "run", "cell.py", "--cell", "two", "--trust"]) == 0
    assert capsys.readouterr().out.startswith("cell.py: LIF as fitted to two, a script for Brian 2")
    network = import_file(tmp_path / "cell.py").build(dt=0.01 * b2.ms, I_ext=steps)
    network.run(60 * b2.ms)
    there = network["cell_spikes"].t / b2.ms
    assert len(there) >= 2
    with np.load("two.npz") as cell:
        np.testing.assert_allclose(there, cell["spike_times"], atol=0.05)
    (tmp_path / "run" / "results.json").write_text("{}")
    assert "is not the folder of a fit of this version" in said("other.py", "--cell", "two", "--trust")
