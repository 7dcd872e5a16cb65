"""Every remedy that a message names about silence, exploding gradients, or numbers that are not finite, applied: then
neurons spike, and the network learns."""

from __future__ import annotations

import re

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Trainer, engines
from genn_eventprop.data.readers import yin_yang
from genn_eventprop.errors import EngineError, TrainingError
from genn_eventprop.experiments import yin_yang as page
from genn_eventprop.losses import (
    FirstSpikeCrossEntropy,
    IntegratedVoltageCrossEntropy,
    MaxVoltageCrossEntropy,
    PerStepCrossEntropy,
    SquaredError,
)
from genn_eventprop.models import EIF, LI, LIF, AdEx
from genn_eventprop.optimisers import SGD, Adam
from genn_eventprop.plan import make_plan
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


@pytest.mark.parametrize(
    "loss, settings",
    [(FirstSpikeCrossEntropy, {"silent": "exclude"}), (IntegratedVoltageCrossEntropy, {})],
)
@pytest.mark.ci
def test_weights_that_are_too_small(train, capsys, loss, settings):
    """Also where the outputs are silent and the loss leaves them out, so that no birth would change it."""
    text = told(trainer(loss, **settings), train, capsys)
    assert "its weights are too small for these data" in text and "Revive" not in text and "spike_birth" not in text
    assert "Dense()" in text and "initialise_rates" in text
    rate, accuracy = spikes(trainer(loss, None, **settings), train, 10)
    assert rate > 0.3 and accuracy > 0.4
    awake = trainer(loss, **settings)
    initialise_rates(awake, train, 2.0)
    rate, accuracy = spikes(awake, train, 10)
    assert rate > 0.3 and accuracy > 0.4


@pytest.mark.ci
def test_a_learning_rate_that_silences(capsys):
    """Words that end long before the trial does: the loss delays spikes until there are none."""
    rng = np.random.default_rng(0)
    words = [(rng.uniform(0, 30, 40), rng.integers(0, 5, 40)) for _ in range(3)]
    labels = rng.integers(0, 3, 300)
    samples = [(np.abs(words[y][0] + rng.normal(0, 2, 40)), words[y][1]) for y in labels]
    events = Events.from_samples(samples, 5, labels=labels, sort=True)

    def scaled(rate):
        net = Network()
        hidden, output = net.population(LIF(), 8, name="hidden"), net.population(LI(), 3, name="output")
        net.connect(net.input(5), hidden, Dense())
        net.connect(hidden, output, Dense())
        return Trainer(
            net, PerStepCrossEntropy(output), duration=150.0, dt=1.0, spike_times="grid", engine="native",
            optimiser=Adam(rate), seed=1,
        )  # fmt: skip

    text = told(scaled(1.0), events, capsys, epochs=8)
    assert "it spiked before the updates, so use a smaller learning rate: " in text and "Dense()" not in text
    named = float(re.search(r"learning rate: ([\d.e+-]+) would", text)[1])
    rate, accuracy = spikes(scaled(named), events, 10)
    assert rate > 0.1 and accuracy > 0.4


@pytest.mark.ci
def test_the_page_whose_outputs_are_left_out():
    """`train yin_yang --hidden-weight 0.5 0.26`, and what its message says: leave the option out."""
    config = page.Config(hidden=60, train_size=600, epochs=25)
    experiment = page.build(config)
    experiment.trainer.fit(experiment.train, epochs=25)
    after = experiment.trainer.evaluate(experiment.train)
    assert after.activity["hidden"].spikes_per_neuron > 0.05 and after.accuracy > 0.4


# numbers that are not finite, or explode


def grazing(weights, **settings):
    """A chain in which every neuron spikes as its V just touches the threshold: each multiplies the gradient of the one
    before by some hundred."""
    net, L = Network(), len(weights)
    source, before = net.input(L), None
    for i, weight in enumerate(weights):
        neuron = net.population(LIF(), 1, name=f"n{i}")
        net.connect(source, neuron, Dense(weight * np.eye(L)[:, [i]]), name=f"in{i}")
        if before is not None:
            net.connect(before, neuron, Dense(0.8), name=f"chain{i}")
        before = neuron
    output = net.population(LI(), 2, name="output")
    net.connect(before, output, Dense([[1.0, -1.0]]))
    trial = {"duration": 8.0 * L + 30.0, "dt": 0.01} | settings
    events = Events.from_samples([(8.0 * np.arange(L) + 1.0, np.arange(L))], L, labels=[1])
    return net, IntegratedVoltageCrossEntropy(output), trial, events


@pytest.fixture(scope="module")
def touching():
    """Weights of a chain of any length: the least with which the neurons spike, the same from the fifth on."""
    net, loss, trial, events = grazing([0.0] * 5)
    engine = engines.create(make_plan(net, loss, **trial), net.initial_parameters(1), engine="native")
    data, weights = engine.load(events), []
    for i in range(5):
        low, high = 0.0, 10.0
        for _ in range(28):
            middle = (low + high) / 2
            engine.parameters[f"in{i}.weight"][i, 0] = middle
            if engine.run(data, [0]).spike_counts[f"n{i}"].any():
                high = middle
            else:
                low = middle
        engine.parameters[f"in{i}.weight"][i, 0] = high
        weights.append(high)
    return lambda length: weights + [weights[-1]] * (length - 5)


@pytest.mark.ci
def test_slopes_near_zero(touching):
    """In the first batch: neither the learning rate nor clipping is at fault."""

    def train(**settings):
        net, loss, trial, events = grazing(touching(24))
        trainer = Trainer(net, loss, engine="native", optimiser=SGD(1e-6), progress=False, **trial, **settings)
        trainer.fit(events, epochs=1)
        return trainer.state.metrics[0]

    with pytest.raises(TrainingError, match="the gradient of .* is not finite") as error:
        train()
    text = str(error.value)
    assert "slope_floor of the trainer bounds 1 / slope" in text and "clip_norm" not in text
    assert "learning rate is not the cause" in text
    assert train(slope_floor=1e-3)["guarded"] > 0


@pytest.mark.one_in(2)
@pytest.mark.parametrize("rate", [10.0, 100.0])
def test_a_learning_rate_with_which_weights_grow_without_end(rate):
    """Nothing spikes: no slope is at fault."""
    rng = np.random.default_rng(1)
    samples = [(np.sort(rng.uniform(0, 40, 20)), rng.integers(0, 5, 20)) for _ in range(32)]
    events = Events.from_samples(samples, 5, targets=rng.normal(0, 1, (32, 2)))

    def losses(optimiser, epochs=200):
        net = Network()
        output = net.population(LI(), 2, name="output")
        net.connect(net.input(5), output, Dense(Normal(0.0, 1.0)))
        trainer = Trainer(
            net, SquaredError(output, readout="integral"), duration=50.0, dt=1.0, spike_times="grid", engine="native",
            optimiser=optimiser, progress=False, seed=1,
        )  # fmt: skip
        return trainer.fit(events, epochs=epochs)["history"]["train_loss"]

    with pytest.raises((TrainingError, EngineError)) as error:
        losses(SGD(rate))
    text = str(error.value)
    assert "smaller learning rate" in text and "slope" not in text and "dt" not in text
    for optimiser in (SGD(0.05), SGD(rate, clip_norm=0.1 / rate)):
        history = losses(optimiser)
        assert history[-1] < 0.9 * history[0]


def test_clipping_is_offered_only_where_it_makes_steps_smaller():
    """Steps of Adam do not depend on the scale of gradients."""
    for optimiser, offered in ((SGD(1.0), True), (Adam(1.0), False)):
        value, gradient = {"w": np.zeros(3)}, {"w": np.array([3.0, -4.0, 0.0])}
        moved = []
        for clip in (None, 1e-3):
            each = type(optimiser)(1.0, clip_norm=clip)
            values = {n: v.copy() for n, v in value.items()}
            each.prepare(values)
            each.update(values, gradient)
            moved.append(np.abs(values["w"]).max())
        assert (moved[1] < 0.01 * moved[0]) == offered != optimiser.scale_free


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("model", "weight", "remedies"), [
    (EIF, 3.0, {"dt": 0.02, "weight": 0.03, "v_peak": -58.0}),
    (AdEx, 600.0, {"dt": 0.02, "weight": 6.0, "v_peak": -49.0}),
    (LIF, 1e37, {"weight": 1e3}),
], ids=["EIF", "AdEx", "LIF"])  # fmt: skip
def test_dynamics_that_diverge(model, weight, remedies):
    """Of a step without a closed form: smaller steps; and where there is one, these are not named."""
    rng = np.random.default_rng(1)
    samples = [(np.sort(rng.uniform(10, 39, 20)), rng.integers(0, 5, 20)) for _ in range(4)]
    events = Events.from_samples(samples, 5, labels=[0, 1, 0, 1])

    def run(dt=0.5, weight=weight, **parameters):
        net = Network()
        neuron, output = net.population(model(**parameters), 19, name="hidden"), net.population(LI(), 2, name="output")
        net.connect(net.input(5), neuron, Dense(Normal(weight, 0.1 * weight)))
        net.connect(neuron, output, Dense(Normal(0.2, 0.4)))
        plan = make_plan(net, MaxVoltageCrossEntropy(output), dt=dt, duration=40.0)
        engine = engines.create(plan, net.initial_parameters(1), engine="native")
        engine.run(engine.load(events), range(4), training=True)
        assert all(np.isfinite(g).all() for g in engine.gradients.values())

    with pytest.raises(EngineError, match="diverged in sample") as error:
        run()
    text = str(error.value)
    assert "smaller weights" in text and ("smaller dt" in text) == ("dt" in remedies)
    assert ("a lower threshold" in text) == ("v_peak" in remedies)
    for name, value in remedies.items():
        run(**{name: value})


@pytest.mark.parametrize("remedy", ["weights", "grid"])
def test_a_loop_that_excites_itself_without_end_in_exact_time(remedy):
    rng = np.random.default_rng(0)
    events = Events.from_samples([(np.sort(rng.uniform(0, 80, 40)), rng.integers(0, 20, 40))], 20, labels=[1])

    def run(loop=1.0, spike_times="exact"):
        net = Network()
        hidden, output = net.population(LIF(), 30, name="hidden"), net.population(LI(), 3, name="output")
        net.connect(net.input(20), hidden, Dense(Normal(0.5, 0.2)))
        net.connect(hidden, hidden, Dense(Normal(loop, loop)), delay=1.0)
        net.connect(hidden, output, Dense(Normal(0.0, 0.2)))
        plan = make_plan(net, IntegratedVoltageCrossEntropy(output), dt=1.0, duration=300.0, spike_times=spike_times)
        engine = engines.create(plan, net.initial_parameters(1), engine="native")
        return engine.run(engine.load(events), [0], training=True)

    with pytest.raises(EngineError, match="use smaller weights or an engine on the grid"):
        run()
    assert np.isfinite((run(0.02) if remedy == "weights" else run(spike_times="grid")).loss).all()


def readout_that_is_too_strong(optimiser):
    rng = np.random.default_rng(0)
    words = [(rng.uniform(0, 80, 40), rng.integers(0, 20, 40)) for _ in range(3)]
    labels = rng.integers(0, 3, 96)
    samples = [(np.abs(words[y][0] + rng.normal(0, 2, 40)), words[y][1]) for y in labels]
    net = Network()
    first, second = (net.population(LIF(), 30, name=name) for name in ("hidden", "deep"))
    output = net.population(LI(), 3, name="output")
    net.connect(net.input(20), first, Dense(Normal(1.0, 0.6)))
    net.connect(first, second, Dense(Normal(0.8, 0.8)))
    net.connect(second, output, Dense(Normal(0.0, 1000.0)))
    trainer = Trainer(
        net, IntegratedVoltageCrossEntropy(output), duration=100.0, dt=1.0, spike_times="grid", engine="native",
        optimiser=optimiser, seed=1, batch_size=32, progress=False,
    )  # fmt: skip
    return trainer, Events.from_samples(samples, 20, labels=labels, sort=True)


@pytest.mark.ci
@pytest.mark.usefixtures("contracted")  # code that is not optimised would take longer
def test_gradients_that_explode():
    """Hidden weights are driven out of the range in which neurons spike; what the note names prevents it."""
    for optimiser in (SGD(0.03), Adam(5e-3)):
        trainer, events = readout_that_is_too_strong(optimiser)
        trainer.fit(events, epochs=10)
        notes = " ".join(m.get("gradient_note", "") for m in trainer.state.metrics)
        assert "explodes" in notes and "initialise_rates" in notes and "slope_floor" not in notes
        assert ("clip_norm={'*': 1}" in notes) == isinstance(optimiser, SGD)
        assert trainer.evaluate(events).accuracy < 0.5
        trainer, events = readout_that_is_too_strong(type(optimiser)(**optimiser.settings))
        initialise_rates(trainer, events, 2.0)
        trainer.fit(events, epochs=10)
        assert trainer.evaluate(events).accuracy > 0.55
    trainer, events = readout_that_is_too_strong(SGD(0.03, clip_norm={"*": 1}))
    trainer.fit(events, epochs=200)
    assert trainer.evaluate(events).accuracy > 0.5
