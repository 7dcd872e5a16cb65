"""The genn engine on neurons other than LIF and at the edges of a trial, against `reference_clock`."""

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, NeuronModel, Normal, Param, Uniform, losses
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from support import genn_harness as harness
from support.on_genn import on_genn

ENGINES = [pytest.param("harness"), pytest.param("pygenn", marks=pytest.mark.needs_genn)]


@pytest.fixture(params=ENGINES)
def make(request):
    """Makes one engine in float64 and closes it after the test."""
    made = []

    def engine(plan, values):
        if request.param == "harness":
            made.append(harness.HarnessEngine(plan, values, dtype="float64"))
        else:
            made.append(on_genn(plan, values, dtype="float64"))
        return made[-1]

    yield engine
    for e in made:
        e.close()


def learned(model, **values):
    return model(**{n: Param(values.get(n, p.value), p.unit, trainable=True) for n, p in model.params.items()})


ADAPTIVE = NeuronModel(
    name="AdaptiveThreshold",
    state={"V": "v_reset", "I": 0.0, "B": "b_start"},
    params={
        "tau_mem": Param(18.0, "ms"),
        "tau_syn": Param(4.0, "ms"),
        "tau_adapt": Param(30.0, "ms"),
        "v_thresh": Param(0.7),
        "v_reset": Param(-0.1),
        "strength": Param(0.3),
        "b_start": Param(0.2),
    },
    dynamics={"V": "(I - V) / tau_mem", "I": "-I / tau_syn", "B": "-B / tau_adapt"},
    threshold="V - v_thresh - strength * B",
    reset={"V": "v_reset", "B": "B + 1"},
    input="I",
)
BIASED = NeuronModel(
    name="Biased",
    state={"V": 0.0, "I": 0.0},
    params={"tau_mem": Param(18.0, "ms"), "tau_syn": Param(4.0, "ms"), "bias": Param(0.9), "v_thresh": Param(1.0)},
    dynamics={"V": "(I - V + bias) / tau_mem", "I": "-I / tau_syn"},
    threshold="V - v_thresh",
    reset={"V": "V - v_thresh"},
    input="I",
)
DRIVEN = NeuronModel(
    name="DrivenLI",
    state={"V": 0.0, "I": 0.0},
    params={"tau_mem": Param(12.0, "ms"), "tau_syn": Param(4.0, "ms"), "bias": Param(Uniform(-1.0, 1.0))},
    dynamics={"V": "(I - V + bias) / tau_mem", "I": "-I / tau_syn"},
    input="I",
)
TWO_RECEPTORS = NeuronModel(
    name="TwoReceptors",
    state={"V": 0.0, "I": 0.0},
    params={
        "tau_mem": Param(12.0, "ms"),
        "tau_syn": Param(4.0, "ms"),
        "kick": Param(Uniform(0.1, 0.3)),
        "gain": Param(Uniform(0.5, 1.5)),
    },
    dynamics={"V": "(I - V) / tau_mem", "I": "-I / tau_syn"},
    input={"slow": "I", "fast": {"V": "kick", "I": "gain"}},
)
LIF_VALUES = {"tau_mem": 18.0, "tau_syn": 4.0, "v_thresh": 0.9, "v_reset": -0.1}


def network(hidden_neuron, output_neuron, loss):
    """7 inputs, 21 hidden neurons that spike, 4 outputs."""
    net = Network()
    inp = net.input(7)
    hidden = net.population(hidden_neuron, 21, name="hidden")
    net.connect(inp, hidden, Dense(Normal(0.8, 0.6)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.3)), delay=0.5)
    output = net.population(output_neuron, 4, name="output")
    if output.model is TWO_RECEPTORS:
        net.connect(hidden, output, Dense(Normal(0.3, 0.4)), receptor="fast")
        net.connect(inp, output, Dense(Normal(0.3, 0.4)), receptor="slow")
        net.connect(hidden, output, Dense(Normal(0.2, 0.4)), receptor="slow", delay=1.0, name="late")
    else:
        net.connect(hidden, output, Dense(Normal(0.3, 0.4)))
    return make_plan(net, loss(output), dt=0.5, duration=50.0)


def exponential(output):
    return losses.IntegratedVoltageCrossEntropy(output, "exponential")


def random_events(seed=5):
    rng = np.random.default_rng(seed)
    samples = [(np.sort(rng.uniform(0, 49, n)), rng.integers(0, 7, n)) for n in rng.integers(8, 40, 4)]
    return Events.from_samples(samples, n_channels=7, labels=rng.integers(0, 4, 4))


def check_same(engine, plan, values, events, tolerance=1e-9):
    clock, samples = ReferenceClock(plan, values), np.arange(len(events))
    a, b = (e.run(e.load(events), samples, training=True, record_spikes=True) for e in (clock, engine))
    for p, spikes in a.spikes.items():
        np.testing.assert_array_equal(b.spikes[p].time, spikes.time)
        np.testing.assert_array_equal(b.spikes[p].neuron, spikes.neuron)
    np.testing.assert_allclose(b.readout, a.readout, rtol=tolerance)
    for key, gradient in clock.gradients.items():
        assert np.linalg.norm(engine.gradients[key] - gradient) <= tolerance * np.linalg.norm(gradient), key
    return a, clock.gradients


PLANS = {
    "adaptive threshold, first spike": lambda: network(
        learned(ADAPTIVE), learned(ADAPTIVE), losses.FirstSpikeCrossEntropy
    ),
    "adaptive threshold, integral": lambda: network(learned(ADAPTIVE), learned(LI), exponential),
    "relative reset": lambda: network(learned(BIASED), learned(LI), exponential),
    "relative reset, read": lambda: network(learned(BIASED), learned(BIASED), exponential),
    "driven readout": lambda: network(LIF(**LIF_VALUES), learned(DRIVEN), exponential),
    "two receptors, integral": lambda: network(
        LIF(**LIF_VALUES), TWO_RECEPTORS(), losses.IntegratedVoltageCrossEntropy
    ),
    "two receptors, maximum": lambda: network(LIF(**LIF_VALUES), TWO_RECEPTORS(), losses.MaxVoltageCrossEntropy),
    "equal time constants": lambda: network(
        learned(LIF, **{**LIF_VALUES, "tau_syn": 18.0}), learned(LI, tau_mem=8.0, tau_syn=8.0), exponential
    ),
}


@pytest.mark.one_in(18)
@pytest.mark.parametrize("name", PLANS)
def test_models(make, name):
    plan = PLANS[name]()
    values = plan.network.initial_parameters(3)
    result, gradients = check_same(make(plan, values), plan, values, random_events())
    assert result.spike_counts["hidden"].sum() > 20
    assert all(np.all(np.isfinite(g)) and g.any() for g in gradients.values())


@pytest.mark.parametrize("delay", [0.0, 1.5])
def test_a_spike_in_the_last_step_counts_and_reaches_nobody(make, delay):
    """Found at K it has its own jump and no targets; nor does it act in the next trial."""
    net = Network()
    hidden = net.population(LIF(tau_mem=1.0, tau_syn=5.0), 1, name="hidden")
    net.connect(net.input(1), hidden, Dense(np.array([[20.0]])))
    output = net.population(LIF(v_thresh=Param(0.01, trainable=True)), 1, name="output")
    net.connect(hidden, output, Dense(np.array([[50.0]])), delay=delay)
    plan = make_plan(net, losses.FirstSpikeCrossEntropy(output), dt=0.5, duration=10.0)
    events = Events.from_samples([([9.5], [0]), ([], [])], n_channels=1, labels=[0, 0])
    engine = make(plan, net.initial_parameters(0))
    result = engine.run(engine.load(events), [0, 1, 0], training=True, record_spikes=True)
    assert result.spike_counts["hidden"].tolist() == [[1], [0], [1]]
    assert result.spikes["hidden"].time.tolist() == [10.0, 10.0]
    assert result.spikes["hidden"].sample.tolist() == [0, 2]
    assert result.spike_counts["output"].tolist() == [[0], [0], [0]]
    assert np.all(np.isinf(result.readout)) and result.prediction.tolist() == [-1, -1, -1]
    assert not engine.gradients["input_hidden.weight"].any()


def test_samples_without_spikes_and_without_labels(make):
    plan = network(LIF(**LIF_VALUES), LI(), losses.MaxVoltageCrossEntropy)
    engine = make(plan, plan.network.initial_parameters(3))
    silent = Events.from_samples([([], []), ([], [])], n_channels=7, labels=[1, 2])
    result = engine.run(engine.load(silent), [0, 1], training=True, record_spikes=True)
    np.testing.assert_allclose(result.loss, np.log(4.0))
    assert result.spike_counts["hidden"].sum() == 0 and result.spikes["hidden"].time.size == 0
    assert not any(g.any() for g in engine.gradients.values())
    many = (np.arange(1.0, 45.0), np.arange(44) % 7)
    unlabelled = engine.load(Events.from_samples([many, ([1.0], [0])], n_channels=7))
    result = engine.run(unlabelled, [0, 1])
    assert np.isnan(result.loss).all()
    assert (
        result.prediction[0] >= 0 and result.prediction[1] == -1
    )  # of one spike all outputs are 0: none is the largest
    with pytest.raises(RuntimeError, match="training needs a label"):
        engine.run(unlabelled, [0], training=True)


def test_the_slope_guard_equals_the_reference(make):
    """A floor above every secant: all spikes are guarded, in the jump and in the count."""
    plan = network(LIF(**LIF_VALUES), LIF(**LIF_VALUES), losses.FirstSpikeCrossEntropy)
    values = plan.network.initial_parameters(3)
    clock, engine = ReferenceClock(plan, values, slope_floor=0.05), make(plan, values)
    engine.slope_floor = 0.05
    events = random_events()
    a, b = (e.run(e.load(events), np.arange(4), training=True) for e in (clock, engine))
    assert a.guarded == b.guarded > 0
    for key, gradient in clock.gradients.items():
        assert np.linalg.norm(engine.gradients[key] - gradient) <= 1e-9 * np.linalg.norm(gradient), key
