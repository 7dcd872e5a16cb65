"""Gradient checks that must pass: built-in models and others, every loss, kinks, zero delays, delta synapses."""

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, NeuronModel, Param, losses
from genn_eventprop.engines.reference.exact.engine import ReferenceEvent
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from genn_eventprop.verify.gradients import Report, check, check_network, main
from genn_eventprop.verify.gradients.compare import compare
from genn_eventprop.verify.gradients.draw import Layout, draw
from support.sweeps import sweep

ALIF = NeuronModel(
    name="ALIF",
    state={"V": "v_reset", "I": 0.0, "B": "b_start"},
    params={
        "tau_mem": Param(20.0, "ms"), "tau_syn": Param(5.0, "ms"), "tau_B": Param(60.0, "ms"), "v_thresh": Param(1.0),
        "v_reset": Param(0.0), "jump_B": Param(0.1), "b_start": Param(0.05),
    },
    dynamics={"V": "(I - V) / tau_mem", "I": "-I / tau_syn", "B": "-B / tau_B"},
    threshold="V - v_thresh - B",
    reset={"V": "v_reset", "B": "B + jump_B"},
    input="I",
)  # fmt: skip

RESONATOR = NeuronModel(
    name="Resonator",
    state={"V": 0.0, "U": "u_start", "I": 0.0},
    params={
        "damping": Param(0.08), "omega": Param(0.5), "tau_syn": Param(4.0, "ms"), "v_thresh": Param(1.0),
        "u_start": Param(0.1), "fraction": Param(0.3), "bias": Param(0.02), "gain": Param(1.3),
    },
    dynamics={"V": "-damping * V - omega * U + I + bias", "U": "omega * V - damping * U", "I": "-I / tau_syn"},
    threshold="V - v_thresh + 0.2 * U",
    reset={"V": "fraction * V - 0.5 * U", "U": "U + 0.3 * V * V"},
    input={"current": {"I": "gain"}, "both": {"I": "0.5 * gain", "U": 0.05}},
)  # fmt: skip

LEAKY_DELTA = NeuronModel(
    name="LeakyDelta",
    state={"V": "v_reset"},
    params={"tau_mem": Param(15.0, "ms"), "v_rest": Param(1.3), "v_thresh": Param(1.0), "v_reset": Param(-0.1)},
    dynamics={"V": "(v_rest - V) / tau_mem"},
    threshold="V - v_thresh",
    reset={"V": "v_reset + 0.4 * (V - v_thresh)"},
    input="V",
)


def assert_passed(report, below=1e-6):
    assert report.passed, report.text()
    assert report.worst < below, report.text()


@pytest.mark.parametrize(
    ("model", "quick"),
    [(LIF, True), *(pytest.param(m, False, marks=pytest.mark.slow) for m in (LIF, LI, ALIF, RESONATOR))],
    ids=lambda v: getattr(v, "name", "one" if v else "all"),
)
def test_model_in_random_networks(model, quick):
    """Feed-forward, recurrent and two hidden layers, with all losses that fit, every element of every block; or one."""
    report = check(model, seed=1, quick=quick)
    assert_passed(report)
    names = {b.name.split(".")[-1] for c in report.cases for b in c.blocks}
    assert names >= {"weight", "delay", "input_times", *model.params}


@pytest.mark.parametrize("model", sweep([ALIF, RESONATOR], [RESONATOR]), ids=lambda m: m.name)
def test_model_in_one_network(model):
    """Adaptive threshold; complex eigenvalues, resets that depend on the state, two receptors with amounts."""
    layout = Layout(1, model is ALIF, False, "integral_exponential")
    plan, parameters, events = draw(model, layout, np.random.default_rng(1))
    case = compare(model.name, plan, parameters, events)
    assert_passed(Report([case]))
    assert {b.name.split(".")[-1] for b in case.blocks if not b.zero} >= {*model.params, "weight", "delay"}


@pytest.mark.ci
def test_silent_outputs_that_count_as_the_end_of_the_trial():
    plan, parameters, events = draw(LIF, Layout(1, False, False, "first_spike_end"), np.random.default_rng(3))
    assert_passed(Report([compare("end", plan, parameters, events)]))


def small(loss_of, output=None, *, recurrent=True):
    net = Network()
    inp, hidden = net.input(3), net.population(LIF(v_reset=0.1, tau_mem=12.0), 4, name="hidden")
    out = net.population(output or LI(), 2, name="output")
    rng = np.random.default_rng(4)
    net.connect(inp, hidden, Dense(rng.uniform(2.0, 6.0, (3, 4))))
    if recurrent:
        net.connect(hidden, hidden, Dense(rng.normal(0, 0.5, (4, 4))))
    net.connect(hidden, out, Dense(rng.normal(0.2, 0.8, (4, 2))))
    times = [(np.sort(rng.uniform(0.5, 22, 7)), rng.integers(0, 3, 7)) for _ in range(2)]
    return net, loss_of(out), Events.from_samples(times, 3, labels=[0, 1])


@pytest.mark.ci
def test_zero_delays_shared_parameters_and_a_recurrent_layer():
    """All delays zero: their own gradients are one-sided differences. Parameters are one number a population."""
    net, loss, events = small(losses.IntegratedVoltageCrossEntropy)
    report = check_network(net, loss, events=events, duration=30.0)
    assert_passed(report)
    assert {b.gradient.shape for b in report.cases[0].blocks if b.name == "hidden.tau_mem"} == {(1,)}


@pytest.mark.ci
def test_maximum_at_kinks():
    """With random output weights maxima at arrivals are common; here at least two, and all of the rule is needed."""
    net, loss, events = small(losses.MaxVoltageCrossEntropy)
    net.connect(net.inputs[0], loss.population, Dense(np.array([[0.9, -0.7], [-0.8, 0.5], [0.4, 0.6]])), delay=0.5)
    report = check_network(net, loss, events=events, duration=30.0)
    engine = ReferenceEvent(
        make_plan(net, loss, dt=30.0, duration=30.0, spike_times="exact"), net.initial_parameters(0)
    )
    engine.run(engine.load(events), [0, 1])
    kinds = [kind for t in engine.trials for kind, _ in t.readout.signature()]
    assert kinds.count("kink") >= 2, kinds
    assert_passed(report)


@pytest.mark.ci
def test_equal_time_constants():
    net, loss, events = small(losses.IntegratedVoltageCrossEntropy, LI(tau_mem=7.0, tau_syn=7.0), recurrent=False)
    assert_passed(check_network(net, loss, events=events, duration=30.0))


@pytest.mark.ci
def test_delta_synapses_and_causing_arrivals():
    """E goes undivided to the arrival that put its target across (docs/equations.md); V of the output jumps too."""
    net = Network()
    inp, hidden = net.input(3), net.population(LEAKY_DELTA, 3, name="hidden")
    second = net.population(LEAKY_DELTA(v_rest=1.2), 2, name="second")
    out = net.population(LEAKY_DELTA(v_rest=1.1, v_reset=0.2), 2, name="output")
    rng = np.random.default_rng(7)
    net.connect(inp, hidden, Dense(rng.uniform(0.1, 0.5, (3, 3))))
    net.connect(hidden, second, Dense(rng.uniform(0.1, 0.6, (3, 2))), delay=0.4)
    net.connect(second, out, Dense(rng.uniform(-0.2, 0.5, (2, 2))), delay=1.1)
    loss = losses.IntegratedVoltageCrossEntropy(out, "linear")
    times = [(np.sort(rng.uniform(0.5, 45, 10)), rng.integers(0, 3, 10)) for _ in range(2)]
    events = Events.from_samples(times, 3, labels=[0, 1])
    engine = ReferenceEvent(
        make_plan(net, loss, dt=60.0, duration=60.0, spike_times="exact"), net.initial_parameters(0)
    )
    engine.run(engine.load(events), [0, 1])
    spikes = [s for t in engine.trials for every in t.recording.spikes.values() for s in every]
    assert sum(s.cause is not None for s in spikes) > 3 and sum(s.cause is None for s in spikes) > 3
    assert_passed(check_network(net, loss, events=events, duration=60.0))


@pytest.mark.ci
def test_command(tmp_path, capsys, monkeypatch):
    """`gradcheck my_neuron.py:MyNeuron` prints a table and returns the exit status."""
    monkeypatch.setattr("genn_eventprop.verify.gradients.draw.READOUT", (Layout(1, False, True, "max"),))
    file = tmp_path / "my_neuron.py"
    file.write_text(
        "from genn_eventprop import NeuronModel, Param\n"
        "Readout = NeuronModel(name='Readout', state={'V': 0.0}, params={'tau': Param(9.0, 'ms')},\n"
        "                      dynamics={'V': '-V / tau'}, input='V')\n"
    )
    assert main(f"{file}:Readout", seed=2) == 0
    text = capsys.readouterr().out
    assert "output.tau" in text and "smallest |gdot|" in text and "passed: 1 network," in text
