"""Spikes and states on the grid are those that other code makes of the equations; without spikes, losses are exact."""

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, NeuronModel, Normal, Param, losses
from genn_eventprop.data import Currents
from genn_eventprop.engines import create
from genn_eventprop.plan import make_plan
from genn_eventprop.verify.gradients.simulation import Simulation
from support.random_networks import draw
from support.sweeps import sweep

QUICK = (0, 2, 5, 8)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("number", sweep(range(40), QUICK))
def test_spikes_and_states(number):
    case, count = draw("grid", 1, number, 0), 0
    for scale in (1.0, 4.0):
        values = {k: v * scale if k.endswith("weight") else v for k, v in case.parameters.items()}
        engine = create(case.plan, values, engine="reference_clock")
        data, samples = engine.load(case.data), np.arange(len(case.data))
        other = Simulation(case.plan, engine.parameters, data, samples)
        spikes = engine.run(data, samples, record_spikes=True).spikes
        count += sum(len(s.time) for s in other.spikes().values())
        for name, wanted in other.spikes().items():
            for found in ("sample", "time", "neuron"):
                np.testing.assert_allclose(getattr(spikes[name], found), getattr(wanted, found), atol=1e-9)
        for name, states in engine.record(data, samples, adjoint=False).items():
            for i, (state, x) in enumerate(states.items()):
                wanted = other.traces[name].x[:, :, i].swapaxes(0, 1)
                np.testing.assert_allclose(x[:, : case.plan.n_steps], wanted, rtol=1e-7, atol=1e-9, err_msg=state)
    assert count or number not in QUICK


LOSSES = {
    "end": losses.EndVoltageCrossEntropy, "integral": losses.IntegratedVoltageCrossEntropy,
    "per step": losses.PerStepCrossEntropy, "integral of a window": lambda o: losses.IntegratedVoltageCrossEntropy(
        o, weight=losses.TimeWeight(window=(4.0, 16.0))
    ),
    "weighted": lambda o: losses.IntegratedVoltageCrossEntropy(o, "exponential"),
}  # fmt: skip


STARTED = NeuronModel(
    name="Started",
    state={"V": "v_start", "I": 0.0},
    params={"tau_mem": Param(15.0, "ms", trainable=True), "v_start": Param(0.3, trainable=True)},
    dynamics={"V": "(I - V) / tau_mem", "I": "-I / 5.0"},
    input="I",
)


def driven(loss):
    """(network, loss, data): an output that never spikes, driven by spikes and a current with a value a step."""
    net = Network()
    stim, output = net.current(2, dt=1.0, name="stim"), net.population(STARTED(), 3, "output")
    net.connect(net.input(4), output, Dense(Normal(0.5, 1.0)), delay=2.0)
    net.connect(stim, output, Dense(Normal(0.1, 0.3)))
    rng = np.random.default_rng(2)
    samples = [(np.sort(rng.integers(0, 14, 9)).astype(float), rng.integers(0, 4, 9)) for _ in range(3)]
    labels = [0, 1, 2]
    data = {
        net.inputs[0].name: Events.from_samples(samples, 4, labels=labels, n_classes=3),
        "stim": Currents.from_samples(list(rng.normal(size=(3, 20, 2))), dt=1.0, labels=labels, n_classes=3),
    }
    return net, loss(output), data


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_of_a_network_without_spikes_are_exact(loss):
    """Every gradient, too: that of the state in which a trial begins, and of currents."""
    net, loss, data = driven(LOSSES[loss])
    found = []
    for spike_times, engine in (("grid", "reference_clock"), ("exact", "reference_event")):
        plan = make_plan(net, loss, dt=1.0, duration=20.0, spike_times=spike_times)
        made = create(plan, net.initial_parameters(0), engine=engine)
        result = made.run(made.load(data), range(3), training=True)
        found.append({"loss": result.loss, **made.gradients, **made.current_gradients})
    assert {"output.v_start", "output.tau_mem", "stim"} <= found[0].keys()
    for key, wanted in found[1].items():
        np.testing.assert_allclose(found[0][key], wanted, rtol=1e-6, atol=1e-9, err_msg=key)


def test_the_maximum_is_that_of_all_steps():
    net, loss, data = driven(losses.MaxVoltageCrossEntropy)
    plan = make_plan(net, loss, dt=1.0, duration=20.0)
    engine = create(plan, net.initial_parameters(0), engine="reference_clock")
    loaded = engine.load(data)
    other = Simulation(plan, engine.parameters, loaded, np.arange(3))
    V = [*other.traces["output"].x[:, :, 0], other.populations["output"].x[:, 0]]
    result = engine.run(loaded, range(3), training=True)
    np.testing.assert_allclose(result.readout, np.max(V, axis=0), rtol=1e-12)
