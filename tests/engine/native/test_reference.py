"""`native` in float64 equals `reference_clock` to 1e-10 on the same spikes: shapes x losses x parameters x delays."""

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, NeuronModel, Normal, Param, Uniform, losses
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.engines.native.engine import NativeEngine
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from support.clocked import LIF_VALUES, build, check_same, make_loss, parameters, random_events, relative

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
    reset={"V": "V - v_thresh"},  # a relative reset: dh/dp and dh/dx are not those of LIF
    input="I",
)


def learned(model):
    return model(**{n: Param(p.value, p.unit, trainable=True) for n, p in model.params.items()})


@pytest.mark.one_in(4)
@pytest.mark.parametrize("model", [ADAPTIVE, BIASED], ids=lambda m: m.name)
@pytest.mark.parametrize("loss", ["first", "integral exponential"])
def test_models_defined_here_run_on_both_engines(model, loss):
    """Three states with a history that survives the reset; a constant drive and a relative reset; all learned."""
    plan = build("recurrent", loss, "learned", 0.0, hidden_model=learned(model))
    check_same(plan, random_events(plan))


def test_a_driven_readout_integrates_its_constant_part():
    """A leaky integrator with a learned bias: u_1, c and their derivatives reach the loss."""
    driven = NeuronModel(
        name="DrivenLI",
        state={"V": 0.0, "I": 0.0},
        params={"tau_mem": Param(12.0, "ms"), "tau_syn": Param(4.0, "ms"), "bias": Param(Uniform(-1.0, 1.0))},
        dynamics={"V": "(I - V + bias) / tau_mem", "I": "-I / tau_syn"},
        input="I",
    )
    net = Network()
    hidden = net.population(LIF(**LIF_VALUES), 21, name="hidden")
    net.connect(net.input(7), hidden, Dense(Normal(0.8, 0.6)))
    output = net.population(learned(driven), 4, name="output")
    net.connect(hidden, output, Dense(Normal(0.3, 0.4)))
    plan = make_plan(net, make_loss("integral exponential", output), dt=0.5, duration=50.0)
    check_same(plan, random_events(plan))


@pytest.mark.parametrize("loss", ["integral", "max"])
def test_receptors_with_amounts_of_their_own(loss):
    """Two receptors on one population, one jumps V and I by amounts that differ from neuron to neuron."""
    model = NeuronModel(
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
    net = Network()
    inp = net.input(7)
    hidden = net.population(LIF(**LIF_VALUES), 21, name="hidden")
    net.connect(inp, hidden, Dense(Normal(0.8, 0.6)))
    output = net.population(model(), 4, name="output")
    net.connect(hidden, output, Dense(Normal(0.3, 0.4)), receptor="fast")
    net.connect(inp, output, Dense(Normal(0.3, 0.4)), receptor="slow")
    net.connect(hidden, output, Dense(Normal(0.2, 0.4)), receptor="slow", delay=1.0, name="late")
    plan = make_plan(net, make_loss(loss, output), dt=0.5, duration=50.0)
    check_same(plan, random_events(plan))


def test_equal_time_constants_are_no_special_case():
    values = {**LIF_VALUES, "tau_mem": 10.0, "tau_syn": 10.0}
    net = Network()
    hidden = net.population(LIF(**parameters("learned", values)), 21, name="hidden")
    net.connect(net.input(7), hidden, Dense(Normal(0.8, 0.6)))
    output = net.population(LI(**parameters("learned", {"tau_mem": 8.0, "tau_syn": 8.0})), 4, name="output")
    net.connect(hidden, output, Dense(Normal(0.3, 0.4)))
    plan = make_plan(net, make_loss("integral exponential", output), dt=0.5, duration=50.0)
    _, gradients = check_same(plan, random_events(plan))
    assert all(np.all(np.isfinite(g)) for g in gradients.values())


def test_more_neurons_than_registers_hold():
    """Populations larger than 256 and no multiple of 16: blocks of rows, tails and padding lanes."""
    net = Network()
    hidden = net.population(LIF(tau_mem=18.0, tau_syn=4.0), 301, name="hidden")
    net.connect(net.input(37), hidden, Dense(Normal(0.3, 0.3)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.06)))
    output = net.population(LI(), 35, name="output")
    net.connect(hidden, output, Dense(Normal(0.1, 0.2)))
    plan = make_plan(net, losses.IntegratedVoltageCrossEntropy(output, "exponential"), dt=0.5, duration=30.0)
    check_same(plan, random_events(plan, n_samples=3, spikes=(60, 90)))


@pytest.mark.parametrize("delay", [0.0, 1.5])
def test_a_spike_in_the_last_step_counts_and_reaches_nobody(delay):
    """A neuron driven over threshold by an input in the last step: found at K, own jump, no arrival at targets."""
    net = Network()
    hidden = net.population(LIF(tau_mem=1.0, tau_syn=5.0), 1, name="hidden")
    net.connect(net.input(1), hidden, Dense(np.array([[20.0]])))
    output = net.population(LIF(v_thresh=Param(0.01, trainable=True)), 1, name="output")
    net.connect(hidden, output, Dense(np.array([[50.0]])), delay=delay)
    plan = make_plan(net, losses.FirstSpikeCrossEntropy(output), dt=0.5, duration=10.0)
    events = Events.from_samples([([9.5], [0])], n_channels=1, labels=[0])
    values = net.initial_parameters(0)
    for engine in (ReferenceClock(plan, values), NativeEngine(plan, values, dtype="float64", threads=1)):
        result = engine.run(engine.load(events), [0], training=True, record_spikes=True)
        assert result.spike_counts["hidden"].tolist() == [[1]]
        assert result.spikes["hidden"].time.tolist() == [10.0]
        assert result.spike_counts["output"].tolist() == [[0]]
        assert result.readout[0, 0] == np.inf and result.prediction[0] == -1
        assert not engine.gradients["input_hidden.weight"].any()


def test_float32_agrees_to_its_precision_where_spikes_agree():
    plan = build("recurrent", "integral exponential", "learned", 1.5)
    events, values = random_events(plan), plan.network.initial_parameters(3)
    clock, native = ReferenceClock(plan, values), NativeEngine(plan, values, dtype="float32", threads=2)
    same = 0
    for s in range(len(events)):
        want = clock.run(clock.load(events), [s], training=True, record_spikes=True)
        got = native.run(native.load(events), [s], training=True, record_spikes=True)
        if not np.array_equal(got.spikes["hidden"].time, want.spikes["hidden"].time):
            continue  # a spike moved by a step where V grazes the threshold
        same += 1
        np.testing.assert_allclose(got.loss, want.loss, rtol=1e-5)
        for key, gradient in clock.gradients.items():
            assert relative(native.gradients[key].astype(float), gradient) < 1e-4, key
    assert same >= 4
