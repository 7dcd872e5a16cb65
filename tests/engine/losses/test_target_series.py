"""Target series of V(t) with as many rows as a user has: linear in between on every engine, or refused."""

from __future__ import annotations

import numpy as np
import pytest

from genn_eventprop import Dense, Network, engines, losses
from genn_eventprop.data import Events
from genn_eventprop.errors import DataError
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan

T = 30.0


def outcome(engine: str, rows: int, spiking: bool, spike_times: str = "exact", dt: float = 1.0):
    net = Network()
    inp = net.input(3)
    out = net.population((LIF if spiking else LI)(), 2, "output")
    net.connect(inp, out, Dense(np.array([[2.5, 1.0], [1.5, 2.0], [-0.5, 1.5]])))
    rng = np.random.default_rng(1)
    samples = [(np.sort(rng.uniform(0, 28, 20)), rng.integers(0, 3, 20)) for _ in range(3)]
    t = np.linspace(0, T, rows)[:, None]
    series = np.stack([np.sin(t / k + np.arange(2)) for k in (3, 5, 7)])
    series[1, : rows // 2, 0] = np.nan
    events = Events.from_samples(samples, n_channels=3, targets=series)
    plan = make_plan(net, losses.VoltageSquaredError(out, "exponential"), dt=dt, duration=T, spike_times=spike_times)
    made = engines.create(plan, net.initial_parameters(1), engine=engine, dtype="float64", threads=1)
    result = made.run(made.load(events), [2, 0, 1], training=True)
    gradient = np.array(made.gradients["input_output.weight"])
    made.close()
    return result, gradient


@pytest.mark.parametrize("spiking", [False, True])
@pytest.mark.parametrize("rows", [2, 16, 31, 62, 300])
@pytest.mark.one_in(4)
def test_series_of_any_length_are_those_of_the_reference(rows, spiking):
    truth, expected = outcome("reference_event", rows, spiking)
    result, gradient = outcome("native", rows, spiking)
    np.testing.assert_allclose(result.loss, truth.loss, rtol=1e-9)
    np.testing.assert_allclose(gradient, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("engine", ["native", "reference_clock"])
def test_the_grid_needs_a_row_a_step(engine):
    assert np.isfinite(outcome(engine, 31, False, "grid")[0].loss).all()
    with pytest.raises(DataError, match=r"targets have shape \(3, 16, 2\), but this loss needs \(3, 31, 2\)"):
        outcome(engine, 16, False, "grid")


def test_spike_time_targets_need_a_spike():
    net = Network()
    out = net.population(LIF(), 2, "output")
    net.connect(net.input(3), out, Dense(1.0))
    plan = make_plan(net, losses.SpikeTimeError(out), dt=1.0, duration=T)
    made = engines.create(plan, net.initial_parameters(1), engine="reference_clock")
    with pytest.raises(DataError, match=r"targets have shape \(1, 2, 0\), but this loss needs \(1, 2, any number\)"):
        made.load(Events.from_samples([([1.0], [0])], n_channels=3, targets=np.zeros((1, 2, 0))))
