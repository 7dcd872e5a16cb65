"""The genn engine equals `reference_clock`: on real GeNN where pygenn is installed, and everywhere on a harness that
executes the same text in GeNN's order of operations.
"""

import re

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Gamma, Network, Normal, Param, losses, optimisers
from genn_eventprop.codegen.genn.show import network_texts
from genn_eventprop.engines import ReferenceClock, create
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from support import genn_harness as harness
from support.on_genn import on_genn
from support.sweeps import sweep

LIF_VALUES = {"tau_mem": 18.0, "tau_syn": 4.0, "v_thresh": 0.9, "v_reset": -0.1}
LI_VALUES = {"tau_mem": 15.0, "tau_syn": 5.0}
LOSSES = {
    "first": lambda o: losses.FirstSpikeCrossEntropy(o),
    "first inverse end": lambda o: losses.FirstSpikeCrossEntropy(o, form="inverse", alpha=3.0, silent="end"),
    "max": lambda o: losses.MaxVoltageCrossEntropy(o),
    "integral": lambda o: losses.IntegratedVoltageCrossEntropy(o),
    "integral exponential": lambda o: losses.IntegratedVoltageCrossEntropy(o, "exponential"),
    "integral sigmoid": lambda o: losses.IntegratedVoltageCrossEntropy(o, "sigmoid"),
    "integral of spiking": lambda o: losses.IntegratedVoltageCrossEntropy(o, "linear"),
}
# topology, loss, parameters, delay in ms
CASES = [
    ("feed-forward", "first", "fixed", 0.0), ("recurrent", "first", "learned", 1.5),
    ("deep", "first inverse end", "fixed", 1.5), ("recurrent", "first inverse end", "spread learned", 0.0),
    ("feed-forward", "max", "learned", 0.0), ("recurrent", "max", "fixed", 1.5), ("skip", "max", "fixed", 1.0),
    ("feed-forward", "integral", "shared", 0.0), ("recurrent", "integral exponential", "learned", 0.0),
    ("deep", "integral exponential", "spread", 1.5), ("skip", "integral sigmoid", "learned", 1.0),
    ("recurrent", "integral of spiking", "learned", 1.5), ("deep", "integral of spiking", "fixed", 0.0),
]  # fmt: skip
NAMES = {i: " ".join(map(str, c)) for i, c in enumerate(CASES)}
SIDE_BY_SIDE = (1, 3, 5, 8)
ENGINES = [pytest.param("harness"), pytest.param("pygenn", marks=pytest.mark.needs_genn)]


@pytest.fixture(params=ENGINES)
def make(request):
    """Makes engines, and closes them after the test."""
    made = []

    def engine(plan, values, **settings):
        if request.param == "harness":
            if settings.get("dtype", "float64") != "float64":
                pytest.skip("the harness computes in float64")
            made.append(harness.HarnessEngine(plan, values, **settings))
        else:
            made.append(on_genn(plan, values, **settings))
        return made[-1]

    yield engine
    for e in made:
        e.close()


def parameters(kind, values):
    unit = lambda n: "ms" if n.startswith("tau") else ""  # noqa: E731
    spread = {n: Gamma(v, 40.0, 0.8 * v, 1.2 * v) if v > 0 else v for n, v in values.items()}
    chosen = spread if kind.startswith("spread") else values
    if "learned" not in kind and kind != "shared":
        return chosen
    return {n: Param(v, unit(n), trainable=True, shared=kind == "shared") for n, v in chosen.items()}


def build(topology, loss, kind, delay, duration=50.0, dt=0.5):
    net = Network()
    inp = net.input(7)
    lif = lambda: LIF(**parameters(kind, LIF_VALUES))  # noqa: E731
    hidden = last = net.population(lif(), 21, name="hidden")
    net.connect(inp, hidden, Dense(Normal(0.8, 0.6)), delay=delay)
    if topology == "recurrent":
        net.connect(hidden, hidden, Dense(Normal(0.0, 0.3)), delay=delay)
    if topology in ("deep", "skip"):
        last = net.population(lif(), 18, name="second")
        net.connect(hidden, last, Dense(Normal(0.3, 0.3)), trainable=topology == "deep")
    spiking = loss.startswith("first") or loss.endswith("spiking")
    output = net.population(lif() if spiking else LI(**parameters(kind, LI_VALUES)), 4, name="output")
    net.connect(last, output, Dense(Normal(0.3, 0.4)), delay=delay)
    if topology == "skip":
        net.connect(hidden, output, Dense(Normal(0.1, 0.2)), delay=2 * delay)
        net.connect(inp, output, Dense(Normal(0.1, 0.2)), delay=delay)
    return make_plan(net, LOSSES[loss](output), dt=dt, duration=duration)


def random_events(plan, n_samples=5, seed=5, spikes=(8, 40)):
    """Uniform spike times; the first sample has three spikes on one channel and step, and one in the last step."""
    rng = np.random.default_rng(seed)
    samples = []
    for s in range(n_samples):
        n = int(rng.integers(*spikes))
        times, channels = np.sort(rng.uniform(0, plan.duration - 1, n)), rng.integers(0, plan.input.size, n)
        if s == 0:
            times = np.sort(np.concatenate([times, np.full(3, 4.0), [plan.duration - plan.dt]]))
            channels = np.concatenate([channels, [2, 2, 2, 1]])
        samples.append((times, channels))
    labels = rng.integers(0, plan.loss.n_classes, n_samples)
    return Events.from_samples(samples, n_channels=plan.input.size, labels=labels)


def relative(a, b):
    return np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30)


def check_same(engine, plan, values, events, tolerance=1e-9, samples=None):
    """One training run of the engine against the clocked reference."""
    samples = np.arange(len(events)) if samples is None else samples
    clock = ReferenceClock(plan, values)
    a = clock.run(clock.load(events), samples, training=True, record_spikes=True)
    b = engine.run(engine.load(events), samples, training=True, record_spikes=True)
    for p, spikes in a.spikes.items():
        assert len(spikes.time) > 0, f"{p} is silent: the test would compare nothing"
        for part in ("sample", "time", "neuron"):
            np.testing.assert_array_equal(getattr(b.spikes[p], part), getattr(spikes, part))
        np.testing.assert_array_equal(b.spike_counts[p], a.spike_counts[p])
    np.testing.assert_array_equal(b.prediction, a.prediction)
    np.testing.assert_allclose(b.loss, a.loss, rtol=tolerance)
    np.testing.assert_allclose(b.readout, a.readout, rtol=tolerance)
    assert b.guarded == a.guarded
    for key, gradient in clock.gradients.items():
        assert engine.gradients[key].shape == gradient.shape
        assert relative(engine.gradients[key], gradient) < tolerance, key
    return clock


@pytest.mark.one_in(18)
# one example at a time; those that also run side by side are slow here
@pytest.mark.parametrize(
    "case", sweep(dict(enumerate(CASES)), [i for i in range(len(CASES)) if i not in SIDE_BY_SIDE]), ids=NAMES.get
)
def test_spikes_and_gradients_equal_the_reference(make, case):
    plan = build(*CASES[case])
    values = plan.network.initial_parameters(3)
    check_same(make(plan, values, dtype="float64"), plan, values, random_events(plan))


@pytest.mark.parametrize("case", [CASES[0], CASES[3], CASES[5], CASES[8]], ids=lambda c: f"{c[0]} {c[1]}")
def test_float32_agrees_to_1e_4(make, case):
    plan = build(*case)
    values = plan.network.initial_parameters(3)
    values = {k: v.astype(np.float32).astype(np.float64) for k, v in values.items()}
    check_same(make(plan, values, dtype="float32"), plan, values, random_events(plan), tolerance=1e-4)


def test_the_spike_store_grows_and_the_batch_is_run_again(make):
    plan = build("recurrent", "integral", "learned", 0.0, duration=200.0)
    values = plan.network.initial_parameters(3)
    events = random_events(plan, n_samples=2, spikes=(300, 400))
    quiet = random_events(plan, n_samples=1, spikes=(60, 61))
    both = Events.from_samples(
        [(e.times, e.channels) for e in (quiet[0], events[0], events[1])], n_channels=plan.input.size, labels=[0, 1, 2]
    )
    engine = make(plan, values, dtype="float64")
    assert engine.room[0] == 32
    check_same(engine, plan, values, both)  # the first sample's gradient must survive the growth at the second
    assert engine.room[0] > 32


def test_shuffled_samples_other_data_and_new_parameters(make):
    plan = build("recurrent", "integral exponential", "learned", 1.0)
    values = plan.network.initial_parameters(3)
    engine = make(plan, values, dtype="float64")
    check_same(engine, plan, values, random_events(plan), samples=np.array([3, 0, 3]))
    for key, value in values.items():
        engine.parameters[key] *= 1.05
        values[key] = value * 1.05
    check_same(engine, plan, values, random_events(plan, n_samples=9, seed=6), samples=np.array([8, 2]))


def test_a_trial_leaves_nothing_behind(make):
    """The same sample gives the same bits alone, after others, and after a run that broke off in the middle."""
    plan = build("recurrent", "integral", "learned", 1.5)
    engine = make(plan, plan.network.initial_parameters(3), dtype="float64")
    data = engine.load(random_events(plan))
    engine.run(data, [1], training=True)
    alone = {k: v.copy() for k, v in engine.gradients.items()}
    engine.run(data, [0, 2, 4], training=True)
    engine.run(data, [1], training=True)
    assert all(np.array_equal(engine.gradients[k], v) for k, v in alone.items())
    network = engine.network
    whole = network.run

    def broken(first, last):
        whole(first, last - 7)
        if first > 0:
            raise KeyboardInterrupt

    network.run = broken
    with pytest.raises(KeyboardInterrupt):
        engine.run(data, [0], training=True)
    network.run = whole
    engine.run(data, [1], training=True)
    assert all(np.array_equal(engine.gradients[k], v) for k, v in alone.items())


def test_a_data_set_for_every_batch_reloads_nothing(make):
    """Augmented batches come as data sets of their own; only a larger one needs new memory."""
    plan = build("feed-forward", "integral", "fixed", 0.0)
    engine = make(plan, plan.network.initial_parameters(3), dtype="float64")
    events, reloads = random_events(plan, n_samples=8), []
    engine.run(engine.load(events[:4]), np.arange(4))
    network = engine.network
    reload = network.reload
    network.reload = lambda: (reloads.append(1), reload())
    for part in (events[4:6], events[2:3], events[:4], events[:3]):
        engine.run(engine.load(part), [0])
    assert not reloads
    engine.run(engine.load(events), [0])
    assert len(reloads) == 1


@pytest.mark.one_in(6)
@pytest.mark.parametrize(  # None: all at once; 2: the last group is short
    ("case", "batch_size"),
    sweep([(i, size) for i in SIDE_BY_SIDE for size in (None, 2)], [(3, None), *((i, 2) for i in SIDE_BY_SIDE)]),
)
def test_examples_side_by_side_give_the_same(case, batch_size):
    """As on cuda and hip, where GeNN has a batch size; after a batch of 3 come 5, and an incomplete group."""
    plan = build(*CASES[case])
    values = plan.network.initial_parameters(3)
    engine, events = harness.HarnessEngine(plan, values, dtype="float64", batch_size=batch_size), random_events(plan)
    for samples in ([4, 0, 1], [0, 1, 2, 3, 4], [2, 0]):
        check_same(engine, plan, values, events, samples=np.array(samples))
    assert engine.group == (batch_size or 3)


def test_no_more_examples_side_by_side_than_genn_takes(monkeypatch):
    """GeNN ends the process at 1024 on cuda and hip; such a batch runs in groups of nearly the same size."""
    plan = build(*CASES[1])
    values = plan.network.initial_parameters(3)
    engine = harness.HarnessEngine(plan, values, dtype="float64", batch_size=None)
    sizes = []
    for batch in (1, 32, 1023, 1024, 2100):
        engine._regroup(batch, engine._text(training=True))
        sizes.append(engine.group)
    assert sizes == [1, 32, 1023, 512, 700]
    monkeypatch.setattr("genn_eventprop.engines.genn.engine.MOST_SIDE_BY_SIDE", 4)
    samples = np.array([4, 0, 1, 2, 3, 3, 1, 0, 2])
    check_same(engine, plan, values, random_events(plan), samples=samples)
    assert engine.group == engine.network.batch == 3


def test_one_sample_first_leaves_batches_side_by_side():
    """With the weights that were changed, and the optimiser's moments, in the network built anew."""
    plan = build(*CASES[8])
    values, events = plan.network.initial_parameters(3), random_events(plan)
    engines = [harness.HarnessEngine(plan, values, dtype="float64", batch_size=None), ReferenceClock(plan, values)]
    for engine in engines:
        data, optimiser = engine.load(events), optimisers.Adam(1e-3)
        engine.use(optimiser)
        for samples in ([0], [1, 2, 3, 4], [2, 0], [1, 2, 3, 4, 0]):
            engine.run(data, samples, training=True)
            engine.update(optimiser)
    assert engines[0].network.batch == 4  # not built anew for a single example more
    for key, value in engines[1].parameters.items():
        np.testing.assert_allclose(engines[0].parameters[key], value, rtol=1e-9, atol=1e-12)


def test_inference_builds_no_adjoint_network(make):
    plan = build("feed-forward", "integral", "fixed", 0.0)
    values = plan.network.initial_parameters(3)
    engine = make(plan, values, dtype="float64")
    result = engine.run(engine.load(random_events(plan)), [0, 1])
    text = engine.network.text
    code = " ".join(c for _, c in network_texts(text))
    assert result.guarded == 0 and not re.search(r"\bl_|gradient|dL_|\be_|w_D_", code)
    assert [u.group for u in text.updates.values()] == ["reset", "reset", "outer"]


@pytest.mark.one_in(2)
def test_ten_training_steps_give_the_weights_of_native(make):
    plan = build("recurrent", "first", "learned", 0.0)
    values = plan.network.initial_parameters(3)
    engines = [make(plan, values, dtype="float64"), create(plan, values, engine="native", dtype="float64")]
    events = random_events(plan, n_samples=8)
    for engine in engines:
        data, optimiser = engine.load(events), optimisers.Adam(1e-3)
        engine.use(optimiser)
        for step in range(10):
            engine.run(data, np.arange(8)[step % 2 :: 2], training=True)
            engine.update(optimiser)
    for key, value in engines[0].parameters.items():
        np.testing.assert_allclose(value, engines[1].parameters[key], rtol=1e-9, atol=1e-12)
        assert np.array_equal(value, values[key]) == (key not in plan.trainable)
