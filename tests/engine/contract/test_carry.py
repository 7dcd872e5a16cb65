"""Trials that go on from the end of others: chunks are one long trial, and gradients take their beginning as given.

What hypothesis draws is where a recording is cut, and the delays and refractory periods that reach over the cuts.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genn_eventprop import Delay, Dense, Events, Network, Normal, Param, Sparse, Uniform
from genn_eventprop.data.events.chunks import chunks
from genn_eventprop.engines import create
from genn_eventprop.engines.native.engine import NativeEngine
from genn_eventprop.engines.reference.grid.engine import ReferenceClock
from genn_eventprop.errors import DataError, EngineError
from genn_eventprop.losses import Loss
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif_delta import LIFDelta
from genn_eventprop.models.lif_refractory import LIFRefractory
from genn_eventprop.models.qif import QIF
from genn_eventprop.plan import make_plan
from genn_eventprop.regularisers import SpikeCount
from support.sweeps import sweep

DT = 0.5


def network(delays=(1.0, 2.5, 0.0), t_ref=1.7):
    net = Network()
    source = net.input(4)
    hidden = net.population(LIFRefractory(t_ref=t_ref), 6, name="hidden")
    output = net.population(LI(tau_mem=Param(15.0, "ms", trainable=True)), 3, name="output")
    net.connect(source, hidden, Dense(Normal(2.4, 0.8)), delay=delays[0])
    net.connect(hidden, hidden, Dense(Normal(0.2, 0.5)), delay=delays[1])
    net.connect(hidden, output, Dense(Normal(0.4, 0.6)), delay=delays[2])
    return net


def engine_of(net, duration, readout="integral", name="reference_clock"):
    plan = make_plan(net, Loss(net.populations[-1], readout), dt=DT, duration=duration)
    return create(plan, net.initial_parameters(3), engine=name)


def recordings(length, n=2, seed=1):
    rng, size = np.random.default_rng(seed), int(length)
    samples = [(np.sort(rng.uniform(0, length, size)), rng.integers(0, 4, size)) for _ in range(n)]
    return Events.from_samples(samples, n_channels=4)


def carried(engine, cut, n_chunks, **how):
    """Results of chunk after chunk of all recordings."""
    data, carry, results = engine.load(cut), None, []
    for c in range(n_chunks):
        result, carry = engine.run_from(data, np.arange(c, len(cut), n_chunks), carry, record_spikes=True, **how)
        results.append(result)
    return results, carry


@settings(max_examples=25, deadline=None)
@given(
    n_chunks=st.integers(1, 6),
    steps=st.integers(3, 12),
    delays=st.tuples(*[st.sampled_from([0.0, 0.5, 1.0, 2.5, 9.0])] * 3),
    t_ref=st.sampled_from([0.5, 1.7, 8.0]),
    seed=st.integers(0, 99),
)
@pytest.mark.ci
def test_chunks_are_one_long_trial(n_chunks, steps, delays, t_ref, seed):
    """Spikes, states and the integral; refractory periods may be longer than a chunk."""
    delays = tuple(min(d, (steps - 1) * DT) for d in delays)
    net, length = network(delays, t_ref), n_chunks * steps * DT
    whole = recordings(length, seed=seed)
    long, short = engine_of(net, length), engine_of(net, steps * DT)
    want = long.run(long.load(whole), [0, 1], record_spikes=True)
    ends = long.run_from(long.load(whole), [0, 1], None)[1]
    results, end = carried(short, chunks(whole, steps * DT, DT, length=length), n_chunks)
    total = sum(r.spike_counts["hidden"] for r in results)
    np.testing.assert_array_equal(total, want.spike_counts["hidden"])
    found = [
        (b, t + c * steps * DT, n)
        for c, r in enumerate(results)
        for b, t, n in zip(*(getattr(r.spikes["hidden"], x) for x in ("sample", "time", "neuron")))
    ]
    wanted = zip(*(getattr(want.spikes["hidden"], x) for x in ("sample", "time", "neuron")))
    assert sorted(found) == sorted(wanted)
    np.testing.assert_allclose(sum(r.readout for r in results) / n_chunks, want.readout, rtol=1e-9, atol=1e-12)
    for name in ("hidden", "output"):
        np.testing.assert_allclose(end.states[name], ends.states[name], rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(end.until["hidden"], ends.until["hidden"])


def test_without_what_was_carried_spikes_differ():
    net, whole = network(), recordings(60.0)
    short = engine_of(net, 10.0)
    cut = chunks(whole, 10.0, DT, length=60.0)
    results, _ = carried(short, cut, 6)
    alone = short.run(short.load(cut), np.arange(12)).spike_counts["hidden"].sum()
    assert sum(r.spike_counts["hidden"].sum() for r in results) > 1.1 * alone


def test_gradients_take_the_end_of_the_trial_before_as_given():
    """Differences with what is carried held fixed: weights of arrivals in flight, and a time constant."""
    net = Network()
    source, output = net.input(4), net.population(LI(tau_mem=Param(15.0, "ms", trainable=True)), 3, name="output")
    net.connect(source, output, Dense(Normal(0.4, 0.6)), delay=3.0)
    engine = engine_of(net, 10.0, "integral")
    cut = chunks(recordings(20.0), 10.0, DT, length=20.0, labels=np.array([[0, 1], [2, 0]]))
    data = engine.load(cut)
    _, carry = engine.run_from(data, [0, 2], None)
    only = replace(data, offsets=np.zeros_like(data.offsets))  # nothing but what is on its way
    engine.run_from(only, [1, 3], carry, training=True)
    gradients, h = {k: v.copy() for k, v in engine.gradients.items()}, 1e-6
    assert np.abs(gradients["input_output.weight"]).max() > 1e-3
    for name, gradient in gradients.items():
        values = engine.parameters[name]
        for place in np.ndindex(values.shape):
            both = []
            for sign in (1, -1):
                values[place] += sign * h
                both.append(engine.run_from(only, [1, 3], carry)[0].loss.mean())
                values[place] -= sign * h
            assert gradient[place] == pytest.approx((both[0] - both[1]) / (2 * h), rel=1e-6, abs=1e-9), (name, place)


def test_a_chunk_from_rest_has_the_gradient_of_a_trial():
    net = network()
    engine = engine_of(net, 20.0)
    quiet = Events.from_samples([([], []), ([], [])], n_channels=4, labels=[0, 1])
    given = recordings(20.0)
    spikes = Events(given.times, given.channels, given.offsets, n_channels=4, labels=np.array([0, 1]))
    _, carry = engine.run_from(engine.load(quiet), [0, 1], None)
    found = []
    for start in (None, carry):
        engine.run_from(engine.load(spikes), [0, 1], start, training=True)
        found.append({k: v.copy() for k, v in engine.gradients.items()})
    for name, gradient in found[0].items():
        assert np.abs(gradient).max() > 0
        np.testing.assert_allclose(found[1][name], gradient, rtol=1e-9, atol=1e-12)


def tables():
    net = Network()
    source, hidden = net.input(4), net.population(QIF(), 9, name="hidden")
    output = net.population(LI(), 3, name="output")
    net.connect(source, hidden, Sparse(Normal(6.0, 2.0), fan_in=3), delay=2.5)
    net.connect(hidden, hidden, Sparse(Normal(0.5, 0.5), fan_in=2), delay=1.0)
    net.connect(hidden, output, Dense(Normal(0.4, 0.6)))
    return net


def deltas():
    net = Network()
    source, hidden = net.input(4), net.population(LIFDelta(v_thresh=Param(1.0, trainable=True)), 8, name="hidden")
    output = net.population(LI(), 3, name="output")
    net.connect(source, hidden, Dense(Normal(0.6, 0.3)), delay=1.5)
    net.connect(hidden, hidden, Dense(Normal(0.1, 0.2)), delay=2.0)
    net.connect(hidden, output, Dense(Normal(0.4, 0.6)), delay=0.5)
    return net


NETWORKS = {"refractory": network, "tables": tables, "deltas": deltas}


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("name", "readout", "steps"),
    sweep(
        [(n, r, s) for n in NETWORKS for r in ("integral", "max", "end") for s in (7, 40)],
        [("refractory", "integral", 7), ("tables", "end", 7), ("deltas", "max", 40)],
    ),
)
def test_native_is_the_reference(name, readout, steps):
    """Spikes, readouts, gradients and what is carried on; trajectories in segments too."""
    net, n_chunks = NETWORKS[name](), 4
    length = n_chunks * steps * DT
    labels = np.arange(2 * n_chunks).reshape(2, n_chunks) % 3
    cut = chunks(recordings(length), steps * DT, DT, length=length, labels=labels)
    pushes = [SpikeCount(net.populations[0], 2.0, 1e-3, mean="batch")]
    found = []
    plan = make_plan(net, Loss(net.populations[-1], readout), dt=DT, duration=steps * DT, regularisers=pushes)
    values = net.initial_parameters(3)
    for engine in (ReferenceClock(plan, values), NativeEngine(plan, values, dtype="float64", trajectory_limit=1e-3)):
        data, carry = engine.load(cut), None
        for c in range(n_chunks):
            samples = np.arange(c, len(cut), n_chunks)
            result, carry = engine.run_from(data, samples, carry, training=True, record_spikes=True)
            numbers = {"loss": result.loss, "readout": result.readout, **result.spike_counts, **engine.gradients}
            numbers |= {f"{k}_{n}": x for k in ("states", "modes", "until", "sent") for n, x in vars(carry)[k].items()}
            found.append({k: np.array(v) for k, v in numbers.items()})
    for wanted, native in zip(found[:n_chunks], found[n_chunks:]):
        assert wanted.keys() == native.keys()
        for key, value in wanted.items():
            np.testing.assert_allclose(
                native[key], value, rtol=1e-9, atol=1e-9 * (1 + np.abs(value).max()), err_msg=key
            )
    assert sum(w["hidden"].sum() for w in found[:n_chunks]) > 10


def test_chunks_keep_the_steps_of_spikes():
    """Times just before a border belong to the next chunk if their step does; rounding moves none."""
    rng = np.random.default_rng(1)
    times = np.sort(np.concatenate([rng.uniform(0, 30, 200), np.arange(60) * 0.1 * 5 - 0.25 + 1e-9]))
    times = times[times >= 0]
    whole = Events.from_samples([(times, np.zeros(len(times), int))], n_channels=1)
    cut = chunks(whole, 2.1, 0.3, length=33.6)
    steps = np.concatenate([np.floor(cut.sample(c)[0] / 0.3 + 0.5) + 7 * c for c in range(len(cut))])
    np.testing.assert_array_equal(np.sort(steps), np.sort(np.floor(times / 0.3 + 0.5)))
    assert list(cut.groups) == [0] * 16


def test_what_is_refused():
    net, whole = network(), recordings(20.0)
    cut = chunks(whole, 10.0, DT, length=20.0)
    valued = network(delays=(1.0, Delay(Uniform(0.0, 3.0)), 0.0))
    for net_, name, message in (
        (net, "c99", "c99 carries no state from trial to trial; use engine='native' or 'reference_clock' on the grid"),
        (valued, "native", r"native carries no spikes along individual delays \(hidden_hidden\); use engine='ref"),
    ):
        engine = engine_of(net_, 10.0, name=name)
        with pytest.raises(EngineError, match=message):
            engine.run_from(engine.load(cut), [0], None)
    with pytest.raises(DataError, match="a chunk of 10.2 ms is not a whole number of steps of 0.5 ms"):
        chunks(whole, 10.2, DT)
    with pytest.raises(DataError, match="recording 0 has spikes after its length of 1 chunks"):
        chunks(whole, 10.0, DT, length=10.0)
    with pytest.raises(DataError, match=r"labels of chunks have shape \(2, 3\), the recordings have \[2\] chunks"):
        chunks(whole, 10.0, DT, length=20.0, labels=np.zeros((2, 3), int))
