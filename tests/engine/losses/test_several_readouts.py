"""Several readouts of one output, V at every time step among them, from one pass forwards and one backwards."""

from dataclasses import replace

import numpy as np
import pytest

from genn_eventprop import Delay, Dense, Events, Network, Normal, Param
from genn_eventprop.engines import create
from genn_eventprop.errors import EngineError, LossError
from genn_eventprop.losses import Loss
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.two_compartment import TwoCompartment
from genn_eventprop.plan import make_plan
from support.clocked import relative
from support.cuda_shim import ShimEngine
from support.sweeps import sweep

ENGINES = [("reference_clock", "grid"), ("native", "grid"), ("reference_event", "exact"), ("native", "exact")]
SETS = {"LI": ("integral", "max", "end", "trace"), "LIF": ("first_spike", "count", "end", "trace")}


def plan_of(model, readouts, spike_times, dt=0.5):
    net = Network()
    inp = net.input(4)
    hidden = net.population(LIF(tau_mem=Param(12.0, "ms", trainable=True)), 5, name="hidden")
    tau = Param(15.0, "ms", trainable=True)
    output = net.population(LIF(tau_mem=tau) if model == "LIF" else LI(tau_mem=tau), 3, name="output")
    net.connect(inp, hidden, Dense(Normal(1.6, 0.8)), delay=1.0)
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.4)), delay=0.5)
    net.connect(hidden, output, Dense(Normal(1.2 if model == "LIF" else 0.4, 0.6)))
    net.connect(inp, output, Dense(Normal(0.2, 0.1)))
    loss = Loss(output, readouts[0], also=readouts[1:])
    return make_plan(net, loss, dt=dt, duration=25.0, spike_times=spike_times)


def made(engine, plan, dtype="float64", **settings):
    """`cuda` runs on the CPU here."""
    values = plan.network.initial_parameters(2)
    if engine == "cuda":
        return ShimEngine(plan, values, dtype=dtype, **settings)
    return create(plan, values, engine=engine, dtype=dtype)


def events(seed=3):
    rng = np.random.default_rng(seed)
    samples = [(np.sort(rng.uniform(0.2, 20.0, 14)), rng.integers(0, 4, 14)) for _ in range(3)]
    return Events.from_samples(samples, n_channels=4)


def slopes(read, also, seed=5):
    """Some dL/dr of every readout that is there."""
    rng = np.random.default_rng(seed)
    draw = lambda r: np.where(np.isfinite(r), rng.normal(size=r.shape) / r[0].size, 0.0)  # noqa: E731
    return draw(read.value), {name: draw(read.also[name]) for name in also}


def gradients(running):
    return {k: np.array(v) for k, v in running.gradients.items()} | {"times": running.input_gradients.copy()}


@pytest.mark.one_in(9)
@pytest.mark.parametrize("model", SETS)
@pytest.mark.parametrize("engine, spike_times", ENGINES)
def test_together_they_are_what_each_is_alone(engine, spike_times, model):
    """Values are the same, and gradients add up; the last sample of the trace is V(T)."""
    readouts = SETS[model]
    running = made(engine, plan_of(model, readouts, spike_times))
    data = running.load(events())
    read = running.forward(data, [0, 1, 2], record_spikes=True)
    assert list(read.also) == list(readouts[1:]) and read.also["trace"].shape == (3, 51, 3)
    slope, also = slopes(read, readouts[1:])
    also["trace"][:, :-1] = 0.0
    running.backward(slope, also)
    together, total = gradients(running), None
    for name in readouts[:-1]:
        alone = made(engine, plan_of(model, (name,), spike_times))
        one = alone.forward(alone.load(events()), [0, 1, 2])
        np.testing.assert_allclose(one.value, read.also.get(name, read.value), rtol=1e-12)
        if name == "end":
            np.testing.assert_allclose(one.value, read.also["trace"][:, -1], rtol=1e-9)
        alone.backward(also.get(name, slope) + (also["trace"][:, -1] if name == "end" else 0.0))
        mine = gradients(alone)
        total = mine if total is None else {k: total[k] + v for k, v in mine.items()}
    for name, wanted in total.items():
        assert np.abs(wanted).max() > 0, name
        np.testing.assert_allclose(together[name], wanted, rtol=1e-8, atol=1e-11 * np.abs(wanted).max(), err_msg=name)


BOUNDS = {"float64": (1e-9, 1e-12), "float32": (1e-4, 1e-6)}
TARGETS = ("native", "native exact", "c99", "cuda", "cuda in groups")


@pytest.mark.parametrize(
    ("model", "engine", "dtype"),
    sweep(
        [(model, engine, dtype) for model in SETS for engine in TARGETS for dtype in BOUNDS],
        [*((model, engine, "float64") for model in SETS for engine in TARGETS[:4]), ("LI", "cuda in groups", "float32"),
         ("LIF", "native", "float32"), ("LI", "native exact", "float32")],
    ),
)  # fmt: skip
@pytest.mark.one_in(12)
def test_engines_are_the_reference(model, engine, dtype):
    exact, (bound, near) = engine.endswith("exact"), BOUNDS[dtype]
    plan, found = plan_of(model, SETS[model], "exact" if exact else "grid"), []
    groups = {"group": 2} if engine == "cuda in groups" else {}
    clock = made("reference_event" if exact else "reference_clock", plan)
    tested = made(engine.split()[0], plan, dtype, **groups)
    for running in (clock, tested):
        read = running.forward(running.load(events()), [0, 1, 2])
        slope, also = slopes(read, SETS[model][1:])
        running.backward(slope, also)
        found.append((read, gradients(running)))
    for name, wanted in found[0][0].also.items():
        np.testing.assert_allclose(found[1][0].also[name], wanted, rtol=bound, atol=near)
    for name, wanted in found[0][1].items():
        np.testing.assert_allclose(found[1][1][name], wanted, rtol=bound, atol=near * np.abs(wanted).max())
        assert relative(found[1][1][name], wanted) < bound, name


@pytest.mark.ci
@pytest.mark.parametrize("model", SETS)
def test_differences_of_a_loss_of_v_at_every_step(model):
    """`reference_event`: weights, time constants and input times."""
    plan = plan_of(model, ("end", "trace"), "exact", dt=1.25)
    running, given = made("reference_event", plan), events()

    def value(moved=None):
        data = running.load(given if moved is None else Events(moved, given.channels, given.offsets, n_channels=4))
        return float((0.5 * running.forward(data, [0, 1, 2], keep=False).also["trace"] ** 2).mean())

    trace = running.forward(running.load(given), [0, 1, 2]).also["trace"]
    running.backward(np.zeros((3, 3)), {"trace": trace / trace.size})
    found, h = gradients(running), 1e-6
    for name in plan.trainable:
        parameter = running.parameters[name]
        place = np.unravel_index(np.abs(found[name]).argmax(), parameter.shape)
        both = []
        for sign in (1, -1):
            parameter[place] += sign * h
            both.append(value())
            parameter[place] -= sign * h
        assert found[name][place] == pytest.approx((both[0] - both[1]) / (2 * h), rel=1e-5, abs=1e-9), name
    for spike in np.argsort(-np.abs(found["times"]))[:4]:
        both = []
        for sign in (1, -1):
            moved = np.array(given.times)
            moved[spike] += sign * h
            both.append(value(moved))
        assert found["times"][spike] == pytest.approx((both[0] - both[1]) / (2 * h), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("engine", ["reference_event", "native"])
def test_arrivals_at_a_sample_come_after_it(engine):
    """Also where sums of times and delays are rounded: 1 + 2 is sample 3 of 1 ms, 0.1 + 0.2 sample 3 of 0.1 ms."""
    for dt in (1.0, 0.1):
        net = Network()
        output = net.population(TwoCompartment(), 1, name="output")
        weights = Dense([[0.5], [0.7]])
        net.connect(net.input(2), output, weights, delay=2 * dt, receptor="soma")
        plan = make_plan(net, Loss(output, "end", also=("trace",)), dt=dt, duration=10 * dt, spike_times="exact")
        running = made(engine, plan)
        read = running.forward(running.load(Events.from_samples([([dt, dt], [0, 1])], 2)), [0])
        slope = np.zeros((1, 11, 1))
        slope[0, 3] = 1.0
        running.backward(np.zeros((1, 1)), {"trace": slope})
        assert abs(read.also["trace"][0, 3, 0]) < 1e-12 < abs(read.also["trace"][0, 4, 0])
        assert np.abs(running.input_gradients).max() < 1e-12


@pytest.mark.parametrize("engine", ["reference_clock", "c99"])
def test_training_with_a_first_spike_beside_the_loss(engine):
    """Nothing is missing of a readout that the loss does not score: no push, whether the output spikes or not."""
    found = []
    for also in ((), ("first_spike", "count")):
        running = made(engine, plan_of("LIF", ("end", *also), "grid"))
        data = running.load(replace(events(), labels=np.array([0, 1, 2])))
        running.run(data, [0, 1, 2], training=True)
        found.append({k: np.array(v) for k, v in running.gradients.items()})
    for name, alone in found[0].items():
        np.testing.assert_allclose(found[1][name], alone, rtol=1e-12, atol=1e-15)


@pytest.mark.one_in(6)
@pytest.mark.parametrize("kind", ["synaptic", "axonal", "dendritic"])
@pytest.mark.parametrize("engine", ["reference_event", "native"])
def test_a_maximum_beside_where_delays_are_values(engine, kind):
    """Its kink is at arrivals that reach a part of the outputs, which other readouts need not know of."""
    found = []
    for first, also in (("end", ("max",)), ("max", ("end",))):
        net = Network()
        inp, output = net.input(2), net.population(LI(), 2, name="output")
        shape = {"synaptic": (2, 2), "axonal": (2,), "dendritic": (2,)}[kind]
        late = Delay(np.linspace(0.5, 3.0, int(np.prod(shape))).reshape(shape), kind=kind, max=5.0)
        net.connect(inp, output, Dense([[1.0, 0.6], [-2.0, -1.5]]), delay=late)
        loss = Loss(output, first, also=also)
        running = made(engine, make_plan(net, loss, dt=0.5, duration=20.0, spike_times="exact"))
        data = running.load(Events.from_samples([([2.0, 8.0], [0, 1])], n_channels=2))
        read = running.forward(data, [0])
        values = {first: read.value, **read.also}
        dr = {"max": np.array([[1.0, -0.7]]), "end": np.array([[0.3, 0.4]])}
        running.backward(dr[first], {name: dr[name] for name in also})
        found.append((values, gradients(running)))
    (values, want), (others, got) = found
    assert np.abs(want["input_output.delay"]).min() > 1e-4
    for name in values:
        np.testing.assert_allclose(values[name], others[name], rtol=1e-13)
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-11, atol=1e-14)


@pytest.mark.ci
def test_a_run_with_the_loss_compiled_in_leaves_the_others_out():
    """`run` trains on the loss's own readout."""
    labels, found = np.array([0, 2, 1]), []
    for readouts in (("integral",), ("integral", "max", "end", "trace")):
        for engine in ("native", "reference_clock", "c99", "cuda"):
            running = made(engine, plan_of("LI", readouts, "grid"))
            given = events()
            data = running.load(Events(given.times, given.channels, given.offsets, n_channels=4, labels=labels))
            running.run(data, [0, 1, 2], training=True)
            found.append({k: np.array(v) for k, v in running.gradients.items()})
    for other in found[1:]:
        for name, wanted in found[0].items():
            np.testing.assert_allclose(other[name], wanted, rtol=1e-9, atol=1e-12)


def test_what_is_refused():
    with pytest.raises(LossError, match=r"unknown readout 'integral' in also"):
        plan_of("LI", ("max", "integral"), "grid")
    with pytest.raises(LossError, match="readout 'max' appears twice in a loss"):
        plan_of("LI", ("max", "max"), "grid")
    with pytest.raises(LossError, match="needs an output that cannot spike"):
        plan_of("LIF", ("first_spike", "max"), "grid")
    with pytest.raises(LossError, match="the outer loss of 'voltage' is part of the trial"):
        plan_of("LI", ("voltage", "max"), "grid")
    running = made("reference_clock", plan_of("LI", ("end", "trace"), "grid"))
    data = running.load(events())
    running.forward(data, [0])
    with pytest.raises(EngineError, match=r"dL/dr of trace has shape \(1, 3\), the readouts have \(1, 51, 3\)"):
        running.backward(np.zeros((1, 3)), {"trace": np.zeros((1, 3))})
    with pytest.raises(EngineError, match="dL/dr is given for max, which the loss does not list in also="):
        running.backward(np.zeros((1, 3)), {"max": np.zeros((1, 3))})
