"""Outputs whose V jumps at arrivals (leaky integrators with delta synapses), with every readout and on every engine."""

import numpy as np
import pytest

from genn_eventprop import Delay, Dense, Events, Network, NeuronModel, Normal, Param, Sparse, engines, losses
from genn_eventprop.losses import Loss
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from genn_eventprop.verify.gradients.compare import check_network
from support.engines import refused
from support.sweeps import sweep

DELTA_LI = NeuronModel(
    name="DeltaLI", state={"V": 0.0, "I": 0.0}, params={
        "tau": Param(10.0, "ms", trainable=True), "tau_syn": Param(4.0, "ms"), "drive": Param(0.05),
    },
    dynamics={"V": "(I + drive - V) / tau", "I": "-I / tau_syn"}, input={"jump": "V", "current": "I"},
)  # fmt: skip
LOSSES = {
    "integral": lambda o: losses.IntegratedVoltageCrossEntropy(o, "linear"),
    "end": losses.EndVoltageCrossEntropy,
    "max": losses.MaxVoltageCrossEntropy,
    "squared error of the maximum": lambda o: losses.SquaredError(o, "max"),
    "per step": losses.PerStepCrossEntropy,
    "squared error of V": losses.VoltageSquaredError,
    "maximum and trace": lambda o: Loss(o, "max", also=("trace", "end")),
}
T = 40.0


def network(loss, wiring="dense", scale=1.0):
    """Spikes and inputs move V of the outputs, up and down, and a current."""
    net = Network()
    inp, hidden = net.input(6), net.population(LIF(), 10, "hidden")
    output = net.population(DELTA_LI, 3, "output")
    net.connect(inp, hidden, Dense(Normal(1.6, 0.8)))
    kind = (lambda w: Sparse(w, probability=0.6)) if wiring == "table" else Dense
    delay = Delay(2.0, kind="axonal", trainable=True, max=4.0) if wiring == "delays" else 1.5
    net.connect(hidden, output, kind(Normal(0.05, 0.4 * scale)), receptor="jump", delay=delay)
    net.connect(hidden, output, Dense(Normal(0.0, 0.4)), receptor="current", name="slow")
    net.connect(inp, output, Dense(Normal(0.0, 0.3 * scale)), receptor="jump", name="direct")
    return net, LOSSES[loss](output)


def events(whole=False, samples=4):
    rng, found = np.random.default_rng(8), []
    for _ in range(samples):
        times = np.sort(rng.uniform(0, T - 2, 45))
        found.append((np.round(times) if whole else times, rng.integers(0, 6, 45)))
    return found


def numbers(made, given, loss):
    data, batch = made.load(given), np.arange(len(given))
    result = made.run(data, batch, training=True)
    found = {"loss": result.loss, "readout": result.readout}
    found |= {k: np.array(v) for k, v in made.gradients.items()}
    if loss in ("integral", "end", "max", "maximum and trace"):
        read = made.forward(data, batch)
        wave = {n: np.sin(np.arange(v.size)).reshape(v.shape) for n, v in read.also.items()}
        made.backward(np.cos(np.arange(read.value.size)).reshape(read.value.shape), wave)
        found |= {f"half {k}": np.array(v) for k, v in made.gradients.items()} | {"input": made.input_gradients}
    made.close()
    return found


def given(loss, whole=False):
    samples = events(whole)
    if loss == "squared error of V":
        targets = np.random.default_rng(1).normal(size=(len(samples), int(T) + 1, 3)) * 0.3
        return Events.from_samples(samples, 6, targets=targets)
    if loss == "squared error of the maximum":
        return Events.from_samples(samples, 6, targets=np.random.default_rng(1).normal(size=(len(samples), 3)))
    return Events.from_samples(samples, 6, labels=[0, 1, 2, 1])


def check(got, want, tolerance=1e-8):
    assert set(got) == set(want)
    for key, value in want.items():
        size = np.abs(value).max()
        np.testing.assert_allclose(got[key], value, rtol=tolerance, atol=tolerance * 1e-2 * size, err_msg=key)


@pytest.mark.ci
@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize("wiring", sweep(["dense", "table", "delays"], ["dense"]))
@pytest.mark.parametrize("whole", [False, True])
def test_exact_spike_times(loss, wiring, whole):
    """`native` against `reference_event`; whole: input spikes arrive together, whose times have only a sum of gradients
    where that instant is a kink."""
    net, made = network(loss, wiring)
    found, data = [], given(loss, whole)
    for engine in ("reference_event", "native"):
        plan = make_plan(net, made, dt=1.0, duration=T, spike_times="exact")
        settings = {"dtype": "float64"} if engine == "native" else {}
        running = engines.create(plan, net.initial_parameters(5), engine=engine, **settings)
        found.append(numbers(running, data, loss))
        if whole and "input" in found[-1]:
            sample = np.repeat(np.arange(len(data)), np.diff(data.offsets))
            found[-1]["input"] = np.bincount((sample * 1000 + data.times).astype(int), found[-1]["input"])
    check(found[1], found[0], 1e-7)


@pytest.mark.one_in(32)
@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize("wiring", sweep(["dense", "table", "delays"], ["dense"]))
def test_grid(engine, loss, wiring):
    net, made = network(loss, wiring)
    plan = make_plan(net, made, dt=1.0, duration=T)
    if refused(engine, plan):
        pytest.skip(f"{engine.name} refuses {refused(engine, plan)[0]}")
    clock = engines.create(plan, net.initial_parameters(5), engine="reference_clock")
    want = numbers(clock, given(loss), loss)
    check(numbers(engine(plan, net.initial_parameters(5), dtype="float64"), given(loss), loss), want)


@pytest.mark.parametrize(("times", "weights", "value"), [
    ([5.0], [1.0], 1.0), ([5.3, 6.1, 9.0], [1.0, -0.5, 1.0], 1.3166025507), ([5.0, 5.0], [1.2, -0.6], 0.6),
    ([5.0, 5.0], [-0.6, 1.2], 0.6), ([0.0, 9.0], [1.0, -0.5], 1.0), ([5.0, 5.0 + 2**-50], [1.2, -0.6], 0.6),
    ([4.0, 19.999], [0.2, 0.7], 0.7 + 0.2 * np.exp(-1.5999)), ([5.0], [-1.0], 0.0),
])  # fmt: skip
@pytest.mark.parametrize("kind", ["native", "reference_event", "grid"])
@pytest.mark.one_in(24)
def test_the_maximum_behind_a_jump(times, weights, value, kind):
    """V(t) = sum of w exp(-(t - s) / 10) behind s; its derivatives where t* is behind the last arrivals."""
    model = NeuronModel(
        name="Jump", state={"V": 0.0}, params={"tau": Param(10.0, "ms")}, dynamics={"V": "-V / tau"}, input="V"
    )
    net = Network()
    output = net.population(model, 1, name="output")
    net.connect(net.input(len(times)), output, Dense(np.array(weights)[:, None]))
    exact = kind != "grid"
    plan = make_plan(
        net, Loss(output, "max"), dt=1.0 if exact else 0.1, duration=20.0, spike_times="exact" if exact else "grid"
    )
    settings = {"dtype": "float64"} if kind != "reference_event" else {}
    made = engines.create(plan, net.initial_parameters(0), engine=kind if exact else "native", **settings)
    data = made.load(Events.from_samples([(times, np.arange(len(times)))], len(times)))
    read = made.forward(data, [0])
    if times[-1] != 19.999 or exact:
        assert read.value[0, 0] == pytest.approx(value, rel=1e-8)
    made.backward(np.ones((1, 1)))
    if exact and len(times) == 3:  # r = sum of w_i exp(-(9 - s_i) / 10)
        by = np.array(weights) * np.exp(-(9.0 - np.array(times)) / 10.0) / 10.0
        by[2] = -by[:2].sum()
        assert made.input_gradients == pytest.approx(by, rel=1e-8)


@pytest.mark.parametrize("engine", ["native", pytest.param("reference_event", marks=pytest.mark.slow)])
@pytest.mark.ci
def test_the_gradient_of_a_jumping_maximum(engine):
    net, loss = network("max")
    labelled = Events.from_samples(events(samples=1), 6, labels=[2])
    report = check_network(net, loss, events=labelled, duration=T, engine=engine)
    assert report.passed, str(report)


def test_the_grid_approaches_a_jumping_maximum():
    """Also gradients of input times."""
    net = Network()
    output = net.population(DELTA_LI, 3, "output")
    net.connect(net.input(6), output, Dense(Normal(0.1, 0.6)), receptor="jump", name="direct")
    loss = losses.MaxVoltageCrossEntropy(output)
    labelled = Events.from_samples(events(samples=2), 6, labels=[0, 2])
    found = []
    for engine, dt in (("reference_event", 1.0), ("native", 0.1), ("native", 0.0125)):
        exact = "exact" if engine == "reference_event" else "grid"
        plan = make_plan(net, loss, dt=dt, duration=T, spike_times=exact)
        made = engines.create(plan, net.initial_parameters(5), engine=engine)
        found.append(numbers(made, labelled, "max"))
    for key in ("readout", "half direct.weight", "input"):
        errors = [np.abs(each[key] - found[0][key]).max() / np.abs(found[0][key]).max() for each in found[1:]]
        assert errors[1] < 0.05 and errors[1] < 0.5 * errors[0], (key, errors)


def test_a_kink_belongs_to_all_arrivals_of_its_instant():
    """The maximum lies at three arrivals of 20 ms: their gradients add up to the derivative by their common time."""
    net = Network()
    inp, output = net.input(3), net.population(DELTA_LI, 1, "output")
    net.connect(inp, output, Dense(np.array([[0.5], [0.8], [-0.2]])), receptor="jump")
    net.connect(inp, output, Dense(np.array([[-1.0], [-0.4], [0.3]])), receptor="current", name="slow")
    plan = make_plan(net, LOSSES["max"](output), dt=1.0, duration=T, spike_times="exact")

    def maximum(engine, time, slope=None):
        made = engines.create(plan, net.initial_parameters(1), engine=engine, dtype="float64")
        times = np.array([3.0, 6.0, 20.0, 20.0, 20.0]) + np.array([0, 0, time, time, time])
        read = made.forward(made.load(Events.from_samples([(times, [0, 2, 0, 1, 2])], 3, labels=[0])), np.arange(1))
        if slope is not None:
            made.backward(slope, inputs=True)
        found = float(read.value[0, 0]), None if slope is None else np.array(made.input_gradients)
        made.close()
        return found

    for engine in ("native", "reference_event"):
        gradient = maximum(engine, 0.0, np.ones((1, 1)))[1]
        high, low = (maximum(engine, by)[0] for by in (1e-5, -1e-5))
        assert abs((high - low) / 2e-5) > 1e-3
        np.testing.assert_allclose(gradient[2:].sum(), (high - low) / 2e-5, rtol=1e-6)
