"""Weights without a scale of their own: scaled on data before the first update; silent populations reported."""

import copy
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop import Conv2D, Dense, Events, Network, Normal, Sparse, Trainer
from genn_eventprop.cli import main
from genn_eventprop.errors import SettingError
from genn_eventprop.losses import FirstSpikeCrossEntropy, MaxVoltageCrossEntropy, SpikeCountCrossEntropy, SquaredError
from genn_eventprop.models import LI, LIF
from genn_eventprop.optimisers import SGD, Adam
from genn_eventprop.training import Revive
from genn_eventprop.training.callbacks import SilenceWatch
from support.extras import needs

DOCS = Path(__file__).parents[2] / "docs"


def events(n=18, channels=30, spikes=2, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    times = rng.uniform(0, 40, (3, channels * spikes))[labels] + rng.normal(0, 1, (n, channels * spikes))
    source = np.tile(np.arange(channels), spikes)
    return Events.from_samples([(np.clip(t, 0, 49), source) for t in times], channels, labels=labels, sort=True)


def network(channels=30, output=LI, loss=MaxVoltageCrossEntropy, hidden=None):
    net = Network()
    last = net.input(channels)
    for name in ("first", "second"):
        new = net.population(LIF(), 20, name=name)
        net.connect(last, new, Dense() if hidden is None else hidden)
        net.connect(new, new, Dense())
        last = new
    out = net.population(output(), 3, name="output")
    net.connect(last, out, Dense())
    return net, loss(out)


def trainer(net, loss, **settings):
    defaults = {"duration": 50.0, "dt": 1.0, "engine": "reference_clock", "batch_size": 10, "progress": False}
    return Trainer(net, loss, **{**defaults, "optimiser": SGD(0.0), **settings})


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("channels", "spikes"), [(3, 1), (30, 2), (100, 3)])
def test_layers_reach_their_rates_on_any_channels(channels, spikes):
    data = events(channels=channels, spikes=spikes)
    t = trainer(*network(channels))
    first = copy.deepcopy(dict(t.engine.parameters))
    t.fit(data, epochs=1)
    evaluation = t.evaluate(data)
    for name in ("first", "second"):
        assert evaluation.activity[name].spikes_per_neuron == pytest.approx(5.0, rel=0.5)  # feedback comes on top
    differences = evaluation.readout - evaluation.readout.mean(axis=1, keepdims=True)
    assert 0.5 < np.sqrt(np.mean(differences**2)) < 2.0
    for name in ("input_first.weight", "first_second.weight", "second_output.weight"):
        ratio = t.engine.parameters[name] / first[name]
        np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-5)
    assert any("initial weights into first times" in note for note in t.notes)


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("loss", "rate"), [(FirstSpikeCrossEntropy, 4.0), (SpikeCountCrossEntropy, 3.0)])
def test_outputs_that_spike_have_a_rate_that_suits(loss, rate):
    t = trainer(*network(output=LIF, loss=loss))
    t.fit(events(), epochs=1)
    assert t.evaluate(events()).activity["output"].spikes_per_neuron == pytest.approx(rate, rel=0.3)


def test_outputs_of_a_regression_differ_as_its_targets_do():
    data = events()
    targets = 40.0 * np.random.default_rng(1).standard_normal((len(data), 2))
    data = Events(data.times, data.channels, data.offsets, data.n_channels, targets=targets)
    net = Network()
    hidden, output = net.population(LIF(), 20, name="hidden"), net.population(LI(), 2, name="output")
    net.connect(net.input(30), hidden, Dense())
    net.connect(hidden, output, Dense())
    t = trainer(net, SquaredError(output, "end"))
    t.fit(data, epochs=1)
    readout = t.evaluate(data).readout
    assert np.sqrt(np.mean(readout.var(axis=0))) == pytest.approx(np.sqrt(np.mean(targets.var(axis=0))), rel=0.01)


def test_weights_that_were_given_or_loaded_stay(tmp_path):
    net, loss = network(hidden=Dense(Normal(0.3, 0.1)))
    t = trainer(net, loss)
    first = copy.deepcopy(dict(t.engine.parameters))
    t.save_weights(tmp_path / "drawn.npz")
    t.fit(events(), epochs=1)
    for name in ("input_first.weight", "first_second.weight"):
        np.testing.assert_array_equal(t.engine.parameters[name], first[name])
    assert not np.array_equal(t.engine.parameters["second_output.weight"], first["second_output.weight"])
    scaled = copy.deepcopy(dict(t.engine.parameters))
    t.fit(events(), epochs=2)  # they are scaled once
    np.testing.assert_array_equal(t.engine.parameters["second_output.weight"], scaled["second_output.weight"])
    t.save_weights(tmp_path / "scaled.npz")
    other = trainer(*network(hidden=Dense(Normal(0.3, 0.1))))
    other.load_weights(tmp_path / "scaled.npz")
    other.fit(events(seed=5), epochs=1)
    np.testing.assert_array_equal(other.engine.parameters["second_output.weight"], scaled["second_output.weight"])


def test_rates_that_the_user_sets():
    t = trainer(*network(), initial_rates={"first": 2.0})
    t.fit(events(), epochs=1)
    activity = t.evaluate(events()).activity
    assert activity["first"].spikes_per_neuron == pytest.approx(2.0, rel=0.3)
    assert activity["second"].spikes_per_neuron == pytest.approx(5.0, rel=0.35)
    drawn = trainer(*network(), initial_rates=0.0)
    first = copy.deepcopy(dict(drawn.engine.parameters))
    drawn.fit(events(), epochs=1)
    for name, value in first.items():
        np.testing.assert_array_equal(drawn.engine.parameters[name], value)
    with pytest.raises(SettingError, match=r"initial_rates: no weights .* lead to a population 'frist' .*'first'"):
        trainer(*network(), initial_rates={"frist": 1.0})
    with pytest.raises(SettingError, match=r"initial_rates of 'first': a number of spikes .* >= 0, got -1"):
        trainer(*network(), initial_rates={"first": -1})
    with pytest.raises(SettingError, match=r"initial_rates: a number of spikes .*, got 'many'"):
        trainer(*network(), initial_rates="many")


def test_sparse_and_shared_kernels_are_scaled_too():
    net = Network()
    image = net.input(shape=(6, 5, 1))
    kind = Conv2D(None, kernel=3, channels=2)
    features = net.population(LIF(), name="features", shape=kind.output_shape(image.shape))
    net.connect(image, features, kind)
    hidden, out = net.population(LIF(), 12, name="hidden"), net.population(LI(), 3, name="output")
    net.connect(features, hidden, Sparse(probability=0.5), sign=1)
    net.connect(hidden, out, Dense(bounds=(-0.5, 0.5)))
    t = trainer(net, MaxVoltageCrossEntropy(out))
    t.fit(events(), epochs=1)
    activity = t.evaluate(events()).activity
    assert all(activity[n].spikes_per_neuron == pytest.approx(5.0, rel=0.1) for n in ("features", "hidden"))
    assert (t.engine.parameters["features_hidden.weight"] >= 0).all()
    assert np.abs(t.engine.parameters["hidden_output.weight"]).max() <= 0.5


def test_resuming_is_exact_and_one_seed_decides(tmp_path):
    settings = {"optimiser": Adam(0.05), "seed": 3, "dt": 2.0}
    whole = trainer(*network(), **settings, run_dir=tmp_path / "whole")
    whole.fit(events(), epochs=2)
    trainer(*network(), **{**settings, "optimiser": Adam(0.05)}, run_dir=tmp_path / "part").fit(events(), epochs=1)
    resumed = trainer(*network(), **{**settings, "optimiser": Adam(0.05)}).resume(tmp_path / "part")
    resumed.fit(events(), epochs=2)
    for name, value in whole.engine.parameters.items():
        np.testing.assert_array_equal(resumed.engine.parameters[name], value)


def test_silent_neurons_are_redrawn_at_the_scale_of_now():
    t = trainer(*network(), callbacks=[Revive("redraw")])
    t.fit(events(), epochs=1)
    before = t.engine.parameters["input_first.weight"].copy()
    t.silent["first"] = np.arange(20) < 10
    t.callbacks[0].start_epoch(t, 1)
    after = t.engine.parameters["input_first.weight"]
    np.testing.assert_array_equal(after[:, 10:], before[:, 10:])
    assert (after[:, :10] != before[:, :10]).all()
    assert np.std(after[:, :10]) == pytest.approx(np.std(before), rel=0.3)


def test_samples_without_spikes_are_told(capsys):
    empty = Events.from_samples([([], [])] * 6, 30, labels=[0, 1, 2] * 2)
    t = trainer(*network(), dt=5.0)
    t.fit(empty, epochs=1)
    told = [note for note in t.notes if "first" in note]
    assert any("it stays silent, whatever the factor" in note for note in told)


def test_without_progress_the_warnings_stay(capsys):
    """Silence, and a gradient that vanishes on its way back; nothing else is said, and nothing where all is well."""
    net, loss = network(hidden=Dense(Normal(0.001, 0.0005)))
    silent = trainer(net, loss, progress=False, batch_size=1, dt=5.0)
    silent.fit(events(21), epochs=2)
    for _ in range(2):  # the second time it is known
        silent.callbacks[-1].end_epoch(silent, silent.state.metrics[-1] | {"gradient_note": "the gradient vanishes"})
    told = capsys.readouterr().err
    assert "warning: first was silent for the 20 batches" in told and "warning: first was silent for the whole" in told
    assert told.count("note: the gradient vanishes\n") == 1
    assert not [line for line in told.splitlines() if not line.startswith(("warning: ", "note: the gradient "))]
    trainer(*network(), progress=False, dt=5.0).fit(events(6), epochs=1)
    assert capsys.readouterr().err == ""


@pytest.mark.ci
def test_silence_is_reported_again_and_again(capsys):
    net, loss = network(hidden=Dense(Normal(0.001, 0.0005)))
    t = trainer(net, loss, progress=True, batch_size=1, dt=5.0)
    t.fit(events(21), epochs=4)
    told = capsys.readouterr().err
    # looks after 20 batches and at the end of 4 epochs; of these the first, second, fourth and eighth count
    assert len(re.findall("warning: first was silent for the 20 batches", told)) == 1
    assert len(re.findall("warning: first was silent for the whole epoch", told)) == 3
    assert "--initial-spikes 5" in told and "initialise_rates" in told and "spike-birth" not in told
    scaled = trainer(*network(), progress=True, dt=5.0)
    scaled.fit(events(6), epochs=1)
    scaled.engine.parameters["input_first.weight"][:] = -1.0
    scaled.fit(events(6), epochs=2)
    told = capsys.readouterr().err
    assert "silent neurons receive no gradient; it spiked before the updates" in told and "Dense()" not in told


def test_a_population_that_falls_silent_is_due_anew():
    watch = SilenceWatch()
    looks = [{"a": spikes, "b": 3} for spikes in (0, 0, 0, 5, 0, 2, 2, 0, 0, 0, 0, 0)]
    assert [watch.due(look) for look in looks] == [
        ["a"], ["a"], [], [], ["a"], [], [], ["a"], ["a"], [], ["a"], [],
    ]  # fmt: skip


def test_a_layer_of_torch_scales_in_its_first_call():
    torch = needs("torch")
    from genn_eventprop.torch import EventProp

    net, _ = network()
    make = lambda: EventProp(net, duration=50.0, readout="max", engine="reference_clock", seed=2)  # noqa: E731
    layer, data = make(), events()
    drawn = {k: v.clone() for k, v in layer.state_dict().items()}
    with torch.no_grad():
        layer.eval()(data)
        assert all(torch.equal(v, drawn[k]) for k, v in layer.state_dict().items())
        out = pickle.loads(pickle.dumps(layer)).train()(data)
    assert out.spike_counts["first"].float().mean() == pytest.approx(5.0, rel=0.35)
    layer.train()(data).maximum.sum().backward()
    scaled = {k: v.clone() for k, v in layer.state_dict().items()}
    assert not torch.equal(scaled["net.input_first.weight"], drawn["net.input_first.weight"])
    layer(events(seed=4))
    assert all(torch.equal(v, scaled[k]) for k, v in layer.state_dict().items())
    loaded = make()
    loaded.load_state_dict(scaled)
    loaded(events(seed=4))
    assert all(torch.equal(v, scaled[k]) for k, v in loaded.state_dict().items())
    notes = make().scale_weights(data)
    assert len(notes) == 3 and notes[0].startswith("initial weights into first times")
    with pytest.raises(SettingError, match="call scale_weights with spikes, or with times="):
        layer.scale_weights()


def test_a_layer_warns_of_silence():
    torch = needs("torch")
    from genn_eventprop.torch import EventProp

    net, _ = network(hidden=Dense(Normal(0.001, 0.0005)))
    layer = EventProp(net, duration=50.0, dt=5.0, readout="max", engine="reference_clock")
    data = events(2)
    with torch.no_grad(), pytest.warns(RuntimeWarning, match="was silent in the last 20 batches") as told:
        for _ in range(60):
            layer(data)
    messages = [str(w.message) for w in told]
    assert sum("first was silent" in m for m in messages) == 2
    assert any("leave out the weight (Dense()), which the first call in training mode" in m for m in messages)
    other = EventProp(network()[0], duration=50.0, dt=5.0, readout="max", engine="reference_clock")
    with pytest.warns(RuntimeWarning, match=r"first was .* init\(seed, counts\) scales its weights, Dense"):
        for _ in range(20):
            other._layer.watch({"first": np.zeros(1)}, "init(seed, counts)")


def test_a_function_of_jax_scales_with_a_batch():
    needs("jax")
    from genn_eventprop.jax import EventProp

    net, _ = network()
    layer = EventProp(net, duration=50.0, readout="max", engine="reference_clock")
    times = np.random.default_rng(0).uniform(0, 40, (20, 30)).astype(np.float32)
    with pytest.warns(RuntimeWarning, match="the weights into first, second, output have no scale yet: give init a"):
        drawn = layer.init(1)
    parameters = layer.init(1, times=times)
    assert float(layer(drawn, times=times).spike_counts["first"].mean()) < 1.0
    assert float(layer(parameters, times=times).spike_counts["first"].mean()) == pytest.approx(5.0, rel=0.35)
    with pytest.raises(SettingError, match=r"structured.to_dense\(events, 1, 50\).swapaxes\(0, 1\)\), from genn_ev"):
        layer(parameters, events(2))


def recordings(channels=30, classes=4, samples=400):
    """Each class has its own rate in every channel, up to 50 Hz, for 450 ms, and its own time of most spikes."""
    rng = np.random.default_rng(7)
    rates, peaks = rng.gamma(1.0, 10.0, (classes, channels)), rng.uniform(50, 400, (classes, channels))
    made = []
    for i in range(samples):
        counts = rng.poisson(rates[i % classes] * 0.45)
        channel = np.repeat(np.arange(channels), counts)
        scattered = rng.uniform(0, 450, len(channel))
        gathered = rng.normal(peaks[i % classes][channel], 30)
        made.append((np.clip(np.where(rng.random(len(channel)) < 0.5, scattered, gathered), 0, 450), channel))
    return Events.from_samples(made, channels, labels=np.arange(samples) % classes, sort=True)


TABLE = re.findall(r"^\| `(\w+)` \|", (DOCS / "losses.md").read_text(), re.MULTILINE)
EXCEPTIONS = {"voltage_error", "spike_time_error", "error", "own", "end", "avg_xentropy"}
"""Losses of the table that compare with numbers, or need an outer loss of one's own; and two that the page explains."""


@pytest.mark.ci
@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("loss", [name for name in dict.fromkeys(TABLE) if name not in EXCEPTIONS])
def test_the_page_of_the_docs_learns_new_data(loss, tmp_path, monkeypatch, capsys):
    page = re.search(r"```python\n(from dataclasses .*?)```", (DOCS / "experiments.md").read_text(), re.DOTALL)
    (tmp_path / "my_experiment.py").write_text(page.group(1))
    recordings().save(tmp_path / "my_recordings.npz")
    monkeypatch.chdir(tmp_path)
    assert main(["train", "my_experiment.py", "--epochs", "15", "--loss", loss, "--run-dir", "run"]) == 0
    told = capsys.readouterr()
    accuracy = re.search(r"test accuracy, weights chosen on validation +([\d.]+) %", told.out + told.err)
    assert float(accuracy.group(1)) >= 85.0, told.out
