"""Integrals and losses of V of outputs whose steps are not exact propagators, on the grid: trapezoids."""

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, NeuronModel, Normal, Param, engines, losses
from genn_eventprop.losses import TimeWeight
from genn_eventprop.modelling.neuron import Event, Mode
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from support.engines import compare, refused
from support.eventful import BURSTING, REFRACTORY, learned, random_events
from support.nonlinear import ADEX, QIF

SATURATED = NeuronModel(
    name="Saturated", state={"V": "start", "I": 0.0}, params={"tau": Param(5.0, "ms"), "start": Param(0.1)},
    dynamics={"V": "(I - tanh(V)) / tau", "I": "-I / tau"}, input="I",
)  # fmt: skip
DIPPING = NeuronModel(
    name="Dipping", state={"V": 0.0, "I": 0.0}, params={"tau": Param(5.0, "ms"), "top": Param(0.9), "low": Param(0.2)},
    dynamics={"V": "(I - V**3) / tau", "I": "-I / tau"}, input="I",
    events=[
        Event("dip", "V - top", {"V": "V - 0.3"}, emits=False, modes=("free",), next_mode="down"),
        Event("back", "low - V", {"V": "1.1 * V"}, emits=False, modes=("down",), next_mode="free"),
    ],
    modes=[Mode("down", {"V": "-V / tau"})],
)  # fmt: skip
LOSSES = {
    "weighted": lambda o: losses.IntegratedVoltageCrossEntropy(o, "exp(-t / T)", window=(4.0, 17.0)),
    "driven": lambda o: losses.IntegratedVoltageCrossEntropy(o, TimeWeight("1", input_tau=30.0, input_gain=0.5)),
    "V(t)": lambda o: losses.PerStepCrossEntropy(o, window=(2.0, 18.0)),
}
T = 40.0


def network(output, loss, dt=0.5, spike_times="grid", weight=3.0, hidden=True):
    net = Network()
    source = last = net.input(6)
    if hidden:
        last = net.population(LIF(), 7, "hidden")
        net.connect(source, last, Dense(Normal(2.0, 0.5)))
    out = net.population(learned(output), 3, "output")
    net.connect(last, out, Dense(Normal(weight, 1.0)), delay=1.0 * hidden)
    return make_plan(net, LOSSES[loss](out), dt=dt, duration=T, spike_times=spike_times)


CASES = [(DIPPING, "V(t)"), (SATURATED, "weighted")] + [
    pytest.param(output, loss, marks=pytest.mark.ci)
    for output, loss in [
        (DIPPING, "weighted"),
        (BURSTING, "driven"),
        (REFRACTORY, "weighted"),
        (ADEX, "V(t)"),
        (QIF, "weighted"),
    ]
]


@pytest.mark.one_in(8)
@pytest.mark.parametrize(("output", "loss"), CASES)
def test_engines_read_what_the_reference_reads(engine, output, loss):
    plan = network(output, loss)
    if (engine.name, loss) == ("genn", "V(t)") and plan.output.derived.events:
        assert refused(engine, plan) == ["losses of V(t) where V jumps at spikes"]
        return
    compare(
        engine,
        plan,
        random_events(plan, n_samples=2),
        without_gradient=("output.low", "output.high")[: 2 * (output is BURSTING)],
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_without_spikes_gradients_are_differences(loss):
    """Of weights, time constants and the initial state: differences of a trial in steps, where no spike could move."""
    plan = network(SATURATED, loss, hidden=False)
    clock = engines.create(plan, plan.network.initial_parameters(4), engine="reference_clock")
    data, batch = clock.load(random_events(plan, n_samples=2)), [0, 1]
    clock.run(data, batch, training=True)
    for name, gradient in clock.gradients.items():
        rng = np.random.default_rng(1)
        for index in {tuple(int(rng.integers(n)) for n in gradient.shape) for _ in range(3)}:
            value, both = clock.parameters[name][index], []
            for by in (-1e-5, 1e-5):
                clock.parameters[name][index] = value + by
                both.append(clock.run(data, batch).loss.mean())
            clock.parameters[name][index] = value
            np.testing.assert_allclose(gradient[index], (both[1] - both[0]) / 2e-5, rtol=1e-6, atol=1e-9)


def test_the_error_falls_with_the_square_of_dt():
    errors = []
    for dt in (1.0, 0.5):
        plan = network(SATURATED, "weighted", dt, hidden=False)
        rng = np.random.default_rng(2)
        sample = np.sort(rng.integers(0, 38, 30).astype(float)), rng.integers(0, 6, 30)
        events = Events.from_samples([sample], n_channels=6, labels=[0])
        values = plan.network.initial_parameters(4)
        exact = network(SATURATED, "weighted", dt, "exact", hidden=False)
        read = []
        for which, name in ((plan, "reference_clock"), (exact, "reference_event")):
            made = engines.create(which, values, engine=name)
            read.append(made.run(made.load(events), [0]).readout)
        errors.append(np.abs(read[0] - read[1]).max())
    assert 3.5 < errors[0] / errors[1] < 4.5
