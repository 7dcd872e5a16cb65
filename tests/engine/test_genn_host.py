"""What the host does around a GeNN network: sums over the arrivals of a step, for many examples at once."""

import time

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, losses
from genn_eventprop.engines.base import quantise
from genn_eventprop.engines.genn.host import Store, kink_shares, positive_arrivals
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan

CAPACITY = 16


def case(batch, hidden=9, steps=40, inputs=5, outputs=3, seed=3):
    """(plan, data, samples, stores, weights, example, step, neuron) with delays, spikes of a channel in one step."""
    rng = np.random.default_rng(seed)
    net = Network()
    inp, layer = net.input(inputs), net.population(LIF(), hidden, name="hidden")
    output = net.population(LI(), outputs, name="output")
    net.connect(inp, layer, Dense(1.0))
    net.connect(inp, output, Dense(1.0), delay=2.0)
    net.connect(layer, output, Dense(1.0), delay=1.0)
    plan = make_plan(net, losses.MaxVoltageCrossEntropy(output), dt=1.0, duration=float(steps))
    weights = {c.weight: rng.normal(0, 1, (c.pre, c.post)) for c in plan.connections}
    spikes = [(np.sort(rng.integers(0, steps, 60)) + 0.0, rng.integers(0, inputs, 60)) for _ in range(batch + 2)]
    data = quantise(Events.from_samples(spikes, n_channels=inputs, labels=np.zeros(batch + 2, int)), plan)
    n = rng.integers(0, CAPACITY, (batch, hidden))
    kept = np.sort(rng.integers(1, steps + 1, (batch, hidden, CAPACITY)), axis=2)
    kept[np.arange(CAPACITY) >= n[:, :, None]] = rng.integers(1, steps + 1)  # left over, must not count
    e = 4 * batch
    asked = rng.integers(0, batch, e), rng.integers(0, steps + 1, e), rng.integers(0, outputs, e)
    return plan, data, rng.permutation(batch + 2)[:batch], {"hidden": Store(n, kept)}, weights, *asked


def one_by_one(plan, data, samples, stores, amounts, example, step, neuron):
    """The sum of what arrived, by three loops."""
    total = np.zeros(len(example))
    for e, (b, k, j) in enumerate(zip(example, step, neuron)):
        for c in plan.into("output"):
            sent = k - c.delay_steps
            if c.source == plan.input.name:
                part = slice(data.offsets[samples[b]], data.offsets[samples[b] + 1])
                total[e] += amounts[c.name][data.channels[part][data.steps[part] == sent], j].sum()
            else:
                store = stores[c.source]
                for i in range(store.n.shape[1]):
                    total[e] += amounts[c.name][i, j] * (store.step[b, i, : store.n[b, i]] == sent).sum()
    return total


def test_positive_arrivals_are_those_of_a_search_one_by_one():
    plan, data, samples, stores, weights, *asked = case(batch=6)
    up = {c.name: np.array([0.5]) for c in plan.into("output")}
    amounts = {c.name: 0.5 * np.maximum(weights[c.weight], 0.0) for c in plan.into("output")}
    wanted = one_by_one(plan, data, samples, stores, amounts, *asked)
    found = positive_arrivals(plan, "output", data, samples, stores, weights, up, *asked)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    assert np.count_nonzero(wanted) > 10 and np.count_nonzero(wanted == 0) > 0


def test_kink_shares_are_those_of_a_search_one_by_one():
    plan, data, samples, stores, weights, *_ = case(batch=6)
    rng = np.random.default_rng(5)
    kink, max_step = rng.uniform(-1, 1, (6, 3)), rng.integers(0, 41, (6, 3)).astype(np.int32)
    b, k = np.nonzero(kink > 0)
    store, delay = stores["hidden"], next(c.delay_steps for c in plan.into("output") if c.source == "hidden")
    arrived = (store.step[:, None] == (max_step - delay)[:, :, None, None]) & store.valid[:, None]
    amounts = {c.name: np.minimum(weights[c.weight], 0.0) for c in plan.into("output")}
    total = one_by_one(plan, data, samples, stores, amounts, b, max_step[b, k], k)
    wanted = np.zeros((6, 3))
    wanted[b, k] = np.divide(kink[b, k], total, where=total < 0, out=np.zeros(len(total)))
    found = kink_shares(plan, data, samples, {"hidden_output": arrived.any(axis=3)}, weights, max_step, kink)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    assert np.count_nonzero(wanted) > 3


def test_the_work_grows_as_the_batch():
    """A search of the whole store for every event took the square of it: 3.9 s at the shape of SHD, batch 256."""
    seconds = []
    for batch in (16, 128):
        plan, data, samples, stores, weights, *_ = case(batch, hidden=256, steps=1000, outputs=20)
        example, neuron = (x.ravel() for x in np.indices((batch, 20)))
        step = np.random.default_rng(1).integers(0, 1001, batch * 20)
        up = {c.name: np.ones(1) for c in plan.into("output")}
        start = time.process_time()
        positive_arrivals(plan, "output", data, samples, stores, weights, up, example, step, neuron)
        seconds.append(time.process_time() - start)
    assert seconds[1] < max(0.4, 16 * seconds[0]), seconds


@pytest.mark.parametrize("example", [[], [0]])
def test_no_pairs_and_no_spikes(example):
    empty = Store(np.zeros((2, 3), int), np.full((2, 3, 4), 7))
    e, neuron = empty.at(np.array(example, int), np.full(len(example), 7), 40)
    assert len(e) == len(neuron) == 0
