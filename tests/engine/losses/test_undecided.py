"""Outputs that do not decide: none says anything, or the best are equal; on every engine and readout."""

from __future__ import annotations

import numpy as np
import pytest

from genn_eventprop import Dense, Network, engines, losses
from genn_eventprop.data import Events
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan

READOUTS = {
    "first_spike": losses.FirstSpikeCrossEntropy,
    "count": losses.SpikeCountCrossEntropy,
    "max": losses.MaxVoltageCrossEntropy,
    "end": losses.EndVoltageCrossEntropy,
    "integral": losses.IntegratedVoltageCrossEntropy,
    "voltage": losses.PerStepCrossEntropy,
}
OF_SPIKES = ("first_spike", "count")
# the generated code of a prediction is one text for all readouts
CASES = [(engine, readout) for readout in READOUTS for engine in ("reference_event", "reference_clock")]
CASES += [("native exact", "first_spike"), ("native exact", "max"), ("native", "count"), ("native", "integral")]


def predictions(engine: str, readout: str, weights: list[list[float]]) -> list[int]:
    """Of the sample 0, with one spike, and the sample 1, without any."""
    exact = engine in ("reference_event", "native exact")
    net = Network()
    out = net.population((LIF if readout in OF_SPIKES else LI)(), len(weights[0]), "output")
    net.connect(net.input(1), out, Dense(np.array(weights)))
    events = Events.from_samples([([1.0], [0]), ([], [])], n_channels=1, labels=[0, 0])
    plan = make_plan(
        net, READOUTS[readout](out), dt=0.5, duration=30.0, spike_times="exact" if exact else "grid"
    )  # fmt: skip
    made = engines.create(plan, net.initial_parameters(1), engine=engine.split()[0], dtype="float64", threads=1)
    found = made.run(made.load(events), [0, 1]).prediction.tolist()
    made.close()
    return found


@pytest.mark.parametrize(("engine", "readout"), CASES)
@pytest.mark.one_in(16)
def test_equal_outputs_decide_nothing(engine, readout):
    assert predictions(engine, readout, [[0.0, 0.0, 0.0]]) == [-1, -1]
    assert predictions(engine, readout, [[9.0, 1.0, 9.0]]) == [-1, -1]
    assert predictions(engine, readout, [[1.0, 1.0, 9.0]]) == [2, -1]
    assert predictions(engine, readout, [[9.0, 1.0, 1.0]]) == [0, -1]


def test_a_single_output_decides_if_it_says_anything():
    assert predictions("reference_clock", "end", [[1.0]]) == [0, 0]
    assert predictions("reference_clock", "first_spike", [[9.0]]) == [0, -1]
