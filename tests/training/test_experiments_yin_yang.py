"""The Yin-Yang page: published settings, a short run from the command line to the plots, one trial recorded."""

import json

import numpy as np
import pytest

from genn_eventprop.cli import main
from genn_eventprop.engines import engine_class
from genn_eventprop.experiment import experiment_names
from genn_eventprop.experiments import yin_yang
from genn_eventprop.runs import load_checkpoint
from genn_eventprop.training import record_trial

pytestmark = pytest.mark.usefixtures("optimised")

SMALL = "--epochs 2 --hidden 60 --output-weight 3 0.3 --dt 0.5 --train-size 960 --batch-size 32".split()


def test_defaults_are_the_published_settings():
    assert "yin_yang" in experiment_names()
    experiment = yin_yang.build(yin_yang.Config(engine="reference_clock"))
    trainer = experiment.trainer
    assert [(c.name, c.shape) for c in trainer.network.connections] == [
        ("input_hidden", (5, 200)),
        ("hidden_output", (200, 3)),
    ]
    for name, mean, std in (("input_hidden", 1.5, 0.78), ("hidden_output", 0.93, 0.1)):
        weight = trainer.engine.parameters[f"{name}.weight"]
        assert weight.mean() == pytest.approx(mean, abs=0.1) and weight.std() == pytest.approx(std, rel=0.1)
    loss, optimiser = trainer.plan.loss, trainer.optimiser
    assert loss.readout == "first_spike" and loss.silent == "exclude"
    assert loss.constants == {"tau0": 0.5, "tau1": 6.4, "alpha": 3e-3}
    assert optimiser.settings == {"learning_rate": 5e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
    assert trainer.schedule.gamma == 0.95
    for population in ("hidden", "output"):
        values = [
            trainer.engine.parameters[f"{population}.{n}"][0] for n in ("tau_mem", "tau_syn", "v_thresh", "v_reset")
        ]
        assert values == [20.0, 5.0, 1.0, 0.0]
    assert (trainer.plan.duration, trainer.plan.dt, trainer.batch_size) == (60.0, 0.1, 32)
    assert [len(s) for s in (experiment.train, experiment.validation, experiment.test)] == [5000, 1000, 1000]


@pytest.mark.ci
def test_a_short_run_learns_and_plots(tmp_path, capsys):
    run = tmp_path / "run"
    more = ["--epochs", "6", "--learning-rate", "0.02"]
    assert main(["train", "yin_yang", *SMALL, *more, "--run-dir", str(run)]) == 0, capsys.readouterr().err
    results = json.loads((run / "results.json").read_text())
    assert results["final_test_accuracy"] > 0.65  # chance is a third
    sizes = {p.name: p.stat().st_size for p in (run / "plots").iterdir()}
    assert set(sizes) == {"curves.png", "plane.png", "trial.png", "spikes.png"}
    assert min(sizes.values()) > 10_000


def test_closest_decision():
    inf = np.inf
    times = np.array([[10, 19, inf], [inf, 12, 12.5], [12, 11, inf], [inf, inf, inf], [15, 40, 13]])
    assert yin_yang.closest_decision(times, np.array([0, 0, 0, 0, 0])) == 2
    assert yin_yang.closest_decision(times, np.array([0, 1, 0, 0, 0])) == 1


def test_one_trial_recorded_agrees_with_the_engine():
    experiment = yin_yang.build(yin_yang.Config(engine="reference_clock", dt=0.5, hidden=40, train_size=20))
    trial = record_trial(experiment.trainer, experiment.train, 3)
    data = experiment.trainer.engine.load(experiment.train)
    result = experiment.trainer.engine.run(data, [3], training=True)
    assert trial.label == experiment.train.labels[3] and trial.n_inputs == 5
    np.testing.assert_array_equal(
        np.bincount(trial.spikes["hidden"].neuron, minlength=40), result.spike_counts["hidden"][0]
    )
    assert trial.states["hidden"]["V"].shape == trial.states["hidden"]["lambda_V"].shape == (120, 40)
    assert len(trial.times) == 120 and trial.times[-1] == 59.5
    first = [trial.spikes["output"].time[trial.spikes["output"].neuron == k].min(initial=np.inf) for k in range(3)]
    np.testing.assert_allclose(first, result.readout[0])
    assert np.isfinite(first).any() and np.abs(trial.states["output"]["lambda_V"]).max() > 0


@pytest.mark.ci
@pytest.mark.skipif(not engine_class("native").availability().runs, reason="no compiler for the native engine")
def test_resuming_with_another_thread_count_gives_the_same_bits(tmp_path):
    page, whole, run = tmp_path / "page.py", tmp_path / "whole", tmp_path / "run"
    # without figures, which are tested above, and slow
    page.write_text("from genn_eventprop.experiments.yin_yang import QUICK, Config, build\n")
    options = [*SMALL, "--engine", "native"]
    assert main(["train", str(page), *options, "--threads", "2", "--run-dir", str(whole)]) == 0
    assert main(["train", str(page), *options, "--threads", "1", "--epochs", "1", "--run-dir", str(run)]) == 0
    assert main(["resume", str(run), "--page", str(page), "--epochs", "2", "--threads", "2"]) == 0
    a, b = (load_checkpoint(folder / "checkpoints" / "last.safetensors") for folder in (whole, run))
    assert set(a.arrays) == set(b.arrays)
    for name, value in a.arrays.items():
        np.testing.assert_array_equal(value, b.arrays[name], err_msg=name)
    assert a.info["position"]["updates"] == b.info["position"]["updates"] == 60


@pytest.mark.parametrize(
    ("settings", "spike_times"),
    [
        ({}, "exact"),
        ({"output": "LI", "loss": "max"}, "exact"),
        ({"output": "LI", "loss": "avg_xentropy"}, "exact"),
        ({"output": "LI", "loss": "sum_weigh_input"}, "exact"),
        ({"neuron": "QIF"}, "grid"),
        ({"neuron": "LIFDelta"}, "grid"),
        ({"neuron": "LIFRefractory"}, "exact"),
        ({"engine": "reference_clock"}, "grid"),
    ],
)
@pytest.mark.one_in(2)
def test_exact_spike_times_where_the_engine_can(settings, spike_times):
    config = yin_yang.Config(**{"train_size": 20, "hidden": 5, "engine": "native", **settings})
    assert yin_yang.build(config).trainer.plan.spike_times == spike_times
