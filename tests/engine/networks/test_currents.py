"""Networks that real-valued currents drive: against differences, by hand, and engine against reference."""

import ctypes
import math
import subprocess

import numpy as np
import pytest

from genn_eventprop import Conv2D, Dense, Events, Network, NeuronModel, Normal, OneToOne, Param, losses
from genn_eventprop.codegen.c99 import standalone
from genn_eventprop.codegen.c99.standalone import quantised
from genn_eventprop.data import Currents
from genn_eventprop.deploy.online import Stream
from genn_eventprop.description import Described, build, describe
from genn_eventprop.engines import create
from genn_eventprop.engines.contract.slices import BatchShard
from genn_eventprop.errors import DataError, EngineError, ModelError, NetworkError, SettingError
from genn_eventprop.models import LI, LIF, QIF, Izhikevich, LIFDelta, LIFRefractory, Theta
from genn_eventprop.plan import make_plan
from genn_eventprop.toolchain import find_compiler
from genn_eventprop.verify.gradients import check_network
from support import driven
from support.cuda_shim import ShimEngine
from support.genn_harness import HarnessEngine
from support.on_genn import on_genn

ENGINES = ("native", "c99")


def seeds(count):
    """The first by default, the second in CI, the others by hand."""
    marks = {0: (), 1: pytest.mark.ci}
    return [pytest.param(s, marks=marks.get(s, pytest.mark.slow)) for s in range(count)]


def reference(plan, parameters):
    return create(plan, parameters, engine="reference_clock")


def made(engine, plan, parameters):
    """An engine in float64: of the registry by its name, or a shim that stands for a device, in small groups."""
    if engine == "cuda":
        return ShimEngine(plan, parameters, dtype="float64", group=3)
    if engine == "genn":
        return HarnessEngine(plan, parameters, dtype="float64")
    if engine == "pygenn":
        return on_genn(plan, parameters, dtype="float64")
    return create(plan, parameters, engine=engine, **({} if "reference" in engine else {"dtype": "float64"}))


def trained(engine, data, samples):
    """(loss, gradients, gradients of currents) of a batch."""
    result = engine.run(engine.load(data), samples, training=True)
    gradients = {k: np.array(v, np.float64) for k, v in engine.gradients.items()}
    return result, gradients, {k: np.array(v, np.float64) for k, v in engine.current_gradients.items()}


@pytest.mark.parametrize("seed", seeds(4))
def test_on_the_grid_gradients_without_spikes_are_differences(seed):
    """Silent neurons: the loss on the grid is smooth, so that its gradient is that of what ran."""
    # not the maximum, which has a kink in the empty sample
    plan, data = driven.network(seed, spikes=seed % 2 == 0, scale=0.02, loss=driven.LOSSES[seed // 2])
    parameters = plan.network.initial_parameters(seed)
    engine = reference(plan, parameters)
    result = engine.run(engine.load(data), [0, 1, 2], training=True)
    assert result.spike_counts["hidden"].sum() == 0
    found = driven.differences(reference(plan, parameters), plan, data, parameters)
    driven.assert_differences(engine, found)


@pytest.mark.ci
@pytest.mark.parametrize("seed", seeds(8))
def test_in_exact_time_gradients_are_differences(seed):
    model = (LIF, LIFRefractory, QIF, LIFDelta)[seed % 4]
    scale = {LIFDelta: 0.8, QIF: 2.0}.get(model, 1.0)
    plan, data = driven.network(seed, model=model, spike_times="exact", scale=scale, duration=12.0)
    parameters = plan.network.initial_parameters(seed)
    engines = [create(plan, parameters, engine="native", dtype="float64", tolerance=1e-14) for _ in range(2)]
    result = engines[0].run(engines[0].load(data), [0, 1, 2], training=True)
    assert result.spike_counts["hidden"].sum() > 2
    found = driven.differences(engines[1], plan, data, parameters)
    driven.assert_differences(engines[0], found, rtol=1e-4, atol=1e-7)


@pytest.mark.ci
@pytest.mark.parametrize("seed", seeds(4))
def test_native_is_the_reference_in_exact_time(seed):
    model, scale = ((LIFRefractory, 1.0), (LIF, 1.0), (Izhikevich, 15.0), (Theta, 1.0))[seed]
    plan, data = driven.network(seed, model=model, spikes=seed != 1, spike_times="exact", scale=scale, duration=8.0)
    compare("native", plan, data, seed, reference="reference_event", spiking=False)


@pytest.mark.ci
def test_one_neuron_and_one_change_in_exact_time():
    plan, data = driven.network(1, tiny=True, spike_times="exact")
    compare("native", plan, data, 1, reference="reference_event", spiking=False)


def highest(values, jumps, dt, tau, tau_syn, receptor, linear, h=0.005):
    """(N,) of neurons: the largest V by small steps of the linear system, and when; values: (T, N) currents, jumps:
    step -> (N,) of I."""
    rate = np.zeros((4, 4))  # of V, I, u and its slope
    rate[0, :2], rate[1, 1], rate[2, 3] = (-1 / tau, 1 / tau), -1 / tau_syn, 1.0
    rate[0 if receptor == "I_ext" else 1, 2] = 1 / tau if receptor == "I_ext" else 1.0
    step = sum(np.linalg.matrix_power(rate * h, k) / math.factorial(k) for k in range(9))
    y = np.zeros((4, values.shape[1]))
    best, when, number = y[0].copy(), np.zeros(len(y[0])), 0
    for now, then in zip(values, [*values[1:], values[-1]]):
        y[2:] = now, (then - now) / dt if linear else 0 * now
        for _ in range(round(dt / h)):
            y[1] += jumps.get(number, 0.0)
            y, number = step @ y, number + 1
            when = np.where(y[0] > best, number * h, when)
            best = np.maximum(best, y[0])
    return best, when


@pytest.mark.parametrize(("receptor", "interpolation", "kinds"), [
    ("I_ext", "constant", {"0", "inside", "sample", "T"}), ("I_ext", "linear", {"0", "inside", "T"}),
    ("input", "constant", {"0", "inside", "T"}), ("input", "linear", {"0", "inside", "T"}),
])  # fmt: skip
@pytest.mark.parametrize(("seed", "spikes"), [(8, False), (15, True)])
@pytest.mark.one_in(8)
def test_the_maximum_under_drawn_currents(receptor, interpolation, kinds, seed, spikes):
    """It is at 0, inside a piece, at a sample of the current, or at T; V may fall at first before T."""
    N, dt, T, rng = 120, 2.0, 10.0, np.random.default_rng(seed)
    net = Network()
    output = net.population(driven.learned(LI, tau_mem=3.0, tau_syn=1.5), N, name="output")
    net.connect(net.current(N, dt=dt, name="stim", interpolation=interpolation), output, OneToOne(Normal(1.0, 0.2)),
                receptor=receptor)  # fmt: skip
    net.connect(net.input(4, name="spikes"), output, Dense(Normal(0.3, 2.0)))
    plan = make_plan(net, losses.SquaredError(output, "max"), dt=T, duration=T, spike_times="exact")
    parameters = net.initial_parameters(0)
    values = rng.normal(0, 1, (1, round(T / dt), N))
    at = np.sort(rng.choice(np.arange(1, 2000), 4, replace=False)) if spikes else np.zeros(0, int)
    data = {
        "stim": Currents(values, dt, targets=np.zeros((1, N))),
        "spikes": Events.from_samples([(at * 0.005, np.arange(4)[: len(at)])], 4),
    }
    pair = {n: made(n, plan, parameters) for n in ("reference_event", "native")}
    read = {n: e.run(e.load(data), [0], training=True).readout[0] for n, e in pair.items()}
    jumps = dict(zip(at.tolist(), parameters["spikes_output.weight"]))
    driven_by = values[0] * parameters["stim_output.weight"]
    expected, when = highest(driven_by, jumps, dt, 3.0, 1.5, receptor, interpolation == "linear")
    places = np.select(
        [when == 0, np.abs(when - T) < 1e-6, np.abs(when % dt - dt / 2) > 0.499 * dt], ["0", "T", "sample"], "inside"
    )  # fmt: skip
    assert set(places) >= (kinds if spikes else kinds - ({"inside"} if "sample" in kinds else set()))
    for name, each in read.items():
        np.testing.assert_allclose(each, expected, rtol=0, atol=5e-6, err_msg=name)
    gradients = [{**e.gradients, **e.current_gradients} for e in pair.values()]
    for name, gradient in gradients[0].items():
        np.testing.assert_allclose(gradients[1][name], gradient, rtol=1e-8, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", seeds(5))
def test_engines_agree_with_the_reference(engine, seed):
    model = (LIF, LIFRefractory, Izhikevich, LIFDelta, Theta)[seed]
    scale, dt = {Izhikevich: (20.0, 0.25), LIFDelta: (0.8, 0.5)}.get(model, (1.0, 0.5))
    plan, data = driven.network(seed, model=model, scale=scale, dt=dt)
    compare(engine, plan, data, seed)


@pytest.mark.parametrize("engine", ["genn", pytest.param("cuda", marks=pytest.mark.ci)])
@pytest.mark.parametrize("seed", [1, *(pytest.param(s, marks=pytest.mark.slow) for s in (0, 3))])
def test_texts_for_devices_agree_with_the_reference(engine, seed):
    plan, data = driven.network(seed, model=(LIF, LIFRefractory, QIF, Theta)[seed], duration=12.0)
    compare(engine, plan, data, seed, spiking=False)


@pytest.mark.parametrize("spikes", [True, False], ids=["beside spikes", "alone"])
@pytest.mark.parametrize("engine", ["genn", pytest.param("pygenn", marks=pytest.mark.needs_genn)])
def test_currents_on_genn(engine, spikes):
    plan, data = driven.network(1, spikes=spikes, duration=12.0)
    compare(engine, plan, data, 1)


@pytest.mark.parametrize(("engine", "times"), [
    ("native", "grid"), pytest.param("c99", "grid", marks=pytest.mark.ci),
    pytest.param("native", "exact", marks=pytest.mark.ci), pytest.param("cuda", "grid", marks=pytest.mark.ci),
    pytest.param("genn", "grid", marks=pytest.mark.ci),
])  # fmt: skip
def test_a_batch_in_two_calls(engine, times):
    """Also: a run without training leaves the gradients of the last one that had some."""
    plan, data = driven.network(3, spike_times=times, loss=losses.EndVoltageCrossEntropy, duration=8.0)
    parameters, slope = plan.network.initial_parameters(3), np.random.default_rng(0).normal(size=(3, 3))
    every = []
    for name in ({"grid": "reference_clock", "exact": "reference_event"}[times], engine):
        run = made(name, plan, parameters)
        loaded = run.load(data)
        run.forward(loaded, [0, 2, 1])
        run.backward(slope)
        every.append({**{n: np.array(g) for n, g in run.gradients.items()}, **run.current_gradients})
        every[-1]["times of spikes"] = run.input_gradients
        run.run(loaded, [1])
        np.testing.assert_array_equal(run.current_gradients["stim"], every[-1]["stim"])
    for name, value in every[0].items():
        np.testing.assert_allclose(every[1][name], value, rtol=1e-8, atol=1e-13, err_msg=name)


def test_parts_of_a_batch_add_up():
    """As ranks do: each runs a shard, and the sums of all are added."""
    plan, data = driven.network(0, duration=8.0)
    engine = made("native", plan, plan.network.initial_parameters(0))
    loaded, batch = engine.load(data), np.array([0, 2, 1, 1, 2])
    engine.run(loaded, batch, training=True)
    whole, slices = {n: g.copy() for n, g in engine.gradients.items()}, engine.slices_of(len(batch))
    sums = {}
    for number in range(2):
        shard = BatchShard.of_rank(len(batch), slices, number, 2)
        sums |= {k: v.copy() for k, v in engine.run_shard(loaded, batch, shard, training=True)[1].items()}
    engine.set_gradient(engine.add_subtrees(sums, slices))
    for name, gradient in whole.items():
        np.testing.assert_allclose(engine.gradients[name], gradient, rtol=1e-10, atol=1e-14, err_msg=name)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("spikes", [True, False])
def test_one_channel_one_neuron_one_step(engine, spikes):
    plan, data = driven.network(1, tiny=True, spikes=spikes)
    compare(engine, plan, data, 1, spiking=False)


def compare(engine, plan, data, seed, reference="reference_clock", spiking=True):
    parameters, samples = plan.network.initial_parameters(seed), [1, 2, 0, 2]
    expected = trained(made(reference, plan, parameters), data, samples)
    got = trained(made(engine, plan, parameters), data, samples)
    assert not spiking or expected[0].spike_counts["hidden"].sum() > 10
    np.testing.assert_array_equal(got[0].spike_counts["hidden"], expected[0].spike_counts["hidden"])
    np.testing.assert_allclose(got[0].loss, expected[0].loss, rtol=1e-10)
    for mine, theirs in zip(got[1:], expected[1:]):
        assert mine.keys() == theirs.keys()
        for name, value in theirs.items():
            np.testing.assert_allclose(mine[name], value, rtol=1e-8, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("bits", [None, 8])
def test_a_c_file_takes_currents_step_by_step(bits, tmp_path):
    """The same numbers as the engine c99, with every warning of the compiler an error."""
    net, rng, T = Network(), np.random.default_rng(2), 20.0
    hidden = net.population(LIF(), 9, name="hidden", shape=(3, 3, 1))
    output = net.population(LI(), 3, name="output")
    stim, image = net.current(2, dt=0.5, name="stim"), net.current(dt=0.5, name="image", shape=(3, 3, 1))
    net.connect(net.input(4, name="spikes"), hidden, Dense(Normal(0.4, 0.2)), delay=1.5)
    net.connect(stim, hidden, Dense(Normal(0.8, 0.3)), delay=1.0)
    net.connect(image, hidden, Conv2D(Normal(0.1, 0.1), 3, 1, padding=1), receptor="input")
    net.connect(hidden, output, Dense(Normal(0.2, 0.3)))
    plan = make_plan(net, losses.MaxVoltageCrossEntropy(output), dt=0.5, duration=T)
    values = rng.normal(1.0, 0.8, (1, plan.n_steps, 2)), rng.normal(0.5, 0.5, (1, plan.n_steps, 9))
    spikes = Events.from_samples([(np.sort(rng.uniform(0, T, 20)), rng.integers(0, 4, 20))], 4, labels=[1])
    parts = {"spikes": spikes, "stim": Currents(values[0], 0.5), "image": Currents(values[1], 0.5)}
    parameters = {k: v.astype(np.float32).astype(np.float64) for k, v in net.initial_parameters(5).items()}
    made_file = standalone(plan, parameters, dtype="float64", bits=bits)
    if bits:
        for c in plan.weighted:
            whole, scale = quantised(parameters[c.weight], bits)
            parameters[c.weight] = scale * whole
    engine = made("c99", plan, parameters)
    data = engine.load(parts)
    expected = engine.run(data, [0])
    assert expected.spike_counts["hidden"].sum() > 20
    (tmp_path / "model.c").write_text(made_file.text)
    strict = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2", "-shared", "-fPIC")
    command = [
        *find_compiler().command,
        "-x",
        "c",
        *strict,
        str(tmp_path / "model.c"),
        "-o",
        str(tmp_path / "model.so"),
        "-lm",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    library = ctypes.CDLL(str(tmp_path / "model.so"))
    library.model_reset()
    for k in range(plan.n_steps):
        flowing = np.concatenate([parts["stim"].values[0, k], parts["image"].values[0, k]]).astype(np.float64)
        now = np.ascontiguousarray(data.channels[data.steps == k], np.intc)
        library.model_currents(ctypes.c_void_p(flowing.ctypes.data))
        assert library.model_step(ctypes.c_void_p(now.ctypes.data), len(now)) == 0
    readout = np.zeros(3)
    assert library.model_readout(ctypes.c_void_p(readout.ctypes.data)) == expected.prediction[0]
    np.testing.assert_allclose(readout, expected.readout[0], rtol=1e-12)


@pytest.mark.parametrize("interpolation", ["constant", "linear"])
def test_streams_are_the_engine_however_currents_are_cut(interpolation):
    rng, net = np.random.default_rng(4), Network()
    stim, fast = net.current(2, dt=0.7, name="stim", interpolation=interpolation), net.current(1, dt=0.2, name="fast")
    inp, hidden = net.input(3), net.population(LIF(tau_mem=5.0), 6, name="hidden")
    output = net.population(LI(), 2, name="output")
    net.connect(stim, hidden, Dense(rng.normal(0.8, 0.4, (2, 6))), delay=1.0)
    net.connect(fast, output, Dense(rng.normal(0.1, 0.1, (1, 2))))
    net.connect(inp, hidden, Dense(rng.normal(0.5, 0.3, (3, 6))))
    net.connect(hidden, output, Dense(rng.normal(0.2, 0.3, (6, 2))))
    plan = make_plan(net, losses.MaxVoltageCrossEntropy(output), dt=0.5, duration=12.0)
    parameters = net.initial_parameters(1)
    values = {"stim": rng.normal(1.5, 1.0, (2, 18, 2)), "fast": rng.normal(0, 1, (2, 60, 1))}
    events = Events.from_samples([(np.sort(rng.uniform(0, 12, 9)), rng.integers(0, 3, 9)) for _ in range(2)], 3)
    parts = {n: Currents(v, {"stim": 0.7, "fast": 0.2}[n]) for n, v in values.items()}
    engine = create(plan, parameters, engine="c99", dtype="float64")
    name = net.inputs[0].name
    want = engine.run(engine.load({name: events, **parts}), [0, 1], record_spikes=True)
    stream = Stream(plan, parameters, dtype="float64")
    for b in range(2):
        stream.reset()
        (times, channels), pushed = events.sample(b), dict.fromkeys(values, 0)
        for since, until in zip((0, 0.3, 4.1, 4.1, 9.6), (0.3, 4.1, 4.1, 9.6, 12.0)):
            now = (times > since) & (times <= until)
            chunk = {}
            for n, dt in (("stim", 0.7), ("fast", 0.2)):
                last = min(
                    int(np.ceil((until + 0.5) / dt)) + (n == "stim" and interpolation == "linear"), len(values[n][b])
                )
                chunk[n] = values[n][b, pushed[n] : last]
                pushed[n] = last
            if until == 12.0:  # the data are zero until the end
                chunk["stim"] = np.concatenate([chunk["stim"], np.zeros((0, 2))])
            moment = stream.push((times[now], channels[now]), until, chunk)
        spikes = want.spikes["hidden"]
        assert len(moment.spikes["hidden"].time) == (spikes.sample == b).sum() > 3
        assert np.array_equal(moment.spikes["hidden"].neuron, spikes.neuron[spikes.sample == b])
        np.testing.assert_allclose(moment.readout, want.readout[b], rtol=1e-6)
    stream.reset()
    none = [], []
    for given, message in (
        ({"stm": []}, "no current 'stm'.*stim"),
        ({"stim": np.zeros(3)}, r"values must be \(steps, 2\), got shape \(3,\)"),
        ({"stim": [[1.0, np.nan]]}, "value 0 of channel 1 is nan"),
        ({"stim": "soft"}, "values must be numbers"),
        ({"stim": np.ones((40, 2))}, "goes on after the trial of 12 ms"),
        ({"stim": np.ones((2, 2))}, "more values are needed until 2 ms"),
    ):
        with pytest.raises(DataError, match=message):
            stream.push(none, 2.0, given)
    assert stream.step == 0 and stream.push(none, 0.5, {"stim": np.ones((2, 2)), "fast": np.ones((3, 1))}).time == 0.5


@pytest.mark.ci
@pytest.mark.parametrize("engine", ["native", "reference_event"])
def test_check_network_has_currents(engine):
    """Also that a wrong gradient of a current fails."""
    rng, net = np.random.default_rng(1), Network()
    stim, inp = net.current(2, dt=1.5, name="stim", interpolation="linear"), net.input(2, name="touch")
    hidden, output = net.population(LIF(tau_mem=6.0), 3, name="hidden"), net.population(LI(), 2, name="output")
    net.connect(stim, hidden, Dense(rng.normal(1.3, 0.3, (2, 3))), delay=0.4)
    net.connect(inp, hidden, Dense(rng.normal(0.8, 0.3, (2, 3))))
    net.connect(hidden, output, Dense(rng.normal(0.5, 0.4, (3, 2))))
    loss = losses.IntegratedVoltageCrossEntropy(output)
    touch = Events.from_samples([([1.0, 3.3], [0, 1]), ([2.2], [1])], 2, labels=[0, 1])
    data = {"touch": touch, "stim": Currents(rng.normal(1.2, 0.5, (2, 6, 2)), 1.5)}
    report = check_network(net, loss, events=data, duration=10.0, engine=engine)
    blocks = {block.name: block for block in report.cases[0].blocks}
    assert report.passed, report
    assert blocks["stim.values"].gradient.shape == (2, 6, 2) and np.abs(blocks["stim.values"].gradient).max() > 1e-3
    assert "stim_hidden.weight" in blocks and sum(report.cases[0].spikes.values()) > 3

    def wrong(plan, parameters):
        made = create(plan, parameters, engine=engine, **({"dtype": "float64"} if engine == "native" else {}))
        gradients = type(made).current_gradients
        kind = type("Wrong", (type(made),), {
            "current_gradients": property(lambda e: {n: 1.01 * g for n, g in gradients.fget(e).items()})
        })  # fmt: skip
        made.__class__ = kind
        return made

    assert not check_network(net, loss, events=data, duration=10.0, engine=wrong, spike_times="exact").passed
    with pytest.raises(SettingError, match="checked with exact spike times alone"):
        check_network(net, loss, events=data, duration=10.0, engine="native", dt=0.5)


def test_a_product_that_overflows_is_named():
    plan, data = driven.network(1, tiny=True, spikes=False)
    huge = driven.with_values(data, "stim", np.full((3, 1, 1), 3e38, np.float32))
    parameters = {n: 100 * v for n, v in plan.network.initial_parameters(0).items()}
    engine = create(plan, parameters, engine="native")
    with pytest.raises(EngineError, match=r"current times weight is too large for float32 at neuron 0 in sample 2"):
        engine.run(engine.load(huge), [2])


def test_c_files_say_what_they_do_not_take():
    plan, _ = driven.network(3, duration=8.0)
    late = [c.delay for c in plan.currents_into if c.delay % plan.dt]
    parameters = plan.network.initial_parameters(0)
    assert late
    with pytest.raises(EngineError, match=r"delay currents by whole steps of 0.5 ms, connection '\w+' by 0"):
        standalone(plan, parameters)


def one_neuron(model=LI, receptor="input", interpolation="constant", dt=0.5, weight=0.7, **values):
    net = Network()
    stim = net.current(1, dt=2.0, name="stim", interpolation=interpolation)
    output = net.population(model(**values), 1, name="output")
    net.connect(stim, output, OneToOne(weight), receptor=receptor)
    return make_plan(net, losses.VoltageSquaredError(output), dt=dt, duration=10.0)


def record_V(plan, values):
    engine = reference(plan, plan.network.initial_parameters(0))
    data = Currents(np.reshape(values, (1, -1, 1)), 2.0, targets=np.zeros((1, plan.n_steps + 1, 1)))
    return engine.record(engine.load(data), [0], adjoint=False)["output"]


def test_a_drive_by_hand():
    """tau V' = w c - V: V relaxes to w c while the current is on, and to 0 after its last value."""
    tau, w = 8.0, 0.7
    plan = one_neuron(receptor="I_ext", tau_mem=tau)
    V = record_V(plan, [3.0, -1.0])["V"][0, :, 0]
    expected, v = [0.0], 0.0
    for k in range(plan.n_steps):
        to = w * {0: 3.0, 1: -1.0}.get(k // 4, 0.0)
        v = to + (v - to) * np.exp(-plan.dt / tau)
        expected.append(v)
    np.testing.assert_allclose(V, expected[:-1], rtol=1e-12)


def test_at_a_receptor_a_current_is_a_stream_of_spikes():
    """c spikes a ms: I of LI grows to c w tau_syn, and V with it."""
    plan = one_neuron(receptor="input", tau_syn=4.0, dt=0.05)
    states = record_V(plan, np.full(5, 3.0))
    t = plan.dt * np.arange(plan.n_steps)
    np.testing.assert_allclose(states["I"][0, :, 0], 3.0 * 0.7 * 4.0 * (1 - np.exp(-t / 4.0)), rtol=1e-10)


def test_a_step_takes_the_mean_of_what_is_linear():
    plan = one_neuron(receptor="I_ext", interpolation="linear", dt=1.0)
    u = record_V(plan, [0.0, 4.0, 2.0])["I_ext"][0, :, 0]
    np.testing.assert_allclose(u, 0.7 * np.array([1, 3, 3.5, 2.5, 2, 2, 0, 0, 0, 0]), rtol=1e-12)


def test_a_delay_need_not_be_whole_steps():
    net = Network()
    stim, output = net.current(1, dt=1.0, name="stim"), net.population(LI(), 1, name="output")
    net.connect(stim, output, OneToOne(1.0), receptor="I_ext", delay=0.25)
    plan = make_plan(net, losses.EndVoltageCrossEntropy(output), dt=1.0, duration=3.0)
    engine = reference(plan, net.initial_parameters(0))
    data = engine.load(Currents(np.array([[[4.0], [8.0], [2.0]]]), 1.0, labels=[0]))
    u = engine.record(data, [0], adjoint=False)["output"]["I_ext"][0, :, 0]
    np.testing.assert_allclose(u, [3.0, 7.0, 3.5])


def test_a_refractory_neuron_ignores_its_drive_alone():
    V = {}
    for receptor in ("I_ext", "input"):
        plan, data = driven.network(3, model=LIFRefractory)
        d = plan.population("hidden").derived
        (V[receptor],) = (m.f for m in d.modes if m.name == "refractory")
    assert V["input"][0] == 0
    assert any("drive_input" in str(f) or "I_ext" in str(f) for f in d.f)


def test_networks_without_currents_do_not_know_drives():
    plan, _ = driven.network(0)
    assert "I_ext" in plan.population("hidden").derived.states
    net = Network()
    out = net.population(LIF(), 2, name="output")
    net.connect(net.input(2), out, Dense(1.0))
    assert make_plan(net, losses.FirstSpikeCrossEntropy(out), dt=1.0, duration=5.0).output.derived.states == ("V", "I")


def test_a_network_with_currents_is_described_and_built_again():
    plan, _ = driven.network(2)
    document = describe(Described(plan.network, plan.asked, plan.duration, plan.dt, "grid"))
    again = build(document, plan.network.initial_parameters(0)).network
    assert repr(again.currents) == repr(plan.network.currents)
    assert [c.receptor for c in again.connections] == [c.receptor for c in plan.network.connections]
    assert again.populations[0].model.drives == {"I_ext": {"V": "1 / tau_mem"}}


def test_mistakes_are_named():
    net = Network()
    stim, hidden = net.current(3, name="stim"), net.population(LIF(), 2, name="hidden")
    with pytest.raises(NetworkError, match="dt is the time in ms between its values"):
        net.current(3, dt=0.0, name="other")
    with pytest.raises(NetworkError, match="interpolation='cubic'"):
        net.current(3, name="other", interpolation="cubic")
    with pytest.raises(NetworkError, match="one delay for all weights"):
        net.connect(stim, hidden, Dense(1.0), delay=np.ones((3, 2)))
    with pytest.raises(NetworkError, match="its target 'stim' is a current"):
        net.connect(hidden, stim, Dense(1.0))
    with pytest.raises(NetworkError, match="takes currents, not spikes"):
        net.connect(net.input(2), hidden, Dense(1.0), receptor="I_ext")
    first = net.connect(stim, hidden, Dense(1.0))
    with pytest.raises(NetworkError, match="one of the two has a current as its source"):
        net.connect(net.input(3, name="more"), hidden, share=first)
    with pytest.raises(ModelError, match="drive 'I_ext' acts on 'W', not a state"):
        LIF_with(drives={"I_ext": "W"})
    with pytest.raises(ModelError, match="'V' is both a drive and a state"):
        LIF_with(drives={"V": "V"})
    with pytest.raises(ModelError, match="drives must be a dictionary"):
        LIF_with(drives="I_ext")
    with pytest.raises(ModelError, match="units do not add up"):
        LIF_with(drives={"I_ext": {"V": "tau_mem", "I": "v_rest"}}, v_rest=Param(-60.0, "mV"))


def LIF_with(drives, **params):
    return NeuronModel(
        name="own", state={"V": 0.0, "I": 0.0}, params={"tau_mem": Param(10.0, "ms"), **params},
        dynamics={"V": "(I - V) / tau_mem", "I": "-I / tau_mem"}, threshold="V - 1", reset={"V": 0}, input="I",
        drives=drives,
    )  # fmt: skip


def test_data_that_do_not_fit_are_refused():
    plan, data = driven.network(0, spikes=False)
    engine = reference(plan, plan.network.initial_parameters(0))
    stim = data["stim"]
    with pytest.raises(DataError, match=r"a value every 9 ms, the network has net.current\(dt="):
        engine.load({**data, "stim": Currents(stim.values, 9.0, labels=stim.labels)})
    late = np.ones((3, int(40 / stim.dt), stim.n_channels))
    with pytest.raises(DataError, match=r"sample 0 goes on after the trial of 25 ms; .* currents.crop\(0, 25\)"):
        engine.load({**data, "stim": Currents(late, stim.dt, labels=stim.labels)})
    late[:, int(np.ceil(25 / stim.dt)) :] = 0
    engine.load({**data, "stim": Currents(late, stim.dt, labels=stim.labels)})
    with pytest.raises(EngineError, match="no gradients of currents"):
        _ = engine.current_gradients


@pytest.mark.parametrize("name", ["native", "reference_clock"])
def test_currents_of_a_trial_that_continues_another(name):
    """Two chunks are one long trial; a current that is late, or a line between two chunks, would be lost."""
    values = np.random.default_rng(3).uniform(0, 2, (1, 20, 3))

    def engine(duration, delay=0.0, interpolation="constant"):
        net = Network()
        stim = net.current(3, interpolation=interpolation)
        out = net.population(LIF(), 2, name="out")
        net.connect(stim, out, Dense(0.9), delay=delay)
        plan = make_plan(net, losses.SpikeCountCrossEntropy(out), dt=1.0, duration=duration, spike_times="grid")
        return create(plan, net.initial_parameters(0), engine=name, dtype="float64")

    whole = engine(20.0)
    want = whole.run_from(whole.load(Currents(values, 1.0, labels=[1])), [0], None)
    half, state, counts = engine(10.0), None, 0
    halves = half.load(Currents(values.reshape(2, 10, 3), 1.0, labels=[1, 1]))
    for chunk in range(2):
        result, state = half.run_from(halves, [chunk], state)
        counts = counts + result.spike_counts["out"]
    assert want[0].spike_counts["out"].sum() > 2
    np.testing.assert_array_equal(counts, want[0].spike_counts["out"])
    np.testing.assert_allclose(state.states["out"], want[1].states["out"], rtol=1e-12)
    for settings, why in (({"delay": 2.0}, "has a delay; use delay=0"), ({"interpolation": "linear"}, "'constant'")):
        late = engine(10.0, **settings)
        with pytest.raises(EngineError, match=why):
            late.run_from(late.load(Currents(values[:, :10], 1.0, labels=[1])), [0], None)
