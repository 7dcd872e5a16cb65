"""`spike_times="auto"`: what is chosen, what is said about it, and that runs keep it."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Trainer, load
from genn_eventprop.engines.spike_times import ANGLES, Choice, choose_spike_times, coarse_step
from genn_eventprop.experiment import LayeredConfig, layered
from genn_eventprop.losses import MaxVoltageCrossEntropy
from genn_eventprop.models import ALIF, LI, LIF
from genn_eventprop.optimisers import Adam
from genn_eventprop.plan import make_plan
from support.extras import needs

DOCS = Path(__file__).parents[2] / "docs"


def network(hidden=LIF, channels=5, size=20, recurrent=False, **stochastic):
    net = Network()
    first = net.population(hidden(), size, name="hidden", **stochastic)
    output = net.population(LI(), 3, name="output")
    net.connect(net.input(channels), first, Dense(Normal(1.5, 0.5)))
    if recurrent:
        net.connect(first, first, Dense(Normal(0.0, 0.1)))
    net.connect(first, output, Dense(Normal(0.0, 0.3)))
    return net, MaxVoltageCrossEntropy(output)


def events(spikes=1, n=12, channels=5):
    rng = np.random.default_rng(spikes)
    times = rng.uniform(0, 25, (n, channels * spikes))
    source = np.tile(np.arange(channels), spikes)
    return Events.from_samples([(t, source) for t in times], channels, labels=np.arange(n) % 3, sort=True)


def choose(*args, dt=1.0, **how):
    names = {n: how.pop(n) for n in ("engine", "needs_grid", "spikes", "grid_dt") if n in how}
    return choose_spike_times(*network(*args, **how), dt=dt, duration=30.0, **{"grid_dt": 0.1} | names)


def test_sparse_feed_forward_lif_has_exact_spike_times():
    chosen = choose()
    assert chosen.name == "exact" and not chosen.sure
    sure = choose(spikes={"input": 5.0, "hidden": 3.0})
    assert sure.name == "exact" and sure.sure and "its gradient is exact" in sure.line(1.0)
    assert choose(engine="reference_event") == Choice("exact", "reference_event has no grid")


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"recurrent": True}, "compared with it without feedback only, such as hidden_hidden"),
        ({"hidden": ALIF}, "compared with it on LIF and LI neurons only, not on ALIF"),
        (
            {"spikes": {"input": 400.0, "hidden": 3.0}},
            "compared with it on sparse codes only; these data have 80 spikes a channel and trial",
        ),
        (
            {"spikes": {"input": 5.0, "hidden": 200.0}},
            r"a trial with exact ones would take about \d+\.\d times as long",
        ),
        ({"grid_dt": 5.0, "size": 400}, r"a trial with exact ones would take about \d+\.\d times as long"),
        ({"noise": 0.2}, "exact ones cannot run here .population 'hidden' has noise"),
        ({"engine": "c99"}, "c99 has no exact spike times"),
        ({"needs_grid": "slope_floor"}, "slope_floor needs it"),
    ],
)
def test_what_runs_on_the_grid_and_why(how, why):
    choice = choose(**how)
    assert choice.name == "grid" and re.search(why, choice.reason), choice.reason
    assert re.search(r"the grid's gradient is \d+ to \d+ degrees off", choice.line(1.0))


def test_angles_are_those_of_the_docs():
    page = (DOCS / "grid_versus_exact.md").read_text()
    steps = [
        float(step)
        for step in re.findall(r" ([\d.]+) ms \|", page.partition("| task | hidden layer |")[2].split("ms a")[0])
    ]
    table = [row.split("|") for row in re.findall(r"\| feed-forward \|(.*)", page)]
    for step, (low, high) in ANGLES.items():
        measured = [float(row[steps.index(step)].split(",")[0]) for row in table]
        assert len(measured) == 3 and (round(min(measured)), round(max(measured))) == (low, high)
    assert "15 to 55 degrees" in Choice("grid", "").line(0.11) and "25 to 78 degrees" in Choice("grid", "").line(9.0)


def trainer(**settings):
    return Trainer(*network(), **{"duration": 30.0, "batch_size": 6, "threads": 1, "progress": False} | settings)


@pytest.mark.ci
def test_dense_data_change_the_choice_and_runs_keep_it(tmp_path):
    dense = events(spikes=40)
    made = trainer(optimiser=Adam(0.01), run_dir=tmp_path / "run")
    assert (made.plan.spike_times, made.plan.dt) == ("exact", 1.0)
    made.fit(dense, epochs=1)
    assert (made.plan.spike_times, made.plan.dt) == ("grid", 0.1)
    assert made.settings["spike_times"] == made.config["spike_times"] == "grid"
    assert load(tmp_path / "run").described.spike_times == "grid"
    read = trainer()
    read.load_checkpoint(tmp_path / "run" / "checkpoints" / "last.safetensors")
    assert read.evaluate(dense).loss == made.evaluate(dense).loss
    resumed = trainer(optimiser=Adam(0.01)).resume(tmp_path / "run")
    whole = trainer(optimiser=Adam(0.01), spike_times="grid", dt=0.1)
    resumed.fit(dense, epochs=2)
    whole.fit(dense, epochs=2)
    for name, value in whole.engine.parameters.items():
        np.testing.assert_array_equal(resumed.engine.parameters[name], value)


def test_one_line_says_which_and_why(capsys):
    made = trainer(progress=True)
    made.fit(events(), epochs=1)
    told = capsys.readouterr().err
    assert told.count("note: exact spike times: ") == 1 and made.choice.sure
    made.fit(events(), epochs=2)
    assert "exact spike times" not in capsys.readouterr().err
    asked = trainer(progress=True, spike_times="grid", dt=5.0)
    asked.fit(events(), epochs=1)
    told = capsys.readouterr().err
    assert "note: dt = 5 ms exceeds half of the shortest time constant, hidden.tau_syn = 5 ms" in told
    plan = make_plan(*network(lambda: LIF(tau_mem=0.02)), dt=1.0, duration=20.0, spike_times="exact")
    assert "hidden.tau_mem = 0.02 ms is far below dt = 1 ms; is it in seconds? " in coarse_step(
        plan, plan.network.initial_parameters(1)
    )
    assert "on the grid of" not in told


def test_layered_pages_take_it_by_default():
    config = LayeredConfig(hidden=(20,), recurrent=False, duration=30.0, input_weight=(1.5, 0.5), output_weight=(0, 1))
    assert config.spike_times == "auto"
    chosen = layered(config, events(), None, None, progress=False).trainer
    assert (chosen.plan.spike_times, chosen.plan.dt) == ("exact", 1.0)
    chosen = layered(replace(config, recurrent=True, engine="c99"), events(), None, None, progress=False).trainer
    assert (chosen.plan.spike_times, chosen.plan.dt) == ("grid", 0.1)


def test_a_layer_of_torch_decides_by_its_first_batch(capsys):
    torch = needs("torch")
    from genn_eventprop.torch import EventProp

    net, _ = network(size=4)
    for data, want in ((events(), "exact"), (events(spikes=40), "grid")):
        layer = EventProp(net, duration=30.0, readout="max", threads=1)
        with torch.no_grad():
            layer(data)
            layer(data)
        assert layer.plan.spike_times == want and f"{want} spike times" in repr(layer)
        notes = [n for n in capsys.readouterr().err.splitlines() if n.startswith("note: ") and "torch uses" not in n]
        assert len(notes) == 1
