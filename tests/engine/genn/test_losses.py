"""Losses and regularisers on the genn engine against `reference_clock`: on pygenn, and everywhere on the harness."""

from dataclasses import replace

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Param, losses, regularisers
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.errors import EngineError
from genn_eventprop.losses import OwnLoss, SquaredError, TimeWeight, VoltageSquaredError, make_loss
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from support import genn_harness as harness
from support.on_genn import on_genn
from support.sweeps import sweep

WINDOW = TimeWeight("exponential", window=(10.0, 30.0))
INPUT = TimeWeight("linear", input_tau=8.0, input_gain=0.3)
# name -> (loss of the output population, whether the output spikes)
LOSSES = {
    "V at the end": (losses.EndVoltageCrossEntropy, False),
    "V at the end of spiking": (losses.EndVoltageCrossEntropy, True),
    "window": (lambda o: losses.IntegratedVoltageCrossEntropy(o, WINDOW), False),
    "input-driven": (lambda o: losses.IntegratedVoltageCrossEntropy(o, INPUT), False),
    "input-driven of spiking": (lambda o: losses.IntegratedVoltageCrossEntropy(o, INPUT), True),
    "every step": (losses.PerStepCrossEntropy, False),
    "every step, input-driven window": (
        lambda o: losses.PerStepCrossEntropy(o, TimeWeight("exponential", (5.0, 40.0), 8.0, 0.3)), False,
    ),
    "V(t) against a series": (lambda o: VoltageSquaredError(o, "linear"), False),
    "squared error of integrals": (SquaredError, False),
    "squared error of maxima": (lambda o: SquaredError(o, "max"), False),
    "squared error of first spikes": (lambda o: SquaredError(o, "first_spike"), True),
    "spike times": (losses.SpikeTimeError, True),
    "spike times, silent at the end": (lambda o: losses.SpikeTimeError(o, silent="end"), True),
    "spike count": (lambda o: losses.SpikeCountCrossEntropy(o, gain=0.7), True),
    "a formula": (lambda o: OwnLoss(o, "integral", "(r0 - 2 * y0)**2 + r1 * r3", compares="targets"), False),
    "a formula of first spikes": (
        lambda o: OwnLoss(o, "first_spike", "0.1 * (r0 - y0)**2 + 0.01 * r1 * r2", compares="targets", silent="end"),
        True,
    ),
}  # fmt: skip
PUBLISHED = ("sum_weigh_input", "avg_xentropy", "first_spike", "first_spike_exp", "spike_count", "end")
ENGINES = [pytest.param("harness"), pytest.param("pygenn", marks=pytest.mark.needs_genn)]


@pytest.fixture(params=ENGINES)
def make(request):
    """Makes engines, and closes them after the test."""
    made = []

    def engine(plan, values, **settings):
        settings = {"dtype": "float64", **settings}
        if request.param == "harness":
            if settings["dtype"] != "float64":
                pytest.skip("the harness computes in float64")
            made.append(harness.HarnessEngine(plan, values, **settings))
        else:
            made.append(on_genn(plan, values, **settings))
        return made[-1]

    yield engine
    for e in made:
        e.close()


def build(loss, spiking, delay=1.0, regularised=(), learned=True):
    """6 inputs, 12 recurrent hidden neurons, 4 outputs; time constants of the output are learned."""
    net = Network()
    hidden = net.population(LIF(tau_mem=18.0, tau_syn=4.0, v_thresh=0.9), 12, name="hidden")
    net.connect(net.input(6), hidden, Dense(Normal(0.9, 0.6)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.3)), delay=delay)
    model = LIF if spiking else LI
    tau = {"tau_mem": Param(15.0, "ms", trainable=learned), "tau_syn": Param(5.0, "ms", trainable=learned)}
    output = net.population(model(**tau), 4, name="output")
    net.connect(hidden, output, Dense(Normal(0.3, 0.4)), delay=delay)
    more = [r(hidden) for r in regularised]
    return make_plan(net, loss(output), dt=0.5, duration=50.0, regularisers=more)


def random_events(plan, n_samples=4, seed=7):
    rng = np.random.default_rng(seed)
    samples = [(np.sort(rng.uniform(0, 48, n)), rng.integers(0, 6, n)) for n in rng.integers(12, 40, n_samples)]
    targets = None
    if plan.loss.compares == "targets":
        shape = tuple(3 if n is None else n for n in plan.loss.target_shape(plan.n_steps))
        targets = rng.uniform(1, 49, (n_samples, *shape))
        targets = np.sort(targets, axis=-1) if plan.loss.readout == "spike_times" else targets
        targets = targets if plan.loss.of_spikes else targets / 50.0
        if plan.loss.host is None:
            targets.reshape(n_samples, -1)[1, ::3] = np.nan
    return Events.from_samples(
        samples, n_channels=6, labels=rng.integers(0, 4, n_samples), targets=targets
    )  # fmt: skip


def check_same(engine, plan, values, events, tolerance=1e-9, samples=None):
    samples = np.arange(len(events)) if samples is None else samples
    clock = ReferenceClock(plan, values)
    a, b = (e.run(e.load(events), samples, training=True, record_spikes=True) for e in (clock, engine))
    for p, spikes in a.spikes.items():
        assert spikes.time.size, f"{p} is silent: the test would compare nothing"
        np.testing.assert_array_equal(b.spikes[p].time, spikes.time)
        np.testing.assert_array_equal(b.spikes[p].neuron, spikes.neuron)
    np.testing.assert_array_equal(b.prediction, a.prediction)
    np.testing.assert_allclose(b.loss, a.loss, rtol=tolerance)
    np.testing.assert_allclose(b.readout, a.readout, rtol=tolerance)
    for key, gradient in clock.gradients.items():
        assert gradient.any(), f"{key} has no gradient: the test would compare nothing"
        assert np.linalg.norm(engine.gradients[key] - gradient) <= tolerance * np.linalg.norm(gradient), key
    after = engine.run(engine.load(events), samples)  # forwards alone
    np.testing.assert_allclose(after.loss, a.loss, rtol=tolerance)


SIDE_BY_SIDE = ("input-driven", "every step", "V(t) against a series", "spike times", "a formula")


@pytest.mark.one_in(24)
# one example at a time; those that also run side by side are slow here
@pytest.mark.parametrize("name", sweep(LOSSES, [name for name in LOSSES if name not in SIDE_BY_SIDE]))
def test_losses(make, name):
    plan = build(*LOSSES[name])
    values = plan.network.initial_parameters(3)
    check_same(make(plan, values), plan, values, random_events(plan))


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.one_in(3)
def test_published_losses_in_float32(make, name):
    spiking = name.startswith("first") or name == "spike_count"
    plan = build(lambda o: make_loss(name, o), spiking, learned=False)
    values = {k: v.astype(np.float32).astype(np.float64) for k, v in plan.network.initial_parameters(3).items()}
    engine = make(plan, values, dtype="float32")
    check_same(engine, plan, values, random_events(plan), tolerance=1e-4)


@pytest.mark.one_in(6)
@pytest.mark.parametrize(  # None: all at once; 3: the last group is short
    ("name", "batch_size"),
    sweep(
        [(name, size) for name in SIDE_BY_SIDE for size in (None, 3)],
        [("every step", None), *((name, 3) for name in SIDE_BY_SIDE)],
    ),
)
def test_examples_side_by_side_give_the_same(name, batch_size):
    plan = build(*LOSSES[name])
    values = plan.network.initial_parameters(3)
    engine = harness.HarnessEngine(plan, values, dtype="float64", batch_size=batch_size)
    for samples in ([3, 0, 1, 2], [1, 3]):
        check_same(engine, plan, values, random_events(plan), samples=np.array(samples))


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name", ["V at the end", "every step", "squared error of first spikes", "spike times"])
def test_weights_of_samples(name):
    """The mean of the loss is weighted, also where the examples of a batch run in groups."""
    plan = build(*LOSSES[name])
    values = plan.network.initial_parameters(3)
    clock, engine = ReferenceClock(plan, values), harness.HarnessEngine(plan, values, dtype="float64", batch_size=3)
    for e in (clock, engine):
        data = replace(e.load(random_events(plan)), weights=np.array([0.5, 2.0, 0.0, 1.5]))
        e.run(data, [3, 0, 1, 2], training=True)
    for key, gradient in clock.gradients.items():
        assert gradient.any()
        assert np.linalg.norm(engine.gradients[key] - gradient) <= 1e-9 * np.linalg.norm(gradient), key


REGULARISERS = {
    "each example": lambda p: regularisers.SpikeCount(p, target=4.0, upper=3e-2, lower=5e-2),
    "batch mean": lambda p: regularisers.SpikeCount(p, target=4.0, strength=4e-2, mean="batch"),
    "layer": lambda p: regularisers.LayerRate(p, most=20.0, strength=1e-2),
}


@pytest.mark.one_in(4)
@pytest.mark.parametrize(  # None: all at once
    ("name", "group"),
    sweep(
        [(name, group) for name in REGULARISERS for group in (1, None, 3)],
        [("each example", 1), ("each example", 3), ("batch mean", 3), ("layer", None)],
    ),
)
def test_regularisers_side_by_side(name, group):
    plan = build(*LOSSES["V at the end"], regularised=[REGULARISERS[name]])
    values = plan.network.initial_parameters(3)
    check_same(
        harness.HarnessEngine(plan, values, dtype="float64", batch_size=group), plan, values, random_events(plan)
    )


@pytest.mark.needs_genn
@pytest.mark.parametrize("name", REGULARISERS)
def test_regularisers_on_pygenn(name):
    plan = build(*LOSSES["V at the end"], regularised=[REGULARISERS[name]])
    values = plan.network.initial_parameters(3)
    engine = on_genn(plan, values, dtype="float64")
    check_same(engine, plan, values, random_events(plan))
    engine.close()


def test_stepwise_losses_refuse_jumping_outputs():
    plan = build(losses.PerStepCrossEntropy, True)
    with pytest.raises(EngineError, match="'output': its neurons spike; read an output of LI.*engine='native'"):
        harness.HarnessEngine(plan, plan.network.initial_parameters(1))


def test_unlabelled_samples_run_forwards(make):
    plan = build(losses.PerStepCrossEntropy, False)
    engine = make(plan, plan.network.initial_parameters(1))
    many = (np.arange(1.0, 45.0), np.arange(44) % 6)
    data = engine.load(Events.from_samples([many, ([], [])], n_channels=6))
    result = engine.run(data, [0, 1])
    assert np.all(np.isnan(result.loss))
    assert result.prediction[0] >= 0 and result.prediction[1] == -1  # of no spikes all outputs are 0
