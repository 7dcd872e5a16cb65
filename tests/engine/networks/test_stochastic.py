"""Noise on V and spike dropout: the same numbers on every grid engine, whatever the batch, order and threads."""

import ctypes
from dataclasses import replace

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, losses
from genn_eventprop.codegen import cpp as codegen
from genn_eventprop.codegen.cpp.context import read
from genn_eventprop.engines import ReferenceClock, create
from genn_eventprop.engines.contract import noise as stochastic
from genn_eventprop.engines.native.engine import NativeEngine
from genn_eventprop.errors import NetworkError, PlanError
from genn_eventprop.experiment.layers import LayeredConfig, network_of
from genn_eventprop.models import ZOO
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from genn_eventprop.toolchain import build
from support.stochastic import network, random_events

NUMBERS = np.array([3, 0, 2**40])


def test_draws_are_bit_equal_in_numpy_and_cpp():
    keys = stochastic.keys("noise", "hidden", seed=5, epoch=3, numbers=NUMBERS)
    library = build(
        "typedef double scalar;\ntypedef scalar real;\n"
        + read("host.hpp")
        + read("runtime.hpp")
        + codegen.noise()
        + 'extern "C" void draw(double* out, '
        "uint32_t* bits, double* table, uint64_t key, int64_t step) {\ndraw_noise<96>(out, 1.0, table, key, step);\n"
        "for (int n = 0; n < 96; ++n) bits[n] = random_bits(key, step, n);\n}\n"
    )
    table = stochastic.quantiles()
    for b, key in enumerate(keys):
        for step in (0, 1, 999_999):
            out, bits = np.zeros(128), np.zeros(96, np.uint32)
            start = -out.ctypes.data % 64 // 8
            aligned = out[start : start + 96]
            point = lambda a: ctypes.c_void_p(a.ctypes.data)  # noqa: E731
            library.draw(point(aligned), point(bits), point(table), ctypes.c_uint64(int(key)), ctypes.c_int64(step))
            assert np.array_equal(bits, stochastic.bits(keys, step, 96)[b])
            assert np.array_equal(aligned, stochastic.normal(keys, step, 96)[b])


def test_draws_are_normal_and_independent():
    keys = stochastic.keys("noise", "hidden", 1, 0, np.arange(40))
    drawn = np.stack([stochastic.normal(keys, step, 50) for step in range(200)])
    n = drawn.size
    assert abs(drawn.mean()) < 4 / np.sqrt(n)
    assert drawn.var() == pytest.approx(1.0, abs=4 * np.sqrt(2 / n))
    assert (drawn**4).mean() == pytest.approx(3.0, abs=0.06)
    for shifted in (drawn[1:] * drawn[:-1], drawn[:, 1:] * drawn[:, :-1], drawn[..., 1:] * drawn[..., :-1]):
        assert abs(shifted.mean()) < 4 / np.sqrt(n)
    other = np.stack(
        [stochastic.normal(stochastic.keys("noise", "hidden", 1, 1, np.arange(40)), s, 50) for s in range(200)]
    )
    assert abs((drawn * other).mean()) < 4 / np.sqrt(n)
    share = np.mean([stochastic.dropped(keys, step, 50, 0.3) for step in range(200)])
    assert share == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / n))


@pytest.mark.parametrize("random", [{"noise": 0.1}, {"dropout": 0.3}])
def test_noise_belongs_to_seed_epoch_and_sample_alone(random):
    plan, events = network(**random), random_events()
    values = plan.network.initial_parameters(4)

    def run(samples, epoch=0, seed=1, **how):
        engine = NativeEngine(plan, values, **how)
        engine.seed, engine.epoch = seed, epoch
        data = engine.load(events)
        result = engine.run(data, samples, training=True)
        return result.loss, result.spike_counts["hidden"], engine.gradients["input_hidden.weight"].copy()

    loss, counts, gradient = run(np.arange(7), threads=1)
    again = run(np.arange(7), threads=2)
    assert all(np.array_equal(a, b) for a, b in zip((loss, counts, gradient), again))
    order = np.array([4, 1, 6])
    part = run(order)
    assert np.array_equal(part[0], loss[order]) and np.array_equal(part[1], counts[order])
    assert not np.array_equal(run(np.arange(7), epoch=1)[1], counts)
    assert not np.array_equal(run(np.arange(7), seed=2)[1], counts)


def test_a_batch_of_its_own_keeps_its_numbers():
    """What augmented batches do: their samples are loaded as a set of their own."""
    plan, events = network(noise=0.1), random_events()
    engine = NativeEngine(plan, plan.network.initial_parameters(4))
    all_counts = engine.run(engine.load(events), np.arange(7), training=True).spike_counts["hidden"]
    data = replace(engine.load(events[[5, 2]]), numbers=np.array([5, 2]))
    counts = engine.run(data, np.arange(2), training=True).spike_counts["hidden"]
    assert np.array_equal(counts, all_counts[[5, 2]])


@pytest.mark.parametrize("reset", [False, True])
def test_dropped_spikes_with_and_without_reset(reset):
    """Every neuron would spike once; V stays above threshold for long if nothing resets it."""
    net = Network()
    inp, size = net.input(1), 200
    hidden = net.population(LIF(v_reset=-9.0), size, "hidden", dropout=0.5, dropped_reset=reset)
    out = net.population(LI(), 2, "output")
    net.connect(inp, hidden, Dense(60.0))
    net.connect(hidden, out, Dense(0.1))
    plan = make_plan(net, losses.IntegratedVoltageCrossEntropy(out), dt=0.5, duration=15.0)
    events = Events.from_samples([(np.zeros(1), np.zeros(1, int))], n_channels=1, labels=[0])
    engine = ReferenceClock(plan, net.initial_parameters(1))
    data = engine.load(events)
    planned = engine.run(data, [0], record_spikes=True).spikes["hidden"]
    first = int(planned.time[0] / 0.5)
    assert len(planned.time) == size and np.all(planned.time == planned.time[0])
    key = stochastic.keys("dropout", "hidden", 0, 0, np.arange(1))
    sent = np.array([~stochastic.dropped(key, step, size, 0.5)[0] for step in range(first, 31)])
    want = np.where(sent[0], first, -1) if reset else first + sent.argmax(0)
    for runs in (engine, NativeEngine(plan, net.initial_parameters(1), dtype="float64")):
        spikes = runs.run(data, [0], training=True, record_spikes=True).spikes["hidden"]
        got = np.full(size, -1)
        got[spikes.neuron] = np.round(spikes.time / 0.5)
        assert len(spikes.time) == np.count_nonzero(want >= 0) and np.array_equal(got, want)


def test_refusals():
    with pytest.raises(PlanError, match="'hidden' has noise, which is drawn at every step.*grid"):
        network(noise=0.1, spike_times="exact")
    with pytest.raises(NetworkError, match="dropout must be a number >= 0 and < 1, got 1.0"):
        network(dropout=1.0)
    with pytest.raises(NetworkError, match="noise must be a number >= 0, got -1"):
        network(noise=-1)
    net = Network()
    with pytest.raises(NetworkError, match="LI sends no spikes to drop"):
        net.population(ZOO["LI"], 3, "output", dropout=0.1)
    net.input(2)
    out = net.population(ZOO["LIF"], 3, "output", dropout=0.1)
    with pytest.raises(PlanError, match="'output' has dropout, but the loss reads its spikes"):
        make_plan(net, losses.FirstSpikeCrossEntropy(out), dt=1.0, duration=10.0)


def test_the_trainer_keys_the_noise(tmp_path):
    from genn_eventprop import Trainer

    def losses_of(seed, epochs=2):
        plan = network(noise=0.2)
        trainer = Trainer(
            plan.network, plan.asked, dt=0.5, duration=40.0, batch_size=3, seed=seed, progress=False, engine="native"
        )
        trainer.fit(random_events(), epochs=epochs)
        return trainer.state.metrics, (trainer.engine.seed, trainer.engine.epoch)

    first, key = losses_of(3)
    assert key == (3, 1)
    assert [m["train_loss"] for m in losses_of(3)[0]] == [m["train_loss"] for m in first]


def test_layered_experiments_have_the_options():
    config = LayeredConfig(hidden=(8, 6), noise=0.1, hidden_dropout=0.2, dropped_reset=True)
    net, output = network_of(config, 5, 3)
    assert [(p.noise, p.dropout, p.dropped_reset) for p in net.populations[:2]] == [(0.1, 0.2, True)] * 2
    assert (output.noise, output.dropout) == (0.0, 0.0)
    engine = create(
        make_plan(net, losses.IntegratedVoltageCrossEntropy(output), dt=1.0, duration=20.0), net.initial_parameters(1),
        engine="native",
    )  # fmt: skip
    assert "draw_noise" in engine.source.text
