"""Gradients of every kind of connectivity and of delays against finite differences."""

import pytest

from genn_eventprop.models.lif_delta import LIFDelta
from genn_eventprop.models.qif import QIF
from genn_eventprop.verify.gradients import check_network
from support import connected as C
from support.sweeps import sweep

CASES = [(kind, delays, "integral") for kind in C.KINDS for delays in C.DELAYS]
CASES += [("pairs", d, loss) for d in C.DELAYS[2:] for loss in ("first_spike", "max", "end", "voltage")]
QUICK = [
    ("conv", "synaptic", "integral"), ("pool", "dendritic", "integral"), ("pairs", "synaptic", "first_spike"),
    ("pairs", "axonal", "voltage"),
]  # fmt: skip


@pytest.mark.one_in(6)
@pytest.mark.parametrize(("kind", "delays", "loss"), sweep(CASES, QUICK))
def test_gradients_are_those_of_finite_differences(kind, delays, loss):
    shape = (4, 4, 1) if kind in ("pool", "channels") else (3, 4, 1)
    net, made = C.network(kind, delays, loss=loss, seed=2, shape=shape)
    # enough spikes for a proof, and few enough at a time for differences
    spikes = (56, 60) if kind in ("pool", "channels", "grouped", "probability") else (38, 42)
    spikes = (51, 54) if (kind, delays) == ("grouped", "dendritic") else spikes
    data = C.events(net, 20.0, 1, seed=3, spikes=spikes)
    report = check_network(net, made, events=data, duration=20.0, seed=6)
    case = report.cases[0]
    assert report.passed and report.worst <= 1e-6, report.text()
    assert case.spikes["hidden"] > 3
    if isinstance(delays, str):
        shapes = {b.name: b.gradient.shape for b in case.blocks}
        assert shapes["input_hidden.delay"] == net.connections[0].delay_shape != ()


@pytest.mark.slow
@pytest.mark.parametrize(("model", "drive"), [(LIFDelta, 5.0), (QIF, 30.0)], ids=["LIFDelta", "QIF"])
@pytest.mark.parametrize("delays", C.DELAYS[2:])
def test_delays_of_causing_arrivals_and_nonlinear_neurons(delays, model, drive):
    net, made = C.network("dense", delays, seed=2, shape=(3, 4, 1), model=model, recurrent=False, drive=drive)
    report = check_network(net, made, events=C.events(net, 20.0, 1, seed=3, spikes=(38, 42)), duration=20.0, seed=6)
    assert report.passed and report.worst <= 1e-6, report.text()
