"""`reference_clock` converges to `reference_event` with order about 1 as dt falls: spike times and every gradient."""

from functools import lru_cache

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Param, losses
from genn_eventprop.engines.reference.exact.engine import ReferenceEvent
from genn_eventprop.engines.reference.exact.records import Arrival
from genn_eventprop.engines.reference.grid.engine import ReferenceClock
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from support.sweeps import sweep

T, STEPS, SAMPLES = 32.0, (0.2, 0.05, 0.0125), 16
LOSSES = {
    "first_spike": losses.FirstSpikeCrossEntropy,
    "first_spike_inverse": lambda p: losses.FirstSpikeCrossEntropy(p, alpha=2.0, form="inverse", silent="end"),
    "max": losses.MaxVoltageCrossEntropy,
    "integral": lambda p: losses.IntegratedVoltageCrossEntropy(p, "exponential"),
}


def network(loss, recurrent):
    net = Network()
    inp = net.input(4)
    learned = {n: Param(v, "ms", trainable=True) for n, v in (("tau_mem", 15.0), ("tau_syn", 6.0))}
    hidden = net.population(LIF(v_reset=-0.3, v_thresh=Param(1.0, trainable=True), **learned), 5, name="hidden")
    spikes = loss.startswith("first")
    out = net.population(LIF() if spikes else LI(), 3, name="output")
    net.connect(inp, hidden, Dense(Normal(2.4, 0.5)), delay=1.2)
    if recurrent:
        net.connect(hidden, hidden, Dense(Normal(-0.2, 0.4)), delay=0.8)
    net.connect(hidden, out, Dense(Normal(1.4, 0.5) if spikes else Normal(0.3, 0.7)))
    return net, LOSSES[loss](out)


@lru_cache
def runs(loss, recurrent):
    """Exact, then one run for every dt, of the samples in which a grid can be near the exact trial at all.

    Left out: a spike that only grazes its threshold (it is there or not depending on dt), and an own spike closer to an
    arrival than the finest grids tell apart (they swap). Inputs and delays lie on all grids.
    """
    net, loss = network(loss, recurrent)
    parameters = net.initial_parameters(2)
    rng = np.random.default_rng(1)
    samples = [(np.sort(rng.integers(1, 50, 5) * 0.4), rng.integers(0, 4, 5)) for _ in range(SAMPLES)]
    events = Events.from_samples(samples, 4, labels=rng.integers(0, 3, SAMPLES), n_classes=3)
    engines = [
        (ReferenceClock if dt else ReferenceEvent)(
            make_plan(net, loss, dt=dt or T, duration=T, spike_times="grid" if dt else "exact"), parameters
        )
        for dt in (None, *STEPS)
    ]
    data = [e.load(events) for e in engines]
    counts = [e.run(d, np.arange(SAMPLES)).spike_counts for e, d in zip(engines, data)]
    agree = np.all([(c[k] == counts[0][k]).all(axis=1) for c in counts for k in c], axis=0)
    agree &= [closest(t.recording) > 3 * STEPS[-1] for t in engines[0].trials]
    results = [e.run(d, np.flatnonzero(agree), training=True, record_spikes=True) for e, d in zip(engines, data)]
    return [e.gradients for e in engines], [r.spikes["hidden"] for r in results], [r.loss for r in results]


def closest(recording):
    """Smallest time between an own spike and an arrival at the same population, ms."""
    gaps = [np.inf]
    for name, spikes in recording.spikes.items():
        arrivals = [e.time for e in recording.events if isinstance(e, Arrival) and e.connection.target == name]
        gaps += [np.abs(np.array(arrivals) - s.time).min() for s in spikes if arrivals]
    return min(gaps)


def angle(a, b):
    return float(np.degrees(np.arccos(np.clip(np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))))


def order(errors):
    return float(np.polyfit(np.log(STEPS), np.log(errors), 1)[0])


CASES = [(loss, recurrent) for loss in LOSSES for recurrent in (False, True)]
QUICK = [("first_spike_inverse", True), ("integral", False)]


@pytest.mark.ci
@pytest.mark.parametrize(("loss", "recurrent"), sweep(CASES, QUICK))
def test_spike_times_and_loss_converge(loss, recurrent):
    _, spikes, values = runs(loss, recurrent)
    assert len(values[0]) >= 4 and len(spikes[0].time) >= 20
    sort = [s.time[np.lexsort((s.time, s.neuron, s.sample))] for s in spikes]
    errors = [np.abs(late - sort[0]).mean() for late in sort[1:]]
    assert 0.8 < order(errors) < 1.2, errors
    assert all(e < 3 * dt for e, dt in zip(errors, STEPS))
    off = [np.abs(v - values[0]).mean() for v in values[1:]]
    assert 0.6 < order(off) < 1.7, off


@pytest.mark.parametrize(("loss", "recurrent"), sweep(CASES, QUICK))
@pytest.mark.one_in(2)
def test_gradients_converge_in_angle_and_norm(loss, recurrent):
    (exact, *grid), _, _ = runs(loss, recurrent)
    assert {k.split(".")[0] for k in exact} >= {"input_hidden", "hidden", "hidden_output"}
    for name, g in exact.items():
        errors = [np.linalg.norm(found[name] - g) / np.linalg.norm(g) for found in grid]
        assert 0.5 < order(errors) < 1.8, (name, errors)
        assert errors[-1] < 0.03, (name, errors)
        assert angle(grid[-1][name], g) < 1.5, name
