"""What stays on the device: weights, gradients, moments, data sets; what crosses; groups; full memory. On the shim."""

import threading

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Param, Trainer, losses
from genn_eventprop.data.augment.augmented import Augmented
from genn_eventprop.engines import create
from genn_eventprop.engines.cuda import cost
from genn_eventprop.engines.cuda import engine as cuda
from genn_eventprop.engines.cuda.device import OutOfMemory
from genn_eventprop.errors import EngineError, TrainingError
from genn_eventprop.losses import Loss
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.optimisers import SGD, Adam, AdamW, RMSprop
from genn_eventprop.plan import make_plan
from genn_eventprop.regularisers import WeightDecay
from genn_eventprop.training.checks import check_batch
from genn_eventprop.verify.engines.representative import Shape
from support.connected import network as connected
from support.cuda_shim import ASCENDING, DESCENDING, SHUFFLED, ShimDevice, ShimMemory
from support.sweeps import sweep

BATCH = np.arange(4)
WEIGHTS = 9 * 40 + 40 * 40 + 40 * 5


def network(learned=False, decay=False, loss=losses.IntegratedVoltageCrossEntropy):
    net = Network()
    hidden = net.population(LIF(tau_mem=Param(15.0, "ms", trainable=learned)), 40, name="hidden")
    out = net.population(LI(), 5, name="output")
    net.connect(net.input(9), hidden, Dense(Normal(1.2, 0.8), bounds=(-2.0, 2.5)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.3)), delay=1.0)
    net.connect(hidden, out, Dense(Normal(0.0, 0.5)))
    terms = [WeightDecay(1e-2, "hidden_hidden.weight")] if decay else []
    return net, make_plan(net, loss(out), dt=1.0, duration=12.0, regularisers=terms)


def events(seed=4, samples=4):
    rng = np.random.default_rng(seed)
    trials = [(np.sort(rng.uniform(0, 9, 20)), rng.integers(0, 9, 20)) for _ in range(samples)]
    return Events.from_samples(trials, n_channels=9, labels=rng.integers(0, 5, samples))


def made(dtype="float64", device=None, group=None, weight_rows="float32", **settings):
    net, plan = network(**settings)
    device, values = device or ShimDevice(SHUFFLED), net.initial_parameters(3)
    return cuda.CudaEngine(plan, values, dtype=dtype, device=device, group=group, weight_rows=weight_rows)


def values(engine):
    return {k: np.array(v) for k, v in engine.parameters.items()}


OPTIMISERS = {
    "Adam": lambda: Adam(0.05),
    "AdamW": lambda: AdamW(0.05, weight_decay=0.1),
    "SGD": lambda: SGD(0.5, momentum=0.9),
    "RMSprop": lambda: RMSprop(0.01),
    "averaged": lambda: AdamW(0.05, clip_norm=0.01, average=0.6),
    "clipped": lambda: Adam(0.05, clip_norm=0.01, groups={"*.tau_mem": {"learning_rate": 0.5}}),
    "bounds": lambda: Adam(1.0, bounds={"hidden_hidden.weight": (np.full((40, 40), -0.1), 0.2), "hidden.*": (5, None)}),
    "each clipped": lambda: SGD(0.5, clip_norm={"*.weight": 0.003, "hidden_hidden.weight": 0.001, "*.tau_mem": 1e-5}),
    "held": lambda: Adam(0.05, clip_norm=0.01, bounds={"hidden_hidden.weight": (np.eye(40) - 1, 1 - np.eye(40))}),
}
DECAYING = ("SGD", "clipped")


@pytest.mark.one_in(12)
@pytest.mark.parametrize(
    "name, decay",
    sweep([(n, d) for n in OPTIMISERS for d in (False, True)], [(n, n in DECAYING) for n in OPTIMISERS]),
)
def test_steps_on_the_device_are_those_of_numpy(name, decay):
    """Weights on the device, a learned time constant on the host: as the optimiser itself does it."""
    engine, here, there = made(learned=True, decay=decay), OPTIMISERS[name](), OPTIMISERS[name]()
    if "hidden_hidden.weight" in here.bounds:
        engine.parameters["hidden_hidden.weight"][:] *= 0.1 * (1 - np.eye(40))
    data, wanted = engine.load(events()), values(engine)
    learned = {k: wanted[k] for k in engine.plan.trainable}
    there.prepare(learned, engine.plan.bounds(), engine.plan.decay())
    for _ in range(3):
        engine.run(data, BATCH, training=True)
        there.update(wanted, {k: np.array(g) for k, g in engine.gradients.items()})
        engine.update(here)
        for k, v in wanted.items():
            np.testing.assert_allclose(engine.parameters[k], v, rtol=1e-12, atol=1e-14, err_msg=k)
    assert here.clipped_steps == there.clipped_steps
    for k, v in there.state_dict()[0].items():
        np.testing.assert_allclose(here.state_dict()[0][k], v, rtol=1e-12, atol=1e-14, err_msg=k)


def test_what_a_training_batch_moves():
    """No weight, gradient or moment; three kernels that step beside those of the trial, and one read."""
    engine, optimiser = made("float32"), Adam(0.01)
    data = engine.load(events())
    engine.run(data, BATCH, training=True)
    engine.update(optimiser)
    device = engine.device
    device.launches.clear()
    copied, read = device.copied, device.read_back
    result = engine.run(data, BATCH[::-1], training=True)
    check_batch(engine.plan, result, engine.gradients, "a batch", engine.finite)
    engine.update(optimiser)
    assert device.launches == ["trial", "gather", "update", "update", "update"]
    assert device.copied - copied < 1500 < 4 * WEIGHTS  # sample numbers, labels, scalars of the optimiser
    assert device.read_back - read < 2000 < 4 * WEIGHTS  # spike counts, guards, readouts, losses


@pytest.mark.ci
def test_a_batch_of_a_known_size_computes_no_layout(monkeypatch):
    """Shapes and addresses are those of the first batch of a size, also where sizes alternate."""
    engine, whole = made("float32"), made("float32")
    data = engine.load(events())
    batches = [np.array(b) for b in ([0, 1, 2, 3], [2, 1], [3, 0, 1, 2], [1, 3], [2, 3, 0, 1])]
    for batch in batches[:2]:
        engine.run(data, batch, training=True)
    asked, shape = [], engine.shape
    monkeypatch.setattr(engine, "shape", lambda *of: asked.append(of) or shape(*of))
    for batch in batches:
        result = engine.run(data, batch, training=True)
        want = whole.run(whole.load(events()), batch, training=True)
        for program in whole._programs.values():
            program.layouts.clear()
        assert np.array_equal(result.loss, want.loss)
        assert all(np.array_equal(engine.gradients[k], g) and np.any(g) for k, g in whole.gradients.items())
    assert not asked


def test_host_writes_reach_the_device_and_back():
    engine, optimiser = made(), Adam(0.1)
    data, weight = engine.load(events()), engine.parameters["hidden_output.weight"]
    first = engine.run(data, BATCH, training=True).loss
    gradient = engine.gradients["hidden_output.weight"]
    engine.update(optimiser)
    changed, before = engine.run(data, BATCH, training=True).loss, gradient.copy()
    assert not np.array_equal(first, changed)
    weight[:] = 0.0
    engine.run(data, BATCH, training=True)
    assert not np.array_equal(gradient, before)
    gradient[:] = 1.0
    for state in optimiser.state["hidden_output.weight"].values():
        state[:] = 0.0
    optimiser.steps = 0
    engine.update(optimiser)
    np.testing.assert_allclose(weight, -0.1, rtol=1e-6)


def test_an_optimiser_with_other_bounds_takes_over():
    engine, weight = made(), "hidden_hidden.weight"
    engine.parameters[weight][:] *= 0.1
    engine.run(engine.load(events()), BATCH, training=True)
    engine.update(Adam(0.01))
    engine.update(Adam(1.0, bounds={weight: (np.full((40, 40), -0.2), 0.2)}))
    assert np.abs(engine.parameters[weight]).max() == 0.2
    engine.update(Adam(10.0, bounds={weight: (-0.5, 0.5)}))
    assert np.abs(engine.parameters[weight]).max() == 0.5


def test_an_optimiser_in_python_runs_on_the_host():
    class Own(SGD):
        def update(self, parameters, gradients):
            for k, x in parameters.items():
                x -= gradients[k]

    engine = made()
    data, before = engine.load(events()), values(engine)
    engine.run(data, BATCH, training=True)
    gradients = {k: np.array(g) for k, g in engine.gradients.items()}
    engine.update(Adam(0.0))
    engine.update(Own())
    for k, g in gradients.items():
        np.testing.assert_allclose(engine.parameters[k], before[k] - g, rtol=1e-12)


def test_a_gradient_that_is_not_finite_is_found_on_the_device():
    engine = made("float32")
    data = engine.load(events())
    data = type(data)(**{**data.__dict__, "weights": np.array([1.0, np.inf, 1.0, 1.0])})
    result = engine.run(data, BATCH, training=True)
    assert not engine.gradients.on_host("input_hidden.weight")
    with pytest.raises(TrainingError, match="the gradient of input_hidden.weight is not finite"):
        check_batch(engine.plan, result, engine.gradients, "epoch 1, batch 1", engine.finite)


@pytest.mark.ci
def test_groups_give_the_bits_of_the_whole():
    """Also in two halves, where the way there runs again, and with a loss in Python."""
    found = []
    for group in (None, 1, 3):
        engine = made(learned=True, group=group)
        data = engine.load(events())
        result = engine.run(data, BATCH, training=True)
        one = [result.loss, *map(np.array, engine.gradients.values())]
        read = engine.forward(data, BATCH)
        engine.backward(np.cos(read.value))
        found.append([*one, read.value, engine.input_gradients, *map(np.array, engine.gradients.values())])
    assert all(np.array_equal(a, b) and a.any() for other in found[1:] for a, b in zip(found[0], other))
    own = losses.Function(lambda r, y: (0.5 * (r**2).sum(1), r), "labels")
    found = []
    for group in (None, 3):
        engine = made(group=group, loss=lambda out: Loss(out, "integral", outer=own))
        result = engine.run(engine.load(events()), BATCH, training=True)
        found.append([result.loss, *map(np.array, engine.gradients.values())])
    assert all(np.array_equal(a, b) and a.any() for a, b in zip(*found))


def test_memory_that_something_else_took():
    """The batch runs in smaller groups; a group that is asked for is an error that says what fits."""
    engine = made()
    data = engine.load(events())
    want = engine.run(data, BATCH, training=True)
    gradients = {k: np.array(g) for k, g in engine.gradients.items()}
    device = ShimDevice(SHUFFLED)
    engine = made(device=device)
    data = engine.load(events())
    engine.run(data, [0])
    fitting, engine._fitting = engine._fitting, lambda *_: 4  # as if another process had not been there yet
    device.memory = device.allocated + 2 * engine._memory._work["p0_w_along_input"].bytes
    allocate, asked = device.allocate, []

    def once(count):
        engine._fitting = fitting
        asked.append(count)
        return allocate(count)

    device.allocate = once
    device.launches.clear()
    got = engine.run(data, BATCH, training=True)
    assert asked and device.launches.count("trial") > 1
    assert np.array_equal(got.loss, want.loss)
    assert all(np.array_equal(engine.gradients[k], g) for k, g in gradients.items())
    engine.group = 4
    with pytest.raises(EngineError, match=r"allocating \d+ bytes of \d+ failed; \d samples fit together: use group=\d"):
        engine.run(data, BATCH, training=True)
    engine.group = None
    assert np.array_equal(engine.run(data, BATCH).loss, want.loss)


def test_large_data_sets_go_batch_by_batch():
    want = made()
    wanted = want.run(want.load(events()), [3, 1], training=True)
    engine = made()
    engine._fits = lambda *_: False
    got = engine.run(engine.load(events()), [3, 1], training=True)
    assert np.array_equal(got.loss, wanted.loss)
    assert all(np.array_equal(engine.gradients[k], g) and np.any(g) for k, g in want.gradients.items())


def test_the_next_augmented_batch_uploads_meanwhile(monkeypatch):
    device = ShimDevice(SHUFFLED)
    monkeypatch.setattr(cuda, "open_device", lambda number: device)
    net, plan = network()
    trainer = Trainer(
        net, plan.asked, dt=1.0, duration=30.0, engine="cuda", batch_size=2, progress=False, seed=1
    )  # fmt: skip
    augmented = Augmented(events(samples=8))
    trainer.fit(augmented, epochs=1)
    threads = {thread for thread, _ in device.uploaded}
    assert len(device.uploaded) == 5 * 4 and threading.main_thread() not in threads
    trainer.engine.close()
    assert device.live == 0


def test_several_engines_in_one_process():
    """On one device, in turn: neither sees the other; what one gives back is not the other's."""
    device = ShimDevice(SHUFFLED)
    alone, engines = made(), [made(device=device), made("float32", device=device, learned=True)]
    data = [e.load(events()) for e in engines]
    for _ in range(2):
        losses_of = [e.run(d, BATCH, training=True).loss for e, d in zip(engines, data)]
    assert np.array_equal(losses_of[0], alone.run(alone.load(events()), BATCH).loss)
    held = device.live
    engines[1].close()
    assert 0 < device.live < held
    assert np.array_equal(engines[0].run(data[0], BATCH, training=True).loss, losses_of[0])
    engines[0].close()
    assert device.live == 0 and np.isfinite(engines[0].parameters["hidden_output.weight"]).all()


def test_a_device_is_chosen_by_its_number(monkeypatch):
    opened = []
    monkeypatch.setattr(cuda, "open_device", lambda number: opened.append(number) or ShimDevice())
    net, plan = network()
    create(plan, net.initial_parameters(1), engine="cuda", device=1).close()
    create(plan, net.initial_parameters(1), engine="cuda").close()
    assert opened == [1, 0]


def test_another_run_between_the_halves_is_an_error():
    engine = made()
    data = engine.load(events())
    read = engine.forward(data, BATCH)
    engine.run(data, [0])
    with pytest.raises(EngineError, match="another run came between forward and backward; run forward again"):
        engine.backward(np.ones_like(read.value))


def test_the_softmax_of_every_step_has_a_fixed_order():
    """Threads share the steps."""
    found = []
    for order in (ASCENDING, DESCENDING, SHUFFLED):
        engine = made("float32", device=ShimDevice(order), loss=losses.PerStepCrossEntropy)
        result = engine.run(engine.load(events()), BATCH, training=True)
        found.append([result.loss, *map(np.array, engine.gradients.values())])
    assert all(np.array_equal(a, b) and a.any() for other in found[1:] for a, b in zip(found[0], other))


def test_auto_takes_it_where_it_pays(monkeypatch):
    """A device, enough neurons for the number of processors, and a plan that it runs; otherwise native."""
    found, processors = ["one"], 1
    monkeypatch.setattr(cuda, "visible_devices", lambda: (found, ""))
    monkeypatch.setattr(cuda, "available_processors", lambda: processors)
    monkeypatch.setattr(cuda, "open_device", lambda number: ShimDevice())

    def chosen(plan, values):
        engine = create(plan, values)
        engine.close()
        return engine.name, engine.reason

    large, small = Shape(spikes=20).network(), Shape(20, 30, 4, 5, 20).network()
    assert chosen(*large) == ("cuda", "estimated, not measured, to be the fastest here for this network, on one")
    assert chosen(*small)[0] == "native"
    net, plan = network(loss=losses.MaxVoltageCrossEntropy)
    exact = make_plan(net, plan.asked, dt=1.0, duration=30.0, spike_times="exact")
    assert not cuda.CudaEngine.is_fastest_for(exact)
    monkeypatch.setattr(cuda.CudaEngine, "features", {"grid": frozenset()})
    assert chosen(*large)[0] == "cuda"  # LIF neurons need no feature
    monkeypatch.undo()
    monkeypatch.setattr(cuda, "visible_devices", lambda: (found, ""))
    processors = 64
    monkeypatch.setattr(cuda, "available_processors", lambda: processors)
    assert not cuda.CudaEngine.is_fastest_for(large[0])
    processors, found = 1, []
    assert not cuda.CudaEngine.is_fastest_for(large[0])


def test_where_it_pays_counts_steps_and_the_host(monkeypatch):
    """The chain of a step, waves, gathers, the host's time for a batch: twice the estimate must be below native's."""
    monkeypatch.setattr(cuda, "visible_devices", lambda: (["one"], ""))

    def most(shape):
        """The number of processors up to which it is the fastest."""
        plan = shape.network()[0]
        answers = []
        for processors in range(1, 40):
            monkeypatch.setattr(cuda, "available_processors", lambda n=processors: n)
            answers.append(cuda.CudaEngine.is_fastest_for(plan))
        assert answers == sorted(answers, reverse=True)
        return sum(answers)

    assert most(Shape()) == 5 and most(Shape(hidden=1024)) == 8
    assert most(Shape(steps=100)) == 1 and most(Shape(hidden=1024, steps=100)) == 5
    assert most(Shape(inputs=20, hidden=30, outputs=4, spikes=200)) == 0
    # through a table spikes go one by one, each behind a barrier
    waits = {}
    for kind in ("probability", "conv", "dense"):
        net, loss = connected(kind)
        plan = make_plan(net, loss, dt=1.0, duration=100.0)
        waits[kind] = cost.steps(plan, cost.H100, cost.Spikes.usual(plan))["tables"]
        assert all(s > 0 for s in cost.seconds(plan, cost.H100, 32).values())
    assert waits["probability"] > waits["dense"] and waits["conv"] > waits["dense"]


def test_the_cost_at_the_shape_of_spoken_digits():
    """ms a sample on an H100: 0.27 and 0.05 before rows, events and layouts were asked for ahead."""
    shape = Shape()
    plan, _ = shape.network()
    spikes = cost.Spikes(shape.spikes / shape.steps, {"hidden": 6.7, "output": 0.0})
    per_sample = {b: 1e3 * sum(cost.seconds(plan, cost.H100, b, spikes).values()) / b for b in (1, 32, 256, 1056, 1057)}
    assert 0.03 < per_sample[32] < 0.07 and 0.007 < per_sample[256] < 0.015 and per_sample[1] > 1
    assert per_sample[1057] > per_sample[1056]  # another wave


def test_the_cost_of_exact_spike_times_follows_the_rate_in_double_precision():
    plan = Shape(spike_times="exact").network()[0]
    spikes = cost.Spikes(8.0, {"hidden": 6.7, "output": 0.0})
    longest, each = {}, {}
    for card in (cost.H100, cost.A100, cost.RTX_4090):
        cycles = cost.limits(plan, card, cost.blocks_beside(plan, card), spikes)
        longest[card.name] = max(cycles, key=cycles.get)
        each[card.name] = 1e3 * sum(cost.seconds(plan, card, 256, spikes).values()) / 256
    assert longest == {"H100 SXM": "waits", "A100 80 GB": "waits", "RTX 4090": "double precision"}
    assert 0.03 < each["H100 SXM"] < each["A100 80 GB"] < 0.2 < each["RTX 4090"] < 0.5


def test_release_waits_for_a_data_set_that_comes():
    """The thread that brings it may be about to take a spare piece."""
    engine = made()
    data = engine.load(events(samples=8))
    del data
    engine.load(events(seed=5))  # the first one's memory is spare now
    writing, go_on = threading.Event(), threading.Event()
    write = ShimMemory.write

    def slow(self, value, *, ahead=False):
        writing.set()
        assert go_on.wait(60)
        write(self, value, ahead=ahead)

    class SlowMemory(ShimMemory):
        write = slow

    engine.device.allocate = lambda count: SlowMemory(engine.device, count)
    large = np.arange(5000), np.arange(2)
    memory = engine._memory
    bringing = threading.Thread(target=lambda: memory.data_set(large, lambda: {"a": large[0], "b": large[0]}))
    bringing.start()
    assert writing.wait(60)
    releasing = threading.Thread(target=memory.release)
    releasing.start()
    releasing.join(0.2)
    assert releasing.is_alive()
    go_on.set()
    for thread in (bringing, releasing):
        thread.join(60)
    assert memory.has_set(large)
    engine.close()
    assert engine.device.live == 0


def test_a_data_set_that_does_not_fit_leaves_nothing():
    engine = made()
    memory, device = engine._memory, engine.device
    device.memory = device.allocated + 6000
    arrays = np.zeros(500), np.zeros(500)
    with pytest.raises(OutOfMemory):
        memory.data_set(arrays, lambda: {"a": arrays[0], "b": arrays[1]})
    assert not memory.has_set(arrays)
    engine.close()
    assert device.live == 0


@pytest.mark.ci
def test_a_recording_needs_what_its_forecast_says():
    """States are at the host, and the device has one piece, but no data set."""
    engine = made(learned=True)
    runner = engine.recordings(3, 1e9)
    data, forecast = engine.load(events()), runner.forecast(1)
    assert (forecast.pieces, forecast.states) == (4, 3)
    runner.run(data, BATCH[:2], True, False)
    piece = sum(m.bytes for m in engine._memory._work.values())
    assert forecast.bytes / 3 < piece + 8 * WEIGHTS < forecast.bytes  # with gradients
    assert not engine.device.uploaded
    assert all(np.any(g) for g in engine.gradients.values())
    engine.device.memory = engine.device.allocated
    with pytest.raises(EngineError, match=r"cuda: .*; use shorter pieces of recordings \(chunk=\)"):
        engine.recordings(12, 1e9).run(data, BATCH, True, False)
    told = "cuda runs no whole recordings in pieces with weight_rows='float16'; use engine='native'"
    with pytest.raises(EngineError, match=told):
        made("float32", weight_rows="float16").recordings(3, 1e9)
