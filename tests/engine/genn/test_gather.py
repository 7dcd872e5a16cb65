"""Gradients of the genn engine are one array, summed after windows of steps; the host fetches no more than it needs."""

from dataclasses import replace

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Param, losses, optimisers
from genn_eventprop.codegen.genn import gather
from genn_eventprop.codegen.genn.target import network_text
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.engines.contract.device_arrays import DeviceArrays, DeviceLocation
from genn_eventprop.engines.genn import transfer
from genn_eventprop.errors import EngineError, TrainingError
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from genn_eventprop.training.checks import check_batch
from support import eventful
from support import genn_harness as harness
from support.sweeps import sweep

W = "input_hidden.weight"


def build(delay=1.0, dt=0.5, duration=20.0, sizes=(6, 9, 3), learned=True):
    """Recurrent, with learned time constants of the hidden neurons; delays of 0, 1 and 2 times `delay`."""
    net = Network()
    inp = net.input(sizes[0])
    hidden = net.population(LIF(tau_mem=Param(18.0, "ms", trainable=learned), v_thresh=0.7), sizes[1], name="hidden")
    net.connect(inp, hidden, Dense(Normal(1.0, 0.6)), delay=delay)
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.3)), delay=2 * delay)
    output = net.population(LI(), sizes[2], name="output")
    net.connect(hidden, output, Dense(Normal(0.3, 0.4)))
    return make_plan(net, losses.IntegratedVoltageCrossEntropy(output), dt=dt, duration=duration)


def random_events(plan, n_samples=5, seed=2):
    """Some with spikes in the last step, on one channel, or none."""
    rng, last = np.random.default_rng(seed), plan.duration - plan.dt
    samples = [(np.sort(rng.uniform(0, last, 40)), rng.integers(0, plan.input.size, 40)) for _ in range(n_samples - 1)]
    samples[0] = (np.append(samples[0][0], [last, last]), np.append(samples[0][1], [1, 1]))
    return Events.from_samples([*samples, ([], [])], n_channels=plan.input.size, labels=rng.integers(0, 3, n_samples))


def check_gradients(engine, plan, values, events, samples):
    clock = ReferenceClock(plan, values)
    results = [e.run(e.load(events), samples, training=True) for e in (clock, engine)]
    np.testing.assert_allclose(results[1].loss, results[0].loss, rtol=1e-9)
    for key, gradient in clock.gradients.items():
        assert gradient.any()
        assert np.linalg.norm(engine.gradients[key] - gradient) <= 1e-9 * np.linalg.norm(gradient), key


WINDOWS, SENT = (1, 7, 40, 64), ((0.0, None), (3.0, None), (1.0, 1), (1.0, 3))


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("window", "delay", "group"),
    sweep(
        [(window, *sent) for window in WINDOWS for sent in SENT],
        [(1, 0.0, None), (7, 3.0, None), (7, 1.0, 3), (40, 1.0, 1), (64, 1.0, 3)],
    ),
)
def test_the_gradient_does_not_depend_on_the_window(window, delay, group, monkeypatch):
    """40 steps: windows of one step, with a rest, of the whole trial, longer; delays beyond a window."""
    monkeypatch.setattr(gather, "WINDOW", window)
    monkeypatch.setattr(gather, "LONGEST_WINDOW", window)
    plan = build(delay)
    values = plan.network.initial_parameters(3)
    engine = harness.HarnessEngine(plan, values, dtype="float64", batch_size=group)
    for samples in ([0, 1, 2, 3], [4, 3], [1]):
        check_gradients(engine, plan, values, random_events(plan), samples)
    assert engine._transfer.window == min(window, 40)


def bytes_a_sample(plan, group):
    """What a network of this plan takes on the device for a group, float32, over the group's size."""
    engine = harness.HarnessEngine(plan, plan.network.initial_parameters(1))
    engine.group = group
    text = network_text(plan)
    held = sum(engine._transfer.lengths(text, group).values())
    for size, neuron in text.populations.values():
        held += sum(size * (1 if access == "READ_ONLY" else group) for *_, access in neuron.vars)
    for synapse in text.synapses.values():
        weights = text.populations[synapse.source][0] * text.populations[synapse.target][0]
        held += sum(weights * (1 if access == "READ_ONLY" else group) for *_, access in synapse.update.vars)
    for update in text.updates.values():
        assert not any(access == "REDUCE_BATCH_SUM" for *_, access in update.vars)
    return 4 * held / group


def test_memory_of_a_sample():
    """At the shape of SHD a gradient of every example took 1.0 of 1.26 MB."""
    plan = build(0.0, 1.0, 1000.0, (700, 256, 20), learned=False)
    assert bytes_a_sample(plan, 256) < 0.3e6
    assert bytes_a_sample(plan, 32) < 0.4e6


class Traffic:
    """Counts what a harness network is asked to push and pull."""

    def __init__(self, network, monkeypatch):
        self.pushed, self.pulled = [], []
        push, get = network.push, {n: getattr(network, n) for n in ("neurons", "synapses", "array", "update_variable")}
        monkeypatch.setattr(
            network, "push", lambda g, *names: (self.pushed.extend((g, n) for n in names), push(g, *names))
        )
        for name, method in get.items():
            monkeypatch.setattr(network, name, self.counted(method))

    def counted(self, method):
        def call(group, name, *, pull=False):
            if pull:
                self.pulled.append((group, name))
            return method(group, name, pull=pull)

        return call


def test_a_training_batch_copies_no_gradient_and_no_weight(monkeypatch):
    """To the host comes one number, in which NaN shows; to the device goes nothing that was only read."""
    plan = build()
    engine = harness.HarnessEngine(plan, plan.network.initial_parameters(3), dtype="float64", batch_size=None)
    optimiser, data = optimisers.Adam(1e-3), engine.load(random_events(plan))
    engine.use(optimiser)
    engine.run(data, [0, 1, 2], training=True)
    engine.update(optimiser)
    traffic = Traffic(engine.network, monkeypatch)
    for _ in range(2):
        result = engine.run(data, [2, 1, 0], training=True)
        check_batch(plan, result, engine.gradients, "batch 1", engine.finite)
        engine.update(optimiser)
    moved = [*traffic.pushed, *traffic.pulled]
    assert not [
        n for _, n in moved if n.startswith(("dL_dweight", "weight", "w_along", "e_", "s_step", "w_trace", "event"))
    ]
    assert ("check_input_hidden", "total") in traffic.pulled
    np.isfinite(engine.gradients[W]).all()  # looking at it costs a copy to the host, and none back
    engine.run(data, [0], training=True)
    assert ("hidden", "dL_dweight_input_hidden") in traffic.pulled
    assert ("hidden", "dL_dweight_input_hidden") not in traffic.pushed


def test_only_what_was_written_goes_back():
    device, written = {"a": np.array([1.0, np.nan])}, []

    def write(values):
        written.append(values.copy())
        device["a"] = values.copy()

    arrays = DeviceArrays({"a": np.array([1.0, np.nan])})
    arrays.move_to({"a": DeviceLocation(lambda: device["a"].copy(), write)})
    assert len(written) == 1
    held = arrays["a"]
    arrays.push()
    assert len(written) == 1  # read, not written; NaN is no change
    held[0] = 2.0
    arrays.push()
    arrays.push()
    assert len(written) == 2 and device["a"][0] == 2.0
    device["a"] = np.array([5.0, 6.0])
    arrays.pull()
    arrays.push()
    assert len(written) == 2 and held.tolist() == [5.0, 6.0]


@pytest.mark.parametrize("group", [1, 3])
def test_what_is_not_finite_shows_in_the_sums(group):
    plan = build()
    engine = harness.HarnessEngine(plan, plan.network.initial_parameters(3), dtype="float64", batch_size=group)
    data = engine.load(random_events(plan))
    result = engine.run(data, [0, 1, 2], training=True)
    assert all(engine.finite(name) for name in plan.trainable)
    data = replace(data, weights=np.array([1.0, np.inf, 1.0, 1.0, 1.0]))
    engine.run(data, [0, 1, 2], training=True)
    assert not engine.finite(W) and not engine.finite("hidden.tau_mem")
    with pytest.raises(TrainingError, match=f"gradient of {W} is not finite"):
        check_batch(plan, result, engine.gradients, "batch 1", engine.finite)
    engine.run(data, [0, 2], training=True)
    assert engine.finite(W)
    engine.network.array("hidden", "dL_dweight_input_hidden")[:] = 1e308  # the sum is infinite, the gradient is not
    engine.network.launch("check")
    assert np.isinf(engine.network.update_variable("check_input_hidden", "total")).all() and engine.finite(W)


def test_groups_shrink_to_32_bit_indices(monkeypatch):
    """At first by the length of the arrays, then in the middle of a batch when a spike store grows."""
    plan = build()
    values = plan.network.initial_parameters(3)
    engine = harness.HarnessEngine(plan, values, dtype="float64", batch_size=None, room=1)
    events = random_events(plan)
    monkeypatch.setattr(transfer, "MOST_INDICES", 3 * 40 * 9 - 1)
    check_gradients(engine, plan, values, events, [0, 1, 2, 3])
    assert engine.group == 2
    monkeypatch.setattr(gather, "WINDOW", 1)
    monkeypatch.setattr(transfer, "MOST_INDICES", 160)
    plan = build(learned=False)
    values = plan.network.initial_parameters(3)
    engine = harness.HarnessEngine(plan, values, dtype="float64", batch_size=None, room=1)
    engine.run(engine.load(events), [4, 4, 4, 4], training=True)
    assert engine.group == 4
    check_gradients(engine, plan, values, events, [0, 1, 2, 3])
    assert engine.group < 4 and engine.room[0] > 1


def test_what_no_group_can_index_is_an_error(monkeypatch):
    plan = build()
    values = plan.network.initial_parameters(3)
    engine = harness.HarnessEngine(plan, values, dtype="float64", batch_size=None)
    monkeypatch.setattr(transfer, "MOST_INDICES", 9 * 10)
    with pytest.raises(EngineError, match="the data set has .* entries of event_step.*split it"):
        engine.load(random_events(plan)) and engine.run(engine.load(random_events(plan)), [0])
    few = Events.from_samples([([1.0], [0])], n_channels=6, labels=[1])
    with pytest.raises(
        EngineError, match="population 'hidden' needs .* entries of .* for a single sample.*fewer neurons"
    ):
        engine.run(engine.load(few), [0], training=True)


def test_the_lists_of_spikes_stay_on_the_device_for_a_maximum(monkeypatch):
    """Which negative weights arrived at a kink is found there, with a connection of these weights alone."""
    net = Network()
    inp = net.input(6)
    hidden = net.population(LIF(tau_mem=18.0, v_thresh=0.7), 9, name="hidden")
    net.connect(inp, hidden, Dense(Normal(1.0, 0.6)))
    output = net.population(LI(tau_mem=2.0), 37, name="output")
    net.connect(hidden, output, Dense(Normal(0.0, 0.8)), delay=1.0)
    plan = make_plan(net, losses.MaxVoltageCrossEntropy(output), dt=0.5, duration=20.0)
    values, events = net.initial_parameters(3), random_events(plan)
    engine, clock = harness.HarnessEngine(plan, values, dtype="float64", batch_size=3), ReferenceClock(plan, values)
    engine.run(engine.load(events), [0], training=True)
    traffic = Traffic(engine.network, monkeypatch)
    for e in (engine, clock):
        e.run(e.load(events), [0, 1, 2, 3], training=True)
    moved = [*traffic.pulled, *traffic.pushed]
    assert moved and not [n for p, n in moved if p == "hidden" and n.startswith(("e_", "s_step"))]
    assert (engine.network.synapses("hidden_output_negative", "weight") <= 0).all()
    for key, gradient in clock.gradients.items():
        assert np.linalg.norm(engine.gradients[key] - gradient) <= 1e-9 * np.linalg.norm(gradient), key


def test_event_lists_stay_on_the_device(monkeypatch):
    plan = eventful.build(eventful.DELTA, 0.001, 0.001)
    engine = harness.HarnessEngine(plan, plan.network.initial_parameters(1), dtype="float64")
    data = engine.load(eventful.random_events(plan))
    engine.run(data, [0], training=True)
    traffic = Traffic(engine.network, monkeypatch)
    engine.run(data, [0], training=True)
    moved = [*traffic.pulled, *traffic.pushed]
    assert moved and not [n for _, n in moved if n.startswith(("e_", "s_step", "copy"))]
