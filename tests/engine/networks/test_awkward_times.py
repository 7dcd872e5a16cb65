"""Refractory periods that lie at half a step: every grid engine and precision has the same spikes."""

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Param, losses
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.engines.native.engine import NativeEngine
from genn_eventprop.models.lif_refractory import LIFRefractory
from genn_eventprop.plan import make_plan
from support.sweeps import sweep

PAIRS = [(0.3, 0.2), (0.7, 0.2), (1.5, 0.2), (0.15, 0.1), (0.35, 0.1), (2.45, 0.7), (0.05, 0.1), (3.1, 0.2)]
STEPS = 60


def driven(t_ref: object, dt: float, size: int = 1) -> tuple:
    """Neurons that spike as soon as their refractory period lets them."""
    net = Network()
    output = net.population(LIFRefractory(tau_mem=dt, tau_syn=1e4, t_ref=t_ref), size, name="output")
    net.connect(net.input(1), output, Dense(np.full((1, size), 10.0)))
    plan = make_plan(net, losses.FirstSpikeCrossEntropy(output), dt=dt, duration=STEPS * dt)
    return plan, Events.from_samples([([0.0], [0])], n_channels=1, labels=[0])


def engines(plan):
    first = plan.network.initial_parameters(0)
    yield ReferenceClock(plan, first)
    yield from (NativeEngine(plan, first, dtype=d) for d in ("float64", "float32"))


def period(engine, events, neuron=0) -> np.ndarray:
    """Steps from spike to spike."""
    spikes = engine.run(engine.load(events), [0], record_spikes=True).spikes["output"]
    times = spikes.time[spikes.neuron == neuron] / engine.plan.dt
    return np.unique(np.round(np.diff(times)).astype(int))


@pytest.mark.parametrize(
    ("t_ref", "dt", "learned"),
    sweep(
        [(*pair, learned) for pair in PAIRS for learned in (False, True)],
        [(*pair, i % 2 == 1) for i, pair in enumerate(PAIRS)],
    ),
)
@pytest.mark.one_in(2)
def test_the_same_number_of_steps_in_every_engine(t_ref, dt, learned):
    plan, events = driven(Param(t_ref, "ms", trainable=True) if learned else t_ref, dt)
    expected = max(int(np.floor(t_ref / dt + 0.5)), 0) + 1
    for engine in engines(plan):
        assert period(engine, events).tolist() == [expected], (engine.name, t_ref, dt)


def test_a_period_of_every_neuron_and_a_changed_one():
    values = np.array([t for t, _ in PAIRS[:3]])
    plan, events = driven(values, 0.2, size=3)
    for engine in engines(plan):
        for i, t in enumerate(values):
            assert period(engine, events, i).tolist() == [int(np.floor(t / 0.2 + 0.5)) + 1]
        engine.parameters["output.t_ref"][:] = values[::-1]
        for i, t in enumerate(values[::-1]):
            assert period(engine, events, i).tolist() == [int(np.floor(t / 0.2 + 0.5)) + 1]
