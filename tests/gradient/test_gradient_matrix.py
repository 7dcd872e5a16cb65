"""The matrix neuron x loss x parameter x topology of `support.gradient_matrix`; and that it can fail."""

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, NeuronModel, Param, losses
from genn_eventprop.engines.reference.exact import readouts as event_readouts
from genn_eventprop.errors import SettingError
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.verify.gradients import check_network
from genn_eventprop.verify.gradients.draw import LOSSES
from support import gradient_matrix as matrix
from support.sweeps import sweep

# every readout and outer loss once, and every topology once; other weights over time, and all of LIF and LI, -m slow
EVERY = [*matrix.cells(LI, LOSSES, every=True), *matrix.cells(LIF, LOSSES, every=True)]
TURN = dict.fromkeys(LOSSES, "recurrent") | dict(zip(LOSSES, matrix.TOPOLOGIES))
WEIGHTS = ("integral_linear", "integral_sigmoid", "integral_window", "integral_error", "per_step_exponential")
QUICK = {
    loss: next(c for c in reversed(EVERY) if (c.loss, c.topology) == (loss, TURN[loss]))
    for loss in LOSSES
    if loss not in WEIGHTS
}


def test_the_quick_cells_are_all_losses_and_topologies():
    assert {*QUICK, *WEIGHTS} == set(LOSSES) and {c.topology for c in QUICK.values()} == set(matrix.TOPOLOGIES)


@pytest.mark.one_in(12)
@pytest.mark.parametrize(
    "cell",
    sweep(EVERY, list(QUICK.values())),
    ids=lambda c: c.name,
)
def test_cell(cell):
    case = matrix.run(cell)
    assert not case.failures, case.text()
    found = matrix.columns(case, cell.model)
    assert set(found) == {"weight", "delay", "input_times", *cell.model.params}
    assert found["weight"] < matrix.TOLERANCE


@pytest.mark.ci
def test_the_written_table(monkeypatch):
    row = next(c for c in EVERY if c.loss == "end" and c.model is LI)
    [(_, text, worst, failures)] = matrix.markdown([row])
    assert not failures and 0 < worst < matrix.TOLERANCE
    assert "| `LI` | 1 | " in text and "| `end` | 1 | " in text
    monkeypatch.setattr(event_readouts.End, "sources", _minus(event_readouts.End.sources))
    [(_, text, worst, failures)] = matrix.markdown([row])
    assert worst > 0.1 and any("relative error" in f for f in failures)


def _minus(method):
    def flipped(self, *args):
        found = method(self, *args)
        if isinstance(found, event_readouts.Sources):
            density = None if found.density is None else -found.density
            return event_readouts.Sources(density, found.segment, found.offset, -found.size)
        return -found

    return flipped


@pytest.mark.parametrize(
    ("kind", "method", "loss"),
    [
        pytest.param("Voltage", "sources", "per_step", marks=pytest.mark.ci),
        pytest.param("Voltage", "spike_term", "per_step_exponential", marks=pytest.mark.slow),
        pytest.param("Voltage", "spike_term", "voltage_error", marks=pytest.mark.slow),
        ("SpikeTimes", "spike_term", "spike_times"),
    ],
)
def test_a_flipped_sign_is_found(kind, method, loss, monkeypatch):
    readout = getattr(event_readouts, kind)
    monkeypatch.setattr(readout, method, _minus(getattr(readout, method)))
    cell = next(c for c in EVERY if c.model is LIF and c.output and c.loss == loss)
    assert any("relative error" in f for f in matrix.run(cell).failures)


def delta_problem():
    """Arrivals move V of the output at once."""
    leaky = NeuronModel(
        "LeakyDelta", {"V": 0.0}, {"tau": Param(9.0, "ms", trainable=True)}, {"V": "-V / tau"}, input="V"
    )  # fmt: skip
    net, rng = Network(), np.random.default_rng(4)
    inp, hidden, out = net.input(3), net.population(LIF(), 4, name="hidden"), net.population(leaky(), 3, name="output")
    net.connect(inp, hidden, Dense(rng.uniform(2.0, 6.0, (3, 4))), delay=0.5)
    net.connect(hidden, out, Dense(rng.normal(0.2, 0.8, (4, 3))), delay=0.8)
    times = [(np.sort(rng.uniform(0.5, 22, 7)), rng.integers(0, 3, 7)) for _ in range(2)]
    return net, losses.PerStepCrossEntropy(out, "linear"), Events.from_samples(times, 3, labels=[0, 1])


@pytest.mark.ci
def test_arrivals_that_move_v_at_once(monkeypatch):
    """l(x-) - l(x+) of an arrival goes to its spike, its delay and its input time."""
    net, loss, events = delta_problem()
    report = check_network(net, loss, events=events, duration=30.0)
    assert report.passed, report.text()
    monkeypatch.setattr(event_readouts.Voltage, "arrival_term", lambda *args: 0.0)
    assert not check_network(net, loss, events=events, duration=30.0).passed


def test_surrogates_are_refused():
    net = Network()
    out = net.population(LIF(), 2, name="output")
    net.connect(net.input(2), out, Dense(1.0))
    events = Events.from_samples([([1.0], [0])], 2, labels=[0])
    with pytest.raises(SettingError, match="count of spikes has a surrogate gradient.*another loss"):
        check_network(net, losses.SpikeCountCrossEntropy(out), events=events, duration=30.0)
