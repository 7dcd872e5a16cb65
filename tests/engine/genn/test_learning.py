"""Parameters, gradients and moments of the genn engine: on the device, lent to the host, changed by custom updates."""

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Param, losses, optimisers
from genn_eventprop.codegen.genn.learning import rule_of
from genn_eventprop.engines import create
from genn_eventprop.engines.contract.device_arrays import DeviceArrays, DeviceLocation
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from support import genn_harness as harness
from support.on_genn import on_genn

ENGINES = [pytest.param("harness"), pytest.param("pygenn", marks=pytest.mark.needs_genn)]
W, R = "input_hidden.weight", "hidden_output.weight"


@pytest.fixture(params=ENGINES)
def make(request):
    made = []

    def engine(plan, values, **settings):
        if request.param == "harness":
            made.append(harness.HarnessEngine(plan, values, dtype="float64", **settings))
        else:
            made.append(on_genn(plan, values, dtype="float64", **settings))
        return made[-1]

    yield engine
    for e in made:
        e.close()


def small():
    net = Network()
    hidden = net.population(LIF(tau_mem=Param(15.0, "ms", trainable=True, bounds=(14.999, None))), 5, name="hidden")
    net.connect(net.input(4), hidden, Dense(Normal(1.0, 0.5)))
    output = net.population(LI(), 3, name="output")
    net.connect(hidden, output, Dense(Normal(0.1, 0.5)))
    plan = make_plan(net, losses.IntegratedVoltageCrossEntropy(output), dt=1.0, duration=30.0)
    rng = np.random.default_rng(4)
    samples = [(np.sort(rng.uniform(0, 28, 20)), rng.integers(0, 4, 20)) for _ in range(6)]
    return plan, Events.from_samples(samples, n_channels=4, labels=[0, 1, 2, 0, 1, 2])


def bounded(values):
    """Bounds that weights reach: numbers on both sides of one connection, an array above the other."""
    bounds = {R: (-0.3, 0.4), W: (None, values[W] + 0.01)}
    return optimisers.Adam(2e-2, groups={"*output*": {"learning_rate": 5e-2}}, bounds=bounds)


OPTIMISERS = {
    "bounds and groups": bounded,
    "clipped": lambda values: optimisers.AdamW(1e-2, weight_decay=0.1, clip_norm=1e-4),
    "momentum": lambda values: optimisers.SGD(0.5, momentum=0.9),
    "rms": lambda values: optimisers.RMSprop(1e-2, average=0.6),
}


@pytest.mark.one_in(8)
@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_custom_update_changes_weights_as_native_does(make, name):
    plan, events = small()
    values = plan.network.initial_parameters(2)
    values[R] = values[R].clip(-0.3, 0.4)
    engines = [make(plan, values), create(plan, values, engine="native", dtype="float64")]
    used = [OPTIMISERS[name](values) for _ in engines]
    for engine, optimiser in zip(engines, used):
        engine.use(optimiser)
        data = engine.load(events)
        for step in range(4):
            optimiser.factor = 1.0 / (1 + step)
            engine.run(data, [step, step + 1], training=True)
            engine.update(optimiser)
    ours, native = engines
    assert any(u.group == "update" for u in ours.network.text.updates.values())
    for key, value in ours.parameters.items():
        np.testing.assert_allclose(value, native.parameters[key], rtol=1e-9, atol=1e-13)
        assert np.array_equal(value, values[key]) == (key not in plan.trainable)
    if name == "bounds and groups":
        w, r = ours.parameters[W], ours.parameters[R]
        assert r.min() >= -0.3 and r.max() == 0.4
        assert np.any(w == values[W] + 0.01) and np.all(w <= values[W] + 0.01)
        assert ours.parameters["hidden.tau_mem"].min() >= 14.999
    arrays, info = used[0].state_dict()
    theirs, their_info = used[1].state_dict()
    assert info == their_info and arrays.keys() == theirs.keys()
    for key, array in arrays.items():
        np.testing.assert_allclose(array, theirs[key], rtol=1e-9, atol=1e-16)


def test_moments_survive_rebuilds_and_checkpoints(make):
    """The store grows between two steps; the state is saved and loaded; afterwards all is as without."""
    plan, events = small()
    values, results = plan.network.initial_parameters(2), []
    for disturbed in (False, True):
        engine, optimiser = make(plan, values), optimisers.Adam(1e-2)
        data = engine.load(events)
        engine.run(data, [0, 1], training=True)
        engine.update(optimiser)  # the network was built without it
        if disturbed:
            engine.room[0] = 64
            arrays, info = optimiser.state_dict()
            fresh = optimisers.Adam(1e-2)
            engine.use(fresh)
            fresh.load_state_dict(arrays, info)
            optimiser = fresh
        for samples in ([2, 3], [4, 5]):
            engine.run(data, samples, training=True)
            engine.update(optimiser)
        results.append({k: v.copy() for k, v in engine.parameters.items()})
    for key, value in results[0].items():
        np.testing.assert_array_equal(results[1][key], value)


def test_an_optimiser_in_python_runs_on_the_host(make):
    class Signs(optimisers.SGD):
        def update(self, parameters, gradients):
            for name, value in parameters.items():
                value -= 0.01 * np.sign(gradients[name])

    plan, events = small()
    values = plan.network.initial_parameters(2)
    engine = make(plan, values)
    engine.run(engine.load(events), [0, 1], training=True)
    gradients = {k: g.copy() for k, g in engine.gradients.items()}
    assert rule_of(Signs(), plan) is None
    engine.update(Signs())
    assert not any(u.group == "update" for u in engine.network.text.updates.values())
    for key in plan.trainable:
        np.testing.assert_allclose(engine.parameters[key], values[key] - 0.01 * np.sign(gradients[key]), rtol=1e-12)


def test_a_text_with_a_name_of_genns_runs_on_the_host():
    class Odd(optimisers.SGD):
        state_names = ("id_post",)
        code = "id_post = momentum * id_post + g\nx = x - step_size * id_post\n"

    plan, _ = small()
    assert rule_of(Odd(), plan) is None


def test_parameters_are_live_and_stay_on_the_device(make):
    plan, events = small()
    values = plan.network.initial_parameters(2)
    engine, optimiser = make(plan, values), optimisers.SGD(1.0)
    engine.use(optimiser)
    data = engine.load(events)
    engine.run(data, [0], training=True)
    assert not engine.parameters.on_host(W) and not engine.gradients.on_host(W)
    rows = engine.parameters[W][1:3]  # a view keeps its array alive
    gradient = engine.gradients[W].copy()
    engine.update(optimiser)
    np.testing.assert_allclose(rows, values[W][1:3] - gradient[1:3], rtol=1e-12)
    before = engine.run(data, [0]).readout
    rows += 0.5
    held = engine.run(data, [0], training=True).readout
    assert not np.array_equal(held, before)
    del rows
    engine.run(data, [0], training=True)
    assert not engine.parameters.on_host(W)
    engine.gradients[W] *= 0.0  # what is written into gradients counts
    saved = engine.parameters[W].copy()
    engine.update(optimiser)
    np.testing.assert_array_equal(engine.parameters[W], saved)
    engine.close()
    np.testing.assert_array_equal(engine.parameters[W], saved)


def test_live_arrays_cannot_be_exchanged_or_removed():
    device = {"a": np.arange(3.0)}
    arrays = DeviceArrays({"a": np.ones(3), "b": np.zeros(2)})
    arrays.move_to({"a": DeviceLocation(lambda: device["a"].copy(), lambda v: device.__setitem__("a", v.copy()))})
    np.testing.assert_array_equal(device["a"], 1.0)
    first = arrays["a"]
    arrays["a"] = np.full(3, 2.0)
    assert arrays["a"] is first and list(arrays) == ["a", "b"] and len(arrays) == 2
    device["a"] = np.full(3, 5.0)
    arrays.pull()
    np.testing.assert_array_equal(first, 5.0)
    with pytest.raises(TypeError, match="'a' cannot be removed"):
        del arrays["a"]


@pytest.mark.parametrize("batch_size", [None, 2], ids=["all at once", "groups of 2"])
def test_learning_side_by_side(batch_size):
    """As on cuda and hip: gradients are summed over the examples by one custom update, which the next one reads."""
    plan, events = small()
    values = plan.network.initial_parameters(2)
    side_by_side = harness.HarnessEngine(plan, values, dtype="float64", batch_size=batch_size)
    engines = [side_by_side, create(plan, values, engine="native", dtype="float64")]
    for engine in engines:
        optimiser, data = optimisers.Adam(1e-2), engine.load(events)
        for samples in ([0, 1, 2], [3, 4], [5, 1, 2]):
            engine.run(data, samples, training=True)
            engine.update(optimiser)
    assert engines[0].network.array("hidden", "dL_dweight_input_hidden").size == 4 * 5  # one gradient for all examples
    for key, value in engines[0].parameters.items():
        np.testing.assert_allclose(value, engines[1].parameters[key], rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("classes", [2, 37])
@pytest.mark.parametrize("silent", ["exclude", "end"])
def test_the_softmax_takes_any_number_of_classes(make, classes, silent):
    """Most outputs of the second sample stay silent; the last example's right class does too."""
    net = Network()
    given = net.input(classes)
    output = net.population(LIF(tau_mem=10.0), classes, name="output")
    net.connect(given, output, Dense(9.0 * np.eye(classes) + 0.5))
    loss = losses.FirstSpikeCrossEntropy(output, silent=silent, tau0=5.0, alpha=0.3, tau1=20.0)
    plan = make_plan(net, loss, dt=0.5, duration=40.0)
    every = (np.linspace(1.0, 8.0, classes), np.arange(classes))
    events = Events.from_samples([every, ([2.0], [1]), ([2.0], [1])], n_channels=classes, labels=[1, 1, 0])
    values = net.initial_parameters(0)
    clock, engine = create(plan, values, engine="reference_clock"), make(plan, values)
    results = [e.run(e.load(events), [0, 1, 2], training=True) for e in (clock, engine)]
    np.testing.assert_allclose(results[1].loss, results[0].loss, rtol=1e-12)
    assert np.isinf(results[0].readout[1]).sum() == classes - 1
    gradient = clock.gradients["input_output.weight"]
    np.testing.assert_allclose(engine.gradients["input_output.weight"], gradient, rtol=1e-9, atol=1e-15)
