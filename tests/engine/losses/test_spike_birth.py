"""`spike_birth` on every engine that has it, against the reference of its spike times."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from genn_eventprop import Delay, Dense, Events, Network, NeuronModel, Normal, Param, losses
from genn_eventprop.adjoint.birth import FARTHEST
from genn_eventprop.compile import create, make_plan
from genn_eventprop.data import Currents
from genn_eventprop.engines.reference.exact.records import Birth
from genn_eventprop.modelling.connectivity import Sparse
from genn_eventprop.models.alif import ALIF
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.lif_alpha import LIFAlpha
from genn_eventprop.models.lif_refractory import LIFRefractory
from support.cuda_shim import ShimEngine
from support.engine_check import check
from support.nonlinear import ADEX, CONDUCTANCE
from support.random_networks import draw

NUMBERS = (2, 27, 50, 76, 96, 119)  # neurons with a closed form; tables, delays of synapses, circles, several losses

CUBIC = NeuronModel(  # an arrival of w s ms ago raises V by w (s - bend s^3 / 6)
    name="Cubic", state={"V": 0.0, "rise": 0.0, "fall": 0.0, "pull": 0.0}, params={"bend": Param(1.0)},
    dynamics={"V": "rise", "rise": "-fall", "fall": "pull", "pull": "0"}, threshold="V - 1",
    reset={"V": "0"}, input={"input": {"rise": "1", "pull": "bend"}},
)  # fmt: skip
CURVED = NeuronModel(
    name="Curved", state={"V": 0.0, "I": 0.0}, params={"tau": Param(20.0, "ms")},
    dynamics={"V": "(I - V - V**3) / tau", "I": "-I / tau"}, input="I",
)  # fmt: skip
MILLIVOLTS = NeuronModel(
    name="Millivolts", state={"V": "v_rest", "I": 0.0},
    params={
        "tau_mem": Param(20.0, "ms"), "tau_syn": Param(5.0, "ms"), "v_rest": Param(-65.3), "v_thresh": Param(-50.0),
    },
    dynamics={"V": "(v_rest - V + 10 * I) / tau_mem", "I": "-I / tau_syn"}, threshold="V - v_thresh",
    reset={"V": "v_rest"}, input="I",
)  # fmt: skip
PEAK = {"v_peak": Param(2.0, trainable=True)}
LEARNED = {"tau_mem": Param(20.0, "ms", trainable=True), "v_thresh": Param(1.0, trainable=True)}


def feed_forward(loss=losses.IntegratedVoltageCrossEntropy, **settings):
    net = Network()
    hidden = net.population(LIF(**LEARNED), 9, name="hidden")
    output = net.population(LI(), 3, name="output")
    net.connect(net.input(5), hidden, Dense(Normal(1.0, 0.5)))
    net.connect(hidden, output, Dense(Normal(0.0, 0.7)), delay=1.0)
    return net, loss(output, **settings)


def recurrent():
    net = Network()
    hidden, deep = net.population(ALIF(), 9, name="hidden"), net.population(LIFRefractory(), 7, name="deep")
    output = net.population(LI(), 3, name="output")
    net.connect(net.input(5), hidden, Dense(Normal(1.2, 0.5)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.5)), delay=1.0)
    net.connect(hidden, deep, Sparse(Normal(1.0, 0.5), fan_in=5))
    net.connect(deep, output, Dense(Normal(0.0, 0.7)))
    return net, losses.EndVoltageCrossEntropy(output)


def of_spikes(loss, **settings):
    net = Network()
    hidden, output = net.population(LIF(), 9, name="hidden"), net.population(LIF(), 3, name="output")
    net.connect(net.input(5), hidden, Dense(Normal(1.3, 0.5)))
    net.connect(hidden, output, Dense(Normal(0.5, 0.3)))
    return net, loss(output, **settings)


def routes():
    """Synapses with delays of their own, neurons with constants of their own, arrivals without delay in a circle."""
    net = Network()
    hidden = net.population(LIF(tau_mem=Param(np.linspace(12.0, 25.0, 9), "ms", trainable=True)), 9, name="hidden")
    output = net.population(LI(), 3, name="output")
    net.connect(net.input(5), hidden, Dense(Normal(1.2, 0.5)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.4)))
    late = Delay(np.linspace(0.3, 4.0, 27).reshape(9, 3), max=5.0, trainable=True)
    net.connect(hidden, output, Dense(Normal(0.0, 0.7)), delay=late)
    return net, losses.PerStepCrossEntropy(output)


def late():
    """Learned delays of every kind, from dense weights, a table and a circle."""

    def delay(kind, *shape):
        return Delay(rng.uniform(0.3, 4.0, shape), kind=kind, max=5.0, trainable=True)

    net, rng = Network(), np.random.default_rng(5)
    hidden, deep = net.population(LIF(), 9, name="hidden"), net.population(LIF(), 4, name="deep")
    output = net.population(LI(), 3, name="output")
    net.connect(net.input(5), hidden, Dense(Normal(1.2, 0.5)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.4)), delay=delay("dendritic", 9))
    net.connect(hidden, deep, Sparse(Normal(1.0, 0.7), probability=0.7), delay=delay("axonal", 9))
    net.connect(deep, output, Dense(Normal(0.0, 0.7)), delay=delay("axonal", 4))
    net.connect(deep, hidden, Dense(Normal(0.0, 0.3)), delay=delay("synaptic", 4, 9))
    return net, losses.PerStepCrossEntropy(output)


def nonlinear():
    """Receptors that open conductances, and neurons with a peak, some of which spike."""
    net = Network()
    hidden, deep = net.population(CONDUCTANCE, 6, name="hidden"), net.population(ADEX(**PEAK), 5, name="deep")
    output = net.population(LI(), 3, name="output")
    net.connect(net.input(5), hidden, Dense(Normal(0.25, 0.15)), receptor="up")
    net.connect(hidden, deep, Dense(Normal(1.0, 0.8)), delay=0.7)
    net.connect(deep, hidden, Dense(Normal(0.0, 0.1)), receptor="down")
    net.connect(deep, output, Dense(Normal(0.0, 0.7)))
    return net, losses.MaxVoltageCrossEntropy(output)


def drawn(seed):
    """Two or three populations that spike, with loops and delays, each onto one or two outputs."""
    rng, net = np.random.default_rng(seed), Network()
    pick = lambda *values: values[rng.integers(len(values))]  # noqa: E731
    later = lambda n: Delay(rng.uniform(0.3, 4.0, n), kind="axonal", max=5.0, trainable=True)  # noqa: E731
    source = net.input(5, name="input")
    models = [pick(LIF, ALIF, LIFRefractory) for _ in range(2 + seed % 2)]
    hidden = [net.population(model(), int(rng.integers(4, 8)), name=f"hidden{i}") for i, model in enumerate(models)]
    outputs = [net.population(LI(), 3, name=f"output{i}") for i in range(1 + seed // 2 % 2)]
    every = [(a, b) for a in hidden for b in hidden]
    loops = [every[i] for i in rng.choice(len(every), 2, replace=False)]
    for p in hidden:  # of both signs: arrivals end the rise of V
        net.connect(source, p, Dense(Normal(1.0, 1.5)), delay=later(5))
    for pair in [*loops, *((p, o) for p in hidden for o in outputs)]:
        net.connect(*pair, Dense(Normal(0.0, 0.5)), delay=pick(0.5, 1.0, 3.5, later(pair[0].size)))
    kinds = losses.IntegratedVoltageCrossEntropy, losses.EndVoltageCrossEntropy, losses.MaxVoltageCrossEntropy
    return net, [kinds[(seed + i) % 3](output) for i, output in enumerate(outputs)]


NETWORKS = {
    "integral": feed_forward,
    "end": lambda: feed_forward(losses.SquaredError, readout="end"),
    "max": lambda: feed_forward(losses.MaxVoltageCrossEntropy),
    "recurrent": recurrent,
    "first_spike": lambda: of_spikes(losses.FirstSpikeCrossEntropy, silent="end"),
    "first_spike_exclude": lambda: of_spikes(losses.FirstSpikeCrossEntropy, silent="exclude"),
    "count": lambda: of_spikes(losses.SpikeCountCrossEntropy),
    "routes": routes,
    "late": late,
}
GRID = list(NETWORKS)
NETWORKS["nonlinear"] = nonlinear
DRAWN = {f"drawn {seed}": partial(drawn, seed) for seed in range(6)}
NETWORKS |= DRAWN


def trial(which, engine, spike_times, whole=False, driven=False, batch=6, **settings):
    net, loss = NETWORKS[which]()
    if driven:
        net.connect(net.current(1, dt=4.0, name="stim"), net.populations[0], Dense(0.05), name="drive")
    rng = np.random.default_rng(4)
    samples = [(np.sort(rng.uniform(0, 20, 8)), rng.integers(0, 5, 8)) for _ in range(6)]
    if whole:  # several arrivals at once, at the ends of steps
        samples = [(np.ceil(times), channels) for times, channels in samples]
    targets = {"targets": rng.normal(0, 0.1, (6, 3))} if which == "end" else {"labels": [0, 1, 2, 2, 1, 0]}
    plan = make_plan(net, loss, dt=0.5, duration=40.0, spike_times=spike_times, spike_birth=0.15)
    values = net.initial_parameters(3)
    made = ShimEngine(plan, values, **settings) if engine == "cuda" else create(plan, values, engine=engine, **settings)
    data = Events.from_samples(samples, n_channels=5, **targets)
    if driven:
        data = {"input": data, "stim": Currents(rng.normal(0, 1, (6, 10, 1)), 4.0)}
    data = made.load(data)
    return made, made.run(data, range(batch), training=True)


def agree(which, engine, spike_times, tolerance=1e-9, dtype="float64", **settings):
    reference, expected = trial(
        which, {"grid": "reference_clock", "exact": "reference_event"}[spike_times], spike_times, **settings
    )
    made, result = trial(which, engine, spike_times, dtype=dtype, **settings)
    np.testing.assert_allclose(result.loss, expected.loss, rtol=tolerance)
    for name, gradient in reference.gradients.items():
        scale = np.abs(gradient).max()
        assert scale > 0
        np.testing.assert_allclose(
            made.gradients[name], gradient, rtol=100 * tolerance, atol=tolerance * scale, err_msg=name
        )


@pytest.mark.one_in(18)
@pytest.mark.parametrize("which", GRID)
@pytest.mark.parametrize("engine", ["native", "c99", "cuda"])
def test_engines_equal_the_reference_on_the_grid(engine, which):
    agree(which, engine, "grid")


@pytest.mark.parametrize("which", [pytest.param(n, marks=[pytest.mark.ci] * (n in ("end", "count"))) for n in GRID])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.one_in(12)
def test_native_equals_the_reference_in_continuous_time(which, whole):
    """whole: several arrivals at once, at the ends of steps."""
    agree(which, "native", "exact", whole=whole, batch=3)


BY_SERIES = {"nonlinear": [], "routes": [pytest.mark.ci]}  # the others are slow


@pytest.mark.parametrize(
    ("engine", "times"), [("native", "grid"), ("c99", "grid"), ("cuda", "grid"), ("native", "exact")]
)
@pytest.mark.parametrize("which", DRAWN)
@pytest.mark.one_in(24)
def test_drawn_networks_of_several_populations(engine, times, which):
    agree(which, engine, times, batch=3)


@pytest.mark.ci
@pytest.mark.parametrize("which", [pytest.param(n, marks=BY_SERIES.get(n, [pytest.mark.slow])) for n in NETWORKS])
def test_native_by_series_equals_the_reference(which):
    """Neither nonlinear neurons nor currents have a closed form between spikes."""
    agree(which, "native", "exact", whole=True, driven=which != "nonlinear", batch=2)


@pytest.mark.parametrize("number", [pytest.param(n, marks=[pytest.mark.slow] * (n not in (27, 2))) for n in NUMBERS])
def test_native_equals_the_reference_on_random_networks(number):
    case = draw("exact", 1, number)
    births = [None if p is None else replace(p, spike_birth=0.4) for p in (case.plan, case.probe)]
    (verdict,) = check(replace(case, plan=births[0], probe=births[1]), ["native float64"])
    assert verdict.kind == "right", verdict.reason


EDGES = {
    "two states": LIF, "three states": LIFAlpha, "an adaptive threshold": ALIF,
    "constants of their own": partial(LIF, tau_mem=Param(np.linspace(12.0, 25.0, 12), "ms")), "a series": ADEX,
}  # fmt: skip


@pytest.mark.parametrize("kind", EDGES)
@pytest.mark.one_in(6)
def test_maxima_at_the_edge_of_what_counts(kind):
    """Of each neuron: its largest maximum is just nearer than `FARTHEST`, or just not: no bound passes it over."""
    rng = np.random.default_rng(6)
    scale = {"a series": 0.7, "three states": 0.25}.get(kind, 1.0)
    weights, times = scale * rng.normal(1.1, 0.9, (4, 12)), np.array([1.0, 3.1, 4.4, 9.0, 9.7, 16.0, 23.0])
    assert found_at_the_edge(EDGES[kind](), weights, times, np.array([0, 1, 2, 3, 0, 1, 2]), 30.0) >= 3


@pytest.mark.ci
@pytest.mark.parametrize("seed", [2, pytest.param(6, marks=pytest.mark.ci)])
def test_maxima_in_the_steps_of_spikes(seed):
    """With short time constants V is at its largest soon behind a spike."""
    rng = np.random.default_rng(seed)
    tau_mem, tau_syn = np.exp(rng.uniform(np.log(0.3), np.log(5.0), 2))
    weights = 1.5 * rng.normal(1.1, 0.9, (4, 4))
    times, channels = np.sort(rng.uniform(0, 10, 8)), rng.integers(0, 4, 8)
    model = LIF(tau_mem=float(tau_mem), tau_syn=float(tau_syn))
    assert found_at_the_edge(model, weights, times, channels, 12.0) >= 3


def test_a_maximum_at_the_end_of_a_piece():
    """There V is higher by 2/3 of the first term of its series; that of a parabola would be by a half."""
    bend = np.linspace(1.4, 2.2, 12)  # maxima 1.2 to 0.95 ms after the first arrival
    first = np.random.default_rng(6).uniform(0.4, 0.8, 12)
    model, times = CUBIC(bend=Param(bend)), np.array([1.0, 2.25])
    weights = np.stack([first, np.full(12, -0.3)])
    assert found_at_the_edge(model, weights, times, np.arange(2), 6.0, CURVED) >= 3


@pytest.mark.ci
def test_a_minimum_and_a_maximum_within_a_step():
    """V has passed a maximum when an arrival of the right size lets it rise beyond that for a moment. With both time
    constants 1 and arrivals of w at 1 and v at 3.01, dV/dt is about -0.005 + e s - s^2 / 2 in parts of I."""
    model, e = LIFAlpha(tau_mem=1.0, tau_syn=1.0), np.linspace(0.13, 0.22, 12)
    first = np.random.default_rng(6).uniform(0.9, 1.2, 12)
    second = first * np.exp(-2.01) * (2.01 * (1 + e) - 1)
    assert found_at_the_edge(model, np.stack([first, second]), np.array([1.0, 3.01]), np.arange(2), 8.0) >= 3


@pytest.mark.one_in(4)
@pytest.mark.parametrize("model", [LIFAlpha, MILLIVOLTS])
@pytest.mark.parametrize("times", ["grid", "exact"])
def test_neurons_at_rest_that_are_only_inhibited_have_no_maximum(times, model):
    """At rest the slope of g is 0 but for rounding, which is no rise."""
    own = {"v_thresh": Param(model.params["v_thresh"].value, trainable=True)}
    if model is MILLIVOLTS:
        own |= {"v_rest": np.linspace(-75.3, -60.1, 20), "tau_mem": np.linspace(8.3, 29.9, 20)}
    net = Network()
    hidden = net.population(model(**own), 20, "hidden")
    output = net.population(LI(), 3, "output")
    net.connect(net.input(5), hidden, Dense(-np.abs(np.random.default_rng(2).normal(1.0, 0.5, (5, 20)))), delay=0.7)
    net.connect(hidden, output, Dense(Normal(0.0, 0.7)))
    loss = losses.IntegratedVoltageCrossEntropy(output)
    plan = make_plan(net, loss, dt=0.5, duration=40.0, spike_times=times, spike_birth=0.35)
    events = Events.from_samples([([5.2, 7.9, 11.0], [0, 3, 1])], 5, labels=[1])
    engines = [("native", "float32"), ("native", "float64")]
    engines += [("reference_event", None)] if times == "exact" else [("reference_clock", None), ("c99", "float32")]
    for name, dtype in engines:
        made = create(plan, net.initial_parameters(3), engine=name, **({"dtype": dtype} if dtype else {}))
        made.run(made.load(events), [0], training=True)
        assert not made.gradients["hidden.v_thresh"].any(), (name, dtype)


def found_at_the_edge(model, weights, times, channels, duration, read=LI):
    """How many gradients change at the edge."""
    net, found, size = Network(), 0, weights.shape[1]
    hidden, output = net.population(model, size, name="hidden"), net.population(read(), 2, name="output")
    net.connect(net.input(len(weights)), hidden, Dense(weights))
    net.connect(hidden, output, Dense(Normal(0.0, 0.7)), delay=1.0)
    loss = losses.SquaredError(output, readout="end")
    events = Events.from_samples([(times, channels)], len(weights), targets=np.ones((1, 2)))

    def gradient(engine, sigma):
        plan = make_plan(net, loss, dt=0.5, duration=duration, spike_times="exact", spike_birth=sigma)
        options = {} if engine == "reference_event" else {"dtype": "float64"}
        made = create(plan, net.initial_parameters(3), engine=engine, **options)
        made.run(made.load(events), [0], training=True)
        return made, made.gradients["input_hidden.weight"].copy()

    reference, _ = gradient("reference_event", 1.0)
    model = reference._models()["hidden"]
    rest = -model.equations.threshold(0, model.equations.x0, np.arange(size))
    for birth in (e for e in reference.trials[0].recording.events if isinstance(e, Birth)):
        x, n = reference.trials[0].recording.segments["hidden"].x[:, [birth.after]], np.array([birth.neuron])
        sigma = float(-model.equations.threshold(0, x, n)[0] / rest[birth.neuron] / FARTHEST)
        if sigma < 0.02:
            continue
        inside, outside = (gradient("native", sigma * by)[1] for by in (1 + 1e-6, 1 - 1e-6))
        for by, mine in ((1 + 1e-6, inside), (1 - 1e-6, outside)):
            np.testing.assert_allclose(mine, gradient("reference_event", sigma * by)[1], rtol=1e-8, atol=1e-13)
        found += np.abs(inside - outside).max() > 1e-9
    return found


def own(r, y):
    difference = r - np.eye(r.shape[1])[y]
    return 0.5 * (difference**2).sum(1), difference


@pytest.mark.parametrize("engine", ["native", "c99"])
def test_births_that_a_loss_reads_beside_one_in_python(engine):
    """No outer loss is then in the trial: the text of c99 for a forward pass alone asked for the labels of one."""
    net, found = Network(), []
    hidden, output = net.population(LIF(), 6, "hidden"), net.population(LI(), 2, "output")
    net.connect(net.input(4), hidden, Dense(Normal(1.2, 0.5)))
    net.connect(hidden, output, Dense(Normal(0.5, 0.5)))
    asked = [losses.OwnLoss(output, "max", own), 0.5 * losses.FirstSpikeCrossEntropy(hidden).against("side")]
    plan = make_plan(net, asked, dt=0.5, duration=20.0, spike_times="grid", spike_birth=0.2)
    rng = np.random.default_rng(2)
    trials = [(np.sort(rng.uniform(0, 15, 12)), rng.integers(0, 4, 12)) for _ in range(3)]
    events = Events.from_samples(trials, 4, labels=[0, 1, 0], targets={"side": np.array([5, 0, 2])})
    for name in (engine, "reference_clock"):
        made = create(plan, net.initial_parameters(1), engine=name, dtype="float64")
        result = made.run(made.load(events), range(3), training=True)
        found.append((result.loss, {k: np.array(v) for k, v in made.gradients.items()}))
    (loss, gradients), (wanted, right) = found
    np.testing.assert_allclose(loss, wanted, rtol=1e-10)
    for key, gradient in right.items():
        assert gradient.any()
        np.testing.assert_allclose(gradients[key], gradient, rtol=0, atol=1e-10 * np.abs(gradient).max(), err_msg=key)
