"""Rates that are 0 / 0 at a voltage, as those of Hodgkin and Huxley, where trajectories begin there and pass it."""

from __future__ import annotations

import numpy as np
import pytest

from genn_eventprop import Dense, Network, NeuronModel, Normal, Param, engines, losses
from genn_eventprop.data import Events
from genn_eventprop.models.li import LI
from genn_eventprop.plan import make_plan

RATES = NeuronModel(
    name="Rates",
    state={"V": "v_half", "n": 0.1, "I": 0.0},
    params={"tau": Param(10.0, "ms"), "v_half": Param(0.5), "k": Param(0.4), "g": Param(0.3), "v_thresh": Param(1.0)},
    dynamics={
        "V": "(I + g * n - V) / tau",
        "n": "0.2 * (V - v_half) / (1 - exp(-(V - v_half) / k)) * (1 - n) - 0.1 * n * exprel(-V)",
        "I": "-I / 5",
    },
    threshold="V - v_thresh",
    reset={"V": "v_half - 0.3", "n": "n + 0.1"},
    input="I",
)


def network():
    """3 inputs, 4 neurons with everything learned, 2 outputs."""
    net = Network()
    hidden = net.population(
        RATES(**{n: Param(p.value, p.unit, trainable=True) for n, p in RATES.params.items()}), 4, "hidden"
    )
    output = net.population(LI(), 2, "output")
    net.connect(net.input(3), hidden, Dense(Normal(4.0, 0.5)))
    net.connect(hidden, output, Dense(Normal(0.5, 0.5)))
    rng = np.random.default_rng(1)
    events = Events.from_samples([(np.sort(rng.uniform(0, 20, 12)), rng.integers(0, 3, 12))], n_channels=3, labels=[0])
    return net, losses.IntegratedVoltageCrossEntropy(output), events


def run(engine, spike_times, **options):
    net, loss, events = network()
    plan = make_plan(net, loss, dt=0.1, duration=25.0, spike_times=spike_times)
    made = engines.create(plan, net.initial_parameters(3), engine=engine, **options)
    result = made.run(made.load(events), np.arange(1), training=True, record_spikes=True)
    gradients = {n: np.array(g, np.float64) for n, g in made.gradients.items()}
    made.close()
    return result, gradients


@pytest.mark.ci
@pytest.mark.parametrize(
    "spike_times, engine",
    [
        ("exact", "native"), pytest.param("grid", "native", marks=pytest.mark.ci),
        pytest.param("grid", "c99", marks=pytest.mark.ci),
    ],
)  # fmt: skip
def test_engines_are_as_the_reference(spike_times, engine):
    exact = spike_times == "exact"
    truth, expected = run("reference_event" if exact else "reference_clock", spike_times)
    result, gradients = run(engine, spike_times, dtype="float64")
    assert truth.spike_counts["hidden"].sum() >= 8
    np.testing.assert_allclose(result.spikes["hidden"].time, truth.spikes["hidden"].time, rtol=0, atol=1e-8)
    for name, value in expected.items():
        np.testing.assert_allclose(gradients[name], value, rtol=0, atol=1e-8 * np.abs(value).max(), err_msg=name)


def test_gradients_are_differences():
    net, loss, events = network()
    plan = make_plan(net, loss, dt=0.1, duration=25.0, spike_times="exact")
    made = engines.create(plan, net.initial_parameters(3), engine="native", dtype="float64")
    data, rng = made.load(events), np.random.default_rng(2)
    made.run(data, np.arange(1), training=True)
    values = {n: np.array(v) for n, v in made.parameters.items()}
    along = {n: rng.normal(size=v.shape) for n, v in values.items() if n in made.gradients}
    slope = sum(float(np.sum(made.gradients[n] * d)) for n, d in along.items())
    change = 0.0
    for step, factor in ((1e-4, 8.0), (2e-4, -1.0)):
        for side in (1, -1):
            for n, d in along.items():
                made.parameters[n][...] = values[n] + side * step * d
            change += factor * side * float(made.run(data, np.arange(1)).loss[0])
    assert change / 12e-4 == pytest.approx(slope, rel=1e-7)
    made.close()
