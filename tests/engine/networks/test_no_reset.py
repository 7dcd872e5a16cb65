"""Events that leave the state as it is: g is zero behind them, and the sign that rounding gives it is no crossing."""

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, NeuronModel, Normal, Param, losses
from genn_eventprop.engines import create
from genn_eventprop.models.li import LI
from genn_eventprop.plan import make_plan

RESONATOR = NeuronModel(
    name="resonator", state={"V": 0.0, "W": 0.0}, params={"tau": Param(5.0, "ms"), "omega": Param(0.7, "1/ms")},
    dynamics={"V": "-V / tau - omega * W", "W": "omega * V - W / tau"},
    threshold="V**2 * 2 - 0.1 * (1 + W**2)", reset={}, input={"kick": {"V": "0.5", "W": "-tau * omega / 7"}},
)  # fmt: skip


@pytest.mark.one_in(2)
@pytest.mark.parametrize("engine", ["native", "reference_event"])
def test_a_crossing_is_counted_once(engine):
    """V and W between arrivals are known: what crosses from below is counted on a fine grid of times."""
    net, rng = Network(), np.random.default_rng(1)
    cells, output = net.population(RESONATOR(), 40, "cells"), net.population(LI(), 2, "output")
    net.connect(net.input(4), cells, Dense(Normal(1.0, 0.6)))
    net.connect(cells, output, Dense(0.1))
    times, channels = np.sort(rng.uniform(0, 32, 20)), rng.integers(0, 4, 20)
    values = net.initial_parameters(2)
    plan = make_plan(net, losses.EndVoltageCrossEntropy(output), dt=0.1, duration=40.0, spike_times="exact")
    made = create(plan, values, engine=engine, **({"dtype": "float64"} if engine == "native" else {}))
    data = made.load(Events.from_samples([(times, channels)], 4, labels=[0], n_classes=2))
    counts = made.run(data, [0]).spike_counts["cells"][0]

    weights, z, below, want = values["input_cells.weight"], np.zeros(40, complex), np.ones(40, bool), np.zeros(40, int)
    ends = np.append(times, 40.0)
    for start, end, channel in zip(times, ends[1:], channels):
        z = z + (0.5 - 0.5j) * weights[channel]  # V + i W
        path = z[:, None] * np.exp((-1 / 5 + 0.7j) * np.linspace(0, end - start, 4000))
        g = 2 * path.real**2 - 0.1 * (1 + path.imag**2)
        sign = np.concatenate([below[:, None], g < 0], axis=1)
        want += (sign[:, :-1] & ~sign[:, 1:]).sum(axis=1)
        z, below = path[:, -1], g[:, -1] < 0
    assert want.sum() > 200
    np.testing.assert_array_equal(counts, want)
